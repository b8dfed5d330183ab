"""Changes between two looks at the disk of a local store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import DatasetNotFound
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import change

CARS = DatasetId("physics", "cars")


def test_a_dataset_that_is_made_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other = (GitStorage(str(tmp_path), sync=False) for _ in range(2))
    look = storage.notes.raise_missing

    def make_then_look(dataset_id: DatasetId) -> None:
        other.create(CARS, {"a": b"1"}, change())
        look(dataset_id)

    monkeypatch.setattr(storage.notes, "raise_missing", make_then_look)
    assert storage.resolve(CARS, None) == other.resolve(CARS, None)


def test_a_dataset_that_is_made_right_after_the_look_is_not_taken_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other = (GitStorage(str(tmp_path), sync=False) for _ in range(2))
    look, looks = os.stat, 0

    def look_then_make(path: str, **options: Any) -> os.stat_result:
        nonlocal looks
        looks += path == storage.layout.path(CARS)
        try:
            return look(path, **options)
        finally:
            if looks == 1:
                looks += 1
                other.create(CARS, {"a": b"1"}, change())

    monkeypatch.setattr("os.stat", look_then_make)
    with pytest.raises(DatasetNotFound):
        storage.resolve(CARS, None)
    assert storage.resolve(CARS, None) == other.resolve(CARS, None)
