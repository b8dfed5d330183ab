"""Changes wait in CKAN's database until they are recorded: none is lost, none is recorded that CKAN has not made."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
import sqlalchemy as sa
from ckan import model
from ckan.lib import jobs, uploader
from ckanext.metastore import outbox, portal
from conftest import act, messages, new_dataset, new_organization, place
from sqlalchemy.exc import OperationalError
from werkzeug.datastructures import FileStorage

import metastore

Package = dict[str, Any]
Store = metastore.Store


def titles(store: Store, package: Package) -> list[str]:
    """The titles in all revisions of a dataset, newest first."""
    where = place(package)
    return [store.dataset_read(where, revision.id).descriptor["title"] for revision in store.revision_list(where)]


def retitle(package: Package, title: str) -> None:
    """Change a dataset in a transaction that goes on, as other extensions do; CKAN 2.12.0 forgets `defer_commit`."""
    model.Package.get(package["id"]).title = title
    portal.record(package["id"], {"user": "ann"}, "Update dataset")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The process dies between the commit and the recording."""
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "record_soon", lambda uuids: None)
        yield patched


def test_what_changed_while_metastore_was_away_is_recorded_by_whom_when_and_why(
    store: Store, cars: Package, down: Any
) -> None:
    with down:
        act("package_patch", "ann", id=cars["id"], title="First", metastore_message="Why")
        act("package_patch", "ann", id=cars["id"], title="Second")
    assert messages(store, place(cars)) == ["Create dataset"]
    assert outbox.waiting() == [cars["id"]]
    assert outbox.drain_all() == 0
    newest, older, _ = store.revision_list(place(cars))
    assert [newest.message, older.message] == ["Update dataset", "Why"]
    assert older.author == metastore.Author("Ann Lee", "ann")
    assert store.dataset_read(place(cars), older.id).descriptor["title"] == "First"
    assert outbox.waiting() == []


def test_the_next_change_and_the_next_reader_find_what_waited_recorded(store: Store, cars: Package, late: Any) -> None:
    act("package_patch", "ann", id=cars["id"], title="First")
    assert [revision["message"] for revision in act("dataset_revision_list", id=cars["id"])] == [
        "Update dataset",
        "Create dataset",
    ]
    act("package_patch", "ann", id=cars["id"], title="Second")
    late.undo()
    act("package_patch", "ann", id=cars["id"], title="Third")
    assert len(messages(store, place(cars))) == 4


def test_what_ckan_rolls_back_is_not_recorded(store: Store, cars: Package) -> None:
    tk.get_action("package_patch")({"user": "ann", "defer_commit": True}, {"id": cars["id"], "title": "Rolled back"})
    model.Session.rollback()
    act("package_patch", "ann", id=cars["id"], notes="Kept")
    assert [
        store.dataset_read(place(cars), each.id).descriptor["title"] for each in store.revision_list(place(cars))
    ] == [
        "Cars",
        "Cars",
    ]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_savepoint_neither_records_nor_forgets_anything(store: Store, cars: Package, end: str) -> None:
    retitle(cars, "Changed")
    getattr(model.Session.begin_nested(), end)()
    assert messages(store, place(cars)) == ["Create dataset"]
    model.Session.commit()
    assert messages(store, place(cars)) == ["Update dataset", "Create dataset"]


def test_several_changes_of_one_transaction_are_one_revision(store: Store, cars: Package) -> None:
    for title in ("Never seen", "Seen"):
        retitle(cars, title)
    model.Session.commit()
    assert len(messages(store, place(cars))) == 2
    assert store.dataset_read(place(cars)).descriptor["title"] == "Seen"


def test_a_refused_upload_is_no_revision(store: Store, cars: Package, monkeypatch: pytest.MonkeyPatch) -> None:

    def refuse(self: Any, id: str, max_size: int = 10) -> None:
        raise tk.ValidationError({"upload": ["File upload too large"]})

    monkeypatch.setattr(uploader.ResourceUpload, "upload", refuse)
    upload = FileStorage(io.BytesIO(b"a,b\n"), "big.csv")
    with pytest.raises(tk.ValidationError, match="too large"):
        act("resource_create", "ann", package_id=cars["id"], name="Big", upload=upload)
    model.Session.remove()
    assert messages(store, place(cars)) == ["Create dataset"]
    assert outbox.waiting() == []


def test_a_purged_dataset_that_is_created_again_under_its_id_has_no_past(
    store: Store, cars: Package, down: Any
) -> None:
    admin = factories.Sysadmin()["name"]
    with down:
        act("dataset_purge", admin, id=cars["id"])
        again = {**new_dataset(cars["organization"], title="New"), "id": cars["id"], "name": cars["name"]}
        act("package_create", admin, **again)
        with pytest.raises(tk.ValidationError):
            act("dataset_revision_list", id=cars["id"])
    [only] = act("dataset_revision_list", id=cars["id"])
    assert store.dataset_read(place(cars), only["id"]).descriptor["title"] == "New"


def test_as_long_as_a_purge_is_refused_nobody_reads_what_is_purged(
    store: Store, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **said: Any) -> None:
        raise metastore.PermissionDenied("the token does not grant purge")

    admin = factories.Sysadmin()["name"]
    monkeypatch.setattr(type(store), "dataset_purge", refuse)
    act("dataset_purge", admin, id=cars["id"])
    again = {**new_dataset(cars["organization"], title="New"), "id": cars["id"], "name": cars["name"]}
    act("package_create", admin, **again)
    with pytest.raises(tk.ValidationError):
        act("dataset_revision_list", id=cars["id"])


def test_a_purge_that_ckan_refuses_removes_nothing(store: Store, cars: Package, bob: Package) -> None:
    with pytest.raises(tk.NotAuthorized):
        act("dataset_purge", "bob", id=cars["id"])
    act("package_patch", "ann", id=cars["id"], title="Still here")
    assert len(messages(store, place(cars))) == 2


def test_a_purge_waits_for_the_changes_before_it(store: Store, cars: Package) -> None:
    """Their numbers tell in which order they are recorded: a change behind the purge would bring the history back."""
    admin = factories.Sysadmin()["name"]
    held = sa.select(model.Package.id).where(model.Package.id == cars["id"]).with_for_update()
    with model.meta.engine.begin() as another:
        another.execute(held)
        model.Session.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError):
            act("dataset_purge", admin, id=cars["id"])
    model.Session.rollback()


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize(
    "action", ["bulk_update_private", "bulk_update_delete", "package_owner_org_update", "member_create"]
)
def test_what_ckan_changes_past_its_hooks_waits_in_the_same_transaction(
    store: Store, cars: Package, physics: Package, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    admin, group = factories.Sysadmin()["name"], factories.Group()
    named = {
        "bulk_update_private": {"datasets": [cars["id"]], "org_id": physics["id"]},
        "bulk_update_delete": {"datasets": [cars["id"]], "org_id": physics["id"]},
        "package_owner_org_update": {"id": cars["name"], "organization_id": new_organization("Biology")["id"]},
        "member_create": {"id": group["id"], "object": cars["id"], "object_type": "package", "capacity": "public"},
    }[action]

    def die(uuids: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "record_soon", die)
        with pytest.raises(Killed):
            act(action, admin, **named)
    model.Session.remove()
    assert outbox.waiting() == [cars["id"]]
    assert outbox.drain_all() == 0
    assert len(messages(store, place(cars))) == 2


def test_a_bulk_change_is_of_those_datasets_that_it_changes(store: Store, cars: Package) -> None:
    """Others can be named in the call. Nobody becomes the author of what they did not change."""
    model.Package.get(cars["id"]).title = "Past CKAN's actions"
    model.Session.commit()
    act("bulk_update_private", "ann", datasets=[cars["id"]], org_id=new_organization("Biology")["id"])
    assert messages(store, place(cars)) == ["Create dataset"]


def test_private_text_does_not_wait_in_the_database(store: Store, physics: Package, late: Any) -> None:
    act("package_create", "ann", **new_dataset(physics, title="Secret"), private=True)
    [row] = model.Session.execute(outbox.TABLE.select()).all()
    assert "Secret" not in row.package


def test_a_change_that_metastore_refuses_is_told_and_does_not_stop_those_after_it(
    store: Store, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = type(store).dataset_update

    def refuse(self: Store, dataset_id: Any, descriptor: Any, **said: Any) -> Any:
        if descriptor["title"] == "Refused":
            raise metastore.InvalidInput("it is too large")
        return update(self, dataset_id, descriptor, **said)

    monkeypatch.setattr(type(store), "dataset_update", refuse)
    act("package_patch", "ann", id=cars["id"], title="Refused")
    act("package_patch", "ann", id=cars["id"], title="Accepted")
    assert outbox.refused() == [(cars["id"], "it is too large")]
    assert outbox.waiting() == []
    assert store.dataset_read(place(cars)).descriptor["title"] == "Accepted"


@pytest.mark.parametrize("message", ["a\0b", "x" * 70_000, "\ud800", 5])
def test_a_message_that_cannot_be_recorded_is_an_error_of_that_field(store: Store, cars: Package, message: Any) -> None:
    with pytest.raises(tk.ValidationError) as refused:
        act("package_patch", "ann", id=cars["id"], title="Changed", metastore_message=message)
    assert list(refused.value.error_dict) == ["metastore_message"]
    model.Session.remove()
    assert act("package_show", id=cars["id"])["title"] == "Cars"


def test_a_message_is_of_one_call_and_no_other(store: Store, cars: Package) -> None:
    context: Any = {"user": "ann", "ignore_auth": False}
    tk.get_action("package_patch")(context, {"id": cars["id"], "title": "One", "metastore_message": "Once"})
    tk.get_action("package_patch")(context, {"id": cars["id"], "title": "Two"})
    assert messages(store, place(cars)) == ["Update dataset", "Once", "Create dataset"]


def test_removing_reordering_and_revising_take_a_message(store: Store, cars: Package) -> None:
    second = act("resource_create", "ann", package_id=cars["id"], url="https://example.org/b.csv")
    order = [second["id"], cars["resources"][0]["id"]]
    act("package_resource_reorder", "ann", id=cars["id"], order=order, metastore_message="Turn them")
    act("package_revise", "ann", match={"id": cars["id"]}, update={"title": "Revised"}, metastore_message="Revise it")
    act("resource_delete", "ann", id=second["id"], metastore_message="Take it out")
    assert messages(store, place(cars))[:3] == ["Take it out", "Revise it", "Turn them"]


def test_two_processes_record_the_changes_of_a_dataset_in_their_order(store: Store, cars: Package, late: Any) -> None:
    for number in range(6):
        act("package_patch", "ann", id=cars["id"], title=str(number))
    workers = [threading.Thread(target=outbox.drain, args=(cars["id"],)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert titles(store, cars) == ["5", "4", "3", "2", "1", "0", "Cars"]


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is left to CKAN's job worker."""
    jobs.get_queue().empty()
    found: list[Any] = []
    monkeypatch.setattr(tk, "enqueue_job", lambda job, **how: found.append(job))
    return found


def test_once_metastore_answers_again_any_change_lets_the_job_record_what_waits(
    store: Store, cars: Package, physics: Package, down: Any, queued: list[Any]
) -> None:
    with down:
        act("package_patch", "ann", id=cars["id"], title="Waits")
    queued.clear()  # a job that found MetaStore away
    act("package_create", "ann", **new_dataset(physics))
    [job] = queued
    assert job() == 0
    assert titles(store, cars) == ["Waits", "Cars"]
    queued.clear()
    act("package_create", "ann", **new_dataset(physics))
    assert queued == []


def test_many_datasets_are_left_to_the_job(store: Store, physics: Package, queued: list[Any]) -> None:
    made = [act("package_create", "ann", **new_dataset(physics)) for _ in range(5)]
    act("organization_patch", "ann", id=physics["id"], name=physics["name"] + "-new")
    assert sum(len(messages(store, place(each))) for each in made) <= 5 + outbox.AT_ONCE
    [job] = queued
    assert job() == 0
    assert [messages(store, place(each))[0] for each in made] == ["Change the organisation's name"] * 5
