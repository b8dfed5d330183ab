"""Settings of a server with which acknowledged changes can be lost, and whether a program accepts them."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, Literal, get_args

import psycopg
from psycopg.conninfo import conninfo_to_dict

from metastore.errors import InvalidInput, StorageUnavailable
from metastore.postgres.connection import database_errors
from metastore.postgres.database import Database

#: What to do about a database that can lose acknowledged changes: refuse it, warn once, or nothing.
Durable = Literal["required", "warn", "off"]
_SETTINGS = """SELECT current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication), pg_is_in_recovery()"""
_log = logging.getLogger("metastore.postgres")


def risks(connection: psycopg.Connection[Any], dsn: str) -> tuple[str, ...]:
    """Name what can lose acknowledged changes of a session at this address; empty if nothing can.

    A replica does not know whether the primary waits for replicas.
    """
    row = connection.execute(_SETTINGS.encode()).fetchone()
    fsync, commit, synchronous, replicas, is_replica = row or ("on", "on", "", 0, False)
    found = []
    if fsync == "off":
        found.append("fsync is off: a crash of the machine can damage the database")
    if commit == "off":
        found.append("synchronous_commit is off: a crash loses the last changes")
    elif synchronous and commit == "local":
        found.append("synchronous_commit is local: a failover loses the last changes")
    elif not synchronous and not is_replica and (replicas or "," in str(conninfo_to_dict(dsn).get("host"))):
        found.append("no replica is synchronous (synchronous_standby_names): a failover loses the last changes")
    return tuple(found)


def check(database: Database, durable: Durable) -> None:
    """Check that a database can be reached and has the tables, and look for risks. No connection is kept.

    Raises:
        InvalidInput: `durable` is none of its values.
        StorageUnavailable: It cannot be reached or has to be migrated; or `durable` is `required`, and it can lose
            acknowledged changes.
    """
    if durable not in get_args(Durable):
        raise InvalidInput(f"durable is one of {', '.join(get_args(Durable))}, not {durable!r}")
    with database_errors(), database.apart() as connection:
        found = () if durable == "off" else risks(connection, database.dsn)
        name = connection.info.dbname
    if found and durable == "required":
        raise StorageUnavailable(f"the database {name} can lose acknowledged changes: {'; '.join(found)}")
    for risk in found:
        _warn(name, risk)


@cache
def _warn(name: str, risk: str) -> None:
    """Name a risk, once in a process."""
    _log.warning("acknowledged changes in the database %s can be lost: %s", name, risk)
