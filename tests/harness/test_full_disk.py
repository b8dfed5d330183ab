"""A full disk under a service, and under what mends a store: done or not done, in plain words, and made good later."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.bundle import BundleRegistry, Groups
from metastore.errors import OutcomeUnknown, StorageUnavailable
from metastore.storage.copy import copy
from metastore.storage.local.storage import GitStorage
from metastore.store import adoption
from metastore.types import DatasetId

from ..bundle.conftest import GROUPS, git_record, numi
from ..conftest import ANN, change
from ..loopback import TOKEN, serving
from ..processes import SOAK, fsck
from ..service.test_clones import git, refused
from .faults import state
from .http_proxy import no_waiting
from .test_beside_git import age
from .test_disks import fill_up, remount, small_disk, use_up_inodes

__all__ = ["small_disk"]
CARS, BOATS, OTHER = "physics/cars", "physics/boats", "other/owner"
ALL = [DatasetId(*each.split("/")) for each in (CARS, BOATS, OTHER)]
#: How many files, and how many pages of bytes, a disk still takes.
FILES, BYTES = (range(16), range(12)) if SOAK else ((0, 2, 5, 9, 10), (0, 1, 4))
Service = metastore.Store
#: Each is refused on a full disk; in this order, all of them can be made afterwards.
BY_REST: dict[str, Callable[[Service], object]] = {
    "update": lambda s: s.dataset_update(CARS, {"n": 2}),
    "patch": lambda s: s.dataset_patch(CARS, {"title": "Cars"}),
    "undo": lambda s: s.dataset_undo(CARS, "HEAD"),
    "tag": lambda s: s.tag_create(CARS, "new"),
    "rename tag": lambda s: s.tag_update(CARS, "v1", new_name="v2"),
    "remove tag": lambda s: s.tag_delete(CARS, [tag.name for tag in s.tag_list(CARS)][-1]),
    "create": lambda s: s.dataset_create(OTHER, {"n": 1}),
    "delete": lambda s: s.dataset_delete(BOATS),
    "purge": lambda s: s.dataset_purge(BOATS, force=True),
    "move": lambda s: s.dataset_move(CARS, BOATS),
}


def fill(root: Path) -> GitStorage:
    with metastore.connect(root, author=ANN, validation="off", lfs_url="https://lfs.example.org/{name}") as store:
        store.dataset_create(CARS, {"n": 0})
        store.dataset_update(CARS, {"n": 1})
        store.tag_create(CARS, "v1")
        store.dataset_create(BOATS, {})
    return GitStorage(root)


def seen(root: Path) -> Any:
    return state(GitStorage(root), ALL)


@pytest.mark.parametrize(
    ("files", "free", "fits"), [(0, 0, True), (5000, -1, True), (-1, -1, True), (5000, 100, True), (5000, 0, False)]
)
def test_a_file_system_without_a_limit_of_files_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, free: int, fits: bool
) -> None:
    """Btrfs says that it has 0 files, and CephFS that -1 are free, of those that there are."""
    fill(tmp_path / "store")
    status = list(os.statvfs(tmp_path))
    status[5:8] = files, free, free
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(status))
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        if fits:
            store.tag_delete(CARS, "v1")
            return
        with pytest.raises(StorageUnavailable, match=r"full \(free inodes: 0\)"):
            store.tag_delete(CARS, "v1")


@pytest.fixture
def full(small_disk: Path) -> Iterator[tuple[metastore.MetaStore, Path]]:
    """A store on a disk without room, and the file to remove for room."""
    fill(small_disk / "store")
    store = metastore.connect(
        small_disk / "store", author=ANN, validation="off", lfs_url="https://lfs.example.org/{name}"
    )
    yield store, fill_up(small_disk)
    store.close()


def test_on_a_full_disk_a_service_changes_nothing_and_says_so(
    full: tuple[metastore.MetaStore, Path], caplog: pytest.LogCaptureFixture
) -> None:
    (store, ballast), root = full, full[1].parent / "store"
    before = seen(root)
    with serving(store) as url, metastore.connect(url, token=TOKEN) as service:
        no_waiting(service)
        for name, write in BY_REST.items():
            with caplog.at_level(logging.ERROR, "metastore"), pytest.raises(StorageUnavailable, match="cannot be used"):
                write(service)
            assert f"the disk is full: {root}" in caplog.text
            caplog.clear()
            assert seen(root) == before, name
        ballast.unlink()
        for write in BY_REST.values():
            write(service)
    fsck(root)
    assert [damage for damage in store.verify(repair=True) if damage.kind != "left-over-file"] == []


def test_on_a_full_disk_a_history_that_is_pushed_comes_later(
    full: tuple[metastore.MetaStore, Path], tmp_path: Path
) -> None:
    (there, ballast), root = full, full[1].parent / "store"
    before = seen(root)
    here = metastore.connect("memory:", author=ANN, validation="off", lfs_url="https://lfs.example.org/{name}")
    pointer = {"path": "data.csv", "hash": "sha256:" + 64 * "0", "bytes": 3}
    here.dataset_create(OTHER, {"resources": [pointer]})
    folder = tmp_path / "clone"
    with serving(here) as url:
        git("clone", f"{url}/git/{OTHER}.git", folder)
    with serving(there) as url, metastore.connect(url, token=TOKEN) as service:
        no_waiting(service)
        remote = f"{url.replace('://', f'://_jwt:{TOKEN}@')}/git/{OTHER}.git"
        assert "503" in refused("push", remote, "main", folder=folder)
        with pytest.raises((StorageUnavailable, OutcomeUnknown)):
            copy(here.storage, service.storage)
        assert seen(root) == before
        ballast.unlink()
        git("push", remote, "main", folder=folder)
        assert copy(here.storage, service.storage).unchanged == 1
    assert list(there.revision_list(OTHER)) == list(here.revision_list(OTHER))
    assert list(there.verify()) == []


def test_on_a_full_disk_no_bundle_changes(small_disk: Path) -> None:
    with BundleRegistry(git_record(small_disk / "store", sync=True), Groups.parse(GROUPS)) as registry:
        made = registry.bundle_create(numi(), user="ann")
        ballast = fill_up(small_disk)
        with pytest.raises(StorageUnavailable, match="the disk is full"):
            registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
        assert registry.bundle_read("NuMI") == made
        ballast.unlink()
        registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
        assert [line.action for line in registry.bundle_log()] == ["update", "create"]
        assert [check.problem for check in registry.bundle_verify()] == [None]


def rooms(disk: Path, root: Path, template: Path) -> Iterator[Path]:
    """Yield a store for each small room that is left on its disk: of files, then of bytes."""
    for free in FILES:
        remount(disk, "nr_inodes=9999")
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", template, root], check=True)
        use_up_inodes(disk, free)
        yield root
    for free in BYTES:
        remount(disk, "nr_inodes=9999")
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", template, root], check=True)
        ballast = fill_up(disk)
        os.truncate(ballast, ballast.stat().st_size - 4096 * free)
        yield root
        ballast.unlink(missing_ok=True)


def adopt(root: Path) -> list[adoption.Adoption]:
    return list(adoption.adopt(GitStorage(root), change(), dry_run=False))


def repositories(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.glob("*/*.git")}


def test_a_repository_gets_its_id_or_keeps_its_name_while_the_disk_fills_up(small_disk: Path, tmp_path: Path) -> None:
    template, failed = tmp_path / "template", 0
    fill(template)
    (template / "Other").mkdir()
    for name in ("Cars", "Boats"):
        git("clone", "--quiet", "--bare", template / f"{CARS}.git", template / f"Other/{name}.git")
    for root in rooms(small_disk, small_disk / "store", template):
        problems = [line.problem for line in adopt(root) if line.problem]
        failed += bool(problems)
        assert all("the disk is full" in each for each in problems)
        for name in ("Cars", "Boats"):
            assert (root / f"other/{name.lower()}.git").exists() or (root / f"Other/{name}.git/HEAD").exists()
        made_room(small_disk)
        assert [line.problem for line in adopt(root) if line.problem] == []
        names = {f"{each}.git" for each in (CARS, BOATS, "other/cars", "other/boats")}
        assert names <= repositories(root)
        store = metastore.connect(root)
        assert sorted(str(line.dataset_id) for line in lines_that_stand(store)) == ["other/boats", "other/cars"]
        assert [damage for damage in store.verify(repair=True) if damage.kind != "left-over-file"] == []
        fsck(root)
    assert failed > 3


def made_room(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)
    remount(disk, "nr_inodes=9999")


def lines_that_stand(store: metastore.Store) -> list[metastore.JournalEntry]:
    lines = list(store.journal())
    withdrawn = {line.details.get("entry") for line in lines if line.action == "withdrawn"}
    return [line for line in lines if line.action != "withdrawn" and line.id not in withdrawn]


def test_what_repair_has_no_room_for_it_mends_later(small_disk: Path, tmp_path: Path) -> None:
    template, failed = tmp_path / "template", 0
    storage = fill(template)
    storage.compact(ALL[0])
    (index,) = (template / f"{CARS}.git").glob("objects/pack/*.idx")
    index.unlink()
    age(index.with_suffix(".pack"))
    before = seen(template)
    index.unlink()
    for root in rooms(small_disk, small_disk / "store", template):
        damages = list(GitStorage(root).verify(repair=True))
        failed += not all(damage.repaired for damage in damages)
        made_room(small_disk)
        list(GitStorage(root).verify(repair=True))
        assert list(GitStorage(root).verify()) == []
        assert seen(root) == before
        fsck(root)
    assert failed > 1


@pytest.mark.parametrize("write", ["move", "purge", "rename tag", "remove tag"])
def test_no_line_of_the_journal_tells_of_a_change_for_which_there_was_no_room(
    write: str, small_disk: Path, tmp_path: Path
) -> None:
    """The line of a purge that was not made would later let a backup drop the dataset."""
    template, failed = tmp_path / "template", 0
    fill(template)
    with metastore.connect(template, author=ANN) as store:  # which makes a journal
        store.tag_create(BOATS, "v1")
        store.tag_delete(BOATS, "v1")
        before = seen(template)
    for root in rooms(small_disk, small_disk / "store", template):
        with metastore.connect(root, author=ANN) as store:
            try:
                BY_REST[write](store)
            except StorageUnavailable:
                failed += 1
                assert seen(root) == before
                assert len(lines_that_stand(store)) == 1
            else:
                assert len(lines_that_stand(store)) == 2
    assert failed > 3
