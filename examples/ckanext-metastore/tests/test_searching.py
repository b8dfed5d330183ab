"""Datasets are found as they were at a moment, by those who may see them."""

from __future__ import annotations

import time
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckanext.metastore import searching
from conftest import act, new_dataset

import metastore

Package = dict[str, Any]


def titles(who: str | None, at: str, **said: Any) -> list[str]:
    found = act("dataset_version_search", who, at=at, **said)
    assert found["following"] is None
    return sorted(each["title"] for each in found["results"])


@pytest.fixture
def before(physics: Package) -> Package:
    """Two datasets, and a moment before they were changed."""
    made = [act("package_create", "ann", **new_dataset(physics, title=title)) for title in ("Trams", "Buses")]
    at = max(act("dataset_revision_list", id=each["id"])[0]["created"] for each in made)
    time.sleep(1.1)  # the times of revisions are whole seconds
    for each in made:
        act("package_patch", "ann", id=each["id"], title="Later")
    return {"at": at, "ids": [each["id"] for each in made]}


def test_datasets_are_found_by_what_they_said_then(before: Package, bob: Package) -> None:
    assert titles("bob", before["at"]) == ["Buses", "Trams"]
    assert titles("bob", before["at"], q="trams") == ["Trams"]
    assert titles("bob", "2100-01-01") == ["Later", "Later"]
    assert titles("bob", "2020-01-01") == []
    [tram] = act("dataset_version_search", "bob", at=before["at"], q="trams")["results"]
    shown = act("package_show", "bob", id=tram["id"], revision=tram["revision"])
    assert (shown["title"], shown["name"]) == ("Trams", tram["name"])


def test_what_somebody_may_not_see_now_is_not_found(before: Package, bob: Package) -> None:
    act("package_patch", "ann", id=before["ids"][0], private=True)
    assert titles("bob", before["at"]) == ["Buses"]
    assert titles("ann", before["at"]) == ["Buses", "Trams"]


def test_pages_tell_nothing_of_datasets_that_somebody_may_not_see(
    before: Package, bob: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_MOST", 1)
    hidden, shown = before["ids"]
    act("package_patch", "ann", id=hidden, private=True)
    page = act("dataset_version_search", "bob", at=before["at"])
    assert ([each["id"] for each in page["results"]], page["following"]) == ([shown], None)
    page = act("dataset_version_search", "ann", at=before["at"])
    following = act("dataset_version_search", "ann", at=before["at"], after=page["following"])
    assert [each["id"] for each in page["results"] + following["results"]] == sorted(before["ids"])
    assert following["following"] is None


def test_what_ckan_has_not_written_is_not_found(store: metastore.Store, before: Package, bob: Package) -> None:
    for name, said in [("foreign", {}), ("forged", {"id": before["ids"][0]})]:
        store.dataset_create(f"ckan/{name}", {"title": "Trams", "resources": [], **said}, at=before["at"])
    assert titles("bob", before["at"], q="trams") == ["Trams"]


def test_a_search_among_very_many_hidden_datasets_ends(
    before: Package, bob: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_MOST", 1)
    monkeypatch.setattr(searching, "_PATIENCE", -1.0)
    for each in before["ids"]:
        act("package_patch", "ann", id=each, private=True)
    with pytest.raises(tk.ValidationError, match="takes too long"):
        act("dataset_version_search", "bob", at=before["at"])


def test_strangers_do_not_search_and_a_wrong_date_is_said_to_be_wrong(before: Package, bob: Package) -> None:
    with pytest.raises(tk.NotAuthorized):
        titles(None, before["at"])
    with pytest.raises(tk.ValidationError):
        titles("bob", "soon")
    with pytest.raises(tk.ValidationError):
        act("dataset_version_search", "bob")
    with pytest.raises(tk.ValidationError):
        titles("bob", before["at"], after=5)
