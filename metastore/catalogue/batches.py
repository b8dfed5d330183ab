"""Batches: changes of many datasets that belong together, such as those of one import, and can be undone together.

They share an id in a trailer of their messages, which `git log --grep` finds on every storage. Datasets are undone one
by one, so an interrupted undo can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from metastore.descriptor.document import encode
from metastore.descriptor.merge import take_out
from metastore.errors import InvalidInput, MergeConflict, MetastoreError, NotFound, StorageError
from metastore.parse import AnyId, AnyRevision, AnyTime, parse_writable_id
from metastore.store.batch import BATCH, BatchLine
from metastore.store.spans import in_the_way, span_of
from metastore.types import DatasetId, Difference, Revision

if TYPE_CHECKING:
    from metastore.store.base import Store

#: The trailer of the changes that undo a batch.
UNDONE = "Undone-Batch"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Selects the changes to undo: those of a batch, or of an author in a period.

    Attributes:
        batch: The id of the batch; None for any.
        author: A text in the author's name or email; None for any.
        since: The earliest time; None for any.
        until: The latest time; None for any.
    """

    batch: str | None = None
    author: str | None = None
    since: AnyTime | None = None
    until: AnyTime | None = None


@dataclass(frozen=True, slots=True)
class UndoLine:
    """The outcome of one dataset.

    Attributes:
        dataset_id: The dataset.
        outcome: `undone`, `deleted` (its creation was undone), `unchanged` (there was nothing left to undo),
            `conflict` (with a later change) or `failed`.
        revisions: The ids of the changes, newest first.
        reason: A sentence for `conflict` and `failed`; else empty.
    """

    dataset_id: DatasetId
    outcome: Literal["undone", "deleted", "unchanged", "conflict", "failed"]
    revisions: tuple[str, ...]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.dataset_id}: {self.reason or self.outcome}"


def has_trailer(message: str, name: str, value: str) -> bool:
    """Tell whether a message ends with a trailer of this name and value."""
    return f"{name}: {value}" in message.splitlines()[-5:]


def undo_all(store: Store, chosen: Chosen, *, message: str | None = None, dry_run: bool = False) -> Iterator[UndoLine]:
    """Undo the chosen changes dataset by dataset, and yield the outcome of each dataset that has any.

    Args:
        store: The store.
        chosen: The changes to undo.
        message: The reason; None for a default that names the batch.
        dry_run: Whether to write nothing, and only report what would be done.

    Raises:
        InvalidInput: Nothing is chosen, or the batch or the author is an empty text, as of an unset variable.
        StorageError: The store fails. Finished datasets stay undone; the same call continues from there.
    """
    if chosen == Chosen():
        raise InvalidInput("say what to undo: a batch, or an author, or a time")
    if "" in (chosen.batch, chosen.author):
        raise InvalidInput("the batch or author to undo is an empty text: every change would fit, so none was undone")
    for dataset_id in store.dataset_list(deleted=None):
        try:
            if changes := _changes(store, dataset_id, chosen):
                history = list(store.revision_list(dataset_id))
                yield _Undo(store, dataset_id, chosen, history, changes, message).line(dry_run=dry_run)
        except StorageError:
            raise
        except MetastoreError as error:
            yield UndoLine(dataset_id, "failed", (), str(error))


def preview_undo(store: Store, dataset_id: AnyId, changes: AnyRevision) -> BatchLine:
    """Return what `Store.dataset_undo` would do to a descriptor, and write nothing.

    Files that somebody pushed beside the descriptor are not looked at. Raises what `Store.dataset_undo` raises.
    """
    identity = parse_writable_id(dataset_id)
    span, head = span_of(store, identity, changes), store.revision_read(identity)
    batch = store.batch("Undo")  # it is never written
    if span.since is None or span.creates:
        undo = _Undo(store, identity, Chosen(), list(store.revision_list(identity)), [span.last], None)
        return batch.dataset_delete(identity) if undo.deletes() else BatchLine(identity, "unchanged")
    if head.deleted and head.id == span.last.id:
        return batch.dataset_create(identity, store.dataset_bytes(identity, span.since.id)[1])
    return batch.dataset_update(identity, _without(store, identity, head, [(span.last, span.since.id)]))


def _without(store: Store, dataset_id: DatasetId, head: Revision, spans: Iterable[tuple[Revision, str]]) -> bytes:
    """Return a descriptor without some changes. Raises MergeConflict."""
    now = b""
    for last, since in spans:
        before = store.dataset_bytes(dataset_id, since)[1]
        if last.id == head.id:
            now = before
        elif last.deleted:
            raise MergeConflict(dataset_id, (Difference("changed", "descriptor"),))
        else:
            after = store.dataset_bytes(dataset_id, last.id)[1]
            merged, clashes = take_out(now or store.dataset_bytes(dataset_id, head.id)[1], after, before)
            if clashes:
                raise MergeConflict(dataset_id, clashes)
            now = encode(merged)
    return now


def _changes(store: Store, dataset_id: DatasetId, chosen: Chosen) -> list[Revision]:
    revisions = store.revision_list(
        dataset_id, author=chosen.author, since=chosen.since, until=chosen.until, grep=chosen.batch
    )
    return [each for each in revisions if chosen.batch is None or has_trailer(each.message, BATCH, chosen.batch)]


@dataclass(frozen=True, slots=True)
class _Undo:
    """The changes of one dataset to be undone, newest first, and all its revisions."""

    store: Store
    dataset_id: DatasetId
    chosen: Chosen
    history: list[Revision]
    changes: list[Revision]
    message: str | None

    def line(self, *, dry_run: bool) -> UndoLine:
        line = UndoLine(self.dataset_id, "unchanged", tuple(each.id for each in self.changes))
        if self._is_undone():
            return line
        try:
            outcome = self._creation(dry_run) if self._creates() else self._undo(dry_run)
            return replace(line, outcome=outcome)
        except MergeConflict as conflict:
            return replace(line, outcome="conflict", reason=str(conflict))
        except (InvalidInput, NotFound) as error:
            return replace(line, outcome="failed", reason=str(error))

    def _is_undone(self) -> bool:
        batch = self.chosen.batch
        later = self.history[: self.history.index(self.changes[0])]
        return batch is not None and any(has_trailer(each.message, UNDONE, batch) for each in later)

    def _creates(self) -> bool:
        """Tell whether the first of the changes created the dataset."""
        return self.changes[-1].parent is None or any(
            each.id == self.changes[-1].parent and each.deleted for each in self.history
        )

    def deletes(self) -> bool:
        """Tell whether the dataset is to be deleted, since it was created. Raises MergeConflict."""
        last = self.changes[0]
        if self.history[0].deleted:
            return False
        later = [each for each in self.history[: self.history.index(self.changes[-1])] if each not in self.changes]
        if problem := in_the_way(self.dataset_id, later, lambda each: self._equals(each, last)):
            raise problem
        return True

    def _creation(self, dry_run: bool) -> Literal["deleted", "unchanged"]:
        head = self.history[0]
        if not self.deletes():
            return "unchanged"
        if not dry_run and len(self.changes) == 1:  # it sees changes of other files too
            self.store.dataset_undo(self.dataset_id, self.changes[0].id, expected=head.id, message=self._why())
        elif not dry_run:
            self.store.dataset_delete(self.dataset_id, expected=head.id, message=self._why())
        return "deleted"

    def _equals(self, revision: Revision, other: Revision) -> bool:
        return not revision.deleted and self._bytes(revision.id) == self._bytes(other.id)

    def _undo(self, dry_run: bool) -> Literal["undone", "unchanged"]:
        before = self.store.revision_read(self.dataset_id).id
        spans = list(self._spans())
        _without(self.store, self.dataset_id, self.history[0], spans)  # raises before the first of them is undone
        for number, (last, since) in enumerate(spans, 1):
            if not dry_run:
                why = self._why(is_last=number == len(spans))
                self.store.dataset_undo(self.dataset_id, f"{since}..{last.id}", message=why)
        changed = dry_run or self.store.revision_read(self.dataset_id).id != before
        return "undone" if changed else "unchanged"

    def _spans(self) -> Iterator[tuple[Revision, str]]:
        """Yield the changes that follow each other, as the last of them and the revision before the first."""
        waiting = list(self.changes)
        while waiting:
            last = first = waiting.pop(0)
            while waiting and waiting[0].id == first.parent:
                first = waiting.pop(0)
            yield last, str(first.parent)

    def _bytes(self, revision: str) -> bytes:
        return self.store.dataset_bytes(self.dataset_id, revision)[1]

    def _why(self, *, is_last: bool = True) -> str:
        """Return the message of an undo. The trailer, which says that it is done, is in the last one of a dataset."""
        subject = self.message or (f"Undo batch {self.chosen.batch}" if self.chosen.batch else "Undo changes")
        return f"{subject}\n\n{UNDONE}: {self.chosen.batch}" if self.chosen.batch and is_last else subject
