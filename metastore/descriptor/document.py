"""Reads and writes `datapackage.json` without changing its content or its spelling.

JSON text keeps its numbers as written (`1.10`, 2**70): such a number is a `WrittenFloat`. Stored JSON is indented by
two spaces, keeps the order of members, and is UTF-8, so that `git log -p` reads well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from io import BytesIO
from itertools import chain
from json.encoder import encode_basestring
from typing import Any, cast

from metastore.descriptor.limits import limit_size, limit_values
from metastore.errors import InvalidInput
from metastore.parse import encodable
from metastore.phrase import Phrase

#: The file that holds the descriptor (Data Package specification).
DESCRIPTOR = "datapackage.json"
#: The deepest nesting of a document.
MAX_DEPTH = 100
#: How many characters of a text are written at once, and how many pieces of text become bytes at once.
_PIECE, _PIECES = 1 << 14, 64
#: A part of the output. A long text is an iterator of pieces, which are made when they are needed.
_Part = str | Iterable[str]
#: Python's error message -> our description of the fault; `_fault` adds the place.
_FAULTS = {
    "Expecting value": Phrase("a value was expected"),
    "Expecting property name enclosed in double quotes": Phrase("a name in double quotes was expected"),
    "Expecting ':' delimiter": Phrase("a colon was expected"),
    "Expecting ',' delimiter": Phrase("a comma or a closing bracket was expected"),
    "Illegal trailing comma before end of object": Phrase("a comma stands before a closing bracket"),
    "Illegal trailing comma before end of array": Phrase("a comma stands before a closing bracket"),
    "Extra data": Phrase("the document has ended, but more text begins"),
    "Unterminated string starting at": Phrase("no double quote ends the string that begins"),
    "Invalid control character at": Phrase("a line break, a tab or the like must be written as \\n, \\t or \\u00XX"),
    "Invalid \\escape": Phrase("no escape such as \\n follows the backslash, which alone is written as \\\\,"),
    "Invalid \\uXXXX escape": Phrase("four hexadecimal digits were expected after \\u"),
}
_LITERALS = {None: "null", True: "true", False: "false"}
#: The longest integer that is read, in digits with its sign: Python itself stops at 4,300. And the longest that is
#: written, in bits: a little longer, so that all that was read can be written.
_MAX_DIGITS, _MAX_BITS = 3_990, 13_280


class WrittenFloat(float):
    """A number that Python would spell differently; `text` is its spelling."""

    __slots__ = ("text",)
    text: str

    def __repr__(self) -> str:
        return self.text


def decode(text: str | bytes, *, max_bytes: int | None = None, max_values: int | None = None) -> Any:
    """Read JSON strictly (RFC 8259), and keep numbers as written.

    Args:
        text: The JSON.
        max_bytes: The largest size in bytes, as `limits.size_of` counts them; None for any size.
        max_values: The largest number of texts, numbers, lists, objects and so on, without the names of members; None
            for any number.

    Raises:
        InvalidInput: Not UTF-8, not JSON, too large, too deeply nested, with duplicate keys, NaN, or a number that
            overflows (1e400).
    """
    if max_bytes is not None:
        limit_size(text, max_bytes)
    if max_values is not None:
        limit_values(text, max_values)
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_members,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidInput(Phrase("the document is not UTF-8: byte %(byte)s is wrong", byte=error.start)) from None
    except json.JSONDecodeError as error:
        raise InvalidInput(Phrase("not JSON: %(problem)s", problem=_fault(error))) from None
    except RecursionError:
        raise InvalidInput(
            Phrase("the document is nested more than %(number)s levels deep", number=MAX_DEPTH)
        ) from None


def encode(value: Any, *, sort: bool = False) -> bytes:
    """Write JSON as it is stored: indented by two spaces, a newline at the end.

    Args:
        value: Objects with text keys, lists, text, numbers, booleans, None.
        sort: Order members by name, to compare two documents.

    Raises:
        InvalidInput: A value cannot be written as JSON; the error points to it.
    """
    parts: list[_Part] = []
    try:
        _write(value, "\n", parts, sort, 0)
        parts.append("\n")
        return _encoded(parts)
    except (_Unwritable, UnicodeEncodeError, RecursionError):
        _explain(value)
        raise InvalidInput("the document cannot be written as JSON") from None


def load(content: bytes) -> Any:
    """Read stored JSON into ordinary Python values.

    Raises:
        ValueError: It is not JSON; the message says where. NaN is not JSON, though many programs write it.
    """
    try:
        return _LOADER.decode(content.decode(json.detect_encoding(content), "surrogatepass"))  # as `json.loads` does
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(_fault(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _fault(error: json.JSONDecodeError) -> str:
    """Describe an error in JSON, with its place."""
    fault = _FAULTS.get(error.msg, Phrase("something else was expected"))
    values = {"problem": fault, "line": error.lineno, "column": error.colno}
    if error.pos >= len(error.doc.rstrip()):
        return Phrase("%(problem)s at the end, in line %(line)s, column %(column)s", **values)
    return Phrase("%(problem)s in line %(line)s, column %(column)s", **values)


def load_written(content: bytes) -> Any:
    """Read stored JSON, with numbers as written. Raises ValueError: it is not JSON."""
    try:
        return decode(content)
    except InvalidInput:  # another program stored it, and it may still be JSON
        return load(content)


def to_line(value: Any) -> str:
    """Write JSON on one line, with numbers as written."""
    return "".join(_joined(_on_a_line(value)))


def encode_line(value: Any) -> bytes:
    """Write JSON on one line as UTF-8; half of a surrogate pair is escaped."""
    return _encoded(_on_a_line(value), errors="backslashreplace")


def _on_a_line(value: Any) -> list[_Part]:
    parts: list[_Part] = []
    try:
        _write(value, None, parts, False, 0)
    except (_Unwritable, RecursionError):  # stored by another program
        return [json.dumps(value, ensure_ascii=False)]
    return parts


def _encoded(parts: list[_Part], errors: str = "strict") -> bytes:
    """Encode text in pieces. In one piece, a single character beyond U+FFFF would make every character take 4 bytes."""
    content = BytesIO()
    for at in range(0, len(parts), _PIECES):
        for text in _joined(parts[at : at + _PIECES]):
            content.write(text.encode(errors=errors))
    return content.getvalue()


def _joined(parts: list[_Part]) -> Iterable[str]:
    """Return the text of some parts, in one piece if there is no long text among them."""
    if set(map(type, parts)) == {str}:
        return ("".join(cast("list[str]", parts)),)
    return chain.from_iterable((part,) if isinstance(part, str) else part for part in parts)


def same(a: bytes, b: bytes) -> bool:
    """Tell whether two stored documents have equal text after their members are sorted."""
    if a == b:
        return True
    return encode(decode(a), sort=True) == encode(decode(b), sort=True)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidInput(Phrase("the key %(name)r occurs twice in one object", name=double))
    return members


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit() and text != "-0":
        if len(text) > _MAX_DIGITS:
            raise InvalidInput(Phrase("a number has more than %(number)s digits", number=_MAX_DIGITS))
        return int(text)
    number = WrittenFloat(text)
    if not math.isfinite(number):
        raise InvalidInput(Phrase("the number %(number)s is too large", number=text))
    if repr(float(number)) == text:
        return float(number)
    number.text = text
    return number


def _no_constant(text: str) -> Any:
    raise InvalidInput(Phrase("%(text)s is not JSON: write null, a number, or text", text=text))


_LOADER = json.JSONDecoder(parse_constant=_no_constant)  # `json.loads` would make one in each call


class _Unwritable(Exception):
    pass


def _write(value: Any, newline: str | None, parts: list[_Part], sort: bool, depth: int) -> None:
    if isinstance(value, str):
        parts.append(_quoted(value))
    elif value is None or value is True or value is False:
        parts.append(_LITERALS[value])
    elif isinstance(value, (dict, list, tuple)):
        _write_container(value, newline, parts, sort, depth)
    elif isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise _Unwritable
        parts.append(int.__repr__(value))
    elif isinstance(value, float) and math.isfinite(value):
        parts.append(value.text if isinstance(value, WrittenFloat) else float.__repr__(value))
    else:
        raise _Unwritable


def _quoted(text: str) -> _Part:
    """Quote a text; a long one piece by piece, once it is written."""
    if len(text) <= _PIECE:
        return encode_basestring(text)
    pieces = (encode_basestring(text[at : at + _PIECE])[1:-1] for at in range(0, len(text), _PIECE))
    return chain('"', pieces, '"')


def _write_container(value: Any, newline: str | None, parts: list[_Part], sort: bool, depth: int) -> None:
    start, end = "{}" if isinstance(value, dict) else "[]"
    if not value:
        parts.append(start + end)
        return
    if depth >= MAX_DEPTH:
        raise _Unwritable
    inner = newline + "  " if newline is not None else None
    before, comma = start + (inner or ""), "," + inner if inner is not None else ", "
    if start == "[":
        for item in value:
            parts.append(before)
            _write(item, inner, parts, sort, depth + 1)
            before = comma
    else:
        for name in sorted(value) if sort else value:
            if not isinstance(name, str):
                raise _Unwritable
            item = value[name]
            if type(item) is str and len(name) <= _PIECE and len(item) <= _PIECE:  # most, without a further call
                parts.append(f"{before}{encode_basestring(name)}: {encode_basestring(item)}")
            else:
                parts += before, _quoted(name), ": "
                _write(item, inner, parts, sort, depth + 1)
            before = comma
    parts.append((newline or "") + end)


def _explain(value: Any, pointer: str = "", depth: int = 0) -> None:  # noqa: C901 - one branch a kind of value
    """Find the value that JSON cannot express, and raise an error that points to it."""
    if depth > MAX_DEPTH:
        raise InvalidInput(Phrase("the document is nested more than %(number)s levels deep", number=MAX_DEPTH))
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise InvalidInput(f"keys are text, not {type(key).__name__}: {key!r}", pointer=pointer)
            encodable(key, f"the key {key!a} in {pointer or 'the document'}")
            _explain(member, f"{pointer}/{escape(key)}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            _explain(member, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, str):
        encodable(value, f"the text at {pointer}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"JSON has no {value}", pointer=pointer)
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise InvalidInput("the number is too long", pointer=pointer)
    elif not isinstance(value, (int, float, type(None))):
        raise InvalidInput(f"JSON has no {type(value).__name__}: make it text or a number", pointer=pointer)


def escape(key: str) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
