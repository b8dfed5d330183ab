"""The two ways to copy revisions and tags for `metastore.storage.copy`: object by object, or by the port's calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeGuard

from metastore.errors import RevisionNotFound, StorageCorrupt, TooLarge
from metastore.git.objects import COMMIT, TAG, GitObject, blob_id, commit_content, object_id, tag_content
from metastore.git.reachable import Needed
from metastore.git.trees import change_tree
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import Storage
from metastore.types import BlobId, Change, DatasetId, Revision, RevisionId, Tag, TagSpec

_Changes = Mapping[str, BlobId | None]


class LeftOut(Exception):
    """A dataset or tag cannot be copied; the message says why."""


def way_between(source: Storage, target: Storage, *, dry_run: bool) -> Carrying | Repeating:
    """Return the way to copy from one storage to another. In a dry run it changes nothing."""
    if _carries(source) and _carries(target):
        return Carrying(source, target, dry_run=dry_run)
    return Repeating(source, target, dry_run=dry_run)


def _carries(storage: Storage) -> TypeGuard[ObjectStorage]:
    return isinstance(storage, ObjectStorage) and storage.carries_any_object


class Carrying:
    """Copies Git's objects as they are."""

    def __init__(self, source: ObjectStorage, target: ObjectStorage, *, dry_run: bool) -> None:
        self._source, self._target, self._dry_run = source, target, dry_run

    def revisions(self, dataset_id: DatasetId, revisions: Sequence[Revision], ours: RevisionId | None) -> Iterator[int]:
        """Copy revisions, oldest first, on top of `ours`, in steps; yield the number of revisions in each.

        If a side refuses so many at once, half as many are tried.
        """
        step = self._target.adopts_at_once or len(revisions)
        if self._dry_run:
            yield len(revisions)
            return
        with self._source.objects(dataset_id) as repository:
            while revisions:
                now = revisions[:step]
                head = now[-1].id
                try:
                    self._target.adopt(dataset_id, Needed(repository, head, ours), head, parent=ours)
                except TooLarge as error:
                    if len(now) == 1:
                        raise LeftOut(f"revision {head[:12]} alone is too large: {error}") from None
                    step = len(now) // 2
                else:
                    ours, revisions = head, revisions[step:]
                    yield len(now)

    def tag(self, dataset_id: DatasetId, tag: Tag) -> None:
        """Copy a tag."""
        if not self._dry_run:
            with self._source.objects(dataset_id) as repository:
                known = tag.revision if repository.leads_to(tag.revision) else None
                self._target.adopt_tag(dataset_id, Needed(repository, tag.id, known), tag.name, tag.id)


class Repeating:
    """Makes each revision and tag again, and copies none that would get another id."""

    def __init__(self, source: Storage, target: Storage, *, dry_run: bool) -> None:
        self._source, self._target, self._dry_run = source, target, dry_run

    def revisions(self, dataset_id: DatasetId, revisions: Sequence[Revision], ours: RevisionId | None) -> Iterator[int]:
        """Repeat revisions, oldest first, after checking that all get the same ids; yield 1 for each."""
        plan = list(map(_checked, self._steps(dataset_id, revisions)))
        for revision, changes in plan:
            if not self._dry_run:
                _expect_id(self._write(dataset_id, revision, changes), revision.id)
            yield 1

    def _steps(self, dataset_id: DatasetId, revisions: Sequence[Revision]) -> Iterator[_Step]:
        """Yield each revision with its changes, and with the id of its tree if it contained ordinary files only."""
        trees: dict[str, GitObject] = {}
        before: Mapping[str, BlobId] = {}
        if parent := revisions[0].parent:
            before = self._source.paths(dataset_id, parent)
        root = _change_tree(None, before, trees)
        for revision in revisions:
            after = self._source.paths(dataset_id, revision.id)
            changes: dict[str, BlobId | None] = dict.fromkeys(before.keys() - after.keys())
            changes |= {path: blob for path, blob in after.items() if before.get(path) != blob}
            root = _change_tree(root, changes, trees)
            yield _Step(revision, changes, root)
            before = after

    def _write(self, dataset_id: DatasetId, revision: Revision, changes: _Changes) -> RevisionId:
        contents: dict[str, bytes | BlobId | None] = {}
        for path, blob in changes.items():
            content = self._source.read(dataset_id, revision.id, path) if blob else None
            if content is not None and blob_id(content) != blob:
                raise StorageCorrupt(f"the source returned another content for {path} of {dataset_id} than {blob}")
            contents[path] = content
        change = _change_of(revision)
        if revision.parent is None:
            first = {path: content for path, content in contents.items() if isinstance(content, bytes)}
            return self._target.create(dataset_id, first, change).id
        return self._target.append(dataset_id, contents, change, parent=revision.parent).id

    def tag(self, dataset_id: DatasetId, tag: Tag) -> None:
        """Make a tag again."""
        spec = TagSpec(tag.name, tag.revision, tag.description, tag.author, tag.created)
        if object_id(TAG, tag_content(spec)) != tag.id:
            raise LeftOut(f"the tag {tag.id[:12]} was not made by MetaStore, and would get another id")
        if not self._dry_run:
            try:
                made = self._target.tag_create(dataset_id, spec)
            except RevisionNotFound:
                raise LeftOut(f"it names {tag.revision[:12]}, which is not on the branch") from None
            _expect_id(made.id, tag.id)


class _Step(NamedTuple):
    revision: Revision
    changes: _Changes
    tree: str


def _checked(step: _Step) -> tuple[Revision, _Changes]:
    revision = step.revision
    commit = commit_content(step.tree, revision.parent, _change_of(revision))
    if object_id(COMMIT, commit) != revision.id:
        raise LeftOut(f"revision {revision.id[:12]} was not made by MetaStore, and would get another id")
    return revision, step.changes


def _change_of(revision: Revision) -> Change:
    return Change(revision.author, revision.message, revision.created)


def _change_tree(root: str | None, changes: _Changes, trees: dict[str, GitObject]) -> str:
    """Change a tree in memory, and return its id."""
    identity, made = change_tree(root, changes, lambda tree: trees[tree].content)
    trees.update(made)
    return identity


def _expect_id(made: str, wanted: str) -> None:
    if made != wanted:
        raise StorageCorrupt(f"the target made {made} instead of {wanted}")
