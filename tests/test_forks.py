"""Locks, as a forked child finds them."""

from __future__ import annotations

import faulthandler
import importlib
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import metastore
from metastore import forks
from metastore.auth.key_sources import UrlKeys
from metastore.forks import ForkSafeLock
from metastore.parse import parse_dataset_id
from metastore.storage.local.storage import GitStorage
from metastore.store.store import MetaStore

from .conftest import ANN
from .key_server import key_server
from .processes import SOAK, in_child, in_children


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


def test_a_fork_waits_for_what_another_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(0.5); VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        assert importlib.import_module("slow_to_import").VALUE == 1

    thread = threading.Thread(target=importlib.import_module, args=("slow_to_import",))
    thread.start()
    time.sleep(0.2)
    assert in_child(use) == 0
    thread.join()


@pytest.mark.parametrize(("modules", "slept"), [(["a"] * 1000, 30), ([f"m{n // 20}" for n in range(1000)], 1000)])
def test_a_fork_waits_for_imports_as_long_as_they_come_further(
    modules: list[str], slept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, an import takes minutes; one that waits for the thread that forks never ends."""
    left, now = iter([*({name} for name in modules), set[str]()]), [0]
    monkeypatch.setattr(forks, "_imports_elsewhere", lambda: next(left))
    monkeypatch.setattr(
        forks, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: now.append(now.pop() + 1))
    )
    forks._before_fork()
    forks._quiet.release()
    assert now == [slept]


def test_every_lock_of_the_package_is_fork_safe() -> None:
    """Semaphores are made by `http.client`, which makes them anew in a child."""
    package = Path(metastore.__file__).parent
    raw = re.compile(r"threading\.(R?Lock|Condition)\(|register_at_fork")
    using = {str(path.relative_to(package)) for path in package.rglob("*.py") if raw.search(path.read_text())}
    assert using == {"forks.py"}


#: How many children there are, and how many of them at a time.
CHILDREN, AT_ONCE = 10_000 if SOAK else 60, 20


def test_no_child_hangs_that_is_forked_while_threads_pack_read_write_and_fetch_keys(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    store = metastore.connect(tmp_path, author=ANN, validation="off", sync=False)
    assert isinstance(store, MetaStore)
    names = [f"physics/cars{number}" for number in range(2 + AT_ONCE)]
    for name in names:
        store.dataset_create(name, {"n": 0})
    with key_server() as server:
        server.answer('{"keys": []}')
        keys = UrlKeys(server.url, pause=0)
        at_work: list[Callable[[], object]] = [
            lambda: pack(store, names[0]),
            lambda: store.dataset_update(names[1], {"n": time.time_ns()}),
            lambda: [store.dataset_read(name) for name in names],
            keys.refresh,
        ]
        ended: list[int] = []
        with always(*at_work):
            for _ in range(CHILDREN // AT_ONCE):
                ended += in_children(*(partial(in_time, store, name, keys) for name in names[2:]))
    counted(children=CHILDREN, hung=ended.count(-signal.SIGALRM), failed=CHILDREN - ended.count(0))
    assert set(ended) == {0}


def pack(store: MetaStore, name: str) -> None:
    store.dataset_update(name, {"n": time.time_ns()})
    storage, dataset_id = store.storage, parse_dataset_id(name)
    assert isinstance(storage, GitStorage)
    storage.pack_loose(dataset_id)
    storage.compact(dataset_id)


def in_time(store: MetaStore, name: str, keys: UrlKeys) -> None:
    """Do everything once, and change one dataset; a child that hangs is killed by the alarm."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest's own handler would make a failure of it
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    signal.alarm(100)
    for dataset_id in store.dataset_list():
        store.dataset_read(dataset_id)
    pack(store, name)
    keys.refresh()


@contextmanager
def always(*calls: Callable[[], object]) -> Iterator[None]:
    """Make calls again and again, each in a thread of its own."""
    done, failed = threading.Event(), list[Exception]()

    def repeat(call: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                call()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
