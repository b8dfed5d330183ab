"""A store that somebody sent: files that are none, or that never end, are refused, and nothing waits for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import metastore
from metastore import DatasetId, MetaStore, StorageCorrupt
from metastore.files import reading
from metastore.storage.local.backup import backup
from metastore.storage.local.storage import GitStorage

from .conftest import ticking

CARS = "physics/cars"
CALLS: dict[str, Callable[[MetaStore], object]] = {
    "read": lambda store: store.dataset_read(CARS),
    "tags": lambda store: list(store.tag_list(CARS)),
    "tag": lambda store: store.tag_read(CARS, "v1"),
    "write": lambda store: store.dataset_update(CARS, {"name": "cars", "title": "New"}),
}


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    with metastore.connect(str(tmp_path / "store"), author="Ann <ann@example.org>", clock=ticking()) as store:
        for name in ("cars", "trains"):
            store.dataset_create(f"physics/{name}", {"name": name})
            store.tag_create(f"physics/{name}", "v1")
    return tmp_path / "store"


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    os.truncate(os.open(path, os.O_RDWR | os.O_CREAT), 2 * reading.LONGEST)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((name, pipe) for name in ("HEAD", "packed-refs", "refs/heads/main", "refs/tags/v1", "objects")),
        *((name, fault) for name in ("HEAD", "packed-refs") for fault in (device, endless)),
    ],
)
def test_no_call_waits_for_a_file_that_is_none(
    sent: Path, tmp_path: Path, name: str, fault: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    cars, failed = sent / f"{CARS}.git", set()
    for path in list(cars.glob("objects/??/*")) if name == "objects" else [cars / name]:
        fault(path)
    with metastore.connect(str(sent), author="Eve <eve@example.org>") as store:
        for call, done in CALLS.items():
            try:
                done(store)
            except StorageCorrupt:
                failed.add(call)
        assert failed
        assert {damage.where for damage in store.verify()} == {CARS}
        assert isinstance(store.storage, GitStorage)
        assert backup(store.storage, tmp_path / "backup").kept == (DatasetId("physics", "cars"),)
        assert store.dataset_read("physics/trains").descriptor == {"name": "trains"}


@pytest.mark.parametrize(
    ("fault", "words"), [(pipe, "no ordinary file"), (device, "no ordinary file"), (endless, "has more than")]
)
def test_a_file_that_is_none_or_too_long_is_refused_for_that_reason(
    tmp_path: Path, fault: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    fault(tmp_path / "file")
    with pytest.raises(StorageCorrupt, match=words):
        reading.read_file(str(tmp_path / "file"))
