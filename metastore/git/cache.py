"""A cache with a limit on the total size of its values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from metastore.forks import ForkSafeLock


class Cache:
    """Least recently used values, up to a total weight. Safe to share between threads, and after a fork.

    Args:
        limit: Total weight, in bytes; a value heavier than an eighth of it is not kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._mutex = ForkSafeLock()

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, or None."""
        found = self._values.get(key)
        if found is None:
            return None
        try:  # noqa: SIM105 - one step, so the lock is not needed; it or `suppress` would cost as much as all the rest
            self._values.move_to_end(key)
        except KeyError:  # displaced meanwhile
            pass
        return found[0]

    def put(self, key: Hashable, value: Any, weight: int) -> None:
        """Keep a value until newer ones displace it."""
        if weight > self._limit // 8:
            return
        with self._mutex:
            if key in self._values:
                return
            self._values[key] = value, weight
            self._weight += weight
            while self._weight > self._limit:
                self._weight -= self._values.popitem(last=False)[1][1]
