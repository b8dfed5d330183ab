"""A store that somebody sent: files that are none, or that never end, are refused, and nothing waits for them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pygit2
import pytest

import metastore
from metastore import DatasetId, MetaStore, StorageCorrupt
from metastore.files import reading
from metastore.git.objects import GitObject, object_id
from metastore.git.pack import HEADER, delta_entry, whole_entry
from metastore.index_file import IndexFile
from metastore.parse import parse_dataset_id
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.local._pack_reader import Packs
from metastore.storage.local._packs import Row, name_pack
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
    ("fault", "words"), [(pipe, "not an ordinary file"), (device, "not an ordinary file"), (endless, "has more than")]
)
def test_a_file_that_is_none_or_too_long_is_refused_for_that_reason(
    tmp_path: Path, fault: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    fault(tmp_path / "file")
    with pytest.raises(StorageCorrupt, match=words):
        reading.read_file(str(tmp_path / "file"))


def test_a_repair_removes_nothing_behind_a_link(sent: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "anna.jpg").write_bytes(b"JFIF")
    for old in (photos / "anna.jpg", photos):
        os.utime(old, (1e9, 1e9))
    for link in ("_metastore/tmp", "_metastore"):
        shutil.rmtree(sent / link)
        (sent / link).symlink_to(photos if link == "_metastore/tmp" else tmp_path)
        with metastore.connect(str(sent)) as store:
            list(store.verify(repair=True))
        assert (photos / "anna.jpg").exists()
        (sent / link).unlink()
        (sent / link).mkdir()
        photos.rename(tmp_path / "tmp")
        photos = tmp_path / "tmp"


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_pack_keeps_no_writer_waiting(sent: Path, tmp_path: Path) -> None:
    os.mkfifo(sent / f"{CARS}.git" / "objects" / "pack" / "pack-12.pack")
    with metastore.connect(str(sent), author="Ann <ann@example.org>") as store:
        assert isinstance(store.storage, GitStorage)
        with suppress(StorageCorrupt):
            store.storage.compact(parse_dataset_id(CARS))
        assert backup(store.storage, tmp_path / "backup").datasets == 2
        assert {damage.where for damage in store.verify(repair=True)} == {CARS}
        assert store.dataset_update("physics/trains", {"name": "trains", "title": "New"})


def cookies(path: Path) -> Path:
    """Make the database of another program."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE cookies AS SELECT 1")
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("file", ["search.sqlite", "bundles.sqlite", "session.ended.sqlite", "histories.sqlite"])
def test_an_index_that_is_a_link_or_a_pipe_is_replaced(sent: Path, tmp_path: Path, file: str) -> None:
    theirs = cookies(tmp_path / "cookies.sqlite")
    index = IndexFile(str(sent / file), "CREATE TABLE ours (a)", 1)
    for make in (lambda path: path.symlink_to(theirs), os.mkfifo):
        make(sent / file)
        assert index.ask(lambda database: database.execute("SELECT count(*) FROM ours").fetchone()[0]) == 0
        assert (sent / file).is_file()
        assert not (sent / file).is_symlink()
        index.close()
        (sent / file).unlink()
    with contextlib.closing(sqlite3.connect(theirs)) as database:
        assert database.execute("SELECT * FROM cookies").fetchall() == [(1,)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "evil",
    [
        "CREATE TRIGGER evil AFTER UPDATE ON meta BEGIN DELETE FROM datasets; END",
        "DROP TABLE unreadable; CREATE TABLE unreadable (place TEXT, owner TEXT, name TEXT DEFAULT (randomblob(1e9)))",
        "CREATE INDEX evil ON datasets (hex(zeroblob(9000)))",
    ],
    ids=["trigger", "table", "index"],
)
def test_an_index_with_other_definitions_is_made_again(sent: Path, evil: str) -> None:
    file = sent / "_metastore" / "search.sqlite"
    with metastore.connect(str(sent)) as store:
        assert store.dataset_search("cars").total == 1
    with closing(sqlite3.connect(file)) as database:
        before = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        database.executescript(f"PRAGMA writable_schema = ON; {evil}")
    with metastore.connect(str(sent), author="Ann <ann@example.org>") as store:
        store.dataset_update(CARS, {"name": "cars", "title": "New"})
        assert store.dataset_search("new").total == 1
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before


@pytest.mark.parametrize("table", ["datasets", "unreadable"])
def test_an_index_leads_to_nothing_outside_of_the_store(sent: Path, tmp_path: Path, table: str) -> None:
    with metastore.connect(str(tmp_path / "private"), author="Bo <bo@example.org>") as private:
        private.dataset_create("physics/secret", {"name": "secret", "title": "Salaries"})
    with metastore.connect(str(sent)) as store:
        assert store.dataset_search("cars").total == 1
    with closing(sqlite3.connect(sent / "_metastore" / "search.sqlite")) as database, database:
        if table == "datasets":
            database.execute("UPDATE datasets SET owner = '../private/physics', name = 'secret'")
        else:
            database.execute("INSERT INTO unreadable VALUES ('x', '../private/physics', 'secret')")
    with metastore.connect(str(sent)) as store:
        results = store.dataset_search("cars", findings=None)
        assert ([hit.id for hit in results.hits], results.unreadable) == ([CARS], ())
        assert store.dataset_search(findings=True).complete
        assert list(store.verify()) == []


def test_the_words_of_an_index_do_not_swell(sent: Path) -> None:
    with metastore.connect(str(sent)) as store:
        assert store.dataset_search("cars").total == 1
    with closing(sqlite3.connect(sent / "_metastore" / "search.sqlite")) as database, database:
        database.execute("UPDATE now_words SET words = ?", (zlib.compress(b"cars " * 4_000_000),))
    with metastore.connect(str(sent), author="Ann <ann@example.org>") as store:
        tracemalloc.start()
        store.dataset_update(CARS, {"name": "cars", "title": "New"})
        assert store.dataset_search("new").total == 1
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


@pytest.fixture
def swollen(tmp_path: Path) -> Path:
    """Return a store with an object of 20 MB in some 20 kB."""
    with metastore.connect(str(tmp_path / "swollen"), author="Eve <eve@example.org>", clock=ticking()) as store:
        store.dataset_create(CARS, {"name": "cars", "title": "x" * 20_000_000})
        store.dataset_create("physics/trains", {"name": "trains"})
    return tmp_path / "swollen"


@pytest.mark.parametrize("packed", [False, True])
def test_an_object_that_swells_is_reported_and_the_others_are_read(
    swollen: Path, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metastore.connect(str(swollen)) as store:
        if packed:
            store.storage.compact(parse_dataset_id(CARS))
        monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    with metastore.connect(str(swollen)) as store:
        tracemalloc.start()
        with pytest.raises(StorageCorrupt, match="it has more than 1000000 bytes"):
            store.dataset_read(CARS)
        damages = list(store.verify())
        assert {damage.where for damage in damages} == {CARS}
        assert "more than 1000000 bytes" in " ".join(damage.detail for damage in damages)
        assert isinstance(store.storage, GitStorage)
        assert backup(store.storage, tmp_path / "backup").kept == (() if packed else (parse_dataset_id(CARS),))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()
        assert store.dataset_read("physics/trains").descriptor == {"name": "trains"}


def test_an_object_that_says_that_it_is_small_is_not_unpacked_to_its_end(
    sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    content = zlib.compress(b"blob 10\0" + bytes(30_000_000))
    identity = "12" * 20
    path = sent / f"{CARS}.git" / "objects" / identity[:2] / identity[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    tracemalloc.start()
    with metastore.connect(str(sent)) as store:
        assert [damage.where for damage in store.verify()] == [CARS]
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_delta_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta of seven bytes a piece copies its base again and again."""
    base = GitObject("blob", bytes(65_536))
    copies = b"\x80\x80\x04" + b"\x80\x80\x80\x80\x08" + b"\x80" * 256
    entries = [whole_entry(base), b""]
    entries[1] = delta_entry(copies, len(entries[0]))
    rows = [Row(bytes.fromhex(object_id(*base)), b"1234", 12), Row(b"\x77" * 20, b"1234", 12 + len(entries[0]))]
    folder = tmp_path / "objects" / "pack"
    folder.mkdir(parents=True)
    (folder / "new").write_bytes(HEADER + (2).to_bytes(4) + b"".join(entries) + bytes(20))
    name_pack(str(folder), "new", rows, bytes(20))
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    assert Packs(str(tmp_path)).read(object_id(*base)) == base
    with pytest.raises(ValueError, match="it has more than 1000000 bytes"):
        Packs(str(tmp_path)).read("77" * 20)


def padded(delta: bytes, distance: int) -> bytes:
    """Return the entry of a delta that begins with blocks of zlib that hold nothing."""
    squeezed = zlib.compress(delta)
    empty = squeezed[:2] + b"\0\0\0\xff\xff" * 1000
    return delta_entry(delta, distance).removesuffix(squeezed) + empty + squeezed[2:]


def of_version_1(folder: Path, name: str, identity: str, offset: int) -> None:
    old = b"".join((each >= int(identity[:2], 16)).to_bytes(4) for each in range(256))
    old += offset.to_bytes(4) + bytes.fromhex(identity) + (folder / f"{name}.pack").read_bytes()[-20:]
    (folder / f"{name}.idx").unlink()
    (folder / f"{name}.idx").write_bytes(old + hashlib.sha1(old).digest())


def over_several(folder: Path, name: str, identity: str, offset: int) -> None:
    names = f"{name}.idx\0".encode().ljust(52, b"\0")
    fan = b"".join((each >= int(identity[:2], 16)).to_bytes(4) for each in range(256))
    chunks = {b"PNAM": names, b"OIDF": fan, b"OIDL": bytes.fromhex(identity), b"OOFF": bytes(4) + offset.to_bytes(4)}
    content, at = b"MIDX\1\1\4\0\0\0\0\1", 12 + 12 * 5
    for kind, chunk in [*chunks.items(), (bytes(4), b"")]:
        content, at = content + kind + at.to_bytes(8), at + len(chunk)
    content += b"".join(chunks.values())
    (folder / "multi-pack-index").write_bytes(content + hashlib.sha1(content).digest())


@pytest.mark.parametrize(
    ("entry", "index", "words"),
    [
        (delta_entry, None, "holds an object of more than 1000000 bytes; no object was read"),
        (padded, None, "holds an object of more than 1000000 bytes; no object was read"),
        (delta_entry, of_version_1, "has an index that is not of version 2"),
        (delta_entry, over_several, "is missing, to which refs/tags/evil leads"),
    ],
    ids=["plain", "padded", "version-1", "several"],
)
def test_verify_reads_no_pack_in_which_the_base_of_a_delta_swells(
    sent: Path,
    entry: Callable[..., bytes],
    index: Callable[..., None] | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The index does not have the base, and the object itself is small. libgit2 would unpack both."""
    small, base = GitObject("blob", bytes(10)), GitObject("blob", bytes(65_536))
    entries = [whole_entry(base)]
    entries.append(entry(b"\x80\x80\x04" + b"\x80\x80\x80\x08" + b"\x80" * 256, len(entries[0])))
    entries.append(entry(b"\x80\x80\x80\x08\x0a\x90\x0a", len(entries[1])))
    last = 12 + sum(map(len, entries[:2]))
    folder = sent / f"{CARS}.git" / "objects" / "pack"
    content = HEADER + (1).to_bytes(4) + b"".join(entries)
    checksum = hashlib.sha1(content).digest()
    (folder / "new").write_bytes(content + checksum)
    shown = (base, 12) if index is over_several else (small, last)
    name = name_pack(str(folder), "new", [Row(bytes.fromhex(object_id(*shown[0])), b"1234", shown[1])], checksum)
    if index is None:
        assert Packs(str(folder.parent.parent)).read(object_id(*small)) == small
    else:
        index(folder, name, object_id(*small), last)
    (folder.parent.parent / "refs" / "tags" / "evil").write_text(f"{object_id(*small)}\n")
    assert pygit2.Odb(str(folder.parent)).read(object_id(*small))[1] == small.content
    monkeypatch.setattr(reading, "LONGEST", 1_000_000)
    with metastore.connect(str(sent)) as store:
        [damage] = store.verify()
    assert words in damage.detail


@pytest.mark.parametrize("entry", [delta_entry, padded])
def test_git_indexes_no_pack_in_which_an_object_swells(
    tmp_path: Path, entry: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [whole_entry(GitObject("blob", bytes(65_536)))]
    entries.append(entry(b"\x80\x80\x04" + b"\x80\x80\x80\x08" + b"\x80" * 256, len(entries[0])))
    entries.append(whole_entry(GitObject("blob", b"last")))
    content = HEADER + (3).to_bytes(4) + b"".join(entries)
    folder = tmp_path / "objects" / "pack"
    folder.mkdir(parents=True)
    (folder / "pack-1.pack").write_bytes(content + hashlib.sha1(content).digest())
    for longest, made in ((1_000_000, set()), (reading.LONGEST, {"pack-1.idx"})):
        monkeypatch.setattr(reading, "LONGEST", longest)
        ObjectDatabase(str(tmp_path), sync=False).index_again()
        assert set(os.listdir(folder)) & {"pack-1.idx"} == made
