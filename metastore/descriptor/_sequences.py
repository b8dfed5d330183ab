"""The items that two sequences have in common, in the same order."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def in_both(old: Iterable[Hashable], new: Iterable[Hashable]) -> list[tuple[int, int]]:
    """Return the positions of as many shared items as possible whose order is the same in both lists."""
    old, new = list(old), list(new)
    shorter = min(len(old), len(new))
    begin = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - begin
    end = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    first, last = len(old) - end, len(new) - end
    once = {key: at for at, key in enumerate(new[begin:last], begin)}
    counts = (Counter(old[begin:first]), Counter(new[begin:last]))
    pairs = [(at, once[key]) for at, key in enumerate(old[begin:first], begin) if all(c[key] == 1 for c in counts)]
    same_end = ((len(old) - n, len(new) - n) for n in range(end, 0, -1))
    return [*((n, n) for n in range(begin)), *longest_rise(pairs), *same_end]


def longest_rise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest sequence of pairs in which both numbers rise (patience sorting). The first already rise."""
    ends: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for number, (_, right) in enumerate(pairs):
        length = bisect_left(ends, right)
        if length == len(ends):
            ends.append(right)
            places.append(number)
        else:
            ends[length], places[length] = right, number
        before.append(places[length - 1] if length else -1)
    found = []
    number = places[-1] if places else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]
