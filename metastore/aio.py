"""Stores for asyncio: the calls of `Store` in threads, under the same names.

A store of asyncio has no code of its own for reads, writes, retries or lost responses: each call is that of a `Store`,
which waits in a thread, for a service as for any other store.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from metastore.connecting import connect
from metastore.lazy import LazyList
from metastore.store.base import Store

#: The calls that wait at the same time. Further ones wait for one of them.
_THREADS = 32
#: The calls that stay with `Store`: one collects without waiting, two are for the service itself.
_LEFT_OUT = {"batch", "close", "part_history", "search"}


class AsyncStore:
    """A store whose calls are awaited. `metastore.aconnect` opens one.

    Each call has the name, the arguments and the errors of that of `metastore.Store`, and the same result; a list, and
    the change feed, come as a `list` that was read completely, so give a long one a `limit`. A call whose task is
    cancelled ends in its thread all the same: its write may be made.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Its threads end when the store is no longer referred to, so a call after `close` still gets its error.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="metastore")

    def __repr__(self) -> str:
        return f"<AsyncStore {self._store!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Free what is held open. Every later call raises InvalidInput."""
        await self._call("close")

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(contextvars.copy_context().run, _complete, getattr(self._store, name), *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]: ...


def _complete(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = call(*args, **kwargs)
    return list(result) if isinstance(result, (LazyList, Iterator)) else result


def _awaited(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(getattr(Store, name))
    async def call(self: AsyncStore, *args: Any, **kwargs: Any) -> Any:
        return await self._call(name, *args, **kwargs)

    return call


for _name in dir(Store):
    if not _name.startswith("_") and _name not in _LEFT_OUT and callable(getattr(Store, _name)):
        setattr(AsyncStore, _name, _awaited(_name))


class Opening(Coroutine[Any, Any, AsyncStore]):
    """A store that is being opened: awaited, it is the store; in `async with`, it is opened and closed."""

    def __init__(self, opening: Coroutine[Any, Any, AsyncStore]) -> None:
        self._opening = opening

    def send(self, value: Any) -> Any:
        """See `Coroutine`."""
        return self._opening.send(value)

    def throw(self, *error: Any) -> Any:
        """See `Coroutine`."""
        return self._opening.throw(*error)

    def close(self) -> None:
        """See `Coroutine`."""
        self._opening.close()

    def __await__(self) -> Generator[Any, Any, AsyncStore]:
        return self._opening.__await__()

    async def __aenter__(self) -> AsyncStore:
        self._store = await self._opening
        return self._store

    async def __aexit__(self, *error: object) -> None:
        await self._store.close()


def aconnect(url: str | Path, **options: Any) -> Opening:
    """See `metastore.aconnect`."""
    return Opening(_opened(functools.partial(connect, url, **options)))


async def _opened(opens: Callable[[], Store]) -> AsyncStore:
    return AsyncStore(await asyncio.to_thread(opens))
