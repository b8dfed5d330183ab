"""Connections to PostgreSQL in a pool per process, and the library's errors for those of PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

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
SCHEMA = 2
_MIGRATE = "run `metastore database migrate` with its URL, as the role that owns the tables"
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
#: What a URL leaves open: a host that is gone is noticed in seconds, not in the hours of the system's defaults.
_DEFAULTS = {
    "application_name": "metastore",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
#: How often a wait for the server looks at the clock, in seconds.
_INTERVAL = 0.1


class TooLate(psycopg.OperationalError):
    """A statement had no answer in time. Its connection is closed; the server may carry it out all the same."""


class Doubtful(psycopg.OperationalError):
    """The server warned about a COMMIT: replicas may lack it, so that a failover could undo it."""


#: Classes of PostgreSQL's errors, the library's error for each, and advice. The first that fits counts.
_MEANINGS: tuple[tuple[tuple[type[psycopg.Error], ...], type[MetastoreError], str], ...] = (
    ((Doubtful,), OutcomeUnknown, ""),
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


def check_dsn(dsn: str) -> str:
    """Check the URL of a database (libpq's `postgresql://…` or `key=value …`). No message repeats it.

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
            "the URL of the database cannot be read: postgresql://user:password@host:port/name,"
            " with %XX for what is not a letter or digit in user and password"
        ) from None


class Connection(psycopg.Connection[Any]):
    """A connection that never cancels a statement, since that could be a COMMIT.

    A COMMIT that waits for a replica and is cancelled is reported as done, and the next failover undoes it. So where
    psycopg would cancel (at Ctrl-C), and at the deadline, this connection is closed instead.

    Attributes:
        deadline: When a statement has to be answered, on the monotonic clock; None for never.
        warning: The last warning of the server, or None.
    """

    deadline: float | None = None
    warning: str | None = None

    def wait(self, gen: PQGen[_Answer], *_: object, **__: object) -> _Answer:
        """Wait as psycopg does, but cancel nothing."""
        try:
            return waiting.wait(_until(gen, self.deadline), self.pgconn.socket, _INTERVAL)
        except (KeyboardInterrupt, SystemExit, TooLate):
            self.pgconn.finish()
            raise

    def heed(self, notice: errors.Diagnostic) -> None:
        """Remember a notice that is a warning."""
        if (notice.sqlstate or "").startswith("01"):
            self.warning = notice.message_primary


def _until(gen: PQGen[_Answer], deadline: float | None) -> PQGen[_Answer]:
    """Go through a generator of psycopg, at most until a deadline, which ends it with `TooLate`."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and deadline is not None and time.monotonic() > deadline:
                raise TooLate("the server did not answer in time")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: _Answer = done.value
        return answer


def connect(dsn: str) -> Connection:
    """Open a connection that commits every statement by itself, with `prepare`."""
    connection = Connection.connect(check_dsn(dsn), autocommit=True)
    prepare(connection)
    return connection


def confirm(connection: psycopg.Connection[Any]) -> None:
    """Wait until all that was committed before is as durable as a COMMIT of this session.

    What can be seen may not have reached a replica yet: a session that was ended while it waited for one leaves its
    transaction committed on this server alone. So what an earlier attempt did counts as done only after this.
    """
    connection.execute(b"SELECT pg_logical_emit_message(true, 'metastore', '')")


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
    return isinstance(error, gone) or (error.sqlstate is None and not isinstance(error, Doubtful))


_Pool = ConnectionPool[Connection]


class _Held(threading.local):
    """The connection that a thread holds for several calls, with the id of its process."""

    connection: Connection | None = None
    process = 0


class Database:
    """A database, with a pool of connections for each process: a forked child opens its own.

    Args:
        dsn: The database, in libpq's syntax.
        size: The largest number of connections per process.
        patience: How many seconds a call waits for a connection, a lock, or a server that is restarting.
        timeout: How many seconds more a statement may take. Then its connection is closed.
    """

    def __init__(self, dsn: str, *, size: int, patience: float, timeout: float = 60.0) -> None:
        self.dsn = check_dsn(dsn)
        self._size = size
        self.patience = patience
        self._timeout = timeout
        # One per process id: a child must neither use nor close its parent's connections.
        self._pools: dict[int, _Pool] = {}
        self._held = _Held()

    def close(self) -> None:
        """Close this process's connections; the next call opens them again."""
        if pool := self._pools.pop(os.getpid(), None):
            pool.close()

    def patiently(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work` with a connection; if the connection is lost, again with another one, while `patience` lasts.

        `work` must be safe to repeat. Errors are PostgreSQL's own, and `TooLate` for a statement that was not answered
        in time.
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

    def surely(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work`, which writes, as `patiently` does; `Doubtful` if a replica may lack what was committed."""

        def heeded(connection: Connection) -> _Answer:
            answer = work(connection)
            if connection.warning is not None:
                raise Doubtful(connection.warning)
            return answer

        return self.patiently(heeded)

    @contextmanager
    def one_at_a_time(self, subject: str) -> Iterator[None]:
        """Keep all others that want the same, on any machine, waiting until the body ends.

        All calls of this thread in the body use one connection. Nobody may rely on being alone: if the connection is
        lost, the next one begins.

        Raises:
            StorageBusy: The wait took longer than `patience`.
        """
        with ExitStack() as stack:
            with database_errors():
                pool = self._pools.get(os.getpid()) or self._open()
                connection = stack.enter_context(self._connection(pool, self.patience))
                try:
                    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (subject,))
                except psycopg.OperationalError as error:
                    if not _lost(error):
                        raise
            self._held.connection, self._held.process = connection, os.getpid()
            try:
                yield
            finally:
                self._held.connection = None
                with suppress(psycopg.Error):
                    connection.execute("SELECT pg_advisory_unlock_all()")

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """Open a connection outside of the pool, for work that takes long."""
        with connect(self.dsn) as connection:
            _pin(connection)
            yield connection

    def _configure(self, connection: Connection) -> None:
        """Prepare a connection of the pool."""
        prepare(connection)
        connection.add_notice_handler(connection.heed)
        _pin(connection)
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(self.patience * 1000)}ms",))

    @contextmanager
    def _connection(self, pool: _Pool, seconds: float) -> Iterator[Connection]:
        held = self._held.connection
        if held is not None and self._held.process == os.getpid() and not held.closed:
            self._begin(held)
            yield held
            return
        try:
            connection = pool.getconn(seconds)
        except PoolTimeout:
            # The pool does not say whether the server is away or all connections are in use.
            connect(self.dsn).close()
            raise
        self._begin(connection)
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def _begin(self, connection: Connection) -> None:
        connection.warning = None
        connection.deadline = time.monotonic() + self.patience + self._timeout

    def _open(self) -> _Pool:
        """Open this process's pool, after checking that the database is ready."""
        with self.apart():
            pass
        opened: _Pool = ConnectionPool(
            self.dsn,
            connection_class=Connection,
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
        raise StorageUnavailable(f"this database has no tables of metastore yet: {_MIGRATE}") from None
    version = row[0] if row else 0
    if version < SCHEMA:
        raise StorageUnavailable(f"the tables in this database are of an older metastore: {_MIGRATE}")
    if version > SCHEMA:
        raise StorageUnavailable("the tables in this database are of a newer metastore than this one")
