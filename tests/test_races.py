"""Races made certain: something else happens just before a write takes its lock."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import AlreadyExists, DatasetNotFound, MetastoreError, StorageBusy
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.retry import append
from metastore.types import DatasetId, Revision, Tag

from .conftest import ANN, change
from .processes import fsck
from .test_storage_contract import tag_of

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")


class Overtaken:
    """Comes before a storage: something happens once, before the first lock is taken."""

    happens: Callable[[], object] | None = None

    def _lock(self, *ids: DatasetId) -> Any:
        happens, self.happens = self.happens, None
        if happens:
            happens()
        return super()._lock(*ids)  # type: ignore[misc]


class OvertakenGit(Overtaken, GitStorage):
    pass


class OvertakenMemory(Overtaken, MemoryStorage):
    pass


@pytest.fixture(params=["git", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return OvertakenGit(tmp_path, sync=False) if request.param == "git" else OvertakenMemory()


def test_a_writer_that_needs_longer_than_the_others_does_not_lose_each_time() -> None:
    storage, done, tries = MemoryStorage(), threading.Event(), list[str]()
    storage.create(CARS, {"a": b"1"}, change())

    def head() -> Revision:
        return storage.resolve(CARS, None)

    def compute_fast(before: Revision) -> Any:
        return {"a": before.id.encode()}, change()

    def compute_slowly(before: Revision) -> Any:
        tries.append(before.id)
        time.sleep(0.01)
        return {"b": b"1"}, change()

    def write() -> None:
        while not done.is_set():
            append(storage, CARS, head, compute_fast)

    others = [threading.Thread(target=write) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        append(storage, CARS, head, compute_slowly)
    finally:
        done.set()
        for thread in others:
            thread.join()
    assert len(tries) <= 10


WRITES: dict[str, Callable[[Any, Revision, Tag], object]] = {
    "append": lambda storage, first, tag: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
    "tag_create": lambda storage, first, tag: storage.tag_create(CARS, tag_of("v2", first.id)),
    "tag_update": lambda storage, first, tag: storage.tag_update(
        CARS, "v1", tag_of("v1", first.id, "x"), expected=tag.id
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_for_a_dataset_that_was_purged_and_created_again_changes_nothing(
    write: str, storage: Any, tmp_path: Path
) -> None:
    def make() -> tuple[Revision, Tag]:
        first = storage.create(CARS, {"a": b"1"}, change())
        return first, storage.tag_create(CARS, tag_of("v1", first.id))

    first, tag = make()
    storage.happens = lambda: (storage.purge(CARS, parent=first.id), make())
    with pytest.raises((StorageBusy, DatasetNotFound)):
        WRITES[write](storage, first, tag)
    assert (storage.resolve(CARS, None), list(storage.tags(CARS))) == (first, [tag])
    fsck(tmp_path)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_for_a_dataset_that_moves_away_says_where_to(write: str, storage: Any) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    tag = storage.tag_create(CARS, tag_of("v1", first.id))
    storage.happens = lambda: storage.rename(CARS, BOATS, parent=first.id)
    with pytest.raises(metastore.DatasetMoved):
        WRITES[write](storage, first, tag)
    assert (storage.resolve(BOATS, None), list(storage.tags(BOATS))) == (first, [tag])


def test_a_dataset_purged_while_another_is_created_at_its_id_does_not_fail_the_creator(storage: Any) -> None:
    store = metastore.MetaStore(storage, author=ANN, validation="off")
    made = store.dataset_create(CARS, {"n": 1})
    real = storage.create

    def create(*args: Any) -> Revision:
        try:
            return real(*args)
        except MetastoreError:
            storage.create = real
            storage.purge(CARS, parent=made.revision.id)
            raise

    storage.create = create
    assert store.dataset_create(CARS, {"n": 2}).revision.parent is None


@pytest.mark.parametrize("call", ["move", "revert"])
def test_a_call_that_has_done_its_work_does_not_fail_because_of_what_came_after(call: str, storage: Any) -> None:
    store = metastore.MetaStore(storage, author=ANN, validation="off")
    first = store.dataset_create(CARS, {"n": 1})
    store.dataset_update(CARS, {"n": 2})
    real = getattr(storage, "rename" if call == "move" else "append")

    def overtaken(dataset_id: DatasetId, *args: Any, **options: Any) -> Any:
        done = real(dataset_id, *args, **options)
        where = BOATS if call == "move" else CARS
        storage.purge(where, parent=storage.resolve(where, None).id)
        return done

    setattr(storage, real.__name__, overtaken)
    if call == "move":
        assert store.dataset_move(CARS, BOATS).descriptor == {"n": 2}
    else:
        assert store.dataset_revert(CARS, first.revision.id).descriptor == {"n": 1}


def test_the_change_feed_tells_of_a_create_that_took_long(tmp_path: Path) -> None:
    storage = OvertakenGit(tmp_path, sync=False)
    GitStorage(tmp_path, sync=False).create(BOATS, {"a": b"1"}, change())
    complete = []

    def an_hour_passes() -> None:
        for folder in (tmp_path / "_metastore" / "tmp").iterdir():
            os.utime(folder / "HEAD", (0, 0))
            os.utime(folder / "refs/heads/main", (0, 0))
            os.utime(folder / "refs/tags", (0, 0))
        complete.append(list(storage.touched(None))[-1][0])

    storage.happens = an_hour_passes
    storage.create(CARS, {"a": b"1"}, change())
    assert CARS in {each for _, each in storage.touched(complete[0])}


def test_opposite_moves_at_the_same_moment_never_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    heads = {dataset_id: storage.create(dataset_id, {"a": b"1"}, change()).id for dataset_id in (CARS, BOATS)}
    context = multiprocessing.get_context("fork")
    both_hold_one = context.Barrier(2)
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        with suppress(threading.BrokenBarrierError):  # the other cannot come here if it wants this very lock first
            both_hold_one.wait(0.3)

    def move(source: DatasetId, target: DatasetId) -> None:
        signal.alarm(10)
        fcntl.flock = flock
        with pytest.raises(AlreadyExists):
            storage.rename(source, target, parent=heads[source])
        os._exit(0)

    movers = [context.Process(target=move, args=ids) for ids in ((CARS, BOATS), (BOATS, CARS))]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    assert [mover.exitcode for mover in movers] == [0, 0]


def test_damage_may_be_dealt_with_while_verify_goes_on(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    (tmp_path / "physics/cars.git/former-ids.1-2.new").touch()
    found = storage.verify()
    assert next(found).kind == "left-over-file"
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert list(found) == []
    assert storage.resolve(CARS, None) == second


def test_a_blob_of_another_dataset_is_none_of_this_one(storage: Any) -> None:
    from metastore.errors import InvalidInput
    from metastore.git.objects import blob_id

    first = storage.create(CARS, {"a": b"1"}, change())
    storage.create(BOATS, {"a": b"elsewhere"}, change())
    with pytest.raises(InvalidInput, match="no blob"):
        storage.append(CARS, {"b": blob_id(b"elsewhere")}, change(), parent=first.id)
