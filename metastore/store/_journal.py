"""The journal has a line for each change that leaves no revision. It is itself a dataset, `_metastore/journal`."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC
from typing import Any

from metastore.errors import (
    DatasetNotFound,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    PathNotFound,
    RevisionNotFound,
    StorageUnavailable,
)
from metastore.forks import ForkSafeLock
from metastore.storage import retry
from metastore.storage.lines import JOURNAL, LINE, Line, Origin, line_content, parse_line, withdrawal
from metastore.storage.port import Storage
from metastore.types import Change, Copied, DatasetId, JournalEntry, Revision, RevisionId

_log = logging.getLogger("metastore.storage")


def key_of(line: JournalEntry) -> bytes:
    """Return the key of a line, the same in all journals: a hash of its id in the store that wrote it, and of its text.

    A line that somebody made up, with the id of a true one, has another key. The message of a withdrawal does not
    count, since not all readers see the same.
    """
    message = "" if line.action == "withdrawn" else line.message
    created = line.created.astimezone(UTC).isoformat()
    who = line.author.name, line.author.email
    return _hashed(line.original_id, line.action, str(line.dataset_id), line.details, who, message, created)


def _hashed(*parts: Any) -> bytes:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).digest()


class Journal:
    """The journal of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known = _Known(self)

    @contextmanager
    def line(self, action: str, dataset_id: DatasetId, details: Mapping[str, Any], change: Change) -> Iterator[None]:
        """Write a line before the caller acts. A crash can leave a line without its act, but no act without its line.

        If the act fails, a second line withdraws the first. If its outcome is unknown, the line stays.

        Raises:
            StorageUnavailable: There is too little room for all that, or it is unknown whether the line was written.
                The caller must not act.
        """
        self._storage.expect_room()  # a line of a purge that was not made would stop a backup from keeping the dataset
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
        yield from (entry for entry in self.lines(head.id) if entry.id != before)

    def lines(self, start: RevisionId) -> Iterator[JournalEntry]:
        """Yield a line and those before it, newest first. What was committed by hand and is no line hides no other."""
        for revision in self._storage.history(JOURNAL, start):
            try:
                yield self._entry(revision)
            except (ValueError, PathNotFound) as error:
                _log.warning("line %s of the journal is passed over, since it cannot be read: %s", revision.id, error)

    def head(self) -> Revision | None:
        """Return the revision of the newest line, if there is one."""
        with suppress(DatasetNotFound):
            return self._storage.resolve(JOURNAL, None)
        return None

    def read_up(self, until: float) -> bool:
        """Read the lines that this process has not seen yet, so that `copy` need not.

        Args:
            until: The time of the monotonic clock at which to stop; the next call continues from there.

        Returns:
            Whether all are read.
        """
        return self._known.read_up(until)

    def copy(self, lines: Iterable[JournalEntry], change: Change) -> int:
        """Append lines of another store's journal, oldest first, except for those that this one has.

        A line that was copied before stays out only if it says the same. One with the id of a line that this store
        wrote itself stays out in any case: what it should say is known here.

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
        change = replace(change, message=f"Copy line {line.id[:12]} of another journal")

        def compute(head: Revision | None) -> tuple[dict[str, bytes], Change]:
            is_new, contradicts = (True, False) if head is None else self._known.compared(line, head)
            origin = Origin(line.id, line.author, line.message, line.created, contradicts)
            content = line_content(Line(line.action, line.dataset_id, line.details, origin))
            return {LINE: content} if is_new else {}, change

        try:
            before, after = retry.append(self._storage, JOURNAL, self.head, compute)
        except OutcomeUnknown as error:
            raise StorageUnavailable(f"a line of the journal may be missing: copy again ({error})") from error
        return before != after

    def _entry(self, revision: Revision) -> JournalEntry:
        action, dataset_id, details, origin = parse_line(self._storage.read(JOURNAL, revision.id, LINE))
        if origin is None:
            told = revision.author, revision.message, revision.created
            return JournalEntry(revision.id, action, dataset_id, details, *told)
        copied = Copied(origin.id, revision.author, revision.created, origin.contradicts)
        told = origin.author, origin.message, origin.created
        return JournalEntry(revision.id, action, dataset_id, details, *told, copied)

    def _append(self, action: str, dataset_id: DatasetId, details: Mapping[str, Any], change: Change) -> Revision:
        files = {LINE: line_content(Line(action, dataset_id, details))}
        _, line = retry.append(self._storage, JOURNAL, self.head, lambda head: (files, change))
        return line


class _Known:
    """Hashes of the lines of a journal, so that copying many lines reads it once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = ForkSafeLock()
        self._forget()

    def _forget(self) -> None:
        self._hashes = set[bytes]()  # of all lines up to `_newest`
        self._newest: RevisionId | None = None
        # What is being read, newest first: its first line, the line to continue from, and the hashes so far.
        self._reading: tuple[RevisionId, RevisionId, set[bytes]] | None = None

    def compared(self, line: JournalEntry, head: Revision) -> tuple[bool, bool]:
        """Tell whether a line is new, and whether one that was copied before contradicts it.

        Args:
            line: As the store that wrote it has it.
            head: The newest line of this journal, as far as the caller knows.
        """
        if head.id != self._newest:
            self.read_up(math.inf)
        is_new = not self._hashes & {_hashed(line.id), key_of(line)}
        return is_new, _hashed(line.id, str(line.dataset_id)) in self._hashes

    def read_up(self, until: float) -> bool:
        """Read the lines that are not known; see `Journal.read_up`."""
        with self._lock:
            try:
                return self._read_up(until)
            except NotFound:  # the journal was replaced on the way
                self._forget()
                return self._read_up(until)

    def _read_up(self, until: float) -> bool:
        while (head := self._journal.head()) is not None and head.id != self._newest:
            first, at, fresh = self._reading or (head.id, head.id, set[bytes]())
            for entry in self._journal.lines(at):
                if entry.id == self._newest:
                    self._hashes |= fresh
                    break
                fresh |= _hashes_of(entry)
                if entry.id != at and time.monotonic() > until:
                    self._reading = first, entry.id, fresh
                    return False
            else:  # the first time, or the journal was replaced
                self._hashes = fresh
            self._newest, self._reading = first, None
        return True


def _hashes_of(line: JournalEntry) -> set[bytes]:
    if line.copied is None:
        return {_hashed(line.id)}
    return {key_of(line), _hashed(line.copied.id, str(line.dataset_id))}
