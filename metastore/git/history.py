"""Finding things in the objects and references of one dataset: revisions, their order, and tags."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

from metastore import git
from metastore.errors import RevisionConflict, RevisionNotFound, StorageCorrupt, TagNotFound
from metastore.git.cache import Cache
from metastore.git.objects import Commit, GitObject, blob_id
from metastore.parse import is_tag_name, looks_like_revision
from metastore.types import DELETED, DELETED_CONTENT, BlobId, DatasetId, Revision, RevisionId, Tag

#: The id of the whole tree of a deletion.
DELETED_TREE = git.change_tree(None, {DELETED: blob_id(DELETED_CONTENT)}, lambda tree: b"")[0]
_REMEMBERED = 1024
_STRETCH = 64


class Repository(ABC):
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

    def newest(self) -> RevisionId:
        """Return the newest commit of the branch, for a read; a write compares `head`."""
        return self.head()

    @abstractmethod
    def get(self, object_id: str) -> GitObject:
        """Return an object. Raises KeyError."""

    @abstractmethod
    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object of this very dataset from where it is stored. Raises KeyError."""

    @abstractmethod
    def put(self, objects: Mapping[str, GitObject]) -> None:
        """Store objects, durably; they are not visible before a reference leads to them."""

    def branch_locked(self) -> AbstractContextManager[None]:
        """Keep programs that do not know the dataset's lock, such as Git itself, from moving the branch.

        Raises:
            StorageBusy: Such a program is at work, and does not come to its end.
        """
        return nullcontext()

    @abstractmethod
    def set_head(self, new: RevisionId) -> None:
        """Move the branch, durably. Only ever called under `branch_locked`, after `head` was compared there."""

    @abstractmethod
    def tag_names(self) -> list[str]:
        """Return the names of all tags, sorted."""

    @abstractmethod
    def tag_target(self, name: str) -> str | None:
        """Return the object that a tag's reference holds, or None."""

    def tags_locked(self, *names: str) -> AbstractContextManager[None]:
        """Keep programs that do not know the dataset's lock, such as Git itself, from changing tags.

        Raises:
            StorageBusy: Such a program is at work, and does not come to its end.
        """
        return nullcontext()

    @abstractmethod
    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        """Set or (None) remove references of tags, durably and all at once.

        Only ever called under `tags_locked` with these names, after they were compared there.

        Raises:
            OutcomeUnknown: It is done, but the disk would not confirm that it stays so.
        """

    def prepare(  # noqa: B027 - what is at hand needs no preparation
        self, start: str, *, known: str | None = None, with_trees: bool = False, with_blobs: bool = False
    ) -> None:
        """Expect that a commit and those before it (down to a known one) are read soon, and fetch them together."""

    def tag_targets(self) -> Mapping[str, str]:
        """Return the object that the reference of each tag holds, by name."""
        found = {name: self.tag_target(name) for name in self.tag_names()}
        return {name: target for name, target in found.items() if target is not None}

    def leads_to(self, revision_id: str) -> bool:
        """Tell whether a commit is on the branch. Raises StorageCorrupt."""
        return any(revision_id in stretch for stretch in _stretches(self))

    def starting_with(self, digits: str) -> set[str]:
        """Return the commits of the branch whose ids start with some digits. Raises StorageCorrupt."""
        ids = (commit_id for stretch in _stretches(self) for commit_id in stretch.split())
        return {commit_id for commit_id in ids if commit_id.startswith(digits)}

    def reference_targets(self) -> Mapping[str, str]:
        """Return every reference by its full name, and the object that it holds.

        Raises:
            StorageCorrupt: A reference cannot be read.
        """
        tags = {f"refs/tags/{name}": target for name, target in self.tag_targets().items()}
        return {f"refs/heads/{self.branch}": self.head(), **tags}

    def has_blob(self, blob: BlobId) -> bool:
        """Tell whether a blob is in this very dataset; the cache, which others share, does not count."""
        try:
            return self.read_uncached(blob).kind == git.BLOB
        except KeyError:
            return False

    def tree(self, tree_id: str) -> bytes:
        """Return the content of a tree. Raises StorageCorrupt."""
        kind, content = object_at(self, tree_id)
        if kind != git.TREE:
            raise StorageCorrupt(f"the object {tree_id} is no tree")
        return content

    def entry(self, tree: str, path: str) -> BlobId | None:
        """Return the blob at a path below a tree, or None where there is none. Raises StorageCorrupt."""
        key = tree, path
        blob: BlobId | None = self.cache.get(key)
        if blob is None:
            blob = git.find_blob(tree, path, self.tree)
            if blob is not None:
                self.cache.put(key, blob, 300)
        return blob


def expect_head(dataset_id: DatasetId, repository: Repository, parent: str) -> None:
    """Raise RevisionConflict unless the newest revision is `parent`."""
    actual = repository.head()
    if actual != parent:
        raise RevisionConflict(dataset_id, expected=parent, actual=actual)


def is_deleted(repository: Repository) -> bool:
    """Tell whether the newest revision is a deletion."""
    return commit_at(repository, repository.head()).tree == DELETED_TREE


def resolve(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    """Return the commit that a text names; see `Storage.resolve`. Raises RevisionNotFound."""
    if len(text) == 40 and looks_like_revision(text):
        checked_commit(dataset_id, repository, text)
        return text
    if (target := _tagged_commit(repository, text)) is not None:
        return target
    if text in ("HEAD", repository.branch):
        return repository.head()
    if looks_like_revision(text):
        return _abbreviated(dataset_id, repository, text)
    raise RevisionNotFound(dataset_id, text)


def _abbreviated(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    found = repository.starting_with(text)
    found |= {target for target in _tag_targets(repository) if target.startswith(text)}
    if len(found) == 1:
        return found.pop()
    if found:
        message = f"{text!r} is short for {len(found)} revisions of {dataset_id}: give more digits"
        raise RevisionNotFound(dataset_id, text, message)
    raise RevisionNotFound(dataset_id, text)


def checked_commit(dataset_id: DatasetId, repository: Repository, revision_id: str) -> Commit:
    """Return a commit after making sure that it is a revision: objects outlive their references."""
    if revision_id not in repository.on_branch and not _proven(repository, revision_id):
        raise RevisionNotFound(dataset_id, revision_id)
    return commit_at(repository, revision_id)


def _proven(repository: Repository, revision_id: str) -> bool:
    if not looks_like_revision(revision_id) or len(revision_id) != 40:
        return False
    try:
        if repository.get(revision_id).kind != git.COMMIT:
            return False
    except KeyError:
        return False
    if repository.leads_to(revision_id):
        remember(repository, revision_id)
        return True
    return revision_id in _tag_targets(repository)


def remember(repository: Repository, revision_id: str) -> None:
    """Keep in mind that a commit is on the branch."""
    known = repository.on_branch
    known[revision_id] = None
    if len(known) > _REMEMBERED:
        known.pop(next(iter(known)), None)


def ancestry(repository: Repository, commit_id: str | None) -> Iterator[tuple[str, Commit]]:
    """Yield a commit and its first parents."""
    while commit_id:
        commit = commit_at(repository, commit_id)
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
    for commit_id, _ in ancestry(repository, start):
        if len(ids) == _STRETCH or (ids and repository.cache.get(("stretch", commit_id))):
            return " ".join(ids), commit_id
        ids.append(commit_id)
    return " ".join(ids), None


def changes_path(repository: Repository, commit: Commit, path: str) -> bool:
    """Tell whether a commit changed what is at a path."""
    before = repository.entry(commit_at(repository, commit.parent).tree, path) if commit.parent else None
    return repository.entry(commit.tree, path) != before


def object_at(repository: Repository, identity: str) -> GitObject:
    """Return an object that has to be there. Raises StorageCorrupt."""
    try:
        return repository.get(identity)
    except KeyError:
        raise StorageCorrupt(f"the object {identity} is missing") from None


def commit_at(repository: Repository, commit_id: str) -> Commit:
    """Return a commit that has to be there. Raises StorageCorrupt."""
    kind, content = object_at(repository, commit_id)
    try:
        if kind == git.COMMIT:
            return _parse_commit(content)
    except (ValueError, KeyError):
        pass
    raise StorageCorrupt(f"the object {commit_id} is not a commit that can be read")


_parse_commit = lru_cache(4096)(git.parse_commit)


def revision_of(commit_id: str, commit: Commit) -> Revision:
    """Return a commit as a revision."""
    return Revision(
        RevisionId(commit_id),
        commit.parent,
        commit.author,
        commit.message,
        commit.created,
        commit.tree == DELETED_TREE,
    )


def read_tag(dataset_id: DatasetId, repository: Repository, name: str) -> Tag:
    """Read an annotated tag, or a lightweight one, whose author and time are its commit's."""
    target = repository.tag_target(name) if is_tag_name(name) else None
    if target is None:
        raise TagNotFound(dataset_id, name)
    return tag_at(dataset_id, repository, name, target)


def tag_at(dataset_id: DatasetId, repository: Repository, name: str, target: str) -> Tag:
    """Return a tag whose reference holds `target`. Raises TagNotFound where that is no commit's."""
    kind, content = object_at(repository, target)
    try:
        if kind == git.COMMIT:
            commit = commit_at(repository, target)
            return Tag(name, target, RevisionId(target), "", commit.author, commit.created)
        if kind != git.TAG:
            raise TagNotFound(dataset_id, name)
        tag = git.parse_tag(content)
    except (ValueError, KeyError):
        raise StorageCorrupt(f"the tag {name} of {dataset_id} cannot be read") from None
    if tag.kind != git.COMMIT:
        raise TagNotFound(dataset_id, name)
    return Tag(name, target, RevisionId(tag.target), tag.description, tag.author, tag.created)


def expect_tag(dataset_id: DatasetId, repository: Repository, name: str, expected: str) -> None:
    """Raise TagNotFound or RevisionConflict unless a tag is there and has this id."""
    actual = repository.tag_target(name) if is_tag_name(name) else None
    if actual is None:
        raise TagNotFound(dataset_id, name)
    if actual != expected:
        raise RevisionConflict(f"{dataset_id}@{name}", expected=expected, actual=actual)


def _tagged_commit(repository: Repository, name: str) -> str | None:
    target = repository.tag_target(name) if is_tag_name(name) else None
    return _commit_of(repository, target) if target is not None else None


def _commit_of(repository: Repository, target: str) -> str | None:
    kind, content = object_at(repository, target)
    if kind == git.COMMIT:
        return target
    try:
        tag = git.parse_tag(content)
    except (ValueError, KeyError):
        return None
    return tag.target if tag.kind == git.COMMIT else None


def _tag_targets(repository: Repository) -> set[str]:
    commits = (_commit_of(repository, target) for target in repository.tag_targets().values())
    return {commit for commit in commits if commit is not None}
