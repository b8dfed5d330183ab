"""Reads descriptors of old revisions so that `==` compares how values are written, not only what they are.

Successive revisions share most of their text, so the parts of one that were read in another are not parsed again.
"""

from __future__ import annotations

import json
from typing import Any

from metastore.descriptor.document import load_written

_NUMBER = "\0"  # no stored text begins with it
#: The length of a text that is parsed as a whole, in bytes.
_SHORT = 1_000
#: The total length of the texts, in bytes, after which those not used lately are forgotten. No longer document shares
#: anything.
_REMEMBERED = 4_000_000
_ABSENT: Any = object()


class Documents:
    """Reads successive revisions. What they share is the same object in each, so that `==` need not look into it.

    Nothing that it returns may be changed.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, Any] = {}
        self._older: dict[bytes, Any] = {}
        self._length = 0

    def read(self, content: bytes | None) -> Any:
        """Return a descriptor whose numbers are replaced by tagged texts; None if it is not JSON.

        This keeps their spelling: in Python, `1 == True == 1.0`, and 1.10 is 1.1.
        """
        if content is None or len(content) > _REMEMBERED:
            return read(content)
        if self._length > _REMEMBERED:
            self._recent, self._older, self._length = {}, self._recent, 0
        try:
            return self._parse(content.rstrip(), 0)
        except (ValueError, RecursionError):  # another program stored it, and may have laid it out otherwise
            return read(content)

    def _value(self, text: bytes, depth: int) -> Any:
        """Return the value that a text spells. Raises ValueError."""
        value = self._recent.get(text, _ABSENT)
        if value is _ABSENT:
            value = self._older.get(text, _ABSENT)
            self._recent[text] = value = self._parse(text, depth) if value is _ABSENT else value
            self._length += len(text)
        return value

    def _parse(self, text: bytes, depth: int) -> Any:
        """Parse a text. In stored JSON, the indentation tells where the items of a list or object begin."""
        items = _items(text, b'{"', b"}", depth) or _items(text, b"[{", b"]", depth)
        if items is None:
            return _DECODER.decode(text.decode())
        if text[:1] == b"[":
            return [self._value(item, depth + 1) for item in items]
        members = (item.partition(b'": ') for item in items)
        return {self._value(name + b'"', depth): self._value(value, depth + 1) for name, _, value in members}


def read(content: bytes | None) -> Any:
    """Return a single descriptor as `Documents` does."""
    try:
        return json.loads(content, parse_int=_tagged, parse_float=_tagged) if content is not None else None
    except (ValueError, RecursionError):
        return None


def _items(text: bytes, opening: bytes, closing: bytes, depth: int) -> list[bytes] | None:
    """Split a long object, or list of objects, at its own indentation: no text in JSON has a line end."""
    start = b"\n" + b"  " * (depth + 1)
    head, tail = opening[:1] + start + opening[1:], start[:-2] + closing
    if len(text) <= _SHORT or not text.startswith(head) or not text.endswith(tail):
        return None
    return [opening[1:] + item for item in text[len(head) : -len(tail)].split(b"," + start + opening[1:])]


def _tagged(digits: str) -> str:
    return _NUMBER + digits


_DECODER = json.JSONDecoder(parse_int=_tagged, parse_float=_tagged)


def plain(value: Any) -> Any:
    """Return a value from `read` with its numbers restored, as written."""
    if isinstance(value, str) and value.startswith(_NUMBER):
        return load_written(value[len(_NUMBER) :].encode())
    return [plain(item) for item in value] if isinstance(value, list) else value
