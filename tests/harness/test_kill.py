"""`kill -9` of writers at random moments: what was acknowledged is there, and everybody goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import metastore
from metastore.errors import NotFound
from metastore.storage.local import _packs
from metastore.storage.local.layout import Layout
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from ..bundle.postgres_server import migrated_database
from ..conftest import ANN, change
from ..processes import SOAK, fsck, in_child
from ..test_storage_contract import tag_of

ROUNDS = 1000 if SOAK else 12
CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
PUT = Layout.put_in_place


def connect(where: str, *, sync: bool = True) -> metastore.MetaStore:
    store = metastore.connect(where, author=ANN, validation="off", sync=sync)
    assert isinstance(store, metastore.MetaStore)
    return store


def work(where: str, log: Path, seed: int) -> None:
    """Write for ever, and note each call before it begins and when it has returned."""
    chance = random.Random(seed)
    store = connect(where, sync=seed % 2 == 0)
    own, note = f"child/n{seed}", os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*facts: object) -> None:
        os.write(note, (json.dumps(facts) + "\n").encode())

    say("done", "create", own, store.dataset_create(own, {"n": 0}).revision.id)
    for n in range(1_000_000):
        name = chance.choices(("update", "common", "tag", "move", "purge", "pack"), (8, 8, 3, 1, 1, 2))[0]
        target = f"child/n{seed}-{n}" if name in ("move", "purge") else own
        say("begin", name, own, target)
        said: Any = None
        if name == "update":
            said = store.dataset_update(own, {"n": n}).revision.id
        elif name == "common":
            said = store.dataset_patch(CARS, {f"w{seed}": n}).revision.id
        elif name == "tag":
            said = store.tag_create(own, f"t{n}").id
        elif name == "pack":
            store.storage.compact(DatasetId(*own.split("/")))
        elif name == "move":
            store.dataset_move(own, target)
            own = target
        else:
            store.dataset_purge(own, force=True)
            said = store.dataset_create(target, {"n": n}).revision.id
            own = target
        say("done", name, own, said)


def replay(lines: list[list[Any]]) -> tuple[str, set[str], set[str], set[str], str | None]:
    """Return the id, revisions and tags that were acknowledged last, those of CARS, and what was under way."""
    own, revisions, tags, common, under_way = "", set[str](), set[str](), set[str](), None
    for kind, name, at, said in lines:
        under_way = name if kind == "begin" else None
        if kind == "begin":
            continue
        own = at
        if name in ("create", "purge"):
            revisions, tags = {said}, set()
        elif name != "move" and said:
            {"update": revisions, "common": common, "tag": tags}[name].add(said)
    return own, revisions, tags, common, under_way


def check(where: str, log: Path) -> int:
    """Look for all that was acknowledged, and return how many calls that were."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    acknowledged = sum(line[0] == "done" for line in lines)
    own, revisions, tags, common, under_way = replay(lines)
    with connect(where) as store:
        assert common <= {revision.id for revision in store.revision_list(CARS)}
        if under_way == "purge":
            return acknowledged
        try:
            found = own if own and store.revision_read(own) else ""
        except metastore.DatasetMoved as error:
            assert under_way == "move"
            found = str(error.new_id)
        if found:
            assert revisions <= {revision.id for revision in store.revision_list(found)}
            assert tags <= {tag.id for tag in store.tag_list(found)}
    return acknowledged


def kill_some(where: str, logs: list[Path], seed: int) -> None:
    children = []
    for number, log in enumerate(logs):
        child = os.fork()
        if not child:
            try:
                work(where, log, seed * 10 + number)
            except BaseException as error:
                os.write(2, f"a child failed: {error!r}\n".encode())
            finally:
                os._exit(1)
        children.append(child)
    time.sleep(random.Random(seed).uniform(0.02, 0.25))
    for child in children:
        os.kill(child, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [-signal.SIGKILL] * len(children)


@pytest.fixture(params=["git", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return where a store is."""
    if request.param == "git":
        yield str(tmp_path / "store")
        return
    with migrated_database() as dsn:
        yield f"postgresql://?{urlencode(dict(part.split('=', 1) for part in dsn.split()))}"


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_before_a_kill_is_there_and_the_next_writer_works(
    where: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    in_folder = not where.startswith("postgresql:")
    rounds, acknowledged = ROUNDS if in_folder else ROUNDS // 5, 0
    store = connect(where, sync=False)
    store.dataset_create(CARS, {"n": 0})
    for seed in range(rounds):
        if seed % 10 == 9:  # a store of a bounded size
            for each in list(store.dataset_list("child/", deleted=None)):
                store.dataset_purge(each, force=True)
        logs = [tmp_path / f"log-{seed}-{number}" for number in range(3)]
        kill_some(where, logs, seed)
        acknowledged += sum(check(where, log) for log in logs if log.exists())
        store.dataset_patch(CARS, {"seed": seed})
        if seed % 5 == 0 or seed == rounds - 1:
            if in_folder:
                fsck(Path(where))
            list(store.verify(repair=True))
            assert list(store.verify()) == []
    every_end_has_a_line(store)
    store.close()
    counted(rounds=rounds, kills=3 * rounds, acknowledged=acknowledged, lost=0)


def every_end_has_a_line(store: metastore.MetaStore) -> None:
    """Every dataset that is gone has a line that says so; a line too many is allowed, one too few is not."""
    lines = {(line.action, str(line.dataset_id)) for line in store.journal()}
    for entry in store.changes():
        if entry.action in ("moved", "purged"):
            assert {("move", str(entry.dataset_id)), ("purge", str(entry.dataset_id))} & lines


@pytest.mark.parametrize("lock", ["packed-refs.new", "former-ids.1-2.new"])
def test_what_a_killed_writer_left_stops_nobody_and_is_repaired(lock: str, tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    left = tmp_path / "physics/cars.git" / lock
    left.write_bytes(b"half of so")
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    storage.tag_create(CARS, tag_of("v1", second.id))
    left.write_bytes(b"half of so")
    assert storage.resolve(CARS, None) == second
    assert [tag.name for tag in storage.tags(CARS)] == ["v1"]
    assert [damage.repaired for damage in storage.verify(repair=True)] == [True]
    assert list(storage.verify()) == []
    assert not left.exists()


def test_what_is_under_way_is_not_taken_for_left_over(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    storage.create(CARS, {"a": b"1"}, change())
    inside = tmp_path / "physics/cars.git/objects/tmp_object_git2_x"
    aside = tmp_path / "_metastore/tmp/x"
    for made in (inside, aside):
        made.write_bytes(b"")
    assert list(storage.verify(repair=True)) == []
    for made in (inside, aside):
        os.utime(made, (1, 1))
    assert [damage.repaired for damage in storage.verify(repair=True)] == [True, True]
    assert not inside.exists()
    assert not aside.exists()


@pytest.mark.parametrize("files", [1, 100], ids=["loose objects", "a pack"])
def test_what_is_filled_for_hours_is_not_taken_for_left_over(
    files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    looked: list[str] = []

    def hours_later(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(folder: str, *args: Any, **options: Any) -> Any:
            os.utime(folder, (1, 1))
            assert list(GitStorage(tmp_path).verify(repair=True)) == []
            looked.append(folder)
            return real(folder, *args, **options)

        return call

    monkeypatch.setattr("metastore.storage.local._packs.install", hours_later(_packs.install))
    monkeypatch.setattr(Layout, "put_in_place", lambda layout, *args: hours_later(partial(PUT, layout))(*args))
    content = {f"a{number}": b"%d" % number for number in range(files)}
    storage.create(BOATS, content, change())
    storage.append(CARS, content, change(), parent=first.id)
    assert len(looked) == (3 if files > 1 else 1)
    assert list(storage.verify()) == []
    assert storage.read(BOATS, storage.resolve(BOATS, None).id, "a0") == b"0"


def test_what_a_killed_creator_filled_is_removed(tmp_path: Path) -> None:
    def killed(layout: Layout, *args: Any) -> None:
        os._exit(9)

    def work() -> None:
        Layout.put_in_place = killed  # type: ignore[method-assign]
        GitStorage(tmp_path, sync=False).create(CARS, {"a": b"1"}, change())

    assert in_child(work) == 9
    [left] = (tmp_path / "_metastore/tmp").iterdir()
    os.utime(left, (1, 1))
    assert [damage.repaired for damage in GitStorage(tmp_path).verify(repair=True)] == [True]
    assert not left.exists()


def test_errors_of_a_killed_creator_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "_metastore" / "tmp").mkdir(parents=True)
    (tmp_path / "_metastore" / "tmp" / "half-a-mark").write_bytes(b'{"for')
    with metastore.connect(tmp_path, author=ANN) as store, pytest.raises(NotFound):
        store.dataset_read(CARS)
