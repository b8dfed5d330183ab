"""Reads objects from packs. Format: gitformat-pack(5).

It finds objects that libgit2 does not: libgit2 ignores packs that Git has not finished, and keeps using packs that are
gone while a `multi-pack-index` names them. A writer, too, has to know whether an object is in an existing pack.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections import OrderedDict
from contextlib import suppress

from metastore.errors import StorageCorrupt
from metastore.files import reading
from metastore.files.reading import open_file
from metastore.git.delta import apply_delta, result_size
from metastore.git.objects import GitObject, object_id
from metastore.git.pack import BY_ID, BY_OFFSET, HEADER, KINDS_BY_NUMBER, read_distance, read_entry_head
from metastore.os_errors import naming
from metastore.storage.local._pack_index import PackIndex, UnsupportedVersion
from metastore.storage.local._packs import readable_packs

_CHUNK = 4096
_MOST_CHUNK = 1024 * 1024
#: The bytes of an entry that are read at first, and those of a delta in which its two sizes are.
_START, _SIZES = 512, 20
#: The most recently read objects that are kept, since they may be bases of the next ones.
_BASES, _LARGEST_BASE = 8, 256 * 1024
#: The errors that a damaged pack can cause.
_FAULTS = (ValueError, IndexError, zlib.error)


class ObjectTooLarge(ValueError):
    """An object is too large to be read."""


def expect_size(size: int) -> None:
    """Refuse to unpack more bytes than a file that is read whole may have. Raises ObjectTooLarge."""
    if size > reading.LONGEST:
        raise ObjectTooLarge(f"it has more than {reading.LONGEST} bytes")


class Packs:
    """The packs of the repository at a path, in the state at creation. Not safe to share between threads."""

    def __init__(self, path: str) -> None:
        self._packs: list[_Pack] = []
        for name in sorted(readable_packs(path)):
            with suppress(FileNotFoundError, *_FAULTS):  # gone again, or damaged, as `verify` reports
                self._packs.append(_Pack(f"{path}/objects/pack/{name}"))

    def has(self, identity: str) -> bool:
        """Tell whether an object can be read."""
        raw = bytes.fromhex(identity)
        if all(pack.index.find(raw) is None for pack in self._packs):  # most are new, and an exception takes longer
            return False
        with suppress(KeyError, ValueError, FileNotFoundError):
            self.read(identity)
            return True
        return False

    def size(self, identity: str) -> int | None:
        """Return the size of an object in bytes, as its entry says; None if it is in no pack that can be read."""
        raw = bytes.fromhex(identity)
        for pack in self._packs:
            with suppress(OSError, StorageCorrupt, *_FAULTS):
                if (offset := pack.index.find(raw)) is not None:
                    return pack.size(offset)
        return None

    def read(self, identity: str) -> GitObject:
        """Return an object, after comparing its content with its id.

        Raises:
            KeyError: It is in no pack.
            ValueError: It cannot be read.
            FileNotFoundError: Its pack is gone.
        """
        fault: Exception = KeyError(identity)
        raw = bytes.fromhex(identity)
        for pack in self._packs:
            offset = pack.index.find(raw)
            if offset is None:
                continue
            try:
                found = pack.read(offset)
            except (FileNotFoundError, *_FAULTS) as error:  # it may be in another one as well
                fault = error if isinstance(error, FileNotFoundError) else ValueError(f"its pack is damaged: {error}")
                continue
            if object_id(*found) == identity:
                return found
            fault = ValueError("its content is not that of its id")
        try:
            raise fault
        finally:
            del fault  # it refers to this frame


class Foreseen:
    """The sizes to which the packs of a repository would unpack, found without unpacking any.

    Attributes:
        refused: Packs of which nothing should be read -> the reason, as the end of a sentence.
        is_all: Whether libgit2 reads no entry but those that were looked at. It passes over no damage of an index, and
            takes the places of an index over several packs (git-multi-pack-index(1)) before ours.
    """

    def __init__(self, path: str) -> None:
        self.refused: dict[str, str] = {}
        self.is_all = not os.path.lexists(f"{path}/objects/pack/multi-pack-index")
        for name in sorted(readable_packs(path)):
            try:
                _Pack(f"{path}/objects/pack/{name}").expect_sizes()
            except ObjectTooLarge:
                self.refused[name] = f"holds an object of more than {reading.LONGEST} bytes"
            except UnsupportedVersion:
                self.refused[name] = "has an index that is not of version 2: `git index-pack` makes a new one"
            except (FileNotFoundError, StorageCorrupt, *_FAULTS):  # reported elsewhere
                self.is_all = False


class _Pack:
    """A pack and its index. Only the index stays open: there can be many handles, but few open files."""

    def __init__(self, stem: str) -> None:
        self._path = f"{stem}.pack"
        self._bases: OrderedDict[int, GitObject] = OrderedDict()
        with open(f"{stem}.idx", "rb", opener=open_file) as file:
            self.index = PackIndex(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def expect_sizes(self) -> None:
        """Check the sizes that all entries announce, without unpacking them: those of bases too, also hidden ones.

        Raises ObjectTooLarge. Other faults are left to those who read the objects.
        """
        waiting = [row.offset for row in self.index.rows()]
        seen = set(waiting)
        descriptor = open_file(self._path)
        try:
            while waiting:
                base = self._expect_size_at(descriptor, waiting.pop())
                if base is not None and base not in seen:
                    seen.add(base)
                    waiting.append(base)
        finally:
            os.close(descriptor)

    def _expect_size_at(self, descriptor: int, offset: int) -> int | None:
        """Check the sizes at an offset. Return the offset of the base of a delta in this pack, or None."""
        try:
            chunk = os.pread(descriptor, _START, offset)
            number, size, position = read_entry_head(chunk, 0)
            expect_size(size)
            if number not in (BY_OFFSET, BY_ID):
                return None
            distance, end = _read_base(chunk, number, position)
            expect_size(result_size(_beginning(descriptor, offset + end)))
        except ObjectTooLarge:
            raise
        except _FAULTS:  # no reader gets beyond it
            return None
        return offset - distance if distance else None

    def size(self, offset: int) -> int:
        """Return the size of the object at an offset, as its entry says. Raises FileNotFoundError or ValueError."""
        descriptor = open_file(self._path)
        try:
            chunk = os.pread(descriptor, _START, offset)
            number, size, position = read_entry_head(chunk, 0)
            if number not in (BY_OFFSET, BY_ID):
                return size
            return result_size(_beginning(descriptor, offset + _read_base(chunk, number, position)[1]))
        finally:
            os.close(descriptor)

    def read(self, offset: int) -> GitObject:
        """Return the object at an offset. Raises FileNotFoundError, ValueError, IndexError or zlib.error."""
        if (known := self._bases.get(offset)) is not None:
            return known
        descriptor = open_file(self._path)
        try:
            with naming(self._path):
                return self._read(descriptor, offset)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, place: int) -> GitObject:
        deltas: dict[int, bytes] = {}
        total = 0
        while (found := self._bases.get(place)) is None:
            if place in deltas:
                raise ValueError("a delta is a base of itself")
            number, base, content = self._entry(descriptor, place)
            if base is None:
                found = self._keep(place, GitObject(KINDS_BY_NUMBER[number], content))
                break
            total += len(content)
            expect_size(max(total, result_size(content)))
            deltas[place], place = content, base
        for place, delta in reversed(deltas.items()):
            found = self._keep(place, GitObject(found.kind, apply_delta(found.content, delta)))
        return found

    def _keep(self, place: int, found: GitObject) -> GitObject:
        if len(found.content) <= _LARGEST_BASE:
            self._bases[place] = found
            if len(self._bases) > _BASES:
                self._bases.popitem(last=False)
        return found

    def _entry(self, descriptor: int, offset: int) -> tuple[int, int | None, bytes]:
        """Return an entry: an object of a kind, or a delta to a base."""
        chunk = os.pread(descriptor, _CHUNK, offset)
        number, size, position = read_entry_head(chunk, 0)
        base = None
        if number == BY_OFFSET:
            distance, position = read_distance(chunk, position)
            base = offset - distance
            if base <= 0:
                raise ValueError("the base of a delta lies before the pack")
        elif number == BY_ID:
            base = self.index.find(chunk[position : position + 20])
            position += 20
            if base is None:
                raise ValueError("the base of a delta is missing")
        elif number not in KINDS_BY_NUMBER:
            raise ValueError("an object is of no kind")
        expect_size(size)
        return number, base, _inflated(descriptor, chunk[position:], offset + len(chunk), size)


def is_indexable(path: str) -> bool:
    """Tell whether Git can index the pack at a path without unpacking a huge object, and the pack is whole."""
    with suppress(OSError, StorageCorrupt, *_FAULTS):
        descriptor = open_file(path)
        try:
            offset = len(HEADER) + 4
            for _ in range(int.from_bytes(os.pread(descriptor, offset, 0)[-4:])):
                offset = _end_of_entry(descriptor, offset)
        finally:
            os.close(descriptor)
        return True
    return False


def _end_of_entry(descriptor: int, offset: int) -> int:
    """Return the end of an entry, of which no more than a piece is held. Raises ObjectTooLarge and other faults."""
    chunk = os.pread(descriptor, _START, offset)
    number, size, position = read_entry_head(chunk, 0)
    expect_size(size)
    is_delta = number in (BY_OFFSET, BY_ID)
    place = offset + (_read_base(chunk, number, position)[1] if is_delta else position)
    if is_delta:
        expect_size(result_size(_beginning(descriptor, place)))
    inflater = zlib.decompressobj()
    while not inflater.eof:
        if not (data := os.pread(descriptor, _CHUNK, place)) or size < 0:
            raise ValueError("an object is of another size than announced")
        size -= len(inflater.decompress(data, _MOST_CHUNK))
        place += len(data) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
    return place


def _read_base(chunk: bytes, number: int, position: int) -> tuple[int, int]:
    """Return the distance from a delta to its base, 0 if an id names that; and the end of either."""
    return read_distance(chunk, position) if number == BY_OFFSET else (0, position + 20)


def _beginning(descriptor: int, place: int) -> bytes:
    """Return the first decompressed bytes from a place: enough for the two sizes of a delta.

    Blocks without content may come before them, any number.
    """
    inflater, content, many = zlib.decompressobj(), b"", _START
    while len(content) < _SIZES and not inflater.eof and (data := os.pread(descriptor, many, place)):
        content += inflater.decompress(data, _SIZES - len(content))
        place, many = place + len(data), _MOST_CHUNK
    return content


def _inflated(descriptor: int, start: bytes, place: int, size: int) -> bytes:
    """Return decompressed data from a file, given its start, which was read already, and the place of the rest."""
    inflater = zlib.decompressobj()
    content = inflater.decompress(start, size + 1)
    while not inflater.eof and len(content) <= size:
        data = inflater.unconsumed_tail
        if not data:
            data = os.pread(descriptor, min(_MOST_CHUNK, size + _CHUNK), place)
            place += len(data)
            if not data:
                raise ValueError("it was cut short")
        content += inflater.decompress(data, size + 1 - len(content))
    if len(content) != size or not inflater.eof:
        raise ValueError("an object is of another size than announced")
    return content
