"""The files below `objects/` of a repository: listed, copied, and compared with their checksums."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator

from metastore.errors import StorageCorrupt
from metastore.files import reading
from metastore.files.durable import write_all
from metastore.files.reading import open_file
from metastore.os_errors import naming

_CHUNK = 64 * 1024
_LOOSE_FOLDER, _LOOSE = re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{38}")
_PACKED = re.compile(r"[\w.-]+\.(pack|idx)")


def object_names(path: str) -> Iterator[str]:
    """Yield the path of each object file below a repository.

    Loose objects come before packs: an object that Git packs meanwhile is seen in one of the two places.

    Raises:
        FileNotFoundError: Git removed a folder meanwhile.
    """
    for folder in sorted(os.listdir(f"{path}/objects")):
        if folder == "pack":
            yield from (f"objects/pack/{name}" for name in _complete(_settled(f"{path}/objects/pack")))
        elif _LOOSE_FOLDER.fullmatch(folder):
            names = os.listdir(f"{path}/objects/{folder}")
            yield from (f"objects/{folder}/{name}" for name in names if _LOOSE.fullmatch(name))


def object_files(path: str) -> Iterator[tuple[str, int]]:
    """Yield what `object_names` yields, and the size of each file in bytes.

    Raises:
        FileNotFoundError: Git removed a file meanwhile.
    """
    yield from ((name, os.stat(f"{path}/{name}").st_size) for name in object_names(path))


def _settled(folder: str) -> set[str]:
    """List a folder of packs until two lists agree: Git renames a finished pack, which one list can miss."""
    names: set[str] | None = None
    while names != (now := set(os.listdir(folder))):
        names = now
    return names


def _complete(names: set[str]) -> Iterator[str]:
    """Yield the packs and their indexes; Git may have written an index after its pack was looked for."""
    return (name for name in names if _PACKED.fullmatch(name) and name.replace(".idx", ".pack") in names)


def copy_object(source: str, target: str, name: str, *, sync: bool) -> int:
    """Copy an object file, and compare it with its checksum.

    Args:
        source: The file.
        target: The path of the copy.
        name: The file's path below the repository.
        sync: Whether to make the copy durable.

    Returns:
        Its size in bytes.

    Raises:
        StorageCorrupt: The checksum is wrong; there is no copy.
    """
    checksum, size = _Checksum(name), 0
    reading = open_file(source)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
        try:
            for chunk in _chunks(reading, source):
                checksum.update(chunk)
                size += len(chunk)
                with naming(target):
                    write_all(writing, chunk)
            if sync:
                with naming(target):
                    os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
    if not checksum.is_right():
        os.unlink(target)
        raise StorageCorrupt(f"{source} is damaged: its checksum is wrong")
    return size


def _chunks(descriptor: int, path: str) -> Iterator[bytes]:
    chunk = _read(descriptor, path)
    while chunk:
        yield chunk
        chunk = _read(descriptor, path) if len(chunk) == _CHUNK else b""  # only the end of a file gives less


def _read(descriptor: int, path: str) -> bytes:
    with naming(path):
        return os.read(descriptor, _CHUNK)


def is_whole(path: str, name: str) -> bool:
    """Tell whether the object file at a path has the checksum that it needs; `name` as for `copy_object`."""
    checksum = _Checksum(name)
    with naming(path), open(path, "rb", opener=open_file) as file:
        while chunk := file.read(_CHUNK):
            checksum.update(chunk)
    return checksum.is_right()


class _Checksum:
    """The checksum of an object file: a loose object's is its name, a pack's and an index's are their last 20 bytes.

    See gitformat-loose(5) and gitformat-pack(5).
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_pack = name.endswith((".pack", ".idx"))
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._inflated = zlib.decompressobj()
        self._end = b""
        self._broken = False
        #: The bytes that may still come out of a loose object.
        self._left = reading.LONGEST

    def update(self, chunk: bytes) -> None:
        """Add the next part of the file."""
        if self._is_pack:
            chunk = self._end + chunk
            self._digest.update(chunk[:-20])
            self._end = chunk[-20:]
            return
        is_more = True
        while is_more and not self._broken:
            try:
                content = self._inflated.decompress(chunk, _CHUNK)
            except zlib.error:
                self._broken = True
                return
            self._digest.update(content)
            self._left -= len(content)
            self._broken = self._left < 0  # a megabyte can hold a thousand, and no reader would take them
            chunk = self._inflated.unconsumed_tail
            is_more = bool(chunk) or len(content) == _CHUNK

    def is_right(self) -> bool:
        """Tell whether the parts so far are the whole file, undamaged."""
        if self._is_pack:
            return self._digest.digest() == self._end
        complete = self._inflated.eof and not self._inflated.unused_data and not self._broken
        return complete and self._digest.hexdigest() == "".join(self._name.split("/")[-2:])
