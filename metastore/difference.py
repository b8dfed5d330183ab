"""Two descriptors, and what lies between them: for programs (JSON Patch) and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from metastore.descriptor import encode
from metastore.types import Difference

#: How a list of objects is told apart from a plain one: by the first of these that every member has, each its own.
_KEYS = ("name", "id", "path", "title", "hash")
#: How the members of such lists are called.
_SINGULAR = {
    "resources": "resource",
    "fields": "field",
    "licenses": "licence",
    "contributors": "contributor",
    "sources": "source",
    "foreignKeys": "foreign key",
    "views": "view",
    "tables": "table",
}
#: What makes two things, such as resources, the same under another name.
_CONTENT = ("path", "hash", "sha256", "data")


def json_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return a JSON Patch (RFC 6902) that turns one descriptor into the other."""
    import jsonpatch

    return tuple(jsonpatch.make_patch(old, new).patch)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences in words: lists of named things are compared by name, renamed resources found by path."""
    return tuple(_objects(old, new, ""))


def _objects(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[Difference]:
    for key in (*old, *(key for key in new if key not in old)):
        place = f"{where} › {key}" if where else key
        if key not in new:
            yield Difference("removed", place, old=old[key])
        elif key not in old:
            yield Difference("added", place, new=new[key])
        else:
            yield from _values(old[key], new[key], place, where, key)


def _values(old: Any, new: Any, place: str, where: str, key: str) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _objects(old, new, place)
    elif _equal(old, new):
        return
    elif (named := _named_lists(old, new)) is not None:
        singular = _SINGULAR.get(key, key)
        yield from _named(*named, f"{where} › {singular}" if where else singular)
    else:
        yield Difference("changed", place, old=old, new=new)


def _named(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[Difference]:
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    renamed = dict(_renamed(old, new, gone, come))
    now_called = set(renamed.values())
    for name, value in old.items():
        now = renamed.get(name, name)
        if now not in new:
            yield Difference("removed", f"{where} {name}", old=value)
            continue
        if now != name:
            yield Difference("renamed", f"{where} {name}", old=name, new=now)
        before = {key: member for key, member in value.items() if now == name or key != "name"}
        after = {key: member for key, member in new[now].items() if now == name or key != "name"}
        yield from _objects(before, after, f"{where} {now}")
    for name in come:
        if name not in now_called:
            yield Difference("added", f"{where} {name}", new=new[name])
    kept = [renamed.get(name, name) for name in old if renamed.get(name, name) in new]
    known = set(kept)
    if kept != [name for name in new if name in known]:
        yield Difference("changed", f"{where} order", old=list(old), new=list(new))


def _renamed(old: Any, new: Any, gone: list[str], come: list[str]) -> Iterator[tuple[str, str]]:
    """Pair what went with what came, where both have the same path, else the same hash or data, and only they."""
    left, right = dict.fromkeys(gone), dict.fromkeys(come)
    for key in _CONTENT:
        before, after = _unique(old, left, key), _unique(new, right, key)
        for content, name in before.items():
            if content in after:
                del left[name], right[after[content]]
                yield name, after[content]


def _unique(values: Mapping[str, Any], names: Iterable[str], key: str) -> dict[bytes, str]:
    found: dict[bytes, list[str]] = {}
    for name in names:
        if key in values[name]:
            found.setdefault(encode(values[name][key], sort=True), []).append(name)
    return {content: owners[0] for content, owners in found.items() if len(owners) == 1}


def _named_lists(old: Any, new: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Key two lists of objects by the first member that tells all of them apart; None where they are no such lists."""
    if not (isinstance(old, list) and isinstance(new, list)):
        return None
    if not all(isinstance(item, dict) for item in (*old, *new)):
        return None
    for key in _KEYS:
        keyed = [{item[key]: item for item in side if isinstance(item.get(key), str)} for side in (old, new)]
        if len(keyed[0]) == len(old) and len(keyed[1]) == len(new):
            return keyed[0], keyed[1]
    return None


def _equal(a: Any, b: Any) -> bool:
    """Equality of text: in Python `1 == True == 1.0`."""
    if isinstance(a, (str, type(None))) or isinstance(b, (str, type(None))):
        return bool(a == b)
    return encode(a, sort=True) == encode(b, sort=True)
