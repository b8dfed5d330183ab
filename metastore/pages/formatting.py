"""Values as pages show them: descriptors, even invalid ones, and times, counts and errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

_MOST_RESOURCES = 200
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class Party:
    """A contributor, a source or a licence: a title, perhaps with a link and a role."""

    title: str
    link: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table."""

    name: str
    type: str
    title: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A file that a descriptor describes."""

    name: str
    title: str
    path: str
    link: str | None
    format: str
    size: str
    hash: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """A descriptor as pages show it."""

    title: str
    description: str
    facts: tuple[tuple[str, str], ...]
    keywords: tuple[str, ...]
    licenses: tuple[Party, ...]
    contributors: tuple[Party, ...]
    sources: tuple[Party, ...]
    resources: tuple[Resource, ...]
    more_resources: int


def overview(descriptor: Mapping[str, Any], otherwise: str) -> Overview:
    """Return a descriptor for people. Parts that break the specification are left out.

    Args:
        descriptor: A descriptor, which may be invalid.
        otherwise: The title for a descriptor without one.
    """
    resources = _list(descriptor, "resources")
    facts = [(label, _text(descriptor.get(key))) for key, label in _FACTS]
    return Overview(
        title=_text(descriptor.get("title")) or otherwise,
        description=_text(descriptor.get("description")),
        facts=tuple((label, value) for label, value in facts if value),
        keywords=tuple(text for keyword in _values(descriptor.get("keywords")) if (text := _text(keyword))),
        licenses=_parties(_list(descriptor, "licenses") or _list(descriptor, "license"), "title", "name"),
        contributors=_parties(_list(descriptor, "contributors"), "title", "email", detail=("role", "roles")),
        sources=_parties(_list(descriptor, "sources"), "title", "name", "path"),
        resources=tuple(_resource(resource, n) for n, resource in enumerate(resources[:_MOST_RESOURCES], 1)),
        more_resources=max(0, len(resources) - _MOST_RESOURCES),
    )


_FACTS = (("name", "Name"), ("version", "Version"), ("created", "Created"), ("homepage", "Homepage"), ("id", "Id"))


def _resource(resource: Mapping[str, Any], number: int) -> Resource:
    paths = [text for path in _values(resource.get("path")) if (text := _text(path))]
    schema = resource.get("schema")
    fields = _list(schema, "fields") if isinstance(schema, Mapping) else []
    return Resource(
        name=_text(resource.get("name")) or f"(resource {number})",
        title=_text(resource.get("title")),
        path=", ".join(paths) or ("(in the descriptor)" if "data" in resource else ""),
        link=_link(paths[0]) if len(paths) == 1 else None,
        format=_text(resource.get("format")) or _text(resource.get("mediatype")),
        size=size(resource.get("bytes")),
        hash=_text(resource.get("hash")),
        fields=tuple(_field(field) for field in fields[:_MOST_FIELDS]),
    )


def _field(field: Mapping[str, Any]) -> Field:
    title = field.get("title") or field.get("description")
    return Field(_text(field.get("name")), _text(field.get("type")), _text(title))


def size(count: Any) -> str:
    """Return a number of bytes for people, such as `1.2 MB`; an empty text for any other value."""
    if not isinstance(count, (int, float)) or isinstance(count, bool) or not 0 <= count < 1e24:
        return ""
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return ""


def _parties(items: Iterable[Mapping[str, Any]], *titles: str, detail: tuple[str, ...] = ()) -> tuple[Party, ...]:
    parties = []
    for item in items:
        title = next((text for key in titles if (text := _text(item.get(key)))), "")
        link = _link(_text(item.get("path")))
        details = ", ".join(_text(value) for key in detail for value in _values(item.get(key)) if _text(value))
        if title or link:
            parties.append(Party(title or link or "", link, details))
    return tuple(parties)


def _list(parent: Any, key: str) -> list[Mapping[str, Any]]:
    return [item for item in _values(parent.get(key)) if isinstance(item, Mapping)]


def _values(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (list, Mapping)):
        return "" if not value else json.dumps(value, ensure_ascii=False)
    return str(value)


def _link(text: str) -> str | None:
    """Return an http or https address unchanged, or None: a link must not run a script."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.netloc else None


def moment(at: datetime | None) -> Markup:
    """Return a time in UTC. A script puts the reader's own zone in front, if the browser runs it."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M UTC")
    )


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 device` and `2 devices`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def message(error: object) -> str:
    """Return the message of an error without its JSON Pointer, which is for programs."""
    text, pointer = str(error), getattr(error, "pointer", None)
    return text.removesuffix(f" (at {pointer})") if pointer else text


def sentence(text: str) -> str:
    """Return a text as a sentence, with a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"


def at(error: object, field: str) -> list[str]:
    """Return the problems of an error that are about one field of a form."""
    problems = getattr(error, "problems", ())
    return [detail for pointer, detail in problems if pointer.split("/")[1:2] == [field]]


def yes_no(value: object) -> str:
    """Return `yes` or `no`."""
    return "yes" if value else "no"


def either(value: object, otherwise: str = "–") -> Markup:
    """Return a value as text, or a dash if it is empty."""
    return escape(value if value not in (None, "", (), []) else otherwise)
