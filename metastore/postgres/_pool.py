"""The connections of a process to a database, which datasets and bundles share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from psycopg_pool import ConnectionPool

from metastore.forks import ForkSafeLock
from metastore.postgres._primary import Primary
from metastore.postgres.connection import Connection, pin, prepare

if TYPE_CHECKING:
    from metastore.postgres.database import Database

Connections = ConnectionPool[Connection]
#: How long the pool waits longer and longer between attempts to connect, in seconds. Then it begins again. Otherwise it
#: would not look between 15 s and 30 s after a failure, which is when a cluster has its new primary.
_ATTEMPTS = 2.0


@dataclass(frozen=True)
class _Opened:
    """The connections of one process, and who uses them."""

    connections: Connections
    users: WeakSet[Database] = field(default_factory=WeakSet)


class Pool:
    """A pool of connections for each process: a forked child must neither use nor close its parent's. See `shared`.

    Args:
        dsn: The database, after `check_dsn`.
        size: The largest number of connections per process.
        patience: How many seconds a statement waits for a lock.

    Attributes:
        primary: Finds the server that takes writes.
    """

    def __init__(self, dsn: str, size: int, patience: float) -> None:
        self.primary = Primary(dsn)
        self._size, self._patience = size, patience
        self._opened: dict[int, _Opened] = {}
        self._mutex = ForkSafeLock()

    def join(self, user: Database) -> Connections:
        """Return this process's connections; open them for the first user."""
        with self._mutex:
            if (opened := self._opened.get(os.getpid())) is None:
                opened = self._opened[os.getpid()] = _Opened(self._open(user.patience))
            opened.users.add(user)
            return opened.connections

    def leave(self, user: Database) -> None:
        """Close this process's connections after the last user."""
        with self._mutex:
            opened = self._opened.get(os.getpid())
            if opened is None:
                return
            opened.users.discard(user)
            if opened.users:
                return
            del self._opened[os.getpid()]
        opened.connections.close()

    def _open(self, patience: float) -> Connections:
        connections: Connections = ConnectionPool(
            self.primary.dsn,
            connection_class=Connection,
            kwargs={"autocommit": True},
            configure=self._configure,
            min_size=0,
            max_size=self._size,
            reconnect_timeout=min(_ATTEMPTS, patience),
            reconnect_failed=_try_again,
            name="metastore",
            open=False,
        )
        connections.open()
        return connections

    def _configure(self, connection: Connection) -> None:
        """Prepare a connection."""
        connection.deadline = time.monotonic() + self._patience + 60.0
        prepare(connection)
        self.primary.adopt(connection)
        connection.add_notice_handler(connection.heed)
        pin(connection)
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(self._patience * 1000)}ms",))


def _try_again(connections: Connections) -> None:
    """Connect again, if a call still waits for it."""
    if connections.get_stats().get("requests_waiting"):
        connections.check()


_pools: WeakValueDictionary[tuple[str, int, float], Pool] = WeakValueDictionary()
_mutex = ForkSafeLock()


def shared(dsn: str, size: int, patience: float) -> Pool:
    """Return the pool of these arguments, which lives as long as somebody holds it."""
    key = dsn, size, patience
    with _mutex:
        if (pool := _pools.get(key)) is None:
            pool = _pools[key] = Pool(*key)
        return pool


def pools() -> list[Connections]:
    """Return the connections that this process has open, for those who count them."""
    with _mutex:
        opened = [pool._opened.get(os.getpid()) for pool in _pools.values()]
    return [each.connections for each in opened if each is not None]
