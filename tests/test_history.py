"""Revisions, differences, tags, the journal, the change feed and events, on every storage."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from metastore import (
    AlreadyExists,
    DatasetDeleted,
    InvalidInput,
    MetaStore,
    RevisionConflict,
    RevisionNotFound,
    TagNotFound,
    events,
    wire,
)

from .cases import cases
from .conftest import ANN, real_descriptor

CARS = "physics/cars"


@pytest.fixture
def revisions(store: MetaStore) -> list[str]:
    """The ids of five revisions, oldest first."""
    made = [store.dataset_create(CARS, {"n": 0}).revision.id]
    return made + [store.dataset_update(CARS, {"n": n}, message=f"Set {n}").revision.id for n in range(1, 5)]


def test_revisions_are_listed_newest_first_from_anywhere(store: MetaStore, revisions: list[str]) -> None:
    assert [each.id for each in store.revision_list(CARS)] == revisions[::-1]
    assert [each.message for each in store.revision_list(CARS, limit=2)] == ["Set 4", "Set 3"]
    page = list(store.revision_list(CARS, revisions[2], limit=2))
    assert [each.id for each in page] == [revisions[2], revisions[1]]
    assert [each.id for each in store.revision_list(CARS, page[-1].parent)] == [revisions[0]]


def test_an_unknown_revision_fails_at_the_call_and_not_in_the_loop(store: MetaStore, revisions: list[str]) -> None:
    with pytest.raises(RevisionNotFound):
        store.revision_list(CARS, "nothing")


@cases("odd", [5, b"HEAD", ["HEAD"]])
def test_a_value_that_is_not_text_names_no_revision(store: MetaStore, revisions: list[str], odd: Any) -> None:
    for call in (store.dataset_read, store.revision_list, store.dataset_revert, store.revision_diff):
        with pytest.raises(InvalidInput, match="a Revision or a Tag, not"):
            call(CARS, odd)
    with pytest.raises(TagNotFound):
        store.tag_read(CARS, odd)


def test_a_difference_is_a_patch_and_words(store: MetaStore) -> None:
    descriptor = real_descriptor("vega/datasets")
    store.dataset_create(CARS, descriptor)
    store.tag_create(CARS, "v1")
    airports = next(each for each in descriptor["resources"] if each["name"] == "airports")
    airports["schema"]["fields"][0]["type"] = "any"
    descriptor["resources"][0]["name"] = "renamed"
    descriptor["resources"].append({"name": "new", "path": "new.csv"})
    del descriptor["resources"][5]
    descriptor["title"] = "Vega"
    store.dataset_update(CARS, descriptor)
    diff = store.revision_diff(CARS, "v1", "HEAD")
    assert sorted((each.kind, each.where) for each in diff.changes) == [
        ("added", "resource new"),
        ("added", "title"),
        ("changed", "resource airports › schema › field iata › type"),
        ("removed", "resource birdstrikes"),
        ("renamed", "resource icon_7zip"),
    ]
    store.dataset_revert(CARS, "v1")
    assert store.dataset_patch(CARS, list(diff.patch)).descriptor == descriptor


@cases(
    "old, new, said",
    [
        ({"a": 1}, {"a": True}, ["a changed: 1 → true"]),
        ({"a": 1}, {"a": 1.0}, ["a changed: 1 → 1.0 (the same number, written otherwise)"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a › b changed: 1 → 2"]),
        ({"a": [1]}, {"a": [2]}, ["a changed: [1] → [2]"]),
        ({"a": "x" * 200}, {}, ["a removed: '" + "x" * 76 + "…"]),
        (
            {"resources": [{"name": "x", "path": "p"}, {"name": "y", "path": "q"}]},
            {"resources": [{"name": "y", "path": "q"}, {"name": "x", "path": "p"}]},
            ["resource x moved to the end (was at the start)"],
        ),
        (
            {"resources": [{"name": "x", "path": "p", "hash": "1"}]},
            {"resources": [{"name": "y", "path": "p", "hash": "2"}]},
            ["resource x renamed: 'x' → 'y' (path unchanged)", "resource y › hash changed: '1' → '2'"],
        ),
        (
            {"licenses": [{"name": "MIT"}]},
            {"licenses": [{"name": "MIT", "title": "MIT License"}]},
            ["licence MIT › title added: 'MIT License'"],
        ),
        (
            {"licenses": [{"name": "CC0", "path": "p"}, {"name": "x"}]},
            {"licenses": [{"name": "CC0-1.0", "path": "p"}, {"name": "y"}]},
            ["licence changed: 'CC0' → 'CC0-1.0'", "licence changed: 'x' → 'y'"],
        ),
        ({"resources": [{"name": "x"}, 5]}, {"resources": [5]}, ['resources changed: [{"name": "x"}, 5] → [5]']),
        ({"keywords": ["a", "b"]}, {"keywords": ["a", "b", "new"]}, ["keyword added: 'new'"]),
        ({"keywords": ["a", "b"]}, {"keywords": ["b", "a"]}, ['keyword order changed: ["a", "b"] → ["b", "a"]']),
        (
            {"keywords": ["a", "a", "b"]},
            {"keywords": ["c", "a", "b"]},
            ["keyword removed: 'a'", "keyword added: 'c'"],
        ),
        (
            {"sources": [{"email": "a@b", "role": "x"}, {"email": "c@d", "role": "y"}]},
            {"sources": [{"email": "c@d", "role": "z"}, {"email": "a@b", "role": "x"}]},
            ["source c@d › role changed: 'y' → 'z'", "source a@b moved to the end (was at the start)"],
        ),
        ({"bbox": [1, 2, 3]}, {"bbox": [1, 2, 4]}, ["bbox changed: [1, 2, 3] → [1, 2, 4]"]),
        (
            {"fields": [{"name": "ID", "type": "integer"}]},
            {"fields": [{"name": "id", "type": "integer"}]},
            ["field ID renamed: 'ID' → 'id' (type unchanged)"],
        ),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, []),
    ],
)
def test_differences_in_words(store: MetaStore, old: dict[str, Any], new: dict[str, Any], said: list[str]) -> None:
    first = store.dataset_create(CARS, old)
    store.dataset_update(CARS, new)
    assert [str(each) for each in store.revision_diff(CARS, first.revision.id).changes] == said
    store.dataset_purge(CARS, force=True)


def test_another_spelling_is_told_and_its_patch_replayed_gives_the_same_bytes(store: MetaStore) -> None:
    first = store.dataset_create(CARS, b'{"name": "a", "version": 1.10, "n": [1E5, 2.0]}')
    second = store.dataset_update(CARS, b'{"name": "a", "version": 1.1, "n": [1e5, 2.00]}')
    diff = store.revision_diff(CARS, first.revision.id)
    assert [str(each) for each in diff.changes] == [
        "version changed: 1.10 → 1.1 (the same number, written otherwise)",
        "n changed: [1E5, 2.0] → [1e5, 2.00]",
    ]
    store.dataset_revert(CARS, first.revision.id)
    assert store.dataset_patch(CARS, wire.to_text(diff.patch)).bytes == second.bytes
    assert store.dataset_undo(CARS, "HEAD").bytes == first.bytes


def test_a_tag_names_a_revision_and_is_read_at_it(store: MetaStore, revisions: list[str]) -> None:
    tag = store.tag_create(CARS, "v1.0", revisions[1], description="First release\n\nWith notes.\n")
    assert (tag.name, tag.revision, tag.description) == ("v1.0", revisions[1], "First release\n\nWith notes.")
    assert tag.author == ANN
    assert store.tag_read(CARS, "v1.0") == tag
    assert store.dataset_read(CARS, "v1.0").descriptor == {"n": 1}
    assert store.tag_create(CARS, "newest").revision == revisions[-1]
    with pytest.raises(AlreadyExists):
        store.tag_create(CARS, "v1.0")
    with pytest.raises(RevisionNotFound):
        store.tag_create(CARS, "v3", "0" * 40)


@cases(
    "name",
    [
        "",
        "HEAD",
        "main",
        "master",
        "a/b",
        "a b",
        "-x",
        ".x",
        "x.",
        "a..b",
        "x.lock",
        "abcdef1",
        "ABCDEF1",
        "é",
        "x" * 101,
    ],
)
def test_a_tag_name_that_git_or_a_reader_would_mistake_is_refused(store: MetaStore, name: str) -> None:
    store.dataset_create(CARS, {})
    with pytest.raises(InvalidInput):
        store.tag_create(CARS, name)
    assert list(store.tag_list(CARS)) == []
    store.dataset_purge(CARS, force=True)


def test_a_tag_is_renamed_described_again_and_moved(store: MetaStore, revisions: list[str]) -> None:
    old = store.tag_create(CARS, "v1", revisions[0], description="Old")
    renamed = store.tag_update(CARS, "v1", new_name="v2", expected=old.id)
    assert (renamed.name, renamed.revision, renamed.description) == ("v2", revisions[0], "Old")
    changed = store.tag_update(CARS, "v2", description="New", revision=revisions[1], author="Bo")
    assert (changed.revision, changed.description, changed.author.name) == (revisions[1], "New", "Bo")
    assert store.tag_update(CARS, "v2", description="New") == changed
    with pytest.raises(RevisionConflict):
        store.tag_update(CARS, "v2", description="Newer", expected=old.id)
    with pytest.raises(TagNotFound):
        store.tag_update(CARS, "v1", description="x")


def test_a_tag_is_removed_and_the_revision_stays(store: MetaStore, revisions: list[str]) -> None:
    tag = store.tag_create(CARS, "v1", revisions[0])
    with pytest.raises(RevisionConflict):
        store.tag_delete(CARS, "v1", expected="0" * 40)
    store.tag_delete(CARS, "v1", expected=tag.id)
    with pytest.raises(TagNotFound):
        store.tag_delete(CARS, "v1")
    assert store.dataset_read(CARS, revisions[0]).descriptor == {"n": 0}


def test_a_tag_outlives_deletion_and_can_be_made_for_an_old_revision(store: MetaStore, revisions: list[str]) -> None:
    store.dataset_delete(CARS)
    with pytest.raises(DatasetDeleted):
        store.tag_create(CARS, "v1")
    store.tag_create(CARS, "v1", revisions[2])
    assert store.dataset_read(CARS, "v1").descriptor == {"n": 2}


def test_the_journal_says_who_moved_purged_and_retagged_what_and_why(store: MetaStore) -> None:
    first = store.dataset_create(CARS, {}).revision.id
    store.tag_create(CARS, "v1")
    store.tag_update(CARS, "v1", new_name="v2", author="Bo", message="Better name")
    store.tag_delete(CARS, "v2", message="Not needed")
    store.dataset_move(CARS, "physics/y", message="New owner")
    store.dataset_purge("physics/y", force=True, message="Legal request")
    lines = [(line.action, str(line.dataset_id), line.author.name, line.message) for line in store.journal()]
    assert lines == [
        ("purge", "physics/y", "Ann Lee", "Legal request"),
        ("move", CARS, "Ann Lee", "New owner"),
        ("tag_delete", CARS, "Ann Lee", "Not needed"),
        ("tag_update", CARS, "Bo", "Better name"),
    ]
    move = store.journal(CARS, limit=1)[0]
    assert move.details == {"new_id": "physics/y", "revision": first}
    assert [line.action for line in store.journal(CARS, since=move.created)] == ["move"]
    assert [line.action for line in store.journal("physics/y", since=move.created)] == ["purge"]


def test_the_journal_and_the_stores_own_are_not_listed_and_not_written(store: MetaStore) -> None:
    assert list(store.journal()) == []
    store.dataset_create(CARS, {})
    store.dataset_purge(CARS, force=True)
    assert list(store.dataset_list(deleted=None)) == []
    for write in (store.dataset_delete, store.dataset_purge):
        with pytest.raises(InvalidInput, match="the store's own"):
            write("_metastore/journal")


def test_the_feed_brings_every_change_and_goes_on_behind_a_cursor(store: MetaStore) -> None:
    store.dataset_create("physics/a", {})
    store.dataset_create("physics/b", {})
    store.dataset_create("physics/c", {})
    everything = list(store.changes())
    assert {(str(each.dataset_id), each.action) for each in everything} == {
        ("physics/a", "changed"),
        ("physics/b", "changed"),
        ("physics/c", "changed"),
    }
    store.dataset_delete("physics/a")
    store.dataset_move("physics/b", "physics/d")
    store.dataset_purge("physics/c", force=True)
    later = {(str(each.dataset_id), each.action) for each in store.changes(everything[-1].cursor)}
    assert later == {
        ("physics/a", "deleted"),
        ("physics/b", "moved"),
        ("physics/d", "changed"),
        ("physics/c", "purged"),
    }
    moved = next(each for each in store.changes() if each.action == "moved")
    assert moved.new_id == "physics/d"


@cases("cursor", ["", "yesterday", "2024-01-01T00:00:00", 5])
def test_an_invalid_cursor_is_refused(store: MetaStore, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        store.changes(cursor)


def test_events_are_sent_after_the_write_with_before_and_after(local_store: MetaStore) -> None:
    heard: list[Any] = []

    def listen(sender: Any, event: Any) -> None:
        assert sender is local_store
        heard.append(event)

    with events.dataset_changed.connected_to(listen), events.tag_changed.connected_to(listen):
        first = local_store.dataset_create(CARS, {}).revision
        second = local_store.dataset_update(CARS, {"a": 1}).revision
        local_store.dataset_update(CARS, {"a": 1})  # changes nothing
        third = local_store.dataset_patch(CARS, {"a": 2}).revision
        tag = local_store.tag_create(CARS, "v1")
        renamed = local_store.tag_update(CARS, "v1", new_name="v2")
        local_store.tag_delete(CARS, "v2")
        fourth = local_store.dataset_revert(CARS, second.id).revision
        local_store.dataset_move(CARS, "physics/y")
        gone = local_store.dataset_delete("physics/y")
        local_store.dataset_purge("physics/y")
    identity, moved = "physics/cars", "physics/y"
    assert heard == [
        events.DatasetEvent("create", identity, None, first),
        events.DatasetEvent("update", identity, first, second),
        events.DatasetEvent("patch", identity, second, third),
        events.TagEvent("create", identity, None, tag),
        events.TagEvent("update", identity, tag, renamed),
        events.TagEvent("delete", identity, renamed, None),
        events.DatasetEvent("revert", identity, third, fourth),
        events.DatasetEvent("move", identity, fourth, fourth, moved),
        events.DatasetEvent("delete", moved, fourth, gone),
        events.DatasetEvent("purge", moved, gone, None),
    ]


def test_a_failing_subscriber_is_logged_and_hurts_nobody(
    local_store: MetaStore, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    def fail(sender: Any, event: Any) -> None:
        raise RuntimeError("subscriber broke")

    def listen(sender: Any, event: Any) -> None:
        heard.append(event)

    with (
        events.dataset_changed.connected_to(fail),
        events.dataset_changed.connected_to(listen),
        caplog.at_level(logging.ERROR),
    ):
        made = local_store.dataset_create(CARS, {})
    assert local_store.dataset_read(CARS).revision == made.revision
    assert len(heard) == 1
    assert "subscriber broke" in caplog.text
