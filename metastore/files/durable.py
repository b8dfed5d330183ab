"""Folders and files that survive a power cut."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from metastore.files.reading import close_file
from metastore.os_errors import naming


def random_name(size: int = 8) -> str:
    """Return a new name, of two random hex digits for each of `size`."""
    return os.urandom(size).hex()


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        close_file(descriptor)


def sync_file(path: str) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        close_file(descriptor)


def make_folders(path: str, *, sync: bool, mode: int = 0o777) -> None:
    """Make a folder with at most the permissions of `mode`, and its missing parents."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folders(above, sync=sync)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
    if sync:
        sync_directory(above)


def remove_tree(path: str) -> None:
    """Remove a folder that no id leads to. Remaining files are left for `verify`, which finds them."""
    with suppress(OSError, ImportError):  # `ignore_errors` lets an error of `close` through
        import shutil  # slow to import, and reads remove nothing

        shutil.rmtree(path, ignore_errors=True)


def write_file(path: str, content: bytes, *, sync: bool) -> None:
    """Write a file in place; for files that nobody else can see yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        with naming(path):
            write_all(descriptor, content)
            if sync:
                os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write content to an open file."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(path: str, content: bytes, *, sync: bool, temporary: str | None = None) -> None:
    """Replace a file's content atomically: a reader finds the old or the new content, even after a power cut."""
    aside = temporary or f"{path}.{os.getpid()}-{threading.get_ident()}.new"
    try:
        write_file(aside, content, sync=sync)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    if sync:
        sync_directory(os.path.dirname(path))
