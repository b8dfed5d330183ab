"""The roles of a database: who owns the tables, who changes what they hold, and who only reads.

The owner is the role that migrates. An application changes bundles by SQL, whose record the database writes, and
datasets by functions that only add. Nobody but the owner can change what was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from metastore.postgres._primary import connect
from metastore.postgres.connection import Connection, database_errors

#: The roles that get rights by a migration, if they exist.
APPLICATION, READER = "metastore_app", "metastore_reader"
_SCHEMA = "GRANT USAGE ON SCHEMA {schema} TO {role}"
_RECORD = "snapshot_bundles, snapshot_bundle_variables, snapshot_variable_changes"
_DATASETS = (
    "dataset, dataset_segment, dataset_revision, dataset_object, dataset_tag, dataset_forward, dataset_change,"
    " dataset_feed, dataset_text, dataset_span"
)
_APPLICATION = (
    _SCHEMA,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON bundles, bundle_variables TO {role}",
    f"REVOKE ALL ON {_RECORD}, {_DATASETS} FROM {{role}}",
    f"GRANT SELECT ON {_RECORD}, {_DATASETS} TO {{role}}",
    "GRANT EXECUTE ON FUNCTION {functions} TO {role}",
)
_READER = (_SCHEMA, f"GRANT SELECT ON bundles, bundle_variables, {_RECORD}, {_DATASETS} TO {{role}}")
#: A role that can make functions beside the owner's could let these call them. A database that began with a version
#: older than PostgreSQL 15 lets every role do so.
_CLOSED = "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
#: The functions that change datasets.
_FUNCTIONS = """SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
    AND proname LIKE 'metastore\\_dataset\\_%' AND prosecdef"""


@dataclass(frozen=True, slots=True)
class Role:
    """A role that has rights.

    Attributes:
        name: The role.
        rights: `owner`, `application` or `reader`.
        created: Whether it was created now.
    """

    name: str
    rights: str
    created: bool = False

    def __str__(self) -> str:
        return f"{self.rights}\t{self.name}{' (created)' if self.created else ''}"


def set_up_roles(dsn: str) -> tuple[Role, ...]:
    """Create the roles of applications and readers where they are missing, and give each its rights.

    Other roles can then no longer make tables or functions in the schema, unless they were granted that by name. The
    roles cannot log in. Grant them to those that do: `GRANT metastore_app TO portal`.

    Args:
        dsn: The database, with the role that owns the tables and may create roles.

    Raises:
        PermissionDenied: It may not create roles; the message is PostgreSQL's.
        StorageUnavailable: The database cannot be reached, or has no tables yet.
    """
    with database_errors(), connect(dsn) as connection:
        created = {name: _create(connection, name) for name in (APPLICATION, READER)}
        _grant(connection, APPLICATION, (_CLOSED,))
        grant_application(connection, APPLICATION)
        grant_reader(connection, READER)
        return (
            Role(connection.info.user, "owner"),
            Role(APPLICATION, "application", created[APPLICATION]),
            Role(READER, "reader", created[READER]),
        )


def exists(connection: Connection, name: str) -> bool:
    """Tell whether there is a role of this name, other than the one that is connected."""
    query = b"SELECT FROM pg_roles WHERE rolname = %s AND rolname <> user"
    return connection.execute(query, (name,)).rowcount > 0


def grant_application(connection: Connection, name: str) -> None:
    """Give a role the rights of an application, and take all others."""
    _grant(connection, name, _APPLICATION)


def grant_reader(connection: Connection, name: str) -> None:
    """Let a role read everything."""
    _grant(connection, name, _READER)


def _create(connection: Connection, name: str) -> bool:
    if exists(connection, name):
        return False
    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    return True


def _grant(connection: Connection, role: str, statements: tuple[str, ...]) -> None:
    schema = connection.execute("SELECT current_schema()").fetchone()
    functions = ", ".join(row[0] for row in connection.execute(_FUNCTIONS.encode()))
    for statement in statements:
        connection.execute(
            sql.SQL(statement).format(
                role=sql.Identifier(role),
                schema=sql.Identifier(schema[0] if schema else "public"),
                functions=sql.SQL(functions),
            )
        )
