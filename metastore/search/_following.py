"""Writes the search index. The index follows the change feed, and keeps each text with the period in which it held."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from metastore.errors import InvalidInput, NotFound, StorageCorrupt
from metastore.index_file import transaction
from metastore.search._words import GAP, fold, words_of
from metastore.search.documents import Document, document
from metastore.search.scan import Source
from metastore.search.values import FACETS, sort_key
from metastore.types import DatasetId, FeedEntry, Revision

FORMAT = 5
SCHEMA = """
CREATE TABLE meta (cursor TEXT, judge TEXT);
INSERT INTO meta VALUES (NULL, NULL);
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL UNIQUE, head TEXT,
    changed INTEGER NOT NULL, findings INTEGER
);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER, deleted INTEGER NOT NULL,
    title TEXT NOT NULL, digest BLOB NOT NULL
);
CREATE INDEX texts_of_dataset ON texts (dataset, until);
CREATE TABLE facet_values (
    id INTEGER PRIMARY KEY, facet INTEGER NOT NULL, folded TEXT NOT NULL, value TEXT NOT NULL,
    UNIQUE (facet, folded, value)
);
CREATE TABLE facets (
    text INTEGER NOT NULL, facet INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (text, facet, value)
) WITHOUT ROWID;
CREATE INDEX texts_of_facet_value ON facets (value);
CREATE VIRTUAL TABLE now USING fts5 (title, words, tokenize = 'ascii');
CREATE VIRTUAL TABLE past USING fts5 (title, words, tokenize = 'ascii')
"""
#: Stands for a gap between two texts. FTS5 takes it for a word, since it is not ASCII. No query has it, since it is
#: neither letter nor digit.
_GAP = "\N{SYMBOL FOR RECORD SEPARATOR}"
#: The datasets that one transaction indexes.
_BATCH = 500
#: The ids of values of facets, valid within one transaction, since another process may remove them.
_Values = dict[tuple[int, str, str], int]


def follow(database: sqlite3.Connection, source: Source) -> None:
    """Index what changed since the cursor that the index covers."""
    while True:
        (covered,) = database.execute("SELECT cursor FROM meta").fetchone()
        try:
            if _follow_from(database, source, covered):
                return
        except InvalidInput:  # the cursor is of another version
            with transaction(database):
                _empty(database)


def _follow_from(database: sqlite3.Connection, source: Source, covered: str | None) -> bool:
    """Index batch by batch. Return False if the index covers another cursor by now, so that the caller starts over."""
    entries = source.changes(covered)
    while batch := _batch(entries):
        with transaction(database):
            if database.execute("SELECT cursor FROM meta").fetchone()[0] != covered:
                return False  # another process went on from there
            if covered is not None and _feed(covered) != _feed(batch[0].cursor):
                _empty(database)  # the index came with a copied store, and may contain datasets that the copy lacks
                return False
            known: _Values = {}
            for entry in batch:
                _index(database, source, entry, known)
            covered = batch[-1].cursor
            database.execute("UPDATE meta SET cursor = ?", (covered,))
    return True


def _feed(cursor: str) -> str:
    return cursor.partition(".")[0]


def _batch(entries: Iterator[FeedEntry]) -> list[FeedEntry]:
    return [entry for _, entry in zip(range(_BATCH), entries, strict=False)]


def _empty(database: sqlite3.Connection) -> None:
    for table in ("datasets", "texts", "facets", "facet_values", "now", "past"):
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET cursor = NULL")


def _index(database: sqlite3.Connection, source: Source, entry: FeedEntry, known: _Values) -> None:
    if entry.action not in ("changed", "deleted"):
        forget(database, entry.dataset_id)
        return
    try:
        _index_dataset(database, source, entry.dataset_id, known)
    except (NotFound, StorageCorrupt):  # removed since, which the feed reports next, or damaged, as `verify` reports
        forget(database, entry.dataset_id)


def check(database: sqlite3.Connection, source: Source) -> None:
    """Check the datasets whose findings are not known yet."""
    forget_findings_of_other_rules(database, source)
    unknown = "SELECT id, owner, name FROM datasets WHERE findings IS NULL LIMIT ?"
    while rows := database.execute(unknown, (_BATCH,)).fetchall():
        with transaction(database):
            for row in rows:
                findings = _has_findings(source, DatasetId(row["owner"], row["name"]))
                database.execute("UPDATE datasets SET findings = ? WHERE id = ?", (findings, row["id"]))


def forget_findings_of_other_rules(database: sqlite3.Connection, source: Source) -> None:
    """Forget the findings of a check if the source now checks by other rules."""
    judge = source.judge()
    with transaction(database):
        if database.execute("SELECT judge FROM meta").fetchone()[0] != judge:
            database.execute("UPDATE datasets SET findings = NULL")
            database.execute("UPDATE meta SET judge = ?", (judge,))


def _has_findings(source: Source, dataset_id: DatasetId) -> bool:
    try:
        revision = next(iter(source.history(dataset_id)))
        return source.has_findings(source.content(dataset_id, revision))
    except (NotFound, StorageCorrupt):  # the next search leaves it out, or `verify` names it
        return True


def reindex(database: sqlite3.Connection, source: Source, dataset_ids: Iterable[DatasetId]) -> None:
    """Index some datasets from scratch, and forget those that the store does not have."""
    with transaction(database):
        for dataset_id in dataset_ids:
            forget(database, dataset_id)
            try:
                _index_dataset(database, source, dataset_id, {})
            except (NotFound, StorageCorrupt):
                forget(database, dataset_id)


def _index_dataset(database: sqlite3.Connection, source: Source, dataset_id: DatasetId, known: _Values) -> None:
    """Index the revisions of a dataset that the index does not have. Raises NotFound and StorageCorrupt."""
    row = database.execute("SELECT id, head FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    new: list[Revision] = []
    for revision in source.history(dataset_id):
        if row is not None and revision.id == row["head"]:
            break
        new.append(revision)
    else:
        if row is not None:  # the history is another one
            forget(database, dataset_id)
        values = (dataset_id.owner, dataset_id.name, sort_key(dataset_id))
        database.execute("INSERT INTO datasets (owner, name, place, changed) VALUES (?, ?, ?, 0)", values)
        row = database.execute("SELECT id, head FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    for revision in reversed(new):
        seen = document(dataset_id, source.content(dataset_id, revision))
        text = _add(database, row["id"], seen, int(revision.created.timestamp()), deleted=revision.deleted)
        if text is not None:
            _add_facets(database, text, seen, known)
    if new:
        changed = int(new[0].created.timestamp())
        database.execute(
            "UPDATE datasets SET head = ?, changed = ?, findings = NULL WHERE id = ?", (new[0].id, changed, row["id"])
        )


def _add(database: sqlite3.Connection, dataset: int, seen: Document, since: int, *, deleted: bool) -> int | None:
    """Add the text of a revision after the earlier ones and return its number; None if the text is unchanged."""
    digest = hashlib.blake2b(repr((seen, deleted)).encode(), digest_size=16).digest()
    newest = database.execute("SELECT * FROM texts WHERE dataset = ? AND until IS NULL", (dataset,)).fetchone()
    if newest is not None and newest["digest"] == digest and newest["since"] <= since:
        return None
    if newest is not None:
        database.execute(
            "INSERT INTO past (rowid, title, words) SELECT rowid, * FROM now WHERE rowid = ?", (newest["id"],)
        )
        database.execute("DELETE FROM now WHERE rowid = ?", (newest["id"],))
    # A clock may have gone back: earlier texts do not hold beyond the time of this revision.
    ends = "UPDATE texts SET until = ? WHERE dataset = ? AND (until IS NULL OR until > ?)"
    database.execute(ends, (since, dataset, since))
    values = (dataset, since, deleted, seen.title, digest)
    added = database.execute(
        "INSERT INTO texts (dataset, since, deleted, title, digest) VALUES (?, ?, ?, ?, ?)", values
    )
    text = added.lastrowid
    words = " ".join(seen.words()).replace(GAP, _GAP)
    database.execute(
        "INSERT INTO now (rowid, title, words) VALUES (?, ?, ?)", (text, " ".join(words_of(seen.title)), words)
    )
    return text


def _add_facets(database: sqlite3.Connection, text: int | None, seen: Document, known: _Values) -> None:
    rows = []
    for number, facet in enumerate(FACETS):
        for value in seen.values[facet]:
            key = (number, fold(value), value)
            if key not in known:
                database.execute("INSERT OR IGNORE INTO facet_values (facet, folded, value) VALUES (?, ?, ?)", key)
                query = "SELECT id FROM facet_values WHERE facet = ? AND folded = ? AND value = ?"
                known[key] = database.execute(query, key).fetchone()[0]
            rows.append((text, number, known[key]))
    database.executemany("INSERT INTO facets VALUES (?, ?, ?)", rows)


def forget(database: sqlite3.Connection, dataset_id: DatasetId) -> None:
    """Remove a dataset from the index."""
    row = database.execute("SELECT id FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    if row is None:
        return
    texts = "(SELECT id FROM texts WHERE dataset = ?)"
    for table, column in (("now", "rowid"), ("past", "rowid"), ("facets", "text"), ("texts", "id")):
        database.execute(f"DELETE FROM {table} WHERE {column} IN {texts}", (row["id"],))
    database.execute("DELETE FROM datasets WHERE id = ?", (row["id"],))


def known_ids(database: sqlite3.Connection) -> list[DatasetId]:
    """Return the datasets in the index."""
    return [DatasetId(*row) for row in database.execute("SELECT owner, name FROM datasets ORDER BY place")]


def rows_of(database: sqlite3.Connection, dataset_id: DatasetId) -> list[tuple[Any, ...]]:
    """Return everything that the index has of a dataset, with its findings, in a form that two indexes can compare."""
    texts = """SELECT t.id, d.findings, d.head, d.changed, t.since, t.until, t.deleted, t.title, t.digest,
            n.title, n.words, p.title, p.words
        FROM datasets d LEFT JOIN texts t ON t.dataset = d.id
        LEFT JOIN now n ON n.rowid = t.id LEFT JOIN past p ON p.rowid = t.id WHERE d.place = ? ORDER BY t.id"""
    facets = """SELECT v.facet, v.folded, v.value, f.facet FROM facets f LEFT JOIN facet_values v ON v.id = f.value
        WHERE f.text = ? ORDER BY v.facet, v.folded"""
    rows = database.execute(texts, (sort_key(dataset_id),)).fetchall()
    return [(*text, *map(tuple, database.execute(facets, (number,)))) for number, *text in rows]


def has_loose_rows(database: sqlite3.Connection) -> bool:
    """Tell whether the index has rows that belong to no dataset, or its word tables differ from their texts."""
    loose = """SELECT 1 FROM texts WHERE dataset NOT IN (SELECT id FROM datasets)
        UNION ALL SELECT 1 FROM facets WHERE text NOT IN (SELECT id FROM texts)
        UNION ALL SELECT 1 FROM facets WHERE value NOT IN (SELECT id FROM facet_values)
        UNION ALL SELECT 1 FROM now WHERE rowid NOT IN (SELECT id FROM texts WHERE until IS NULL)
        UNION ALL SELECT 1 FROM past WHERE rowid NOT IN (SELECT id FROM texts WHERE until IS NOT NULL)"""
    try:
        for table in ("now", "past"):
            database.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname != "SQLITE_CORRUPT_VTAB":
            raise
        return True
    return database.execute(loose).fetchone() is not None
