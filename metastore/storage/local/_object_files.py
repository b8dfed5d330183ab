"""The files below `objects/` of a repository: listed, copied, and compared with their checksums."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from metastore.errors import StorageCorrupt

_CHUNK = 1024 * 1024


def object_files(path: str) -> Iterator[tuple[str, int]]:
    """Yield the path of each object file below a repository, and its size in bytes.

    Loose objects come before packs: an object that Git packs meanwhile is seen in one of the two places.

    Raises:
        FileNotFoundError: Git removed a file meanwhile.
    """
    for folder in sorted(os.listdir(f"{path}/objects")):
        if re.fullmatch("pack|[0-9a-f]{2}", folder):
            names = _names(f"{path}/objects/{folder}")
            for name in names:
                # Git may have written the index after its pack was looked for.
                if _is_object(folder, name) and name.replace(".idx", ".pack") in names:
                    yield f"objects/{folder}/{name}", os.stat(f"{path}/objects/{folder}/{name}").st_size


def _names(folder: str) -> set[str]:
    """List a folder until two lists agree, since a list can miss a file that is renamed meanwhile."""
    names: set[str] | None = None
    while names != (now := set(os.listdir(folder))):
        names = now
    return names


def _is_object(folder: str, name: str) -> bool:
    pattern = r"[\w.-]+\.(pack|idx)" if folder == "pack" else "[0-9a-f]{38}"
    return re.fullmatch(pattern, name) is not None


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Make an error of the operating system name this file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def copy_object(source: str, target: str, name: str, *, sync: bool) -> None:
    """Copy an object file, and compare it with its checksum.

    Args:
        source: The file.
        target: The path of the copy.
        name: The file's path below the repository.
        sync: Whether to make the copy durable.

    Raises:
        StorageCorrupt: The checksum is wrong; there is no copy.
    """
    checksum = _Checksum(name)
    with open(source, "rb") as file:
        with _naming(target):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
        try:
            while chunk := _read(file, source):
                checksum.update(chunk)
                with _naming(target):
                    _write(descriptor, chunk)
            if sync:
                with _naming(target):
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if not checksum.is_right():
        os.unlink(target)
        raise StorageCorrupt(f"{source} is damaged: its checksum is wrong")


def _read(file: BinaryIO, path: str) -> bytes:
    with _naming(path):
        return file.read(_CHUNK)


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def is_whole(path: str, name: str) -> bool:
    """Tell whether the object file at a path has the checksum that it needs; `name` as for `copy_object`."""
    checksum = _Checksum(name)
    with open(path, "rb") as file:
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

    def update(self, chunk: bytes) -> None:
        """Add the next part of the file."""
        if self._is_pack:
            chunk = self._end + chunk
            self._digest.update(chunk[:-20])
            self._end = chunk[-20:]
            return
        try:
            self._digest.update(self._inflated.decompress(chunk))
        except zlib.error:
            self._broken = True

    def is_right(self) -> bool:
        """Tell whether the parts so far are the whole file, undamaged."""
        if self._is_pack:
            return self._digest.digest() == self._end
        complete = self._inflated.eof and not self._broken
        return complete and self._digest.hexdigest() == "".join(self._name.split("/")[-2:])
