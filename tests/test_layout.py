"""The folders of a local store, where the contract of storages cannot see them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import metastore
from metastore.errors import StorageUnavailable
from metastore.storage.local.mark import PRIVATE
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import ANN, change

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")


def test_a_move_killed_while_it_notes_where_to_leaves_no_other_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    if not (child := os.fork()):
        monkeypatch.setattr(os, "replace", lambda source, target: "notes" in target and os._exit(7))
        storage.rename(CARS, BOATS, parent=first.id)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert {dataset_id for _, dataset_id in storage.touched(None)} == {CARS}
    assert list(storage.ids()) == [CARS]


def test_a_store_whose_making_was_killed_is_made_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (child := os.fork()):
        monkeypatch.setattr(os, "replace", lambda source, target: os._exit(7))
        GitStorage(tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert list(GitStorage(tmp_path).ids()) == []


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a file"])
def test_an_open_store_that_is_gone_is_not_one_without_datasets(tmp_path: Path, left: str) -> None:
    root = tmp_path / "store"
    storage = GitStorage(root, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    root.rename(tmp_path / "unmounted")
    if left != "nothing":
        root.mkdir() if left == "an empty folder" else root.touch()
    calls: list[Callable[[], object]] = [
        lambda: storage.resolve(CARS, None),
        lambda: storage.resolve(BOATS, None),
        lambda: list(storage.ids(deleted=None)),
        lambda: list(storage.ids(prefix="physics/")),
        lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: storage.purge(CARS, parent=first.id),
        lambda: storage.create(BOATS, {"a": b"1"}, change()),
        storage.ping,
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable):
            call()
    assert not root.is_dir() or {each.name for each in root.iterdir()} <= {PRIVATE}  # with locks


def test_a_repository_behind_a_link_is_not_purged_by_removing_the_link(tmp_path: Path) -> None:
    store = metastore.connect(tmp_path / "store", author=ANN, sync=False)
    store.dataset_create("physics/cars", {"name": "cars", "resources": []})
    repository, elsewhere = tmp_path / "store/physics/cars.git", tmp_path / "disk"
    repository.rename(elsewhere)
    repository.symlink_to(elsewhere)
    with pytest.raises(StorageUnavailable, match=f"is a symbolic link: move {elsewhere} to its place"):
        store.dataset_purge("physics/cars", force=True)
    assert [line.action for line in store.journal()] == ["withdrawn", "purge"]
    store.dataset_patch("physics/cars", {"title": "Still there"})
    repository.unlink()
    elsewhere.rename(repository)
    store.dataset_purge("physics/cars", force=True)
    assert not repository.exists()


def test_a_link_that_is_left_over_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path / "store")
    (tmp_path / "kept").mkdir()
    (tmp_path / "store/_metastore/tmp").mkdir(exist_ok=True)
    link = tmp_path / "store/_metastore/tmp/left"
    link.symlink_to(tmp_path / "kept")
    os.utime(tmp_path / "kept", (1, 1))
    assert [damage.repaired for damage in storage.verify(repair=True)] == [True]
    assert not link.is_symlink()
    assert (tmp_path / "kept").is_dir()
