"""The index of what revisions touched says the same as reading each revision."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metastore
from metastore import Author, Revision
from metastore.history import _touched, index
from metastore.history.index import PartIndex
from metastore.history.parts import Part, steps_back
from metastore.storage.port import Storage

from .conftest import ANN, ticking

CARS = "physics/cars"
NAMES = st.sampled_from(["a", "b", "=a", "7"])
VALUES: Any = st.deferred(lambda: st.sampled_from([0, "x", None]) | ITEMS | OBJECTS)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=2)
#: Things with names, some of which are one thing under another name, and some of which have no name at all.
ITEMS = st.lists(
    st.fixed_dictionaries({}, optional={"name": NAMES, "path": st.sampled_from("pq"), "a": VALUES}),
    min_size=1,
    max_size=3,
)
DOCUMENTS = st.none() | st.fixed_dictionaries({"a": ITEMS | OBJECTS}, optional={"=a": st.integers(0, 1)})
PARTS = st.sampled_from(
    [
        ("a",),
        ("=a",),
        *(("a", *rest) for rest in (["=a"], ["b"], ["=a", "a"], ["a", "a"], ["=b", "path"], ["0"], ["=7"])),
    ]
) | st.lists(NAMES, max_size=4).map(tuple)


class Histories:
    """Revisions that are numbers, with a descriptor each."""

    def __init__(self, documents: list[Any]) -> None:
        self.contents = [json.dumps(each).encode() if each is not None else None for each in documents]
        self.reads = 0

    def revision(self, number: int) -> Revision:
        parent = f"{number - 1:040}" if number else None
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return Revision(f"{number:040}", parent, Author("Ann", "ann@example.org"), now, "", deleted=False)

    def history(self, revision_id: str) -> Iterator[Revision]:
        return (self.revision(number) for number in range(int(revision_id), -1, -1))

    def read(self, revision: Revision) -> bytes | None:
        self.reads += 1
        return self.contents[int(revision.id)]

    def walked(self, start: int, part: Part) -> list[tuple[str, Part]]:
        steps = steps_back(self.history(f"{start:040}"), self.read, part)
        return [(revision.id, former) for revision, changed, former in steps if changed]

    def indexed(self, parts: PartIndex, start: int, part: Part) -> Iterator[tuple[str, Part]]:
        steps = parts.steps_back(self.history, self.read, self.revision(start), part)
        return ((revision.id, former) for revision, changed, former in steps if changed)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BATCH", 3)
    monkeypatch.setattr(index, "_ROWS", 2)


@pytest.mark.parametrize(
    ("documents", "part"),
    [
        ([{"a": [{"name": "b", "path": "p", "n": 1}]}, {"a": [{"name": "c", "path": "p", "n": 1}]}], ("a", "=c", "n")),
        ([{"a": [{"name": "b", "path": "p"}]}, {"a": [{"name": "c", "path": "p"}]}], ("a", "=c")),
        ([{"a": [{"name": "b"}]}, {"a": {"b": {"name": "b"}}}], ("a", "b")),
        ([{"a": [{"path": "b", "n": 1}]}, {"a": [{"name": "b", "n": 1}]}], ("a", "=b", "n")),
        ([{"a": [1, 2]}, {"a": [2, 2]}], ("a", "1")),
        ([{"a": {"=b": 1}}, {"a": {"=b": 1, "b": 2}}], ("a", "=b")),
        ([{"a": {f"k{number}": 0 for number in range(300)}}, {"a": {}}], ("a", "k250")),
        ([{"a": {"n": 1.10}}, {"a": {"n": 1.1}}, {"a": {"n": True}}, None, {"a": {"n": 1}}], ("a", "n")),
    ],
    ids=["renamed", "renamed as a whole", "now a member", "now with a name", "position", "sign", "many", "deleted"],
)
def test_a_part_is_followed_by_the_index_as_by_reading(documents: list[Any], part: Part) -> None:
    histories, parts = Histories([{}, *documents, *documents[-1:]]), PartIndex(None)
    newest = len(documents) + 1
    for _ in range(3):
        assert list(histories.indexed(parts, newest, part)) == histories.walked(newest, part)


questions = st.lists(
    st.tuples(st.integers(0, 11), PARTS, st.none() | st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOCUMENTS, min_size=1, max_size=12), questions, st.sampled_from([3, 200]))
def test_the_index_agrees_with_reading_each_revision(
    monkeypatch: pytest.MonkeyPatch, documents: list[Any], asked: list[tuple[int, Part, int | None]], most: int
) -> None:
    monkeypatch.setattr(_touched, "_MOST", most)
    histories, parts = Histories(documents), PartIndex(None)
    for start, part, limit in asked:
        start = min(start, len(documents) - 1)
        expected = histories.walked(start, part)
        found = histories.indexed(parts, start, part)
        assert list(islice(found, limit)) == expected[:limit], (start, part)
        found.close()  # type: ignore[attr-defined]
    for start in range(len(documents)):
        for part in {part for _, part, _ in asked}:
            assert list(histories.indexed(parts, start, part)) == histories.walked(start, part), (start, part)


def test_a_history_that_is_indexed_is_found_with_few_reads(tmp_path: Path) -> None:
    histories = Histories([{"title": number // 50, "version": number} for number in range(1000)])
    parts = PartIndex(str(tmp_path / "history.sqlite"))
    expected = histories.walked(999, ("title",))
    assert list(histories.indexed(parts, 999, ("title",))) == expected
    histories.contents += [json.dumps({"title": "New", "version": 1001}).encode()]
    histories.reads = 0
    found = list(histories.indexed(PartIndex(str(tmp_path / "history.sqlite")), 1000, ("title",)))
    assert found == [(f"{1000:040}", ("title",)), *expected]
    assert histories.reads <= 4


def test_the_index_is_made_again_while_it_is_read(tmp_path: Path) -> None:
    histories = Histories([{"title": number} for number in range(30)])
    path = tmp_path / "history.sqlite"
    parts = PartIndex(str(path))
    expected = histories.walked(29, ("title",))
    assert list(histories.indexed(parts, 29, ("title",))) == expected
    found = histories.indexed(parts, 29, ("title",))
    head = [next(found) for _ in range(5)]
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript("DELETE FROM revisions; DELETE FROM touched")
    assert head + list(found) == expected


def test_the_index_holds_no_text(tmp_path: Path) -> None:
    histories = Histories([{"confidential": number} for number in range(10)])
    list(histories.indexed(PartIndex(str(tmp_path / "history.sqlite")), 9, ("confidential",)))
    assert not any(b"confidential" in each.read_bytes() for each in tmp_path.iterdir())


def test_a_store_keeps_its_index_beside_the_datasets(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        first = store.dataset_create(CARS, {"title": "A", "resources": []}).revision
        store.dataset_patch(CARS, {"version": "1"})
        assert list(store.revision_list(CARS, path="/title")) == [first]
    assert (tmp_path / "store/_metastore/history.sqlite").is_file()
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        third = store.dataset_patch(CARS, {"title": "B"}).revision
        assert list(store.revision_list(CARS, path="/title")) == [third, first]


def test_an_open_store_reads_a_history_once_on_every_storage(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = metastore.MetaStore(storage, author=ANN, clock=ticking(), validation="off")
    first = store.dataset_create(CARS, {"title": "A"}).revision
    for number in range(8):
        store.dataset_patch(CARS, {"version": str(number)})
    assert list(store.revision_list(CARS, path="/title")) == [first]
    reads: list[str] = []
    read = storage.read

    def counted(dataset_id: Any, revision: str, path: str) -> bytes:
        reads.append(revision)
        return read(dataset_id, revision, path)

    monkeypatch.setattr(storage, "read", counted)
    newest = store.dataset_patch(CARS, {"title": "B"}).revision
    reads.clear()
    assert list(store.revision_list(CARS, path="/title")) == [newest, first]
    assert len(reads) < 5
