"""A process that dies before any statement of an SQLite index: the next one answers as if there were no index."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.bundle import BundleRegistry, Groups
from metastore.history import index as parts
from metastore.search import _following

from ..bundle.conftest import GROUPS, git_record, numi
from ..conftest import ANN
from ..processes import SOAK, in_child

CARS = "physics/cars"
_DIED = 9
#: Before every which statement a process dies outside of the soak.
STEPS = {"search": 46, "history": 11, "bundles": 11}


def fill(root: Path, first: int, last: int) -> None:
    """Write revisions of two datasets, and snapshots of bundles, up to a number."""
    with metastore.connect(root, author=ANN, validation="off", sync=False) as store:
        for number in range(first, last):
            for name in (CARS, "physics/boats"):
                write = store.dataset_update if number else store.dataset_create
                write(
                    name, {"title": f"Salt {number}", "resources": [{"name": "a", "path": "a.csv", "n": number // 2}]}
                )
    with registry_at(root) as registry:
        for number in range(first, last):
            registry.bundle_import([numi(name="A", hosts=[f"h{number}"]), numi(name=f"B{number}")], user="ann")


def registry_at(root: Path) -> BundleRegistry:
    return BundleRegistry(git_record(root), Groups.parse(GROUPS))


def by_search(root: Path) -> Any:
    with metastore.connect(root, author=ANN, sync=False) as store:
        return [*store.dataset_search("salt", order="id").hits, *store.verify()]  # which compares the whole index


def by_parts(root: Path) -> Any:
    with metastore.connect(root, author=ANN, sync=False) as store:
        return [revision.id for revision in store.revision_list(CARS, path="/resources/=a/n")]


def by_bundles(root: Path) -> Any:
    with registry_at(root) as registry:
        return list(registry.bundle_list()), list(registry.bundle_log(limit=None))


QUESTIONS: dict[str, Callable[[Path], Any]] = {"search": by_search, "history": by_parts, "bundles": by_bundles}
#: The statement that brings the index there; none if it is removed.
STATES = {"missing": "", "behind": "SELECT 1", "of another format": "PRAGMA user_version = 1"}


@pytest.mark.parametrize("state", STATES if SOAK else ["behind"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_an_index_whose_process_died_anywhere_is_right_afterwards(
    name: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    monkeypatch.setattr(_following, "_BATCH", 1)
    monkeypatch.setattr(parts, "_BATCH", 2)
    ask, template = QUESTIONS[name], tmp_path / "template"
    file = f"_metastore/{name}.sqlite"
    fill(template, 0, 2)
    ask(template)
    fill(template, 2, 4)
    shutil.copytree(template, tmp_path / "bare")
    (tmp_path / "bare" / file).unlink()
    expected = ask(tmp_path / "bare")
    if STATES[state]:
        with closing(sqlite3.connect(template / file)) as database:
            database.execute(STATES[state])
    else:
        (template / file).unlink()
    ended, number = _DIED, 0
    while ended == _DIED:
        root = tmp_path / f"{number}"
        shutil.copytree(template, root)
        ended = in_child(lambda number=number, root=root: (die_at(number), ask(root)))
        assert ask(root) == expected, f"statement {number}"
        assert ask(root) == expected, f"statement {number}"
        shutil.rmtree(root)
        number += 1 if SOAK else STEPS[name]
    assert ended == 0
    assert number > STEPS[name]
    counted(statements=number)


def die_at(number: int) -> None:
    """End this process, as from `kill -9`, before the n-th statement that SQLite runs."""
    left, connect = iter(range(number, -1, -1)), sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        database = connect(*args, **options)
        database.set_trace_callback(lambda statement: next(left, 1) or os._exit(_DIED))
        return database

    sqlite3.connect = traced
