"""Parses lists of devices as people paste them: one per line, or from a spreadsheet, perhaps quoted or repeated.

In further columns of a spreadsheet, such as descriptions, only cells that look like devices count. The others are
reported and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from metastore.bundle.checks import DEVICE, USUAL_DEVICE

_CELLS, _WORDS = re.compile(r"[\t,;]"), re.compile(r"\s+")
_QUOTES = "\"'“”„‘’"
#: The usual headings of columns, which are never names of devices.
HEADINGS = frozenset(
    {
        *("device", "devices", "variable", "variables", "signal", "signals", "channel", "channels", "node", "nodes"),
        *("name", "names", "description", "comment", "comments", "notes", "label", "unit", "units", "type", "number"),
        *("bundle", "event", "group", "host", "hosts"),
    }
)


@dataclass(frozen=True, slots=True)
class Pasted:
    """The words of a text, in the order of the text.

    Attributes:
        devices: Each word once, without those of `beside`.
        doubles: The words that are repeated.
        headings: The words that look like the heading of a column.
        unusual: The words that can be devices and have none of their usual forms, without headings.
        refused: The words that cannot be devices, each with its line.
        beside: The cells of further columns that were left out.
    """

    devices: tuple[str, ...]
    doubles: tuple[str, ...]
    headings: tuple[str, ...]
    unusual: tuple[str, ...]
    refused: tuple[tuple[int, str], ...]
    beside: tuple[str, ...] = ()


def read(text: str) -> Pasted:
    """Parse a pasted list."""
    lines: dict[str, int] = {}
    doubles: dict[str, None] = {}
    beside: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words, others = _row(line)
        beside.update(dict.fromkeys(others))
        for word in words:
            if word in lines:
                doubles[word] = None
            lines.setdefault(word, number)
    headings = tuple(word for word in lines if word.lower() in HEADINGS)
    refused = tuple((number, word) for word, number in lines.items() if not DEVICE.fullmatch(word))
    known = {*headings, *(word for _, word in refused)}
    unusual = tuple(word for word in lines if word not in known and not USUAL_DEVICE.fullmatch(word))
    return Pasted(tuple(lines), tuple(doubles), headings, unusual, refused, tuple(beside))


def _row(line: str) -> tuple[list[str], list[str]]:
    """Return the words of a line that count as devices, and the cells that do not.

    Cells after the first one count if they look like devices. If the first cell does not, all cells of a line with
    commas or semicolons count.
    """
    cells = [words for cell in _CELLS.split(line) if (words := _words(cell))]
    if not cells:
        return [], []
    is_table = "\t" in line or _is_usual(cells[0])
    taken, others = list(cells[0]), []
    for cell in cells[1:]:
        if is_table and not _is_usual(cell):
            others.append(" ".join(cell))
        else:
            taken += cell
    return taken, others


def _words(cell: str) -> list[str]:
    return [word for quoted in _WORDS.split(cell) if (word := quoted.strip(_QUOTES))]


def _is_usual(words: list[str]) -> bool:
    return all(USUAL_DEVICE.fullmatch(word) for word in words)
