"""Keeping below a host's limits of changes, before it has to say so."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Pace:
    """At most so many changes in any stretch of time.

    Args:
        limits: Pairs of a number of changes and a stretch, in seconds.
    """

    def __init__(self, limits: Sequence[tuple[int, float]]) -> None:
        self._limits = limits
        self._times: deque[float] = deque(maxlen=max((count for count, _ in limits), default=0))

    def wait(self, now: float) -> float:
        """Return in how many seconds the next change may be sent; 0 for at once.

        Args:
            now: The time, in seconds since 1970.
        """
        waits = [self._times[-count] + stretch - now for count, stretch in self._limits if len(self._times) >= count]
        return max([0.0, *waits])

    def note(self, now: float) -> None:
        """Count a change that is sent now."""
        self._times.append(now)
