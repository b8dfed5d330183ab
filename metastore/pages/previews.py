"""The first rows of a table that a descriptor holds itself, in `data` or `preview` of a resource."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from metastore.pages.overview import Resource, cut
from metastore.wording import spelled

#: The most rows and columns that are shown, the characters of a cell, and those of CSV that are read.
_ROWS, _COLUMNS, _LENGTH, _READ = 10, 20, 80, 20_000
_Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type in the schema or an empty text, and whether all its values are numbers."""

    name: str
    type: str
    has_numbers: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a table.

    Attributes:
        columns: The first columns.
        rows: The cells of the first rows, as text; None for null and for a cell that is missing.
        total: The number of all rows; None if it is not known.
        width: The number of all columns.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | None, ...], ...]
    total: int | None
    width: int


def preview_of(resource: Resource) -> Preview | None:
    """Return the beginning of a resource's table; None if the descriptor does not hold one.

    A table is a list of objects, a list of lists, or CSV. Of the latter two, the first row names the columns.
    """
    for value in (resource.member("data"), resource.member("preview")):
        if isinstance(value, str) and resource.format.lower() == "csv":
            return table_of(resource, value)
        if isinstance(value, list) and value:
            first = value[: _ROWS + 1]
            if all(isinstance(row, Mapping) for row in first):
                return _of_objects(resource, first[:_ROWS], len(value))
            if all(isinstance(row, list) for row in first):
                return _table(resource, first, len(value) - 1)
    return None


def table_of(
    resource: Resource, text: str, *, mark: str = ",", most: int = _ROWS, is_whole: bool = True
) -> Preview | None:
    """Return the beginning of CSV; None if it cannot be read.

    Args:
        resource: The resource, whose `dialect` can name another delimiter, or say that there is no row of names.
        text: The CSV.
        mark: The usual delimiter.
        most: The most rows.
        is_whole: Whether the text is complete. Otherwise its last row may be cut.
    """
    given = resource.member("dialect")
    dialect: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    named = dialect.get("delimiter")
    if isinstance(named, str) and len(named) == 1 and named not in '\r\n"':
        mark = named
    reader = csv.reader(text[: _READ * most // _ROWS].splitlines(keepends=True), delimiter=mark)
    try:
        rows = [row for row in islice(reader, most + 2) if row]
    except csv.Error:  # such as a field of more than 131,072 characters
        return None
    rows = rows if is_whole or len(rows) > most + 1 else rows[:-1]
    if dialect.get("header") is False and rows:
        names = [field.name for field in resource.fields]
        rows.insert(0, [*names, *(str(number + 1) for number in range(len(names), len(rows[0])))])
    return _table(resource, rows[: most + 1], None)


def _of_objects(resource: Resource, rows: Sequence[Mapping[str, Any]], total: int) -> Preview:
    names = list(dict.fromkeys([*(field.name for field in resource.fields), *(name for row in rows for name in row)]))
    cells = [[row.get(name) for name in names[:_COLUMNS]] for row in rows]
    return _shown(resource, names, cells, total)


def _table(resource: Resource, rows: _Rows, total: int | None) -> Preview | None:
    return _shown(resource, [str(name) for name in rows[0]], rows[1:], total) if rows else None


def _shown(resource: Resource, names: Sequence[str], rows: _Rows, total: int | None) -> Preview:
    types = {field.name: field.type for field in resource.fields}
    width = min(len(names), _COLUMNS)
    cells = [[row[at] if at < len(row) else None for at in range(width)] for row in rows]
    columns = tuple(
        Column(cut(name, _LENGTH), kind := types.get(name, ""), _are_numbers(kind, [row[at] for row in cells]))
        for at, name in enumerate(names[:width])
    )
    return Preview(columns, tuple(tuple(map(_text, row)) for row in cells), total, len(names))


def _are_numbers(kind: str, values: Sequence[Any]) -> bool:
    if kind in ("integer", "number"):
        return True
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return cut(value, _LENGTH) if isinstance(value, str) else spelled(value, _LENGTH)
