"""Taking times in turn, and printing them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the result.

    Attributes:
        what: What was measured.
        ours: Our value, in `unit`.
        other: What it is compared with; empty for nothing.
        theirs: The other's value.
        target: The most that the ratio may be, or (without another, or `alone`) our value; None for no target.
        unit: `s` for seconds; otherwise printed behind the number.
        more_is_better: The ratio then says how many times as much we do, and the target is the least.
        alone: The target is one of our value, although there is another.
    """

    what: str
    ours: float
    other: str = ""
    theirs: float | None = None
    target: float | None = None
    unit: str = "s"
    more_is_better: bool = False
    alone: bool = False

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    def cells(self) -> list[str]:
        goal, verdict = "", ""
        if self.target is not None:
            is_ratio = self.theirs is not None and not self.alone
            measured = self.ratio if is_ratio else self.ours
            goal = f"{self.target:g}×" if is_ratio else shown(self.target, self.unit)
            met = measured is not None and (measured >= self.target if self.more_is_better else measured <= self.target)
            verdict = "met" if met else "MISSED"
        theirs = shown(self.theirs, self.unit) if self.theirs is not None else ""
        ratio = f"{self.ratio:.{2 if self.ratio >= 0.1 else 4}f}×" if self.ratio is not None else ""
        return [self.what, shown(self.ours, self.unit), self.other, theirs, ratio, goal, verdict]


@dataclass(frozen=True)
class Note:
    """A sentence among the rows."""

    text: str


def shown(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:,.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
    for limit, factor, name in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{value * factor:.3g} {name}"
    return f"{value:.2f} s"


HEADINGS = ["what", "metastore", "against", "its", "ratio", "target", ""]


def printed(title: str, lines: Sequence[Row | Note], *, markdown: bool) -> str:
    rows = [line.cells() for line in lines if isinstance(line, Row)]
    notes = [line.text for line in lines if isinstance(line, Note)]
    if markdown:
        table = ["| " + " | ".join(row) + " |" for row in (HEADINGS, ["---"] * len(HEADINGS), *rows)]
        return "\n".join([f"**{title}**", "", *(table if rows else []), *(f"\n{note}" for note in notes), ""])
    widths = [max(len(row[column]) for row in (HEADINGS, *rows)) for column in range(len(HEADINGS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (HEADINGS, *rows)]
    return "\n".join([title, "-" * len(title), *(table if rows else []), *(f"* {note}" for note in notes), ""])


def in_turn(rounds: int, **contestants: Callable[[int], object]) -> dict[str, float]:
    """Call everybody once a round, so that whatever else the machine does hits all alike.

    Returns:
        The median time of each, in seconds. Each is called with a number that never comes twice; one call a
        contestant is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants.items())
    for number in range(rounds + 1):
        for name, call in order:
            start = time.perf_counter()
            call(number)
            times[name].append(time.perf_counter() - start)
        order.append(order.pop(0))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def repeated(call: Callable[[], object], often: int) -> Callable[[int], object]:
    """Do something short many times, so that the clock's own cost does not count."""

    def calls(number: int) -> None:
        for _ in range(often):
            call()

    return calls


def say(text: str) -> None:
    """Tell on stderr what is going on."""
    print(f"… {text}", file=sys.stderr, flush=True)
