"""Search in an SQLite file (FTS5) that follows the change feed of a store.

A text is indexed once for all successive revisions that have it, with the moments from and until which it held. So the
same index answers for any moment. It names the cursor of the feed that it covers, and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

from metastore.errors import InvalidInput, NotFound, StorageCorrupt
from metastore.index_file import IndexFile, transaction
from metastore.search.documents import Document, document
from metastore.search.scan import Source, revision_at
from metastore.search.values import MOST_COUNTED, FacetCount, Hit, MayRead, Results, Wanted, counts, cursor, sort_key
from metastore.search.words import Term, fold, words_of
from metastore.types import DatasetId, FeedEntry, Revision

_FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (cursor TEXT);
INSERT INTO meta VALUES (NULL);
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL UNIQUE, head TEXT,
    changed INTEGER NOT NULL
);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER, deleted INTEGER NOT NULL,
    title TEXT NOT NULL, digest BLOB NOT NULL
);
CREATE INDEX texts_of_dataset ON texts (dataset, until);
CREATE TABLE facets (
    facet TEXT NOT NULL, folded TEXT NOT NULL, text INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (facet, folded, text)
) WITHOUT ROWID;
CREATE INDEX facets_of_text ON facets (text);
CREATE VIRTUAL TABLE now USING fts5 (title, words, tokenize = 'ascii');
CREATE VIRTUAL TABLE past USING fts5 (title, words, tokenize = 'ascii')
"""
#: Stands between two texts, so that no phrase reaches across. No query has it, since it is neither letter nor digit.
_GAP = "\N{SYMBOL FOR RECORD SEPARATOR}"
#: How many datasets are indexed in one transaction, and for how long the index is taken for up to date, in seconds.
_BATCH, _FRESH = 100, 1.0


class SearchIndex:
    """Finds datasets. Safe to share between threads, also with a forked child; several processes can share the file.

    Args:
        path: The SQLite file, created if needed; None to keep the index in memory.
        source: The store.
        clock: Returns seconds that never go back.
    """

    def __init__(self, path: str | None, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._file = IndexFile(path, _SCHEMA, _FORMAT)
        self._followed: float | None = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._followed = None

    def expire(self) -> None:
        """Follow the feed before the next search: this process has changed something."""
        self._followed = None

    def find(self, wanted: Wanted, may_read: MayRead | None = None) -> Results:
        """Find datasets, among those that the caller may read."""
        if self._followed is None or self._clock() > self._followed + _FRESH:
            started = self._clock()
            self._file.ask(lambda database: _follow(database, self._source))
            self._followed = started
        return self._file.ask(lambda database: _find(database, self._source, wanted, may_read))


def _follow(database: sqlite3.Connection, source: Source) -> None:
    """Index what changed since the cursor that the index covers."""
    while True:
        (covered,) = database.execute("SELECT cursor FROM meta").fetchone()
        try:
            if _follow_from(database, source, covered):
                return
        except InvalidInput:  # the cursor is another feed's, or another version's
            with transaction(database):
                _empty(database)


def _follow_from(database: sqlite3.Connection, source: Source, covered: str | None) -> bool:
    """Index batch by batch; return False if another process went on from this cursor meanwhile."""
    entries = source.changes(covered)
    while batch := _batch(entries):
        with transaction(database):
            if database.execute("SELECT cursor FROM meta").fetchone()[0] != covered:
                return False
            for entry in batch:
                _index(database, source, entry)
            covered = batch[-1].cursor
            database.execute("UPDATE meta SET cursor = ?", (covered,))
    return True


def _batch(entries: Iterator[FeedEntry]) -> list[FeedEntry]:
    return [entry for _, entry in zip(range(_BATCH), entries, strict=False)]


def _empty(database: sqlite3.Connection) -> None:
    for table in ("datasets", "texts", "facets", "now", "past"):
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET cursor = NULL")


def _index(database: sqlite3.Connection, source: Source, entry: FeedEntry) -> None:
    if entry.action not in ("changed", "deleted"):
        _forget(database, entry.dataset_id)
        return
    try:
        _index_dataset(database, source, entry.dataset_id)
    except (NotFound, StorageCorrupt):  # gone since, which the feed tells next; or damaged, which `verify` tells
        _forget(database, entry.dataset_id)


def _index_dataset(database: sqlite3.Connection, source: Source, dataset_id: DatasetId) -> None:
    row = database.execute("SELECT id, head FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    new: list[Revision] = []
    for revision in source.history(dataset_id):
        if row is not None and revision.id == row["head"]:
            break
        new.append(revision)
    else:
        if row is not None:  # the history is another one
            _forget(database, dataset_id)
        values = (dataset_id.owner, dataset_id.name, sort_key(dataset_id))
        database.execute("INSERT INTO datasets (owner, name, place, changed) VALUES (?, ?, ?, 0)", values)
        row = database.execute("SELECT id, head FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    for revision in reversed(new):
        seen = document(dataset_id, source.content(dataset_id, revision))
        _add(database, row["id"], seen, int(revision.created.timestamp()), deleted=revision.deleted)
    if new:
        changed = int(new[0].created.timestamp())
        database.execute("UPDATE datasets SET head = ?, changed = ? WHERE id = ?", (new[0].id, changed, row["id"]))


def _add(database: sqlite3.Connection, dataset: int, seen: Document, since: int, *, deleted: bool) -> None:
    """Add the text of a revision behind those before it, unless it is still the same text."""
    digest = hashlib.blake2b(repr((seen, deleted)).encode(), digest_size=16).digest()
    newest = database.execute("SELECT * FROM texts WHERE dataset = ? AND until IS NULL", (dataset,)).fetchone()
    if newest is not None and newest["digest"] == digest and newest["since"] <= since:
        return
    if newest is not None:
        database.execute(
            "INSERT INTO past (rowid, title, words) SELECT rowid, * FROM now WHERE rowid = ?", (newest["id"],)
        )
        database.execute("DELETE FROM now WHERE rowid = ?", (newest["id"],))
    # A clock may have gone back: what came before a revision does not hold beyond its time.
    ends = "UPDATE texts SET until = ? WHERE dataset = ? AND (until IS NULL OR until > ?)"
    database.execute(ends, (since, dataset, since))
    values = (dataset, since, deleted, seen.title, digest)
    added = database.execute(
        "INSERT INTO texts (dataset, since, deleted, title, digest) VALUES (?, ?, ?, ?, ?)", values
    )
    text = added.lastrowid
    words = " ".join(word or _GAP for word in seen.words())
    database.execute(
        "INSERT INTO now (rowid, title, words) VALUES (?, ?, ?)", (text, " ".join(words_of(seen.title)), words)
    )
    database.executemany(
        "INSERT INTO facets VALUES (?, ?, ?, ?)",
        [(facet, fold(value), text, value) for facet, values in seen.values.items() for value in values],
    )


def _forget(database: sqlite3.Connection, dataset_id: DatasetId) -> None:
    row = database.execute("SELECT id FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    if row is None:
        return
    texts = "(SELECT id FROM texts WHERE dataset = ?)"
    for table, column in (("now", "rowid"), ("past", "rowid"), ("facets", "text"), ("texts", "id")):
        database.execute(f"DELETE FROM {table} WHERE {column} IN {texts}", (row["id"],))
    database.execute("DELETE FROM datasets WHERE id = ?", (row["id"],))


def _find(database: sqlite3.Connection, source: Source, wanted: Wanted, may_read: MayRead | None) -> Results:
    if may_read is not None:
        database.create_function("may_read", 2, lambda owner, name: may_read(DatasetId(owner, name)))
    found, values = _found(wanted, limited=may_read is not None)
    (total,) = database.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM ({found}) LIMIT {MOST_COUNTED + 1})", values
    ).fetchone()
    page, more = _page(database, wanted, found, values)
    hits = [hit for row in page if (hit := _hit(source, DatasetId(row["owner"], row["name"]), wanted)) is not None]
    return Results(
        tuple(hits),
        min(total, MOST_COUNTED),
        total > MOST_COUNTED,
        {facet: _facet(database, facet, found, values) for facet in wanted.facets},
        cursor(page[-1]["key"], page[-1]["place"]) if more else None,
    )


def _page(
    database: sqlite3.Connection, wanted: Wanted, found: str, values: list[Any]
) -> tuple[list[sqlite3.Row], bool]:
    behind = "WHERE (key, place) > (?, ?)" if wanted.after else ""
    query = f"SELECT * FROM ({found}) {behind} ORDER BY key, place LIMIT ?"
    rows = database.execute(query, [*values, *(wanted.after or ()), wanted.limit + 1]).fetchall()
    return rows[: wanted.limit], len(rows) > wanted.limit


def _facet(database: sqlite3.Connection, facet: str, found: str, values: list[Any]) -> tuple[FacetCount, ...]:
    query = f"""SELECT folded, min(value) AS value, count(*) AS count FROM facets
        WHERE facet = ? AND text IN (SELECT text FROM ({found}) LIMIT {MOST_COUNTED}) GROUP BY folded"""
    rows = database.execute(query, [facet, *values])
    return counts({row["folded"]: (row["value"], row["count"]) for row in rows})


def _found(wanted: Wanted, *, limited: bool) -> tuple[str, list[Any]]:
    """Return a query for all that fits, with the columns text, owner, name, place and key, and its values."""
    parts = [_found_in("now", wanted, limited=limited)]
    if wanted.at is not None:
        parts.append(_found_in("past", wanted, limited=limited))
    return " UNION ALL ".join(query for query, _ in parts), [value for _, values in parts for value in values]


def _found_in(table: str, wanted: Wanted, *, limited: bool) -> tuple[str, list[Any]]:
    sought = [term for term in wanted.terms if not term.negated]
    key = {
        "relevance": f"bm25({table}, 10.0, 1.0)",
        "changed": "-t.since" if wanted.at else "-d.changed",
        "id": "d.place",
        "title": "t.title",
    }[wanted.order]
    tables = f"{table} JOIN texts t ON t.id = {table}.rowid" if sought else "texts t"
    conditions = [*_conditions(table, wanted, sought), *([("may_read(d.owner, d.name)", [])] if limited else [])]
    where = " AND ".join(condition for condition, _ in conditions)
    query = f"""SELECT t.id AS text, d.owner, d.name, d.place, {key} AS key
        FROM {tables} JOIN datasets d ON d.id = t.dataset WHERE {where}"""
    return query, [value for _, values in conditions for value in values]


def _conditions(table: str, wanted: Wanted, sought: list[Term]) -> Iterator[tuple[str, list[Any]]]:
    yield f"t.until IS {'' if table == 'now' else 'NOT '}NULL", []
    if sought:
        yield f"{table} MATCH ?", [" AND ".join(map(_match, sought))]
    for term in wanted.terms:
        if term.negated:
            yield f"t.id NOT IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)", [_match(term)]
    if wanted.at is not None:
        moment = int(wanted.at.timestamp())
        yield "t.since <= ? AND (t.until IS NULL OR t.until > ?)", [moment, moment]
    if wanted.deleted is not None:
        yield "t.deleted = ?", [wanted.deleted]
    if wanted.changed_since is not None:
        yield "d.changed >= ?", [wanted.changed_since.timestamp()]
    for facet, folded in wanted.filters.items():
        if folded:
            yield "t.id IN (SELECT text FROM facets WHERE facet = ? AND folded = ?)", [facet, folded]
        else:
            yield "t.id NOT IN (SELECT text FROM facets WHERE facet = ?)", [facet]


def _match(term: Term) -> str:
    return f'"{" ".join(term.words)}"{" *" if term.prefix else ""}'


def _hit(source: Source, dataset_id: DatasetId, wanted: Wanted) -> Hit | None:
    """Read a dataset that was found, so that what is said of it is true; None if it is gone since."""
    try:
        revision = revision_at(source, dataset_id, wanted.at)
        if revision is None:
            return None
        seen = document(dataset_id, source.content(dataset_id, revision))
    except (NotFound, StorageCorrupt):
        return None
    snippet = seen.snippet(wanted.terms)
    return Hit(dataset_id, seen.title, snippet, revision.id, revision.created, revision.deleted)
