"""Counting the descriptors that a caller reads, so that a request can end before it has read too much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from metastore.errors import TooLarge


@dataclass(slots=True)
class Meter:
    """The number of bytes read so far, and its limit.

    Attributes:
        most: How many bytes may be read; None for any number.
        spent: How many bytes of descriptors were read.
        began: When, in seconds of this thread's processor time.
    """

    most: int | None = None
    spent: int = 0
    began: float = field(default_factory=lambda: time.thread_time())

    @property
    def seconds(self) -> float:
        """The seconds of a processor that this thread has used so far."""
        return time.thread_time() - self.began

    def add(self, size: int) -> None:
        """Count a descriptor that was read. Raises TooLarge: it is too much."""
        self.spent += size
        if self.most is not None and self.spent > self.most:
            raise TooLarge(f"this reads more than {self.most:,} bytes of descriptors, too much for one request")


_meter: ContextVar[Meter | None] = ContextVar("metastore.meter", default=None)


@contextmanager
def metered(most: int | None = None) -> Iterator[Meter]:
    """Count the bytes of the descriptors that the block reads from a store, in this thread.

    Raises:
        TooLarge: The block has read more than `most`.
    """
    meter = Meter(most)
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def count(content: bytes) -> bytes:
    """Count a descriptor that was read, and return it. Raises TooLarge."""
    if (meter := _meter.get()) is not None:
        meter.add(len(content))
    return content
