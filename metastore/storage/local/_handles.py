"""Open repositories that nobody uses at the moment, kept for the next call."""

from __future__ import annotations

from collections import OrderedDict

from metastore.forks import ForkSafeLock
from metastore.storage.local._repository import GitRepository
from metastore.types import DatasetId

#: A handle keeps the index of each pack open: 64 times 8 stays below the usual 1024.
_MOST = 64


class Handles:
    """The open repositories of a store: several of one dataset if several calls used it at once.

    Those of the datasets that were unused for longest are closed first. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._mutex = ForkSafeLock()  # a generator may be closed, and give back, at any moment
        self._kept: OrderedDict[DatasetId, list[GitRepository]] = OrderedDict()
        self._count = 0

    def take(self, dataset_id: DatasetId) -> GitRepository | None:
        """Return a handle for the caller alone, if one is kept that still is the dataset's repository."""
        with self._mutex:
            kept = self._kept.get(dataset_id)
            if not kept:
                return None
            repository = kept.pop()
            self._count -= 1
        if repository.is_usable():
            return repository
        with self._mutex:  # the others are no newer
            self._count -= len(self._kept.pop(dataset_id, ()))
        return None

    def give_back(self, dataset_id: DatasetId, repository: GitRepository) -> None:
        """Keep a handle that the caller no longer needs."""
        with self._mutex:
            self._kept.setdefault(dataset_id, []).append(repository)
            self._kept.move_to_end(dataset_id)
            self._count += 1
            while self._count > _MOST:
                self._let_go(next(iter(self._kept)))

    def _let_go(self, dataset_id: DatasetId) -> None:
        kept = self._kept[dataset_id]
        if kept:
            del kept[0]
            self._count -= 1
        if not kept:
            del self._kept[dataset_id]
