"""A remote store is a store: the same calls, and after random ones the same answers."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

import metastore
from metastore import MetaStore, types, wire
from metastore.client.store import RemoteStore

from ..conftest import ANN, EPOCH
from ..loopback import TOKEN, serving
from ..processes import SOAK
from ..test_architecture import REVISION
from ..test_model import GitLikeMemory
from .conftest import noon

PUBLIC = [name for name in dir(MetaStore) if not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_call_has_the_same_signature_and_says_what_it_does(name: str) -> None:
    local, remote = (inspect.getattr_static(each, name) for each in (MetaStore, RemoteStore))
    assert type(local) is type(remote)
    assert inspect.getdoc(remote)
    if not isinstance(local, property) and name != "verify":
        assert inspect.signature(local) == inspect.signature(remote)


def test_a_remote_store_has_no_other_calls() -> None:
    assert [name for name in dir(RemoteStore) if not name.startswith("_")] == PUBLIC


TAG = types.Tag("v1", "b" * 40, REVISION.id, "One", ANN, datetime(2024, 5, 1, 12, 0, 1, 999, tzinfo=UTC))
CARS = types.DatasetId("physics", "cars")


@pytest.mark.parametrize(
    "value",
    [
        CARS,
        ANN,
        REVISION,
        TAG,
        types.Finding("/a", "wrong"),
        types.Difference("changed", "a", 1, [None, {"b": 1.5}]),
        types.Diff(REVISION, REVISION, ({"op": "remove", "path": "/a"},), (types.Difference("removed", "a", 1),)),
        types.Value("/title", "title", "Cars", REVISION),
        types.Issue(7, "Broken", "open", "https://example.org/7"),
        types.JournalEntry(REVISION.id, "move", CARS, {"new_id": "x/y"}, ANN, "Why", EPOCH),
        types.DatasetEntry(CARS, "Cars", REVISION),
        types.DatasetEntry(CARS, problem="not readable"),
        types.Owner("physics", 3),
        types.TagEntry(CARS, TAG),
        types.TagEntry(CARS, problem="not readable"),
        types.FeedEntry(CARS, "changed", REVISION, None, "2024-05-01T12:00:00+00:00"),
        types.FeedEntry(CARS, "moved", None, types.DatasetId("x", "y"), "2024-05-01T12:00:00+00:00"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_from_the_wire_as_it_was(value: Any) -> None:
    import json

    said = json.loads(wire.to_text(value))
    assert wire.from_wire(type(value), said) == value
    if isinstance(said, dict):
        assert wire.from_wire(type(value), {**said, "of_a_newer_service": 1}) == value


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (types.Revision, {}),
        (types.Revision, []),
        (types.Revision, {**wire.to_wire(REVISION), "id": 5}),
        (types.Revision, {**wire.to_wire(REVISION), "created": "yesterday"}),
        (types.Revision, {**wire.to_wire(REVISION), "created": "2024-05-01T12:00:00"}),
        (types.Revision, {**wire.to_wire(REVISION), "deleted": 1}),
        (types.DatasetId, "no id"),
        (tuple[types.Tag, ...], {}),
        (tuple[types.Tag, ...], [None]),
        (int, True),
    ],
)
def test_an_invalid_value_is_refused(kind: Any, said: Any) -> None:
    with pytest.raises(ValueError):
        wire.from_wire(kind, said)


class RemoteLikeLocal(GitLikeMemory):
    """Plays the calls of the model test on a service and on memory."""

    def __init__(self) -> None:
        super().__init__()
        options: Any = {"author": ANN, "clock": noon, "validation": "off"}
        served, beside = (metastore.connect("memory:", **options) for _ in range(2))
        self._open = ExitStack()
        address = self._open.enter_context(serving(served))
        remote = self._open.enter_context(metastore.connect(address, token=TOKEN, author=ANN))
        self.stores = [remote, beside]

    def teardown(self) -> None:
        self._open.close()

    def compact(self, each: str) -> None:
        """Only where the store is."""

    @invariant()
    def both_list_the_same(self) -> None:
        for deleted in (False, True, None):
            self.both(lambda store, deleted=deleted: store.dataset_list(deleted=deleted))
        self.both(lambda store: store.tag_list("a/x"))
        self.both(lambda store: store.journal())


TestRemoteLikeLocal = RemoteLikeLocal.TestCase
TestRemoteLikeLocal.settings = settings(
    max_examples=300 if SOAK else 4,
    stateful_step_count=40 if SOAK else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
