"""Limits the size of a descriptor: the memory of its text, and the number of its values. It counts both unparsed."""

from __future__ import annotations

import re
from itertools import islice

from metastore.errors import TooLarge
from metastore.phrase import Phrase

#: The largest descriptor in bytes of memory, unless configured otherwise.
MAX_BYTES = 32 * 1024 * 1024
#: A document may have one value for each so many bytes of its largest size. So many values are always allowed.
_BYTES_A_VALUE, _FEW_VALUES = 256, 100_000
#: A text, or what begins a value: a comma, or the bracket of a list or object that is not empty.
_TEXT_OR_VALUE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|,|[\[{](?!\s*[\]}])', re.DOTALL)
#: The bytes of UTF-8 that do not begin a character.
_CONTINUING = bytes(range(0x80, 0xC0))
#: Bytes that a character in memory takes -> the bytes of UTF-8 that do not begin such a character.
_NARROWER = {4: bytes(range(0xF0)), 2: bytes(range(0xC4))}
#: The same bytes -> the first byte, or the escape in JSON, of a character that takes them.
_WIDE = {4: re.compile(rb"[\xf0-\xf7]|\\u[dD][89abAB]"), 2: re.compile(rb"[\xc4-\xf7]|\\u(?!00)")}
_WIDEST = 4
_ESCAPE, _LENGTH_OF_ESCAPE = b"\\u", 6


def size_of(text: str | bytes) -> int:
    """Return the size of JSON in bytes: of its text in memory once it is read, or of its UTF-8 if that is larger.

    Python gives every character of a text as many bytes as the widest one needs: one up to U+00FF, two up to U+FFFF,
    else four.
    """
    content = _bytes(text)
    characters, width = _characters(content)
    return max(len(content), characters * width)


def limit_size(text: str | bytes, most: int) -> None:
    """Refuse JSON above a size in bytes (see `size_of`), before it is parsed. Raises TooLarge."""
    content = _bytes(text)
    if len(content) > most:
        raise TooLarge(
            Phrase("the document has %(number)s bytes; at most %(most)s are allowed", number=len(content), most=most)
        )
    if len(content) * _WIDEST <= most:
        return
    characters, width = _characters(content)
    if characters * width > most:
        wide, first = ("U+FFFF" if width == _WIDEST else "U+00FF"), _WIDE[width].search(content)
        raise TooLarge(
            f"the document takes {characters * width} bytes in memory; at most {most} are allowed. A character beyond "
            f"{wide}, as at byte {first.start() if first else 0}, makes every character take {width} "
            "bytes: leave it out, or raise METASTORE_MAX_BYTES"
        )


def most_values(max_bytes: int) -> int:
    """Return the largest number of values in a document of at most some bytes.

    In memory, a value takes up to a hundred times its bytes.
    """
    return max(max_bytes // _BYTES_A_VALUE, _FEW_VALUES)


def limit_values(text: str | bytes, most: int) -> None:
    """Refuse JSON with too many values, before it is parsed. Raises TooLarge."""
    content = _bytes(text)
    if at_most_values(content) <= most:
        return
    beginnings = (match for match in _TEXT_OR_VALUE.finditer(content) if match[0][:1] != b'"')
    if sum(1 for _ in islice(beginnings, most)) == most:  # and the document itself
        raise TooLarge(Phrase("the document has more than the %(most)s values that are allowed", most=most))


def at_most_values(content: bytes) -> int:
    """Return an upper bound of the number of values in JSON. It is quick, since it also counts inside texts."""
    return content.count(b",") + content.count(b"[") + content.count(b"{") + 1


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _characters(content: bytes) -> tuple[int, int]:
    """Return the number of characters of a text, and the bytes of each, as the text is or with its escapes decoded."""
    characters, width = _length(content), _width(content)
    if _ESCAPE not in content:
        return characters, width
    content = content.replace(b"\\\\", b"")  # an escaped backslash begins no escape
    fewer = characters - content.count(_ESCAPE) * (_LENGTH_OF_ESCAPE - 1)
    wider = next((bytes_each for bytes_each in (4, 2) if _WIDE[bytes_each].search(content)), 1)
    return max((characters, width), (fewer, wider), key=lambda pair: pair[0] * pair[1])


def _length(content: bytes) -> int:
    return len(content) if content.isascii() else len(content.translate(None, _CONTINUING))


def _width(content: bytes) -> int:
    if content.isascii():
        return 1
    return next((width for width, narrower in _NARROWER.items() if content.translate(None, narrower)), 1)
