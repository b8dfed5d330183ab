"""Changes between two looks at the disk of a local store."""

from __future__ import annotations

from pathlib import Path

import pytest

from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import change

CARS = DatasetId("physics", "cars")


def test_a_dataset_that_is_made_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other = (GitStorage(str(tmp_path), sync=False) for _ in range(2))
    look = storage._raise_missing

    def make_then_look(dataset_id: DatasetId) -> None:
        other.create(CARS, {"a": b"1"}, change())
        look(dataset_id)

    monkeypatch.setattr(storage, "_raise_missing", make_then_look)
    assert storage.resolve(CARS, None) == other.resolve(CARS, None)
