"""The home page: a search, the datasets that changed last, and the newest changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from flask import Blueprint, render_template

from metastore.pages import activity
from metastore.pages.cards import cards_of
from metastore.pages.changelog import last_changed, newest_lines
from metastore.pages.datasets import owners_of
from metastore.search.values import Hit
from metastore.service.context import service
from metastore.service.guard import identity, listed
from metastore.types import DatasetId

home = Blueprint("home", __name__)
_NEWEST, _LINES = 6, 10
#: The datasets whose last change the chart shows.
_SEEN = 200


@home.get("/")
def index() -> str:
    """Show the home page."""
    hits, total = _newest()
    return render_template(
        "home.html",
        cards=[(card, "") for card in cards_of(hits[:_NEWEST])],
        total=total,
        picture=activity.picture((hit.changed for hit in hits if isinstance(hit, Hit)), "dataset"),
        lines=newest_lines(_LINES),
        may_create=bool(owners_of(identity())),
    )


def _newest() -> tuple[Sequence[Hit | DatasetId], int | None]:
    """Return the datasets that changed last and the total; without an index, the first ones by id."""
    store = service().store
    if not store.is_indexed:
        return list(islice(listed(), _NEWEST)), None
    results = last_changed(_SEEN, deleted=False)
    return results.hits, results.total
