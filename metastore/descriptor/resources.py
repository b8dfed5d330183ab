"""The parts of a descriptor: its resources, the safety of their paths, and the names of parts in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from posixpath import normpath
from typing import Any

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import InvalidInput
from metastore.git.trees import MOST_PARTS
from metastore.phrase import Phrase, joined

#: Files that MetaStore writes itself; no resource may have such a path.
OWN_FILES = frozenset({DESCRIPTOR, ".gitattributes", ".lfsconfig", ".metastore-deleted"})
_LONGEST_PART = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # all of Unicode's category Cc
#: The paths of `is_plain`; no URL is among them.
_PLAIN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: The name of a list -> the word for one of its items.
SINGULAR = {
    "resources": Phrase("resource"),
    "fields": Phrase("field"),
    "keywords": Phrase("keyword"),
    "licenses": Phrase("licence"),
    "contributors": Phrase("contributor"),
    "sources": Phrase("source"),
    "foreignKeys": Phrase("foreign key"),
    "views": Phrase("view"),
    "tables": Phrase("table"),
    "categories": Phrase("category"),
    "missingValues": Phrase("missing value"),
    "enum": Phrase("enum item"),
}

_ITEMS = {**SINGULAR, "path": Phrase("path"), "extrapaths": Phrase("extra path")}
#: Members that take no article in a sentence.
_NO_NOUNS = frozenset({"created", "extrapaths", "bytes", "$schema"})


def check(descriptor: Any) -> None:
    """Refuse a descriptor that is unsafe to store.

    Raises:
        InvalidInput: It is not an object; the path of a resource is unsafe (see `why_unsafe`); or two resources
            have the same name, so that one would hide the other.
    """
    if not isinstance(descriptor, dict):
        raise InvalidInput(Phrase("a descriptor is a JSON object"), pointer="")
    problems: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    for index, resource in resources(descriptor):
        name = resource.get("name")
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            detail = Phrase(
                "resource %(number)s has the name %(name)r, which resource %(other)s has already",
                number=index + 1,
                name=name,
                other=seen[name] + 1,
            )
            problems.append((f"/resources/{index}/name", detail))
        value = resource.get("path")
        for pointer, path in () if isinstance(value, str) and is_plain(value) else _paths(index, value):
            if problem := why_unsafe(path):
                where = words_of(descriptor, ("resources", index))
                problems.append((pointer, of_path(path, Phrase("path"), where, problem)))
    if problems:
        raise InvalidInput(problems[0][1], pointer=problems[0][0], problems=tuple(problems))


def of_path(path: str, what: str, where: str, problem: str) -> Phrase:
    """Return a sentence about a path: its kind in words, the resource that it belongs to, and a predicate."""
    values = {"what": what, "path": path[:100], "where": where, "problem": problem}
    return Phrase("the %(what)s %(path)r of %(where)s %(problem)s", **values)


def _paths(index: int, path: Any) -> Iterator[tuple[str, str]]:
    if isinstance(path, str):
        yield f"/resources/{index}/path", path
    elif isinstance(path, list):
        yield from ((f"/resources/{index}/path/{n}", part) for n, part in enumerate(path) if isinstance(part, str))


def resources(descriptor: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each resource that is an object, with its position."""
    listed = descriptor.get("resources")
    for index, resource in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(resource, dict):
            yield index, resource


def find_resource(descriptor: Mapping[str, Any], wanted: str) -> dict[str, Any] | None:
    """Return the resource with this name, else with this id, else with this path; None if there is none."""
    for member in ("name", "id", "path"):
        for _, resource in resources(descriptor):
            if resource.get(member) == wanted:
                return resource
    return None


def local_path(resource: Mapping[str, Any]) -> str | None:
    """Return the normalised path of a resource's single local file; None for URLs, several paths or inline data."""
    path = resource.get("path")
    if not isinstance(path, str) or not path or is_url(path):
        return None
    return normpath(path)


def is_url(path: str) -> bool:
    """Tell whether a resource's path is a URL."""
    return _URL.match(path) is not None


def is_plain(path: str) -> bool:
    """Tell, much faster than `why_unsafe`, that a path is safe, as nearly all are; False if that is not certain."""
    return _PLAIN.fullmatch(path) is not None and len(path) <= _LONGEST_PART and path.lower() not in OWN_FILES


def why_unsafe(path: str) -> str | None:
    """Return why a path is unsafe, as a predicate such as `is absolute`; None for a safe path or a URL."""
    if is_plain(path) or is_url(path):
        return None
    if _CONTROL.search(path):
        return Phrase("has control characters")
    parts = path.replace("\\", "/").split("/")
    if not parts[0] or re.match(r"[A-Za-z]:", path) or path.startswith("~"):
        return Phrase("is absolute; write it relative to the descriptor") if path else Phrase("is empty")
    if ".." in parts:
        return Phrase("leaves the dataset")
    if normpath(path).lower() in OWN_FILES:
        return Phrase("is a file of MetaStore's own")
    if any(_is_git_folder(part) for part in parts):
        return Phrase("is one that Git keeps for itself")
    if any(part.startswith(".") and part != "." for part in parts[:-1]):
        return Phrase("is in a folder whose name begins with a dot")
    if normpath(path) == "." or path.endswith("/"):
        return Phrase("is not a file")
    return _why_too_long(parts)


def _why_too_long(parts: Sequence[str]) -> str | None:
    if any(len(part.encode(errors="replace")) > _LONGEST_PART for part in parts):
        return Phrase("has a part of more than %(number)s bytes, which file systems do not take", number=_LONGEST_PART)
    return Phrase("has more than %(number)s parts", number=MOST_PARTS) if len(parts) > MOST_PARTS else None


def _is_git_folder(part: str) -> bool:
    """Tell whether a file system could take a name for `.git` or `.gitmodules`: see `is_ntfs_dot_generic` in Git."""
    if not part.isascii():  # no ASCII character is invisible
        part = "".join(character for character in part if unicodedata.category(character) != "Cf")
    visible = part.lower()
    return visible.startswith(".git") or re.match(r"(g[^~]{,5})?~[1-9]", visible) is not None


def words_of(document: Any, path: Sequence[str | int]) -> str:
    """Return a path in words and names: `the type of field 'lat' of resource 'stations'`.

    If the path leads to the name of a thing, the thing is called by its number; a list is called by the name of its
    member: `'fields' of …`.
    """
    said: list[str] = []
    name, value, ends_in_item = "descriptor", document, False
    for place, part in enumerate(path):
        value = value[part] if isinstance(value, (dict, list)) else None  # type: ignore[index]
        ends_in_item = isinstance(part, int)
        if isinstance(part, int):
            own = value.get("name") if isinstance(value, dict) and tuple(path[place + 1 :]) != ("name",) else None
            which = repr(_cut(own)) if isinstance(own, str) and own else str(part + 1)
            noun = _ITEMS.get(name)
            said[-1:] = [
                joined(" ", [noun, which]) if noun else Phrase("item %(item)s of %(list)s", item=which, list=name)
            ]
        else:
            name = _cut(part)
            said.append(name)
    said[:-1] = [word for word in said[:-1] if word != "schema"]  # its fields say enough
    if said and not ends_in_item and (name in SINGULAR or name in _NO_NOUNS):
        return _of([repr(name), *reversed(said[:-1])])
    if not said:
        return Phrase("the descriptor")
    return _of(reversed(said)) if ends_in_item else Phrase("the %(member)s", member=_of(reversed(said)))


def _of(parts: Iterable[str]) -> str:
    *inner, words = parts
    for part in reversed(inner):
        words = Phrase("%(part)s of %(whole)s", part=part, whole=words)
    return words


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_PART else f"{name[:_LONGEST_PART]}…"
