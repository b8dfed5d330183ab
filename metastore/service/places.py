"""The places for requests that each caller has in one process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

#: The requests of one caller that may wait for each one that runs, and the seconds that they wait.
WAITING_FOR_EACH, PATIENCE = 7, 10.0


@dataclass
class Places:
    """The places of callers in one process. Safe to share between threads.

    Attributes:
        at_once: The requests of one caller that run at once.
        waiting_for_each: The further ones that may wait for each one that runs.
        patience: The seconds that a request waits for its turn.
        in_all: The most requests of all callers; None for any number.
    """

    at_once: int
    waiting_for_each: int = WAITING_FOR_EACH
    patience: float = PATIENCE
    in_all: int | None = None
    _present: Counter[str] = field(default_factory=Counter)
    _working: Counter[str] = field(default_factory=Counter)
    _free: threading.Condition = field(default_factory=threading.Condition)

    def take(self, caller: str) -> bool:
        """Wait for a place, and tell whether one was free. The caller has to give it back."""
        end = time.monotonic() + self.patience
        with self._free:
            if self._present[caller] >= self.at_once * (1 + self.waiting_for_each):
                return False
            if self.in_all is not None and self._present.total() >= self.in_all:
                return False
            self._present[caller] += 1
            if not self._free.wait_for(lambda: self._working[caller] < self.at_once, end - time.monotonic()):
                self._leave(self._present, caller)
                return False
            self._working[caller] += 1
            return True

    def give_back(self, caller: str) -> None:
        """Make room for the next request of the caller."""
        with self._free:
            self._leave(self._working, caller)
            self._leave(self._present, caller)
            self._free.notify_all()

    @staticmethod
    def _leave(counter: Counter[str], caller: str) -> None:
        counter[caller] -= 1
        if not counter[caller]:
            del counter[caller]  # a process serves many callers in its life
