"""GitLab fails in the middle of each call of each write: done, not done, or unknown until asked again; never twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import (
    DatasetNotFound,
    MetastoreError,
    OutcomeUnknown,
    RevisionConflict,
    StorageError,
    StorageUnavailable,
)
from metastore.storage.gitlab.connect import open_gitlab
from metastore.storage.gitlab.storage import GitLabStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change, ticking
from ..processes import SOAK, in_child
from .gitlab import GitLab
from .server import CUTS, Reply, Request, struck_calls

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
TOKEN = "glpat-ann"

Write = Callable[[Storage], object]


def _head(storage: Storage, dataset_id: DatasetId = CARS) -> Any:
    return storage.resolve(dataset_id, "v0").id


def _spec(storage: Storage, name: str) -> TagSpec:
    return TagSpec(name, _head(storage), "Described", ANN, EPOCH)


def _tag(storage: Storage) -> str:
    return storage.tag(CARS, "v0").id


WRITES: dict[str, Write] = {
    "create": lambda storage: storage.create(BOATS, {"a": b"new"}, change()),
    "append": lambda storage: storage.append(CARS, {"a": b"2"}, change(), parent=_head(storage)),
    "tag_create": lambda storage: storage.tag_create(CARS, _spec(storage, "v1")),
    "tag_rename": lambda storage: storage.tag_update(CARS, "v0", _spec(storage, "v1"), expected=FIRST_TAG),
    "tag_delete": lambda storage: storage.tag_delete(CARS, "v0", expected=FIRST_TAG),
    "rename": lambda storage: storage.rename(CARS, BOATS, parent=FIRST),
    "purge": lambda storage: storage.purge(CARS, parent=FIRST),
}


def prepared(storage: Storage) -> Storage:
    """A dataset with a tag; and one that was moved and purged, so that the list of moves is there."""
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, TagSpec("v0", first.id, "", ANN, EPOCH))
    gone = DatasetId("physics", "gone")
    storage.purge(gone, parent=storage.create(gone, {"a": b"1"}, change()).id)
    return storage


_EXAMPLE = prepared(MemoryStorage())
FIRST, FIRST_TAG = _EXAMPLE.resolve(CARS, None).id, _tag(_EXAMPLE)


def told(storage: Storage) -> Any:
    found = {}
    for dataset_id in (CARS, BOATS):
        try:
            head = storage.resolve(dataset_id, None)
            found[dataset_id] = list(storage.history(dataset_id, head.id)), list(storage.tags(dataset_id))
        except DatasetNotFound as error:
            found[dataset_id] = type(error), str(error)  # type: ignore[assignment]
    return found


def outcome(write: Write) -> Any:
    storage = prepared(MemoryStorage())
    write(storage)
    return told(storage)


BEFORE = told(_EXAMPLE)
AFTER = {name: outcome(write) for name, write in WRITES.items()}


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


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitLab]:
    with GitLab(tmp_path_factory.mktemp("example"), "labs/physics", in_process=not SOAK) as made:
        prepared(opened(made))
        close_all()
        yield made


@pytest.fixture
def calls(tmp_path: Path, example: GitLab, name: str) -> list[Request]:
    """The calls of the write `name`, when nothing disturbs it."""
    with GitLab(tmp_path / "undisturbed", "labs/physics", in_process=not SOAK) as server:
        server.take(example)
        WRITES[name](opened(server))
        close_all()
        return [request for request, _ in server.seen]


def copies(tmp_path: Path, example: GitLab, numbers: list[int]) -> Iterator[tuple[int, GitLab, GitLabStorage]]:
    """Yield, for each call to strike, a GitLab of its own and a storage on it."""
    for number in numbers:
        with GitLab(tmp_path / str(number), "labs/physics", in_process=not SOAK) as server:
            server.take(example)
            yield number, server, opened(server)
            close_all()


@pytest.mark.parametrize("kind", [*CUTS, Reply(502, b"<html>")] if SOAK else ["cut-before", "cut-after"], ids=str)
@pytest.mark.parametrize("name", WRITES)
def test_a_fault_at_any_call_of_a_write_is_made_good(
    tmp_path: Path, example: GitLab, name: str, calls: list[Request], kind: Any
) -> None:
    assert len(calls) >= 4
    for number, server, storage in copies(tmp_path, example, struck_calls(calls, kind)):
        fault = server.fault(kind, skip=number)
        WRITES[name](storage)
        assert fault.struck
        assert told(opened(server)) == AFTER[name]


@pytest.mark.parametrize("kind", ["cut-before", "cut-after"])
@pytest.mark.parametrize("name", WRITES)
def test_when_gitlab_stays_away_the_same_call_settles_it_later(
    tmp_path: Path, example: GitLab, name: str, calls: list[Request], kind: str
) -> None:
    unknown = 0
    for number, server, storage in copies(tmp_path, example, struck_calls(calls, kind)):
        fault = server.fault(kind, skip=number, times=10_000)
        try:
            WRITES[name](storage)
        except OutcomeUnknown:
            unknown += 1
            assert told_when_back(server) in (BEFORE, AFTER[name])
        except StorageError:
            assert told_when_back(server) == BEFORE
        else:
            assert told_when_back(server) == AFTER[name]
        with suppress(MetastoreError):
            WRITES[name](storage)
        assert fault.struck
        assert told(opened(server)) == AFTER[name]
    assert unknown


def told_when_back(server: GitLab) -> Any:
    server.faults.clear()
    return told(opened(server))


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
    assert told(opened(server)) == BEFORE


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
    assert told(opened(server)) == BEFORE
