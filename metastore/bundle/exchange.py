"""Bundles in files: JSON (a list of objects) and CSV (RFC 4180; one bundle per line, spaces between devices)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from metastore.bundle.port import STATE, Bundle, LogEntry
from metastore.descriptor.document import decode
from metastore.errors import InvalidInput, MetastoreError

#: The columns of a CSV file and the members of a JSON object, in order; an import drops the last two.
ATTRIBUTES = tuple(each.name for each in fields(Bundle))
#: Changes of the devices of a live bundle, which a row can have instead of all its devices.
_EDITS = ("add_devices", "remove_devices")
FORMATS = ("json", "csv")
_SET_BY_THE_REGISTRY = ("updated", "snapshot")
_LOG_COLUMNS = tuple(each.name for each in fields(LogEntry))
_FLAGS = ("run", "udp", "writable")
_LISTS = ("hosts", "devices")
#: Cells that begin with these are formulas to a spreadsheet. A quotation mark before them prevents that; since no
#: device has one, it can be removed again.
_FORMULA = ("=", "+", "-", "@")
_Error = TypeVar("_Error", bound=MetastoreError)

# The module csv refuses cells of more than 128 kB unless told otherwise, for the whole process.
csv.field_size_limit(max(csv.field_size_limit(), 32 * 1024 * 1024))


#: What is wrong where Python's strict reader stops.
NOT_CSV = "a quote is not closed, or text follows one that is"


@dataclass(frozen=True, slots=True)
class Row:
    """A bundle in a file.

    Attributes:
        line: The last line of the bundle in a CSV file, or its position in a list, from 1.
        values: A bundle, or its attributes.
    """

    line: int
    values: Bundle | Mapping[str, Any]

    @property
    def name(self) -> Any:
        """The name, unchecked."""
        if isinstance(self.values, Bundle):
            return self.values.name
        return self.values.get("name") if isinstance(self.values, Mapping) else None

    @property
    def changes(self) -> Mapping[str, Any]:
        """The attributes, without those that the registry sets.

        Raises:
            InvalidInput: One of them is not an attribute.
        """
        if isinstance(self.values, Bundle):
            return {key: getattr(self.values, key) for key in STATE}
        for key in self.values:
            if key not in (*ATTRIBUTES, *_EDITS):
                raise InvalidInput(f"{str(key)[:80]!r} is not an attribute of a bundle", pointer=f"/{key}")
        return {key: value for key, value in self.values.items() if key not in _SET_BY_THE_REGISTRY}


@dataclass(frozen=True, slots=True)
class ImportLine:
    """The outcome of a row.

    Attributes:
        line: As in `Row`.
        name: The bundle, as the row names it.
        outcome: `created` (or restored), `updated`, `unchanged` or `failed`.
        reason: The reason for a failure.
    """

    line: int
    name: Any
    outcome: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"line {self.line}: {self.name} {self.outcome}" + (f": {self.reason}" if self.reason else "")


def read_rows(text: str | bytes, format: str) -> list[Row]:
    """Read a file.

    Args:
        text: Its content; bytes are UTF-8, with or without a byte order mark.
        format: `json` or `csv`.

    Raises:
        InvalidInput: The file cannot be read at all. Problems of a single row are reported by its import.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the file is not UTF-8: byte {error.start} is wrong") from None
    return _of(format, _READERS)(text.removeprefix("\ufeff"))


def write_rows(bundles: Iterable[Bundle], format: str) -> Iterator[str]:
    """Write bundles as text, in pieces.

    Raises:
        InvalidInput: The format is neither `json` nor `csv`.
    """
    return _of(format, _WRITERS)(bundles)


def write_log(entries: Iterable[LogEntry], format: str) -> Iterator[str]:
    """Write lines of the record as text, in pieces, for people's own tables. They cannot be imported.

    Raises:
        InvalidInput: The format is neither `json` nor `csv`.
    """
    return _of(format, {"json": _write_json_log, "csv": _write_csv_log})(entries)


def at_line(error: _Error, line: int) -> _Error:
    """Add the line to an error."""
    error.args = (f"line {line}: {error}", *error.args[1:])
    return error


def values_of(bundle: Bundle) -> dict[str, Any]:
    """Return a bundle as plain JSON values."""
    updated = bundle.updated.isoformat() if bundle.updated else None
    return {
        **{key: getattr(bundle, key) for key in ATTRIBUTES},
        "hosts": list(bundle.hosts),
        "devices": sorted(bundle.devices),
        "updated": updated,
    }


def _read_json(text: str) -> list[Row]:
    try:
        rows = decode(text)
    except InvalidInput as error:
        raise InvalidInput(f"the file is not JSON: {str(error).removeprefix('not JSON: ')}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInput("the file has to be a list of objects, a bundle each")
    return [Row(number, row) for number, row in enumerate(rows, 1)]


def _read_csv(text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        if "name" not in header or len(set(header)) != len(header):
            raise InvalidInput(f"the first line has to name the columns, such as {','.join(ATTRIBUTES)}")
        return [Row(reader.line_num, _values(cells)) for cells in reader]
    except csv.Error:
        raise InvalidInput(f"line {max(1, reader.line_num)} is not CSV: {NOT_CSV}") from None


def _values(cells: Mapping[str | None, Any]) -> dict[str, Any]:
    return {
        "" if column is None else column: _value(column, cell) for column, cell in cells.items() if cell is not None
    }


def _value(column: str | None, cell: Any) -> Any:
    if column in _LISTS:
        return (cell[1:] if cell.startswith(tuple(f"'{each}" for each in _FORMULA)) else cell).split()
    if column in _FLAGS:
        return {"true": True, "false": False}.get(cell.strip().lower(), cell)
    return cell


def _write_json(bundles: Iterable[Bundle]) -> Iterator[str]:
    return _json_list(map(values_of, bundles))


def _json_list(objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    before = "[\n"
    for each in objects:
        yield before + json.dumps(each, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _write_json_log(entries: Iterable[LogEntry]) -> Iterator[str]:
    return _json_list(map(_values_of_entry, entries))


def _write_csv_log(entries: Iterable[LogEntry]) -> Iterator[str]:
    yield _csv_line(_LOG_COLUMNS)
    for entry in entries:
        yield _csv_line(_cell(value) for value in _values_of_entry(entry).values())


def _values_of_entry(entry: LogEntry) -> dict[str, Any]:
    values = {key: getattr(entry, key) for key in _LOG_COLUMNS}
    recorded = entry.recorded.isoformat() if entry.recorded else None
    return values | {"created": entry.created.isoformat(), "attributes": list(entry.attributes), "recorded": recorded}


def _write_csv(bundles: Iterable[Bundle]) -> Iterator[str]:
    yield _csv_line(ATTRIBUTES)
    for bundle in bundles:
        yield _csv_line(_cell(value) for value in values_of(bundle).values())


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


_READERS: dict[str, Callable[[str], list[Row]]] = {"json": _read_json, "csv": _read_csv}
_WRITERS: dict[str, Callable[[Iterable[Bundle]], Iterator[str]]] = {"json": _write_json, "csv": _write_csv}
_Way = TypeVar("_Way")


def _of(format: str, ways: Mapping[str, _Way]) -> _Way:
    if format not in ways:
        raise InvalidInput(f"bundles are written as {' or '.join(FORMATS)}, not {str(format)[:80]!r}")
    return ways[format]
