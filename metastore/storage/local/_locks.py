"""Git's lock on a file `X`: the file `X.lock` beside it, which only one can make. See `lockfile.h` in Git's source.

Git makes the lock as a file, with O_CREAT and O_EXCL, and writes the new content into it. Ours is a symbolic link whose
text is `metastore`. Making either of them fails while the other is there, and Git never makes a link like ours. So a
lock that a killed process of ours left can be told from a lock that Git holds. We take these locks only under the
dataset's `flock`, so a lock of ours that is found is stale.

The new content goes to `X..lock`: no reference can have that name, nor can it be the lock of one (Git allows neither
`..` nor a dot at the end), and Git passes over every file that ends with `.lock`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from metastore.errors import StorageBusy
from metastore.files.durable import make_folders, replace_file

_MARK = "metastore"
_LOCK, _ASIDE = ".lock", "..lock"
#: How long to wait for Git, in seconds. It holds a lock for milliseconds, or a second where there are many references.
_PATIENCE = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


@contextmanager
def git_locked(paths: Iterable[str], *, sync: bool) -> Iterator[None]:
    """Hold Git's locks on files, which need not be there. Only ever called under the dataset's `flock`.

    Args:
        paths: The files, in the order in which they are locked: Git's is references by name, then `packed-refs`.
        sync: Whether to make the folders of these files durable, if Git has removed them.

    Raises:
        StorageBusy: Git holds a lock, and does not let go of it.
    """
    taken: list[str] = []
    try:
        for path in paths:
            _take(path + _LOCK, sync=sync)
            taken.append(path + _LOCK)
        yield
    finally:
        for lock in reversed(taken):
            with suppress(OSError):  # the change is made or not by now; the next writer removes what stays
                os.unlink(lock)


def replace_locked(path: str, content: bytes, *, sync: bool) -> None:
    """Set the content of a file whose lock the caller holds, all at once."""
    replace_file(path, content, sync=sync, temporary=path + _ASIDE)


def is_lock(name: str) -> bool:
    """Tell whether a file is a lock, or what is being written under one, by its name."""
    return name.endswith(_LOCK)


def stale_locks(folder: str) -> Iterator[str]:
    """Yield the files that killed writers left in a folder. Only ever called under the dataset's `flock`."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.name.endswith(_ASIDE) or (is_lock(entry.name) and _is_ours(entry.path)):
                yield entry.path


def _take(lock: str, *, sync: bool) -> None:
    give_up, pause = time.monotonic() + _PATIENCE, _FIRST_PAUSE
    while True:
        try:
            _make(lock)
            return
        except FileNotFoundError:  # Git removes folders of references that are empty, also while they are made
            with suppress(FileNotFoundError):
                make_folders(os.path.dirname(lock), sync=sync)
        except FileExistsError:
            if _is_ours(lock):
                with suppress(FileNotFoundError):
                    os.unlink(lock)
                continue
        if time.monotonic() >= give_up:
            raise StorageBusy(
                f"Git has locked {lock.removesuffix(_LOCK)}. Try again; if no Git command is at work there any more, "
                f"one was killed: remove {lock}"
            )
        import random  # slow to import, and most writes are alone

        time.sleep(random.uniform(pause / 2, pause))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _make(lock: str) -> None:
    try:
        os.symlink(_MARK, lock)
    except OSError as error:
        error.filename, error.filename2 = lock, None  # the text of the link is no file
        raise


def _is_ours(lock: str) -> bool:
    try:
        return os.readlink(lock) == _MARK
    except OSError:  # no symbolic link, or gone
        return False
