"""Locks, as a forked child finds them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import metastore
from metastore import forks
from metastore.forks import ForkSafeLock

from .processes import in_child


@contextmanager
def held_by_another_thread(lock: ForkSafeLock) -> Iterator[None]:
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(20)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_lock_that_another_thread_held_is_free_in_the_child_and_still_held_in_the_parent() -> None:
    lock = ForkSafeLock()

    def take() -> None:
        assert lock.acquire(blocking=False)
        lock.release()

    with held_by_another_thread(lock):
        assert in_child(take) == 0
        assert not lock.acquire(blocking=False)


def test_a_lock_that_the_forking_thread_holds_can_be_released_in_the_child() -> None:
    lock = ForkSafeLock()
    lock.acquire()
    assert in_child(lock.release) == 0
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_lock_excludes_threads_after_the_fork_too() -> None:
    lock = ForkSafeLock()

    def check() -> None:
        with held_by_another_thread(lock):
            assert not lock.acquire(blocking=False)

    with held_by_another_thread(lock):
        assert in_child(check) == 0


def test_an_owner_that_is_gone_is_not_reset() -> None:
    class Owner:
        pass

    resets: list[object] = []
    owner = Owner()
    forks.register(owner, resets.append)
    assert in_child(lambda: len(resets) == 1 or 1 / 0) == 0
    del owner
    assert in_child(lambda: resets == [] or 1 / 0) == 0


def test_every_lock_of_the_package_is_fork_safe() -> None:
    """Semaphores are made by `http.client`, which makes them anew in a child."""
    package = Path(metastore.__file__).parent
    raw = re.compile(r"threading\.(R?Lock|Condition)\(|register_at_fork")
    using = {str(path.relative_to(package)) for path in package.rglob("*.py") if raw.search(path.read_text())}
    assert using == {"forks.py"}
