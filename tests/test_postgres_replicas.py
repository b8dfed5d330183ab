"""A server whose COMMITs wait for a replica: a change counts as made only when the replica has it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import metastore
from metastore import MetaStore, config
from metastore.bundle.postgres.record import PostgresRecord
from metastore.errors import DatasetDeleted, DatasetMoved, InvalidInput, StorageUnavailable
from metastore.postgres.migrate import migrate
from metastore.postgres.risks import _warn
from metastore.postgres.status import status
from metastore.storage.postgres.storage import PostgresStorage

from .bundle.postgres_server import Server, migrated_database, new_server, programs
from .bundle.test_postgres import NUMI, put
from .bundle.test_postgres_faults import giving_up_soon
from .conftest import ANN, change
from .loopback import TOKEN, serving
from .test_postgres_outcomes import eventually
from .test_storage_contract import CARS
from .waiting import until

Admin = psycopg.Connection[Any]
SPLIT = metastore.DatasetId("physics", "split")
LAG = metastore.DatasetId("physics", "lag")
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
#: End the sessions of MetaStore that wait, and return when they are gone.
_END = """SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND application_name = 'metastore'"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = new_server()
    migrate(made.dsn)
    yield made
    made.stop("immediate")


@pytest.fixture
def admin(server: Server) -> Iterator[Admin]:
    """Return a session that waits for no replica."""
    with psycopg.connect(server.dsn, autocommit=True, options="-c synchronous_commit=local") as made:
        yield made
        _replicate_to(made, "")


def _replicate_to(admin: Admin, replica: str) -> None:
    """Let each COMMIT wait for a replica of this name; with an empty one, let go all that wait."""
    admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{replica}'".encode())
    admin.execute("SELECT pg_reload_conf()")


@contextmanager
def _replica_away(server: Server, admin: Admin) -> Iterator[None]:
    """Let each COMMIT wait for a replica that is away, while the body runs; one session waits already."""

    def commit_until_one_waits() -> None:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            while not over.is_set():
                connection.execute("SELECT pg_logical_emit_message(true, 'test', '')")

    over, committing = threading.Event(), threading.Thread(target=commit_until_one_waits)
    _replicate_to(admin, "away")
    committing.start()
    try:
        eventually(admin, _WAITING, 1)  # some moments after the settings were read again
        yield
    finally:
        over.set()
        _replicate_to(admin, "")
        committing.join()


def _end_while_it_waits(server: Server, admin: Admin, write: Callable[[], object]) -> None:
    """Run a write whose session is ended while it waits for a replica.

    Its transaction is then committed on this server alone. The write has to go on waiting for the replica.
    """
    answers: list[object] = []
    writer = threading.Thread(target=lambda: answers.append(write()))
    with _replica_away(server, admin):
        writer.start()
        eventually(admin, _WAITING, 2)
        admin.execute(_END)
        eventually(admin, _WAITING, 2)
        assert answers == []
    writer.join()
    assert len(answers) == 1


def test_a_change_of_a_dataset_that_is_there_but_on_no_replica_is_not_acknowledged(
    server: Server, admin: Admin
) -> None:
    storage = PostgresStorage(server.dsn, patience=120)
    first = storage.create(CARS, {"a": b"1"}, change())
    _end_while_it_waits(server, admin, lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id))
    assert storage.resolve(CARS, None).parent == first.id
    storage.close()


def test_a_change_of_a_bundle_that_is_there_but_on_no_replica_is_not_acknowledged(server: Server, admin: Admin) -> None:
    record = PostgresRecord(server.dsn, patience=120)
    _end_while_it_waits(server, admin, lambda: put(record, NUMI))
    assert record.newest("NuMI").bundle.name == "NuMI"
    record.close()


@contextmanager
def _split(server: Server, admin: Admin, *, before: Callable[[str], object]) -> Iterator[str]:
    """Promote a replica whose server goes on: both take writes, but those of the old one wait for its replica.

    Args:
        server: The old one.
        admin: A session there.
        before: Called with the address of both, the old one first, while the replica still follows.
    """
    replica = new_server(server)
    both = f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{replica.port}/postgres"
    try:
        _replicate_to(admin, "*")
        eventually(admin, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1)
        before(both)
        replica.promote()
        eventually(admin, "SELECT count(*) FROM pg_stat_replication", 0)
        yield both
    finally:
        replica.stop("immediate")


def test_where_two_servers_take_writes_all_goes_to_the_one_that_was_promoted_last_or_to_none(
    server: Server, admin: Admin
) -> None:
    storages: list[PostgresStorage] = []
    records: list[PostgresRecord] = []

    def write_before(both: str) -> None:
        storages.append(PostgresStorage(both, patience=120))
        records.append(PostgresRecord(both, patience=120))
        storages[0].create(SPLIT, {"a": b"1"}, change())
        put(records[0], replace(NUMI, name="Split"))

    with _split(server, admin, before=write_before) as both:
        second = storages[0].append(SPLIT, {"a": b"2"}, change(), parent=storages[0].resolve(SPLIT, None).id)
        put(records[0], replace(NUMI, name="Split", event="e,1d"))
        storages.append(PostgresStorage(both))
        until(lambda: storages[1].resolve(SPLIT, None) == second)  # a server that answers late is found late
        # The change was tried on the old server too; what waits there is undone when it follows the new one.
        assert admin.execute(_WAITING).fetchone() != (0,)
    for storage in storages:  # the new server is away now
        with giving_up_soon(storage.database), pytest.raises(StorageUnavailable):
            storage.ping()
    for each in (*storages, *records):
        each.close()


def test_a_replica_answers_reads_of_revisions_that_it_has_and_the_primary_all_others(
    server: Server, admin: Admin
) -> None:
    writer, replica = PostgresStorage(server.dsn, patience=120), new_server(server)
    first = writer.create(LAG, {"a": b"1"}, change())
    reader = PostgresStorage(server.dsn, patience=120, cache_bytes=0, replicas=replica.dsn)
    asked = _asked(reader)
    with psycopg.connect(replica.dsn, autocommit=True) as there:
        until(lambda: there.execute("SELECT FROM dataset WHERE name = 'lag'").rowcount == 1)
        assert reader.find(LAG, first.id, "a") == (first, b"1")
        assert reader.read(LAG, first.id, "a") == b"1"
        assert list(reader.history(LAG, first.id)) == [first]
        assert asked == []
        there.execute("SELECT pg_wal_replay_pause()")
        second = writer.append(LAG, {"a": b"2"}, change(), parent=first.id)
        assert reader.read(LAG, second.id, "a") == b"2"
        assert len(asked) == 1
        assert list(reader.history(LAG, second.id)) == [second, first]
        assert reader.resolve(LAG, None) == second
        with _changed_by_hand(admin):
            assert {damage.where for damage in reader.verify()} == {str(LAG)}  # of the primary, not of the replica
        assert status(replica.dsn).is_replica
        assert status(replica.dsn).lag > 0
        assert status(server.dsn).replicas == (1, 0)
    replica.stop("immediate")
    assert reader.read(LAG, first.id, "a") == b"1"  # nobody waits for a replica that is away
    third = reader.append(LAG, {"a": b"3"}, change(), parent=second.id)
    assert list(reader.verify()) == []
    assert reader.find(LAG, None, "a") == (third, b"3")
    for each in (writer, reader):
        each.close()


@pytest.fixture
def behind(server: Server) -> Iterator[Behind]:
    """Return a database with a replica, a store on both, and a client of a service of that store."""
    replica = new_server(server)
    settings = {"author": ANN, "validation": "off"}
    with (
        psycopg.connect(replica.dsn, autocommit=True) as there,
        metastore.connect(server.dsn, **settings) as writer,
        metastore.connect(server.dsn, replicas=replica.dsn, **settings) as reader,
        serving(reader) as address,
        metastore.connect(address, token=TOKEN, author=ANN) as client,
    ):
        yield Behind(there, writer, reader, client, f"stale/{replica.port}")
    replica.stop("immediate")


@dataclass
class Behind:
    there: Admin
    writer: MetaStore
    reader: MetaStore
    client: MetaStore
    cars: str

    def pause_with(self, revision: metastore.Revision) -> None:
        """Let the replica stop following when it has a revision."""
        self.there.execute("SELECT pg_is_wal_replay_paused() AND pg_wal_replay_resume() IS NULL")
        # Two datasets that are made within one second have the same first revision.
        query = "SELECT FROM dataset_revision JOIN dataset ON pk = dataset WHERE owner || '/' || name = %s AND id = %s"
        until(lambda: self.there.execute(query, (self.cars, bytes.fromhex(revision.id))).rowcount == 1)
        self.there.execute("SELECT pg_wal_replay_pause()")  # asks for it: what arrives meanwhile may still be replayed
        until(lambda: self.there.execute("SELECT WHERE pg_get_wal_replay_pause_state() = 'paused'").rowcount == 1)

    def seen(self, store: MetaStore, at_least: metastore.Revision | None = None) -> object:
        """Return what a store reads as the newest value, through both reading calls."""
        dataset = store.dataset_read(self.cars, at_least=at_least)
        revision, content = store.dataset_json(self.cars, at_least=at_least)
        assert (dataset.revision, dataset.bytes) == (revision, content)
        return dataset.descriptor["n"]


def test_a_replica_answers_what_the_newest_revision_is_if_it_has_the_one_that_the_reader_names(
    behind: Behind,
) -> None:
    first = behind.writer.dataset_create(behind.cars, {"n": 1}).revision
    behind.pause_with(first)
    second = behind.writer.dataset_update(behind.cars, {"n": 2}).revision
    asked = _asked(behind.reader.storage)
    assert behind.seen(behind.reader, first) == 1
    assert asked == []
    assert behind.seen(behind.reader, second) == 2
    assert behind.seen(behind.reader) == 2
    assert behind.seen(behind.client) == 2
    assert behind.seen(behind.client, first) == 1
    third = behind.reader.dataset_patch(behind.cars, {"n": 3}).revision  # it begins with the second one
    assert third.parent == second.id
    with pytest.raises(InvalidInput, match="full id"):
        behind.seen(behind.reader, "HEAD")


def test_a_client_of_a_service_with_replicas_sees_what_it_has_written_or_read_and_writes_on_top_of_the_newest(
    behind: Behind,
) -> None:
    client, writer, cars = behind.client, behind.writer, behind.cars
    first = client.dataset_create(cars, {"n": 1}).revision
    behind.pause_with(first)
    writer.dataset_update(cars, {"n": 2})
    assert behind.seen(client) == 1
    asked = _asked(behind.reader.storage)
    third = client.dataset_patch(cars, {"m": 0}).revision
    assert asked != []
    assert behind.seen(client) == 2
    behind.pause_with(third)
    fourth = writer.dataset_update(cars, {"n": 4}).revision
    assert behind.seen(client) == 2
    behind.pause_with(fourth)
    assert behind.seen(client) == 4
    behind.there.execute("SELECT pg_wal_replay_resume()")
    fifth = client.dataset_delete(cars)
    with pytest.raises(DatasetDeleted):
        client.dataset_read(cars)
    client.dataset_revert(cars, fourth)
    client.dataset_move(cars, f"{cars}-moved")
    with pytest.raises(DatasetMoved):
        client.dataset_read(cars)
    assert client.revision_read(f"{cars}-moved", fifth.id).deleted


@contextmanager
def _changed_by_hand(admin: Admin) -> Iterator[None]:
    """Let a file of `LAG` be another one on the primary while the body runs."""
    change = """ALTER TABLE dataset_object DISABLE TRIGGER metastore_stays;
        UPDATE dataset_object SET data = '{1}' FROM dataset WHERE pk = dataset AND name = 'lag' AND data = '{0}';
        ALTER TABLE dataset_object ENABLE ALWAYS TRIGGER metastore_stays"""
    admin.execute(change.format("1", "9").encode())
    yield
    admin.execute(change.format("9", "1").encode())


def _asked(storage: PostgresStorage) -> list[object]:
    """Return a list that gets everything that the primary is asked from now on."""
    ask, asked = storage.database.patiently, list[object]()
    storage.database.patiently = lambda work: (asked.append(work), ask(work))[1]  # type: ignore[method-assign]
    return asked


def test_the_feed_goes_on_where_a_database_was_restored_on_a_server_whose_transactions_have_lower_numbers(
    server: Server, admin: Admin
) -> None:
    admin.execute("CREATE DATABASE restored TEMPLATE template0")
    restored = make_conninfo(server.dsn, dbname="restored")
    with migrated_database() as dsn:
        _beyond(dsn, admin)
        first = PostgresStorage(dsn)
        first.create(SPLIT, {"a": b"1"}, change())
        cursor = list(first.touched(None))[-1][0]
        first.close()
        _restore(dsn, restored)
    storage = PostgresStorage(restored)
    with pytest.raises(StorageUnavailable, match="restored on another server: run `metastore database migrate`"):
        storage.touched(cursor)
    storage.append(SPLIT, {"a": b"2"}, change(), parent=storage.resolve(SPLIT, None).id)
    migrate(restored)
    there = list(storage.touched(cursor))
    assert [dataset_id for _, dataset_id in there] == [SPLIT]
    storage.create(CARS, {"a": b"1"}, change())
    assert [dataset_id for _, dataset_id in storage.touched(there[-1][0])] == [CARS]
    assert list(storage.verify()) == []
    storage.close()
    migrate(restored)  # changes nothing
    with psycopg.connect(restored) as connection:
        numbers = connection.execute("""SELECT count(DISTINCT xid)
            FROM (SELECT xid FROM dataset_change UNION ALL SELECT xid FROM dataset_segment) AS a""").fetchone()
    assert numbers == (2,)


def _beyond(dsn: str, admin: Admin) -> None:
    """Let the numbers of a server's transactions be higher than those of another server."""
    query: LiteralString = "SELECT pg_current_xact_id()::text::bigint"
    (other,) = admin.execute(query).fetchone() or (0,)
    with psycopg.connect(dsn, autocommit=True) as connection:
        while (connection.execute(query).fetchone() or (0,))[0] < other + 200:
            pass


def _restore(dsn: str, target: str) -> None:
    dump = subprocess.run([programs() / "pg_dump", dsn], check=True, capture_output=True).stdout
    options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target)
    subprocess.run([programs() / "psql", *options], input=dump, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _settings(server: Server, admin: Admin, **settings: str) -> Iterator[None]:
    """Let all new sessions have these settings while the body runs."""
    for name, value in settings.items():
        admin.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
    admin.execute("SELECT pg_reload_conf()")
    for name, value in settings.items():
        while _shown(server, name) != value:
            time.sleep(0.01)
    yield
    admin.execute("ALTER SYSTEM RESET ALL")
    admin.execute("SELECT pg_reload_conf()")


def _shown(server: Server, name: str) -> str:
    with psycopg.connect(server.dsn) as fresh:
        row = fresh.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit"])
def test_a_database_that_can_lose_changes_is_named_once_and_refused_where_none_may_be_lost(
    name: str, server: Server, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    _warn.cache_clear()
    risk = f"{name} is off"
    with _settings(server, admin, **{"fsync": "on", name: "off"}):
        with pytest.raises(StorageUnavailable, match=risk):
            metastore.connect(server.dsn, durable="required")
        with pytest.raises(StorageUnavailable, match=risk):
            config.open_bundles(config.load({"METASTORE_STORE": server.dsn, "METASTORE_DURABLE": "required"}))
        metastore.connect(server.dsn, durable="off").close()
        assert caplog.messages == []
        for _ in range(2):
            metastore.connect(server.dsn).close()
        assert [message.split(": ")[1] for message in caplog.messages] == [risk]


def test_a_cluster_without_a_synchronous_replica_can_lose_changes(server: Server, admin: Admin) -> None:
    several = server.dsn.replace("127.0.0.1", f"127.0.0.1:{server.port},127.0.0.1")
    with _settings(server, admin, fsync="on"):
        metastore.connect(server.dsn, durable="required").close()
        with pytest.raises(StorageUnavailable, match="no replica is synchronous"):
            metastore.connect(several, durable="required")
        with _replica_away(server, admin):
            metastore.connect(several, durable="required").close()


def test_only_a_database_has_a_setting_for_what_it_may_lose(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="only a store in a PostgreSQL database"):
        metastore.connect(tmp_path, durable="required")
    with pytest.raises(InvalidInput, match="required, warn, off"):
        PostgresStorage("postgresql://db").check("always")  # type: ignore[arg-type]
    config.open_store(config.load({"METASTORE_STORE": str(tmp_path), "METASTORE_DURABLE": "required"})).close()
    with pytest.raises(InvalidInput, match="off, warn or required"):
        config.load({"METASTORE_DURABLE": "always"})
