"""Errors of the operating system, about files and connections, in plain words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from metastore.errors import StorageUnavailable

_WORDS = {
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.EEXIST: "there is one already",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.EXDEV: "it is on another file system, or in a lower layer of an overlay, so it cannot be renamed",
    errno.EADDRINUSE: "another process listens there already",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
    errno.ECONNREFUSED: "the connection was refused, since nothing listens there",
    errno.ECONNRESET: "the connection was closed",
    errno.EPIPE: "the connection was closed",
    errno.ETIMEDOUT: "it does not answer in time",
    -2: "no host with this name is known",  # EAI_NONAME of getaddrinfo, which has numbers of its own
    -3: "the name service does not answer",
    -5: "no host with this name is known",
    errno.EHOSTUNREACH: "no network leads there",
    errno.ENETUNREACH: "no network leads there",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EIO: "the disk reports an error",
}


#: With fewer free inodes than this, a full disk may be full of files, and not of bytes.
_FEW_INODES = 100
#: With fewer free bytes than this, a disk counts as full where a change has to be made as a whole.
_FEW_BYTES = 512 * 1024


def in_words(error: OSError) -> str:
    """Return what an error of the operating system means: a sentence that can follow a colon."""
    if error.errno == errno.ENOENT and error.filename is None and error.strerror:
        return error.strerror  # of `tempfile`: which folders it tried
    words = _WORDS.get(error.errno or 0, error.strerror or str(error))
    free = _free_inodes(str(error.filename or "/")) if error.errno == errno.ENOSPC else None
    return words if free is None or free >= _FEW_INODES else f"{words} (free inodes: {free})"


def _free_inodes(path: str) -> int | None:
    """Return how many files the disk of a path can still take; None if it sets no limit, or does not say."""
    while not os.path.exists(path) and path != os.path.dirname(path):  # what was being made is removed again
        path = os.path.dirname(path)
    try:
        return _inodes_in(os.statvfs(path))
    except OSError:
        return None


def _inodes_in(status: os.statvfs_result) -> int | None:
    """Return how many files can still be made; None if there is no limit: Btrfs has 0 then, and CephFS -1 free."""
    return status.f_favail if status.f_files and status.f_favail >= 0 else None


def expect_room(path: str) -> None:
    """Check that a disk has room for a few small files.

    Raises:
        OSError: It has hardly any; the error is that of a full disk.
    """
    status = os.statvfs(path)
    free = status.f_bavail if os.geteuid() else status.f_bfree
    is_full, inodes = status.f_blocks and free * status.f_frsize < _FEW_BYTES, _inodes_in(status)
    if is_full or (inodes is not None and inodes < _FEW_INODES):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


# Classes, and not `contextmanager`, since these two are entered many times in each call of a local store.


class storage_errors:  # noqa: N801 - used like `contextlib.suppress`
    """Translate errors of the operating system to StorageUnavailable, with the file's name and plain words."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = in_words(error)
            raise StorageUnavailable(f"{reason}: {error.filename}" if error.filename else reason) from error


class naming:  # noqa: N801 - used like `contextlib.suppress`
    """Let an error of the operating system name this file, as errors of calls on open files do not."""

    __slots__ = ("_path",)

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(self._path)
