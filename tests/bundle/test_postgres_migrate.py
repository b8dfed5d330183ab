"""Migrating: an empty database, one that has the tables already, several at once, and one that fails."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg

import metastore
from metastore import bundle
from metastore.bundle import Groups
from metastore.bundle.port import Filter, LogFilter
from metastore.bundle.postgres.record import PostgresRecord
from metastore.errors import InvalidInput, MetastoreError, StorageUnavailable
from metastore.postgres.migrate import migrate
from tests.bundle.postgres_server import drop_database, new_database, server_dsn
from tests.spawned import migrate_database

AT = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
FILES = ("0001.record", "0002.datasets", "0003.search")
#: As a laboratory's own program may have made them.
OLD_TABLES = """
    CREATE TABLE bundles (
        name varchar(64) NOT NULL PRIMARY KEY, event varchar(32), updated timestamp, storage varchar(8), run char(1),
        udp integer, hosts text, ifb_group varchar(32), contact text
    );
    CREATE TABLE bundle_variables (bundle varchar(64) REFERENCES bundles (name), variable varchar(255));
    INSERT INTO bundles VALUES
        ('NuMI', 'e,a9', '2020-01-01 12:00', 'long', 'f', 1, 'a.example.org, b', 'NOvA', 'ann'),
        ('BNB', 'e,1d', '2021-01-01 12:00', 'short', NULL, NULL, NULL, 'MINOS', NULL),
        ('odd name', 'e,1d', '2021-01-01 12:00', 'short', 'f', 0, '', 'MINOS', NULL);
    INSERT INTO bundle_variables VALUES ('NuMI', 'E:ONE'), ('NuMI', 'E:ONE'), ('NuMI', 'E:TWO');
"""


@pytest.fixture
def dsn() -> Iterator[str]:
    made = new_database(server_dsn())
    yield made
    drop_database(made)


def typed(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statements.encode())


def test_an_empty_database_is_made_ready_once(dsn: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert migrate(dsn) == FILES
    assert migrate(dsn) == ()
    PostgresRecord(dsn).check()
    assert capfd.readouterr() == ("", "")


def test_rows_that_were_there_get_a_first_snapshot(dsn: str) -> None:
    typed(dsn, OLD_TABLES)
    migrate(dsn)
    record = PostgresRecord(dsn)
    entries = record.log(LogFilter())
    assert [(line.action, line.comment) for line in entries] == [("import", "was there before the record began")] * 3
    numi = record.newest("NuMI")
    assert numi.bundle.devices == {"E:ONE", "E:TWO"}
    assert numi.bundle.hosts == ("a.example.org", "b")
    assert (numi.bundle.udp, numi.bundle.run, numi.bundle.writable) == (True, False, False)
    assert numi.bundle.updated == next(record.bundles(Filter(prefix="NuMI"))).updated
    assert numi.bundle.updated is not None
    assert numi.bundle.updated.year == 2020
    assert abs((numi.created - datetime.now(UTC)).total_seconds()) < 600
    assert [check.problem for check in record.chains()] == [None] * 3
    record.close()


def test_tables_that_were_there_keep_their_columns_and_are_recorded_from_then_on(dsn: str) -> None:
    typed(dsn, OLD_TABLES)
    migrate(dsn)
    typed(dsn, "UPDATE bundles SET contact = 'bo' WHERE name = 'NuMI'; DELETE FROM bundles WHERE name = 'BNB'")
    typed(dsn, "INSERT INTO bundles (name, event, ifb_group) VALUES ('New', 'e,1d', 'NOvA')")
    record = PostgresRecord(dsn)
    assert [(line.action, line.name) for line in record.log(LogFilter(limit=2))] == [
        ("create", "New"),
        ("delete", "BNB"),
    ]
    assert len(record.log(LogFilter())) == 5
    record.close()
    with pytest.raises(pg.CheckViolation):
        typed(dsn, "UPDATE bundles SET udp = true WHERE name = 'odd name'")


def test_devices_of_no_bundle_stop_it_and_nothing_is_changed(dsn: str) -> None:
    typed(dsn, OLD_TABLES)
    typed(dsn, "ALTER TABLE bundle_variables DROP CONSTRAINT bundle_variables_bundle_fkey")
    typed(dsn, "INSERT INTO bundle_variables VALUES ('nobody', 'E:ONE')")
    with pytest.raises(MetastoreError, match="foreign key"):
        migrate(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM bundle_variables").fetchone() == (4,)
        assert connection.execute("SELECT to_regclass('snapshot_bundles')").fetchone() == (None,)
    typed(dsn, "DELETE FROM bundle_variables WHERE bundle = 'nobody'")
    assert migrate(dsn) == FILES


def test_several_may_start_at_once(dsn: str) -> None:
    typed(dsn, OLD_TABLES)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[object] = context.Queue()
    starting = [context.Process(target=migrate_database, args=(dsn, results)) for _ in range(4)]
    for process in starting:
        process.start()
    made = [results.get(timeout=120) for _ in starting]
    assert sorted(made, key=str) == [FILES, (), (), ()]
    for process in starting:
        process.join()
    record = PostgresRecord(dsn)
    assert len(record.log(LogFilter())) == 3
    record.close()


def test_one_who_was_killed_half_way_stops_nobody(dsn: str) -> None:
    migrate(dsn)
    typed(
        dsn,
        "INSERT INTO yoyo_lock VALUES (1, now(), 1); DELETE FROM _yoyo_migration",
    )
    typed(dsn, "INSERT INTO bundles (name, event, ifb_group) VALUES ('NuMI', 'e,a9', 'NOvA')")
    assert migrate(dsn) == FILES
    record = PostgresRecord(dsn)
    assert len(record.log(LogFilter())) == 1
    record.close()


def test_the_files_can_run_again(dsn: str) -> None:
    migrate(dsn)
    typed(dsn, "INSERT INTO bundles (name, event, ifb_group) VALUES ('NuMI', 'e,a9', 'NOvA')")
    typed(dsn, "DELETE FROM _yoyo_migration")
    assert migrate(dsn) == FILES
    record = PostgresRecord(dsn)
    assert len(record.log(LogFilter())) == 1
    record.close()


def test_tables_of_another_version_are_refused(dsn: str) -> None:
    migrate(dsn)
    for number, reason in ((0, "of an older metastore"), (99, "of a newer metastore")):
        typed(dsn, f"CREATE OR REPLACE FUNCTION metastore_schema() RETURNS integer LANGUAGE sql AS 'SELECT {number}'")
        with pytest.raises(StorageUnavailable, match=reason):
            PostgresRecord(dsn).check()


def test_a_database_that_does_not_keep_unicode_is_refused() -> None:
    name = "metastore_latin"
    with psycopg.connect(server_dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
        )
    dsn = psycopg.conninfo.make_conninfo(server_dsn(), dbname=name)
    with pytest.raises(StorageUnavailable, match="UTF8"):
        migrate(dsn)
    drop_database(dsn)


def test_psycopg_is_imported_on_use_alone() -> None:
    program = """if True:
        import sys
        from metastore import bundle
        bundle.connect("memory:", groups=bundle.Groups.parse("groups = NOvA"))
        assert not {"psycopg", "psycopg_pool", "yoyo"} & set(sys.modules)
        sys.modules["psycopg"] = None
        try:
            bundle.connect("postgresql://x", groups=bundle.Groups.parse("groups = NOvA"))
        except ValueError as error:
            print(type(error).__name__, error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "InvalidInput this needs psycopg, which is not installed: "
        "pip install 'metastore-records[postgres]', or '.[postgres]' from a checkout\n"
    )


def test_a_database_that_is_no_url_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="as a URL"):
        bundle.connect("host=127.0.0.1 dbname=bundles", groups=Groups.parse("groups ="))
    with pytest.raises(InvalidInput, match="give the database as a URL"):
        metastore.connect("dbname=datasets host=127.0.0.1")  # it is no name of a folder
    assert list(tmp_path.iterdir()) == []
