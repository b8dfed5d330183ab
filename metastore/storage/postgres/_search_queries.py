"""The SQL of searches in PostgreSQL. Values are always parameters; the text is put together from this module alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from metastore.errors import InvalidInput
from metastore.search.values import FACETS, MOST_COUNTED, Readable, Wanted
from metastore.search.words import Term
from metastore.storage.postgres._texts import facet_key

Values = dict[str, Any]
#: A query for texts, with its values.
Query = tuple[str, Values]

#: The words of a text, each between spaces. A phrase is a part of it: LIKE has no special character among words.
_WORDS = "(' ' || t.id_words || t.words || ' ')"
_TITLE = r"CASE WHEN t.title IS NULL THEN split_part(t.id_words, E'\x1e', 2) ELSE split_part(t.words, E'\x1e', 1) END"
_PLACE = r"replace(t.access[2], '/', E'\x01')"
#: The condition of the index of changes. Without it, no search walks along that index.
_CHANGED = "CASE WHEN t.until IS NULL THEN true ELSE false END"
#: A match in the title comes before all others.
_FIRST = 10**10
#: The newest revision, which a plan that joins would look for among all datasets.
_HEAD = "(SELECT d.head FROM dataset AS d WHERE d.pk = metastore_dataset_sought(p.dataset))"
#: The revision that was the newest one at a moment.
_THEN = """LEFT JOIN LATERAL (SELECT r.id, metastore_dataset_time(r.rest) AS time FROM dataset_revision AS r
    WHERE r.dataset = metastore_dataset_sought(p.dataset) AND metastore_dataset_time(r.rest) <= %(at)s::bigint
    ORDER BY r.first DESC, r.n DESC LIMIT 1
) AS r ON true"""


def counting(wanted: Wanted, readable: Readable | None) -> Query:
    """Return a query for rows of a facet, a value and a number.

    Without a facet, the number is that of the texts found, at most one beyond what is counted; the value `indexed` says
    whether the index is complete.
    """
    columns = ", ".join(map(_columns_of, wanted.facets))
    found, values = _found(wanted, readable, columns or "t.dataset")
    parts = [
        f"WITH found AS MATERIALIZED ({found} LIMIT {MOST_COUNTED + 1})",
        "SELECT NULL AS facet, NULL AS folded, NULL AS value, count(*) FROM found",
        "UNION ALL SELECT NULL, NULL, 'indexed', count(*) FROM dataset_feed WHERE indexed",
        *map(_count_of, wanted.facets),
    ]
    return "\n".join(parts), values


def _columns_of(facet: str) -> str:
    """Return the columns that the values of a facet are counted in. How some are written is taken out of the rest."""
    return "t.access[1] AS owner" if facet == "owner" else f"v.{facet}, v.spelled ->> '{facet}' AS {facet}_written"


def _count_of(facet: str) -> str:
    """Return a query for the values of a facet. Texts with the same ones are counted first, and then told apart."""
    some = f"(SELECT * FROM found LIMIT {MOST_COUNTED}) AS f"
    if facet == "owner":
        return f"UNION ALL SELECT 'owner', f.owner, f.owner, count(*) FROM {some} GROUP BY f.owner"
    return f"""UNION ALL SELECT '{facet}', v, min(coalesce(g.written::jsonb ->> v, v) COLLATE "C"), sum(g.texts)::bigint
FROM (SELECT f.{facet} AS held, f.{facet}_written AS written, count(*) AS texts FROM {some} GROUP BY 1, 2) AS g,
    unnest(g.held) AS v GROUP BY v"""


def page(wanted: Wanted, readable: Readable | None, are_very_many: bool = False) -> Query:
    """Return a query for a page of hits, with one hit more if there are more.

    Args:
        wanted: The query.
        readable: What the caller may read.
        are_very_many: Whether there are more than are counted.
    """
    key, values = _key(wanted, readable)
    columns = f"t.dataset, t.blob, t.deleted, t.changed, t.access[2] AS identity, {_PLACE} AS place, {key} AS key"
    walk = are_very_many and wanted.order == "changed" and readable is None and wanted.at is None
    found, more = _found(wanted, readable, columns, walk=walk)
    backwards, place = wanted.before is not None, wanted.before or wanted.after
    within = f"WHERE (key, place) {'<' if backwards else '>'} (%(key)s, %(place)s)" if place else ""
    if place:
        values |= {"key": _checked_key(wanted, place[0]), "place": place[1]}
    order = "key DESC, place DESC" if backwards else "key, place"
    revision, then = ("r.id, r.time", _THEN) if wanted.at is not None else (f"{_HEAD}, p.changed", "")
    query = f"""SELECT p.dataset, p.identity, p.blob, {revision}, p.deleted, p.key, p.place
FROM (SELECT * FROM ({found}) AS t {within} ORDER BY {order} LIMIT {wanted.limit + 1}) AS p
{then} ORDER BY {order}"""
    return query, values | more


def unchecked(readable: Readable | None, judge: str) -> Query:
    """Return a query for the present texts that these rules of a check did not judge yet, some at once."""
    judged = "t.findings IS DISTINCT FROM %(judge)s || '+' AND t.findings IS DISTINCT FROM %(judge)s || '-'"
    among, values = _among("t", readable)
    query = f"SELECT t.dataset, t.blob FROM dataset_text AS t WHERE t.until IS NULL AND {judged}{among} LIMIT 100"
    return query, {"judge": judge, **values}


def _checked_key(wanted: Wanted, key: Any) -> Any:
    is_text = wanted.order in ("id", "title")
    if isinstance(key, str) != is_text or (not is_text and abs(key) > 2**60):
        raise InvalidInput("after is the `following`, and before the `preceding`, of a page of the same search")
    return key if is_text else int(key)


def _key(wanted: Wanted, readable: Readable | None) -> Query:
    """Return the expression that orders the results."""
    if wanted.order == "relevance":
        terms = [term for term in wanted.terms if not term.negated]
        titles = {f"title{number}": _pattern(term.words, term.prefix) for number, term in enumerate(terms)}
        words = {f"word{number}": f"%{word}%" for number, word in enumerate(w for term in terms for w in term.words)}
        # A title in ASCII is looked at as it is written, first: to unpack the words of a text takes five times as long.
        return (
            f"""(CASE WHEN octet_length(t.title) = length(t.title) AND NOT lower(t.title) {_all_of(words)} THEN 0
    WHEN {_TITLE} {_all_of(titles)} THEN -{_FIRST} ELSE 0 END - t.since)""",
            titles | words,
        )
    changed = "(-t.since)" if wanted.at else "(-t.changed)"
    title = "coalesce(t.title, split_part(t.access[2], '/', 2))"
    return {"changed": changed, "id": _PLACE, "title": title}[wanted.order], {}


def _all_of(names: Values) -> str:
    """Return the condition that a text is like all of some parameters."""
    return f"LIKE ALL (ARRAY[{', '.join(f'%({name})s' for name in names)}]::text[])"


def _found(wanted: Wanted, readable: Readable | None, columns: str, *, walk: bool = False) -> Query:
    """Return a query for all texts that match. Columns are of `t`, the texts, and of `v`, their facets.

    With `walk`, the texts are looked at one by one, in the order of their changes, not in the index of words.
    """
    present, values = _where(_now(wanted, walk=walk), wanted, readable)
    by_change = wanted.order == "changed" or wanted.changed_since is not None
    now = f"t.until IS NULL AND {_CHANGED}" if by_change and readable is None else "t.until IS NULL"
    found = f"SELECT {columns.replace('v.', 't.')} FROM dataset_text AS t WHERE {now} AND {present}"
    if wanted.at is None:
        return found, values
    former, more = _where(_then(wanted, readable), wanted, readable)
    facets = "CROSS JOIN metastore_dataset_facets(t.dataset, %(at)s::bigint) AS v" if "v." in columns else ""
    then = f"SELECT {columns} FROM dataset_text AS t {facets} WHERE t.until > %(at)s::bigint AND {former}"
    return f"{found} UNION ALL {then}", values | more


def _among(table: str, readable: Readable | None) -> Query:
    """Return the condition that a caller may read a text or span. With it, PostgreSQL always begins with an index.

    The planner does not see the value of a subquery. By what it knows of the texts of an owner, it might read them all.
    """
    if readable is None:
        return "", {}
    keys = "metastore_dataset_sought((SELECT %(readable)s::text[]))"
    return f" AND {table}.access && {keys}", {"readable": readable.keys()}


def _where(of_text: Iterator[Query], wanted: Wanted, readable: Readable | None) -> Query:
    among, values = _among("t", readable)
    conditions = ["true"]
    for condition, more in (*of_text, *_conditions(wanted)):
        conditions.append(condition)
        values |= more
    return " AND ".join(conditions) + among, values


def _conditions(wanted: Wanted) -> Iterator[Query]:
    if wanted.at is not None:
        yield "t.since <= %(at)s::bigint", {"at": int(wanted.at.timestamp())}
    if wanted.deleted is not None:
        yield "t.deleted = %(deleted)s", {"deleted": wanted.deleted}
    if wanted.findings is not None:
        yield "t.findings = %(findings)s", {}  # the value is the caller's, who knows the rules of the check
    if wanted.changed_since is not None:
        latest = -math.ceil(wanted.changed_since.timestamp())
        yield "(-t.changed) <= %(changed_since)s::bigint", {"changed_since": latest}
    if (owner := wanted.filters.get("owner")) is not None:
        yield ("t.access @> ARRAY[%(owner)s]", {"owner": owner}) if owner and "/" not in owner else ("false", {})


def _now(wanted: Wanted, *, walk: bool) -> Iterator[Query]:
    """Yield the conditions of words and facets for present texts. Only a phrase needs a look at the text itself."""
    if not walk and (sought := [_terms(term) for term in wanted.terms if not term.negated]):
        yield "metastore_dataset_words(t.id_words, t.words) @@ %(words)s::text::tsquery", {"words": " & ".join(sought)}
    for number, term in enumerate(wanted.terms):
        if term.negated or len(term.words) > 1 or walk:
            fits = f"{_WORDS} {'NOT LIKE' if term.negated else 'LIKE'} %(text{number})s"
            # PostgreSQL takes it for rare, and would sort all; of CASE it knows nothing, and expects half of the texts.
            condition = f"CASE WHEN {fits} THEN true ELSE false END" if walk else fits
            yield condition, {f"text{number}": _pattern(term.words, term.prefix)}
    for facet, folded in wanted.filters.items():
        assert facet in FACETS
        if facet != "owner" and folded:
            yield f"t.{facet} @> ARRAY[%({facet})s]", {facet: facet_key(folded)}
        elif facet != "owner":
            yield f"t.{facet} = '{{}}'", {}


def _then(wanted: Wanted, readable: Readable | None) -> Iterator[Query]:
    """Yield the conditions of words and facets for former texts: which spans held then, and which did not."""
    among, _ = _among("s", readable)
    for number, term in enumerate(wanted.terms):
        yield _held(f"terms{number}", _terms(term), among, negated=term.negated, phrase=_phrase(term, number))
    for facet, folded in wanted.filters.items():
        if facet != "owner":
            lexeme = f"\x1f{facet}={facet_key(folded)}".replace("\\", r"\\").replace("'", "''")
            sought = f"'{lexeme}'{'' if folded else ':*'}"
            yield _held(f"terms_{facet}", sought, among, negated=not folded)


def _held(name: str, sought: str, among: str, *, negated: bool, phrase: Query = ("", {})) -> Query:
    """Return the condition that a span that held at the moment has terms, or that none has.

    Args:
        name: The name of the parameter.
        sought: The terms, as PostgreSQL writes them.
        among: What a caller may read, as a condition for spans; empty for all of them.
        negated: Whether none may have them.
        phrase: A further condition for spans.
    """
    query = f"%({name})s::text::tsquery"
    seen = f"(SELECT {query})" if among else query  # how often others have a word decides nothing then
    spans = f"""SELECT s.dataset FROM dataset_span AS s
    WHERE metastore_dataset_span_terms(s.access, s.items) @@ {seen}{among}
        AND s.since <= %(at)s::bigint AND s.until > %(at)s::bigint{phrase[0]}"""
    return f"t.dataset {'NOT IN' if negated else 'IN'} ({spans})", {name: sought, **phrase[1]}


def _phrase(term: Term, number: int) -> Query:
    if len(term.words) == 1:
        return "", {}
    words = "metastore_dataset_span_words(s.access, s.items)"
    return f" AND {words} LIKE %(text{number})s", {f"text{number}": _pattern(term.words, term.prefix)}


def _terms(term: Term) -> str:
    """Return the words of a term, as PostgreSQL writes terms."""
    words = [f"'{word}'" for word in term.words]
    return " & ".join(words) + (":*" if term.prefix else "")


def _pattern(words: tuple[str, ...], prefix: bool) -> str:
    return f"% {' '.join(words)}{'' if prefix else ' '}%"
