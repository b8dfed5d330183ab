"""Packs: many objects in one file, with an index. Format: gitformat-pack(5)."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pygit2
from pygit2.enums import ObjectType

from metastore import git
from metastore.errors import StorageCorrupt, StorageUnavailable
from metastore.files import read_file, sync_directory, sync_file
from metastore.git.objects import GitObject
from metastore.storage.local._locks import git_locked

KINDS = {
    git.COMMIT: ObjectType.COMMIT,
    git.TREE: ObjectType.TREE,
    git.BLOB: ObjectType.BLOB,
    git.TAG: ObjectType.TAG,
}
#: How the index of a pack begins, and where in it the ids are.
INDEX_HEADER = b"\xfftOc\0\0\0\2"
IDS_AT = 8 + 256 * 4


def write_pack(source: pygit2.Odb, ids: Iterable[str], path: str, *, sync: bool) -> str:
    """Write objects into one pack of the repository at a path: aside first, then the pack, then its index.

    Returns:
        The pack's name, without folder and ending.
    """
    git = pygit2.Repository()
    git.set_odb(source)
    with aside(path) as folder:
        try:
            builder = pygit2.PackBuilder(git)
            for identity in ids:
                builder.add(pygit2.Oid(hex=identity))
            builder.write(folder)
        except (KeyError, ValueError) as error:
            raise StorageCorrupt(f"not all objects below {path} can be read: {error}") from error
        except pygit2.GitError as error:
            raise StorageUnavailable(f"a pack could not be written below {path}: {error}") from error
        finally:
            git.free()  # it is part of a reference cycle, and would keep old packs open until that is collected
        name = next(file for file in os.listdir(folder) if file.endswith(".idx")).removesuffix(".idx")
        install(folder, name, path, sync=sync)
    return name


@contextmanager
def aside(path: str) -> Iterator[str]:
    """Make a folder in the repository at a path, for files that do not count yet, and remove it in the end."""
    folder = f"{path}/objects/tmp_pack_{secrets.token_hex(8)}"
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def install(folder: str, name: str, path: str, *, sync: bool) -> None:
    """Let a pack that was made aside count, durably."""
    for ending in (".pack", ".idx"):
        if sync:
            sync_file(f"{folder}/{name}{ending}")
        os.replace(f"{folder}/{name}{ending}", f"{path}/objects/pack/{name}{ending}")
    if sync:
        sync_directory(f"{path}/objects/pack")


def pack_names(path: str) -> set[str]:
    """Return the names of the packs of the repository at a path, without folder and ending."""
    files = os.listdir(f"{path}/objects/pack")
    return {file.removesuffix(".idx") for file in files if file.endswith(".idx")}


def read_index(path: str, name: str) -> bytes:
    """Return the index of a pack, after comparing it with its checksum; libgit2 passes over damaged ones in silence.

    Raises:
        StorageCorrupt: It is damaged, or not of version 2.
    """
    file = f"{path}/objects/pack/{name}.idx"
    data = read_file(file) or b""
    if not data.startswith(INDEX_HEADER) or hashlib.sha1(data[:-20], usedforsecurity=False).digest() != data[-20:]:
        raise StorageCorrupt(f"{file} is damaged, or of another version")
    return data


def index_ids(path: str, name: str) -> list[str]:
    """Return the ids of the objects in a pack. Raises StorageCorrupt."""
    data = read_index(path, name)
    ids = data[IDS_AT : IDS_AT + 20 * int.from_bytes(data[IDS_AT - 4 : IDS_AT])]
    return [ids[start : start + 20].hex() for start in range(0, len(ids), 20)]


def remove_packs(path: str, names: Iterable[str]) -> None:
    """Remove packs whose objects are in others; readers who know them find the others.

    An index over several packs (git-multi-pack-index(1)) goes first: it would name packs that are gone.
    """
    names = list(names)
    several = f"{path}/objects/pack/multi-pack-index"
    if names and os.path.exists(several):
        with git_locked([several]), suppress(FileNotFoundError):
            os.unlink(several)
    for name in names:
        for ending in (".idx", ".pack", ".rev", ".bitmap"):
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/objects/pack/{name}{ending}")


def in_memory(objects: Mapping[str, GitObject]) -> pygit2.Odb:
    """Return a database of these objects, for `write_pack`."""
    odb = pygit2.Odb()
    odb.add_backend(_MemoryBackend(objects), 1)
    return odb


class _MemoryBackend(pygit2.OdbBackend):
    """Lets libgit2 pack objects that are in memory only."""

    def __init__(self, objects: Mapping[str, GitObject]) -> None:
        super().__init__()
        self._objects = objects

    def read_cb(self, oid: Any) -> tuple[int, bytes]:
        kind, content = self._objects[str(oid)]
        return KINDS[kind], content

    def read_header_cb(self, oid: Any) -> tuple[int, int]:
        kind, content = self._objects[str(oid)]
        return KINDS[kind], len(content)

    def exists_cb(self, oid: Any) -> bool:
        return str(oid) in self._objects
