"""A call that is not waited for longer than it is worth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import metastore


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns, or give up on it.

    CKAN holds a row of its database while MetaStore is written. The call goes on in the background when it is given
    up; what it writes, it writes on top of the revision that it has read, or not at all.

    Raises:
        metastore.OutcomeUnknown: It has not come back in time.
    """
    result: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:  # handed to the caller, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise metastore.StorageBusy(f"MetaStore has not answered within {seconds} seconds")
    return result[0]
