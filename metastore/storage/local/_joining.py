"""Joins packs into one, fast, since nothing is compressed again. Format: gitformat-pack(5).

A pack is a header, the objects, and a checksum. An object may be a delta to another one that lies some bytes before it.
That distance does not change when the whole pack moves, so the objects of several packs can simply follow one another.
libgit2 takes half a minute to make one pack of 10,000 versions of a file, and this a few hundredths of a second.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from metastore.errors import StorageCorrupt
from metastore.files.reading import open_file
from metastore.git.pack import HEADER
from metastore.os_errors import naming
from metastore.storage.local._pack_index import Row, read_index
from metastore.storage.local._packs import aside, install, name_pack, pack_names, removable, remove_packs

_CHUNK = 1024 * 1024


class _Pack(NamedTuple):
    name: str
    rows: list[Row]


def join(path: str, *, most: int, sync: bool) -> int:
    """Make one pack of many. Only ever called under the dataset's lock.

    Nothing is dropped. A pack that shares some of its objects with another one is left alone; one that has nothing of
    its own (it was young when it was replaced, or its join was cut short by a crash) does not count, and is removed.

    Args:
        path: The repository's folder.
        most: Nothing is joined unless more packs than this count.
        sync: Whether the new pack is made durable before the old ones go.

    Returns:
        How many packs count now.

    Raises:
        StorageCorrupt: A pack is damaged; nothing has changed.
    """
    names = pack_names(path)
    if len(names) <= most:
        return len(names)
    chosen, surplus = _choose(list(_read(path, names)))
    counted = len(names) - len(surplus)
    if counted > most and len(chosen) > 1:
        with aside(path) as folder:
            name = _write(path, chosen, folder)
            install(folder, name, path, sync=sync)
        surplus += [pack.name for pack in chosen if pack.name != name]
        counted -= len(chosen) - 1
    else:
        _expect_whole(path, chosen if removable(path, surplus) else ())
    remove_packs(path, surplus)
    return counted


def _expect_whole(path: str, packs: Iterable[_Pack]) -> None:
    """Raise StorageCorrupt if a pack is damaged: the packs that would be removed have its objects too."""
    for pack in packs:
        for _ in _objects(path, pack):
            pass


def _read(path: str, names: Iterable[str]) -> Iterator[_Pack]:
    for name in names:
        with suppress(FileNotFoundError):  # Git may have removed it
            yield _Pack(name, read_index(path, name).rows())


def _choose(packs: list[_Pack]) -> tuple[list[_Pack], list[str]]:
    """Return packs that have no object in common, and the names of those whose objects are all in these."""
    chosen, surplus = [], []
    seen: set[bytes] = set()
    for pack in sorted(packs, key=lambda pack: len(pack.rows), reverse=True):
        ids = {row.id for row in pack.rows}
        if seen.isdisjoint(ids):
            chosen.append(pack)
            seen |= ids
        elif ids <= seen:
            surplus.append(pack.name)
    return chosen, surplus


def _write(path: str, packs: list[_Pack], folder: str) -> str:
    rows: list[Row] = []
    digest = hashlib.sha1(usedforsecurity=False)
    with naming(f"{folder}/joined"), open(f"{folder}/joined", "wb") as out:
        head = HEADER + sum(len(pack.rows) for pack in packs).to_bytes(4)
        digest.update(head)
        out.write(head)
        for pack in packs:
            moved = out.tell() - len(head)
            rows += (row._replace(offset=row.offset + moved) for row in pack.rows)
            for chunk in _objects(path, pack):
                digest.update(chunk)
                out.write(chunk)
        out.write(digest.digest())
    return name_pack(folder, "joined", rows, digest.digest())


def _objects(path: str, pack: _Pack) -> Iterator[bytes]:
    """Yield what is between the header and the checksum of a pack; raise StorageCorrupt at the end if it is damaged."""
    file = f"{path}/objects/pack/{pack.name}.pack"
    whole = hashlib.sha1(usedforsecurity=False)
    with naming(file), open(file, "rb", opener=open_file) as content:
        left = os.fstat(content.fileno()).st_size - 32
        head = content.read(12)
        whole.update(head)
        while left > 0 and (chunk := content.read(min(left, _CHUNK))):
            left -= len(chunk)
            whole.update(chunk)
            yield chunk
        if head != HEADER + len(pack.rows).to_bytes(4) or content.read() != whole.digest():
            raise StorageCorrupt(f"{file} is damaged")
