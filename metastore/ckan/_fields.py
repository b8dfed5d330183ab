"""The fields that CKAN and Data Package share, each with a conversion in both directions.

A conversion returns None for a value that the other side cannot express. The opposite conversion returns the same value
again; where it does not, `metastore.ckan` keeps the value among the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeGuard

#: A name that CKAN accepts (`name_validator`).
NAME = re.compile(r"[a-z0-9_-]{2,100}")
#: A tag that CKAN accepts (`tag_name_validator`, `tag_length_validator`).
TAG = re.compile(r"[\w .-]{2,100}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
_MEDIA_TYPE = re.compile(r"[^/]+/[^/]+")
#: A hash with its algorithm, or an MD5 (Data Package, "hash").
_HASH = re.compile(r"[a-z0-9]+:[a-fA-F0-9]+|[a-fA-F0-9]{32}")

Way = Callable[[Any], Any]


class Field(NamedTuple):
    """A member of a CKAN dictionary and the standard member of a descriptor with the same meaning.

    Attributes:
        ckan: The name of the member in CKAN.
        standard: The name of the member in Data Package.
        there: Converts CKAN's value.
        back: Converts to CKAN's value.
        foreign: Whether CKAN keeps a value from elsewhere, and does not replace it by its own.
    """

    ckan: str
    standard: str
    there: Way
    back: Way
    foreign: bool = True


def text(value: Any) -> str | None:
    """Return a text that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def matching(pattern: re.Pattern[str]) -> Way:
    """Return a conversion that passes texts which match as a whole."""
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


def to_json(value: Mapping[str, Any]) -> str:
    """Return JSON for a text field of CKAN."""
    return json.dumps(value, ensure_ascii=False)


def in_order(members: Mapping[str, Any]) -> str:
    """Return JSON with sorted members, so that equal values give equal text."""
    return to_json({member: members[member] for member in sorted(members)})


def from_json(value: Any) -> Any:
    """Parse JSON from a text field of CKAN; None if there is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON in any order of members. In Python, 1 == True == 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def are_objects(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Return whether a value is a list of objects."""
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _utc(value: Any) -> str | None:
    """Add the zone to one of CKAN's times, which are in UTC without saying so."""
    return f"{value}Z" if isinstance(value, str) and _TIME.fullmatch(value) else None


def _without_zone(value: Any) -> str | None:
    return value[:-1] if isinstance(value, str) and value.endswith("Z") and _TIME.fullmatch(value[:-1]) else None


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _schema(value: Any) -> dict[str, Any] | None:
    """Return a Table Schema, which extensions of CKAN keep as JSON text or as an object."""
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


def to_standard(fields: tuple[Field, ...], package: Mapping[str, Any]) -> dict[str, Any]:
    """Convert fields of CKAN to standard members."""
    members = {field.standard: field.there(package.get(field.ckan)) for field in fields}
    return {member: value for member, value in members.items() if value is not None}


def to_ckan(fields: tuple[Field, ...], package: Mapping[str, Any], *, foreign: bool) -> dict[str, Any]:
    """Convert standard members to fields of CKAN; those of a `foreign` descriptor only where CKAN would keep them."""
    usable = (field for field in fields if field.foreign or not foreign)
    members = {field.ckan: field.back(package.get(field.standard)) for field in usable}
    return {member: value for member, value in members.items() if value is not None}


def untold(said: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that another document lacks, or has with another value."""
    return {member: value for member, value in said.items() if member not in told or not same(value, told[member])}


def beyond(said: Mapping[str, Any], view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members to lay over a view to get this document; None stands for a member that it lacks."""
    return {**untold(said, view), **{member: None for member in view if member not in said}}


def laid_over(view: Mapping[str, Any], foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Lay members over a view, the reverse of `beyond`."""
    made = {**view, **foreign}
    return {member: value for member, value in made.items() if not (value is None and member in view)}
