"""System calls that fail, or are a process's last one, and all that can be seen of a storage afterwards."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import DatasetMoved, DatasetNotFound
from metastore.storage.port import Storage
from metastore.types import DatasetId

from ..processes import in_child

#: Every call of these may be a process's last one.
CALLS = ("rename", "replace", "unlink", "symlink", "mkdir", "rmdir", "write", "utime")
_CUT_OFF = 9


def cut_off_at(number: int, work: Callable[[], object]) -> bool:
    """Run in a child that dies, as from `kill -9`, in its n-th call that changes a file; tell whether it came to it."""
    ended = in_child(lambda: (_die_at(number), work()))
    assert ended in (0, _CUT_OFF), "the operation failed instead of being cut off"
    return ended == _CUT_OFF


@contextmanager
def calls_of(made: list[str]) -> Iterator[None]:
    """Note the calls that change a file, in the order in which `cut_off_at` counts them."""

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made.append(name)
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for name in CALLS:
            patched.setattr(os, name, noting(name, getattr(os, name)))
        yield


def _die_at(number: int) -> None:
    left = iter(range(number, -1, -1))

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(left) == 0:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                os._exit(_CUT_OFF)
            return real(*args, **options)

        return call

    os.fsync = lambda descriptor: None  # the kernel keeps what a killed process wrote
    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int) -> Iterator[list[int]]:
    """Let the n-th call of a function of `os`, or of `flock`, raise an OSError; yield a list that is empty until then.

    A `close` that fails has closed its file, as on Linux; every other call that fails has done nothing.
    """
    module: Any = fcntl if name == "flock" else os
    real, calls, struck = getattr(module, name), itertools.count(), list[int]()

    def call(*args: Any, **options: Any) -> Any:
        if next(calls) != number:
            return real(*args, **options)
        struck.append(number)
        if name == "close":
            real(*args, **options)
        raise OSError(code, os.strerror(code), args[0] if args and isinstance(args[0], str) else None)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, call)
        yield struck


def refused_by_the_kernel(calls: str, error: str, number: int, log: Path, work: Callable[[], int]) -> tuple[int, bool]:
    """Let the n-th system call of some kinds fail in a child, in Python, SQLite or libgit2.

    Returns:
        What the work returned, or 255 after an exception; and whether it came to that call.
    """
    begin = mmap.mmap(-1, 1)  # shared with the child, which makes no call to see it change
    child = os.fork()
    if not child:
        status = 255
        try:
            while not begin[0]:
                time.sleep(0.001)
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    inject = f"inject={calls}:error={error}:when={number}"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={calls}", "-e", inject, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        while "TracerPid:\t0\n" in Path(f"/proc/{child}/status").read_text() and strace.poll() is None:
            time.sleep(0.001)
        traced = strace.poll() is None
        begin[0] = 1
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _, said = strace.communicate()
    if not traced:
        pytest.skip(f"strace may not trace here: {said}")
    return ended, "(INJECTED)" in log.read_text()


def where(storage: Storage, dataset_id: DatasetId) -> str:
    """Tell what is to be found at an id: its newest revision, where it moved, or nothing."""
    try:
        return storage.resolve(dataset_id, None).id
    except DatasetMoved as error:
        return f"-> {error.new_id}"
    except DatasetNotFound:
        return "nothing"


def state(storage: Storage, ids: Iterable[DatasetId]) -> dict[DatasetId, Any]:
    """Return all that callers can see of these ids, every file of every revision read."""
    seen: dict[DatasetId, Any] = {each: where(storage, each) for each in ids}
    for each in storage.ids(deleted=None):
        head = storage.resolve(each, None)
        revisions = list(storage.history(each, head.id))
        for revision in revisions:
            for path in storage.paths(each, revision.id):
                storage.read(each, revision.id, path)
        seen[each] = revisions, list(storage.tags(each))
    return seen
