"""The least revision that a read has to see. With one, a replica may answer what the newest revision is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_least: ContextVar[str | None] = ContextVar("metastore.least", default=None)


@contextmanager
def reading_at_least(revision: str | None) -> Iterator[None]:
    """Let the reads of the block, in this thread, be content with a state that has this revision.

    Nothing is written in the block: a write that begins with an older state is refused.

    Args:
        revision: The full id of a revision; None for the present state.
    """
    token = _least.set(revision)
    try:
        yield
    finally:
        _least.reset(token)


def least() -> str | None:
    """Return the revision that a read has to see; None if it has to see all."""
    return _least.get()
