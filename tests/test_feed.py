"""The change feed of a local store brings every change at least once, with any clock and from any copy."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import metastore
from metastore.errors import InvalidInput, MetastoreError
from metastore.storage._cursors import by_time, moment_of
from metastore.storage.local import _clock, _feed
from metastore.storage.local.storage import GitStorage
from metastore.storage.port import Storage
from metastore.types import DatasetId

from .conftest import ANN, EPOCH, change
from .processes import SOAK

ROUNDS, STEPS = (300, 60) if SOAK else (10, 30)
IDS = [f"physics/{name}" for name in ("cars", "boats", "ships", "planes", "trains")]
CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
HOUR = 3600 * 1_000_000_000


class SteppedClock:
    """A system clock that somebody sets, now and then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = 0
        for module in (_clock, _feed):
            monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=self.time_ns))

    def time_ns(self) -> int:
        return time.time_ns() + self.off


class Follower:
    """Another system that follows a store, page by page."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.known: dict[str, str | None] = {}

    def read(self, root: Path, most: int) -> None:
        for entry, _ in zip(connect(root).changes(self.cursor), range(most), strict=False):
            if self.cursor is None or self.cursor[:16] != entry.cursor[:16]:
                self.known = {}  # another feed: it begins at the start
            state = entry.revision.id if entry.revision else str(entry.new_id or "purged")
            self.known[str(entry.dataset_id)] = state
            self.cursor = entry.cursor

    def catch_up(self, root: Path) -> None:
        for _ in range(3):  # the first may end a pass that began before the last changes
            self.read(root, 1000)


def connect(root: Path) -> metastore.MetaStore:
    return metastore.connect(root, author=ANN, validation="off", sync=False)


def truth(root: Path) -> dict[str, str | None]:
    """Return what a follower has to know of each id."""
    store, found = connect(root), dict[str, str | None]()
    for each in IDS:
        try:
            found[each] = store.revision_read(each).id
        except metastore.DatasetMoved as error:
            found[each] = str(error.new_id)
        except metastore.DatasetNotFound:
            found[each] = "purged"
    return found


def write_anything(root: Path, chance: random.Random) -> None:
    store, one, other = connect(root), chance.choice(IDS), chance.choice(IDS)
    calls: list[Callable[[], object]] = [
        lambda: store.dataset_create(one, {"n": chance.random()}),
        lambda: store.dataset_update(one, {"n": chance.random()}),
        lambda: store.dataset_delete(one),
        lambda: store.dataset_move(one, other),
        lambda: store.dataset_purge(one, force=True),
    ]
    with suppress(MetastoreError):
        chance.choices(calls, (4, 4, 1, 2, 1))[0]()


def write_with_git(root: Path, chance: random.Random) -> None:
    """Let plain Git add a commit to a dataset, if there is one."""
    repository = root / f"{chance.choice(IDS)}.git"
    if repository.is_dir():
        git = ["git", "-C", str(repository), "-c", "safe.directory=*", "-c", "user.name=A", "-c", "user.email=a@b.c"]
        commit = [*git, "commit-tree", "main^{tree}", "-p", "main", "-m", f"{chance.random()}"]
        new = subprocess.run(commit, check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run([*git, "update-ref", "refs/heads/main", new], check=True)


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


class FileTimes:
    """The times of the files of repositories, as the stepped clock gives them, since the kernel's cannot be set."""

    def __init__(self, clock: SteppedClock) -> None:
        self._clock, self.real = clock, _feed._file_time
        self._known: dict[str, tuple[int, int]] = {}

    def stepped(self, path: str) -> int:
        real = self.real(path)
        if self._known.get(path, (0, 0))[0] != real:
            self._known[path] = real, self._clock.time_ns()
        return self._known[path][1]

    def follow(self, root: Path) -> None:
        """Give what was written since the last call the time of now. Called before the clock is set."""
        for path in root.glob("*/*.git"):
            self.stepped(str(path))


def test_a_pass_ends_when_what_is_left_of_it_changes_while_the_clock_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SteppedClock(monkeypatch).off = -HOUR
    store = connect(tmp_path)
    for each in IDS[:2]:
        store.dataset_create(each, {})
    cursor = list(store.changes())[-1].cursor
    begun = next(iter(store.changes(cursor)))  # by the times of files, which are an hour ahead
    (left,) = (each for each in IDS[:2] if begun.dataset_id != each)
    revision = store.dataset_update(left, {"title": "Later"}).revision
    seen = {str(entry.dataset_id): entry.revision for entry in store.changes(begun.cursor)}
    assert seen[left] == revision


def write_in_any_way(root: Path, chance: random.Random) -> None:
    chance.choice((write_anything, write_with_git))(root, chance)


#: By which clock files get their times, who writes, and by how many nanoseconds the clock is set.
BACK_AND_FORTH, FORWARD = (-HOUR, -HOUR // 3600, HOUR // 3600, HOUR), (HOUR // 3600, HOUR)
HOW: dict[str, tuple[Callable[[FileTimes], Callable[[str], int]], Callable[..., None], tuple[int, ...]]] = {
    "files have no times": (lambda files: lambda path: 0, write_anything, BACK_AND_FORTH),
    "files follow another clock": (lambda files: files.real, write_anything, BACK_AND_FORTH),
    "files follow the same clock": (lambda files: files.stepped, write_anything, BACK_AND_FORTH),
    "Git writes too, and no step goes back": (lambda files: files.stepped, write_in_any_way, FORWARD),
}


@pytest.mark.parametrize("how", HOW)
def test_nothing_is_missed_when_the_clock_steps_and_stores_are_copied_and_put_back(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock(monkeypatch)
    files = FileTimes(clock)
    file_time, write, jumps = HOW[how]
    monkeypatch.setattr(_feed, "_file_time", file_time(files))
    for seed in range(ROUNDS):
        chance, follower, root = random.Random(seed), Follower(), tmp_path / f"{seed}-store"
        saved = None
        connect(root).dataset_create(IDS[0], {})
        for step in range(STEPS):
            action = chance.choices(["write", "clock", "read", "copy", "save", "put back"], (12, 4, 6, 1, 1, 1))[0]
            if action == "write":
                write(root, chance)
            elif action == "clock":
                clock.off += chance.choice(jumps)
            elif action == "read":
                follower.read(root, chance.choice((1, 2, 1000)))
            elif action == "copy":
                copy(root, root := tmp_path / f"{seed}-{step}")
            elif action == "save":
                copy(root, saved := tmp_path / f"{seed}-{step}")
            elif saved:
                shutil.rmtree(root)
                copy(saved, root)
            files.follow(root)
        follower.catch_up(root)
        wanted = {name: state for name, state in truth(root).items() if state != "purged" or name in follower.known}
        assert {name: follower.known.get(name) for name in wanted} == wanted, f"seed {seed}"


def test_a_backup_that_is_copied_over_the_store_begins_another_feed(tmp_path: Path) -> None:
    root, follower = tmp_path / "store", Follower()
    connect(root).dataset_create(IDS[0], {"n": 1})
    copy(root, tmp_path / "saved")
    connect(root).dataset_update(IDS[0], {"n": 2})
    follower.catch_up(root)
    shutil.copytree(tmp_path / "saved", root, dirs_exist_ok=True)  # each file keeps its inode
    connect(root).dataset_create(IDS[1], {})
    follower.catch_up(root)
    assert follower.known[IDS[0]] == truth(root)[IDS[0]]


def test_a_copy_of_hard_links_begins_another_feed_and_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_feed, "_file_time", lambda path: 0)  # or what changed a moment ago is seen again
    root, follower = tmp_path / "store", Follower()
    connect(root).dataset_create(IDS[0], {"n": 1})
    subprocess.run(["cp", "-al", root, tmp_path / "yesterday"], check=True)
    then = truth(root)
    connect(root).dataset_update(IDS[0], {"n": 2})
    follower.catch_up(root)
    assert truth(tmp_path / "yesterday") == then
    os.rename(root, tmp_path / "today")
    os.rename(tmp_path / "yesterday", root)
    follower.catch_up(root)
    assert follower.known == {IDS[0]: then[IDS[0]]}


def test_a_volume_that_is_rolled_back_begins_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_feed, "_file_time", lambda path: 0)
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    saved = (tmp_path / "_metastore/feed/clock").read_bytes()
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    cursor = list(storage.touched(None))[-1][0]
    assert list(storage.touched(cursor)) == []
    (tmp_path / "_metastore/feed/clock").write_bytes(saved)
    assert [each for _, each in storage.touched(cursor)] == [CARS]


def test_a_file_that_the_system_left_among_the_notes_is_passed_over(tmp_path: Path) -> None:
    with metastore.connect(tmp_path, author=ANN) as store:
        store.dataset_create(CARS, {})
        store.dataset_move(CARS, BOATS)
        (tmp_path / "_metastore/notes/.DS_Store").write_bytes(b"")
        assert {entry.dataset_id: entry.action for entry in store.changes()} == {CARS: "moved", BOATS: "changed"}
        assert not list(store.verify())


def test_a_moved_folder_keeps_its_feed(tmp_path: Path) -> None:
    store = connect(tmp_path / "store")
    store.dataset_create(IDS[0], {})
    cursor = list(store.changes())[-1].cursor
    os.rename(tmp_path / "store", tmp_path / "elsewhere")
    assert [entry.cursor[:16] for entry in connect(tmp_path / "elsewhere").changes(cursor)] in ([], [cursor[:16]])


def test_after_a_power_cut_the_clock_continues_behind_what_was_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _clock.Clock(str(tmp_path), sync=True)
    clock.tick()
    durable = (tmp_path / "clock").read_bytes()
    last = max(clock.tick() for _ in range(10))
    (tmp_path / "clock").write_bytes(durable)
    monkeypatch.setattr(_clock, "_boot", lambda: "another")
    monkeypatch.setattr(_clock, "time", SimpleNamespace(time_ns=lambda: 5))  # its battery is empty
    assert clock.tick() > last


def test_a_change_that_is_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer has its time and not yet its revision: the feed must not go past that time."""
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    cursor = list(storage.touched(None))[-1][0]
    stamped, go_on, seen = threading.Event(), threading.Event(), list[Any]()
    real = storage.layout.stamp

    def stamp(repository: str) -> None:
        real(repository)
        stamped.set()
        go_on.wait(10)

    monkeypatch.setattr(storage.layout, "stamp", stamp)
    reader = GitStorage(tmp_path, sync=False)

    def read() -> None:
        for after, dataset_id in reader.touched(cursor):
            seen.append((after, reader.resolve(dataset_id, None).id))

    write = threading.Thread(
        target=lambda: seen.append(storage.append(CARS, {"a": b"2"}, change(), parent=first.id).id)
    )
    write.start()
    assert stamped.wait(10)
    follow = threading.Thread(target=read)
    follow.start()
    time.sleep(0.2)
    assert seen == [], "the feed was read while a writer had its time and not yet its revision"
    go_on.set()
    write.join()
    follow.join()
    newest = reader.resolve(CARS, None).id
    cursors = [each[0] for each in seen if isinstance(each, tuple)]
    told = {each[1] for each in seen if isinstance(each, tuple)}
    told |= {reader.resolve(each, None).id for _, each in reader.touched(cursors[-1] if cursors else cursor)}
    assert newest in told


def test_a_change_during_a_pass_comes_in_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_feed, "_file_time", lambda path: 0)
    storage = GitStorage(tmp_path, sync=False)
    heads = {each: storage.create(each, {"a": b"1"}, change()).id for each in (BOATS, CARS)}
    reading = storage.touched(None)
    assert next(reading)[1] == BOATS
    storage.append(BOATS, {"a": b"2"}, change(), parent=heads[BOATS])
    last = list(reading)[-1]
    assert last[1] == CARS
    assert BOATS in {each for _, each in storage.touched(last[0])}


def test_a_pass_continues_behind_each_of_its_entries(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    ids = [DatasetId("physics", f"n{number}") for number in range(6)]
    heads = {each: storage.create(each, {"a": b"1"}, change()).id for each in ids}
    storage.rename(ids[4], BOATS, parent=heads[ids[4]])
    storage.purge(ids[1], parent=heads[ids[1]])
    whole = list(storage.touched(None))
    assert [each for _, each in whole] == [BOATS, ids[0], ids[2], ids[3], ids[5], ids[1], ids[4]]
    for number, (cursor, _) in enumerate(whole[:-1]):
        assert [each for _, each in storage.touched(cursor)] == [each for _, each in whole[number + 1 :]]
    cursor = whole[-1][0]
    for each in (ids[5], ids[0], ids[3]):
        storage.append(each, {"a": b"2"}, change(), parent=heads[each])
    later = [(after, each) for after, each in storage.touched(cursor) if each in (ids[5], ids[0], ids[3])]
    assert [each for _, each in later] == [ids[5], ids[0], ids[3]], "oldest change first"
    assert [each for _, each in storage.touched(later[0][0])][-2:] == [ids[0], ids[3]]


def test_a_page_of_the_first_pass_opens_only_the_datasets_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it takes no longer where there are a hundred thousand."""
    store = connect(tmp_path)
    for number in range(40):
        store.dataset_create(f"owner{number % 4}/d{number}", {})
    looked: list[str] = []
    for name in ("stat", "open", "lstat"):
        real = getattr(os, name)

        def looking(path: Any, *args: Any, real: Any = real, **options: Any) -> Any:
            looked.extend(re.findall(r"owner\d/d\d+", str(path)))
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, looking)
    page = [str(entry.dataset_id) for entry, _ in zip(connect(tmp_path).changes(), range(5), strict=False)]
    assert page == ["owner0/d0", "owner0/d12", "owner0/d16", "owner0/d20", "owner0/d24"]
    assert set(page) <= set(looked) <= {*page, "owner0/d28"}  # whether there is more


def test_what_plain_git_changes_is_in_the_feed(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    cursor = list(storage.touched(None))[-1][0]
    git = ["git", "-C", str(tmp_path / "physics/cars.git"), "-c", "safe.directory=*"]
    subprocess.run([*git, "tag", "by-hand", first.id], check=True)
    assert [each for _, each in storage.touched(cursor)] == [CARS]


def test_verify_and_packing_change_nothing_that_the_feed_tells_of(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    storage.create(CARS, {"a": b"1"}, change())
    clock = storage.layout.clock.read()
    list(storage.verify(repair=True))
    storage.compact(CARS)
    storage.pack_loose(CARS)
    assert storage.layout.clock.read() == clock


def test_a_hosts_cursor_never_passes_the_moment_up_to_which_all_is_known() -> None:
    seconds = [EPOCH + timedelta(seconds=number) for number in range(4)]
    rows = [(seconds[3], CARS), (seconds[0], BOATS), (seconds[2], DatasetId("physics", "ships"))]
    moments = [moment_of(cursor) for cursor, _ in by_time(seconds[1], rows)]
    assert moments == [seconds[0], seconds[1], seconds[1]]


@pytest.mark.parametrize(
    "cursor", ["", "x", "5", f"{'0' * 16}", f"{'0' * 16}.1.2.3.4.5", f"{'0' * 16}.1.2.3.4.5.a/b/c"]
)
def test_a_text_that_is_no_cursor_is_refused_at_once(cursor: str, storage: Storage) -> None:
    with pytest.raises(InvalidInput, match="not a cursor"):
        storage.touched(cursor)


@pytest.mark.parametrize("cursor", [f"{'1' * 16}.{'9' * 20}", f"{'0' * 16}.1", f"{'a' * 16}.1.2.3.4.5.a/b"])
def test_a_cursor_of_another_storage_begins_at_the_start(cursor: str, tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    storage.create(CARS, {"a": b"1"}, change())
    assert [each for _, each in storage.touched(cursor)] == [CARS]
