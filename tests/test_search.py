"""Finding datasets by words and filters, now and at any time: the same by an index, without one, and by a service."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metastore
from metastore import InvalidInput, Store
from metastore.search import _following, _index_queries
from metastore.search import index as sqlite_search
from metastore.search import scan as scanning
from metastore.search._tables import add_functions
from metastore.search.documents import document
from metastore.search.index import SearchIndex
from metastore.search.values import Readable, Results, Wanted
from metastore.search.words import Term, parse_query, words_of_each
from metastore.storage.copy import copy
from metastore.storage.postgres import _search_queries
from metastore.storage.postgres import search as postgres_search
from metastore.types import DatasetId, FeedEntry, Revision

from .bundle.postgres_server import new_storage
from .conftest import ANN, CATALOGUE, EPOCH, TOKEN, change, serving, ticking
from .processes import in_child

OCEAN = {
    "title": "Salinity of the Baltic",
    "description": "Monthly means. Été à Gdańsk; Straße; 東京の気温.",
    "keywords": ["ocean", "Salt"],
    "licenses": [{"name": "CC-BY-4.0"}],
    "contributors": [{"title": "Bo Ek"}],
    "resources": [
        {
            "name": "stations",
            "path": "stations.CSV",
            "description": "Where it was measured: buoys and ships",
            "schema": {"fields": [{"name": "lat", "type": "number"}, {"name": "lon", "type": "number"}]},
        }
    ],
}
CARS = {"title": "Cars", "keywords": ["salt"], "resources": [{"name": "cars", "path": "cars.json", "format": "json"}]}
RAIN = {"title": "Rain means", "licenses": [{"name": "cc-by-4.0"}], "resources": []}


def day(number: int) -> datetime:
    return EPOCH + timedelta(days=number)


ENGINES = ["index", "scan", "service", "postgres"]


@contextmanager
def store_with(engine: str, folder: Path) -> Iterator[Store]:
    """Open an empty store that searches by an engine."""
    if engine == "service":
        inner = metastore.connect(folder / "store", author=ANN, clock=ticking(), sync=False, validation="off")
        with serving(inner) as address, metastore.connect(address, token=TOKEN, author=ANN) as made:
            yield made
        return
    if engine == "postgres":
        with metastore.MetaStore(new_storage(), author=ANN, clock=ticking(), validation="off") as made:
            yield made
        return
    url = folder / "store" if engine == "index" else "memory:"
    with metastore.connect(url, author=ANN, clock=ticking(), validation="off") as made:
        yield made


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_with(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def corpus(store: Store) -> Store:
    return fill(store)


@pytest.fixture(params=ENGINES, scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return a corpus that tests may only read."""
    with store_with(request.param, tmp_path_factory.mktemp("shared")) as made:
        yield fill(made)


def fill(store: Store) -> Store:
    store.dataset_create("physics/ocean", OCEAN, at=day(1))
    store.dataset_create("physics/cars", CARS, at=day(2))
    store.dataset_create("weather/rain", RAIN, at=day(3))
    return store


def found(results: Results) -> list[str]:
    return [str(hit.id) for hit in results.hits]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["physics/cars", "physics/ocean", "weather/rain"]),
        ("salinity", ["physics/ocean"]),
        ("SALIN*", ["physics/ocean"]),
        ("sal*", ["physics/cars", "physics/ocean"]),
        ("salin", []),
        ("means", ["physics/ocean", "weather/rain"]),
        ("means -rain", ["physics/ocean"]),
        ("-means", ["physics/cars"]),
        ('"monthly means"', ["physics/ocean"]),
        ('"means monthly"', []),
        ('-"monthly means" means', ["weather/rain"]),
        ('"buoys and sh*"', ["physics/ocean"]),
        ("ete gdansk STRASSE", ["physics/ocean"]),
        ("été", ["physics/ocean"]),
        ("physics", ["physics/cars", "physics/ocean"]),
        ("lat", ["physics/ocean"]),
        ("CC-BY-4.0", ["physics/ocean", "weather/rain"]),
        ('"baltic monthly"', []),
        ("buoys means", ["physics/ocean"]),
        ("東京", ["physics/ocean"]),
        ("気温 東*", ["physics/ocean"]),
        ("東気", []),
    ],
)
def test_a_query_finds_what_has_all_its_terms(shared: Store, query: str, expected: list[str]) -> None:
    results = shared.dataset_search(query, order="id")
    assert (found(results), results.total, results.more_than_total) == (expected, len(expected), False)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"owner": "physics"}, ["physics/cars", "physics/ocean"]),
        ({"licence": "CC-by-4.0"}, ["physics/ocean", "weather/rain"]),
        ({"licence": ""}, ["physics/cars"]),
        ({"keyword": "SALT"}, ["physics/cars", "physics/ocean"]),
        ({"keyword": "salt", "format": "csv"}, ["physics/ocean"]),
        ({"format": "json"}, ["physics/cars"]),
        ({"field": "lat"}, ["physics/ocean"]),
        ({"field": "la"}, []),
        ({"contributor": "bo ek"}, ["physics/ocean"]),
        ({"contributor": "", "licence": ""}, ["physics/cars"]),
        ({"openness": "open"}, ["physics/ocean", "weather/rain"]),
        ({"openness": "none", "owner": "physics"}, ["physics/cars"]),
        ({"openness": "not-open"}, []),
        ({"changed_since": day(2)}, ["physics/cars", "weather/rain"]),
        ({"changed_since": (day(3)).isoformat()}, ["weather/rain"]),
    ],
)
def test_filters_all_have_to_fit(shared: Store, filters: dict[str, Any], expected: list[str]) -> None:
    assert found(shared.dataset_search(order="id", **filters)) == expected


def test_facets_count_what_was_found(shared: Store) -> None:
    results = shared.dataset_search("means", facets=["licence", "owner", "keyword", "openness"])
    assert {name: [(each.value, each.count) for each in counts] for name, counts in results.facets.items()} == {
        "licence": [("CC-BY-4.0", 2)],
        "owner": [("physics", 1), ("weather", 1)],
        "keyword": [("ocean", 1), ("Salt", 1)],
        "openness": [("open", 2)],
    }


def test_a_hit_says_what_it_is_and_shows_the_words(shared: Store) -> None:
    (hit,) = shared.dataset_search("buoys").hits
    newest = shared.revision_read("physics/ocean")
    assert (hit.id, hit.title, hit.revision, hit.changed) == ("physics/ocean", OCEAN["title"], newest.id, day(1))
    assert hit.snippet == "Where it was measured: **buoys** and ships"


@pytest.mark.parametrize(("order", "expected"), [("changed", "rca"), ("id", "cor"), ("title", "cro")])
def test_results_are_ordered_and_paged(shared: Store, order: str, expected: str) -> None:
    expected = expected.replace("a", "o") if order == "changed" else expected
    names = {"c": "physics/cars", "o": "physics/ocean", "r": "weather/rain"}
    seen, after = list[str](), None
    for _ in range(4):
        page = shared.dataset_search(order=order, limit=1, after=after)
        assert page.total == 3
        seen += found(page)
        if (after := page.following) is None:
            break
    assert seen == [names[letter] for letter in expected]


@pytest.mark.parametrize("order", ["changed", "id", "title"])
def test_pages_lead_back_as_they_led_on(shared: Store, order: str) -> None:
    first = shared.dataset_search(order=order, limit=1)
    second = shared.dataset_search(order=order, limit=1, after=first.following)
    third = shared.dataset_search(order=order, limit=1, after=second.following)
    assert (first.preceding, third.following) == (None, None)
    assert shared.dataset_search(order=order, limit=1, before=third.preceding).hits == second.hits
    back = shared.dataset_search(order=order, limit=2, before=third.preceding)
    assert (back.hits, back.preceding, back.following) == (first.hits + second.hits, None, second.following)
    assert shared.dataset_search(order=order, before=first.following, limit=1).hits == ()


def test_datasets_are_found_by_whether_a_check_finds_fault_with_them(corpus: Store) -> None:
    corpus.dataset_create("a/bare", {"title": "No resources"})
    assert found(corpus.dataset_search(findings=True)) == ["a/bare"]
    assert corpus.dataset_search(findings=False).total == 3
    wrong = CARS | {"resources": [CARS["resources"][0] | {"bytes": "many"}]}  # type: ignore[index, dict-item]
    corpus.dataset_update("physics/cars", CARS | {"version": 1})
    corpus.dataset_update("physics/cars", wrong)
    assert found(corpus.dataset_search(findings=True)) == ["a/bare", "physics/cars"]
    right = CARS | {"resources": [CARS["resources"][0] | {"bytes": 7}]}  # type: ignore[index, dict-item]
    corpus.dataset_update("physics/cars", right)  # has the words that it had at first
    assert found(corpus.dataset_search(findings=True)) == ["a/bare"]


def test_a_word_in_the_title_counts_more(shared: Store) -> None:
    assert found(shared.dataset_search("means")) == ["weather/rain", "physics/ocean"]


def test_the_past_is_found_at_its_time(corpus: Store) -> None:
    corpus.dataset_update("physics/cars", {"title": "Ships", "licenses": [{"name": "ODbL"}]}, at=day(5))
    corpus.dataset_delete("physics/ocean", at=day(6))
    assert found(corpus.dataset_search("cars", at=day(4))) == ["physics/cars"]
    assert corpus.dataset_search("cars", at=day(4)).hits[0].title == "Cars"
    assert found(corpus.dataset_search("odbl")) == ["physics/cars"]
    assert found(corpus.dataset_search("ships -buoys", at=day(5))) == ["physics/cars"]
    assert found(corpus.dataset_search(licence="odbl", at=day(4))) == []
    assert found(corpus.dataset_search(openness="none", at=day(4))) == ["physics/cars"]
    assert corpus.dataset_search(openness="none", deleted=None).total == 0
    assert found(corpus.dataset_search(at=day(0), order="id")) == []
    assert found(corpus.dataset_search(at=day(1), order="id")) == ["physics/ocean"]
    assert found(corpus.dataset_search("salinity")) == []
    assert found(corpus.dataset_search("salinity", deleted=True)) == ["physics/ocean"]
    assert found(corpus.dataset_search("salinity", at=day(5), deleted=None)) == ["physics/ocean"]
    assert corpus.dataset_search("salinity", deleted=None).hits[0].deleted
    corpus.dataset_update("physics/cars", {"title": "Boats"}, at=day(7))
    assert found(corpus.dataset_search("ships -buoys", at=day(5))) == ["physics/cars"]
    assert found(corpus.dataset_search("json", at=day(5))) == []  # what ended then
    assert found(corpus.dataset_search(keyword="salt", at=day(5))) == ["physics/ocean"]


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_dataset_without_a_descriptor_is_found_by_its_id(tmp_path: Path, is_indexed: bool) -> None:
    with metastore.connect(tmp_path / "store" if is_indexed else "memory:") as store:
        store.storage.create(DatasetId("physics", "bare"), {"README.md": b"x"}, change())
        assert (store.is_indexed, store.dataset_search("bare").unreadable) == (is_indexed, ())
        assert found(store.dataset_search("bare")) == ["physics/bare"]


def test_what_is_moved_purged_and_restored_is_followed(corpus: Store) -> None:
    corpus.dataset_search("rain")
    corpus.dataset_move("weather/rain", "weather/snow")
    corpus.dataset_purge("physics/cars", force=True)
    corpus.dataset_delete("physics/ocean")
    assert found(corpus.dataset_search()) == ["weather/snow"]
    corpus.dataset_revert("physics/ocean", corpus.revision_read("physics/ocean").parent or "")
    assert found(corpus.dataset_search("salinity")) == ["physics/ocean"]
    assert found(corpus.dataset_search("cars", deleted=None)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": 'a "b c'}, "the quote at character 3 of the query is not closed"),
        ({"query": "a -- b"}, "'--' at character 3 of the query has no letter or digit"),
        ({"query": "*"}, "character 1"),
        ({"query": "a" * 1001}, "at most 1000 characters"),
        ({"query": "a " * 33}, "at most 32 words"),
        ({"order": "size"}, "order is one of"),
        ({"facets": ["size"]}, "a facet is one of owner, licence"),
        ({"openness": "closed"}, "openness is one of open, not-open, none, not"),
        ({"openness": ""}, "openness is one of open, not-open, none"),
        ({"limit": 0}, "limit is a number from 1"),
        ({"after": "x"}, "after is the `following`"),
        ({"at": "yesterday"}, "a time looks like"),
        ({"at": day(1), "changed_since": day(1)}, "not both"),
        ({"at": day(1), "findings": True}, "not both"),
        ({"before": "x"}, "before is the `preceding`"),
        ({"after": "x", "before": "x"}, "not both"),
    ],
)
def test_what_cannot_be_asked_is_said(shared: Store, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        shared.dataset_search(**arguments)
    assert message in str(caught.value)


def test_a_query_is_parsed_once_and_for_all() -> None:
    assert parse_query('été -"New York" sal*') == (
        Term(("ete",)),
        Term(("new", "york"), negated=True),
        Term(("sal",), prefix=True),
    )


def test_an_index_and_reading_everything_find_the_same_on_real_descriptors(tmp_path: Path) -> None:
    stores = [metastore.connect(url, author=ANN, validation="off") for url in (tmp_path / "store", "memory:")]
    for path in sorted(CATALOGUE.glob("*/*/datapackage.json")):
        for store in stores:
            store.dataset_create(f"{path.parent.parent.name}/{path.parent.name}", path.read_bytes(), at=EPOCH)
    words = {word for path in CATALOGUE.glob("*/*/datapackage.json") for word in path.read_text().split()}
    for word in sorted(word for word in words if word.isalnum())[::40]:
        by_index, by_scan = (store.dataset_search(word, order="id", facets=["format"]) for store in stores)
        assert (found(by_index), by_index.total, by_index.facets) == (found(by_scan), by_scan.total, by_scan.facets)
        assert [hit.snippet for hit in by_index.hits] == [hit.snippet for hit in by_scan.hits]
    assert (by_scan.scanned, by_index.scanned) == (True, False)


TEXTS = st.sampled_from(["Salt", "Salt and été", "Cars", "sea salt"])
STEPS = st.lists(st.tuples(st.sampled_from(["write", "delete", "back"]), TEXTS, st.integers(-3, 3)), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, first=st.integers(-2, 3))
def test_an_index_and_reading_everything_agree_about_any_moment(tmp_path_factory: Any, steps: Any, first: int) -> None:
    stores = [metastore.connect(url, author=ANN, sync=False) for url in (tmp_path_factory.mktemp("s") / "s", "memory:")]
    moment = 10
    for action, text, step in steps:
        moment += step
        for store in stores:
            if action == "delete":
                if "a/b" in store.dataset_list():
                    store.dataset_delete("a/b", at=day(moment))
            elif "a/b" in store.dataset_list():
                store.dataset_update("a/b", {"title": text}, at=day(moment))
            else:
                store.dataset_create("a/b", {"title": text}, at=day(moment))
        stores[0].dataset_search()  # indexed step by step
    for at, deleted in itertools.product([None, *map(day, range(first, 30, 6))], (True, False, None)):
        for query in ("salt", "-salt", '"sea salt"', ""):
            by_index, by_scan = (store.dataset_search(query, at=at, deleted=deleted) for store in stores)
            assert by_index.hits == by_scan.hits, (at, deleted, query)


def test_an_index_that_is_deleted_damaged_or_foreign_is_made_again(tmp_path: Path) -> None:
    url, file = tmp_path / "store", tmp_path / "store" / "_metastore" / "search.sqlite"
    with metastore.connect(url, author=ANN) as store:
        store.dataset_create("physics/ocean", OCEAN)
        assert found(store.dataset_search("salinity")) == ["physics/ocean"]
    emptied = partial(_execute, file, "DELETE FROM meta")
    for damage in (file.unlink, lambda: file.write_bytes(b"rubbish" * 1000), lambda: _of_another_feed(file), emptied):
        damage()
        with metastore.connect(url, author=ANN) as store:
            assert found(store.dataset_search("salinity")) == ["physics/ocean"]


def test_an_older_index_in_place_of_an_open_one_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "_metastore" / "search.sqlite"
    with local(tmp_path) as store:
        store.dataset_create("a/one", {"title": "Salt"})
        store.dataset_create("a/moved", {"title": "Salt"})
        store.dataset_search()
    shutil.copy(file, tmp_path / "older")
    with local(tmp_path) as store:
        store.dataset_update("a/one", {"title": "Pepper"})
        store.dataset_move("a/moved", "a/here")
        assert found(store.dataset_search("salt")) == ["a/here"]
        (tmp_path / "older").replace(file)
        store.dataset_create("a/later", {"title": "Pepper"})
        assert found(store.dataset_search("pepper", order="id")) == ["a/later", "a/one"]
        with local(tmp_path) as other:
            assert found(other.dataset_search("salt")) == ["a/here"]
            assert list(other.verify()) == []
        for _ in range(2):
            assert found(store.dataset_search("salt")) == ["a/here"]
            assert found(store.dataset_search("pepper", order="id")) == ["a/later", "a/one"]
            store._finder.expire()  # as a second later
        assert list(store.verify()) == []


def test_an_index_in_place_of_an_open_one_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "_metastore" / "search.sqlite"
    with local(tmp_path) as store:
        store.dataset_create("a/one", {"title": "Salt"})
        store.dataset_search()
    shutil.copy(file, tmp_path / "other")
    _execute(tmp_path / "other", "UPDATE datasets SET deleted = 1")
    with local(tmp_path) as store:
        assert found(store.dataset_search("salt")) == ["a/one"]
        (tmp_path / "other").replace(file)
        assert found(store.dataset_search("salt")) == ["a/one"]


def test_an_index_that_a_search_finds_damaged_is_made_again_before_it_answers(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("physics/ocean", OCEAN)
        assert store.dataset_search("salinity").total == 1
    with closing(sqlite3.connect(tmp_path / "_metastore" / "search.sqlite")) as database, database:
        database.execute("UPDATE now_data SET block = randomblob(length(block)) WHERE id > 10")
    with local(tmp_path) as store:
        results = store.dataset_search("salinity")
        assert (found(results), results.complete) == (["physics/ocean"], True)


def test_a_forked_child_makes_an_index_in_memory_again_before_it_answers(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("physics/ocean", OCEAN)
        index = store._finder._index
        index._file.path = None
        index._clock = lambda: 0.0
        assert store.dataset_search("salinity").total == 1
        assert in_child(lambda: _expect_salinity(store)) == 0


def _expect_salinity(store: metastore.MetaStore) -> None:
    assert found(store.dataset_search("salinity")) == ["physics/ocean"]


def _of_another_feed(file: Path) -> None:
    _execute(file, "UPDATE meta SET cursor = 'of another feed'")
    _execute(file, "UPDATE datasets SET title = 'Wrong'")


def _execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(statement)


def test_what_another_process_or_plain_git_did_is_found(tmp_path: Path) -> None:
    now = [0.0]
    with metastore.connect(tmp_path, author=ANN) as store, metastore.connect(tmp_path, author=ANN) as other:
        store.dataset_create("physics/ocean", OCEAN)
        index = store._finder._index
        index._clock = lambda: now[0]
        assert found(store.dataset_search("cars")) == []
        other.dataset_create("physics/cars", CARS)
        now[0] += 2
        assert found(store.dataset_search("cars")) == ["physics/cars"]


def _search_from_a_child(url: str, results: Any) -> None:
    with metastore.connect(url) as store:
        results.put(store.dataset_search("salt").total)


def test_processes_that_index_at_once_do_no_harm(tmp_path: Path) -> None:
    with metastore.connect(tmp_path, author=ANN, sync=False) as store:
        for number in range(150):
            store.dataset_create(f"a/d{number}", {"title": f"Salt {number}"})
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        children = [context.Process(target=_search_from_a_child, args=(str(tmp_path), results)) for _ in range(3)]
        for child in children:
            child.start()
        assert [results.get(timeout=60) for _ in children] == [150, 150, 150]
        for child in children:
            child.join()
        assert store.dataset_search("salt").total == 150


def local(root: Path) -> metastore.MetaStore:
    return metastore.connect(root, author=ANN, sync=False, validation="off")


def test_what_vanished_without_a_trace_is_not_counted_on(tmp_path: Path) -> None:
    with local(tmp_path / "store") as store:
        for number in range(3):
            store.dataset_create(f"a/d{number}", {"title": "Salt"})
        assert store.dataset_search("salt").total == 3
        shutil.rmtree(tmp_path / "store" / "a" / "d1.git")
        results = store.dataset_search("salt", order="id")
        assert (found(results), results.total) == (["a/d0", "a/d2"], 2)


def test_an_index_that_came_with_a_copied_store_is_made_again(tmp_path: Path) -> None:
    with local(tmp_path / "store") as store:
        for number in range(3):
            store.dataset_create(f"a/d{number}", {"title": "Salt"})
        store.dataset_search("salt")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "a" / "d1.git")
    with local(tmp_path / "copy") as store:
        results = store.dataset_search("salt", order="id", limit=1)
        assert (found(results), results.total) == (["a/d0"], 2)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE datasets SET title = 'Wrong'",
        "UPDATE datasets SET deleted = 1",
        "UPDATE former SET until = 0",
        "UPDATE now_words SET words = (SELECT max(words) FROM now_words)",
        "DELETE FROM facets",
        "DELETE FROM now",
        "DELETE FROM past",
        "DELETE FROM now_words",
        "DELETE FROM datasets",
        """INSERT INTO datasets (id, owner, name, place, head, changed, since, deleted, title, digest)
        VALUES (99, 'a', 'ghost', 'a' || char(1) || 'ghost', '', 0, 0, 0, 'G', x'00')""",
        "INSERT INTO former (id, dataset, since, until, deleted, title) VALUES (99, 99, 0, 1, 0, 'Of no dataset')",
        "UPDATE datasets SET licence = NULL",
        "UPDATE datasets SET keyword = licence",
        "UPDATE former SET format = 99",
        "DELETE FROM facet_lists",
        "INSERT INTO facet_lists VALUES (99, 1, x'00')",
        "INSERT INTO facets VALUES (99, 1)",
        "INSERT INTO facets SELECT max(list), 999 FROM facets",
        "UPDATE facet_values SET folded = 'other', value = 'other' WHERE facet = 1",
        "INSERT INTO now (title, words) VALUES ('salinity', 'salinity')",
        "DELETE FROM now_data WHERE id > 10",  # the words of all texts, with the texts left in place
        "UPDATE datasets SET findings = NOT findings",
        "UPDATE datasets SET place = place || 'x'",
    ],
)
def test_verify_compares_the_index_with_the_store(tmp_path: Path, damage: str) -> None:
    with local(tmp_path) as store:
        store.dataset_create("physics/ocean", OCEAN, at=day(1))
        assert list(store.verify()) == []
        store.dataset_search("salinity")
        store.dataset_update("physics/ocean", OCEAN | {"title": "Changed since the search"}, at=day(2))
        assert list(store.verify()) == []
        store.dataset_create("physics/cars", CARS)
        store.dataset_search("cars", findings=True)
    with closing(sqlite3.connect(tmp_path / "_metastore" / "search.sqlite")) as database, database:
        add_functions(database)
        database.executescript(damage)
    with local(tmp_path) as store:
        damages = list(store.verify(repair=True))
        assert {each.kind for each in damages} == {"search-index"}
        assert all(each.repaired for each in damages)
        assert list(store.verify()) == []
        assert store.dataset_search("salinity").total == 0
        assert found(store.dataset_search("changed")) == ["physics/ocean"]


def test_verify_looks_whether_datasets_are_found_by_their_words(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        for number in range(40):
            words = " ".join(f"w{number * 100 + word}" for word in range(100))
            store.dataset_create(f"a/d{number}", {"title": "Salt", "description": words})
        assert store.dataset_search("w3999").total == 1
    # Without them, SQLite looks for all words in the first page, and its own check finds nothing wrong.
    _execute(tmp_path / "_metastore" / "search.sqlite", "DELETE FROM now_idx")
    with local(tmp_path) as store:
        assert {each.kind for each in store.verify(repair=True)} == {"search-index"}
        assert list(store.verify()) == []
        assert store.dataset_search("w3999").total == 1


@pytest.mark.parametrize("search_between", [False, True])
def test_verify_finds_nothing_wrong_after_several_changes_in_a_second(tmp_path: Path, search_between: bool) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/b", OCEAN, at=day(1))
        for licence in ("one", "two", "two", "three", "one"):
            store.dataset_update("a/b", {**OCEAN, "licenses": [{"name": licence}]}, at=day(2))
            store.dataset_update("a/b", {**OCEAN, "licenses": [{"name": licence}], "version": "2"}, at=day(2))
            if search_between:
                store.dataset_search("salinity")
        assert [store.dataset_search(licence=licence).total for licence in ("one", "two")] == [1, 0]
        assert store.dataset_search(licence="cc-by-4.0", at=day(1)).total == 1
        assert list(store.verify()) == []


@pytest.mark.parametrize("begun", [False, True], ids=["made", "caught up"])
def test_an_index_whose_writer_was_killed_is_right_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr(_following, "_BATCH", 1)  # so that the writer is killed after some of its transactions
    with local(tmp_path) as store:
        for number in range(3):
            store.dataset_create(f"a/d{number}", {"title": "Pepper"}, at=day(1))
        assert store.dataset_search("pepper").total == 3 if begun else True
        for number in range(3):
            store.dataset_update(f"a/d{number}", {"title": f"Salt {number}"}, at=day(2))
        child = multiprocessing.get_context("fork").Process(target=_die_while_indexing, args=(tmp_path,))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        with closing(sqlite3.connect(tmp_path / "_metastore" / "search.sqlite")) as database:
            salt = database.execute("SELECT owner || '/' || name FROM datasets WHERE title LIKE 'Salt%'").fetchall()
        assert "a/d0" in {name for (name,) in salt}
        assert "a/d2" not in {name for (name,) in salt}
        assert found(store.dataset_search("salt", order="id")) == ["a/d0", "a/d1", "a/d2"]
        assert found(store.dataset_search("pepper", at=day(1), order="id")) == ["a/d0", "a/d1", "a/d2"]
        assert list(store.verify()) == []


def _die_while_indexing(root: Path) -> None:
    with local(root) as store:
        index = store._finder._index
        original = store._finder.content

        def content(dataset_id: DatasetId, revision: Revision) -> bytes:
            if dataset_id == "a/d1":
                os.kill(os.getpid(), signal.SIGKILL)
            return original(dataset_id, revision)

        index._source.content = content  # type: ignore[method-assign]
        store.dataset_search("salt")


def test_a_text_that_successive_revisions_share_is_stored_once(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        for number in range(10):
            write = store.dataset_update if number else store.dataset_create
            # The number of bytes is not searched, so that the text changes in each second revision.
            resource = {"name": "x", "path": "x.csv", "bytes": number}
            write("a/b", {"version": f"1.{number // 2}", "resources": [resource]}, at=day(number))
        assert found(store.dataset_search('"1 2"', at=day(5))) == ["a/b"]
    with closing(sqlite3.connect(tmp_path / "_metastore" / "search.sqlite")) as database:
        counts = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("former", "past_words")]
    assert counts == [4, 4]


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("salt", {}),
        ("sal*", {"order": "changed"}),
        ('"salt 3" -pepper', {"order": "title"}),
        ("", {"licence": "cc-by-4.0"}),
        ("gdansk monthly", {"field": "lat", "facets": ["licence", "field"]}),
        ("salt", {"at": day(2)}),
        ("", {"findings": False}),
    ],
)
def test_a_search_takes_as_many_steps_whatever_hidden_datasets_say(
    tmp_path: Path, query: str, more: dict[str, Any]
) -> None:
    """What SQLite's machine does is counted, which time follows from."""
    steps = []
    for number, hidden in enumerate((None, {"title": "Pepper"}, OCEAN | {"title": "Salt"})):
        with local(tmp_path / str(number)) as store:
            for at in range(5):
                store.dataset_create(f"open/d{at}", OCEAN | {"title": f"Salt {at}"}, at=day(1))
                store.dataset_update(f"open/d{at}", OCEAN | {"title": f"Salt {at}", "version": "2"}, at=day(5))
            for at in range(30 if hidden else 0):
                store.dataset_create(f"secret/d{at}", hidden or {}, at=day(1 + at % 3))
                store.dataset_update(f"secret/d{at}", {**(hidden or {}), "version": "2"}, at=day(6))
            store.dataset_search()  # so that all is indexed
            steps.append(_steps(store, query, more))
    # The index is larger, so that finding a word in it takes some steps more; but not one for each hidden dataset.
    assert max(steps) - min(steps) < 30


def _steps(store: metastore.MetaStore, query: str, more: dict[str, Any]) -> int:
    """Return how many steps SQLite's machine takes to search for a caller who may read one owner."""
    index, taken = store._finder._index, [0]
    assert isinstance(index, SearchIndex)
    index._clock = lambda: 0.0  # so that it does not look for changes now
    database = index._file.ask(lambda database: database)

    def step() -> int:
        taken[0] += 1
        return 0

    filters = {name: more.get(name) for name in ("licence", "field")}
    rest: dict[str, Any] = {"at": None, "order": "relevance", "facets": (), "changed_since": None, "deleted": False}
    rest |= {"findings": None}
    rest |= {name: value for name, value in more.items() if name in rest}
    wanted = Wanted.parse(query, filters, after=None, limit=10, **rest)  # a full page is sorted in other steps
    store.search(wanted, Readable())  # which forgets findings by other rules
    database.set_progress_handler(step, 1)
    results = store.search(wanted, Readable(frozenset({"open"})))
    database.set_progress_handler(None, 1)
    assert results.total
    return taken[0]


def test_what_plain_git_commits_and_takes_back_is_found(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/b", {"title": "Salt"})
        store.dataset_update("a/b", {"title": "Pepper"})
        assert found(store.dataset_search("pepper")) == ["a/b"]
        git = ["git", "-C", str(tmp_path / "a" / "b.git"), "-c", "safe.directory=*"]
        subprocess.run([*git, "update-ref", "HEAD", "HEAD~1"], check=True)
        store._finder.expire()  # as a second later
        assert (found(store.dataset_search("pepper")), found(store.dataset_search("salt"))) == ([], ["a/b"])
        assert list(store.verify()) == []


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"not JSON", b'{"title": 3, "resources": {"name": "x"}}'])
def test_what_plain_git_committed_that_is_no_descriptor_is_found_by_its_id(tmp_path: Path, content: bytes) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/b", {"title": "Salt"})
        git = ["git", "-C", str(tmp_path / "a" / "b.git"), "-c", "safe.directory=*"]
        blob = subprocess.run([*git, "hash-object", "-w", "--stdin"], input=content, check=True, capture_output=True)
        entry = b"100644 blob %s\tdatapackage.json\n" % blob.stdout.strip()
        tree = subprocess.run([*git, "mktree"], input=entry, check=True, capture_output=True).stdout.decode().strip()
        who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        made = subprocess.run(
            [*git, *who, "commit-tree", tree, "-p", "HEAD", "-m", "By hand"], check=True, capture_output=True
        )
        subprocess.run([*git, "update-ref", "HEAD", made.stdout.decode().strip()], check=True)
        store._finder.expire()  # as a second later
        assert (found(store.dataset_search("b")), found(store.dataset_search("salt"))) == (["a/b"], [])


def test_a_giant_title_or_keyword_is_searchable_only_at_its_beginning() -> None:
    giant = "naïve " * 100_000
    content = json.dumps({"title": giant, "keywords": [giant], "licenses": [{"name": giant}]}).encode()
    seen = document(DatasetId("physics", "cars"), content)
    lengths = [len(seen.title), *(len(value) for values in seen.values.values() for value in values)]
    assert seen.title.startswith("naïve naïve")
    assert max(lengths) == 1000
    assert sum(map(len, seen.texts)) < 202_000


def test_a_giant_text_hides_no_later_text(tmp_path: Path) -> None:
    giants = {"description": "salt " * 100_000, "notes": "pepper " * 50_000}
    with local(tmp_path) as indexed, metastore.connect("memory:", author="Ann") as scanned:
        for store in (indexed, scanned):
            store.dataset_create("a/b", {**giants, "sources": [{"title": f"Atlas {n}"} for n in range(500)]})
            for word in ("salt", "pepper", '"atlas 0"', '"atlas 499"'):
                assert found(store.dataset_search(word)) == ["a/b"], word


def test_of_very_many_texts_the_first_ones_are_found() -> None:
    content = json.dumps({"x": [f"w{n} " + "y" * 900 for n in range(1_000)]}).encode()
    words = document(DatasetId("physics", "cars"), content).words()
    assert words.count("w100") == 1
    assert "w500" not in words


@pytest.mark.parametrize("engine", ["index", "scan", "postgres"])
@pytest.mark.parametrize("order", ["relevance", "changed"])
def test_of_more_matches_than_are_counted_the_last_changed_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, order: str
) -> None:
    for module in (sqlite_search, scanning, _search_queries, postgres_search):
        monkeypatch.setattr(module, "MOST_COUNTED", 4)
    with store_with(engine, tmp_path) as store:
        for number in range(7):
            store.dataset_create(f"a/d{number}", {**OCEAN, "title": f"Salt {number}"}, at=day(number))
        store.dataset_create("a/other", {"title": "Monthly means"}, at=day(9))
        store.dataset_update("a/d2", {**OCEAN, "title": "Other"}, at=day(10))
        search = partial(store.dataset_search, 'salt -d4 sal* "measured buoys" -"salt buoys"', order=order, limit=4)
        first = search(facets=["licence"])
        second = search(after=first.following)
        assert found(first) + found(second) == ["a/d2", "a/d6", "a/d5", "a/d3", "a/d1", "a/d0"]
        assert found(search(before=second.preceding)) == found(first)
        assert found(store.dataset_search("-salt -zip", order="changed")) == ["a/other"]
        assert found(store.dataset_search("-other -zip", order="changed", limit=1)) == ["a/d6"]
        assert (first.total, first.more_than_total, first.facets["licence"][0].count) == (4, True, 4)
        counted = store.dataset_search("salt -d0 -d1 -d3")
        assert (found(counted)[-1], counted.total, counted.more_than_total) == ("a/d2", 4, False)


def test_of_very_many_matches_the_last_changed_are_not_sorted_out_of_all(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/b", OCEAN)
        assert found(store.dataset_search("salt")) == ["a/b"]
    database = sqlite3.connect(next(tmp_path.rglob("search.sqlite")))
    add_functions(database)
    query, values = _index_queries.found(replace(wanted("salt"), order="changed"), None, walk=True)
    plan = database.execute(f"EXPLAIN QUERY PLAN SELECT * FROM ({query}) ORDER BY key, place LIMIT 21", values)
    assert [row[3] for row in plan] == [
        "SCAN d USING INDEX datasets_changed",
        "SEARCH w USING INTEGER PRIMARY KEY (rowid=?)",
    ]
    database.close()


def test_few_and_many_texts_have_the_same_words() -> None:
    texts = ["Größe: 5\u2009µm", "", "\x1e", "a\x1eb", "ｆｕｌｌ 気温", "ﷺ", "x" * 300, "-", "long " * 300]
    filler = ["y" * 1_001] * 20  # with which all are folded at once
    assert words_of_each([*texts, *filler])[: len(texts)] == words_of_each(texts)
    assert words_of_each(texts)[:5] == ["grosse 5 μm", "", "", "a b", "full 気 温"]


def wanted(query: str = "", *, facets: tuple[str, ...] = (), findings: bool | None = None) -> Wanted:
    more: dict[str, Any] = {"changed_since": None, "deleted": False, "at": None, "after": None, "limit": 50}
    return Wanted.parse(query, {}, order="id", facets=facets, findings=findings, **more)


def searched(store: Store, query: Wanted, times: int = 20) -> list[Results]:
    """Search without time to spare until the results are complete."""
    pages = [store.search(query, within=0)]
    while not pages[-1].complete and len(pages) < times:
        pages.append(store.search(query, within=0))
    return pages


def test_a_search_with_little_time_indexes_a_slice_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with local(tmp_path) as writer:
        for number in range(4):
            writer.dataset_create("a/many" if number == 0 else f"b/d{number}", {"title": f"Salt {number}"}, at=day(1))
        for number in range(5):
            writer.dataset_update("a/many", {"title": f"Salt and cars {number}"}, at=day(2 + number))
    query = wanted("salt", facets=("owner",))
    with local(tmp_path) as store:
        first, *others, last = searched(store, query)
        assert (first.complete, found(first)) == (False, ["a/many"])
        assert len(others) == 7  # nine revisions, one in each slice
        assert not any(page.complete for page in others)
        assert last == store.search(query)
        assert found(last) == ["a/many", "b/d1", "b/d2", "b/d3"]
        assert list(store.verify()) == []
        with metastore.connect("memory:", author=ANN) as scanned:
            copy(store.storage, scanned.storage)
            for at in map(day, range(9)):
                hits = [each.dataset_search("salt", at=at, order="id").hits for each in (store, scanned)]
                assert hits[0] == hits[1]


def test_a_search_for_findings_with_little_time_checks_some(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        for number in range(5):
            store.dataset_create(f"a/d{number}", {"title": "Salt"})
        store.dataset_search()
        pages = searched(store, wanted(findings=True))
        assert [len(page.hits) for page in pages] == [1, 2, 3, 4, 5]
        assert pages[-1] == store.search(wanted(findings=True))


def test_a_scan_with_little_time_says_that_it_is_not_complete() -> None:
    with metastore.connect("memory:", author=ANN) as store:
        for number in range(3):
            store.dataset_create(f"a/d{number}", {"title": "Salt"})
            results = store.search(wanted("salt"), within=0)
            assert (found(results), results.complete) == (["a/d0"], number == 0)
        assert store.search(wanted("salt")).complete


def test_who_waits_too_long_for_another_thread_to_index_searches_what_there_is(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/first", {"title": "Salt"})
        store.dataset_search()
        store.dataset_create("a/second", {"title": "Salt"})
        index = store._finder._index
        with ThreadPoolExecutor(1) as other:
            other.submit(index._following.acquire).result()
            results = store.search(wanted("salt"), within=0.01)
            other.submit(index._following.release).result()
        assert (found(results), results.complete) == (["a/first"], False)


def test_what_is_written_while_the_index_follows_the_feed_is_found_by_the_next_search(tmp_path: Path) -> None:
    with local(tmp_path) as store:
        store.dataset_create("a/first", {"title": "Salt"})
        finder = store._finder
        changes = finder.changes

        def written_meanwhile(since: str | None) -> Iterator[FeedEntry]:
            finder.changes = changes
            entries = list(changes(since))
            store.dataset_create("a/second", {"title": "Salt"})
            return iter(entries)

        finder.changes = written_meanwhile
        store.dataset_search("salt")
        assert found(store.dataset_search("salt", order="id")) == ["a/first", "a/second"]
