"""The part of the CKAN extension that knows no CKAN: what it records and gives back, and how it settles MetaStore.

The rest of it is tested in a real CKAN, by `make test-ckan`.
"""

from __future__ import annotations

import copy
import json
import sys
import threading
import time
import tomllib
from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

import metastore
from metastore import ckan
from tests.conftest import ANN, ticking
from tests.conftest import change as pushed

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "examples" / "ckanext-metastore"))
from ckanext.metastore import differences, record, seen, tokens, versions  # noqa: E402 - in the examples
from ckanext.metastore.patience import Breaker, within  # noqa: E402
from ckanext.metastore.sync import Recorder  # noqa: E402

SHOWN: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "ckan" / "package_show_2.12.0.json").read_bytes())
PLACE = f"ckan/{SHOWN['id']}"
OTHER = "7f1c0a52-2f0e-4c3f-9a3d-5d1b8c1b0c11"


def nothing(owner_org: str) -> bool:
    """The private states that anonymous readers see."""
    return False


def shown(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SHOWN), **changes}


def test_the_extension_requires_this_library_and_not_the_metastore_of_pypi() -> None:
    ours, extension = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in (ROOT, ROOT / "examples" / "ckanext-metastore")
    )
    required = [*extension["dependencies"], *extension["optional-dependencies"]["service"]]
    names = [Requirement(each).name for each in required]
    assert names == [ours["name"], ours["name"], "pyjwt"]


@pytest.fixture
def store() -> Iterator[metastore.MetaStore]:
    with metastore.connect("memory:", author=ANN, clock=ticking()) as made:
        yield made


@pytest.fixture
def recorder(store: metastore.MetaStore) -> Recorder:
    return Recorder(store)


# What is recorded


def test_what_is_recorded_is_what_somebody_said() -> None:
    descriptor = record.descriptor_of(shown())
    assert descriptor["ckan"] == {
        "organization": {"id": SHOWN["owner_org"], "name": "org1"},
        "owner_org": SHOWN["owner_org"],
        "private": False,
        "state": "active",
        "type": "dataset",
        "extras": {"k": "v"},
    }
    assert descriptor["resources"] == [
        {
            "name": "r",
            "title": "R",
            "path": "http://e.x/a.csv",
            "id": SHOWN["resources"][0]["id"],
            "format": "CSV",
            "bytes": 12,
            "ckan": {"created": "2026-11-21T17:02:56.440141"},
        }
    ]
    assert metastore.validate(descriptor) == ()


def test_what_ckan_computes_is_no_change() -> None:
    later = shown(metadata_modified="2027-01-01T00:00:00", num_tags=7, isopen=False, plugin_data={"harvest": {"a": 1}})
    later["resources"][0]["metadata_modified"] = "2027-01-01T00:00:00"
    later["tags"][0]["id"] = "another"
    assert record.descriptor_of(later) == record.descriptor_of(shown())
    busy, idle = (shown(type="harvest", status={"last_job": job}) for job in ("running", "finished"))
    assert record.descriptor_of(busy) == record.descriptor_of(idle)
    assert record.descriptor_of(shown(status="old")) != record.descriptor_of(shown(status="new"))  # of a form


@pytest.mark.parametrize("title", ["A", "Zoology", None])
def test_a_group_that_is_renamed_or_removed_changes_the_record_as_if_ckan_were_asked_again(title: str | None) -> None:
    organization = {**SHOWN["organization"], "title": title, "name": "new"} if title else None
    renamed = {"id": SHOWN["owner_org"], **({"name": "new", "title": title} if title else {})}
    assert regrouped(shown(), renamed) == record.descriptor_of(shown(organization=organization))

    groups = [{"id": id, "name": id, "title": f"The {id}"} for id in ("birds", "cats", "dogs")]
    renamed = {"id": "cats", **({"name": "felines", "title": title} if title else {})}
    after = [{**renamed, "display_name": title}, groups[0], groups[2]] if title else [groups[0], groups[2]]
    after.sort(key=lambda group: str(group["title"]))  # as CKAN does
    assert regrouped(shown(groups=groups), renamed) == record.descriptor_of(shown(groups=after))
    assert regrouped(shown(groups=groups), {"id": "other", "name": "x", "title": "X"}) == record.descriptor_of(
        shown(groups=groups)
    )


def regrouped(package: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    return record.regrouped(record.descriptor_of(package), group)


def test_an_older_version_is_shown_with_all_that_ckan_shows() -> None:
    old = record.package_of(record.descriptor_of(shown(notes="Old")), like=shown())
    assert set(SHOWN) <= set(old)
    assert set(SHOWN["resources"][0]) - {"datastore_active"} <= set(old["resources"][0])
    assert set(SHOWN["tags"][0]) <= set(old["tags"][0])
    assert (old["notes"], old["version"], old["groups"], old["num_resources"]) == ("Old", None, [], 1)
    assert (old["isopen"], old["creator_user_id"]) == (True, SHOWN["creator_user_id"])
    assert old["organization"] == SHOWN["organization"]
    assert old["resources"][0]["package_id"] == SHOWN["id"]


def test_an_organisation_that_the_dataset_has_left_is_shown_as_it_was() -> None:
    old = record.package_of(record.descriptor_of(shown()), like=shown(organization={"id": "other", "name": "other"}))
    assert old["organization"] == {"id": SHOWN["organization"]["id"], "name": "org1"}


def uploaded(**facts: Any) -> dict[str, Any]:
    """A dataset with an uploaded file and a link."""
    file = {**SHOWN["resources"][0], "id": OTHER, "url_type": "upload", "url": "http://ckan/a.csv", "size": 3, **facts}
    return shown(resources=[SHOWN["resources"][0], file])


def test_a_restored_resource_has_the_facts_of_the_file_that_is_there() -> None:
    old = record.descriptor_of(uploaded(description="Old", hash="1" * 32))
    now = uploaded(description="New", hash="2" * 32, size=4, last_modified="2027-01-01T00:00:00")
    [was], newest = record.uploads(old), now["resources"][1]
    assert not record.is_same_file(was, newest)
    link, file = record.restored(now, old, {OTHER: newest})["resources"]
    assert (file["description"], file["hash"], file["size"]) == ("Old", "2" * 32, 4)
    assert link["url"] == SHOWN["resources"][0]["url"]


def test_a_file_that_was_not_replaced_is_restored_as_it_was() -> None:
    old = record.descriptor_of(uploaded(description="Old"))
    [was] = record.uploads(old)
    assert record.is_same_file(was, uploaded(description="New")["resources"][1])
    assert record.restored(shown(), old, {})["resources"][1]["size"] == 3


def test_the_newest_state_of_a_resource_that_is_gone_is_that_of_the_last_version_that_has_it(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    for package in (uploaded(size=3), uploaded(size=4), shown(title="Without it"), shown(state="deleted"), shown()):
        recorder.record(package)
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    assert reader.newest_states([OTHER, "never"])[OTHER]["size"] == 4
    assert reader.newest_states([]) == {}


def test_what_is_restored_stays_where_the_dataset_is() -> None:
    old = record.descriptor_of(shown(notes="Old", name="before", private=False, owner_org="other"))
    back = record.restored(shown(private=True, title="New"), old, {})
    assert (back["name"], back["private"], back["owner_org"]) == ("ds1", True, SHOWN["owner_org"])
    assert (back["title"], back["notes"]) == ("T2", "Old")
    assert "organization" not in back


@pytest.mark.parametrize(
    ("said", "private_too", "expected"),
    [
        ({}, False, True),
        ({"state": "draft"}, True, False),
        ({"state": "deleted"}, True, False),
        ({"private": True}, False, False),
        ({"private": True}, True, True),
    ],
)
def test_which_datasets_are_recorded(said: dict[str, Any], private_too: bool, expected: bool) -> None:
    assert record.is_recorded(shown(**said), private_too=private_too) is expected


# How MetaStore is made to agree


def test_a_store_that_answers_passes_the_check_and_another_one_fails_it(recorder: Recorder, tmp_path: Path) -> None:
    recorder.check()
    recorder.record(shown())
    recorder.check()
    away = tmp_path / "file"
    away.write_text("")
    with pytest.raises(metastore.StorageUnavailable), metastore.connect(away / "store") as store:
        Recorder(store).check()


def test_the_same_state_makes_no_second_revision(store: metastore.MetaStore, recorder: Recorder) -> None:
    assert recorder.record(shown()).action == "created"
    assert recorder.record(shown(metadata_modified="2027-01-01")).action == "unchanged"
    assert recorder.record(shown(title="T3"), message="Why").action == "updated"
    assert [each.message for each in store.revision_list(PLACE)] == ["Why", "Create dataset"]


def test_text_that_python_takes_for_equal_is_a_change(recorder: Recorder) -> None:
    recorder.record(shown(extras=[{"key": "a", "value": 1}]))
    assert recorder.record(shown(extras=[{"key": "a", "value": True}])).action == "updated"


def test_a_new_name_or_organisation_changes_the_descriptor_and_not_the_id(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown())
    assert recorder.record(shown(name="new", organization={"name": "other"})).action == "updated"
    assert store.dataset_read(PLACE).descriptor["name"] == "new"
    assert [str(each) for each in store.dataset_list()] == [PLACE]


def test_a_dataset_that_was_withdrawn_comes_back_with_its_history(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown())
    assert recorder.record(shown(private=True)).action == "deleted"
    assert recorder.record(shown(private=True, name="new")).action == "unchanged"
    assert recorder.record(shown(name="new")).action == "created"
    assert [each.deleted for each in store.revision_list(PLACE)] == [False, True, False]


def test_the_message_of_a_change_that_makes_a_dataset_private_is_not_recorded(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown())
    recorder.record(shown(private=True), message="Bo's address was in it")
    assert store.revision_read(PLACE).message == "Make private"


def test_a_second_dataset_of_the_same_name_has_a_history_of_its_own(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown(title="Secret"))
    recorder.record(shown(state="deleted"))
    recorder.record(shown(id="another"))
    assert len(list(store.revision_list(recorder.id_of("another")))) == 1
    assert store.revision_read(PLACE).deleted


def test_a_dry_run_says_what_would_be_done_and_does_nothing(store: metastore.MetaStore) -> None:
    dry = Recorder(store, dry_run=True)
    assert dry.record(shown()).action == "created"
    assert list(store.dataset_list()) == []
    Recorder(store).record(shown())
    assert dry.record(shown(title="T3")).action == "updated"
    assert dry.record(shown(state="deleted")).action == "deleted"
    assert dry.purge(dry.id_of(SHOWN["id"])).action == "purged"
    assert len(list(store.revision_list(PLACE))) == 1


def test_a_purge_can_be_repeated(recorder: Recorder) -> None:
    recorder.record(shown())
    where = recorder.id_of(SHOWN["id"])
    assert [recorder.purge(where).action for _ in range(2)] == ["purged", "unchanged"]


def test_the_datasets_of_other_owners_are_left_alone(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown())
    recorder.record(shown(id=OTHER))
    recorder.record(shown(id=OTHER, state="deleted"))
    store.dataset_create("org1/elsewhere", {"id": "third", "name": "elsewhere", "resources": []})
    assert sorted(map(str, recorder.recorded())) == sorted([PLACE, f"ckan/{OTHER}"])


def test_what_is_stored_gives_ckan_the_same_dataset(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown())
    package = ckan.to_package(store.dataset_read(PLACE).descriptor)
    assert package == record.recorded(shown())


def compared(**changes: Any) -> list[tuple[str, ...]]:
    changed = differences.compared(record.descriptor_of(shown()), record.descriptor_of(shown(**changes)))
    return [(each.resource, each.field or each.extra, each.old, each.new) for each in changed]


def test_versions_are_compared_field_by_field_as_ckan_calls_them() -> None:
    assert compared(notes="New", version="", tags=[{"name": "b"}, {"name": "a"}]) == [
        ("", "notes", "n", "New"),
        ("", "tags", ["a b"], ["a", "b"]),
    ]
    assert compared(extras=[{"key": "k", "value": "w"}, {"key": "l", "value": "1"}]) == [
        ("", "k", "v", "w"),
        ("", "l", None, "1"),
    ]
    assert compared() == []


def test_another_organisation_is_one_difference() -> None:
    assert compared(owner_org="o2", organization={"id": "o2", "name": "bio", "title": "Biology"}) == [
        ("", "organization", "org1", "Biology")
    ]


def test_resources_are_compared_by_their_ids() -> None:
    first = SHOWN["resources"][0]
    second = {**first, "id": OTHER, "name": "S"}
    assert compared(resources=[{**first, "url": "http://e.x/b.csv"}, second]) == [
        ("R", "url", "http://e.x/a.csv", "http://e.x/b.csv"),
        ("", "resources", None, "S"),
    ]
    assert compared(resources=[]) == [("", "resources", "R", None)]
    both = [record.descriptor_of(shown(resources=order)) for order in ([first, second], [second, first])]
    [turned] = differences.compared(*both)
    assert (turned.old, turned.new) == (["R", "S"], ["S", "R"])


def test_a_deletion_has_no_fields() -> None:
    changed = differences.compared(record.descriptor_of(shown()), {})
    assert ("title", "T2", None) in [(each.field, each.old, each.new) for each in changed]


def test_versions_name_the_fields_that_they_changed_as_far_as_the_reader_may_see(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown(title="One"))
    recorder.record(shown(title="Two", notes="New"))
    as_private = record.descriptor_of(shown(title="Secret", notes="New", private=True))
    store.dataset_update(PLACE, as_private)
    store.dataset_update(PLACE, record.descriptor_of(shown(title="Two", notes="New", resources=[])))
    store.dataset_delete(PLACE)

    def told(*, private_too: bool) -> list[list[str]]:
        reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), None if private_too else nothing)
        return [[each["field"] for each in fields] for _, fields in reader.changes(limit=10)]

    assert told(private_too=False) == [[], ["resources"], ["title", "notes"], []]
    assert told(private_too=True) == [
        [],
        ["title", "private", "resources"],
        ["title", "private"],
        ["title", "notes"],
        [],
    ]
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), None)
    assert len(reader.changes(limit=2)) == 2
    assert reader.changes(limit=2)[1][1] != []


def test_the_history_of_a_field_is_the_versions_that_changed_it(store: metastore.MetaStore, recorder: Recorder) -> None:
    resource = {"id": "r1", "name": "All cars", "url": "https://example.org/a.csv"}
    states = [{}, {"title": "Two"}, {"title": "Two", "notes": "New"}, {"title": "Two", "resources": [resource]}]
    states += [{"title": "One", "resources": [{**resource, "url": "https://example.org/b.csv"}]}]
    for number, state in enumerate(states):
        recorder.record(shown(**state), message=str(number))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)

    def told(limit: int = 10, **names: str) -> list[str]:
        field = {"field": "", "resource": "", "extra": "", **names}
        return [revision.message for revision, _ in reader.changes(limit=limit, of=field)]

    assert told(field="title") == ["4", "1"]
    assert told(field="title", limit=1) == ["4"]
    assert told(field="notes") == ["3", "2"]
    assert told(field="url", resource="All cars") == ["4"]
    assert told(field="url") == []


def test_one_change_is_taken_out_and_later_ones_stay(store: metastore.MetaStore, recorder: Recorder) -> None:
    for said in ({"title": "One"}, {"title": "Two"}, {"title": "Two", "notes": "New"}):
        recorder.record(shown(**said))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    notes, title, first = reader.revisions(limit=3)
    now = shown(title="Two", notes="New", url="https://example.org/ahead-of-metastore")
    undone, descriptor = reader.without(title.id, record.descriptor_of(now))
    assert undone == title
    back = record.restored(now, descriptor, {})
    assert (back["title"], back["notes"], back["url"]) == ("One", "New", now["url"])
    later = record.descriptor_of(shown(title="Three", notes="New"))
    with pytest.raises(metastore.MergeConflict, match="title"):
        reader.without(title.id, later)
    assert reader.without(notes.id, later)[1].get("description") == reader.read(title.id).descriptor.get("description")
    with pytest.raises(metastore.InvalidInput, match="makes, deletes or brings back"):
        reader.without(first.id, later)


#: Changes that do not touch each other, as CKAN shows the dataset after each.
APART: list[dict[str, Any]] = [
    {"title": "Two"},
    {"notes": None},
    {"version": "2"},
    {"license_id": "cc-zero", "license_title": "CC0", "license_url": "https://example.org/cc-zero"},
    {"author": "Bo Ek", "author_email": "bo@example.org"},
    {"tags": [*SHOWN["tags"], {"name": "new", "vocabulary_id": None}]},
    {"extras": [*SHOWN["extras"], {"key": "spatial", "value": "Geneva"}]},
    {"groups": [{"id": "g", "name": "transport", "title": "Transport"}]},
    {"resources": [{**SHOWN["resources"][0], "url": "https://e.x/b.csv"}, {**SHOWN["resources"][0], "id": OTHER}]},
]


@pytest.mark.parametrize("number", range(len(APART)), ids=["-".join(each) for each in APART])
def test_what_an_undo_gives_ckan_is_the_dataset_as_if_the_change_had_not_been_made(
    store: metastore.MetaStore, recorder: Recorder, number: int
) -> None:
    recorder.record(shown())
    for last in range(len(APART)):
        recorder.record(shown(**ChainMap(*APART[: last + 1])))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    now, without = shown(**ChainMap(*APART)), shown(**ChainMap(*APART[:number], *APART[number + 1 :]))
    change = reader.revisions(limit=len(APART))[-1 - number]
    _, descriptor = reader.without(change.id, record.descriptor_of(now))
    given = {**record.restored(now, descriptor, {}), "organization": now["organization"]}
    assert record.recorded(given) == record.recorded(without)


def test_a_version_that_made_the_dataset_or_brought_it_back_is_known(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    for state in ("active", "deleted", "active"):
        recorder.record(shown(state=state))
    recorder.record(shown(title="New"))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    newest, back, gone, first = (reader.made(each.id) for each in reader.revisions(limit=4))
    assert (newest, gone) == (None, None)
    assert back == first == record.descriptor_of(shown())


def test_versions_are_summed_up_and_graded_as_far_as_the_reader_may_see(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown(title="One"))
    store.dataset_update(PLACE, record.descriptor_of(shown(title="Secret", private=True)))
    store.dataset_update(PLACE, record.descriptor_of(shown(title="One", resources=[])))
    store.dataset_update(PLACE, record.descriptor_of(shown(title="Two", resources=[])))
    store.dataset_delete(PLACE)
    assert len(SHOWN["resources"]) == 1
    public, private = (versions.Versions(store, recorder.id_of(SHOWN["id"]), each) for each in (nothing, None))
    removed = ("1 resource removed", "major")
    assert public.summaries(limit=10) == [("", ""), ("title changed", "patch"), removed, ("", "")]
    assert public.summaries(limit=2) == [("", ""), ("title changed", "patch")]
    assert [summary for summary, _ in private.summaries(limit=10)] == [
        "",
        "title changed",
        "1 resource removed; title and private changed",
        "title and private changed",
        "",
    ]


def test_what_has_changed_again_since_a_change_is_named_field_by_field(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    for said in ({"title": "One"}, {"title": "Two", "notes": "New"}):
        recorder.record(shown(**said))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    again = reader.changed_again(reader.newest().id, record.descriptor_of(shown(title="Three", notes="New", url="x")))
    assert [(each.field, each.old, each.new) for each in again] == [("title", "Two", "Three")]


def test_a_version_knows_its_neighbours_that_a_reader_may_see(store: metastore.MetaStore, recorder: Recorder) -> None:
    recorder.record(shown(title="One"))
    store.dataset_update(PLACE, record.descriptor_of(shown(title="Secret", private=True)))
    recorder.record(shown(title="Three"))
    recorder.record(shown(state="deleted"))
    recorder.record(shown(title="Four"))

    def titles(*, private_too: bool) -> list[tuple[str | None, ...]]:
        reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), None if private_too else nothing)
        living = [each.id for each in reader.revisions(limit=9) if not each.deleted]
        beside = [(older, each, newer) for each in living for older, newer in [reader.beside(each)]]
        return [tuple(each and reader.read(each).descriptor["title"] for each in row) for row in beside]

    assert titles(private_too=False) == [("Three", "Four", None), ("One", "Three", "Four"), (None, "One", "Three")]
    assert titles(private_too=True)[1] == ("Secret", "Three", "Four")


def test_private_states_of_another_organisation_and_their_tags_do_not_exist_for_members_of_the_new_one(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    for owner_org, title in [("physics", "Secret"), ("biology", "Clean")]:
        descriptor = record.descriptor_of(shown(title=title, owner_org=owner_org, private=True))
        (store.dataset_update if title == "Clean" else store.dataset_create)(PLACE, descriptor)
    newest, hidden = (revision.id for revision in store.revision_list(PLACE))
    store.tag_create(PLACE, "draft", hidden)
    for reader, seen_ids in [("biology", [newest]), ("physics", [hidden]), ("", [])]:
        theirs = versions.Versions(store, recorder.id_of(SHOWN["id"]), reader.__eq__)
        assert [revision.id for revision in theirs.revisions(limit=9)] == seen_ids
    biology = versions.Versions(store, recorder.id_of(SHOWN["id"]), "biology".__eq__)
    assert [revision.id for revision in biology.revisions(newest, limit=9)] == [newest]
    assert biology.revisions(hidden, limit=9) == []
    for call in (
        lambda name: biology.revisions(name, limit=9),
        lambda name: biology.revisions(f"{name}~1", limit=9),
        lambda name: biology.read(f"{name}~1"),
        lambda name: biology.tag_create("mine", name),
        lambda name: biology.tag_update(name, new_name="mine"),
        lambda name: biology.tag_update("mine", revision=name),
        biology.tag_delete,
        biology.tag,
        biology.diff,
    ):
        told = []
        for name in ("draft", "never"):
            with pytest.raises(metastore.NotFound) as refused:
                call(name)
            told.append(str(refused.value).replace(name, "TAG"))
        assert told[0] == told[1]
    assert biology.tag_create("mine", newest).revision == newest
    with pytest.raises(metastore.RevisionNotFound):
        biology.tag_update("mine", revision=hidden)
    assert [tag.name for tag in biology.tags()] == ["mine"]


def test_the_deletion_of_a_private_dataset_is_for_those_who_could_see_it(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    store.dataset_create(PLACE, record.descriptor_of(shown(owner_org="physics", private=True)))
    store.dataset_delete(PLACE)
    for reader, count in (("physics", 2), ("biology", 0)):
        theirs = versions.Versions(store, recorder.id_of(SHOWN["id"]), reader.__eq__)
        assert len(theirs.revisions(limit=9)) == count


def test_what_is_no_descriptor_is_hidden_and_hides_no_other_version(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown())
    [revision] = store.revision_list(PLACE)
    store.storage.append(recorder.id_of(SHOWN["id"]), {"datapackage.json": b"["}, pushed(), parent=revision.id)
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    assert [each.id for each in reader.revisions(limit=9)] == [revision.id]


def test_the_rest_of_a_private_dataset_that_waited_is_no_version_where_private_ones_are_recorded(
    store: metastore.MetaStore,
) -> None:
    waited = record.kept(shown(private=True), private_too=False)
    assert Recorder(store, private_too=True).record(waited).action == "unchanged"
    assert list(store.dataset_list()) == []


def test_a_form_recognises_a_change_of_what_it_shows_and_of_nothing_else() -> None:
    opened, [resource] = shown(), SHOWN["resources"]

    def digests(**changes: Any) -> list[str]:
        return [seen.digest(record.recorded(shown(**changes)), which) for which in ("", resource["id"])]

    dataset, file = digests()
    added = [resource, {**resource, "id": OTHER}]
    assert digests(resources=added, groups=[{"name": "g"}], metadata_modified="2027-01-01") == [dataset, file]
    assert digests(title="New") != [dataset, file]
    assert digests(title="New")[1] == file
    described = [{**resource, "description": "New"}]
    assert digests(resources=described)[0] == dataset
    assert digests(resources=described)[1] != file
    old, now = record.descriptor_of(opened), shown(title="New", resources=described)
    assert [(each.field, each.new) for each in seen.changes(old, now)] == [("title", "New")]
    changed = seen.changes(old, now, resource["id"])
    assert [(each.field, each.resource, each.new) for each in changed] == [("description", "R", "New")]


def test_the_versions_after_the_one_that_a_form_shows_are_found(store: metastore.MetaStore, recorder: Recorder) -> None:
    for title in ("One", "Two", "Three"):
        recorder.record(shown(title=title))
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), None)
    newer, opened = reader.after(seen.digest(record.recorded(shown(title="One"))), "", limit=9)
    assert ([each.id for each in newer], opened["title"]) == ([each.id for each in reader.revisions(limit=2)], "One")
    with pytest.raises(metastore.RevisionNotFound):
        reader.after(seen.digest(record.recorded(shown(title="One"))), "", limit=2)


def test_a_change_that_a_reader_may_not_see_is_not_undone_nor_told(
    store: metastore.MetaStore, recorder: Recorder
) -> None:
    recorder.record(shown(title="One"))
    hidden = store.dataset_update(PLACE, record.descriptor_of(shown(title="Secret", private=True))).revision
    shown_again = store.dataset_update(PLACE, record.descriptor_of(shown(title="Public"))).revision
    reader = versions.Versions(store, recorder.id_of(SHOWN["id"]), nothing)
    for revision in (hidden, shown_again):
        with pytest.raises(metastore.RevisionNotFound):
            reader.without(revision.id, record.descriptor_of(shown(title="Public")))


@pytest.mark.parametrize(
    ("label", "description", "tag"),
    [
        ("v1.0", "First", ("v1.0", "First")),
        ("Version 1.0", "", ("Version-1.0", "Version 1.0")),
        ("Größe / 2024", "Checked", ("Groe-2024", "Größe / 2024: Checked")),
        ("版本", "", ("版本", "版本")),  # the action says what is wrong with it
    ],
)
def test_a_label_that_is_no_tag_becomes_one_and_stays_readable(
    label: str, description: str, tag: tuple[str, str]
) -> None:
    assert versions.tag_of(label, description) == tag


# Patience, and tokens


def test_a_call_is_waited_for_and_its_error_is_handed_on() -> None:
    assert within(60, lambda: None) is None
    with pytest.raises(metastore.Conflict, match="no"):
        within(60, lambda: (_ for _ in ()).throw(metastore.Conflict("no")))


def test_a_call_that_takes_too_long_is_given_up() -> None:
    go_on = threading.Event()
    try:
        with pytest.raises(metastore.StorageUnavailable, match=r"0\.01 seconds"):
            within(0.01, lambda: go_on.wait(60))
    finally:
        go_on.set()


def test_a_metastore_that_did_not_answer_is_not_asked_again_for_a_while() -> None:
    now, asked = [0.0], []

    def fail() -> None:
        asked.append(now[0])
        raise metastore.StorageUnavailable("away")

    breaker = Breaker(pause=5, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 4.9, 5.0, 6.0):
        with pytest.raises(metastore.StorageUnavailable):
            breaker.call("one", 60, fail)
    assert asked == [0.0, 5.0]
    assert breaker.call("another", 60, lambda: "answer") == "answer"
    now[0] = 11.0
    assert breaker.call("one", 60, lambda: "answer") == "answer"


def test_an_error_that_metastore_answers_opens_no_breaker() -> None:
    breaker = Breaker()
    for _ in range(2):
        with pytest.raises(metastore.Conflict):
            breaker.call("one", 60, lambda: (_ for _ in ()).throw(metastore.Conflict("no")))


def test_tokens_say_who_and_are_believed_for_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    now = time.time()
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now))
    signer = tokens.Signer(pem, "https://portal.example.org")
    token = signer.token_for("ann", ANN)
    assert signer.token_for("ann", ANN) == token
    portal = jwt.decode(signer.token_for("", metastore.Author("CKAN")), key.public_key(), algorithms=["RS256"])
    assert portal["scopes"].endswith(",import")
    claims = jwt.decode(token, key.public_key(), algorithms=["RS256"], issuer="https://portal.example.org")
    assert (claims["sub"], claims["scopes"]) == ("ann", tokens.SCOPES)
    assert (claims["name"], claims["email"]) == (ANN.name, ANN.email)
    assert 0 < claims["exp"] - claims["nbf"] <= 2000
    # A command that runs for hours asks again and again.
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now + tokens.USED))
    later = jwt.decode(signer.token_for("ann", ANN), options={"verify_signature": False})
    assert later["nbf"] == claims["nbf"] + tokens.USED
    assert claims["exp"] - later["nbf"] >= tokens.LIFE  # what began with the first one does not fail
