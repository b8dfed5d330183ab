"""Connections to PostgreSQL in a pool per process, and the library's errors for those of PostgreSQL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
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
_Answer = TypeVar("_Answer")
_Pool = ConnectionPool[psycopg.Connection[Any]]


def check_dsn(dsn: str) -> str:
    """Check the URL of a database (libpq's `postgresql://…` or `key=value …`); no message repeats it.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
        for port in parts.get("port", "").split(","):
            int(port or 0)
        return make_conninfo(**{"client_encoding": "utf8", "application_name": "metastore", **parts})
    except (psycopg.Error, ValueError):
        raise InvalidInput(
            "the URL of the database cannot be read: postgresql://user:password@host:port/name,"
            " with %XX for what is not a letter or digit in user and password"
        ) from None


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Open a connection that commits every statement by itself."""
    return psycopg.connect(check_dsn(dsn), autocommit=True)


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
            _check_schema(connection)
            yield connection

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
            min_size=0,
            max_size=self._size,
            reconnect_timeout=self.patience,
            name="metastore",
            open=False,
        )
        pool = self._pools.setdefault(os.getpid(), opened)
        pool.open()
        return pool


def _check_schema(connection: psycopg.Connection[Any]) -> None:
    try:
        row = connection.execute("SELECT metastore_schema()").fetchone()
    except errors.UndefinedFunction:
        raise StorageUnavailable(f"this database has no record of bundles yet: {_MIGRATE}") from None
    version = row[0] if row else 0
    if version < SCHEMA:
        raise StorageUnavailable(f"the tables in this database are of an older metastore: {_MIGRATE}")
    if version > SCHEMA:
        raise StorageUnavailable("the tables in this database are of a newer metastore than this one")
