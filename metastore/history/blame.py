"""Finds the revision that gave each value of a descriptor its present form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from metastore.descriptor.difference import place_in_words
from metastore.descriptor.document import escape
from metastore.descriptor.item_names import named_lists, noun_of
from metastore.descriptor.matching import Pairing, renamed, text_of
from metastore.descriptor.resources import SINGULAR
from metastore.history._documents import Documents, plain
from metastore.history.parts import Reader
from metastore.types import Revision, Value


class _Node:
    """A value whose revision is not known yet.

    Attributes:
        key: Its key or position in its parent, in the current revision of the walk.
        value: The value itself, for a leaf; else None.
        children: The values in it; empty for a leaf.
    """

    __slots__ = ("children", "key", "place", "pointer", "value")

    def __init__(self, value: Any, key: Any, pointer: str, place: tuple[str, ...]) -> None:
        self.key, self.pointer, self.place, self.value = key, pointer, place, None
        self.children: list[_Node] = []
        if isinstance(value, dict) and value:
            self.children = [
                _Node(member, name, f"{pointer}/{escape(name)}", (*place, name)) for name, member in value.items()
            ]
        elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            names = _names(value, place[-1] if place else "")
            self.children = [
                _Node(item, at, f"{pointer}/{at}", (*place[:-1], names[at])) for at, item in enumerate(value)
            ]
        else:
            self.value = value

    def leaves(self) -> Iterator[_Node]:
        """Yield its leaves, or itself if it is one."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def blame(revisions: Iterable[Revision], reader: Reader) -> tuple[Value, ...]:
    """Return the values of the first revision, each with the revision that it comes from.

    Args:
        revisions: A revision and its ancestors, newest first.
        reader: Returns their descriptors.
    """
    documents, found = Documents(), dict[str, Value]()
    root: _Node | None = None
    newer: Revision | None = None
    after: Any = None
    order: list[str] = []
    for revision in revisions:
        before = documents.read(reader(revision))
        if root is None or newer is None:
            root = _Node(before, None, "", ())
            order = [leaf.pointer for leaf in root.leaves()]
        elif not _descend(root, after, before, newer, found):
            break
        newer, after = revision, before
    else:
        if root is not None and newer is not None:
            _settle(root, newer, found)
    return tuple(found[pointer] for pointer in order)


def _descend(node: _Node, new: Any, old: Any, revision: Revision, found: dict[str, Value]) -> bool:
    """Settle the values that a revision changed. Return whether any are left."""
    if new == old:
        return True
    if not node.children or type(new) is not type(old):
        return _settle(node, revision, found)
    former = _former_keys(new, old)
    left = []
    for child in node.children:
        now = child.key
        if now not in former:
            _settle(child, revision, found)
            continue
        child.key = former[now]
        if _descend(child, new[now], old[child.key], revision, found):
            left.append(child)
    node.children = left
    return bool(left)


def _settle(node: _Node, revision: Revision, found: dict[str, Value]) -> bool:
    for leaf in node.leaves():
        value = leaf.value
        found[leaf.pointer] = Value(leaf.pointer, place_in_words(*leaf.place) or "descriptor", plain(value), revision)
    return False


def _former_keys(new: Any, old: Any) -> dict[Any, Any]:
    """Return the keys or positions of the newer value that exist in the older one -> their places there."""
    if isinstance(new, dict):
        return {key: key for key in new if key in old}
    if (keyed := named_lists(old, new)) is not None:
        former = {now: name for name, now in renamed(*keyed).items()}
        at = {name: position for position, name in enumerate(keyed[0])}
        names = ((position, former.get(name, name)) for position, name in enumerate(keyed[1]))
        return {position: at[name] for position, name in names if name in at}
    pairing = Pairing(old, new)
    kept = [position for position in range(len(old)) if position not in pairing.gone]
    return _equal_positions(kept, old, new, pairing)


def _equal_positions(kept: list[int], old: list[Any], new: list[Any], pairing: Pairing) -> dict[int, int]:
    waiting: dict[str, list[int]] = {}
    for position in reversed(kept):
        waiting.setdefault(text_of(old[position]), []).append(position)
    former = {now: was for was, now in pairing.changed.items()}
    for position, item in enumerate(new):
        if position not in pairing.come and (places := waiting.get(text_of(item))):
            former[position] = places.pop()
    return former


def _names(items: list[Any], key: str) -> list[str]:
    keyed = named_lists(items)
    names = list(keyed[0]) if keyed else [str(at + 1) for at in range(len(items))]
    what = noun_of(key, keyed[0]) if keyed else SINGULAR.get(key, key)
    return [f"{what} {name}".strip() for name in names]
