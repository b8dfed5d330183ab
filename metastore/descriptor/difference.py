"""The differences of two descriptors: for programs (JSON Patch) and for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from metastore.descriptor._moves import reordered, with_losses, with_moves
from metastore.descriptor._sequences import in_both
from metastore.descriptor.document import escape
from metastore.descriptor.item_names import key_of, licences, name_of, named_apart, named_lists, noun_of, same_fields
from metastore.descriptor.matching import (
    Pairing,
    equal,
    renamed,
    respelled,
    text_of,
)
from metastore.descriptor.resources import SINGULAR
from metastore.looks import distinct, look_of
from metastore.phrase import Phrase
from metastore.types import Difference
from metastore.wording import spelled

#: The levels of objects and lists that are compared member by member; anything deeper is compared as a whole. The value
#: of a constraint of a field of a resource is at the eighth level. Each level of lists turns all levels below it into
#: text once.
DEEPEST = 12
#: The most items that two lists may have together for their items to be paired. Pairing writes each item as text.
_LONGEST = 100_000
#: The most differences that are listed, and the longest text of all their pointers. Beyond that, the members of the
#: descriptor are compared as wholes. A single pointer can be as long as a descriptor.
_MOST, _MOST_TEXT = 10_000, 1_000_000
#: The longest name in a place, in characters.
_LONGEST_NAME = 200
#: The members that identify a renamed thing, in this order. The type is the weakest sign.
_RECOGNISED_BY = ("path", "hash", "sha256", "data", "label", "url", "web", "email", "title", "type")
_DESCRIPTIVE = frozenset({"url", "web", "email", "title"})
#: Lists whose numbers are compared one by one. The numbers of any other list, such as a box, belong together.
_SETS = frozenset({"enum", "categories", "missingValues"})

_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}")

Path = tuple[str, ...]
#: An operation of a patch: its name, path and value.
Operation = tuple[str, Path, Any]


def json_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return a JSON Patch (RFC 6902) that turns one descriptor into the other.

    It adds, removes and replaces, in time proportional to the size of both. Two lists of more than 100,000 items in
    total are replaced as a whole. If there would be more than 10,000 operations, or a megabyte of pointers, whole
    members of the descriptor are replaced, or all of it.
    """
    for operations in (_operations(old, new, (), 0), _operations(old, new, (), DEEPEST - 1)):
        found = _bounded(operations)
        if found is not None:
            return tuple(_as_rfc_6902(*each) for each in found)
    return ({"op": "replace", "path": "", "value": new},)


def _bounded(operations: Iterator[Operation]) -> list[Operation] | None:
    """Return the operations, or None if they are too many or their paths too long."""
    found, length = [], 0
    for operation in operations:
        found.append(operation)
        length += sum(len(part) + 1 for part in operation[1])
        if len(found) > _MOST or length > _MOST_TEXT:
            return None
    return found


def _as_rfc_6902(action: str, path: Path, value: Any) -> dict[str, Any]:
    operation = {"op": action, "path": "".join(f"/{escape(part)}" for part in path)}
    return operation if action == "remove" else {**operation, "value": value}


def _operations(old: Any, new: Any, path: Path, level: int) -> Iterator[Operation]:
    if equal(old, new):
        return
    if level < DEEPEST and isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key in new:
                yield from _operations(old[key], new[key], (*path, key), level + 1)
            else:
                yield "remove", (*path, key), None
        yield from (("add", (*path, key), new[key]) for key in new if key not in old)
    elif level < DEEPEST and isinstance(old, list) and isinstance(new, list) and len(old) + len(new) <= _LONGEST:
        yield from _of_lists(old, new, path, level)
    else:
        yield "replace", path, new


def _of_lists(old: list[Any], new: list[Any], path: Path, level: int) -> Iterator[Operation]:
    """Walk from one shared item to the next. Items in between are replaced pairwise; the rest is removed or added."""
    named, texts = named_lists(old, new), ([text_of(item) for item in old], [text_of(item) for item in new])
    at = left = right = 0
    for left_end, right_end in (*in_both(*(named or texts)), (len(old), len(new))):
        pairs = min(left_end - left, right_end - right)
        for each in range(pairs):
            before, after = old[left + each], new[right + each]
            # Differently named things are different things, and anything they share is a coincidence.
            yield from _operations(before, after, (*path, str(at + each)), DEEPEST if named else level + 1)
        at += pairs
        yield from (("remove", (*path, str(at)), None) for _ in range(left_end - left - pairs))
        for item in new[right + pairs : right_end]:
            yield "add", (*path, str(at)), item
            at += 1
        if left_end < len(old) and texts[0][left_end] != texts[1][right_end]:
            yield from _operations(old[left_end], new[right_end], (*path, str(at)), level + 1)
        at, left, right = at + 1, left_end + 1, right_end + 1


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences in words. Lists of named things are compared by name; renamed resources are found by path.

    A thing that was removed in one place and added in another, such as a field of two resources, is reported as moved.
    If there are more than 10,000 differences, members of the descriptor are compared as wholes, or the descriptor.
    """
    for level in (0, DEEPEST - 1):
        found = tuple(islice(_objects(old, new, (), level), _MOST + 1))
        if len(found) <= _MOST:
            return tuple(with_moves(with_losses(found, new), _within))
    return (Difference("changed", "descriptor", old=old, new=new),)


def _within(old: Any, new: Any, where: str) -> Iterator[Difference]:
    """Compare two versions of one thing, at a place in words."""
    parts = tuple(where.split(" › "))
    return _values(old, new, parts[:-1], parts[-1], len(parts))


def _objects(old: Mapping[str, Any], new: Mapping[str, Any], where: Path, level: int) -> Iterator[Difference]:
    names = respelled(old, new)
    told = set(names.values())
    for key in (*old, *(key for key in new if key not in old and key not in told)):
        if key in names:
            note = Phrase("value unchanged") if equal(old[key], new[names[key]]) else ""
            yield Difference("renamed", place_in_words(*where, key), old=key, new=names[key], note=note)
            yield from _values(old[key], new[names[key]], where, names[key], level + 1)
        elif key not in new:
            yield Difference("removed", place_in_words(*where, key), old=old[key])
        elif key not in old:
            yield Difference("added", place_in_words(*where, key), new=new[key])
        else:
            yield from _values(old[key], new[key], where, key, level + 1)


def _values(old: Any, new: Any, where: Path, key: str, level: int) -> Iterator[Difference]:
    if equal(old, new):
        return
    if level < DEEPEST and isinstance(old, dict) and isinstance(new, dict):
        yield from _objects(old, new, (*where, key), level)
    elif level < DEEPEST and key in ("license", "licenses") and (before := licences(old)) and (after := licences(new)):
        found = tuple(_named(before, after, _replaced(before, after), where, "licence", level))
        yield from found or (Difference("changed", place_in_words(*where, key), old=old, new=new),)
    elif level < DEEPEST and (named := named_lists(old, new) or named_apart(old, new)) is not None:
        yield from _named(named[0], named[1], renamed(*named), where, noun_of(key, named[1]), level)
    elif (
        level < DEEPEST
        and _have_items(old, new, is_set=key in _SETS)
        and ((pairing := Pairing(old, new)).finds_any or all(isinstance(item, dict) for item in (*old, *new)))
    ):
        yield from _items(pairing, where, SINGULAR.get(key, f"{key} item"), level)
    else:
        yield Difference("changed", place_in_words(*where, key), old, new, _note(key, old, new))


def _note(key: str, old: Any, new: Any) -> str:
    """Say what readers may overlook: a key that is the same, another type, a version lower than the one before it."""
    if same_fields(key, old, new):
        return Phrase("the same field")
    if isinstance(old, str) != isinstance(new, str) and _bare(old) == _bare(new):
        return Phrase("now a text") if isinstance(new, str) else Phrase("no longer a text")
    if key != "version" or not all(isinstance(side, str) and _NUMBERS.fullmatch(side) for side in (old, new)):
        return ""
    before, after = (tuple(map(int, side.split("."))) for side in (old, new))
    return Phrase("lower than before") if after < before else ""


def _bare(value: Any) -> str | None:
    """Return a text as it is, and a number, a boolean or null as JSON spells it; None for an object or a list."""
    return value if isinstance(value, str) else None if isinstance(value, (dict, list)) else spelled(value)


def _have_items(old: Any, new: Any, *, is_set: bool) -> bool:
    """Tell whether two lists are compared item by item."""
    lists = isinstance(old, list) and isinstance(new, list) and 0 < len(old) + len(new) <= _LONGEST
    return lists and (is_set or not any(_is_numeric(item) for side in (old, new) for item in side))


def _is_numeric(item: Any) -> bool:
    """Tell whether an item is a number or a place, such as a pair of coordinates."""
    return isinstance(item, (int, float)) or (isinstance(item, list) and bool(item) and all(map(_is_numeric, item)))


def _items(pairing: Pairing, where: Path, what: str, level: int) -> Iterator[Difference]:
    """Yield the differences of two lists of unnamed items: removed, changed and added items, and a new order."""
    for at, item in pairing.gone.items():
        if at in pairing.changed:
            now = pairing.changed[at]
            yield from _objects(item, pairing.come[now], (*where, f"{what} {now + 1}"), level + 1)
        elif name_of(item) is not None:
            yield Difference("removed", place_in_words(*where, what), old=item)
        else:
            yield Difference("removed", place_in_words(*where, f"{what} {at + 1}"), old=item)
    later = set(pairing.changed.values())
    for at, item in pairing.come.items():
        if at not in later:
            place = what if name_of(item) is not None else f"{what} {at + 1}"
            yield Difference("added", place_in_words(*where, place), new=item)
    if pairing.reordered:
        old = [item for at, item in enumerate(pairing.old) if at not in pairing.gone]
        new = [item for at, item in enumerate(pairing.new) if at not in pairing.come]
        yield Difference("changed", place_in_words(*where, f"{what} order"), old=old, new=new)


def place_in_words(*place: str) -> str:
    r"""Return a place as a path of names. Long names are cut. A `›` in a name is written as `\u203a`."""
    parts = (part if len(part) <= _LONGEST_NAME else f"{part[:_LONGEST_NAME]}…" for part in place)
    return " › ".join(distinct(part).replace("›", r"\u203a") for part in parts)


def _replaced(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    """Return old -> new names of licences: those renamed, and the only one removed with the only one added."""
    names = renamed(old, new)
    now_called = set(names.values())
    gone = [name for name in old if name not in new and name not in names]
    come = [name for name in new if name not in old and name not in now_called]
    return {**names, gone[0]: come[0]} if len(gone) == len(come) == 1 else names


def _named(
    old: dict[str, Any], new: dict[str, Any], names: Mapping[str, str], where: Path, what: str, level: int
) -> Iterator[Difference]:
    """Yield the differences of two lists of named things, some of them renamed; `what` is the word for one thing."""
    now_called = set(names.values())
    for name, value in old.items():
        now = names.get(name, name)
        if now not in new:
            yield Difference("removed", place_in_words(*where, f"{what} {name}"), old=value)
            continue
        before, after = value, new[now]
        if now != name:
            keys = _naming(before, name, after, now)
            if any(keys):  # otherwise the member that came, went or changed is told below
                yield _renaming(name, now, before, after, where, what, keys)
            before, after = _without(before, keys[0]), _without(after, keys[1])
        yield from _objects(before, after, (*where, f"{what} {now}"), level + 1)
    for name in new:
        if name not in old and name not in now_called:
            yield Difference("added", place_in_words(*where, f"{what} {name}"), new=new[name])
    kept = [names.get(name, name) for name in old if names.get(name, name) in new]
    yield from reordered(kept, new, place_in_words(*where, what))


def _naming(before: Mapping[str, Any], name: str, after: Mapping[str, Any], now: str) -> tuple[str, str]:
    """Return the members that name a thing then and now; none if it only gained or lost one, such as a name."""
    keys = key_of(before, name), key_of(after, now)
    kept = [key for key in keys if key in before and key in after and equal(before[key], after[key])]
    return ("", "") if kept else keys


def _without(thing: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name != key}


def _renaming(
    name: str, now: str, before: Mapping[str, Any], after: Mapping[str, Any], where: Path, what: str, keys: Path
) -> Difference:
    """Report a renaming, with the evidence that it is the same thing.

    A renamed licence is reported as changed, and so is another value that stood for a name, such as a path.
    """
    if what == "licence":
        return Difference("changed", place_in_words(*where, what), old=name, new=now)
    values = before.get(keys[0]), after.get(keys[1])
    before, after = _without(before, keys[0]), _without(after, keys[1])
    is_equal = equal(before, after)  # which says more than that the title is
    same = (
        key
        for key in _RECOGNISED_BY
        if key in before and key in after and equal(before[key], after[key]) and not (is_equal and key in _DESCRIPTIVE)
    )
    if look_of(name) == look_of(now):
        return Difference("renamed", place_in_words(*where, f"{what} {name}"), name, now)
    other = Phrase("nothing else changed") if is_equal else Phrase("recognised by its content")
    note = next((Phrase("%(member)s unchanged", member=key) for key in same), other)
    if "name" not in keys and keys[0] == keys[1]:
        return Difference("changed", place_in_words(*where, f"{what} {now}", keys[1]), *values, note)
    return Difference("renamed", place_in_words(*where, f"{what} {name}"), name, now, note)
