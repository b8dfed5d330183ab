"""Small files of a local store, which are read again only if somebody touched them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import metastore
from metastore.errors import RevisionNotFound
from metastore.files import reading
from metastore.files.durable import replace_file
from metastore.files.reading import SmallFiles


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were really read."""
    seen: list[str] = []
    read = reading.read_file

    def counted(path: str) -> bytes | None:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(reading, "read_file", counted)
    return seen


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which everything was written long ago."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60_000_000_000)


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "HEAD").write_bytes(b"old")
    return str(tmp_path / "HEAD")


@pytest.mark.usefixtures("later")
def test_a_file_that_was_left_alone_is_read_once(path: str, reads: list[str]) -> None:
    known = SmallFiles()
    assert [known.read(path) for _ in range(3)] == [b"old"] * 3
    assert reads == [path]


def test_a_file_that_was_just_written_is_read_each_time(path: str, reads: list[str]) -> None:
    known = SmallFiles()
    assert [known.read(path) for _ in range(3)] == [b"old"] * 3
    assert len(reads) == 3


@pytest.mark.usefixtures("later")
def test_a_file_that_was_replaced_is_read_again(path: str) -> None:
    known = SmallFiles()
    known.read(path)
    replace_file(path, b"new", sync=False)
    assert known.read(path) == b"new"


@pytest.mark.usefixtures("later")
def test_a_file_of_the_same_inode_size_and_time_of_change_is_read_again(path: str) -> None:
    known = SmallFiles()
    known.read(path)
    before = os.stat(path)
    while os.stat(path).st_ctime_ns == before.st_ctime_ns:  # the clock of the file system has a grain
        Path(path).write_bytes(b"new")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert known.read(path) == b"new"


@pytest.mark.usefixtures("later")
def test_a_file_that_went_and_came_again_is_there_again(path: str) -> None:
    known = SmallFiles()
    known.read(path)
    os.unlink(path)
    assert known.read(path) is None
    Path(path).write_bytes(b"new")
    assert known.read(path) == b"new"


@pytest.mark.usefixtures("later")
def test_what_is_known_without_reading_is_what_was_read_and_left_alone(path: str) -> None:
    known = SmallFiles()
    with pytest.raises(KeyError):
        known.known(path)
    known.read(path)
    assert known.known(path) == b"old"
    replace_file(path, b"new", sync=False)
    with pytest.raises(KeyError):
        known.known(path)


@pytest.mark.usefixtures("later")
def test_a_reference_that_was_packed_and_then_written_again_is_the_one_written(tmp_path: Path) -> None:
    store = metastore.connect(tmp_path / "store", author="Ann Lee", sync=False)
    store.dataset_create("physics/cars", {"name": "cars", "resources": []})
    repository = tmp_path / "store" / "physics" / "cars.git"
    subprocess.run(["git", "-C", repository, "pack-refs", "--all"], check=True)
    store.dataset_read("physics/cars")
    for title in ("One", "Two"):
        metastore.connect(tmp_path / "store", author="Bo", sync=False).dataset_patch("physics/cars", {"title": title})
        assert store.dataset_read("physics/cars").descriptor["title"] == title


@pytest.mark.usefixtures("later")
def test_a_dataset_that_was_purged_and_made_again_is_the_new_one(tmp_path: Path) -> None:
    store, other = (metastore.connect(tmp_path / "store", author="Ann Lee", sync=False) for _ in range(2))
    store.dataset_create("physics/cars", {"name": "cars", "resources": []})
    old = store.dataset_read("physics/cars").revision.id
    other.dataset_purge("physics/cars", force=True)
    other.dataset_create("physics/cars", {"name": "cars", "resources": [], "title": "New"})
    with pytest.raises(RevisionNotFound):
        store.dataset_read("physics/cars", old)
    assert store.dataset_read("physics/cars").descriptor["title"] == "New"
