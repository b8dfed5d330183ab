"""How long pages take, from the request to the last byte of HTML: on sample data, and on a full PostgreSQL."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
from flask.testing import FlaskClient

import metastore
from benchmarks.table import Note, Row, in_turn, say
from metastore import bundle
from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.postgres.record import PostgresRecord
from metastore.web import create_app
from tests.bundle.postgres_server import migrated_database

_EXAMPLES = Path(__file__).parent.parent / "examples"
_GROUPS = Groups.parse("groups = NOvA MINOS\nNOvA = ann\nroot = ruth")
_SAMPLE, _FULL = 0.05, 0.3
_BUNDLES = 10_000
_START = """
    INSERT INTO bundles (name, event, ifb_group) SELECT 'L' || number, 'e,' || number % 97,
        CASE number % 3 WHEN 0 THEN 'MINOS' ELSE 'NOvA' END FROM generate_series(1, {bundles}) AS each (number);
    INSERT INTO bundle_variables SELECT 'L' || number, 'E:D' || number % 500 || '_' || device
    FROM generate_series(1, {bundles}) AS each (number), generate_series(1, 10) AS others (device);
"""
#: One snapshot of every bundle, in which a device goes and another one comes.
_TURN = """
    DELETE FROM bundle_variables WHERE variable = 'E:T{last}';
    INSERT INTO bundle_variables SELECT name, 'E:T{now}' FROM bundles;
"""


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Ask for the pages that people ask for most."""
    yield from _sample(rounds=5 if quick else 20)
    try:
        with migrated_database() as dsn:
            yield from _full(dsn, quick=quick)
    except (RuntimeError, psycopg.OperationalError) as error:
        yield Note(f"Pages over PostgreSQL are left out: there is no server ({' '.join(str(error).split())}).")


def _sample(rounds: int) -> Iterator[Row]:
    store = metastore.connect("memory:", author="Importer", validation="off")
    for path in sorted((_EXAMPLES / "catalogue").glob("*/*/datapackage.json")):
        store.dataset_create(f"{path.parent.parent.name}/{path.parent.name}", path.read_bytes())
    registry = bundle.connect("memory:", groups=_GROUPS)
    for given in json.loads((_EXAMPLES / "bundles.json").read_text())["bundles"]:
        state = {"name": given["name"], "event": given["event"], "devices": given.get("devices", [])}
        registry.bundle_create(state | {"ifb_group": "NOvA"}, user="ann")
    client = create_app(store, bundles=registry).test_client()
    dataset = next(iter(store.dataset_list()))
    name = next(registry.bundle_list()).name
    paths = ("/", "/datasets", f"/datasets/{dataset}", f"/datasets/{dataset}/history", "/bundles", f"/bundles/{name}")
    for path in (*paths, "/log", "/snapshots/1"):
        yield _timed(client, "sample data", path, rounds, _SAMPLE)


def _full(dsn: str, *, quick: bool) -> Iterator[Row]:
    turns = 1 if quick else 9
    say(f"making {_BUNDLES * (turns + 1):,} snapshots of {_BUNDLES:,} bundles")
    with psycopg.connect(dsn, autocommit=True) as plain:
        with plain.transaction():
            plain.execute(_START.format(bundles=_BUNDLES).encode())
        for turn in range(turns):
            with plain.transaction():
                plain.execute(_TURN.format(last=turn - 1, now=turn).encode())
        plain.execute("VACUUM ANALYZE")
    with BundleRegistry(PostgresRecord(dsn), _GROUPS) as registry:
        client = create_app(metastore.connect("memory:"), bundles=registry).test_client()
        newest = registry.bundle_log(limit=1)[0].id
        bundles = ("", "?text=d77_", "?text=nowhere", "?device=E:D77_3", "?group=MINOS&event=e,7", "?deleted=1")
        orders = tuple(f"?order={order}&descending=1" for order in ("event", "devices", "updated", "user"))
        paths = [f"/bundles{each}" for each in (*bundles, *orders, "?after=L5&after_key=L5")]
        paths += ["/bundles/L77", "/bundles/L77/log", "/log", f"/log?before={newest // 2}", "/log?device=E:T3"]
        paths += ["/log?device=E:T3&name=L5", "/log?user=nobody", "/log?since=2020-01-01&until=2020-12-31"]
        paths += [f"/snapshots/{newest}", f"/snapshots/{newest // 2}"]
        for path in paths:
            yield _timed(client, f"{_BUNDLES:,} bundles", path, 3 if quick else 10, _FULL)


def _timed(client: FlaskClient, data: str, path: str, rounds: int, target: float) -> Row:
    def ask(number: int) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status)

    logging.getLogger("metastore").setLevel(logging.ERROR)
    return Row(f"{data}: {path}", in_turn(rounds, ours=ask)["ours"], target=target)
