"""Finds the things that moved to another part of the descriptor, or to another position in their list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metastore.descriptor._sequences import longest_rise
from metastore.descriptor.matching import are_alike, text_of
from metastore.descriptor.resources import resources
from metastore.phrase import Phrase
from metastore.types import Difference
from metastore.wording import enumerated

#: Yields the differences between two versions of one thing, at a place in words.
Compare = Callable[[Any, Any, str], Iterator[Difference]]
#: The most things of a list that are reported as moved. If there are more, the order is reported as changed.
_MOST = 3
_LICENCES = ("licenses", "license")


def with_losses(differences: Iterable[Difference], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Note which resources have no licence any more, where theirs moved to others.

    The licence of a dataset covers all resources that have none of their own.
    """
    covered = [(name, any(map(resource.get, _LICENCES))) for name, resource in _resources(new)]
    uncovered = [name for name, has_licence in covered if not has_licence]
    for difference in differences:
        is_licence = difference.kind == "removed" and difference.where in _LICENCES
        if is_licence and 0 < len(uncovered) < len(covered) and not any(map(new.get, _LICENCES)):
            names = [Phrase("resource %(name)s", name=name) for name in uncovered]
            note = Phrase("no licence now: %(resources)s", resources=enumerated(names))
            difference = replace(difference, note=note)
        yield difference


def _resources(descriptor: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, resource in resources(descriptor):
        name = resource.get("name")
        yield name if isinstance(name, str) else str(index + 1), resource


def with_moves(differences: Iterable[Difference], compare: Compare) -> Iterator[Difference]:
    """Report a thing as moved if it was removed in one place and added in others.

    A thing moved if it has the same name and content in both places. If only one thing of a name was removed and only
    one was added, mostly the same content is enough, and the other changes in it follow. A removal with a note
    is more than a move.
    """
    listed = list(differences)
    moved: dict[int, list[Difference]] = {}
    for gone, come in _pairs(listed):
        old, new = [_parent(listed[at]) for at in gone], [_parent(listed[at]) for at in come]
        for at in (*gone, *come):
            moved[at] = []
        for at, parent in zip(gone, old, strict=True):
            moved[at] = [Difference("moved", listed[at].where, old=parent, new=new[0] if len(new) == 1 else new)]
        if text_of(listed[gone[0]].old) != text_of(listed[come[0]].new):
            moved[gone[0]] += compare(listed[gone[0]].old, listed[come[0]].new, listed[come[0]].where)
    for at, difference in enumerate(listed):
        yield from moved.get(at, (difference,))


def _pairs(listed: Sequence[Difference]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the positions of removed things, and the positions at which the same things were added."""
    removed, added = _by_name(listed, "removed"), _by_name(listed, "added")
    for name, gone in removed.items():
        come = added.get(name, [])
        for sources, targets in _same(name, gone, come, listed):
            if {_parent(listed[at]) for at in sources}.isdisjoint(_parent(listed[at]) for at in targets):
                yield sources, targets


def _same(
    name: str, gone: list[int], come: list[int], listed: Sequence[Difference]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the pairs that are the same thing. If a thing fits several others, none is chosen."""
    has_own_name = not name.rpartition(" ")[2].isdecimal()
    if len(gone) == len(come) == 1 and has_own_name and are_alike(listed[gone[0]].old, listed[come[0]].new):
        yield gone, come
        return
    after = _by_content(come, [listed[at].new for at in come])
    for text, sources in _by_content(gone, [listed[at].old for at in gone]).items():
        targets = after.get(text, [])
        if targets and 1 in (len(sources), len(targets)):
            yield sources, targets


def _by_name(listed: Sequence[Difference], kind: str) -> dict[str, list[int]]:
    """Return the positions of removed or added things by their last name.

    Texts and numbers do not count as things. Nor do members of a field, such as its constraints: where another field
    got the same ones, each of the two fields changed.
    """
    found = defaultdict[str, list[int]](list)
    for at, difference in enumerate(listed):
        value = difference.old if kind == "removed" else difference.new
        holder, _, name = difference.where.rpartition(" › ")
        is_alone = difference.kind == kind and not difference.note
        if is_alone and _is_thing(value) and not holder.rpartition(" › ")[2].startswith("field "):
            found[name].append(at)
    return found


def _by_content(positions: Iterable[int], values: Iterable[Any]) -> dict[str, list[int]]:
    found = defaultdict[str, list[int]](list)
    for at, value in zip(positions, values, strict=True):
        found[text_of(value)].append(at)
    return found


def _is_thing(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _parent(difference: Difference) -> str:
    return difference.where.rpartition(" › ")[0].removesuffix(" › schema") or Phrase("the dataset")


def reordered(before: Sequence[str], new: Iterable[str], what: str) -> Iterator[Difference]:
    """Yield the things that moved within a list; if they are many, one difference that says that the order changed.

    Args:
        before: The names of the things that both lists have, in their old order.
        new: The names in the new list.
        what: The kind of the things, after the place of the list.
    """
    known = set(before)
    after = [name for name in new if name in known]
    if list(before) == after:
        return
    at = {name: number for number, name in enumerate(after)}
    staying = {before[left] for left, _ in longest_rise([(n, at[name]) for n, name in enumerate(before)])}
    moved = [name for name in after if name not in staying]
    if len(moved) > _MOST:
        yield Difference("changed", f"{what} order", old=list(before), new=after)
        return
    for name in moved:
        yield Difference("moved", f"{what} {name}", old=_position(name, before), new=_position(name, after))


def _position(name: str, names: Sequence[str]) -> str:
    if (at := names.index(name)) == 0:
        return Phrase("the start")
    return Phrase("the end") if at == len(names) - 1 else Phrase("after '%(name)s'", name=names[at - 1])
