"""A storage in memory, for tests and for trying things out. Its content ends with the process."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from metastore.errors import AlreadyExists, DatasetMoved, DatasetNotFound, StorageBusy
from metastore.forks import ForkSafeLock
from metastore.git.cache import Cache
from metastore.git.history import expect_head, is_deleted
from metastore.git.objects import GitObject
from metastore.git.repository import Repository
from metastore.storage._cursors import fields_of
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import Storage, is_listed
from metastore.types import DatasetId, RevisionId

_CACHE_BYTES = 1024 * 1024


class MemoryRepository(Repository):
    """The objects and references of one dataset, in dictionaries."""

    branch = Storage.branch

    def __init__(self, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        super().__init__(Cache(_CACHE_BYTES))
        self._objects = dict(objects)
        self._head = head
        self._tags: dict[str, str] = {}

    def head(self) -> RevisionId:
        return self._head

    def get(self, object_id: str) -> GitObject:
        return self._objects[object_id]

    read_uncached = get

    def size(self, object_id: str) -> int:
        return len(self.get(object_id).content)

    def put(self, objects: Mapping[str, GitObject]) -> None:
        self._objects.update(objects)

    def set_head(self, new: RevisionId) -> None:
        self._head = new

    def tag_names(self) -> list[str]:
        return sorted(self._tags)

    def tag_target(self, name: str) -> str | None:
        return self._tags.get(name)

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        tags = {**self._tags, **changes}
        self._tags = {name: target for name, target in tags.items() if target is not None}


class MemoryStorage(ObjectStorage):
    """Datasets in the memory of this process."""

    def __init__(self) -> None:
        self._repositories: dict[DatasetId, MemoryRepository] = {}
        self._moved: dict[DatasetId, DatasetId] = {}
        self._feed = secrets.token_hex(8)
        self._count = itertools.count(1)
        self._touched: dict[DatasetId, int] = {}
        self._mutex = ForkSafeLock()

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        yield self._at(dataset_id)

    def _at(self, dataset_id: DatasetId) -> MemoryRepository:
        try:
            return self._repositories[dataset_id]
        except KeyError:
            if dataset_id in self._moved:
                raise DatasetMoved(dataset_id, self._moved[dataset_id]) from None
            raise DatasetNotFound(dataset_id) from None

    @contextmanager
    def _lock(self, *dataset_ids: DatasetId) -> Iterator[None]:
        with self._mutex:
            yield
            for dataset_id in dataset_ids:
                self._touched[dataset_id] = next(self._count)

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        if self._at(dataset_id) is not repository:
            raise StorageBusy(f"{dataset_id} was replaced while it was written; try again")

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        with self._lock(dataset_id):
            if dataset_id in self._repositories:
                raise AlreadyExists(dataset_id)
            self._repositories[dataset_id] = MemoryRepository(objects, head)
            self._moved.pop(dataset_id, None)

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        for dataset_id in sorted(self._repositories):
            repository = self._repositories.get(dataset_id) if is_listed(dataset_id, prefix, after) else None
            if repository and deleted in (None, is_deleted(repository)):
                yield dataset_id

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        with self._lock(dataset_id, new_id):
            repository = self._at(dataset_id)
            if new_id in self._repositories:
                raise AlreadyExists(new_id)
            expect_head(dataset_id, repository, parent)
            self._repositories[new_id] = self._repositories.pop(dataset_id)
            self._moved.pop(new_id, None)
            for old, target in self._moved.items():
                if target == dataset_id:
                    self._moved[old] = new_id
            self._moved[dataset_id] = new_id

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        with self._lock(dataset_id):
            expect_head(dataset_id, self._at(dataset_id), parent)
            del self._repositories[dataset_id]
            self._moved = {old: target for old, target in self._moved.items() if target != dataset_id}

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        feed, (number, *_) = fields_of(since)
        last = int(number) if feed == self._feed else 0
        with self._mutex:
            rows = sorted((at, dataset_id) for dataset_id, at in self._touched.items() if at > last)
        return iter([(f"{self._feed}.{at}", dataset_id) for at, dataset_id in rows])

    def compact(self, dataset_id: DatasetId) -> None:
        self._at(dataset_id)

    def ping(self) -> None:
        return

    def close(self) -> None:
        return
