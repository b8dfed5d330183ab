"""What storages of Git objects have in common: objects and references in, revisions and tags out.

An adapter brings `Repository` (objects and references of one dataset) and opens, locks and makes them; how revisions
are resolved, read, appended and tagged is written here once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache

from metastore import gitobject
from metastore.errors import (
    AlreadyExists,
    InvalidInput,
    PathNotFound,
    RevisionConflict,
    RevisionNotFound,
    StorageCorrupt,
    TagNotFound,
)
from metastore.gitobject import Commit, GitObject, blob_id, object_id
from metastore.parse import is_tag_name, looks_like_revision
from metastore.storage.base import DELETED, DELETED_CONTENT, Storage
from metastore.storage.cache import Cache
from metastore.types import BlobId, Change, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec

_DELETED_TREE = gitobject.change_tree(None, {DELETED: blob_id(DELETED_CONTENT)}, lambda tree: b"")[0]
_REMEMBERED = 8192
_STRETCH = 64


class Repository:
    """The objects and references of one dataset."""

    #: The branch that HEAD names.
    branch: str

    def __init__(self, cache: Cache) -> None:
        #: Holds what is true of an object's id for ever; may be shared between repositories.
        self.cache = cache
        #: Ids proven to be on the branch; the newest of them are kept.
        self.on_branch: dict[str, None] = {}

    @abstractmethod
    def head(self) -> RevisionId:
        """Return the newest commit of the branch."""

    @abstractmethod
    def get(self, object_id: str) -> GitObject:
        """Return an object. Raises KeyError."""

    @abstractmethod
    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object of this very dataset from where it is stored. Raises KeyError."""

    @abstractmethod
    def put(self, objects: Mapping[str, GitObject]) -> None:
        """Store objects, durably; they are not visible before a reference leads to them."""

    @abstractmethod
    def set_head(self, new: RevisionId) -> None:
        """Move the branch, durably. Only ever called under the dataset's lock, after `head` was compared."""

    @abstractmethod
    def tag_names(self) -> list[str]:
        """Return the names of all tags, sorted."""

    @abstractmethod
    def tag_target(self, name: str) -> str | None:
        """Return the object that a tag's reference holds, or None."""

    @abstractmethod
    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        """Set or (None) remove references of tags, durably and all at once. Only ever called under the dataset's lock.

        Raises:
            OutcomeUnknown: It is done, but the disk would not confirm that it stays so.
        """

    def tree(self, tree_id: str) -> bytes:
        """Return the content of a tree. Raises StorageCorrupt."""
        kind, content = _object(self, tree_id)
        if kind != gitobject.TREE:
            raise StorageCorrupt(f"the object {tree_id} is no tree")
        return content

    def entry(self, tree: str, path: str) -> BlobId | None:
        """Return the blob at a path below a tree, or None where there is none. Raises StorageCorrupt."""
        key = tree, path
        blob: BlobId | None = self.cache.get(key)
        if blob is None:
            blob = gitobject.find_blob(tree, path, self.tree)
            if blob is not None:
                self.cache.put(key, blob, 300)
        return blob


class ObjectStorage(Storage):
    """A storage of Git objects; see the module."""

    @abstractmethod
    def _open(self, dataset_id: DatasetId) -> AbstractContextManager[Repository]:
        """Open the repository at an id. Raises DatasetNotFound or DatasetMoved."""

    @abstractmethod
    def _lock(self, *dataset_ids: DatasetId) -> AbstractContextManager[None]:
        """Keep every other writer away from these ids."""

    @abstractmethod
    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        """Raise unless a repository still is the one at an id. Under the dataset's lock, that stays so.

        What was written for one repository, such as the objects of a commit, is not in another.

        Raises:
            DatasetNotFound: There is none any more.
            StorageBusy: Another was made there.
        """

    @abstractmethod
    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        """Make a repository, all at once. Raises AlreadyExists."""

    def create(self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change) -> Revision:
        objects, commit = _next(None, None, files, change)
        self._make(dataset_id, objects, commit)
        return _revision(commit, gitobject.parse_commit(objects[commit].content))

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        with self._open(dataset_id) as repository:
            expect_head(dataset_id, repository, parent)
            objects, commit = _next(repository, parent, changes, change)
            repository.put(objects)
            with self._lock(dataset_id):
                self._expect_same(dataset_id, repository)
                expect_head(dataset_id, repository, parent)
                repository.set_head(commit)
            _remember(repository, commit)
        return _revision(commit, gitobject.parse_commit(objects[commit].content))

    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        with self._open(dataset_id) as repository:
            if revision is None:
                commit_id: str = repository.head()
                _remember(repository, commit_id)
            else:
                commit_id = _resolve(dataset_id, repository, revision)
            return _revision(commit_id, _commit(repository, commit_id))

    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        with self._open(dataset_id) as repository:
            tree = _checked(dataset_id, repository, revision_id).tree
            blob = repository.entry(tree, path)
            if blob is None:
                raise PathNotFound(dataset_id, revision_id, path)
            return _object(repository, blob).content

    def paths(self, dataset_id: DatasetId, revision_id: RevisionId) -> Mapping[str, BlobId]:
        with self._open(dataset_id) as repository:
            tree = _checked(dataset_id, repository, revision_id).tree
            return dict(gitobject.walk_tree(tree, repository.tree))

    def history(self, dataset_id: DatasetId, revision_id: RevisionId, *, path: str | None = None) -> Iterator[Revision]:
        with self._open(dataset_id) as repository:
            _checked(dataset_id, repository, revision_id)
            for commit_id, commit in _ancestry(repository, revision_id):
                if path is None or _changed(repository, commit, path):
                    _remember(repository, commit_id)
                    if commit.parent:  # where the next page begins
                        _remember(repository, commit.parent)
                    yield _revision(commit_id, commit)

    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        identity, made = _tag_object(tag)
        with self._open(dataset_id) as repository:
            _checked(dataset_id, repository, tag.revision)
            repository.put(made)
            with self._lock(dataset_id):
                self._expect_same(dataset_id, repository)
                if repository.tag_target(tag.name) is not None:
                    raise AlreadyExists(f"tag {tag.name} of {dataset_id}")
                repository.set_tags({tag.name: identity})
        return _tag(tag, identity)

    def tag(self, dataset_id: DatasetId, name: str) -> Tag:
        with self._open(dataset_id) as repository:
            return _read_tag(dataset_id, repository, name)

    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        with self._open(dataset_id) as repository:
            for name in repository.tag_names():
                try:
                    yield _read_tag(dataset_id, repository, name)
                except TagNotFound:  # removed meanwhile, or it names no commit
                    continue

    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        identity, made = _tag_object(new)
        with self._open(dataset_id) as repository:
            _checked(dataset_id, repository, new.revision)
            repository.put(made)
            with self._lock(dataset_id):
                self._expect_same(dataset_id, repository)
                _expect_tag(dataset_id, repository, name, expected)
                if new.name != name and repository.tag_target(new.name) is not None:
                    raise AlreadyExists(f"tag {new.name} of {dataset_id}")
                repository.set_tags({name: None} | {new.name: identity})
        return _tag(new, identity)

    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        with self._lock(dataset_id), self._open(dataset_id) as repository:
            _expect_tag(dataset_id, repository, name, expected)
            repository.set_tags({name: None})

    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        with self._open(dataset_id):
            return iter(())


def expect_head(dataset_id: DatasetId, repository: Repository, parent: str) -> None:
    """Raise RevisionConflict unless the newest revision is `parent`."""
    actual = repository.head()
    if actual != parent:
        raise RevisionConflict(dataset_id, expected=parent, actual=actual)


def is_deleted(repository: Repository) -> bool:
    """Tell whether the newest revision is a deletion."""
    return _commit(repository, repository.head()).tree == _DELETED_TREE


def _next(
    repository: Repository | None,
    parent: RevisionId | None,
    changes: Mapping[str, bytes | BlobId | None],
    change: Change,
) -> tuple[dict[str, GitObject], RevisionId]:
    """Compute the objects of the next commit, and its id."""
    objects: dict[str, GitObject] = {}
    blobs: dict[str, BlobId | None] = {}
    for path, content in changes.items():
        if isinstance(content, bytes):
            blob = blob_id(content)
            objects[blob] = GitObject(gitobject.BLOB, content)
            blobs[path] = blob
        else:
            if content is not None:
                _has_blob(repository, path, content)
            blobs[path] = content
    if repository and parent:
        tree, trees = gitobject.change_tree(_commit(repository, parent).tree, blobs, repository.tree)
    else:
        tree, trees = gitobject.change_tree(None, blobs, lambda tree: b"")
    content = gitobject.commit_content(tree, parent, change)
    commit = RevisionId(object_id(gitobject.COMMIT, content))
    objects.update(trees)
    objects[commit] = GitObject(gitobject.COMMIT, content)
    return objects, commit


def _has_blob(repository: Repository | None, path: str, blob: BlobId) -> None:
    try:
        # Not from the cache, which other datasets share.
        if repository and repository.read_uncached(blob).kind == gitobject.BLOB:
            return
    except KeyError:
        pass
    raise InvalidInput(f"there is no blob {blob} to put at {path}")


def _resolve(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    if len(text) == 40 and looks_like_revision(text):
        _checked(dataset_id, repository, text)
        return text
    if (target := _tagged_commit(repository, text)) is not None:
        return target
    if text in ("HEAD", repository.branch):
        return repository.head()
    if looks_like_revision(text):
        return _abbreviated(dataset_id, repository, text)
    raise RevisionNotFound(dataset_id, text)


def _abbreviated(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    ids = (commit_id for stretch in _stretches(repository) for commit_id in stretch.split())
    found = {commit_id for commit_id in ids if commit_id.startswith(text)}
    found |= {target for target in _tag_targets(repository) if target.startswith(text)}
    if len(found) == 1:
        return found.pop()
    if found:
        message = f"{text!r} is short for {len(found)} revisions of {dataset_id}: give more digits"
        raise RevisionNotFound(dataset_id, text, message)
    raise RevisionNotFound(dataset_id, text)


def _checked(dataset_id: DatasetId, repository: Repository, revision_id: str) -> Commit:
    """Return a commit after making sure that it is a revision: objects outlive their references."""
    if revision_id not in repository.on_branch and not _proven(repository, revision_id):
        raise RevisionNotFound(dataset_id, revision_id)
    return _commit(repository, revision_id)


def _proven(repository: Repository, revision_id: str) -> bool:
    if not looks_like_revision(revision_id) or len(revision_id) != 40:
        return False
    try:
        if repository.get(revision_id).kind != gitobject.COMMIT:
            return False
    except KeyError:
        return False
    if any(revision_id in stretch for stretch in _stretches(repository)):
        _remember(repository, revision_id)
        return True
    return revision_id in _tag_targets(repository)


def _remember(repository: Repository, revision_id: str) -> None:
    known = repository.on_branch
    known[revision_id] = None
    if len(known) > _REMEMBERED:
        known.pop(next(iter(known)), None)


def _ancestry(repository: Repository, commit_id: str | None) -> Iterator[tuple[str, Commit]]:
    """Yield a commit and its first parents."""
    while commit_id:
        commit = _commit(repository, commit_id)
        yield commit_id, commit
        commit_id = commit.parent


def _stretches(repository: Repository) -> Iterator[str]:
    """Yield the ids of the branch, newest first, many at a time with spaces between.

    They are remembered, since what comes before a commit never changes: a history of 10,000 is only read once.
    """
    start: str | None = repository.head()
    while start:
        key = "stretch", start
        found: tuple[str, str | None] | None = repository.cache.get(key)
        if found is None:
            found = _stretch(repository, start)
            repository.cache.put(key, found, len(found[0]) + 300)
        ids, start = found
        yield ids


def _stretch(repository: Repository, start: str) -> tuple[str, str | None]:
    """Return ids from a commit on, and the commit behind them, where the next stretch begins."""
    ids: list[str] = []
    for commit_id, _ in _ancestry(repository, start):
        if len(ids) == _STRETCH or (ids and repository.cache.get(("stretch", commit_id))):
            return " ".join(ids), commit_id
        ids.append(commit_id)
    return " ".join(ids), None


def _changed(repository: Repository, commit: Commit, path: str) -> bool:
    before = repository.entry(_commit(repository, commit.parent).tree, path) if commit.parent else None
    return repository.entry(commit.tree, path) != before


def _object(repository: Repository, identity: str) -> GitObject:
    try:
        return repository.get(identity)
    except KeyError:
        raise StorageCorrupt(f"the object {identity} is missing") from None


def _commit(repository: Repository, commit_id: str) -> Commit:
    kind, content = _object(repository, commit_id)
    try:
        if kind == gitobject.COMMIT:
            return _parse_commit(content)
    except (ValueError, KeyError):
        pass
    raise StorageCorrupt(f"the object {commit_id} is not a commit that can be read")


_parse_commit = lru_cache(4096)(gitobject.parse_commit)


def _revision(commit_id: str, commit: Commit) -> Revision:
    return Revision(
        RevisionId(commit_id),
        commit.parent,
        commit.author,
        commit.message,
        commit.created,
        commit.tree == _DELETED_TREE,
    )


def _tag_object(tag: TagSpec) -> tuple[str, dict[str, GitObject]]:
    content = gitobject.tag_content(tag)
    identity = object_id(gitobject.TAG, content)
    return identity, {identity: GitObject(gitobject.TAG, content)}


def _tag(tag: TagSpec, identity: str) -> Tag:
    return Tag(tag.name, identity, tag.revision, tag.description, tag.author, tag.at)


def _read_tag(dataset_id: DatasetId, repository: Repository, name: str) -> Tag:
    """Read an annotated tag, or a lightweight one, whose author and time are its commit's."""
    target = repository.tag_target(name) if is_tag_name(name) else None
    if target is None:
        raise TagNotFound(dataset_id, name)
    kind, content = _object(repository, target)
    try:
        if kind == gitobject.COMMIT:
            commit = _commit(repository, target)
            return Tag(name, target, RevisionId(target), "", commit.author, commit.created)
        tag = gitobject.parse_tag(content)
    except (ValueError, KeyError):
        raise StorageCorrupt(f"the tag {name} of {dataset_id} cannot be read") from None
    if tag.kind != gitobject.COMMIT:
        raise TagNotFound(dataset_id, name)
    return Tag(name, target, RevisionId(tag.target), tag.description, tag.author, tag.created)


def _expect_tag(dataset_id: DatasetId, repository: Repository, name: str, expected: str) -> None:
    actual = repository.tag_target(name) if is_tag_name(name) else None
    if actual is None:
        raise TagNotFound(dataset_id, name)
    if actual != expected:
        raise RevisionConflict(f"{dataset_id}@{name}", expected=expected, actual=actual)


def _tagged_commit(repository: Repository, name: str) -> str | None:
    target = repository.tag_target(name) if is_tag_name(name) else None
    if target is None:
        return None
    kind, content = _object(repository, target)
    if kind == gitobject.COMMIT:
        return target
    try:
        tag = gitobject.parse_tag(content)
    except (ValueError, KeyError):
        return None
    return tag.target if tag.kind == gitobject.COMMIT else None


def _tag_targets(repository: Repository) -> set[str]:
    commits = (_tagged_commit(repository, name) for name in repository.tag_names())
    return {commit for commit in commits if commit is not None}
