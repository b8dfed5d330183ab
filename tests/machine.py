"""The machine that the tests see: no configuration of the real one, and a Git identity of their own.

METASTORE_TEST_GIT_CONFIG has lines of Git's configuration to put beside the identity; see `make hostile`.
Imported before anything else, since libgit2 reads HOME once. Children inherit it, the services and clones too.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import certifi

#: Who commits when a test lets plain Git commit.
IDENTITY = {"NAME": "Tess Tester", "EMAIL": "tess@example.org"}
#: Settings of a test run; every other variable of ours or of Git's would change what is tested.
_KEPT = ("METASTORE_SOAK", "METASTORE_TEST_", "METASTORE_LIVE_")
#: Where Linux keeps files in memory, and how many bytes have to be free there for the files of a test run.
_MEMORY, _ROOM = Path("/dev/shm"), 4 * 1024**3
_DAY = 24 * 60 * 60  # seconds


def isolate() -> None:
    """Take this process, and the children to come, to a home folder that has nothing but a Git identity."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell lets what it runs in the background ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith(("GIT_", "METASTORE_", "XDG_")) and not name.startswith(_KEPT):
            del os.environ[name]
    if "TMPDIR" not in os.environ and (memory := _in_memory()):
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None  # so that it is looked up again
    home = temporary("metastore-tests-home-")
    os.environ["HOME"] = str(home)
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    for role in ("AUTHOR", "COMMITTER"):  # beside the file, for children that get another home
        os.environ |= {f"GIT_{role}_{part}": value for part, value in IDENTITY.items()}
    if not any(name.startswith("METASTORE_LIVE_") for name in os.environ):  # those ask the real hosts
        os.environ["SSL_CERT_FILE"] = str(_one_authority(home / "authority.pem"))
    user = "[user]\n" + "".join(f"\t{part.lower()} = {value}\n" for part, value in IDENTITY.items())
    (home / ".gitconfig").write_text(user + os.environ.get("METASTORE_TEST_GIT_CONFIG", ""))


def _in_memory() -> Path | None:
    """Make a folder in memory, where nobody waits for a disk; with TMPDIR set, files are there and can be looked at."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        return None
    for left in _MEMORY.glob("metastore-tests-*"):  # by a run that was killed
        with suppress(FileNotFoundError):  # another run has just ended
            status = left.stat()
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _DAY:
                shutil.rmtree(left, ignore_errors=True)
    folder = temporary("metastore-tests-", _MEMORY)
    folder.chmod(0o755)  # the tests' PostgreSQL is another user
    return folder


def temporary(prefix: str, folder: Path | None = None) -> Path:
    """Make a folder that goes with this process."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    ours = os.getpid()  # a forked child ends without it
    atexit.register(lambda: os.getpid() == ours and shutil.rmtree(path, ignore_errors=True))
    return path


def _one_authority(file: Path) -> Path:
    """Write a file with one certificate authority: to load them all takes each new HTTP client 70 ms."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    file.write_text(first + end)
    return file
