"""Packs on disk: what we write is read by Git, and what Git writes, finished or not, is read by us."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore.errors import StorageCorrupt
from metastore.git.delta import apply_delta, compute_delta, result_size
from metastore.git.objects import BLOB, GitObject, object_id
from metastore.git.pack import HEADER, delta_entry, from_pack, whole_entry
from metastore.storage.local._git_program import Done
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.local._pack_reader import Packs
from metastore.storage.local._packs import pack_names, write_pack
from metastore.storage.local.backup import backup
from metastore.storage.local.storage import GitStorage

from .conftest import change
from .harness.test_beside_git import CARS, git
from .test_packing import expect_everything, grow, let_age

_LETTERS = st.sampled_from([b"a", b"b", b"abcdefgh" * 8, b"0123456789abcdef" * 5])
_TEXTS = st.lists(_LETTERS, max_size=40).map(b"".join)


@given(_TEXTS, _TEXTS)
def test_a_difference_makes_the_target_of_its_base(base: bytes, target: bytes) -> None:
    delta = compute_delta(base, target, longest=10 * len(target) + 100)
    assert delta is not None
    assert apply_delta(base, delta) == target
    assert result_size(delta) == len(target)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_what_was_put_in_between_is_all_that_a_difference_holds(start: bytes, middle: bytes, end: bytes) -> None:
    delta = compute_delta(start + end, start + middle + end, longest=1000)
    assert delta is not None
    assert apply_delta(start + end, delta) == start + middle + end
    assert len(delta) < len(middle) + 40


def test_a_difference_that_is_too_long_is_none() -> None:
    chance = random.Random(1)
    assert compute_delta(chance.randbytes(1_000_000), chance.randbytes(1_000_000), longest=500_000) is None
    assert compute_delta(b"", b"x" * 100, longest=99) is None


def test_a_copy_that_names_no_length_is_of_64_kibibytes() -> None:
    """As gitformat-pack(5) says: a size of zero stands for 0x10000."""
    base = random.Random(1).randbytes(0x10000 + 7)
    sizes = bytes([0x87, 0x80, 0x04]) + bytes([0x80, 0x80, 0x04])  # of the base, and of what it makes
    assert apply_delta(base, sizes + bytes([0x80])) == base[:0x10000]


_BASE = whole_entry(GitObject(BLOB, b"base"))
_ENDLESS = b"\xff" * 1000 + b"\1"
_MANY = 64 * 1024 // 64 + 1


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (b"\xbf" + _ENDLESS, "a size is too long"),
        (b"\x64" + _ENDLESS, "a distance is too long"),
        (delta_entry(_ENDLESS, len(_BASE)), "a size is too long"),
        (delta_entry(b"\4" + _ENDLESS, len(_BASE)), "a size is too long"),
        (delta_entry(b"\4\0" + b"\0" * _MANY, len(_BASE)), "too many commands"),
        (delta_entry(b"\4\0" + b"\x88\1" * _MANY, len(_BASE)), "too many commands"),
    ],
    ids=["size", "distance", "size of the base", "size of the result", "no commands", "copies from beyond the base"],
)
def test_a_small_pack_that_would_take_long_is_refused(entry: bytes, words: str) -> None:
    content = HEADER + (2).to_bytes(4) + _BASE + entry
    with pytest.raises(ValueError, match=words):
        from_pack(content + hashlib.sha1(content).digest(), longest=64 * 1024)


@pytest.mark.parametrize("size", [0xFFFE, 0xFFFF, 0x10000, 0x10001, 0x1FFFF, 300_000])
def test_pieces_of_any_length_are_copied(size: int, tmp_path: Path) -> None:
    base = random.Random(2).randbytes(size)
    delta = compute_delta(base, b"x" + base, longest=1000)
    assert delta is not None
    assert apply_delta(base, delta) == b"x" + base


@pytest.fixture
def storage(tmp_path: Path) -> GitStorage:
    return GitStorage(tmp_path / "store", sync=False, cache_bytes=0)


@pytest.fixture
def path(storage: GitStorage) -> Path:
    storage.create(CARS, {"a": b"1"}, change())
    return Path(storage.layout.path(CARS))


def versions(count: int) -> dict[str, GitObject]:
    """Return versions of a text, each with one more change."""
    chance, lines = random.Random(3), [f"line {number} of a text\n" for number in range(200)]
    objects = {}
    for number in range(count):
        lines[chance.randrange(len(lines))] = f"changed {number}\n"
        content = "".join(lines).encode()
        objects[object_id(BLOB, content)] = GitObject(BLOB, content)
    return objects


def test_git_reads_the_differences_that_we_write_and_no_chain_is_long(path: Path) -> None:
    objects = versions(300)
    name = write_pack(objects.__getitem__, objects, str(path), sync=False)
    listed = git(path, "verify-pack", "-v", f"objects/pack/{name}.idx").splitlines()
    depths = [int(line.split()[5]) for line in listed if len(line.split()) == 7]
    assert len(depths) > 250
    assert max(depths) <= 10
    assert (
        os.path.getsize(path / f"objects/pack/{name}.pack") < sum(len(made.content) for made in objects.values()) / 20
    )
    for identity, made in list(objects.items())[::37]:
        read = subprocess.run(["git", "cat-file", "blob", identity], cwd=path, capture_output=True, check=True)
        assert read.stdout == made.content


@pytest.mark.parametrize("by", ["--delta-base-offset", "--no-reuse-delta"])
def test_we_read_the_packs_that_git_writes(by: str, path: Path) -> None:
    objects = versions(60)
    write_pack(objects.__getitem__, objects, str(path), sync=False)
    for name in pack_names(str(path)):
        command = ["git", "pack-objects", "-q", by, "--window=50", "objects/pack/pack"]
        subprocess.run(command, input="\n".join(objects), text=True, cwd=path, check=True, capture_output=True)
        for ending in ("pack", "idx"):
            (path / f"objects/pack/{name}.{ending}").unlink()
    database = ObjectDatabase(str(path), sync=False)
    assert {identity: database.read(identity) for identity in objects} == objects


def test_an_index_over_packs_that_are_gone_stops_nobody(storage: GitStorage) -> None:
    revisions = grow(storage, packs=9)
    path = storage.layout.path(CARS)
    git(path, "multi-pack-index", "write")
    index = Path(path, "objects/pack/multi-pack-index").read_bytes()
    assert storage.read(CARS, revisions[1].id, "a")  # from here on a handle knows the packs
    other = GitStorage(storage.layout.root, sync=False, cache_bytes=0)
    let_age(path)
    other.compact(CARS)
    Path(path, "objects/pack/multi-pack-index").write_bytes(index)
    for reader in (storage, other, GitStorage(storage.layout.root)):
        expect_everything(reader, revisions)
    assert [damage.detail for damage in storage.verify()] == ["objects/pack/multi-pack-index names packs that are gone"]
    assert [damage.repaired for damage in storage.verify(repair=True)] == [True]
    assert list(storage.verify()) == []


def test_an_index_over_packs_that_are_there_is_no_damage(storage: GitStorage, path: Path) -> None:
    grow_beside(storage)
    git(path, "multi-pack-index", "write")
    assert list(storage.verify()) == []


def test_what_git_keeps_beside_a_pack_goes_with_it(storage: GitStorage, path: Path) -> None:
    grow_beside(storage)
    for name in pack_names(str(path)):
        for ending in ("rev", "mtimes", "bitmap"):
            (path / f"objects/pack/{name}.{ending}").write_bytes(b"")
    let_age(str(path))
    storage.compact(CARS)
    assert sorted(file.suffix for file in (path / "objects/pack").iterdir()) == [".idx", ".pack"]


def test_a_repository_without_a_folder_for_packs_is_read_checked_packed_and_backed_up(
    storage: GitStorage, path: Path, tmp_path: Path
) -> None:
    shutil.rmtree(path / "objects/pack")
    head = GitStorage(storage.layout.root).resolve(CARS, None)
    assert list(storage.verify()) == []
    assert backup(storage, tmp_path / "copy").kept == ()
    storage.compact(CARS)
    assert len(pack_names(str(path))) == 1
    assert GitStorage(storage.layout.root, cache_bytes=0).resolve(CARS, None) == head


def grow_beside(storage: GitStorage) -> None:
    """Make a second pack."""
    storage.compact(CARS)
    storage.append(CARS, {"a": b"2"}, change(), parent=storage.resolve(CARS, None).id)
    storage.pack_loose(CARS)


def unfinished(storage: GitStorage) -> tuple[Path, str]:
    """Leave a pack as Git does that was killed while repacking; it has the only copy of a blob."""
    path = Path(storage.layout.path(CARS))
    blob = object_id(BLOB, b"only here")
    name = write_pack({blob: GitObject(BLOB, b"only here")}.__getitem__, [blob], str(path), sync=False)
    for ending in ("pack", "idx"):
        (path / f"objects/pack/{name}.{ending}").rename(path / f"objects/pack/.tmp-7-{name}.{ending}")
    return path, blob


def test_an_object_in_a_pack_that_git_has_not_finished_is_read_and_stays(storage: GitStorage, path: Path) -> None:
    _, blob = unfinished(storage)
    before = sorted(os.listdir(path / "objects/pack"))
    assert ObjectDatabase(str(path), sync=False).read(blob).content == b"only here"
    assert list(storage.verify()) == []
    storage.compact(CARS)
    assert set(before) < set(os.listdir(path / "objects/pack"))
    for file in (path / "objects/pack").glob(".tmp-*"):
        file.unlink()
    assert ObjectDatabase(str(path), sync=False).read(blob).content == b"only here"


def test_half_an_index_that_git_left_on_a_full_disk_is_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = object_id(BLOB, b"only here")
    name = write_pack({blob: GitObject(BLOB, b"only here")}.__getitem__, [blob], str(path), sync=False)
    index = path / f"objects/pack/{name}.idx"
    index.unlink()
    before = sorted(path.rglob("*"))

    def stopped(command: list[str]) -> Done:
        Path(command[command.index("-o") + 1]).write_bytes(b"half")
        return Done(128, "", "fatal: No space left on device")

    monkeypatch.setattr("metastore.storage.local._objects.run", stopped)
    assert ObjectDatabase(str(path), sync=False).index_again() == {name}
    assert sorted(path.rglob("*")) == before
    monkeypatch.undo()
    assert ObjectDatabase(str(path), sync=False).index_again() == {name}
    assert ObjectDatabase(str(path), sync=False).read(blob).content == b"only here"


def test_an_object_is_found_while_git_gives_its_pack_a_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = object_id(BLOB, b"only here")
    name = write_pack({blob: GitObject(BLOB, b"only here")}.__getitem__, [blob], str(path), sync=False)
    index = path / f"objects/pack/{name}.idx"
    half = index.rename(index.with_name(f".tmp-7-{name}.idx"))  # Git renames the pack first

    def pause(seconds: float) -> None:
        with suppress(FileNotFoundError):
            half.rename(index)

    monkeypatch.setattr("metastore.storage.local._objects.time.sleep", pause)
    assert ObjectDatabase(str(path), sync=False).read(blob).content == b"only here"


@pytest.mark.parametrize("how", ["unfinished", "loose"])
def test_a_backup_has_what_git_packed_under_any_name(how: str, storage: GitStorage, path: Path, tmp_path: Path) -> None:
    if how == "unfinished":
        unfinished(storage)
    else:
        for _ in range(2):  # it packs what is loose, and then removes what is packed
            git(path, "maintenance", "run", "--task=loose-objects")
        assert list((path / "objects/pack").glob("loose-*.pack"))
    for _ in range(2):
        assert backup(storage, tmp_path / "backup").kept == ()
    copy = GitStorage(tmp_path / "backup")
    assert list(copy.verify()) == []
    with storage.open(CARS) as ours, copy.open(CARS) as theirs:
        assert ours.database.ids() == theirs.database.ids()


def test_each_object_of_a_large_pack_is_at_its_own_place(path: Path) -> None:
    objects = versions(600)
    write_pack(objects.__getitem__, objects, str(path), sync=False)
    packs = Packs(str(path))
    assert {identity: packs.read(identity) for identity in objects} == objects


@pytest.mark.parametrize("announced", [9, 11])
def test_an_object_of_another_size_than_its_pack_says_is_damaged(announced: int, path: Path) -> None:
    content = b"0123456789"
    blob = object_id(BLOB, content)
    name = write_pack({blob: GitObject(BLOB, content)}.__getitem__, [blob], str(path), sync=False)
    file = path / f"objects/pack/{name}.pack"
    damaged = bytearray(file.read_bytes())
    assert damaged[12] & 0xF == len(content)  # the size, in the head of the only entry
    damaged[12] += announced - len(content)
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match="of another size than announced"):
        Packs(str(path)).read(blob)


@pytest.mark.parametrize("at", [9, 20, 40, -30, -5])
def test_a_damaged_pack_is_said_to_be_damaged(at: int, path: Path) -> None:
    content = random.Random(4).randbytes(3000)
    blob = object_id(BLOB, content)
    name = write_pack({blob: GitObject(BLOB, content)}.__getitem__, [blob], str(path), sync=False)
    file = path / f"objects/pack/{name}.pack"
    damaged = bytearray(file.read_bytes())
    damaged[at] ^= 0x55
    file.write_bytes(damaged)
    database = ObjectDatabase(str(path), sync=False)
    if at in (9, -5):  # the count of objects, and the checksum, which `verify` compares
        assert database.read(blob).content == content
    else:
        with pytest.raises(StorageCorrupt):
            database.read(blob)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StorageCorrupt):
        ObjectDatabase(str(path), sync=False).read(blob)


def test_a_handle_that_is_let_go_of_has_no_file_open(storage: GitStorage, path: Path) -> None:
    storage.compact(CARS)
    storage.read(CARS, storage.resolve(CARS, None).id, "a")
    with storage.open(CARS) as repository, suppress(StorageCorrupt):
        repository.tree("1" * 40)
    del repository
    assert opened(path)
    storage.close()
    assert not opened(path)


def opened(folder: Path) -> list[str]:
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    files = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [file for file in files if file.startswith(str(folder))]


@pytest.mark.parametrize("kept", ["loose", "by distance", "by id"])
def test_an_object_tells_its_size_without_being_read(
    tmp_path: Path, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = GitStorage(tmp_path / "store", sync=False)
    grow(storage, 0 if kept == "loose" else 2)
    path, folder = storage.layout.path(CARS), Path(storage.layout.path(CARS), "objects/pack")
    if kept == "by id":  # as deltas name their bases where Git is not told otherwise
        old, ids = list(folder.iterdir()), "\n".join(ObjectDatabase(path, sync=False).ids())
        subprocess.run(["git", "pack-objects", "-q", "pack"], cwd=folder, input=ids, text=True, check=True)
        for file in old:
            file.unlink()
    database = ObjectDatabase(path, sync=False)
    sizes = {identity: len(database.read(identity).content) for identity in database.ids()}
    assert max(sizes.values()) > 10_000
    unread = ObjectDatabase(path, sync=False)
    for name in ("read", "_read_packed", "_read_by_libgit2"):
        monkeypatch.setattr(unread, name, None)
    assert {identity: unread.size(identity) for identity in sizes} == sizes
    assert unread.size("12" * 20) is None
