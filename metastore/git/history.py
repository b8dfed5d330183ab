"""Finds revisions and tags in the objects and references of a dataset, and computes the objects of new ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from metastore.errors import InvalidInput, RevisionConflict, RevisionNotFound, StorageCorrupt, TagNotFound
from metastore.git.objects import (
    BLOB,
    COMMIT,
    TAG,
    Commit,
    GitObject,
    blob_id,
    commit_content,
    object_id,
    parse_tag,
    tag_content,
)
from metastore.git.repository import DELETED_TREE, Repository, commit_at, object_at
from metastore.git.trees import change_tree
from metastore.parse import is_full_id, is_tag_name, looks_like_revision
from metastore.types import BlobId, Change, DatasetId, Revision, RevisionId, Tag, TagSpec

_REMEMBERED = 1024


def expect_head(dataset_id: DatasetId, repository: Repository, parent: str) -> None:
    """Raise RevisionConflict unless the newest revision is `parent`."""
    actual = repository.head()
    if actual != parent:
        raise RevisionConflict(dataset_id, expected=parent, actual=actual)


def is_deleted(repository: Repository) -> bool:
    """Tell whether the newest revision is a deletion."""
    return commit_at(repository, repository.head()).tree == DELETED_TREE


def resolve(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    """Return the commit that a text names; see `Storage.resolve`. Raises RevisionNotFound or StorageCorrupt."""
    if is_full_id(text):
        checked_commit(dataset_id, repository, text)
        return text
    if (tagged := _tagged_commit(dataset_id, repository, text)) is not None:
        return tagged
    if text in ("HEAD", repository.branch):
        return repository.head()
    if looks_like_revision(text):
        return _abbreviated(dataset_id, repository, text)
    raise RevisionNotFound(dataset_id, text)


def _tagged_commit(dataset_id: DatasetId, repository: Repository, name: str) -> str | None:
    """Return the commit that a tag names, or None. Raises StorageCorrupt if the tag is damaged."""
    with suppress(TagNotFound):
        return read_tag(dataset_id, repository, name).revision
    return None


def _abbreviated(dataset_id: DatasetId, repository: Repository, text: str) -> str:
    found = repository.starting_with(text)
    found |= {target for target in _tag_targets(dataset_id, repository) if target.startswith(text)}
    if len(found) == 1:
        return found.pop()
    if found:
        message = f"{text!r} is short for {len(found)} revisions of {dataset_id}: give more digits"
        raise RevisionNotFound(dataset_id, text, message)
    raise RevisionNotFound(dataset_id, text)


def checked_commit(dataset_id: DatasetId, repository: Repository, revision_id: str) -> Commit:
    """Return a commit, after a check that it is a revision: objects outlive their references."""
    if revision_id not in repository.on_branch and not _is_revision(dataset_id, repository, revision_id):
        raise RevisionNotFound(dataset_id, revision_id)
    return commit_at(repository, revision_id)


def _is_revision(dataset_id: DatasetId, repository: Repository, revision_id: str) -> bool:
    """Look whether the branch or a tag leads to a commit. One on the branch is remembered."""
    if not is_full_id(revision_id):
        return False
    try:
        if repository.get(revision_id).kind != COMMIT:
            return False
    except KeyError:
        return False
    if repository.leads_to(revision_id):
        remember(repository, revision_id)
        return True
    return revision_id in _tag_targets(dataset_id, repository)


def _tag_targets(dataset_id: DatasetId, repository: Repository) -> set[str]:
    """Return the commits that have a tag. A damaged tag is passed over: it must not hide the other revisions."""
    commits = set[str]()
    for name, target in repository.tag_targets().items():
        with suppress(TagNotFound, StorageCorrupt):
            commits.add(tag_at(dataset_id, repository, name, target).revision)
    return commits


def remember(repository: Repository, revision_id: str) -> None:
    """Remember that a commit is on the branch."""
    known = repository.on_branch
    known[revision_id] = None
    if len(known) > _REMEMBERED:
        known.pop(next(iter(known)), None)


def changes_path(repository: Repository, commit: Commit, path: str) -> bool:
    """Tell whether a commit changed the file at a path."""
    before = repository.entry(commit_at(repository, commit.parent).tree, path) if commit.parent else None
    return repository.entry(commit.tree, path) != before


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
    """Read an annotated tag, or a lightweight one, which has the author and time of its commit."""
    target = repository.tag_target(name) if is_tag_name(name) else None
    if target is None:
        raise TagNotFound(dataset_id, name)
    return tag_at(dataset_id, repository, name, target)


def tag_at(dataset_id: DatasetId, repository: Repository, name: str, target: str) -> Tag:
    """Return the tag whose reference holds `target`. Raises TagNotFound if `target` does not lead to a commit."""
    kind, content = object_at(repository, target)
    try:
        if kind == COMMIT:
            commit = commit_at(repository, target)
            return Tag(name, target, RevisionId(target), "", commit.author, commit.created)
        if kind != TAG:
            raise TagNotFound(dataset_id, name)
        tag = parse_tag(content)
    except ValueError:
        raise StorageCorrupt(f"the tag {name} of {dataset_id} cannot be read") from None
    if tag.kind != COMMIT:
        raise TagNotFound(dataset_id, name)
    return Tag(name, target, RevisionId(tag.target), tag.description, tag.author, tag.created)


def expect_tag(dataset_id: DatasetId, repository: Repository, name: str, expected: str) -> None:
    """Raise TagNotFound or RevisionConflict unless a tag exists and has this id."""
    actual = repository.tag_target(name) if is_tag_name(name) else None
    if actual is None:
        raise TagNotFound(dataset_id, name)
    if actual != expected:
        raise RevisionConflict(f"{dataset_id}@{name}", expected=expected, actual=actual)


def next_objects(
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
            objects[blob] = GitObject(BLOB, content)
            blobs[path] = blob
        else:
            if content is not None:
                _expect_blob(repository, path, content)
            blobs[path] = content
    if repository and parent:
        tree, trees = change_tree(commit_at(repository, parent).tree, blobs, repository.tree)
    else:
        tree, trees = change_tree(None, blobs, lambda tree: b"")
    content = commit_content(tree, parent, change)
    commit = RevisionId(object_id(COMMIT, content))
    objects.update(trees)
    objects[commit] = GitObject(COMMIT, content)
    return objects, commit


def _expect_blob(repository: Repository | None, path: str, blob: BlobId) -> None:
    if not repository or not repository.has_blob(blob):
        raise InvalidInput(f"there is no blob {blob} to put at {path}")


def tag_object(tag: TagSpec) -> tuple[str, dict[str, GitObject]]:
    """Return the id and the object of a tag."""
    content = tag_content(tag)
    identity = object_id(TAG, content)
    return identity, {identity: GitObject(TAG, content)}


def tag_of(tag: TagSpec, identity: str) -> Tag:
    """Return a tag in the state after its reference is set."""
    return Tag(tag.name, identity, tag.revision, tag.description, tag.author, tag.at)
