"""A terminal for tests: a command on a pseudo-terminal, and what a person would see there."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyte


def on_terminal(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Run a command on a terminal; returns its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b"".join(_parts(ours))
    os.close(ours)
    return child.wait(), written


def _parts(terminal: int) -> Iterator[bytes]:
    """Yield what comes from a terminal until its last program is gone, which Linux tells by an error."""
    try:
        while part := os.read(terminal, 65_536):
            yield part
    except OSError:
        return


def screens(written: bytes) -> Iterator[tuple[str, ...]]:
    """Yield the lines on a screen of 80 columns whenever they change, without those that are empty at the end."""
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    before: tuple[str, ...] = ()
    for part in written.split(b"\r"):  # a bar is drawn again from its beginning
        stream.feed(b"\r" + part)
        lines = tuple("\n".join(line.rstrip() for line in screen.display).rstrip().splitlines())
        if lines != before:
            before = lines
            yield lines
    assert not screen.cursor.hidden
