"""A host fails at any call of any write: done, not done, or unknown until asked again; never twice, and never half.

One suite for all hosts. Outside the soak, a write that is a push alone is not tried again on hosts that take pushes as
another one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from metastore.errors import DatasetNotFound, MetastoreError, OutcomeUnknown, StorageError
from metastore.storage.memory import MemoryStorage
from metastore.storage.plain_git import PlainGitStorage
from metastore.storage.port import Storage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change
from ..processes import SOAK
from .server import CUTS, Reply, Request, struck_calls
from .worlds import KINDS, World, Worlds

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")

Write = Callable[[Storage], object]


def _head(storage: Storage) -> Any:
    return storage.resolve(CARS, "v0").id


def _spec(storage: Storage, name: str, description: str = "Described") -> TagSpec:
    return TagSpec(name, _head(storage), description, ANN, EPOCH)


WRITES: dict[str, Write] = {
    "create": lambda storage: storage.create(BOATS, {"a": b"new", "d/b": b"2"}, change()),
    "append": lambda storage: storage.append(CARS, {"a": b"2", "d/b": b"3"}, change(), parent=_head(storage)),
    "tag_create": lambda storage: storage.tag_create(CARS, _spec(storage, "v1")),
    "tag_change": lambda storage: storage.tag_update(CARS, "v0", _spec(storage, "v0", "New"), expected=FIRST_TAG),
    "tag_rename": lambda storage: storage.tag_update(CARS, "v0", _spec(storage, "v1"), expected=FIRST_TAG),
    "tag_delete": lambda storage: storage.tag_delete(CARS, "v0", expected=FIRST_TAG),
    "rename": lambda storage: storage.rename(CARS, BOATS, parent=FIRST),
    "purge": lambda storage: storage.purge(CARS, parent=FIRST),
}
BEYOND_GIT = {"rename", "purge"}
#: What Gitea and a plain Git server do as GitLab does.
PUSHES = {"append", "tag_create", "tag_change", "tag_rename", "tag_delete"}


def prepare(storage: Storage) -> None:
    """Make a dataset with a tag; and one that was purged, so that the list of moves is there where there is one."""
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, TagSpec("v0", first.id, "", ANN, EPOCH))
    if not isinstance(storage, PlainGitStorage):
        gone = DatasetId("physics", "gone")
        storage.purge(gone, parent=storage.create(gone, {"a": b"1"}, change()).id)


def told(storage: Storage) -> Any:
    """Return all that is to be seen of two ids, every file of every revision read."""
    seen: dict[DatasetId, Any] = {}
    for dataset_id in (CARS, BOATS):
        try:
            revisions = list(storage.history(dataset_id, storage.resolve(dataset_id, None).id))
        except DatasetNotFound as error:
            seen[dataset_id] = type(error), getattr(error, "new_id", None)
            continue
        for revision in revisions:
            for path in storage.paths(dataset_id, revision.id):
                storage.read(dataset_id, revision.id, path)
        seen[dataset_id] = revisions, list(storage.tags(dataset_id))
    return seen


def _memory(write: Write | None) -> MemoryStorage:
    storage = MemoryStorage()
    prepare(storage)
    if write:
        write(storage)
    return storage


FIRST, FIRST_TAG = _memory(None).resolve(CARS, None).id, _memory(None).tag(CARS, "v0").id
BEFORE = told(_memory(None))
AFTER = {name: told(_memory(write)) for name, write in WRITES.items()}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds"), prepare, ("physics/cars.git", "physics/boats.git")) as made:
        yield made


@pytest.fixture
def world(worlds: Worlds, kind: str) -> World:
    return worlds[kind]


@pytest.fixture
def calls(world: World, name: str) -> list[Request]:
    """The calls of the write `name` when nothing disturbs it."""
    WRITES[name](world.start())
    return [request for request, _ in world.hub.seen]


def cases(*, shared: bool) -> list[tuple[str, str]]:
    """Return each host with each write to be tried on it."""
    left_out = {"gitea": PUSHES if not shared else set(), "git+https": BEYOND_GIT | (PUSHES if not shared else set())}
    every = [(kind, name) for kind in KINDS for name in WRITES]
    return [(kind, name) for kind, name in every if name not in left_out.get(kind, ())]


#: Outside the soak without the writes that are the same push to a server of another kind.
DISTINCT = cases(shared=SOAK)


@pytest.mark.parametrize("fault", [*CUTS, Reply(502, b"<html>")] if SOAK else ["cut-before", "cut-after"], ids=str)
@pytest.mark.parametrize(("kind", "name"), DISTINCT)
def test_a_fault_at_any_call_of_a_write_is_made_good(world: World, name: str, calls: list[Request], fault: Any) -> None:
    assert len(calls) >= 2
    for number in struck_calls(calls, fault):
        storage = world.start()
        struck = world.hub.fault(fault, skip=number)
        WRITES[name](storage)
        assert struck.struck
        assert told(storage) == told(world.open()) == AFTER[name]


@pytest.mark.parametrize("fault", ["cut-before", "cut-after"] if SOAK else ["cut-after"])
@pytest.mark.parametrize(("kind", "name"), DISTINCT)
def test_when_the_host_stays_away_the_same_call_settles_it_later(
    world: World, name: str, calls: list[Request], fault: str
) -> None:
    """The host goes away before it carries a request out, or after it, and comes back when the call has ended."""
    unknown = 0
    for number in struck_calls(calls, fault):
        storage = world.start()
        struck = world.hub.fault(fault, skip=number)
        world.hub.fault("cut-before", skip=number, times=10_000)
        allowed = [AFTER[name]]
        try:
            WRITES[name](storage)
        except OutcomeUnknown:
            unknown += 1
            allowed = [BEFORE, AFTER[name]]
        except StorageError:
            allowed = [BEFORE]
        assert struck.struck
        world.hub.faults.clear()
        assert told(world.open()) in allowed
        with suppress(MetastoreError):
            WRITES[name](storage)
        assert told(world.open()) == AFTER[name]
    assert unknown


LIMITED = Reply(429, {"message": "m"}, {"Retry-After": "5"})
LIMITED_FOR_LONG = Reply(429, {"message": "m"}, {"Retry-After": "4000"})


@pytest.mark.parametrize(("kind", "name"), DISTINCT)
def test_a_limit_in_the_middle_is_waited_for(world: World, name: str, calls: list[Request]) -> None:
    for number in struck_calls(calls, LIMITED):
        storage = world.start()
        fault, slept = world.hub.fault(LIMITED, skip=number), len(world.slept)
        WRITES[name](storage)
        assert fault.struck
        assert len(world.slept) > slept
        assert told(world.open()) == AFTER[name]


@pytest.mark.parametrize(("kind", "name"), DISTINCT)
def test_a_limit_longer_than_our_patience_leaves_nothing_half_done(
    world: World, name: str, calls: list[Request]
) -> None:
    for number in struck_calls(calls, LIMITED_FOR_LONG):
        storage = world.start()
        fault = world.hub.fault(LIMITED_FOR_LONG, skip=number)
        allowed = [BEFORE]
        try:
            WRITES[name](storage)
        except OutcomeUnknown:
            allowed.append(AFTER[name])
        except StorageError:
            pass
        assert fault.struck
        assert told(world.open()) in allowed
