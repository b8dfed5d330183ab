"""Values as JSON, the same for every door: the command line's `--json`, and whatever speaks HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from metastore.types import DatasetId


def to_wire(value: Any) -> Any:
    """Turn a value of `metastore.types` into what JSON can say.

    An id becomes `owner/name`, a time `2024-05-01T12:00:00Z` (RFC 3339; with microseconds where it has some), and a
    frozen value an object with its attributes' names; a set becomes a sorted list; the `bytes` of a dataset are left
    out, since its `descriptor` says the same.
    """
    if isinstance(value, DatasetId):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: to_wire(member) for name, member in members.items() if not isinstance(member, bytes)}
    if isinstance(value, Mapping):
        return {key: to_wire(member) for key, member in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(to_wire(member) for member in value)
    if isinstance(value, (list, tuple)):
        return [to_wire(member) for member in value]
    return value


def to_text(value: Any) -> str:
    """Write a value as JSON on one line."""
    return json.dumps(to_wire(value), ensure_ascii=False)
