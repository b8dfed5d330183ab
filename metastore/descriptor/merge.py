"""Merges two changes of one descriptor, member by member (a three-way merge), and undoes one change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from metastore.descriptor.difference import DEEPEST, place_in_words
from metastore.descriptor.document import decode
from metastore.descriptor.item_names import key_of, named_lists
from metastore.descriptor.limits import size_of
from metastore.descriptor.matching import equal, renamed
from metastore.errors import TooLarge
from metastore.phrase import Phrase
from metastore.types import Difference

#: Stands for an absent member.
_ABSENT = object()
#: The most clashes that are reported.
_MOST_CLASHES = 1_000
#: The largest size of three descriptors together, in bytes. They are in memory both as text and as values.
_MOST_BYTES = 48 * 1024 * 1024
#: The most items that three lists may have together to be merged item by item, which takes about a second.
_LONGEST = 150_000
#: Lists of texts whose items belong together: a key of two fields is not the union of two keys.
_WHOLE = frozenset({("fields",), ("primaryKey",), ("uniqueKeys",)})


def merge(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Difference, ...]]:
    """Merge two changes of one descriptor.

    A value that one side changed is taken from that side. Objects, lists of named things such as resources, and lists
    of texts such as keywords are merged member by member; so is the order of such lists. A thing that one side renamed
    keeps what the other side changed in it. Any other list is one value, and so are lists of more than 150,000 items
    on all sides together.

    Args:
        base: The descriptor that both sides started from.
        mine: The first changed descriptor. Its value stays where both changed the same place.
        theirs: The second changed descriptor.

    Returns:
        The merged descriptor, and the clashes: places that both sides changed, the first 1,000 of them. `old` is
        theirs, `new` is mine.
    """
    merging = _Merge()
    merged = merging.values(base, mine, theirs, ())
    return merged if isinstance(merged, dict) else dict(mine), tuple(merging.clashes)


def take_out(now: bytes, after: bytes, before: bytes) -> tuple[dict[str, Any], tuple[Difference, ...]]:
    """Undo the change between two states of a descriptor in a later state. All three are stored JSON.

    Returns:
        The descriptor without the change, and the places that were changed again later: `old` is the value before the
        change, `new` is the present one.

    Raises:
        InvalidInput: `decode` refuses one of them, or they take more than 48 MiB together.
    """
    limit_together(after, now, before)
    base, mine, theirs = map(decode, (after, now, before))
    return merge(base, mine, theirs)


def limit_together(*contents: str | bytes) -> None:
    """Refuse to merge descriptors that are very large together. Raises TooLarge."""
    if (size := sum(map(size_of, contents))) > _MOST_BYTES:
        raise TooLarge(
            Phrase(
                "the descriptors to merge take %(size)s bytes together; at most %(most)s are merged: "
                "replace the newest",
                size=size,
                most=_MOST_BYTES,
            )
        )


class _Merge:
    """One merge; it collects the clashes."""

    def __init__(self) -> None:
        self.clashes: list[Difference] = []

    def values(self, base: Any, mine: Any, theirs: Any, place: tuple[str, ...]) -> Any:
        if _same(mine, base) or _same(mine, theirs):
            return theirs
        if _same(theirs, base):
            return mine
        if len(place) < DEEPEST and isinstance(mine, dict) and isinstance(theirs, dict):
            return self._members(base if isinstance(base, dict) else {}, mine, theirs, place)
        before = [] if base is _ABSENT else base
        if len(place) < DEEPEST and _are_mergeable(before, mine, theirs):
            if (keyed := named_lists(before, mine, theirs)) is not None:
                return self._things(keyed[0], keyed[1], keyed[2], place)
            if place[-1:] not in _WHOLE and all(map(_are_texts, (before, mine, theirs))):
                return self._listed(_numbered(before), _numbered(mine), _numbered(theirs), place)
        old, new = (None if side is _ABSENT else side for side in (theirs, mine))
        self._clash(place, old, new)
        return mine

    def _things(
        self, base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], place: tuple[str, ...]
    ) -> list[Any]:
        """Merge lists of named things by the names that the things had in the base."""
        ours, others = (_as_in_base(base, side) for side in (mine, theirs))
        merged = self._listed(base, ours, others, place)
        key = next((key_of(thing, name) for side in (base, mine, theirs) for name, thing in side.items()), "")
        names = Counter(str(item[key]) for item in merged if key in item)
        for name, count in names.items():
            if count > 1:  # one side renamed a thing to a name that the other added
                self._clash((*place, name), theirs.get(name), mine.get(name))
        return merged

    def _listed(
        self, base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any], place: tuple[str, ...]
    ) -> list[Any]:
        """Merge keyed lists: each item on its own, and the order of the items that all three lists share."""
        members = self._members(base, mine, theirs, place)
        shared = base.keys() & mine.keys() & theirs.keys()
        before, ours, others = ([key for key in side if key in shared] for side in (base, mine, theirs))
        moved_here, moved_there = ours != before, others != before
        if moved_here and moved_there and ours != others:
            self._clash(place, list(map(_name, others)), list(map(_name, ours)), of="order of ")
        lead, follow = (theirs, mine) if moved_there and not moved_here else (mine, theirs)
        return [members[key] for key in _together(list(lead), list(follow)) if key in members]

    def _members(
        self, base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any], place: tuple[str, ...]
    ) -> dict[Any, Any]:
        """Merge objects member by member, in the order of mine. Members that only theirs has come last."""
        merged = {
            key: self.values(
                base.get(key, _ABSENT), mine.get(key, _ABSENT), theirs.get(key, _ABSENT), (*place, _name(key))
            )
            for key in (*mine, *(key for key in theirs if key not in mine))
        }
        return {key: value for key, value in merged.items() if value is not _ABSENT}

    def _clash(self, place: tuple[str, ...], theirs: Any, mine: Any, *, of: str = "") -> None:
        if len(self.clashes) < _MOST_CLASHES:
            self.clashes.append(Difference("changed", of + place_in_words(*place), old=theirs, new=mine))


def _as_in_base(base: dict[str, Any], side: dict[str, Any]) -> dict[str, Any]:
    """Key the things of one side by the names that they had in the base."""
    former = {now: name for name, now in renamed(base, side).items()}
    return {former.get(name, name): thing for name, thing in side.items()}


def _are_mergeable(*sides: Any) -> bool:
    """Tell whether three values are lists that are short enough to be merged item by item."""
    return all(isinstance(side, list) for side in sides) and sum(map(len, sides)) <= _LONGEST


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _numbered(texts: list[str]) -> dict[tuple[str, int], str]:
    """Key texts by their value and their count so far, which keeps duplicates apart."""
    counts: Counter[str] = Counter()
    keyed = {}
    for text in texts:
        keyed[text, counts[text]] = text
        counts[text] += 1
    return keyed


def _name(key: Any) -> str:
    return key if isinstance(key, str) else str(key[0])


def _together(lead: list[Any], follow: list[Any]) -> list[Any]:
    """Return all keys in the order of the first list. Keys of the second list alone follow their predecessor there."""
    known, behind = set(lead), dict[Any, list[Any]]()
    anchor = None
    for key in follow:
        if key in known:
            anchor = key
        else:
            behind.setdefault(anchor, []).append(key)
    return [*behind.get(None, ()), *(each for key in lead for each in (key, *behind.get(key, ())))]


def _same(a: Any, b: Any) -> bool:
    """Tell whether two values are written alike: 1.10 and 1.1 are not."""
    if a is _ABSENT or b is _ABSENT:
        return a is b
    return equal(a, b)
