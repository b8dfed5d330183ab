"""Stores the descriptors of a catalogue. A rule decides about datasets that were changed in the store meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metastore.catalogue.exports import exported_unchanged
from metastore.catalogue.sources import Item
from metastore.descriptor.difference import changes
from metastore.descriptor.document import DESCRIPTOR, decode, encode, load_written, same
from metastore.descriptor.merge import merge
from metastore.errors import (
    AlreadyExists,
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetastoreError,
    RevisionConflict,
    StorageError,
)
from metastore.files.durable import make_folders, replace_file
from metastore.os_errors import storage_errors
from metastore.store.batch import BATCH
from metastore.types import Dataset, DatasetId, Difference, Finding, first_line

if TYPE_CHECKING:
    from metastore.store.base import Store

#: The trailer of a revision that is as it was imported, and of one that has changes made in the store too. `git log
#: --grep` finds both.
TRAILER, MERGED = "Imported-From", "Merged-From"
#: The treatment of a dataset that is in the store already.
Rule = Literal["replace", "only-new", "if-unchanged", "merge"]
Outcome = Literal["created", "updated", "merged", "unchanged", "skipped", "failed"]
#: How often a write that lost a race is tried again.
_TRIES = 10
#: How many places of a conflict its line names.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class ImportLine:
    """The outcome of one descriptor.

    Attributes:
        source: Where it was read.
        dataset_id: The dataset, or None if the descriptor could not be named.
        outcome: `created`, `updated`, `merged`, `unchanged`, `skipped` (by the rule) or `failed`.
        reason: A sentence for `skipped` and `failed`; else empty.
        kind: The kind of the error for `failed`; else empty.
        changes: What changed in the store, in words.
        findings: What the check found.
    """

    source: str
    dataset_id: DatasetId | None
    outcome: Outcome
    reason: str = ""
    kind: str = ""
    changes: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        name = f"{self.source}: " if self.outcome == "failed" else f"{self.dataset_id}: "
        return name + (self.reason or self.outcome)


class _Skipped(Exception):
    """The rule keeps a dataset as it is; the message says why."""


class Importer:
    """Stores descriptors one by one, and reports each.

    Args:
        store: The store to write to.
        rule: The treatment of a dataset that is in the store: `replace` it, import `only-new` ones, replace it
            `if-unchanged` since its last import, or `merge` the changes of both sides.
        base: A folder that keeps each descriptor as last imported; needed to merge more than once.
        dry_run: Whether to store nothing, and only report.
        message: The reason; None for a default that names the imported file.
        at: The time of the changes; None is now.
        batch: An id that all changes of this import carry, so that they can be undone together; None for no id.
    """

    def __init__(
        self,
        store: Store,
        *,
        rule: Rule = "replace",
        base: Path | None = None,
        dry_run: bool = False,
        message: str | None = None,
        at: datetime | None = None,
        batch: str | None = None,
    ) -> None:
        if (rule == "merge") != (base is not None):
            raise InvalidInput("merging needs a folder that keeps the last import, and the other rules take none")
        self._store, self._rule, self._base, self._dry_run = store, rule, base, dry_run
        self._message, self._at, self._batch = message, at, batch
        self._sources: dict[DatasetId, str] = {}

    def run(self, items: Iterable[Item]) -> Iterator[ImportLine]:
        """Store each item, and yield its outcome.

        Raises:
            StorageError: The store fails, or the folder of the last import. Imported items stay stored; the same import
                continues from there.
        """
        for item in items:
            try:
                yield self._import(item)
            except _Skipped as skipped:
                yield ImportLine(item.source, item.dataset_id, "skipped", str(skipped))
            except StorageError:
                raise
            except MetastoreError as error:
                yield ImportLine(item.source, item.dataset_id, "failed", str(error), error.kind)

    def _import(self, item: Item) -> ImportLine:
        if item.problem:
            raise item.problem
        assert item.dataset_id
        first = self._sources.setdefault(item.dataset_id, item.source)
        if os.path.realpath(first) != os.path.realpath(item.source):
            raise InvalidInput(f"{item.dataset_id} was taken from {first} already")
        if exported_unchanged(Path(item.source), item.content) and self._has_had(item.dataset_id):
            return ImportLine(item.source, item.dataset_id, "unchanged")
        for _ in range(_TRIES):
            try:
                line = self._store_one(item, item.dataset_id)
            except (RevisionConflict, AlreadyExists):
                continue  # somebody else was faster: look again
            self._keep_base(item.dataset_id, item.content)
            return line
        raise RevisionConflict(item.dataset_id, None, None)

    def _has_had(self, dataset_id: DatasetId) -> bool:
        """Tell whether the store has a dataset, or had it. The export may be of another store."""
        try:
            self._store.revision_read(dataset_id)
        except (DatasetDeleted, DatasetMoved):
            return True
        except DatasetNotFound:
            return any(line.action == "purge" and not line.copied for line in self._store.journal(dataset_id))
        return True

    def _store_one(self, item: Item, dataset_id: DatasetId) -> ImportLine:
        try:
            now = self._store.dataset_read(dataset_id)
        except (DatasetDeleted, DatasetMoved):  # creating it would undo the deletion, or end the forwarding
            raise
        except DatasetNotFound:
            return self._create(item, dataset_id)
        if same(now.bytes, item.content):
            return ImportLine(item.source, dataset_id, "unchanged", findings=self._findings(item.content))
        return self._update(item, now)

    def _create(self, item: Item, dataset_id: DatasetId) -> ImportLine:
        if self._dry_run:
            return ImportLine(item.source, dataset_id, "created", findings=self._findings(item.content))
        made = self._store.dataset_create(dataset_id, item.content, message=self._why(item), at=self._at)
        return ImportLine(item.source, dataset_id, "created", findings=made.findings)

    def _update(self, item: Item, now: Dataset) -> ImportLine:
        content, outcome = self._decide(item, now)
        if same(now.bytes, content):
            return ImportLine(item.source, now.id, "unchanged", findings=self._findings(content))
        differences = changes(load_written(now.bytes), decode(content))
        if self._dry_run:
            return ImportLine(item.source, now.id, outcome, changes=differences, findings=self._findings(content))
        made = self._store.dataset_update(
            now.id, content, expected=now.revision.id, message=self._why(item, outcome), at=self._at
        )
        return ImportLine(item.source, now.id, outcome, changes=differences, findings=made.findings)

    def _decide(self, item: Item, now: Dataset) -> tuple[bytes, Outcome]:
        """Return what to store in place of a dataset, by the rule."""
        if self._rule == "replace":
            return item.content, "updated"
        if self._rule == "only-new":
            raise _Skipped("it is in the store already")
        if _was_imported(now.revision.message) and (self._rule == "if-unchanged" or not self._known(now.id)):
            return item.content, "updated"
        if self._rule == "if-unchanged":
            if _names(MERGED, now.revision.message):
                raise _Skipped("an earlier import merged changes that were made here")
            who = f"{now.revision.author.name} on {now.revision.created:%Y-%m-%d}"
            raise _Skipped(f"it was changed here since its last import, by {who}: {first_line(now.revision.message)}")
        return self._merged(item, now), "merged"

    def _merged(self, item: Item, now: Dataset) -> bytes:
        base = self._known(now.id) or self._last_import(now.id)
        if base is None:
            raise InvalidInput(
                f"{now.id} was never imported, so there is nothing to merge by: import it once without --merge, which "
                "replaces what was changed here"
            )
        merged, clashes = merge(decode(base), decode(item.content), decode(now.bytes))
        if clashes:
            places = tuple(("", str(clash)) for clash in clashes)
            wheres = ", ".join(clash.where for clash in clashes[:_NAMED]) + (", …" if len(clashes) > _NAMED else "")
            raise InvalidInput(
                f"{now.id} was changed here and at the source in the same place: {wheres}", problems=places
            )
        return encode(merged)

    def _last_import(self, dataset_id: DatasetId) -> bytes | None:
        for revision in self._store.revision_list(dataset_id):
            if _was_imported(revision.message):
                return self._store.dataset_json(dataset_id, revision.id)[1]
        return None

    def _known(self, dataset_id: DatasetId) -> bytes | None:
        file = self._base / dataset_id.owner / dataset_id.name / DESCRIPTOR if self._base else None
        with storage_errors():
            return file.read_bytes() if file and file.exists() else None

    def _keep_base(self, dataset_id: DatasetId, content: bytes) -> None:
        if self._base and not self._dry_run:
            folder = os.path.abspath(self._base / dataset_id.owner / dataset_id.name)
            with storage_errors():
                make_folders(folder, sync=False)
                replace_file(f"{folder}/{DESCRIPTOR}", content, sync=False)

    def _findings(self, content: bytes) -> tuple[Finding, ...]:
        from metastore import validate

        findings: tuple[Finding, ...] = validate(content)
        return findings

    def _why(self, item: Item, outcome: Outcome = "created") -> str:
        trailer = MERGED if outcome == "merged" else TRAILER
        subject = self._message or f"Import {os.path.basename(item.source)}"
        batch = f"\n{BATCH}: {self._batch}" if self._batch else ""
        return f"{subject}\n\n{trailer}: {item.source}{batch}"


def _was_imported(message: str) -> bool:
    """Tell whether a revision is as it was imported: one that was merged holds what people changed."""
    return _names(TRAILER, message)


def _names(trailer: str, message: str) -> bool:
    return any(line.startswith(f"{trailer}: ") for line in message.splitlines()[-5:])
