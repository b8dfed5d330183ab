"""Two people who edit a dataset at once: the second one is told, and nothing is lost."""

from __future__ import annotations

import threading
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckanext.metastore import editing
from conftest import act, messages, place, user

import metastore

Package = dict[str, Any]
Store = metastore.Store


@pytest.fixture
def bea(cars: Package) -> Package:
    """Somebody who may change the dataset too."""
    bea = user("bea", "Bea Ode")
    act("organization_member_create", "ann", id=cars["owner_org"], username="bea", role="editor")
    return bea


def opened(shown: Package) -> Package:
    """A form of a dataset or of a resource, as somebody opens it."""
    return {**shown, editing.SEEN: editing.shown_in_form(shown)}


def test_a_form_that_nobody_was_faster_with_is_saved(store: Store, cars: Package, bea: Package) -> None:
    form = opened(cars)
    act("resource_create", "bea", package_id=cars["id"], url="https://example.org/b.csv")
    saved = act("package_patch", "ann", **{**form, "title": "Hers", "resources": cars["resources"]})
    assert (saved["title"], editing.SEEN in saved) == ("Hers", False)
    act("resource_update", "ann", **opened(saved["resources"][0]))


def test_the_second_of_two_editors_is_told_what_the_first_one_changed(
    store: Store, cars: Package, bea: Package
) -> None:
    form = {**opened(cars), "title": "Hers", "metastore_message": "Mine"}
    act("package_patch", "bea", id=cars["id"], title="His", tags=[{"name": "roads"}])
    with pytest.raises(tk.ValidationError) as refused:
        tk.get_action("package_update")({"user": "ann", "ignore_auth": False}, form)
    told = refused.value.error_summary
    assert list(told) == ["Changed meanwhile", "Title", "Tags"]
    assert told["Changed meanwhile"].startswith("Bea Ode saved a change after you opened this form")
    assert told["Title"] == "now His, Cars when you opened the form"
    assert (form["title"], form["metastore_message"]) == ("Hers", "Mine")
    assert act("package_show", id=cars["id"])["title"] == "His"

    act("package_update", "ann", **form)  # she has read it, and saves the form again
    assert act("package_show", id=cars["id"])["title"] == "Hers"
    assert messages(store, place(cars)) == ["Mine", "Update dataset", "Create dataset"]


def test_so_is_the_second_editor_of_a_resource(cars: Package, bea: Package) -> None:
    [resource] = cars["resources"]
    form = {**opened(resource), "description": "Hers"}
    act("resource_patch", "bea", id=resource["id"], description="His")
    with pytest.raises(tk.ValidationError) as refused:
        tk.get_action("resource_update")({"user": "ann", "ignore_auth": False}, form)
    assert refused.value.error_summary["Resource All cars: Description"] == "now His, – when you opened the form"
    act("resource_update", "ann", **form)
    assert act("resource_show", id=resource["id"])["description"] == "Hers"


def test_without_metastore_the_second_editor_is_told_that_something_changed(
    cars: Package, bea: Package, down: Any
) -> None:
    form = opened(cars)
    with down:
        act("package_patch", "bea", id=cars["id"], title="His")
        with pytest.raises(tk.ValidationError) as refused:
            act("package_update", "ann", **form)
    assert list(refused.value.error_summary) == ["Changed meanwhile"]


def test_a_stranger_with_a_form_is_told_nothing(cars: Package, bob: Package) -> None:
    form = opened(cars)
    act("package_patch", "ann", id=cars["id"], title="Secret", private=True)
    with pytest.raises(tk.NotAuthorized):
        act("package_update", "bob", **form)


def test_of_two_forms_that_are_saved_at_the_same_time_one_is_refused(cars: Package, ann: Package, app: Any) -> None:
    form, outcomes, together = opened(cars), [], threading.Barrier(2)

    def save(title: str) -> None:
        with app.flask_app.test_request_context():
            together.wait(60)
            try:
                outcomes.append(act("package_update", "ann", **{**form, "title": title})["title"])
            except tk.ValidationError as error:
                outcomes.append("; ".join(error.error_dict))
            finally:
                model.Session.remove()

    people = [threading.Thread(target=save, args=(title,)) for title in ("One", "Two")]
    for person in people:
        person.start()
    for person in people:
        person.join(120)
    saved = act("package_show", id=cars["id"])["title"]
    assert sorted(outcomes) == sorted([saved, editing.SEEN])
