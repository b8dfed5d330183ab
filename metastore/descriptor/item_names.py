"""The names of the items of lists: the members by which two lists of objects are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metastore.descriptor.resources import SINGULAR

#: The natural keys of objects in lists, in order of preference. Lists are keyed by the first of these members that all
#: their objects have, each with another value. `value` names a category, `fields` a foreign key.
KEYS = ("name", "id", "path", "title", "hash", "key", "value", "email", "url", "web", "doi", "code", "fields")
#: The members that tell objects of one name apart, such as a person who is listed once for each role.
_TELLING_APART = ("role", "email", "path", "url", "organization", "version", "title")
#: The members that can name a licence, in order of preference.
_LICENCE_NAMES = ("name", "id", "type", "title", "path", "url")


def named_lists(*lists: Any) -> tuple[dict[str, Any], ...] | None:
    """Key lists of objects by the first member that is distinct in all of them; None if there is none.

    Objects that share a name are keyed by two members, such as `Ann (author)` and `Ann (publisher)`.
    """
    if not all(isinstance(side, list) and all(isinstance(item, dict) for item in side) for side in lists):
        return None
    for key in KEYS:
        keyed = [{item[key]: item for item in side if isinstance(item.get(key), str)} for side in lists]
        if not _are_distinct(keyed, lists) and all(key in item for side in lists for item in side[:1]):
            keyed = _keyed_further(lists, key)
        if _are_distinct(keyed, lists):
            return tuple(keyed)
    return None


def _are_distinct(keyed: Sequence[dict[str, Any]], lists: Sequence[Any]) -> bool:
    return all(len(names) == len(side) for names, side in zip(keyed, lists, strict=True))


def _keyed_further(lists: Sequence[Any], key: str) -> list[dict[str, Any]]:
    """Key lists by a member that is a number in some items, or by it and another member; empty if neither helps."""
    for other in ("", *_TELLING_APART):
        keyed = [{name: item for item in side if (name := _name(item, key, other))} for side in lists]
        if other != key and _are_distinct(keyed, lists):
            return keyed
    return [{} for _ in lists]


def _name(item: Mapping[str, Any], key: str, other: str) -> str | None:
    value = item.get(key)
    if key == "fields" and isinstance(value, list) and value and all(isinstance(field, str) for field in value):
        return ", ".join(value)
    name, more = name_of(value), name_of(item.get(other)) if other else None
    return name if name is None or more is None else f"{name} ({more})"


def name_of(value: Any) -> str | None:
    """Return a value as a name: a text, or a number as written, as categories have; None for any other value."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def noun_of(key: str, names: Iterable[str]) -> str:
    """Return the word for an item of a list: `data item` before numbers, `data` before other names."""
    return SINGULAR.get(key) or (f"{key} item" if any(name.isdecimal() for name in names) else key)


def same_fields(key: str, old: Any, new: Any) -> bool:
    """Tell whether a primary or foreign key was only written otherwise: one field as a text, or as a list of one."""
    is_respelled = (isinstance(old, str) and new == [old]) or (isinstance(new, str) and old == [new])
    return key in ("primaryKey", "fields") and is_respelled


def key_of(thing: Mapping[str, Any], name: str) -> str:
    """Return the member that names a thing; an empty text if it takes two."""
    return next((key for key in (*KEYS, *thing) if name_of(thing.get(key)) == name), "")


def named_apart(old: Any, new: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Key two lists by different members, such as `id` then and `name` now; None if most names differ."""
    before, after = named_lists(old), named_lists(new)
    if before is None or after is None:
        return None
    shared = before[0].keys() & after[0].keys()
    return (before[0], after[0]) if 2 * len(shared) > min(len(before[0]), len(after[0])) else None


def licences(value: Any) -> dict[str, Any] | None:
    """Key licences by name, whether a text, an object or a list of either; None if they have no names."""
    items = value if isinstance(value, list) else [value]
    keyed = {}
    for item in items:
        thing = {"name": item} if isinstance(item, str) else item
        members = [thing.get(key) for key in _LICENCE_NAMES] if isinstance(thing, dict) else []
        keyed[next((name for name in members if isinstance(name, str)), "")] = thing
    return keyed if items and "" not in keyed and len(keyed) == len(items) else None
