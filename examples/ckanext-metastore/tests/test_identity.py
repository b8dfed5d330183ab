"""A name that is used again leads to no other dataset's versions, and private versions stay private."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
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
            ("dataset_revision_diff", {"from": hidden}),
            ("dataset_tag_show", {"tag": "draft"}),
            ("package_show", {"revision": hidden[:12]}),
        ]:
            with pytest.raises(tk.ObjectNotFound):
                act(action, reader, id=secret["id"], **call)
