"""MetaStore slow, down, or in the middle of something; CKAN rolled back; and how all of it is caught up."""

from __future__ import annotations

import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
from ckan import model
from ckanext.metastore import outbox, portal, settings
from ckanext.metastore import reconcile as reconciling
from ckanext.metastore.authors import author
from ckanext.metastore.patience import breaker
from ckanext.metastore.reconcile import dataset_ids, pages, reconcile, withdraw
from conftest import act, messages, new_dataset, new_organization, place

import metastore

Package = dict[str, Any]
Store = metastore.Store


def caught_up(store: Store, *packages: Package, **how: Any) -> list[str]:
    """Reconcile these datasets alone (the database has those of other tests too), and return what was done."""
    dry_run = how.pop("dry_run", False)
    recorder = settings.recorder(dry_run=dry_run)
    if not dry_run:
        outbox.drain_all()
    gone = sorted(set(recorder.recorded()) - {recorder.id_of(uuid) for uuid in dataset_ids()})
    steps = list(withdraw(recorder, gone, purge=how.pop("purge", False)))
    steps += reconcile(lambda: recorder, [[each["id"] for each in packages]], **how)
    assert not any(step.problem for step in steps), steps
    return [step.outcome.action for step in steps if step.outcome]


def test_a_dataset_that_was_changed_past_ckans_actions_is_caught_up(store: Store, cars: Package) -> None:
    model.Package.get(cars["id"]).title = "Unrecorded"
    model.Session.commit()
    assert caught_up(store, cars, dry_run=True) == ["updated"]
    assert caught_up(store, cars) == ["updated"]
    assert caught_up(store, cars) == ["unchanged"]
    assert store.dataset_read(place(cars)).descriptor["title"] == "Unrecorded"
    assert messages(store, place(cars)) == ["Catch up with CKAN", "Create dataset"]


@pytest.mark.ckan_config("ckanext.metastore.on_failure", "fail")
def test_a_change_fails_without_metastore_if_that_is_wanted(store: Store, cars: Package, down: Any) -> None:
    name = new_dataset(cars["organization"])["name"]
    with down:
        for action, said in [
            ("package_patch", {"id": cars["id"], "title": "Unrecorded"}),
            ("package_create", {**new_dataset(cars["organization"]), "name": name}),
            ("package_delete", {"id": cars["id"]}),
            ("resource_delete", {"id": cars["resources"][0]["id"]}),
        ]:
            with pytest.raises(tk.ValidationError, match="could not be recorded"):
                act(action, "ann", **said)
    model.Session.remove()
    shown = act("package_show", id=cars["id"])
    assert (shown["title"], len(shown["resources"])) == ("Cars", 1)
    with pytest.raises(tk.ObjectNotFound):
        act("package_show", id=name)
    assert caught_up(store, cars) == ["unchanged"]


@pytest.mark.ckan_config("ckanext.metastore.patience", 1)
def test_a_slow_metastore_is_not_waited_for_and_does_no_harm_later(
    store: Store, cars: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, written = threading.Event(), threading.Event()
    update = type(store).dataset_update

    def slow(self: Store, *args: Any, **said: Any) -> Any:
        go_on.wait(60)
        try:
            return update(self, *args, **said)
        finally:
            written.set()

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "dataset_update", slow)
        act("package_patch", "ann", id=cars["id"], title="Slow")
    act("package_patch", "ann", id=cars["id"], title="Fast")
    go_on.set()
    assert written.wait(60)
    breaker.forget()
    assert outbox.drain_all() == 0
    assert len(messages(store, place(cars))) == 3
    assert store.dataset_read(place(cars)).descriptor["title"] == "Fast"
    assert caught_up(store, cars) == ["unchanged"]


def test_what_ckan_has_no_more_is_withdrawn_or_purged(store: Store, cars: Package) -> None:
    gone = f"ckan/{'0' * 8}-0000-0000-0000-{'0' * 12}"
    store.dataset_create(gone, {"id": "gone", "resources": []}, author="Test")
    assert caught_up(store, cars) == ["deleted", "unchanged"]
    assert store.revision_read(gone).deleted
    assert caught_up(store, cars, purge=True) == ["purged", "unchanged"]
    assert gone not in [str(each) for each in store.dataset_list(deleted=None)]


def test_two_datasets_that_swapped_their_names_meanwhile_keep_their_own_histories(
    store: Store, physics: Package, down: Any
) -> None:
    first, second = (act("package_create", "ann", **new_dataset(physics)) for _ in range(2))
    with down:
        act("package_patch", "ann", id=second["id"], name="for-a-moment")
        act("package_patch", "ann", id=first["id"], name=second["name"])
        act("package_patch", "ann", id=second["id"], name=first["name"])
    assert caught_up(store, first, second) == ["unchanged", "unchanged"]
    assert store.dataset_read(place(first)).descriptor["name"] == second["name"]


def test_datasets_that_are_purged_or_cannot_be_read_meanwhile_do_not_end_the_run(
    store: Store, physics: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [act("package_create", "ann", **new_dataset(physics)) for _ in range(6)]
    purged, broken, *others = sorted(each["id"] for each in made)
    act("dataset_purge", factories.Sysadmin()["name"], id=purged)
    shown = portal.shown

    def breaks(uuid: str) -> Package:
        if uuid == broken:
            raise KeyError("a field of an older schema")
        return shown(uuid)

    monkeypatch.setattr(portal, "shown", breaks)
    for uuid in others:
        model.Package.get(uuid).title = "Unrecorded"
    model.Session.commit()
    steps = list(reconcile(settings.recorder, [[purged, broken], others], jobs=2))
    assert [step.dataset for step in steps] == [purged, broken, *others]
    assert [step.outcome.action if step.outcome else step.problem for step in steps] == [
        "unchanged",
        "KeyError: 'a field of an older schema'",
        *["updated"] * 4,
    ]


def test_a_run_that_was_interrupted_goes_on_behind_the_last_dataset(
    physics: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "PAGE", 2)
    for _ in range(5):
        act("package_create", "ann", **new_dataset(physics))
    every = list(itertools.chain(*pages()))
    assert sorted(every) == sorted(dataset_ids())
    assert list(itertools.chain(*pages(every[2]))) == every[3:]
    assert {len(page) for page in pages()} <= {1, 2}


@pytest.mark.timeout(1800)
def test_a_thousand_datasets_are_reconciled_once_and_not_again(store: Store, physics: Package, down: Any) -> None:
    with down:
        made = []
        for number in range(1000):
            package = model.Package(name=f"{physics['name']}-{number:04}", title=f"Dataset {number}")
            package.owner_org, package.state, package.type = physics["id"], "active", "dataset"
            model.Session.add(package)
            made.append(package)
        model.Session.commit()
        ids = [{"id": package.id} for package in made]
    assert caught_up(store, *ids) == ["created"] * 1000
    assert caught_up(store, *ids, jobs=3) == ["unchanged"] * 1000
    assert len(list(store.dataset_list())) == 1000


# Settings


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("url", "", "url is not set"),
        ("on_failure", "explode", "on_failure is continue or fail"),
        ("options", "[1]", "options is not a JSON object"),
        ("options", "{", "options is not a JSON object"),
        ("owner", "A/B", "owner"),
        ("patience", "soon", "patience is a number of seconds"),
        ("patience", "0", "patience is a number of seconds"),
        ("private_datasets", "perhaps", "private_datasets is true or false"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    ckan_config: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    complaint: str,
) -> None:
    monkeypatch.setattr(logging.getLogger("ckanext"), "propagate", True)
    ckan_config[f"ckanext.metastore.{name}"] = value
    with pytest.raises(metastore.InvalidInput, match=complaint):
        settings.current()
    settings.check_at_start()
    assert complaint in caplog.text


@pytest.mark.parametrize(
    ("name", "value"), [("url", ""), ("on_failure", "explode"), ("patience", "soon"), ("options", "{")]
)
def test_with_a_wrong_setting_ckan_works_and_versions_are_refused(
    ckan_config: Any, app: Any, cars: Package, name: str, value: str
) -> None:
    ckan_config[f"ckanext.metastore.{name}"] = value
    act("package_patch", "ann", id=cars["id"], title="Changed")
    with pytest.raises(tk.ValidationError):
        act("dataset_revision_list", id=cars["id"])
    assert app.get(f"/dataset/{cars['name']}").status_code == 200
    assert app.get(f"/dataset/{cars['name']}/versions").status_code == 503
    act("package_delete", "ann", id=cars["id"])
    act("dataset_purge", factories.Sysadmin()["name"], id=cars["id"])


@pytest.mark.parametrize("name", ["on_failure", "owner", "patience", "private_datasets", "author_emails"])
def test_an_empty_setting_is_the_default(ckan_config: Any, name: str) -> None:
    ckan_config.pop(f"ckanext.metastore.{name}", None)
    default = settings.current()
    ckan_config[f"ckanext.metastore.{name}"] = ""
    assert settings.current() == default


def test_no_secret_is_shown(ckan_config: Any) -> None:
    ckan_config["ckanext.metastore.token"] = "sesame"
    ckan_config["ckanext.metastore.url"] = "postgresql://ann:sesame@db.example.org/metastore"
    assert "sesame" not in repr(settings.current())
    assert settings.current().place == "db.example.org/metastore"
    assert author("nobody", emails=False) == metastore.Author("CKAN")


def test_no_new_store_is_made_where_the_old_one_is_away(
    store: Store, cars: Package, ckan_config: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    folder.rename(tmp_path / "away")
    for is_mount_point in (False, True):
        if is_mount_point:
            folder.mkdir()
        settings.forget_stores()
        with pytest.raises(metastore.StorageUnavailable, match="is its disk mounted"):
            settings.recorder()
    assert list(folder.iterdir()) == []
    ckan_config["ckanext.metastore.options"] = '{"create": true}'
    assert list(settings.recorder().recorded()) == []


def test_all_datasets_are_found(cars: Package) -> None:
    assert cars["id"] in dataset_ids()
    assert new_organization("Biology")["id"] not in dataset_ids()
