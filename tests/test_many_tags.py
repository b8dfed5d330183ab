"""Thousands of packed tags: how much is read and parsed, whatever the machine's speed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metastore.git.history import tag_object
from metastore.git.objects import GitObject
from metastore.storage.local import _packed_refs as packed_refs
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import change
from .test_storage_contract import tag_of

CARS = DatasetId("physics", "cars")


def with_tags(root: Path, count: int) -> GitStorage:
    storage = GitStorage(root, sync=False)
    head = storage.create(CARS, {"a": b"1"}, change()).id
    objects: dict[str, GitObject] = {}
    references = {}
    for number in range(count):
        identity, made = tag_object(tag_of(f"v{number}", head))
        objects |= made
        references[f"refs/tags/v{number}"] = identity
    with storage.lock(CARS), storage.open(CARS) as repository:
        repository.put(objects)
        repository.references.add_all(references)
    return GitStorage(root, sync=False)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the lines that are parsed and the bytes that are read of `packed-refs`."""
    counts = {"lines": 0, "bytes": 0}
    parse, pread = packed_refs._rows, os.pread

    def parsed(path: str, content: bytes) -> list[tuple[bytes, bytes]]:
        rows = parse(path, content)
        counts["lines"] += len(rows)
        return rows

    def read(descriptor: int, size: int, place: int) -> bytes:
        content = pread(descriptor, size, place)
        counts["bytes"] += len(content)
        return content

    monkeypatch.setattr(packed_refs, "_rows", parsed)
    monkeypatch.setattr(os, "pread", read)
    return counts


def test_one_tag_of_thousands_takes_a_few_lines(tmp_path: Path, counted: dict[str, int]) -> None:
    storage = with_tags(tmp_path, 5_000)
    counted.update(lines=0, bytes=0)
    assert storage.tag(CARS, "v1234").name == "v1234"
    assert counted["lines"] <= 20
    assert counted["bytes"] <= 40_000


CALLS: dict[str, Callable[[GitStorage], Any]] = {
    "list": lambda storage: list(storage.tags(CARS)),
    "verify": lambda storage: list(storage.verify()),
}


@pytest.mark.parametrize("call", CALLS)
def test_all_tags_take_each_line_a_few_times(call: str, tmp_path: Path, counted: dict[str, int]) -> None:
    storage = with_tags(tmp_path, 1_000)
    counted.update(lines=0, bytes=0)
    CALLS[call](storage)
    assert 1_000 <= counted["lines"] <= 4_000


def test_a_list_of_packed_tags_displaces_nothing_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tags(tmp_path, 500)
    storage = GitStorage(tmp_path, cache_bytes=50_000, sync=False)
    head = storage.resolve(CARS, None).id
    assert storage.read(CARS, head, "a") == b"1"
    assert len(list(storage.tags(CARS))) == 500
    read = list[str]()
    monkeypatch.setattr(ObjectDatabase, "read", lambda database, identity: read.append(identity))
    assert storage.read(CARS, head, "a") == b"1"
    assert not read
