"""A database as datasets or bundles use it: calls with patience, over a pool of connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from metastore.postgres._pool import Connections, pools, shared
from metastore.postgres.connection import Connection, Doubtful, check_dsn, database_errors, is_lost, pin

__all__ = ["PATIENCE", "SIZE", "Database", "pools"]
_Answer = TypeVar("_Answer")
#: The largest number of connections per process, and how many seconds a call waits, where nothing else is said.
SIZE, PATIENCE = 10, 30.0
#: How old the knowledge may be which host is the primary, in seconds.
_LOOK = 30.0


class _Held(threading.local):
    """The connection that a thread holds for several calls, and the id of its process."""

    connection: Connection | None = None
    process = 0


class Database:
    """A database. All with the same DSN, size and patience share a pool of connections; a forked child opens its own.

    Args:
        dsn: The database, in libpq's syntax.
        size: The largest number of connections per process.
        patience: How many seconds a call waits for a connection, a lock, or a server that is restarting.
        timeout: How many seconds more a statement may take. Then its connection is closed.
    """

    def __init__(self, dsn: str, *, size: int = SIZE, patience: float = PATIENCE, timeout: float = 60.0) -> None:
        self.dsn = check_dsn(dsn)
        self.patience = patience
        self._timeout = timeout
        self._shared = shared(self.dsn, size, patience)
        self._primary = self._shared.primary
        # The shared connections by process id.
        self._pools: dict[int, Connections] = {}
        self._held = _Held()

    def close(self) -> None:
        """Close this process's connections, unless others use them too; the next call opens them again."""
        if self._pools.pop(os.getpid(), None):
            self._shared.leave(self)

    def patiently(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work` with a connection. While `patience` lasts, run it again with another one if that is lost.

        `work` must be safe to repeat. Errors are PostgreSQL's own; `TooLate` if a statement was not answered in time.
        """
        pool = self._pools.get(os.getpid()) or self._open()
        deadline, pause = time.monotonic() + self.patience, 0.05
        while True:
            try:
                connection = self._take(pool, max(deadline - time.monotonic(), 0.1))
                try:
                    return work(connection)
                finally:
                    self._give_back(pool, connection)
            except PoolTimeout:
                raise
            except psycopg.OperationalError as error:
                if not is_lost(error) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1)
            pool.check()

    def surely(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work`, which writes, as `patiently` does; raise `Doubtful` if a replica may lack the commit."""

        def heeded(connection: Connection) -> _Answer:
            answer = work(connection)
            if connection.warning is not None:
                raise Doubtful(connection.warning)
            return answer

        return self.patiently(heeded)

    @contextmanager
    def one_at_a_time(self, subject: str) -> Iterator[None]:
        """Make all others that ask for this subject, on any machine, wait until the body ends.

        All calls of this thread in the body use one connection. The body must not rely on being alone: if the
        connection is lost, the next one begins.

        Raises:
            StorageBusy: The wait took longer than `patience`.
        """
        with ExitStack() as stack:
            with database_errors():
                pool = self._pools.get(os.getpid()) or self._open()
                connection = self._take(pool, self.patience)
                stack.callback(self._give_back, pool, connection)
                try:
                    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (subject,))
                except psycopg.OperationalError as error:
                    if not is_lost(error):
                        raise
            before = self._held.connection
            self._held.connection, self._held.process = connection, os.getpid()
            try:
                yield
            finally:
                self._held.connection = before
                with suppress(psycopg.Error):
                    connection.execute("SELECT pg_advisory_unlock_all()")

    @contextmanager
    def apart(self) -> Iterator[Connection]:
        """Open a connection outside of the pool, for long work."""
        with self._primary.connect() as connection:
            pin(connection)
            yield connection

    def _take(self, pool: Connections, seconds: float) -> Connection:
        """Return the connection that this thread holds for several calls, or one of the pool."""
        held = self._held.connection
        if held is not None and self._held.process == os.getpid() and not held.closed:
            connection = held
        else:
            try:
                connection = self._of_primary(pool, seconds)
            except PoolTimeout:
                # The pool does not say whether the server is away or all connections are in use.
                self._primary.connect().close()
                raise
        self._begin(connection)
        return connection

    def _give_back(self, pool: Connections, connection: Connection) -> None:
        if connection is not self._held.connection:
            pool.putconn(connection)

    def _of_primary(self, pool: Connections, seconds: float) -> Connection:
        """Return a connection of the pool, after closing those to a server that is not the primary any more."""
        deadline = time.monotonic() + seconds
        timeline = self._primary.timeline(_LOOK)
        while True:
            connection = pool.getconn(max(deadline - time.monotonic(), 0.1))
            if connection.timeline >= timeline:
                return connection
            connection.close()
            pool.putconn(connection)

    def _begin(self, connection: Connection) -> None:
        connection.warning = None
        connection.deadline = time.monotonic() + self.patience + self._timeout

    def _open(self) -> Connections:
        """Open this process's pool, after checking that the database is ready."""
        with self.apart():
            pass
        return self._pools.setdefault(os.getpid(), self._shared.join(self))
