"""Writes through a network that fails: each is made once, or its outcome is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from metastore import (
    AlreadyExists,
    InvalidInput,
    MetaStore,
    Outcome,
    OutcomeUnknown,
    RevisionConflict,
    StorageUnavailable,
    TagNotFound,
)

from ..conftest import ANN
from ..harness import http_proxy as faults
from ..harness.http_proxy import Exchange, Fault, Proxy
from ..processes import SOAK

CARS = "physics/cars"
METHODS = {"create": "PUT", "create again": "PUT", "update": "PUT", "patch": "PATCH", "json patch": "PATCH"} | {
    "delete": "DELETE",
    "revert": "POST",
    "undo": "POST",
    "undo creation": "POST",
    "bring back": "POST",
    "move": "POST",
    "purge": "DELETE",
    "tag": "POST",
    "tag update": "PATCH",
    "tag delete": "DELETE",
}
Call = Callable[[MetaStore], Any]
WRITES: dict[str, tuple[Call, Call]] = {
    "create": (lambda store: None, lambda store: store.dataset_create(CARS, {"a": 1})),
    "create again": (lambda store: _gone(store), lambda store: store.dataset_create(CARS, '{"a": 1.10}')),
    "update": (lambda store: _made(store), lambda store: store.dataset_update(CARS, {"a": 2}, message="Two")),
    "patch": (lambda store: _made(store), lambda store: store.dataset_patch(CARS, {"b": {"c": None, "d": 1}})),
    "json patch": (
        lambda store: _made(store),
        lambda store: store.dataset_patch(CARS, '[{"op": "add", "path": "/b", "value": 1.10}]'),
    ),
    "delete": (lambda store: _made(store), lambda store: store.dataset_delete(CARS)),
    "revert": (lambda store: _made(store), lambda store: store.dataset_revert(CARS, "v1")),
    "undo": (lambda store: _made(store), lambda store: store.dataset_undo(CARS, "v1..HEAD")),
    "undo creation": (lambda store: _reverted(store), lambda store: store.dataset_undo(CARS, "v1")),
    "bring back": (lambda store: _gone(store), lambda store: store.dataset_revert(CARS, "v1")),
    "move": (lambda store: _made(store), lambda store: store.dataset_move(CARS, "x/y")),
    "purge": (lambda store: _gone(store), lambda store: store.dataset_purge(CARS, message="Asked to")),
    "tag": (lambda store: _made(store), lambda store: store.tag_create(CARS, "v2", description="Two")),
    "tag update": (lambda store: _made(store), lambda store: store.tag_update(CARS, "v1", new_name="v3")),
    "tag delete": (lambda store: _made(store), lambda store: store.tag_delete(CARS, "v1")),
}
LOSSES: dict[str, Fault] = {
    "before it arrives": faults.cut_before_it_arrives,
    "after it was done": faults.cut_after_it_was_done,
    "within the answer": faults.cut_within_the_answer,
    "within the head": faults.cut_within_the_head,
    "noise": faults.noise,
    "502, not done": faults.says("502 Bad Gateway"),
    "504, done": faults.says("504 Gateway Time-out", forwards=True),
    "200 of somebody else, done": faults.says("200 OK", forwards=True),
    "500, done": faults.says(
        "500 Oops", b'{"kind": "internal-server-error"}', "application/problem+json", forwards=True
    ),
}
#: The transport tells what was lost, by the method alone; settling tells whether it was done, by the write alone.
ENDS = {"before it arrives", "after it was done"}
OF_METHODS = {"update", "patch", "move", "purge"}
LOST = [(write, loss) for write in WRITES for loss in LOSSES if SOAK or loss in ENDS or write in OF_METHODS]


def _made(store: MetaStore) -> None:
    store.dataset_create(CARS, {"a": 0})
    store.tag_create(CARS, "v1")
    store.dataset_update(CARS, {"a": 1})


def _reverted(store: MetaStore) -> None:
    _made(store)
    store.dataset_revert(CARS, "v1")


def _gone(store: MetaStore) -> None:
    _made(store)
    store.dataset_delete(CARS)


def whole(store: MetaStore) -> Any:
    """All that there is to know of a store."""
    ids = list(store.dataset_list(deleted=None))
    lines = [(line.action, line.dataset_id, line.details, line.message) for line in store.journal()]
    return [(each, list(store.revision_list(each)), list(store.tag_list(each))) for each in ids], lines


@pytest.mark.parametrize(("write", "loss"), LOST)
def test_a_write_whose_answer_is_lost_is_made_once(
    remote: MetaStore, served: MetaStore, twin: MetaStore, proxy: Proxy, write: str, loss: str
) -> None:
    prepare, call = WRITES[write]
    prepare(served)
    prepare(twin)
    proxy.spoil[METHODS[write]] = [LOSSES[loss]]
    made, meant = call(remote), call(twin)
    assert getattr(made, "revision", made) == getattr(meant, "revision", meant)
    assert getattr(made, "bytes", None) == getattr(meant, "bytes", None)
    assert whole(served) == whole(twin)
    assert proxy.spoil[METHODS[write]] == []


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_arrives_late_is_not_made_twice(
    proxy: Proxy, served: MetaStore, twin: MetaStore, remote: MetaStore, write: str, first: bool
) -> None:
    prepare, call = WRITES[write]
    prepare(served)
    prepare(twin)
    proxy.spoil[METHODS[write]] = faults.delivered_late(first=first)
    made, meant = call(remote), call(twin)
    proxy.settle()
    assert getattr(made, "revision", made) == getattr(meant, "revision", meant)
    assert whole(served) == whole(twin)


@pytest.mark.parametrize("write", WRITES)
def test_when_nothing_answers_any_more_the_outcome_is_unknown_and_what_to_compare_is_said(
    remote: MetaStore, served: MetaStore, proxy: Proxy, write: str
) -> None:
    prepare, call = WRITES[write]
    prepare(served)

    def the_end(each: Exchange) -> None:
        proxy.always["GET"] = faults.cut_before_it_arrives
        each.forward()

    proxy.spoil[METHODS[write]] = [the_end]
    before = served.tag_read(CARS, "v1").id if write.startswith("tag ") else None
    head = served.revision_read(CARS).id if write not in ("create", "tag") else None
    with pytest.raises(OutcomeUnknown) as caught:
        call(remote)
    error = caught.value
    assert (error.before, error.wanted) == (None if write == "tag" else before or head, None)
    assert error.change.dataset_id == CARS
    assert proxy.address in str(error)
    assert remote.settle(error) == Outcome.UNKNOWN
    del proxy.always["GET"]
    assert remote.settle(error) == (Outcome.UNKNOWN if write == "undo" else Outcome.LANDED)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_never_arrived_stays_unknown_until_somebody_else_was_faster(
    remote: MetaStore, served: MetaStore, proxy: Proxy, write: str
) -> None:
    prepare, call = WRITES[write]
    prepare(served)
    proxy.always[METHODS[write]] = faults.cut_before_it_arrives
    with pytest.raises(OutcomeUnknown) as caught:
        call(remote)
    del proxy.always[METHODS[write]]
    assert remote.settle(caught.value) == Outcome.UNKNOWN
    if write.startswith("tag "):
        return
    if write == "tag":
        served.tag_create(CARS, "v2", description="Theirs", author="Bo")
    elif write in ("create", "create again", "bring back", "purge"):
        served.dataset_create(CARS, {"theirs": True}, author="Bo")
    else:
        served.dataset_update(CARS, {"theirs": True}, author="Bo")
    assert remote.settle(caught.value) == Outcome.NOT_LANDED


def test_a_write_that_is_lost_again_and_again_is_unknown(remote: MetaStore, served: MetaStore, proxy: Proxy) -> None:
    _made(served)
    proxy.always["PUT"] = faults.cut_before_it_arrives
    with pytest.raises(OutcomeUnknown):
        remote.dataset_update(CARS, {"a": 2})
    assert len([each for each in proxy.seen if each.startswith("PUT")]) == 4
    assert served.dataset_read(CARS).descriptor == {"a": 1}


def overtaken(served: MetaStore, then: Fault) -> Fault:
    """Return a fault during which somebody else changes the dataset: afterwards, or before it is cut."""

    def fault(each: Exchange) -> None:
        then(each)
        served.dataset_update(CARS, {"theirs": True}, author="Bo")

    return fault


def test_a_lost_write_under_which_somebody_else_wrote_is_found(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    _made(served)
    proxy.spoil["PATCH"] = [overtaken(served, faults.cut_after_it_was_done)]
    made = remote.dataset_patch(CARS, {"b": 2})
    assert made.descriptor == {"a": 1, "b": 2}
    assert [each.author.name for each in served.revision_list(CARS, limit=2)] == ["Bo", "Ann Lee"]
    assert served.revision_list(CARS)[0].parent == made.revision.id


def test_a_lost_write_that_came_after_another_is_a_conflict_or_computed_again(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    _made(served)
    seen = served.revision_read(CARS).id
    proxy.spoil["PATCH"] = [overtaken(served, faults.cut_before_it_arrives)]
    with pytest.raises(RevisionConflict) as caught:
        remote.dataset_patch(CARS, {"b": 2}, expected=seen)
    assert (caught.value.expected, caught.value.actual) == (seen, served.revision_read(CARS).id)
    served.dataset_revert(CARS, "v1")
    proxy.spoil["PATCH"] = [overtaken(served, faults.cut_before_it_arrives)]
    assert remote.dataset_patch(CARS, {"b": 2}).descriptor == {"theirs": True, "b": 2}


def test_a_creation_that_somebody_else_forestalled_is_refused(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    def theirs(each: Exchange) -> None:
        served.dataset_create(CARS, {"theirs": True})

    proxy.spoil["PUT"] = [theirs]
    with pytest.raises(AlreadyExists):
        remote.dataset_create(CARS, {"ours": True})
    proxy.spoil["POST"] = [lambda each: served.tag_create(CARS, "v1", description="Theirs") and None]
    with pytest.raises(AlreadyExists):
        remote.tag_create(CARS, "v1")
    assert served.tag_read(CARS, "v1").description == "Theirs"


def test_a_purge_or_move_that_somebody_else_forestalled_is_a_conflict(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    _made(served)
    proxy.spoil["POST"] = [lambda each: served.dataset_move(CARS, "their/place") and None]
    with pytest.raises(RevisionConflict):
        remote.dataset_move(CARS, "our/place")
    proxy.spoil["DELETE"] = [lambda each: served.dataset_purge("their/place", force=True, author="Bo")]
    with pytest.raises(RevisionConflict):
        remote.dataset_purge("their/place", force=True)


def test_a_tag_that_somebody_else_changed_meanwhile_is_unknown(
    remote: MetaStore, served: MetaStore, proxy: Proxy
) -> None:
    _made(served)
    for write, method in ((remote.tag_update, "PATCH"), (remote.tag_delete, "DELETE")):
        proxy.spoil[method] = [lambda each: served.tag_update(CARS, "v1", description=each.request.hex()) and None]
        more = {"new_name": "v3"} if method == "PATCH" else {}
        with pytest.raises(OutcomeUnknown):
            write(CARS, "v1", **more)
    with pytest.raises(TagNotFound):
        served.tag_read(CARS, "v3")


def test_a_write_that_was_refused_is_refused_at_once(remote: MetaStore, served: MetaStore, proxy: Proxy) -> None:
    _made(served)
    for answer, error in (
        (faults.says("413 Too Large"), InvalidInput),
        (faults.says("403 Forbidden"), StorageUnavailable),
        (faults.says("302 Found", Location="https://evil.example.org/"), StorageUnavailable),
    ):
        proxy.spoil["PUT"] = [answer]
        before = len(proxy.seen)
        with pytest.raises(error, match=r"127\.0\.0\.1"):
            remote.dataset_update(CARS, {"a": 2}, author=ANN)
        assert [each.split()[0] for each in proxy.seen[before:]] == ["GET", "PUT"]
