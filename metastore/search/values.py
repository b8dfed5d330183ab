"""The queries and results of a search."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from metastore.descriptor.openness import OPENNESS
from metastore.errors import InvalidInput
from metastore.parse import AnyTime, make_time, parse_limit
from metastore.phrase import Phrase
from metastore.search.words import Term, fold, parse_query
from metastore.types import DatasetId, RevisionId
from metastore.wording import shortened

Order = Literal["relevance", "changed", "id", "title"]
#: The facets by which datasets can be filtered and counted.
FACETS = ("owner", "licence", "keyword", "format", "field", "contributor", "openness")
#: The largest total that is counted.
MOST_COUNTED = 10_000
#: The most unreadable datasets that results name.
MOST_UNREADABLE = 100
_MOST_HITS, _MOST_VALUES = 1000, 1000


@dataclass(frozen=True, slots=True)
class Readable:
    """The datasets that a caller may read, and so may know of.

    Attributes:
        owners: Owners, all of whose datasets may be read.
        ids: Further datasets.
    """

    owners: frozenset[str] = frozenset()
    ids: frozenset[DatasetId] = frozenset()

    def __contains__(self, dataset_id: DatasetId) -> bool:
        return dataset_id.owner in self.owners or dataset_id in self.ids

    def keys(self) -> list[str]:
        """Return the owners, and the other datasets as text."""
        return [*sorted(self.owners), *sorted(str(each) for each in self.ids if each.owner not in self.owners)]


@dataclass(frozen=True, slots=True)
class Hit:
    """A dataset in the results.

    Attributes:
        id: The dataset.
        title: Its title; its name if it has none.
        snippet: The text around the first matching word, with each match in `**`.
        revision: Its newest revision, or the newest one at the moment of the search.
        changed: When that revision was made.
        deleted: Whether it is deleted, or was at that time.
        summary: What that revision changed, such as `licence changed`; empty unless it was asked for.
    """

    id: DatasetId
    title: str
    snippet: str
    revision: RevisionId
    changed: datetime
    deleted: bool = False
    summary: str = ""

    def __str__(self) -> str:
        return f"{self.id}  {self.title}"


@dataclass(frozen=True, slots=True)
class FacetCount:
    """The number of results that have a value.

    Attributes:
        value: The value as a dataset writes it. Filters ignore its case.
        count: The number of datasets.
    """

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Results:
    """A page of results.

    Attributes:
        hits: The datasets, in the requested order.
        total: The number of datasets found, at most 10,000.
        more_than_total: Whether there are more than `total`.
        facets: Facet -> values, the most frequent first, among the datasets counted in `total`.
        following: The value of `after` for the next page; None on the last one.
        preceding: The value of `before` for the previous page; None on the first one.
        scanned: Whether all datasets were read because there is no index.
        complete: False while a service's index catches up with the changes of others, or if there was no time to scan
            all datasets: some are missing then, or were found by an earlier text. Search again later.
        unreadable: The datasets, of the owner if there is a filter for one, that cannot be read, and so are not found:
            at most 100. `store.verify` says why.
    """

    hits: tuple[Hit, ...]
    total: int
    more_than_total: bool = False
    facets: Mapping[str, tuple[FacetCount, ...]] = field(default_factory=dict)
    following: str | None = None
    preceding: str | None = None
    scanned: bool = False
    complete: bool = True
    unreadable: tuple[DatasetId, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parsed query. See `metastore.Store.dataset_search` for its members.

    Attributes:
        query: The text of the query.
        terms: The parsed text.
        filters: Facet -> the folded value that a dataset must have; an empty one for no value at all.
        deleted: False for live datasets, True for deleted ones, None for both.
        findings: True for datasets with findings, False for those without, None for both.
        after: The position of the last hit of the previous page: its key and its `sort_key`.
        before: The position of the first hit of the next page.
        summary: Whether hits say what their revision changed.
    """

    query: str
    terms: tuple[Term, ...]
    filters: dict[str, str]
    changed_since: datetime | None
    deleted: bool | None
    findings: bool | None
    at: datetime | None
    order: Order
    facets: tuple[str, ...]
    after: list[Any] | None
    before: list[Any] | None
    limit: int
    summary: bool = False

    @classmethod
    def parse(
        cls,
        query: str,
        filters: dict[str, str | None],
        *,
        changed_since: AnyTime | None,
        deleted: bool | None,
        findings: bool | None = None,
        at: AnyTime | None,
        order: str,
        facets: Sequence[str],
        after: str | None,
        before: str | None = None,
        limit: int,
        summary: bool = False,
    ) -> Wanted:
        """Check the arguments of a search.

        Raises:
            InvalidInput: An argument is malformed.
        """
        given = {name: value for name, value in filters.items() if value is not None}
        _check_words(query, given, order, facets, limit)
        _check_pairs(at, changed_since, findings, after, before)
        terms = parse_query(query)
        return cls(
            query,
            terms,
            {name: fold(value) for name, value in given.items()},
            None if changed_since is None else make_time(changed_since),
            deleted,
            findings,
            None if at is None else make_time(at),
            "id" if order == "relevance" and all(term.negated for term in terms) else order,  # type: ignore[arg-type]
            tuple(dict.fromkeys(facets)),
            _from_cursor(after, Phrase("after is the `following`")),
            _from_cursor(before, Phrase("before is the `preceding`")),
            limit,
            summary,
        )

    def of_very_many(self) -> Wanted:
        """Return the query for more matches than are counted: by relevance, the last change comes first then.

        Anything else would look at each of them.
        """
        return replace(self, order="changed") if self.order == "relevance" else self

    def parameters(self) -> dict[str, str | None]:
        """Return the parameters that send the query to a service."""
        return {
            "q": self.query,
            **self.filters,
            "changed_since": self.changed_since.isoformat() if self.changed_since else None,
            "deleted": "any" if self.deleted is None else "true" if self.deleted else None,
            "findings": None if self.findings is None else str(self.findings).lower(),
            "at": self.at.isoformat() if self.at else None,
            "order": self.order,
            "facets": ",".join(self.facets) or None,
            "after": cursor(*self.after) if self.after else None,
            "before": cursor(*self.before) if self.before else None,
            "limit": str(self.limit),
            "summary": "true" if self.summary else None,
        }


def _check_pairs(
    at: AnyTime | None, changed_since: AnyTime | None, findings: bool | None, after: str | None, before: str | None
) -> None:
    if at is not None and changed_since is not None:
        raise InvalidInput(Phrase("give at or changed_since, not both"))
    if at is not None and findings is not None:
        raise InvalidInput(Phrase("give at or findings, not both: the check is about datasets as they are"))
    if after is not None and before is not None:
        raise InvalidInput(Phrase("give after or before, not both"))


def _check_words(query: str, filters: dict[str, str], order: str, facets: Sequence[str], limit: int) -> None:
    for name, text in {"a query": query, **filters}.items():
        if not isinstance(text, str):
            raise InvalidInput(f"{name} is text, not {type(text).__name__}")
    _expect_one_of(get_args(Order), Phrase("order"), order)
    if "openness" in filters:
        _expect_one_of(OPENNESS, Phrase("openness"), fold(filters["openness"]))
    for facet in facets:
        _expect_one_of(FACETS, Phrase("a facet"), facet)
    if limit is None or parse_limit(limit) is None or not 1 <= limit <= _MOST_HITS:
        raise InvalidInput(f"limit is a number from 1 to {_MOST_HITS}, not {limit!r}")


def _expect_one_of(known: Sequence[str], what: str, value: object) -> None:
    if value not in known:
        values = {"what": what, "known": ", ".join(known), "given": shortened(str(value))}
        raise InvalidInput(Phrase("%(what)s is one of %(known)s, not %(given)s", **values))


def sort_key(dataset_id: DatasetId) -> str:
    """Return a text that orders ids by owner and then by name."""
    return dataset_id.replace("/", "\x01")


def cursor(key: Any, dataset_key: str) -> str:
    """Return the value of `after` for the hits after this position."""
    return base64.urlsafe_b64encode(json.dumps([key, dataset_key]).encode()).decode().rstrip("=")


def _from_cursor(text: str | None, what: str) -> list[Any] | None:
    if text is None:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        key, dataset_key = place
        if isinstance(key, (str, int, float)) and isinstance(dataset_key, str):
            return [key, dataset_key]
    except (ValueError, TypeError):
        pass
    values = {"what": what, "given": repr(text[:40])}
    raise InvalidInput(
        Phrase("%(what)s of a page of the same search, as that page returned it, not %(given)s", **values)
    )


def counts(values: dict[str, tuple[str, int]]) -> tuple[FacetCount, ...]:
    """Return the counts of a facet, the most frequent first.

    Args:
        values: Folded value -> its spelling and the number of datasets that have it.
    """
    ordered = sorted(values.items(), key=lambda item: (-item[1][1], item[0]))
    return tuple(FacetCount(value, count) for _, (value, count) in ordered[:_MOST_VALUES])
