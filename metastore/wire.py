"""Values as JSON, the same for the command line's `--json`, for programs and over HTTP."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from metastore.descriptor.document import to_line
from metastore.errors import InvalidInput
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId


def to_wire(value: Any) -> Any:
    """Convert a value of `metastore.types` to plain JSON values.

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


def to_dict(value: Any) -> dict[str, Any]:
    """Return a result of a call as a dictionary for `json.dumps`.

    The form is that of `--json` and of the REST service: a time is `2024-05-01T12:00:00Z`, an id `owner/name`.

    Raises:
        InvalidInput: It is not a value of MetaStore.
    """
    if not is_dataclass(value) or isinstance(value, type):
        raise InvalidInput(
            f"to_dict takes a value that MetaStore returned, such as a Revision, not {type(value).__name__}"
        )
    members: dict[str, Any] = to_wire(value)
    return members


def to_text(value: Any) -> str:
    """Write a value as JSON on one line."""
    return to_line(to_wire(value))


def from_wire(kind: Any, value: Any) -> Any:
    """Convert the decoded JSON of a `to_wire` value back to the value.

    Unknown members are ignored, since a newer service may send more.

    Args:
        kind: A class of `metastore.types`, or what one of its attributes is annotated with.
        value: The decoded JSON.

    Raises:
        ValueError: The JSON does not fit the class.
    """
    if kind is Any:
        return value
    if isinstance(kind, NewType):
        kind = kind.__supertype__
    if kind is DatasetId:
        return parse_dataset_id(from_wire(str, value))
    if kind is datetime:
        return _time(from_wire(str, value))
    if is_dataclass(kind):
        return _value(kind, from_wire(dict, value))
    if get_origin(kind) in (types.UnionType, Union):  # the latter of a `NewType` and None
        return None if value is None else from_wire(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        return tuple(from_wire(get_args(kind)[0], item) for item in from_wire(list, value))
    if get_origin(kind) is Mapping:
        return {name: from_wire(get_args(kind)[1], item) for name, item in from_wire(dict, value).items()}
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} is not {kind.__name__}")
    return value


def _value(kind: Any, said: dict[str, Any]) -> Any:
    hints = _hints(kind)
    try:
        return kind(**{name: from_wire(hints[name], value) for name, value in said.items() if name in hints})
    except TypeError as error:  # a member is missing
        raise ValueError(f"{kind.__name__}: {error}") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no zone")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the time {text} is not in the years 1 to 9999 of UTC") from None
