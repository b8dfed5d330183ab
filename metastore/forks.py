"""Locks and connections in a process that forks.

A forked child has a copy of its parent's memory, but only the thread that forked. A lock that another thread held stays
locked in the child for ever, and a connection that both use mixes up their answers. Everything that cannot be used by
both processes is registered here, and made anew in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

_Owner = TypeVar("_Owner")
_resets: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
_abandoned: list[object] = []


def register(owner: _Owner, reset: Callable[[_Owner], None]) -> None:
    """Call `reset(owner)` in each forked child, before anything else runs there; the owner is held weakly."""
    _resets[owner] = reset


def abandon(thing: object) -> None:
    """Keep what the parent opened, unused and unfreed: freeing it could wait for a lock or close it for the parent."""
    _abandoned.append(thing)


def _after_fork() -> None:
    for owner, reset in tuple(_resets.items()):
        reset(owner)


os.register_at_fork(after_in_child=_after_fork)


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child, unless the thread that forked holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        register(self, ForkSafeLock._free)

    def _free(self) -> None:
        if self._lock.acquire(blocking=False):  # it was free, or this thread holds it and is going to release it
            self._lock.release()
        else:
            self._lock = threading.RLock()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock, and say whether it was taken."""
        return self._lock.acquire(blocking=blocking)

    def release(self) -> None:
        """Let go of the lock. Raises RuntimeError: this thread does not hold it."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
