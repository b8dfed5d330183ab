"""Lists the datasets of an owner on a host, and those that were touched, with one request per page of projects.

No host lists what was moved or purged, so that list is a dataset of the store's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from metastore.errors import DatasetNotFound, OutcomeUnknown, StorageUnavailable
from metastore.storage import retry
from metastore.storage.hosted.projects import Project, Projects
from metastore.storage.naming import OWN_OWNER, Naming
from metastore.storage.port import Storage, is_listed
from metastore.types import Author, Change, DatasetId, Revision

#: The dataset that lists moves and purges: a revision for each, whose message has the ids.
MOVES = DatasetId(OWN_OWNER, "moves")
_OURSELVES = Author("MetaStore")

#: GitLab notes a push at most once an hour and with a delay; Gitea notes it through a queue.
_ACTIVITY_LAG = timedelta(hours=2)


class Moves:
    """The ids that were moved or purged.

    Args:
        storage: The storage that keeps the list.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def note(self, *dataset_ids: DatasetId) -> None:
        """Note that ids are about to be moved or purged."""
        now = datetime.now(UTC).replace(microsecond=0)
        change = Change(_OURSELVES, " ".join(map(str, dataset_ids)), now)
        files = {"moves.txt": f"{now.isoformat()} {change.message}\n".encode()}
        try:
            retry.append(self._storage, MOVES, self._newest, lambda head: (files, change))
        except OutcomeUnknown as error:  # a superfluous note does no harm, and the change has not begun
            raise StorageUnavailable(f"what is moved or purged cannot be noted: {error}") from error

    def _newest(self) -> Revision | None:
        try:
            return self._storage.resolve(MOVES, None)
        except DatasetNotFound:
            return None

    def since(self, earliest: datetime | None) -> Iterator[tuple[datetime, DatasetId]]:
        """Yield the times at which ids were moved or purged, newest first."""
        newest = self._newest()
        if newest is None:
            return
        for line in self._storage.history(MOVES, newest.id):
            if earliest and line.created < earliest:
                return
            for text in line.message.split():
                owner, _, name = text.partition("/")
                yield line.created, DatasetId(owner, name)


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
