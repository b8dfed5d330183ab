"""Reads descriptors from files: folders of descriptors, JSON Lines, CSV, and responses of CKAN's API."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metastore import ckan
from metastore.bundle.exchange import NOT_CSV
from metastore.descriptor.document import DESCRIPTOR, decode, encode
from metastore.errors import InvalidInput
from metastore.files.reading import place_in
from metastore.os_errors import in_words
from metastore.parse import parse_dataset_id
from metastore.types import DatasetId

#: Members of every CKAN dataset that no descriptor has.
_OF_CKAN = {"owner_org", "num_resources"}


@dataclass(frozen=True, slots=True)
class Item:
    """One descriptor of a source.

    Attributes:
        source: The path it was read from, with the number of the line or entry if the file has several.
        content: The descriptor as JSON; empty if it cannot be read.
        dataset_id: The id that its path or its source gives it; None to take it from its `name`.
        problem: The reason why it cannot be read, or None.
    """

    source: str
    content: bytes
    dataset_id: DatasetId | None = None
    problem: InvalidInput | None = None


def read(paths: Sequence[Path], *, owner: str | None = None, lower_case: bool = False) -> Iterator[Item]:
    """Yield the descriptors of files and folders, in the order of their paths.

    In a folder, each OWNER/NAME/datapackage.json is read. `*.jsonl` and `*.ndjson` have one descriptor per line,
    `*.csv` one per row; its columns are JSON Pointers without the first slash (`title`, `keywords/0`). CKAN datasets,
    also those in a response of CKAN's API, are converted to Data Packages. A link in a folder counts only if it leads
    to a file in that folder.

    Args:
        paths: Files and folders that exist.
        owner: The owner of all datasets; the name is then the descriptor's `name`. None takes both from the path, or
            from CKAN's organization and name.
        lower_case: Whether to convert ids to lower case.

    Yields:
        One item per descriptor; `problem` says why one cannot be read or named.
    """
    for path in paths:
        for item in _items(path):
            yield _named(item, owner, lower_case)


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that `read` opens, in order."""
    return [file for path in paths for file in (sorted(path.rglob(DESCRIPTOR)) if path.is_dir() else [path])]


def _items(path: Path) -> Iterator[Item]:
    for file in files([path]):
        if file != path and place_in(str(path), str(file)) is None:
            yield Item(str(file), b"", problem=InvalidInput(f"it is not a file, or a link that leads out of {path}"))
            continue
        try:
            content = file.read_bytes()
        except OSError as error:
            yield Item(str(file), b"", problem=InvalidInput(f"the file cannot be read: {in_words(error)}"))
            continue
        reader = _READERS.get(file.suffix.lower())
        yield from reader(str(file), content) if reader else _of_json(str(file), content)


def _of_json(source: str, content: bytes) -> Iterator[Item]:
    try:
        value = decode(content)
    except InvalidInput as error:
        yield Item(source, content, problem=error)
        return
    result = value.get("result") if isinstance(value, dict) and value.get("success") is True else None
    packages = result.get("results") if isinstance(result, dict) and "results" in result else result
    if packages is None:
        yield _of_value(source, value, content)
    else:
        for number, package in enumerate(packages if isinstance(packages, list) else [packages], 1):
            yield _of_value(f"{source}:{number}", package)


def _of_lines(source: str, content: bytes) -> Iterator[Item]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            for item in _of_json(source, line):
                yield replace(item, source=f"{source}:{number}")


def _of_table(source: str, content: bytes) -> Iterator[Item]:
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except UnicodeDecodeError as error:
        yield Item(source, content, problem=InvalidInput(f"the file is not UTF-8: byte {error.start} is wrong"))
        return
    except csv.Error:
        yield Item(
            source,
            content,
            problem=InvalidInput(f"line {max(1, reader.line_num)} is not CSV: {NOT_CSV}"),
        )
        return
    for number, row in enumerate(rows, 2):
        try:
            yield _of_value(f"{source}:{number}", _nested(row))
        except InvalidInput as error:
            yield Item(f"{source}:{number}", b"", problem=error)


_READERS: Mapping[str, Callable[[str, bytes], Iterator[Item]]] = {
    ".jsonl": _of_lines,
    ".ndjson": _of_lines,
    ".csv": _of_table,
}


def _of_value(source: str, value: Any, content: bytes | None = None) -> Item:
    """Return an item. A CKAN dataset becomes a descriptor whose id is its organization and name."""
    if not (isinstance(value, dict) and value.keys() & _OF_CKAN):
        return Item(source, encode(value) if content is None else content)
    organization = value.get("organization")
    owner = organization.get("name") if isinstance(organization, dict) else None
    try:
        found = parse_dataset_id((owner, str(value.get("name")))) if owner else None
        return Item(source, encode(ckan.to_descriptor(value)), found)
    except InvalidInput as error:
        return Item(source, b"", problem=error)


def _named(item: Item, owner: str | None, lower_case: bool) -> Item:
    if item.problem:
        return item
    try:
        name = _name(item, owner)
        return replace(item, dataset_id=parse_dataset_id(name.lower() if lower_case else name))
    except InvalidInput as error:
        return replace(item, problem=error)


def _name(item: Item, owner: str | None) -> str:
    if owner is not None:
        descriptor = decode(item.content)
        name = descriptor.get("name") if isinstance(descriptor, dict) else None
        if not isinstance(name, str):
            raise InvalidInput(f"the descriptor has no name to follow {owner}/", pointer="/name")
        return f"{owner}/{name}"
    if item.dataset_id:
        return str(item.dataset_id)
    file = Path(item.source)
    folders = file.resolve().parent.parts
    if file.name != DESCRIPTOR or len(folders) < 3:
        raise InvalidInput(f"the path does not end in OWNER/NAME/{DESCRIPTOR}: give --owner")
    return f"{folders[-2]}/{folders[-1]}"


def _nested(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the document that JSON Pointers -> values describe. The indexes of a list must be consecutive."""
    if not all(isinstance(cell, str) for cell in row.values()):  # DictReader's mark of a row of another length
        raise InvalidInput("the row has more or fewer cells than the header")
    document: dict[str, Any] = {}
    for column, cell in row.items():
        if not cell:
            continue
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in column.split("/")]
        target: Any = document
        for part, following in zip(path, [*path, last][1:], strict=True):
            target = _child(target, part, [] if following.isdecimal() else {}, column)
        _child(target, last, cell, column)
    return document


def _child(target: Any, part: str, default: Any, column: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(part, default)
    if not isinstance(target, list) or not part.isdecimal() or int(part) > len(target):
        raise InvalidInput(f"the column {column} does not follow from the columns before it")
    if int(part) == len(target):
        target.append(default)
    return target[int(part)]
