"""Reads files that others may write, or have sent: bounded, and again only when they have changed."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from metastore import forks
from metastore.errors import InvalidInput, StorageCorrupt
from metastore.os_errors import in_words

_log = logging.getLogger("metastore.files")
_Value = TypeVar("_Value")
_MUCH = 65_536
#: The largest file that is read whole, in bytes: an object that is not packed, or a list of references.
LONGEST = 256 * 1024 * 1024
#: The nanoseconds within which two versions of a file may have the same times: some file systems count whole seconds.
_GRAIN = 2_000_000_000


def mtime_ns(path: str) -> int:
    """Return when a file or folder was last changed, in nanoseconds; 0 if it cannot be looked at."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def is_folder(path: str) -> bool | None:
    """Tell whether a path is a folder, or a symbolic link to one; None if nothing is there.

    Decides with a single look. With two, such as `isdir` and then `lexists`, a folder that appears in between would
    pass for a file. Only a link is looked at again, to tell a dangling one from one that was moved.

    Raises:
        OSError: The path cannot be looked at.
    """
    before: os.stat_result | None = None
    while True:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISLNK(status.st_mode):
            return stat.S_ISDIR(status.st_mode)
        with suppress(OSError):
            return stat.S_ISDIR(os.stat(path).st_mode)
        if before is not None and os.path.samestat(before, status):
            return False
        before = status


def place_in(folder: str, path: str) -> str | None:
    """Return the path of a file in a folder, with links resolved; None if it leads out of the folder, or to no file."""
    root, real = os.path.realpath(folder).rstrip("/"), os.path.realpath(path)
    return real[len(root) + 1 :] if real.startswith(f"{root}/") and os.path.isfile(real) else None


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a file of a store to read it; also an `opener` for `open`.

    Somebody may have sent the store. A read of a pipe would wait for ever, and that of a device would not end.

    Raises:
        StorageCorrupt: It is not an ordinary file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return descriptor
    close_file(descriptor)
    raise StorageCorrupt(f"{path} is not an ordinary file")


def read_file(path: str) -> bytes | None:
    """Return a small file's content, or None if there is no such file.

    Raises:
        StorageCorrupt: It is not an ordinary file, or larger than any file that is read whole.
    """
    try:
        descriptor = open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content = os.read(descriptor, _MUCH)
        return content if len(content) < _MUCH else _read_on(descriptor, path, content)
    except IsADirectoryError:
        return None
    except OSError as error:
        error.filename = path
        raise
    finally:
        close_file(descriptor)


def _read_on(descriptor: int, path: str, begin: bytes) -> bytes:
    parts, size = [begin], len(begin)
    while len(parts[-1]) == _MUCH:  # only the end of a file gives less
        parts.append(os.read(descriptor, _MUCH))
        size += len(parts[-1])
        if size > LONGEST:
            raise StorageCorrupt(f"{path} has more than {LONGEST} bytes")
    return b"".join(parts)


def close_file(descriptor: int) -> None:
    """Close a file that was only read. An error cannot mean that data was lost, so it is ignored."""
    try:  # noqa: SIM105 - `suppress` takes longer than the call
        os.close(descriptor)
    except OSError:
        pass


class SmallFiles:
    """Reads small files, and remembers those that have not changed.

    A file's status identifies its version once it is older than the resolution of the clock, so only files that have
    been left alone for that long are remembered (the rule of Git's index: see gitformat-index(5), and "racy-git" in
    Git's own documentation). Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None if there is no such file."""
        now = time.time_ns()  # before the status: a later change has a later time
        version = _version(path)
        if version is None:
            self._known.pop(path, None)
            return None
        known = self._known.get(path)
        if known is not None and known[0] == version:
            return known[1]
        content = read_file(path)
        if content is not None and now - version[-1] > _GRAIN:
            self._known[path] = version, content
        return content

    def known(self, path: str) -> bytes:
        """Return a file's content without reading it. Raises KeyError: it is not remembered, or has changed."""
        version, content = self._known[path]
        if version != _version(path):
            raise KeyError(path)
        return content


class WatchedFile(Generic[_Value]):
    """A small file of text that is parsed again when it changes. Safe to share between threads.

    While the file is missing or broken, it has no value. Keeping the last good one would not be safe: two processes may
    have read different ones, and a removed entry would still count in one of them.

    Args:
        path: The file.
        what: The name of the file in errors, such as `groups file`.
        parse: Makes the value from the text, or raises InvalidInput.
        meanwhile: The consequence while the file is missing or broken, for the log.

    Raises:
        InvalidInput: The file is missing or broken at the start.
    """

    def __init__(self, path: str | Path, what: str, parse: Callable[[str], _Value], meanwhile: str) -> None:
        self._path, self._what, self._parse, self._meanwhile = str(path), what, parse, meanwhile
        self._files, self._mutex = SmallFiles(), forks.ForkSafeLock()
        self._content = self._look()
        self._value: _Value | InvalidInput = self._parsed()

    def read(self) -> _Value:
        """Return the value of the file now. Raises InvalidInput: the file is missing or broken."""
        with self._mutex:
            content = self._look()
            if content != self._content:
                self._content = content
                self._value = self._parsed_again()
            value = self._value
        if isinstance(value, InvalidInput):
            raise InvalidInput(str(value))
        return value

    def _parsed_again(self) -> _Value | InvalidInput:
        try:
            return self._parsed()
        except InvalidInput as error:
            _log.warning("%s until the %s is mended: %s", self._meanwhile, self._what, error)
            return error

    def _parsed(self) -> _Value:
        try:
            if isinstance(self._content, bytes):
                return self._parse(self._content.decode())
            reason = self._content
        except UnicodeDecodeError:
            reason = "it is not UTF-8 text"
        raise InvalidInput(f"the {self._what} {self._path} cannot be read: {reason}")

    def _look(self) -> bytes | str:
        """Return the content of the file, or the reason why it cannot be read as a string."""
        try:
            content = self._files.read(self._path)
        except OSError as error:
            return in_words(error)
        return "there is no such file" if content is None else content


def _version(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
