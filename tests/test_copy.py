"""Datasets copied between storages, with whole history, tags and ids."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import StorageUnavailable
from metastore.parse import parse_dataset_id
from metastore.storage.copy import CopyReport, NotCopied, copy
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import Storage
from metastore.types import DatasetId

from .conftest import ANN, EPOCH, REAL, STORAGES, change, opened, real_descriptor, ticking
from .processes import fsck
from .test_interop import git

CARS = DatasetId("physics", "cars")


class Plain(Storage):
    """A storage that is known by its port alone."""


for _name in Storage.__abstractmethods__ | {"turn"}:

    def _forward(self: Any, *arguments: Any, _name: str = _name, **named: Any) -> Any:
        return getattr(self.inner, _name)(*arguments, **named)

    setattr(Plain, _name, _forward)
Plain.__abstractmethods__ = frozenset()


def plain(inner: Storage) -> Storage:
    made: Any = Plain()
    made.inner = inner
    return made  # type: ignore[no-any-return]


@pytest.fixture
def catalogue() -> Storage:
    """Real datasets that were made, changed, tagged, deleted and moved."""
    with metastore.connect("memory:", author=ANN, clock=ticking(), validation="off") as store:
        for name in REAL:
            made = store.dataset_create(f"physics/{name.replace('/', '-')}", real_descriptor(name))
            store.dataset_patch(made.id, {"title": "Better", "sources": [{"title": "☃"}]})
            store.tag_create(made.id, "v1", made.revision.id, description="First")
            store.dataset_patch(made.id, {"title": None}, message="Subject\n\nBody\n\n  indented")
            store.tag_create(made.id, "v2")
        store.dataset_create("physics/gone-one", {"n": 1})
        store.dataset_delete("physics/gone-one")
        store.dataset_create("physics/gone-two", {"n": 1})
        store.dataset_delete("physics/gone-two")
        store.dataset_create("physics/gone-two", {"n": 2})
        return store.storage


@pytest.fixture(params=["objects", "calls"])
def way(request: pytest.FixtureRequest) -> Callable[[Storage], Storage]:
    return plain if request.param == "calls" else lambda storage: storage


@pytest.fixture(params=STORAGES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


def told(storage: Storage) -> Any:
    """All that a storage says of its datasets."""
    return {
        each: (
            [
                (revision, dict(storage.paths(each, revision.id)))
                for revision in storage.history(each, storage.resolve(each, None).id)
            ],
            list(storage.tags(each)),
        )
        for each in storage.ids(deleted=None)
    }


def test_a_copy_says_all_that_the_source_says(
    catalogue: Storage, target: Storage, way: Callable[[Storage], Storage]
) -> None:
    report = copy(way(catalogue), target, deleted=True)
    assert told(target) == told(catalogue)
    tags = 2 * len(REAL)
    assert report == CopyReport(len(REAL) + 2, 0, 3 * len(REAL) + 5, tags)
    assert list(target.verify()) == []


def test_the_catalogue_goes_to_a_host_and_back_with_equal_ids(
    catalogue: Storage, storage_of_one: Storage, tmp_path: Path
) -> None:
    here, back = GitStorage(tmp_path / "here"), GitStorage(tmp_path / "back")
    copy(catalogue, here, deleted=True)
    for source, target in ((here, storage_of_one), (storage_of_one, back)):
        assert copy(source, target, deleted=True).not_copied == ()
    assert told(back) == told(here)
    fsck(tmp_path / "back")


def test_a_host_that_serves_one_owner_takes_no_others(storage_of_one: Storage) -> None:
    source = MemoryStorage()
    source.create(DatasetId("other", "boats"), {"a": b"1"}, change())
    source.create(CARS, {"a": b"1"}, change())
    (left_out,) = copy(source, storage_of_one).not_copied
    assert left_out.dataset == DatasetId("other", "boats")
    assert list(storage_of_one.ids()) == [CARS]


def test_deleted_datasets_come_along_only_when_asked_for(catalogue: Storage) -> None:
    target = MemoryStorage()
    copy(catalogue, target)
    assert DatasetId("physics", "gone-one") not in set(target.ids(deleted=None))
    assert DatasetId("physics", "gone-two") in set(target.ids(deleted=None))


def test_only_what_the_prefix_names_is_copied(catalogue: Storage) -> None:
    target = MemoryStorage()
    assert copy(catalogue, target, prefix="physics/gone").datasets == 1
    assert [str(each) for each in target.ids()] == ["physics/gone-two"]


def test_a_source_that_lists_what_nobody_asked_for_adds_nothing_to_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    evil, target = MemoryStorage(), MemoryStorage()
    wanted, ids = DatasetId("physics", "cars"), [*map(parse_dataset_id, ("_metastore/journal", "a/b", "physics/cars"))]
    for dataset_id in ids:
        evil.create(dataset_id, {"a": b"1"}, change())
    monkeypatch.setattr(evil, "ids", lambda **options: iter(ids))
    assert copy(evil, target, prefix="physics/").datasets == 1
    assert list(target.ids(prefix="physics/")) == [wanted]
    assert copy(evil, target).datasets == 2
    assert list(target.ids(prefix="_")) == []


def test_copying_again_copies_what_is_new(catalogue: Storage, way: Callable[[Storage], Storage]) -> None:
    target = MemoryStorage()
    copy(way(catalogue), target)
    assert copy(way(catalogue), target) == CopyReport(len(REAL) + 1, len(REAL) + 1, 0, 0)
    with metastore.MetaStore(catalogue, author=ANN, clock=ticking()) as store:
        store.dataset_update("physics/gone-two", {"n": 3})
        store.tag_create("physics/gone-two", "v3")
    assert copy(way(catalogue), target) == CopyReport(len(REAL) + 1, len(REAL), 1, 1)


def test_a_rehearsal_says_the_same_and_writes_nothing(catalogue: Storage, way: Callable[[Storage], Storage]) -> None:
    target = MemoryStorage()
    rehearsed = copy(way(catalogue), target, deleted=True, dry_run=True)
    assert list(target.ids(deleted=None)) == []
    assert copy(way(catalogue), target, deleted=True) == rehearsed


def test_a_target_that_is_ahead_has_everything_and_is_left_alone(way: Callable[[Storage], Storage]) -> None:
    source, target = MemoryStorage(), MemoryStorage()
    source.create(CARS, {"a": b"1"}, change())
    copy(way(source), target)
    newest = target.append(CARS, {"a": b"2"}, change(), parent=target.resolve(CARS, None).id)
    assert copy(way(source), target) == CopyReport(1, 1, 0, 0)
    assert target.resolve(CARS, None) == newest


def test_another_history_is_reported_and_left_alone(way: Callable[[Storage], Storage]) -> None:
    source, target = MemoryStorage(), MemoryStorage()
    first = source.create(CARS, {"a": b"1"}, change())
    source.create(DatasetId("physics", "trains"), {"a": b"1"}, change())
    theirs = target.create(CARS, {"a": b"other"}, change())
    report = copy(way(source), target)
    assert report.not_copied == (NotCopied(CARS, None, report.not_copied[0].reason),)
    assert "another history" in str(report.not_copied[0])
    assert target.resolve(CARS, None) == theirs
    assert (report.revisions, report.unchanged) == (1, 0)
    assert source.resolve(CARS, None) == first


def test_a_dataset_that_moved_at_the_target_is_reported(way: Callable[[Storage], Storage]) -> None:
    source, target = MemoryStorage(), MemoryStorage()
    first = source.create(CARS, {"a": b"1"}, change())
    copy(source, target)
    target.rename(CARS, DatasetId("x", "y"), parent=first.id)
    (left_out,) = copy(way(source), target).not_copied
    assert "moved to x/y" in left_out.reason
    assert list(target.ids()) == [DatasetId("x", "y")]


def test_a_tag_that_says_something_else_is_reported_and_left_alone(way: Callable[[Storage], Storage]) -> None:
    with metastore.connect("memory:", author=ANN, clock=ticking()) as store:
        store.dataset_create(CARS, {"n": 1})
        store.tag_create(CARS, "v1")
        target = MemoryStorage()
        copy(store.storage, target)
        kept = target.tag(CARS, "v1")
        store.tag_update(CARS, "v1", description="Other")
        (left_out,) = copy(way(store.storage), target).not_copied
        assert str(left_out) == "physics/cars@v1: the target has another tag of this name"
        assert target.tag(CARS, "v1") == kept


class Failing(MemoryStorage):
    """A storage that fails when so many revisions were made."""

    left = 4

    def _advance(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise StorageUnavailable("cut off")
        super()._advance(*arguments)


def test_a_copy_that_was_cut_off_goes_on(catalogue: Storage) -> None:
    target = Failing()
    with pytest.raises(StorageUnavailable):
        copy(plain(catalogue), target, deleted=True)
    assert 0 < len(list(target.ids(deleted=None))) < len(REAL) + 2
    target.left = 1000
    assert copy(plain(catalogue), target, deleted=True).not_copied == ()
    assert told(target) == told(catalogue)


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[GitStorage]:
    """A dataset that Git made: a merge, other time zones, an executable file, a submodule, two kinds of tags."""
    bare, work = tmp_path / "foreign/physics/cars.git", tmp_path / "work"
    storage = GitStorage(tmp_path / "foreign")
    bare.parent.mkdir(parents=True)
    git("init", "-q", "-b", "main", work)
    (work / "README.md").write_text("By hand\n")
    git("-C", work, "add", "."), git("-C", work, "commit", "-qm", "One")
    git("-C", work, "checkout", "-qb", "side")
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o755)
    git("-C", work, "add", "."), git("-C", work, "commit", "-qm", "Side")
    git("-C", work, "tag", "-a", "off", "-m", "Off the branch", "HEAD")
    git("-C", work, "checkout", "-q", "main")
    (work / "link").symlink_to("README.md")
    git("-C", work, "add", "."), git("-C", work, "commit", "-qm", "Two", "--date", "2020-01-01T00:00:00+0530")
    git("-C", work, "merge", "-q", "--no-ff", "-m", "Merge", "side")
    git("-C", work, "tag", "light"), git("-C", work, "tag", "-am", "Heavy", "heavy")
    git("-C", work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git("-C", work, "commit", "-qm", "Module")
    git("clone", "-q", "--bare", work, bare)
    yield storage
    storage.close()


def test_what_git_made_is_carried_object_by_object(foreign: GitStorage, target: Storage) -> None:
    report = copy(foreign, target)
    if isinstance(target, ObjectStorage) and not target.carries_any_object:
        assert "was not made by MetaStore" in report.not_copied[0].reason
        assert list(target.ids(deleted=None)) == []
        return
    assert report.not_copied == ()
    assert (report.revisions, report.tags) == (4, 3)
    assert told(target) == told(foreign)
    if isinstance(target, GitStorage):
        fsck(Path(target.layout.root))
        merge = git("-C", target.layout.path(CARS), "log", "--oneline", "main")
        assert len(merge.splitlines()) == 5, merge


def test_what_git_made_and_calls_cannot_repeat_is_reported(foreign: GitStorage) -> None:
    target = MemoryStorage()
    assert list(target.ids()) == []
    (left_out,) = copy(plain(foreign), target).not_copied
    assert "was not made by MetaStore" in left_out.reason
    assert list(target.ids()) == []


def test_a_lightweight_tag_is_reported_where_calls_cannot_repeat_it(tmp_path: Path) -> None:
    source, target = GitStorage(tmp_path), MemoryStorage()
    source.create(CARS, {"a": b"1"}, change())
    git("-C", tmp_path / "physics/cars.git", "tag", "light")
    (left_out,) = copy(plain(source), target).not_copied
    assert (left_out.tag, left_out.dataset) == ("light", CARS)
    assert list(target.ids()) == [CARS]
    assert copy(source, target).not_copied == ()
    assert told(target) == told(source)


def test_damage_at_the_source_is_reported_and_the_rest_copied(tmp_path: Path, catalogue: Storage) -> None:
    source, target = GitStorage(tmp_path / "source"), GitStorage(tmp_path / "target")
    copy(catalogue, source)
    damaged = next(iter(source.ids()))
    for file in Path(source.layout.path(damaged)).glob("objects/??/*"):
        file.chmod(0o644)
        file.write_bytes(b"rubbish")
    (left_out,) = copy(GitStorage(tmp_path / "source"), target).not_copied
    assert left_out.dataset == damaged
    assert set(target.ids()) == set(source.ids(deleted=None)) - {damaged}


def test_a_long_history_is_carried_in_one_pack(tmp_path: Path) -> None:
    source, target = MemoryStorage(), GitStorage(tmp_path)
    head = source.create(CARS, {"a": b"0"}, change())
    for number in range(1, 200):
        at = EPOCH + timedelta(seconds=number)
        head = source.append(CARS, {"a": b"%d" % number}, change(at=at), parent=head.id)
    assert copy(source, target).revisions == 200
    assert told(target) == told(source)
    assert len(list(Path(target.layout.path(CARS)).glob("objects/pack/*.pack"))) == 1


def test_every_storage_of_objects_can_be_opened_for_copying() -> None:
    assert issubclass(GitStorage, ObjectStorage)
    assert issubclass(MemoryStorage, ObjectStorage)


def test_the_command_copies_rehearses_and_reports(tmp_path: Path, programs: Path, catalogue: Storage) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [programs / "metastore", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    copy(catalogue, GitStorage(tmp_path / "one"))
    done = run("copy", "one", "two", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["datasets"] == len(REAL) + 1
    assert told(GitStorage(tmp_path / "two")) == told(GitStorage(tmp_path / "one"))
    again = run("copy", "one", "two", "--dry-run")
    assert "0 revisions and 0 tags would be copied" in again.stdout
    with metastore.connect(tmp_path / "two", author=ANN) as store:
        store.dataset_update("physics/gone-two", {"n": 7})
    ahead = run("copy", "one", "two")
    assert (ahead.returncode, "0 revisions and 0 tags copied" in ahead.stdout) == (0, True)
    assert run("copy", "nowhere", "two").returncode == 5


def test_a_copy_behind_a_cursor_brings_what_changed_since_and_reports_what_moved_or_was_purged() -> None:
    source, target = MemoryStorage(), MemoryStorage()
    store = metastore.MetaStore(source, author=ANN, validation="off")
    for name in ("cars", "boats", "ships", "planes", "trains"):
        store.dataset_create(f"physics/{name}", {"n": 1})
    *_, last = store.changes()
    copy(source, target)
    store.dataset_update("physics/cars", {"n": 2})
    store.dataset_delete("physics/boats")
    store.dataset_move("physics/ships", "sea/ships")
    store.dataset_delete("physics/planes")
    store.dataset_purge("physics/planes")
    report = copy(source, target, since=last.cursor, journal=True)
    assert (report.datasets, report.revisions) == (5, 3)
    assert {str(left.dataset) for left in report.not_copied} == {"physics/ships", "physics/planes"}
    copied = metastore.MetaStore(target)
    assert copied.dataset_read("physics/cars").descriptor == {"n": 2}
    assert [str(each) for each in copied.dataset_list(deleted=True)] == ["physics/boats"]
    assert copied.dataset_read("sea/ships").descriptor == {"n": 1}
    assert len(copied.journal()) == 2
    assert copy(source, target, since=last.cursor, prefix="physics/c").datasets == 1
