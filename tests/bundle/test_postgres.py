"""The guarantees of the database itself: every change of a bundle leaves a snapshot, made by any program.

Everything here but the last part is done in plain SQL, as somebody would type it into psql.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo

import metastore
from metastore import bundle
from metastore.bundle import BundleRegistry
from metastore.bundle._chains import chain_hash
from metastore.bundle.port import Asked, Bundle, Filter, LogFilter, Snapshot, Write
from metastore.bundle.postgres._queries import log_query
from metastore.bundle.postgres.record import PostgresRecord, _Change
from metastore.cli.bundle_text import log_line, snapshot_lines
from metastore.errors import (
    BundleNotFound,
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    RevisionConflict,
    StorageBusy,
    StorageUnavailable,
)
from metastore.postgres.migrate import migrate
from metastore.web import create_app
from tests.bundle.postgres_server import migrated_database, server_dsn

AT = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
NUMI = Bundle("NuMI", "e,a9", "NOvA", hosts=("a.example.org", "b"), devices=frozenset({"E:TOR101", "E:HP121[]"}))
INSERT = "INSERT INTO bundles (name, event, ifb_group) VALUES ('NuMI', 'e,a9', 'NOvA')"


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture(scope="module")
def filled() -> Iterator[str]:
    """A database with one bundle, for all statements that are refused: they leave it as it is."""
    with migrated_database() as made:
        typed(made, INSERT)
        yield made


@pytest.fixture
def record(dsn: str) -> Iterator[PostgresRecord]:
    made = PostgresRecord(dsn)
    yield made
    made.close()


def typed(dsn: str, *statements: str) -> list[Any]:
    """Run statements in one transaction; return the rows of the last one."""
    with closing(psycopg.connect(dsn)) as connection, connection:  # a COMMIT that fails leaves it open
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def history(record: PostgresRecord, name: str = "NuMI") -> list[Snapshot]:
    """Return all snapshots of a name, oldest first."""
    return [record.snapshot(entry.id) for entry in record.log(LogFilter(name))][::-1]


def put(record: PostgresRecord, *bundles: Bundle, action: str = "update", user: str = "ann") -> list[Snapshot]:
    """Write bundles, and replace those that exist."""

    def expected(name: str) -> int | None:
        try:
            return record.newest(name).id
        except BundleNotFound:
            return None

    writes = [Write(action, each, expected(each.name)) for each in bundles]
    return list(record.write(writes, user=user, comment="Why", at=AT))


# Typed into psql


def test_a_bundle_and_its_devices_in_one_transaction_are_one_snapshot(dsn: str, record: PostgresRecord) -> None:
    devices = [f"INSERT INTO bundle_variables VALUES ('NuMI', 'E:D{number}')" for number in range(30)]
    typed(dsn, INSERT, *devices)
    (made,) = history(record)
    assert (made.action, made.comment, made.deleted, made.previous) == ("create", "", False, None)
    assert made.bundle.devices == {f"E:D{number}" for number in range(30)}
    assert made.user == psycopg.conninfo.conninfo_to_dict(dsn)["user"]
    assert made.bundle.updated == made.created
    assert next(record.bundles(Filter())).updated == made.created


def test_every_way_to_change_devices_is_recorded(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, INSERT, "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE'), ('NuMI', 'E:TWO')")
    typed(dsn, "DELETE FROM bundle_variables WHERE variable = 'E:ONE'")
    typed(dsn, "UPDATE bundle_variables SET variable = 'E:TEN' WHERE variable = 'E:TWO'")
    with psycopg.connect(dsn) as connection, connection.cursor().copy("COPY bundle_variables FROM STDIN") as copy:
        copy.write_row(("NuMI", "E:COPIED"))
    states = [set(made.bundle.devices) for made in history(record)]
    assert states == [{"E:ONE", "E:TWO"}, {"E:TWO"}, {"E:TEN"}, {"E:TEN", "E:COPIED"}]
    assert [(line.added, line.removed) for line in record.log(LogFilter())] == [(1, 0), (1, 1), (0, 1), (2, 0)]


def test_a_device_moved_to_another_bundle_leaves_a_snapshot_of_both(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, INSERT, INSERT.replace("NuMI", "BNB"), "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')")
    typed(dsn, "UPDATE bundle_variables SET bundle = 'BNB'")
    assert [line.name for line in record.log(LogFilter(device="E:ONE"))] in (
        ["BNB", "NuMI", "NuMI"],
        ["NuMI", "BNB", "NuMI"],
    )


def test_what_alters_nothing_leaves_no_snapshot(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, INSERT, "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')")
    before = next(record.bundles(Filter())).updated
    typed(dsn, "UPDATE bundles SET event = event")
    typed(dsn, "UPDATE bundles SET event = 'e,1d'", "UPDATE bundles SET event = 'e,a9'")
    typed(
        dsn,
        "INSERT INTO bundle_variables VALUES ('NuMI', 'E:TWO')",
        "DELETE FROM bundle_variables WHERE variable = 'E:TWO'",
    )
    typed(dsn, "DELETE FROM bundle_variables", "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')")
    typed(dsn, "DELETE FROM bundles", INSERT, "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')")
    typed(dsn, INSERT.replace("NuMI", "BNB"), "DELETE FROM bundles WHERE name = 'BNB'")
    typed(dsn, "UPDATE bundles SET updated = '1999-01-01'")
    assert len(record.log(LogFilter())) == 1
    assert next(record.bundles(Filter())).updated == before


def test_when_a_bundle_was_updated_is_the_records_to_say(dsn: str, record: PostgresRecord) -> None:
    typed(
        dsn,
        "SELECT set_config('metastore.first', 'true', true)",
        INSERT,
        "UPDATE bundles SET updated = '1999-01-01', udp = true",
    )
    typed(dsn, "UPDATE bundles SET updated = '1999-01-01', udp = false")
    assert next(record.bundles(Filter())).updated == record.newest("NuMI").created
    assert typed(dsn, "SELECT count(*) FROM snapshot_bundles WHERE updated = created") == [(2,)]


def test_a_deletion_keeps_the_last_state_and_its_devices(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, INSERT, "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')")
    typed(dsn, "DELETE FROM bundles")
    made, gone = history(record)
    assert (gone.deleted, gone.action, gone.previous) == (True, "delete", made.id)
    assert gone.bundle == made.bundle
    typed(dsn, INSERT)
    assert [snapshot.action for snapshot in history(record)] == ["create", "delete", "create"]


def test_savepoints_that_are_rolled_back_leave_nothing(dsn: str, record: PostgresRecord) -> None:
    typed(
        dsn,
        INSERT,
        "SAVEPOINT one",
        "UPDATE bundles SET event = 'e,1d'",
        "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')",
        "ROLLBACK TO one",
    )
    (made,) = history(record)
    assert (made.bundle.event, made.bundle.devices) == ("e,a9", frozenset())


def test_constraints_set_immediate_hide_nothing(dsn: str, record: PostgresRecord) -> None:
    typed(
        dsn,
        "SET CONSTRAINTS ALL IMMEDIATE",
        INSERT,
        "UPDATE bundles SET event = 'e,1d'",
        "INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE')",
        "DELETE FROM bundle_variables",
    )
    assert len(history(record)) == 4
    assert [check.problem for check in record.chains()] == [None]


def test_who_and_why_are_settings_and_the_login_is_kept_beside(dsn: str, record: PostgresRecord) -> None:
    typed(
        dsn,
        "SELECT set_config('metastore.user', 'ann', true), set_config('metastore.comment', 'Because', true),"
        " set_config('metastore.action', 'import', true)",
        INSERT,
    )
    typed(dsn, "UPDATE bundles SET udp = true")
    first, second = history(record)
    login = str(psycopg.conninfo.conninfo_to_dict(dsn)["user"])
    assert (first.user, first.comment, first.action) == ("ann", "Because", "import")
    assert (second.user, second.comment, second.action) == (login, "", "update")
    assert typed(
        dsn, 'SELECT DISTINCT "session_user", abs(extract(epoch FROM now() - recorded)) < 3600 FROM snapshot_bundles'
    ) == [(login, True)]


@pytest.mark.parametrize("table", ["bundles", "bundle_variables", "snapshot_bundles", "snapshot_bundle_variables"])
def test_truncate_is_refused(filled: str, table: str) -> None:
    with pytest.raises(pg.InsufficientPrivilege, match="what was recorded of bundles stays"):
        typed(filled, f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshot_bundles SET comment = 'x'",
        "DELETE FROM snapshot_bundles",
        "DELETE FROM snapshot_bundle_variables",
        "UPDATE snapshot_variable_changes SET added = false",
        "INSERT INTO snapshot_bundles SELECT * FROM snapshot_bundles",
        "INSERT INTO snapshot_bundle_variables VALUES (1, 'NuMI', 'E:FORGED')",
    ],
)
def test_even_the_owner_does_not_change_the_record_by_mistake(filled: str, statement: str) -> None:
    with pytest.raises(pg.InsufficientPrivilege, match="stays"):
        typed(filled, statement)


@pytest.mark.parametrize("column", ["name", "ifb_group"])
def test_name_and_group_never_change(filled: str, column: str) -> None:
    with pytest.raises(pg.IntegrityConstraintViolation, match="never change"):
        typed(filled, f"UPDATE bundles SET {column} = 'Other'")


def test_triggers_fire_where_replication_would_switch_them_off(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, "SET LOCAL session_replication_role = replica", INSERT)
    assert len(history(record)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"name": "no name"},
        {"name": "-x"},
        {"name": "x" * 65},
        {"event": "e, a9"},
        {"event": "';--"},
        {"event": "e,\x07"},
        {"storage": "middling"},
        {"run": "true"},
        {"hosts": '{"a b"}'},
        {"hosts": "{NULL}"},
        {"hosts": '{"a",""}'},
        {"hosts": "{{a},{b}}"},
        {"ifb_group": "no group"},
        {"event": None},
    ],
    ids=str,
)
def test_unsafe_values_are_refused(filled: str, values: dict[str, str | None]) -> None:
    row = {"name": "BNB", "event": "e,a9", "ifb_group": "NOvA", **values}
    query = f"INSERT INTO bundles ({', '.join(row)}) VALUES ({', '.join('%s' for _ in row)})"
    with psycopg.connect(filled) as connection, pytest.raises((pg.CheckViolation, pg.NotNullViolation)):
        connection.execute(query.encode(), list(row.values()))


def test_an_action_that_is_none_is_refused(dsn: str) -> None:
    with pytest.raises(pg.CheckViolation, match="no action invent"):
        typed(dsn, "SELECT set_config('metastore.action', 'invent', true)", INSERT, "SET CONSTRAINTS ALL IMMEDIATE")


def test_an_unsafe_value_is_named_and_operators_of_the_callers_hide_none(dsn: str) -> None:
    typed(
        dsn,
        "CREATE SCHEMA own",
        "CREATE FUNCTION own.fits(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR own.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = own.fits)",
    )
    with pytest.raises(pg.CheckViolation, match="this event") as caught:
        typed(dsn, "SET search_path = own, public, pg_catalog", INSERT.replace("e,a9", "no event"))
    assert caught.value.diag.column_name == "event"


@pytest.mark.parametrize("device", ["E:", "E:A B", "E:A;B", "E:A'B", "E:A\x9fB", "E:" + "A" * 254])
def test_unsafe_devices_are_refused(filled: str, device: str) -> None:
    with psycopg.connect(filled) as connection, pytest.raises(pg.CheckViolation):
        connection.execute("INSERT INTO bundle_variables VALUES ('NuMI', %s)", (device,))


def test_two_transactions_never_follow_the_same_snapshot(dsn: str, record: PostgresRecord) -> None:
    typed(dsn, INSERT)
    with psycopg.connect(dsn) as slow:
        slow.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        slow.execute("SELECT 1")
        typed(dsn, "DELETE FROM bundles")
        slow.execute(INSERT.encode())
        with pytest.raises((pg.UniqueViolation, pg.SerializationFailure)):
            slow.commit()
        slow.rollback()
    assert [check.problem for check in record.chains()] == [None]


# The role of the application


@pytest.fixture
def application(dsn: str) -> Iterator[str]:
    """A DSN for a role that `migrate` gave what an application needs."""
    role = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]) + "_app"
    typed(dsn, f"CREATE ROLE {role}")
    migrate(dsn, role=role)
    yield make_conninfo(dsn, options=f"-c role={role}")
    typed(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_the_function_that_makes_changes_may_no_more_than_its_caller(dsn: str, application: str) -> None:
    write = """SELECT * FROM metastore_write('ann', '', '', '1s',
        '[{"action": "delete", "deleted": true, "name": "NuMI", "expected": 1}]')"""
    typed(dsn, INSERT)
    role = str(psycopg.conninfo.conninfo_to_dict(application)["options"]).removeprefix("-c role=")
    typed(dsn, f"REVOKE DELETE ON bundles FROM {role}")
    with pytest.raises(pg.InsufficientPrivilege):
        typed(application, write)
    typed(dsn, f"GRANT DELETE ON bundles TO {role}")
    assert typed(application, write)[0][:2] == ("NuMI", 2)
    assert typed(application, write) == [("NuMI", 2, None)]


def test_the_application_changes_bundles_and_only_reads_the_record(application: str) -> None:
    record = PostgresRecord(application)
    put(record, NUMI)
    assert record.newest("NuMI").bundle == NUMI
    assert [check.problem for check in record.chains()] == [None]
    record.close()
    for statement in (
        "UPDATE snapshot_bundles SET comment = 'x'",
        "DELETE FROM snapshot_bundle_variables",
        "INSERT INTO snapshot_variable_changes VALUES ('E:X', 1, true)",
        "TRUNCATE snapshot_bundles",
        "SELECT nextval('snapshot_bundles_snapshot_id_seq')",
        "SELECT metastore_take('NuMI', NULL, false)",
        "ALTER TABLE bundles DISABLE TRIGGER ALL",
        "DROP TABLE bundles",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            typed(application, statement)


def test_the_sql_of_the_how_to_does_what_it_says(application: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "postgres.md"
    change, question = re.findall(r"^```sql\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    record = PostgresRecord(application)
    put(record, replace(NUMI, name="NuMI_Physics_A9", devices=frozenset({"E:TRTGTD"})))
    typed(application, "DELETE FROM bundle_variables WHERE variable = 'E:TRTGTD'")
    with psycopg.connect(application, autocommit=True) as connection:
        connection.execute(change.encode())
        ((_, _, name, _, comment),) = connection.execute(question.encode()).fetchall()
    assert (name, comment) == ("NuMI_Physics_A9", "")
    (newest,) = record.log(LogFilter(limit=1))
    assert (newest.user, newest.comment, newest.added) == ("ann", "Second toroid", 1)
    record.close()


def test_a_user_who_may_only_read_is_told_so(dsn: str, application: str) -> None:
    role = str(psycopg.conninfo.conninfo_to_dict(application)["options"]).removeprefix("-c role=")
    typed(dsn, f"REVOKE INSERT, UPDATE, DELETE ON bundles, bundle_variables FROM {role}")
    record = PostgresRecord(application)
    with pytest.raises(PermissionDenied, match="permission denied"):
        put(record, NUMI)
    record.close()


# Through the library


def test_the_chain_is_the_one_that_python_computes(record: PostgresRecord) -> None:
    odd = frozenset({"E:Ä", "E:z", "E:Z", "E:\ue000x", "E:\U0001f600", "E_HP875S", "E:M875BB{888:888}.RAW"})
    put(record, replace(NUMI, devices=odd), user="Ann Lée")
    put(record, replace(NUMI, devices=frozenset(), hosts=(), writable=True, run=True, udp=True, storage="long"))
    record.write([Write("delete", record.newest("NuMI").bundle, 2, deleted=True)], user="bo", comment="é\n'", at=AT)
    before = ""
    for made in history(record):
        assert made.hash == chain_hash(made, before)
        before = made.hash
    (check,) = record.chains()
    assert (check.snapshots, check.head, check.problem) == (3, before, None)


def test_the_chain_shows_what_a_superuser_did(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI, replace(NUMI, name="BNB"), replace(NUMI, name="Other"), replace(NUMI, name="Sound"))
    off = "ALTER TABLE {0} DISABLE TRIGGER USER"
    typed(dsn, off.format("snapshot_bundles"), "UPDATE snapshot_bundles SET updated_by = 'eve' WHERE name = 'NuMI'")
    typed(dsn, off.format("bundle_variables"), "DELETE FROM bundle_variables WHERE bundle = 'BNB'")
    typed(dsn, off.format("bundles"), "DELETE FROM bundles WHERE name = 'Other'", INSERT.replace("NuMI", "Smuggled"))
    found = {check.name: check.problem for check in record.chains()}
    assert found.pop("Sound") is None
    assert set(found) == {"NuMI", "BNB", "Other", "Smuggled"}
    assert "was altered" in str(found["NuMI"])
    assert all(found.values())


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("snapshot_bundles", "UPDATE snapshot_bundles SET changed = '{hosts}' WHERE snapshot_id = 2"),
        ("snapshot_bundles", "UPDATE snapshot_bundles SET changed = '{}' WHERE snapshot_id = 2"),
        ("snapshot_bundles", "UPDATE snapshot_bundles SET added = 0 WHERE snapshot_id = 2"),
        ("snapshot_bundles", "UPDATE snapshot_bundles SET removed = removed + 1 WHERE snapshot_id = 2"),
        ("snapshot_variable_changes", "DELETE FROM snapshot_variable_changes WHERE snapshot_id = 2 AND added"),
        ("snapshot_variable_changes", "UPDATE snapshot_variable_changes SET added = NOT added WHERE snapshot_id = 2"),
        ("snapshot_variable_changes", "INSERT INTO snapshot_variable_changes VALUES ('E:FORGED', 2, false)"),
    ],
    ids=str,
)
def test_verify_says_where_the_log_was_made_to_say_something_else(
    dsn: str, record: PostgresRecord, table: str, change: str
) -> None:
    put(record, NUMI)
    changed = replace(NUMI, devices=frozenset({"E:TOR101", "E:NEW"}), storage="long", writable=True, hosts=())
    put(record, changed)
    record.write([Write("delete", changed, 2, deleted=True)], user="ann", comment="", at=AT)
    put(record, replace(NUMI, devices=frozenset()), replace(NUMI, name="Sound"))
    put(record, NUMI)
    assert [check.problem for check in record.chains()] == [None, None]
    typed(dsn, f"ALTER TABLE {table} DISABLE TRIGGER USER", change)
    assert [check.problem for check in record.chains()] == [
        "the log describes snapshot 2 wrongly",
        None,
    ]


def test_verify_finds_changes_of_no_snapshot(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)
    off = "ALTER TABLE snapshot_variable_changes DISABLE TRIGGER USER"
    typed(dsn, off, "INSERT INTO snapshot_variable_changes VALUES ('E:FORGED', 99, true)")
    assert {check.name: check.problem for check in record.chains()} == {
        "NuMI": None,
        "snapshot_variable_changes": "the log describes snapshot 99 wrongly",
    }


def test_a_broken_chain_is_told_before_what_follows_from_it(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)
    put(record, replace(NUMI, udp=True))
    off = "ALTER TABLE snapshot_bundle_variables DISABLE TRIGGER USER"
    typed(dsn, off, "UPDATE snapshot_bundle_variables SET variable = 'E:FORGED' WHERE variable = 'E:TOR101'")
    (check,) = record.chains()
    assert check.problem == "snapshot 2 or the one before it was altered"


def test_a_number_that_came_again_with_another_hash_is_a_conflict(record: PostgresRecord) -> None:
    (made,) = put(record, NUMI)
    after = replace(NUMI, udp=True)
    with pytest.raises(RevisionConflict):
        record.write([Write("update", after, made.id, follows="0" * 64)], user="ann", comment="", at=AT)
    (made,) = record.write([Write("update", after, made.id, follows=made.hash)], user="ann", comment="", at=AT)
    assert made.bundle == after


def test_several_bundles_change_at_once_in_the_order_given(record: PostgresRecord) -> None:
    made = put(record, replace(NUMI, name="z"), replace(NUMI, name="a"), NUMI, action="import")
    assert [snapshot.name for snapshot in made] == ["z", "a", "NuMI"]
    assert [snapshot.id for snapshot in made] == sorted(snapshot.id for snapshot in made)
    assert {snapshot.created for snapshot in made} == {AT}
    assert [each.name for each in record.bundles(Filter())] == ["NuMI", "a", "z"]


def test_each_write_of_a_transaction_has_its_own_action(record: PostgresRecord) -> None:
    put(record, NUMI)
    writes = [
        Write("copy", replace(NUMI, name="BNB"), None),
        Write("delete", NUMI, 1, deleted=True),
        Write("create", replace(NUMI, name="A"), None),
    ]
    made = record.write(writes, user="ann", comment="", at=AT)
    assert [(each.name, each.action, each.deleted) for each in made] == [
        ("BNB", "copy", False),
        ("NuMI", "delete", True),
        ("A", "create", False),
    ]


def test_one_stale_write_undoes_all_of_a_transaction(record: PostgresRecord) -> None:
    put(record, NUMI)
    with pytest.raises(RevisionConflict) as caught:
        record.write(
            [Write("create", replace(NUMI, name="A"), None), Write("update", replace(NUMI, udp=True), 99)],
            user="ann",
            comment="",
            at=AT,
        )
    assert (caught.value.expected, caught.value.actual) == (99, 1)
    assert [each.name for each in record.bundles(Filter())] == ["NuMI"]


def test_a_write_finds_its_own_snapshot_among_those_of_a_transaction(dsn: str) -> None:
    typed(dsn, INSERT, INSERT.replace("NuMI", "BNB"))
    same = """[{"action": "update", "deleted": false, "expected": %s, "name": "NuMI", "event": "e,a9",
        "ifb_group": "NOvA", "storage": "short", "run": false, "udp": %s, "writable": false, "hosts": [],
        "devices": []}]"""
    numi = typed(dsn, "SELECT max(snapshot_id) FROM snapshot_bundles WHERE name = 'NuMI'")[0][0]
    other = "UPDATE bundles SET udp = true WHERE name = 'BNB'"
    ((name, number, _),) = typed(
        dsn, other, f"SELECT * FROM metastore_write('ann', '', '', '1s', '{same % (numi, 'false')}')"
    )
    assert (name, number) == ("NuMI", numi)
    typed(dsn, "UPDATE bundles SET udp = false WHERE name = 'BNB'")
    ((name, number, _),) = typed(
        dsn, other, f"SELECT * FROM metastore_write('ann', '', '', '1s', '{same % (numi, 'true')}')"
    )
    assert typed(dsn, f"SELECT name, previous FROM snapshot_bundles WHERE snapshot_id = {number}") == [("NuMI", numi)]


def test_the_settings_of_a_write_end_with_it(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)
    record.close()
    record = PostgresRecord(dsn, pool_size=1)
    put(record, replace(NUMI, udp=True))
    pool = next(iter(record._database._pools.values()))
    with pool.connection() as connection:
        connection.execute("UPDATE bundles SET udp = false")
    newest = record.newest("NuMI")
    assert (newest.user, newest.comment) != ("ann", "Why")
    record.close()


@pytest.mark.parametrize("text", ["'); DROP TABLE bundles; --", "%s %(x)s {0} $1 \\", "é\U0001f600", "x" * 65_000])
def test_users_and_comments_are_kept_as_they_are(record: PostgresRecord, text: str) -> None:
    (made,) = record.write([Write("create", NUMI, None)], user=text[:200], comment=text, at=AT)
    assert (made.user, made.comment) == (text[:200], text)
    assert made == record.snapshot(made.id)
    assert [line.id for line in record.log(LogFilter(user=text[:200]))] == [made.id]


@pytest.mark.parametrize(
    ("user", "comment", "made"),
    [
        ("ann\0", "", NUMI),
        ("ann", "\0", NUMI),
        ("ann", "\ud800", NUMI),
        ("ann", "", replace(NUMI, event="no event")),
        ("ann", "", replace(NUMI, storage="other")),
        ("ann", "", replace(NUMI, run=True)),
        ("ann", "", replace(NUMI, devices=frozenset({"no device"}))),
    ],
)
def test_what_the_database_cannot_keep_is_the_callers_mistake(
    record: PostgresRecord, user: str, comment: str, made: Bundle
) -> None:
    with pytest.raises(InvalidInput):
        record.write([Write("create", made, None)], user=user, comment=comment, at=AT)
    assert not record.log(LogFilter())


def test_times_of_any_zone_mean_the_same(record: PostgresRecord) -> None:
    east = AT.astimezone(tz=datetime.now().astimezone().tzinfo)
    (made,) = record.write([Write("create", NUMI, None)], user="ann", comment="", at=east)
    assert made.created == AT
    assert record.as_of("NuMI", AT).id == made.id
    with pytest.raises(BundleNotFound):
        record.as_of("NuMI", AT - timedelta(microseconds=1))


def test_lists_are_read_in_pages_and_lazily(record: PostgresRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.bundle.postgres.record._PAGE", 3)
    put(record, *(replace(NUMI, name=f"B{number:02}") for number in range(10)))
    names = [f"B{number:02}" for number in range(10)]
    assert [each.name for each in record.bundles(Filter())] == names
    assert [each.name for each in record.bundles(Filter(limit=7, after="B01"))] == names[2:9]
    assert [each.name for each in record.bundles(Filter(prefix="B0", device="E:TOR101", host="b"))] == names
    assert not list(record.bundles(Filter(limit=0)))
    assert next(record.bundles(Filter(run=False))).name == "B00"


def test_a_lock_that_somebody_holds_for_long_is_busy(dsn: str) -> None:
    record = PostgresRecord(dsn, patience=0.3)
    put(record, NUMI)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE bundles SET udp = true")
        with pytest.raises(StorageBusy):
            put(record, replace(NUMI, event="e,1d"))
        connection.rollback()
    put(record, replace(NUMI, event="e,1d"))
    record.close()


def test_a_pool_that_is_used_up_is_busy(dsn: str) -> None:
    record = PostgresRecord(dsn, pool_size=1, patience=0.3)
    put(record, NUMI)
    pool = next(iter(record._database._pools.values()))
    with pool.connection(), pytest.raises(StorageBusy):
        record.newest("NuMI")
    record.close()


# Connecting


def test_the_url_of_a_database_is_a_registry(dsn: str) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    url = f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    with bundle.connect(url, groups=bundle.Groups.parse("groups = NOvA\nNOvA = ann"), clock=lambda: AT) as registry:
        made = registry.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA"}, user="ann")
        assert registry.bundle_read("NuMI") == made
        assert made.updated == AT
    with pytest.raises(InvalidInput, match="no option 'sync'"):
        bundle.connect(url, groups=bundle.Groups.parse("groups = NOvA"), sync=False)


def test_a_database_without_the_tables_says_what_to_do() -> None:
    with pytest.raises(StorageUnavailable, match="run `metastore database migrate`"):
        PostgresRecord(server_dsn()).check()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@127.0.0.1:1/x",
        "postgresql://ann:s3cret@[::1/x",
        "postgresql://ann:s3cret/more@h/x",
        "postgresql://ann:s3cret@h/x?nothing=1",
        "host=h password='s3cret",
    ],
)
def test_no_message_repeats_a_password(url: str) -> None:
    with pytest.raises((StorageUnavailable, InvalidInput)) as caught:
        PostgresRecord(url, patience=0.2).check()
    texts = [str(error) for error in (caught.value, caught.value.__cause__) if error]
    assert not any("s3c" in text for text in texts)
    with pytest.raises((StorageUnavailable, InvalidInput)):
        migrate(url)
    record = PostgresRecord("postgresql://ann:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in repr(record) + repr(record._database)


# Speed, as the planner sees it


@pytest.fixture(scope="module")
def large() -> Iterator[str]:
    """A database with so many snapshots that reading all of them would not do."""
    with migrated_database() as dsn:
        columns = "name, event, updated, storage, run, udp, writable, hosts, ifb_group"
        made = 'updated_by, "delete", comment, action, created, previous, hash, "session_user", recorded, changed'
        typed(
            dsn,
            "ALTER TABLE snapshot_bundles DISABLE TRIGGER USER",
            "ALTER TABLE snapshot_variable_changes DISABLE TRIGGER USER",
            f"""INSERT INTO snapshot_bundles (snapshot_id, {columns}, {made}, added, removed)
            SELECT n, 'B' || n % 200, 'e,a9', now(), 'short', false, false, false, '{{}}', 'NOvA',
                'user' || n % 500, false, '', 'update', '2024-01-01'::timestamptz + n * interval '1 minute', n - 200,
                '', '', now(), '{{}}', 1, 0
            FROM generate_series(201, 50000) AS n""",
            """INSERT INTO snapshot_variable_changes
            SELECT 'E:D' || n % 500, n, true FROM generate_series(201, 50000) AS n""",
        )
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        yield dsn


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (LogFilter(), "snapshot_bundles_pkey"),
        (LogFilter(before=40_000), "snapshot_bundles_pkey"),
        (LogFilter("B17"), "snapshot_bundles_of_name"),
        (LogFilter("B17", before=30_000), "snapshot_bundles_of_name"),
        (LogFilter(user="user7", before=30_000), "snapshot_bundles_of_user"),
        (LogFilter(device="E:D7"), "snapshot_variable_changes_pkey"),
        (LogFilter(device="E:D7", before=30_000), "snapshot_variable_changes_pkey"),
        (
            LogFilter(since=datetime(2024, 1, 3, tzinfo=UTC), until=datetime(2024, 1, 3, 1, tzinfo=UTC)),
            "snapshot_bundles_of_time",
        ),
    ],
    ids=str,
)
def test_a_page_of_the_log_is_read_from_an_index(large: str, wanted: LogFilter, index: str) -> None:
    query, values = log_query(wanted)
    with psycopg.connect(large) as connection:
        (row,) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode(), values).fetchall()
    steps = list(nodes(row[0][0]["Plan"]))
    assert index in {step.get("Index Name") for step in steps}
    assert not [step for step in steps if step["Node Type"] == "Seq Scan"]
    read = sum(step["Actual Rows"] * step["Actual Loops"] for step in steps if "Relation Name" in step)
    assert read <= 250, "more rows were read than a page or two hold"


# Several at once


@pytest.mark.parametrize("writers", [2, 8, 16])
def test_writers_of_one_bundle_lose_no_update(dsn: str, writers: int) -> None:
    record = PostgresRecord(dsn, pool_size=writers)
    put(record, replace(NUMI, devices=frozenset()))
    each = 64 // writers

    def add(writer: int) -> None:
        for number in range(each):
            while True:
                newest = record.newest("NuMI")
                after = replace(newest.bundle, devices=newest.bundle.devices | {f"E:{writer}x{number}"})
                try:
                    record.write([Write("update", after, newest.id)], user=f"w{writer}", comment="", at=AT)
                    break
                except RevisionConflict:
                    continue

    run_all([threading.Thread(target=add, args=(writer,)) for writer in range(writers)])
    assert len(record.newest("NuMI").bundle.devices) == each * writers
    assert len(history_ids(record)) == each * writers + 1
    assert [check.problem for check in record.chains()] == [None]
    record.close()


def test_writers_of_several_bundles_never_wait_for_each_other_in_a_circle(dsn: str) -> None:
    record = PostgresRecord(dsn)
    names = ["a", "b", "c", "d"]
    put(record, *(replace(NUMI, name=name) for name in names))
    made = []

    def change(writer: int) -> None:
        mine = names[writer % 4 :] + names[: writer % 4]
        for number in range(8):
            while True:
                newest = {name: record.newest(name) for name in mine}
                writes = [
                    Write("update", replace(newest[name].bundle, event=f"e,{writer},{number}"), newest[name].id)
                    for name in mine
                ]
                try:
                    made.extend(record.write(writes, user="ann", comment="", at=AT))
                    break
                except RevisionConflict:
                    continue

    def type_in() -> None:
        for number in range(20):
            typed(dsn, *(f"UPDATE bundles SET event = 'e,typed,{number}' WHERE name = '{name}'" for name in names))

    run_all(
        [*(threading.Thread(target=change, args=(writer,)) for writer in range(6)), threading.Thread(target=type_in)]
    )
    assert len(made) == 6 * 8 * 4
    assert len({snapshot.id for snapshot in made}) == len(made)
    assert [check.problem for check in record.chains()] == [None] * 4
    assert sum(check.snapshots for check in record.chains()) == 4 + len(made) + 20 * 4
    record.close()


def test_of_many_who_create_the_same_bundle_one_does(dsn: str) -> None:
    record = PostgresRecord(dsn)
    outcomes = []

    def create() -> None:
        try:
            outcomes.append(record.write([Write("create", NUMI, None)], user="ann", comment="", at=AT)[0].id)
        except RevisionConflict as error:
            outcomes.append(error.actual)

    run_all([threading.Thread(target=create) for _ in range(8)])
    assert len(outcomes) == 8
    assert set(outcomes) == {record.newest("NuMI").id}
    assert len(history_ids(record)) == 1
    record.close()


def history_ids(record: PostgresRecord) -> list[int]:
    return [line.id for line in record.log(LogFilter("NuMI", limit=10_000))]


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_time_of_the_server_is_shown_beside_one_that_was_claimed(dsn: str, record: PostgresRecord) -> None:
    put(record, NUMI)  # at a time in 2024
    typed(dsn, "UPDATE bundles SET udp = true")
    registry = BundleRegistry(record, bundle.Groups.parse("groups = NOvA\nNOvA = ann"))
    honest, claimed = registry.bundle_log("NuMI")
    assert honest.recorded is None
    assert claimed.recorded is not None
    day = f"{claimed.recorded:%Y-%m-%d %H:%M}"
    assert registry.bundle_snapshot(claimed.id).recorded == claimed.recorded
    assert day in log_line(claimed)
    assert any(line.startswith(f"recorded {day}") for line in snapshot_lines(registry.bundle_snapshot(claimed.id)))
    with metastore.connect("memory:") as store:
        client = create_app(store, bundles=registry).test_client()
        pages = f"/snapshots/{claimed.id}", "/bundles/NuMI/log", "/log", "/", "/changes", "/device?name=E:TOR101"
        for path in pages:
            assert client.get(path).text.count(f'(recorded <time datetime="{claimed.recorded:%Y-%m-%d}') == 1, path
        assert "(recorded" not in client.get(f"/snapshots/{honest.id}").text
        sent = client.get("/api/v1/log").json
        assert [line["recorded"] is None for line in sent] == [True, False]


# Connections that are lost


class Line:
    """A connection on which every statement fails."""

    def __init__(self, *, closed: bool) -> None:
        self.closed = closed

    def execute(self, *_: object, **options: object) -> None:
        raise psycopg.OperationalError("it failed")


class Lines:
    """A database that sends a change again on one connection after the other."""

    patience = 1.0

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)

    def surely(self, work: Callable[[Any], Any]) -> Any:
        while len(self.lines) > 1:
            with suppress(psycopg.OperationalError):
                return work(self.lines.pop(0))
        return work(self.lines[0])


@pytest.mark.parametrize("closed", [(True, False), (False, True), (True, True)])
def test_a_change_whose_connection_was_lost_once_may_have_been_made(closed: tuple[bool, ...]) -> None:
    database: Any = Lines(*(Line(closed=each) for each in closed))
    with pytest.raises(OutcomeUnknown, match="lost"):
        _Change(database, Asked((Write("create", NUMI, None),), "ann", "Why", AT)).make()


def test_a_change_that_failed_on_whole_connections_was_not_made() -> None:
    database: Any = Lines(Line(closed=False), Line(closed=False))
    with pytest.raises(psycopg.OperationalError):
        _Change(database, Asked((Write("create", NUMI, None),), "ann", "Why", AT)).make()


def test_a_change_that_somebody_else_made_is_a_conflict_even_if_they_are_the_same(record: PostgresRecord) -> None:
    writes = [Write("create", NUMI, None)]
    record.write(writes, user="ann", comment="Why", at=AT)
    with pytest.raises(RevisionConflict):
        record.write(writes, user="ann", comment="Why", at=AT)
