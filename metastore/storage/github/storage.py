"""Datasets in repositories on GitHub, or on a GitHub Enterprise Server: one account or organisation per store.

```
github.com/OWNER/NAME                       the dataset owner/name: clone it, read its log
github.com/OWNER/metastore-own.journal      the journal
github.com/OWNER/metastore-tmp.…            a dataset that is being made
```

Objects are stored by REST, and references are moved by GraphQL's `updateRefs`, which compares before it sets: no write
is ever lost, even if others push or force. Two actions take more than one step on GitHub: a rename compares the head
just before it, and a purge first puts a mark on the branch that no writer builds on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from metastore.errors import (
    AlreadyExists,
    RevisionConflict,
    StorageBusy,
    TagNotFound,
)
from metastore.git.cache import Cache
from metastore.git.history import (
    checked_commit,
    expect_head,
    next_objects,
    resolve,
    revision_of,
    tag_at,
    tag_object,
    tag_of,
)
from metastore.git.objects import GitObject
from metastore.git.repository import Repository, commit_at
from metastore.http.client import Host
from metastore.http.responses import Redirected
from metastore.parse import is_tag_name
from metastore.storage._cursors import by_time, moment_of
from metastore.storage.github import _queries
from metastore.storage.github._api import GitHubApi
from metastore.storage.github._directory import Known
from metastore.storage.github._graphql import Move
from metastore.storage.github._lifecycle import Maker
from metastore.storage.github._listing import Listing
from metastore.storage.github._repository import GitHubRepository
from metastore.storage.naming import Naming
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import Storage, attempt
from metastore.types import BlobId, Change, Damage, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec


class GitHubStorage(ObjectStorage):
    """Datasets of one account or organisation.

    Safe to share between threads, and usable after a fork.

    Args:
        host: The API; see `metastore.storage.github.connect`.
        owner: The account or organisation.
        private: Whether new repositories are private.
        description: The description of new repositories; can contain `{owner}` and `{name}`.
        topic: A topic for new repositories; only repositories that have it are listed. None for none.
        cache_bytes: The size of the cache in memory.
    """

    carries_any_object = False
    may_arrive_late = True

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
        self._cache_bytes = cache_bytes
        self._cache = Cache(cache_bytes)
        self._known = Known(self.api, self.naming, self._cache)
        self._listing = Listing(self.api, self.naming, topic, self._known)
        self._maker = Maker(self.api, self._cache, private=private, description=description, topic=topic)

    @property
    def clone_template(self) -> str:
        """The address of repositories for Git, with `{name}` in it."""
        base = self.host.base
        web = base.removesuffix("/api/v3") if base.endswith("/api/v3") else base.replace("://api.", "://", 1)
        return f"{web}/{self.api.owner}/{{name}}.git"

    # What ObjectStorage needs

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        yield self._known.current(dataset_id)

    @contextmanager
    def _lock(self, *dataset_ids: DatasetId) -> Iterator[None]:
        yield  # GitHub compares and sets, so no lock is needed

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # moves identify the repository by its node id

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        name = self.naming.repository(dataset_id)
        self._known.expect_free(dataset_id)
        made = self._maker.make(dataset_id, name, objects, head)
        self._changed(dataset_id)
        self._known.keep(dataset_id, made)

    def _changed(self, *dataset_ids: DatasetId) -> None:
        """Note that ids were created, moved or purged, and look them up again."""
        self._known.forget(*dataset_ids)
        self._listing.note(dataset_ids)

    # Revisions

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        with attempt(parent) as ids, self._known.writing(dataset_id) as repository:
            if repository.head() != parent:
                repository = self._known.current(dataset_id, fresh=True)
                expect_head(dataset_id, repository, parent)
            objects, commit = next_objects(repository, parent, changes, change)
            ids.wanted = commit
            repository.put(objects)
            actual = repository.move_head(parent, commit)
        if actual is not None:
            self._known.forget(dataset_id)
            raise RevisionConflict(dataset_id, expected=parent, actual=actual)
        repository.on_branch[commit] = None
        return revision_of(commit, commit_at(repository, commit))

    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        repository = self._known.current(dataset_id, fresh=True)
        commit_id = repository.head() if revision is None else resolve(dataset_id, repository, revision)
        if revision is None:
            repository.on_branch[commit_id] = None
        return revision_of(commit_id, commit_at(repository, commit_id))

    def find(self, dataset_id: DatasetId, revision: str | None, path: str) -> tuple[Revision, bytes | None]:
        return Storage.find(self, dataset_id, revision, path)  # the head is known from a moment ago, so ask again

    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        def read() -> bytes:
            self._bring(dataset_id, revision_id)
            return ObjectStorage.read(self, dataset_id, revision_id, path)

        return self._known.twice(dataset_id, read)

    def paths(self, dataset_id: DatasetId, revision_id: RevisionId) -> Mapping[str, BlobId]:
        def paths() -> Mapping[str, BlobId]:
            self._bring(dataset_id, revision_id)
            return ObjectStorage.paths(self, dataset_id, revision_id)

        found = self._known.twice(dataset_id, paths)
        self._known.current(dataset_id).remember_blobs(list(found.values()))
        return found

    def _bring(self, dataset_id: DatasetId, revision_id: RevisionId) -> None:
        """Fetch a revision with the parts that are usually read, rather than piece by piece."""
        repository = self._known.current(dataset_id)
        if self._cache.get(checked_commit(dataset_id, repository, revision_id).tree) is None:
            with suppress(KeyError):
                repository.read_uncached(revision_id)

    def history(self, dataset_id: DatasetId, revision_id: RevisionId, *, path: str | None = None) -> Iterator[Revision]:
        self._known.twice(dataset_id, lambda: checked_commit(dataset_id, self._known.current(dataset_id), revision_id))
        yield from super().history(dataset_id, revision_id, path=path)

    # Whole datasets

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        return self._listing.ids(prefix, after, deleted)

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        new_name = self.naming.repository(new_id)
        repository = self._known.current(dataset_id, fresh=True)
        expect_head(dataset_id, repository, parent)
        try:
            with attempt(parent):
                self._maker.rename(repository.name, new_name, repository.seen.node_id, new_id, parent)
        except Redirected:
            raise StorageBusy(f"{dataset_id} was moved or purged meanwhile; try again") from None
        finally:
            self._changed(dataset_id, new_id)

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        repository = self._known.current(dataset_id, fresh=True)
        expect_head(dataset_id, repository, parent)
        try:
            with attempt(parent):
                actual = self._maker.purge(repository, parent)
        finally:
            self._changed(dataset_id)
        if actual is not None:
            raise RevisionConflict(dataset_id, expected=parent, actual=actual)

    # Tags

    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        identity, objects = tag_object(tag)
        self._known.twice(dataset_id, lambda: checked_commit(dataset_id, self._known.current(dataset_id), tag.revision))
        with attempt(None, identity), self._known.writing(dataset_id) as repository:
            repository.put(objects)
            actual = repository.move([Move(f"refs/tags/{tag.name}", None, identity)])
        if actual:
            raise AlreadyExists(f"tag {tag.name} of {dataset_id}")
        return tag_of(tag, identity)

    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        repository = self._known.current(dataset_id)
        for name, target in repository.tag_targets().items():
            try:
                yield tag_at(dataset_id, repository, name, target)
            except TagNotFound:  # it does not name a commit
                continue

    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        identity, made = tag_object(new)
        self._known.twice(dataset_id, lambda: checked_commit(dataset_id, self._known.current(dataset_id), new.revision))
        moves = [Move(f"refs/tags/{name}", expected, identity)]
        if new.name != name:
            moves = [Move(f"refs/tags/{name}", expected, None), Move(f"refs/tags/{new.name}", None, identity)]
        self._move_tag(dataset_id, name, moves, made)
        return tag_of(new, identity)

    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        self._move_tag(dataset_id, name, [Move(f"refs/tags/{name}", expected, None)], {})

    def _move_tag(self, dataset_id: DatasetId, name: str, moves: list[Move], objects: Mapping[str, GitObject]) -> None:
        with attempt(moves[0].before, moves[-1].after), self._known.writing(dataset_id) as repository:
            if not is_tag_name(name):
                raise TagNotFound(dataset_id, name)
            repository.put(objects)
            actual = repository.move(moves)
        if actual is None:
            return
        current = actual[moves[0].name]
        if current is None:
            raise TagNotFound(dataset_id, name)
        if current != moves[0].before:
            raise RevisionConflict(f"{dataset_id}@{name}", expected=moves[0].before, actual=current)
        raise AlreadyExists(f"tag {moves[-1].name.removeprefix('refs/tags/')} of {dataset_id}")

    # The rest of the port

    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        repository = self._known.current(dataset_id)
        for node in self.api.graph.pages(_queries.ISSUES, "repository", "issues", name=repository.name):
            yield Issue(node.number("number"), node.text("title"), node.text("state").lower(), node.text("url"))

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        return by_time(*self._listing.touched(moment_of(since)))

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        return self._listing.left_over(repair=repair)

    @contextmanager
    def _open_uncached(self, dataset_id: DatasetId) -> Iterator[Repository]:
        seen = self._known.current(dataset_id, fresh=True)
        yield GitHubRepository(self.api, seen.name, Cache(self._cache_bytes), seen.seen)

    def compact(self, dataset_id: DatasetId) -> None:
        self._known.current(dataset_id)  # GitHub packs on its own

    def ping(self) -> None:
        self.api.time_of_day()

    def close(self) -> None:
        self.host.close()
