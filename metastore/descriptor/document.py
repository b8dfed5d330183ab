"""Reading and writing `datapackage.json` faithfully, and refusing what is unsafe.

What came as text keeps its numbers as written (`1.10`, 2**70): such a number is a `WrittenFloat`. What is stored is
always indented by two spaces, in the order given, in UTF-8, so that `git log -p` reads well.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring
from posixpath import normpath
from typing import Any

from metastore.errors import InvalidInput, TooLarge
from metastore.parse import encodable

#: The file that holds the descriptor (Data Package specification).
DESCRIPTOR = "datapackage.json"
#: Files that MetaStore writes itself; no resource may have such a path.
OWN_FILES = frozenset({DESCRIPTOR, ".gitattributes", ".lfsconfig", ".metastore-deleted"})
#: How many bytes a descriptor may have, unless configured otherwise.
MAX_BYTES = 32 * 1024 * 1024
#: How deeply a document may be nested.
MAX_DEPTH = 100
_MAX_DIGITS = 4000  # Python itself stops at 4300
_MAX_BITS = 13_280
_LONGEST_PART = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # all of Unicode's category Cc
#: A path in a folder that breaks none of the rules of `why_unsafe`, as nearly all paths do: found out much faster.
_PLAIN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class WrittenFloat(float):
    """A number that Python would print in another way; `text` is how it was written."""

    __slots__ = ("text",)
    text: str

    def __repr__(self) -> str:
        return self.text


def decode(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read JSON strictly (RFC 8259), keeping numbers as written.

    Raises:
        InvalidInput: Not UTF-8, not JSON, too large, too deeply nested, with duplicate keys, NaN, or a number that
            overflows (1e400).
    """
    if len(text) > max_bytes:
        raise TooLarge(len(text), max_bytes)
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
        raise InvalidInput(f"the document is not UTF-8: byte {error.start} is wrong") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InvalidInput(f"the document is nested more than {MAX_DEPTH} levels deep") from None


def encode(value: Any, *, sort: bool = False) -> bytes:
    """Write JSON as it is stored: indented by two spaces, a newline at the end.

    Args:
        value: Objects with text keys, lists, text, numbers, booleans, None.
        sort: Order members by name, to compare two documents.

    Raises:
        InvalidInput: Something that JSON cannot say, with a pointer to it.
    """
    parts: list[str] = []
    try:
        _write(value, "\n", parts, sort, 0)
        text = "".join(parts)
        return f"{text}\n".encode()
    except (_Unwritable, UnicodeEncodeError, RecursionError):
        _explain(value)
        raise InvalidInput("the document cannot be written as JSON") from None


def load(content: bytes) -> Any:
    """Read what is stored, into ordinary Python values.

    Raises:
        ValueError: It is not JSON: NaN is not, though many programs write it.
    """
    try:
        return json.loads(content, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def load_written(content: bytes) -> Any:
    """Read what is stored, with numbers as they were written. Raises ValueError: it is not JSON."""
    try:
        return decode(content, max_bytes=len(content))
    except InvalidInput:  # another program stored it, and it may be JSON all the same
        return load(content)


def to_line(value: Any) -> str:
    """Write JSON on one line, with numbers as they were written."""
    parts: list[str] = []
    try:
        _write(value, None, parts, False, 0)
    except (_Unwritable, RecursionError):  # what another program stored
        return json.dumps(value, ensure_ascii=False)
    return "".join(parts)


def same(a: bytes, b: bytes) -> bool:
    """Tell whether two stored documents say the same: equal text once members are sorted."""
    if a == b:
        return True
    longest = max(len(a), len(b))  # what is stored may be longer than what may be stored now
    return encode(decode(a, max_bytes=longest), sort=True) == encode(decode(b, max_bytes=longest), sort=True)


def check(descriptor: Any) -> None:
    """Refuse a descriptor that is unsafe to store.

    Raises:
        InvalidInput: It is no object; a path of a resource is absolute, climbs, is in a dot-folder or is one of
            MetaStore's own files; or two resources have the same name and would hide each other.
    """
    if not isinstance(descriptor, dict):
        raise InvalidInput("a descriptor is a JSON object", pointer="")
    problems: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    for index, resource in resources(descriptor):
        name = resource.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            detail = f"the name {name!r} belongs to resource {seen[name]} already"
            problems.append((f"/resources/{index}/name", detail))
        for pointer, path in _paths(index, resource):
            if problem := why_unsafe(path):
                problems.append((pointer, f"the path {path[:100]!r} {problem}"))
    if problems:
        raise InvalidInput(problems[0][1], pointer=problems[0][0], problems=tuple(problems))


def resources(descriptor: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the position and value of each resource that is an object; anything else is passed over."""
    listed = descriptor.get("resources")
    for index, resource in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(resource, dict):
            yield index, resource


def find_resource(descriptor: Mapping[str, Any], wanted: str) -> dict[str, Any] | None:
    """Return the resource with this name, else with this id, else with this path; None where there is none."""
    for member in ("name", "id", "path"):
        for _, resource in resources(descriptor):
            if resource.get(member) == wanted:
                return resource
    return None


#: How one item of a list is called.
SINGULAR = {
    "resources": "resource",
    "fields": "field",
    "keywords": "keyword",
    "licenses": "licence",
    "contributors": "contributor",
    "sources": "source",
    "foreignKeys": "foreign key",
    "views": "view",
    "tables": "table",
}


def words_of(document: Any, path: Iterable[str | int]) -> str:
    """Return where a path leads, in words and names: `the type of field 'lat' of resource 'stations'`."""
    said: list[str] = []
    name, value, ends_in_item = "descriptor", document, False
    for part in path:
        value = value[part] if isinstance(value, (dict, list)) else None  # type: ignore[index]
        ends_in_item = isinstance(part, int)
        if isinstance(part, int):
            own = value.get("name") if isinstance(value, dict) else None
            said[-1:] = [f"{SINGULAR.get(name, f'item of {name}')} {_quoted(own) if own else part + 1}"]
        else:
            name = part if len(part) <= _LONGEST_PART else f"{part[:_LONGEST_PART]}…"
            said.append(name)
    words = " of ".join(reversed([word for word in said if word != "schema"] or said)) or "descriptor"
    return words if ends_in_item else f"the {words}"


def _quoted(name: Any) -> str:
    return repr(name if len(name) <= _LONGEST_PART else f"{name[:_LONGEST_PART]}…") if isinstance(name, str) else "?"


def local_path(resource: Mapping[str, Any]) -> str | None:
    """Return the normalised path of a resource's single local file; None for URLs, several paths or inline data."""
    path = resource.get("path")
    if not isinstance(path, str) or not path or is_url(path):
        return None
    return normpath(path)


def is_url(path: str) -> bool:
    """Tell whether a resource's path is a URL."""
    return _URL.match(path) is not None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidInput(f"the key {double!r} occurs twice in one object")
    return members


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit() and text != "-0":
        if len(text) > _MAX_DIGITS - 10:
            raise InvalidInput(f"a number has more than {_MAX_DIGITS - 10} digits")
        return int(text)
    number = WrittenFloat(text)
    if not math.isfinite(number):
        raise InvalidInput(f"the number {text} is too large")
    if repr(float(number)) == text:
        return float(number)
    number.text = text
    return number


def _no_constant(text: str) -> Any:
    raise InvalidInput(f"{text} is not JSON: write null, a number, or text")


class _Unwritable(Exception):
    pass


def _write(value: Any, newline: str | None, parts: list[str], sort: bool, depth: int) -> None:
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None or value is True or value is False:
        parts.append({None: "null", True: "true", False: "false"}[value])
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


def _write_container(value: Any, newline: str | None, parts: list[str], sort: bool, depth: int) -> None:
    is_object = isinstance(value, dict)
    if not value:
        parts.append("{}" if is_object else "[]")
        return
    if depth >= MAX_DEPTH:
        raise _Unwritable
    inner = newline + "  " if newline is not None else None
    separator = ("{" if is_object else "[") + (inner or "")
    for member in (sorted(value) if sort else value) if is_object else value:
        parts.append(separator)
        if is_object:
            if not isinstance(member, str):
                raise _Unwritable
            parts.append(encode_basestring(member) + ": ")
            _write(value[member], inner, parts, sort, depth + 1)
        else:
            _write(member, inner, parts, sort, depth + 1)
        separator = "," + inner if inner is not None else ", "
    parts.append((newline or "") + ("}" if is_object else "]"))


def _explain(value: Any, pointer: str = "", depth: int = 0) -> None:  # noqa: C901 - one branch a kind of value
    """Find and raise what cannot be written; only ever called when there is such a thing."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"the document is nested more than {MAX_DEPTH} levels deep")
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


def _paths(index: int, resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    path = resource.get("path")
    if isinstance(path, str):
        yield f"/resources/{index}/path", path
    elif isinstance(path, list):
        yield from ((f"/resources/{index}/path/{n}", part) for n, part in enumerate(path) if isinstance(part, str))


def why_unsafe(path: str) -> str | None:
    """Return why a path must not be followed, as a predicate such as `is absolute`; None for a safe path or a URL."""
    if is_url(path) or (len(path) <= _LONGEST_PART and _PLAIN.fullmatch(path) and path.lower() not in OWN_FILES):
        return None
    if _CONTROL.search(path):
        return "has control characters"
    parts = path.replace("\\", "/").split("/")
    if not parts[0] or re.match(r"[A-Za-z]:", path) or path.startswith("~"):
        return "is absolute; write it relative to the descriptor" if path else "is empty"
    if ".." in parts:
        return "leaves the dataset"
    if normpath(path).lower() in OWN_FILES:
        return "is a file of MetaStore's own"
    if any(_is_git_folder(part) for part in parts):
        return "is one that Git keeps for itself"
    if any(part.startswith(".") and part != "." for part in parts[:-1]):
        return "is in a folder whose name begins with a dot"
    if normpath(path) == "." or path.endswith("/"):
        return "is no file"
    if any(len(part.encode(errors="replace")) > _LONGEST_PART for part in parts):
        return f"has a part of more than {_LONGEST_PART} bytes, which file systems do not take"
    return None


def _is_git_folder(part: str) -> bool:
    """Names that some file system takes for `.git` or `.gitmodules`: see fsck.c and is_ntfs_dot_generic in Git."""
    if not part.isascii():  # no ASCII character is invisible
        part = "".join(character for character in part if unicodedata.category(character) != "Cf")
    visible = part.lower()
    return visible.startswith(".git") or re.match(r"(g[^~]{,5})?~[1-9]", visible) is not None
