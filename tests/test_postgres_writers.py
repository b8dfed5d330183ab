"""Many processes on one database: nothing acknowledged is lost, each loser is told, and the feed misses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import RevisionConflict

from .bundle.postgres_server import migrated_database
from .processes import in_child
from .spawned import CARS, connect, patch_without_expected
from .test_concurrency import ROUNDS, create_all, do_anything, together, update_with_expected


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Return a folder beside which the URL of a database is written, as `test_concurrency` opens it."""
    with migrated_database() as dsn:
        parts = dict(part.split("=", 1) for part in dsn.split())
        (tmp_path / "url").write_text(f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}")
        yield tmp_path / "store"


def test_writers_at_once_lose_no_acknowledged_revision(root: Path) -> None:
    store = connect(root)
    store.dataset_create(CARS, {})
    said = together("fork", partial(patch_without_expected, rounds=ROUNDS), root)
    history = list(store.revision_list(CARS))
    assert {revision for revision, _, _ in said} == {revision.id for revision in history[:-1]}
    assert len(said) == 8 * ROUNDS == len(history) - 1
    assert list(store.verify()) == []
    store.close()


def test_of_writers_that_expect_the_same_revision_one_wins_and_the_others_are_told(root: Path) -> None:
    store = connect(root)
    store.dataset_create(CARS, {})
    said = together("fork", update_with_expected, root)
    parents = {revision.id: revision.parent for revision in store.revision_list(CARS)}
    won = {revision: head for revision, head in said if revision}
    assert won == {revision: parent for revision, parent in parents.items() if parent}
    assert len(set(won.values())) == len(won)
    store.close()


def test_of_two_creators_of_an_id_exactly_one_wins(root: Path) -> None:
    said = together("fork", create_all, root, 4)
    assert sorted(n for n, _ in said) == list(range(ROUNDS * 5))
    store = connect(root)
    for n, revision in said:
        assert [each.id for each in store.revision_list(f"physics/n{n}")] == [revision]
    store.close()


def test_everything_at_once_on_the_same_ids_leaves_a_sound_store_and_a_full_journal(root: Path) -> None:
    said = together("fork", do_anything, root)
    store = connect(root)
    assert list(store.verify()) == []
    lines = list(store.journal())
    withdrawn = {line.details["entry"] for line in lines if line.action == "withdrawn"}
    kept = [[line.action, str(line.dataset_id)] for line in lines if line.id not in withdrawn]
    assert sorted(line for line in kept if line[0] in ("move", "purge")) == sorted(said)
    store.close()


def _follow(store: metastore.MetaStore, known: dict[str, str], cursor: str | None) -> str | None:
    for entry in store.changes(cursor):
        known[str(entry.dataset_id)] = entry.revision.id if entry.revision else entry.action
        cursor = entry.cursor
    return cursor


def test_the_change_feed_misses_nothing_while_others_write(root: Path) -> None:
    store, known, cursor = connect(root), dict[str, str](), None
    done = threading.Event()
    writers = threading.Thread(target=lambda: (together("fork", _write_some, root, 8), done.set()))
    writers.start()
    passes = 0
    while not done.is_set():
        cursor = _follow(store, known, cursor)
        passes += 1
    writers.join()
    _follow(store, known, cursor)
    assert known == {str(each): store.revision_read(each).id for each in store.dataset_list()}
    assert len(known) == 8 * ROUNDS
    assert passes > 3
    store.close()


def _write_some(root: Path, number: int, say: Callable[..., object]) -> None:
    store = connect(root)
    for n in range(ROUNDS):
        made = store.dataset_create(f"physics/w{number}-{n}", {"n": 0})
        if n % 2:
            store.dataset_update(made.id, {"n": 1})
    store.close()


def test_of_many_revisions_that_are_late_each_loser_is_told_the_head(root: Path) -> None:
    store = connect(root)
    first = store.dataset_create(CARS, {"n": 0}).revision
    won = store.dataset_update(CARS, {"n": 1}, expected=first.id).revision
    with pytest.raises(RevisionConflict) as caught:
        store.dataset_update(CARS, {"n": 2}, expected=first.id)
    assert caught.value.actual == won.id
    store.close()


def test_a_store_that_was_used_works_after_a_fork_in_parent_and_child(root: Path) -> None:
    store = connect(root)
    store.dataset_create(CARS, {"n": 0})
    history = iter(store.revision_list(CARS))
    next(history)

    def child() -> Any:
        store.dataset_patch(CARS, {"child": 1})
        list(history)
        store.close()

    assert in_child(child) == 0
    store.dataset_patch(CARS, {"parent": 1})
    assert store.dataset_read(CARS).descriptor == {"n": 0, "child": 1, "parent": 1}
    store.close()
