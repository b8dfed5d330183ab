"""Datasets: create, read, update, patch, delete, purge, move, revert and list, on every storage."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest

import metastore
from metastore import (
    AlreadyExists,
    Author,
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetaStore,
    PathNotFound,
    ResourceNotFound,
    RevisionConflict,
    RevisionNotFound,
)
from metastore.storage.port import Storage

from .cases import cases
from .conftest import ANN, EPOCH, REAL, change, real_descriptor

CARS = "physics/cars"


@pytest.mark.parametrize("name", REAL)
def test_a_real_descriptor_comes_back_as_given(store: MetaStore, name: str) -> None:
    descriptor = real_descriptor(name)
    identity = f"physics/{name.split('/')[1]}"
    made = store.dataset_create(identity, descriptor)
    read = store.dataset_read(identity)
    assert read.descriptor == descriptor == made.descriptor
    assert list(read.descriptor) == list(descriptor)
    assert read.bytes.decode() == json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n"
    assert (read.id, read.revision, read.findings) == (identity, made.revision, ())


def test_an_id_is_its_text_ordered_by_owner_and_then_by_name(storage_of_all: Storage) -> None:
    store = MetaStore(storage_of_all, author=ANN)
    ids = [store.dataset_create(text, {}).id for text in ("physics/cars", "physics-old/cars", "physics/boats")]
    assert sorted(ids) == ["physics/boats", "physics/cars", "physics-old/cars"] == list(store.dataset_list())
    assert "physics/cars" in store.dataset_list()
    assert json.dumps(ids[0]) == '"physics/cars"'
    assert (ids[0].owner, ids[0].name, pickle.loads(pickle.dumps(ids[0]))) == ("physics", "cars", ids[0])
    assert repr(pickle.loads(pickle.dumps(ids[0]))) == "DatasetId('physics', 'cars')"


def test_what_came_as_text_keeps_its_numbers_as_written(store: MetaStore) -> None:
    text = '{"a": 1.10, "b": 1180591620717411303424, "c": 1E5, "d": -0, "e": -0.0, "f": 1.0}'
    store.dataset_create(CARS, text)
    store.dataset_patch(CARS, '{"g": 2.50}')
    stored = store.dataset_patch(CARS, '[{"op": "add", "path": "/h", "value": 3.0}]').bytes.decode()
    for number in ("1.10", "1180591620717411303424", "1E5", "-0,", "-0.0", "1.0", "2.50", "3.0"):
        assert number in stored


def test_a_descriptor_that_was_read_is_the_readers_own(store: MetaStore) -> None:
    store.dataset_create(CARS, {"title": "Cars", "resources": [{"name": "x"}]})
    store.dataset_read(CARS).descriptor["resources"][0]["name"] = "changed"
    assert store.dataset_read(CARS).descriptor["resources"] == [{"name": "x"}]


def test_the_id_is_text_or_a_pair(store: MetaStore) -> None:
    made = store.dataset_create(("physics", "cars"), {})
    assert store.dataset_read("physics/cars").revision == made.revision
    assert str(made.id) == "physics/cars"


@cases(
    "bad, hint",
    [
        ("Physics/cars", "lower case: try 'physics'"),
        ("cars", "owner/name"),
        ("a/b/c", "owner/name"),
        ("a/..", "must be 1 to 100"),
        ("../a", "must be 1 to 100"),
        ("a/b..c", "must not contain"),
        ("a/b.git", ".git or .lock"),
        ("a/b.lock", ".git or .lock"),
        ("a/" + "x" * 101, "1 to 100"),
        ("a/b c", "must be"),
        ("a/b\n", "must be"),
        ("ä/b", "must be"),
        ("_own/b", "the store's own"),
        ("", "owner/name"),
        (7, "owner/name"),
        (("a",), "owner/name"),
    ],
)
def test_a_bad_id_is_refused_with_a_hint(store: MetaStore, bad: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=hint):
        store.dataset_create(bad, {})
    assert list(store.dataset_list()) == []


def test_create_on_a_live_dataset_is_refused(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    with pytest.raises(AlreadyExists):
        store.dataset_create(CARS, {"a": 2})
    assert store.dataset_read(CARS).revision == first.revision


def test_create_on_a_deleted_dataset_goes_on_from_its_history(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    gone = store.dataset_delete(CARS)
    again = store.dataset_create(CARS, {"a": 2})
    assert again.revision.parent == gone.id
    assert [revision.id for revision in store.revision_list(CARS)] == [again.revision.id, gone.id, first.revision.id]


def test_create_on_a_deleted_dataset_leaves_nothing_of_the_deletion(local_store: MetaStore) -> None:
    local_store.dataset_create(CARS, {"a": 1})
    local_store.dataset_delete(CARS)
    again = local_store.dataset_create(CARS, {"a": 2})
    assert set(local_store.storage.paths(again.id, again.revision.id)) == {"datapackage.json"}


def test_every_write_says_who_why_and_when(store: MetaStore) -> None:
    at = datetime(2020, 2, 29, 13, 0, 1, 999, tzinfo=timezone(timedelta(hours=1)))
    made = store.dataset_create(CARS, {}, author="Bo Li <bo@example.org>", message="\nWhy  \n\n", at=at)
    assert made.revision.author == Author("Bo Li", "bo@example.org")
    assert made.revision.message == "Why"
    assert made.revision.created == datetime(2020, 2, 29, 12, 0, 1, tzinfo=UTC)
    assert store.dataset_update(CARS, {"a": 1}).revision.author == ANN
    assert store.dataset_patch(CARS, {"a": 2}, author=("Bo", "")).revision.author == Author("Bo", "")
    assert store.dataset_delete(CARS, author=Author("X", "y")).author == Author("X", "y")


@cases("author", ["", "<a@b>", ".,;", Author("", "a@b"), "\ud800", "x" * 1001])
def test_an_author_without_a_name_is_refused(store: MetaStore, author: str) -> None:
    with pytest.raises(InvalidInput):
        store.dataset_create(CARS, {}, author=author)
    assert list(store.dataset_list()) == []


def test_without_any_author_nothing_is_written(storage: Storage) -> None:
    with pytest.raises(InvalidInput, match="no author"):
        MetaStore(storage).dataset_create(CARS, {})


@cases("at", [datetime(2020, 1, 1), datetime(1969, 12, 31, tzinfo=UTC), "yesterday"])
def test_a_time_that_git_cannot_keep_is_refused(store: MetaStore, at: datetime) -> None:
    with pytest.raises(InvalidInput):
        store.dataset_create(CARS, {}, at=at)


@cases("at", ["2024-13-01", "2024-12-01T25:00:00Z"])
def test_a_time_that_the_calendar_lacks_is_refused_with_the_reason(store: MetaStore, at: str) -> None:
    with pytest.raises(InvalidInput, match="must be in"):
        list(store.dataset_list(at=at))


@pytest.mark.parametrize("message", ["a\0b", "x" * 65_537, 5, "\ud800"])
def test_a_message_that_git_cannot_keep_is_refused(store: MetaStore, message: str) -> None:
    with pytest.raises(InvalidInput):
        store.dataset_create(CARS, {}, message=message)


def test_update_replaces_the_descriptor(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1, "b": 2})
    second = store.dataset_update(CARS, {"a": 1}, expected=first.revision.id, message="Drop b")
    assert second.revision.parent == first.revision.id
    assert store.dataset_read(CARS).descriptor == {"a": 1}
    assert store.dataset_read(CARS, first.revision.id).descriptor == {"a": 1, "b": 2}


@cases(
    "write",
    [
        lambda store: store.dataset_update(CARS, {"b": 2, "a": 1}),
        lambda store: store.dataset_update(CARS, '{"b":2,"a":1}'),
        lambda store: store.dataset_patch(CARS, {}),
        lambda store: store.dataset_patch(CARS, {"a": 1}),
        lambda store: store.dataset_patch(CARS, []),
        lambda store: store.dataset_revert(CARS, "HEAD"),
    ],
)
def test_a_write_that_changes_nothing_makes_no_revision(store: MetaStore, write: object) -> None:
    first = store.dataset_create(CARS, {"a": 1, "b": 2})
    assert write(store).revision == first.revision  # type: ignore[operator]
    assert write(store).bytes == first.bytes  # type: ignore[operator]
    store.dataset_purge(CARS, force=True)


@cases("other", ['{"a": 1.0}', '{"a": true}', '{"a": "1"}', '{"a": 1.00}'])
def test_values_that_only_python_takes_for_equal_are_a_change(store: MetaStore, other: str) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    assert store.dataset_update(CARS, other).revision != first.revision
    store.dataset_purge(CARS, force=True)


def test_expected_makes_a_stale_write_a_conflict_even_where_nothing_would_change(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1}).revision.id
    second = store.dataset_update(CARS, {"a": 2}).revision.id
    for write in (
        lambda: store.dataset_update(CARS, {"a": 2}, expected=first),
        lambda: store.dataset_patch(CARS, {"a": 3}, expected=first),
        lambda: store.dataset_delete(CARS, expected=first),
        lambda: store.dataset_revert(CARS, first, expected=first),
        lambda: store.dataset_move(CARS, "physics/y", expected=first),
        lambda: store.dataset_purge(CARS, force=True, expected=first),
    ):
        with pytest.raises(RevisionConflict) as caught:
            write()
        assert (caught.value.expected, caught.value.actual) == (first, second)
    assert store.dataset_read(CARS).revision.id == second


@cases("expected", ["", "abc", "HEAD", "A" * 40])
def test_expected_has_to_be_a_full_id(store: MetaStore, expected: str) -> None:
    store.dataset_create(CARS, {})
    with pytest.raises(InvalidInput, match="full id"):
        store.dataset_update(CARS, {"a": 1}, expected=expected)
    store.dataset_purge(CARS, force=True)


def test_merge_patch_sets_and_removes_members(store: MetaStore) -> None:
    store.dataset_create(CARS, {"a": {"b": 1, "c": 2}, "d": [1, 2]})
    patched = store.dataset_patch(CARS, {"a": {"b": None, "e": 3}, "d": [9]})
    assert patched.descriptor == {"a": {"c": 2, "e": 3}, "d": [9]}


def test_json_patch_is_applied_whole_or_not_at_all(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1, "list": [1, 2]})
    operations = [{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/list/-", "value": 3}]
    assert store.dataset_patch(CARS, operations).descriptor["list"] == [1, 2, 3]
    store.dataset_revert(CARS, first.revision.id)
    for wrong in (
        [{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": True}],
        [{"op": "remove", "path": "/nothing"}],
        [{"op": "fly", "path": "/a"}],
        [{"path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        ["add"],
        [None],
    ):
        with pytest.raises(InvalidInput) as caught:
            store.dataset_patch(CARS, wrong)
        assert caught.value.pointer == f"/{len(wrong) - 1}"
    assert store.dataset_read(CARS).descriptor == {"a": 1, "list": [1, 2]}


@cases("patch", ["5", '"text"', 5, None, [{"op": "replace", "path": "", "value": []}]])
def test_a_patch_that_makes_no_descriptor_is_refused(store: MetaStore, patch: object) -> None:
    store.dataset_create(CARS, {})
    with pytest.raises(InvalidInput):
        store.dataset_patch(CARS, patch)  # type: ignore[arg-type]
    store.dataset_purge(CARS, force=True)


def test_delete_keeps_history_and_tags_and_says_deleted(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    store.tag_create(CARS, "v1")
    gone = store.dataset_delete(CARS, message="Superseded")
    assert (gone.deleted, gone.parent, gone.message) == (True, first.revision.id, "Superseded")
    for call in (
        lambda: store.dataset_read(CARS),
        lambda: store.dataset_read(CARS, "HEAD"),
        lambda: store.dataset_read(CARS, gone.id),
        lambda: store.dataset_update(CARS, {}),
        lambda: store.dataset_patch(CARS, {}),
        lambda: store.dataset_delete(CARS),
        lambda: store.dataset_move(CARS, "physics/y"),
        lambda: store.tag_create(CARS, "v2"),
    ):
        with pytest.raises(DatasetDeleted) as caught:
            call()
        assert caught.value.revision == gone
    assert store.dataset_read(CARS, "v1").descriptor == {"a": 1}
    assert store.revision_read(CARS) == gone
    assert [tag.name for tag in store.tag_list(CARS)] == ["v1"]
    assert store.revision_diff(CARS, "v1", "HEAD").patch == ({"op": "remove", "path": "/a"},)
    assert list(store.dataset_list()) == []
    assert list(store.dataset_list(deleted=True)) == list(store.dataset_list(deleted=None)) == ["physics/cars"]


def test_purge_takes_deleted_datasets_alone_unless_forced(store: MetaStore) -> None:
    store.dataset_create(CARS, {"a": 1})
    with pytest.raises(InvalidInput, match="is live"):
        store.dataset_purge(CARS)
    store.dataset_purge(CARS, force=True)
    with pytest.raises(DatasetNotFound):
        store.revision_read(CARS)
    assert store.dataset_create(CARS, {"b": 1}).revision.parent is None


def test_move_keeps_history_ids_and_tags(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1}).revision
    tag = store.tag_create(CARS, "v1")
    moved = store.dataset_move(CARS, "physics/boats")
    assert (moved.id, moved.revision) == ("physics/boats", first)
    assert list(store.tag_list("physics/boats")) == [tag]
    for call in (store.dataset_read, store.revision_list, store.tag_list, store.dataset_delete, store.project_read):
        with pytest.raises(DatasetMoved) as caught:
            call(CARS)
        assert caught.value.new_id == "physics/boats"
    assert store.dataset_create(CARS, {"new": 1}).revision.parent is None


def test_move_to_itself_changes_nothing_and_to_a_taken_id_is_refused(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    store.dataset_create("physics/y", {})
    assert store.dataset_move(CARS, CARS).revision == first.revision
    with pytest.raises(AlreadyExists):
        store.dataset_move(CARS, "physics/y")
    assert [entry.action for entry in store.journal()] == ["withdrawn", "move"]


def test_revert_adds_a_revision_equal_to_an_older_one(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    second = store.dataset_update(CARS, {"a": 2})
    back = store.dataset_revert(CARS, first.revision.id[:10])
    assert back.bytes == first.bytes
    assert back.revision.parent == second.revision.id
    assert back.revision.message == f"Revert to {first.revision.id[:12]}"


def test_revert_brings_back_a_deleted_dataset_and_refuses_a_deletion(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"a": 1})
    gone = store.dataset_delete(CARS)
    assert store.dataset_revert(CARS, first.revision.id).descriptor == {"a": 1}
    with pytest.raises(InvalidInput, match="deletion"):
        store.dataset_revert(CARS, gone.id)
    with pytest.raises(RevisionNotFound):
        store.dataset_revert(CARS, "v9")


def test_a_page_of_the_list_goes_on_behind_the_last_one(store: MetaStore) -> None:
    for name in ("a", "b", "c", "d"):
        store.dataset_create(("physics", name), {})
    assert [str(each) for each in store.dataset_list(limit=2)] == ["physics/a", "physics/b"]
    assert [str(each) for each in store.dataset_list(after="physics/b", limit=2)] == ["physics/c", "physics/d"]
    assert list(store.dataset_list("physics/", limit=0)) == []
    for bad in (-1, "5", 1.5):
        with pytest.raises(InvalidInput):
            store.dataset_list(limit=bad)  # type: ignore[arg-type]


def test_resources_are_found_by_name_then_id_then_path(store: MetaStore) -> None:
    resources = [{"name": "a", "path": "b"}, {"name": "x", "id": "c", "path": "y"}, {"name": "b", "path": "z"}]
    store.dataset_create(CARS, {"resources": resources})
    assert store.resource_read(CARS, "b") == resources[2]
    assert store.resource_read(CARS, "c") == resources[1]
    assert store.resource_read(CARS, "y") == resources[1]
    with pytest.raises(ResourceNotFound):
        store.resource_read(CARS, "nothing")


def test_a_project_is_the_dataset_with_its_surroundings(store: MetaStore) -> None:
    made = store.dataset_create(CARS, {"a": 1})
    tag = store.tag_create(CARS, "v1")
    project = store.project_read(CARS)
    assert (project.owner, project.dataset.revision, project.tags) == ("physics", made.revision, (tag,))
    assert (project.issues, project.flows) == ((), ())


def test_a_revision_without_a_descriptor_is_said_to_be_one(local_store: MetaStore) -> None:
    first = local_store.storage.create(metastore.DatasetId("physics", "cars"), {"README.md": b"Hello"}, change())
    with pytest.raises(PathNotFound):
        local_store.dataset_read(CARS)
    made = local_store.dataset_update(CARS, {"a": 1})
    assert set(local_store.storage.paths(made.id, made.revision.id)) == {"README.md", "datapackage.json"}
    with pytest.raises(PathNotFound):
        local_store.dataset_revert(CARS, first.id)


def test_the_same_calls_give_the_same_ids_on_every_storage(store: MetaStore) -> None:
    store.dataset_create(CARS, {"a": 1}, at=EPOCH)
    store.dataset_patch(CARS, {"b": "é"}, message="Accent", at=EPOCH)
    assert store.revision_read(CARS).id == "1d261b5a80d97a66555d26c8662e36e9757f56f4"


def test_a_closed_store_says_so_at_every_call(store: MetaStore) -> None:
    store.close()
    store.close()
    calls = {name for name in dir(store) if not name.startswith("_") and callable(getattr(type(store), name))}
    assert len(calls) > 25
    for name in calls - {"close"}:
        with pytest.raises(InvalidInput, match=r"<(Meta|Remote)Store .*> is closed: open it again"):
            getattr(store, name)()
    with pytest.raises(InvalidInput, match="is closed"), store:
        pass
