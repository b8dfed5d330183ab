"""The index of a pack: the ids of its objects, sorted, and the place of each. Format, version 2: gitformat-pack(5)."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from itertools import accumulate
from typing import NamedTuple

from metastore.errors import StorageCorrupt
from metastore.files.reading import read_file

_HEADER = b"\xfftOc\0\0\0\2"
#: The position of the ids.
_IDS_AT = len(_HEADER) + 256 * 4
_FAR = 0x8000_0000  # larger offsets are in a separate table


class Row(NamedTuple):
    """The entry for an object: its id, its checksum and its offset in the pack."""

    id: bytes
    crc: bytes
    offset: int


class UnsupportedVersion(ValueError):
    """An index is not of version 2, but of version 1, which Git has not written for years, or of a later one."""


class PackIndex:
    """The index of a pack, ready to look objects up.

    Args:
        data: The content of the file, in memory or mapped.

    Raises:
        ValueError: It is damaged or, as `UnsupportedVersion`, not of version 2.
    """

    def __init__(self, data: bytes | mmap.mmap) -> None:
        if data[: len(_HEADER)] != _HEADER:
            raise UnsupportedVersion("its index is not of version 2")
        if len(data) < _IDS_AT:
            raise ValueError("its index is damaged")
        self._data = data
        self._before = [0, *(int.from_bytes(data[place : place + 4]) for place in range(len(_HEADER), _IDS_AT, 4))]
        self._count = self._before[-1]
        self._crcs_at, self._offsets_at, self._far_at = (_IDS_AT + size * self._count for size in (20, 24, 28))
        if self._before != sorted(self._before) or len(data) < self._far_at + 40:
            raise ValueError("its index is damaged")

    def find(self, identity: bytes) -> int | None:
        """Return the offset of an object in the pack, or None."""
        first = _IDS_AT + 20 * self._before[identity[0]]
        stop = _IDS_AT + 20 * self._before[identity[0] + 1]
        place = self._data.find(identity, first, stop)
        while place >= 0 and (place - _IDS_AT) % 20:  # the match spans two ids
            place = self._data.find(identity, place + 1, stop)
        return None if place < 0 else self._offset((place - _IDS_AT) // 20)

    def ids(self) -> list[str]:
        """Return the ids of all objects."""
        ids = self._data[_IDS_AT : self._crcs_at].hex()
        return [ids[start : start + 40] for start in range(0, len(ids), 40)]

    def rows(self) -> list[Row]:
        """Return the entries of all objects."""
        ids, crcs = self._data[_IDS_AT : self._crcs_at], self._data[self._crcs_at : self._offsets_at]
        return [
            Row(ids[20 * number : 20 * number + 20], crcs[4 * number : 4 * number + 4], self._offset(number))
            for number in range(self._count)
        ]

    def _offset(self, number: int) -> int:
        offset = self._number(self._offsets_at + 4 * number, 4)
        return self._number(self._far_at + 8 * (offset - _FAR), 8) if offset >= _FAR else offset

    def _number(self, place: int, size: int) -> int:
        return int.from_bytes(self._data[place : place + size])


def read_index(path: str, name: str) -> PackIndex:
    """Return the index of a pack, after a comparison with its checksum; libgit2 silently ignores damaged ones.

    Args:
        path: The repository's folder.
        name: The pack, without folder and extension.

    Raises:
        FileNotFoundError: It is gone.
        StorageCorrupt: It is damaged, or not of version 2.
    """
    file = f"{path}/objects/pack/{name}.idx"
    data = read_file(file)
    if data is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
    try:
        if hashlib.sha1(data[:-20], usedforsecurity=False).digest() == data[-20:]:
            return PackIndex(data)
    except ValueError:
        pass
    raise StorageCorrupt(f"{file} is damaged, or not of version 2")


def index_content(rows: list[Row], pack_checksum: bytes) -> bytes:
    """Return the index of a pack."""
    rows = sorted(rows)
    per_byte = [0] * 256
    for row in rows:
        per_byte[row.id[0]] += 1
    far: list[int] = []
    offsets = []
    for row in rows:
        if row.offset >= _FAR:
            offsets.append(_FAR + len(far))
            far.append(row.offset)
        else:
            offsets.append(row.offset)
    content = b"".join(
        [
            _HEADER,
            *(number.to_bytes(4) for number in accumulate(per_byte)),
            *(row.id for row in rows),
            *(row.crc for row in rows),
            *(offset.to_bytes(4) for offset in offsets),
            *(offset.to_bytes(8) for offset in far),
            pack_checksum,
        ]
    )
    return content + hashlib.sha1(content, usedforsecurity=False).digest()
