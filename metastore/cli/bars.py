"""Progress bars on stderr, for the work of a command and for the waits that a Git host imposes."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import click

#: Terminal codes: go up a line; clear this line.
_UP, _CLEAR = "\033[A", "\r\033[K"


def bar_stream() -> TextIO:
    """Return the stream for bars: stderr, or with `--quiet` one that is discarded."""
    context = click.get_current_context(silent=True)
    return io.StringIO() if context and getattr(context.obj, "quiet", False) else sys.stderr


class Bar:
    """A progress bar whose length may change."""

    def __init__(self, label: str) -> None:
        self._bar: Any = click.progressbar(length=1, label=label, file=bar_stream())

    def __enter__(self) -> Bar:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def show(self, done: int, total: int) -> None:
        """Show the progress."""
        self._bar.length = total
        self._bar.update(done - self._bar.pos)


def wait_for_host(seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait for the end of a host's rate limit, with a bar on a terminal and a sentence elsewhere.

    The bar is one line below the cursor, which may be on the bar of the work that waits. Then the bar disappears, and
    the cursor is where it was.

    Args:
        seconds: The time to wait.
        sleep: Waits for some seconds.
    """
    stream = bar_stream()
    if not stream.isatty():
        click.echo(f"The host limits requests: waiting {math.ceil(seconds)} seconds.", file=stream)
        sleep(seconds)
        return
    click.echo(err=True)
    try:
        _fill(seconds, sleep)
    finally:  # also at Ctrl-C; a bar that ends has gone to the next line
        click.echo(f"{_UP}{_CLEAR}{_UP}", err=True, nl=False)


def _left(seconds: int | None) -> str:
    hours, minutes = divmod((seconds or 0) // 60, 60)
    if hours:
        return f"{hours} h {minutes} min left"
    return f"{minutes} min left" if minutes >= 2 else f"{seconds} s left"


def _fill(seconds: float, sleep: Callable[[float], None]) -> None:
    """Show a bar that is full after some seconds."""
    steps = max(1, math.ceil(seconds))
    label = "The host limits us: waiting"
    bar: Any = click.progressbar(
        length=steps,
        label=label,
        width=20,  # a line that wraps could not be cleared
        show_eta=False,
        show_percent=False,
        item_show_func=_left,
        file=sys.stderr,
    )
    bar.current_item = steps
    with bar:
        for step in range(1, steps + 1):
            sleep(seconds / steps)
            bar.update(1, steps - step)
