"""The home page: a search, and the latest changes."""

from __future__ import annotations

from itertools import islice

from flask import Blueprint, render_template

from metastore.pages.cards import Card, cards_of
from metastore.pages.datasets import owners_of
from metastore.search.values import Wanted
from metastore.service.context import service
from metastore.service.guard import identity, readable, sees

home = Blueprint("home", __name__)
_NEWEST, _LINES = 6, 8


@home.get("/")
def index() -> str:
    """Show the home page."""
    cards, total = _newest()
    registry = service().bundles
    log = registry.bundle_log(limit=_LINES) if registry else None
    return render_template("home.html", cards=cards, total=total, log=log, may_create=bool(owners_of(identity())))


def _newest() -> tuple[list[tuple[Card, str]], int | None]:
    """Return the datasets that changed last and the total; without an index, the first ones by id."""
    store = service().store
    if not store.is_indexed:
        ids = islice(readable(store.dataset_list(), lambda dataset_id: dataset_id), _NEWEST)
        return [(card, "") for card in cards_of(ids)], None
    wanted = Wanted.parse(
        "", {}, changed_since=None, deleted=False, at=None, order="changed", facets=(), after=None, limit=_NEWEST
    )
    results = store.search(wanted, sees())
    return [(card, "") for card in cards_of(results.hits)], results.total
