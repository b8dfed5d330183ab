"""The order in which locks are taken, as docs/explanation/durability.md has it, so that nobody waits in a circle."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import MetaStore
from metastore.errors import MetastoreError
from metastore.files import locks as file_locks
from metastore.parse import parse_dataset_id
from metastore.storage.copy import copy
from metastore.storage.local import _locks as locks
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.storage import GitStorage

from .conftest import ANN

#: First to last: one who holds a lock takes none of an earlier kind, and of its own kind only those behind it by name.
ORDER = (
    r".*/_metastore/turns/.*",
    r".*/_metastore/backup\.lock",
    r".*/_metastore/locks/.*",
    r".*/_metastore/feed/.*",
    r".*\.git/(config|HEAD|objects/pack/multi-pack-index)\.lock",
    r".*\.git/refs/.*\.lock",
    r".*\.git/packed-refs\.lock",
)


def rank(path: str) -> int:
    return next(number for number, pattern in enumerate(ORDER) if re.fullmatch(pattern, path))


class Recorder:
    """Notes, for each thread, which locks it holds when it takes another one."""

    def __init__(self) -> None:
        self.held: dict[int, list[str]] = defaultdict(list)
        self.taken: set[tuple[str, str]] = set()
        self.kinds: set[int] = set()

    def take(self, path: str) -> None:
        held = self.held[threading.get_ident()]
        self.taken.update((other, path) for other in held)
        self.kinds.add(rank(path))
        held.append(path)

    def release(self, path: str) -> None:
        held = self.held[threading.get_ident()]
        if path in held:
            held.remove(path)

    def circles(self) -> list[tuple[str, str]]:
        """Return the pairs that are against the order; locks of two stores are ordered by which one is copied from."""
        return sorted(
            (held, taken)
            for held, taken in self.taken
            if rank(held) > rank(taken) or (rank(held) == rank(taken) and held > taken and store(held) == store(taken))
        )


def store(path: str) -> str:
    return re.split(r"/_metastore/|/physics/", path)[0]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder, names = Recorder(), dict[int, str]()
    open_lock, open_folder, flock = file_locks._open_lock, file_locks._open_folder, fcntl.flock
    take, unlink = locks._take, os.unlink
    folders = set[int]()

    def opened(path: str) -> int:
        names[descriptor := open_lock(path)] = path
        folders.discard(descriptor)
        return descriptor

    def folder_opened(path: str) -> int:
        folders.add(descriptor := open_folder(path))
        return descriptor

    def flocked(descriptor: int, how: int) -> None:
        flock(descriptor, how)
        if descriptor in folders:
            assert how & (fcntl.LOCK_NB | fcntl.LOCK_UN), "somebody waits for a folder"
            return
        (recorder.release if how == fcntl.LOCK_UN else recorder.take)(names[descriptor])

    def taken(lock: str, *, sync: bool) -> None:
        take(lock, sync=sync)
        recorder.take(lock)

    def unlinked(path: Any, **options: Any) -> None:
        unlink(path, **options)
        recorder.release(str(path))

    monkeypatch.setattr(file_locks, "_open_lock", opened)
    monkeypatch.setattr(file_locks, "_open_folder", folder_opened)
    monkeypatch.setattr(fcntl, "flock", flocked)
    monkeypatch.setattr(locks, "_take", taken)
    monkeypatch.setattr(os, "unlink", unlinked)
    return recorder


def fill(root: Path, *names: str) -> MetaStore:
    made = metastore.connect(root, author=ANN, validation="off", sync=False)
    assert isinstance(made, MetaStore)
    for name in names:
        made.dataset_create(name, {"n": 0})
        made.tag_create(name, "v1")
    return made


def local(made: MetaStore) -> GitStorage:
    assert isinstance(made.storage, GitStorage)
    return made.storage


def test_every_call_takes_its_locks_in_the_order_of_the_documentation(recorder: Recorder, tmp_path: Path) -> None:
    made = fill(tmp_path / "store", "physics/a", "physics/b")
    storage = local(made)
    made.dataset_update("physics/a", {"n": 1})
    made.dataset_patch("physics/a", {"m": 1})
    made.tag_create("physics/a", "v2")
    made.tag_update("physics/a", "v1", new_name="v3")
    made.tag_delete("physics/a", "v2")
    made.dataset_move("physics/a", "physics/c")
    made.dataset_delete("physics/b")
    made.dataset_revert("physics/b", "v1")
    (tmp_path / "store/physics/b.git/config").write_bytes(b"[core]\n\tbare = true\n")
    (tmp_path / "store/physics/c.git/objects/pack/multi-pack-index").write_bytes(b"")
    for _ in range(2):
        made.dataset_update("physics/b", {"n": 2})
        made.dataset_update("physics/c", {"n": 2, "m": 2})
        storage.pack_loose(parse_dataset_id("physics/c"))
    storage.compact(parse_dataset_id("physics/c"))
    backup(storage, tmp_path / "backup")
    made.dataset_purge("physics/c", force=True)
    backup(storage, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    list(made.changes())
    list(made.verify(repair=True))
    assert recorder.circles() == []
    assert recorder.kinds >= {1, 2, 3, 4, 5, 6}


def together(*calls: Callable[[], object]) -> None:
    """Make each call thirty times, all at once; what is refused is refused."""

    def repeat(call: Callable[[], object]) -> None:
        for _ in range(30):
            with suppress(MetastoreError):
                call()

    threads = [threading.Thread(target=repeat, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not [thread for thread in threads if thread.is_alive()]


def test_opposite_moves_wait_in_no_circle(recorder: Recorder, tmp_path: Path) -> None:
    made = fill(tmp_path / "store", "physics/a")
    moves = (("physics/a", "physics/z"), ("physics/z", "physics/a"))
    together(*(partial(made.dataset_move, *ends) for ends in moves * 2))
    assert recorder.circles() == []


def test_a_backup_and_packing_wait_in_no_circle(recorder: Recorder, tmp_path: Path) -> None:
    made = fill(tmp_path / "store", "physics/a", "physics/b")
    target = tmp_path / "backup"
    backup(local(made), target)
    copy_of_it = GitStorage(target, sync=False)
    together(
        lambda: backup(local(made), target),
        lambda: made.dataset_update("physics/a", {"n": os.urandom(4).hex()}),
        lambda: local(made).compact(parse_dataset_id("physics/a")),
        lambda: copy_of_it.compact(parse_dataset_id("physics/a")),
    )
    assert recorder.circles() == []


def test_a_copy_and_a_purge_wait_in_no_circle(recorder: Recorder, tmp_path: Path) -> None:
    made, other = fill(tmp_path / "store", "physics/a", "physics/b"), fill(tmp_path / "other")
    together(
        lambda: copy(local(made), local(other)),
        lambda: copy(local(other), local(made)),
        lambda: made.dataset_purge("physics/a", force=True),
        lambda: other.dataset_purge("physics/b", force=True),
    )
    assert recorder.circles() == []
