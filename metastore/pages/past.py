"""The page that shows all bundles, or one, as they were at a time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, render_template, request

from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import Bundle
from metastore.errors import BundleNotFound, InvalidInput
from metastore.pages.bundle_parts import newest_even_deleted
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later
from metastore.service.bundles import registry

past = Blueprint("past", __name__)
#: The names of a page, of bundles that exist or are deleted now. Fewer may have existed at the time.
_ROWS = 50
#: Days that are one click away, by how many days ago they were.
_DAYS = {1: later("yesterday"), 7: later("a week ago"), 30: later("30 days ago")}


@dataclass(frozen=True, slots=True)
class Row:
    """A bundle at a time.

    Attributes:
        then: Its state at that time.
        is_now: Whether that is its state now, too.
        is_gone: Whether it is deleted now.
        newest: The number of its newest snapshot.
    """

    then: Bundle
    is_now: bool
    is_gone: bool
    newest: int | None


@past.get("/bundles-as-of")
def index() -> str | tuple[str, int]:
    """Show the bundles at a time, in pages by name, or the one that the address names; or ask for the time."""
    text, name = (request.args.get(key, "").strip() for key in ("at", "name"))
    try:
        at = _time(text) if text else None
    except InvalidInput as problem:
        return _page(text, name, problem=problem), 400
    if at is None:
        return _page(text, name)
    if name:
        newest = newest_even_deleted(name)
        row = _at(name, at, newest.id, is_gone=newest.deleted)
        return _page(text, name, at=at, rows=[row] if row else [])
    names = _names(request.args.get("after") or None)
    rows = [row for line, is_gone in names[:_ROWS] if (row := _at(line.name, at, line.snapshot, is_gone=is_gone))]
    return _page(text, name, at=at, rows=rows, following=names[_ROWS - 1][0].name if len(names) > _ROWS else None)


def _page(text: str, name: str, **more: Any) -> str:
    today = datetime.now(UTC).date()
    days = [(_(words), (today - timedelta(days=ago)).isoformat()) for ago, words in _DAYS.items()]
    page: dict[str, Any] = {"at": None, "problem": None, "rows": (), "following": None, **more}
    return render_template("bundles/past.html", text=text, name=name, days=days, **page)


def _time(text: str) -> datetime:
    """Return a date or a time in UTC; a date means its end. Raises InvalidInput."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            _("a time looks like 2026-05-31 or 2026-05-31T14:30, not %(text)s", text=repr(text[:40]))
        ) from None
    if len(text) == len("2026-05-31"):
        at = at.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _names(after: str | None) -> Sequence[tuple[BundleLine, bool]]:
    """Return a page of all bundles by name, and one more, each with whether it is deleted now."""
    lists = [
        [(line, deleted) for line in registry().bundle_lines(_listing(after, deleted=deleted))]
        for deleted in (False, True)
    ]
    return list(heapq.merge(*lists, key=lambda pair: pair[0].name))[: _ROWS + 1]


def _listing(after: str | None, *, deleted: bool) -> Listing:
    return Listing(deleted=deleted, after=after, after_key=after, limit=_ROWS + 1)


def _at(name: str, at: datetime, newest: int | None, *, is_gone: bool) -> Row | None:
    try:
        then = registry().bundle_read(name, at=at)
    except BundleNotFound:  # it was made later, or was deleted at that time
        return None
    return Row(then, not is_gone and then.snapshot == newest, is_gone, newest)
