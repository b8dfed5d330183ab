"""Which repositories of a local store stay open."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import change

MOST = 64


@pytest.fixture
def storage(tmp_path: Path) -> GitStorage:
    return GitStorage(tmp_path / "store", sync=False)


def opened(storage: GitStorage) -> int:
    """Return how many folders of repositories this process has open."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    files = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sum(file.startswith(storage.layout.root) and file.endswith(".git") for file in files)


def test_handles_of_one_dataset_after_many_calls_at_once_are_few(storage: GitStorage) -> None:
    cars = DatasetId("physics", "cars")
    storage.create(cars, {"a": b"1"}, change())
    with ExitStack() as calls:
        for _ in range(MOST * 2):
            calls.enter_context(storage.open(cars))
    assert opened(storage) == MOST


def test_handles_of_many_datasets_are_those_used_last(storage: GitStorage) -> None:
    ids = [DatasetId("physics", f"cars{number}") for number in range(MOST + 10)]
    for each in ids:
        storage.create(each, {"a": b"1"}, change())
        storage.resolve(each, None)
    assert opened(storage) == MOST
    with storage.open(ids[-1]):
        assert opened(storage) == MOST  # it was open


def test_a_closed_storage_has_nothing_open_and_opens_it_again(storage: GitStorage) -> None:
    cars = DatasetId("physics", "cars")
    made = storage.create(cars, {"a": b"1"}, change())
    storage.resolve(cars, None)
    storage.close()
    assert opened(storage) == 0
    assert storage.resolve(cars, None) == made
