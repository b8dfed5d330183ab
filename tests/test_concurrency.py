"""Several processes and threads at once: nothing acknowledged is lost, and each loser is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import AlreadyExists, MetastoreError, NotFound, RevisionConflict, StorageBusy
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from .conftest import change
from .processes import SOAK, fsck, in_child
from .spawned import CARS, connect, patch_without_expected, run_and_note

WRITERS = 8
ROUNDS = 200 if SOAK else 10
IDS = [f"physics/{name}" for name in ("cars", "boats", "ships", "planes")]


def together(method: str, work: Callable[..., None], root: Path, count: int = WRITERS) -> list[Any]:
    """Run `work(root, number, say)` in processes at the same time; return all that they said."""
    context = multiprocessing.get_context(method)
    start = context.Barrier(count)
    children = [context.Process(target=run_and_note, args=(work, root, number, start)) for number in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * count
    texts = [(root.parent / f"said-{number}").read_text() for number in range(count)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def update_with_expected(root: Path, number: int, say: Callable[..., object]) -> None:
    store = connect(root)
    for n in range(ROUNDS):
        head = store.revision_read(CARS)
        try:
            say(store.dataset_update(CARS, {"n": [number, n]}, expected=head.id).revision.id, head.id)
        except RevisionConflict as error:
            say(None, error.expected)


def create_all(root: Path, number: int, say: Callable[..., object]) -> None:
    store = connect(root)
    for n in range(ROUNDS * 5):
        with suppress(AlreadyExists):
            say(n, store.dataset_create(f"physics/n{n}", {"by": number}).revision.id)


def do_anything(root: Path, number: int, say: Callable[..., object]) -> None:
    store, chance = connect(root), random.Random(number)
    for n in range(ROUNDS * 3):
        one, other = chance.sample(IDS, 2)
        calls: list[tuple[str, Callable[[], Any]]] = [
            ("create", lambda one=one, n=n: store.dataset_create(one, {"n": [number, n]})),
            ("patch", lambda one=one, n=n: store.dataset_patch(one, {f"w{number}": n})),
            ("move", lambda one=one, other=other: store.dataset_move(one, other)),
            ("purge", lambda one=one: store.dataset_purge(one, force=True)),
            ("tag", lambda one=one, n=n: store.tag_create(one, f"t{number}-{n}")),
            ("pack", lambda one=one: store.storage.compact(DatasetId(*one.split("/")))),
            ("read", lambda one=one: (store.dataset_read(one), list(store.revision_list(one)))),
            ("list", lambda: list(store.dataset_list())),
        ]
        name, call = chance.choices(calls, [3, 8, 2, 1, 3, 2, 4, 1])[0]
        try:
            call()
        except (NotFound, AlreadyExists, RevisionConflict, StorageBusy):
            continue
        if name in ("move", "purge"):
            say(name, one)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_writers_at_once_lose_no_acknowledged_revision(method: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = connect(root)
    store.dataset_create(CARS, {})
    writers = WRITERS if SOAK or method == "fork" else 3  # each that is spawned starts for a second
    said = together(method, partial(patch_without_expected, rounds=ROUNDS), root, writers)
    history = list(store.revision_list(CARS))
    assert {revision for revision, _, _ in said} == {revision.id for revision in history[:-1]}
    assert len(said) == writers * ROUNDS == len(history) - 1
    assert store.dataset_read(CARS).descriptor == {f"writer-{number}": ROUNDS - 1 for number in range(writers)}
    fsck(root)


def test_of_writers_that_expect_the_same_revision_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = connect(root)
    store.dataset_create(CARS, {})
    said = together("fork", update_with_expected, root)
    parents = {revision.id: revision.parent for revision in store.revision_list(CARS)}
    won = {revision: head for revision, head in said if revision}
    assert won == {revision: parent for revision, parent in parents.items() if parent}
    assert len(set(won.values())) == len(won)
    assert all(head in parents for _, head in said)


def test_of_two_creators_of_an_id_exactly_one_wins(tmp_path: Path) -> None:
    root = tmp_path / "store"
    said = together("fork", create_all, root, 4)
    assert sorted(n for n, _ in said) == list(range(ROUNDS * 5))
    store = connect(root)
    for n, revision in said:
        assert [each.id for each in store.revision_list(f"physics/n{n}")] == [revision]


def test_a_store_may_be_made_by_many_at_once(tmp_path: Path) -> None:
    for n in range(ROUNDS):
        together("fork", lambda root, number, say: connect(root / "new").close(), tmp_path / str(n), 4)


def test_everything_at_once_on_the_same_ids_leaves_a_sound_store_and_a_full_journal(tmp_path: Path) -> None:
    root = tmp_path / "store"
    said = together("fork", do_anything, root)
    store = connect(root)
    assert list(store.verify()) == []
    fsck(root)
    lines = list(store.journal())
    withdrawn = {line.details["entry"] for line in lines if line.action == "withdrawn"}
    kept = [[line.action, str(line.dataset_id)] for line in lines if line.id not in withdrawn]
    assert sorted(line for line in kept if line[0] in ("move", "purge")) == sorted(said)


def test_threads_share_a_store(store: metastore.MetaStore, request: pytest.FixtureRequest) -> None:
    store.dataset_create(CARS, {})
    # Where each call is several requests, fewer calls meet as often.
    rounds = ROUNDS if SOAK or request.node.callspec.params["store"] in ("memory", "git", "git-synced") else 3

    def work(number: int) -> None:
        for n in range(rounds):
            store.dataset_patch(CARS, {f"writer-{number}": n})
            store.dataset_read(CARS)
            store.tag_create(CARS, f"t{number}-{n}")

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(work, range(WRITERS)))
    assert len(list(store.revision_list(CARS))) == WRITERS * rounds + 1
    assert len(list(store.tag_list(CARS))) == WRITERS * rounds


def test_a_store_that_was_used_works_after_a_fork_in_parent_and_child(tmp_path: Path) -> None:
    store = connect(tmp_path)
    store.dataset_create(CARS, {"n": 0})
    history = iter(store.revision_list(CARS))
    next(history)
    assert in_child(lambda: (store.dataset_patch(CARS, {"child": 1}), list(history))) == 0
    store.dataset_patch(CARS, {"parent": 1})
    assert store.dataset_read(CARS).descriptor == {"n": 0, "child": 1, "parent": 1}


def test_a_child_forked_while_a_thread_holds_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    storage = GitStorage(tmp_path, sync=False)
    made = storage.create(CARS, {"a": b"1"}, change())
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with storage.lock(CARS), storage._handles._mutex, storage._cache._mutex:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    waiting, go_on = os.pipe()
    child = os.fork()
    if not child:
        os.read(waiting, 1)
        with suppress(BaseException):
            storage.append(CARS, {"a": b"child"}, change(), parent=storage.resolve(CARS, None).id)
            os._exit(0)
        os._exit(1)
    done.set()
    thread.join()
    storage.append(CARS, {"a": b"parent"}, change(), parent=made.id)
    os.write(go_on, b"1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_history_that_is_read_goes_on_while_others_pack(tmp_path: Path) -> None:
    reader, packer = GitStorage(tmp_path, sync=False, cache_bytes=0), GitStorage(tmp_path, sync=False)
    made = packer.create(CARS, {"a": b"0"}, change())
    for n in range(20):
        made = packer.append(CARS, {"a": b"%d" % n, "d/b": b"%d" % n}, change(), parent=made.id)
    read = []
    for revision in reader.history(CARS, made.id, path="d/b"):
        packer.compact(CARS)
        packer.append(CARS, {"c": b"%d" % len(read)}, change(), parent=packer.resolve(CARS, None).id)
        read.append(reader.read(CARS, revision.id, "d/b"))
    assert read == [b"%d" % n for n in range(19, -1, -1)]


def test_the_change_feed_misses_nothing_while_others_write(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store, stop, known, cursor = connect(root), threading.Event(), {}, None

    def follow(cursor: str | None) -> str | None:
        for entry in store.changes(cursor):
            known[str(entry.dataset_id)] = entry.revision.id if entry.revision else entry.action
            cursor = entry.cursor
        return cursor

    writers = threading.Thread(target=lambda: (together("fork", do_anything, root, 4), stop.set()))
    writers.start()
    while not stop.is_set():
        cursor = follow(cursor)
    writers.join()
    follow(cursor)
    for each in IDS:
        now: str | None
        try:
            now = store.revision_read(each).id
        except MetastoreError as error:
            now = {"dataset-moved": "moved", "dataset-not-found": "purged"}[error.kind]
        if each in known or now != "purged":
            assert known.get(each) == now, each
