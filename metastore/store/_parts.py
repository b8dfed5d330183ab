"""The histories of parts of a store's descriptors, and the revisions that their values come from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING

from metastore.errors import StorageCorrupt
from metastore.index_file import in_cache
from metastore.storage.port import Storage
from metastore.store._descriptors import Descriptors
from metastore.types import DatasetId, Revision, RevisionId, Value

if TYPE_CHECKING:
    from metastore.history.index import PartIndex
    from metastore.history.parts import Part

_FILE = "history.sqlite"
#: How many values are remembered with the revision that each comes from, which takes some 50 MB.
_REMEMBERED = 100_000


class Parts:
    """Histories of parts. Safe to share between threads.

    Args:
        storage: The datasets. The index is beside them, if they are in a folder.
        descriptors: Reads them.
        cache: The folder of the index of other storages; None keeps it in memory.
    """

    def __init__(self, storage: Storage, descriptors: Descriptors, cache: str | None) -> None:
        self._storage, self._descriptors, self._cache = storage, descriptors, cache
        self._blamed: dict[tuple[DatasetId, RevisionId], tuple[Value, ...]] = {}

    def close(self) -> None:
        """Close the index."""
        if "_index" in self.__dict__:
            self._index.close()

    @property
    def _path(self) -> str | None:
        return self._storage.private(_FILE) or (f"{self._cache}/{_FILE}" if self._cache else None)

    @cached_property
    def _index(self) -> PartIndex:
        from metastore.history.index import PartIndex

        return PartIndex(self._storage.private(_FILE) or (self._cache and in_cache(self._cache, _FILE)))

    def history(self, dataset_id: DatasetId, first: Revision, part: Part) -> Iterator[tuple[Revision, bool, Part]]:
        """See `Store.part_history`."""
        history, reader = partial(self._storage.history, dataset_id), self._descriptors.reader(dataset_id)
        return self._index.steps_back(history, reader, first, part)

    def blame(self, dataset_id: DatasetId, first: Revision) -> tuple[Value, ...]:
        """See `Store.blame`."""
        key = dataset_id, first.id
        if (values := self._blamed.get(key)) is None:
            from metastore.history.blame import blame

            values = blame(self._storage.history(dataset_id, first.id), self._descriptors.reader(dataset_id))
            if len(values) + sum(map(len, list(self._blamed.values()))) > _REMEMBERED:
                self._blamed.clear()
            self._blamed[key] = values  # a revision never changes, nor does what came before it
        return values

    @contextmanager
    def forgetting(self, dataset_id: DatasetId, head: RevisionId) -> Iterator[None]:
        """Forget a dataset that the caller purges: before the purge, and after it what was looked up meanwhile.

        Args:
            dataset_id: The dataset.
            head: Its newest revision.
        """
        has_index = "_index" in self.__dict__ or (self._path is not None and os.path.exists(self._path))
        ids = self._ids(dataset_id, head) if has_index else None
        self._forget(ids)
        yield
        self._forget(ids)

    def _ids(self, dataset_id: DatasetId, head: RevisionId) -> list[RevisionId]:
        ids = list[RevisionId]()
        with suppress(StorageCorrupt):  # a damaged dataset is purged, too, and its index ends where it cannot be read
            ids += (revision.id for revision in self._storage.history(dataset_id, head))
        return ids

    def _forget(self, ids: list[RevisionId] | None) -> None:
        self._blamed.clear()
        if ids is not None:
            self._index.forget(ids)
