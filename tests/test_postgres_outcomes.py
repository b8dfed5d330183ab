"""Writes to PostgreSQL whose answers are lost: each is made once, and an unknown outcome is settled exactly."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import metastore
from metastore import MetaStore, Outcome, config, web
from metastore.bundle.postgres.record import PostgresRecord
from metastore.errors import (
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
    StorageUnavailable,
)
from metastore.postgres.connection import check_dsn, database_errors
from metastore.postgres.database import Database
from metastore.storage.postgres.storage import PostgresStorage

from .bundle.postgres_server import Server, migrated_database, new_server
from .bundle.test_postgres import NUMI, put
from .bundle.test_postgres_faults import crash_under_load, giving_up_soon, open_hasty
from .conftest import ANN, change
from .harness.postgres_proxy import Proxy
from .harness.test_settle import WRITES
from .processes import SOAK
from .test_storage_contract import CARS, tag_of
from .waiting import until

#: The function that each write calls last.
FUNCTIONS = {"purge": b"dataset_purge(", "move": b"dataset_move(", "tag": b"dataset_tag("}


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    parts = conninfo_to_dict(dsn)
    made = Proxy(str(parts["host"]), int(parts.get("port") or 5432))
    yield made
    made.close()


def through(proxy: Proxy, dsn: str) -> PostgresStorage:
    return PostgresStorage(make_conninfo(dsn, host="127.0.0.1", port=proxy.port), patience=60)


def filled(storage: PostgresStorage) -> MetaStore:
    """Return a store as `test_settle` expects it."""
    store = MetaStore(storage, author=ANN, validation="off")
    store.dataset_create("physics/cars", {"n": 1})
    store.tag_create("physics/cars", "v1")
    store.dataset_update("physics/cars", {"n": 2})
    store.dataset_create("physics/gone", {"n": 1})
    store.dataset_delete("physics/gone")
    store.dataset_create("physics/made", {"n": 1})
    return store


def whole(dsn: str) -> Any:
    storage = PostgresStorage(dsn)
    store = MetaStore(storage)
    ids = list(store.dataset_list(deleted=None))
    found = [(each, list(store.revision_list(each)), list(store.tag_list(each))) for each in ids]
    assert list(storage.verify()) == []
    store.close()
    return found


def marker(write: str) -> bytes:
    return next((name for action, name in FUNCTIONS.items() if write.startswith(action)), b"dataset_write(")


@pytest.mark.parametrize("cut", ["before", "after"] if SOAK else ["after"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_around_which_the_connection_is_cut_is_made_once(write: str, cut: str, dsn: str, proxy: Proxy) -> None:
    filled(PostgresStorage(dsn)).close()
    storage = through(proxy, dsn)
    store = MetaStore(storage, author=ANN, validation="off")
    proxy.marker, proxy.cut = marker(write), cut
    WRITES[write](store)
    assert proxy.cuts == 1
    whole(dsn)
    with psycopg.connect(dsn) as connection:
        made = connection.execute("""SELECT count(*), count(DISTINCT attempt) FROM (
            SELECT attempt FROM dataset_change WHERE owner <> '' UNION ALL SELECT attempt FROM dataset
            UNION ALL SELECT attempt FROM dataset_revision WHERE attempt IS NOT NULL) AS a""")
        total, attempts = made.fetchone() or (0, 0)
        assert total == attempts + (write == "move")
    store.close()


@pytest.mark.parametrize("cut", ["before", "after", "late"] if SOAK else ["after", "late"])
@pytest.mark.parametrize("write", WRITES)
def test_an_unknown_outcome_is_settled_exactly_and_stays_so(write: str, cut: str, dsn: str, proxy: Proxy) -> None:
    filled(PostgresStorage(dsn)).close()
    before = whole(dsn)
    storage = through(proxy, dsn)
    store = MetaStore(storage, author=ANN, validation="off")
    open_hasty(storage.database)
    proxy.marker, proxy.cut, proxy.stays_down = marker(write), cut, True
    with giving_up_soon(storage.database), pytest.raises(OutcomeUnknown) as caught:
        WRITES[write](store)
    proxy.down = proxy.stays_down = False
    error = caught.value
    assert error.change is not None
    outcome = settled(store, error)
    # Where a deletion is, the first attempt of "create again" finds the id taken.
    assert outcome == (Outcome.LANDED if cut == "after" and write != "create again" else Outcome.NOT_LANDED)
    if cut == "late":
        proxy.deliver()
    assert (whole(dsn) == before) == (outcome == Outcome.NOT_LANDED)
    assert settled(store, error) == outcome
    store.close()


def settled(store: MetaStore, error: OutcomeUnknown) -> Outcome:
    """Ask until there is an answer: a server that is slow to be reached leaves the outcome unknown."""
    outcomes = [Outcome.UNKNOWN]
    until(lambda: outcomes.append(store.settle(error)) or outcomes[-1] != Outcome.UNKNOWN)
    return outcomes[-1]


#: A commit of a revision does this first.
AT_COMMIT = """
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS 'BEGIN %s; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE ON dataset_segment DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit()"""
#: It waits until `held_commits` lets it go, as one that waits for a replica does.
WAIT = "PERFORM pg_advisory_xact_lock(7)"


@contextmanager
def held_commits(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Let commits wait until the connection that is returned unlocks 7."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute((AT_COMMIT % WAIT).encode())
        other.execute("SELECT pg_advisory_lock(7)")
        yield other


def eventually(connection: psycopg.Connection[Any], query: LiteralString, expected: Any) -> None:
    """Ask until the answer is this one, for at most 30 s."""
    for _ in range(600):
        if connection.execute(query).fetchone() == (expected,):
            return
        time.sleep(0.05)
    pytest.fail(f"{query!r} is still not {expected}")


def test_a_commit_is_not_cancelled_at_the_deadline_but_its_connection_closed(dsn: str) -> None:
    storage, settling = PostgresStorage(dsn), PostgresStorage(dsn, patience=60)
    storage.database._timeout = 0.0
    first = storage.create(CARS, {"a": b"1"}, change())
    with held_commits(dsn) as other:
        with giving_up_soon(storage.database), pytest.raises(OutcomeUnknown) as caught:
            storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
        other.execute("SELECT pg_advisory_unlock(7)")
        assert settling.was_made(caught.value) is True
    assert settling.resolve(CARS, None).parent == first.id
    storage.close()
    settling.close()


def test_settling_waits_for_the_commit_of_a_creation(dsn: str) -> None:
    storage, settling = PostgresStorage(dsn), PostgresStorage(dsn, patience=60)
    storage.database._timeout = 0.0
    with held_commits(dsn) as other, ThreadPoolExecutor(1) as pool:
        with giving_up_soon(storage.database), pytest.raises(OutcomeUnknown) as caught:
            storage.create(CARS, {"a": b"1"}, change())
        outcome = pool.submit(settling.was_made, caught.value)
        waiting: LiteralString = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: outcome.done() or other.execute(waiting).fetchone() == (2,))
        other.execute("SELECT pg_advisory_unlock(7)")
        assert outcome.result() is True
    assert settling.read(CARS, settling.resolve(CARS, None).id, "a") == b"1"
    storage.close()
    settling.close()


def test_a_write_cannot_be_settled_while_its_commit_goes_on(dsn: str) -> None:
    storage, settling = PostgresStorage(dsn), PostgresStorage(dsn, patience=0.5)
    storage.database._timeout = 0.0
    first = storage.create(CARS, {"a": b"1"}, change())
    with held_commits(dsn):
        with giving_up_soon(storage.database), pytest.raises(OutcomeUnknown) as caught:
            storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
        with pytest.raises(StorageBusy, match="try again"):
            settling.was_made(caught.value)
    storage.close()
    settling.close()


def test_ctrl_c_during_a_commit_cancels_nothing(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    with held_commits(dsn) as other:

        def interrupt() -> None:
            eventually(other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 1)
            signal.raise_signal(signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
        interrupting.join()
        other.execute("SELECT pg_advisory_unlock(7)")
        eventually(other, "SELECT count(*) FROM dataset_revision", 2)
    assert storage.resolve(CARS, None).parent == first.id
    storage.close()


def test_a_warning_at_commit_makes_the_outcome_unknown(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute((AT_COMMIT % "RAISE WARNING ''canceling wait''").encode())
    with pytest.raises(OutcomeUnknown, match="canceling wait") as caught:
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert caught.value.before == first.id
    assert storage.was_made(caught.value) is True
    storage.close()


def errors_of(dsn: str, trigger: str) -> type[MetastoreError]:
    """Return what a write raises where a trigger does this, after checking that it changed nothing."""
    storage = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute((AT_COMMIT % trigger).encode())
    with pytest.raises(MetastoreError) as caught:
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first
    assert list(storage.verify()) == []
    storage.close()
    return type(caught.value)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("serialization_failure", StorageBusy),
        ("deadlock_detected", StorageBusy),
        ("lock_not_available", StorageBusy),
        ("query_canceled", StorageBusy),
        ("disk_full", StorageUnavailable),
        ("read_only_sql_transaction", StorageUnavailable),
        ("check_violation", InvalidInput),
    ],
)
def test_a_refusal_of_the_server_has_changed_nothing(code: str, error: type[MetastoreError], dsn: str) -> None:
    assert errors_of(dsn, f"RAISE ''no'' USING ERRCODE = ''{code}''") is error


def set_for_all(dsn: str, setting: str) -> None:
    """Change a setting of the database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET {setting}'.encode())


def test_a_statement_timeout_has_changed_nothing(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.close()
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute((AT_COMMIT % "PERFORM pg_sleep(300)").replace("DEFERRABLE INITIALLY DEFERRED", "").encode())
    set_for_all(dsn, "statement_timeout = 2000")
    with pytest.raises(StorageBusy, match="statement timeout"):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first
    storage.close()


def test_datasets_and_bundles_of_one_url_share_connections_which_close_with_the_last_of_both(dsn: str) -> None:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'metastore'"
    storage, record = PostgresStorage(dsn), PostgresRecord(dsn)
    storage.create(CARS, {"a": b"1"}, change())
    put(record, NUMI)
    with psycopg.connect(dsn, autocommit=True) as other:
        sessions = other.execute(query).fetchall()
        assert len(sessions) == 1
        storage.close()
        assert record.newest("NuMI").name == "NuMI"
        assert other.execute(query).fetchall() == sessions
        record.close()
        until(lambda: other.execute(query).fetchall() == [])
    assert storage.read(CARS, storage.resolve(CARS, None).id, "a") == b"1"
    storage.close()


def test_a_session_that_lost_what_was_prepared_in_it_names_the_pooler_that_mixed_it_up(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    storage.create(CARS, {"a": b"1"}, change())
    for _ in range(10):  # from the fifth time on, it is prepared
        storage.resolve(CARS, None)
    storage.database.patiently(lambda connection: connection.pgconn.exec_(b"DEALLOCATE ALL"))  # psycopg does not see it
    with pytest.raises(StorageUnavailable, match="pool_mode = session"):
        storage.resolve(CARS, None)
    storage.close()


def test_writers_beyond_the_pool_wait_and_are_told_when_it_takes_too_long(dsn: str) -> None:
    storage = PostgresStorage(dsn, pool_size=1)
    first = storage.create(CARS, {"a": b"1"}, change())
    held, done = threading.Event(), threading.Event()

    def hold(connection: Any) -> None:
        held.set()
        done.wait()

    thread = threading.Thread(target=lambda: storage.database.patiently(hold))
    thread.start()
    held.wait()
    with giving_up_soon(storage.database), pytest.raises(StorageBusy):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    done.set()
    thread.join()
    assert storage.resolve(CARS, None) == first
    storage.close()


def test_a_lock_that_others_hold_too_long_is_busy_and_changes_nothing(dsn: str) -> None:
    storage, hasty = PostgresStorage(dsn), PostgresStorage(dsn, patience=0.5)
    first = storage.create(CARS, {"a": b"1"}, change())
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM dataset FOR UPDATE")
        for write in (
            lambda: hasty.append(CARS, {"a": b"2"}, change(), parent=first.id),
            lambda: hasty.tag_create(CARS, tag_of("v1", first.id)),
            lambda: hasty.purge(CARS, parent=first.id),
        ):
            with pytest.raises(StorageBusy):
                write()
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    hasty.close()
    storage.close()


def test_connections_that_broke_while_nobody_looked_are_replaced(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == second
    storage.close()


def test_of_several_hosts_the_one_that_answers_is_taken(dsn: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        parts = conninfo_to_dict(dsn)
        hosts = f"127.0.0.1:{nobody.getsockname()[1]},{parts['host']}:{parts['port']}"
        url = f"postgresql://{parts['user']}@{hosts}/{parts['dbname']}"
        with metastore.connect(url, author=ANN, pool_size=2) as store:
            store.dataset_create(CARS, {"n": 1})
            assert store.dataset_read(CARS).descriptor == {"n": 1}
    assert conninfo_to_dict(check_dsn(url))["target_session_attrs"] == "read-write"


def test_a_server_that_only_follows_takes_no_writes(dsn: str) -> None:
    set_for_all(dsn, "default_transaction_read_only = on")
    storage = PostgresStorage(dsn)
    assert list(storage.ids()) == []
    with pytest.raises(StorageUnavailable, match="read-only"):
        storage.create(CARS, {"a": b"1"}, change())
    storage.close()


def test_a_server_that_is_stopped_for_a_while_leaves_no_doubt_behind(dsn: str) -> None:
    database = Database(dsn, size=1, patience=30, timeout=0.0)

    def stuck(connection: Any) -> None:
        connection.execute("SELECT pg_sleep(300)")  # as long as a test may take

    database.patiently(lambda _: None)
    with giving_up_soon(database), pytest.raises(StorageUnavailable, match="did not answer in time"), database_errors():
        database.patiently(stuck)
    database.close()


@pytest.mark.parametrize("how", ["immediate", "kill"])
def test_a_server_that_crashes_and_starts_again_loses_and_doubles_nothing(how: str) -> None:
    from metastore.postgres.migrate import migrate

    server = new_server()
    try:
        migrate(server.dsn)
        _crash(server, how)
    finally:
        server.stop("immediate")


def _crash(server: Server, how: str) -> None:
    storage = PostgresStorage(server.dsn, patience=120)
    acknowledged: list[list[Any]] = [[] for _ in range(4)]

    def write(writer: int) -> None:
        dataset_id, made = metastore.DatasetId("physics", f"n{writer}"), acknowledged[writer]
        files = {"a": b"%d" % len(made)}
        made.append(
            storage.append(dataset_id, files, change(), parent=made[-1]).id
            if made
            else storage.create(dataset_id, files, change()).id
        )

    crash_under_load(server, write, acknowledged, how)
    for number, made in enumerate(acknowledged):
        dataset_id = metastore.DatasetId("physics", f"n{number}")
        history = list(storage.history(dataset_id, storage.resolve(dataset_id, None).id))
        assert [revision.id for revision in reversed(history)] == made
    assert list(storage.verify()) == []
    storage.close()


def test_a_stale_writer_is_told_also_after_a_cut(dsn: str, proxy: Proxy) -> None:
    storage, other = through(proxy, dsn), PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, tag_of("v1", first.id))
    theirs = other.tag_update(CARS, "v1", tag_of("v1", first.id, "Theirs"), expected=storage.tag(CARS, "v1").id)
    proxy.marker, proxy.cut = b"dataset_tag(", "after"
    with pytest.raises(RevisionConflict) as caught:
        storage.tag_update(CARS, "v1", tag_of("v1", first.id, "Ours"), expected=first.id)
    assert (proxy.cuts, caught.value.actual) == (1, theirs.id)
    storage.close()
    other.close()


def test_a_process_of_a_service_starts_while_the_database_is_away_and_answers_when_it_is_back(
    proxy: Proxy, dsn: str
) -> None:
    parts = conninfo_to_dict(dsn)
    url = f"postgresql://{parts['user']}@127.0.0.1:{proxy.port}/{parts['dbname']}"
    settings = config.load({"METASTORE_STORE": url, "METASTORE_DURABLE": "off"})
    first = web.open_service(settings)
    first.close()
    proxy.down = True
    with pytest.raises(StorageUnavailable):
        web.open_service(settings)
    later = web.reopened(first, settings)  # Gunicorn ends the whole service where one of its processes does not start
    asking = web.make_app(later).test_client()
    assert asking.get("/api/v1/datasets").status_code == 503
    proxy.down = False
    assert asking.get("/api/v1/datasets").status_code == 200
    later.close()
