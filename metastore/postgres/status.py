"""The state of a database: versions, sizes, whether it can lose acknowledged changes, and what stalls the feed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import errors

from metastore.errors import StorageUnavailable
from metastore.postgres._primary import connect
from metastore.postgres.connection import SCHEMA, Connection, database_errors
from metastore.postgres.risks import risks

#: A segment has 20 bytes for each of its revisions.
_SIZES = """SELECT current_setting('server_version'), pg_database_size(current_database()), pg_is_in_recovery(),
    (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass('dataset')),
    (SELECT (greatest(c.reltuples, 0) * greatest(s.avg_width / 20, 1))::bigint FROM pg_class AS c
        LEFT JOIN pg_stats AS s ON s.schemaname = current_schema() AND s.tablename = c.relname AND s.attname = 'commits'
        WHERE c.oid = to_regclass('dataset_segment'))"""
#: A replica knows how far it is behind itself; the primary knows the slowest one.
_REPLICAS = """SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')),
    coalesce(extract(epoch FROM CASE WHEN NOT pg_is_in_recovery() THEN max(replay_lag)
        WHEN pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
        THEN clock_timestamp() - pg_last_xact_replay_timestamp() END), 0)::float8 FROM pg_stat_replication"""
_CONNECTIONS = """SELECT count(*) FILTER (WHERE application_name = 'metastore'), count(*),
    current_setting('max_connections')::int FROM pg_stat_activity WHERE backend_type = 'client backend'"""
#: Transactions that write and are older than a minute: the cursors of the feed wait for them.
_STALLS = """SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, ''),
    extract(epoch FROM clock_timestamp() - xact_start)::bigint FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL AND xact_start < clock_timestamp() - %s * interval '1 second' ORDER BY xact_start"""
#: The age of the oldest transaction that writes, in seconds.
_OLDEST = """SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL"""
#: How long a server may take to answer with its gauges, in seconds.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A transaction that keeps the cursors of the change feed from advancing.

    Attributes:
        pid: The process on the server; `pg_terminate_backend` ends it.
        user: The role.
        application: What the client calls itself.
        state: What it does, such as `idle in transaction`.
        seconds: How long it has been open.
    """

    pid: int
    user: str
    application: str
    state: str
    seconds: int

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} ({self.application or 'no name'}) has had a transaction open"
            f" for {self.seconds} s ({self.state}): followers of the feed get the changes since then again and again"
        )


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a database.

    Attributes:
        server: The version of PostgreSQL.
        schema: The version of the tables; 0 if there are none.
        wanted: The version of the tables that this MetaStore needs.
        is_replica: Whether it only follows another server.
        bytes: The size of the database.
        datasets: About how many datasets there are, as of the last `ANALYZE`.
        revisions: About how many revisions there are.
        replicas: How many servers follow, and how many of them each COMMIT waits for.
        lag: By how many seconds the slowest of them is behind; on a replica, by how many it is itself.
        connections: How many MetaStore has open, how many are open altogether, and how many there may be.
        risks: Why acknowledged changes could be lost; empty if they cannot.
        stalls: The transactions that hold the change feed up.
    """

    server: str
    schema: int
    wanted: int
    is_replica: bool
    bytes: int
    datasets: int
    revisions: int
    replicas: tuple[int, int]
    lag: float
    connections: tuple[int, int, int]
    risks: tuple[str, ...]
    stalls: tuple[Stall, ...]

    def __str__(self) -> str:
        version = f"version {self.schema}" if self.schema == self.wanted else f"version {self.schema}: migrate it"
        lines = [
            f"PostgreSQL {self.server}{', a replica' if self.is_replica else ''}; tables: {version}",
            f"{self.bytes:,} bytes; about {self.datasets:,} datasets and {self.revisions:,} revisions",
            f"replicas: {self.replicas[0]}, of which {self.replicas[1]} synchronous; {self.lag:.1f} s behind",
            f"connections: {self.connections[1]} of {self.connections[2]}, of which {self.connections[0]} of metastore",
            *(f"risk: {risk}" for risk in self.risks),
            *(f"stall: {stall}" for stall in self.stalls),
        ]
        return "\n".join(lines)


def status(dsn: str, *, patience: float = 60.0) -> Status:
    """Look at a database.

    Args:
        dsn: The database.
        patience: From how many seconds on an open transaction is a stall.

    Raises:
        StorageUnavailable: It cannot be reached.
    """
    with database_errors(), connect(dsn) as connection:
        server, size, is_replica, datasets, revisions = _row(connection, _SIZES)
        replicas, synchronous, lag = _row(connection, _REPLICAS)
        ours, open_now, most = _row(connection, _CONNECTIONS)
        stalls = connection.execute(_STALLS.encode(), (patience,)).fetchall()
        return Status(
            server=server,
            schema=_schema(connection),
            wanted=SCHEMA,
            is_replica=is_replica,
            bytes=size,
            datasets=datasets or 0,
            revisions=revisions or 0,
            replicas=(replicas, synchronous),
            lag=lag,
            connections=(ours, open_now, most),
            risks=risks(connection, dsn),
            stalls=tuple(Stall(*stall) for stall in stalls),
        )


class Gauge(NamedTuple):
    """A number to watch: its name, what it means, and its value."""

    name: str
    help: str
    value: float


def gauges(dsn: str) -> tuple[Gauge, ...]:
    """Return the numbers of a database that an operator watches.

    Raises:
        StorageUnavailable: It cannot be reached, or does not answer within some seconds.
    """
    with database_errors(), connect(dsn) as connection:
        connection.deadline = time.monotonic() + _PATIENCE
        replicas, synchronous, lag = _row(connection, _REPLICAS)
        ours, open_now, most = _row(connection, _CONNECTIONS)
        (oldest,) = _row(connection, _OLDEST)
        named = len(risks(connection, dsn))
    return (
        Gauge("connections", "Connections of all programs.", open_now),
        Gauge("connections_own", "Connections of MetaStore, from all machines.", ours),
        Gauge("connections_max", "The most connections that the server accepts.", most),
        Gauge("replicas", "Servers that follow.", replicas),
        Gauge("replicas_synchronous", "Servers that each COMMIT waits for.", synchronous),
        Gauge("replication_lag_seconds", "How far the slowest replica is behind.", lag),
        Gauge("oldest_write_seconds", "The age of the oldest transaction that writes; the feed waits for it.", oldest),
        Gauge("risks", "Settings with which acknowledged changes can be lost.", named),
    )


def _schema(connection: Connection) -> int:
    try:
        version: int = _row(connection, "SELECT metastore_schema()")[0]
        return version
    except errors.UndefinedFunction:
        return 0


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query.encode()).fetchone()
    if row is None:
        raise StorageUnavailable("the database answered nothing")
    return row
