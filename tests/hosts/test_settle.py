"""A host that stays away in the middle of a write: `settle` says later what became of it, and never says it wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metastore.errors import MetastoreError, OutcomeUnknown
from metastore.storage.port import Storage
from metastore.store.store import MetaStore
from metastore.types import DatasetId, Outcome

from ..conftest import ANN, EPOCH
from ..harness.faults import state
from ..processes import SOAK
from .server import struck_calls
from .worlds import Worlds

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
IDS = (CARS, BOATS)
WRITES: dict[str, Callable[[MetaStore], Any]] = {
    "create": lambda store: store.dataset_create(BOATS, {"n": 1}),
    "update": lambda store: store.dataset_update(CARS, {"n": 2}),
    "delete": lambda store: store.dataset_delete(CARS),
    "move": lambda store: store.dataset_move(CARS, BOATS),
    "purge": lambda store: store.dataset_purge(CARS, force=True),
    "tag_create": lambda store: store.tag_create(CARS, "v2"),
    "tag_update": lambda store: store.tag_update(CARS, "v1", new_name="v3"),
    "tag_delete": lambda store: store.tag_delete(CARS, "v1"),
}


#: What is the host's own; the rest is a push, which hosts that are alike take alike.
OWN = {"create", "move", "purge"}
CASES = [
    (kind, write)
    for kind in ("github", "gitlab", "gitea")
    for write in WRITES
    if SOAK or kind != "gitea" or write in OWN
]


def opened(storage: Storage) -> MetaStore:
    return MetaStore(storage, author=ANN, validation="off", clock=lambda: EPOCH)


def prepare(storage: Storage) -> None:
    """Make a dataset, a tag and a journal."""
    store = opened(storage)
    store.dataset_create(CARS, {"n": 1})
    store.tag_create(CARS, "v1", description="One")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds"), prepare) as made:
        yield made


def before_of(store: MetaStore, write: str) -> str | None:
    if write in ("create", "tag_create"):
        return None
    return store.tag_read(CARS, "v1").id if write.startswith("tag") else store.revision_read(CARS).id


@pytest.mark.parametrize("fault", ["cut-before", "cut-after"] if SOAK else ["cut-after"])
@pytest.mark.parametrize(("kind", "write"), CASES)
def test_settle_agrees_with_what_became_of_the_write(worlds: Worlds, kind: str, write: str, fault: str) -> None:
    world = worlds[kind]
    store, other = opened(world.start()), opened(world.open())
    before, known = state(other.storage, IDS), before_of(other, write)
    world.hub.forget()
    made = WRITES[write](store)
    calls = [request for request, _ in world.hub.seen]
    after = state(world.open(), IDS)
    wanted = getattr(getattr(made, "revision", None), "id", None) or getattr(made, "id", None)
    for number in struck_calls(calls, fault):
        store = opened(world.start())
        lost = world.hub.fault(fault, skip=number)
        world.hub.fault("cut-before", skip=number, times=10_000)
        error: MetastoreError | None = None
        try:
            WRITES[write](store)
        except MetastoreError as caught:
            error = caught
        assert lost.struck
        if isinstance(error, OutcomeUnknown):
            assert store.settle(error) == Outcome.UNKNOWN, "nobody can be asked"
        world.hub.faults.clear()
        seen = state(world.open(), IDS)
        if not isinstance(error, OutcomeUnknown):
            assert seen == (before if error else after)
            continue
        assert error.change.action == write
        assert (error.before, error.wanted) == (known, None if write in ("move", "purge", "tag_delete") else wanted)
        verdict = opened(world.open()).settle(error)
        assert seen == (after if verdict == Outcome.LANDED else before), verdict
        assert verdict != Outcome.NOT_LANDED, "a request that was lost may still arrive"
