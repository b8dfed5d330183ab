"""An index of the record of bundles: SQLite, made from the record, and never trusted over it.

It names the revision that it covers. When the record has gone on, it walks from there and catches up; when it does not
find the revision it knows, or has another format, it begins anew.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from metastore.bundle import _tables as tables
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import Bundle, Filter, LogEntry, LogFilter, Snapshot
from metastore.errors import StorageBusy, StorageCorrupt
from metastore.types import RevisionId

_log = logging.getLogger("metastore.bundle")
_Answer = TypeVar("_Answer")
#: How many bundles are read in one statement.
_PAGE = 500
_TRIES = 3
#: How long to wait for another process that makes the index anew, in seconds.
_PATIENCE = 60.0
#: What SQLite says when a file cannot be used where it is, as opposed to a damaged one.
_UNUSABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")


class Index:
    """Answers by group, device, event, user and time. Safe to share between threads, processes, and after a fork.

    A file that is damaged is thrown away and made anew; where none can be written, the index is kept in memory.

    Args:
        path: An SQLite file, made if need be; None for memory.
        revisions: Yields the revisions of the record, newest first.
        snapshots: Returns the snapshots that a revision made, in order.
    """

    def __init__(
        self,
        path: str | None,
        revisions: Callable[[], Iterator[RevisionId]],
        snapshots: Callable[[RevisionId], Sequence[Snapshot]],
    ) -> None:
        self._path = path
        self._revisions = revisions
        self._snapshots = snapshots
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        _open_ones.add(self)

    def close(self) -> None:
        """Close the file; in memory, forget everything."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def catch_up(self, head: str | None) -> None:
        """Cover the record up to its newest revision, `head`."""

        def cover(database: sqlite3.Connection) -> None:
            if _covered(database) != head:
                self._cover(database)

        self._ask(cover)

    def place(self, number: int) -> tuple[RevisionId, str] | None:
        """Return the revision and name of a snapshot."""
        return self._place("SELECT revision, name FROM snapshots WHERE id = ?", (number,))

    def as_of(self, name: str, at: datetime) -> tuple[RevisionId, str] | None:
        """Return the revision of the newest snapshot of a name that was made at a time or before, and the name."""
        query = "SELECT revision, name FROM snapshots WHERE name = ? AND created <= ? ORDER BY id DESC LIMIT 1"
        return self._place(query, (name, tables.time_text(at)))

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles by name."""
        after, left = wanted.after or "", wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            query, values = tables.bundles_query(wanted, after, size)
            page = self._rows(query, values)
            yield from map(tables.bundle, page)
            if len(page) < size:
                return
            after = page[-1]["name"]
            left = None if left is None else left - size

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list."""
        query, values = tables.lines_query(wanted)
        return [tables.line(row) for row in self._rows(query, values)]

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""
        query, values = tables.log_query(wanted)
        return [tables.log_entry(row) for row in self._rows(query, values)]

    def _place(self, query: str, values: tuple[object, ...]) -> tuple[RevisionId, str] | None:
        rows = self._rows(query, values)
        return (rows[0]["revision"], rows[0]["name"]) if rows else None

    def _rows(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        return self._ask(lambda database: database.execute(query, values).fetchall())

    def _ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Ask the index, and where it is damaged or unusable, another one."""
        with self._mutex:
            for _ in range(_TRIES):
                try:
                    if self._connection is None:
                        self._connection = _connect(self._path)
                        self._cover(self._connection)
                    return question(self._connection)
                except sqlite3.ProgrammingError:  # the fault is ours, not the file's
                    raise
                except sqlite3.DatabaseError as error:
                    self._recover(error)
        raise StorageCorrupt("no index can be made from the record of bundles: see `bundle_verify`")

    def _cover(self, database: sqlite3.Connection) -> None:
        with _transaction(database):
            new = self._behind(_covered(database))
            if new is None:  # the record is another one: begin anew
                tables.empty(database)
                new = self._behind(None) or []
            for revision in reversed(new):
                for snapshot in self._snapshots(revision):
                    tables.add(database, revision, snapshot)
            if new:
                database.execute("UPDATE meta SET head = ?", (new[0],))

    def _behind(self, covered: str | None) -> list[RevisionId] | None:
        """Return the revisions newer than one, newest first; None if that one is not among them."""
        new: list[RevisionId] = []
        for revision in self._revisions():
            if revision == covered:
                return new
            new.append(revision)
        return new if covered is None else None

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Make way for another index after a failure.

        Raises:
            StorageBusy: Somebody else is at it for too long.
        """
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StorageBusy("the index of bundles is being made anew; try again") from error
        self.close()
        if self._path is None:
            return
        if name.startswith(_UNUSABLE) or not _remove(self._path):
            _log.warning("%s cannot be used (%s): the index of bundles is kept in memory", self._path, error)
            self._path = None
        else:
            _log.warning("%s was damaged (%s), and is made anew", self._path, error)


_open_ones: weakref.WeakSet[Index] = weakref.WeakSet()
_abandoned: list[sqlite3.Connection | None] = []


def _after_fork() -> None:
    # SQLite forbids a child even to close what its parent opened: it is kept, and another connection opened.
    for index in _open_ones:
        _abandoned.append(index._connection)
        index._connection = None
        index._mutex = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.rollback()
        raise
    database.commit()


def _covered(database: sqlite3.Connection) -> str | None:
    row = database.execute("SELECT head FROM meta").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("it does not say what it covers")
    return row[0]  # type: ignore[no-any-return]


def _remove(path: str) -> bool:
    try:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + suffix)
    except OSError:
        return False
    return True


def _connect(path: str | None) -> sqlite3.Connection:
    if path is not None:
        with suppress(OSError):  # SQLite says then that it cannot open the file
            os.makedirs(os.path.dirname(path), exist_ok=True)
    database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=_PATIENCE)
    try:
        database.row_factory = sqlite3.Row
        if path is not None:
            # It can be made anew at any time: it need not survive a power cut, only be whole or absent.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        if not tables.has_format(database):
            with _transaction(database):
                if not tables.has_format(database):
                    tables.make_tables(database)
    except BaseException:
        database.close()
        raise
    return database
