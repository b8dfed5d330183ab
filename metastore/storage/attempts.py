"""Which change an unknown outcome is about: the ids before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metastore.errors import OutcomeUnknown


class Attempt:
    """The ids of a change that is being made: the one before it, and the one that it makes once that is known."""

    def __init__(self, before: str | None, wanted: str | None) -> None:
        self.before = before
        self.wanted = wanted


@contextmanager
def attempt(before: str | None, wanted: str | None = None) -> Iterator[Attempt]:
    """Let an OutcomeUnknown that the body raises carry the ids of the change."""
    ids = Attempt(before, wanted)
    try:
        yield ids
    except OutcomeUnknown as error:
        error.before, error.wanted = ids.before, ids.wanted
        raise
