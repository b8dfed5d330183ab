"""Datasets in the tables of a PostgreSQL database, for any number of processes on any number of machines.

The tables and functions are in `metastore/postgres/migrations`. Each write is one call of a function, which compares,
changes and commits. It carries an id of its own, so that it is made once even if it is sent again, and so that `settle`
tells exactly whether it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from metastore.errors import OutcomeUnknown, PathNotFound, StorageBusy, StorageCorrupt, TagNotFound
from metastore.git.cache import Cache
from metastore.git.history import checked_commit, revision_of, tag_object, tag_of
from metastore.git.objects import TAG, GitObject
from metastore.git.repository import Inspect, Repository, commit_at, object_at
from metastore.git.verify import verify
from metastore.parse import is_tag_name
from metastore.postgres.database import PATIENCE, SIZE, Database
from metastore.postgres.risks import Durable, check
from metastore.search.port import Source
from metastore.storage.least import least
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import attempt
from metastore.storage.postgres import _queries
from metastore.storage.postgres._calls import Calls
from metastore.storage.postgres._feed import touched
from metastore.storage.postgres._replicas import Replicas
from metastore.storage.postgres._repository import Looked, PostgresRepository, commit_of, is_full, look, opened
from metastore.storage.postgres._writing import Writing
from metastore.storage.postgres.search import PostgresSearch
from metastore.types import BlobId, Change, Damage, DatasetId, Revision, RevisionId, Tag, TagSpec

_PAGE = 500
_PLACES = 10_000
#: A character before all that an id may have.
_FIRST = "\x01"
#: A character after all that an id may have.
_LAST = "\U0010ffff"


class PostgresStorage(ObjectStorage):
    """Datasets in a PostgreSQL database.

    Safe to share between threads, and usable after a fork.

    Args:
        dsn: The database, in libpq's syntax; several hosts may be named.
        pool_size: The largest number of connections per process.
        patience: How many seconds a call waits for a connection, a lock, or a server that is away.
        cache_bytes: The size of the cache of objects in memory.
        replicas: The URL of replicas, which answer reads of revisions by their full ids, and others
            within `metastore.storage.least.reading_at_least`.

    Raises:
        StorageUnavailable: The database cannot be reached, or has to be migrated.
    """

    may_arrive_late = True

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = SIZE,
        patience: float = PATIENCE,
        cache_bytes: int = 64 * 1024 * 1024,
        replicas: str | None = None,
    ) -> None:
        self.database = Database(dsn, size=pool_size, patience=patience, timeout=5.0)
        self._calls = Calls(self.database, Replicas(replicas, size=pool_size) if replicas else None)
        #: The key and head of datasets at the last look.
        self._places: dict[DatasetId, tuple[int, RevisionId]] = {}
        self._cache_bytes = cache_bytes
        self._cache = Cache(cache_bytes)

    @contextmanager
    def turn(self, dataset_id: DatasetId) -> Iterator[None]:
        with self.database.one_at_a_time(str(dataset_id)):
            yield

    def check(self, durable: Durable = "warn") -> None:
        """See `metastore.postgres.risks.check`."""
        check(self.database, durable)

    # Reading

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        repository = self._look(dataset_id, revision).repository
        with self._blaming_a_purge(dataset_id, repository):
            yield repository

    @contextmanager
    def _blaming_a_purge(self, dataset_id: DatasetId, repository: PostgresRepository) -> Iterator[None]:
        try:
            yield
        except StorageCorrupt:
            self._blame_a_purge(dataset_id, repository)
            raise

    def _blame_a_purge(self, dataset_id: DatasetId, repository: PostgresRepository) -> None:
        """Where an object is missing, look whether the dataset was purged after its head was read.

        Raises:
            DatasetNotFound: It was.
            StorageBusy: It was, and there is another dataset of this id.
        """
        if self._look(dataset_id, None).repository.place != repository.place:
            raise StorageBusy(f"{dataset_id} was replaced meanwhile; try again") from None

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        place, head = self._places.get(dataset_id, (0, None))
        try:
            return super().append(dataset_id, changes, change, parent=parent)
        except (StorageBusy, StorageCorrupt):
            if head != parent or self._look(dataset_id, None).repository.place == place:
                raise
        # The remembered key is out of date: another dataset with this revision is there now.
        return super().append(dataset_id, changes, change, parent=parent)

    @contextmanager
    def _open_to_append(self, dataset_id: DatasetId, parent: RevisionId) -> Iterator[Repository]:
        place, head = self._places.get(dataset_id, (0, None))
        if head == parent:
            yield PostgresRepository(self._calls, self._cache, place, parent)
        else:
            yield self._look(dataset_id, parent).repository

    def _remember(self, dataset_id: DatasetId, place: int, head: RevisionId) -> None:
        """Remember the key and head of a dataset for the next write."""
        self._places.pop(dataset_id, None)
        self._places[dataset_id] = place, head
        if len(self._places) > _PLACES:
            with suppress(StopIteration, RuntimeError):  # another thread has changed the dict
                self._places.pop(next(iter(self._places)), None)

    def _look(self, dataset_id: DatasetId, revision: str | None, path: str | None = None) -> Looked:
        """See `look`."""
        known = self._places.get(dataset_id, (0, None))[1]
        looked = look(self._calls, self._cache, dataset_id, revision, path, known, least())
        if revision is None:  # else a replica may have answered that is far behind
            self._remember(dataset_id, looked.repository.place, looked.repository.head())
        return looked

    def find(self, dataset_id: DatasetId, revision: str | None, path: str) -> tuple[Revision, bytes | None]:
        if revision is None or is_full(revision):
            repository, commit_id = self._look(dataset_id, revision, path)
            if commit_id is not None:
                try:
                    commit = commit_at(repository, commit_id)
                    blob = repository.entry(commit.tree, path)
                    content = object_at(repository, blob).content if blob is not None else None
                except StorageCorrupt:
                    self._blame_a_purge(dataset_id, repository)
                    raise
                return revision_of(commit_id, commit), content
        return super().find(dataset_id, revision, path)

    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        if revision is None or is_full(revision):
            repository, commit_id = self._look(dataset_id, revision)
            if commit_id is not None:
                return revision_of(commit_id, commit_at(repository, commit_id))
        return super().resolve(dataset_id, revision)

    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        repository, commit_id = self._look(dataset_id, revision_id, path)
        commit = checked_commit(dataset_id, repository, commit_id or revision_id)
        blob = repository.entry(commit.tree, path)
        if blob is None:
            raise PathNotFound(dataset_id, revision_id, path)
        return object_at(repository, blob).content

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        owner, slash, name = prefix.partition("/")
        ends = (owner, name + _LAST) if slash else (owner + _LAST, "")
        values = {"prefix": prefix, "hidden": prefix.startswith("_")}
        values |= {"until": ends[0], "last": ends[1], "deleted": deleted, "limit": _PAGE}
        start, last = (owner, name), after
        while True:
            # One limit alone: of two, PostgreSQL may look for the lower one in the index, and read all up to the other.
            start = max(start, (last.owner, last.name + _FIRST)) if last else start
            place = {"owner": start[0], "name": start[1]}
            page = [DatasetId(*row) for row in self._calls.rows(_queries.LIST, {**values, **place})]
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        return touched(self._calls, since)

    # Writing

    @contextmanager
    def _lock(self, *dataset_ids: DatasetId) -> Iterator[None]:
        yield  # a function of the database compares and sets

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # a function of the database compares the key, too

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        self._write(Writing(dataset_id, None, objects, head, None))

    def _advance(
        self,
        dataset_id: DatasetId,
        repository: Repository,
        objects: Mapping[str, GitObject],
        head: RevisionId,
        parent: RevisionId,
    ) -> None:
        assert isinstance(repository, PostgresRepository)
        self._write(Writing(dataset_id, repository, objects, head, parent))

    def _write(self, writing: Writing) -> None:
        """Add revisions with all their objects, by one statement unless they are many megabytes."""
        dataset_id, repository = writing.dataset_id, writing.repository
        place = repository.place if repository else None
        self._places.pop(dataset_id, None)  # so that it is read again if the write fails
        rest = None if writing.is_one_call else writing.rest
        self._calls.make(_queries.WRITE, dataset_id, place, writing.values, writing.parent, rest)
        if repository is not None:
            self._remember(dataset_id, repository.place, writing.head)
            if writing.has_all_objects:
                repository.written(writing.objects, writing.packer.keyframes)

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        repository = self._look(dataset_id, None).repository
        with attempt(parent):
            values = {"parent": bytes.fromhex(parent), "new_owner": new_id.owner, "new_name": new_id.name}
            self._calls.make(_queries.MOVE, dataset_id, repository.place, values, parent)

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        repository = self._look(dataset_id, None).repository
        with attempt(parent):
            self._calls.make(_queries.PURGE, dataset_id, repository.place, {"parent": bytes.fromhex(parent)}, parent)

    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        identity, made = tag_object(new)
        with attempt(expected, identity):
            repository = self._look(dataset_id, new.revision).repository
            checked_commit(dataset_id, repository, new.revision)
            self._set_tag(dataset_id, repository, (name, expected), (new.name, identity), made)
        return tag_of(new, identity)

    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        with attempt(expected):
            self._set_tag(dataset_id, self._look(dataset_id, None).repository, (name, expected), (None, None), {})

    def _add_tag(
        self, dataset_id: DatasetId, repository: Repository, objects: Mapping[str, GitObject], name: str, target: str
    ) -> None:
        assert isinstance(repository, PostgresRepository)
        self._set_tag(dataset_id, repository, (None, None), (name, target), objects)

    def _set_tag(
        self,
        dataset_id: DatasetId,
        repository: PostgresRepository,
        old: tuple[str | None, str | None],
        new: tuple[str | None, str | None],
        objects: Mapping[str, GitObject],
    ) -> None:
        """Replace a tag by another one; None stands for no tag."""
        (old_name, expected), (new_name, target) = old, new
        if old_name is not None and not is_tag_name(old_name):
            raise TagNotFound(dataset_id, old_name)
        tag = objects.get(target) if target else None
        content = tag.content if tag and tag.kind == TAG else None
        if others := {identity: objects[identity] for identity in objects if identity != target or content is None}:
            repository.put(others)
        values = {"old_name": old_name, "expected": _raw(expected), "new_name": new_name, "target": _raw(target)}
        values |= {"revision": _raw(commit_of(target, content)), "content": content}
        self._calls.make(_queries.SET_TAG, dataset_id, repository.place, values, expected)

    # The rest of the port

    @contextmanager
    def _open_uncached(self, dataset_id: DatasetId) -> Iterator[Repository]:
        # Nothing is read of the newest revision: it may be damaged.
        repository = opened(Calls(self.database), Cache(self._cache_bytes), dataset_id)
        with self._blaming_a_purge(dataset_id, repository):
            yield repository

    def _verify_dataset(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        with self._open_uncached(dataset_id) as repository:
            assert isinstance(repository, PostgresRepository)
            yield from verify(repository, dataset_id, inspect, repository.stored())

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        for where, problem in self._calls.rows(_queries.STRAYS):
            yield Damage(where, "unreadable", problem)

    def compact(self, dataset_id: DatasetId) -> None:
        self._look(dataset_id, None)  # objects are compressed as they are written

    def was_made(self, error: OutcomeUnknown) -> bool | None:
        return self._calls.was_made(error.attempt) if error.attempt is not None else None

    def search_index(self, source: Source) -> PostgresSearch:
        return PostgresSearch(self.database, self._calls, self._cache, source)

    def ping(self) -> None:
        self._calls.rows(_queries.PING)

    def close(self) -> None:
        self._calls.close()


def _raw(identity: str | None) -> bytes | None:
    return bytes.fromhex(identity) if identity else None
