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
from metastore.storage.postgres._packing import Keyframe, Packer
from metastore.storage.postgres._packing import Row as Packed
from metastore.types import Change, DatasetId

_BATCH, _NEWS = 500, 10_000
_TABLES = {
    "dataset": "pk, owner, name, head, n, deleted",
    "dataset_revision": "dataset, n, id, tree, body",
    "dataset_object": "dataset, id, kind, packed, base, data",
    "dataset_change": "owner, name, action, before, after",
}
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
        for row in _packed(keyframes, {blob_id(content): blob, **trees}):
            rows["dataset_object"].append((pk, *row))
        before, raw = bytes.fromhex(parent) if parent else None, bytes.fromhex(head)
        rows["dataset_revision"].append((pk, edit, raw, bytes.fromhex(tree), body))
        rows["dataset_change"].append((owner, name, "append" if parent else "create", before, raw))
        parent = head
    rows["dataset"].append((pk, owner, name, raw, edit, False))


def _packed(keyframes: dict[str, Keyframe], objects: Mapping[str, GitObject]) -> Iterator[Packed]:
    """Yield objects as they are kept, each against the first one of its kind."""
    named = {identity: git_object for identity, git_object in objects.items() if git_object.kind == TREE}
    for row in Packer(keyframes.get).rows({**named, **objects}):
        if row.kind == BLOB and row.base is None:
            keyframes[DESCRIPTOR] = Keyframe(row.id.hex(), objects[row.id.hex()].content, len(row.data))
        yield row
