"""Adds the ids before and after a change to an unknown outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metastore.errors import OutcomeUnknown


class Attempt:
    """The ids of a change in progress: the one before it, and the new one as soon as it is known."""

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
