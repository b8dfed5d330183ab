"""Versions by CKAN's API: list, show, compare, restore, tag; and who may do what."""

from __future__ import annotations

from typing import Any

import ckan.authz as authz
import ckan.plugins.toolkit as tk
import pytest
from conftest import act, messages, new_dataset, place

import metastore

Package = dict[str, Any]
Store = metastore.Store


@pytest.fixture
def twice(cars: Package) -> Package:
    """A dataset in three versions, the first of them tagged."""
    act("dataset_tag_create", "ann", id=cars["id"], tag="v1", description="As published")
    gone = cars["resources"][0]["id"]
    other = {"name": "Other", "url": "https://example.org/other.csv"}
    act(
        "package_patch",
        "ann",
        id=cars["id"],
        title="All cars",
        tags=[],
        extras=[],
        resources=[other],
        metastore_message="Replace the data",
    )
    return {**act("package_patch", "ann", id=cars["id"], notes="Everybody"), "gone": gone}


def test_versions_are_listed_with_their_tags_and_in_pages(twice: Package) -> None:
    listed = act("dataset_revision_list", id=twice["name"])
    assert [(each["message"], each["tags"]) for each in listed] == [
        ("Update dataset", []),
        ("Replace the data", []),
        ("Create dataset", ["v1"]),
    ]
    page = act("dataset_revision_list", id=twice["name"], limit="1")
    assert page == listed[:1]
    assert act("dataset_revision_list", id=twice["name"], revision=page[-1]["parent"]) == listed[1:]
    with pytest.raises(tk.ValidationError):
        act("dataset_revision_list", id=twice["name"], limit="many")


def test_versions_are_summed_up_and_graded_if_that_is_asked_for(twice: Package) -> None:
    listed = act("dataset_revision_list", id=twice["id"], summary="true")
    newest, middle, first = listed
    assert (newest["summary"], newest["grade"]) == ("description changed", "patch")
    assert (first["summary"], first["grade"]) == ("", "")
    diff = act("dataset_revision_diff", id=twice["id"], **{"from": first["id"], "to": middle["id"]})
    assert (middle["summary"], middle["grade"]) == (diff["summary"], "major")
    page = act("dataset_revision_list", id=twice["id"], summary=True, fields=True, revision=middle["id"], limit=1)
    assert [(each["summary"], each["grade"]) for each in page] == [(middle["summary"], "major")]
    assert "title" in [each["field"] for each in page[0]["fields"]]
    assert not any("summary" in each for each in act("dataset_revision_list", id=twice["id"]))


def test_a_dataset_is_shown_as_it_was(cars: Package, twice: Package) -> None:
    old = act("package_show", id=twice["id"], revision="v1")
    assert (set(old), set(old["resources"][0])) == (set(cars), set(cars["resources"][0]))
    for member in ("id", "name", "title", "notes", "owner_org", "extras", "private", "type"):
        assert old[member] == cars[member]
    assert [each["name"] for each in old["tags"]] == ["traffic"]
    assert old["resources"][0]["url"] == "https://example.org/cars.csv"
    assert act("package_show", id=twice["id"])["title"] == "All cars"
    shown = act("dataset_revision_show", id=twice["id"], revision="v1")
    assert shown["package"] == old
    assert shown["descriptor"]["keywords"] == ["traffic"]


def test_a_resource_is_shown_as_it_was_even_if_it_is_gone(twice: Package) -> None:
    old = act("resource_show", id=twice["gone"], revision="v1", package_id=twice["id"])
    assert old["url"] == "https://example.org/cars.csv"
    with pytest.raises(tk.ObjectNotFound):
        act(
            "resource_show",
            id=twice["gone"],
            package_id=twice["id"],
            revision=act("dataset_revision_list", id=twice["id"])[0]["id"],
        )
    now = twice["resources"][0]["id"]
    assert act("resource_show", id=now)["name"] == "Other"
    assert act("resource_show", id=now, revision="HEAD")["name"] == "Other"


def test_versions_are_compared_in_words(twice: Package) -> None:
    diff = act("dataset_revision_diff", id=twice["id"], **{"from": "v1"})
    texts = [each["text"] for each in diff["changes"]]
    assert "title changed: 'Cars' → 'All cars'" in texts
    assert any(text.startswith("resource all-cars removed") for text in texts)
    fields = [(each["resource"], each["field"], each["old"], each["new"]) for each in diff["fields"]]
    assert ("", "title", "Cars", "All cars") in fields
    assert ("", "resources", "All cars", None) in fields
    assert diff["old"]["message"] == "Create dataset"
    assert not any("metadata_modified" in text for text in texts)


def test_an_older_version_is_restored_in_ckan_and_recorded(store: Store, cars: Package, twice: Package) -> None:
    back = act("dataset_revert", "ann", id=twice["id"], revision="v1", message="It was right")
    for member in ("id", "name", "title", "notes", "owner_org", "extras"):
        assert back[member] == cars[member]
    assert [each["name"] for each in back["tags"]] == ["traffic"]
    assert [(each["id"], each["url"]) for each in back["resources"]] == [
        (each["id"], each["url"]) for each in cars["resources"]
    ]
    assert messages(store, place(cars))[0] == "It was right"
    diff = act("dataset_revision_diff", id=cars["id"], **{"from": "v1"})
    assert diff["changes"] == []


def test_a_restored_dataset_stays_where_it_is(store: Store, cars: Package, twice: Package) -> None:
    act("package_patch", "ann", id=cars["id"], name=cars["name"] + "-new")
    back = act("dataset_revert", "ann", id=cars["id"], revision="v1")
    assert back["name"] == cars["name"] + "-new"
    assert back["title"] == "Cars"
    assert messages(store, place(back))[0].startswith("Restore version ")


def test_one_change_is_undone_in_ckan_and_recorded(store: Store, cars: Package) -> None:
    act("package_patch", "ann", id=cars["id"], title="All cars")
    [change] = act("dataset_revision_list", id=cars["id"], limit=1)
    act("package_patch", "ann", id=cars["id"], notes="More of them")
    back = act("dataset_undo", "ann", id=cars["id"], revision=change["id"])
    assert (back["title"], back["notes"]) == (cars["title"], "More of them")
    assert [each["id"] for each in back["resources"]] == [each["id"] for each in cars["resources"]]
    assert messages(store, place(cars))[0] == f"Undo version {change['id'][:12]}"
    act("package_patch", "ann", id=cars["id"], title="Other cars")
    with pytest.raises(tk.ValidationError, match="stands in the way"):
        act("dataset_undo", "ann", id=cars["id"], revision=change["id"])


def test_to_undo_the_version_that_made_a_dataset_is_to_delete_it(store: Store, cars: Package) -> None:
    [first] = act("dataset_revision_list", id=cars["id"])
    assert act("dataset_revision_show", id=cars["id"])["creates"]
    gone = act("dataset_undo", "ann", id=cars["id"], revision=first["id"])
    assert (gone["id"], gone["state"]) == (cars["id"], "deleted")
    assert act("package_show", "ann", id=cars["id"])["state"] == "deleted"
    assert messages(store, place(cars)) == ["Delete dataset", "Create dataset"]
    with pytest.raises(tk.ValidationError, match="Nothing is left of this change to undo"):
        act("dataset_undo", "ann", id=cars["id"], revision=first["id"])
    act("package_patch", "ann", id=cars["id"], state="active")
    act("dataset_undo", "ann", id=cars["id"], revision="HEAD")  # what brought it back
    assert act("package_show", "ann", id=cars["id"])["state"] == "deleted"
    assert messages(store, place(cars))[:2] == ["Delete dataset", "Update dataset"]


def test_a_dataset_with_a_later_change_is_not_deleted_by_an_undo(store: Store, cars: Package) -> None:
    [first] = act("dataset_revision_list", id=cars["id"])
    act("package_patch", "ann", id=cars["id"], title="All cars")
    with pytest.raises(tk.ValidationError, match="It changed again: Title"):
        act("dataset_undo", "ann", id=cars["id"], revision=first["id"])
    assert act("package_show", id=cars["id"])["state"] == "active"
    act("package_patch", "ann", id=cars["id"], title=cars["title"])
    act("dataset_undo", "ann", id=cars["id"], revision=first["id"])
    assert messages(store, place(cars))[0] == "Delete dataset"


def test_who_may_change_but_not_delete_a_dataset_does_not_delete_it_by_an_undo(
    cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(authz._AuthFunctions._functions, "package_delete", lambda *_: {"success": False})
    with pytest.raises(tk.NotAuthorized):
        act("dataset_undo", "ann", id=cars["id"], revision="HEAD")
    assert act("package_show", id=cars["id"])["state"] == "active"


def test_tags_are_made_changed_and_removed(twice: Package) -> None:
    assert act("dataset_tag_show", id=twice["id"], tag="v1")["description"] == "As published"
    newest = act("dataset_revision_list", id=twice["id"])[0]["id"]
    act("dataset_tag_update", "ann", id=twice["id"], tag="v1", new_tag="v2", revision=newest, description="")
    [tag] = act("dataset_tag_list", id=twice["id"])
    assert (tag["name"], tag["revision"], tag["description"], tag["author"]["name"]) == ("v2", newest, "", "Ann Lee")
    act("dataset_tag_delete", "ann", id=twice["id"], tag="v2", message="A mistake")
    assert act("dataset_tag_list", id=twice["id"]) == []


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("dataset_revert", {"revision": "HEAD"}),
        ("dataset_undo", {"revision": "HEAD"}),
        ("dataset_tag_create", {"tag": "v9"}),
        ("dataset_tag_update", {"tag": "v1", "new_tag": "v9"}),
        ("dataset_tag_delete", {"tag": "v1"}),
    ],
)
@pytest.mark.parametrize("who", ["bob", None])
def test_who_may_not_change_a_dataset_may_not_restore_or_tag_it(
    twice: Package, bob: Package, action: str, said: dict[str, str], who: str | None
) -> None:
    with pytest.raises(tk.NotAuthorized):
        act(action, who, id=twice["id"], **said)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("dataset_revision_list", {}),
        ("dataset_revision_show", {}),
        ("dataset_revision_diff", {"from": "v1"}),
        ("dataset_tag_list", {}),
        ("dataset_tag_show", {"tag": "v1"}),
        ("package_show", {"revision": "v1"}),
    ],
)
def test_who_may_not_see_a_dataset_may_not_see_its_versions(
    twice: Package, bob: Package, action: str, said: dict[str, str]
) -> None:
    assert act(action, "bob", id=twice["id"], **said) is not None
    act("package_patch", "ann", id=twice["id"], private=True)
    for who in ("bob", None):
        with pytest.raises(tk.NotAuthorized):
            act(action, who, id=twice["id"], **said)


@pytest.mark.parametrize("revision", ["nothing", "0" * 40, "../x", "v1 ", "HEAD~99"])
def test_a_version_that_is_not_there_is_not_found(twice: Package, revision: str) -> None:
    with pytest.raises(tk.ObjectNotFound):
        act("package_show", id=twice["id"], revision=revision)


def test_wrong_input_is_said_to_be_wrong(twice: Package) -> None:
    for wrong in ("main", "a b", "x" * 200):
        with pytest.raises(tk.ValidationError):
            act("dataset_tag_create", "ann", id=twice["id"], tag=wrong)
    with pytest.raises(tk.ValidationError):
        act("dataset_tag_create", "ann", id=twice["id"], tag="v1")
    with pytest.raises(tk.ObjectNotFound):
        act("dataset_tag_show", id=twice["id"], tag="v8")
    with pytest.raises(tk.ObjectNotFound):
        act("dataset_revision_list", id="nothing-here")
    with pytest.raises(tk.ValidationError):
        act("dataset_revision_list")
    for wrong in ({"fields": "perhaps"}, {"summary": "perhaps"}, {"revision": 5}):
        with pytest.raises(tk.ValidationError):
            act("dataset_revision_list", id=twice["id"], **wrong)


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", 5, ["a"]])
def test_an_id_that_postgresql_cannot_be_asked_for_is_an_error_of_that_field(twice: Package, wrong: Any) -> None:
    """CKAN's own `package_show` answers 500."""
    for field, action, said in [
        ("id", "dataset_revision_list", {"id": wrong}),
        ("id", "dataset_tag_create", {"id": wrong, "tag": "v2"}),
        ("id", "package_show", {"id": wrong, "revision": "v1"}),
        ("name_or_id", "package_show", {"name_or_id": wrong, "revision": "v1"}),
        ("id", "resource_show", {"id": wrong, "revision": "v1"}),
        ("id", "resource_show", {"package_id": twice["id"], "revision": "v1"}),
        ("package_id", "resource_show", {"id": twice["gone"], "revision": "v1", "package_id": wrong}),
    ]:
        with pytest.raises(tk.ValidationError) as refused:
            act(action, "ann", **said)
        assert field in refused.value.error_dict


def test_a_dataset_without_a_record_has_no_versions(physics: Package) -> None:
    draft = act("package_create", "ann", **new_dataset(physics), state="draft")
    with pytest.raises(tk.ObjectNotFound):
        act("dataset_revision_list", "ann", id=draft["id"])


def test_reading_may_be_asked_by_get_and_writing_may_not(app: Any, twice: Package) -> None:
    for action, said in [
        ("dataset_revision_list", ""),
        ("dataset_revision_show", "&revision=v1"),
        ("dataset_revision_diff", "&from=v1"),
        ("dataset_tag_list", ""),
        ("dataset_tag_show", "&tag=v1"),
        ("package_show", "&revision=v1"),
    ]:
        answer = app.get(f"/api/3/action/{action}?id={twice['id']}{said}")
        assert answer.status_code == 200
        assert answer.json["success"]
    for action in ("dataset_revert", "dataset_undo", "dataset_tag_create", "dataset_tag_update", "dataset_tag_delete"):
        assert app.get(f"/api/3/action/{action}?id={twice['id']}&tag=v1&revision=v1").status_code == 400
