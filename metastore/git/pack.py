"""Converts objects to packs and back, in memory, as Git sends them. Format: gitformat-pack(5)."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from metastore.git.delta import MOST_BITS, apply_delta, result_size
from metastore.git.objects import BLOB, COMMIT, TAG, TREE, GitObject, object_id

_NUMBERS = {COMMIT: 1, TREE: 2, BLOB: 3, TAG: 4}
KINDS_BY_NUMBER = {number: kind for kind, number in _NUMBERS.items()}
BY_OFFSET, BY_ID = 6, 7
HEADER = b"PACK\0\0\0\2"
_CHUNK = 16 * 1024
#: A pack may have one command of a delta for so many bytes of what may be unpacked. Git's packs have fewer.
_BYTES_A_COMMAND = 64
#: The advice of a server that refuses so much at once. A client then sends or fetches less.
PUSH_LESS, FETCH_LESS = "push older revisions first", "take a part of it, with --depth or --filter"


class PackTooLarge(ValueError):
    """A pack has more objects than it may have, or larger ones."""


def to_pack(objects: Mapping[str, GitObject]) -> bytes:
    """Return a pack of these objects, without deltas."""
    return b"".join(pack_parts(len(objects), objects.values()))


def pack_parts(count: int, objects: Iterable[GitObject], level: int = -1) -> Iterator[bytes]:
    """Yield the parts of a pack, reading one object at a time, without deltas; `level` is zlib's."""
    checksum = hashlib.sha1(usedforsecurity=False)
    for part in chain([HEADER + count.to_bytes(4)], (whole_entry(found, level) for found in objects)):
        checksum.update(part)
        yield part
    yield checksum.digest()


def whole_entry(found: GitObject, level: int = -1) -> bytes:
    """Return an object's entry in a pack, without a delta."""
    return _head(_NUMBERS[found.kind], len(found.content)) + zlib.compress(found.content, level)


def delta_entry(delta: bytes, distance: int) -> bytes:
    """Return an object's entry as a delta to an object that lies `distance` bytes before it."""
    return _head(BY_OFFSET, len(delta)) + _distance(distance) + zlib.compress(delta)


def from_pack(content: bytes, *, longest: int, most: int | None = None) -> dict[str, GitObject]:
    """Return the objects of a pack by id. The ids are computed, so a damaged object gets another id.

    Args:
        content: The pack.
        longest: The largest size of all objects together, in bytes, since a small pack can hold huge ones.
        most: The largest number of objects; None for any number.

    Raises:
        ValueError: The pack is incomplete, needs objects that are not in it, or is too large (`PackTooLarge`).
    """
    room, count = _Room(longest), int.from_bytes(content[8:12])
    if most is not None and count > most:
        raise PackTooLarge(f"it has {count} objects, which is more than {most}")
    try:
        return _resolved(_entries(content, room), room)
    except (LookupError, zlib.error) as error:
        raise ValueError(str(error)) from None


class _Entry(NamedTuple):
    """The entry at an offset: an object, or a delta to a `base`, which is an offset or an id."""

    offset: int
    number: int
    base: int | str | None
    content: bytes


class _Room:
    """The number of bytes that further objects may have."""

    def __init__(self, longest: int) -> None:
        self._left = self._longest = longest
        #: The commands that further deltas may have. Each takes time, and need not add a byte.
        self.commands = iter(range(longest // _BYTES_A_COMMAND))

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise PackTooLarge(f"its objects have more than {self._longest} bytes")


def _entries(content: bytes, room: _Room) -> Iterator[_Entry]:
    digest = hashlib.sha1(content[:-20], usedforsecurity=False).digest()
    if not content.startswith(HEADER) or digest != content[-20:]:
        raise ValueError("its checksum is wrong")
    view, position = memoryview(content)[:-20], 12
    for _ in range(int.from_bytes(content[8:12])):
        offset = position
        base: int | str | None = None
        number, size, position = read_entry_head(view, position)
        room.take(size)
        if number == BY_OFFSET:
            distance, position = read_distance(view, position)
            base = offset - distance
        elif number == BY_ID:
            base, position = bytes(view[position : position + 20]).hex(), position + 20
        inflated, position = _inflate(view, position, size)
        yield _Entry(offset, number, base, inflated)


def _resolved(entries: Iterable[_Entry], room: _Room) -> dict[str, GitObject]:
    """Return the objects of entries: first whole ones, then deltas, each once its base is known."""
    objects: dict[str, GitObject] = {}
    ready = list[tuple[_Entry, GitObject]]()
    waiting = defaultdict[int | str, list[_Entry]](list)
    for entry in entries:
        if entry.base is None:
            ready.append((entry, GitObject(KINDS_BY_NUMBER[entry.number], entry.content)))
        else:
            waiting[entry.base].append(entry)
    while ready:
        entry, found = ready.pop()
        identity = object_id(found.kind, found.content)
        objects[identity] = found
        for follower in (*waiting.pop(entry.offset, ()), *waiting.pop(identity, ())):
            room.take(result_size(follower.content))
            ready.append((follower, GitObject(found.kind, apply_delta(found.content, follower.content, room.commands))))
    if waiting:
        raise ValueError("it is not complete")
    return objects


def _head(number: int, size: int) -> bytes:
    byte, size = number << 4 | size & 15, size >> 4
    out = bytearray()
    while size:
        out.append(byte | 128)
        byte, size = size & 127, size >> 7
    return bytes([*out, byte])


def _distance(distance: int) -> bytes:
    out = bytearray([distance & 127])
    while distance := distance >> 7:
        distance -= 1
        out.append(distance & 127 | 128)
    return bytes(reversed(out))


def read_entry_head(view: bytes | memoryview, position: int) -> tuple[int, int, int]:
    """Read the head of an entry: its number, the size of its content, and the end of the head. Raises IndexError."""
    byte = view[position]
    number, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 128:
        if shift > MOST_BITS:
            raise IndexError("a size is too long")
        position += 1
        byte = view[position]
        size |= (byte & 127) << shift
        shift += 7
    return number, size, position + 1


def read_distance(view: bytes | memoryview, position: int) -> tuple[int, int]:
    """Read the distance from a delta back to its base, and the end of that number. Raises IndexError."""
    byte = view[position]
    distance = byte & 127
    while byte & 128:
        if distance >> MOST_BITS:
            raise IndexError("a distance is too long")
        position += 1
        byte = view[position]
        distance = distance + 1 << 7 | byte & 127
    return distance, position + 1


def _inflate(view: memoryview, position: int, size: int) -> tuple[bytes, int]:
    """Return the object at a position, and the position of the next one."""
    inflater, parts = zlib.decompressobj(), []
    left = size + 1  # never more than announced, but to the end of the stream
    while not inflater.eof:
        chunk = view[position : position + _CHUNK]
        if not chunk:
            raise ValueError("it was cut short")
        position += len(chunk)
        parts.append(inflater.decompress(inflater.unconsumed_tail + bytes(chunk), left))
        left -= len(parts[-1])
        if left <= 0:
            break
    content = b"".join(parts)
    if len(content) != size or not inflater.eof:
        raise ValueError("an object is of another size than announced")
    return content, position - len(inflater.unused_data)
