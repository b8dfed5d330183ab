"""The page that shows all bundles as they were at a time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, render_template, request

from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import Bundle
from metastore.errors import BundleNotFound, InvalidInput
from metastore.pages.languages import gettext as _
from metastore.service.bundles import registry

past = Blueprint("past", __name__)
#: The names of a page, of bundles that exist or are deleted now. Fewer may have existed at the time.
_ROWS = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A bundle at a time.

    Attributes:
        then: Its state at that time.
        is_now: Whether that is its state now, too.
        is_gone: Whether it is deleted now.
    """

    then: Bundle
    is_now: bool
    is_gone: bool


@past.get("/bundles-as-of")
def index() -> str | tuple[str, int]:
    """Show the bundles at a time, in pages by name, or ask for the time."""
    text, after = request.args.get("at", "").strip(), request.args.get("after") or None
    try:
        at = _time(text) if text else None
    except InvalidInput as problem:
        return render_template("bundles/past.html", text=text, at=None, problem=problem, rows=(), following=None), 400
    names = _names(after) if at else []
    rows = [row for line, is_gone in names[:_ROWS] if at and (row := _at(line, at, is_gone=is_gone))]
    following = names[_ROWS - 1][0].name if len(names) > _ROWS else None
    return render_template("bundles/past.html", text=text, at=at, problem=None, rows=rows, following=following)


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


def _at(line: BundleLine, at: datetime, *, is_gone: bool) -> Row | None:
    try:
        then = registry().bundle_read(line.name, at=at)
    except BundleNotFound:  # it was made later, or was deleted at that time
        return None
    return Row(then, not is_gone and then.updated == line.updated, is_gone)
