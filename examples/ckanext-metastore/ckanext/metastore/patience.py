"""Deadlines for calls of MetaStore, and a breaker for a MetaStore that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import metastore

T = TypeVar("T")

#: For how many seconds a MetaStore that did not answer is not asked again.
PAUSE = 5.0


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, or give up on it.

    A call that is given up goes on in the background. It writes on top of the revision that it has read, or nothing.

    Raises:
        metastore.StorageUnavailable: The call did not return in time.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # handed to the caller
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise metastore.StorageUnavailable(f"MetaStore has not answered within {seconds} seconds")
    return result[0]


class Breaker:
    """Calls each MetaStore within a deadline, and spares callers the wait for one that has just failed to answer.

    Args:
        pause: For how many seconds a MetaStore is not asked again.
        clock: Returns the time, in seconds.
    """

    def __init__(self, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause, self._clock = pause, clock
        self._closed_until: dict[str, float] = {}

    def call(self, url: str, seconds: float, call: Callable[[], T]) -> T:
        """Return the result of a call.

        Args:
            url: The MetaStore that is called.
            seconds: The deadline.
            call: Calls it.

        Raises:
            metastore.StorageUnavailable: It is not reached, has not answered in time, or was not asked.
        """
        if self._clock() < self._closed_until.get(url, 0):
            raise metastore.StorageUnavailable(f"MetaStore did not answer less than {self._pause:g} seconds ago")
        try:
            result = within(seconds, call)
        except metastore.StorageUnavailable:
            self._closed_until[url] = self._clock() + self._pause
            raise
        self._closed_until.pop(url, None)
        return result

    def forget(self) -> None:
        """Ask every MetaStore again."""
        self._closed_until.clear()


breaker = Breaker()
