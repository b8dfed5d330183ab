"""A bar chart of the revisions of a dataset by month, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from markupsafe import Markup

_MOST_BARS = 48
_BAR, _GAP, _HEIGHT = 14, 3, 60


def picture(times: Iterable[datetime]) -> Markup:
    """Return a chart with one bar per month, from the first to the last time; empty if there are none."""
    counts = Counter((at.year, at.month) for at in times)
    if not counts:
        return Markup("")
    months = _months(min(counts), max(counts))[-_MOST_BARS:]
    most = max(counts[month] for month in months) or 1
    total = sum(counts[month] for month in months)
    bars = Markup("").join(_bar(index, month, counts[month], most) for index, month in enumerate(months))
    label = f"{total} revisions from {_name(months[0])} to {_name(months[-1])}, at most {most} in a month"
    return Markup('<svg class="activity" role="img" aria-label="{}" viewBox="0 0 {} {}" height="{}">{}</svg>').format(
        label, len(months) * (_BAR + _GAP), _HEIGHT, _HEIGHT, bars
    )


def _bar(index: int, month: tuple[int, int], count: int, most: int) -> Markup:
    height = max(2, round(count / most * (_HEIGHT - 2))) if count else 1
    return Markup('<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>').format(
        index * (_BAR + _GAP), _HEIGHT - height, _BAR, height, _name(month), count
    )


def _months(first: tuple[int, int], last: tuple[int, int]) -> list[tuple[int, int]]:
    numbers = range(first[0] * 12 + first[1] - 1, last[0] * 12 + last[1])
    return [(number // 12, number % 12 + 1) for number in numbers]


def _name(month: tuple[int, int]) -> str:
    return f"{month[0]}-{month[1]:02}"
