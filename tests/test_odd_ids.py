"""Ids that lead to something else than a repository: each call says so, and none shows a path of the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import AlreadyExists, DatasetNotFound, InvalidInput, StorageCorrupt

from .conftest import ANN

Store = metastore.MetaStore
READS: dict[str, Callable[[Store, str], Any]] = {
    "dataset_read": lambda s, i: s.dataset_read(i),
    "dataset_bytes": lambda s, i: s.dataset_bytes(i),
    "revision_read": lambda s, i: s.revision_read(i),
    "revision_list": lambda s, i: list(s.revision_list(i)),
    "revision_diff": lambda s, i: s.revision_diff(i, "HEAD"),
    "tag_read": lambda s, i: s.tag_read(i, "v1"),
    "tag_list": lambda s, i: list(s.tag_list(i)),
    "project_read": lambda s, i: s.project_read(i),
}
CHANGES: dict[str, Callable[[Store, str], Any]] = {
    "dataset_update": lambda s, i: s.dataset_update(i, {}),
    "dataset_patch": lambda s, i: s.dataset_patch(i, {}),
    "dataset_delete": lambda s, i: s.dataset_delete(i),
    "dataset_purge": lambda s, i: s.dataset_purge(i, force=True),
    "dataset_revert": lambda s, i: s.dataset_revert(i, "HEAD"),
    "dataset_move": lambda s, i: s.dataset_move(i, "physics/trains"),
    "tag_create": lambda s, i: s.tag_create(i, "v1"),
    "tag_delete": lambda s, i: s.tag_delete(i, "v1"),
}
CREATIONS: dict[str, Callable[[Store, str], Any]] = {
    "dataset_create": lambda s, i: s.dataset_create(i, {}),
    "dataset_move": lambda s, i: s.dataset_move("physics/cars", i),
}
BELOW_A_FILE = ["metastore.json/x", "notes.txt/x"]
LONG = f"{'o' * 100}/{'n' * 100}"


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """A store with a dataset, a stray file, and stray things where a repository would be."""
    store = metastore.connect(tmp_path / "store", author=ANN, validation="off", sync=False)
    store.dataset_create("physics/cars", {"n": 1})
    (tmp_path / "store/notes.txt").write_text("somebody's")
    (tmp_path / "store/physics/file.git").write_text("somebody's")
    (tmp_path / "store/physics/link.git").symlink_to(tmp_path / "nowhere")
    (tmp_path / "store/physics/round.git").symlink_to("round.git")
    (tmp_path / "store/physics/empty.git").mkdir()
    return store


@pytest.mark.parametrize("call", [*READS, *CHANGES])
@pytest.mark.parametrize("dataset_id", [*BELOW_A_FILE, LONG, "physics/nowhere"])
def test_an_id_below_a_file_is_not_found_like_any_other(call: str, dataset_id: str, local: Store) -> None:
    with pytest.raises(DatasetNotFound, match=f"^there is no dataset {dataset_id}$"):
        {**READS, **CHANGES}[call](local, dataset_id)


@pytest.mark.parametrize("call", CREATIONS)
@pytest.mark.parametrize("dataset_id", BELOW_A_FILE)
def test_no_dataset_gets_an_id_below_a_file(call: str, dataset_id: str, local: Store, tmp_path: Path) -> None:
    before = _outside(tmp_path / "store")
    with pytest.raises(InvalidInput, match=f"no dataset can be called {dataset_id}: the store has a file"):
        CREATIONS[call](local, dataset_id)
    assert _outside(tmp_path / "store") == before
    assert local.dataset_read("physics/cars").descriptor == {"n": 1}


def _outside(root: Path) -> list[Path]:
    """Return everything but the store's own folder, whose journal has lines for what was withdrawn."""
    return sorted(path for path in root.rglob("*") if "_metastore" not in path.parts)


@pytest.mark.parametrize("call", CREATIONS)
def test_the_longest_id_is_an_id_like_any_other(call: str, local: Store) -> None:
    CREATIONS[call](local, LONG)
    assert str(local.dataset_read(LONG).id) == LONG


@pytest.mark.parametrize("call", [*READS, *CHANGES])
@pytest.mark.parametrize("name", ["file", "link", "round"])
def test_what_stands_in_the_place_of_a_repository_is_named_as_damage(call: str, name: str, local: Store) -> None:
    with pytest.raises(StorageCorrupt, match=rf"{name}\.git is not a folder"):
        {**READS, **CHANGES}[call](local, f"physics/{name}")


@pytest.mark.parametrize("name", ["file", "link", "round"])
def test_nothing_is_put_over_what_stands_in_the_place_of_a_repository(name: str, local: Store) -> None:
    with pytest.raises(AlreadyExists):
        local.dataset_move("physics/cars", f"physics/{name}")
    with pytest.raises((AlreadyExists, StorageCorrupt)):
        local.dataset_create(f"physics/{name}", {})


def test_the_feed_and_verify_name_a_folder_that_is_not_a_repository_and_go_on(local: Store) -> None:
    local.dataset_create("physics/trains", {})
    feed = {str(entry.dataset_id): entry.action for entry in local.changes()}
    assert feed.pop("physics/empty") == "unreadable"
    assert {name: feed.pop(name, "unreadable") for name in ("physics/file", "physics/link", "physics/round")} == {
        "physics/file": "unreadable",
        "physics/link": "unreadable",
        "physics/round": "unreadable",
    }
    assert feed == {"physics/cars": "changed", "physics/trains": "changed"}
    assert {"physics/empty", "physics/file"} <= {damage.where for damage in local.verify()}
