"""The journal has a line for each change that leaves no revision. It is itself a dataset, `_metastore/journal`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from metastore.errors import (
    DatasetNotFound,
    MetastoreError,
    OutcomeUnknown,
    RevisionNotFound,
    StorageCorrupt,
    StorageUnavailable,
)
from metastore.forks import ForkSafeLock
from metastore.storage import retry
from metastore.storage.lines import JOURNAL, LINE, Line, Origin, line_content, parse_line, withdrawal
from metastore.storage.port import Storage
from metastore.types import Change, Copied, DatasetId, JournalEntry, Revision, RevisionId

#: A line has one key in all journals: the dataset that it names, and its id in the store that wrote it.
Key = tuple[DatasetId, RevisionId]
_log = logging.getLogger("metastore.storage")


def key_of(line: JournalEntry) -> Key:
    """Return the key of a line."""
    return line.dataset_id, line.copied.id if line.copied else line.id


class Journal:
    """The journal of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # The keys of all lines up to one, so that copying many lines reads the journal once.
        self._keys: set[Key] = set()
        self._keys_up_to: str | None = None
        self._lock = ForkSafeLock()

    @contextmanager
    def line(self, action: str, dataset_id: DatasetId, details: Mapping[str, Any], change: Change) -> Iterator[None]:
        """Write a line before the caller acts. A crash can leave a line without its act, but no act without its line.

        If the act fails, a second line withdraws the first. If its outcome is unknown, the line stays.

        Raises:
            StorageUnavailable: It is unknown whether the line was written. The caller must not act.
        """
        try:
            entry = self._append(action, dataset_id, details, change).id
        except OutcomeUnknown as error:
            self._withdraw(dataset_id, error.wanted, change)
            raise StorageUnavailable(f"nothing was changed, since the journal could not be written: {error}") from error
        try:
            yield
        except OutcomeUnknown:
            raise
        except MetastoreError:
            self._withdraw(dataset_id, entry, change)
            raise

    def _withdraw(self, dataset_id: DatasetId, entry: str | None, change: Change) -> None:
        """Withdraw the line of a change that was not made, if there is one. If that fails, a superfluous line stays."""
        try:
            self._storage.resolve(JOURNAL, entry)
            self._append("withdrawn", dataset_id, {"entry": entry}, replace(change, message=withdrawal(entry)))
        except RevisionNotFound:
            return
        except MetastoreError as error:
            _log.warning("line %s of the journal tells of a change that was not made: %s", entry, error)

    def entries(self, before: str | None = None) -> Iterator[JournalEntry]:
        """Yield the lines, newest first, lazily; if `before` is the id of a line, only those before it."""
        try:
            head = self._storage.resolve(JOURNAL, before)
        except DatasetNotFound:
            return
        yield from (entry for entry in self._entries(head) if entry.id != before)

    def _entries(self, head: Revision) -> Iterator[JournalEntry]:
        return map(self._entry, self._storage.history(JOURNAL, head.id))

    def copy(self, lines: Iterable[JournalEntry], change: Change) -> int:
        """Append lines of another store's journal, oldest first, except for those that this one has.

        Args:
            lines: The lines, as `journal_copy.checked` returns them.
            change: Who copies them, and when.

        Returns:
            The number of lines that were appended.

        Raises:
            StorageError: The storage fails. The lines before stay; the same call continues from there.
        """
        return sum(self._copy(line, change) for line in lines)

    def _copy(self, line: JournalEntry, change: Change) -> bool:
        origin = Origin(line.id, line.author, line.message, line.created)
        content = line_content(Line(line.action, line.dataset_id, line.details, origin))
        change = replace(change, message=f"Copy line {line.id[:12]} of another journal")

        def compute(head: Revision | None) -> tuple[dict[str, bytes], Change]:
            is_new = head is None or key_of(line) not in self._keys_at(head)
            return {LINE: content} if is_new else {}, change

        try:
            before, after = retry.append(self._storage, JOURNAL, self._head, compute)
        except OutcomeUnknown as error:
            raise StorageUnavailable(f"a line of the journal may be missing: copy again ({error})") from error
        return before != after

    def _keys_at(self, head: Revision) -> set[Key]:
        """Return the keys of all lines up to this one; perhaps those of later lines, too."""
        with self._lock:
            fresh = set[Key]()
            for entry in self._entries(head):
                if entry.id == self._keys_up_to:
                    break
                fresh.add(key_of(entry))
            else:  # the first time, or the journal was replaced
                self._keys = set()
            self._keys |= fresh
            self._keys_up_to = head.id
            return self._keys

    def _entry(self, revision: Revision) -> JournalEntry:
        try:
            action, dataset_id, details, origin = parse_line(self._storage.read(JOURNAL, revision.id, LINE))
        except ValueError as error:
            raise StorageCorrupt(f"line {revision.id[:12]} of the journal cannot be read: {error}") from None
        told = revision.author, revision.message, revision.created
        if origin is None:
            return JournalEntry(revision.id, action, dataset_id, details, *told)
        copied = Copied(origin.id, revision.author, revision.created)
        return JournalEntry(revision.id, action, dataset_id, details, *origin[1:], copied)

    def _append(self, action: str, dataset_id: DatasetId, details: Mapping[str, Any], change: Change) -> Revision:
        files = {LINE: line_content(Line(action, dataset_id, details))}
        _, line = retry.append(self._storage, JOURNAL, self._head, lambda head: (files, change))
        return line

    def _head(self) -> Revision | None:
        with suppress(DatasetNotFound):
            return self._storage.resolve(JOURNAL, None)
        return None
