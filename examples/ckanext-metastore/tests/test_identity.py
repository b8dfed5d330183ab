"""A name that is used again leads to no other dataset's versions, and private versions stay private."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
import sqlalchemy as sa
from ckan import model
from conftest import act, new_dataset, place

import metastore

Package = dict[str, Any]


@pytest.mark.parametrize("way", ["private", "deleted", "purged"])
def test_a_name_that_is_used_again_shows_nothing_of_the_dataset_before(
    store: metastore.Store, cars: Package, way: str
) -> None:
    act("dataset_tag_create", "ann", id=cars["id"], tag="v1", description="Secret")
    if way == "purged":
        act("dataset_purge", factories.Sysadmin()["name"], id=cars["id"])
    else:
        change = {"private": True} if way == "private" else {"state": "deleted"}
        act("package_patch", "ann", id=cars["id"], **change)
        act("package_patch", "ann", id=cars["id"], name=cars["name"] + "-old")
    again = act("package_create", "ann", **{**new_dataset(cars["organization"], title="New"), "name": cars["name"]})
    [only] = act("dataset_revision_list", id=cars["name"])
    assert act("dataset_revision_show", id=cars["name"], revision=only["id"])["package"]["title"] == "New"
    assert act("dataset_tag_list", id=cars["name"]) == []
    assert store.dataset_read(place(again)).descriptor["id"] == again["id"]


def test_a_name_that_passes_to_a_private_dataset_after_the_check_shows_nothing_of_it(
    cars: Package, physics: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = act("package_create", "ann", **new_dataset(physics, title="Hidden"))
    act("package_patch", "ann", id=hidden["id"], private=True)
    check = tk.check_access

    def check_and_swap(action: str, context: Any, data_dict: Any = None) -> Any:
        allowed = check(action, context, data_dict)
        if action == "dataset_revision_list":
            for uuid, name in [(cars["id"], f"{cars['name']}-old"), (hidden["id"], cars["name"])]:
                rename = sa.update(model.Package.__table__).where(model.Package.id == uuid).values(name=name)
                model.Session.execute(rename)
            model.Session.commit()
        return allowed

    monkeypatch.setattr(tk, "check_access", check_and_swap)
    [only] = act("dataset_revision_list", id=cars["name"])
    assert act("dataset_revision_show", id=cars["id"], revision=only["id"])["package"]["title"] == "Cars"


@pytest.mark.ckan_config("ckanext.metastore.private_datasets", True)
def test_versions_of_a_private_time_in_another_organisation_are_for_its_members(physics: Package, bob: Package) -> None:
    biology = factories.Organization(users=[{"name": each, "capacity": "editor"} for each in ("ann", "bob")])
    moved = act("package_create", "ann", **new_dataset(physics, title="Secret"), private=True)
    act("package_patch", "ann", id=moved["id"], title="Clean", owner_org=biology["id"])
    assert len(act("dataset_revision_list", "ann", id=moved["id"])) == 2
    [only] = act("dataset_revision_list", "bob", id=moved["id"])
    assert act("package_show", "bob", id=moved["id"], revision=only["id"])["title"] == "Clean"
    with pytest.raises(tk.ObjectNotFound):
        act("dataset_revert", "bob", id=moved["id"], revision=only["parent"])


@pytest.mark.ckan_config("ckanext.metastore.private_datasets", True)
def test_versions_of_a_private_time_are_for_those_who_could_see_them(physics: Package, bob: Package) -> None:
    secret = act("package_create", "ann", **new_dataset(physics, title="Secret"), private=True)
    act("dataset_tag_create", "ann", id=secret["id"], tag="draft", description="Secret too")
    hidden = act("dataset_revision_list", "ann", id=secret["id"])[0]["id"]
    act("package_patch", "ann", id=secret["id"], title="Open", private=False)
    assert len(act("dataset_revision_list", "ann", id=secret["id"])) == 2
    for reader in (None, "bob"):
        assert len(act("dataset_revision_list", reader, id=secret["id"])) == 1
        assert act("dataset_tag_list", reader, id=secret["id"]) == []
        for action, call in [
            ("dataset_revision_show", {"revision": hidden}),
            ("dataset_revision_show", {"revision": "draft"}),
            ("dataset_revision_list", {"revision": "draft"}),
            ("dataset_revision_diff", {"from": hidden}),
            ("dataset_tag_show", {"tag": "draft"}),
            ("package_show", {"revision": hidden[:12]}),
        ]:
            with pytest.raises(tk.ObjectNotFound):
                act(action, reader, id=secret["id"], **call)
