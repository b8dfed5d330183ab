"""The clock steps between writes, backups, restores, imports and undoing: nothing is lost, and no loss is reported."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.catalogue.batches import Chosen, undo_all
from metastore.catalogue.imports import Importer
from metastore.catalogue.sources import Item
from metastore.descriptor.document import encode
from metastore.errors import AlreadyExists, DatasetNotFound
from metastore.storage.lines import JOURNAL
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.recovery import recover
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from ..conftest import ANN
from ..processes import SOAK, fsck

SEEDS, STEPS = (200, 60) if SOAK else (3, 25)
IDS = [DatasetId("physics", name) for name in ("cars", "boats", "ships")]
JUMPS = (-3600, -1, 1, 3600)


class World:
    """A store, its backup, and what was acknowledged; the times of its files are those of the stepped clock."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance, self.off, self._real = random.Random(seed), 0, time.time_ns
        self.root, self.target, self.base = (folder / f"{seed}-{name}" for name in ("store", "backup", "base"))
        self.store = metastore.connect(self.root, author=ANN, validation="off", sync=False, clock=self.now)
        assert isinstance(self.store.storage, GitStorage)
        self.storage = self.store.storage
        self.histories: dict[DatasetId, list[str]] = {}
        self.journal: list[tuple[str, DatasetId]] = []
        self._seen: dict[str, tuple[int, int]] = {}

    def time_ns(self) -> int:
        return self._real() + self.off

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time_ns() / 1e9, UTC)

    def set_file_times(self) -> None:
        """Give files that were made or written since the last call the time of now."""
        for root in (self.root, self.target):
            for folder, _, names in os.walk(root):
                for path in (folder, *(f"{folder}/{name}" for name in names)):
                    self._set_time(path)

    def _set_time(self, path: str) -> None:
        status = os.stat(path, follow_symlinks=False)
        if self._seen.get(path) != (status.st_ino, status.st_mtime_ns) and not path.endswith("/changed"):
            os.utime(path, ns=(self.time_ns(),) * 2, follow_symlinks=False)
            self._seen[path] = status.st_ino, os.stat(path, follow_symlinks=False).st_mtime_ns

    def step(self) -> None:
        self.off += self.chance.choice(JUMPS) * 1_000_000_000

    def write(self) -> None:
        one, other = self.chance.sample(IDS, 2)
        calls: list[Callable[[], object]] = [
            lambda: self.note(one, self.store.dataset_create(one, {"n": self.chance.random()}).revision.id),
            lambda: self.note(one, self.store.dataset_update(one, {"n": self.chance.random()}).revision.id),
            lambda: self.note(one, self.store.dataset_delete(one).id),
            lambda: self.move(one, other),
            lambda: self.purge(one),
            lambda: self.storage.compact(one),
            lambda: self.tag(one),
        ]
        with suppress(AlreadyExists, DatasetNotFound):
            self.chance.choices(calls, (5, 8, 1, 2, 1, 1, 3))[0]()

    def note(self, dataset_id: DatasetId, revision: str) -> None:
        if revision not in self.histories.setdefault(dataset_id, []):
            self.histories[dataset_id].append(revision)

    def move(self, one: DatasetId, other: DatasetId) -> None:
        self.store.dataset_move(one, other)
        self.histories[other] = self.histories.pop(one)
        self.journal.append(("move", one))

    def purge(self, one: DatasetId) -> None:
        self.store.dataset_purge(one, force=True)
        del self.histories[one]
        self.journal.append(("purge", one))

    def tag(self, one: DatasetId) -> None:
        try:
            self.store.tag_create(one, "v1")
        except AlreadyExists:
            self.store.tag_delete(one, "v1")
            self.journal.append(("tag_delete", one))

    def undo_a_batch(self) -> None:
        """Change all datasets in one batch, let the clock step, and undo it: each is as it was before."""
        live = [each for each in IDS if each in self.histories and not self.store.revision_read(each).deleted]
        before = {each: self.store.dataset_read(each).descriptor for each in live}
        with self.store.batch("All") as batch:
            for each in live:
                batch.dataset_patch(each, {"batch": self.chance.random()})
        self.step()
        outcomes = [line.outcome for line in undo_all(self.store, Chosen(batch=batch.id))]
        assert outcomes == ["undone"] * len(live)
        for each in live:
            assert self.store.dataset_read(each).descriptor == before[each]
            self.histories[each] = [revision.id for revision in self.store.revision_list(each)][::-1]

    def merge_an_import(self) -> None:
        """Change a dataset on both sides, with the folder of the last import: both changes are there."""
        for number in range(2):
            value = {"source": number + self.chance.random()}
            item = Item("source.json", encode(value), IDS[0])
            (line,) = Importer(self.store, rule="merge", base=self.base).run([item])
            if line.outcome == "failed":  # it is deleted, or has moved
                return
            self.step()
            self.store.dataset_patch(IDS[0], {"here": number})
            assert self.store.dataset_read(IDS[0]).descriptor["source"] == value["source"]
            self.histories[IDS[0]] = [revision.id for revision in self.store.revision_list(IDS[0])][::-1]

    def back_up(self) -> None:
        report = backup(self.storage, self.target, check=self.chance.random() < 0.3)
        assert (report.kept, report.lost, report.mended) == ((), (), 0)
        assert everything(GitStorage(self.target)) == everything(self.storage)

    def repair(self) -> None:
        assert [damage for damage in self.storage.verify(repair=True) if damage.kind != "left-over-file"] == []

    def lose_one(self) -> None:
        """Remove a dataset by accident after a backup, which brings it back."""
        self.back_up()
        if lost := [each for each in IDS if each in self.histories]:
            shutil.rmtree(self.root / f"{lost[0]}.git")
            self.step()
            assert backup(self.storage, self.target).kept == (lost[0],)
            recover(GitStorage(self.target), self.storage, lost[0], lost[0])

    def check(self) -> None:
        for each in IDS:
            if each in self.histories:
                assert [revision.id for revision in self.store.revision_list(each)][::-1] == self.histories[each]
        lines = list(self.store.journal())[::-1]
        withdrawn = {line.details.get("entry") for line in lines if line.action == "withdrawn"}
        made = [line for line in lines if line.action != "withdrawn" and line.id not in withdrawn]
        assert [(line.action, line.dataset_id) for line in made] == self.journal


def everything(storage: GitStorage) -> dict[DatasetId, Any]:
    """Return the histories and tags of all datasets, those of the store's own too."""
    found: dict[DatasetId, Any] = {}
    for each in (*storage.ids(deleted=None), JOURNAL):
        with suppress(DatasetNotFound):  # nothing was written to the journal yet
            found[each] = list(storage.history(each, storage.resolve(each, None).id)), list(storage.tags(each))
    return found


def test_backups_imports_and_undoing_are_right_when_the_clock_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(SEEDS):
        world = World(tmp_path, seed)
        actions = {
            world.write: 12,
            world.step: 6,
            world.back_up: 3,
            world.repair: 1,
            world.lose_one: 1,
            world.undo_a_batch: 1,
            world.merge_an_import: 1,
        }
        with monkeypatch.context() as patched:
            patched.setattr(time, "time_ns", world.time_ns)
            patched.setattr(time, "time", lambda world=world: world.time_ns() / 1e9)
            for _ in range(STEPS):
                world.chance.choices(list(actions), list(actions.values()))[0]()
                world.set_file_times()
                world.check()
            world.back_up()
            restore(world.target, tmp_path / f"{seed}-restored")
            assert everything(GitStorage(tmp_path / f"{seed}-restored")) == everything(world.storage)
        fsck(world.root)
        fsck(world.target)
        assert list(world.storage.verify()) == list(GitStorage(world.target).verify()) == []
