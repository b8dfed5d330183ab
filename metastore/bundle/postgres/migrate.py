"""Bringing a PostgreSQL database to what the record of bundles needs: plain SQL files, run by yoyo-migrations."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend

from metastore.bundle.postgres._database import connect, database_errors
from metastore.errors import StorageUnavailable

#: The role that gets what an application needs, if there is one of this name.
APPLICATION = "metastore_app"
#: Any number, the same for all who migrate: "metastor" in ASCII.
_LOCK = 0x6D65746173746F72
_log = logging.getLogger("metastore.bundle")


@dataclass(frozen=True)
class _Place:
    """What yoyo takes for its own kind of URL, which knows less than libpq's."""

    dsn: str
    database: str = ""


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    def connect(self, dburi: _Place) -> psycopg.Connection[Any]:
        return connect(dburi.dsn)


def migrate(dsn: str, *, role: str | None = None) -> tuple[str, ...]:
    """Make the tables, functions and triggers of a record of bundles, or bring them up to date.

    Tables `bundles` and `bundle_variables` with rows in them are taken over, and each bundle gets a first snapshot.
    Several may start this at once: one does it, the others wait and find it done. Where it fails, nothing of the step
    that failed stays.

    Args:
        dsn: The database, as the role that shall own the record.
        role: Gets what an application needs: it changes bundles, and only reads the record. By default `metastore_app`,
            if there is such a role.

    Returns:
        The migrations that were made, in order; none if all had been.

    Raises:
        StorageUnavailable: The database cannot be reached, or does not allow it.
    """
    with database_errors(), _alone(dsn) as connection:
        made = _apply(dsn)
        name = role or APPLICATION
        # The owner needs nothing, and would lose what the triggers write with.
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s AND rolname <> user", (name,)).rowcount or (
            role and role != connection.info.user
        ):
            _grant(connection, name)
    return made


@contextmanager
def _alone(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Hold the lock of those who migrate; unlike yoyo's own, it dies with its connection."""
    with connect(dsn) as connection:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise StorageUnavailable(f"a record of bundles needs a database in UTF8, and this one is in {encoding}")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield connection


def _apply(dsn: str) -> tuple[str, ...]:
    folder = resources.files("metastore.bundle.postgres") / "migrations"
    with resources.as_file(folder) as path, _Backend(_Place(dsn), "_yoyo_migration") as backend:
        backend.init_database()
        backend.break_lock()  # whoever left it is gone: we are alone
        wanted = backend.to_apply(read_migrations(os.fspath(path)))
        backend.apply_migrations(wanted)
        return tuple(migration.id for migration in wanted)


def _grant(connection: psycopg.Connection[Any], role: str) -> None:
    """Give a role what an application needs, and take what it must not have."""
    schema = connection.execute("SELECT current_schema()").fetchone()
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema[0] if schema else "public")}
    record = sql.SQL("snapshot_bundles, snapshot_bundle_variables, snapshot_variable_changes")
    for statement in (
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON bundles, bundle_variables TO {role}",
        "REVOKE ALL ON {record} FROM {role}",
        "GRANT SELECT ON {record} TO {role}",
    ):
        connection.execute(sql.SQL(statement).format(record=record, **names))
