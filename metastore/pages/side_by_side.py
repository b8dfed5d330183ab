"""Two texts side by side, made of the lines that `diff -u` prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")

#: The part of two lines that is equal if what differs in them is marked; others differ as a whole.
_ALIKE = 0.4


@dataclass(frozen=True, slots=True)
class Side:
    """A line on one side.

    Attributes:
        number: Its number in the text, from 1.
        before: What is equal at its beginning.
        changed: What differs from the line on the other side.
        after: What is equal at its end.
    """

    number: int
    before: str
    changed: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that stand beside each other; None where one side has no line. A row with neither begins another place."""

    old: Side | None = None
    new: Side | None = None
    is_same: bool = False


def rows_of(lines: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of a comparison. Lines that were removed stand beside those that were added in their place."""
    old, new = 0, 0
    removed, added = list[str](), list[str]()
    in_hunk = False
    for line in lines:
        if (heading := _HUNK.fullmatch(line)) is not None:
            yield from _paired(removed, added, old, new)
            removed, added, old, new = [], [], int(heading[1]), int(heading[2])
            yield Row()
            in_hunk = True
        elif not in_hunk:  # the names of the two texts
            continue
        elif line.startswith("-"):
            removed.append(line[1:])
        elif line.startswith("+"):
            added.append(line[1:])
        else:
            yield from _paired(removed, added, old, new)
            old, new = old + len(removed), new + len(added)
            yield Row(Side(old, line[1:]), Side(new, line[1:]), is_same=True)
            removed, added, old, new = [], [], old + 1, new + 1
    yield from _paired(removed, added, old, new)


def _paired(removed: list[str], added: list[str], old: int, new: int) -> Iterator[Row]:
    for number, (before, after) in enumerate(zip_longest(removed, added)):
        if before is None:
            yield Row(None, Side(new + number, after))
        elif after is None:
            yield Row(Side(old + number, before))
        else:
            head = _common(before, after)
            tail = _common(before[head:][::-1], after[head:][::-1])
            if head + tail < _ALIKE * max(len(before), len(after)):
                head = max(len(before), len(after))
            yield Row(_side(old + number, before, head, tail), _side(new + number, after, head, tail))


def _common(one: str, other: str) -> int:
    """Return the length of the common beginning of two lines."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _side(number: int, line: str, head: int, tail: int) -> Side:
    end = max(head, len(line) - tail)
    return Side(number, line[:head], line[head:end], line[end:])
