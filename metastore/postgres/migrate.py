"""Create the tables of datasets and bundles in PostgreSQL: plain SQL files, run by yoyo-migrations."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend

from metastore.errors import StorageUnavailable
from metastore.postgres._primary import connect
from metastore.postgres.connection import Connection, database_errors
from metastore.postgres.roles import APPLICATION, READER, exists, grant_application, grant_reader

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
    """Create the tables, functions and triggers of datasets and bundles, or bring them up to date.

    Existing tables `bundles` and `bundle_variables` are taken over, and each bundle gets a first snapshot. After a
    restore on another server, the change feed of datasets begins again. If several processes migrate at once, one does
    the work and the others wait. A step that fails leaves nothing behind.

    Args:
        dsn: The database, with the role that will own the tables.
        role: The role that gets the rights of an application, as `metastore.postgres.roles` says. By default
            `metastore_app`, if that role exists. `metastore_reader` gets those of a reader, if it exists.

    Returns:
        The migrations that were applied, in order; none if the database was up to date.

    Raises:
        StorageUnavailable: The database cannot be reached, or does not allow it.
    """
    with database_errors(), _alone(dsn) as connection:
        applied = _apply(dsn)
        connection.execute("SELECT metastore_dataset_renumber()")
        # The owner has all rights already, and must not lose those that the triggers write with.
        if exists(connection, role or APPLICATION) or (role and role != connection.info.user):
            grant_application(connection, role or APPLICATION)
        if exists(connection, READER):
            grant_reader(connection, READER)
    return applied


@contextmanager
def _alone(dsn: str) -> Iterator[Connection]:
    """Hold a lock against other migrations; unlike yoyo's own, it ends with its connection."""
    with connect(dsn) as connection:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise StorageUnavailable(f"metastore needs a database in UTF8, but this one uses {encoding}")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield connection


def _apply(dsn: str) -> tuple[str, ...]:
    folder = resources.files("metastore.postgres") / "migrations"
    with resources.as_file(folder) as path, _Backend(_Place(dsn), "_yoyo_migration") as backend:
        backend.init_database()
        backend.break_lock()  # its holder is gone: nobody else is migrating
        wanted = backend.to_apply(read_migrations(os.fspath(path)))
        backend.apply_migrations(wanted)
        return tuple(migration.id for migration in wanted)
