"""A host that stays away in the middle of a write: `settle` says later what became of it, and never says it wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import MetastoreError, OutcomeUnknown
from metastore.store.store import MetaStore
from metastore.types import DatasetId, Outcome

from ..conftest import ANN, EPOCH
from ..harness.faults import state
from ..processes import SOAK
from . import test_github_faults, test_gitlab_faults
from .gitlab import GitLab
from .server import struck_calls

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


class Hub:
    """A GitHub for each try."""

    def __init__(self, folder: Path) -> None:
        self._world = test_github_faults.World(folder)

    def start(self) -> Any:
        self._world.start()
        return self._world.hub

    def open(self) -> MetaStore:
        return MetaStore(self._world.open(), author=ANN, validation="off", clock=lambda: EPOCH)

    def stop(self) -> None:
        self._world.stop()


class Lab:
    """A GitLab for each try."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._server: GitLab | None = None

    def start(self) -> Any:
        self.stop()
        self._number += 1
        self._server = GitLab(self._folder / str(self._number), "labs/physics", in_process=not SOAK).__enter__()
        return self._server

    def open(self) -> MetaStore:
        assert self._server
        storage = test_gitlab_faults.opened(self._server)
        return MetaStore(storage, author=ANN, validation="off", clock=lambda: EPOCH)

    def stop(self) -> None:
        test_gitlab_faults.close_all()
        if self._server:
            self._server.__exit__(None, None, None)
            self._server = None


@pytest.fixture(params=[Hub, Lab], ids=["github", "gitlab"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = request.param(tmp_path)
    yield made
    made.stop()


def begin(host: Any) -> tuple[Any, MetaStore]:
    """Start a host with a dataset, a tag and a journal, and open a store on it."""
    server = host.start()
    if CARS in set(host.open().dataset_list()):
        host.open().dataset_update(CARS, {"n": 1})
    else:
        host.open().dataset_create(CARS, {"n": 1})
        host.open().tag_create(CARS, "v1")
    host.open().tag_update(CARS, "v1", description="One")
    return server, host.open()


def before_of(store: MetaStore, write: str) -> str | None:
    if write in ("create", "tag_create"):
        return None
    return store.tag_read(CARS, "v1").id if write.startswith("tag") else store.revision_read(CARS).id


@pytest.mark.parametrize("kind", ["cut-before", "cut-after"] if SOAK else ["cut-after"])
@pytest.mark.parametrize("write", WRITES)
def test_settle_agrees_with_what_became_of_the_write(write: str, kind: str, host: Any) -> None:
    server, store = begin(host)
    server.forget()
    before, known = state(store.storage, IDS), before_of(store, write)
    server.forget()
    made = WRITES[write](store)
    calls = [request for request, _ in server.seen]
    after = state(host.open().storage, IDS)
    wanted = getattr(getattr(made, "revision", None), "id", None) or getattr(made, "id", None)
    for number in struck_calls(calls, kind):
        server, store = begin(host)
        server.forget()
        server.fault(kind, skip=number)
        away = server.fault("cut-before", skip=number, times=10_000)
        error: MetastoreError | None = None
        try:
            WRITES[write](store)
        except MetastoreError as caught:
            error = caught
        if isinstance(error, OutcomeUnknown):
            assert store.settle(error) == Outcome.UNKNOWN, "nobody can be asked"
        away.times = 0
        server.faults.clear()
        seen = state(host.open().storage, IDS)
        if not isinstance(error, OutcomeUnknown):
            assert seen == (before if error else after)
            continue
        assert error.change.action == write
        assert (error.before, error.wanted) == (known, None if write in ("move", "purge", "tag_delete") else wanted)
        verdict = host.open().settle(error)
        assert seen == (after if verdict == Outcome.LANDED else before), verdict
        assert verdict != Outcome.NOT_LANDED, "a request that was lost may still arrive"
