"""Packs: many objects in one file, with an index. Format: gitformat-pack(5)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

import pygit2
from pygit2.enums import ObjectType

from metastore import gitobject
from metastore.errors import StorageUnavailable
from metastore.gitobject import GitObject
from metastore.storage.files import sync_directory

KINDS = {
    gitobject.COMMIT: ObjectType.COMMIT,
    gitobject.TREE: ObjectType.TREE,
    gitobject.BLOB: ObjectType.BLOB,
    gitobject.TAG: ObjectType.TAG,
}


def write_pack(source: pygit2.Repository, ids: Mapping[str, Any], path: str, *, sync: bool) -> str:
    """Write objects into one pack of the repository at a path: aside first, then the pack, then its index.

    Returns:
        The pack's name, without folder and ending.
    """
    aside = f"{path}/objects/tmp_pack_{secrets.token_hex(8)}"
    os.mkdir(aside)
    try:
        builder = pygit2.PackBuilder(source)
        for identity in ids:
            builder.add(pygit2.Oid(hex=identity))
        builder.write(aside)
        name = next(file for file in os.listdir(aside) if file.endswith(".idx")).removesuffix(".idx")
        for ending in (".pack", ".idx"):
            if sync:
                _sync_file(f"{aside}/{name}{ending}")
            os.replace(f"{aside}/{name}{ending}", f"{path}/objects/pack/{name}{ending}")
    except pygit2.GitError as error:
        raise StorageUnavailable(f"a pack could not be written below {path}: {error}") from error
    finally:
        for file in os.listdir(aside):
            os.unlink(f"{aside}/{file}")
        os.rmdir(aside)
    if sync:
        sync_directory(f"{path}/objects/pack")
    return name


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def in_memory(objects: Mapping[str, GitObject]) -> pygit2.Repository:
    """Return a repository whose objects are these, for `write_pack`."""
    odb = pygit2.Odb()
    odb.add_backend(_MemoryBackend(objects), 1)
    git = pygit2.Repository()
    git.set_odb(odb)
    return git


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
