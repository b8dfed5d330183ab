"""The catalogue: datasets as cards, found by words, filters and time, with counts. Its address can be shared."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, request
from markupsafe import Markup, escape

from metastore.bundle.checks import DEVICE
from metastore.bundle.listing import BundleLine, Listing
from metastore.errors import InvalidInput
from metastore.pages import formatting
from metastore.pages.cards import Card, cards_of
from metastore.pages.datasets import owners_of
from metastore.pages.languages import kept
from metastore.parse import parse_dataset_id
from metastore.search.values import FACETS, Results, Wanted
from metastore.service.context import service
from metastore.service.datasets import find
from metastore.service.guard import identity, listed

catalogue = Blueprint("catalogue", __name__)
_CARDS, _BUNDLES = 20, 5
#: The facets that the page counts, the values of each that it shows at once, and those that it lists at all.
_SHOWN_FACETS = ("owner", "openness", "licence", "format", "keyword", "contributor")
_SHOWN_VALUES, _LISTED_VALUES = 8, 100
_FLAGS = ("deleted", "findings")
#: The filters that find datasets without any value if they are empty. A column is typed, and all have an `openness`.
_EMPTY = tuple(name for name in FACETS if name not in ("field", "openness"))
_ASKED = ("q", *FACETS, "changed_since", "at", "order", *_FLAGS)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of the catalogue.

    Attributes:
        cards: The datasets, each with the text around the first match.
        results: The results of the search; None if the store was listed by id, without counting.
        first: The address of the first page, or None if it is this one.
        previous: The address of the page before, or None.
        following: The address of the next page, or None.
    """

    cards: list[tuple[Card, Markup]]
    results: Results | None
    first: str | None = None
    previous: str | None = None
    following: str | None = None


@catalogue.get("/datasets")
def index() -> str | tuple[str, int]:
    """Show all datasets, or those of an owner, the latest change first."""
    return _answer("changed")


@catalogue.get("/search")
def search() -> str | tuple[str, int]:
    """Find datasets and bundles."""
    return _answer("relevance")


def _answer(order: str) -> str | tuple[str, int]:
    given = {name: request.args[name].strip() for name in _ASKED if name in request.args}
    given = {name: value for name, value in given.items() if value or name in _EMPTY}
    problem, bundles = None, _bundles(given)
    try:
        page = _page(given, order)
    except InvalidInput as error:
        page, problem = _Page([], Results((), 0)), formatting.message(error)
    text = render_template(
        "catalogue.html",
        is_search=request.path.endswith("/search"),
        given=given,
        page=page,
        problem=problem,
        order=given.get("order", order),
        facets=_facets(page.results, given),
        shown_values=_SHOWN_VALUES,
        listed_values=_LISTED_VALUES,
        chosen={name: (given[name], _address(given, name)) for name in (*FACETS, *_FLAGS) if name in given},
        address=lambda **more: _address({**given, **more}),
        bundles=bundles,
        device=_device(given["q"]) if bundles else None,
        may_create=bool(owners_of(identity())),
    )
    return (text, 400) if problem else text


def _page(given: dict[str, str], order: str) -> _Page:
    if not service().store.is_indexed and not set(given) - {"owner", "order"} and given.get("order", "id") == "id":
        return _listed(given)
    filters: dict[str, str | None] = {name: given.get(name) for name in FACETS}
    after, before = request.args.get("after") or None, request.args.get("before") or None
    wanted = Wanted.parse(
        given.get("q", ""),
        filters,
        changed_since=given.get("changed_since"),
        deleted="deleted" in given,
        findings={"": None, "true": True, "false": False}.get(given.get("findings", "")),
        at=given.get("at"),
        order=given.get("order", order if "q" in given or order == "changed" else "changed"),
        facets=_SHOWN_FACETS,
        after=after,
        before=before,
        limit=_CARDS,
    )
    results = find(wanted)
    snippets = [emphasized(hit.snippet) if wanted.terms else Markup("") for hit in results.hits]
    return _Page(
        list(zip(cards_of(results.hits, wanted.terms, given.get("field")), snippets, strict=True)),
        results,
        _address(given) if after or before else None,
        _address({**given, "before": results.preceding}) if results.preceding else None,
        _address({**given, "after": results.following}) if results.following else None,
    )


def _listed(given: dict[str, str]) -> _Page:
    """List by id if there is no index, so that a page reads only the datasets that it shows."""
    after, before, owner = request.args.get("after") or None, request.args.get("before"), given.get("owner")
    prefix = f"{owner}/" if owner else ""
    if before:  # lists begin anywhere, but go in one direction only
        limit = parse_dataset_id(before)
        page = list(deque(takewhile(lambda each: each < limit, listed(prefix)), _CARDS + 1))
        shown, is_first, is_last = page[-_CARDS:], len(page) <= _CARDS, False
    else:
        page = list(islice(listed(prefix, after=after), _CARDS + 1))
        shown, is_first, is_last = page[:_CARDS], not after, len(page) <= _CARDS
    return _Page(
        [(card, Markup("")) for card in cards_of(shown)],
        None,
        _address(given) if after or before else None,
        previous=None if is_first or not shown else _address({**given, "before": shown[0]}),
        following=None if is_last or not shown else _address({**given, "after": shown[-1]}),
    )


def _facets(results: Results | None, given: dict[str, str]) -> dict[str, list[tuple[str, int, str]]]:
    """Return the most frequent values of each facet, each with its count and the address that selects it."""
    if results is None:
        return {}
    return {
        name: [
            (each.value, each.count, _address({**given, name: each.value}))
            for each in results.facets.get(name, ())[:_LISTED_VALUES]
        ]
        for name in _SHOWN_FACETS
        if name not in given
    }


def _bundles(given: dict[str, str]) -> tuple[list[BundleLine], str] | None:
    """Return the first bundles that have all words in their name, event, group, hosts or devices, and the words.

    None without words to look for. No bundles are shown for a query that excludes words, which their list cannot.
    """
    registry, words = service().bundles, given.get("q", "").replace('"', "").split()
    text = " ".join(stem for word in words if (stem := word.rstrip("*")))
    excludes = any(word.startswith("-") for word in words)
    if registry is None or not text or excludes or not request.path.endswith("/search"):
        return None
    return list(registry.bundle_lines(Listing(text=text, limit=_BUNDLES + 1))), text


def _device(name: str) -> str | None:
    """Return the name if a bundle has or had a device of this name, else None."""
    registry = service().bundles
    is_known = registry and DEVICE.fullmatch(name) and registry.bundle_log(device=name, limit=1)
    return name if is_known else None


def _address(given: dict[str, Any], without: str = "") -> str:
    return "?" + urlencode({**kept(), **{name: value for name, value in given.items() if name != without}})


def emphasized(snippet: str) -> Markup:
    """Return a snippet as HTML with the matches marked."""
    return Markup("").join(_marked(snippet.split("**")))


def _marked(parts: list[str]) -> Iterator[Markup]:
    for number, part in enumerate(parts):
        yield Markup("<mark>{}</mark>").format(part) if number % 2 else escape(part)
