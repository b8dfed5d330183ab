"""An application, a superuser or an odd session cannot bend the record, or verify says so."""

from __future__ import annotations

import random
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.listing import Listing
from metastore.bundle.port import Filter, LogFilter
from metastore.bundle.postgres.record import PostgresRecord
from metastore.errors import StorageUnavailable
from metastore.postgres.migrate import migrate
from tests.bundle.postgres_server import drop_database, migrated_database, new_database, server_dsn
from tests.bundle.test_postgres import AT, INSERT, NUMI, put, typed
from tests.processes import SOAK

GROUPS = Groups.parse("groups = NOvA Minerva\nNOvA = ann")
#: What each table lets a superuser do once its triggers are off.
OFF = "ALTER TABLE {0} DISABLE TRIGGER USER"


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture
def record(dsn: str) -> Iterator[PostgresRecord]:
    record = PostgresRecord(dsn)
    yield record
    record.close()


def problems(record: PostgresRecord) -> dict[str, str]:
    return {check.name: check.problem for check in record.chains() if check.problem}


# Times

OUTSIDE = ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "20000-01-01", "10000-01-01 00:00:00+00"]


@pytest.mark.parametrize("at", OUTSIDE)
def test_a_claimed_time_outside_of_the_years_1_to_9999_is_refused(dsn: str, record: PostgresRecord, at: str) -> None:
    put(record, NUMI)
    for change in (INSERT.replace("NuMI", "BNB"), "UPDATE bundles SET udp = true"):
        with pytest.raises(pg.CheckViolation, match="years 1 to 9999"):
            typed(dsn, f"SELECT set_config('metastore.at', '{at}', true)", change)
    assert len(record.log(LogFilter())) == 1


@pytest.mark.parametrize("at", ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"])
def test_the_first_and_the_last_time_are_kept(dsn: str, record: PostgresRecord, at: str) -> None:
    typed(dsn, f"SELECT set_config('metastore.at', '{at}', true)", INSERT)
    assert record.newest("NuMI").created == datetime.fromisoformat(at)
    assert problems(record) == {}


@pytest.mark.parametrize("at", OUTSIDE)
def test_one_row_with_an_impossible_time_hides_no_other(dsn: str, record: PostgresRecord, at: str) -> None:
    put(record, NUMI, replace(NUMI, name="Sound"))
    typed(
        dsn,
        OFF.format("snapshot_bundles"),
        OFF.format("bundles"),
        "ALTER TABLE snapshot_bundles DROP CONSTRAINT metastore_times",
        "ALTER TABLE bundles DROP CONSTRAINT metastore_updated",
        f"UPDATE snapshot_bundles SET created = '{at}', updated = '{at}', recorded = '{at}' WHERE name = 'NuMI'",
        f"UPDATE bundles SET updated = '{at}' WHERE name = 'NuMI'",
    )
    assert [bundle.name for bundle in record.bundles(Filter())] == ["NuMI", "Sound"]
    assert {line.name for line in record.lines(Listing(order="updated"))} == {"NuMI", "Sound"}
    assert {entry.name for entry in record.log(LogFilter())} == {"NuMI", "Sound"}
    assert record.newest("NuMI").bundle == NUMI
    assert record.snapshot(1).created in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    assert problems(record) == {"NuMI": "snapshot 1 or the one before it was altered"}


def test_the_tables_refuse_an_impossible_time_even_without_triggers(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)
    for table, column in (("bundles", "updated"), ("snapshot_bundles", "updated"), ("snapshot_bundles", "created")):
        with pytest.raises(pg.CheckViolation):
            typed(dsn, OFF.format(table), f"UPDATE {table} SET {column} = 'infinity'")


def test_migrating_bounds_the_times_of_rows_that_were_there() -> None:
    dsn = new_database(server_dsn())
    typed(
        dsn,
        "CREATE TABLE bundles (name text PRIMARY KEY, event text, ifb_group text, updated timestamptz)",
        "INSERT INTO bundles VALUES ('A', 'e,1', 'NOvA', 'infinity'), ('B', 'e,1', 'NOvA', '0044-01-01 BC'),"
        " ('C', 'e,1', 'NOvA', '2020-01-01 00:00:00+00')",
    )
    migrate(dsn)
    record = PostgresRecord(dsn)
    bundles = {bundle.name: bundle.updated for bundle in record.bundles(Filter())}
    assert bundles.pop("C") == datetime(2020, 1, 1, tzinfo=UTC)
    assert all(updated and abs(updated - datetime.now(UTC)) < timedelta(hours=1) for updated in bundles.values())
    assert [check.problem for check in record.chains()] == [None] * 3
    record.close()
    drop_database(dsn)


# Groups


@pytest.mark.parametrize("between", ["SELECT 1", "SET CONSTRAINTS ALL IMMEDIATE", "SAVEPOINT one"])
def test_no_transaction_changes_the_group_of_a_bundle(dsn: str, record: PostgresRecord, between: str) -> None:
    typed(dsn, INSERT)
    with pytest.raises(pg.IntegrityConstraintViolation, match="never changes"):
        typed(dsn, "DELETE FROM bundles", between, INSERT.replace("NOvA", "Minerva"))
    assert record.newest("NuMI").bundle.ifb_group == "NOvA"
    typed(dsn, "DELETE FROM bundles", between, INSERT)


# Users and comments


def claiming(dsn: str, **claims: str) -> None:
    with closing(psycopg.connect(dsn)) as connection, connection:
        for setting, value in claims.items():
            connection.execute("SELECT set_config(%s, %s, true)", (f"metastore.{setting}", value))
        connection.execute(INSERT)


@pytest.mark.parametrize(
    "user", [" ", "x" * 256, "a\nb", "a\x1bb", "a\u009bb", "a\u202eb", "a\u2028b", "a\ufeffb"], ids=ascii
)
def test_a_user_whom_the_library_would_refuse_is_refused(dsn: str, record: PostgresRecord, user: str) -> None:
    with pytest.raises(pg.CheckViolation, match="printable"):
        claiming(dsn, user=user)
    assert not record.log(LogFilter())


def test_users_of_any_language_are_kept(dsn: str, record: PostgresRecord) -> None:
    claiming(dsn, user="Ann Lée, 李 😀")
    assert record.newest("NuMI").user == "Ann Lée, 李 😀"


def test_the_database_knows_the_printable_characters_of_python(dsn: str) -> None:
    """Those that are not assigned differ between versions of Unicode."""
    assigned = [code for code in range(1, sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    query = """SELECT code FROM unnest(%s::integer[]) AS each (code)
        WHERE metastore_is_user('a' || chr(code) || 'b') ORDER BY code"""
    with psycopg.connect(dsn) as connection:
        accepted = {code for (code,) in connection.execute(query, (assigned,))}
    assert accepted == {code for code in assigned if chr(code).isprintable()}


def test_a_comment_that_is_too_long_is_refused(dsn: str, record: PostgresRecord) -> None:
    with pytest.raises(pg.CheckViolation, match="65536"):
        claiming(dsn, comment="x" * 65_537)
    claiming(dsn, comment="x" * 65_536)
    assert len(record.newest("NuMI").comment) == 65_536


# What verify covers

TAMPERED = [
    ("snapshot_bundles", "UPDATE snapshot_bundles SET updated = updated - interval '1 s' WHERE name = 'NuMI'"),
    ("bundles", "UPDATE bundles SET updated = updated - interval '1 s' WHERE name = 'NuMI'"),
    ("snapshot_bundle_variables", "UPDATE snapshot_bundle_variables SET bundle = 'Sound' WHERE bundle = 'NuMI'"),
    ("snapshot_bundles", "UPDATE snapshot_bundles SET hosts = '{NULL}' WHERE name = 'NuMI'"),
]


@pytest.mark.parametrize(("table", "statement"), TAMPERED, ids=str)
def test_verify_finds_each_column_that_was_changed(
    dsn: str, record: PostgresRecord, table: str, statement: str
) -> None:
    put(record, NUMI, replace(NUMI, name="Sound"))
    typed(dsn, OFF.format(table), statement)
    assert list(problems(record)) == ["NuMI"]


#: How a value of each type is changed.
CHANGED = {
    "text": "{0} || 'x'",
    "boolean": "NOT {0}",
    "ARRAY": "array_append({0}, 'x')",
    "bigint": "coalesce({0}, 0) + 100",
    "integer": "{0} + 1",
    "timestamp with time zone": "{0} - interval '1 s'",
}


#: The facts of this server alone, which no chain has.
UNCOVERED = {"snapshot_bundles.session_user", "snapshot_bundles.recorded"}


def test_verify_covers_every_column_but_two(dsn: str, record: PostgresRecord) -> None:
    """Outside of the soak, some columns; another choice each time."""
    put(record, NUMI)
    put(record, replace(NUMI, udp=True, devices=frozenset({"E:ONE"})))
    with psycopg.connect(dsn, autocommit=True) as connection:

        def run(statement: str) -> list[Any]:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

        run("ALTER TABLE bundles DROP CONSTRAINT metastore_safe")
        tables = "^(snapshot_)?(bundles|bundle_variables|variable_changes)$"
        query = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name ~"
        columns = [row for row in run(f"{query} '{tables}'") if SOAK or random.random() < 0.2]
        missed = set()
        for table, column, kind in columns:
            value = CHANGED[kind].format(f'"{column}"')
            run(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            run(f"CREATE TEMPORARY TABLE saved AS TABLE {table}")
            run(f'UPDATE {table} SET "{column}" = {value} WHERE ctid = (SELECT max(ctid) FROM {table})')
            missed |= set() if problems(record) else {f"{table}.{column}"}
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} TABLE saved", "DROP TABLE saved"):
                run(statement)
    assert missed == UNCOVERED & {f"{table}.{column}" for table, column, _ in columns}
    assert problems(record) == {}


def test_verify_finds_rows_that_belong_to_nothing(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)
    typed(
        dsn,
        "ALTER TABLE bundle_variables DISABLE TRIGGER ALL",
        OFF.format("snapshot_bundle_variables"),
        "INSERT INTO bundle_variables VALUES ('Ghost', 'E:ONE')",
        "INSERT INTO snapshot_bundle_variables VALUES (99, 'NuMI', 'E:ONE')",
    )
    assert problems(record) == {
        "bundle_variables": "it has devices of Ghost, which is not a bundle",
        "snapshot_bundle_variables": "it has devices of snapshot 99, which does not exist",
    }


def test_verify_covers_when_a_bundle_older_than_the_record_was_updated() -> None:
    dsn = new_database(server_dsn())
    typed(
        dsn,
        "CREATE TABLE bundles (name text PRIMARY KEY, event text, ifb_group text, updated timestamptz)",
        "INSERT INTO bundles VALUES ('A', 'e,1', 'NOvA', '2020-01-01 00:00:00+00')",
    )
    migrate(dsn)
    record = PostgresRecord(dsn)
    assert problems(record) == {}
    typed(
        dsn,
        OFF.format("snapshot_bundles"),
        OFF.format("bundles"),
        "UPDATE snapshot_bundles SET updated = '2021-01-01'",
        "UPDATE bundles SET updated = '2021-01-01'",
    )
    assert problems(record) == {"A": "snapshot 1 or the one before it was altered"}
    record.close()
    drop_database(dsn)


# Triggers that somebody disabled


@pytest.mark.parametrize("changes", [{"udp": True}, {"add_devices": ["E:NEW"]}], ids=str)
def test_a_change_that_no_trigger_records_is_an_error(
    dsn: str, record: PostgresRecord, changes: dict[str, Any]
) -> None:
    registry = BundleRegistry(record, GROUPS, clock=lambda: AT)
    registry.bundle_create(NUMI, user="ann")
    typed(dsn, OFF.format("bundles"), OFF.format("bundle_variables"))
    for change in (
        lambda: registry.bundle_update("NuMI", changes, user="ann"),
        lambda: registry.bundle_delete("NuMI", user="ann"),
        lambda: registry.bundle_create(replace(NUMI, name="New"), user="ann"),
    ):
        with pytest.raises(StorageUnavailable, match=r"triggers .* are disabled: nothing was changed"):
            change()
    assert list(registry.bundle_list()) == [NUMI]
    assert problems(record) == {}


# Sessions


SETTINGS = {
    "DateStyle": "ISO, YMD",
    "TimeZone": "UTC",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "transaction_isolation": "read committed",
    "lock_timeout": "30000",
    "client_encoding": "UTF8",
    "jit": "off",
    "search_path": "public, pg_temp",
}


def test_a_session_with_odd_settings_reads_and_writes_the_same(dsn: str) -> None:
    role = str(conninfo_to_dict(dsn)["dbname"]) + "_odd"
    typed(dsn, f"CREATE ROLE {role} LOGIN SUPERUSER")
    for setting, value in {
        "DateStyle": "German, DMY",
        "TimeZone": "Asia/Kathmandu",
        "IntervalStyle": "sql_standard",
        "bytea_output": "escape",
        "standard_conforming_strings": "off",
        "default_transaction_isolation": "serializable",
        "lock_timeout": "1ms",
        "client_encoding": "LATIN1",
        "search_path": "elsewhere, public",
    }.items():
        with psycopg.connect(dsn, autocommit=True) as connection:
            query = sql.SQL("ALTER ROLE {} SET {} = {}")
            path = sql.SQL(value) if setting == "search_path" else sql.Literal(value)
            connection.execute(query.format(sql.Identifier(role), sql.SQL(setting), path))
    odd = make_conninfo(dsn, user=role)
    here, there = PostgresRecord(dsn), PostgresRecord(odd)
    settings = there._rows("SELECT name, setting FROM pg_settings WHERE name = ANY (%s)", (list(SETTINGS),))
    assert {row["name"]: row["setting"] for row in settings} == SETTINGS
    (snapshot,) = put(there, replace(NUMI, devices=frozenset({"E:李\\x".replace("\\", "_")})), user="李")
    assert here.newest("NuMI") == there.newest("NuMI") == snapshot
    # A table of the same name, before those of the record on the search path.
    typed(dsn, "CREATE SCHEMA elsewhere", "CREATE TABLE elsewhere.bundles (name text)")
    there.close()
    assert [bundle.name for bundle in there.bundles(Filter())] == ["NuMI"]
    assert there.as_of("NuMI", AT) == snapshot
    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT FROM bundles FOR UPDATE")
        threading.Timer(0.2, holder.commit).start()
        put(there, replace(NUMI, udp=True))
    assert problems(there) == problems(here) == {}
    typed(dsn, "DROP SCHEMA elsewhere CASCADE")
    assert migrate(odd) == ()
    here.close()
    there.close()
    typed(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
