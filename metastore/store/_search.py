"""Searches a storage: with an index beside it if there is a place for one, else by reading all of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from metastore.descriptor.document import DESCRIPTOR, load
from metastore.descriptor.profiles import Profiles
from metastore.errors import NotFound, PathNotFound, StorageCorrupt
from metastore.storage.port import Storage
from metastore.types import Damage, DatasetId, FeedEntry, Revision

if TYPE_CHECKING:
    from metastore.search.port import Index
    from metastore.search.values import Readable, Results, Wanted

_FILE = "search.sqlite"
Changes = Callable[[str | None], Iterator[FeedEntry]]


class Finder:
    """Finds datasets in a storage, and is the `Source` of the search."""

    def __init__(self, storage: Storage, changes: Changes, profiles: Profiles) -> None:
        self._storage = storage
        self.changes = changes
        self._profiles = profiles

    @property
    def is_indexed(self) -> bool:
        """Whether the storage has an index of its own, or a place for one beside it."""
        return self._index is not None

    @cached_property
    def _index(self) -> Index | None:
        if (own := self._storage.search_index(self)) is not None:
            return own
        if (path := self._storage.private(_FILE)) is None:
            return None
        from metastore.search.index import SearchIndex

        return SearchIndex(path, self)

    def find(self, wanted: Wanted, readable: Readable | None, within: float | None) -> Results:
        """Find datasets, among those that the caller may read. See `Index.find`."""
        if self._index is not None:
            return self._index.find(wanted, readable, within)
        from metastore.search.scan import scan

        return scan(self, wanted, readable, within)

    def ids_at(self, ids: Iterable[DatasetId], at: datetime, deleted: bool | None) -> Iterator[DatasetId]:
        """Yield the datasets that there were at a moment, and that were live, deleted or (None) either."""
        from metastore.search.scan import revision_at

        for dataset_id in ids:
            try:
                revision = revision_at(self, dataset_id, at)
            except (NotFound, StorageCorrupt):  # purged meanwhile, or unreadable, as `verify` reports
                continue
            if revision is not None and deleted in (None, revision.deleted):
                yield dataset_id

    def verify(self, *, repair: bool) -> Iterator[Damage]:
        """Compare the index with the storage, if there is one already."""
        path = self._storage.private(_FILE)
        if self._index is not None and (path is None or os.path.exists(path)):
            yield from self._index.verify(repair=repair)

    def expire(self) -> None:
        """Look for changes before the next search."""
        if (index := self.__dict__.get("_index")) is not None:
            index.expire()

    def close(self) -> None:
        """Close the index."""
        if (index := self.__dict__.get("_index")) is not None:
            index.close()

    def ids(self) -> Iterator[DatasetId]:
        return self._storage.ids(deleted=None)

    def history(self, dataset_id: DatasetId) -> Iterator[Revision]:
        return self._storage.history(dataset_id, self._storage.resolve(dataset_id, None).id)

    def has_findings(self, content: bytes) -> bool:
        try:
            return bool(self._profiles.findings(load(content)))
        except (ValueError, AttributeError):  # it is not a descriptor
            return True

    def judge(self) -> str:
        from metastore import __version__  # it changes with the rules

        return hashlib.sha256(json.dumps([__version__, dict(self._profiles.own)], sort_keys=True).encode()).hexdigest()

    def content(self, dataset_id: DatasetId, revision: Revision) -> bytes:
        before = revision.parent if revision.deleted else None
        try:
            return self._storage.read(dataset_id, before or revision.id, DESCRIPTOR)
        except PathNotFound:
            return b"{}"
