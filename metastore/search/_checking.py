"""Looks at the search index: what it has of a dataset, and whether it contradicts itself."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from operator import itemgetter
from typing import Any

from metastore.search._tables import LISTED, access_word, digest_of
from metastore.search.values import sort_key
from metastore.types import DatasetId


def rows_of(database: sqlite3.Connection, dataset_id: DatasetId) -> list[tuple[Any, ...]]:
    """Return everything that the index has of a dataset, with its findings, in a form that two indexes can compare."""
    columns = ", ".join(f"t.{facet}" for facet in LISTED)
    is_found = "t.id IN (SELECT rowid FROM now WHERE now MATCH :sought)"  # `integrity-check` passes over lost pages
    texts = f"""SELECT {columns}, t.findings, {is_found}, t.head, t.changed, t.since,
        NULL, t.deleted, t.title, w.words, t.digest
        FROM datasets t LEFT JOIN now_words w USING (id) WHERE t.place = :place
        UNION ALL SELECT * FROM (SELECT {columns}, NULL, NULL, NULL, NULL, t.since,
        t.until, t.deleted, t.title, w.words, 0
        FROM datasets d JOIN former t ON t.dataset = d.id LEFT JOIN past_words w ON w.id = t.id
        WHERE d.place = :place ORDER BY t.id)"""
    facets = """SELECT l.facet, l.digest, v.facet, v.folded, v.value FROM facet_lists l
        LEFT JOIN facets f ON f.list = l.id LEFT JOIN facet_values v ON v.id = f.value
        WHERE l.id = ? ORDER BY v.folded, v.value"""
    rows = []
    sought = f'access : "{access_word(dataset_id)}"'
    for row in database.execute(texts, {"place": sort_key(dataset_id), "sought": sought}).fetchall():
        lists, text = row[: len(LISTED)], row[len(LISTED) :]
        rows.append((*text, *(tuple(map(tuple, database.execute(facets, (number,)))) for number in lists)))
    return rows


def has_loose_rows(database: sqlite3.Connection) -> bool:
    """Tell whether the index has rows that belong to no dataset, or its word tables differ from their texts."""
    columns = [(facet, table) for facet in LISTED for table in ("datasets", "former")]
    used = " UNION ".join(f"SELECT {facet} AS list FROM {table}" for facet, table in columns)
    loose = f"""SELECT 1 FROM datasets WHERE place <> owner || char(1) || name
        UNION ALL SELECT 1 FROM former WHERE dataset NOT IN (SELECT id FROM datasets)
        UNION ALL SELECT 1 FROM facets WHERE list NOT IN (SELECT id FROM facet_lists)
        UNION ALL SELECT 1 FROM facet_lists WHERE id NOT IN (SELECT list FROM facets)
        UNION ALL SELECT 1 FROM ({used}) WHERE list IS NOT NULL AND list NOT IN (SELECT id FROM facet_lists)
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
    return database.execute(loose).fetchone() is not None or _has_other_lists(database)


def _has_other_lists(database: sqlite3.Connection) -> bool:
    """Tell whether a list has other values than when it was made."""
    query = """SELECT l.id, l.digest, v.folded, v.value FROM facet_lists l
        JOIN facets f ON f.list = l.id LEFT JOIN facet_values v ON v.id = f.value AND v.facet = l.facet ORDER BY l.id"""
    rows = ((row[:2], row[2:]) for row in map(tuple, database.execute(query)))
    lists = groupby(rows, key=itemgetter(0))
    return any(digest != digest_of(sorted(value for _, value in values)) for (_, digest), values in lists)
