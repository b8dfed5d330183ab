"""Connections to PostgreSQL in a pool per process, and the library's errors for those of PostgreSQL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from metastore.errors import (
    InvalidInput,
    MetastoreError,
    PermissionDenied,
    StorageBusy,
    StorageCorrupt,
    StorageUnavailable,
)

#: The result of `metastore_schema()` in a database that this version can use.
SCHEMA = 1
_MIGRATE = "run `metastore bundle migrate` with its URL, as the role that owns the tables"
#: What the sessions of this package rely on. A connection with a search path finds its tables there: see `_pin`.
_SETTINGS = {
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
}
#: Classes of PostgreSQL's errors, the library's error for each, and advice. The first that fits counts.
_MEANINGS: tuple[tuple[tuple[type[psycopg.Error], ...], type[MetastoreError], str], ...] = (
    ((errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedColumn), StorageUnavailable, _MIGRATE),
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
#: Read the version of the tables, and make the schema of the function that knows it the search path.
_PIN = """SELECT metastore_schema(), set_config('search_path', quote_ident(nspname) || ', pg_temp', false)
    FROM pg_proc JOIN pg_namespace AS n ON n.oid = pronamespace
    WHERE pg_proc.oid = to_regprocedure('metastore_schema()')"""
_Answer = TypeVar("_Answer")
_Pool = ConnectionPool[psycopg.Connection[Any]]


def check_dsn(dsn: str) -> str:
    """Check the URL of a database (libpq's `postgresql://…` or `key=value …`). No message repeats it.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
        for port in parts.get("port", "").split(","):
            int(port or 0)
        return make_conninfo(**{"application_name": "metastore", **parts, "client_encoding": "utf8"})
    except (psycopg.Error, ValueError):
        raise InvalidInput(
            "the URL of the database cannot be read: postgresql://user:password@host:port/name,"
            " with %XX for what is not a letter or digit in user and password"
        ) from None


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Open a connection that commits every statement by itself, with `prepare`."""
    connection = psycopg.connect(check_dsn(dsn), autocommit=True)
    prepare(connection)
    return connection


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Set what this package relies on, whatever the settings of the server, the database and the role."""
    calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())
    connection.execute(f"SELECT {calls}".encode())
    connection.adapters.register_loader("timestamptz", _TimeLoader)


class _TimeLoader(Loader):
    """Reads times as `_SETTINGS` have them written. One that Python does not have becomes the nearest that it has."""

    def load(self, data: Buffer) -> datetime:
        text = bytes(data).decode()
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            nearest = datetime.min if text == "-infinity" or text.endswith(" BC") else datetime.max
            return nearest.replace(tzinfo=UTC)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of PostgreSQL and of the connection into the library's own."""
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidInput("a text has characters that are not Unicode") from None
    except psycopg.Error as error:
        raise _meaning(error) from error


def _meaning(error: psycopg.Error) -> MetastoreError:
    message = (error.diag.message_primary or str(error)).strip()
    for kinds, meaning, advice in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(f"{message}: {advice}" if advice else message)
    return StorageUnavailable(f"the database reports: {message}")


def _lost(error: psycopg.OperationalError) -> bool:
    """Tell whether the connection was lost, rather than the statement refused."""
    gone = errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout
    return isinstance(error, gone) or error.sqlstate is None


class Database:
    """A database, with a pool of connections for each process: a forked child opens its own.

    Args:
        dsn: The database, in libpq's syntax.
        size: The largest number of connections per process.
        patience: How many seconds a call waits for a connection, a lock, or a server that is restarting.
    """

    def __init__(self, dsn: str, *, size: int, patience: float) -> None:
        self._dsn = check_dsn(dsn)
        self._size = size
        self.patience = patience
        # One per process id: a child must neither use nor close its parent's connections.
        self._pools: dict[int, _Pool] = {}

    def close(self) -> None:
        """Close this process's connections; the next call opens them again."""
        if pool := self._pools.pop(os.getpid(), None):
            pool.close()

    def patiently(self, work: Callable[[psycopg.Connection[Any]], _Answer]) -> _Answer:
        """Run `work` with a connection; if the connection is lost, again with another one, while `patience` lasts.

        `work` must be safe to repeat. Errors are PostgreSQL's own.
        """
        pool = self._pools.get(os.getpid()) or self._open()
        deadline, pause = time.monotonic() + self.patience, 0.05
        while True:
            try:
                with self._connection(pool, max(deadline - time.monotonic(), 0.1)) as connection:
                    return work(connection)
            except PoolTimeout:
                raise
            except psycopg.OperationalError as error:
                if not _lost(error) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1)
            pool.check()

    @contextmanager
    def apart(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection outside of the pool, for work that takes long."""
        with connect(self._dsn) as connection:
            _pin(connection)
            yield connection

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        """Prepare a connection of the pool."""
        prepare(connection)
        _pin(connection)
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(self.patience * 1000)}ms",))

    @contextmanager
    def _connection(self, pool: _Pool, seconds: float) -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = pool.getconn(seconds)
        except PoolTimeout:
            # The pool does not say whether the server is away or all connections are in use.
            connect(self._dsn).close()
            raise
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _open(self) -> _Pool:
        """Open this process's pool, after checking that the database is ready."""
        with self.apart():
            pass
        opened: _Pool = ConnectionPool(
            self._dsn,
            kwargs={"autocommit": True},
            configure=self._configure,
            min_size=0,
            max_size=self._size,
            reconnect_timeout=self.patience,
            name="metastore",
            open=False,
        )
        pool = self._pools.setdefault(os.getpid(), opened)
        pool.open()
        return pool


def _pin(connection: psycopg.Connection[Any]) -> None:
    """Check the version of the tables, and let the session look for tables in their schema alone.

    Raises:
        StorageUnavailable: The database has no tables, or those of another version.
    """
    try:
        row = connection.execute(_PIN.encode()).fetchone()
    except errors.UndefinedFunction:
        raise StorageUnavailable(f"this database has no record of bundles yet: {_MIGRATE}") from None
    version = row[0] if row else 0
    if version < SCHEMA:
        raise StorageUnavailable(f"the tables in this database are of an older metastore: {_MIGRATE}")
    if version > SCHEMA:
        raise StorageUnavailable("the tables in this database are of a newer metastore than this one")
