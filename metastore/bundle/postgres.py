"""The record of bundles in PostgreSQL: tables that anybody may read and change with SQL, and triggers that record it.

The tables, and what the triggers do, are in `migrations/`; `metastore.bundle.migrate` makes them. What is here only
asks, and changes `bundles` and `bundle_variables`: each snapshot is written by the database, at COMMIT.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from metastore.bundle import queries
from metastore.bundle.base import (
    STATE,
    Bundle,
    BundleRecord,
    ChainCheck,
    Filter,
    LogEntry,
    LogFilter,
    Snapshot,
    Write,
)
from metastore.bundle.chains import check_chains
from metastore.bundle.database import Database, database_errors
from metastore.bundle.listing import BundleLine, Listing
from metastore.errors import (
    BundleNotFound,
    InvalidInput,
    OutcomeUnknown,
    RevisionConflict,
    SnapshotNotFound,
)

_TRIES = 30
_COLLISIONS = errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation
_PAGE = 500


class PostgresRecord(BundleRecord):
    """Bundles in the tables of a PostgreSQL database. Safe to share between threads, and after a fork.

    Args:
        dsn: The database, as libpq takes it.
        pool_size: How many connections a process may have.
        patience: For how many seconds a call waits for a connection, a lock, or a server that starts again.
    """

    def __init__(self, dsn: str, *, pool_size: int = 10, patience: float = 10.0) -> None:
        self._database = Database(dsn, size=pool_size, patience=patience)

    def check(self) -> None:
        """Look whether the database is there and has the tables, without keeping a connection.

        Raises:
            StorageUnavailable: It cannot be reached, or has to be migrated; says how.
        """
        with database_errors(), self._database.apart():
            pass

    def newest(self, name: str) -> Snapshot:
        rows = self._rows(f"{queries.SNAPSHOT} WHERE name = %s ORDER BY snapshot_id DESC LIMIT 1", (name,))
        if not rows:
            raise BundleNotFound(name)
        return queries.snapshot(rows[0])

    def as_of(self, name: str, at: datetime) -> Snapshot:
        where = "WHERE name = %s AND created <= %s ORDER BY snapshot_id DESC LIMIT 1"
        rows = self._rows(f"{queries.SNAPSHOT} {where}", (name, at.astimezone(UTC)))
        if not rows:
            raise BundleNotFound(name, f"there was no bundle {name} at {at:%Y-%m-%d %H:%M:%S %Z}")
        return queries.snapshot(rows[0])

    def snapshot(self, number: int) -> Snapshot:
        rows = self._rows(f"{queries.SNAPSHOT} WHERE snapshot_id = %s", (number,))
        if not rows:
            raise SnapshotNotFound(number)
        return queries.snapshot(rows[0])

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        after, left = wanted.after or "", wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self._rows(*queries.bundles(wanted, after, size))
            yield from map(queries.bundle, page)
            if len(page) < size:
                return
            after = page[-1]["name"]
            left = None if left is None else left - size

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        return [queries.line(row) for row in self._rows(*queries.lines(wanted))]

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        return [queries.log_entry(row) for row in self._rows(*queries.log(wanted))]

    def write(self, writes: Sequence[Write], *, user: str, comment: str, at: datetime) -> Sequence[Snapshot]:
        names = [write.bundle.name for write in writes]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"bundle {twice} occurs twice in one transaction")
        with database_errors():
            return _Change(self._database, writes, user, comment, at).make() if writes else []

    def chains(self) -> Iterator[ChainCheck]:
        with database_errors():
            # Not kept in the pool: it may take long.
            with self._database.apart() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                record = _stream(connection, f"{queries.SNAPSHOT} ORDER BY snapshot_id DESC", "record")
                current = _stream(connection, queries.CURRENT, "current")
                yield from check_chains(map(queries.snapshot, record), map(queries.snapshot, current))

    def close(self) -> None:
        self._database.close()

    def _rows(self, query: str, values: Sequence[object]) -> list[dict[str, Any]]:
        def ask(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            return connection.cursor(row_factory=dict_row).execute(query.encode(), values).fetchall()

        with database_errors():
            return self._database.patiently(ask)


class _Change:
    """One transaction, until it is certain what became of it.

    Its snapshots are known before COMMIT. When the connection is lost while that is under way, the next try takes the
    same locks, which it gets when the lost transaction has ended one way or the other: then the snapshots are there,
    or the change was not made and can be made again.
    """

    def __init__(self, database: Database, writes: Sequence[Write], user: str, comment: str, at: datetime) -> None:
        self._database = database
        self._writes = writes
        self._names = sorted(write.bundle.name for write in writes)
        self._settings = {
            "metastore.user": user,
            "metastore.comment": comment,
            "metastore.at": at.astimezone(UTC).isoformat(),
            "metastore.action": writes[0].action,
            "lock_timeout": f"{int(database.patience * 1000)}ms",
        }
        #: What a try has made of which nobody knows whether it was committed.
        self._unsettled: Sequence[Snapshot] = ()

    def make(self) -> Sequence[Snapshot]:
        """Make the change; again where it collided with somebody else's and can still be what was expected."""
        for attempt in range(_TRIES):
            try:
                return self._database.patiently(self._try)
            except _COLLISIONS:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0, 0.005 * (attempt + 1)))
            except psycopg.Error as error:
                if not self._unsettled:
                    raise
                raise self._unknown() from error
        raise AssertionError("unreachable")

    def _try(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        made: Sequence[Snapshot] = ()
        try:
            with _pipeline(connection), connection.transaction():
                made = self._run(connection)
        except psycopg.Error:
            if made and connection.closed:
                self._unsettled = made
            raise
        return made

    def _run(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        """Do everything that comes between BEGIN and COMMIT."""
        newest = self._lock(connection)
        if self._unsettled and self._kept(connection):
            return self._unsettled
        self._unsettled = ()
        for write in self._writes:
            _check(write, newest[write.bundle.name])
        self._change(connection)
        rows = connection.cursor(row_factory=dict_row).execute(queries.MADE.encode(), (self._names,))
        made = {row["name"]: queries.snapshot(row) for row in rows}
        return [_made(write, made.get(write.bundle.name)) for write in self._writes]

    def _lock(self, connection: psycopg.Connection[Any]) -> dict[str, int | None]:
        """Lock the names, and return the newest snapshot of each."""
        connection.execute(queries.SETTINGS, (list(self._settings), list(self._settings.values())))
        connection.execute(queries.LOCK_NAMES, (sorted({_number(name) for name in self._names}),))
        connection.execute(queries.LOCK_ROWS, (self._names,))
        return dict(connection.execute(queries.NEWEST, (self._names,)).fetchall())

    def _change(self, connection: psycopg.Connection[Any]) -> None:
        action = self._settings["metastore.action"]
        for write in self._writes:
            bundle, devices = write.bundle, sorted(write.bundle.devices)
            if write.action != action:
                action = write.action
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what was done so far had another action
                connection.execute("SET CONSTRAINTS ALL DEFERRED")
                connection.execute(queries.SETTINGS, (["metastore.action"], [action]))
            if write.deleted:
                connection.execute(queries.DELETE, (bundle.name,))
                continue
            state = [getattr(bundle, key) for key in STATE if key not in ("hosts", "devices")]
            connection.execute(queries.UPSERT, (*state, list(bundle.hosts)))
            connection.execute(queries.REMOVE_DEVICES, (bundle.name, devices))
            connection.execute(queries.ADD_DEVICES, (bundle.name, devices))
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _kept(self, connection: psycopg.Connection[Any]) -> bool:
        """Tell whether what was made before the connection was lost is there."""
        made = [snapshot.id for snapshot in self._unsettled], [snapshot.hash for snapshot in self._unsettled]
        return connection.execute(queries.KEPT, made).fetchone() == (len(self._unsettled),)

    def _unknown(self) -> OutcomeUnknown:
        last = self._unsettled[-1]
        return OutcomeUnknown(
            "the connection was lost while the change was being committed, and the database cannot be asked",
            f"{last.id} of {last.name} with the hash {last.hash}",
        )


def _check(write: Write, newest: int | None) -> None:
    if newest != write.expected:
        raise RevisionConflict(f"bundle {write.bundle.name}", expected=write.expected, actual=newest)


def _made(write: Write, newest: Snapshot | None) -> Snapshot:
    """Return what a write made, or what it found where it altered nothing."""
    if newest is None:  # the deletion of what was never there
        raise BundleNotFound(write.bundle.name)
    if newest.id != write.expected:
        _check(write, newest.previous)  # somebody came between by SQL, without the lock of the name
    return newest


def _number(name: str) -> int:
    """Return the number that stands for a name among PostgreSQL's advisory locks."""
    return int.from_bytes(hashlib.sha256(f"metastore bundle {name}".encode()).digest()[:8], "big", signed=True)


def _pipeline(connection: psycopg.Connection[Any]) -> AbstractContextManager[object]:
    """Send statements without waiting for each one's answer, where libpq can (from 14 on)."""
    return connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext()


def _stream(connection: psycopg.Connection[Any], query: str, name: str) -> Iterator[dict[str, Any]]:
    with connection.cursor(name, row_factory=dict_row) as cursor:
        yield from cursor.execute(query.encode())
