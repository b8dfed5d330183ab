"""Datasets in a real PostgreSQL, beside the same statements through psycopg without the library."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import psycopg

import metastore
from benchmarks.documents import SMALL, descriptor
from benchmarks.table import Note, Row, in_turn, say
from metastore.git.objects import GitObject
from metastore.storage.port import Storage
from metastore.storage.postgres import _queries
from metastore.storage.postgres._packing import RevisionRow
from metastore.storage.postgres._packing import Row as Packed
from metastore.storage.postgres._texts import Version, texts
from metastore.storage.postgres._writing import written_arrays
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import Author, Change, DatasetId
from tests.bundle.postgres_server import migrated_database

WRITERS = 8
#: Calls something again and again for the time of a measurement, with a number that counts up.
Repeat = Callable[[Callable[[int], object]], None]
_WHO = Author("Ann Lee", "ann@example.org")
_FILE = "datapackage.json"
_PLAIN = b"SELECT data FROM plain WHERE name = %s"


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Read and write, alone and side by side."""
    try:
        with migrated_database() as dsn:
            yield from _reads(dsn, rounds=200 if quick else 2000)
            yield from _writes(dsn, seconds=1.0 if quick else 4.0)
    except (RuntimeError, psycopg.OperationalError) as error:
        yield Note(f"Datasets in PostgreSQL are left out: there is no server ({' '.join(str(error).split())}).")


def _change() -> Change:
    return Change(_WHO, "Why", datetime.now(UTC))


def _reads(dsn: str, rounds: int) -> Iterator[Row]:
    vega = (Path(__file__).parent.parent / "examples/catalogue/vega/datasets" / _FILE).read_bytes()
    storage = PostgresStorage(dsn)
    with psycopg.connect(dsn, autocommit=True) as plain:
        plain.execute("CREATE TABLE plain (name text PRIMARY KEY, data bytea)")
        for name, content in (("1 kB", _small(0)), ("136 kB", vega)):
            dataset_id = DatasetId("read", name.replace(" ", "").lower())
            first = storage.create(dataset_id, {_FILE: content}, _change())
            storage.append(dataset_id, {_FILE: content + b"\n"}, _change(), parent=first.id)
            plain.execute("INSERT INTO plain VALUES (%s, %s)", (name, content + b"\n"))
            fresh = PostgresStorage(dsn, cache_bytes=0)
            times = in_turn(
                rounds,
                ours=lambda n, dataset_id=dataset_id, fresh=fresh: fresh.find(dataset_id, None, _FILE),
                warm=lambda n, dataset_id=dataset_id: storage.find(dataset_id, None, _FILE),
                plain=lambda n, name=name: plain.execute(_PLAIN, (name,), binary=True).fetchone(),
            )
            other = "SELECT of the same bytes"
            yield Row(f"read newest, {name}, nothing cached", times["ours"], other, times["plain"], target=2)
            yield Row(f"read newest, {name}", times["warm"], other, times["plain"], target=2)
            fresh.close()
    storage.close()


def _writes(dsn: str, seconds: float) -> Iterator[Row]:
    for what, ours, theirs, target in (
        ("create", _create, _create_bare, 0.5),
        ("update, a dataset each", _update, _update_bare, 0.5),
    ):
        say(f"{what}, {WRITERS} writers")
        values = [rate(work, dsn, seconds) for work in (ours, theirs)]
        other = "the same statements alone"
        title = f"{what}, {WRITERS} processes"
        yield Row(title, values[0], other, values[1], unit="changes/s", more_is_better=True, target=target)
    say("one dataset")
    storage = PostgresStorage(dsn)
    storage.create(DatasetId("one", "d0"), {_FILE: _small(0)}, _change())
    landed = rate(_patch_one, dsn, seconds)
    yield Row(f"update one dataset, {WRITERS} processes", landed, unit="changes/s", more_is_better=True, target=200)
    storage.close()


@cache
def _start() -> bytes:
    return json.dumps(descriptor(SMALL)).encode()[:-1]


def _small(number: int) -> bytes:
    return _start() + b', "number": %d}' % number


def rate(work: Callable[[str, int, Repeat], None], dsn: str, seconds: float, most: float = inf) -> float:
    """Return how many calls a second all processes made together, until the time is over or there were `most`."""
    context = multiprocessing.get_context("fork")  # a storage can be used after a fork, and nothing is imported again
    pipes = [context.Pipe() for _ in range(WRITERS)]
    processes = [
        context.Process(target=_run, args=(work, dsn, number, seconds, most / WRITERS, theirs))
        for number, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for ours, _ in pipes:
        ours.recv()
    start = time.perf_counter()
    for ours, _ in pipes:
        ours.send(None)
    count = sum(ours.recv() for ours, _ in pipes)
    took = time.perf_counter() - start
    for process in processes:
        process.join()
    return count / took


def _run(
    work: Callable[[str, int, Repeat], None], dsn: str, writer: int, seconds: float, most: float, pipe: Any
) -> None:
    def repeat(call: Callable[[int], object]) -> None:
        call(0)
        pipe.send(None)
        pipe.recv()
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end and count < most:
            count += 1
            call(count)
        pipe.send(count)

    work(dsn, writer, repeat)


def _create(dsn: str, writer: int, repeat: Repeat) -> None:
    storage, start = PostgresStorage(dsn), uuid.uuid4().hex[:8]

    def create(number: int) -> None:
        storage.create(DatasetId("c", f"{start}-{number}"), {_FILE: _small(number)}, _change())

    repeat(create)
    storage.close()


def _update(dsn: str, writer: int, repeat: Repeat) -> None:
    storage: Storage = PostgresStorage(dsn)
    dataset_id = DatasetId("u", f"{writer}-{uuid.uuid4().hex[:8]}")
    storage.create(dataset_id, {_FILE: _small(0)}, _change())

    def update(number: int) -> None:
        head = storage.find(dataset_id, None, _FILE)[0]
        storage.append(dataset_id, {_FILE: _small(number)}, _change(), parent=head.id)

    repeat(update)
    storage.close()


def _patch_one(dsn: str, writer: int, repeat: Repeat) -> None:
    storage = PostgresStorage(dsn)
    store = metastore.MetaStore(storage, author=_WHO, validation="off")
    repeat(lambda n: store.dataset_patch("one/d0", {f"w{writer}": n}))
    store.close()


def _values(name: str, *, follows: bool = False) -> dict[str, Any]:
    """Return the arguments of a write, as large as ours, with ids that nobody computed."""
    blob, tree, head = _FIRST if not follows else os.urandom(20), os.urandom(20), os.urandom(20)
    revision = RevisionRow(head, tree, blob, _REST)
    row = Packed(blob, "blob", True, _FIRST, _DELTA) if follows else Packed(blob, "blob", False, None, _SMALL)
    return {
        **{"attempt": uuid.uuid4(), "owner": "b", "name": name, "place": None, "parent": None, "head": head},
        **written_arrays([row], [revision]),
        **_index_values(follows),
    }


@cache
def _index_values(follows: bool) -> dict[str, Any]:
    """Return the arguments of a write that are for the search index, with or without a revision before it."""
    now = int(time.time())
    before = Version(now, False, "1" * 40) if follows else None
    added = texts([Version(now, False, "0" * 40)], before, lambda _: GitObject("blob", _small(0)))
    return next(iter(added.statements()))


_SMALL, _REST = b"x" * 600, b"Ann Lee <ann@example.org> 1767225600 +0000\n\nWhy\n"
#: The id of the first descriptor of each dataset, and the difference of another one.
_FIRST, _DELTA = b"f" * 20, b"d" * 25


def _create_bare(dsn: str, writer: int, repeat: Repeat) -> None:
    start = uuid.uuid4().hex[:8]
    with psycopg.connect(dsn, autocommit=True) as connection:

        def create(number: int) -> None:
            values = _values(f"{start}-{number}")
            connection.execute(_queries.WRITE.encode(), values, binary=True).fetchone()

        repeat(create)


def _update_bare(dsn: str, writer: int, repeat: Repeat) -> None:
    name = f"{writer}-{uuid.uuid4().hex[:8]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_queries.WRITE.encode(), _values(name))
        look = {"owner": "b", "name": name, "known": None, "needle": b" datapackage.json\0"}

        def update(number: int) -> None:
            row = connection.execute(_queries.NEWEST.encode(), look, binary=True).fetchone()
            assert row
            values = _values(name, follows=True) | {"place": row[0], "parent": row[1]}
            connection.execute(_queries.WRITE.encode(), values, binary=True).fetchone()

        repeat(update)
