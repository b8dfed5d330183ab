"""Each change of a dataset in CKAN becomes one revision, by whom and why."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import ckan.tests.helpers as helpers
import pytest
from conftest import act, messages, new_dataset, new_organization, place

import metastore

Package = dict[str, Any]
Store = metastore.Store


def test_a_new_dataset_is_recorded_with_its_author(store: Store, cars: Package) -> None:
    dataset = store.dataset_read(place(cars))
    assert dataset.descriptor["title"] == "Cars"
    assert dataset.descriptor["id"] == cars["id"]
    assert dataset.descriptor["keywords"] == ["traffic"]
    assert dataset.descriptor["resources"][0]["path"] == "https://example.org/cars.csv"
    assert dataset.descriptor["resources"][0]["id"] == cars["resources"][0]["id"]
    assert dataset.revision.author == metastore.Author("Ann Lee", "ann")
    assert dataset.revision.message == "Create dataset"


def test_a_dataset_without_organisation_or_resources_is_recorded(store: Store, ann: Package) -> None:
    made = act("package_create", "ann", name=new_dataset({"name": ""})["name"])
    assert store.dataset_read(place(made)).descriptor["resources"] == []


def test_a_change_is_recorded_with_its_reason(store: Store, cars: Package) -> None:
    changed = act("package_patch", "ann", id=cars["id"], title="All cars", metastore_message="Say that it is all")
    assert "metastore_message" not in changed
    assert messages(store, place(cars)) == ["Say that it is all", "Create dataset"]
    assert store.dataset_read(place(cars)).descriptor["title"] == "All cars"


def test_changes_of_resources_are_recorded_with_their_reason(store: Store, cars: Package) -> None:
    said = {"package_id": cars["id"], "url": "https://example.org/b.csv", "name": "B"}
    made = act("resource_create", "ann", **said, metastore_message="Add B")
    act("resource_patch", "ann", id=made["id"], description="The second", metastore_message="Describe B")
    act("resource_delete", "ann", id=made["id"])
    assert messages(store, place(cars)) == ["Update dataset", "Describe B", "Add B", "Create dataset"]
    assert [each["name"] for each in store.dataset_read(place(cars)).descriptor["resources"]] == ["all-cars"]
    older = store.dataset_read(place(cars), list(store.revision_list(place(cars)))[1].id)
    assert [each.get("description") for each in older.descriptor["resources"]] == [None, "The second"]
    assert "metastore_message" not in str(older.descriptor)


def test_saving_the_same_again_makes_no_revision(store: Store, cars: Package) -> None:
    act("package_update", "ann", **cars)
    act("package_patch", "ann", id=cars["id"])
    assert messages(store, place(cars)) == ["Create dataset"]


def test_a_renamed_dataset_keeps_its_history(store: Store, cars: Package) -> None:
    act("dataset_tag_create", "ann", id=cars["id"], tag="v1")
    renamed = act("package_patch", "ann", id=cars["id"], name=cars["name"] + "-new")
    assert [each["message"] for each in act("dataset_revision_list", id=cars["id"])] == [
        "Update dataset",
        "Create dataset",
    ]
    assert act("dataset_tag_show", id=renamed["name"], tag="v1")["name"] == "v1"
    assert store.dataset_read(place(cars)).descriptor["name"] == renamed["name"]


def test_a_transferred_dataset_keeps_its_history(store: Store, cars: Package) -> None:
    biology, chemistry = new_organization("Biology"), new_organization("Chemistry")
    act("package_patch", "ann", id=cars["id"], owner_org=biology["id"])
    assert len(messages(store, place(cars))) == 2
    act("package_owner_org_update", factories.Sysadmin()["name"], id=cars["id"], organization_id=chemistry["id"])
    assert messages(store, place(cars))[0] == "Change the organisation"


def test_the_datasets_of_a_renamed_organisation_follow_it(store: Store, cars: Package) -> None:
    organization = cars["organization"]
    act("organization_patch", "ann", id=organization["id"], name=organization["name"] + "-new")
    assert len(messages(store, place(cars))) == 2
    assert len(act("dataset_revision_list", id=cars["id"])) == 2


@pytest.mark.parametrize("action", ["organization_delete", "organization_purge"])
def test_the_datasets_of_a_removed_organisation_are_recorded(store: Store, cars: Package, action: str) -> None:
    act(action, factories.Sysadmin()["name"], id=cars["organization"]["id"])
    # CKAN 2.12 makes each of them an update of its own.
    assert messages(store, place(cars))[0] in ("Remove the organisation", "Update dataset")
    assert "organization" not in store.dataset_read(place(cars)).descriptor["ckan"]


@pytest.mark.parametrize(
    ("action", "change", "titles"),
    [("group_patch", {"title": "New"}, ["New"]), ("group_delete", {}, []), ("group_purge", {}, [])],
)
def test_the_datasets_of_a_changed_group_are_recorded(
    store: Store, cars: Package, action: str, change: Package, titles: list[str]
) -> None:
    group = factories.Group(users=[{"name": "ann", "capacity": "admin"}])
    act("member_create", "ann", id=group["id"], object=cars["id"], object_type="package", capacity="public")
    act(action, factories.Sysadmin()["name"], id=group["id"], **change)
    groups = store.dataset_read(place(cars)).descriptor["ckan"].get("groups", [])
    assert [each["title"] for each in groups] == titles


def test_a_name_that_begins_with_a_hyphen_is_recorded(store: Store, cars: Package) -> None:
    act("package_patch", "ann", id=cars["id"], name=f"-{cars['name']}")
    assert store.dataset_read(place(cars)).descriptor["name"] == f"-{cars['name']}"


def test_a_deleted_dataset_keeps_its_history_and_comes_back(store: Store, cars: Package) -> None:
    act("package_delete", "ann", id=cars["id"])
    with pytest.raises(metastore.DatasetDeleted):
        store.dataset_read(place(cars))
    assert messages(store, place(cars)) == ["Delete dataset", "Create dataset"]
    act("package_patch", "ann", id=cars["id"], state="active")
    assert messages(store, place(cars)) == ["Update dataset", "Delete dataset", "Create dataset"]


def test_a_purged_dataset_is_purged(store: Store, cars: Package) -> None:
    act("package_delete", "ann", id=cars["id"])
    act("dataset_purge", factories.Sysadmin()["name"], id=cars["id"])
    with pytest.raises(metastore.DatasetNotFound) as gone:
        store.revision_read(place(cars))
    assert type(gone.value) is metastore.DatasetNotFound


def test_bulk_changes_are_recorded(store: Store, physics: Package) -> None:
    made = [act("package_create", "ann", **new_dataset(physics)) for _ in range(2)]
    said = {"datasets": [each["id"] for each in made], "org_id": physics["id"]}
    act("bulk_update_private", "ann", **said)
    assert [messages(store, place(each))[0] for each in made] == ["Make private"] * 2
    act("bulk_update_public", "ann", **said)
    # CKAN 2.12 makes each of them an update of its own, and says no more.
    assert {messages(store, place(each))[0] for each in made} <= {"Make public", "Update dataset"}
    assert len(list(store.dataset_list())) == 2
    act("bulk_update_delete", "ann", **said)
    assert list(store.dataset_list()) == []
    assert len(list(store.dataset_list(deleted=True))) == 2


def test_groups_are_recorded(store: Store, cars: Package) -> None:
    group = factories.Group(users=[{"name": "ann", "capacity": "admin"}])
    said = {"id": group["id"], "object": cars["id"], "object_type": "package"}
    act("member_create", "ann", **said, capacity="public")
    assert store.dataset_read(place(cars)).descriptor["ckan"]["groups"][0]["name"] == group["name"]
    act("member_delete", "ann", **said)
    assert messages(store, place(cars)) == ["Take out of a group", "Put into a group", "Create dataset"]


@pytest.mark.parametrize("action", ["member_create", "member_delete"])
def test_a_call_that_lacks_a_field_is_refused_as_ckan_does_it(cars: Package, action: str) -> None:
    said = {"id": factories.Group()["id"], "object": cars["id"], "object_type": "package", "capacity": "public"}
    for field in ("id", "object", "object_type"):
        with pytest.raises(tk.ValidationError):
            helpers.call_action(action, **{name: value for name, value in said.items() if name != field})


def test_a_call_without_an_id_is_refused_as_ckan_does_it(cars: Package) -> None:
    with pytest.raises(tk.ObjectNotFound):
        helpers.call_action("package_owner_org_update", organization_id=cars["owner_org"])
    with pytest.raises(tk.ValidationError):
        helpers.call_action("resource_update", url="https://example.org/b.csv", metastore_seen="0" * 64)


def test_drafts_and_private_datasets_are_not_recorded(store: Store, physics: Package) -> None:
    draft = act("package_create", "ann", **new_dataset(physics), state="draft")
    private = act("package_create", "ann", **new_dataset(physics), private=True)
    assert list(store.dataset_list(deleted=None)) == []
    act("package_patch", "ann", id=draft["id"], state="active")
    act("package_patch", "ann", id=private["id"], private=False)
    assert len(list(store.dataset_list())) == 2


def test_a_dataset_that_becomes_private_is_withdrawn(store: Store, cars: Package) -> None:
    act("package_patch", "ann", id=cars["id"], private=True, title="Secret")
    assert list(store.dataset_list()) == []
    act("package_patch", "ann", id=cars["id"], name=cars["name"] + "-new")
    shown = act("package_patch", "ann", id=cars["id"], private=False, title="Not secret")
    history = list(store.revision_list(place(shown)))
    assert len(history) >= 3
    assert "Secret" not in {
        store.dataset_read(place(shown), each.id).descriptor["title"] for each in history if not each.deleted
    }


@pytest.mark.ckan_config("ckanext.metastore.private_datasets", True)
def test_private_datasets_are_recorded_if_wanted(store: Store, physics: Package) -> None:
    private = act("package_create", "ann", **new_dataset(physics), private=True)
    assert store.dataset_read(place(private)).descriptor["ckan"]["private"] is True


@pytest.mark.ckan_config("ckanext.metastore.author_emails", True)
def test_addresses_of_authors_are_recorded_if_wanted(store: Store, cars: Package) -> None:
    assert store.dataset_read(place(cars)).revision.author.email == "ann@example.org"


def test_what_ckan_refuses_is_not_recorded(store: Store, cars: Package) -> None:
    with pytest.raises(tk.ValidationError):
        act("package_patch", "ann", id=cars["id"], name="Not A Name")
    assert messages(store, place(cars)) == ["Create dataset"]
