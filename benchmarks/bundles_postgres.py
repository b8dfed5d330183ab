"""Bundles in a real PostgreSQL, beside plain SQL and pgbench on the same server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.processes import rate
from benchmarks.table import Note, Row, in_turn, say
from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.port import LogFilter
from metastore.bundle.postgres._queries import WRITE, log_query
from metastore.bundle.postgres.record import PostgresRecord
from tests.bundle.postgres_server import migrated_database, programs

GROUPS = Groups.parse("groups = NOvA\nNOvA = ann\nroot = ruth")
_DEVICES, _BUNDLES, _WRITERS, _TURNS = 2_000, 1_000, 8, 2
#: What the record's tables are without the record: the same keys and indexes, no triggers.
_PLAIN = """
    CREATE TABLE plain_bundles (name text COLLATE "C" PRIMARY KEY, event text, updated timestamptz DEFAULT now());
    CREATE TABLE plain_variables (bundle text COLLATE "C" REFERENCES plain_bundles, variable text COLLATE "C",
        PRIMARY KEY (bundle, variable));
    CREATE INDEX ON plain_variables (variable, bundle);
    INSERT INTO plain_bundles SELECT 'W' || number, 'e,1d' FROM generate_series(0, 7) AS each (number);
    INSERT INTO plain_variables SELECT name, 'E:D' || number FROM plain_bundles, generate_series(0, 9) AS each (number);
    CREATE TABLE plain_history (id bigserial PRIMARY KEY, name text COLLATE "C", event text, updated timestamptz,
        who text COLLATE "C", why text);
    CREATE INDEX ON plain_history (name, id);
    CREATE INDEX ON plain_history (who, id);
    CREATE INDEX ON plain_history (updated, id);
    CREATE TABLE plain_history_variables (id bigint, variable text COLLATE "C", PRIMARY KEY (id, variable));
"""
_PLAIN_STORE = "INSERT INTO plain_variables SELECT %s, unnest(%s::text[])"
_PLAIN_CHANGE = "UPDATE plain_bundles SET event = 'e,' || random(), updated = now() WHERE name = 'W' || :client_id;\n"
#: A whole snapshot of each change, as somebody would keep it by hand: unchecked, unchained, and only if nobody forgets.
_PLAIN_RECORD = f"""BEGIN;
SELECT event FROM plain_bundles WHERE name = 'W' || :client_id FOR NO KEY UPDATE;
SELECT max(id) FROM plain_history WHERE name = 'W' || :client_id;
{_PLAIN_CHANGE}WITH made AS (INSERT INTO plain_history (name, event, updated, who, why)
    SELECT *, 'ann', '' FROM plain_bundles WHERE name = 'W' || :client_id RETURNING id)
INSERT INTO plain_history_variables SELECT id, variable FROM made, plain_variables WHERE bundle = 'W' || :client_id;
COMMIT;
"""
#: One snapshot of every bundle, in which a device goes and another one comes.
_TURN = """
    DELETE FROM bundle_variables WHERE variable = 'E:T%(last)s';
    INSERT INTO bundle_variables SELECT name, 'E:T%(now)s' FROM bundles WHERE name LIKE 'L%%';
"""


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Store many devices, ask the log, and write side by side."""
    try:
        with migrated_database() as dsn:
            yield from _measured(dsn, folder, quick=quick)
    except (RuntimeError, psycopg.OperationalError) as error:
        reason = " ".join(str(error).split())
        yield Note(f"Bundles in PostgreSQL are left out: there is no server ({reason}).")


def _measured(dsn: str, folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    with psycopg.connect(dsn, autocommit=True) as plain, BundleRegistry(PostgresRecord(dsn), GROUPS) as registry:
        plain.execute(_PLAIN)
        yield _many_devices(registry, plain, rounds=5 if quick else 25)
        yield from _log(registry, plain, quick=quick)
        for number in range(_WRITERS):
            devices = [f"E:D{each}" for each in range(10)]
            bundle = {"name": f"W{number}", "event": "e,1d", "ifb_group": "NOvA", "devices": devices}
            registry.bundle_create(bundle, user="ann")
    yield from _side_by_side(dsn, folder, seconds=1.0 if quick else 4.0)


def _many_devices(registry: BundleRegistry, plain: psycopg.Connection[Any], rounds: int) -> Row:
    say(f"storing {_DEVICES:,} devices")
    devices = [f"E:D{number:05}" for number in range(_DEVICES)]

    def by_hand(number: int) -> None:
        with plain.transaction():
            plain.execute("INSERT INTO plain_bundles VALUES (%s, 'e,1d')", (f"D{number}",))
            plain.execute(_PLAIN_STORE, (f"D{number}", devices))

    times = in_turn(
        rounds,
        ours=lambda n: registry.bundle_create(
            {"name": f"D{n}", "event": "e,1d", "ifb_group": "NOvA", "devices": devices}, user="ann"
        ),
        plain=by_hand,
    )
    return Row(f"store a bundle of {_DEVICES:,} devices", times["ours"], "INSERT without triggers", times["plain"])


def _log(registry: BundleRegistry, plain: psycopg.Connection[Any], *, quick: bool) -> Iterator[Row]:
    count = 10_000 if quick else 100_000
    turns = count // _BUNDLES
    say(f"making {count:,} snapshots")
    began = time.perf_counter()
    plain.execute(
        "INSERT INTO bundles (name, event, ifb_group) SELECT 'L' || number, 'e,1d', 'NOvA'"
        " FROM generate_series(1, %s) AS each (number)",
        (_BUNDLES,),
    )
    for turn in range(1, turns):
        with plain.transaction():
            plain.execute((_TURN % {"last": turn - 1, "now": turn}).encode())
    made = _BUNDLES * turns / (time.perf_counter() - began)
    yield Row(f"snapshots of changes in plain SQL, {_BUNDLES:,} a transaction", made, unit="snapshots/s")
    plain.execute("VACUUM ANALYZE")
    newest = registry.bundle_log(limit=1)[0].id
    removed = f"E:T{turns // 2}"
    for what, asked in (
        (f"newest page (50) of {count:,} snapshots", lambda n: LogFilter()),
        (f"page (50) in the middle of {count:,} snapshots", lambda n: LogFilter(before=newest // 2 + n)),
        ("when was this device removed from this bundle?", lambda n: LogFilter(f"L{n + 1}", device=removed)),
        ("page (50) of a device's changes, 1,000 bundles had it", lambda n: LogFilter(device=removed)),
    ):
        yield _asked(registry, plain, what, asked, rounds=20 if quick else 100)


def _asked(
    registry: BundleRegistry,
    plain: psycopg.Connection[Any],
    what: str,
    asked: Callable[[int], LogFilter],
    rounds: int,
) -> Row:
    def ours(number: int) -> object:
        wanted = asked(number)
        return registry.bundle_log(wanted.name, device=wanted.device, before=wanted.before)

    def by_hand(number: int) -> object:
        query, values = log_query(asked(number))
        return plain.execute(query.encode(), values).fetchall()

    assert ours(0)
    times = in_turn(rounds, ours=ours, plain=by_hand)
    return Row(what, times["ours"], "the query alone", times["plain"])


def _side_by_side(dsn: str, folder: Path, seconds: float) -> Iterator[Row | Note]:
    """Processes that change a bundle each, and pgbench's clients that change a row each, bare and with its history."""
    pgbench = _pgbench()
    scripts = {
        "pgbench, one row without record": _PLAIN_CHANGE,
        "pgbench, a row and its history by hand": _PLAIN_RECORD,
        "pgbench, the library's own statements": _own_statements(),
    }
    for what, writers in (("one writer", 1), (f"{_WRITERS} writers, a bundle each", _WRITERS)):
        say(what)
        ours, theirs = 0.0, dict.fromkeys(scripts, 0.0)
        for _ in range(_TURNS):
            ours += rate(_write, dsn, writers, writers, seconds) / _TURNS
            for name, script in scripts.items() if pgbench else ():
                (folder / "change.sql").write_text(script)
                theirs[name] += _transactions(str(pgbench), dsn, folder / "change.sql", writers, seconds) / _TURNS
        for other, rates in theirs.items() if pgbench else (("", None),):
            yield Row(what, ours, other, rates, unit="changes/s", more_is_better=True)
    if not pgbench:
        yield Note("Writers are compared with nothing: there is no pgbench.")


def _own_statements() -> str:
    """Return what `bundle_update` sends, with the number that it remembers: what it costs without Python."""
    state = {"ifb_group": "NOvA", "storage": "short", "run": False, "udp": False, "writable": False, "hosts": []}
    write = {"action": "update", "deleted": False, **state, "devices": [f"E:D{number}" for number in range(10)]}
    own = (
        """'[{"expected": ' || :snapshot_id || ', "name": "W' || :client_id || '", "event": "e,' || random() || '", '"""
    )
    rest = json.dumps(write)[1:].replace("E:", r"E\u003a")  # a colon and a name is a variable of pgbench's
    sent = f"({own} || '{rest}]')::json"
    newest = "SELECT snapshot_id FROM snapshot_bundles WHERE name = 'W' || :client_id ORDER BY snapshot_id DESC LIMIT 1"
    change = WRITE.replace("%s", "{}").format("'ann'", "''", "now()::text", "'10000ms'", sent, "gen_random_uuid()")
    return f"""{newest}\n\\gset
{change};
"""


def _pgbench() -> str | None:
    try:
        return shutil.which("pgbench", path=programs()) or shutil.which("pgbench")
    except RuntimeError:
        return shutil.which("pgbench")


def _transactions(pgbench: str, dsn: str, script: Path, clients: int, seconds: float) -> float:
    arguments = [
        "-n",
        "-M",
        "prepared",
        "-c",
        str(clients),
        "-j",
        str(min(clients, 2)),
        "-T",
        str(round(seconds)),
        "-f",
        str(script),
    ]
    done = subprocess.run([pgbench, *arguments, dsn], check=True, capture_output=True, text=True)
    return float(re.findall(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)[-1])


def _write(dsn: str, name: str, writer: int, seconds: float, begin: Any, made: Any) -> None:
    bundle, count = f"W{writer}", 0
    with BundleRegistry(PostgresRecord(dsn), GROUPS) as registry:
        for warming in range(20):
            registry.bundle_update(bundle, {"event": f"e,{warming}"}, user="ann")
        begin.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            count += 1
            registry.bundle_update(bundle, {"event": f"e,{time.time_ns()}"}, user="ann")
        with made.get_lock():
            made.value += count
        begin.wait()
