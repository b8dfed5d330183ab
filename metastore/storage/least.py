"""The least revision that a read has to see. With one, a replica may answer what the newest revision is."""

from __future__ import annotations

from contextvars import ContextVar

_least: ContextVar[str | None] = ContextVar("metastore.least", default=None)


class reading_at_least:  # noqa: N801 - used like `contextlib.suppress`, and in each read
    """Let the reads of the block, in this thread, be content with a state that has this revision.

    Nothing is written in the block: a write that begins with an older state is refused.

    Args:
        revision: The full id of a revision; None for the present state.
    """

    __slots__ = ("_revision", "_token")

    def __init__(self, revision: str | None) -> None:
        self._revision = revision

    def __enter__(self) -> None:
        self._token = _least.set(self._revision)

    def __exit__(self, *_: object) -> None:
        _least.reset(self._token)


def least() -> str | None:
    """Return the revision that a read has to see; None if it has to see all."""
    return _least.get()
