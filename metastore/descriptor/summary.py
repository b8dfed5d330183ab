"""Summarises differences on one line, such as `2 resources added; 3 fields changed in stations; licence changed`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

from metastore.descriptor.document import encode_line
from metastore.phrase import Phrase, both, counted, joined
from metastore.types import Difference
from metastore.wording import enumerated

#: The most parts of a summary.
_MOST_PARTS = 5
#: The total length of the parts after the first, and the length of a name, in characters.
_LONGEST, _LONGEST_NAME = 200, 60
_DONE = {
    "added": Phrase("added"),
    "removed": Phrase("removed"),
    "renamed": Phrase("renamed"),
    "moved": Phrase("moved"),
    "changed": Phrase("changed"),
}
#: The things that are counted if they are several, by the first word of their places.
_COUNTED: dict[str, Callable[[int], Phrase]] = {
    "licence": lambda number: counted("%(number)s licence", "%(number)s licences", number),
    "contributor": lambda number: counted("%(number)s contributor", "%(number)s contributors", number),
    "source": lambda number: counted("%(number)s source", "%(number)s sources", number),
    "keyword": lambda number: counted("%(number)s keyword", "%(number)s keywords", number),
    "view": lambda number: counted("%(number)s view", "%(number)s views", number),
    "table": lambda number: counted("%(number)s table", "%(number)s tables", number),
}


def only_the_order(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say what differs between two descriptors without differences: the order of their members, or nothing."""
    return Phrase("only the order of members changed") if encode_line(old) != encode_line(new) else ""


def summary(differences: Iterable[Difference]) -> str:
    """Return differences on one line, such as `2 resources added; 3 fields changed in stations; licence changed`."""
    resources, others, inside = _Kinds(), _Kinds(), dict[str, tuple[_Kinds, _Kinds]]()
    for difference in differences:
        parts = difference.where.split(" › ")
        name = parts[0].removeprefix("resource ")
        if not parts[0].startswith("resource ") or (parts == ["resource order"] and difference.kind == "changed"):
            opened = _opened(parts)
            others.add(opened[0], difference.kind if len(opened) == 1 else "changed")
        elif len(parts) == 1:
            resources.add(name, difference.kind)
        else:
            _add_inside(inside.setdefault(name, (_Kinds(), _Kinds())), parts[1:], difference.kind)
    lines: list[str] = [_counted(_resources_counted, resources)] if resources else []
    where: dict[str, list[str]] = {}
    for name, (fields, members) in inside.items():
        words = [*([_counted(_fields_counted, fields)] if fields else []), *_listed(members)]
        where.setdefault(joined(", ", words), []).append(name)
    lines += [Phrase("%(done)s in %(where)s", done=done, where=_resources(names)) for done, names in where.items()]
    lines += _listed(others)
    lengths = accumulate(len(line) for line in lines)
    shown = max(1, sum(length <= _LONGEST for length in islice(lengths, _MOST_PARTS)))
    more = len(lines) - shown
    return joined("; ", [*lines[:shown], *([Phrase("and %(number)s more", number=more)] if more > 0 else [])])


class _Kinds(dict[str, str]):
    """Things by name, each with its kind of change; `changed` if it has several."""

    def add(self, name: str, kind: str) -> None:
        name = f"{name} {len(self)}" if name == "keyword" else name  # keywords have no names
        self[name] = kind if self.get(name, kind) == kind else "changed"


def _resources(names: Sequence[str]) -> str:
    return both(map(_called, names)) if len(names) < 3 else _resources_counted(len(names))


def _called(resource: str) -> str:
    """Return a resource's name, cut if it is long. A number stands for a resource without a name."""
    name = Phrase("resource %(name)s", name=resource) if resource.isdecimal() else resource
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _add_inside(resource: tuple[_Kinds, _Kinds], parts: Sequence[str], kind: str) -> None:
    """Note a change inside a resource: of its fields, or of its other members."""
    parts = parts[1:] if len(parts) > 1 and parts[0] == "schema" else _opened(parts)
    done = kind if len(parts) == 1 else "changed"
    is_field = parts[0].startswith("field ") and (parts[0] != "field order" or kind != "changed" or len(parts) > 1)
    resource[0 if is_field else 1].add(parts[0], done)


def _opened(parts: Sequence[str]) -> Sequence[str]:
    """Leave out the members that hold what CKAN has and Data Package lacks: people know what is in them."""
    holders = 2 if list(parts[:2]) == ["ckan", "extras"] else int(parts[0] == "ckan")
    return parts[holders:] or parts


def _thing(part: str) -> str:
    """Return the kind of thing that is at a place, such as `licence` for `licence CC0`; otherwise the place itself."""
    head, _, name = part.partition(" ")
    return head if head in _COUNTED and name != "order" else part


def _named(thing: str, number: int) -> str:
    if thing in _COUNTED:
        return _COUNTED[thing](number) if number > 1 else Phrase(thing)
    return thing if len(thing) <= _LONGEST_NAME else f"{thing[:_LONGEST_NAME]}…"


def _resources_counted(number: int) -> str:
    return counted("%(number)s resource", "%(number)s resources", number)


def _fields_counted(number: int) -> str:
    return counted("%(number)s field", "%(number)s fields", number)


def _counted(noun: Callable[[int], str], things: Mapping[str, str]) -> str:
    kinds = Counter(things.values())
    first, *rest = [kind for kind in _DONE if kinds[kind]]
    return joined(", ", [_done(noun(kinds[first]), first), *(_done(str(kinds[kind]), kind) for kind in rest)])


def _done(things: str, kind: str) -> Phrase:
    return Phrase("%(things)s %(done)s", things=things, done=_DONE[kind])


def _listed(things: Mapping[str, str]) -> list[str]:
    """Return one phrase per kind, such as `bytes and hash changed` or `2 contributors added`."""
    by_kind: dict[str, Counter[str]] = {}
    for part, kind in things.items():
        thing = _thing(part)
        by_kind.setdefault(kind, Counter())[thing] += part != thing  # `licence` is one of those that have names
    return [_done(enumerated([_named(*each) for each in found.items()]), kind) for kind, found in by_kind.items()]
