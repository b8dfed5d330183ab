"""Lists the datasets of an owner on a host, and those that were touched, with one request per page of projects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from metastore.storage.hosted._moves import Moves
from metastore.storage.hosted.projects import Project, Projects
from metastore.storage.naming import Naming
from metastore.storage.port import is_listed
from metastore.types import DatasetId

#: GitLab notes a push at most once an hour and with a delay; Gitea notes it through a queue.
_ACTIVITY_LAG = timedelta(hours=2)


class Listing:
    """The listings of one owner.

    Args:
        api: The calls.
        naming: Maps projects to datasets.
        topic: Only projects with this topic count; None for all.
        moves: The ids that were moved or purged.
    """

    def __init__(self, api: Projects, naming: Naming, topic: str | None, moves: Moves) -> None:
        self._api = api
        self._naming = naming
        self._topic = topic
        self._moves = moves

    def datasets(self, prefix: str, after: DatasetId | None) -> Iterator[tuple[DatasetId, Project]]:
        """Yield the owner's datasets in order. A host's own order depends on the locale of its database."""
        found = {}
        for project in self._api.all():
            is_ours = project.path.lower() == self._api.full_path(project.name).lower()
            dataset_id = self._naming.dataset(project.name) if is_ours else None
            if self._topic and self._topic not in project.topics:
                continue
            if dataset_id and is_listed(dataset_id, prefix, after):
                found[dataset_id] = project
        yield from sorted(found.items())

    def touched(self, since: datetime | None) -> tuple[datetime, list[tuple[datetime, DatasetId]]]:
        """Return the moment up to which this is complete, and the datasets touched since another, with their times."""
        complete = datetime.now(UTC)
        earliest = since - _ACTIVITY_LAG if since else None
        found: dict[DatasetId, datetime] = {}
        for dataset_id, project in self.datasets("", None):
            at = project.last_activity
            if earliest is None or at >= earliest:
                found[dataset_id] = at
        for at, dataset_id in self._moves.since(earliest):
            found.setdefault(dataset_id, at)
        return complete, [(at, dataset_id) for dataset_id, at in found.items()]
