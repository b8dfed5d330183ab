"""A bar chart of changes by month, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from markupsafe import Markup

from metastore.pages.formatting import count
from metastore.pages.languages import gettext as _

_MOST_BARS = 48
#: Fewer months than this are drawn with empty ones before them, so that a young history does not look like one bar.
_LEAST_BARS = 12
_BAR, _GAP, _HEIGHT, _AXIS, _SIDE = 14, 3, 60, 18, 30


def picture(times: Iterable[datetime], noun: str = "revision") -> Markup:
    """Return a chart with one bar per month up to the last time, with axes; empty if there are none.

    Args:
        times: The time of each change.
        noun: A change, in the singular.
    """
    counts = Counter((at.year, at.month) for at in times)
    if not counts:
        return Markup("")
    months = _months(min(counts), max(counts))[-_MOST_BARS:]
    most = max(counts[month] for month in months)
    total = sum(counts[month] for month in months)
    label = _(
        "%(changes)s from %(first)s to %(last)s, at most %(most)s in a month",
        changes=count(total, noun),
        first=_name(months[0]),
        last=_name(months[-1]),
        most=most,
    )
    width = _SIDE + len(months) * (_BAR + _GAP)
    bars = Markup("").join(_bar(index, month, counts[month], most) for index, month in enumerate(months))
    return Markup(
        '<svg class="activity" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<path d="M{} 0V{}H{}"/><text x="{}" y="11" text-anchor="end">{}</text>{}{}</svg>'
    ).format(
        label,
        *(width, _HEIGHT + _AXIS, width, _HEIGHT + _AXIS),
        *(_SIDE - 2.5, _HEIGHT + 0.5, width),
        *(_SIDE - 6, most),
        bars,
        _dates(months),
    )


def _bar(index: int, month: tuple[int, int], number: int, most: int) -> Markup:
    if not number:
        return Markup("")
    height = max(2, round(number / most * (_HEIGHT - 2)))
    return Markup('<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>').format(
        _SIDE + index * (_BAR + _GAP), _HEIGHT - height, _BAR, height, _name(month), number
    )


def _dates(months: list[tuple[int, int]]) -> Markup:
    """Return the labels of the axis: each January with its year, and the last month if there is room beside them."""
    last = len(months) - 1
    shown = [index for index, (_year, month) in enumerate(months) if month == 1 and last - index > 3 and index > 1]
    ends = [(0, "start")] if not shown or shown[0] > 4 else []
    labels = [*ends, *((index, "start") for index in shown), (last, "end")]
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
            _SIDE + index * (_BAR + _GAP) + (_BAR if anchor == "end" else 0),
            _HEIGHT + _AXIS - 4,
            anchor,
            _name(months[index]),
        )
        for index, anchor in labels
    )


def _months(first: tuple[int, int], last: tuple[int, int]) -> list[tuple[int, int]]:
    end = last[0] * 12 + last[1]
    numbers = range(max(12, min(first[0] * 12 + first[1] - 1, end - _LEAST_BARS)), end)
    return [(number // 12, number % 12 + 1) for number in numbers]


def _name(month: tuple[int, int]) -> str:
    return f"{month[0]}-{month[1]:02}"
