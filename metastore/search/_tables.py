"""The tables of the search index: what they hold, and how texts come into them and leave them."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.search.documents import Document
from metastore.search.values import FACETS, sort_key
from metastore.search.words import words_of, words_of_each
from metastore.types import DatasetId

FORMAT = 11
#: A dataset has its present text, and `former` has those before it. Texts with the same values share a set of facets.
#: The words are stored once, compressed: FTS5 reads them through the views when a text leaves an index, or is verified.
SCHEMA = """
CREATE TABLE meta (cursor TEXT, judge TEXT);
INSERT INTO meta VALUES (NULL, NULL);
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL UNIQUE, head TEXT NOT NULL,
    changed INTEGER NOT NULL, since INTEGER NOT NULL, deleted INTEGER NOT NULL, title TEXT NOT NULL,
    facet_set INTEGER NOT NULL, digest BLOB NOT NULL, findings INTEGER
);
CREATE INDEX datasets_changed ON datasets (-changed, place);
CREATE TABLE unreadable (place TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE former (
    id INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    deleted INTEGER NOT NULL, title TEXT NOT NULL, facet_set INTEGER NOT NULL
);
CREATE INDEX former_of_dataset ON former (dataset);
CREATE TABLE facet_values (
    id INTEGER PRIMARY KEY, facet INTEGER NOT NULL, folded TEXT NOT NULL, value TEXT NOT NULL,
    UNIQUE (facet, folded, value)
);
CREATE TABLE facets (
    facet_set INTEGER NOT NULL, facet INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (facet_set, facet, value)
) WITHOUT ROWID;
CREATE INDEX sets_of_facet_value ON facets (value);
CREATE TABLE now_words (id INTEGER PRIMARY KEY, words BLOB NOT NULL);
CREATE TABLE past_words (id INTEGER PRIMARY KEY, words BLOB NOT NULL);
CREATE VIEW now_texts AS
    SELECT id, title_words(title) AS title, plain(words) AS words, access_words(owner, name) AS access
    FROM datasets JOIN now_words USING (id);
CREATE VIEW past_texts AS
    SELECT f.id, title_words(f.title) AS title, plain(w.words) AS words, access_words(d.owner, d.name) AS access
    FROM former f JOIN past_words w ON w.id = f.id JOIN datasets d ON d.id = f.dataset;
CREATE VIRTUAL TABLE now USING fts5 (
    title, words, access, tokenize = 'ascii', content = 'now_texts', content_rowid = 'id'
);
CREATE VIRTUAL TABLE past USING fts5 (
    title, words, access, tokenize = 'ascii', content = 'past_texts', content_rowid = 'id'
)
"""
#: Stands for a gap between two texts. FTS5 takes it for a word, since it is not ASCII. No query has it, since it is
#: neither letter nor digit.
_GAP = "\N{SYMBOL FOR RECORD SEPARATOR}"
#: How large the words of a text may be, in bytes: a file that somebody sent may have some that swell.
_MOST_BYTES = 4 * 1024 * 1024
#: The ids of values of facets, valid within one transaction, since another process may remove them.
ValueIds = dict[tuple[int, str, str], int]


@dataclass(frozen=True, slots=True)
class Text:
    """The text that a dataset has had since a time, its access words, and the number of its facets."""

    since: int
    deleted: bool
    title: str
    words: str
    access: str
    digest: bytes
    facet_set: int
    values: Mapping[str, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, seen: Document, access: str, since: int, deleted: bool, digest: bytes, facet_set: int) -> Text:
        words = " ".join(f"{text} {_GAP}" if text else _GAP for text in words_of_each(seen.texts))
        return cls(since, deleted, seen.title, words, access, digest, facet_set, seen.values)


def add_functions(database: sqlite3.Connection) -> None:
    """Add the functions that the views need to a connection."""
    database.create_function("plain", 1, _plain, deterministic=True)
    database.create_function("title_words", 1, _title_words, deterministic=True)
    database.create_function("access_words", 2, access_words, deterministic=True)


def _plain(words: bytes) -> str:
    """Unpack the words of a text. Raises sqlite3.DatabaseError: somebody else changed them."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(words, _MOST_BYTES).decode()
    except (zlib.error, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"the words of a text are damaged: {error}") from error
    if unpacker.unconsumed_tail:
        raise sqlite3.DatabaseError("the words of a text swell")
    return plain


def access_word(key: str) -> str:
    """Return the word by which all datasets of an owner are found, or the one with an id. No query has it."""
    return _GAP + hashlib.blake2b(key.encode(), digest_size=4).hexdigest()


def access_words(owner: str, name: str) -> str:
    """Return the words by which a dataset is found among those that a caller may read."""
    return f"{access_word(owner)} {access_word(f'{owner}/{name}')}"


def _title_words(title: str) -> str:
    return " ".join(words_of(title))


def empty(database: sqlite3.Connection) -> None:
    for index in ("now", "past"):
        database.execute(f"INSERT INTO {index} ({index}) VALUES ('delete-all')")
    for table in ("datasets", "unreadable", "former", "facets", "facet_values", "now_words", "past_words"):
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET cursor = NULL")


def _next(database: sqlite3.Connection, column: str, table: str) -> int:
    """Return a number that is not in use."""
    return int(database.execute(f"SELECT coalesce(max({column}), 0) + 1 FROM {table}").fetchone()[0])


def add_dataset(database: sqlite3.Connection, dataset_id: DatasetId) -> int:
    """Add a dataset without a text, and return its number."""
    dataset = _next(database, "id", "datasets")
    place = (dataset, dataset_id.owner, dataset_id.name, sort_key(dataset_id))
    database.execute("INSERT INTO datasets VALUES (?, ?, ?, ?, '', 0, 0, 0, '', 0, x'', NULL)", place)
    return dataset


def present(database: sqlite3.Connection, row: sqlite3.Row) -> Text:
    """Return the present text of a dataset from its row."""
    (words,) = database.execute("SELECT words FROM now_words WHERE id = ?", (row["id"],)).fetchone()
    access = access_words(row["owner"], row["name"])
    words, digest, facet_set = _plain(words), row["digest"], row["facet_set"]
    return Text(row["since"], bool(row["deleted"]), row["title"], words, access, digest, facet_set)


def set_present(database: sqlite3.Connection, dataset: int, before: Text | None, text: Text) -> None:
    """Give a dataset its present text, instead of the one before."""
    if before is not None:
        _take_out(database, dataset)
    values = (text.since, text.deleted, text.title, text.facet_set, text.digest, dataset)
    changed = "UPDATE datasets SET since = ?, deleted = ?, title = ?, facet_set = ?, digest = ? WHERE id = ?"
    database.execute(changed, values)
    _add_words(database, "now", dataset, text)


def retire(database: sqlite3.Connection, dataset: int, text: Text, *, until: int, next_set: int) -> None:
    """Add a text to those that a dataset had before, unless it held for less than a second.

    Args:
        database: The index.
        dataset: The number of the dataset.
        text: The text.
        until: When it ended.
        next_set: The set of facets of the text after it.
    """
    if until < text.since:  # a clock went back: earlier texts do not hold beyond this time either
        database.execute("UPDATE former SET until = ? WHERE dataset = ? AND until > ?", (until, dataset, until))
    if until <= text.since:
        if text.facet_set != next_set:
            unused = "facet_set = :set AND NOT EXISTS (SELECT 1 FROM former WHERE dataset = :id AND facet_set = :set)"
            database.execute(f"DELETE FROM facets WHERE {unused}", {"set": text.facet_set, "id": dataset})
        return
    number = _next(database, "id", "former")
    values = (number, dataset, text.since, until, text.deleted, text.title, text.facet_set)
    database.execute("INSERT INTO former VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    _add_words(database, "past", number, text)


def _add_words(database: sqlite3.Connection, index: str, number: int, text: Text) -> None:
    packed = zlib.compress(text.words.encode(), 1)
    database.execute(f"INSERT INTO {index}_words VALUES (?, ?)", (number, packed))
    added = f"INSERT INTO {index} (rowid, title, words, access) VALUES (?, ?, ?, ?)"
    database.execute(added, (number, _title_words(text.title), text.words, text.access))


def facet_set_of(database: sqlite3.Connection, before: Text | None, seen: Document, known: ValueIds) -> int:
    """Store the values of a text, unless the text before it has the same, and return the number of the set."""
    if before is not None and before.values == seen.values:
        return before.facet_set
    values = {
        (number, _value_id(database, (number, folded, value), known))
        for number, facet in enumerate(FACETS)
        for folded, value in seen.folded(facet)
    }
    if before is not None:
        stored = database.execute("SELECT facet, value FROM facets WHERE facet_set = ?", (before.facet_set,))
        if values == set(map(tuple, stored)):
            return before.facet_set
    facet_set = _next(database, "facet_set", "facets")
    database.executemany("INSERT INTO facets VALUES (?, ?, ?)", [(facet_set, *value) for value in sorted(values)])
    return facet_set


def _value_id(database: sqlite3.Connection, key: tuple[int, str, str], known: ValueIds) -> int:
    if key not in known:
        database.execute("INSERT OR IGNORE INTO facet_values (facet, folded, value) VALUES (?, ?, ?)", key)
        query = "SELECT id FROM facet_values WHERE facet = ? AND folded = ? AND value = ?"
        known[key] = database.execute(query, key).fetchone()[0]
    return known[key]


def forget(database: sqlite3.Connection, dataset_id: DatasetId) -> None:
    """Remove a dataset from the index."""
    database.execute("DELETE FROM unreadable WHERE place = ?", (sort_key(dataset_id),))
    row = database.execute("SELECT id FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    if row is None:
        return
    sets = "SELECT facet_set FROM datasets WHERE id = :id UNION SELECT facet_set FROM former WHERE dataset = :id"
    database.execute(f"DELETE FROM facets WHERE facet_set IN ({sets})", {"id": row["id"]})
    for table, column in (("past", "rowid"), ("past_words", "id")):
        texts = "SELECT id FROM former WHERE dataset = ?"
        database.execute(f"DELETE FROM {table} WHERE {column} IN ({texts})", (row["id"],))
    database.execute("DELETE FROM former WHERE dataset = ?", (row["id"],))
    _take_out(database, row["id"])
    database.execute("DELETE FROM datasets WHERE id = ?", (row["id"],))


def note_unreadable(database: sqlite3.Connection, dataset_id: DatasetId) -> None:
    """Keep of a dataset only that it cannot be read."""
    forget(database, dataset_id)
    row = (sort_key(dataset_id), dataset_id.owner, dataset_id.name)
    database.execute("INSERT INTO unreadable VALUES (?, ?, ?)", row)


def unreadable_ids(database: sqlite3.Connection, owner: str | None) -> list[DatasetId]:
    """Return the datasets of an owner, or (None) all, that could not be read when they were indexed."""
    query = "SELECT owner, name FROM unreadable WHERE :owner IS NULL OR owner = :owner ORDER BY place"
    return [id_in(row) for row in database.execute(query, {"owner": owner})]


def _take_out(database: sqlite3.Connection, dataset: int) -> None:
    """Remove the present words of a dataset, if it has any. FTS5 reads them once more, so that they go last."""
    database.execute("DELETE FROM now WHERE rowid IN (SELECT id FROM now_words WHERE id = ?)", (dataset,))
    database.execute("DELETE FROM now_words WHERE id = ?", (dataset,))


def known_ids(database: sqlite3.Connection) -> list[DatasetId]:
    """Return the datasets in the index."""
    return [id_in(row) for row in database.execute("SELECT owner, name FROM datasets ORDER BY place")]


def id_in(row: sqlite3.Row) -> DatasetId:
    """Return the id of a dataset from a row.

    Raises:
        sqlite3.DatabaseError: It is not an id. In a file that somebody sent, it might lead out of the store.
    """
    try:
        return parse_dataset_id((row["owner"], row["name"]))
    except InvalidInput as error:
        raise sqlite3.DatabaseError(f"the index has an id that is none: {error}") from error


def rows_of(database: sqlite3.Connection, dataset_id: DatasetId) -> list[tuple[Any, ...]]:
    """Return everything that the index has of a dataset, with its findings, in a form that two indexes can compare."""
    texts = """SELECT d.facet_set, d.findings, d.head, d.changed, d.since, NULL, d.deleted, d.title, w.words, d.digest
        FROM datasets d LEFT JOIN now_words w USING (id) WHERE d.place = ?
        UNION ALL SELECT * FROM (SELECT t.facet_set, NULL, NULL, NULL, t.since, t.until, t.deleted, t.title, w.words, 0
        FROM datasets d JOIN former t ON t.dataset = d.id LEFT JOIN past_words w ON w.id = t.id
        WHERE d.place = ? ORDER BY t.id)"""
    facets = """SELECT v.facet, v.folded, v.value, f.facet FROM facets f LEFT JOIN facet_values v ON v.id = f.value
        WHERE f.facet_set = ? ORDER BY v.facet, v.folded"""
    rows = database.execute(texts, (sort_key(dataset_id),) * 2).fetchall()
    return [(*text, *map(tuple, database.execute(facets, (number,)))) for number, *text in rows]


def has_loose_rows(database: sqlite3.Connection) -> bool:
    """Tell whether the index has rows that belong to no dataset, or its word tables differ from their texts."""
    sets = "SELECT facet_set FROM datasets UNION SELECT facet_set FROM former"
    loose = f"""SELECT 1 FROM datasets WHERE place <> owner || char(1) || name
        UNION ALL SELECT 1 FROM former WHERE dataset NOT IN (SELECT id FROM datasets)
        UNION ALL SELECT 1 FROM facets WHERE facet_set NOT IN ({sets})
        UNION ALL SELECT 1 FROM ({sets}) WHERE facet_set NOT IN (SELECT facet_set FROM facets)
        UNION ALL SELECT 1 FROM facets WHERE value NOT IN (SELECT id FROM facet_values)
        UNION ALL SELECT 1 FROM now_words WHERE id NOT IN (SELECT id FROM datasets)
        UNION ALL SELECT 1 FROM past_words WHERE id NOT IN (SELECT id FROM former)"""
    try:
        for table in ("now", "past"):
            database.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname != "SQLITE_CORRUPT_VTAB":
            raise
        return True
    return database.execute(loose).fetchone() is not None
