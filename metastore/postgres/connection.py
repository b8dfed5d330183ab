"""Connections to PostgreSQL, and the library's errors for those of PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus
from psycopg_pool import PoolTimeout

from metastore.errors import (
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    PermissionDenied,
    StorageBusy,
    StorageCorrupt,
    StorageUnavailable,
)

#: The result of `metastore_schema()` in a database that this version can use.
SCHEMA = 3
POOLER = "a pooler in between has to keep sessions (pgbouncer: pool_mode = session)"
MIGRATE = "run `metastore database migrate` with its URL, as the role that owns the tables"
#: The settings that this package's sessions rely on. `pin` sets the search path.
_SETTINGS = {
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "jit": "off",  # it takes half a second to compile a query that takes milliseconds
    "work_mem": "64MB",  # with 4 MB, a search among a million datasets reads the words of all that it finds
}
#: Defaults for a URL. They notice a lost host in seconds, where the system's own take hours.
_DEFAULTS = {
    "application_name": "metastore",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
#: The time between two looks at the clock while waiting for the server, in seconds.
_INTERVAL = 0.1
#: How long a statement waits before it looks for another primary, in seconds.
_LOOK = 2.0
#: Read the version of the tables, and make the schema of the function that knows it the search path.
_PIN = """SELECT metastore_schema(), set_config('search_path', quote_ident(nspname) || ', pg_temp', false)
    FROM pg_proc JOIN pg_namespace AS n ON n.oid = pronamespace
    WHERE pg_proc.oid = to_regprocedure('metastore_schema()')"""
_Answer = TypeVar("_Answer")


class TooLate(psycopg.OperationalError):
    """A statement was not answered in time. Its connection is closed; the server may still carry it out."""


class Doubtful(psycopg.OperationalError):
    """The server warned about a COMMIT: replicas may lack it, and a failover could undo it."""


#: Classes of PostgreSQL's errors, the library's error for each, and advice. The first match counts.
_MEANINGS: tuple[tuple[tuple[type[psycopg.Error], ...], type[MetastoreError], str], ...] = (
    ((Doubtful,), OutcomeUnknown, ""),
    ((errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedColumn), StorageUnavailable, MIGRATE),
    (
        (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement, errors.ProtocolViolation),
        StorageUnavailable,
        POOLER,
    ),
    ((errors.InsufficientPrivilege,), PermissionDenied, ""),
    ((errors.ReadOnlySqlTransaction,), StorageUnavailable, ""),
    (
        (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation),
        StorageBusy,
        "too many changes at once; try again",
    ),
    (
        (errors.LockNotAvailable, errors.QueryCanceled, errors.TooManyConnections, PoolTimeout),
        StorageBusy,
        "try again in a moment",
    ),
    ((errors.DataCorrupted, errors.IndexCorrupted), StorageCorrupt, ""),
    ((errors.IntegrityConstraintViolation, psycopg.DataError, psycopg.IntegrityError), InvalidInput, ""),
)


def check_dsn(dsn: str) -> str:
    """Check the URL of a database (libpq's `postgresql://…` or `key=value …`), and add defaults to it.

    No message repeats the URL, since it may hold a password.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
        for port in parts.get("port", "").split(","):
            int(port or 0)
        several = {"target_session_attrs": "read-write"} if "," in parts.get("host", "") else {}
        return make_conninfo(**{**_DEFAULTS, **several, **parts, "client_encoding": "utf8"})
    except (psycopg.Error, ValueError):
        raise InvalidInput(
            "the URL of the database cannot be read: write postgresql://user:password@host:port/name, and %40 for @ in "
            "a password, %2F for /"
        ) from None


def database_name(dsn: str) -> str:
    """Return the name of the database in a DSN that `check_dsn` accepts; empty for the default one."""
    return str(conninfo_to_dict(dsn).get("dbname") or "")


class Connection(psycopg.Connection[Any]):
    """A connection that never cancels a statement, since that could be a COMMIT.

    PostgreSQL reports a COMMIT as done if it is cancelled while it waits for a replica, and the next failover undoes
    it. So this connection closes where psycopg would cancel (at Ctrl-C), and at the deadline.

    Attributes:
        deadline: The time by which a statement has to be answered, on the monotonic clock; None for no limit.
        warning: The last warning of the server, or None.
        timeline: What the server writes, if there are several hosts; see `metastore.postgres._primary`.
        newest_timeline: Returns that of the primary. A statement that waits for long asks whether it is still the same.
    """

    deadline: float | None = None
    warning: str | None = None
    timeline: int = 0
    newest_timeline: Callable[[], int] | None = None
    _cursor: psycopg.Cursor[Any] | None = None

    def rows(self, query: str, values: Any = None) -> list[Any]:
        """Run a statement, and return its rows, if it has any; values and rows travel in binary.

        All calls use one cursor, since it takes long to make one. While `query` is the same object as before, psycopg
        also keeps what it knows about the types of values and columns.
        """
        self._cursor = self._cursor or self.cursor(binary=True)
        result = self._cursor.execute(query, values or None).pgresult
        if result is None:
            return []
        # `description` would tell this too, but describes each column.
        rows = self._cursor.fetchall() if result.status == ExecStatus.TUPLES_OK else []
        result.clear()  # the cursor would keep its memory
        return rows

    def wait(self, gen: PQGen[_Answer], *_: object, **__: object) -> _Answer:
        """Wait for the server as psycopg does, without cancelling."""
        try:
            return waiting.wait(_until(gen, self), self.pgconn.socket, _INTERVAL)
        except (KeyboardInterrupt, SystemExit, TooLate):
            self.pgconn.finish()
            raise

    def heed(self, notice: errors.Diagnostic) -> None:
        """Keep a notice of the server if it is a warning."""
        if (notice.sqlstate or "").startswith("01"):
            self.warning = notice.message_primary


def _until(gen: PQGen[_Answer], connection: Connection) -> PQGen[_Answer]:
    """Run a generator of psycopg, and raise `TooLate` at the deadline, or when another server is the primary."""
    try:
        wanted = next(gen)
        look = time.monotonic() + _LOOK
        while True:
            ready = yield wanted
            if not ready and connection.deadline is not None and time.monotonic() > connection.deadline:
                raise TooLate("the server did not answer in time")
            if not ready and connection.newest_timeline and time.monotonic() > look:
                if connection.timeline < connection.newest_timeline():
                    raise TooLate("the server is not the primary any more, and did not answer")
                look = time.monotonic() + _LOOK
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: _Answer = done.value
        return answer


def confirm(connection: psycopg.Connection[Any]) -> None:
    """Wait until all earlier commits are as durable as a COMMIT of this session.

    A session that ends while it waits for a replica leaves its transaction committed on this server alone, where
    others can see it. So the work of an earlier attempt counts as done only after this call.
    """
    connection.execute(b"SELECT pg_logical_emit_message(true, 'metastore', '')")


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Set what this package relies on, over the settings of the server, the database and the role."""
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())
    connection.execute(f"SELECT {calls}".encode())
    connection.adapters.register_loader("timestamptz", _TimeLoader)


class _TimeLoader(Loader):
    """Reads times as `_SETTINGS` formats them. A time outside of Python's range becomes the nearest one in it."""

    def load(self, data: Buffer) -> datetime:
        text = bytes(data).decode()
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            nearest = datetime.min if text == "-infinity" or text.endswith(" BC") else datetime.max
            return nearest.replace(tzinfo=UTC)


def pin(connection: psycopg.Connection[Any]) -> None:
    """Check the version of the tables, and make their schema the session's search path.

    Raises:
        StorageUnavailable: The database has no tables, or tables of another version.
    """
    try:
        row = connection.execute(_PIN.encode()).fetchone()
    except errors.UndefinedFunction:
        raise StorageUnavailable(f"this database has no tables of metastore yet: {MIGRATE}") from None
    version = row[0] if row else 0
    if version < SCHEMA:
        raise StorageUnavailable(f"the tables in this database are of an older metastore: {MIGRATE}")
    if version > SCHEMA:
        raise StorageUnavailable("the tables in this database are of a newer metastore than this one")


class database_errors:  # noqa: N801 - it is used like a function; a generator takes five times as long
    """Turn errors of PostgreSQL and of the connection into errors of the library."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise the error of the library."""
        if isinstance(error, UnicodeEncodeError):
            raise InvalidInput("a text has characters that are not Unicode") from None
        if isinstance(error, psycopg.Error):
            raise _meaning(error) from error


def _meaning(error: psycopg.Error) -> MetastoreError:
    message = " ".join((error.diag.message_primary or str(error)).split())
    for kinds, meaning, advice in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(f"{message}: {advice}" if advice else message)
    if error.pgconn is not None or isinstance(error.__cause__, OSError):  # there was no connection
        first = str(error).partition("\n")[0].removeprefix("connection failed: ").removeprefix("connection is bad: ")
        return StorageUnavailable(f"the database cannot be reached: {first}")
    return StorageUnavailable(f"the database reports: {message}")


def is_lost(error: psycopg.OperationalError) -> bool:
    """Tell whether the connection was lost; otherwise the server refused the statement."""
    gone = errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout
    return isinstance(error, gone) or (error.sqlstate is None and not isinstance(error, Doubtful))
