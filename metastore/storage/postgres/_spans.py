"""The former texts and facet values of a dataset, each stored once, with the period in which it held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

#: The end of what holds on.
FOREVER = 2**63 - 1
#: Marks a value of a facet among items, and the way it is written.
MARK = "\x1f"


class Span(NamedTuple):
    """A row of `dataset_span`; times are in seconds since 1970."""

    since: int
    until: int
    access: list[str]
    items: list[str]


def changes(states: Sequence[tuple[int, Set[str]]], before: Set[str] | None) -> Iterator[dict[str, Any]]:
    """Yield what changes in the spans of a dataset: first the items that end, then the spans that are new.

    Args:
        states: The items that the dataset has had since a moment, the oldest first.
        before: The items that it had before them, which the index has; None if it has nothing that holds on.
    """
    held: dict[str, int | None] = dict.fromkeys(before or ())  # those that the index has began before
    ended_at, spans = dict[int, list[str]](), defaultdict[tuple[int, int], list[str]](list)
    for moment, now in states:
        ended_at[moment] = []
        for item in [item for item in held if item not in now]:
            since = held.pop(item)
            (ended_at[moment] if since is None else spans[since, moment]).append(item)
        for item in now:
            held.setdefault(item, moment)
    for item, since in held.items():
        if since is not None:
            spans[since, FOREVER].append(item)
    if before is not None:
        yield from ({"until": until, "ended": sorted(those)} for until, those in ended_at.items())
    yield from ({"since": since, "until": until, "items": sorted(those)} for (since, until), those in spans.items())


def hold(spans: Sequence[Span], states: Sequence[tuple[int, Set[str]]], access: list[str]) -> bool:
    """Tell whether the spans of a dataset say what it had at any time. One that has no past has no spans."""
    if len(states) == 1 and not spans:
        return True
    moments = {moment for moment, _ in states}
    return (
        all(span.since in moments and span.until in moments | {FOREVER} for span in spans)
        and all(span.access == access for span in spans)
        and all(_held(spans, moment) == those for moment, those in states)
    )


def _held(spans: Sequence[Span], moment: int) -> set[str]:
    return {item for span in spans if span.since <= moment < span.until for item in span.items}
