"""Random lives of datasets in a real CKAN: nobody reads a version of another one, or of a state that was not public.

`make test` plays more and longer ones, with a model in the place of CKAN.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import ckan.plugins.toolkit as tk
import ckan.tests.factories as factories
import pytest
from ckan import model
from ckanext.metastore import outbox, settings
from ckanext.metastore.reconcile import reconcile, withdraw
from conftest import act, new_organization

import metastore

Package = dict[str, Any]

STEPS = 1000 if os.environ.get("METASTORE_SOAK") else 60
#: Messages that tell nothing of a dataset.
FIXED = {"Make private", "Delete dataset", "Catch up with CKAN", "No longer in CKAN"}


class Lives:
    """The datasets of a portal, which all want the same few names.

    Attributes:
        packages: The datasets, by id.
        public: For each id the texts that anybody could read at some time.
    """

    def __init__(self, rng: random.Random, down: Any) -> None:
        self.rng, self._down, self.is_down = rng, down, False
        self.organizations = [new_organization("Physics"), new_organization("Biology")]
        self.admin = factories.Sysadmin()["name"]
        self.packages: dict[str, Package] = {}
        self.public: defaultdict[str, set[str]] = defaultdict(set)
        self._numbers = itertools.count()

    # What people do

    def create(self) -> None:
        if free := self.free_names():
            said = {"name": self.rng.choice(free), "private": self.rng.random() < 0.3}
            self.change("package_create", **said, owner_org=self.rng.choice(self.organizations)["id"])

    def edit(self) -> None:
        self.change("package_patch", id=self.any()["id"])

    def rename(self) -> None:
        package = self.any()
        self.change("package_patch", id=package["id"], name=self.rng.choice([*self.free_names(), package["name"]]))

    def transfer(self) -> None:
        self.change("package_patch", id=self.any()["id"], owner_org=self.rng.choice(self.organizations)["id"])

    def hide_or_show(self) -> None:
        package = self.any()
        self.change("package_patch", id=package["id"], private=not package["private"])

    def delete_or_bring_back(self) -> None:
        package = self.any()
        if package["state"] == "active":
            act("package_delete", "ann", id=package["id"])
            package["state"] = "deleted"
        else:
            self.change("package_patch", id=package["id"], state="active")

    def purge(self) -> None:
        package = self.packages.pop(self.any()["id"])
        act("dataset_purge", self.admin, id=package["id"])

    def tag(self) -> None:
        package = self.any()
        if self.is_public(package) and not self.is_down:
            live = [each["id"] for each in self.revisions(package, "ann") if not each["deleted"]]
            said = {"tag": f"v{next(self._numbers)}", "revision": self.rng.choice(live)}
            act("dataset_tag_create", "ann", id=package["id"], **said)

    # What operators do

    def go_down_or_up(self) -> None:
        (self._down.__exit__ if self.is_down else self._down.__enter__)()
        self.is_down = not self.is_down

    def reconcile(self) -> set[str]:
        """Do what `ckan metastore reconcile` does, and return what was done."""
        if self.is_down:
            return set()
        outbox.drain_all()
        recorder = settings.recorder()
        gone = sorted(set(recorder.recorded()) - {recorder.id_of(uuid) for uuid in self.packages})
        steps = [*withdraw(recorder, gone, purge=True), *reconcile(lambda: recorder, [[*self.packages]])]
        assert not any(step.problem for step in steps), steps
        return {step.outcome.action for step in steps if step.outcome}

    def live(self) -> None:
        steps: list[Callable[[], Any]] = [self.create, self.create, self.edit, self.rename, self.transfer, self.tag]
        steps += [self.hide_or_show, self.hide_or_show, self.delete_or_bring_back, self.purge]
        steps += [self.go_down_or_up, self.reconcile]
        self.rng.choice(steps if self.packages else [self.create])()

    # What becomes of it

    def free_names(self) -> list[str]:
        names = {f"{self.organizations[0]['name']}-{name}" for name in ("cars", "trams", "boats")}
        return sorted(names - {package["name"] for package in self.packages.values()})

    def any(self) -> Package:
        return self.rng.choice(list(self.packages.values()))

    def change(self, action: str, **said: Any) -> None:
        text = f"text {next(self._numbers)}"
        shown = act(action, "ann", **said, title=text, notes=text, metastore_message=text)
        package = self.packages[shown["id"]] = {
            member: shown[member] for member in ("id", "name", "title", "state", "private")
        }
        if self.is_public(package):
            self.public[package["id"]].add(text)

    @staticmethod
    def is_public(package: Package) -> bool:
        return package["state"] == "active" and not package["private"]

    def revisions(self, package: Package, reader: str | None = None) -> list[dict[str, Any]]:
        """Return the versions of a dataset that a reader finds under its name."""
        try:
            return act("dataset_revision_list", reader, id=package["name"], limit=1000)
        except tk.ValidationError:
            assert self.is_down
            return []

    def look_as_nobody(self) -> None:
        """Read everything that anybody may read."""
        for package in self.packages.values():
            if not self.is_public(package):
                with pytest.raises((tk.NotAuthorized, tk.ObjectNotFound)):
                    act("dataset_revision_list", id=package["name"])
                continue
            allowed, revisions = self.public[package["id"]], self.revisions(package)
            assert {each["message"] for each in revisions} <= allowed | FIXED
            live = [each["id"] for each in revisions if not each["deleted"]]
            for revision in live:
                shown = act("dataset_revision_show", id=package["name"], revision=revision)["package"]
                assert shown["id"] == package["id"]
                assert {shown["title"], shown["notes"]} <= allowed
            if revisions and not self.is_down:
                assert act("package_show", id=package["name"], revision=live[0])["title"] == package["title"]
                assert {tag["revision"] for tag in act("dataset_tag_list", id=package["name"])} <= {*live}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("private_too", [False, True])
def test_nobody_reads_a_version_of_another_dataset_or_of_a_state_that_was_not_public(
    store: metastore.Store, ann: Package, down: Any, ckan_config: Any, monkeypatch: pytest.MonkeyPatch, private_too: Any
) -> None:
    monkeypatch.setitem(ckan_config, "ckanext.metastore.private_datasets", str(private_too))
    rng = random.Random(private_too)
    lives, record_soon = Lives(rng, down), outbox.record_soon
    # Or else the process dies between the commit and the recording.
    monkeypatch.setattr(outbox, "record_soon", lambda uuids: record_soon(uuids) if rng.random() < 0.8 else None)
    for _ in range(STEPS):
        lives.live()
        model.Session.remove()  # as after a request
        lives.look_as_nobody()
    if lives.is_down:
        lives.go_down_or_up()
    lives.reconcile()
    lives.look_as_nobody()
    assert lives.reconcile() <= {"unchanged"}
