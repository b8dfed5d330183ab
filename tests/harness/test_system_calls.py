"""Each system call fails once, also those of SQLite and libgit2: the error is one of ours, and it is true."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from metastore import MetaStore
from metastore.errors import MetastoreError, OutcomeUnknown
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.storage import GitStorage

from ..processes import SOAK
from .faults import refused_by_the_kernel
from .test_settle import CARS, WRITES, connect, filled, whole

#: How the calls are named on one architecture or another; strace passes over those with a question mark that are not.
CALLS = {
    name: ",".join(f"?{each}" for each in others.split())
    for name, others in {
        "open": "open openat",
        "read": "read pread64",
        "write": "write pwrite64",
        "sync": "fsync fdatasync",
        "rename": "rename renameat renameat2",
        "remove": "unlink unlinkat rmdir",
        "make": "mkdir mkdirat symlink symlinkat link linkat",
        "lock": "flock fcntl",
        "close": "close",
        "look": "stat fstat lstat newfstatat statx",
        "list": "getdents64",
        "seek": "lseek",
        "map": "mmap",
        "change": "ftruncate chmod fchmod fchmodat utimensat",
    }.items()
}
#: What the kernel may say instead of EIO: the disk is full, a signal came, there are no more files, locks or memory.
OTHERS = [
    *(("write", error) for error in ("ENOSPC", "EINTR")),
    *((call, "ENOSPC") for call in ("sync", "rename", "make")),
    *((call, "EINTR") for call in ("open", "read", "lock", "close")),
    *(("open", "EMFILE"), ("lock", "ENOLCK"), ("map", "ENOMEM")),
    *((call, "EACCES") for call in ("open", "remove", "look", "change")),
]
#: Calls that change no dataset.
CARE: dict[str, Callable[[MetaStore], Any]] = {
    "read": lambda s: [s.dataset_read(CARS), s.dataset_read(CARS, "HEAD~1"), list(s.dataset_list(deleted=None))],
    "follow": lambda s: [list(s.changes()), list(s.journal()), list(s.tag_list(CARS))],
    "history": lambda s: [list(s.revision_list(CARS, path="/n")), s.blame(CARS), s.revision_diff(CARS, "HEAD~1")],
    "search": lambda s: s.dataset_search("cars"),
    "verify": lambda s: [list(s.verify()), list(s.verify(repair=True))],
    "pack": lambda s: [s.storage.compact(each) for each in s.dataset_list(deleted=None)],
    "backup": lambda s: backup(local(s), beside(s, "backup")),
    "restore": lambda s: [backup(local(s), beside(s, "backup")), restore(beside(s, "backup"), beside(s, "restored"))],
}
EVERY = WRITES | CARE
FEW = [
    ("update", ("rename", "EIO")),
    ("update", ("lock", "EINTR")),
    ("move", ("remove", "EIO")),
    ("tag_delete", ("list", "EIO")),
    ("search", ("list", "EIO")),
    ("verify", ("list", "EIO")),
]


def local(store: MetaStore) -> GitStorage:
    assert isinstance(store.storage, GitStorage)
    return store.storage


def beside(store: MetaStore, name: str) -> str:
    return f"{local(store).layout.root}-{name}"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("what", "fault"), list(product(EVERY, [*((call, "EIO") for call in CALLS), *OTHERS])) if SOAK else FEW, ids=str
)
def test_a_system_call_that_fails_anywhere_gives_an_error_that_is_true(
    what: str, fault: tuple[str, str], tmp_path: Path, counted: Callable[..., None]
) -> None:
    call, error = fault
    filled(template := tmp_path / "template")
    shutil.copytree(template, tmp_path / "done")
    EVERY[what](connect(tmp_path / "done"))  # what it imports is imported now
    before, done = whole(template), whole(tmp_path / "done")
    number, step, struck = 0, 1 if SOAK or what != "verify" else 19, True  # verify lists some hundred folders
    while struck:
        number += step
        root = tmp_path / str(number)
        shutil.copytree(template, root)
        ended, struck = refused_by_the_kernel(
            CALLS[call], error, number, tmp_path / "log", lambda root=root: made(what, root)
        )
        assert ended in (0, 1, 2), f"{call} number {number}"
        assert ended == 2 or whole(root) == (before if ended else done), f"{call} number {number}"
        shutil.rmtree(root)
    counted(calls_that_failed=number // step - 1)


def made(what: str, root: Path) -> int:
    """Make a call, and tell how it ended: 0, 1 after an error of ours, 2 if that leaves the outcome unknown."""
    try:
        EVERY[what](connect(root))
    except OutcomeUnknown:
        return 2
    except MetastoreError:
        return 1
    return 0
