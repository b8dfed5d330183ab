"""Locks on files and folders. The kernel frees those of a process that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from metastore import forks
from metastore.files.durable import remove_tree
from metastore.files.reading import close_file


class _HeldLocks:
    """The descriptors of the files that this process holds locks on."""

    def __init__(self) -> None:
        self.descriptors: set[int] = set()
        forks.register(self, _HeldLocks._forget)

    def _forget(self) -> None:
        """Close the files in a forked child, which would otherwise keep its parent's locks."""
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()


_held = _HeldLocks()


@contextmanager
def locked(paths: Iterable[str], *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold `flock` on files, which are created if necessary and never removed. The kernel frees them when we die.

    Paths are locked in order, so that two processes that want the same ones never wait for each other. `flock` and not
    `lockf`: the lock belongs to the open file, so that threads of one process exclude each other too. Unlocking never
    fails: by then the body has made its changes, and an error would deny that.

    Raises:
        BlockingIOError: Somebody else holds one, and the caller does not want to wait.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    taken: list[int] = []
    try:
        for path in sorted(set(paths)):
            taken.append(_open_lock(path))
            _take(taken[-1], how)
        yield
    finally:
        for descriptor in reversed(taken):
            _release(descriptor)


def _take(descriptor: int, how: int) -> None:
    """Take `flock` on an open file or folder. Whether it succeeds or not, the caller releases it."""
    _held.descriptors.add(descriptor)
    fcntl.flock(descriptor, how)


def _release(descriptor: int) -> None:
    """Release `flock` on an open file or folder, and close it; a forked child has closed it already."""
    if descriptor in _held.descriptors:
        _held.descriptors.discard(descriptor)
        # Closing is not enough: a child that was forked meanwhile may still have the file open.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        close_file(descriptor)


@contextmanager
def _locked_folder(path: str) -> Iterator[None]:
    """Hold `flock` on a folder. Raises BlockingIOError: somebody else does."""
    descriptor = _open_folder(path)
    try:
        _take(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        _release(descriptor)


@contextmanager
def locked_if_free(path: str) -> Iterator[bool]:
    """Hold `flock` on a file if nobody else does; yield whether it is held."""
    with ExitStack() as stack:
        free = True
        try:
            stack.enter_context(locked([path], wait=False))
        except BlockingIOError:
            free = False
        yield free


@contextmanager
def building(path: str) -> Iterator[None]:
    """Make a folder, hold `flock` on it while the body fills it, and remove what is still there at the end."""
    os.mkdir(path)
    try:
        with _locked_folder(path):
            yield
    finally:
        remove_tree(path)


def can_lock(path: str) -> bool:
    """Tell whether the file of a lock is there, or could be made just now.

    Who only reads may do without it otherwise, for want of the right or of room: nobody holds a lock that is not there.
    """
    try:
        close_file(_open_lock(path))
    except OSError:
        return os.path.exists(path)
    return True


def is_being_built(path: str) -> bool:
    """Tell whether a living process fills the folder at a path. The kernel frees the locks of those that died."""
    try:
        with _locked_folder(path):
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # also if nobody can tell
        return True


def _open_folder(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _open_lock(path: str) -> int:
    # Read-only: a user who may only read waits for writers too.
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)
