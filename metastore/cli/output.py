"""Output for a terminal. Text of others can neither move the cursor nor hide or forge anything."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from metastore.printable import printable_lines

#: The prefix of our own style codes. It is random, so that no stored text can pass for one.
_OURS = f"\x1b<{os.urandom(8).hex()}>"
_STYLE = re.compile(re.escape(_OURS) + r"\[([\d;]+m)")


def paint(text: str, **style: Any) -> str:
    """Return text in a style of `click.style`, for `show` alone."""
    return click.style("\0", **style).replace("\x1b", _OURS).replace("\0", text)


def show(*lines: str, err: bool = False) -> None:
    """Print lines. Control characters, also line breaks, are escaped as in JSON; tabs stay."""
    from metastore.config import wants_color

    click.echo("\n".join(map(_safe, lines)), err=err, color=wants_color())


def _safe(line: str) -> str:
    pieces = _STYLE.split(line)
    pieces[::2] = [printable_lines(piece).replace("\n", "\\n") for piece in pieces[::2]]
    pieces[1::2] = [f"\x1b[{code}" for code in pieces[1::2]]
    return "".join(pieces)


def show_bytes(content: bytes) -> None:
    """Write bytes to stdout unchanged; on a terminal, control characters are escaped."""
    if sys.stdout.isatty():
        click.echo(printable_lines(content.decode("utf-8", "backslashreplace")), nl=False)
    else:
        click.echo(content, nl=False)
