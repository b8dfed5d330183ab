"""Lists as lines, tables, CSV or JSON: the same for every command that prints one."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from metastore.cli.output import show_bytes, show_each, show_pages
from metastore.descriptor.document import to_line
from metastore.errors import InvalidInput
from metastore.wire import to_wire

#: The rows of a table whose columns are laid out together, so that a long list does not fill the memory.
_PAGE = 500
#: The width that a column keeps, in characters, where a table is wider than the terminal.
_NARROWEST = 4
_GAP = "  "


def show_list(
    values: Iterable[Any],
    form: str,
    *,
    columns: Sequence[str],
    fields: Sequence[str] = (),
    text: Callable[[Any], str | Sequence[str]] = str,
    titles: Sequence[str] = (),
    wire: Callable[[Any], Any] = to_wire,
    paged: bool = True,
) -> None:
    """Print the values of a list as they come.

    Args:
        values: The values.
        form: One of `metastore.cli.options.FORMATS`.
        columns: The fields of a table or of CSV; `author.name` is the `name` of the `author`.
        fields: The only fields to print; none for all of JSON, the columns of a table, and the text of a line.
        text: Returns the line, or lines, for people.
        titles: For lines in columns: their titles; then `text` returns the cells of a line.
        wire: Returns the value as plain JSON values.
        paged: Whether more than a terminal shows goes to a pager. If not, each line is printed at once.

    Raises:
        InvalidInput: The values have no such field.
    """
    named = fields or columns
    rows = _rows(map(wire, values), named, strict=bool(fields))
    if form == "csv":
        _show_csv(named, rows, at_once=not paged)
    elif form in ("json", "jsonl"):
        entries = (dict(zip(named, row, strict=True)) for row in rows) if fields else map(wire, values)
        written = map(to_line, entries)
        show_each(_array(written) if form == "json" else written, at_once=not paged)
    else:
        if form == "table":
            lines = _table([name.upper() for name in named], (list(map(_cell, row)) for row in rows))
        elif fields:
            lines = ("\t".join(map(_cell, row)) for row in rows)
        elif titles:
            lines = _table(titles, map(text, values))
        else:
            lines = (line for value in values for line in _lines(text(value)))
        if paged:
            show_pages(lines)
        else:
            show_each(lines, at_once=True)


def _lines(text: str | Sequence[str]) -> Sequence[str]:
    return [text] if isinstance(text, str) else text


def _array(entries: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a JSON array, an entry on each."""
    before, waiting = "[", None
    for entry in entries:
        if waiting is not None:
            yield f"{before}{waiting},"
            before = " "
        waiting = entry
    yield f"{before}{waiting}]" if waiting is not None else "[]"


def _show_csv(columns: Sequence[str], rows: Iterator[Sequence[Any]], *, at_once: bool) -> None:
    lines = map(
        _csv_line, chain([columns, *islice(rows, 1)], rows)
    )  # a wrong column is told before anything is printed
    if sys.stdout.isatty():  # a line break in a text could begin a line that passes for another row
        show_pages(lines)
    else:
        show_each(lines, at_once=at_once, write=_show_bytes)


def _show_bytes(*lines: str) -> None:
    show_bytes("".join(f"{line}\n" for line in lines).encode())


def _csv_line(row: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(_cell, row))
    return line.getvalue()


def _rows(values: Iterable[Any], fields: Sequence[str], *, strict: bool) -> Iterator[list[Any]]:
    """Yield the fields of each value. Raises InvalidInput: the first value lacks one of them, and `strict` is set."""
    for number, value in enumerate(values):
        members = value if isinstance(value, Mapping) else {"id": value}
        for name in fields if strict and not number else ():
            if name.partition(".")[0] not in members:
                raise InvalidInput(f"--fields: there is no {name!r} here, but {', '.join(members)}")
        yield [_member(members, name) for name in fields]


def _member(value: Any, name: str) -> Any:
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any) -> str:
    """Return a field as text: nothing for null, and the items of a list of texts with spaces between them."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return to_line(value)


def _table(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Lay rows out in columns, some hundred at a time. On a terminal, the longest cells are cut until a row fits."""
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths = [0] * len(titles)
    page = [list(titles)]
    while page := [*page, *([" ".join(cell.split()) for cell in row] for row in islice(rows, _PAGE))]:
        widths = [max(width, *(_width(row[at]) for row in page)) for at, width in enumerate(widths)]
        fitted = _fitted(widths, room)
        yield from (_GAP.join(map(_padded, row, fitted)).rstrip() for row in page)
        page = []


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """Return widths that fit, for which the widest columns are narrowed first."""
    fitted = list(widths)
    while sum(fitted) + len(_GAP) * (len(fitted) - 1) > room and max(fitted) > _NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _width(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    return len(text) if text.isascii() else sum(map(_width_of, text))


def _width_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(text: str, width: int) -> str:
    if _width(text) > width:
        while _width(text) >= width:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _width(text))
