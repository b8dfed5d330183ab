"""Lists of devices as people paste them: one a line, or cut out of a spreadsheet, quoted or not, twice or once.

A spreadsheet's second column, such as descriptions, is no list of devices: of a line's further cells only those count
that look like devices. The rest is named, and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from metastore.bundle.checks import DEVICE, USUAL_DEVICE

_CELLS, _WORDS = re.compile(r"[\t,;]"), re.compile(r"\s+")
_QUOTES = "\"'“”„‘’"
#: What stands above the columns of people's lists; no device is called so.
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
        devices: Each word once, whatever it is, without those of `beside`.
        doubles: Those that came again.
        headings: Those that look like the heading of a column.
        unusual: Those that are devices in none of the usual forms, headings aside.
        refused: Those that cannot be devices, each with its line.
        beside: The cells of further columns, which are not taken.
    """

    devices: tuple[str, ...]
    doubles: tuple[str, ...]
    headings: tuple[str, ...]
    unusual: tuple[str, ...]
    refused: tuple[tuple[int, str], ...]
    beside: tuple[str, ...] = ()


def read(text: str) -> Pasted:
    """Read a pasted list."""
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
    """Return the words of a line that stand for devices, and its cells that do not.

    The cells behind the first one count if they look like devices, and all cells of a line with commas or semicolons
    whose first cell does not.
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
    return [word for each in _WORDS.split(cell) if (word := each.strip(_QUOTES))]


def _is_usual(words: list[str]) -> bool:
    return all(USUAL_DEVICE.fullmatch(word) for word in words)
