"""Locks and connections in a process that forks.

A forked child has a copy of its parent's memory, but only the thread that forked. A lock that another thread held stays
locked in the child for ever, and a shared connection mixes up the responses of both. Everything that the two processes
cannot share is registered here, and made new in the child.

The locks of Python's modules, and those of C libraries, cannot be made new. If a thread imports a module while another
one forks, a child that needs this module waits for ever. So a fork waits for imports, and for calls that are
`undisturbed`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import _bootstrap
from typing import Any, TypeVar

_Owner = TypeVar("_Owner")
_resets: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
_abandoned: list[object] = []
#: How long a fork waits for imports that come no further, in seconds.
_PATIENCE = 30.0


def register(owner: _Owner, reset: Callable[[_Owner], None]) -> None:
    """Call `reset(owner)` in each forked child, before anything else runs there. The owner is held weakly."""
    _resets[owner] = reset


def abandon(thing: object) -> None:
    """Keep an object of the parent, unused and unfreed: freeing it could wait for a lock or close it for the parent."""
    _abandoned.append(thing)


def _after_fork() -> None:
    _quiet.release()
    for owner, reset in tuple(_resets.items()):
        reset(owner)


_quiet = threading.RLock()


def undisturbed() -> AbstractContextManager[object]:
    """Keep other threads from forking; for short work of C libraries whose locks a child would find locked."""
    return _quiet


def _before_fork() -> None:
    """Wait until no other thread imports, or until its import makes no progress: it may wait for this thread.

    Reads Python's own list of its locks, and does not wait if there is none.
    """
    _quiet.acquire()
    known, deadline = set[str](), 0.0
    while importing := _imports_elsewhere():
        if importing != known:
            known, deadline = importing, time.monotonic() + _PATIENCE
        elif time.monotonic() >= deadline:
            return
        _quiet.release()  # the imported module may need it
        time.sleep(0.001)
        _quiet.acquire()


def _imports_elsewhere() -> set[str]:
    """Return the names of the modules that other threads import."""
    locks = {name: reference() for name, reference in tuple(getattr(_bootstrap, "_module_locks", {}).items())}
    return {name for name, lock in locks.items() if getattr(lock, "owner", None) not in (None, threading.get_ident())}


os.register_at_fork(before=_before_fork, after_in_parent=_quiet.release, after_in_child=_after_fork)


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child, unless the thread that forked holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        register(self, ForkSafeLock._free)

    def _free(self) -> None:
        if self._lock.acquire(blocking=False):  # it was free, or this thread holds it and will release it
            self._lock.release()
        else:
            self._lock = threading.RLock()

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, and return whether it was taken.

        Args:
            blocking: Whether to wait for it.
            timeout: How many seconds to wait; -1 for as long as it takes.
        """
        return self._lock.acquire(blocking=blocking, timeout=timeout)

    def release(self) -> None:
        """Release the lock. Raises RuntimeError: this thread does not hold it."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
