"""Values of callers and of descriptors, as they are told in messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

#: The length of a value in a message, in characters.
_SHORTENED = 80
#: The deepest level of objects and lists that is described.
_DEEPEST = 50


def shortened(value: object) -> str:
    """Return a caller's value as Python spells it, cut to 80 characters, for messages."""
    text = value if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)
    text = str(text)
    return text if len(text) <= _SHORTENED else text[: _SHORTENED - 3] + "…"


def spelled(value: object, most: int | None = None) -> str:
    """Return a value of a descriptor as JSON spells it, but a plain text in single quotes.

    Args:
        value: Any JSON value.
        most: The length of the result in characters; None for no limit.
    """
    parts: list[str] = []
    length = 0
    for part in _spelled(value, 0) if not isinstance(value, str) else (repr(value),):
        parts.append(part)
        length += len(part)
        if most is not None and length > most:
            return "".join(parts)[: most - 3] + "…"
    return "".join(parts)


def _spelled(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield _quoted(value)
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif depth > _DEEPEST:
        yield "…"
    elif isinstance(value, Mapping):
        for number, (name, member) in enumerate(value.items()):
            yield f"{', ' if number else '{'}{_quoted(str(name))}: "
            yield from _spelled(member, depth + 1)
        yield "}" if value else "{}"
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield ", " if number else "["
            yield from _spelled(item, depth + 1)
        yield "]" if value else "[]"
    else:
        yield str(value)  # a number as written


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in quoted)
