"""A disk that is full, read-only or damaged: the right error, nothing changed, and the others go on."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import MetastoreError, OutcomeUnknown, StorageCorrupt, StorageUnavailable
from metastore.git.cache import Cache
from metastore.storage.connect import is_new
from metastore.storage.local import _repository as repository
from metastore.storage.local._repository import GitRepository
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from ..conftest import ANN, change
from ..processes import fsck, in_child, open_to_others
from ..test_storage_contract import tag_of
from .faults import state, where

CARS, BOATS, OTHER = DatasetId("physics", "cars"), DatasetId("physics", "boats"), DatasetId("other", "owner")
NOBODY = 65534
WRITES: dict[str, Callable[[GitStorage], object]] = {
    "create": lambda s: s.create(OTHER, {"a": b"1"}, change()),
    "create large": lambda s: s.create(OTHER, {"a": os.urandom(4_000_000)}, change()),
    "append": lambda s: s.append(CARS, {"a": b"new"}, change(), parent=s.resolve(CARS, None).id),
    "append large": lambda s: s.append(CARS, {"a": os.urandom(4_000_000)}, change(), parent=s.resolve(CARS, None).id),
    "append many": lambda s: s.append(
        CARS, {f"{n}": os.urandom(50_000) for n in range(80)}, change(), parent=s.resolve(CARS, None).id
    ),
    "move": lambda s: s.rename(CARS, OTHER, parent=s.resolve(CARS, None).id),
    "purge": lambda s: s.purge(CARS, parent=s.resolve(CARS, None).id),
    "tag": lambda s: s.tag_create(CARS, tag_of("new", s.resolve(CARS, None).id)),
    "rename tag": lambda s: s.tag_update(
        CARS, "v1", tag_of("v2", s.resolve(CARS, None).id), expected=s.tag(CARS, "v1").id
    ),
    "remove tag": lambda s: s.tag_delete(CARS, "v1", expected=s.tag(CARS, "v1").id),
    "compact": lambda s: s.compact(CARS),
}
ALL = (CARS, BOATS, OTHER)


def fill(root: Path) -> GitStorage:
    storage = GitStorage(root)
    first = storage.create(CARS, {"datapackage.json": b"{}", "d/b": b"b"}, change())
    storage.tag_create(CARS, tag_of("v1", first.id))
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    storage.create(BOATS, {"datapackage.json": b"{}"}, change())
    return storage


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill_up(disk: Path) -> Path:
    """Write until the disk is full; return the file to remove for room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):  # noqa: PT012 - written until it fails
        while True:
            file.write(bytes(4096))
    return ballast


def test_on_a_full_disk_a_tag_can_be_removed(small_disk: Path) -> None:
    storage = fill(small_disk / "store")
    fill_up(small_disk)
    WRITES["remove tag"](storage)
    assert list(GitStorage(small_disk / "store").tags(CARS)) == []


@pytest.mark.parametrize(("user", "is_room"), [(0, True), (1000, False)])
def test_blocks_that_are_kept_for_root_are_room_for_root_alone(
    user: int, is_room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, real = fill(tmp_path / "store"), os.statvfs(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*real[:4], 0, *real[5:]]))
    with nullcontext() if is_room else pytest.raises(StorageUnavailable, match="full"):
        storage.expect_room()


@pytest.mark.parametrize("write", [write for write in WRITES if write != "remove tag"])
def test_on_a_full_disk_a_write_fails_in_plain_words_and_changes_nothing(write: str, small_disk: Path) -> None:
    storage = fill(small_disk / "store")
    ballast = fill_up(small_disk)
    before = state(storage, ALL)
    with pytest.raises(StorageUnavailable, match=f"the disk is full: {small_disk}/store/"):
        WRITES[write](storage)
    assert state(GitStorage(small_disk / "store"), ALL) == before
    fsck(small_disk / "store")
    ballast.unlink()
    storage.append(BOATS, {"a": b"next"}, change(), parent=storage.resolve(BOATS, None).id)
    list(storage.verify(repair=True))
    assert list(storage.verify()) == []


def use_up_inodes(disk: Path, free: int = 0) -> None:
    status = os.statvfs(disk)
    remount(disk, f"nr_inodes={status.f_files - status.f_ffree + free}")


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.parametrize("free", [0, 2])
def test_a_disk_without_inodes_says_how_many_are_left(free: int, small_disk: Path) -> None:
    storage = fill(small_disk / "store")
    use_up_inodes(small_disk, free)
    with pytest.raises(StorageUnavailable, match=rf"the disk is full \(free inodes: \d\): {small_disk}/store/"):
        WRITES["create"](storage)
    with pytest.raises(StorageUnavailable, match=r"the disk is full \(free inodes: \d\)"):
        backup(GitStorage(small_disk / "store"), small_disk / "backup")


@pytest.mark.parametrize("how", ["no inodes", "read-only"])
def test_a_store_that_takes_no_lock_any_more_is_verified_backed_up_and_restored(
    how: str, small_disk: Path, tmp_path: Path
) -> None:
    before = state(fill(small_disk / "store"), ALL)
    shutil.rmtree(small_disk / "store/_metastore/locks")
    if how == "no inodes":
        use_up_inodes(small_disk)
    else:
        remount(small_disk, "ro")
    storage = GitStorage(small_disk / "store")
    assert list(storage.verify()) == []
    assert backup(storage, tmp_path / "backup").datasets == 2
    restore(small_disk / "store", tmp_path / "restored")
    for copy in ("backup", "restored"):
        assert state(GitStorage(tmp_path / copy), ALL) == before
    assert not (small_disk / "store/_metastore/locks").exists()


def test_a_lock_for_which_there_is_no_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = fill(tmp_path)

    def symlink(text: str, path: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), text, None, path)

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(StorageUnavailable, match=f"the disk is full: {tmp_path}/physics/cars.git/refs/heads/main.lock"):
        WRITES["append"](storage)


@pytest.mark.parametrize("room", [0, 4096, 16384])
def test_a_backup_onto_a_full_disk_names_it_and_the_next_one_completes_it(
    room: int, small_disk: Path, tmp_path: Path
) -> None:
    storage = fill(tmp_path / "store")
    ballast = fill_up(small_disk)
    os.truncate(ballast, ballast.stat().st_size - room)
    with pytest.raises(StorageUnavailable, match=f"the disk is full: {small_disk}"):
        backup(storage, small_disk / "backup")
    ballast.unlink()
    assert backup(storage, small_disk / "backup").datasets == 2
    assert state(GitStorage(small_disk / "backup"), ALL) == state(storage, ALL)


@pytest.mark.parametrize("write", WRITES)
def test_who_may_only_read_reads_everything_and_changes_nothing(write: str, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    root = tmp_path / "store"
    before = state(fill(root), ALL)
    shutil.rmtree(root / "_metastore/locks")
    open_to_others(tmp_path)

    def work() -> None:
        os.setuid(NOBODY)
        storage = GitStorage(root)
        assert state(storage, ALL) == before
        assert len(list(metastore.MetaStore(storage).changes())) == 2
        assert list(storage.verify()) == []
        with pytest.raises(StorageUnavailable, match=r"(?i)permission denied"):
            WRITES[write](storage)

    assert in_child(work) == 0
    assert state(GitStorage(root), ALL) == before
    assert list(GitStorage(root).verify()) == []


def newest_object(root: Path, kind: str) -> Path:
    repository = root / "physics/cars.git"
    name = {"commit": "main", "tree": "main^{tree}", "subtree": "main:d", "blob": "main:a", "tag": "v1"}[kind]
    command = ["git", "-c", "safe.directory=*", "-C", str(repository), "rev-parse", name]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return repository / "objects" / found[:2] / found[2:]


def damaged(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
        return
    file.chmod(0o644)
    file.write_bytes(
        {
            "empty": b"",
            "cut short": content[: len(content) // 2],
            "garbage": b"\xff\x00garbage\n",
            "zeros": bytes(len(content)),
            "a bit flipped": content[:-3] + bytes([content[-3] ^ 4]) + content[-2:],
        }[how]
    )


def call_everything(storage: GitStorage, store: metastore.MetaStore) -> Iterator[MetastoreError]:
    """Make every call on the damaged dataset, and yield what it raises."""
    head = where(GitStorage(storage.layout.root), BOATS)
    calls: list[Callable[[], Any]] = [
        lambda: store.dataset_read(CARS),
        lambda: list(store.revision_list(CARS)),
        lambda: storage.paths(CARS, storage.resolve(CARS, None).id),
        lambda: [
            storage.read(CARS, storage.resolve(CARS, None).id, path) for path in ("a", "d/b", "datapackage.json", "no")
        ],
        lambda: list(storage.history(CARS, storage.resolve(CARS, None).id, path="d/b")),
        lambda: list(store.tag_list(CARS)),
        lambda: storage.resolve(CARS, "v1"),
        lambda: storage.resolve(CARS, head[:7]),
        lambda: storage.resolve(CARS, head),
        lambda: store.dataset_delete(CARS, expected=head),
        lambda: storage.compact(CARS),
        lambda: storage.pack_loose(CARS),
        lambda: store.tag_create(CARS, "v3"),
    ]
    for call in calls:
        try:
            call()
        except MetastoreError as error:
            yield error


@pytest.mark.parametrize("how", ["missing", "empty", "cut short", "garbage", "zeros", "a bit flipped"])
@pytest.mark.parametrize(
    "what", ["commit", "tree", "subtree", "blob", "tag", "HEAD", "refs/heads/main", "refs/tags/v1", "packed-refs"]
)
def test_of_a_damaged_dataset_every_call_says_so_and_the_others_are_whole(what: str, how: str, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "physics/cars.git/packed-refs").write_text(f"{'1' * 40} refs/pull/1/head\n")
    repository = tmp_path / "physics/cars.git"
    damaged(
        newest_object(tmp_path, what) if what.islower() and "-" not in what and "/" not in what else repository / what,
        how,
    )
    storage = GitStorage(tmp_path)
    store = metastore.MetaStore(storage, author=ANN, validation="off")
    errors = list(call_everything(storage, store))
    if (what, how) not in (("packed-refs", "missing"), ("packed-refs", "empty"), ("refs/tags/v1", "missing")) and not (
        what in ("HEAD", "refs/heads/main", "refs/tags/v1", "packed-refs") and how == "a bit flipped"
    ):
        assert any(isinstance(error, StorageCorrupt) for error in errors)
        assert str(CARS) in {damage.where for damage in store.verify()}
    assert store.dataset_read(BOATS).descriptor == {}
    assert store.dataset_update(BOATS, {"n": 1}).descriptor == {"n": 1}
    assert set(storage.ids(deleted=None)) == {CARS, BOATS}


@pytest.mark.parametrize("how", ["empty", "cut short", "garbage", "zeros", "a bit flipped"])
@pytest.mark.parametrize("what", ["blob", "subtree"])
def test_writing_the_content_of_a_damaged_object_again_mends_it(what: str, how: str, tmp_path: Path) -> None:
    fill(tmp_path)
    damaged(newest_object(tmp_path, what), how)
    storage = GitStorage(tmp_path)
    assert [damage for damage in storage.verify() if damage.where == str(CARS)]
    # The same content has the same id, and so the same file: the blob of `a`, and the tree of `d`.
    revision = storage.append(CARS, {"copy": b"2", "e/b": b"b"}, change(), parent=storage.resolve(CARS, None).id)
    for path, content in (("a", b"2"), ("copy", b"2"), ("d/b", b"b"), ("e/b", b"b")):
        assert GitStorage(tmp_path).read(CARS, revision.id, path) == content
    assert list(GitStorage(tmp_path).verify()) == []


def test_compacting_never_drops_what_it_could_not_read(tmp_path: Path) -> None:
    storage = fill(tmp_path)
    storage.compact(CARS)
    packs = tmp_path / "physics/cars.git/objects/pack"
    index = next(packs.glob("*.idx"))
    whole = index.read_bytes()
    damaged(index, "garbage")
    kept = {file.name for file in packs.glob("*.pack")}
    storage = GitStorage(tmp_path)
    (tmp_path / "physics/cars.git/objects/aa").mkdir(exist_ok=True)
    with pytest.raises(StorageCorrupt):
        storage.resolve(CARS, None)
    with pytest.raises(MetastoreError):
        storage.compact(CARS)
    assert kept <= {file.name for file in packs.glob("*.pack")}
    index.chmod(0o644)
    index.write_bytes(whole)
    fsck(tmp_path)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda root: root.write_text("a file"), StorageUnavailable),
        (lambda root: (root.mkdir(), (root / "thesis.doc").write_text("ours")), StorageUnavailable),
        (lambda root: (root / "src" / "x").mkdir(parents=True), StorageUnavailable),
        (lambda root: (root.mkdir(), (root / "metastore.json").write_text('{"format": 99}')), StorageUnavailable),
        (lambda root: (root.mkdir(), (root / "metastore.json").write_text("")), StorageCorrupt),
        (lambda root: (root.mkdir(), (root / "metastore.json").write_text("[]")), StorageCorrupt),
        (lambda root: (root.mkdir(), (root / "metastore.json").write_bytes(b"\xff\0")), StorageCorrupt),
    ],
    ids=["a file", "somebody's folder", "folders", "a later format", "an empty mark", "another mark", "garbage"],
)
def test_a_folder_that_is_not_a_store_is_left_as_it_is(
    make: Callable[[Path], object], error: type[MetastoreError], tmp_path: Path
) -> None:
    root = tmp_path / "it"
    make(root)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(error):
        metastore.connect(root)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_there_is_no_store_unless_one_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        metastore.connect(tmp_path / "it", create=False)
    store = metastore.connect(tmp_path / "it")
    shutil.rmtree(tmp_path / "it")
    with pytest.raises(StorageUnavailable):
        list(store.dataset_list())


def test_a_store_whose_creation_was_cut_off_is_created_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "it/_metastore/tmp").mkdir(parents=True)
    assert is_new(tmp_path / "it")
    with pytest.raises(StorageUnavailable, match="there is no store"):
        metastore.connect(tmp_path / "it", create=False)
    assert list(metastore.connect(tmp_path / "it").dataset_list()) == []
    assert not is_new(tmp_path / "it")


@pytest.mark.parametrize("create", [False, True])
def test_a_store_of_bundles_alone_that_lost_its_mark_becomes_no_other_store(create: bool, tmp_path: Path) -> None:
    GitStorage(tmp_path).create(DatasetId("_metastore", "bundles"), {"a": b"1"}, change())
    (tmp_path / "metastore.json").unlink()
    assert not is_new(tmp_path)
    with pytest.raises(StorageUnavailable, match=r"has lost its metastore\.json: copy it from a backup"):
        metastore.connect(tmp_path, create=create)


@pytest.mark.parametrize("write", ["create", "append", "move", "purge", "tag", "rename tag", "remove tag"])
def test_a_disk_that_does_not_confirm_leaves_the_outcome_unknown_and_never_denies_it(
    write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        root = tmp_path / str(number)
        storage = fill(root)
        before = state(storage, ALL)
        real, left = os.fsync, [number]

        def fsync(descriptor: int, real: Any = real, left: Any = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(5, "Input/output error")
            real(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            try:
                WRITES[write](storage)
            except OutcomeUnknown:
                continue
            except StorageUnavailable:
                assert state(GitStorage(root), ALL) == before, number
                continue
        assert state(GitStorage(root), ALL) != before
        if left[0] >= 0:
            return


def test_a_repository_is_let_go_quietly_when_the_interpreter_has_emptied_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = GitRepository(fill(tmp_path).layout.path(CARS), Cache(0), sync=False)
    with monkeypatch.context() as ending:
        for name in [name for name in vars(repository) if not name.startswith("__")]:
            ending.setattr(repository, name, None)
        opened.__del__()
    opened.__del__()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened._folder)
