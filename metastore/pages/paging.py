"""The parameters in the address of a list: where its page starts, and days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import request

from metastore.errors import InvalidInput
from metastore.pages.languages import gettext as _


def start_of() -> int:
    """Return the number of the first row that the address asks for (`?start=`), from 0."""
    start = request.args.get("start", "")
    return int(start) if start.isascii() and start.isdecimal() and len(start) < 9 else 0


def day_in(key: str, later: timedelta = timedelta()) -> datetime | None:
    """Return the beginning of a day in the address, plus `later`; None without one. Raises InvalidInput."""
    text = request.args.get(key, "").strip()
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + later if text else None
    except (ValueError, OverflowError):
        raise InvalidInput(_("a day is written as 2024-05-31, not as %(text)s", text=repr(text[:40]))) from None
