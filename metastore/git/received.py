"""Objects that a repository receives, and the check that they are complete and valid before a reference moves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import takewhile

from metastore.errors import InvalidInput, StorageCorrupt
from metastore.git.cache import Cache
from metastore.git.objects import GitObject
from metastore.git.repository import DELETED_TREE, HEADS, Inspect, ReadableRepository, ancestry, commit_at, object_at
from metastore.git.trees import walk_tree
from metastore.git.verify import verify
from metastore.types import DatasetId, RevisionId

_CACHE_BYTES = 1024 * 1024
#: How many entries of trees and parents of commits the objects of one reference may have together.
_MOST_LINKS = 150_000


class Received(ReadableRepository):
    """A repository as a push would leave it: with the received objects, and with one reference moved.

    All other objects have to be in this same dataset. The repository's cache does not count, since other datasets may
    share it.

    Args:
        came: The received objects, by id.
        there: The repository; None for a new one.
        branch: The branch of the dataset.
        name: The full name of the reference that moves.
        target: The id that the reference moves to.
    """

    def __init__(
        self, came: Mapping[str, GitObject], there: ReadableRepository | None, branch: str, name: str, target: str
    ) -> None:
        super().__init__(Cache(_CACHE_BYTES))
        self.branch = branch
        self._came, self._there, self._name, self._target = came, there, name, target
        #: The received objects that the reference needs; complete after `check`.
        self.needed: dict[str, GitObject] = {}

    def check(self, dataset_id: DatasetId, inspect: Inspect) -> None:
        """Check all objects that the reference leads to, as `verify` does, except those that the branch had before.

        Args:
            dataset_id: The dataset.
            inspect: As for `verify`.

        Raises:
            InvalidInput: An object is missing or not valid, the branch would not continue from its newest revision, or
                that would have too many files.
        """
        known = self._there.leads_to if self._there is not None else lambda identity: False
        for damage in verify(self, dataset_id, inspect, known=known, most=_MOST_LINKS):
            raise InvalidInput(damage.detail)
        if self._name != HEADS + self.branch:
            return
        self._expect_listable()
        if self._there is None:
            return
        before = self._there.head()
        if not any(commit_id == before for commit_id, _ in ancestry(self, self._target)):
            raise InvalidInput(f"{self._target[:12]} does not follow on {before[:12]}, the newest revision")

    def _expect_listable(self) -> None:
        """Refuse a tree whose files no write could list. Raises InvalidInput."""
        try:
            for _ in walk_tree(commit_at(self, self._target).tree, self.tree):
                pass
        except StorageCorrupt as error:
            raise InvalidInput(str(error)) from None

    @cached_property
    def is_deletion(self) -> bool:
        """Whether the reference leads to the deletion of a dataset. Raises StorageCorrupt."""
        return commit_at(self, self._target).tree == DELETED_TREE

    def deletions(self) -> tuple[bool, ...]:
        """Tell of each revision that the branch gets, the oldest first, whether it is a deletion."""
        before = self._there.head() if self._there is not None else None
        added = takewhile(lambda revision: revision[0] != before, ancestry(self, self._target))
        return tuple(commit.tree == DELETED_TREE for _, commit in added)[::-1]

    def file(self, path: str) -> bytes | None:
        """Return a file of the revision that the reference leads to, or None. Raises StorageCorrupt."""
        blob = self.entry(commit_at(self, self._target).tree, path)
        return object_at(self, blob).content if blob is not None else None

    def get(self, object_id: str) -> GitObject:
        if object_id in self._came:
            self.needed[object_id] = self._came[object_id]
            return self._came[object_id]
        if self._there is None:
            raise KeyError(object_id)
        return self._there.read_uncached(object_id)

    read_uncached = get

    def head(self) -> RevisionId:
        return RevisionId(self._target)

    def reference_targets(self) -> Mapping[str, str]:
        return {self._name: self._target}

    def tag_names(self) -> list[str]:
        return []

    def tag_target(self, name: str) -> str | None:
        return None
