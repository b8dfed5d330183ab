"""Batches: changes of many datasets undone as a whole, each dataset by itself."""

from __future__ import annotations

from typing import Any

import pytest

import metastore
from metastore import (
    AlreadyExists,
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetaStore,
    RevisionConflict,
    StorageUnavailable,
)
from metastore.catalogue.batches import Chosen, undo_all

from .conftest import ticking

BATCH = Chosen(batch="b-1")
WHY = "Bulk\n\nBatch: b-1"


def outcomes(store: MetaStore, chosen: Chosen = BATCH, *, dry_run: bool = False) -> dict[str, str]:
    return {str(line.dataset_id): line.outcome for line in undo_all(store, chosen, dry_run=dry_run)}


def prepare(store: MetaStore) -> str:
    """Make a batch, and return the later revision that keeps a new dataset from being deleted."""
    for name in ("changed", "clash", "twice", "gone", "other"):
        store.dataset_create(f"physics/{name}", {"title": "Old"})
    for name in ("changed", "clash", "twice"):
        store.dataset_patch(f"physics/{name}", {"title": "New"}, message=WHY)
    store.dataset_patch("physics/changed", {"version": "2"})
    store.dataset_patch("physics/clash", {"title": "Newer"})
    store.dataset_patch("physics/twice", {"version": "2"})
    store.dataset_patch("physics/twice", {"homepage": "x"}, message=WHY)
    store.dataset_delete("physics/gone", message=WHY)
    store.dataset_create("physics/made", {"title": "New"}, message=WHY)
    store.dataset_create("physics/made-and-changed", {"title": "New"}, message=WHY)
    changed = store.dataset_patch("physics/made-and-changed", {"version": "2"}, message="Second").revision.id
    store.dataset_create("physics/made-and-back", {"title": "New"}, message=WHY)
    store.dataset_patch("physics/made-and-back", {"version": "2"})
    store.dataset_undo("physics/made-and-back", "HEAD")
    store.dataset_create("physics/made-twice", {"title": "New"}, message=WHY)
    store.dataset_patch("physics/made-twice", {"version": "2"}, message=WHY)
    store.dataset_patch("physics/other", {"title": "New"}, message="Batch: b-10")
    return changed


EXPECTED = {
    "physics/changed": "undone",
    "physics/clash": "conflict",
    "physics/gone": "undone",
    "physics/made": "deleted",
    "physics/made-and-back": "deleted",
    "physics/made-and-changed": "conflict",
    "physics/made-twice": "deleted",
    "physics/twice": "undone",
}


def test_a_batch_is_undone_dataset_by_dataset_and_what_stands_in_the_way_is_named(store: MetaStore) -> None:
    changed = prepare(store)
    before = {str(each): store.revision_read(each).id for each in store.dataset_list(deleted=None)}
    assert outcomes(store, dry_run=True) == EXPECTED
    assert {str(each): store.revision_read(each).id for each in store.dataset_list(deleted=None)} == before
    assert outcomes(store) == EXPECTED
    assert store.dataset_read("physics/changed").descriptor == {"title": "Old", "version": "2"}
    assert store.dataset_read("physics/twice").descriptor == {"title": "Old", "version": "2"}
    assert store.dataset_read("physics/gone").descriptor == {"title": "Old"}
    assert store.dataset_read("physics/other").descriptor == {"title": "New"}
    assert store.dataset_read("physics/clash").revision.id == before["physics/clash"]
    assert store.revision_read("physics/made").deleted
    reasons = {str(line.dataset_id): line.reason for line in undo_all(store, BATCH)}
    assert f": revision {changed[:12]} ('Second')" in reasons["physics/made-and-changed"]
    assert store.revision_read("physics/changed").message == "Undo batch b-1\n\nUndone-Batch: b-1"


def test_an_undo_that_was_interrupted_goes_on_and_undoes_nothing_twice(store: MetaStore) -> None:
    prepare(store)
    next(undo_all(store, BATCH))
    first = store.revision_read("physics/changed").id
    assert outcomes(store) == {**EXPECTED, "physics/changed": "unchanged"}
    assert store.revision_read("physics/changed").id == first
    again = {name: outcome if outcome == "conflict" else "unchanged" for name, outcome in EXPECTED.items()}
    assert outcomes(store) == again


def with_two_changes(between: dict[str, Any]) -> MetaStore:
    """Return a store with a dataset that the batch changed twice, and another change between."""
    store = metastore.connect("memory:", author="Setup", clock=ticking())
    assert isinstance(store, MetaStore)
    store.dataset_create("physics/x", {"title": "Old"})
    store.dataset_patch("physics/x", {"title": "New"}, message=WHY)
    store.dataset_patch("physics/x", between)
    store.dataset_patch("physics/x", {"homepage": "x"}, message=WHY)
    return store


def test_a_dataset_of_which_one_change_cannot_be_undone_keeps_all_of_them() -> None:
    store = with_two_changes({"title": "Newer"})
    before = store.revision_read("physics/x")
    for dry_run in (True, False, False):
        assert outcomes(store, dry_run=dry_run) == {"physics/x": "conflict"}
        assert store.revision_read("physics/x") == before


def test_an_undo_that_stops_between_two_changes_of_a_dataset_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    store = with_two_changes({"version": "2"})
    undo, calls = store.dataset_undo, list[str]()

    def stopping(dataset_id: str, changes: str, **more: Any) -> Any:
        calls.append(changes)
        if len(calls) == 2:
            raise StorageUnavailable("the disk is gone")
        return undo(dataset_id, changes, **more)

    with monkeypatch.context() as patched:
        patched.setattr(store, "dataset_undo", stopping)
        with pytest.raises(StorageUnavailable):
            outcomes(store)
    assert store.dataset_read("physics/x").descriptor == {"title": "New", "version": "2"}
    assert outcomes(store) == {"physics/x": "undone"}
    assert store.dataset_read("physics/x").descriptor == {"title": "Old", "version": "2"}
    assert outcomes(store) == {"physics/x": "unchanged"}


def test_the_changes_of_an_author_in_some_time_are_undone(store: MetaStore) -> None:
    store.dataset_create("physics/x", {"title": "Old"})
    store.dataset_patch("physics/x", {"title": "New"}, author="Bo Ek <bo@example.org>")
    assert outcomes(store, Chosen(author="bo ek", since="2999-01-01")) == {}
    assert outcomes(store, Chosen(author="bo ek")) == {"physics/x": "undone"}
    assert store.dataset_read("physics/x").descriptor == {"title": "Old"}


# Writes that are collected


def heads(store: MetaStore) -> dict[str, str]:
    return {str(each): store.revision_read(each).id for each in store.dataset_list(deleted=None)}


@pytest.fixture
def three() -> MetaStore:
    """A store with three datasets."""
    store = metastore.connect("memory:", author="Setup", clock=ticking())
    assert isinstance(store, MetaStore)
    for name in ("a", "b", "c"):
        store.dataset_create(f"physics/{name}", {"name": name, "version": "1"})
    return store


def test_collected_writes_are_previewed_and_made_under_one_id_and_undone_by_it(three: MetaStore) -> None:
    before = heads(three)
    with three.batch("Second edition", author="Bo Ek <bo@example.org>", at="2024-05-01") as batch:
        line = batch.dataset_patch("physics/a", '{"version": "2"}')
        batch.dataset_update("physics/b", {"name": "b", "version": "1"})
        batch.dataset_delete("physics/c")
        batch.dataset_create("physics/d", {"name": "d"})
        assert [str(change) for change in line.changes] == ["version changed: '1' → '2'"]
        actions = [(str(each.dataset_id), each.action, each.revision) for each in batch.preview()]
        assert heads(three) == before
    assert actions == [
        ("physics/a", "update", None),
        ("physics/b", "unchanged", None),
        ("physics/c", "delete", None),
        ("physics/d", "create", None),
    ]
    made = three.revision_read("physics/a")
    assert (made.message, made.author.name, made.created.year) == (
        f"Second edition\n\nBatch: {batch.id}",
        "Bo Ek",
        2024,
    )
    assert [each.revision and each.revision.id for each in batch.lines] == [
        made.id,
        None,
        three.revision_read("physics/c").id,
        three.revision_read("physics/d").id,
    ]
    assert three.revision_read("physics/b").id == before["physics/b"]
    assert outcomes(three, Chosen(batch=batch.id)) == {
        "physics/a": "undone",
        "physics/c": "undone",
        "physics/d": "deleted",
    }


def test_a_batch_whose_block_fails_or_is_only_previewed_writes_nothing(three: MetaStore) -> None:
    before = heads(three)
    batch = three.batch("Look")
    batch.dataset_patch("physics/a", {"version": "2"})
    assert len(batch.preview()) == 1
    with pytest.raises(ZeroDivisionError), three.batch("Fail") as failing:  # noqa: PT012 - the block is the subject
        failing.dataset_patch("physics/a", {"version": "2"})
        raise ZeroDivisionError
    assert heads(three) == before


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda batch: batch.dataset_create("physics/a", {}), AlreadyExists),
        (lambda batch: batch.dataset_create("physics/new", []), InvalidInput),
        (lambda batch: batch.dataset_create("_metastore/x", {}), InvalidInput),
        (lambda batch: batch.dataset_create("physics/moved", {}), DatasetMoved),
        (lambda batch: batch.dataset_update("physics/none", {}), DatasetNotFound),
        (lambda batch: batch.dataset_patch("physics/a", [{"op": "remove", "path": "/none"}]), InvalidInput),
        (lambda batch: batch.dataset_patch("physics/b", {}), InvalidInput),  # it is in the batch already
        (lambda batch: batch.dataset_delete("physics/gone"), DatasetDeleted),
    ],
)
def test_what_a_write_would_refuse_is_refused_when_it_is_collected(three: MetaStore, call: Any, error: Any) -> None:
    three.dataset_move("physics/c", "physics/gone")
    three.dataset_create("physics/old", {})
    three.dataset_move("physics/old", "physics/moved")
    three.dataset_move("physics/moved", "physics/elsewhere")
    three.dataset_delete("physics/gone")
    before = heads(three)
    with pytest.raises(error), three.batch("Fail") as batch:  # noqa: PT012 - the block is the subject
        batch.dataset_patch("physics/b", {"version": "2"})
        call(batch)
    assert heads(three) == before


def test_a_dataset_that_changed_meanwhile_stops_the_batch_there(three: MetaStore) -> None:
    batch = three.batch("Second edition")
    for name in ("a", "b", "c"):
        batch.dataset_patch(f"physics/{name}", {"version": "2"})
    three.dataset_patch("physics/b", {"title": "B"})
    before = heads(three)
    with pytest.raises(RevisionConflict):
        batch.write()
    assert [str(line.dataset_id) for line in batch.lines] == ["physics/a"]
    assert {name for name, head in heads(three).items() if head != before[name]} == {"physics/a"}


@pytest.mark.parametrize("batch_id", ["two words", "x\nBatch: y", "x" * 101])
def test_the_id_of_a_batch_is_one_word(three: MetaStore, batch_id: str) -> None:
    with pytest.raises(InvalidInput, match="the id of a batch"):
        three.batch("Why", batch_id=batch_id)
