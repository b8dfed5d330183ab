"""A store's own clock, which never goes back: each change gets a later time than every change before it.

```
<root>/_metastore/feed/id      written once; tells this store's feed from that of a copy or a restored backup
<root>/_metastore/feed/clock   the time of the last change, how far ahead a power cut is covered, and the boot
<repository>/changed           empty; its file time is the time of the dataset's last change
```
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from metastore.files.durable import make_folders, random_name, replace_file
from metastore.files.locks import locked
from metastore.files.reading import read_file
from metastore.os_errors import naming

#: The file in a repository whose time is that of the last change.
CHANGED = "changed"
#: The feed of a store that nothing was written to yet.
NO_FEED = "0" * 16
#: For how many nanoseconds ahead the clock is made durable, so that not every change has to wait for the disk.
_AHEAD = 10_000_000_000


class Clock:
    """The clock of one store.

    Args:
        folder: Where its files are.
        sync: Whether the clock has to survive a power cut.
    """

    def __init__(self, folder: str, *, sync: bool) -> None:
        self._folder = folder
        self._path = f"{folder}/clock"
        self._sync = sync

    def tick(self) -> int:
        """Return a time in nanoseconds, later than all before it, and close to the system's unless that went back.

        After a power cut the last ticks may be lost, so the clock continues after every time that it can have returned.
        """
        make_folders(self._folder, sync=self._sync)
        with locked([self._path]):
            last, durable, boot = self._state()
            if boot != (this_boot := _boot()):
                last = max(last, durable)
            at = max(time.time_ns(), last + 1)
            with suppress(PermissionError):  # without the right to write here, a time after the last one is enough
                self._set(at, durable, this_boot)
                if not os.path.exists(f"{self._folder}/id"):
                    replace_file(f"{self._folder}/id", random_name(16).encode(), sync=self._sync)
            return at

    def read(self) -> tuple[str, int]:
        """Return the id of the feed, 16 hex digits, and the time of the last change in nanoseconds.

        A copy has other inodes and times of creation, and so another feed; if it is of hard links, its folder has.
        """
        try:
            with locked([self._path], shared=True):
                content = read_file(f"{self._folder}/id")
                origin, clock, folder = os.stat(f"{self._folder}/id"), os.stat(self._path), os.stat(self._folder)
                last, _, _ = self._state()
        except FileNotFoundError:
            return NO_FEED, 0
        told = f"{content!r} {origin.st_ino} {origin.st_ctime_ns} {clock.st_ino} {folder.st_ino}"
        return hashlib.sha256(told.encode()).hexdigest()[:16], last

    def _state(self) -> tuple[int, int, str]:
        parts = (read_file(self._path) or b"").decode("ascii", "replace").split()
        if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit():
            return int(parts[0]), int(parts[1]), parts[2]
        return 0, 0, ""

    def _set(self, at: int, durable: int, boot: str) -> None:
        """Overwrite the state in place: all states have the same length, and readers take the lock."""
        sync = at > durable
        state = f"{at:020} {at + _AHEAD if sync else durable:020} {boot:36}\n".encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with naming(self._path):
                os.pwrite(descriptor, state, 0)
                if sync and self._sync:
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)


def stamp(folder: str, at: int, aside: Callable[[], str]) -> None:
    """Set the time of a dataset's last change.

    Args:
        folder: Its repository.
        at: The time, in nanoseconds.
        aside: Returns a free path on the same file system.
    """
    path = f"{folder}/{CHANGED}"
    try:
        os.utime(path, ns=(at, at))
    except (FileNotFoundError, PermissionError):  # only its owner may set a file's time: make it ours
        replace_file(path, b"", sync=False, temporary=aside())
        os.utime(path, ns=(at, at))


@cache  # a process lives in one of them
def _boot() -> str:
    """Return an id that changes with each start of the machine."""
    return (read_file("/proc/sys/kernel/random/boot_id") or b"-").decode().strip()
