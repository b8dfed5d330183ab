"""Copy datasets from one storage to another with their whole history, tags and ids.

A copy keeps Git's ids: a revision or tag that would get another id is left out and reported. Between two storages of
Git objects, the objects themselves are copied, even those of other programs. Between other storages the port's own
calls repeat one revision after the other. They can only make what MetaStore makes: no merges, signatures, other time
zones, executable files or lightweight tags.

A copy skips what the target has, so an interrupted copy continues when it is started again. A dataset with another
history at the target, or a tag with another content, is reported and never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

from metastore.errors import (
    Conflict,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RevisionNotFound,
    StorageCorrupt,
    TooLarge,
)
from metastore.git.objects import COMMIT, TAG, GitObject, blob_id, commit_content, object_id, tag_content
from metastore.git.reachable import Needed
from metastore.git.trees import change_tree
from metastore.storage.lines import JOURNAL
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import Storage
from metastore.types import BlobId, Change, DatasetId, Revision, RevisionId, Tag, TagSpec

Progress = Callable[[int, int], None]
_Changes = Mapping[str, BlobId | None]


@dataclass(frozen=True, slots=True)
class NotCopied:
    """A dataset or tag that was left out.

    Attributes:
        dataset: The dataset id.
        tag: The tag that was left out; None for the dataset itself or its newest revisions.
        reason: A sentence.
    """

    dataset: DatasetId
    tag: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset}{f'@{self.tag}' if self.tag else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The result of a copy, or of a dry run.

    Attributes:
        datasets: The number of datasets at the source.
        unchanged: The number of datasets that the target had already, with all tags.
        revisions: The number of revisions that the target lacked.
        tags: The number of tags that the target lacked.
        not_copied: The datasets and tags that were left out.
        journal: The number of lines of the journal that the target lacked, if the journal was copied too.
    """

    datasets: int
    unchanged: int
    revisions: int
    tags: int
    not_copied: tuple[NotCopied, ...] = ()
    journal: int = 0


class _LeftOut(Exception):
    """A dataset or tag cannot be copied; the message says why."""


def copy(
    source: Storage,
    target: Storage,
    *,
    prefix: str = "",
    deleted: bool = False,
    dry_run: bool = False,
    slowly: bool = False,
    journal: bool = False,
    since: str | None = None,
    only: Iterable[DatasetId] | None = None,
    progress: Progress = lambda done, total: None,
) -> CopyReport:
    """Copy datasets to another storage.

    Args:
        source: May be in use: each dataset is copied as it is when its turn comes.
        target: May be in use.
        prefix: Only ids that start with this text.
        deleted: Whether to copy deleted datasets too.
        dry_run: Whether to report only what would be copied.
        slowly: Whether to keep below the limits of a target on a Git host, and to wait for hours if it limits us.
        journal: Whether to copy the journal too. A target that has other lines keeps its own, and is reported.
        since: A cursor of the source's change feed: only what was touched behind it, deletions too. What moved or was
            purged is reported.
        only: Only these datasets, deleted ones too, whatever `prefix` and `since` say.
        progress: Called after each dataset with the numbers of datasets done and in all.

    Raises:
        StorageError: One of the storages fails. The copied datasets stay; the same call continues from there.
    """
    if slowly:
        for host in getattr(target, "hosts", ()):
            host.slow_down()
    run = _Run(source, target, dry_run=dry_run)
    which: bool | None = None if deleted else False
    listed = None if only is None else sorted(only)
    if listed is None and since is not None:
        listed = _touched(source, since, prefix)
    total = sum(1 for _ in _ids(source, prefix, which)) if listed is None else len(listed)
    done = 0
    for done, dataset_id in enumerate(_ids(source, prefix, which) if listed is None else listed, 1):
        run.copy(dataset_id)
        progress(done, max(done, total))
    lines = run.copy_journal() if journal else 0
    return CopyReport(done, run.unchanged, run.revisions, run.tags, tuple(run.not_copied), lines)


def _ids(source: Storage, prefix: str, deleted: bool | None) -> Iterator[DatasetId]:
    return (dataset_id for dataset_id in source.ids(prefix=prefix, deleted=deleted) if _is_wanted(dataset_id, prefix))


def _touched(source: Storage, since: str, prefix: str) -> list[DatasetId]:
    return sorted({dataset_id for _, dataset_id in source.touched(since) if _is_wanted(dataset_id, prefix)})


def _is_wanted(dataset_id: DatasetId, prefix: str) -> bool:
    """Tell whether a copy was asked for a dataset. A hostile source can list any, such as our journal."""
    return str(dataset_id).startswith(prefix) and (prefix.startswith("_") or not dataset_id.is_own)


class _Run:
    """One run of a copy, with its report so far."""

    def __init__(self, source: Storage, target: Storage, *, dry_run: bool) -> None:
        self._source, self._target, self._dry_run = source, target, dry_run
        self._pair: tuple[ObjectStorage, ObjectStorage] | None = None
        if _carries(source) and _carries(target):
            self._pair = source, target
        self.unchanged = self.revisions = self.tags = 0
        self.not_copied: list[NotCopied] = []

    def copy(self, dataset_id: DatasetId) -> None:
        """Copy one dataset, or report why it is not copied."""
        before = self.revisions, self.tags, len(self.not_copied)
        with self._reporting(dataset_id):
            head = self._source.resolve(dataset_id, None).id
            ours = self._head_of(dataset_id)
            if ours != head:
                self._copy_revisions(dataset_id, head, ours)
            self._copy_tags(dataset_id)
        self.unchanged += before == (self.revisions, self.tags, len(self.not_copied))

    def copy_journal(self) -> int:
        """Copy the journal, which is a dataset but counts for none, and return the number of lines."""
        try:
            self._source.resolve(JOURNAL, None)
        except DatasetNotFound:
            return 0
        unchanged, revisions = self.unchanged, self.revisions
        self.copy(JOURNAL)
        lines = self.revisions - revisions
        self.unchanged, self.revisions = unchanged, revisions
        return lines

    @contextmanager
    def _reporting(self, dataset_id: DatasetId, tag: str | None = None) -> Iterator[None]:
        """Turn a failure into a line of the report, so that the other datasets are copied."""
        try:
            yield
        except Conflict as error:
            self._leave_out(dataset_id, tag, f"the target was changed meanwhile ({error}); copy again")
        except (_LeftOut, NotFound, InvalidInput, StorageCorrupt, PermissionDenied) as error:
            self._leave_out(dataset_id, tag, str(error))

    def _leave_out(self, dataset_id: DatasetId, tag: str | None, reason: str) -> None:
        self.not_copied.append(NotCopied(dataset_id, tag, reason))

    def _head_of(self, dataset_id: DatasetId) -> RevisionId | None:
        try:
            return self._target.resolve(dataset_id, None).id
        except DatasetMoved as moved:
            raise _LeftOut(f"at the target it was moved to {moved.new_id}") from None
        except DatasetNotFound:
            return None

    def _copy_revisions(self, dataset_id: DatasetId, head: RevisionId, ours: RevisionId | None) -> None:
        new = []
        for revision in self._source.history(dataset_id, head):
            if revision.id == ours:
                break
            new.append(revision)
        else:
            if ours is not None and self._is_ahead(dataset_id, head, ours):
                return
            if ours is not None:
                where = f"which is at {ours[:12]} (the source is at {head[:12]})"
                raise _LeftOut(f"it has another history at the target, {where}")
        if self._pair:
            self._carry_revisions(dataset_id, [revision.id for revision in new[::-1]], ours)
            self.revisions += len(new)
        else:
            self._repeat_revisions(dataset_id, new[::-1])

    def _is_ahead(self, dataset_id: DatasetId, head: RevisionId, ours: RevisionId) -> bool:
        """Tell whether the target has the whole history of the source, and more."""
        return any(revision.id == head for revision in self._target.history(dataset_id, ours))

    def _copy_tags(self, dataset_id: DatasetId) -> None:
        try:
            there = {tag.name: tag.id for tag in self._target.tags(dataset_id)}
        except DatasetNotFound:  # a dry run
            there = {}
        for tag in self._source.tags(dataset_id):
            with self._reporting(dataset_id, tag.name):
                if tag.name not in there:
                    self._copy_tag(dataset_id, tag)
                    self.tags += 1
                elif there[tag.name] != tag.id:
                    raise _LeftOut("the target has another tag of this name")

    def _copy_tag(self, dataset_id: DatasetId, tag: Tag) -> None:
        if self._pair:
            self._carry_tag(dataset_id, tag)
            return
        spec = TagSpec(tag.name, tag.revision, tag.description, tag.author, tag.created)
        if object_id(TAG, tag_content(spec)) != tag.id:
            raise _LeftOut(f"the tag {tag.id[:12]} was not made by MetaStore, and would get another id")
        if not self._dry_run:
            try:
                made = self._target.tag_create(dataset_id, spec)
            except RevisionNotFound:
                raise _LeftOut(f"it names {tag.revision[:12]}, which is not on the branch") from None
            _expect_id(made.id, tag.id)

    # By the port's calls

    def _repeat_revisions(self, dataset_id: DatasetId, revisions: list[Revision]) -> None:
        """Repeat revisions, oldest first, after checking that all of them get the same ids."""
        plan = list(map(_checked, self._steps(dataset_id, revisions)))
        for revision, changes in plan:
            if not self._dry_run:
                _expect_id(self._write(dataset_id, revision, changes), revision.id)
            self.revisions += 1

    def _steps(self, dataset_id: DatasetId, revisions: list[Revision]) -> Iterator[_Step]:
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

    # Object by object

    def _carry_revisions(self, dataset_id: DatasetId, ids: list[RevisionId], ours: RevisionId | None) -> None:
        """Carry revisions over, oldest first, on top of the newest one of the target.

        If a side refuses so many at once, half as many are tried.
        """
        assert self._pair
        source, target = self._pair
        if self._dry_run:
            return
        step = target.adopts_at_once or len(ids)
        with source.objects(dataset_id) as repository:
            while ids:
                now = ids[:step]
                head = now[-1]
                try:
                    target.adopt(dataset_id, Needed(repository, head, ours), head, parent=ours)
                except TooLarge as error:
                    if len(now) == 1:
                        raise _LeftOut(f"revision {head[:12]} alone is too large: {error}") from None
                    step = len(now) // 2
                else:
                    ours, ids = head, ids[step:]

    def _carry_tag(self, dataset_id: DatasetId, tag: Tag) -> None:
        assert self._pair
        source, target = self._pair
        if not self._dry_run:
            with source.objects(dataset_id) as repository:
                known = tag.revision if repository.leads_to(tag.revision) else None
                target.adopt_tag(dataset_id, Needed(repository, tag.id, known), tag.name, tag.id)


class _Step(NamedTuple):
    revision: Revision
    changes: _Changes
    tree: str


def _checked(step: _Step) -> tuple[Revision, _Changes]:
    revision = step.revision
    commit = commit_content(step.tree, revision.parent, _change_of(revision))
    if object_id(COMMIT, commit) != revision.id:
        raise _LeftOut(f"revision {revision.id[:12]} was not made by MetaStore, and would get another id")
    return revision, step.changes


def _change_of(revision: Revision) -> Change:
    return Change(revision.author, revision.message, revision.created)


def _carries(storage: Storage) -> TypeGuard[ObjectStorage]:
    return isinstance(storage, ObjectStorage) and storage.carries_any_object


def _change_tree(root: str | None, changes: _Changes, trees: dict[str, GitObject]) -> str:
    """Change a tree in memory, and return its id."""
    identity, made = change_tree(root, changes, lambda tree: trees[tree].content)
    trees.update(made)
    return identity


def _expect_id(made: str, wanted: str) -> None:
    if made != wanted:
        raise StorageCorrupt(f"the target made {made} instead of {wanted}")
