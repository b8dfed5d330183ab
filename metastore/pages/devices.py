"""Lists of devices as people paste them: one a line, or cut out of a spreadsheet, quoted or not, twice or once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from metastore.bundle.checks import DEVICE, USUAL_DEVICE

_BETWEEN = re.compile(r"[\s,;]+")
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
    """What was found in a text; all in the order in which it came.

    Attributes:
        devices: Each word once, whatever it is.
        doubles: Those that came again.
        headings: Those that look like the heading of a column.
        unusual: Those that are devices in none of the usual forms, headings aside.
        refused: Those that cannot be devices, each with its line.
    """

    devices: tuple[str, ...]
    doubles: tuple[str, ...]
    headings: tuple[str, ...]
    unusual: tuple[str, ...]
    refused: tuple[tuple[int, str], ...]


def read(text: str) -> Pasted:
    """Read a pasted list."""
    lines: dict[str, int] = {}
    doubles: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for word in filter(None, (each.strip(_QUOTES) for each in _BETWEEN.split(line))):
            if word in lines:
                doubles[word] = None
            lines.setdefault(word, number)
    headings = tuple(word for word in lines if word.lower() in HEADINGS)
    refused = tuple((number, word) for word, number in lines.items() if not DEVICE.fullmatch(word))
    known = {*headings, *(word for _, word in refused)}
    unusual = tuple(word for word in lines if word not in known and not USUAL_DEVICE.fullmatch(word))
    return Pasted(tuple(lines), tuple(doubles), headings, unusual, refused)
