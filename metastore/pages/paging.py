"""Pages of long lists."""

from __future__ import annotations

from flask import request


def start_of() -> int:
    """Return the number of the first row that the address asks for (`?start=`), from 0."""
    start = request.args.get("start", "")
    return int(start) if start.isascii() and start.isdecimal() and len(start) < 9 else 0
