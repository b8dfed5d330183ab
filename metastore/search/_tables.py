"""The tables of the search index: what they hold, and how texts come into them and leave them."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.search.documents import Document
from metastore.search.values import FACETS, sort_key
from metastore.search.words import words_of, words_of_each
from metastore.types import DatasetId

FORMAT = 13
#: A dataset has its present text, and `former` has those before it. Their columns of facets have numbers of lists of
#: values; texts with the same values share a list, so that they are counted together. NULL stands for no values.
#: The words are stored once, compressed: FTS5 reads them through the views when a text leaves an index, or is verified.
SCHEMA = """
CREATE TABLE meta (cursor TEXT, judge TEXT);
INSERT INTO meta VALUES (NULL, NULL);
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL UNIQUE, head TEXT NOT NULL,
    changed INTEGER NOT NULL, since INTEGER NOT NULL, deleted INTEGER NOT NULL, title TEXT NOT NULL,
    digest BLOB NOT NULL, findings INTEGER,
    licence INTEGER, keyword INTEGER, format INTEGER, field INTEGER, contributor INTEGER, openness INTEGER
);
CREATE INDEX datasets_changed ON datasets (-changed, place);
CREATE TABLE unreadable (place TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE former (
    id INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,
    deleted INTEGER NOT NULL, title TEXT NOT NULL,
    licence INTEGER, keyword INTEGER, format INTEGER, field INTEGER, contributor INTEGER, openness INTEGER
);
CREATE INDEX former_of_dataset ON former (dataset);
CREATE TABLE facet_values (
    id INTEGER PRIMARY KEY, facet INTEGER NOT NULL, folded TEXT NOT NULL, value TEXT NOT NULL,
    UNIQUE (facet, folded, value)
);
CREATE TABLE facet_lists (
    id INTEGER PRIMARY KEY, facet INTEGER NOT NULL, digest BLOB NOT NULL, UNIQUE (facet, digest)
);
CREATE TABLE facets (list INTEGER NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (list, value)) WITHOUT ROWID;
CREATE INDEX lists_of_facet_value ON facets (value);
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
#: The facets of a text that have columns: the owner is a part of the id.
LISTED = FACETS[1:]
#: The lists of a text: the values of each column.
Lists = tuple[int | None, ...]
#: The numbers of lists of values, valid within one transaction, since another process may remove them.
KnownLists = dict[tuple[int, tuple[str, ...]], int]


@dataclass(frozen=True, slots=True)
class Text:
    """The text that a dataset has had since a time, its access words, and the lists of its facets."""

    since: int
    deleted: bool
    title: str
    words: str
    access: str
    digest: bytes
    lists: Lists
    values: Mapping[str, tuple[str, ...]] | None = None

    @classmethod
    def of(cls, seen: Document, access: str, since: int, deleted: bool, digest: bytes, lists: Lists) -> Text:
        words = " ".join(f"{text} {_GAP}" if text else _GAP for text in words_of_each(seen.texts))
        return cls(since, deleted, seen.title, words, access, digest, lists, seen.values)


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


def meta(database: sqlite3.Connection, column: str) -> str | None:
    """Return what a column says of the whole index. Raises sqlite3.DatabaseError: it is damaged."""
    row = database.execute(f"SELECT {column} FROM meta").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the index does not say what it covers")
    value: str | None = row[0]
    return value


def empty(database: sqlite3.Connection) -> None:
    for index in ("now", "past"):
        database.execute(f"INSERT INTO {index} ({index}) VALUES ('delete-all')")
    tables = "datasets", "unreadable", "former", "facets", "facet_lists", "facet_values", "now_words", "past_words"
    for table in tables:
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET cursor = NULL")


def _next(database: sqlite3.Connection, column: str, table: str) -> int:
    """Return a number that is not in use."""
    return int(database.execute(f"SELECT coalesce(max({column}), 0) + 1 FROM {table}").fetchone()[0])


def add_dataset(database: sqlite3.Connection, dataset_id: DatasetId) -> int:
    """Add a dataset without a text, and return its number."""
    dataset = _next(database, "id", "datasets")
    place = (dataset, dataset_id.owner, dataset_id.name, sort_key(dataset_id))
    columns = "id, owner, name, place, head, changed, since, deleted, title, digest"
    database.execute(f"INSERT INTO datasets ({columns}) VALUES (?, ?, ?, ?, '', 0, 0, 0, '', x'')", place)
    return dataset


def present(database: sqlite3.Connection, row: sqlite3.Row) -> Text:
    """Return the present text of a dataset from its row."""
    (words,) = database.execute("SELECT words FROM now_words WHERE id = ?", (row["id"],)).fetchone()
    access = access_words(row["owner"], row["name"])
    lists = tuple(row[facet] for facet in LISTED)
    return Text(row["since"], bool(row["deleted"]), row["title"], _plain(words), access, row["digest"], lists)


def set_present(database: sqlite3.Connection, dataset: int, before: Text | None, text: Text) -> None:
    """Give a dataset its present text, instead of the one before."""
    if before is not None:
        _take_out(database, dataset)
    values = (text.since, text.deleted, text.title, text.digest, *text.lists, dataset)
    changed = "UPDATE datasets SET since = ?, deleted = ?, title = ?, digest = ?"
    database.execute(f"{changed}, {' = ?, '.join(LISTED)} = ? WHERE id = ?", values)
    _add_words(database, "now", dataset, text)


def retire(database: sqlite3.Connection, dataset: int, text: Text, *, until: int) -> None:
    """Add a text to those that a dataset had before, unless it held for less than a second."""
    if until < text.since:  # a clock went back: earlier texts do not hold beyond this time either
        database.execute("UPDATE former SET until = ? WHERE dataset = ? AND until > ?", (until, dataset, until))
    if until <= text.since:
        return
    number = _next(database, "id", "former")
    values = (number, dataset, text.since, until, text.deleted, text.title, *text.lists)
    database.execute(f"INSERT INTO former VALUES ({', '.join('?' * len(values))})", values)
    _add_words(database, "past", number, text)


def _add_words(database: sqlite3.Connection, index: str, number: int, text: Text) -> None:
    packed = zlib.compress(text.words.encode(), 1)
    database.execute(f"INSERT INTO {index}_words VALUES (?, ?)", (number, packed))
    added = f"INSERT INTO {index} (rowid, title, words, access) VALUES (?, ?, ?, ?)"
    database.execute(added, (number, _title_words(text.title), text.words, text.access))


def lists_of(database: sqlite3.Connection, before: Text | None, seen: Document, known: KnownLists) -> Lists:
    """Return the lists of the values of a text, and store those that are new."""
    if before is not None and before.values == seen.values:
        return before.lists
    return tuple(_list_of(database, facet, seen, known) for facet in LISTED)


def _list_of(database: sqlite3.Connection, facet: str, seen: Document, known: KnownLists) -> int | None:
    key = FACETS.index(facet), seen.values[facet]
    if not key[1]:
        return None
    if key not in known:
        digest = digest_of(sorted(seen.folded(facet)))
        find = "SELECT id FROM facet_lists WHERE facet = ? AND digest = ?"
        row = database.execute(find, (key[0], digest)).fetchone()
        known[key] = row[0] if row else _add_list(database, key[0], digest, seen.folded(facet))
    return known[key]


def digest_of(values: Iterable[tuple[str, str]]) -> bytes:
    return hashlib.blake2b(repr(values).encode(), digest_size=16).digest()


def _add_list(database: sqlite3.Connection, facet: int, digest: bytes, values: Iterable[tuple[str, str]]) -> int:
    number = _next(database, "id", "facet_lists")
    database.execute("INSERT INTO facet_lists VALUES (?, ?, ?)", (number, facet, digest))
    for folded, value in values:
        key = (facet, folded, value)
        database.execute("INSERT OR IGNORE INTO facet_values (facet, folded, value) VALUES (?, ?, ?)", key)
        query = "SELECT id FROM facet_values WHERE facet = ? AND folded = ? AND value = ?"
        value_id = database.execute(query, key).fetchone()[0]
        # For INSERT … SELECT, SQLite would make a savepoint, and FTS5 a segment each time.
        database.execute("INSERT INTO facets VALUES (?, ?)", (number, value_id))
    return number


def forget(database: sqlite3.Connection, dataset_id: DatasetId) -> None:
    """Remove a dataset from the index."""
    database.execute("DELETE FROM unreadable WHERE place = ?", (sort_key(dataset_id),))
    row = database.execute("SELECT id FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    if row is None:
        return
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
