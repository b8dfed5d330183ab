"""The SQL of searches in SQLite. Values are always parameters; the text is put together from this module alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from metastore.search._tables import LISTED, access_word
from metastore.search.values import FACETS, Readable, Wanted
from metastore.search.words import Term


def found(wanted: Wanted, readable: Readable | None, *, walk: bool = False) -> tuple[str, list[Any]]:
    """Return an SQL query for all matches, with the facets, name, place and key, and its parameters.

    Its table `d` has the datasets, and `t` the texts; present texts are in the rows of their datasets.

    Args:
        wanted: The query.
        readable: What the caller may read.
        walk: Whether to look at the datasets one by one, the last change first: of very many, the first ones are near.
    """
    parts = [_found_in("now", wanted, readable, walk)]
    if wanted.at is not None:
        parts.append(_found_in("past", wanted, readable))
    return " UNION ALL ".join(query for query, _ in parts), [value for _, values in parts for value in values]


def unchecked(readable: Readable | None) -> tuple[str, list[Any]]:
    """Return an SQL query for readable datasets whose findings are not known, and its parameters but the limit."""
    tables = "datasets d" if readable is None else "now JOIN datasets d ON d.id = now.rowid"
    conditions = [("d.findings IS NULL", []), *_of_words("now", "d", "", readable)]
    where = " AND ".join(condition for condition, _ in conditions)
    query = f"SELECT d.id, d.owner, d.name FROM {tables} WHERE {where} LIMIT ?"
    return query, [value for _, values in conditions for value in values]


def _found_in(index: str, wanted: Wanted, readable: Readable | None, walk: bool = False) -> tuple[str, list[Any]]:
    sought = " AND ".join(_match(term) for term in wanted.terms if not term.negated)
    tables, t = ("datasets d", "d") if index == "now" else ("former t JOIN datasets d ON d.id = t.dataset", "t")
    if walk:
        tables = "datasets d CROSS JOIN now_words w ON w.id = d.id"
    elif sought or readable is not None:
        tables = f"{index} JOIN {tables}"
    key, key_values = _key(index, t, wanted, sought, readable)
    of_words = [*_of_words(index, t, sought, readable), *_without(index, t, wanted, readable)]
    conditions = [*(_walked(wanted) if walk else of_words), *_conditions(index, t, wanted, readable)]
    where = " AND ".join(condition for condition, _ in conditions) or "TRUE"
    facets = ", ".join(f"{t}.{facet}" for facet in LISTED)
    query = f"SELECT {facets}, d.owner, d.name, d.place, {key} AS key FROM {tables} WHERE {where}"
    return query, [*key_values, *(value for _, values in conditions for value in values)]


def _key(index: str, t: str, wanted: Wanted, sought: str, readable: Readable | None) -> tuple[str, list[Any]]:
    """Return the SQL expression that orders the results, and its parameters.

    BM25 counts the datasets that have a word, so it would reveal datasets that a caller may not read. For such callers,
    a match in the title comes first, then the newest.
    """
    if wanted.order == "relevance":
        in_title = f"{t}.id IN (SELECT rowid FROM {index} WHERE {index} MATCH ?)"
        ours = (f"-10000000000 * ({in_title}) - {t}.since", [_among(readable, f"title : ({sought})")])
        return ours if readable is not None else (f"bm25({index}, 10.0, 1.0)", [])
    changed = f"-{t}.since" if wanted.at else "-d.changed"
    return {"changed": changed, "id": "d.place", "title": f"{t}.title"}[wanted.order], []


def _among(readable: Readable | None, sought: str) -> str:
    """Return a query of FTS5 that looks only at datasets that the caller may read.

    So the number of rows that a search reads does not depend on other datasets, nor does its time.
    """
    if readable is None:
        return sought
    access = " OR ".join(f'"{access_word(key)}"' for key in readable.keys() or [""])
    return f"access : ({access}) AND ({sought})" if sought else f"access : ({access})"


def _walked(wanted: Wanted) -> Iterator[tuple[str, list[Any]]]:
    """Yield the conditions of words for a text by itself. To look into FTS5 for each would take ten times as long."""
    for term in wanted.terms:
        among = f" {' '.join(term.words)}{'' if term.prefix else ' '}"
        yield f"instr(' ' || plain(w.words) || ' ', ?) {'=' if term.negated else '>'} 0", [among]


def _of_words(index: str, t: str, sought: str, readable: Readable | None) -> Iterator[tuple[str, list[Any]]]:
    """Yield the conditions of words, and of what the caller may read."""
    if sought or readable is not None:
        yield f"{t}.id = {index}.rowid AND {index} MATCH ?", [_among(readable, sought)]
    if readable is not None:  # the words of access are short, so that two datasets may share one
        keys = json.dumps(readable.keys())
        among = "IN (SELECT value FROM json_each(?))"
        yield f"(d.owner {among} OR d.owner || '/' || d.name {among})", [keys, keys]


def _without(index: str, t: str, wanted: Wanted, readable: Readable | None) -> Iterator[tuple[str, list[Any]]]:
    """Yield the conditions of words that a text must not have."""
    for term in wanted.terms:
        if term.negated:
            among = _among(readable, _match(term))
            yield f"{t}.id NOT IN (SELECT rowid FROM {index} WHERE {index} MATCH ?)", [among]


def _conditions(index: str, t: str, wanted: Wanted, readable: Readable | None) -> Iterator[tuple[str, list[Any]]]:
    if wanted.at is not None:
        moment = int(wanted.at.timestamp())
        yield f"{t}.since <= ?", [moment]
        if index == "past":
            yield "t.until > ?", [moment]
    if wanted.deleted is not None:
        yield f"{t}.deleted = ?", [wanted.deleted]
    if wanted.findings is not None:
        yield "d.findings = ?", [wanted.findings]
    if wanted.changed_since is not None:
        yield "d.changed >= ?", [wanted.changed_since.timestamp()]
    yield from _filters(t, wanted, readable)


def _filters(t: str, wanted: Wanted, readable: Readable | None) -> Iterator[tuple[str, list[Any]]]:
    for facet, folded in wanted.filters.items():
        if facet == "owner":
            yield "d.owner = ?", [folded]
        elif not folded:
            yield f"{t}.{facet} IS NULL", []
        elif readable is not None:  # the lists of other datasets are not looked at
            own = f"FROM facets f CROSS JOIN facet_values v ON v.id = f.value WHERE f.list = {t}.{facet}"
            yield f"EXISTS (SELECT 1 {own} AND v.folded = ?)", [folded]
        else:
            value_ids = "SELECT id FROM facet_values WHERE facet = ? AND folded = ?"
            lists = f"SELECT list FROM facets WHERE value IN ({value_ids})"
            yield f"{t}.{facet} IN ({lists})", [FACETS.index(facet), folded]


def _match(term: Term) -> str:
    return f'"{" ".join(term.words)}"{" *" if term.prefix else ""}'
