"""An index of the record of bundles in SQLite. It is built from the record, which always takes precedence.

The index names the revision that it covers. Before it answers, it adds the revisions since then. If the record does not
have that revision, or the index has another format, it is rebuilt.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TypeVar

from metastore import forks
from metastore.bundle._tables import (
    add_snapshot,
    bundles_query,
    empty_tables,
    has_format,
    lines_query,
    log_query,
    make_tables,
    time_text,
    to_bundle,
    to_line,
    to_log_entry,
)
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import Bundle, Filter, LogEntry, LogFilter, Snapshot
from metastore.errors import StorageBusy, StorageCorrupt
from metastore.forks import ForkSafeLock
from metastore.types import RevisionId

_log = logging.getLogger("metastore.bundle")
_Answer = TypeVar("_Answer")
#: The number of bundles that one statement reads.
_PAGE = 500
_TRIES = 3
#: How long to wait for another process that is rebuilding the index, in seconds.
_PATIENCE = 60.0
#: Names of SQLite's errors for a file that cannot be used where it is, but is not damaged.
_UNUSABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")


class Index:
    """Finds bundles and snapshots by group, device, event, user and time. Safe to share, also with a forked child.

    A damaged file is deleted and rebuilt. If the file cannot be written, the index is kept in memory.

    Args:
        path: An SQLite file, created if needed; None to keep the index in memory.
        revisions: Yields the revisions of the record, newest first.
        snapshots: Returns the snapshots of a revision, in order.
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
        self._mutex = ForkSafeLock()
        self._connection: sqlite3.Connection | None = None
        forks.register(self, Index._after_fork)

    def close(self) -> None:
        """Close the file; an index in memory is lost, and rebuilt on use."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def catch_up(self, head: str | None) -> None:
        """Add the revisions of the record up to its newest one, `head`."""

        def cover(database: sqlite3.Connection) -> None:
            if _covered(database) != head:
                self._cover(database)

        self._ask(cover)

    def place(self, number: int) -> tuple[RevisionId, str] | None:
        """Return the revision and name of a snapshot."""
        return self._place("SELECT revision, name FROM snapshots WHERE id = ?", (number,))

    def as_of(self, name: str, at: datetime) -> tuple[RevisionId, str] | None:
        """Return the revision of the newest snapshot of a name that was made at a time or earlier, and the name."""
        query = """SELECT revision, name FROM snapshots WHERE name = ? AND created <= ?
            ORDER BY created DESC, id DESC LIMIT 1"""
        return self._place(query, (name, time_text(at)))

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles by name."""
        after, left = wanted.after or "", wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            query, values = bundles_query(wanted, after, size)
            page = self._rows(query, values)
            yield from map(to_bundle, page)
            if len(page) < size:
                return
            after = page[-1]["name"]
            left = None if left is None else left - size

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list."""
        query, values = lines_query(wanted)
        return [to_line(row) for row in self._rows(query, values)]

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""
        query, values = log_query(wanted)
        return [to_log_entry(row) for row in self._rows(query, values)]

    def _place(self, query: str, values: tuple[object, ...]) -> tuple[RevisionId, str] | None:
        rows = self._rows(query, values)
        return (rows[0]["revision"], rows[0]["name"]) if rows else None

    def _rows(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        return self._ask(lambda database: database.execute(query, values).fetchall())

    def _ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Ask the index; if it is damaged or unusable, rebuild it and ask again."""
        with self._mutex:
            for _ in range(_TRIES):
                try:
                    if self._connection is None:
                        self._connection = _connect(self._path)
                        self._cover(self._connection)
                    return question(self._connection)
                except sqlite3.ProgrammingError:  # a fault of this module, not of the file
                    raise
                except sqlite3.DatabaseError as error:
                    self._recover(error)
        raise StorageCorrupt("the record of bundles cannot be indexed: see `bundle_verify`")

    def _cover(self, database: sqlite3.Connection) -> None:
        with _transaction(database):
            new = self._behind(_covered(database))
            if new is None:  # the record is another one: rebuild
                empty_tables(database)
                new = self._behind(None) or []
            for revision in reversed(new):
                for snapshot in self._snapshots(revision):
                    add_snapshot(database, revision, snapshot)
            if new:
                database.execute("UPDATE meta SET head = ?", (new[0],))

    def _behind(self, covered: str | None) -> list[RevisionId] | None:
        """Return the revisions after the covered one, newest first; None if the record does not have that one."""
        new: list[RevisionId] = []
        for revision in self._revisions():
            if revision == covered:
                return new
            new.append(revision)
        return new if covered is None else None

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Discard the index after a failure.

        Raises:
            StorageBusy: Another process is rebuilding it for too long.
        """
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StorageBusy("the index of bundles is being rebuilt; try again") from error
        self.close()
        if self._path is None:
            return
        if name.startswith(_UNUSABLE) or not _remove(self._path):
            _log.warning("%s cannot be used (%s): the index of bundles is kept in memory", self._path, error)
            self._path = None
        else:
            _log.warning("%s was damaged (%s) and is rebuilt", self._path, error)

    def _after_fork(self) -> None:
        """Open the file again in a forked child: SQLite forbids a child even to close its parent's connection."""
        forks.abandon(self._connection)
        self._connection = None


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
        raise sqlite3.DatabaseError("it does not name the revision that it covers")
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
        with suppress(OSError):  # SQLite reports that it cannot open the file
            os.makedirs(os.path.dirname(path), exist_ok=True)
    database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=_PATIENCE)
    try:
        database.row_factory = sqlite3.Row
        if path is not None:
            # It can be rebuilt at any time: after a power cut it may be gone, but must not be half written.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        if not has_format(database):
            with _transaction(database):
                if not has_format(database):
                    make_tables(database)
    except BaseException:
        database.close()
        raise
    return database
