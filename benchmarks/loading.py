"""Datasets straight into the tables of PostgreSQL, in the form in which the library writes them, and many at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import psycopg

from benchmarks.table import say
from metastore.descriptor.document import DESCRIPTOR
from metastore.git.objects import BLOB, COMMIT, TREE, GitObject, blob_id, commit_content, object_id
from metastore.git.trees import change_tree
from metastore.storage.postgres._calls import attempt_id
from metastore.storage.postgres._packing import Keyframe, Packer, revision_row
from metastore.storage.postgres._packing import Row as Packed
from metastore.types import Change, DatasetId

_BATCH, _NEWS = 500, 10_000
_TABLES = {
    "dataset": "pk, owner, name, head, n, deleted",
    "dataset_revision": "dataset, n, id, tree, blob, rest",
    "dataset_object": "dataset, id, kind, packed, base, data",
    "dataset_change": "attempt, owner, name, action, after",
}
#: Copy the rows of the datasets up to a key, which is moved by so many.
_COPIES = (
    """INSERT INTO dataset (pk, owner, name, head, n, deleted) OVERRIDING SYSTEM VALUE
    SELECT c.pk, {owner}, {name}, t.head, t.n, t.deleted FROM dataset AS t, LATERAL (SELECT t.pk + %(far)s) AS c (pk)
    WHERE t.pk <= %(last)s ORDER BY t.pk""",
    """INSERT INTO dataset_object SELECT dataset + %(far)s, id, kind, packed, base, data FROM dataset_object
    WHERE dataset <= %(last)s ORDER BY dataset""",
    """INSERT INTO dataset_revision SELECT dataset + %(far)s, n, id, tree, blob, rest FROM dataset_revision
    WHERE dataset <= %(last)s ORDER BY dataset, n""",
    """INSERT INTO dataset_change (attempt, owner, name, action, after)
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || left(e.hex, 3)
        || '8' || right(e.hex, 15))::uuid, c.owner, c.name, h.action, h.after
    FROM first_changes AS h JOIN dataset AS c ON c.pk = h.dataset + %(far)s,
    LATERAL (SELECT md5(h.pos::text || random()::text)) AS e (hex) ORDER BY h.pos""",
    """INSERT INTO dataset_text SELECT n.* FROM dataset_text AS t JOIN dataset AS c ON c.pk = t.dataset + %(far)s,
    LATERAL jsonb_populate_record(t, jsonb_build_object(
        'dataset', c.pk, 'access', ARRAY[c.owner, c.owner || '/' || c.name],
        'id_words', metastore_dataset_id_words(c.owner, c.name, t.title IS NOT NULL))) AS n
    WHERE t.dataset <= %(last)s ORDER BY t.dataset""",
    """INSERT INTO dataset_span SELECT n.* FROM dataset_span AS t JOIN dataset AS c ON c.pk = t.dataset + %(far)s,
    LATERAL jsonb_populate_record(t, jsonb_build_object(
        'dataset', c.pk, 'access', ARRAY[c.owner, c.owner || '/' || c.name])) AS n
    WHERE t.dataset <= %(last)s ORDER BY t.dataset""",
)
#: The changes of the datasets that are copied. No index finds them by their dataset.
_FIRST_CHANGES = """CREATE TEMPORARY TABLE first_changes AS SELECT d.pk AS dataset, h.* FROM dataset AS d
    JOIN dataset_change AS h ON h.owner = d.owner AND h.name = d.name"""
#: The indexes of words, which are faster made at the end.
_INVERTED = """SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
    AND tablename ~ '^dataset_(text|span)$' AND indexdef LIKE '%USING gin%'"""
_KEYS = "SELECT setval(pg_get_serial_sequence('dataset', 'pk'), (SELECT max(pk) FROM dataset))"
Rows = dict[str, list[tuple[Any, ...]]]


class History(NamedTuple):
    """A dataset, and the descriptor and change of each revision, the oldest first."""

    dataset_id: DatasetId
    revisions: Iterable[tuple[bytes, Change]]


def load(connection: psycopg.Connection[Any], histories: Iterable[History], seconds: float) -> tuple[int, float]:
    """Load datasets into an empty database until the time is over. Returns how many, and the seconds."""
    start, done, left = time.monotonic(), 0, iter(histories)
    while time.monotonic() - start < seconds and (batch := list(islice(left, _BATCH))):
        rows: Rows = {table: [] for table in _TABLES}
        for number, history in enumerate(batch, done + 1):
            _add(rows, number, history)
        with connection.transaction():
            for table, columns in _TABLES.items():
                with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                    for row in rows[table]:
                        copy.write_row(row)
        done += len(batch)
        if done % _NEWS == 0:
            say(f"{done:,} datasets in {time.monotonic() - start:.0f} s")
    connection.execute(_KEYS.encode())
    return done, time.monotonic() - start


def multiply(
    connection: psycopg.Connection[Any], *, owner: str, name: str, templates: int, count: int, seconds: float
) -> tuple[int, float]:
    """Load copies of the datasets that there are, under ids of their own, until the time is over.

    Args:
        connection: The database, with datasets and their search index.
        owner: The owner of a copy, in SQL, from its key `c.pk`.
        name: Its name.
        templates: How many datasets there are; the first has the key 1.
        count: How many there are to be, a multiple of that.
        seconds: The longest time.

    Returns:
        How many there are, and the seconds.
    """
    start, done = time.monotonic(), templates
    inverted = connection.execute(_INVERTED.encode()).fetchall()
    connection.execute(_FIRST_CHANGES.encode())
    for index, _ in inverted:
        connection.execute(f"DROP INDEX {index}".encode())
    while done < count and time.monotonic() - start < seconds:
        with connection.transaction():
            for statement in _COPIES:
                filled = statement.replace("{owner}", owner).replace("{name}", name)
                connection.execute(filled.encode(), {"far": done, "last": templates})
        done += templates
        say(f"{done:,} datasets in {time.monotonic() - start:.0f} s")
    for index, definition in inverted:
        say(f"making the index {index}")
        connection.execute(definition.encode())
    connection.execute(_KEYS.encode())
    return done, time.monotonic() - start


def _add(rows: Rows, pk: int, history: History) -> None:
    """Add the rows of a dataset, as the functions of the database would."""
    owner, name = history.dataset_id.owner, history.dataset_id.name
    keyframes: dict[str, Keyframe] = {}
    parent, edit, raw = None, 0, b""
    for edit, (content, change) in enumerate(history.revisions):
        blob = GitObject(BLOB, content)
        tree, trees = change_tree(None, {DESCRIPTOR: blob_id(content)}, lambda tree: b"")
        body = commit_content(tree, parent, change)
        head = object_id(COMMIT, body)
        revision = revision_row(head, body, trees[tree].content)
        for row in _packed(keyframes, {blob_id(content): blob, **trees}):
            if row.id != revision.tree:  # the revision stands for it
                rows["dataset_object"].append((pk, *row))
        raw = revision.id
        rows["dataset_revision"].append((pk, edit, *revision))
        rows["dataset_change"].append((attempt_id(), owner, name, "append" if parent else "create", raw))
        parent = head
    rows["dataset"].append((pk, owner, name, raw, edit, False))


def _packed(keyframes: dict[str, Keyframe], objects: Mapping[str, GitObject]) -> Iterator[Packed]:
    """Yield objects as they are kept, each against the first one of its kind."""
    named = {identity: git_object for identity, git_object in objects.items() if git_object.kind == TREE}
    for row in Packer(keyframes.get).rows({**named, **objects}):
        if row.kind == BLOB and row.base is None:
            keyframes[DESCRIPTOR] = Keyframe(row.id.hex(), objects[row.id.hex()].content, len(row.data))
        yield row
