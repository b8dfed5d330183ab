"""Very many datasets in PostgreSQL: each in one statement, without its search index, and copies of their rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import psycopg

from benchmarks.table import say
from metastore.descriptor.document import DESCRIPTOR
from metastore.git.objects import BLOB, COMMIT, TREE, GitObject, blob_id, commit_content, object_id
from metastore.git.trees import change_tree
from metastore.storage.postgres import _queries
from metastore.storage.postgres._calls import attempt_id
from metastore.storage.postgres._packing import Keyframe, Packer, RevisionRow, Row, revision_row
from metastore.storage.postgres._writing import written_arrays
from metastore.types import Change, DatasetId

_BATCH, _NEWS = 500, 10_000
_NEWS_OF_COPIES = 10
#: What copies are made of: the rows of the first datasets.
_FIRST = {
    "first_dataset": "SELECT * FROM dataset",
    "first_object": "SELECT * FROM dataset_object",
    "first_segment": "SELECT * FROM dataset_segment",
    "first_text": "SELECT * FROM dataset_text",
    "first_span": "SELECT * FROM dataset_span",
}
_COPY = "LATERAL (SELECT {} + %(far)s) AS c (pk), LATERAL (SELECT {{owner}}, {{name}}) AS i (owner, name)"
_SEGMENT = "first, alone, parent, base, who, commits, contents, rests, deltas, attempts, recorded"
#: Copy those rows; the keys are moved by so many.
_COPIES = (
    f"""INSERT INTO dataset (pk, owner, name, head, n, first, deleted, attempt) OVERRIDING SYSTEM VALUE
    SELECT c.pk, i.owner, i.name, t.head, t.n, t.first, t.deleted, (lpad(
        to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || left(e.hex, 3)
        || '8' || right(e.hex, 15))::uuid
    FROM first_dataset AS t, {_COPY.format("t.pk")}, LATERAL (SELECT md5(t.pk::text || random()::text)) AS e (hex)
    ORDER BY t.pk""",
    """INSERT INTO dataset_object SELECT dataset + %(far)s, id, kind, packed, base, data FROM first_object
    ORDER BY dataset""",
    f"""INSERT INTO dataset_segment (dataset, {_SEGMENT}) SELECT dataset + %(far)s, {_SEGMENT} FROM first_segment
    ORDER BY dataset, first""",
    f"""INSERT INTO dataset_text SELECT n.* FROM first_text AS t, {_COPY.format("t.dataset")},
    LATERAL jsonb_populate_record(t, jsonb_build_object(
        'dataset', c.pk, 'access', ARRAY[i.owner, i.owner || '/' || i.name],
        'id_words', metastore_dataset_id_words(i.owner, i.name, t.title IS NOT NULL))) AS n ORDER BY t.dataset""",
    f"""INSERT INTO dataset_span SELECT n.* FROM first_span AS t, {_COPY.format("t.dataset")},
    LATERAL jsonb_populate_record(t, jsonb_build_object(
        'dataset', c.pk, 'access', ARRAY[i.owner, i.owner || '/' || i.name])) AS n ORDER BY t.dataset""",
)
#: How to drop each index of the tables of datasets, and how to make it: at the end, in a fraction of the time.
_INDEXES = """SELECT x.indexrelid::regclass::text,
    CASE WHEN k.oid IS NULL THEN format('DROP INDEX %s', x.indexrelid::regclass)
        ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', t.relname, k.conname) END,
    CASE WHEN k.oid IS NULL THEN pg_get_indexdef(x.indexrelid)
        ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.relname, k.conname, pg_get_constraintdef(k.oid)) END
FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = x.indexrelid AND k.contype IN ('p', 'u')
WHERE t.relnamespace = current_schema()::regnamespace AND t.relname ~ '^dataset(_|$)' AND t.relkind = 'r'
ORDER BY x.indrelid"""
#: For each session that makes an index.
_MEMORY = "SET maintenance_work_mem = '1GB'"
_KEYS = "SELECT setval(pg_get_serial_sequence('dataset', 'pk'), (SELECT max(pk) FROM dataset))"
_UNFOUND = {"texts": None, "cut": None, "now": None}


class History(NamedTuple):
    """A dataset, and the descriptor and change of each revision, the oldest first."""

    dataset_id: DatasetId
    revisions: Iterable[tuple[bytes, Change]]


def load(connection: psycopg.Connection[Any], histories: Iterable[History], seconds: float) -> tuple[int, float]:
    """Load datasets into an empty database until the time is over. Returns how many, and the seconds."""
    start, done, left = time.monotonic(), 0, iter(histories)
    while time.monotonic() - start < seconds and (batch := list(islice(left, _BATCH))):
        with connection.transaction():
            for history in batch:
                _add(connection, history)
        done += len(batch)
        if done % _NEWS == 0:
            say(f"{done:,} datasets in {time.monotonic() - start:.0f} s")
    return done, time.monotonic() - start


def multiply(
    dsn: str, *, owner: str, name: str, templates: int, count: int, seconds: float, sessions: int = 2
) -> tuple[int, float]:
    """Load copies of the datasets that there are, under ids of their own, until the time is over.

    The tables have no indexes meanwhile. Those are made afterwards, which the time does not limit.

    Args:
        dsn: The database, with datasets and their search index.
        owner: The owner of a copy, in SQL, from its key `c.pk`.
        name: Its name.
        templates: How many datasets there are; the first has the key 1.
        count: How many there are to be, a multiple of that.
        seconds: The longest time to copy.
        sessions: How many sessions of the server copy, and make indexes, at the same time.

    Returns:
        How many there are, and the seconds.
    """
    start = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection, ThreadPoolExecutor(sessions) as pool:
        indexes = connection.execute(_INDEXES.encode()).fetchall()
        for table, query in _FIRST.items():
            connection.execute(f"CREATE UNLOGGED TABLE {table} AS {query}".encode())
        for _, drop, _ in indexes:
            connection.execute(drop.encode())
        statements = [each.replace("{owner}", owner).replace("{name}", name).encode() for each in _COPIES]
        places = iter(range(templates, count, templates))
        copied = [pool.submit(_copy, dsn, statements, places, start + seconds) for _ in range(sessions)]
        done = templates + templates * sum(each.result() for each in copied)
        say(f"{done:,} datasets in {time.monotonic() - start:.0f} s")
        for made in [pool.submit(_make_index, dsn, name, make) for name, _, make in indexes]:
            made.result()
        connection.execute(f"DROP TABLE {', '.join(_FIRST)}".encode())
        connection.execute(_KEYS.encode())
    return done, time.monotonic() - start


def _copy(dsn: str, statements: Iterable[bytes], places: Iterator[int], end: float) -> int:
    """Copy the first datasets to places until there are no more, or until the time is over. Returns how often."""
    done = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while time.monotonic() < end and (far := next(places, None)) is not None:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement, {"far": far})
            done += 1
            if done % _NEWS_OF_COPIES == 0:
                say(f"copied up to the key {far:,}")
    return done


def _make_index(dsn: str, name: str, make: str) -> None:
    say(f"making the index {name}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_MEMORY.encode())
        connection.execute(make.encode())


def _add(connection: psycopg.Connection[Any], history: History) -> None:
    """Make a dataset with all its revisions."""
    keyframes: dict[str, Keyframe] = {}
    rows, revisions, parent = list[Row](), list[RevisionRow](), None
    for content, change in history.revisions:
        blob = GitObject(BLOB, content)
        tree, trees = change_tree(None, {DESCRIPTOR: blob_id(content)}, lambda tree: b"")
        body = commit_content(tree, parent, change)
        parent = object_id(COMMIT, body)
        revisions.append(revision_row(parent, body, trees[tree].content))
        rows += _packed(keyframes, {blob_id(content): blob, **trees}, tree)
    values = {
        **{"attempt": attempt_id(), "owner": history.dataset_id.owner, "name": history.dataset_id.name},
        **{"place": None, "parent": None, "head": revisions[-1].id, **_UNFOUND},
        **written_arrays(rows, revisions),
    }
    connection.execute(_queries.WRITE.encode(), values, binary=True)


def _packed(keyframes: dict[str, Keyframe], objects: Mapping[str, GitObject], tree: str) -> Iterator[Row]:
    """Yield objects as they are kept, each against the first one of its kind, but for a tree."""
    named = {identity: git_object for identity, git_object in objects.items() if git_object.kind == TREE}
    for row in Packer(keyframes.get).rows({**named, **objects}, {tree}):
        if row.kind == BLOB and row.base is None:
            keyframes[DESCRIPTOR] = Keyframe(row.id.hex(), objects[row.id.hex()].content, len(row.data))
        yield row
