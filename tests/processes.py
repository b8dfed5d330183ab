"""Children that are forked, other users, and what the real Git says of a store."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

SOAK = os.environ.get("METASTORE_SOAK") == "1"


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked child; return how it ended: 0, 1 after an exception, 9 when cut off, or minus the signal."""
    return in_children(work)[0]


def in_children(*works: Callable[[], object]) -> list[int]:
    """Run each in a forked child of its own, all at once; return how they ended, as `in_child` does."""
    children = [_forked(work) for work in works]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def open_to_others(folder: Path) -> None:
    """Let other users into a folder of the tests."""
    while folder != Path(tempfile.gettempdir()):
        folder.chmod(0o755)
        folder = folder.parent


def fsck(root: Path) -> None:
    """Have the real Git check every repository of a store."""
    for repository in root.glob("*/*.git"):
        command = ["git", "-C", str(repository), "-c", "safe.directory=*", "fsck", "--strict", "--no-dangling"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{repository}: {done.stdout}{done.stderr}"
