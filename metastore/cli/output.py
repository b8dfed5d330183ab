"""Output for a terminal. Text of others can neither move the cursor nor hide or forge anything."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import click

from metastore.printable import printable_lines

#: The prefix of our own style codes. It is random, so that no stored text can pass for one.
_OURS = f"\x1b<{os.urandom(8).hex()}>"
_STYLE = re.compile(re.escape(_OURS) + r"\[([\d;]+m)")
#: For how many seconds the lines of a list are gathered into one write, where no terminal shows them.
_GATHERED = 0.1


def paint(text: str, **style: Any) -> str:
    """Return text in a style of `click.style`, for `show` alone."""
    if not style:  # click would write a reset alone
        return text
    return click.style("\0", **style).replace("\x1b", _OURS).replace("\0", text)


def indented(text: str) -> Iterator[str]:
    """Indent the lines of a text, so that none can pass for a line of ours."""
    return (f"    {line}".rstrip() for line in text.split("\n"))


def show(*lines: str, err: bool = False) -> None:
    """Print lines. Control characters, also line breaks, are escaped as in JSON; tabs stay."""
    from metastore.config import wants_color

    click.echo("\n".join(map(_safe, lines)), err=err, color=wants_color())


def show_pages(lines: Iterable[str]) -> None:
    """Print lines as they come. On a terminal, more of them than it shows go to a pager: `PAGER`, or else less."""
    import shutil  # slow to import

    from metastore.config import wants_color

    coming = iter(lines)
    if sys.stdout.isatty() and sys.stdin.isatty():
        first = list(islice(coming, shutil.get_terminal_size().lines - 1))
        following = next(coming, None)
        if following is not None:
            paged = chain(first, [following], coming)
            click.echo_via_pager((f"{_safe(line)}\n" for line in paged), color=wants_color())
            return
        coming = iter(first)
    show_each(coming)


def show_each(lines: Iterable[str], *, at_once: bool = False, write: Callable[..., None] = show) -> None:
    """Print lines as they come. Where stdout is not a terminal, several go into one write, since writes are slow.

    Args:
        lines: The lines.
        at_once: Whether a reader of a pipe, too, has each line before the next one is waited for.
        write: Prints the lines that it is given.
    """
    at_once = at_once or sys.stdout.isatty()
    waiting: list[str] = []
    due = 0.0
    try:
        for line in lines:
            waiting.append(line)
            if at_once or time.monotonic() >= due:
                ready, waiting = waiting, []
                write(*ready)
                due = time.monotonic() + _GATHERED
    finally:  # the lines before an error are printed before it
        if waiting:
            write(*waiting)


def _safe(line: str) -> str:
    pieces = _STYLE.split(line)
    pieces[::2] = [printable_lines(piece).replace("\n", "\\n") for piece in pieces[::2]]
    pieces[1::2] = [f"\x1b[{code}" for code in pieces[1::2]]
    return "".join(pieces)


def show_bytes(content: bytes) -> None:
    """Write bytes to stdout unchanged; on a terminal, in pages and with control characters escaped."""
    if sys.stdout.isatty():
        show_pages(content.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n"))
    else:
        click.echo(content, nl=False)
