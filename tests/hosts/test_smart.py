"""Packs as they travel, against Git's own, and Git's protocol against its own server."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore.errors import StorageCorrupt
from metastore.gitobject import BLOB, GitObject, object_id
from metastore.storage.packstream import from_pack, to_pack

from ..test_interop import git


@given(st.lists(st.binary(max_size=5000)))
def test_objects_come_back_from_a_pack(contents: list[bytes]) -> None:
    objects = {object_id(BLOB, content): GitObject(BLOB, content) for content in contents}
    assert from_pack(to_pack(objects)) == objects


def test_git_takes_our_packs(tmp_path: Path) -> None:
    git("init", "-q", tmp_path)
    contents = [b"", b"x" * 100_000, bytes(range(256)) * 9]
    objects = {object_id(BLOB, content): GitObject(BLOB, content) for content in contents}
    command = ["git", "-C", str(tmp_path), "index-pack", "--stdin", "--strict"]
    subprocess.run(command, input=to_pack(objects), check=True, capture_output=True)
    for identity, found in objects.items():
        read = subprocess.run(["git", "-C", tmp_path, "cat-file", "blob", identity], capture_output=True, check=True)
        assert read.stdout == found.content


@pytest.mark.parametrize("options", [["--delta-base-offset"], []])
def test_we_take_gits_packs_with_their_differences(tmp_path: Path, options: list[str]) -> None:
    git("init", "-q", tmp_path)
    chance = random.Random(1)
    lines = [f"{chance.random()}\n" for _ in range(3000)]
    for number in range(12):
        lines[chance.randrange(len(lines))] = f"changed {number}\n"
        (tmp_path / "a").write_text("".join(lines))
        (tmp_path / f"b{number}").write_text("".join(reversed(lines)))
        git("-C", tmp_path, "add", ".")
        git("-C", tmp_path, "commit", "-qm", str(number))
    git("-C", tmp_path, "tag", "-am", "Tagged", "v1")
    command = ["git", "-C", str(tmp_path), "pack-objects", "--stdout", "--revs", "--all", "--depth=50", *options]
    pack = subprocess.run(command, input=b"", capture_output=True, check=True).stdout
    found = from_pack(pack)
    listed = git("-C", tmp_path, "cat-file", "--batch-check", "--batch-all-objects").splitlines()
    assert {line.split()[0]: line.split()[1] for line in listed} == {each: made.kind for each, made in found.items()}


@given(st.data())
def test_a_spoiled_pack_is_refused(data: st.DataObject) -> None:
    contents = [b"hello" * 50, b"world" * 70, b""]
    pack = bytearray(to_pack({object_id(BLOB, content): GitObject(BLOB, content) for content in contents}))
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(pack) - 1))
        pack[position] ^= data.draw(st.integers(1, 255))
    else:
        del pack[data.draw(st.integers(0, len(pack) - 1)) :]
    with pytest.raises(StorageCorrupt):
        from_pack(bytes(pack))


def test_a_pack_that_grows_beyond_what_it_says_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    from metastore.storage import packstream

    monkeypatch.setattr(packstream, "_head", lambda number, size: bytes([number << 4 | 1]))
    content = b"\0" * 10_000_000
    with pytest.raises(StorageCorrupt, match="another size"):
        from_pack(to_pack({object_id(BLOB, content): GitObject(BLOB, content)}))
