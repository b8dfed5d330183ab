"""Packing changes nothing that anybody can see: not for readers under way, and not after a crash in the middle."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metastore.errors import StorageCorrupt
from metastore.git.objects import BLOB, GitObject, object_id
from metastore.storage.local import _joining as joining
from metastore.storage.local import _packs as packs
from metastore.storage.local._pack_index import Row, index_content, read_index
from metastore.storage.local._packs import MOST_YOUNG, pack_names, write_pack
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, Revision

from .conftest import change
from .processes import SOAK
from .spawned import read_until

CARS = DatasetId("physics", "cars")
TEXT = b"".join(
    b"%d: a line of a file that is long enough for differences to it to be worth storing\n" % n for n in range(300)
)


def grow(storage: GitStorage, packs: int, each: int = 5) -> list[Revision]:
    """Give a dataset a history in several packs, with differences in each."""
    revisions = [storage.create(CARS, {"a": TEXT}, change())]
    for number in range(packs * each):
        content = TEXT + b"%d" % number
        revisions.append(storage.append(CARS, {"a": content}, change(), parent=revisions[-1].id))
        if number % each == each - 1:
            with storage.lock(CARS), storage.open(CARS) as repository:
                repository.database.pack_loose()
    return revisions


def expect_everything(storage: GitStorage, revisions: list[Revision]) -> None:
    assert list(storage.history(CARS, revisions[-1].id)) == revisions[::-1]
    for number, revision in enumerate(revisions[1:]):
        assert storage.read(CARS, revision.id, "a") == TEXT + b"%d" % number
    subprocess.run(["git", "fsck", "--full", "--strict"], cwd=storage.layout.path(CARS), check=True)


def let_age(path: str) -> None:
    """Let the packs of a repository be too old to stay when they are replaced."""
    for file in Path(path).glob("objects/pack/*.pack"):
        os.utime(file, (time.time() - 60,) * 2)


def add_pack(path: str, *contents: bytes) -> str:
    objects = {object_id(BLOB, content): GitObject(BLOB, content) for content in contents}
    return write_pack(objects.__getitem__, objects, path, sync=False)


@pytest.fixture
def storage(tmp_path: Path) -> GitStorage:
    return GitStorage(tmp_path / "store", sync=False, cache_bytes=0)


def test_packs_stay_whose_objects_are_all_in_a_damaged_one(storage: GitStorage) -> None:
    revisions = grow(storage, 3)
    path = storage.layout.path(CARS)
    before = pack_names(path)
    with storage.lock(CARS), storage.open(CARS) as repository:
        name = repository.database.pack(sorted(repository.database.ids()))
    file = Path(f"{path}/objects/pack/{name}.pack")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x55
    file.chmod(0o644)
    file.write_bytes(content)
    let_age(path)
    with pytest.raises(StorageCorrupt, match="is damaged"):
        joining.join(path, most=1, sync=False)
    assert before < pack_names(path)
    for ending in ("pack", "idx"):
        os.unlink(f"{path}/objects/pack/{name}.{ending}")
    expect_everything(GitStorage(storage.layout.root, cache_bytes=0), revisions)


@pytest.mark.parametrize("packs", [1, 3])
def test_an_index_whose_pack_is_gone_counts_for_no_pack(storage: GitStorage, packs: int) -> None:
    """Git gives a pack its name file by file; if we remove one of that name in between, its index is left alone."""
    revisions = grow(storage, packs)
    path = storage.layout.path(CARS)
    with storage.lock(CARS), storage.open(CARS) as repository:
        repository.database.pack_loose()
        name = repository.database.pack(sorted(repository.database.ids()))
    os.unlink(f"{path}/objects/pack/{name}.pack")
    joining.join(path, most=1, sync=False)
    storage.compact(CARS)
    os.unlink(f"{path}/objects/pack/{name}.idx")
    expect_everything(GitStorage(storage.layout.root, cache_bytes=0), revisions)


def test_many_packs_become_one_with_the_same_objects(storage: GitStorage) -> None:
    revisions = grow(storage, packs=9)
    path = storage.layout.path(CARS)
    assert len(pack_names(path)) == 9
    with storage.open(CARS) as repository:
        before = repository.database.ids()
    assert joining.join(path, most=8, sync=True) == 1
    expect_everything(storage, revisions)
    with GitStorage(storage.layout.root).open(CARS) as repository:
        assert repository.database.ids() == before


def test_few_packs_stay_as_they_are(storage: GitStorage) -> None:
    grow(storage, packs=3)
    path = storage.layout.path(CARS)
    before = pack_names(path)
    assert joining.join(path, most=3, sync=False) == 3
    assert pack_names(path) == before


def test_a_join_that_was_cut_short_is_finished(storage: GitStorage, tmp_path: Path) -> None:
    revisions = grow(storage, packs=4)
    folder = f"{storage.layout.path(CARS)}/objects/pack"
    shutil.copytree(folder, tmp_path / "before")
    joining.join(storage.layout.path(CARS), most=1, sync=False)
    shutil.copytree(tmp_path / "before", folder, dirs_exist_ok=True)
    let_age(storage.layout.path(CARS))
    assert joining.join(storage.layout.path(CARS), most=1, sync=False) == 1
    assert len(pack_names(storage.layout.path(CARS))) == 1
    expect_everything(storage, revisions)


def test_packs_that_share_objects_are_left_to_compact(storage: GitStorage) -> None:
    storage.create(CARS, {"a": b""}, change())
    path = storage.layout.path(CARS)
    for number in range(10):
        add_pack(path, b"shared", b"own %d" % number)
    let_age(path)
    assert joining.join(path, most=8, sync=False) == 10
    storage.pack_loose(CARS)
    assert len(pack_names(path) - joined(path)) == 1
    with storage.open(CARS) as repository:
        for content in (b"shared", b"own 0", b"own 9"):
            assert repository.get(object_id(BLOB, content)).content == content


@pytest.mark.parametrize("ending", ["pack", "idx"])
def test_a_damaged_pack_is_not_copied(storage: GitStorage, ending: str) -> None:
    grow(storage, packs=3)
    path = storage.layout.path(CARS)
    before = pack_names(path)
    file = Path(f"{path}/objects/pack/{min(before)}.{ending}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="damaged"):
        joining.join(path, most=1, sync=False)
    assert pack_names(path) == before
    assert not [name for name in os.listdir(f"{path}/objects") if name.startswith("tmp_")]


def test_offsets_beyond_two_gigabytes_are_written_as_git_reads_them(tmp_path: Path) -> None:
    rows = [Row(bytes([n]) * 20, b"crc%d" % n, offset) for n, offset in enumerate((12, 2**31, 2**33, 2**31 - 1))]
    os.makedirs(tmp_path / "objects/pack")
    (tmp_path / "objects/pack/pack-x.idx").write_bytes(index_content(rows, b"p" * 20))
    assert read_index(str(tmp_path), "pack-x").rows() == rows
    index = (tmp_path / "objects/pack/pack-x.idx").read_bytes()
    shown = subprocess.run(["git", "show-index"], input=index, capture_output=True, check=True)
    assert [int(line.split()[0]) for line in shown.stdout.splitlines()] == [row.offset for row in rows]


@pytest.mark.parametrize("size", [0, 40, 500, 1072, 1100])
def test_an_index_that_is_shorter_than_it_says_is_damaged(tmp_path: Path, size: int) -> None:
    whole = index_content([Row(bytes([n]) * 20, b"crcs", 12 + n) for n in range(9)], b"p" * 20)
    cut = whole[:size]
    os.makedirs(tmp_path / "objects/pack")
    (tmp_path / "objects/pack/pack-x.idx").write_bytes(cut + hashlib.sha1(cut).digest())
    with pytest.raises(StorageCorrupt, match="damaged"):
        read_index(str(tmp_path), "pack-x")


def test_packs_whose_indexes_git_wrote_with_far_offsets_are_joined(storage: GitStorage) -> None:
    revisions = grow(storage, packs=3)
    path = storage.layout.path(CARS)
    for name in pack_names(path):  # as in a pack of over two gigabytes: all but the first offset are in the far table
        os.unlink(f"{path}/objects/pack/{name}.idx")
        far = ["git", "index-pack", "--index-version=2,0x40", f"{path}/objects/pack/{name}.pack"]
        subprocess.run(far, check=True, capture_output=True)
        assert any(row[0] >= 0x80 for row in table_of_offsets(path, name))
    assert joining.join(path, most=1, sync=False) == 1
    expect_everything(storage, revisions)


def table_of_offsets(path: str, name: str) -> list[bytes]:
    """Return the rows of an index's table of near offsets; those with the highest bit set lead into the far table."""
    index = Path(f"{path}/objects/pack/{name}.idx").read_bytes()
    count = int.from_bytes(index[8 + 255 * 4 : 8 + 256 * 4])
    start = 8 + 256 * 4 + 24 * count
    return [index[start + 4 * number : start + 4 * number + 4] for number in range(count)]


@pytest.mark.parametrize("replace", [GitStorage.compact, GitStorage.pack_loose])
def test_a_kept_handle_reads_on_when_its_packs_have_gone(
    storage: GitStorage, replace: Callable[[GitStorage, DatasetId], None]
) -> None:
    revisions = grow(storage, packs=9)
    assert storage.read(CARS, revisions[1].id, "a")  # from here on a handle knows the packs
    let_age(storage.layout.path(CARS))
    replace(GitStorage(storage.layout.root, sync=False), CARS)
    assert len(pack_names(storage.layout.path(CARS))) == 1
    expect_everything(storage, revisions)


def test_a_removed_pack_is_not_held_open_for_long(storage: GitStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = grow(storage, packs=9)
    for revision in revisions[1:]:
        storage.read(CARS, revision.id, "a")
    let_age(storage.layout.path(CARS))
    GitStorage(storage.layout.root, sync=False).pack_loose(CARS)
    assert len(pack_names(storage.layout.path(CARS))) == 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    storage.read(CARS, revisions[1].id, "a")
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]
    ours = [file for file in opened if file.startswith(storage.layout.root)]
    assert not [file for file in ours if file.endswith((".pack (deleted)", ".idx (deleted)"))]


def test_readers_in_another_process_never_fail_while_packs_come_and_go(storage: GitStorage) -> None:
    revisions = grow(storage, packs=3)
    context = multiprocessing.get_context("spawn")
    stop, reads = context.Event(), context.Value("i", 0)
    reader = context.Process(target=read_until, args=(stop, str(storage.layout.root), revisions[1:], TEXT, reads))
    reader.start()
    head = revisions[-1].id
    rounds = 0
    while rounds < (100 if SOAK else 30) or (reads.value < 200 and reader.is_alive()):
        for number in range(3):
            head = storage.append(CARS, {"b": b"%d %d" % (rounds, number)}, change(), parent=head).id
        storage.pack_loose(CARS)
        if rounds % 10 == 9:
            storage.compact(CARS)
        rounds += 1
    stop.set()
    reader.join(60)
    assert reader.exitcode == 0
    assert len(pack_names(storage.layout.path(CARS))) <= 9 + MOST_YOUNG  # and the young ones that were replaced


@pytest.mark.parametrize("replace", [GitStorage.compact, GitStorage.pack_loose])
def test_a_young_pack_that_is_replaced_stays_until_the_repository_is_packed_again(
    storage: GitStorage, replace: Callable[[GitStorage, DatasetId], None]
) -> None:
    revisions = grow(storage, packs=9)
    path = storage.layout.path(CARS)
    young = max(pack_names(path), key=lambda name: os.stat(f"{path}/objects/pack/{name}.pack").st_mtime_ns)
    replace(storage, CARS)
    assert young in pack_names(path)
    let_age(path)
    replace(storage, CARS)
    assert len(pack_names(path)) == 1
    expect_everything(storage, revisions)


def test_young_packs_that_were_replaced_are_few_and_do_not_count(storage: GitStorage) -> None:
    revisions = grow(storage, packs=3, each=2)
    path = storage.layout.path(CARS)
    for number in range(MOST_YOUNG + 4):
        content = TEXT + b"%d" % (number + 6)
        revisions.append(storage.append(CARS, {"a": content}, change(), parent=revisions[-1].id))
        storage.compact(CARS)
        assert len(pack_names(path)) <= 1 + MOST_YOUNG
    (newest,) = pack_names(path) - joined(path)
    assert joining.join(path, most=8, sync=False) == 1
    assert newest in pack_names(path)
    expect_everything(storage, revisions)
    assert list(storage.verify()) == []


def test_young_packs_that_were_replaced_take_little_space(storage: GitStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    path, revision = storage.layout.path(CARS), grow(storage, packs=1)[-1]
    for most, kept in ((0, 1), (0, 1), (1_000_000, 2), (1_000_000, 3), (0, 1)):
        monkeypatch.setattr(packs, "_MOST_BYTES", most)
        revision = storage.append(CARS, {"b": os.urandom(1000)}, change(), parent=revision.id)
        storage.compact(CARS)
        assert len(pack_names(path)) == 1 + kept, "the youngest one stays whatever its size"


def joined(path: str) -> set[str]:
    """Return the packs whose objects are all in another one."""
    ids = {name: set(read_index(path, name).ids()) for name in pack_names(path)}
    return {name for name in ids if any(ids[name] < ids[other] for other in ids)}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_step_of_the_clock_keeps_no_replaced_pack_for_long(
    hours: int, storage: GitStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions = grow(storage, packs=3)
    path, now = storage.layout.path(CARS), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    storage.compact(CARS)
    assert len(pack_names(path)) == 1
    expect_everything(storage, revisions)
