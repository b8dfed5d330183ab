"""Lists the datasets on GitHub, and those that were touched, with one request per page of 100 repositories."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from metastore.errors import DatasetNotFound, MetastoreError
from metastore.forks import ForkSafeLock
from metastore.git.history import is_deleted
from metastore.git.repository import DELETED_TREE
from metastore.http.fields import Fields
from metastore.http.responses import ResponseLost
from metastore.storage.github import _queries
from metastore.storage.github._api import GitHubApi
from metastore.storage.github._directory import Known
from metastore.storage.github._lifecycle import PURGED_TREE
from metastore.storage.naming import ASIDE_PREFIX, Naming
from metastore.storage.port import is_listed
from metastore.types import Damage, DatasetId

#: GitHub's machines do not all know of a change at once; a new repository was seen to be listed 40 seconds late.
_SLACK = timedelta(minutes=2)
#: Creating a repository takes seconds; an older temporary one was left behind.
_STALE = timedelta(hours=1)
_NOTES = 10_000
_log = logging.getLogger("metastore.storage")


class Listing:
    """The listings of one owner.

    GitHub's order of names differs from ours, so ordering needs the whole list. Only ids are kept in memory.

    Args:
        api: The calls.
        naming: Maps repositories to datasets.
        topic: Only repositories with this topic count; None for all.
        known: Where the datasets are.
    """

    def __init__(self, api: GitHubApi, naming: Naming, topic: str | None, known: Known) -> None:
        self._api = api
        self._naming = naming
        self._topic = topic
        self._known = known
        self._notes: list[tuple[datetime, DatasetId]] = []
        self._mutex = ForkSafeLock()

    def ids(self, prefix: str, after: DatasetId | None, deleted: bool | None) -> Iterator[DatasetId]:
        """See `Storage.ids`."""
        if not self._naming.may_list(prefix):
            return
        found = set()
        for dataset_id, node in self._datasets():
            gone = _tree(node) == DELETED_TREE
            if deleted in (None, gone) and is_listed(dataset_id, prefix, after):
                found.add(dataset_id)
        yield from sorted(found | set(self._unlisted(found, prefix, after, deleted)))

    def _unlisted(
        self, listed: set[DatasetId], prefix: str, after: DatasetId | None, deleted: bool | None
    ) -> Iterator[DatasetId]:
        """Yield what this process made or moved a moment ago, and GitHub does not list yet."""
        earliest = datetime.now(UTC) - _SLACK
        with self._mutex:
            noted = {dataset_id for at, dataset_id in self._notes if at >= earliest}
        for dataset_id in noted - listed:
            if is_listed(dataset_id, prefix, after):
                with suppress(DatasetNotFound):  # it was moved or purged
                    if deleted in (None, is_deleted(self._known.current(dataset_id))):
                        yield dataset_id

    def touched(self, since: datetime | None) -> tuple[datetime, list[tuple[datetime, DatasetId]]]:
        """Return the moment up to which the answer is complete, and the datasets touched since another, with times.

        Only moves and purges by this very storage are known; the journal has the others.
        """
        complete = self._api.time_of_day() - _SLACK
        with self._mutex:
            found = [note for note in self._notes if since is None or note[0] >= since]
        for dataset_id, node in self._datasets():
            at = max(node.moment("createdAt"), node.moment("updatedAt"))
            if node.optional_text("pushedAt"):
                at = max(at, node.moment("pushedAt"))
            if since is None or at >= since:
                found.append((at, dataset_id))
        newest = {dataset_id: at for at, dataset_id in sorted(found)}
        return complete, [(at, dataset_id) for dataset_id, at in newest.items()]

    def note(self, dataset_ids: Iterable[DatasetId]) -> None:
        """Remember that ids were created, moved or purged just now, since GitHub does not list that."""
        now = datetime.now(UTC)
        with self._mutex:
            self._notes.extend((now, each) for each in dataset_ids)
            del self._notes[:-_NOTES]

    def left_over(self, *, repair: bool) -> Iterator[Damage]:
        """Yield the repositories that interrupted writes left behind, and delete them if asked to."""
        now = self._api.time_of_day()
        for node in self._nodes():
            name = node.text("name")
            making = name.lower().startswith(ASIDE_PREFIX)
            if making and now - node.moment("createdAt") < _STALE:
                continue
            if making or _tree(node) == PURGED_TREE:
                yield Damage(name, "left-over-file", "left by an interrupted write", repair and self._delete(name))

    def _delete(self, name: str) -> bool:
        try:
            self._api.delete(name)
        except (MetastoreError, ResponseLost) as error:
            _log.warning("%s could not be deleted: %s", name, error)
            return False
        return True

    def _datasets(self) -> Iterator[tuple[DatasetId, Fields]]:
        for node in self._nodes():
            dataset_id = self._naming.dataset(node.text("name"))
            if dataset_id and _tree(node) not in (None, PURGED_TREE) and self._has_topic(node):
                yield dataset_id, node

    def _nodes(self) -> Iterator[Fields]:
        question = _queries.listing(topics=self._topic is not None)
        return self._api.graph.pages(question, "repositoryOwner", "repositories")

    def _has_topic(self, node: Fields) -> bool:
        if self._topic is None:
            return True
        topics = node.below("repositoryTopics").rows("nodes")
        return any(each.below("topic").text("name") == self._topic for each in topics)


def _tree(node: Fields) -> str | None:
    """Return the tree of the newest commit; None in an empty repository."""
    branch = node.optional("defaultBranchRef")
    return branch.below("target").below("tree").oid("oid") if branch else None
