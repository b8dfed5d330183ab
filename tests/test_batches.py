"""Batches: changes of many datasets undone as a whole, each dataset by itself."""

from __future__ import annotations

from metastore import MetaStore
from metastore.catalogue.batches import Chosen, undo_all

BATCH = Chosen(batch="b-1")
WHY = "Bulk\n\nBatch: b-1"


def outcomes(store: MetaStore, chosen: Chosen = BATCH, *, dry_run: bool = False) -> dict[str, str]:
    return {str(line.dataset_id): line.outcome for line in undo_all(store, chosen, dry_run=dry_run)}


def prepare(store: MetaStore) -> None:
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
    store.dataset_patch("physics/made-and-changed", {"version": "2"})
    store.dataset_patch("physics/other", {"title": "New"}, message="Batch: b-10")


EXPECTED = {
    "physics/changed": "undone",
    "physics/clash": "conflict",
    "physics/gone": "undone",
    "physics/made": "deleted",
    "physics/made-and-changed": "conflict",
    "physics/twice": "undone",
}


def test_a_batch_is_undone_dataset_by_dataset_and_what_stands_in_the_way_is_named(store: MetaStore) -> None:
    prepare(store)
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
    assert store.revision_read("physics/changed").message == "Undo batch b-1\n\nUndone-Batch: b-1"


def test_an_undo_that_was_interrupted_goes_on_and_undoes_nothing_twice(store: MetaStore) -> None:
    prepare(store)
    next(undo_all(store, BATCH))
    first = store.revision_read("physics/changed").id
    assert outcomes(store) == {**EXPECTED, "physics/changed": "unchanged"}
    assert store.revision_read("physics/changed").id == first
    again = {name: outcome if outcome == "conflict" else "unchanged" for name, outcome in EXPECTED.items()}
    assert outcomes(store) == again


def test_the_changes_of_an_author_in_some_time_are_undone(store: MetaStore) -> None:
    store.dataset_create("physics/x", {"title": "Old"})
    store.dataset_patch("physics/x", {"title": "New"}, author="Bo Ek <bo@example.org>")
    assert outcomes(store, Chosen(author="bo ek", since="2999-01-01")) == {}
    assert outcomes(store, Chosen(author="bo ek")) == {"physics/x": "undone"}
    assert store.dataset_read("physics/x").descriptor == {"title": "Old"}
