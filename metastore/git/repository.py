"""The objects and references of one dataset. Each storage of Git objects implements them.

Objects are read by id. A branch names the newest commit, and each commit its parents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

from metastore.errors import StorageCorrupt
from metastore.git.cache import Cache
from metastore.git.objects import BLOB, COMMIT, TREE, Commit, GitObject, blob_id, first_parent, parse_commit
from metastore.git.trees import change_tree, find_blob
from metastore.types import DELETED, DELETED_CONTENT, BlobId, DatasetId, RevisionId

#: Returns a fault in the content of a file in the root of a dataset (id, path, content), or None: for `verify`.
Inspect = Callable[[DatasetId, str, bytes], str | None]
#: The beginnings of the full names of branches and tags.
HEADS, TAGS = "refs/heads/", "refs/tags/"
#: The id of the whole tree of a deletion.
DELETED_TREE = change_tree(None, {DELETED: blob_id(DELETED_CONTENT)}, lambda tree: b"")[0]
_STRETCH = 64


def no_inspection(dataset_id: DatasetId, path: str, content: bytes) -> str | None:
    """Accept any content."""
    return None


class ReadableRepository(ABC):
    """The objects and references of one dataset, to read."""

    #: The branch that HEAD names.
    branch: str

    def __init__(self, cache: Cache) -> None:
        #: Holds facts that follow from an object's id and never change; can be shared between repositories.
        self.cache = cache
        #: Ids that are known to be on the branch; the newest of them are kept.
        self.on_branch: dict[str, None] = {}

    @abstractmethod
    def head(self) -> RevisionId:
        """Return the newest commit of the branch."""

    def newest(self) -> RevisionId:
        """Return the newest commit of the branch as of a moment ago, which a read may use. A write compares `head`."""
        return self.head()

    @abstractmethod
    def get(self, object_id: str) -> GitObject:
        """Return an object. Raises KeyError."""

    @abstractmethod
    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object of this dataset from its storage, past every cache. Raises KeyError."""

    def size(self, object_id: str) -> int | None:
        """Return the size of an object's content in bytes; None if only reading it would tell."""
        found: GitObject | None = self.cache.get(object_id)
        return len(found.content) if found else None

    @abstractmethod
    def tag_names(self) -> list[str]:
        """Return the names of all tags, sorted."""

    @abstractmethod
    def tag_target(self, name: str) -> str | None:
        """Return the object that a tag's reference holds, or None."""

    def prepare(  # noqa: B027 - what is at hand needs no preparation
        self, start: str, *, known: str | None = None, with_trees: bool = False, with_blobs: bool = False
    ) -> None:
        """Prepare to read a commit and its ancestors (down to a known one), and fetch them together."""

    def tag_targets(self) -> Mapping[str, str]:
        """Return tag name -> the object that its reference holds."""
        found = {name: self.tag_target(name) for name in self.tag_names()}
        return {name: target for name, target in found.items() if target is not None}

    def leads_to(self, revision_id: str) -> bool:
        """Tell whether a commit is on the branch. Raises StorageCorrupt."""
        return any(revision_id in stretch for stretch in _stretches(self))

    def starting_with(self, digits: str) -> set[str]:
        """Return the commits of the branch whose ids start with some digits. Raises StorageCorrupt."""
        return {commit_id for commit_id in self.on_the_branch() if commit_id.startswith(digits)}

    def on_the_branch(self) -> Iterator[str]:
        """Yield the commits of the branch, the newest first. Raises StorageCorrupt."""
        return (commit_id for stretch in _stretches(self) for commit_id in stretch.split())

    def reference_targets(self) -> Mapping[str, str]:
        """Return full name -> object of every reference.

        Raises:
            StorageCorrupt: A reference cannot be read.
        """
        tags = {TAGS + name: target for name, target in self.tag_targets().items()}
        return {HEADS + self.branch: self.head(), **tags}

    def has_blob(self, blob: BlobId) -> bool:
        """Tell whether a blob is in this dataset. The cache does not count, since other datasets share it."""
        try:
            return self.read_uncached(blob).kind == BLOB
        except KeyError:
            return False

    def tree(self, tree_id: str) -> bytes:
        """Return the content of a tree. Raises StorageCorrupt."""
        kind, content = object_at(self, tree_id)
        if kind != TREE:
            raise StorageCorrupt(f"the object {tree_id} is not a tree")
        return content

    def entry(self, tree: str, path: str) -> BlobId | None:
        """Return the blob at a path below a tree, or None if there is none. Raises StorageCorrupt."""
        key = tree, path
        blob: BlobId | None = self.cache.get(key)
        if blob is None:
            blob = find_blob(tree, path, self.tree)
            if blob is not None:
                self.cache.put(key, blob, 300)
        return blob


class Repository(ReadableRepository):
    """The objects and references of one dataset, to read and to write."""

    @abstractmethod
    def put(self, objects: Mapping[str, GitObject]) -> None:
        """Store objects durably. They are not visible before a reference leads to them."""

    def branch_locked(self) -> AbstractContextManager[None]:
        """Keep programs that do not use the dataset's lock, such as Git itself, from moving the branch.

        Raises:
            StorageBusy: Such a program does not finish in time.
        """
        return nullcontext()

    @abstractmethod
    def set_head(self, new: RevisionId) -> None:
        """Move the branch durably. Only called under `branch_locked`, after a comparison with `head` there."""

    def tags_locked(self, *names: str) -> AbstractContextManager[None]:
        """Keep programs that do not use the dataset's lock, such as Git itself, from changing tags.

        Raises:
            StorageBusy: Such a program does not finish in time.
        """
        return nullcontext()

    @abstractmethod
    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        """Set or (None) remove references of tags, durably and atomically.

        Only called under `tags_locked` with these names, after a comparison there.

        Raises:
            OutcomeUnknown: The change is made, but the disk did not confirm that it is durable.
        """


def ancestry(repository: ReadableRepository, commit_id: str | None) -> Iterator[tuple[str, Commit]]:
    """Yield a commit and its first parents."""
    while commit_id:
        commit = commit_at(repository, commit_id)
        yield commit_id, commit
        commit_id = commit.parent


def _stretches(repository: ReadableRepository) -> Iterator[str]:
    """Yield the ids of the branch, newest first, many at a time in one text, separated by spaces.

    They are cached, since the ancestors of a commit never change: a history of 10,000 revisions is read only once.
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


def _stretch(repository: ReadableRepository, start: str) -> tuple[str, str | None]:
    """Return the ids from a commit on, and the commit at which the next stretch begins."""
    ids: list[str] = []
    commit_id: str | None = start
    while commit_id:
        # A stretch ends where a cached one begins. So a new revision is cached alone, and not all ids again with it.
        if len(ids) == _STRETCH or (ids and repository.cache.get(("stretch", commit_id))):
            return " ".join(ids), commit_id
        ids.append(commit_id)
        commit_id = _first_parent(repository, commit_id)
    return " ".join(ids), None


def _first_parent(repository: ReadableRepository, commit_id: str) -> str | None:
    """Return the parent of a commit that must exist. Reading all of the commit takes much longer."""
    kind, content = object_at(repository, commit_id)
    try:
        if kind == COMMIT:
            return first_parent(content)
    except ValueError:
        pass
    raise StorageCorrupt(f"the object {commit_id} is not a commit that can be read")


def object_at(repository: ReadableRepository, identity: str) -> GitObject:
    """Return an object that must exist. Raises StorageCorrupt."""
    try:
        return repository.get(identity)
    except KeyError:
        raise StorageCorrupt(f"the object {identity} is missing") from None


def commit_at(repository: ReadableRepository, commit_id: str) -> Commit:
    """Return a commit that must exist. Raises StorageCorrupt."""
    kind, content = object_at(repository, commit_id)
    try:
        if kind == COMMIT:
            return parsed_commit(content)
    except ValueError:
        pass
    raise StorageCorrupt(f"the object {commit_id} is not a commit that can be read")


@lru_cache(4096)
def parsed_commit(content: bytes) -> Commit:
    """Return what `parse_commit` does, and remember it: a commit is read again and again once it is written."""
    return parse_commit(content)
