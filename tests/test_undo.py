"""Undo: one change goes, those after it stay, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metastore
from metastore import DatasetDeleted, InvalidInput, MergeConflict, MetaStore, RevisionConflict
from metastore.catalogue.batches import Chosen, preview_undo, undo_all
from metastore.descriptor.document import encode
from metastore.storage.port import Storage
from metastore.types import Dataset, Revision

from .conftest import ANN, SOAK, ticking

CARS = "physics/cars"
SPEED, OWNERS = {"name": "speed", "path": "speed.csv"}, {"name": "owners", "path": "owners.csv"}
START = {"name": "cars", "title": "Cars", "keywords": ["car"], "resources": [SPEED]}


@pytest.fixture
def first(store: MetaStore) -> str:
    return store.dataset_create(CARS, START).revision.id


def test_a_change_is_undone_by_name_and_later_ones_stay(store: MetaStore, first: str) -> None:
    wrong = store.dataset_patch(CARS, [{"op": "add", "path": "/resources/0/title", "value": "Wrong"}])
    store.dataset_patch(CARS, [{"op": "add", "path": "/resources/0", "value": OWNERS}])
    undone = store.dataset_undo(CARS, wrong.revision.id)
    assert undone.descriptor == {**START, "resources": [OWNERS, SPEED]}
    assert undone.revision.message == f"Undo {wrong.revision.id[:12]}: Patch dataset"
    assert store.dataset_read(CARS).bytes == undone.bytes


def test_a_renaming_is_undone_and_what_changed_in_it_later_stays(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"resources": [{**SPEED, "name": "velocity"}]})
    store.dataset_patch(CARS, {"resources": [{**SPEED, "name": "velocity", "title": "Speed"}]})
    assert store.dataset_undo(CARS, "HEAD~1").descriptor["resources"] == [{**SPEED, "title": "Speed"}]


def test_a_range_is_undone_as_a_whole(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    end = store.dataset_patch(CARS, {"title": "B", "keywords": ["car", "x"]}).revision.id
    store.dataset_patch(CARS, {"keywords": ["car", "x", "y"]})
    undone = store.dataset_undo(CARS, f"{first}..{end}")
    assert undone.descriptor == {**START, "keywords": ["car", "y"]}
    assert undone.revision.message == f"Undo {first[:12]}..{end[:12]}"
    with pytest.raises(InvalidInput, match="does not come before"):
        store.dataset_undo(CARS, f"{end}..{first}")


def test_a_later_change_in_the_same_place_stands_in_the_way(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    head = store.dataset_patch(CARS, {"title": "B"}).revision
    with pytest.raises(MergeConflict, match="stands in the way: title") as caught:
        store.dataset_undo(CARS, "HEAD~1")
    (place,) = caught.value.places
    assert (place.where, place.old, place.new) == ("title", "Cars", "B")
    assert store.revision_read(CARS) == head


def test_what_is_undone_already_makes_no_revision(store: MetaStore, first: str) -> None:
    wrong = store.dataset_patch(CARS, {"title": "A"}).revision.id
    head = store.dataset_revert(CARS, first).revision
    assert store.dataset_undo(CARS, wrong).revision == head


def test_undoing_a_deletion_brings_the_dataset_back(store: MetaStore, first: str) -> None:
    deletion = store.dataset_delete(CARS).id
    assert store.dataset_undo(CARS, deletion).descriptor == START
    with pytest.raises(MergeConflict):
        store.dataset_undo(CARS, deletion)


def test_undoing_a_creation_deletes_the_dataset_and_undoing_that_brings_it_back(store: MetaStore, first: str) -> None:
    undone = store.dataset_undo(CARS, first)
    assert (undone.revision.deleted, undone.revision.parent, undone.descriptor) == (True, first, START)
    assert undone.revision.message == f"Undo {first[:12]}: Create dataset"
    assert store.revision_read(CARS) == undone.revision
    assert store.dataset_undo(CARS, first).revision == undone.revision, "nothing of the creation is left"
    back = store.dataset_undo(CARS, "HEAD")
    assert (back.bytes, store.dataset_read(CARS).descriptor) == (store.dataset_read(CARS, first).bytes, START)
    assert store.dataset_undo(CARS, "HEAD").revision.deleted, "what brought it back is undone too"


def test_a_creation_is_undone_only_while_no_later_change_stands(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    store.dataset_undo(CARS, "HEAD")
    titled = store.dataset_patch(CARS, {"title": "B"}, message="A title").revision
    head = store.dataset_patch(CARS, {"version": "2"}, message="A version").revision
    with pytest.raises(
        MergeConflict, match=f"revision {head.id[:12]} \\('A version'\\), revision {titled.id[:12]}"
    ) as caught:
        store.dataset_undo(CARS, first)
    assert (len(caught.value.places), store.revision_read(CARS)) == (2, head)
    store.dataset_undo(CARS, f"{titled.parent}..HEAD")
    with pytest.raises(RevisionConflict):
        store.dataset_undo(CARS, first, expected=head.id)
    assert store.dataset_undo(CARS, first, message="Not ours").revision.message == "Not ours"
    assert store.revision_read(CARS).deleted


def test_what_came_after_a_deletion_is_undone_by_a_deletion(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    gone = store.dataset_delete(CARS)
    with pytest.raises(DatasetDeleted):
        store.dataset_undo(CARS, "HEAD~1")
    made = store.dataset_create(CARS, {"title": "Again"}).revision
    last = store.dataset_patch(CARS, {"version": "2"}).revision
    with pytest.raises(MergeConflict, match=f": revision {last.id[:12]}"):
        store.dataset_undo(CARS, made.id)
    assert store.dataset_undo(CARS, f"{gone.id}..{last.id}").revision.deleted
    assert store.dataset_undo(CARS, "HEAD").descriptor == {"title": "Again", "version": "2"}


def test_a_range_without_a_beginning_is_refused(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    with pytest.raises(
        InvalidInput, match=r"'..HEAD' does not say after which revision the changes begin: write v1..HEAD"
    ):
        store.dataset_undo(CARS, "..HEAD")


def test_an_undo_beside_a_writer_keeps_what_that_one_wrote(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store, append = MetaStore(storage, author=ANN, clock=ticking()), storage.append
    store.dataset_create(CARS, START)
    wrong = store.dataset_patch(CARS, {"title": "Wrong"}).revision.id

    def undo_after(patch: dict[str, str], **options: str) -> Dataset:
        """Undo, while another writer is faster by one change."""

        def overtaken(*args: Any, **kwargs: Any) -> Revision:
            monkeypatch.setattr(storage, "append", append)
            MetaStore(storage, author="Bo", clock=ticking()).dataset_patch(CARS, patch)
            return append(*args, **kwargs)

        monkeypatch.setattr(storage, "append", overtaken)
        return store.dataset_undo(CARS, wrong, **options)

    with pytest.raises(RevisionConflict):
        undo_after({"id": "1"}, expected=wrong)
    assert store.dataset_read(CARS).descriptor == {**START, "title": "Wrong", "id": "1"}
    with pytest.raises(MergeConflict):
        undo_after({"title": "Right"})
    assert store.dataset_read(CARS).descriptor == {**START, "title": "Right", "id": "1"}
    store.dataset_patch(CARS, {"title": "Wrong"})
    assert undo_after({"version": "2"}).descriptor == {**START, "id": "1", "version": "2"}
    assert [each.author.name for each in store.revision_list(CARS, limit=2)] == [ANN.name, "Bo"]


def test_undo_for_another_state_than_expected_is_refused(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "A"})
    with pytest.raises(RevisionConflict):
        store.dataset_undo(CARS, "HEAD", expected=first)


def test_a_file_that_somebody_pushed_is_taken_out_with_the_change(local_store: MetaStore) -> None:
    store, storage = local_store, local_store.storage
    first = store.dataset_create(CARS, START).revision
    change = metastore.types.Change(ANN, "By hand", first.created)
    pushed = storage.append(first_id := metastore.DatasetId(*CARS.split("/")), {"x": b"1"}, change, parent=first.id)
    head = store.dataset_patch(CARS, {"title": "A"}).revision
    store.dataset_undo(CARS, pushed.id)
    assert "x" not in storage.paths(first_id, store.revision_read(CARS).id)
    again = storage.append(first_id, {"x": b"2"}, change, parent=store.revision_read(CARS).id)
    assert again.parent != head.id
    with pytest.raises(MergeConflict, match="file x"):
        store.dataset_undo(CARS, pushed.id)


def test_a_creation_after_which_somebody_pushed_a_file_is_not_undone(local_store: MetaStore) -> None:
    store, storage, cars = local_store, local_store.storage, metastore.DatasetId("physics", "cars")
    first = store.dataset_create(CARS, START, message="Made\n\nBatch: b-1").revision
    change = metastore.types.Change(ANN, "By hand", first.created)
    pushed = storage.append(cars, {"x": b"1"}, change, parent=first.id)
    with pytest.raises(MergeConflict, match=f"revision {pushed.id[:12]} \\('By hand'\\)"):
        store.dataset_undo(CARS, first.id)
    assert [line.outcome for line in undo_all(store, Chosen(batch="b-1"))] == ["conflict"]
    store.dataset_undo(CARS, pushed.id)
    assert [line.outcome for line in undo_all(store, Chosen(batch="b-1"))] == ["deleted"]


def test_a_revision_that_is_no_descriptor_is_undone_while_it_is_the_newest_and_else_named(
    local_store: MetaStore,
) -> None:
    store, storage, cars = local_store, local_store.storage, metastore.DatasetId("physics", "cars")
    first = store.dataset_create(CARS, START).revision
    change = metastore.types.Change(ANN, "By hand", first.created)
    broken = storage.append(cars, {"datapackage.json": b"no JSON"}, change, parent=first.id)
    assert store.dataset_undo(CARS, broken.id).descriptor == START
    with pytest.raises(metastore.NotADescriptor, match=broken.id[:12]):
        store.dataset_undo(CARS, broken.id)


def test_a_revision_is_named_by_its_distance_or_by_a_moment(store: MetaStore, first: str) -> None:
    made = store.dataset_patch(CARS, {"title": "A"}).revision
    assert store.revision_read(CARS, "HEAD~").id == store.revision_read(CARS, "HEAD~1").id == first
    assert store.revision_read(CARS, f"{made.created:%Y-%m-%dT%H:%M:%SZ}") == made
    assert store.dataset_bytes(CARS, "HEAD~1")[0].id == first
    assert store.dataset_read(CARS, "2999-01-01").revision == made
    for text in ("HEAD~2", "1971-01-01", "1971-01-01T00:00Z", "2999-01-01T00:00", "2999-99-99", "~x"):
        with pytest.raises(metastore.RevisionNotFound):
            store.dataset_bytes(CARS, text)
    tag = store.tag_create(CARS, "2999-01-01", first)
    assert store.revision_read(CARS, tag.name).id == first


states = st.fixed_dictionaries(
    {"name": st.just("cars")},
    optional={
        "title": st.sampled_from(["A", "B"]),
        "keywords": st.lists(st.sampled_from("xyz"), unique=True),
        "resources": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"n": st.integers(0, 2)}),
            unique_by=lambda each: str(each["name"]),
        ),
    },
)
bounded = settings(max_examples=1000 if SOAK else 20, deadline=None, suppress_health_check=list(HealthCheck))


def fresh(*descriptors: Any) -> tuple[MetaStore, list[str]]:
    store = metastore.connect("memory:", author=ANN, validation="off")
    made = [store.dataset_create(CARS, descriptors[0])]
    made += [store.dataset_update(CARS, each) for each in descriptors[1:]]
    return store, [each.revision.id for each in made]  # type: ignore[return-value]


@bounded
@given(states, states)
def test_undo_of_the_newest_is_a_revert_and_undo_of_that_the_original(old: Any, new: Any) -> None:
    store, made = fresh(old, new)
    if made[0] == made[1]:
        return
    assert store.dataset_undo(CARS, "HEAD").bytes == store.dataset_read(CARS, made[0]).bytes
    assert store.dataset_undo(CARS, "HEAD").bytes == store.dataset_read(CARS, made[1]).bytes


@bounded
@given(states, st.lists(states, max_size=3))
def test_undo_of_a_creation_deletes_what_is_as_it_was_created_and_undo_of_that_is_the_original(
    start: Any, later: list[Any]
) -> None:
    store, made = fresh(start, *later)
    if made[-1] != made[0]:
        if store.dataset_read(CARS).bytes != store.dataset_read(CARS, made[0]).bytes:
            with pytest.raises(MergeConflict):
                store.dataset_undo(CARS, made[0])
        store.dataset_undo(CARS, f"{made[0]}..HEAD")
    assert store.dataset_undo(CARS, made[0]).revision.deleted
    assert store.dataset_undo(CARS, "HEAD").bytes == store.dataset_read(CARS, made[0]).bytes


@bounded
@given(states, states, states)
def test_undo_touches_nothing_outside_the_change(old: Any, new: Any, later: Any) -> None:
    store, made = fresh(old, new, later)
    if len(set(made)) < 3:
        return
    try:
        undone = store.dataset_undo(CARS, made[1]).descriptor
    except MergeConflict:
        assert store.revision_read(CARS).id == made[2]
        return
    for key in {*old, *new, *later}:
        if old.get(key) == new.get(key) and (key in old) == (key in new):
            assert (key in undone, undone.get(key)) == (key in later, later.get(key))


@bounded
@given(states, st.permutations(["title", "version", "homepage"]))
def test_undo_of_independent_changes_commutes(start: Any, order: list[str]) -> None:
    results = set()
    for sequence in (order, order[::-1]):
        store, _ = fresh(start)
        made = {key: store.dataset_patch(CARS, {key: f"new {key}"}).revision.id for key in order}
        for key in sequence:
            store.dataset_undo(CARS, made[key])
        results.add(encode(store.dataset_read(CARS).descriptor, sort=True))
    assert results == {encode(start, sort=True)}


def outcome(store: MetaStore, change: str) -> Any:
    """Undo a change after its preview, which has to tell the same. Return the descriptor, or the places of a clash."""
    before, places = store.dataset_read(CARS), None
    try:
        line = preview_undo(store, CARS, change)
    except MergeConflict as conflict:
        places = conflict.places
        with pytest.raises(MergeConflict) as caught:
            store.dataset_undo(CARS, change)
    if places is not None:
        assert caught.value.places == places
        return places
    assert store.dataset_read(CARS) == before, "a preview writes nothing"
    undone = store.dataset_undo(CARS, change)
    if line.action == "unchanged":
        assert undone.revision == before.revision
    else:
        assert line.changes == store.revision_diff(CARS, before.revision.id, undone.revision.id).changes
    return undone.descriptor


@bounded
@given(states, st.lists(states, min_size=2, max_size=3), st.none() | states)
def test_a_range_is_undone_as_if_it_were_one_change_and_undo_of_that_is_the_original(
    start: Any, middle: list[Any], later: Any
) -> None:
    """Also, no place outside of the range changes: that of one change is a property above."""
    after = [later] if later is not None else []
    many, made = fresh(start, *middle, *after)
    one, single = fresh(start, middle[-1], *after)
    if len(set(made)) < len(made) or len(set(single)) < len(single):
        return
    head = many.dataset_read(CARS)
    result = outcome(many, f"{made[0]}..{made[len(middle)]}")
    assert result == outcome(one, single[1])
    if isinstance(result, dict) and many.revision_read(CARS).id != head.revision.id:
        assert many.dataset_undo(CARS, "HEAD").bytes == head.bytes


@bounded
@given(st.lists(st.tuples(states, states, st.none() | states), min_size=1, max_size=3))
def test_a_batch_is_undone_as_each_of_its_changes_is(datasets: list[Any]) -> None:
    """A dataset with a clash keeps all of it and stops no other one."""
    batched = metastore.connect("memory:", author=ANN, validation="off")
    assert isinstance(batched, MetaStore)
    ids = [f"physics/d{number}" for number in range(len(datasets))]
    for dataset_id, (old, _, _) in zip(ids, datasets, strict=True):
        batched.dataset_create(dataset_id, old)
    with batched.batch("Change all") as batch:
        for dataset_id, (_, new, _) in zip(ids, datasets, strict=True):
            batch.dataset_update(dataset_id, new)
    for dataset_id, (_, _, later) in zip(ids, datasets, strict=True):
        if later is not None:
            batched.dataset_update(dataset_id, later)
    lines = {str(line.dataset_id): line for line in undo_all(batched, Chosen(batch=batch.id))}
    for dataset_id, (old, new, later) in zip(ids, datasets, strict=True):
        alone, made = fresh(old, new, *([later] if later is not None else []))
        if made[0] == made[1]:
            assert dataset_id not in lines
            continue
        result = outcome(alone, made[1])
        assert (lines[dataset_id].outcome == "conflict") == isinstance(result, tuple)
        assert batched.dataset_read(dataset_id).bytes == alone.dataset_read(CARS).bytes


def test_a_preview_of_an_undo_tells_what_it_does_to_a_whole_dataset(store: MetaStore, first: str) -> None:
    assert preview_undo(store, CARS, first).action == "delete"
    store.dataset_patch(CARS, {"title": "Other"})
    with pytest.raises(MergeConflict, match="stands in the way: revision"):
        preview_undo(store, CARS, first)
    store.dataset_undo(CARS, "HEAD")
    deletion = store.dataset_delete(CARS)
    assert preview_undo(store, CARS, deletion.id).action == "create"
    assert preview_undo(store, CARS, first).action == "unchanged"
    with pytest.raises(DatasetDeleted):
        preview_undo(store, CARS, "HEAD~2")
    assert store.revision_read(CARS) == deletion


def test_a_range_is_undone_across_a_deletion_and_a_move(store: MetaStore, first: str) -> None:
    store.dataset_patch(CARS, {"title": "Wrong"})
    store.dataset_delete(CARS)
    store.dataset_revert(CARS, "HEAD~1")
    last = store.dataset_patch(CARS, {"homepage": "https://wrong.example.org"}).revision.id
    store.dataset_move(CARS, "physics/planes")
    store.dataset_patch("physics/planes", {"version": "2"})
    assert store.dataset_undo("physics/planes", f"{first}..{last}").descriptor == {**START, "version": "2"}


def test_a_renamed_resource_with_a_renamed_field_is_undone_by_a_tag_after_both_have_moved(store: MetaStore) -> None:
    def speed(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "path": "speed.csv", "schema": {"fields": list(fields)}}

    lat, lon = {"name": "lat", "type": "number"}, {"name": "lon", "type": "number"}
    store.dataset_create(CARS, {"resources": [speed("speed", lat, lon), OWNERS]})
    wrong = store.dataset_update(CARS, {"resources": [speed("velocity", {**lat, "name": "latitude"}, lon), OWNERS]})
    store.tag_create(CARS, "v1", wrong.revision.id)
    later = {"name": "latitude", "type": "number", "unit": "deg"}
    store.dataset_update(CARS, {"resources": [OWNERS, speed("velocity", later, lon)]})
    assert store.dataset_undo(CARS, "v1").descriptor["resources"] == [
        OWNERS,
        speed("speed", {**lat, "unit": "deg"}, lon),
    ]
