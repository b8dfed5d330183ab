"""The places of errors in a JSON text: JSON Pointers (RFC 6901) to lines and columns."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from dataclasses import dataclass

from metastore.errors import InvalidInput

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_PLACE = re.compile(r"line (\d+)(?:, column (\d+))?")
#: The longest text that is searched, in characters: a million take a second.
_LONGEST = 2_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a problem in a text.

    Attributes:
        line: Counted from 1; 0 if it is unknown.
        column: Counted from 1, in characters; 1 if it is unknown.
        detail: The problem, in a sentence.
        excerpt: The line, shortened.
    """

    line: int
    column: int
    detail: str
    excerpt: str


def mark(text: str, error: Exception) -> tuple[Place, ...]:
    """Return the places of an error's problems in a text, in the order of its lines."""
    if not isinstance(error, InvalidInput):
        return ()
    lines = text.splitlines()
    known = _places_of(text, {pointer for pointer, _ in error.problems if pointer})
    places = []
    for pointer, detail in error.problems:
        match = _PLACE.search(detail)
        named = (int(match[1]), int(match[2] or 1)) if match else (0, 1)
        line, column = known.get(pointer, (0, 1)) if pointer else named
        excerpt = lines[line - 1].strip()[:120] if 0 < line <= len(lines) else ""
        places.append(Place(line, column, detail, excerpt))
    return tuple(sorted(places, key=lambda place: (place.line, place.column)))


def _places_of(text: str, wanted: Set[str]) -> dict[str, tuple[int, int]]:
    """Return line and column of these parts of a document; none if it is not JSON, or very long or deep."""
    if not wanted or len(text) > _LONGEST:
        return {}
    try:
        json.loads(text)
        return _Walk(text, wanted).places
    except (ValueError, RecursionError):
        return {}


class _Walk:
    """Walks a text of valid JSON, and notes where the wanted values begin."""

    def __init__(self, text: str, wanted: Set[str]) -> None:
        self._text = text
        self._wanted = wanted
        self._at = 0
        self._line = 1
        self._line_start = 0
        self.places: dict[str, tuple[int, int]] = {}
        self._value("")

    def _skip(self, characters: str = " \t\r\n") -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
            if self._text[self._at - 1] == "\n":
                self._line += 1
                self._line_start = self._at

    def _value(self, pointer: str) -> None:
        self._skip()
        if pointer in self._wanted:
            self.places[pointer] = (self._line, self._at - self._line_start + 1)
        start = self._text[self._at]
        if start in "{[":
            self._at += 1
            self._members(pointer, start == "{")
        elif start == '"':
            self._string()
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]} \t\r\n":
                self._at += 1

    def _members(self, pointer: str, named: bool) -> None:
        index = 0
        self._skip(" \t\r\n,")
        while self._text[self._at] not in "]}":
            key = str(index)
            if named:
                key = self._string().replace("~", "~0").replace("/", "~1")
                self._skip(" \t\r\n:")
            self._value(f"{pointer}/{key}")
            index += 1
            self._skip(" \t\r\n,")
        self._at += 1

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        name: str = json.loads(match[0])
        return name
