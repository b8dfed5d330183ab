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
            return _table(resource, _of_csv(value, resource.member("dialect")), None)
        if isinstance(value, list) and value:
            first = value[: _ROWS + 1]
            if all(isinstance(row, Mapping) for row in first):
                return _of_objects(resource, first[:_ROWS], len(value))
            if all(isinstance(row, list) for row in first):
                return _table(resource, first, len(value) - 1)
    return None


def _of_csv(text: str, dialect: Any) -> list[list[str]]:
    given = dialect.get("delimiter") if isinstance(dialect, Mapping) else None
    mark = given if isinstance(given, str) and len(given) == 1 and given not in '\r\n"' else ","
    rows = csv.reader(text[:_READ].splitlines(keepends=True), delimiter=mark)
    try:
        return list(islice(rows, _ROWS + 1))
    except csv.Error:  # such as a field of more than 131,072 characters
        return []


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
        Column(cut(name, _LENGTH), types.get(name, ""), _are_numbers([row[at] for row in cells]))
        for at, name in enumerate(names[:width])
    )
    return Preview(columns, tuple(tuple(map(_text, row)) for row in cells), total, len(names))


def _are_numbers(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return cut(value, _LENGTH) if isinstance(value, str) else spelled(value, _LENGTH)
