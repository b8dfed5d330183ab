"""Packs as they travel, against Git's own, and Git's protocol against its own server."""

from __future__ import annotations

import hashlib
import random
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore.git import pack
from metastore.git.objects import BLOB, GitObject, object_id
from metastore.git.pack import from_pack, to_pack

from ..test_interop import git

PLENTY = 100_000_000


@given(st.lists(st.binary(max_size=5000)))
def test_objects_come_back_from_a_pack(contents: list[bytes]) -> None:
    objects = {object_id(BLOB, content): GitObject(BLOB, content) for content in contents}
    assert from_pack(to_pack(objects), longest=PLENTY) == objects


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
    found = from_pack(pack, longest=PLENTY)
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
    with pytest.raises(ValueError):
        from_pack(bytes(pack), longest=PLENTY)


def test_a_pack_that_grows_beyond_what_it_says_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "_head", lambda number, size: bytes([number << 4 | 1]))
    content = b"\0" * 10_000_000
    with pytest.raises(ValueError, match="another size"):
        from_pack(to_pack({object_id(BLOB, content): GitObject(BLOB, content)}), longest=PLENTY)


def test_objects_larger_than_may_be_are_not_unpacked() -> None:
    contents = [bytes([number]) * 1_000_000 for number in range(3)]
    pack = to_pack({object_id(BLOB, content): GitObject(BLOB, content) for content in contents})
    assert len(from_pack(pack, longest=3_000_000)) == 3
    with pytest.raises(ValueError, match="its objects have more than 2999999 bytes"):
        from_pack(pack, longest=2_999_999)


def test_a_difference_that_makes_more_than_may_be_is_not_applied() -> None:
    base = b"x" * 60_000
    identity = object_id(BLOB, base)
    copied = b"\xb0\x60\xea" * 1000  # the first 60,000 bytes of the base, a thousand times
    difference = _size(len(base)) + _size(60_000_000) + copied
    modest = _size(len(base)) + _size(60_000) + copied
    for each, said in ((difference, "more than 1000000 bytes"), (modest, "does not fit")):
        body = b"PACK" + (2).to_bytes(4) + (2).to_bytes(4)
        body += pack._head(3, len(base)) + zlib.compress(base)
        body += pack._head(7, len(each)) + bytes.fromhex(identity) + zlib.compress(each)
        with pytest.raises(ValueError, match=said):
            from_pack(body + hashlib.sha1(body).digest(), longest=1_000_000)


def _size(number: int) -> bytes:
    """Return a number as differences have it (gitformat-pack(5))."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
