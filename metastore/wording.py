"""Values of callers and of descriptors, as they are told in messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metastore.phrase import Phrase, both, counted, joined

#: The length of a value in a message, in characters.
_SHORTENED = 80
#: A hash, which nobody reads in full, with its method or without.
HASH = re.compile(r"(?:[\w-]{1,20}:)?[0-9A-Fa-f]{32,}")
#: The deepest level of objects and lists that is described.
_DEEPEST = 50
#: The most names that are enumerated.
_MOST_NAMES = 3
#: The length of a value that is shown in full, of an outline, and of a text or a list in an outline, in characters.
_IN_FULL, _OUTLINE, _OUTLINED = 120, 400, 50
#: The members that name an item of a list in an outline.
_NAMES = ("name", "id", "title", "path", "value")


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


def outlined(value: object) -> str:
    """Return a value that came or went: in full if it is short, otherwise with long texts and lists shortened.

    No member of an object is left out without a word: those beyond the first 320 characters are named.
    """
    return spelled(value, _SHORTENED) if isinstance(value, str) else _outline(value, _IN_FULL)


def _outline(value: object, full: int) -> str:
    if isinstance(value, str):
        return _quoted(_cut(value))
    text = spelled(value, full)
    if not text.endswith("…"):
        return text
    return _outline_of_object(value) if isinstance(value, Mapping) else _outline_of_list(value)


def _outline_of_object(value: Mapping[Any, object]) -> str:
    names = [_cut(str(name)) for name in value]
    parts: list[str] = []
    length = 0
    for name, member in zip(names, value.values(), strict=True):
        if length > _OUTLINE:
            rest = names[len(parts) :]
            further = Phrase("and %(number)s more: %(names)s", number=len(rest), names=enumerated(rest))
            return joined("", ("{", joined(", ", (*parts, further)), "}"))
        parts.append(joined(": ", (_quoted(name), _outline(member, _OUTLINED))))
        length += len(parts[-1])
    return joined("", ("{", joined(", ", parts), "}"))


def _outline_of_list(value: object) -> str:
    items = value if isinstance(value, (list, tuple)) else ()
    named = [next((item[key] for key in _NAMES if key in item), "") for item in items if isinstance(item, Mapping)]
    names = [_cut(name) for name in (named or items) if isinstance(name, str) and name]
    count = counted("%(number)s item", "%(number)s items", len(items))
    inside = joined(": ", (count, enumerated(names))) if len(names) == len(items) else count
    return joined("", ("[", inside, "]"))


def _cut(text: str) -> str:
    if HASH.fullmatch(text):
        return f"{text[: text.find(':') + 9]}…{text[-8:]}"
    return text if len(text) <= _OUTLINED else f"{text[: _OUTLINED - 1]}…"


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


def enumerated(names: Sequence[str]) -> str:
    """Return the first names in a phrase: `a, b, c and 2 more`."""
    more = len(names) - _MOST_NAMES
    return both([*names[:_MOST_NAMES], Phrase("%(number)s more", number=more)] if more > 0 else names)
