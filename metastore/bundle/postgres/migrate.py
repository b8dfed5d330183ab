"""Create the tables of the record of bundles in PostgreSQL: plain SQL files, run by yoyo-migrations."""

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

#: The role that gets the rights of an application, if it exists.
APPLICATION = "metastore_app"
#: An arbitrary number that all migrations share: "metastor" in ASCII.
_LOCK = 0x6D65746173746F72
_log = logging.getLogger("metastore.bundle")


@dataclass(frozen=True)
class _Place:
    """A DSN in the shape of yoyo's own kind of URL, which supports less than libpq's."""

    dsn: str
    database: str = ""


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    def connect(self, dburi: _Place) -> psycopg.Connection[Any]:
        return connect(dburi.dsn)


def migrate(dsn: str, *, role: str | None = None) -> tuple[str, ...]:
    """Create the tables, functions and triggers of a record of bundles, or bring them up to date.

    Existing tables `bundles` and `bundle_variables` are taken over, and each bundle gets a first snapshot. If several
    processes migrate at once, one does the work and the others wait. A step that fails leaves nothing behind.

    Args:
        dsn: The database, with the role that will own the record.
        role: The role that gets the rights of an application: it changes bundles, and only reads the record. By default
            `metastore_app`, if that role exists.

    Returns:
        The migrations that were applied, in order; none if the database was up to date.

    Raises:
        StorageUnavailable: The database cannot be reached, or does not allow it.
    """
    with database_errors(), _alone(dsn) as connection:
        applied = _apply(dsn)
        name = role or APPLICATION
        # The owner has all rights already, and must not lose those that the triggers write with.
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s AND rolname <> user", (name,)).rowcount or (
            role and role != connection.info.user
        ):
            _grant(connection, name)
    return applied


@contextmanager
def _alone(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Hold a lock against other migrations; unlike yoyo's own, it ends with its connection."""
    with connect(dsn) as connection:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise StorageUnavailable(f"a record of bundles needs a database in UTF8, but this one uses {encoding}")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield connection


def _apply(dsn: str) -> tuple[str, ...]:
    folder = resources.files("metastore.bundle.postgres") / "migrations"
    with resources.as_file(folder) as path, _Backend(_Place(dsn), "_yoyo_migration") as backend:
        backend.init_database()
        backend.break_lock()  # its holder is gone: nobody else is migrating
        wanted = backend.to_apply(read_migrations(os.fspath(path)))
        backend.apply_migrations(wanted)
        return tuple(migration.id for migration in wanted)


def _grant(connection: psycopg.Connection[Any], role: str) -> None:
    """Grant a role the rights of an application, and revoke all others."""
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
