"""An index in an SQLite file, which can be rebuilt at any time from its sources."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

from metastore import forks
from metastore.errors import StorageBusy, StorageCorrupt
from metastore.forks import ForkSafeLock

_log = logging.getLogger("metastore.index")
_Answer = TypeVar("_Answer")
_TRIES = 3
#: How long to wait for another process that is rebuilding the index, in seconds.
_PATIENCE = 60.0
#: The size of a file in a cache beyond which it is begun again, in bytes.
_LARGEST = 256 * 1024 * 1024
#: The pause before the next try, in seconds.
_PAUSE = 0.02
#: Names of SQLite's errors for a file that cannot be used where it is, but is not damaged.
_UNUSABLE = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")


class IndexFile:
    """An SQLite file with one connection. Safe to share between threads, and with a forked child.

    A damaged file, or one of another format, is deleted and created again, empty. If the file cannot be written, the
    index is kept in memory.

    Args:
        path: The file, created if needed; None to keep the index in memory.
        schema: The statements that make the tables.
        format_number: A number that changes with the schema. It is the file's `user_version`.
        opened: Called with each new connection, before its first query.
        empty_replaced: Whether a file that somebody puts in place of the open one is emptied. Other processes then find
            its tables empty between two questions.

    Attributes:
        openings: How often the file was opened. What was read from it before may be gone: it may have been damaged.
    """

    def __init__(
        self,
        path: str | None,
        schema: str,
        format_number: int,
        opened: Callable[[sqlite3.Connection], None] = lambda database: None,
        *,
        empty_replaced: bool = False,
    ) -> None:
        self.path = path
        self._schema = schema
        self._format = format_number
        self._opened = opened
        self._empty_replaced = empty_replaced
        self.openings = 0
        self._identity: tuple[int, int] | None = None
        self._mutex = ForkSafeLock()
        self._connection: sqlite3.Connection | None = None
        self._closing: weakref.finalize[[], IndexFile] | None = None
        forks.register(self, IndexFile._after_fork)

    def ask(self, question: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Return the result of `question`. It is called again if the file was damaged and had to be created again.

        Raises:
            StorageBusy: Another process takes too long to rebuild the index.
            StorageCorrupt: It is damaged again and again.
        """
        end, tries = time.monotonic() + _PATIENCE, 0
        with self._mutex:
            while tries < _TRIES:
                try:
                    return question(self._open())
                except sqlite3.ProgrammingError:  # an error of the caller, not of the file
                    raise
                except sqlite3.DatabaseError as error:
                    if not _is_busy(error):
                        tries += 1
                        self._recover(error)
                    elif time.monotonic() < end:  # SQLite does not wait if a file was deleted while others had it open
                        self.close()
                        time.sleep(_PAUSE)
                    else:
                        raise StorageBusy("the index is being rebuilt by another process; try again") from error
        raise StorageCorrupt(f"the index {self.path or 'in memory'} cannot be built")

    def remake(self) -> None:
        """Empty all tables, for other processes too."""

        def make(database: sqlite3.Connection) -> None:
            with transaction(database):
                self._make_tables(database)

        self.ask(make)

    def close(self) -> None:
        """Close the file; an index in memory is lost, and rebuilt on use."""
        with self._mutex:
            if self._closing is not None:
                self._closing()
            self._connection = self._closing = None

    def _open(self) -> sqlite3.Connection:
        """Return the connection, which is opened if needed.

        A file that somebody put in place of ours is emptied because SQLite uses the journal beside a file for whatever
        has its name, and because the store may have changed since the other file was right.
        """
        was_open = self._identity is not None
        is_replaced = self._empty_replaced and was_open and _identity(self.path) not in (None, self._identity)
        if is_replaced:
            self.close()
        if self._connection is None:
            self._connection = self._connect()
            self.openings += 1
            # Nobody has to close an index: it closes its file when it is dropped.
            self._closing = weakref.finalize(self, self._connection.close)
            self._closing.atexit = False
            self._opened(self._connection)
            if is_replaced:
                with transaction(self._connection):
                    self._make_tables(self._connection)
            self._identity = _identity(self.path)
        return self._connection

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        self.close()
        if self.path is None:
            return
        if _name(error).startswith(_UNUSABLE) or not _remove(self.path):
            _log.warning("%s cannot be used (%s): the index is kept in memory", self.path, error)
            self.path = None
        else:
            _log.warning("%s was damaged (%s) and is rebuilt", self.path, error)

    def _after_fork(self) -> None:
        """Open the file again in a forked child: SQLite forbids a child even to close its parent's connection."""
        if self._closing is not None:
            self._closing.detach()
        forks.abandon(self._connection)
        self._connection = self._closing = None

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            with suppress(OSError):  # SQLite reports that it cannot open the file
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
            _refuse_other_files(self.path)
        database = sqlite3.connect(
            self.path or ":memory:", check_same_thread=False, isolation_level=None, timeout=_PATIENCE
        )
        try:
            database.row_factory = sqlite3.Row
            if self.path is not None:
                # It can be rebuilt at any time. After a power cut it may be gone, but must not be half written.
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
            if not self._has_format(database):
                with transaction(database):
                    if not self._has_format(database):
                        self._make_tables(database)
        except BaseException:
            database.close()
            raise
        return database

    def _has_format(self, database: sqlite3.Connection) -> bool:
        """Tell whether the file has exactly our tables: one that somebody sent may have triggers, or endless views."""
        is_ours = database.execute("PRAGMA user_version").fetchone()[0] == self._format
        return bool(is_ours and _definitions(database) == self._expected())

    def _expected(self) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(":memory:")) as database:
            self._make_tables(database)
            return _definitions(database)

    def _make_tables(self, database: sqlite3.Connection) -> None:
        """Create empty tables in place of the existing ones."""
        existing = """SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'
            ORDER BY sql NOT LIKE 'CREATE VIRTUAL%'"""
        for kind, name in database.execute(existing).fetchall():
            database.execute(f'DROP {kind} IF EXISTS "{name}"')  # dropping a virtual table drops its own tables too
        for statement in filter(str.strip, self._schema.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {self._format}")


def in_cache(folder: str, name: str) -> str | None:
    """Return the path of an index in a folder of this user's cache, which nobody else may use.

    Args:
        folder: The folder for one store. It and the one above it are created if needed.
        name: The name of the file. If it has grown beyond 256 MiB, it is removed.

    Returns:
        The path; None if the folder cannot be used, or is not this user's alone.
    """
    path = os.path.join(folder, name)
    try:
        for place in (above := os.path.dirname(folder), folder):
            os.makedirs(place, 0o700, exist_ok=True)
        is_ours = not os.stat(above).st_mode & 0o022 and _is_private(os.lstat(folder))  # a link is open to all
        if is_ours:
            if os.path.exists(path) and os.path.getsize(path) > _LARGEST:
                _remove(path)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            try:
                is_ours = _is_private(os.fstat(file))
            finally:
                os.close(file)
    except OSError as error:
        _log.info("%s cannot be used (%s): the index is kept in memory", path, error)
        return None
    if not is_ours:
        _log.warning("%s is open to other users: the index is kept in memory", folder)
    return path if is_ours else None


def _identity(path: str | None) -> tuple[int, int] | None:
    """Return what tells a file from another one in its place; None if there is none."""
    try:
        status = os.stat(path) if path is not None else None
    except OSError:
        return None
    return status and (status.st_dev, status.st_ino)


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit all changes of the block to the database, or none. No other process writes meanwhile."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.rollback()
        raise
    database.commit()


def _refuse_other_files(path: str) -> None:
    """Refuse a link or a pipe in place of the file: the tables of another program's file would be dropped.

    Raises:
        sqlite3.DatabaseError: It is not an ordinary file, or the system does not say what it is.
    """
    try:
        is_ordinary = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        unusable = sqlite3.OperationalError(str(error))
        unusable.sqlite_errorname = "SQLITE_CANTOPEN"  # so that the file stays
        raise unusable from error
    if not is_ordinary:
        raise sqlite3.DatabaseError("it is not an ordinary file")


def _definitions(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the names and statements of tables, indexes, views and triggers, without the own tables of FTS5."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql NOT LIKE 'CREATE TABLE ''%' ORDER BY name"
    return [(row[0], row[1]) for row in database.execute(query)]


def _name(error: sqlite3.DatabaseError) -> str:
    return getattr(error, "sqlite_errorname", "")


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    return _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _remove(path: str) -> bool:
    try:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path + suffix)
    except OSError:
        return False
    return True
