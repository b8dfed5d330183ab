"""The fields that the form of a descriptor shows: those of the dataset, and one of its resources at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from metastore.pages.descriptor_form import Input, inputs, role_of, unit_of
from metastore.pages.languages import gettext as _
from metastore.pages.licences import known
from metastore.pages.overview import cut, text_of

#: The most rows of each list: licences, contributors, resources to choose from, and columns of the open resource.
_LICENCES, _PEOPLE, _RESOURCES, _FIELDS = 20, 50, 100, 50
#: The empty rows for new columns.
_NEW_FIELDS = 3
#: The members of a dataset, a resource and a column that have fields; what else there is, is in the JSON.
DATASET = ("title", "description", "name", "version", "homepage", "keywords")
RESOURCE = ("name", "path", "title", "description", "format", "mediatype")
FIELD = ("name", "type", "title", "description")
#: The types of Table Schema, after none.
TYPES = (
    "",
    *("string", "number", "integer", "boolean", "date", "time", "datetime", "year", "yearmonth", "duration"),
    *("geopoint", "geojson", "object", "array", "list", "any"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """The part of a descriptor that the form is at.

    Attributes:
        resource: The position of the open resource, or None.
        field: The first column that is shown.
        first: The first resource of the list.
    """

    resource: int | None = None
    field: int = 0
    first: int = 0

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read a place as buttons send it, such as `3`, `3:50` or `:0:100`; what is not a number counts as 0."""
        numbers = [
            int(part) if part.isascii() and part.isdecimal() and len(part) < 7 else None for part in text.split(":")
        ]
        resource, field, first = (*numbers, None, None, None)[:3]
        return cls(resource, field or 0, first or 0)

    def __str__(self) -> str:
        return f"{'' if self.resource is None else self.resource}:{self.field}:{self.first}"

    def at(self, resource: int | None, field: int = 0) -> Place:
        """Return the place of another resource."""
        return Place(resource, field, self.first)

    def list_from(self, first: int) -> Place:
        """Return the same place with another page of the list of resources."""
        return replace(self, first=first)


def view(descriptor: Any, place: Place) -> dict[str, Any]:
    """Return what the form shows of a descriptor, for its template."""
    resources = _items(descriptor, "resources")
    return {
        "dataset": inputs(descriptor, "", DATASET),
        "licences": _rows(descriptor, "licenses", _LICENCES, lambda _: ("name", "title", "path")),
        "people": _rows(descriptor, "contributors", _PEOPLE, _of_person),
        "more": _others(descriptor, (*DATASET, "licenses", "contributors", "resources")),
        "place": place,
        "resources": _listed(resources, place.first) if resources is not None else None,
        "total": len(resources or ()),
        "previous": place.list_from(max(0, place.first - _RESOURCES)) if place.first else None,
        "following": place.list_from(place.first + _RESOURCES)
        if place.first + _RESOURCES < len(resources or ())
        else None,
        "opened": _resource(descriptor, resources, place) if resources is not None else None,
        "known": known(),
        "types": TYPES,
    }


def _items(value: Any, member: str) -> list[Any] | None:
    """Return a list of a descriptor, empty if it is missing; None if it is something else."""
    items = value.get(member) if isinstance(value, Mapping) else None
    return items if isinstance(items, list) else [] if items is None else None


def _others(part: Any, shown: tuple[str, ...]) -> list[str]:
    """Return the members of a part that have no field."""
    return [cut(name, 60) for name in part if name not in shown][:50] if isinstance(part, Mapping) else []


def _of_person(person: Any) -> tuple[str, ...]:
    return ("title", role_of(person), "organization", "email", "path")


def _rows(descriptor: Any, member: str, most: int, members_of: Any) -> list[tuple[str, list[Input]]] | None:
    """Return the rows of a list, each with its pointer, and an empty one for the next item if all are shown."""
    items = _items(descriptor, member)
    if items is None:
        return None
    shown: list[Any] = [*items[:most], *([{}] if len(items) <= most else [])]
    return [
        (f"/{member}/{number}", list(inputs(descriptor, f"/{member}/{number}", members_of(item)).values()))
        for number, item in enumerate(shown)
    ]


def _listed(resources: list[Any], first: int) -> list[tuple[int, str, str]]:
    """Return number, name and title of the resources on a page of the list."""
    page = list(enumerate(resources))[first : first + _RESOURCES]
    return [
        (number, _text(each, "name") or _("(resource %(number)s)", number=number + 1), _text(each, "title"))
        for number, each in page
    ]


def _text(part: Any, member: str) -> str:
    return cut(text_of(part.get(member)), 100) if isinstance(part, Mapping) else ""


def _resource(descriptor: Any, resources: list[Any], place: Place) -> dict[str, Any] | None:
    """Return the fields of the open resource, and of some of its columns."""
    number = place.resource
    if number is None or number > len(resources):
        return None
    resource = resources[number] if number < len(resources) else {}
    pointer = f"/resources/{number}"
    schema = resource.get("schema") if isinstance(resource, Mapping) else None
    fields = _items(schema, "fields") if isinstance(schema, (Mapping, type(None))) else None
    total = len(fields or ())
    last = min(total, place.field + _FIELDS)
    shown = range(place.field, last + (_NEW_FIELDS if last == total else 0))
    return {
        "number": number,
        "pointer": pointer,
        "is_new": number == len(resources),
        "inputs": inputs(descriptor, pointer, RESOURCE),
        "more": _others(resource, (*RESOURCE, "schema")),
        "fields": [_field(descriptor, pointer, at, fields) for at in shown] if fields is not None else None,
        "first": place.field,
        "last": last,
        "total": total,
        "previous": place.at(number, max(0, place.field - _FIELDS)) if place.field else None,
        "following": place.at(number, last) if last < total else None,
    }


def _field(descriptor: Any, resource: str, number: int, fields: list[Any]) -> dict[str, Any]:
    pointer = f"{resource}/schema/fields/{number}"
    unit = unit_of(fields[number] if number < len(fields) else None)
    row = inputs(descriptor, pointer, (*FIELD, unit, "constraints/required"))
    return {
        "pointer": pointer,
        "number": number,
        "is_new": number >= len(fields),
        "inputs": row,
        "unit": row[unit],
        "required": row["constraints/required"],
    }
