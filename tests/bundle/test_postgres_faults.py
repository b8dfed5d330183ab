"""Connections that are cut, servers that stop, processes that fork: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout
from psycopg_pool.base import AttemptWithBackoff

from metastore.bundle.port import Filter, LogFilter, Snapshot, Write
from metastore.bundle.postgres.record import PostgresRecord
from metastore.errors import OutcomeUnknown, RevisionConflict, StorageUnavailable
from metastore.postgres import _pool
from metastore.postgres.connection import Connection
from metastore.postgres.database import SIZE, Database
from metastore.postgres.migrate import migrate
from metastore.types import Outcome
from tests.bundle.postgres_server import Server, migrated_database, new_server
from tests.bundle.test_postgres import AT, NUMI, put
from tests.harness.postgres_proxy import Proxy
from tests.waiting import until


def open_hasty(database: Database) -> None:
    """Open two connections, as when the pool grows under load, without haste; a lost one is soon given up."""
    with giving_up_soon(database):
        database._open()
    database.patiently(lambda _: database.patiently(lambda _: None))


@contextlib.contextmanager
def giving_up_soon(database: Database) -> Iterator[None]:
    """Let calls wait no longer for a server that is gone; what is open may take as long as ever."""
    patience, database.patience = database.patience, 0.3
    try:
        yield
    finally:
        database.patience = patience


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


@pytest.fixture
def record(dsn: str, proxy: Proxy) -> Iterator[PostgresRecord]:
    made = PostgresRecord(make_conninfo(dsn, host="127.0.0.1", port=proxy.port), patience=60)
    yield made
    made.close()


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_connection_cut_around_a_change_changes_everything_once(
    record: PostgresRecord, proxy: Proxy, cut: str, times: int
) -> None:
    put(record, NUMI)
    made: list[Snapshot] = []
    for number in range(times):
        proxy.cut = cut
        made += put(record, replace(NUMI, event=f"e,{number}"), replace(NUMI, name="BNB", event=f"e,{number}"))
    assert proxy.cuts == times
    assert made == [record.snapshot(snapshot.id) for snapshot in made]
    assert len(record.log(LogFilter())) == 1 + 2 * times
    assert [check.problem for check in record.chains()] == [None, None]


def test_a_change_that_reaches_the_server_after_it_was_sent_again_changes_nothing(
    record: PostgresRecord, proxy: Proxy
) -> None:
    put(record, NUMI)
    for count, state in enumerate((replace(NUMI, udp=True), replace(NUMI, name="BNB")), 2):
        proxy.cut = "late"
        (made,) = put(record, state)
        proxy.deliver()
        assert record.newest(state.name) == made
        assert len(record.log(LogFilter())) == count
    assert proxy.cuts == 2


def test_a_change_that_altered_nothing_is_answered_also_after_a_cut(record: PostgresRecord, proxy: Proxy) -> None:
    first = put(record, NUMI)
    proxy.cut = "after"
    assert put(record, NUMI) == first
    proxy.cut = "after"
    mixed = put(record, NUMI, replace(NUMI, name="BNB"))
    assert [mixed[0], mixed[1].name] == [first[0], "BNB"]
    assert proxy.cuts == 2
    assert len(record.log(LogFilter())) == 2


def test_a_change_somebody_else_made_meanwhile_is_not_taken_for_the_lost_one(
    record: PostgresRecord, proxy: Proxy, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = put(record, NUMI)
    other = PostgresRecord(dsn)
    monkeypatch.setattr(
        "metastore.postgres.database.time.sleep",
        lambda seconds: put(other, replace(NUMI, event="e,2"), user="bo"),
    )
    proxy.cut = "before"
    with pytest.raises(RevisionConflict) as caught:
        put(record, replace(NUMI, event="e,1"))
    assert (caught.value.expected, caught.value.actual) == (first.id, record.newest("NuMI").id)
    assert [line.user for line in record.log(LogFilter())] == ["bo", "ann"]
    other.close()


def test_a_change_that_was_kept_is_found_also_when_others_came_after_it(
    record: PostgresRecord, proxy: Proxy, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(record, NUMI)
    other = PostgresRecord(dsn)

    def meanwhile(seconds: float) -> None:
        if other.newest("NuMI").bundle.event == "e,1":
            put(other, replace(NUMI, event="e,2"), user="bo")

    monkeypatch.setattr("metastore.postgres.database.time.sleep", meanwhile)
    proxy.cut = "after"
    (mine,) = put(record, replace(NUMI, event="e,1"))
    assert (mine.user, mine.bundle.event) == ("ann", "e,1")
    assert [line.user for line in record.log(LogFilter())] == ["bo", "ann", "ann"]
    other.close()


@pytest.mark.parametrize("cut", ["before", "after", "late"])
def test_an_outcome_that_cannot_be_found_out_is_unknown_until_it_is_settled_and_stays_so(
    cut: str, dsn: str, proxy: Proxy
) -> None:
    record = PostgresRecord(make_conninfo(dsn, host="127.0.0.1", port=proxy.port), patience=60)
    open_hasty(record._database)
    (first,) = put(record, NUMI)
    proxy.cut, proxy.stays_down = cut, True
    with giving_up_soon(record._database):
        with pytest.raises(OutcomeUnknown) as caught:
            put(record, replace(NUMI, event="e,1d"))
        error = caught.value
        assert record.settle(error) == Outcome.UNKNOWN
    proxy.down = proxy.stays_down = False
    assert error.wanted == f"the snapshot of NuMI that follows {first.id}, by ann at {AT.isoformat()}"
    outcome = record.settle(error)
    assert outcome == (Outcome.LANDED if cut == "after" else Outcome.NOT_LANDED)
    if cut == "late":
        proxy.deliver()
    assert (record.newest("NuMI").previous == first.id) == (outcome == Outcome.LANDED)
    assert record.settle(error) == outcome
    put(record, replace(NUMI, udp=True))
    assert record.settle(error) == outcome
    record.close()


def test_a_change_cannot_be_settled_while_its_commit_goes_on(dsn: str) -> None:
    record, settling = PostgresRecord(dsn), PostgresRecord(dsn, patience=0.5)
    record._database._timeout = 0.0
    (first,) = put(record, NUMI)
    update = Write("update", replace(NUMI, event="e,1d"), first.id)
    with held_commits(dsn) as other:
        with giving_up_soon(record._database), pytest.raises(OutcomeUnknown) as caught:
            record.write([update], user="ann", comment="Why", at=AT)
        assert settling.settle(caught.value) == Outcome.UNKNOWN
        other.execute("SELECT pg_advisory_unlock(7)")
        until(lambda: settling.settle(caught.value) == Outcome.LANDED)
    assert record.newest("NuMI").previous == first.id
    record.close()
    settling.close()


@contextlib.contextmanager
def held_commits(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Let changes wait at their COMMIT until the connection that is returned unlocks 7."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'; "
            "CREATE CONSTRAINT TRIGGER zz_at_commit AFTER INSERT ON snapshot_bundles DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION at_commit()"
        )
        other.execute("SELECT pg_advisory_lock(7)")
        yield other


def test_a_warning_at_commit_makes_the_outcome_unknown(dsn: str) -> None:
    record = PostgresRecord(dsn)
    (first,) = put(record, NUMI)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RAISE WARNING ''canceling wait for synchronous replication''; RETURN NULL; END'; "
            "CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON snapshot_bundles DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION warn()"
        )
    with pytest.raises(OutcomeUnknown, match="synchronous replication") as caught:
        put(record, replace(NUMI, event="e,1d"))
    assert record.settle(caught.value) == Outcome.LANDED
    assert record.newest("NuMI").previous == first.id
    record.close()


def test_a_server_out_of_reach_is_unavailable(dsn: str, proxy: Proxy) -> None:
    record = PostgresRecord(make_conninfo(dsn, host="127.0.0.1", port=proxy.port), patience=60)
    open_hasty(record._database)
    put(record, NUMI)
    proxy.cut, proxy.stays_down = "before", True
    with giving_up_soon(record._database):
        with pytest.raises((StorageUnavailable, OutcomeUnknown)):
            put(record, replace(NUMI, event="e,1d"))
        with pytest.raises(StorageUnavailable):
            record.newest("NuMI")
    proxy.down = False
    assert record.newest("NuMI").bundle == NUMI
    record.close()


def test_a_server_that_is_away_is_tried_at_a_steady_pace_while_a_call_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def refused(*_: object, **__: object) -> None:
        attempts.append(time.monotonic())
        raise psycopg.OperationalError("refused")

    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 0.02)
    monkeypatch.setattr(_pool, "_ATTEMPTS", 0.04)
    monkeypatch.setattr(Connection, "connect", refused)
    database = Database("postgresql://nobody@127.0.0.1:1/away", patience=1.0)
    connections = _pool.shared(database.dsn, SIZE, 1.0).join(database)
    with pytest.raises(PoolTimeout):
        connections.getconn(1.0)
    assert max(attempts) - min(attempts) > 0.6
    assert len(attempts) > 12  # at doubled intervals it would be seven
    database.close()
    connections.close()


def test_connections_that_broke_while_nobody_looked_are_replaced(dsn: str) -> None:
    record = PostgresRecord(dsn)
    put(record, NUMI)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert record.newest("NuMI").bundle == NUMI
    put(record, replace(NUMI, udp=True))
    assert len(record.log(LogFilter())) == 2
    record.close()


def test_a_forked_child_has_connections_of_its_own(dsn: str) -> None:
    record = PostgresRecord(dsn)
    put(record, NUMI)
    child = os.fork()
    if child == 0:
        try:
            put(record, replace(NUMI, udp=True), user="child")
            record.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    put(record, replace(NUMI, event="e,1d"))
    assert [line.user for line in record.log(LogFilter())] == ["ann", "child", "ann"]
    record.close()


def test_a_closed_record_opens_again(dsn: str) -> None:
    record = PostgresRecord(dsn)
    put(record, NUMI)
    record.close()
    record.close()
    assert next(record.bundles(Filter())) == NUMI
    record.close()


def test_a_server_that_crashes_and_starts_again_loses_and_doubles_nothing() -> None:
    server = new_server()
    try:
        _crash(server)
    finally:
        server.stop("immediate")


def crash_under_load(server: Server, write: Callable[[int], None], acknowledged: list[list[Any]], how: str) -> None:
    """Let each of several writers write in a loop, and the server crash twice; stop it when all have written again."""
    done = threading.Event()

    def write_on(writer: int) -> None:
        while not done.is_set():
            write(writer)

    with ThreadPoolExecutor(len(acknowledged)) as pool:
        writers = [pool.submit(write_on, writer) for writer in range(len(acknowledged))]
        try:
            for crashes in range(3):
                more = [len(each) + 5 for each in acknowledged]
                until(lambda more=more: any(map(Future.done, writers)) or more <= [*map(len, acknowledged)])
                if crashes < 2:
                    server.kill() if how == "kill" else server.stop("immediate")
                    server.start()
        finally:
            done.set()
        for future in writers:
            future.result()


def _crash(server: Server) -> None:
    migrate(server.dsn)
    record = PostgresRecord(server.dsn, patience=120)
    acknowledged: list[list[Snapshot]] = [[] for _ in range(4)]

    def write(writer: int) -> None:
        made = acknowledged[writer]
        state = replace(NUMI, name=f"B{writer}", devices=frozenset({f"E:{len(made):06}"}))
        made += record.write(
            [Write("update", state, made[-1].id if made else None)], user=f"w{writer}", comment="", at=AT
        )

    crash_under_load(server, write, acknowledged, "immediate")
    snapshots = [snapshot for each in acknowledged for snapshot in each]
    kept = {line.id for line in record.log(LogFilter(limit=1_000_000))}
    assert kept == {snapshot.id for snapshot in snapshots}
    assert len(snapshots) == len(kept)
    for snapshot in snapshots[:: len(snapshots) // 20]:
        assert record.snapshot(snapshot.id) == snapshot
    assert [check.problem for check in record.chains()] == [None] * 4
    record.close()
