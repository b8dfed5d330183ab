"""Places in a descriptor, in the language of the request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metastore.descriptor.resources import words_of
from metastore.pages.languages import gettext as _
from metastore.pages.languages import later, said

#: What the core calls the items of a descriptor's lists.
_NOUNS = (
    *(later("resource"), later("field"), later("licence"), later("contributor"), later("source"), later("keyword")),
    *(later("foreign key"), later("category"), later("missing value")),
)


def in_words(where: str) -> str:
    """Return a place that the core names, such as `resource stations › field lat`, in the language of the request."""
    steps = []
    for step in where.split(" › "):
        noun = next((noun for noun in _NOUNS if step.startswith(f"{noun} ")), "")
        steps.append(f"{_(noun)}{step[len(noun) :]}" if noun else step)
    return " › ".join(steps)


def part_in_words(descriptor: Any, part: Sequence[str]) -> str | None:
    """Return the part of a descriptor at a path in words, such as `the title of resource 'stations'`.

    Returns:
        The words in the language of the request; None if the descriptor has no such part, or the path names all of it.
    """
    steps: list[str | int] = []
    value: Any = descriptor
    for step in part:
        key = _position(value, step) if isinstance(value, list) else step
        if key is None or (isinstance(value, dict) and key not in value) or not isinstance(value, (dict, list)):
            return None
        steps.append(key)
        value = value[key]  # type: ignore[index]
    return said(words_of(descriptor, steps)) if steps else None


def _position(items: list[Any], step: str) -> int | None:
    """Return the position of an item that is named by its position, or by its name."""
    if step.isascii() and step.isdecimal() and len(step) < 9:
        return int(step) if int(step) < len(items) else None
    name = step.removeprefix("=")
    return next((at for at, item in enumerate(items) if isinstance(item, dict) and item.get("name") == name), None)
