"""What two people made of one descriptor at the same time, put together member by member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.descriptor.difference import DEEPEST, named_lists, place_in_words, text_of
from metastore.types import Difference

#: Stands for a member that is not there.
_ABSENT = object()


def merge(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Difference, ...]]:
    """Put two changes of one descriptor together.

    What only one side changed is taken from there; in objects and lists of named things, such as resources, each member
    is looked at for itself.

    Args:
        base: The descriptor that both began with.
        mine: What one made of it; stays where both changed the same.
        theirs: What the other made of it.

    Returns:
        The descriptor with both changes, and what both changed: `old` is theirs, `new` is mine.
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
        return list(_members(keyed[0], keyed[1], keyed[2], place, clashes).values())
    old, new = (None if each is _ABSENT else each for each in (theirs, mine))
    clashes.append(Difference("changed", place_in_words(*place), old=old, new=new))
    return mine


def _members(
    base: dict[str, Any],
    mine: dict[str, Any],
    theirs: dict[str, Any],
    place: tuple[str, ...],
    clashes: list[Difference],
) -> dict[str, Any]:
    """Merge member by member, in my order; what only they have comes behind."""
    found = {
        key: _merged(base.get(key, _ABSENT), mine.get(key, _ABSENT), theirs.get(key, _ABSENT), (*place, key), clashes)
        for key in (*mine, *(key for key in theirs if key not in mine))
    }
    return {key: value for key, value in found.items() if value is not _ABSENT}


def _same(a: Any, b: Any) -> bool:
    if a is _ABSENT or b is _ABSENT:
        return a is b
    return text_of(a) == text_of(b)
