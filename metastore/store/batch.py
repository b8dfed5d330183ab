"""Writes of many datasets that belong together: previewed, made under one id, and undone as a whole."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from metastore.descriptor.difference import changes
from metastore.descriptor.document import decode, load
from metastore.descriptor.file_changes import AnyDescriptor, Document, patch_text, unchanged
from metastore.descriptor.patch import patched
from metastore.errors import AlreadyExists, DatasetDeleted, DatasetMoved, DatasetNotFound, InvalidInput
from metastore.parse import AnyAuthor, AnyId, AnyTime, make_message, parse_writable_id
from metastore.types import Dataset, DatasetId, Difference, Finding, Revision

if TYPE_CHECKING:
    from metastore.store.base import Store

#: The trailer of the messages of a batch.
BATCH = "Batch"
Action = Literal["create", "update", "delete", "unchanged"]


def new_batch_id(name: str, at: datetime | None = None) -> str:
    """Return an id for a batch. With a time it is made from that alone, so that an import repeats to the byte."""
    if at is not None:
        return f"{name}-{at:%Y%m%dT%H%M%S}"
    return f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def with_batch(message: str, batch: str) -> str:
    """Return a message that names its batch."""
    return f"{message}\n\n{BATCH}: {batch}"


@dataclass(frozen=True, slots=True)
class BatchLine:
    """The change that a batch makes to one dataset.

    Attributes:
        dataset_id: The dataset.
        action: `create`, `update`, `delete` or `unchanged`.
        changes: What becomes different in the descriptor.
        findings: Where the new descriptor breaks its profile. A service tells that when the line is written.
        revision: The revision that was made; None before it is, and for `unchanged`.
    """

    dataset_id: DatasetId
    action: Action
    changes: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()
    revision: Revision | None = None

    def __str__(self) -> str:
        return f"{self.dataset_id}: {self.action}"


@dataclass(frozen=True, slots=True)
class _Step:
    """A write that waits: the new content, or None to delete, and the revision that it was computed from."""

    line: BatchLine
    content: bytes | None
    expected: str | None


class Batch:
    """Collects writes of many datasets, and makes them when the `with` block ends. `Store.batch` makes one.

    Each call is checked when it comes, against the dataset as it is then. A block that raises writes nothing. The
    datasets are written one after the other, and not all at once: if one was changed since its call, `write` raises
    RevisionConflict for it and stops there. What was written stays, and `lines` has it; it can be undone by the `id`.

    Attributes:
        id: What the changes have in common: `metastore undo --batch ID`, and `metastore.catalogue.batches`.
        lines: What was written, in order.
    """

    def __init__(
        self, store: Store, message: str, author: AnyAuthor | None, at: AnyTime | None, batch_id: str | None
    ) -> None:
        self.id = batch_id or new_batch_id("batch")
        if not re.fullmatch(r"[\w.:-]{1,100}", self.id):
            raise InvalidInput(f"the id of a batch has at most 100 letters, digits and . : - _, not {self.id[:60]!r}")
        self.lines: tuple[BatchLine, ...] = ()
        self._store, self._author, self._at = store, author, at
        self._message = make_message(with_batch(message, self.id))
        self._steps: dict[DatasetId, _Step] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.write()

    def dataset_create(self, dataset_id: AnyId, descriptor: AnyDescriptor) -> BatchLine:
        """Have a dataset created, and return what that does. Raises what `Store.dataset_create` raises."""
        identity = self._free(dataset_id)
        try:
            self._store.dataset_json(identity)
        except DatasetMoved:
            raise
        except DatasetNotFound:
            document = self._prepare(descriptor)
            line = BatchLine(identity, "create", changes({}, document.value), document.findings)
            return self._add(_Step(line, document.content, None))
        raise AlreadyExists(identity)

    def dataset_update(self, dataset_id: AnyId, descriptor: AnyDescriptor) -> BatchLine:
        """Have a descriptor replaced, and return what that does. Raises what `Store.dataset_update` raises."""
        identity = self._free(dataset_id)
        revision, content = self._store.dataset_json(identity)
        return self._replace(identity, revision, content, self._prepare(descriptor))

    def dataset_patch(self, dataset_id: AnyId, patch: Any) -> BatchLine:
        """Have a part of a descriptor changed, and return what that does. Raises what `Store.dataset_patch` raises."""
        identity = self._free(dataset_id)
        revision, content = self._store.dataset_json(identity)
        current = decode(content)
        values = patch_text(patch, self._store.max_bytes)
        return self._replace(identity, revision, content, self._prepare(patched(current, values)))

    def dataset_delete(self, dataset_id: AnyId) -> BatchLine:
        """Have a dataset deleted, and return what that does. Raises what `Store.dataset_delete` raises."""
        identity = self._free(dataset_id)
        head = self._store.revision_read(identity)
        if head.deleted:
            raise DatasetDeleted(identity, head)
        return self._add(_Step(BatchLine(identity, "delete"), None, head.id))

    def preview(self) -> tuple[BatchLine, ...]:
        """Return what `write` is about to do, dataset by dataset."""
        return tuple(step.line for step in self._steps.values())

    def write(self) -> tuple[BatchLine, ...]:
        """Write what was collected, and return what became of it. Each write is made once.

        Raises:
            RevisionConflict: A dataset was changed meanwhile. It and those after it are not written.
            StorageError: The store fails.
        """
        while self._steps:
            step = next(iter(self._steps.values()))
            self.lines += (self._write(step),)
            del self._steps[step.line.dataset_id]
        return self.lines

    def _write(self, step: _Step) -> BatchLine:
        line, store = step.line, self._store
        why: dict[str, Any] = {"message": self._message, "author": self._author, "at": self._at}
        if line.action == "unchanged":
            return line
        if line.action == "create":
            return _written(line, store.dataset_create(line.dataset_id, step.content or b"", **why))
        if step.content is None:
            return replace(line, revision=store.dataset_delete(line.dataset_id, expected=step.expected, **why))
        return _written(line, store.dataset_update(line.dataset_id, step.content, expected=step.expected, **why))

    def _replace(self, dataset_id: DatasetId, revision: Revision, before: bytes, document: Document) -> BatchLine:
        if unchanged(before, document):
            return self._add(_Step(BatchLine(dataset_id, "unchanged"), before, revision.id))
        differences = changes(load(before), document.value)
        line = BatchLine(dataset_id, "update", differences, self._marked(document.findings, before))
        return self._add(_Step(line, document.content, revision.id))

    def _marked(self, findings: tuple[Finding, ...], before: bytes) -> tuple[Finding, ...]:
        """Mark the findings that a descriptor has already."""
        earlier = set[str]()
        with suppress(InvalidInput):
            earlier = {finding.detail for finding in self._prepare(before).findings} if findings else earlier
        return tuple(replace(finding, known=finding.detail in earlier) for finding in findings)

    def _free(self, dataset_id: AnyId) -> DatasetId:
        identity = parse_writable_id(dataset_id)
        if identity in self._steps:
            raise InvalidInput(f"{identity} is in the batch already: change it once")
        return identity

    def _prepare(self, descriptor: Any) -> Document:
        return self._store._writer.prepare(descriptor)

    def _add(self, step: _Step) -> BatchLine:
        self._steps[step.line.dataset_id] = step
        return step.line


def _written(line: BatchLine, dataset: Dataset) -> BatchLine:
    return replace(line, revision=dataset.revision, findings=dataset.findings)
