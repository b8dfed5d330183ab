"""The record of bundles in PostgreSQL: tables that anybody may read and change with SQL, and triggers that record it.

The tables, and what the triggers do, are in `migrations/`; `metastore.bundle.postgres.migrate` makes them. This module
only asks, and changes `bundles` and `bundle_variables`: the database writes each snapshot, at COMMIT.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from metastore.bundle._chains import check_chains
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import STATE, Bundle, BundleRecord, ChainCheck, Filter, LogEntry, LogFilter, Snapshot, Write
from metastore.bundle.postgres import _queries as queries
from metastore.bundle.postgres._database import Database, database_errors
from metastore.bundle.postgres._snapshot_cache import Recent
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
        self._recent = Recent()

    def check(self) -> None:
        """Look whether the database is there and has the tables, without keeping a connection.

        Raises:
            StorageUnavailable: It cannot be reached, or has to be migrated; says how.
        """
        with database_errors(), self._database.apart():
            pass

    def newest(self, name: str) -> Snapshot:
        rows = self._rows(queries.NEWEST, (name,))
        if not rows:
            raise BundleNotFound(name)
        return queries.snapshot(rows[0])

    def recent(self, name: str) -> Snapshot | None:
        return self._recent.get(name)

    def as_of(self, name: str, at: datetime) -> Snapshot:
        where = "WHERE name = %s AND created <= %s ORDER BY snapshot_id DESC LIMIT 1"
        rows = self._rows(f"{queries.SNAPSHOT} {where}", (name, at.astimezone(UTC)))
        if not rows:
            raise BundleNotFound(name, f"there was no bundle {name} at {at:%Y-%m-%d %H:%M:%S %Z}")
        return queries.snapshot(rows[0])

    def snapshot(self, number: int) -> Snapshot:
        rows = self._rows(queries.BY_NUMBER, (number,))
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
        for name in names:
            self._recent.forget(name)  # also where the write fails
        with database_errors():
            made = _Change(self._database, writes, user, comment, at).make() if writes else []
        for snapshot in made:
            self._recent.keep(snapshot)
        return made

    def chains(self) -> Iterator[ChainCheck]:
        with database_errors():
            # Not kept in the pool: it may take long.
            with self._database.apart() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                record = _stream(connection, f"{queries.SNAPSHOT} ORDER BY snapshot_id DESC", "record")
                current = _stream(connection, queries.CURRENT, "current")
                problems = {
                    name: f"what the log says of snapshot {number} is not what it changed"
                    for name, number in connection.execute(queries.MISLISTED.encode())
                }
                yield from check_chains(map(queries.snapshot, record), map(queries.snapshot, current), problems)

    def close(self) -> None:
        self._database.close()

    def _rows(self, query: str, values: Sequence[object]) -> list[dict[str, Any]]:
        with database_errors():
            return self._database.patiently(lambda connection: _rows(connection, query, values))


class _Change:
    """One transaction, which is one statement, until it is certain what became of it.

    When the connection is lost, the statement may yet run. It is sent again all the same: of the two, only one can find
    the snapshots that are expected. If that was the first, the snapshots that follow those are what was asked for.
    """

    def __init__(self, database: Database, writes: Sequence[Write], user: str, comment: str, at: datetime) -> None:
        self._database = database
        self._writes = writes
        self._user = user
        self._comment = comment
        self._at = at.astimezone(UTC)
        patience = f"{int(database.patience * 1000)}ms"
        states = json.dumps([_sent(write) for write in writes], ensure_ascii=False)
        self._values = user, comment, self._at.isoformat(), patience, states
        self._lost = False

    def make(self) -> Sequence[Snapshot]:
        """Make the change; again where it collided with somebody else's and can still be what was expected."""
        for attempt in range(_TRIES):
            try:
                return self._database.patiently(self._try)
            except psycopg.Error as error:
                if not isinstance(error, _COLLISIONS) or attempt == _TRIES - 1:
                    if self._lost:
                        raise self._unknown() from error
                    raise
            time.sleep(random.uniform(0, 0.005 * (attempt + 1)))
        raise AssertionError("unreachable")

    def _try(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        try:
            rows = connection.execute(queries.WRITE, self._values, prepare=True).fetchall()
        except psycopg.OperationalError:
            self._lost = self._lost or connection.closed
            raise
        name, newest, digest = rows[0]
        if digest is None:
            return self._kept(connection) or self._refuse(name, newest)
        return [
            self._snapshot(write, number, digest)
            if number != write.expected
            else queries.snapshot(_rows(connection, queries.BY_NUMBER, (number,))[0])  # it altered nothing
            for write, (_, number, digest) in zip(self._writes, rows, strict=True)
        ]

    def _refuse(self, name: str, newest: int | None) -> NoReturn:
        expected = next(write.expected for write in self._writes if write.bundle.name == name)
        if newest is None and expected is None:  # the deletion of what was never there
            raise BundleNotFound(name)
        raise RevisionConflict(f"bundle {name}", expected=expected, actual=newest)

    def _kept(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        """Return the snapshots that this change made before the connection was lost, if it did."""
        if not self._lost:
            return []
        found: list[Snapshot] = []
        made = False
        for write in self._writes:
            rows = _rows(connection, queries.FOLLOWING, (write.bundle.name, write.expected or 0))
            after = queries.snapshot(rows[0]) if rows else None
            if after and after == self._snapshot(write, after.id, after.hash):
                made = True
                found.append(after)
            elif before := _rows(connection, queries.BY_NUMBER, (write.expected,)):
                found.append(queries.snapshot(before[0]))  # it altered nothing
        return found if made else []

    def _snapshot(self, write: Write, number: int, digest: str) -> Snapshot:
        """Return the snapshot that a write makes."""
        bundle = replace(write.bundle, updated=self._at, snapshot=number)
        made = (number, bundle.name, self._at, self._user, self._comment, write.action, bundle, write.deleted)
        return Snapshot(*made, write.expected, digest)

    def _unknown(self) -> OutcomeUnknown:
        write = self._writes[-1]
        return OutcomeUnknown(
            "the connection was lost while the change was being made, and the database cannot be asked",
            f"the snapshot of {write.bundle.name} that follows {write.expected or 'nothing'},"
            f" by {self._user} at {self._at.isoformat()}",
        )


def _sent(write: Write) -> dict[str, Any]:
    """Return a write as `metastore_write` takes it."""
    state = {key: getattr(write.bundle, key) for key in STATE}
    made = {
        "action": write.action,
        "deleted": write.deleted,
        "expected": write.expected,
        "follows": write.follows,
    }
    return {**made, **state, "devices": sorted(write.bundle.devices)}


def _rows(connection: psycopg.Connection[Any], query: str, values: Sequence[object]) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query.encode(), values).fetchall()


def _stream(connection: psycopg.Connection[Any], query: str, name: str) -> Iterator[dict[str, Any]]:
    with connection.cursor(name, row_factory=dict_row) as cursor:
        yield from cursor.execute(query.encode())
