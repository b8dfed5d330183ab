"""GitHub fails at every call of every write: each ends in done, not done, or an unknown outcome that settles later."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import (
    AlreadyExists,
    Conflict,
    DatasetNotFound,
    MetastoreError,
    NotFound,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
    StorageUnavailable,
)
from metastore.storage.github.connect import open_github
from metastore.storage.github.storage import GitHubStorage
from metastore.store.store import MetaStore
from metastore.types import DatasetId, Revision, Tag

from ..conftest import ANN, change, ticking
from ..harness.faults import state
from ..processes import SOAK, fsck
from ..spawned import patch_on_github
from ..test_storage_contract import tag_of
from .github import TOKEN, GitHub
from .server import CUTS, Reply, Request, struck_calls

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
IDS = (CARS, BOATS)
AWAY = Reply(502, b"<html>Bad Gateway</html>")
LIMITED = Reply(429, {"message": "m"}, {"Retry-After": "5"})

#: Each write, as one call on the storage.
WRITES: dict[str, Callable[[Any, Revision, Tag], object]] = {
    "append": lambda storage, first, tag: storage.append(CARS, {"a": b"2", "d/b": b"3"}, change("2"), parent=first.id),
    "create": lambda storage, first, tag: storage.create(BOATS, {"a": b"2"}, change()),
    "rename": lambda storage, first, tag: storage.rename(CARS, BOATS, parent=first.id),
    "purge": lambda storage, first, tag: storage.purge(CARS, parent=first.id),
    "tag_create": lambda storage, first, tag: storage.tag_create(CARS, tag_of("v2", first.id)),
    "tag_change": lambda storage, first, tag: storage.tag_update(
        CARS, "v1", tag_of("v1", first.id, "New"), expected=tag.id
    ),
    "tag_rename": lambda storage, first, tag: storage.tag_update(CARS, "v1", tag_of("v3", first.id), expected=tag.id),
    "tag_delete": lambda storage, first, tag: storage.tag_delete(CARS, "v1", expected=tag.id),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


class World:
    """Fresh hosts with one dataset and one tag each, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.hub: GitHub | None = None
        self.opened: list[GitHubStorage] = []
        self.slept: list[float] = []

    def start(self) -> tuple[GitHubStorage, Revision, Tag]:
        self.stop()
        self.number += 1
        place = self.folder / str(self.number)
        place.mkdir()
        self.hub = GitHub(place)
        storage = self.open()
        first = storage.create(CARS, {"a": b"1"}, change())
        return storage, first, storage.tag_create(CARS, tag_of("v1", first.id))

    def open(self, **options: Any) -> GitHubStorage:
        assert self.hub
        made = open_github("github://physics", **{"token": TOKEN, "api_url": self.hub.url, **options})
        made.host._connection.sleep = made.host.waiting = self.slept.append  # the tests' time does not pass
        clock = made.host._clock
        made.host._clock = lambda: clock() + sum(self.slept)
        self.opened.append(made)
        return made

    def stop(self) -> None:
        for each in self.opened:
            each.close()
        self.opened.clear()
        if self.hub:
            self.hub.close()
            fsck(self.hub.folder.parent)
            self.hub = None

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Undisturbed:
    """A write when nothing goes wrong: the states before and after it, and its calls."""

    before: Any
    after: Any
    calls: list[Request]


def undisturbed(world: World, write: str) -> Undisturbed:
    storage, first, tag = world.start()
    assert world.hub
    before = state(storage, IDS)
    storage, first, tag = world.start()
    world.hub.forget()
    WRITES[write](storage, first, tag)
    calls = [request for request, _ in world.hub.seen]
    return Undisturbed(before, state(world.open(), IDS), calls)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "kind", [*CUTS, AWAY] if SOAK else ["cut-before", "cut-after"], ids=lambda k: k if isinstance(k, str) else "502"
)
def test_one_call_that_fails_leaves_a_write_done_or_not_done(write: str, kind: Any, world: World) -> None:
    expected = undisturbed(world, write)
    for number in struck_calls(expected.calls, kind):
        storage, first, tag = world.start()
        assert world.hub
        fault = world.hub.fault(kind, skip=number)
        try:
            WRITES[write](storage, first, tag)
            allowed = [expected.after]
        except OutcomeUnknown:
            allowed = [expected.before, expected.after]
        except MetastoreError:
            allowed = [expected.before]
        assert fault.struck
        for seen in (state(storage, IDS), state(world.open(), IDS)):
            assert seen in allowed


@pytest.mark.parametrize("write", WRITES)
def test_a_host_that_stays_away_after_any_call_is_settled_by_the_same_call_later(write: str, world: World) -> None:
    expected = undisturbed(world, write)
    for number in struck_calls(expected.calls, "cut-after"):
        storage, first, tag = world.start()
        assert world.hub
        last = world.hub.fault("cut-after", skip=number)
        away = world.hub.fault("cut-before", skip=number, times=1000)
        with suppress(MetastoreError):
            WRITES[write](storage, first, tag)
        assert last.struck
        away.times = 0
        again = world.open()
        assert state(again, IDS) in (expected.before, expected.after)
        with suppress(Conflict, NotFound):
            WRITES[write](again, first, tag)
        assert state(again, IDS) == expected.after


@pytest.mark.parametrize("write", WRITES)
def test_a_limit_in_the_middle_is_waited_for(write: str, world: World) -> None:
    expected = undisturbed(world, write)
    for number in struck_calls(expected.calls, LIMITED):
        storage, first, tag = world.start()
        assert world.hub
        fault = world.hub.fault(LIMITED, skip=number)
        slept = len(world.slept)
        WRITES[write](storage, first, tag)
        assert state(storage, IDS) == expected.after
        assert fault.struck
        assert len(world.slept) > slept


@pytest.mark.parametrize("write", WRITES)
def test_a_limit_longer_than_our_patience_leaves_nothing_half_done(write: str, world: World) -> None:
    expected = undisturbed(world, write)
    limit = Reply(403, {"message": "m"}, {"Retry-After": "4000"})
    for number in struck_calls(expected.calls, limit):
        storage, first, tag = world.start()
        assert world.hub
        fault = world.hub.fault(limit, skip=number)
        try:
            WRITES[write](storage, first, tag)
        except StorageBusy:
            assert state(world.open(), IDS) == expected.before
        except OutcomeUnknown:  # a purge that could not take its mark back
            assert write == "purge"
            assert state(world.open(), IDS) == expected.after
        assert fault.struck


def test_a_repository_that_is_not_ready_at_once_is_waited_for(world: World) -> None:
    storage, _, _ = world.start()
    assert world.hub
    empty = Reply(409, {"message": "Git Repository is empty."})
    fault = world.hub.fault(empty, path="/git/trees", times=2)
    storage.create(BOATS, {"a": b"1"}, change())
    assert fault.struck == 2
    world.hub.fault(empty, path="/git/trees", times=99)
    with pytest.raises(StorageBusy, match="not ready"):
        storage.create(DatasetId("physics", "ships"), {"a": b"1"}, change())
    assert len(world.hub.repositories) == 2


def test_an_update_whose_answer_is_lost_is_found_though_others_went_on(world: World) -> None:
    storage, first, _ = world.start()
    assert world.hub
    other = world.open()

    def goes_on() -> None:
        head = other.resolve(CARS, None)
        other.append(CARS, {"b": b"other"}, change("other"), parent=head.id)

    world.hub.fault("cut-after", body="mutation")
    reading = world.hub.fault("cut-before", body="query Current", times=0)
    reading.times, reading.kind, reading.before = 1, "bad-gateway-after", goes_on
    made = storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    messages = [each.message for each in storage.history(CARS, storage.resolve(CARS, None).id)]
    assert messages == ["other", "ours", "Why"]
    assert storage.resolve(CARS, made.id) == made


def test_a_late_update_that_lands_after_it_was_given_up_is_made_once(world: World) -> None:
    storage, first, _ = world.start()
    assert world.hub
    slow = world.open(timeout=0.3)
    slow.resolve(CARS, None)
    held = world.hub.fault("held", body="mutation")
    made = slow.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    assert held.struck
    held.release()
    assert [each.id for each in storage.history(CARS, storage.resolve(CARS, None).id)] == [made.id, first.id]


def test_a_write_overtaken_just_before_the_branch_moves_is_a_conflict(world: World) -> None:
    storage, first, _ = world.start()
    assert world.hub
    other = world.open()
    world.hub.fault(
        "nothing",
        body="mutation",
        before=lambda: other.append(CARS, {"a": b"other"}, change("other"), parent=first.id),
    )
    with pytest.raises(RevisionConflict) as caught:
        storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    assert caught.value.actual == other.resolve(CARS, None).id
    assert [each.message for each in storage.history(CARS, storage.resolve(CARS, None).id)] == ["other", "Why"]


def test_a_write_overtaken_by_a_purge_and_a_new_dataset_changes_nothing(world: World) -> None:
    storage, first, _ = world.start()
    assert world.hub
    other = world.open()

    def replaced() -> None:
        other.purge(CARS, parent=first.id)
        other.create(CARS, {"a": b"1"}, change())

    for body in ("mutation", '"content": "2"'):
        world.hub.fault("nothing", body=body, before=replaced)
        with pytest.raises((StorageBusy, DatasetNotFound)):
            storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
        assert storage.resolve(CARS, None) == first


def test_a_purge_overtaken_by_a_write_stops(world: World) -> None:
    storage, first, _ = world.start()
    assert world.hub
    other = world.open()
    world.hub.fault(
        "nothing",
        body="mutation",
        before=lambda: other.append(CARS, {"a": b"other"}, change("other"), parent=first.id),
    )
    with pytest.raises(RevisionConflict):
        storage.purge(CARS, parent=first.id)
    assert storage.resolve(CARS, None).message == "other"


def test_a_create_overtaken_by_another_says_so_and_leaves_nothing_behind(world: World) -> None:
    storage, _, _ = world.start()
    assert world.hub
    other = world.open()
    world.hub.fault("nothing", method="PATCH", before=lambda: other.create(BOATS, {"a": b"other"}, change("other")))
    with pytest.raises(AlreadyExists):
        storage.create(BOATS, {"a": b"2"}, change("ours"))
    assert storage.resolve(BOATS, None).message == "other"
    assert sorted(each.name for each in world.hub.repositories.values()) == ["boats", "cars"]


def test_an_interrupted_purge_is_gone_for_readers_and_ended_by_repair_or_create(world: World) -> None:
    for ending in (
        lambda storage: list(storage.verify(repair=True)),
        lambda storage: storage.create(CARS, {"a": b"new"}, change("new")),
    ):
        storage, first, _ = world.start()
        assert world.hub
        world.hub.fault("cut-before", method="DELETE")
        with pytest.raises(OutcomeUnknown):
            storage.purge(CARS, parent=first.id)
        other = world.open()
        with pytest.raises(DatasetNotFound):
            other.resolve(CARS, None)
        assert list(other.ids(deleted=None)) == []
        ending(other)
        with suppress(DatasetNotFound):
            assert other.resolve(CARS, None).message == "new"
        assert {each.target("refs/heads/main") for each in world.hub.repositories.values()} <= {
            other.resolve(CARS, None).id for _ in list(other.ids())
        }


def test_two_processes_that_write_one_dataset_lose_nothing(tmp_path: Path) -> None:
    with GitHub(tmp_path) as hub:
        storage = open_github("github://physics", token=TOKEN, api_url=hub.url)
        store = MetaStore(storage, author=ANN, clock=ticking())
        store.dataset_create(CARS, {})
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=patch_on_github, args=(hub.url, TOKEN, name, 8)) for name in ("ann", "bo")]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        assert [each.exitcode for each in writers] == [0, 0]
        assert len(store.dataset_read(CARS).descriptor) == 16
        assert len(list(store.revision_list(CARS))) == 17
        storage.close()
        fsck(tmp_path)


def test_a_host_that_cannot_be_reached_is_unavailable() -> None:
    storage = open_github("github://physics", token=TOKEN, api_url="http://127.0.0.1:1")
    storage.host._connection.sleep = lambda seconds: None
    for call in (
        lambda: storage.resolve(CARS, None),
        lambda: list(storage.ids()),
        lambda: storage.create(CARS, {"a": b"1"}, change()),
        storage.ping,
    ):
        with pytest.raises(StorageUnavailable):
            call()
