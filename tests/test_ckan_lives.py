"""Random lives of datasets in a CKAN: nobody sees the versions of another dataset, or of a state that was not public.

The CKAN is a model of a few lines. What the extension decides is the real thing: what is recorded and where, who sees
which version, what is purged, and what is caught up after MetaStore was away.
"""

from __future__ import annotations

import itertools
import os
import random
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import metastore
from tests.conftest import ANN, EPOCH, ticking
from tests.test_ckan_extension import Recorder, nothing  # it says where the extension is

from ckanext.metastore.record import descriptor_of, is_recorded, kept  # isort: skip
from ckanext.metastore.sync import Change  # isort: skip
from ckanext.metastore.versions import Versions  # isort: skip

STEPS = 10_000 if os.environ.get("METASTORE_SOAK") else 300
#: Messages that tell nothing of a dataset.
FIXED = {"Make private", "Delete dataset", "Catch up with CKAN", "No longer in CKAN", "Imported"}
Package = dict[str, Any]


class Portal:
    """A CKAN with few names, so that they are used again.

    Attributes:
        packages: The datasets that CKAN has, by uuid.
        public: For each uuid the texts that anybody could read at some time.
        activities: For each uuid its states, in order, as CKAN's activities keep them.
        waiting: The changes that wait to be recorded, in order.
    """

    def __init__(self, store: metastore.Store, rng: random.Random, *, private_too: bool) -> None:
        self.rng = rng
        self.recorder = Recorder(store, private_too=private_too)
        self.packages: dict[str, Package] = {}
        self.public: defaultdict[str, set[str]] = defaultdict(set)
        self.activities: defaultdict[str, list[Package]] = defaultdict(list)
        self.waiting: list[Change] = []
        self.purged: list[str] = []
        self.up = True
        self.titles = {"physics": "Physics", "biology": "Biology"}
        self.numbers = itertools.count()

    # What people do

    def create(self) -> None:
        if names := self.free_names():
            new = str(uuid.UUID(int=self.rng.getrandbits(128)))
            # A sysadmin, such as a harvester, may choose the id of a dataset that was purged.
            free = [package_id for package_id in self.purged[-3:] if package_id not in self.packages]
            package = {"id": self.rng.choice([new, *free]), "state": "active", "private": False}
            package |= {"name": self.rng.choice(names), **self.of("physics"), "resources": []}
            self.change(package, private=self.rng.random() < 0.3)

    def edit(self) -> None:
        self.change(self.any())

    def rename(self) -> None:
        package, names = self.any(), self.free_names()
        self.change(package, name=self.rng.choice([*names, package["name"]]))

    def transfer(self) -> None:
        self.change(self.any(), **self.of(self.rng.choice(["physics", "biology"])))

    def rename_organisation(self) -> None:
        """Rename one for all its datasets; a row of the outbox has the new name alone."""
        organization = self.rng.choice(["physics", "biology"])
        text = self.titles[organization] = f"text {next(self.numbers)}"
        for package in [each for each in self.packages.values() if each["owner_org"] == organization]:
            package = {**package, **self.of(organization)}
            self.packages[package["id"]] = package
            if is_recorded(package, private_too=self.recorder.private_too):
                self.public[package["id"]].add(text)
                group = package["organization"]
                self.wait_and_record(Change(package["id"], None, ANN, text, EPOCH, group))

    def hide_or_show(self) -> None:
        package = self.any()
        self.change(package, private=not package["private"])

    def delete_or_bring_back(self) -> None:
        package = self.any()
        self.change(package, state="active" if package["state"] == "deleted" else "deleted")

    def purge(self) -> None:
        package = self.packages.pop(self.any()["id"])
        self.public.pop(package["id"], None)
        self.activities.pop(package["id"], None)
        self.purged.append(package["id"])
        self.wait_and_record(Change(package["id"], None, ANN, "Purge", EPOCH))

    def tag(self) -> None:
        package = self.any()
        if self.up and self.is_public(package):
            self.record_waiting(package["id"])
            revisions = self.seen(self.versions(package, private_too=self.recorder.private_too))
            if live := [revision.id for revision in revisions if not revision.deleted]:
                where, name = self.recorder.id_of(package["id"]), f"v{next(self.numbers)}"
                self.recorder.store.tag_create(where, name, self.rng.choice(live))

    # What operators do

    def go_down_or_up(self) -> None:
        self.up = not self.up

    def reconcile(self) -> None:
        if self.up:
            for change in list(self.waiting):
                self.record_waiting(change.uuid)
            remove = self.recorder.purge if self.rng.random() < 0.5 else self.recorder.withdraw
            for dataset_id in set(self.recorder.recorded()) - {self.recorder.id_of(each) for each in self.packages}:
                remove(dataset_id, message="No longer in CKAN")
            for package in self.packages.values():
                self.recorder.record(package, message="Catch up with CKAN")

    def import_activities(self) -> None:
        if self.up:
            self.reconcile()
            package = self.any()
            self.recorder.purge(self.recorder.id_of(package["id"]))
            for state in self.activities[package["id"]]:
                self.recorder.record(state, message="Imported")
            self.reconcile()  # activities do not tell everything

    def act(self) -> None:
        steps: list[Callable[[], None]] = [self.create, self.create, self.edit, self.rename, self.transfer]
        steps += [
            self.rename_organisation,
            self.hide_or_show,
            self.hide_or_show,
            self.delete_or_bring_back,
            self.purge,
            self.tag,
        ]
        steps += [self.go_down_or_up, self.reconcile, self.import_activities]
        self.rng.choice(steps if self.packages else [self.create])()

    # What becomes of it

    def free_names(self) -> list[str]:
        return sorted({"cars", "trams", "boats", "carts"} - {package["name"] for package in self.packages.values()})

    def of(self, organization: str) -> Package:
        """Return the members of a dataset in an organisation."""
        shown = {"id": organization, "name": organization, "title": self.titles[organization]}
        return {"owner_org": organization, "organization": shown}

    def any(self) -> Package:
        return dict(self.rng.choice(list(self.packages.values())))

    def change(self, package: Package, **members: Any) -> None:
        text = f"text {next(self.numbers)}"
        resources = [{"id": "lasting", "name": text, "url": ""}] if self.rng.random() < 0.5 else []
        package = {**package, "title": text, "resources": resources, **members}
        self.packages[package["id"]] = package
        self.activities[package["id"]].append(package)
        if self.is_public(package):
            self.public[package["id"]].add(text)
        change = Change(package["id"], kept(package, private_too=self.recorder.private_too), ANN, text, EPOCH)
        self.wait_and_record(change)

    def wait_and_record(self, change: Change) -> None:
        self.waiting.append(change)
        if self.up and self.rng.random() < 0.8:  # or else the process dies after CKAN's commit
            self.record_waiting(change.uuid)

    def record_waiting(self, package_id: str) -> None:
        for change in [change for change in self.waiting if change.uuid == package_id]:
            self.recorder.carry_out(change)
            self.waiting.remove(change)

    @staticmethod
    def is_public(package: Package) -> bool:
        return package["state"] == "active" and not package["private"]

    def versions(self, package: Package, *, private_too: bool) -> Versions:
        return Versions(self.recorder.store, self.recorder.id_of(package["id"]), None if private_too else nothing)

    @staticmethod
    def seen(versions: Versions) -> list[metastore.Revision]:
        with suppress(metastore.DatasetNotFound):  # MetaStore was away when the dataset was created
            return versions.revisions(limit=1000)
        return []

    def look_as_nobody(self) -> None:
        """Read everything that anybody may read."""
        for package in filter(self.is_public, self.packages.values()):
            if self.up:
                self.record_waiting(package["id"])
            waiting = [change for change in self.waiting if change.uuid == package["id"]]
            if any(change.package is None and change.group is None for change in waiting):
                continue  # the extension refuses, since what is there belongs to a dataset that was purged
            if self.up:
                assert self.versions(package, private_too=True).read().descriptor == descriptor_of(package)
            versions, allowed = self.versions(package, private_too=False), self.public[package["id"]] | FIXED
            revisions = self.seen(versions)
            assert {revision.message for revision in revisions} <= allowed
            live = [revision for revision in revisions if not revision.deleted]
            for revision in live:
                descriptor = versions.read(revision.id).descriptor
                assert descriptor["id"] == package["id"]
                assert descriptor["title"] in allowed
                assert {*versions.beside(revision.id)} <= {None, *(each.id for each in live)}
            states = versions.newest_states(["lasting"] if revisions else [])
            assert {state["name"] for state in states.values()} <= allowed
            tags = versions.tags() if revisions else []
            assert {tag.revision for tag in tags} <= {revision.id for revision in live}
            for one, other in itertools.pairwise(live):
                words = {change.old for change in versions.diff(other.id, one.id).changes if change.where == "title"}
                assert words <= allowed

    def look_as_a_member(self) -> None:
        """See that a dataset's versions are its own, and the newest one is what CKAN says."""
        for package in self.packages.values():
            try:
                dataset = self.versions(package, private_too=True).read()
            except metastore.DatasetNotFound:
                assert not self.is_public(package)
                continue
            assert (dataset.descriptor["id"], dataset.descriptor["title"]) == (package["id"], package["title"])


@pytest.mark.parametrize("private_too", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_sees_a_version_of_another_dataset_or_of_a_state_that_was_not_public(
    seed: int, private_too: bool
) -> None:
    with metastore.connect("memory:", author=ANN, clock=ticking(), validation="off") as store:
        portal = Portal(store, random.Random(seed), private_too=private_too)
        for _ in range(-(-STEPS // 6)):
            portal.act()
            portal.look_as_nobody()
        portal.up = True
        portal.reconcile()
        portal.look_as_nobody()
        portal.look_as_a_member()
