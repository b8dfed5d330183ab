"""Faults and races of a host that takes pushes; the faults of every call of every write are in test_faults.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import (
    MetastoreError,
    OutcomeUnknown,
    RevisionConflict,
    StorageError,
    StorageUnavailable,
)
from metastore.storage.gitlab.storage import GitLabStorage, open_gitlab
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change, ticking
from ..processes import SOAK, in_child
from .gitlab import GitLab
from .server import Reply

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
TOKEN = "glpat-ann"


def prepared(storage: Storage) -> Storage:
    """Make a dataset with a tag; and one that was purged, so that the list of moves is there."""
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, TagSpec("v0", first.id, "", ANN, EPOCH))
    gone = DatasetId("physics", "gone")
    storage.purge(gone, parent=storage.create(gone, {"a": b"1"}, change()).id)
    return storage


FIRST = prepared(MemoryStorage()).resolve(CARS, None).id


def told(storage: Storage) -> Any:
    return list(storage.history(CARS, storage.resolve(CARS, None).id)), list(storage.tags(CARS))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitLab]:
    with GitLab(tmp_path / "gitlab", "labs/physics", in_process=not SOAK) as made:
        yield made


OPENED: list[GitLabStorage] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_all()


def close_all() -> None:
    while OPENED:
        OPENED.pop().close()


def opened(server: GitLab, **options: Any) -> GitLabStorage:
    options = {"timeout": 5.0, "sleep": lambda seconds: None, **options}
    made = open_gitlab("gitlab://labs/physics", token=TOKEN, api_url=f"{server.url}/api/v4", **options)
    OPENED.append(made)
    return made


def test_an_append_whose_answer_was_lost_is_known_under_a_later_revision(server: GitLab) -> None:
    storage, other = prepared(opened(server)), opened(server)
    first = storage.resolve(CARS, None)
    fault = server.fault("cut-after", path="git-receive-pack", method="POST")
    again = server.fault("none", path="git-upload-pack", method="POST", skip=0)

    def follow() -> None:
        if fault.struck:
            other.append(CARS, {"a": b"3"}, change("Followed"), parent=other.resolve(CARS, None).id)

    again.before, again.skip = follow, 1_000
    server.faults.remove(again)

    def arm() -> None:
        server.faults.append(again)
        again.skip = 0

    fault.before = arm
    made = storage.append(CARS, {"a": b"2"}, change("Ours"), parent=first.id)
    told_now = list(opened(server).history(CARS, opened(server).resolve(CARS, None).id))
    assert [each.message for each in told_now] == ["Followed", "Ours", "Why"]
    assert made.id == told_now[1].id
    assert again.struck == 1


def test_a_lost_push_that_lost_a_race_is_a_conflict(server: GitLab) -> None:
    storage, other = prepared(opened(server)), opened(server)
    first = storage.resolve(CARS, None)
    fault = server.fault("cut-before", path="git-receive-pack", method="POST")
    fault.before = lambda: other.append(CARS, {"a": b"theirs"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict) as caught:
        storage.append(CARS, {"a": b"ours"}, change(), parent=first.id)
    assert caught.value.actual == other.resolve(CARS, None).id


def test_a_slow_gitlab_is_given_up_and_nothing_is_lost(server: GitLab) -> None:
    prepared(opened(server))
    storage = opened(server, timeout=0.3)
    first = storage.resolve(CARS, None)
    held = server.fault("held", path="git-receive-pack", method="POST", times=10)
    with pytest.raises(OutcomeUnknown):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    server.faults.clear()
    held.release()
    storage = opened(server)
    with suppress(RevisionConflict):  # the one that was held has come through
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.read(CARS, storage.resolve(CARS, None).id, "a") == b"2"
    assert len(list(storage.history(CARS, storage.resolve(CARS, None).id))) == 2


def test_rubbish_for_an_answer_is_an_error_and_no_crash(server: GitLab) -> None:
    prepared(opened(server))
    rubbish = [b"", b"zzzz", b"0009ERR x\n", b"0005", b"001e# service=git-upload-pack\n", b"<html>Log in</html>"]
    for path, kind in (("upload-pack", "application/x-git-upload-pack-result"), ("/projects/", "application/json")):
        for content in rubbish:
            storage = opened(server)
            server.fault(Reply(200, content, {"Content-Type": kind}), path=path)
            with pytest.raises(MetastoreError):
                storage.read(CARS, FIRST, "a")
            server.faults.clear()
    assert told(opened(server)) == told(prepared(MemoryStorage()))


def test_writers_in_two_processes_lose_nothing_and_write_nothing_twice(server: GitLab) -> None:
    def write(name: str) -> Callable[[], object]:
        def run() -> None:
            with metastore.MetaStore(opened(server), author=ANN, clock=ticking(), validation="off") as store:
                for number in range(8):
                    store.dataset_patch(CARS, {name: number})

        return run

    with metastore.MetaStore(opened(server), author=ANN, clock=ticking(), validation="off") as store:
        store.dataset_create(CARS, {})
        children = []
        for name in ("ann", "bob"):
            child = os.fork()
            if not child:
                os._exit(in_child(write(name)))
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        states = [store.dataset_read(CARS, each.id).descriptor for each in store.revision_list(CARS)]
        assert len(states) == 17
        assert states[0] == {"ann": 7, "bob": 7}


def test_a_limit_in_the_middle_of_a_write_changes_nothing(server: GitLab) -> None:
    prepared(opened(server))
    storage = opened(server, patience=1.0)
    server.fault(Reply(429, b"", {"Retry-After": "99"}), path="receive-pack")
    with pytest.raises(StorageError) as caught:
        storage.append(CARS, {"a": b"2"}, change(), parent=FIRST)
    assert not isinstance(caught.value, (OutcomeUnknown, StorageUnavailable))
    assert told(opened(server)) == told(prepared(MemoryStorage()))
