"""The record of bundles in PostgreSQL: tables that other programs may read and change with SQL, and triggers.

The tables and triggers are defined in `migrations/`, and created by `metastore.postgres.migrate`. This module
reads them and changes `bundles` and `bundle_variables`. The database itself writes each snapshot, at COMMIT.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

from metastore.bundle._chains import check_chains
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import (
    STATE,
    Asked,
    Bundle,
    BundleRecord,
    ChainCheck,
    Filter,
    LogEntry,
    LogFilter,
    Snapshot,
    Write,
)
from metastore.bundle.postgres._queries import (
    GIVE_UP,
    HOLD,
    SELECT_BY_NUMBER,
    SELECT_CURRENT,
    SELECT_FOLLOWING,
    SELECT_MISLISTED,
    SELECT_NEWEST,
    SELECT_SNAPSHOT,
    SELECT_STRAYS,
    WRITE,
    bundles_query,
    lines_query,
    log_query,
    to_bundle,
    to_line,
    to_log_entry,
    to_snapshot,
)
from metastore.errors import (
    BundleNotFound,
    InvalidInput,
    OutcomeUnknown,
    RevisionConflict,
    SnapshotNotFound,
    StorageBusy,
    StorageError,
)
from metastore.postgres.connection import Doubtful, confirm, database_errors
from metastore.postgres.database import PATIENCE, SIZE, Database
from metastore.postgres.risks import Durable, check
from metastore.storage.retry import LostRace, retry
from metastore.types import Outcome

_COLLISIONS = errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation
_PAGE = 500
#: The largest number of snapshots, and of devices in each: a few megabytes in all.
_CACHED, _CACHED_DEVICES = 100, 1_000


class PostgresRecord(BundleRecord):
    """Bundles in the tables of a PostgreSQL database. Safe to share between threads, and with a forked child.

    Args:
        dsn: The database, in libpq's syntax.
        pool_size: The largest number of connections per process.
        patience: How many seconds a call waits for a connection, a lock, or a server that is restarting.
    """

    def __init__(self, dsn: str, *, pool_size: int = SIZE, patience: float = PATIENCE) -> None:
        self._database = Database(dsn, size=pool_size, patience=patience)
        self._cache = SnapshotCache()

    def check(self, durable: Durable = "warn") -> None:
        """See `metastore.postgres.risks.check`."""
        check(self._database, durable)

    def newest(self, name: str) -> Snapshot:
        rows = self._rows(SELECT_NEWEST, (name,))
        if not rows:
            raise BundleNotFound(name)
        return to_snapshot(rows[0])

    def recent(self, name: str) -> Snapshot | None:
        return self._cache.get(name)

    def as_of(self, name: str, at: datetime) -> Snapshot:
        where = "WHERE name = %s AND created <= %s ORDER BY created DESC, snapshot_id DESC LIMIT 1"
        rows = self._rows(f"{SELECT_SNAPSHOT} {where}", (name, at.astimezone(UTC)))
        if not rows:
            raise BundleNotFound(name, f"there was no bundle {name} at {at:%Y-%m-%d %H:%M:%S %Z}")
        return to_snapshot(rows[0])

    def snapshot(self, number: int) -> Snapshot:
        rows = self._rows(SELECT_BY_NUMBER, (number,))
        if not rows:
            raise SnapshotNotFound(number)
        return to_snapshot(rows[0])

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        after, left = wanted.after or "", wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self._rows(*bundles_query(wanted, after, size))
            yield from map(to_bundle, page)
            if len(page) < size:
                return
            after = page[-1]["name"]
            left = None if left is None else left - size

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        return [to_line(row) for row in self._rows(*lines_query(wanted))]

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        return [to_log_entry(row) for row in self._rows(*log_query(wanted))]

    def write(self, writes: Sequence[Write], *, user: str, comment: str, at: datetime) -> Sequence[Snapshot]:
        names = [write.bundle.name for write in writes]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"bundle {repeated} occurs twice in one transaction")
        with database_errors():
            asked = Asked(tuple(writes), user, comment, at.astimezone(UTC))
            snapshots = _Change(self._database, asked).make() if writes else []
        for snapshot in snapshots:
            self._cache.keep(snapshot)
        return snapshots

    def settle(self, error: OutcomeUnknown) -> Outcome:
        if not isinstance(error.bundles, Asked) or error.attempt is None:
            raise InvalidInput("this error names no change of bundles in a database, so it cannot be settled")
        try:
            with database_errors():
                landed = _Change(self._database, error.bundles, error.attempt).was_made()
        except StorageError:
            return Outcome.UNKNOWN
        return Outcome.LANDED if landed else Outcome.NOT_LANDED

    def chains(self) -> Iterator[ChainCheck]:
        with database_errors():
            # A connection of its own, since this may take long.
            with self._database.apart() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                record = _stream(connection, f"{SELECT_SNAPSHOT} ORDER BY snapshot_id DESC", "record")
                current = _stream(connection, SELECT_CURRENT, "current")
                problems = {
                    name: f"the log describes snapshot {number} wrongly"
                    for name, number in connection.execute(SELECT_MISLISTED.encode())
                }
                problems |= dict(connection.execute(SELECT_STRAYS.encode()).fetchall())
                yield from check_chains(map(to_snapshot, record), map(to_snapshot, current), problems)

    def close(self) -> None:
        self._database.close()

    def _rows(self, query: str, values: Sequence[object]) -> list[dict[str, Any]]:
        with database_errors():
            return self._database.patiently(lambda connection: _rows(connection, query, values))


class _Change:
    """One transaction, which is one statement, followed until its outcome is known.

    When the connection is lost, the statement may still run. It is sent again anyway: only one of the two can find the
    expected snapshots. If the first one did, the snapshots that follow the expected ones are those of this change.
    """

    def __init__(self, database: Database, asked: Asked, attempt: str | None = None) -> None:
        self._database = database
        self._asked = asked
        self._id = attempt or str(uuid.uuid4())
        patience = f"{int(database.patience * 1000)}ms"
        states = json.dumps([_arguments(write) for write in asked.writes], ensure_ascii=False)
        self._values = asked.user, asked.comment, asked.at.isoformat(), patience, states, self._id
        self._lost = False

    def make(self) -> Sequence[Snapshot]:
        """Make the change; repeat it after a collision, as long as the expected snapshots are the newest."""
        try:
            return retry(self._attempt, "the record of bundles")
        except Doubtful as error:
            raise self._unknown(str(error)) from error
        except (psycopg.Error, StorageBusy) as error:
            if self._lost:
                raise self._unknown("the connection was lost during the change") from error
            raise

    def was_made(self) -> bool:
        """Tell whether the change was made. After this call it can no longer be made."""
        return self._database.surely(self._give_up)

    def _give_up(self, connection: psycopg.Connection[Any]) -> bool:
        with connection.transaction():
            connection.execute(HOLD, ([write.bundle.name for write in self._asked.writes],))
            connection.execute(GIVE_UP, (self._id,))
        return any(self._following(connection, write) for write in self._asked.writes)

    def _attempt(self) -> Sequence[Snapshot]:
        try:
            return self._database.surely(self._try)
        except _COLLISIONS as error:
            raise LostRace from error

    def _try(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        try:
            rows = connection.execute(WRITE, self._values, prepare=True).fetchall()
        except psycopg.OperationalError:
            self._lost = self._lost or connection.closed
            raise
        name, newest, digest = rows[0]
        if digest is None:
            return self._kept(connection) or self._refuse(name, newest)
        return [
            self._snapshot(write, number, digest)
            if number != write.expected
            else to_snapshot(_rows(connection, SELECT_BY_NUMBER, (number,))[0])  # it changed nothing
            for write, (_, number, digest) in zip(self._asked.writes, rows, strict=True)
        ]

    def _refuse(self, name: str, newest: int | None) -> NoReturn:
        expected = next(write.expected for write in self._asked.writes if write.bundle.name == name)
        if newest is None and expected is None:  # the deletion of a bundle that never existed
            raise BundleNotFound(name)
        raise RevisionConflict(f"bundle {name}", expected=expected, actual=newest)

    def _kept(self, connection: psycopg.Connection[Any]) -> Sequence[Snapshot]:
        """Return the snapshots that this change made before the connection was lost; none if it made none."""
        if not self._lost:
            return []
        snapshots: list[Snapshot] = []
        changed = False
        for write in self._asked.writes:
            if after := self._following(connection, write):
                changed = True
                snapshots.append(after)
            elif before := _rows(connection, SELECT_BY_NUMBER, (write.expected,)):
                snapshots.append(to_snapshot(before[0]))  # this write changed nothing
        if changed:
            confirm(connection)
        return snapshots if changed else []

    def _following(self, connection: psycopg.Connection[Any], write: Write) -> Snapshot | None:
        """Return the snapshot that a write of this change made, or None."""
        rows = _rows(connection, SELECT_FOLLOWING, (write.bundle.name, write.expected or 0))
        after = to_snapshot(rows[0]) if rows else None
        return after if after and after == self._snapshot(write, after.id, after.hash) else None

    def _snapshot(self, write: Write, number: int, digest: str) -> Snapshot:
        """Return the snapshot that a write makes."""
        return Snapshot(
            id=number,
            name=write.bundle.name,
            created=self._asked.at,
            user=self._asked.user,
            comment=self._asked.comment,
            action=write.action,
            bundle=replace(write.bundle, updated=self._asked.at, snapshot=number),
            deleted=write.deleted,
            previous=write.expected,
            hash=digest,
        )

    def _unknown(self, problem: str) -> OutcomeUnknown:
        write = self._asked.writes[-1]
        wanted = (
            f"the snapshot of {write.bundle.name} that follows {write.expected or 'nothing'},"
            f" by {self._asked.user} at {self._asked.at.isoformat()}"
        )
        return OutcomeUnknown(f"{problem}; look for {wanted}", wanted, attempt=self._id, bundles=self._asked)


class SnapshotCache:
    """The newest snapshots of bundles that this process changed, so that the next change need not read them.

    They may be out of date: the server compares number and hash, and refuses a change of anything but the newest. Safe
    to share between threads.
    """

    def __init__(self) -> None:
        # No lock, which a forked child could inherit locked: each operation on the dictionary is atomic.
        self._snapshots: dict[str, Snapshot] = {}

    def get(self, name: str) -> Snapshot | None:
        """Return the snapshot of a name; None if there is none."""
        return self._snapshots.get(name)

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the name's earlier one, unless deleted or large. A full cache is cleared."""
        if snapshot.deleted or len(snapshot.bundle.devices) > _CACHED_DEVICES:
            self._snapshots.pop(snapshot.name, None)
            return
        if len(self._snapshots) >= _CACHED:
            self._snapshots.clear()
        self._snapshots[snapshot.name] = snapshot


def _arguments(write: Write) -> dict[str, Any]:
    """Return a write as `metastore_write` takes it."""
    return {
        "action": write.action,
        "deleted": write.deleted,
        "expected": write.expected,
        "follows": write.follows,
        **{key: getattr(write.bundle, key) for key in STATE},
        "devices": sorted(write.bundle.devices),
    }


def _rows(connection: psycopg.Connection[Any], query: str, values: Sequence[object]) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query.encode(), values).fetchall()


def _stream(connection: psycopg.Connection[Any], query: str, name: str) -> Iterator[dict[str, Any]]:
    with connection.cursor(name, row_factory=dict_row) as cursor:
        yield from cursor.execute(query.encode())
