"""Fields that CKAN and Data Package both have, each with a way there and back.

A way returns None for a value that the other side has no such thing for. What one way returns, the other turns into
the same value again, or `metastore.ckan` keeps the value among the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeGuard

#: A name that CKAN takes (`name_validator`).
NAME = re.compile(r"[a-z0-9_-]{2,100}")
#: A tag that CKAN takes (`tag_name_validator`, `tag_length_validator`).
TAG = re.compile(r"[\w .-]{2,100}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
_MEDIA_TYPE = re.compile(r"[^/]+/[^/]+")
#: A hash with its algorithm, or an MD5 (Data Package, "hash").
_HASH = re.compile(r"[a-z0-9]+:[a-fA-F0-9]+|[a-fA-F0-9]{32}")

Way = Callable[[Any], Any]


class Field(NamedTuple):
    """A member of a CKAN dictionary and the standard member of a descriptor that says the same.

    Attributes:
        ckan: The member's name in CKAN.
        standard: Its name in Data Package.
        there: From CKAN's value.
        back: To CKAN's value.
        foreign: Whether CKAN keeps what a descriptor from elsewhere says, and does not put its own in its place.
    """

    ckan: str
    standard: str
    there: Way
    back: Way
    foreign: bool = True


def text(value: Any) -> str | None:
    """Let text pass that is not empty."""
    return value if isinstance(value, str) and value else None


def matching(pattern: re.Pattern[str]) -> Way:
    """Let text pass that matches as a whole."""
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


def to_json(value: Mapping[str, Any]) -> str:
    """Write JSON for a field of CKAN's that holds text."""
    return json.dumps(value, ensure_ascii=False)


def in_order(members: Mapping[str, Any]) -> str:
    """Write JSON with its members in order, so that the same is always the same text."""
    return to_json({member: members[member] for member in sorted(members)})


def from_json(value: Any) -> Any:
    """Read JSON from a field of CKAN's; None where there is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON, whatever the order of members. In Python 1 == True == 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def are_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Tell whether this is a list of objects."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _utc(value: Any) -> str | None:
    """CKAN's times are in UTC, and do not say so."""
    return f"{value}Z" if isinstance(value, str) and _TIME.fullmatch(value) else None


def _without_zone(value: Any) -> str | None:
    return value[:-1] if isinstance(value, str) and value.endswith("Z") and _TIME.fullmatch(value[:-1]) else None


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _schema(value: Any) -> dict[str, Any] | None:
    """A table schema, which extensions of CKAN keep as JSON text or as an object."""
    found = from_json(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) and found else None


PACKAGE = (
    Field("name", "name", matching(NAME), matching(NAME)),
    Field("id", "id", text, text, foreign=False),
    Field("title", "title", text, text),
    Field("notes", "description", text, text),
    Field("url", "homepage", matching(_URL), matching(_URL)),
    Field("version", "version", text, text),
    Field("metadata_created", "created", _utc, _without_zone, foreign=False),
)
RESOURCE = (
    Field("id", "id", text, text, foreign=False),
    Field("description", "description", text, text),
    Field("format", "format", text, text),
    Field("mimetype", "mediatype", matching(_MEDIA_TYPE), matching(_MEDIA_TYPE)),
    Field("size", "bytes", _size, _size),
    Field("hash", "hash", matching(_HASH), matching(_HASH)),
    Field("schema", "schema", _schema, lambda value: to_json(value) if _schema(value) else None),
)


def to_standard(fields: tuple[Field, ...], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the standard members that say what these fields say."""
    found = {field.standard: field.there(said.get(field.ckan)) for field in fields}
    return {member: value for member, value in found.items() if value is not None}


def to_ckan(fields: tuple[Field, ...], said: Mapping[str, Any], *, foreign: bool) -> dict[str, Any]:
    """Return CKAN's fields for what these standard members say; from elsewhere only those that CKAN would keep."""
    usable = (field for field in fields if field.foreign or not foreign)
    found = {field.ckan: field.back(said.get(field.standard)) for field in usable}
    return {member: value for member, value in found.items() if value is not None}


def untold(said: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that another document does not have, or has with another value."""
    return {member: value for member, value in said.items() if member not in told or not same(value, told[member])}


def beyond(said: Mapping[str, Any], view: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to be laid over a view to make it this document: its own members, and None for what it lacks."""
    return {**untold(said, view), **{member: None for member in view if member not in said}}


def laid_over(view: Mapping[str, Any], foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Lay members over a view, the reverse of `beyond`."""
    made = {**view, **foreign}
    return {member: value for member, value in made.items() if not (value is None and member in view)}
