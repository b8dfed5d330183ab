"""A backup is a store: it has what the original has, whenever it was taken and however it ended."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import DatasetMoved, DatasetNotFound, InvalidInput, StorageCorrupt, StorageUnavailable
from metastore.files import locks
from metastore.git.reachable import reachable
from metastore.git.repository import Repository
from metastore.storage.local import _copying, _object_files
from metastore.storage.local._backup_run import BackupRun
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, JournalEntry, RevisionId

from .conftest import ANN, EPOCH, real_descriptor, ticking
from .harness.faults import cut_off_at
from .processes import SOAK
from .test_packing import let_age

CARS, BOATS, OLD = "physics/cars", "physics/boats", "physics/old"


def connect(folder: Path) -> metastore.MetaStore:
    return metastore.connect(folder, author=ANN, clock=ticking(), sync=False)


def git_storage(store: metastore.MetaStore) -> GitStorage:
    assert isinstance(store.storage, GitStorage)
    return store.storage


def fill(store: metastore.MetaStore) -> None:
    """Make something of everything: revisions, tags, a deleted, a moved and a purged dataset."""
    first = store.dataset_create(CARS, real_descriptor())
    store.tag_create(CARS, "v1", first.revision.id, description="One")
    store.dataset_patch(CARS, {"title": "Cars"})
    store.tag_create(CARS, "v2")
    store.dataset_create(BOATS, real_descriptor())
    store.dataset_move(BOATS, "navy/boats")
    store.dataset_create("physics/deleted", real_descriptor())
    store.dataset_delete("physics/deleted")
    store.dataset_create(OLD, real_descriptor())
    store.dataset_purge(OLD, force=True)


def change_everything(store: metastore.MetaStore) -> None:
    """Go on from `fill`, so that every kind of change has to be followed."""
    git_storage(store).compact(DatasetId("physics", "cars"))
    store.dataset_patch(CARS, {"title": "More cars"})
    store.tag_update(CARS, "v1", new_name="v1.1")
    store.tag_delete(CARS, "v2")
    store.dataset_move("navy/boats", "army/boats")
    store.dataset_purge("physics/deleted")
    store.dataset_create("physics/deleted", {"name": "another", "resources": []})
    store.dataset_create(OLD, {"name": "old", "resources": []})


def contents(store: metastore.MetaStore) -> dict[str, Any]:
    """Return all that the storage's calls tell about a store."""
    storage = git_storage(store)
    found: dict[str, Any] = {"journal": list(store.journal())}
    for dataset_id in storage.ids(deleted=None):
        head = storage.resolve(dataset_id, None)
        found[str(dataset_id)] = (
            list(storage.tags(dataset_id)),
            [
                (revision, {path: storage.read(dataset_id, revision.id, path) for path in paths})
                for revision in storage.history(dataset_id, head.id)
                if (paths := storage.paths(dataset_id, revision.id))
            ],
        )
    for text in (CARS, BOATS, OLD, "navy/boats", "physics/deleted"):
        try:
            store.dataset_read(text)
        except DatasetNotFound as error:
            found[f"read {text}"] = str(error)
    return found


def contents_of(folder: Path, *, left_over: bool = False) -> dict[str, Any]:
    with connect(folder) as store:
        assert [damage for damage in store.verify() if not (left_over and damage.kind.startswith("left-over"))] == []
        return contents(store)


def fsck(folder: Path) -> None:
    for path in folder.glob("*/*.git"):
        done = subprocess.run(["git", "-C", path, "fsck", "--strict", "--full"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file, but for the locks, which are empty and made when they are first taken."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def store(git_store: metastore.MetaStore) -> metastore.MetaStore:
    fill(git_store)
    return git_store


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_a_backup_tells_what_the_original_tells(store: metastore.MetaStore, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = backup(git_storage(store), target, progress=lambda done, total: seen.append((done, total)))
    assert contents_of(target) == contents(store)
    fsck(target)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (report.datasets, report.unchanged, report.removed, report.kept) == (3, 0, (), ())
    assert report.datasets == len(list(store.dataset_list(deleted=None)))
    objects = list(target.glob("*/*.git/objects/*/*"))
    assert (report.copied, report.bytes) == (len(objects), sum(path.stat().st_size for path in objects))


def test_a_restored_backup_tells_what_the_original_tells(store: metastore.MetaStore, tmp_path: Path) -> None:
    backup(git_storage(store), tmp_path / "backup")
    report = restore(tmp_path / "backup", tmp_path / "restored")
    assert report.datasets == 3
    assert contents_of(tmp_path / "restored") == contents(store)
    with connect(tmp_path / "restored") as restored, pytest.raises(DatasetMoved) as caught:
        restored.dataset_read(BOATS)
    assert str(caught.value.new_id) == "navy/boats"


def test_a_restored_store_is_written_to_like_any_other(store: metastore.MetaStore, tmp_path: Path) -> None:
    backup(git_storage(store), tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    with connect(tmp_path / "restored") as restored:
        change_everything(restored)
        assert restored.dataset_read(CARS).descriptor["title"] == "More cars"
        assert [tag.name for tag in restored.tag_list(CARS)] == ["v1.1"]
        assert list(restored.verify()) == []
    fsck(tmp_path / "restored")
    backup(GitStorage(tmp_path / "restored"), tmp_path / "second")
    assert contents_of(tmp_path / "second") == contents_of(tmp_path / "restored")


def test_a_second_run_without_changes_copies_nothing(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    before = files(target)
    report = backup(git_storage(store), target)
    assert (report.copied, report.bytes, report.unchanged) == (0, 0, report.datasets)
    assert files(target) == before


def test_a_first_run_asks_the_system_little_about_each_dataset(
    git_store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside `cp -a`, these calls are what a backup takes longer for."""
    for number in range(40):
        git_store.dataset_create(f"physics/c{number}", {"name": "cars", "resources": []})
    calls: list[str] = []
    for name in ("open", "stat", "mkdir"):
        monkeypatch.setattr(os, name, noting(calls, name))
    backup(git_storage(git_store), target)
    assert len(calls) / 40 < 45


def noting(calls: list[str], name: str) -> Callable[..., Any]:
    real = getattr(os, name)
    return lambda *arguments, **named: (calls.append(name), real(*arguments, **named))[1]


def test_a_second_run_copies_only_what_is_new(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    store.dataset_patch(CARS, {"title": "Newer"})
    report = backup(git_storage(store), target)
    assert (report.copied, report.unchanged) == (3, report.datasets - 1)  # commit, tree and descriptor
    assert contents_of(target) == contents(store)


def test_a_backup_follows_every_kind_of_change(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    change_everything(store)
    report = backup(git_storage(store), target)
    assert contents_of(target) == contents(store)
    fsck(target)
    assert report.removed == (DatasetId("navy", "boats"),)
    assert report.kept == ()


@pytest.mark.parametrize("pack", ["compact", "pack_loose"])
def test_packs_replace_what_they_hold_in_the_backup_too(store: metastore.MetaStore, target: Path, pack: str) -> None:
    cars = DatasetId("physics", "cars")
    backup(git_storage(store), target)
    for title in ("a", "b"):
        store.dataset_patch(CARS, {"title": title})
        let_age(git_storage(store).layout.path(cars))
        getattr(git_storage(store), pack)(cars)
        backup(git_storage(store), target)
    for root in (target, Path(git_storage(store).layout.root)):
        held = {path.name for path in root.glob("physics/cars.git/objects/*/*")}
        assert len(held) == (2 if pack == "compact" else 4)
    assert contents_of(target) == contents(store)
    fsck(target)


def test_a_purged_dataset_is_gone_from_the_backup(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    store.dataset_purge(CARS, force=True)
    assert backup(git_storage(store), target).removed == (DatasetId("physics", "cars"),)
    assert not (target / "physics/cars.git").exists()
    assert contents_of(target) == contents(store)


def test_nothing_of_a_purged_dataset_stays_when_its_id_is_taken_again(store: metastore.MetaStore, target: Path) -> None:
    old = store.revision_read(CARS)
    backup(git_storage(store), target)
    store.dataset_purge(CARS, force=True)
    store.dataset_create(CARS, {"name": "cars", "resources": []})
    backup(git_storage(store), target)
    assert contents_of(target) == contents(store)
    assert not list(target.glob(f"physics/cars.git/objects/{old.id[:2]}/{old.id[2:]}"))


def test_datasets_that_changed_places_are_followed(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    store.dataset_move(CARS, "a/a")
    store.dataset_move("navy/boats", CARS)
    store.dataset_move("a/a", "navy/boats")
    report = backup(git_storage(store), target)
    assert (report.lost, report.kept) == ((), ())
    assert contents_of(target) == contents(store)


def test_a_dataset_that_made_room_for_another_one_is_not_lost(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    store.dataset_move(CARS, "zoo/cars")
    store.dataset_create(CARS, {"name": "cars", "resources": []})
    report = backup(git_storage(store), target)
    assert (report.lost, report.kept) == ((), ())
    assert contents_of(target) == contents(store)
    shutil.rmtree(path_of(store, CARS))
    assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)
    before = store.revision_read("zoo/cars").id
    brought_back(target, store, CARS)
    assert store.dataset_read(CARS).descriptor == {"name": "cars", "resources": []}
    assert store.revision_read("zoo/cars").id == before


def test_a_dataset_that_vanished_is_kept_and_reported(
    store: metastore.MetaStore, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup(git_storage(store), target)
    before = contents_of(target)
    shutil.rmtree(git_storage(store).layout.path(DatasetId("physics", "cars")))
    report = backup(git_storage(store), target)
    assert (report.kept, report.removed) == ((DatasetId("physics", "cars"),), ())
    assert contents_of(target) == before
    assert "neither moved nor purged" in caplog.text


def test_a_generation_of_a_backup_that_is_kept_by_hard_links_stays_as_it_is(
    store: metastore.MetaStore, target: Path, tmp_path: Path
) -> None:
    backup(git_storage(store), target)
    generation, then = tmp_path / "yesterday", contents(store)
    subprocess.run(["cp", "-al", target, generation], check=True)
    change_everything(store)
    backup(git_storage(store), target)
    assert backup(git_storage(store), target, check=True).mended == 0
    assert contents_of(generation) == then
    restore(generation, tmp_path / "restored")
    assert contents_of(tmp_path / "restored") == then
    assert contents_of(target) == contents(store)


def test_another_store_is_not_backed_up_onto_a_backup(tmp_path: Path, store: metastore.MetaStore) -> None:
    backup(git_storage(store), tmp_path / "backup")
    for other in (GitStorage(tmp_path / "empty"), git_storage(connect(tmp_path / "other"))):
        with pytest.raises(InvalidInput, match="is another store, or a backup of one"):
            backup(other, tmp_path / "backup")
    assert contents_of(tmp_path / "backup") == contents(store)


def damage_head(path: Path) -> None:
    (path / "refs/heads/main").write_bytes(b"")


def damage_branch_name(path: Path) -> None:
    (path / "HEAD").write_bytes(b"\0" * 20)


def lose_the_head_commit(path: Path) -> None:
    head = (path / "refs/heads/main").read_text().strip()
    (path / "objects" / head[:2] / head[2:]).unlink()


def cut_objects_short(path: Path) -> None:
    for file in path.glob("objects/??/*"):
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [damage_head, damage_branch_name, lose_the_head_commit, cut_objects_short])
def test_damage_never_replaces_what_the_backup_has(
    store: metastore.MetaStore, target: Path, damage: Callable[[Path], None]
) -> None:
    backup(git_storage(store), target)
    before = contents_of(target)
    damage(Path(git_storage(store).layout.path(DatasetId("physics", "cars"))))
    store.dataset_create("zoo/new", {"name": "new", "resources": []})
    report = backup(git_storage(store), target)
    assert report.kept == (DatasetId("physics", "cars"),)
    after = contents_of(target)
    assert after.pop("zoo/new")
    assert after == before


def test_what_the_backup_alone_has_is_looked_for_in_a_history_once(
    store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reference of the store needs it, as a walk through the history tells."""
    path = path_of(store, CARS)
    stray = subprocess.run(
        ["git", "-C", path, "hash-object", "-w", "--stdin"], input="stray", capture_output=True, text=True, check=True
    ).stdout.strip()
    backup(git_storage(store), target)
    (path / "objects" / stray[:2] / stray[2:]).unlink()
    walks: list[Repository] = []

    def walk(copy: Repository, starts: Iterable[str]) -> dict[str, None]:
        walks.append(copy)
        return reachable(copy, starts)

    monkeypatch.setattr(_copying, "reachable", walk)
    reports = [backup(git_storage(store), target) for _ in range(3)]
    assert [report.kept for report in reports] == [()] * 3
    assert len(walks) == 1
    store.dataset_patch(CARS, {"title": "Newer"})
    assert backup(git_storage(store), target).kept == ()
    assert len(walks) == 2
    first = list(store.revision_list(CARS))[-1].id
    (path / "objects" / first[:2] / first[2:]).unlink()
    for _ in range(2):
        assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)


def test_lost_objects_are_kept_in_the_backup(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    before = contents_of(target)
    first = list(store.revision_list(CARS))[-1].id
    Path(git_storage(store).layout.path(DatasetId("physics", "cars")), "objects", first[:2], first[2:]).unlink()
    assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)
    assert contents_of(target) == before


@pytest.mark.parametrize("damage", [damage_branch_name, cut_objects_short, lambda path: (path / "config").unlink()])
def test_a_damaged_backup_is_mended_by_the_next(
    store: metastore.MetaStore, target: Path, damage: Callable[[Path], None]
) -> None:
    backup(git_storage(store), target)
    damage(target / "physics/cars.git")
    assert backup(git_storage(store), target).kept == ()
    assert contents_of(target) == contents(store)
    fsck(target)


def test_a_store_as_its_predecessor_left_it_is_backed_up(tmp_path: Path) -> None:
    def git(*arguments: str | Path) -> None:
        subprocess.run(["git", "-C", tmp_path / "work", *arguments], check=True, capture_output=True)

    (tmp_path / "work").mkdir()
    git("init", "-b", "master")
    git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--allow-empty", "-m", "One")
    git("-c", "user.name=A", "-c", "user.email=a@b.c", "tag", "-a", "v1", "-m", "One")
    git("branch", "topic/x")
    git("clone", "--mirror", ".", tmp_path / "store/physics/cars.git")
    git("-C", tmp_path / "store/physics/cars.git", "gc")
    storage = GitStorage(tmp_path / "store")
    backup(storage, tmp_path / "backup")
    for command in ("show-ref", "symbolic-ref HEAD"):
        told = {
            subprocess.check_output(["git", "-C", tmp_path / root / "physics/cars.git", *command.split()])
            for root in ("store", "backup")
        }
        assert len(told) == 1
    fsck(tmp_path / "backup")


def test_another_branch_in_head_is_followed(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    path = Path(git_storage(store).layout.path(DatasetId("physics", "cars")))
    (path / "refs/heads/main").rename(path / "refs/heads/trunk")
    (path / "HEAD").write_text("ref: refs/heads/trunk\n")
    backup(git_storage(store), target)
    assert contents_of(target) == contents(store)
    assert (target / "physics/cars.git/packed-refs").read_text().count("refs/heads/") == 1


def test_backups_taken_while_four_write_are_whole(tmp_path: Path) -> None:
    acknowledged: dict[str, set[str]] = {f"owner/d{number}": set() for number in range(4)}
    stop, errors = threading.Event(), []

    def write(number: int) -> None:
        name = f"owner/d{number}"
        try:
            with connect(tmp_path / "store") as store:
                acknowledged[name].add(store.dataset_create(name, {"name": "d", "resources": []}).revision.id)
                while not stop.is_set():
                    count = len(acknowledged[name])
                    acknowledged[name].add(store.dataset_patch(name, {"title": f"{count}"}).revision.id)
                    if count % 10 == 0:
                        git_storage(store).compact(DatasetId("owner", f"d{number}"))
                    elif count % 5 == 0:
                        git_storage(store).pack_loose(DatasetId("owner", f"d{number}"))
                    store.tag_create(name, f"t{count}")
                    stop.wait(0.05)
                    store.dataset_create(f"moving/m{number}-{count}", {"name": "d", "resources": []})
                    store.dataset_move(f"moving/m{number}-{count}", f"aside/m{number}-{count}")
                    store.dataset_purge(f"aside/m{number}-{count}", force=True)
        except Exception as error:
            errors.append(error)

    connect(tmp_path / "store").close()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    heads: list[tuple[str, str]] = []
    try:
        with connect(tmp_path / "store") as source:
            for _ in range(3):
                report = backup(git_storage(source), tmp_path / "backup")
                assert report.kept == ()
                fsck(tmp_path / "backup")
                with connect(tmp_path / "backup") as copy:
                    assert list(copy.verify()) == []
                    heads += [(str(each), copy.revision_read(each).id) for each in copy.dataset_list(prefix="owner/")]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert errors == []
    assert all(head in acknowledged[name] for name, head in heads)
    with connect(tmp_path / "store") as source:
        backup(git_storage(source), tmp_path / "backup")
        assert contents_of(tmp_path / "backup") == contents(source)


def test_a_dataset_that_moves_behind_the_backups_back_is_not_missed(store: metastore.MetaStore, target: Path) -> None:
    moved = []

    def move(done: int, total: int) -> None:
        if not moved:
            moved.append(store.dataset_move(CARS, "a/cars"))

    backup(git_storage(store), target, progress=move)
    assert contents_of(target) == contents(store)
    moved.clear()
    store.dataset_move("a/cars", CARS)
    backup(git_storage(store), target, progress=move)
    with connect(target) as copy:
        assert copy.dataset_read("a/cars").descriptor == store.dataset_read("a/cars").descriptor
    backup(git_storage(store), target)
    assert contents_of(target) == contents(store)


def dying_at(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> bool:
    """Run something in a child that is killed before its n-th change of a name; tell whether it came to its end."""
    if not (child := os.fork()):
        left = [step]
        for name in ("rename", "replace", "unlink", "rmdir"):
            real = getattr(os, name)

            def dying(*arguments: Any, real: Callable[..., None] = real, **options: Any) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(7)
                real(*arguments, **options)

            monkeypatch.setattr(os, name, dying)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_backup_killed_anywhere_is_whole_and_the_next_makes_it_good(
    store: metastore.MetaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    backup(git_storage(store), tmp_path / "older")
    before = contents(store)
    change_everything(store)
    after = contents(store)
    for step in range(0, 1000, 1 if SOAK else 5):
        target = tmp_path / f"backup{step}"
        shutil.copytree(tmp_path / "older", target)
        ended = dying_at(monkeypatch, step, lambda to=target: backup(git_storage(store), to))
        for name, told in contents_of(target, left_over=True).items():
            if name.count("/") == 1 and " " not in name:
                assert told in (before.get(name), after.get(name)), (step, name)
        backup(git_storage(store), target)
        assert contents_of(target) == after
        assert not (target / "_metastore/tmp/backup").exists()
        shutil.rmtree(target)
        if ended:
            break
    assert step > 30


def test_a_first_backup_killed_anywhere_has_whole_datasets_only(
    store: metastore.MetaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    after = contents(store)
    for step in range(1000):
        target = tmp_path / f"backup{step}"
        ended = dying_at(monkeypatch, step, lambda to=target: backup(git_storage(store), to))
        for name, told in contents_of(target, left_over=True).items():
            if name.count("/") == 1 and " " not in name:
                assert told == after[name]
        backup(git_storage(store), target)
        assert contents_of(target) == after
        shutil.rmtree(target)
        if ended:
            break
    assert step > 6


@pytest.mark.parametrize("name", ["packed-refs", "HEAD", "config", "refs/heads/main"])
def test_locks_that_a_killed_backup_left_are_removed_by_the_next(
    name: str, store: metastore.MetaStore, target: Path
) -> None:
    backup(git_storage(store), target)
    (target / f"physics/cars.git/{name}").parent.mkdir(exist_ok=True)
    (target / f"physics/cars.git/{name}.lock").symlink_to("metastore")
    (target / f"physics/cars.git/{name}..lock").write_bytes(b"half of so")
    assert backup(git_storage(store), target).unchanged == 3
    assert contents_of(target) == contents(store)


def test_files_that_a_killed_backup_left_are_removed_by_the_next(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    for name in ("half-a-note", "a-folder/x"):
        (left := target / "_metastore/tmp" / name).parent.mkdir(exist_ok=True)
        left.write_bytes(b"half of so")
    for path in (target / "_metastore/tmp").iterdir():
        os.utime(path, (1, 1))
    backup(git_storage(store), target)
    assert contents_of(target) == contents(store)


@pytest.mark.parametrize("repair", [False, True])
def test_verify_leaves_the_folder_of_a_backup_at_work_alone(
    repair: bool, store: metastore.MetaStore, target: Path
) -> None:
    found = []

    def verify(done: int, total: int) -> None:
        os.utime(target / "_metastore/tmp/backup", (1, 1))
        found.extend(git_storage(connect(target)).verify(repair=repair))

    backup(git_storage(store), target, progress=verify)
    assert found == []
    assert contents_of(target) == contents(store)


def test_verify_removes_the_folder_of_a_backup_that_was_killed(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    (left := target / "_metastore/tmp/backup").mkdir()
    os.utime(left, (1, 1))
    assert [damage.repaired for damage in git_storage(connect(target)).verify(repair=True)] == [True]
    assert not left.exists()


def test_a_restore_that_was_killed_anywhere_is_no_store(git_store: metastore.MetaStore, tmp_path: Path) -> None:
    """Not even one with nothing in it, which would pass for the store: the two have the same identity."""
    git_store.dataset_create(CARS, {"name": "cars", "resources": []})
    backup(git_storage(git_store), tmp_path / "backup")
    target = tmp_path / "restored"
    for step in range(1000):
        cut_off = cut_off_at(step, lambda: restore(tmp_path / "backup", target))
        mark, words = target / "metastore.json", "holds an unfinished restore: remove it, and restore again"
        if mark.exists() and "unfinished" not in mark.read_text():
            assert contents_of(target) == contents(git_store)
            words = "is not empty"
        else:
            assert cut_off
            with pytest.raises(StorageUnavailable, match=r"there is no store|holds an unfinished restore: remove it"):
                metastore.connect(target, create=False)
        if not cut_off:
            break
        if target.exists() and os.listdir(target):
            with pytest.raises(StorageUnavailable, match=words):
                restore(tmp_path / "backup", target)
        shutil.rmtree(target, ignore_errors=True)
    assert step > 20


def test_a_full_disk_is_said_so_and_changes_nothing(
    store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(git_storage(store), target)
    before = contents_of(target)
    store.dataset_patch(CARS, {"title": "Newer"})
    for name in ("os.replace", "os.write", "os.fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(name, fail_with(errno.ENOSPC))
            with pytest.raises(StorageUnavailable, match="the disk is full"):
                backup(git_storage(store), target)
        assert contents_of(target) == before
        assert not (target / "_metastore/tmp/backup").exists()
    backup(git_storage(store), target)
    assert contents_of(target) == contents(store)


def fail_with(number: int) -> Callable[..., None]:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_damaged_backup_is_restored_as_far_as_it_goes_and_said_so(store: metastore.MetaStore, tmp_path: Path) -> None:
    backup(git_storage(store), tmp_path / "backup")
    blob = next((tmp_path / "backup/physics/cars.git/objects").glob("??/*"))
    blob.unlink()
    with pytest.raises(StorageCorrupt, match="physics/cars"):
        restore(tmp_path / "backup", tmp_path / "restored")
    with connect(tmp_path / "restored") as restored:
        assert restored.dataset_read("navy/boats")


def test_a_backup_on_a_read_only_disk_is_restored(
    store: metastore.MetaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(git_storage(store), tmp_path / "backup")
    shutil.rmtree(tmp_path / "backup/_metastore/locks", ignore_errors=True)
    (tmp_path / "backup/_metastore/backup.lock").unlink()
    real = locks._open_lock

    def opened(path: str) -> int:
        if path.startswith(f"{tmp_path}/backup/") and not os.path.exists(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path)

    monkeypatch.setattr(locks, "_open_lock", opened)
    before = files(tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert files(tmp_path / "backup") == before
    assert contents_of(tmp_path / "restored") == contents(store)


def test_a_store_and_its_backup_are_never_inside_each_other(store: metastore.MetaStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    for inside in ("store", "store/backup", ".", "link/backup"):
        with pytest.raises(InvalidInput, match="inside each other"):
            backup(git_storage(store), tmp_path / inside)
        with pytest.raises(InvalidInput, match="inside each other"):
            restore(tmp_path / "store", tmp_path / inside)


def test_only_a_store_is_a_target_and_only_a_backup_a_source(store: metastore.MetaStore, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(StorageUnavailable, match="not a store"):
        backup(git_storage(store), tmp_path / "full")
    for target in ("full", "full/notes.txt"):
        with pytest.raises(StorageUnavailable, match="not empty"):
            restore(tmp_path / "store", tmp_path / target)
    with pytest.raises(StorageUnavailable, match="there is no store"):
        restore(tmp_path / "nothing", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    assert not (tmp_path / "nothing").exists()


def test_a_file_in_the_place_of_a_copy_is_named(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    shutil.rmtree(target / "physics/cars.git")
    (target / "physics/cars.git").touch()
    with pytest.raises(StorageUnavailable, match=r"backup/physics/cars\.git is not a folder: move it"):
        backup(git_storage(store), target)


def test_a_copy_that_is_a_link_does_not_stop_the_backup_of_a_purge(
    store: metastore.MetaStore, target: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup(git_storage(store), target)
    (target / "physics/cars.git").rename(tmp_path / "elsewhere")
    (target / "physics/cars.git").symlink_to(tmp_path / "elsewhere")
    store.dataset_purge(CARS, force=True)
    assert backup(git_storage(store), target).removed == (DatasetId("physics", "cars"),)
    assert f"remove {tmp_path / 'elsewhere'} by hand" in caplog.text


def test_a_reference_that_git_passes_over_is_no_part_of_the_backup(store: metastore.MetaStore, target: Path) -> None:
    """Written into the `packed-refs` of the copy, its name would make all references unreadable there."""
    tags = path_of(store, CARS) / "refs/tags"
    for name in ("a b", ".DS_Store"):
        shutil.copy(tags / "v1", tags / name)
    (tags / ".DS_Store").write_bytes(b"\0")
    backup(git_storage(store), target)
    with connect(target) as copy:
        assert list(copy.verify()) == []
        assert [tag.name for tag in copy.tag_list(CARS)] == ["v1", "v2"]


# What the source lost


def path_of(store: metastore.MetaStore, name: str) -> Path:
    return Path(git_storage(store).layout.path(DatasetId(*name.split("/"))))


def test_a_dataset_that_was_removed_by_accident_and_created_again_is_kept_beside_the_new_one(
    store: metastore.MetaStore, target: Path
) -> None:
    old = store.revision_read(CARS)
    tags = {tag.id for tag in store.tag_list(CARS)}
    backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    new = store.dataset_create(CARS, {"name": "cars", "resources": []}).revision
    report = backup(git_storage(store), target)
    assert {(str(lost.dataset), lost.reference) for lost in report.lost} == {
        (CARS, "refs/heads/main"),
        (CARS, "refs/tags/v1"),
        (CARS, "refs/tags/v2"),
    }
    assert {lost.held for lost in report.lost} == {old.id, *tags}
    assert backup(git_storage(store), target).lost == ()
    with connect(target) as copy:
        assert copy.revision_read(CARS) == new
        assert list(copy.verify()) == []
    kept = subprocess.check_output(
        ["git", "-C", target / "physics/cars.git", "rev-list", f"refs/kept/heads/main/{old.id}"], text=True
    )
    assert old.id in kept.split()
    fsck(target)


def test_a_tag_that_is_gone_without_a_line_in_the_journal_is_kept(store: metastore.MetaStore, target: Path) -> None:
    v1 = store.tag_read(CARS, "v1")
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/tags/v1").unlink()
    store.tag_delete(CARS, "v2")
    (lost,) = backup(git_storage(store), target).lost
    assert (lost.reference, lost.held) == ("refs/tags/v1", v1.id)
    assert "refs/tags/v1" in str(lost)


def test_a_tag_that_was_deleted_and_made_again_before_it_was_lost_is_kept(
    store: metastore.MetaStore, target: Path
) -> None:
    store.tag_delete(CARS, "v2")
    again = store.tag_create(CARS, "v2", description="Again, at the same revision")
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/tags/v2").unlink()
    (lost,) = backup(git_storage(store), target).lost
    assert (lost.reference, lost.held) == ("refs/tags/v2", again.id)


def test_a_branch_that_was_set_back_is_kept(store: metastore.MetaStore, target: Path) -> None:
    newest, older, *_ = [revision.id for revision in store.revision_list(CARS)]
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/heads/main").write_text(f"{older}\n")
    (lost,) = backup(git_storage(store), target).lost
    assert (lost.reference, lost.held) == ("refs/heads/main", newest)
    report = backup(git_storage(store), target)
    assert (report.lost, report.kept, report.unchanged) == ((), (), report.datasets)


def test_a_tag_that_was_changed_by_a_call_is_not_kept(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    store.tag_update(CARS, "v1", description="Better")
    store.tag_update(CARS, "v2", new_name="v3")
    assert backup(git_storage(store), target).lost == ()
    assert contents_of(target) == contents(store)


def test_a_purge_that_failed_removes_nothing_from_the_backup(
    store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(git_storage(store), target)
    with monkeypatch.context() as patched:
        patched.setattr(git_storage(store).layout, "_rename", fail_with(errno.EIO))
        with pytest.raises(StorageUnavailable):
            store.dataset_purge(CARS, force=True)
    assert git_storage(store).notes.read(DatasetId("physics", "cars")) is None
    shutil.rmtree(path_of(store, CARS))
    assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)
    assert (target / "physics/cars.git").is_dir()


def test_a_move_that_failed_leaves_no_note(store: metastore.MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(git_storage(store).layout, "_rename", fail_with(errno.EIO))
        with pytest.raises(StorageUnavailable):
            store.dataset_move(CARS, "physics/trains")
    assert git_storage(store).notes.read(DatasetId("physics", "cars")) is None


@pytest.mark.parametrize("action", ["purge", "move", "tag_delete"])
def test_a_line_that_was_copied_from_another_journal_accounts_for_no_loss(
    store: metastore.MetaStore, target: Path, action: str
) -> None:
    backup(git_storage(store), target)
    head, tag = store.revision_read(CARS), store.tag_list(CARS)[0]
    details = {
        "purge": {"revision": head.id},
        "move": {"new_id": "physics/gone", "revision": head.id},
        "tag_delete": {"tag": tag.name, "tag_id": tag.id},
    }
    elsewhere = RevisionId("a" * 40)
    lines = [JournalEntry(elsewhere, action, DatasetId(*CARS.split("/")), details[action], ANN, "Elsewhere", EPOCH)]
    if action == "move":
        purge = ("purge", DatasetId("physics", "gone"), {"revision": head.id})
        lines.append(JournalEntry(RevisionId("b" * 40), *purge, ANN, "Elsewhere", EPOCH))
    assert store.journal_import(lines) == len(lines)
    repository = Path(git_storage(store).layout.path(DatasetId(*CARS.split("/"))))
    if action == "tag_delete":
        subprocess.run(["git", "-C", repository, "tag", "-d", tag.name], check=True, capture_output=True)
    else:
        shutil.rmtree(repository)
    report = backup(git_storage(store), target)
    assert (len(report.lost) + len(report.kept), report.removed) == (1, ())
    kept = target / f"{CARS}.git"
    names = subprocess.run(["git", "-C", kept, "for-each-ref"], check=True, capture_output=True, text=True).stdout
    assert tag.id in names
    assert head.id in names


def test_an_earlier_purge_at_an_id_does_not_account_for_a_later_loss(store: metastore.MetaStore, target: Path) -> None:
    store.dataset_purge(CARS, force=True)
    store.dataset_create(CARS, {"name": "cars", "resources": []})
    backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_an_earlier_purge_does_not_account_for_what_a_killed_run_had_copied(
    store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch, *, first: bool, again: bool
) -> None:
    if not first:
        backup(git_storage(store), target)
    store.dataset_purge(CARS, force=True)
    new = store.dataset_create(CARS, {"name": "cars", "resources": []}).revision
    with monkeypatch.context() as patched:
        patched.setattr(BackupRun, "_copy_notes", interrupted)  # behind the datasets, and before the journal
        with pytest.raises(KeyboardInterrupt):
            backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    if again:
        store.dataset_create(CARS, {"name": "cars", "resources": [], "title": "Again"})
    report = backup(git_storage(store), target)
    assert (report.removed, report.kept) == ((), () if again else (DatasetId("physics", "cars"),))
    assert {lost.held for lost in report.lost} == ({new.id} if again else set())


def interrupted(run: BackupRun) -> None:
    raise KeyboardInterrupt


def test_a_dataset_that_changed_was_moved_and_purged_between_two_runs_is_removed(
    store: metastore.MetaStore, target: Path
) -> None:
    backup(git_storage(store), target)
    store.dataset_patch(CARS, {"title": "Newer"})
    store.dataset_move(CARS, "physics/trains")
    store.dataset_purge("physics/trains", force=True)
    report = backup(git_storage(store), target)
    assert (report.removed, report.kept) == ((DatasetId("physics", "cars"),), ())


@pytest.mark.parametrize("packed", [False, True])
def test_a_check_finds_and_mends_bit_rot_in_the_backup(
    store: metastore.MetaStore, target: Path, *, packed: bool
) -> None:
    if packed:
        git_storage(store).compact(DatasetId("physics", "cars"))
    backup(git_storage(store), target)
    damaged = sorted(path for path in (target / "physics/cars.git/objects").glob("*/*") if path.suffix != ".idx")[:2]
    for path in damaged:
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert backup(git_storage(store), target).unchanged == 3
    report = backup(git_storage(store), target, check=True)
    assert (report.mended, report.kept) == (len(damaged), ())
    assert contents_of(target) == contents(store)
    assert backup(git_storage(store), target, check=True).mended == 0


def test_a_full_target_is_named(store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(git_storage(store), target)
    store.dataset_patch(CARS, {"title": "Newer"})
    monkeypatch.setattr(os, "write", fail_with(errno.ENOSPC))
    with pytest.raises(StorageUnavailable, match=f"the disk is full: {target}"):
        backup(git_storage(store), target)


def test_a_restored_store_is_backed_up_onto_the_backup_that_it_came_from(
    store: metastore.MetaStore, tmp_path: Path
) -> None:
    backup(git_storage(store), tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    report = backup(GitStorage(tmp_path / "restored"), tmp_path / "backup")
    assert (report.unchanged, report.kept, report.lost) == (3, (), ())


def unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk fail to read what is below a path."""
    real = _object_files._read

    def read(descriptor: int, name: str) -> bytes:
        if name.startswith(f"{path}/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        return real(descriptor, name)

    monkeypatch.setattr(_object_files, "_read", read)


DAMAGES: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "objects are gone": lambda path, _: shutil.rmtree(path / "objects"),
    "all is gone but the folder": lambda path, _: (shutil.rmtree(path), path.mkdir()),
    "references are gone": lambda path, _: shutil.rmtree(path / "refs"),
    "a folder for HEAD": lambda path, _: ((path / "HEAD").unlink(), (path / "HEAD").mkdir()),
    "the disk fails": unreadable,
}


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_one_repository_that_cannot_be_copied_stops_no_other(
    damage: str, known: bool, store: metastore.MetaStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if known:
        backup(git_storage(store), target)
        before = contents_of(target)[CARS]
    store.dataset_patch(CARS, {"title": "Newest"})
    store.dataset_create("physics/zebras", {"name": "zebras", "resources": []})
    DAMAGES[damage](path_of(store, CARS), monkeypatch)
    assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)
    with metastore.connect(target) as copy:
        assert copy.dataset_read("physics/zebras").descriptor["name"] == "zebras"
    if known:
        assert contents_of(target)[CARS] == before


# Bringing it back


def brought_back(target: Path, store: metastore.MetaStore, name: str, new_name: str | None = None) -> tuple[str, ...]:
    from metastore.storage.local.recovery import recover

    ids = (DatasetId(*each.split("/")) for each in (name, new_name or name))
    return recover(GitStorage(target), git_storage(store), *ids)


def test_a_lost_dataset_is_brought_back_with_its_tags(store: metastore.MetaStore, target: Path) -> None:
    before = contents(store)
    backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    assert len(brought_back(target, store, CARS)) == 3
    assert contents(store) == before
    assert brought_back(target, store, CARS) == ()


def test_the_backup_after_a_recovery_has_nothing_to_report(store: metastore.MetaStore, target: Path) -> None:
    store.tag_delete(CARS, "v1")  # its object stays, and is not brought back, since no reference leads to it
    backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    brought_back(target, store, CARS)
    for title in ("Newer", "Newest"):
        store.dataset_patch(CARS, {"title": title})
        assert backup(git_storage(store), target).kept == ()
        assert contents_of(target) == contents(store)


def test_a_damaged_dataset_is_brought_back_once_it_is_out_of_the_way(
    store: metastore.MetaStore, target: Path, tmp_path: Path
) -> None:
    before = contents(store)
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/heads/main").write_text("")
    with pytest.raises(metastore.StorageCorrupt, match=f"Move {path_of(store, CARS)} out of the store"):
        brought_back(target, store, CARS)
    path_of(store, CARS).rename(tmp_path / "damaged")
    assert len(brought_back(target, store, CARS)) == 3
    assert contents(store) == before


def test_a_damaged_journal_refuses_changes_that_it_records_until_it_is_brought_back(
    store: metastore.MetaStore, target: Path, tmp_path: Path
) -> None:
    before = contents(store)
    backup(git_storage(store), target)
    journal = Path(git_storage(store).layout.root) / "_metastore/journal.git"
    (journal / "refs/heads/main").write_text("rubbish")
    assert [damage.where for damage in store.verify()] == ["_metastore/journal"]
    for refused in (
        lambda: store.dataset_move(CARS, "physics/moved"),
        lambda: store.dataset_purge(CARS, force=True),
        lambda: store.tag_delete(CARS, "v1"),
        lambda: store.tag_update(CARS, "v1", new_name="v9"),
    ):
        with pytest.raises((metastore.StorageCorrupt, metastore.StorageUnavailable), match="journal"):
            refused()
    journal.rename(tmp_path / "journal-damaged.git")
    brought_back(target, store, "_metastore/journal")
    assert contents(store) == before
    assert list(store.verify()) == []
    store.tag_delete(CARS, "v1")
    assert [line.action for line in store.journal(limit=1)] == ["tag_delete"]


def test_a_journal_that_was_lost_and_begun_again_is_kept_by_the_backup_beside_the_new_one(
    store: metastore.MetaStore, target: Path
) -> None:
    old = list(store.journal())
    backup(git_storage(store), target)
    shutil.rmtree(Path(git_storage(store).layout.root) / "_metastore/journal.git")
    store.tag_delete(CARS, "v1")
    new = list(store.journal())
    assert len(new) == 1
    with pytest.raises(InvalidInput, match="another history"):
        brought_back(target, store, "_metastore/journal")
    assert list(store.journal()) == new
    backup(git_storage(store), target)
    command = ["git", "-C", str(target / "_metastore/journal.git"), "log", "--all", "-p"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert old
    assert all(line.id in shown for line in [*old, *new])


def test_a_journal_that_was_begun_again_makes_way_for_the_old_one(
    store: metastore.MetaStore, target: Path, tmp_path: Path
) -> None:
    old = list(store.journal())
    backup(git_storage(store), target)
    journal = Path(git_storage(store).layout.root) / "_metastore/journal.git"
    shutil.rmtree(journal)
    store.tag_delete(CARS, "v1")
    backup(git_storage(store), target)
    with pytest.raises(InvalidInput, match=f"move {journal} out of the store"):
        brought_back(target, store, "_metastore/journal")
    journal.rename(tmp_path / "journal-new.git")
    assert len(brought_back(target, store, "_metastore/journal")) == 1
    assert list(store.journal()) == old
    assert list(store.verify()) == []
    assert len(backup(git_storage(store), target).lost) == 1  # the journal that made way
    store.tag_delete(CARS, "v2")
    assert [line.action for line in store.journal(limit=1)] == ["tag_delete"]


@pytest.mark.parametrize(
    ("name", "new_name"), [("_metastore/journal", "physics/journal-old"), (CARS, "_metastore/journal-old")]
)
def test_what_is_the_stores_own_is_brought_back_at_its_own_id_alone(
    store: metastore.MetaStore, target: Path, name: str, new_name: str
) -> None:
    backup(git_storage(store), target)
    with pytest.raises(InvalidInput, match=r"_metastore/journal\S* is the store's own"):
        brought_back(target, store, name, new_name)
    assert list(store.verify()) == []


def test_a_store_that_lost_its_mark_is_not_taken_for_another_one(
    store: metastore.MetaStore, target: Path, tmp_path: Path
) -> None:
    backup(git_storage(store), target)
    root = Path(git_storage(store).layout.root)
    (root / "metastore.json").unlink()
    with pytest.raises(metastore.StorageUnavailable, match="copy it from a backup of this store"):
        metastore.connect(root)
    shutil.copy(target / "metastore.json", root)
    assert backup(GitStorage(root), target).lost == ()


def test_a_branch_that_was_set_back_and_a_lost_tag_are_brought_back(store: metastore.MetaStore, target: Path) -> None:
    before = contents(store)
    older = list(store.revision_list(CARS))[1].id
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/heads/main").write_text(f"{older}\n")
    (path_of(store, CARS) / "refs/tags/v1").unlink()
    backup(git_storage(store), target)
    assert len(brought_back(target, store, CARS)) == 2
    assert contents(store) == before
    report = backup(git_storage(store), target)
    assert (report.lost, report.kept) == ((), ())


@pytest.mark.parametrize("recovered", ["before the move", "after it"])
def test_what_was_kept_of_a_dataset_follows_it_when_it_moves(
    recovered: str, store: metastore.MetaStore, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = list(store.revision_list(CARS))[1].id, store.revision_read(CARS).id
    backup(git_storage(store), target)
    (path_of(store, CARS) / "refs/heads/main").write_text(f"{older}\n")
    (path_of(store, CARS) / "refs/tags/v1").unlink()
    backup(git_storage(store), target)
    if recovered == "before the move":
        brought_back(target, store, CARS)
    store.dataset_move(CARS, "navy/cars")
    if recovered == "after it":
        assert backup(git_storage(store), target).kept == (DatasetId("physics", "cars"),)
        assert "it was moved to navy/cars, which lacks a part: `metastore recover --as navy/cars`" in caplog.text
        brought_back(target, store, CARS, "navy/cars")
    report = backup(git_storage(store), target)
    assert (report.removed, report.kept, report.lost) == ((DatasetId("physics", "cars"),), (), ())
    assert metastore.connect(target).revision_read("navy/cars", "v1").id != newest
    assert metastore.connect(target).revision_read("navy/cars").id == newest


def test_a_tag_whose_object_the_backup_lost_is_damage(store: metastore.MetaStore, target: Path) -> None:
    backup(git_storage(store), target)
    tag = store.tag_read(CARS, "v1").id
    (path_of(store, CARS) / "refs/tags/v1").unlink()
    (target / f"{CARS}.git/objects" / tag[:2] / tag[2:]).unlink()
    with pytest.raises(StorageCorrupt, match=f"the object {tag} is missing"):
        brought_back(target, store, CARS)


def test_a_history_that_was_kept_beside_a_newer_one_is_brought_back_at_another_id(
    store: metastore.MetaStore, target: Path
) -> None:
    before = list(store.revision_list(CARS))
    backup(git_storage(store), target)
    shutil.rmtree(path_of(store, CARS))
    store.dataset_create(CARS, {"name": "cars", "resources": []})
    backup(git_storage(store), target)
    with pytest.raises(InvalidInput, match="an id that is free"):
        brought_back(target, store, CARS)
    brought_back(target, store, CARS, "physics/cars-old")
    assert list(store.revision_list("physics/cars-old")) == before
    assert [tag.name for tag in store.tag_list("physics/cars-old")] == ["v1", "v2"]
    assert len(list(store.revision_list(CARS))) == 1
