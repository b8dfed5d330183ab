"""Faults and races that GitHub's API alone has; what every host has is in test_faults.py."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import (
    AlreadyExists,
    DatasetNotFound,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
    StorageUnavailable,
)
from metastore.storage.github.connect import open_github
from metastore.storage.github.storage import GitHubStorage
from metastore.store.store import MetaStore
from metastore.types import DatasetId, Revision

from ..conftest import ANN, change, ticking
from ..processes import fsck
from ..spawned import patch_on_github
from ..test_storage_contract import tag_of
from .github import TOKEN, GitHub
from .server import Reply
from .worlds import World, Worlds

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
IDS = (CARS, BOATS)
AWAY = Reply(502, b"<html>Bad Gateway</html>")
LIMITED = Reply(429, {"message": "m"}, {"Retry-After": "5"})


def prepare(storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, tag_of("v1", first.id))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds"), prepare) as made:
        yield made


@pytest.fixture
def world(worlds: Worlds) -> World:
    return worlds["github"]


def started(world: World) -> tuple[GitHubStorage, Revision, Any]:
    """Begin with a new GitHub; return a storage on it, the revision of its only dataset, and the emulator."""
    storage = world.start()
    first = storage.resolve(CARS, None)
    world.hub.forget()
    return storage, first, world.hub


def test_a_repository_that_is_not_ready_at_once_is_waited_for(world: World) -> None:
    storage, _, hub = started(world)
    empty = Reply(409, {"message": "Git Repository is empty."})
    fault = hub.fault(empty, path="/git/trees", times=2)
    storage.create(BOATS, {"a": b"1"}, change())
    assert fault.struck == 2
    hub.fault(empty, path="/git/trees", times=99)
    with pytest.raises(StorageBusy, match="not ready"):
        storage.create(DatasetId("physics", "ships"), {"a": b"1"}, change())
    assert len(hub.repositories) == 2


def test_an_update_whose_answer_is_lost_is_found_though_others_went_on(world: World) -> None:
    storage, first, hub = started(world)
    other = world.open()

    def goes_on() -> None:
        head = other.resolve(CARS, None)
        other.append(CARS, {"b": b"other"}, change("other"), parent=head.id)

    hub.fault("cut-after", body="mutation")
    reading = hub.fault("cut-before", body="query Current", times=0)
    reading.times, reading.kind, reading.before = 1, "bad-gateway-after", goes_on
    made = storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    messages = [each.message for each in storage.history(CARS, storage.resolve(CARS, None).id)]
    assert messages == ["other", "ours", "Why"]
    assert storage.resolve(CARS, made.id) == made


def test_a_late_update_that_lands_after_it_was_given_up_is_made_once(world: World) -> None:
    storage, first, hub = started(world)
    slow = world.open(timeout=0.3)
    slow.resolve(CARS, None)
    held = hub.fault("held", body="mutation")
    made = slow.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    assert held.struck
    held.release()
    assert [each.id for each in storage.history(CARS, storage.resolve(CARS, None).id)] == [made.id, first.id]


def test_a_write_overtaken_just_before_the_branch_moves_is_a_conflict(world: World) -> None:
    storage, first, hub = started(world)
    other = world.open()
    hub.fault(
        "nothing",
        body="mutation",
        before=lambda: other.append(CARS, {"a": b"other"}, change("other"), parent=first.id),
    )
    with pytest.raises(RevisionConflict) as caught:
        storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
    assert caught.value.actual == other.resolve(CARS, None).id
    assert [each.message for each in storage.history(CARS, storage.resolve(CARS, None).id)] == ["other", "Why"]


def test_a_write_overtaken_by_a_purge_and_a_new_dataset_changes_nothing(world: World) -> None:
    storage, first, hub = started(world)
    other = world.open()

    def replaced() -> None:
        other.purge(CARS, parent=first.id)
        other.create(CARS, {"a": b"1"}, change())

    for body in ("mutation", '"content": "2"'):
        hub.fault("nothing", body=body, before=replaced)
        with pytest.raises((StorageBusy, DatasetNotFound)):
            storage.append(CARS, {"a": b"2"}, change("ours"), parent=first.id)
        assert storage.resolve(CARS, None) == first


def test_a_purge_overtaken_by_a_write_stops(world: World) -> None:
    storage, first, hub = started(world)
    other = world.open()
    hub.fault(
        "nothing",
        body="mutation",
        before=lambda: other.append(CARS, {"a": b"other"}, change("other"), parent=first.id),
    )
    with pytest.raises(RevisionConflict):
        storage.purge(CARS, parent=first.id)
    assert storage.resolve(CARS, None).message == "other"


def test_a_create_overtaken_by_another_says_so_and_leaves_nothing_behind(world: World) -> None:
    storage, _, hub = started(world)
    other = world.open()
    hub.fault("nothing", method="PATCH", before=lambda: other.create(BOATS, {"a": b"other"}, change("other")))
    with pytest.raises(AlreadyExists):
        storage.create(BOATS, {"a": b"2"}, change("ours"))
    assert storage.resolve(BOATS, None).message == "other"
    assert sorted(each.name for each in hub.repositories.values()) == ["boats", "cars"]


def test_an_interrupted_purge_is_gone_for_readers_and_ended_by_repair_or_create(world: World) -> None:
    for ending in (
        lambda storage: list(storage.verify(repair=True)),
        lambda storage: storage.create(CARS, {"a": b"new"}, change("new")),
    ):
        storage, first, hub = started(world)
        hub.fault("cut-before", method="DELETE", times=2)
        with pytest.raises(OutcomeUnknown):
            storage.purge(CARS, parent=first.id)
        other = world.open()
        with pytest.raises(DatasetNotFound):
            other.resolve(CARS, None)
        assert list(other.ids(deleted=None)) == []
        ending(other)
        with suppress(DatasetNotFound):
            assert other.resolve(CARS, None).message == "new"
        assert {each.target("refs/heads/main") for each in hub.repositories.values()} <= {
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
