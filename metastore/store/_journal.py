"""The journal has a line for each change that leaves no revision. It is itself a dataset, `_metastore/journal`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from metastore.errors import (
    DatasetNotFound,
    MetastoreError,
    OutcomeUnknown,
    RevisionNotFound,
    StorageCorrupt,
    StorageUnavailable,
)
from metastore.storage import retry
from metastore.storage.lines import JOURNAL, LINE, line_content, parse_line
from metastore.storage.port import Storage
from metastore.types import Change, DatasetId, JournalEntry, Revision

_log = logging.getLogger("metastore.storage")


class Journal:
    """The journal of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

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
            self._append("withdrawn", dataset_id, {"entry": entry}, change)
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
        for line in self._storage.history(JOURNAL, head.id):
            if line.id != before:
                yield self._entry(line)

    def _entry(self, line: Revision) -> JournalEntry:
        try:
            action, dataset_id, details = parse_line(self._storage.read(JOURNAL, line.id, LINE))
        except ValueError as error:
            raise StorageCorrupt(f"line {line.id[:12]} of the journal cannot be read: {error}") from None
        return JournalEntry(line.id, action, dataset_id, details, line.author, line.message, line.created)

    def _append(self, action: str, dataset_id: DatasetId, details: Mapping[str, Any], change: Change) -> Revision:
        files = {LINE: line_content(action, dataset_id, details)}
        _, line = retry.append(self._storage, JOURNAL, self._head, lambda head: (files, change))
        return line

    def _head(self) -> Revision | None:
        with suppress(DatasetNotFound):
            return self._storage.resolve(JOURNAL, None)
        return None
