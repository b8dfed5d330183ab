"""Merge two changes of one descriptor, member by member (a three-way merge)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.descriptor.difference import DEEPEST, named_lists, place_in_words
from metastore.descriptor.document import encode
from metastore.types import Difference

#: Stands for an absent member.
_ABSENT = object()


def merge(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Difference, ...]]:
    """Merge two changes of one descriptor.

    A value that one side changed is taken from that side. Objects, and lists of named things such as resources, are
    merged member by member; so is the order of such lists. Any other list is one value.

    Args:
        base: The descriptor that both sides started from.
        mine: The first changed descriptor. Its value stays where both changed the same place.
        theirs: The second changed descriptor.

    Returns:
        The merged descriptor, and the clashes: places that both sides changed. `old` is theirs, `new` is mine.
    """
    clashes: list[Difference] = []
    merged = _merged(base, mine, theirs, (), clashes)
    return merged if isinstance(merged, dict) else dict(mine), tuple(clashes)


def _merged(base: Any, mine: Any, theirs: Any, place: tuple[str, ...], clashes: list[Difference]) -> Any:
    if _same(mine, base) or _same(mine, theirs):
        return theirs
    if _same(theirs, base):
        return mine
    if len(place) < DEEPEST and isinstance(mine, dict) and isinstance(theirs, dict):
        return _members(base if isinstance(base, dict) else {}, mine, theirs, place, clashes)
    if len(place) < DEEPEST and (keyed := named_lists(base, mine, theirs)) is not None:
        return _listed(keyed[0], keyed[1], keyed[2], place, clashes)
    old, new = (None if each is _ABSENT else each for each in (theirs, mine))
    clashes.append(Difference("changed", place_in_words(*place), old=old, new=new))
    return mine


def _listed(
    base: dict[str, Any],
    mine: dict[str, Any],
    theirs: dict[str, Any],
    place: tuple[str, ...],
    clashes: list[Difference],
) -> list[Any]:
    """Merge lists of named things: each thing by itself, and the order of those that all three have."""
    members = _members(base, mine, theirs, place, clashes)
    shared = base.keys() & mine.keys() & theirs.keys()
    before, ours, others = ([key for key in side if key in shared] for side in (base, mine, theirs))
    moved_here, moved_there = ours != before, others != before
    if moved_here and moved_there and ours != others:
        clashes.append(Difference("changed", f"order of {place_in_words(*place)}", old=others, new=ours))
    lead, follow = (theirs, mine) if moved_there and not moved_here else (mine, theirs)
    return [members[key] for key in _together(list(lead), list(follow)) if key in members]


def _together(lead: list[str], follow: list[str]) -> list[str]:
    """Return all keys in the order of the first list; those of the second alone stand behind the key before them."""
    known, behind = set(lead), dict[str | None, list[str]]()
    anchor = None
    for key in follow:
        if key in known:
            anchor = key
        else:
            behind.setdefault(anchor, []).append(key)
    return [*behind.get(None, ()), *(each for key in lead for each in (key, *behind.get(key, ())))]


def _members(
    base: dict[str, Any],
    mine: dict[str, Any],
    theirs: dict[str, Any],
    place: tuple[str, ...],
    clashes: list[Difference],
) -> dict[str, Any]:
    """Merge objects member by member, in the order of mine; members that only theirs has come last."""
    found = {
        key: _merged(base.get(key, _ABSENT), mine.get(key, _ABSENT), theirs.get(key, _ABSENT), (*place, key), clashes)
        for key in (*mine, *(key for key in theirs if key not in mine))
    }
    return {key: value for key, value in found.items() if value is not _ABSENT}


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are written alike: 1.10 and 1.1 are not."""
    if a is _ABSENT or b is _ABSENT:
        return a is b
    return encode(a, sort=True) == encode(b, sort=True)
