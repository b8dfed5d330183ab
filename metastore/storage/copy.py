"""Copy datasets from one storage to another with their whole history, tags and ids.

A copy keeps Git's ids: a revision or tag that would get another id is left out and reported. Between two storages of
Git objects, the objects themselves are copied, even those of other programs. Between other storages the port's own
calls repeat one revision after the other. They can only make what MetaStore makes: no merges, signatures, other time
zones, executable files or lightweight tags.

A copy skips what the target has, so an interrupted copy continues when it is started again. A dataset with another
history at the target, or a tag with another content, is reported and never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from metastore.errors import (
    Conflict,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    NotFound,
    PermissionDenied,
    StorageCorrupt,
)
from metastore.storage._copying import LeftOut, way_between
from metastore.storage.lines import JOURNAL
from metastore.storage.port import Storage
from metastore.types import DatasetId, RevisionId

Progress = Callable[[int, int], None]


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
        self._source, self._target = source, target
        self._way = way_between(source, target, dry_run=dry_run)
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
        except (LeftOut, NotFound, InvalidInput, StorageCorrupt, PermissionDenied) as error:
            self._leave_out(dataset_id, tag, str(error))

    def _leave_out(self, dataset_id: DatasetId, tag: str | None, reason: str) -> None:
        self.not_copied.append(NotCopied(dataset_id, tag, reason))

    def _head_of(self, dataset_id: DatasetId) -> RevisionId | None:
        try:
            return self._target.resolve(dataset_id, None).id
        except DatasetMoved as moved:
            raise LeftOut(f"at the target it was moved to {moved.new_id}") from None
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
                raise LeftOut(f"it has another history at the target, {where}")
        for number in self._way.revisions(dataset_id, new[::-1], ours):
            self.revisions += number

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
                    self._way.tag(dataset_id, tag)
                    self.tags += 1
                elif there[tag.name] != tag.id:
                    raise LeftOut("the target has another tag of this name")
