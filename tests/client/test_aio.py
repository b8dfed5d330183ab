"""A store for asyncio: the same names, results and errors, and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import metastore
from metastore import AsyncStore, DatasetNotFound, InvalidInput, RevisionConflict, Store

from ..conftest import ANN
from ..loopback import TOKEN, serving

CARS = "physics/cars"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a thread: a browser of other tests may keep an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(metastore.connect("memory:", author=ANN)) as url:
        yield url


def test_the_names_and_signatures_are_those_of_a_store() -> None:
    calls = {name for name in dir(Store) if not name.startswith("_") and callable(getattr(Store, name))}
    names = {name for name in dir(AsyncStore) if not name.startswith("_")}
    assert names == calls - {"batch", "part_history", "search"}
    for name in names - {"close"}:
        assert inspect.iscoroutinefunction(getattr(AsyncStore, name))
        assert inspect.signature(getattr(AsyncStore, name)) == inspect.signature(getattr(Store, name))


def test_a_service_is_written_to_and_read(address: str) -> None:
    async def work() -> None:
        async with await metastore.aconnect(address, token=TOKEN) as store:
            first = await store.dataset_create(CARS, {"name": "cars"}, message="First")
            await store.dataset_patch(CARS, {"title": "Cars"}, expected=first.revision)
            assert [revision.message for revision in await store.revision_list(CARS)][-1] == "First"
            assert (await store.dataset_list(), [entry.dataset_id for entry in await store.changes()]) == (
                [CARS],
                [CARS],
            )
            with pytest.raises(RevisionConflict):
                await store.dataset_patch(CARS, {"title": "Old"}, expected=first.revision)
            with pytest.raises(DatasetNotFound):
                await store.dataset_read("physics/none")
        with pytest.raises(InvalidInput, match="is closed"):
            await store.dataset_list()

    run(work())


def test_the_event_loop_and_other_calls_go_on_while_one_waits(address: str) -> None:
    async def work() -> None:
        async with await metastore.aconnect(address, token=TOKEN) as store:
            await store.dataset_create("math/first", {})
            cursor = (await store.changes())[-1].cursor
            waiting = asyncio.create_task(store.changes(cursor, wait=60))
            await asyncio.sleep(0)
            await asyncio.gather(*(store.dataset_create(f"math/n{number}", {}) for number in range(3)))
            assert {entry.dataset_id.owner for entry in await waiting} == {"math"}

    run(work())


def test_a_store_is_opened_in_one_step_or_by_a_task(address: str) -> None:
    async def work() -> None:
        async with metastore.aconnect(address, token=TOKEN) as store:
            await store.dataset_create("math/once", {})
        with pytest.raises(InvalidInput, match="is closed"):
            await store.dataset_list()
        with pytest.raises(ZeroDivisionError):
            async with metastore.aconnect(address, token=TOKEN) as store:
                1 / 0  # noqa: B018
        with pytest.raises(InvalidInput, match="is closed"):
            await store.dataset_list()
        opened = await asyncio.create_task(metastore.aconnect(address, token=TOKEN))
        await opened.close()

    run(work())
    metastore.aconnect(address).close()  # no warning that it was never awaited


def test_a_wrong_option_is_told_when_it_is_opened() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'timeout'"):
        run(metastore.aconnect("https://metastore.example.org", timout=3))
