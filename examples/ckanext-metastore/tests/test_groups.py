"""A group or an organisation that is renamed or removed: its datasets follow in the background, and none is missed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
import sqlalchemy as sa
from ckan import model
from ckanext.metastore import outbox, settings
from ckanext.metastore.reconcile import reconcile
from conftest import act, messages, new_dataset, place, user

import metastore

Package = dict[str, Any]
Store = metastore.Store
RENAMED = "Change the organisation's name"


def organization(store: Store, package: Package) -> Any:
    """Return what the record says of the organisation of a dataset."""
    return store.dataset_read(place(package)).descriptor["ckan"].get("organization")


def in_step(*packages: Package) -> bool:
    """Tell whether the records say what CKAN says."""
    ids = [[package["id"] for package in packages]]
    steps = list(reconcile(lambda: settings.recorder(dry_run=True), ids))
    return all(step.outcome and step.outcome.action == "unchanged" for step in steps)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Count the statements that are sent to CKAN's database."""
    statements: list[str] = []

    def count(*args: Any) -> None:
        statements.append(args[2])

    sa.event.listen(model.meta.engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        sa.event.remove(model.meta.engine, "before_cursor_execute", count)


def test_renaming_an_organisation_costs_the_request_the_same_for_any_number_of_datasets(
    store: Store, physics: Package
) -> None:
    made = [act("package_create", "ann", **new_dataset(physics)) for _ in range(outbox.AT_ONCE)]
    act("organization_patch", "ann", id=physics["id"], title="Warm up")
    with counted() as for_few:
        act("organization_patch", "ann", id=physics["id"], title="Physics here")
    made += [act("package_create", "ann", **new_dataset(physics)) for _ in range(7)]
    with counted() as for_many:
        act("organization_patch", "ann", id=physics["id"], title="Physics and more")
    assert abs(len(for_many) - len(for_few)) <= 1
    assert len(outbox.waiting()) == 7
    assert outbox.drain_all() == 0
    assert {organization(store, each)["title"] for each in made} == {"Physics and more"}
    assert in_step(*made)


def test_an_organisation_is_renamed_for_its_datasets_if_and_only_if_ckan_renames_it(
    store: Store, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(uuids: Any) -> None:
        raise KeyboardInterrupt

    taken = act("organization_create", "ann", name=cars["organization"]["name"] + "-taken")["name"]
    with pytest.raises(tk.ValidationError):
        act("organization_patch", "ann", id=cars["owner_org"], name=taken)
    model.Session.remove()
    act("organization_patch", "ann", id=cars["owner_org"], description="It has no part in the record")
    assert messages(store, place(cars)) == ["Create dataset"]
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "record_soon", die)  # right after CKAN's commit
        with pytest.raises(KeyboardInterrupt):
            act("organization_patch", "ann", id=cars["owner_org"], title="New")
    model.Session.remove()
    assert act("organization_show", id=cars["owner_org"])["title"] == "New"
    outbox.drain_all()
    assert messages(store, place(cars)) == [RENAMED, "Create dataset"]
    assert in_step(cars)


def test_an_organisation_that_is_renamed_in_a_transaction_that_goes_on_is_recorded_with_it(
    store: Store, cars: Package
) -> None:
    context: Any = {"user": "ann", "defer_commit": True}
    tk.get_action("organization_patch")(context, {"id": cars["owner_org"], "title": "Never"})
    model.Session.rollback()
    assert outbox.waiting() == []
    tk.get_action("organization_patch")(context, {"id": cars["owner_org"], "title": "Later"})
    assert messages(store, place(cars)) == ["Create dataset"]
    model.Session.commit()
    assert organization(store, cars)["title"] == "Later"


def test_each_of_those_who_changed_a_dataset_and_its_organisation_meanwhile_is_named_for_what_they_did(
    store: Store, cars: Package, down: Any
) -> None:
    user("eve", "Eve Day")
    act("organization_member_create", "ann", id=cars["owner_org"], username="eve", role="admin")
    with down:
        act("package_patch", "ann", id=cars["id"], title="First")
        act("organization_patch", "eve", id=cars["owner_org"], title="Renamed")
        act("package_patch", "ann", id=cars["id"], title="Second")
        act("organization_patch", "eve", id=cars["owner_org"], title="Renamed again")
    outbox.drain_all()
    told = []
    for revision in list(store.revision_list(place(cars)))[:4]:
        descriptor = store.dataset_read(place(cars), revision.id).descriptor
        told.append((revision.author.name, descriptor["title"], descriptor["ckan"]["organization"]["title"]))
    assert told == [
        ("Eve Day", "Second", "Renamed again"),
        ("Ann Lee", "Second", "Renamed"),
        ("Eve Day", "First", "Renamed"),
        ("Ann Lee", "First", "Physics"),
    ]


def test_private_and_deleted_datasets_stay_without_versions(store: Store, physics: Package) -> None:
    private, deleted = (act("package_create", "ann", **new_dataset(physics)) for _ in range(2))
    act("package_patch", "ann", id=private["id"], private=True)
    act("package_delete", "ann", id=deleted["id"])
    act("organization_patch", "ann", id=physics["id"], title="New")
    for package, message in ((private, "Make private"), (deleted, "Delete dataset")):
        assert messages(store, place(package))[0] == message
    act("package_patch", "ann", id=private["id"], private=False)
    assert organization(store, private)["title"] == "New"


def test_a_group_that_moves_among_the_groups_of_a_dataset_leaves_it_in_step(store: Store, cars: Package) -> None:
    groups = [factories.Group(title=title, users=[{"name": "ann", "capacity": "admin"}]) for title in ("A", "B", "C")]
    for group in groups:
        act("member_create", "ann", id=group["id"], object=cars["id"], object_type="package", capacity="public")
    act("group_patch", "ann", id=groups[1]["id"], title="Z")
    assert in_step(cars)
    assert messages(store, place(cars))[0] == "Change a group's name"
    act("organization_patch", factories.Sysadmin()["name"], id=cars["owner_org"], state="deleted")
    assert organization(store, cars) is None
    assert in_step(cars)
