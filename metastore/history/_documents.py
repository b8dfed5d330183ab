"""Reads descriptors of old revisions so that `==` compares how values are written, not only what they are."""

from __future__ import annotations

import json
from typing import Any

_NUMBER = "\0"  # no stored text begins with it


def read(content: bytes | None) -> Any:
    """Return a descriptor whose numbers are replaced by tagged texts; None if it is not JSON.

    This keeps their spelling: in Python, `1 == True == 1.0`, and 1.10 is 1.1.
    """
    try:
        return json.loads(content, parse_int=_tagged, parse_float=_tagged) if content is not None else None
    except (ValueError, RecursionError):
        return None


def _tagged(digits: str) -> str:
    return _NUMBER + digits


def plain(value: Any) -> Any:
    """Return a value from `read` with its numbers restored."""
    if isinstance(value, str) and value.startswith(_NUMBER):
        return json.loads(value[len(_NUMBER) :])
    return [plain(item) for item in value] if isinstance(value, list) else value
