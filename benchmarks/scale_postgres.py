"""Load very many datasets into PostgreSQL, then measure pages, sizes and bloat.

    python benchmarks/scale_postgres.py --datasets 1000000 --revisions 10 --seconds 3600

Loading stops after `--seconds`; the table says how many datasets there are. The rows of the first ones, `--templates`,
are made as the library makes them; the others are copies of them in SQL, under ids of their own. Their indexes are made
at the end, and so have fuller pages than in a database that grew. Without `--dsn`, a throw-away server is started. The
server has to be on this machine, with Linux: the CPU of its session is counted too.

For the bloat after many updates, with one vacuum at the end beside those of the server:

    python benchmarks/scale_postgres.py --datasets 100000 --revisions 1 --updating 3600 --updates 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))  # when it is started as a file
os.environ.setdefault("TMPDIR", tempfile.gettempdir())  # the tests, whose server this is, else take a folder in memory

import metastore
from benchmarks.datasets_postgres import WRITERS, Repeat, rate
from benchmarks.loading import History, load, multiply
from benchmarks.search import Catalogue
from benchmarks.table import Note, Row, printed, say
from metastore.postgres.migrate import migrate
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import Author, Change, DatasetId
from tests.bundle.postgres_server import new_database, server_dsn

_FILE, _PAGE = "datapackage.json", 100
_AUTHOR, _START = Author("Ann Lee", "ann@example.org"), datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = Catalogue(0, 0)
#: The same as `dataset_id` in SQL, from the key.
OWNER, NAME = "'owner-' || lpad(mod(c.pk - 1, 1000)::text, 3, '0')", "'dataset-' || lpad((c.pk - 1)::text, 7, '0')"
_TABLES = "relnamespace = current_schema()::regnamespace AND relname ~ '^dataset'"
_SIZE = f"""SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE {_TABLES} AND relkind = 'r' AND relname !~ '^dataset_(text|span)'"""
_SIZES = f"""SELECT relname, pg_relation_size(oid) + coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0)
    AS size FROM pg_class WHERE {_TABLES} AND relkind IN ('r', 'i') AND relpages > 99 ORDER BY size DESC"""
_PLACES = """SELECT xid::text, pos
    FROM (SELECT xid, pos FROM dataset_segment TABLESAMPLE SYSTEM (2) ORDER BY random() LIMIT 1000) AS place
    UNION ALL (SELECT xid::text, pos FROM dataset_segment ORDER BY dataset_segment.xid DESC, pos DESC LIMIT 1)"""
_STATE = """SELECT t.relname, pg_table_size(t.relid), n_dead_tup, n_tup_upd, n_tup_hot_upd, seq_scan
    FROM pg_stat_user_tables AS t WHERE relname ~ '^dataset(_|$)' AND relname <> 'dataset_feed' ORDER BY relname"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=10_000)
    parser.add_argument("--revisions", type=int, default=10, help="of each dataset")
    parser.add_argument("--templates", type=int, default=5_000, help="how many datasets differ in their content")
    parser.add_argument("--bytes", type=int, default=1_000, help="of each descriptor, about")
    parser.add_argument("--seconds", type=float, default=600, help="the longest time to load")
    parser.add_argument("--updating", type=float, default=60, help="how many seconds eight processes update afterwards")
    parser.add_argument("--updates", type=int, help="how many updates end that sooner")
    parser.add_argument("--without-search", action="store_true", help="load nothing into the search index")
    parser.add_argument("--dsn", help="an empty database")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    dsn = options.dsn or new_database(server_dsn())
    migrate(dsn)
    lines = list(measured(dsn, options))
    print(printed("Very many datasets in PostgreSQL", lines, markdown=options.markdown))


def measured(dsn: str, options: argparse.Namespace) -> Iterator[Row | Note]:
    """Load, then measure."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        templates, took = load(connection, histories(options), options.seconds)
        connection.execute("TRUNCATE dataset_text")
        if not options.without_search:
            yield from _index(dsn, templates)
        connection.execute("VACUUM ANALYZE")
        identity = {"owner": OWNER, "name": NAME}
        count, more = multiply(
            dsn, **identity, templates=templates, count=options.datasets, seconds=options.seconds - took
        )
        say("VACUUM ANALYZE")
        connection.execute("VACUUM ANALYZE")
        yield Note(f"{count:,} datasets with {options.revisions} revisions each, loaded in {took + more:.0f} s.")
        beside = _size(connection) / count - len(_descriptor(0, 0, options.bytes))
        yield Row("bytes a dataset beside its newest descriptor", beside, target=2_500, unit="B")
        yield from _sizes(connection, count)
        loaded = _state(connection)
        yield from _pages(dsn, count)
        if not options.without_search:
            yield from _searches(dsn)
        yield from _updates(dsn, connection, count, options)
        scans = {name: table.scans - loaded[name].scans for name, table in _state(connection).items()}
        yield Note(f"Since then, tables were read from end to end so often: {scans}.")


def histories(options: argparse.Namespace) -> Iterator[History]:
    """Yield the datasets that are made one by one; they are made as they are asked for."""
    for number in range(min(options.datasets, options.templates)):
        yield History(dataset_id(number), _revisions(number, options))


def _revisions(number: int, options: argparse.Namespace) -> Iterator[tuple[bytes, Change]]:
    for edit in range(options.revisions):
        at = _START + timedelta(minutes=edit)
        yield _descriptor(number, edit, options.bytes), Change(_AUTHOR, f"Version 1.{edit}", at)


def dataset_id(number: int) -> DatasetId:
    """Return the id of a dataset from its number, which is one less than its key."""
    return DatasetId(f"owner-{number % 1000:03d}", f"dataset-{number:07d}")


def _descriptor(number: int, edit: int, size: int) -> bytes:
    resources = [
        {"name": f"table-{number}-{place}", "path": f"data/{place}.csv", "bytes": number * 31 + place, "format": "csv"}
        for place in range(max(1, (size - 200) // 100))
    ]
    title = f"Dataset {number}: {_WORDS.text(random.Random(number), 5)}"
    value = {"name": dataset_id(number).name, "title": title, "version": f"1.{edit}", "resources": resources}
    return json.dumps(value, indent=1).encode()


def _size(connection: psycopg.Connection[Any]) -> int:
    """Return the size of all tables of datasets but the search index, with their indexes, in bytes."""
    row = connection.execute(_SIZE.encode()).fetchone()
    return int(row[0]) if row else 0


def _sizes(connection: psycopg.Connection[Any], count: int) -> Iterator[Row]:
    for name, size in connection.execute(_SIZES.encode()).fetchall():
        yield Row(f"bytes a dataset: {name}", size / count, unit="B")


def _pages(dsn: str, count: int) -> Iterator[Row]:
    """Pages of a hundred from random places."""
    storage, chance = PostgresStorage(dsn, cache_bytes=0), random.Random(1)
    session = Path(f"/proc/{storage.database.patiently(lambda connection: connection.info.backend_pid)}/schedstat")

    def some() -> DatasetId:
        return dataset_id(chance.randrange(count))

    def history() -> object:
        where = some()
        return list(islice(storage.history(where, storage.resolve(where, None).id), _PAGE))

    cursors = _cursors(storage)
    calls: dict[str, Callable[[], object]] = {
        "a page of the list": lambda: list(islice(storage.ids(after=some()), _PAGE)),
        "a page of the list of an owner": lambda: list(islice(storage.ids(prefix=f"{some().owner}/"), _PAGE)),
        "a history, with its head": history,
        "a page of the feed": lambda: list(islice(storage.touched(chance.choice(cursors)), _PAGE)),
        "the end of the feed": lambda: list(storage.touched(cursors[-1])),
        "read the newest": lambda: storage.find(some(), None, _FILE),
    }
    for what, call in calls.items():
        say(what)
        yield Row(f"{what}: CPU", median(_cpu(call, session) for _ in range(300)), target=0.005)
    storage.close()


def _cursors(storage: PostgresStorage) -> list[str]:
    """Return some cursors of the feed, the last one at the end."""
    begin = next(storage.touched(None))[0].partition(".")[0]
    rows = storage.database.patiently(lambda connection: connection.rows(_PLACES))
    return [f"{begin}.{xid}.{pos}" for xid, pos in rows]


def _index(dsn: str, count: int) -> Iterator[Row]:
    """Make the search index."""
    storage = PostgresStorage(dsn)
    session = Path(f"/proc/{storage.database.patiently(lambda each: each.info.backend_pid)}/schedstat")
    with metastore.MetaStore(storage, author=_AUTHOR, validation="off") as store:
        say("making the search index")
        took = _cpu(lambda: store.dataset_search("zzz"), session)
    yield Row("datasets indexed: CPU", count / took, unit="/s", more_is_better=True)


def _searches(dsn: str) -> Iterator[Row | Note]:
    """Search for two words from random places of the catalogue of words."""
    storage, chance = PostgresStorage(dsn), random.Random(3)
    session = Path(f"/proc/{storage.database.patiently(lambda each: each.info.backend_pid)}/schedstat")
    store = metastore.MetaStore(storage, author=_AUTHOR, validation="off")
    calls: dict[str, Callable[[], object]] = {
        "two words": lambda: store.dataset_search(_WORDS.text(chance, 2, 400)),
        "… with three facets": lambda: store.dataset_search(
            _WORDS.text(chance, 2, 400), facets=("owner", "licence", "format")
        ),
        "a word that all have": lambda: store.dataset_search("dataset"),
    }
    for what, call in calls.items():
        say(what)
        times = sorted(_cpu(call, session) for _ in range(200))
        yield Row(f"a page of a search, {what}: CPU, median", median(times), target=0.005)
        yield Row("… 95 of 100 below", times[190])
    store.close()


def _cpu(call: Callable[[], object], session: Path) -> float:
    """Return the seconds of CPU that a call takes, in this thread and in the server: others may use the machine too."""
    before = time.thread_time() + int(session.read_text().split()[0]) / 1e9
    call()
    return time.thread_time() + int(session.read_text().split()[0]) / 1e9 - before


def _updates(
    dsn: str, connection: psycopg.Connection[Any], count: int, options: argparse.Namespace
) -> Iterator[Row | Note]:
    """Update random datasets, and look how much room the tables take then, and what was read from end to end."""
    before = _state(connection)
    say("updates")
    done = rate(partial(_update_any, count=count, size=options.bytes), dsn, options.updating, options.updates or inf)
    yield Row(f"updates, {WRITERS} processes", done, unit="changes/s", more_is_better=True, target=1_000)
    after = _state(connection)
    updates = after["dataset"].updates - before["dataset"].updates
    start = time.monotonic()
    connection.execute("VACUUM")
    yield Row(f"VACUUM after {updates:,} updates", time.monotonic() - start)
    for name, table in _state(connection).items():
        if after[name].updates > before[name].updates:
            was = before[name].size / 1e6
            yield Row(f"{name} then", table.size / 1e6, "before", was, target=2, unit="MB")
            made, hot = after[name].updates - before[name].updates, after[name].hot - before[name].hot
            dead = f"{after[name].dead:,} dead rows before VACUUM, {table.dead:,} after it"
            yield Note(f"{name}: {made:,} updates of a row, {hot:,} without a new entry in an index (HOT); {dead}.")


class _Table(NamedTuple):
    """The size of a table without its indexes in bytes, and what PostgreSQL counts."""

    size: int
    dead: int
    updates: int
    hot: int
    scans: int


def _state(connection: psycopg.Connection[Any]) -> dict[str, _Table]:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    return {name: _Table(*row) for name, *row in connection.execute(_STATE.encode()).fetchall()}


def _update_any(dsn: str, writer: int, repeat: Repeat, *, count: int, size: int) -> None:
    """Update random datasets, which are this writer's alone."""
    storage, chance = PostgresStorage(dsn), random.Random(writer)

    def update(edit: int) -> None:
        number = chance.randrange(writer, count, WRITERS)
        head = storage.resolve(dataset_id(number), None)
        change = Change(_AUTHOR, "Another", datetime.now(UTC))
        storage.append(dataset_id(number), {_FILE: _descriptor(number, 100 + edit, size)}, change, parent=head.id)

    repeat(update)
    storage.close()


if __name__ == "__main__":
    main()
