"""Descriptors of old revisions, read so that `==` tells whether two values are written alike."""

from __future__ import annotations

import json
from typing import Any

_NUMBER = "\0"  # no text in a descriptor that can be stored begins so


def read(content: bytes | None) -> Any:
    """Return a descriptor in which each number is a text of its own; None if it is not JSON.

    In Python `1 == True == 1.0`, and 1.10 is 1.1.
    """
    try:
        return json.loads(content, parse_int=_tagged, parse_float=_tagged) if content is not None else None
    except (ValueError, RecursionError):
        return None


def _tagged(digits: str) -> str:
    return _NUMBER + digits


def plain(value: Any) -> Any:
    """Return a value that was read as JSON has it."""
    if isinstance(value, str) and value.startswith(_NUMBER):
        return json.loads(value[len(_NUMBER) :])
    return [plain(item) for item in value] if isinstance(value, list) else value
