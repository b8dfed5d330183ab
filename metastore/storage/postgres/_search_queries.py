"""The SQL of searches in PostgreSQL. Values are always parameters; the text is put together from this module alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from metastore.errors import InvalidInput
from metastore.search.values import FACETS, MOST_COUNTED, Readable, Wanted
from metastore.storage.postgres._texts import facet_key

Values = dict[str, Any]
#: A query for texts, with its values.
Query = tuple[str, Values]

#: The words of a text, each between spaces. A phrase is a part of it: LIKE has no special character among words.
_WORDS = "(' ' || t.id_words || t.words || ' ')"
_TITLE = r"CASE WHEN t.title IS NULL THEN split_part(t.id_words, E'\x1e', 2) ELSE split_part(t.words, E'\x1e', 1) END"
_PLACE = r"replace(t.access[2], '/', E'\x01')"
#: A match in the title comes before all others.
_FIRST = 10**10
#: The revision that was the newest one at a moment.
_THEN = """LEFT JOIN LATERAL (SELECT r.id, metastore_dataset_time(r.body) AS time FROM dataset_revision AS r
    WHERE r.dataset = p.dataset AND metastore_dataset_time(r.body) <= %(at)s::bigint ORDER BY r.n DESC LIMIT 1
) AS r ON true"""


def counting(wanted: Wanted, readable: Readable | None) -> Query:
    """Return a query for rows of a facet, a value and a number.

    Without a facet, the number is that of the texts found, at most one beyond what is counted; the value `indexed` says
    whether the index is complete.
    """
    facets = {facet: "t.access[1:1]" if facet == "owner" else f"t.{facet}" for facet in wanted.facets}
    columns = ", ".join([*(f"{column} AS {facet}" for facet, column in facets.items()), "t.spelled"])
    found, values = _found(wanted, readable, columns)
    some = f"(SELECT * FROM found LIMIT {MOST_COUNTED}) AS f"
    parts = [
        f"WITH found AS MATERIALIZED ({found} LIMIT {MOST_COUNTED + 1})",
        "SELECT NULL AS facet, NULL AS folded, NULL AS value, count(*) FROM found",
        "UNION ALL SELECT NULL, NULL, 'indexed', count(*) FROM dataset_feed WHERE indexed",
        *(
            f"UNION ALL SELECT '{facet}', v, min(coalesce(f.spelled #>> ARRAY['{facet}', v], v) COLLATE \"C\"),"
            f" count(*) FROM {some}, unnest(f.{facet}) AS v GROUP BY v"
            for facet in facets
        ),
    ]
    return "\n".join(parts), values


def page(wanted: Wanted, readable: Readable | None) -> Query:
    """Return a query for a page of hits, with one hit more if there are more."""
    key, values = _key(wanted, readable)
    columns = f"t.dataset, t.blob, t.deleted, t.changed, t.access[2] AS identity, {_PLACE} AS place, {key} AS key"
    found, more = _found(wanted, readable, columns)
    backwards, place = wanted.before is not None, wanted.before or wanted.after
    within = f"WHERE (key, place) {'<' if backwards else '>'} (%(key)s, %(place)s)" if place else ""
    if place:
        values |= {"key": _checked_key(wanted, place[0]), "place": place[1]}
    order = "key DESC, place DESC" if backwards else "key, place"
    revision, then = ("r.id, r.time", _THEN) if wanted.at is not None else ("d.head, p.changed", "")
    query = f"""SELECT p.dataset, p.identity, p.blob, {revision}, p.deleted, p.key, p.place
FROM (SELECT * FROM ({found}) AS t {within} ORDER BY {order} LIMIT {wanted.limit + 1}) AS p
JOIN dataset AS d ON d.pk = p.dataset {then} ORDER BY {order}"""
    return query, values | more


def _checked_key(wanted: Wanted, key: Any) -> Any:
    is_text = wanted.order in ("id", "title")
    if isinstance(key, str) != is_text or (not is_text and abs(key) > 2**60):
        raise InvalidInput("after is the `following`, and before the `preceding`, of a page of the same search")
    return key if is_text else int(key)


def _changed(readable: Readable | None) -> str:
    """Return the expression that orders texts by their change, the newest first.

    For a caller who may not read all, it has another form than the index: walking along the index takes longer, the
    more other datasets have changed.
    """
    return "(-t.changed)" if readable is None else "(0 - t.changed)"


def _key(wanted: Wanted, readable: Readable | None) -> Query:
    """Return the expression that orders the results."""
    if wanted.order == "relevance":
        terms = [term for term in wanted.terms if not term.negated]
        values = {f"title{number}": _pattern(*term) for number, term in enumerate((t.words, t.prefix) for t in terms)}
        matches = " AND ".join(f"{_TITLE} LIKE %({name})s" for name in values)
        return f"(CASE WHEN {matches} THEN -{_FIRST} ELSE 0 END - t.since)", values
    changed = "(-t.since)" if wanted.at else _changed(readable)
    title = "coalesce(t.title, split_part(t.access[2], '/', 2))"
    return {"changed": changed, "id": _PLACE, "title": title}[wanted.order], {}


def _found(wanted: Wanted, readable: Readable | None, columns: str) -> Query:
    """Return a query for all texts that match."""
    conditions, values = list[str](), Values()
    for condition, more in _conditions(wanted, readable):
        conditions.append(condition)
        values |= more
    parts = ["t.until IS NULL"]
    if wanted.at is not None:
        parts.append("t.until > %(at)s::bigint")
    where = [" AND ".join((part, *conditions)) for part in parts]
    return " UNION ALL ".join(f"SELECT {columns} FROM dataset_text AS t WHERE {each}" for each in where), values


def _conditions(wanted: Wanted, readable: Readable | None) -> Iterator[Query]:
    if readable is not None:
        yield "t.access && %(readable)s::text[]", {"readable": readable.keys()}
    yield from _of_words(wanted)
    if wanted.at is not None:
        yield "t.since <= %(at)s::bigint", {"at": int(wanted.at.timestamp())}
    if wanted.deleted is not None:
        yield "t.deleted = %(deleted)s", {"deleted": wanted.deleted}
    if wanted.findings is not None:
        yield "t.findings = %(findings)s", {}  # the value is the caller's, who knows the rules of the check
    if wanted.changed_since is not None:
        latest = -math.ceil(wanted.changed_since.timestamp())
        yield f"{_changed(readable)} <= %(changed_since)s::bigint", {"changed_since": latest}
    for facet, folded in wanted.filters.items():
        assert facet in FACETS
        if facet == "owner":
            yield ("t.access @> ARRAY[%(owner)s]", {"owner": folded}) if folded and "/" not in folded else ("false", {})
        elif folded:
            yield f"t.{facet} @> ARRAY[%({facet})s]", {facet: facet_key(folded)}
        else:
            yield f"t.{facet} = '{{}}'", {}


def _of_words(wanted: Wanted) -> Iterator[Query]:
    """Yield the conditions of a query's text. The index finds words; only a phrase needs a look at the text."""
    sought = [
        f"'{word}'{':*' if term.prefix and at == len(term.words) else ''}"
        for term in wanted.terms
        if not term.negated
        for at, word in enumerate(term.words, 1)
    ]
    if sought:
        yield "metastore_dataset_words(t.id_words, t.words) @@ %(words)s::text::tsquery", {"words": " & ".join(sought)}
    for number, term in enumerate(wanted.terms):
        if term.negated or len(term.words) > 1:
            like = "NOT LIKE" if term.negated else "LIKE"
            yield f"{_WORDS} {like} %(text{number})s", {f"text{number}": _pattern(term.words, term.prefix)}


def _pattern(words: tuple[str, ...], prefix: bool) -> str:
    return f"% {' '.join(words)}{'' if prefix else ' '}%"
