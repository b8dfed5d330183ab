"""Values as pages show them: descriptors, whatever people put in them, and times, counts and errors."""

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
    """A contributor, a source or a licence: words, perhaps a link, perhaps what for."""

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
    """A descriptor for people."""

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
    """Read a descriptor for people; what is not as the specification says is passed over.

    Args:
        descriptor: Of any kind.
        otherwise: The title, if it has none.
    """
    resources = _list(descriptor, "resources")
    facts = [(label, _text(descriptor.get(key))) for key, label in _FACTS]
    return Overview(
        title=_text(descriptor.get("title")) or otherwise,
        description=_text(descriptor.get("description")),
        facts=tuple((label, value) for label, value in facts if value),
        keywords=tuple(_text(each) for each in _values(descriptor.get("keywords")) if _text(each)),
        licenses=_parties(_list(descriptor, "licenses") or _list(descriptor, "license"), "title", "name"),
        contributors=_parties(_list(descriptor, "contributors"), "title", "email", detail=("role", "roles")),
        sources=_parties(_list(descriptor, "sources"), "title", "name", "path"),
        resources=tuple(_resource(each, number) for number, each in enumerate(resources[:_MOST_RESOURCES], 1)),
        more_resources=max(0, len(resources) - _MOST_RESOURCES),
    )


_FACTS = (("name", "Name"), ("version", "Version"), ("created", "Created"), ("homepage", "Homepage"), ("id", "Id"))


def _resource(given: Mapping[str, Any], number: int) -> Resource:
    paths = [_text(each) for each in _values(given.get("path")) if _text(each)]
    schema = given.get("schema")
    fields = _list(schema, "fields") if isinstance(schema, Mapping) else []
    name = _text(given.get("name"))
    return Resource(
        name=name or f"(resource {number})",
        title=_text(given.get("title")),
        path=", ".join(paths) or ("(in the descriptor)" if "data" in given else ""),
        link=_link(paths[0]) if len(paths) == 1 else None,
        format=_text(given.get("format")) or _text(given.get("mediatype")),
        size=size(given.get("bytes")),
        hash=_text(given.get("hash")),
        fields=tuple(
            Field(_text(each.get("name")), _text(each.get("type")), _text(each.get("title") or each.get("description")))
            for each in fields[:_MOST_FIELDS]
        ),
    )


def size(count: Any) -> str:
    """Return a number of bytes for people: `1.2 MB`; nothing for what is no number."""
    if not isinstance(count, (int, float)) or isinstance(count, bool) or not 0 <= count < 1e24:
        return ""
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return ""


def _parties(given: Iterable[Mapping[str, Any]], *titles: str, detail: tuple[str, ...] = ()) -> tuple[Party, ...]:
    found = []
    for each in given:
        title = next((text for key in titles if (text := _text(each.get(key)))), "")
        link = _link(_text(each.get("path")))
        said = ", ".join(_text(value) for key in detail for value in _values(each.get(key)) if _text(value))
        if title or link:
            found.append(Party(title or link or "", link, said))
    return tuple(found)


def _list(given: Any, key: str) -> list[Mapping[str, Any]]:
    return [each for each in _values(given.get(key)) if isinstance(each, Mapping)]


def _values(given: Any) -> list[Any]:
    if isinstance(given, list):
        return given
    return [] if given is None else [given]


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    if given is None or isinstance(given, (list, Mapping)):
        return "" if not given else json.dumps(given, ensure_ascii=False)
    return str(given)


def _link(text: str) -> str | None:
    """Return an address that may be followed; never a script's."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.netloc else None


def moment(at: datetime | None) -> Markup:
    """Return a time in UTC; a script, where there is one, puts the reader's own zone in front."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M UTC")
    )


def count(number: int, noun: str) -> str:
    """Return `1 device`, `2 devices`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def said(error: object) -> str:
    """Return what an error says, without the JSON Pointer that programs are told beside it."""
    text, pointer = str(error), getattr(error, "pointer", None)
    return text.removesuffix(f" (at {pointer})") if pointer else text


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital and a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"


def at(error: object, field: str) -> list[str]:
    """Return what an error says of one field of a form, by the field's name."""
    problems = getattr(error, "problems", ())
    return [detail for pointer, detail in problems if pointer.split("/")[1:2] == [field]]


def yes_no(value: object) -> str:
    """Return a flag in a word."""
    return "yes" if value else "no"


def either(value: object, otherwise: str = "–") -> Markup:
    """Return a value as text, or something to see where it is empty."""
    return escape(value if value not in (None, "", (), []) else otherwise)
