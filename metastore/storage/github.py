"""Datasets as repositories on GitHub, or on a GitHub Enterprise Server: one account or organisation a store.

```
github.com/OWNER/NAME                       the dataset owner/name: clone it, read its log
github.com/OWNER/metastore-own.journal      the journal
github.com/OWNER/metastore-tmp.…            a dataset that is being made
```

Objects go in by REST, references move by GraphQL's `updateRefs`, which compares before it sets: no write is ever lost,
whoever else writes, pushes or forces. What GitHub cannot do in one step is written beside it: a rename compares the
head just before it, and a purge first puts a mark on the branch that no writer builds on.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    RevisionConflict,
    RevisionNotFound,
    StorageBusy,
    StorageCorrupt,
    StorageUnavailable,
    TagNotFound,
)
from metastore.gitobject import GitObject
from metastore.parse import is_tag_name
from metastore.storage import github_graph as graph
from metastore.storage.answers import Redirected
from metastore.storage.cache import Cache
from metastore.storage.github_api import GitHubApi, Move
from metastore.storage.github_changes import PURGED_TREE, Maker
from metastore.storage.github_listing import Listing
from metastore.storage.github_repository import GitHubRepository
from metastore.storage.host import Host
from metastore.storage.lookup import Repository, checked_commit, commit_at, expect_head, resolve, revision_of, tag_at
from metastore.storage.naming import Naming
from metastore.storage.objects import ObjectStorage, next_objects, tag_object, tag_of
from metastore.types import BlobId, Change, Damage, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec

#: For so long, in seconds, what follows a look at the head does not look again.
_FRESH = 5.0
#: After so long everything is looked at again, the default branch too.
_LOOK_AGAIN = 300.0
_KNOWN = 1024
_TURNS = 64
_T = TypeVar("_T")


class GitHubStorage(ObjectStorage):
    """Datasets of one account or organisation.

    Safe to share between threads, and usable after a fork.

    Args:
        host: The API; see `metastore.storage.github_connect`.
        owner: The account or organisation.
        private: Whether new repositories are private.
        description: What new repositories say of themselves; may have `{owner}` and `{name}` in it.
        topic: Given to new repositories; only those that have it are listed.
        cache_bytes: How much of what was read is kept in memory.
    """

    carries_any_object = False

    def __init__(
        self,
        host: Host,
        owner: str,
        *,
        private: bool = True,
        description: str = "Data package {owner}/{name}",
        topic: str | None = None,
        cache_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.host = host
        self.hosts = (host,)
        self.naming = Naming(owner)
        self.api = GitHubApi(host, owner)
        self._cache = Cache(cache_bytes)
        self._known: OrderedDict[DatasetId, GitHubRepository] = OrderedDict()
        self._new_locks()
        self._listing = Listing(self.api, self.naming, topic)
        self._maker = Maker(self.api, self._cache, private=private, description=description, topic=topic)
        _storages.add(self)

    def _new_locks(self) -> None:
        self._mutex = threading.Lock()
        self._turns = [threading.Lock() for _ in range(_TURNS)]

    @contextmanager
    def turn(self, dataset_id: DatasetId) -> Iterator[None]:
        with self._turns[hash(dataset_id) % _TURNS]:  # orders the threads of this process, who are the most
            yield

    # What ObjectStorage needs

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        yield self._current(dataset_id)

    @contextmanager
    def _lock(self, *dataset_ids: DatasetId) -> Iterator[None]:
        yield  # GitHub compares and sets: there is nothing to keep others away from

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # moves name the repository by its node id

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        name = self.naming.repository(dataset_id)
        self._expect_free(dataset_id, name)
        made = self._maker.make(dataset_id, name, objects, head)
        self._forget(dataset_id)
        self._know(dataset_id, made)

    def _expect_free(self, dataset_id: DatasetId, name: str) -> None:
        """Raise AlreadyExists where there is a dataset; what a purge left behind is cleared away."""
        answer = self.api.repository(graph.LOOK, name, **graph.read_along("HEAD"))
        if answer is None or not self._is_at(answer, name):
            return
        branch = answer["defaultBranchRef"]
        if branch is None:
            raise StorageUnavailable(f"the repository of {dataset_id} is empty: delete it, or push something into it")
        if branch["target"]["tree"]["oid"] != PURGED_TREE:
            raise AlreadyExists(dataset_id)
        self.api.delete(name)

    # Looking

    def _current(self, dataset_id: DatasetId, *, fresh: bool = False) -> GitHubRepository:
        """Return a dataset's repository; one that was seen a moment ago, unless it has to be `fresh`."""
        known, now = self._known.get(dataset_id), time.monotonic()
        if known is None or now - known.seen.looked > _LOOK_AGAIN:
            return self._look(dataset_id)
        if (fresh or now - known.seen.checked > _FRESH) and not known.unchanged():
            return self._look(dataset_id)
        return known

    def _look(self, dataset_id: DatasetId) -> GitHubRepository:
        name = self.naming.repository(dataset_id)
        known = self._known.pop(dataset_id, None)
        answer = self.api.repository(graph.LOOK, name, **graph.read_along("HEAD"))
        if answer is None:
            raise DatasetNotFound(dataset_id)
        if not self._is_at(answer, name):
            self._raise_moved(dataset_id, answer["nameWithOwner"])
        if answer["defaultBranchRef"] is None:
            raise DatasetNotFound(
                dataset_id, f"the repository of {dataset_id} is empty: nothing was pushed into it yet"
            )
        if answer["defaultBranchRef"]["target"]["tree"]["oid"] == PURGED_TREE:
            raise DatasetNotFound(dataset_id)
        if known is None or known.seen.node_id != answer["id"]:
            known = GitHubRepository(self.api, name, self._cache)
        known.look(answer)
        self._know(dataset_id, known)
        return known

    def _know(self, dataset_id: DatasetId, repository: GitHubRepository) -> None:
        with self._mutex:
            self._known[dataset_id] = repository
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    def _is_at(self, answer: Mapping[str, str], name: str) -> bool:
        return answer["nameWithOwner"].lower() == f"{self.api.owner}/{name}".lower()

    def _raise_moved(self, dataset_id: DatasetId, full_name: str) -> None:
        """Say where a repository is that somebody renamed or gave away."""
        owner, _, name = full_name.partition("/")
        try:
            new_id = Naming(owner).dataset(name)
        except ValueError:
            new_id = None
        if new_id is None:
            raise DatasetNotFound(dataset_id)
        raise DatasetMoved(dataset_id, new_id)

    def _forget(self, *dataset_ids: DatasetId) -> None:
        for each in dataset_ids:
            self._known.pop(each, None)
        self._listing.note(dataset_ids)

    @contextmanager
    def _writing(self, dataset_id: DatasetId) -> Iterator[GitHubRepository]:
        """Give a repository to write to, and tell what became of it, should it be gone from there meanwhile."""
        try:
            yield self._current(dataset_id)
        except Redirected:
            self._look(dataset_id)
            raise StorageBusy(f"{dataset_id} was replaced while it was written; try again") from None

    def _twice(self, dataset_id: DatasetId, call: Callable[[], _T]) -> _T:
        """Call again with a fresh look, where a revision is not found: somebody else may just have made it."""
        try:
            return call()
        except RevisionNotFound:
            self._current(dataset_id, fresh=True)
            return call()

    # Revisions

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        with self._writing(dataset_id) as repository:
            if repository.head() != parent:
                repository = self._current(dataset_id, fresh=True)
                expect_head(dataset_id, repository, parent)
            objects, commit = next_objects(repository, parent, changes, change)
            repository.put(objects)
            actual = repository.move_head(parent, commit)
        if actual is not None:
            self._known.pop(dataset_id, None)
            raise RevisionConflict(dataset_id, expected=parent, actual=actual)
        repository.on_branch[commit] = None
        return revision_of(commit, commit_at(repository, commit))

    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        repository = self._current(dataset_id, fresh=True)
        commit_id = repository.head() if revision is None else resolve(dataset_id, repository, revision)
        if revision is None:
            repository.on_branch[commit_id] = None
        return revision_of(commit_id, commit_at(repository, commit_id))

    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        def read() -> bytes:
            self._bring(dataset_id, revision_id)
            return ObjectStorage.read(self, dataset_id, revision_id, path)

        return self._twice(dataset_id, read)

    def paths(self, dataset_id: DatasetId, revision_id: RevisionId) -> Mapping[str, BlobId]:
        def paths() -> Mapping[str, BlobId]:
            self._bring(dataset_id, revision_id)
            return ObjectStorage.paths(self, dataset_id, revision_id)

        found = self._twice(dataset_id, paths)
        self._current(dataset_id).remember_blobs(list(found.values()))
        return found

    def _bring(self, dataset_id: DatasetId, revision_id: RevisionId) -> None:
        """Fetch a revision as a whole, with what is mostly read of it, rather than piece by piece."""
        repository = self._current(dataset_id)
        if self._cache.get(checked_commit(dataset_id, repository, revision_id).tree) is None:
            with suppress(KeyError):
                repository.read_uncached(revision_id)

    def history(self, dataset_id: DatasetId, revision_id: RevisionId, *, path: str | None = None) -> Iterator[Revision]:
        self._twice(dataset_id, lambda: checked_commit(dataset_id, self._current(dataset_id), revision_id))
        yield from super().history(dataset_id, revision_id, path=path)

    # Whole datasets

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        return self._listing.ids(prefix, after, deleted)

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        new_name = self.naming.repository(new_id)
        repository = self._current(dataset_id, fresh=True)
        expect_head(dataset_id, repository, parent)
        self._maker.rename(repository.name, new_name, repository.seen.node_id, new_id, parent)
        self._forget(dataset_id, new_id)

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        repository = self._current(dataset_id, fresh=True)
        expect_head(dataset_id, repository, parent)
        try:
            actual = self._maker.purge(repository, parent)
        finally:
            self._forget(dataset_id)
        if actual is not None:
            raise RevisionConflict(dataset_id, expected=parent, actual=actual)

    # Tags

    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        identity, made = tag_object(tag)
        self._twice(dataset_id, lambda: checked_commit(dataset_id, self._current(dataset_id), tag.revision))
        with self._writing(dataset_id) as repository:
            repository.put(made)
            found = repository.move([Move(f"refs/tags/{tag.name}", None, identity)])
        if found:
            raise AlreadyExists(f"tag {tag.name} of {dataset_id}")
        return tag_of(tag, identity)

    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        repository = self._current(dataset_id)
        for name, target in repository.tag_targets().items():
            try:
                yield tag_at(dataset_id, repository, name, target)
            except TagNotFound:  # it names no commit
                continue

    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        identity, made = tag_object(new)
        self._twice(dataset_id, lambda: checked_commit(dataset_id, self._current(dataset_id), new.revision))
        moves = [Move(f"refs/tags/{name}", expected, identity)]
        if new.name != name:
            moves = [Move(f"refs/tags/{name}", expected, None), Move(f"refs/tags/{new.name}", None, identity)]
        self._move_tag(dataset_id, name, moves, made)
        return tag_of(new, identity)

    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        self._move_tag(dataset_id, name, [Move(f"refs/tags/{name}", expected, None)], {})

    def _move_tag(self, dataset_id: DatasetId, name: str, moves: list[Move], made: Mapping[str, GitObject]) -> None:
        with self._writing(dataset_id) as repository:
            if not is_tag_name(name):
                raise TagNotFound(dataset_id, name)
            repository.put(made)
            found = repository.move(moves)
        if found is None:
            return
        actual = found[moves[0].name]
        if actual is None:
            raise TagNotFound(dataset_id, name)
        if actual != moves[0].before:
            raise RevisionConflict(f"{dataset_id}@{name}", expected=moves[0].before, actual=actual)
        raise AlreadyExists(f"tag {moves[-1].name.removeprefix('refs/tags/')} of {dataset_id}")

    # The rest of the port

    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        repository = self._current(dataset_id)
        for node in self.api.pages(graph.ISSUES, "repository", "issues", name=repository.name):
            yield Issue(node["number"], node["title"], node["state"].lower(), node["url"])

    def touched(self, since: datetime | None) -> tuple[datetime, Iterator[tuple[datetime, DatasetId]]]:
        return self._listing.touched(since)

    def verify(self, *, repair: bool = False) -> Iterator[Damage]:
        yield from self._listing.left_over(repair=repair)
        for prefix in ("", "_"):
            for dataset_id in self.ids(prefix=prefix, deleted=None):
                yield from self._verify_dataset(dataset_id)

    def _verify_dataset(self, dataset_id: DatasetId) -> Iterator[Damage]:
        try:
            head = self.resolve(dataset_id, None)
            for path in self.paths(dataset_id, head.id):
                self.read(dataset_id, head.id, path)
            list(self.tags(dataset_id))
        except DatasetNotFound:  # moved or purged meanwhile
            return
        except StorageCorrupt as error:
            yield Damage(str(dataset_id), "unreadable", str(error))

    def compact(self, dataset_id: DatasetId) -> None:
        self._current(dataset_id)  # GitHub packs by itself

    def ping(self) -> None:
        self.api.time_of_day()

    def close(self) -> None:
        self.host.close()


_storages: weakref.WeakSet[GitHubStorage] = weakref.WeakSet()


def _after_fork() -> None:
    """Free the locks in a child: the threads that held them are not there."""
    for storage in tuple(_storages):
        storage._new_locks()
        storage._listing.unlock()
        storage._cache.unlock()


os.register_at_fork(after_in_child=_after_fork)
