"""The common base of storages of Git objects: objects and references in, revisions and tags out.

An adapter implements a `Repository` (the objects and references of one dataset), and opens, locks and makes
repositories. Resolving, reading, appending and tagging revisions is written once, here and in `metastore.git.history`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    PathNotFound,
    RevisionConflict,
    StorageCorrupt,
    TagNotFound,
)
from metastore.git.history import (
    changes_path,
    checked_commit,
    expect_head,
    expect_tag,
    next_objects,
    read_tag,
    remember,
    resolve,
    revision_of,
    tag_at,
    tag_object,
    tag_of,
)
from metastore.git.objects import GitObject
from metastore.git.repository import Inspect, Repository, ancestry, commit_at, no_inspection, object_at, parsed_commit
from metastore.git.trees import walk_tree
from metastore.storage.port import Storage, attempt
from metastore.types import BlobId, Change, Damage, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec


class ObjectStorage(Storage):
    """A storage of Git objects; see the module."""

    #: Whether the storage keeps any object byte for byte. A host's API may support only some objects.
    carries_any_object = True
    #: How many revisions of a history are adopted at once; None for all of them.
    adopts_at_once: int | None = None

    @abstractmethod
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> AbstractContextManager[Repository]:
        """Open the repository at an id. Raises DatasetNotFound or DatasetMoved.

        If a `revision` is given, only it and its ancestors are read, so references from a moment ago are good enough. A
        write compares them again.
        """

    def _open_to_append(self, dataset_id: DatasetId, parent: RevisionId) -> AbstractContextManager[Repository]:
        """Open a repository to add a revision. Its references may be a moment old: the write compares them again."""
        return self._open(dataset_id, parent)

    @abstractmethod
    def _lock(self, *dataset_ids: DatasetId) -> AbstractContextManager[None]:
        """Keep every other writer away from these ids."""

    @abstractmethod
    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        """Check that a repository is still the one at an id. Under the dataset's lock, it remains so.

        Otherwise objects that were written to the repository, such as those of a commit, are missing from the new one.

        Raises:
            DatasetNotFound: The repository is gone.
            StorageBusy: Another repository was made there.
        """

    @abstractmethod
    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        """Make a repository, all at once. Raises AlreadyExists."""

    def create(self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change) -> Revision:
        objects, commit = next_objects(None, None, files, change)
        with attempt(None, commit):
            self._make(dataset_id, objects, commit)
        return revision_of(commit, parsed_commit(objects[commit].content))

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        with attempt(parent) as ids, self._open_to_append(dataset_id, parent) as repository:
            if (newest := repository.newest()) != parent:  # before objects are stored in vain
                raise RevisionConflict(dataset_id, expected=parent, actual=newest)
            objects, commit = next_objects(repository, parent, changes, change)
            ids.wanted = commit
            self._advance(dataset_id, repository, objects, commit, parent)
        return revision_of(commit, parsed_commit(objects[commit].content))

    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        with self._open(dataset_id) as repository:
            commit_id = _commit_id(dataset_id, repository, revision)
            return revision_of(commit_id, commit_at(repository, commit_id))

    def find(self, dataset_id: DatasetId, revision: str | None, path: str) -> tuple[Revision, bytes | None]:
        with self._open(dataset_id) as repository:
            commit_id = _commit_id(dataset_id, repository, revision)
            commit = commit_at(repository, commit_id)
            blob = repository.entry(commit.tree, path)
            content = object_at(repository, blob).content if blob is not None else None
            return revision_of(commit_id, commit), content

    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        with self._open(dataset_id, revision_id) as repository:
            return object_at(repository, _blob_at(dataset_id, repository, revision_id, path)).content

    def size(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> int | None:
        with self._open(dataset_id, revision_id) as repository:
            return repository.size(_blob_at(dataset_id, repository, revision_id, path))

    def paths(self, dataset_id: DatasetId, revision_id: RevisionId) -> Mapping[str, BlobId]:
        with self._open(dataset_id, revision_id) as repository:
            tree = checked_commit(dataset_id, repository, revision_id).tree
            return dict(walk_tree(tree, repository.tree))

    def history(self, dataset_id: DatasetId, revision_id: RevisionId, *, path: str | None = None) -> Iterator[Revision]:
        with self._open(dataset_id, revision_id) as repository:
            repository.prepare(revision_id, with_trees=path is not None)
            checked_commit(dataset_id, repository, revision_id)
            for commit_id, commit in ancestry(repository, revision_id):
                if path is None or changes_path(repository, commit, path):
                    remember(repository, commit_id)
                    if commit.parent:  # where the next page begins
                        remember(repository, commit.parent)
                    yield revision_of(commit_id, commit)

    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        identity, made = tag_object(tag)
        with attempt(None, identity), self._open(dataset_id) as repository:
            checked_commit(dataset_id, repository, tag.revision)
            self._add_tag(dataset_id, repository, made, tag.name, identity)
        return tag_of(tag, identity)

    def tag(self, dataset_id: DatasetId, name: str) -> Tag:
        with self._open(dataset_id) as repository:
            return read_tag(dataset_id, repository, name)

    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        with self._open(dataset_id) as repository:
            for name, target in repository.tag_targets().items():
                with suppress(TagNotFound):  # it names no commit
                    yield tag_at(dataset_id, repository, name, target)

    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        identity, made = tag_object(new)
        with attempt(expected, identity), self._open(dataset_id) as repository:
            checked_commit(dataset_id, repository, new.revision)
            repository.put(made)
            with self._lock(dataset_id):
                self._expect_same(dataset_id, repository)
                with repository.tags_locked(name, new.name):
                    expect_tag(dataset_id, repository, name, expected)
                    if new.name != name and repository.tag_target(new.name) is not None:
                        raise AlreadyExists(f"tag {new.name} of {dataset_id}")
                    repository.set_tags({name: None} | {new.name: identity})
        return tag_of(new, identity)

    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        with (
            attempt(expected),
            self._lock(dataset_id),
            self._open(dataset_id) as repository,
            repository.tags_locked(name),
        ):
            expect_tag(dataset_id, repository, name, expected)
            repository.set_tags({name: None})

    def objects(self, dataset_id: DatasetId) -> AbstractContextManager[Repository]:
        """Open the objects and references of a dataset, for reading. Raises DatasetNotFound or DatasetMoved."""
        return self._open(dataset_id)

    def adopt(
        self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId, *, parent: RevisionId | None
    ) -> None:
        """Add revisions that were made elsewhere on top of `parent`, atomically; if it is None, make a new dataset.

        Args:
            dataset_id: A live or deleted dataset, or a free id if `parent` is None.
            objects: The objects that `head` needs and the dataset lacks, by id.
            head: The newest of the new revisions. The oldest of them follows `parent`.
            parent: The revision that the caller believes to be the newest.

        Raises:
            AlreadyExists: The id is taken, and `parent` is None.
            RevisionConflict: `parent` is not the newest revision.
        """
        if parent is None:
            self._make(dataset_id, objects, head)
            return
        with self._open(dataset_id) as repository:
            expect_head(dataset_id, repository, parent)
            self._advance(dataset_id, repository, objects, head, parent)

    def adopt_tag(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], name: str, target: str) -> None:
        """Create a tag whose object was made elsewhere. Raises AlreadyExists."""
        with self._open(dataset_id) as repository:
            self._add_tag(dataset_id, repository, objects, name, target)

    def _advance(
        self,
        dataset_id: DatasetId,
        repository: Repository,
        objects: Mapping[str, GitObject],
        head: RevisionId,
        parent: RevisionId,
    ) -> None:
        repository.put(objects)
        with self._lock(dataset_id):
            self._expect_same(dataset_id, repository)
            with repository.branch_locked():
                expect_head(dataset_id, repository, parent)
                repository.set_head(head)
        remember(repository, head)

    def _add_tag(
        self, dataset_id: DatasetId, repository: Repository, objects: Mapping[str, GitObject], name: str, target: str
    ) -> None:
        repository.put(objects)
        with self._lock(dataset_id):
            self._expect_same(dataset_id, repository)
            with repository.tags_locked(name):
                if repository.tag_target(name) is not None:
                    raise AlreadyExists(f"tag {name} of {dataset_id}")
                repository.set_tags({name: target})

    def verify(self, *, repair: bool = False, inspect: Inspect = no_inspection) -> Iterator[Damage]:
        yield from self._left_over(repair=repair)
        for prefix in ("", "_"):
            for dataset_id in self.ids(prefix=prefix, deleted=None):
                with suppress(DatasetNotFound):  # purged meanwhile
                    yield from self._verify_where_it_is(dataset_id, inspect, repair=repair)

    def _verify_where_it_is(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        """Yield the damage of a dataset. If it moves meanwhile, follow it: its new id may already have been passed."""
        try:
            yield from self._verify_dataset(dataset_id, inspect, repair=repair)
        except DatasetMoved as moved:
            yield from self._verify_dataset(moved.new_id, inspect, repair=repair)

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        """Yield, and remove if asked to, what interrupted writes left outside of the datasets."""
        return iter(())

    def _verify_dataset(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        """Yield the damage of one dataset. Raises DatasetNotFound."""
        from metastore.git.verify import verify  # few programs need it

        try:
            with self._open_uncached(dataset_id) as repository:
                yield from verify(repository, dataset_id, inspect)
        except StorageCorrupt as error:
            yield Damage(str(dataset_id), "unreadable", str(error))

    def _open_uncached(self, dataset_id: DatasetId) -> AbstractContextManager[Repository]:
        """Open a repository so that all of it is read from where it is stored. Raises DatasetNotFound."""
        return self._open(dataset_id)

    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        with self._open(dataset_id):
            return iter(())


def _blob_at(dataset_id: DatasetId, repository: Repository, revision_id: RevisionId, path: str) -> BlobId:
    blob = repository.entry(checked_commit(dataset_id, repository, revision_id).tree, path)
    if blob is None:
        raise PathNotFound(dataset_id, revision_id, path)
    return blob


def _commit_id(dataset_id: DatasetId, repository: Repository, revision: str | None) -> str:
    if revision is not None:
        return resolve(dataset_id, repository, revision)
    newest: str = repository.newest()
    remember(repository, newest)
    return newest
