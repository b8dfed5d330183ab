"""The page that finds datasets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, request
from markupsafe import Markup, escape

from metastore.errors import InvalidInput
from metastore.search.values import FACETS, Results, Wanted
from metastore.service.context import service
from metastore.service.guard import sees

search = Blueprint("search", __name__)
_HITS = 30
#: What the page counts the results by, and how many values of each it shows.
_SHOWN_FACETS, _SHOWN_VALUES = ("owner", "licence", "format", "keyword"), 8
_ASKED = ("q", *FACETS, "at", "order", "deleted")


@search.get("/search")
def index() -> str | tuple[str, int]:
    """Find datasets by words and filters; the address can be shared."""
    given = {name: request.args[name].strip() for name in _ASKED if name in request.args}
    given = {name: value for name, value in given.items() if value or name in FACETS}
    try:
        results, problem = _found(given), None
    except InvalidInput as error:
        results, problem = Results((), 0), str(error)
    page = render_template(
        "search.html",
        given=given,
        results=results,
        problem=problem,
        facets={name: _choices(name, results, given) for name in _SHOWN_FACETS if name not in given},
        chosen={name: (given[name], _address(given, name)) for name in FACETS if name in given},
        following=_address({**given, "after": results.following}) if results.following else None,
        emphasized=emphasized,
    )
    return (page, 400) if problem else page


def _found(given: dict[str, str]) -> Results:
    filters: dict[str, str | None] = {name: given.get(name) for name in FACETS}
    wanted = Wanted.parse(
        given.get("q", ""),
        filters,
        changed_since=None,
        deleted="deleted" in given,
        at=given.get("at"),
        order=given.get("order", "relevance"),
        facets=_SHOWN_FACETS,
        after=request.args.get("after"),
        limit=_HITS,
    )
    return service().store.search(wanted, sees())


def _choices(name: str, results: Results, given: dict[str, str]) -> list[tuple[str, int, str]]:
    """Return the most frequent values of a facet, each with its count and the address that chooses it."""
    counts = results.facets.get(name, ())[:_SHOWN_VALUES]
    return [(each.value, each.count, _address({**given, name: each.value})) for each in counts]


def _address(given: dict[str, Any], without: str = "") -> str:
    return "?" + urlencode({name: value for name, value in given.items() if name != without})


def emphasized(snippet: str) -> Markup:
    """Return a snippet as HTML, with what was asked for marked."""
    parts = (escape(part) for part in snippet.split("**"))
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part) if marked % 2 else part for marked, part in enumerate(parts)
    )
