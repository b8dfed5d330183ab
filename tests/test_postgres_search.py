"""The search index in PostgreSQL: kept by each write, made again if it was emptied, and compared with the datasets."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import metastore
from metastore.config import ServiceSettings
from metastore.errors import PermissionDenied
from metastore.postgres.connection import Connection, prepare
from metastore.postgres.roles import set_up_roles
from metastore.search.values import Wanted
from metastore.storage.copy import copy
from metastore.storage.memory import MemoryStorage
from metastore.storage.postgres import _queries, _texts
from metastore.storage.postgres._spans import FOREVER
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import DatasetId
from metastore.web import create_app

from .bundle.postgres_server import migrated_database
from .conftest import ANN, change, ticking
from .service.conftest import API, Authority
from .test_search import OCEAN, day, fill, found

GIANT = {f"n{number}": f"{'salt ' * 3000}word{number}" for number in range(10)}


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture
def store(dsn: str) -> Iterator[metastore.MetaStore]:
    with opened(dsn) as made:
        yield made


def opened(dsn: str) -> metastore.MetaStore:
    return metastore.MetaStore(PostgresStorage(dsn, patience=5), author=ANN, clock=ticking(), validation="off")


def typed(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each statement is added as it is sent."""
    sent, rows = list[str](), Connection.rows

    def recorded(self: Connection, query: str, values: Any = None) -> list[Any]:
        sent.append(query)
        return rows(self, query, values)

    monkeypatch.setattr(Connection, "rows", recorded)
    return sent


def test_a_write_is_indexed_by_its_own_statement(store: metastore.MetaStore, statements: list[str]) -> None:
    made = store.dataset_create("physics/ocean", OCEAN)
    assert statements == [_queries.WRITE]
    store.dataset_update("physics/ocean", OCEAN | {"title": "Pepper"}, expected=made.revision.id)
    store.dataset_delete("physics/ocean")
    reads = (_queries.NEWEST, _queries.BY_ID)
    assert [each for each in statements if each not in reads] == [_queries.WRITE] * 3
    assert found(store.dataset_search("pepper", deleted=True)) == ["physics/ocean"]


def test_a_search_is_three_statements_however_many_hits_it_has(
    store: metastore.MetaStore, dsn: str, statements: list[str]
) -> None:
    for number in range(7):
        store.dataset_create(f"a/d{number}", {"title": f"Salt {number}"})
    with opened(dsn) as other:
        statements.clear()
        assert len(other.dataset_search("salt", facets=["owner", "field"]).hits) == 7
        assert len(statements) == 3
        other.dataset_search("salt", at=day(1000))
        assert len(statements) == 5  # the descriptors are known


def test_an_index_and_reading_everything_agree_about_any_moment(store: metastore.MetaStore, dsn: str) -> None:
    """Also where clocks went back, and where datasets were deleted and brought back."""
    scanned = metastore.MetaStore(MemoryStorage(), author=ANN, clock=ticking(), validation="off")
    chance = random.Random(5)
    for number in range(10):
        moment = 10
        for _ in range(6):
            moment += chance.randint(-3, 4)
            descriptor = {
                "title": chance.choice(["Salt", "Sea salt", "Été"]),
                "keywords": chance.sample(["Salt", "salt and ice", "Ice"], chance.randint(0, 2)),
                "licenses": [{"name": chance.choice(["CC-BY", "cc-by", "ODbL"])}] * chance.randint(0, 1),
            }
            is_deleted = chance.random() < 0.2
            for each in (store, scanned):
                _change(each, f"a/d{number}", None if is_deleted else descriptor, day(moment))
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("salt", {}),
        ('"salt and" -ete', {}),
        ("-ice", {"licence": "cc-by"}),
        ("d1*", {}),
        ("", {"keyword": "", "deleted": None}),
        ("sal* d3", {"keyword": "ICE"}),
    ]
    for _ in range(2):
        for at, (query, filters) in itertools.product([None, *map(day, range(2, 32, 5))], wanted):
            ours, theirs = (
                each.dataset_search(query, at=at, order="id", facets=("licence", "keyword", "owner"), **filters)
                for each in (store, scanned)
            )
            assert (found(ours), ours.total) == (found(theirs), theirs.total), (at, query, filters)
            assert ours.facets == theirs.facets, (at, query, filters)
        assert list(store.verify()) == []
        typed(dsn, "TRUNCATE dataset_text")


def _change(store: metastore.MetaStore, dataset_id: str, descriptor: dict[str, Any] | None, at: datetime) -> None:
    """Create or update a dataset, or delete it, unless there is none."""
    exists = dataset_id in store.dataset_list()
    if descriptor is not None:
        (store.dataset_update if exists else store.dataset_create)(dataset_id, descriptor, at=at)
    elif exists:
        store.dataset_delete(dataset_id, at=at)


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("SEA-Salt, means", '"sea salt" mean*'),
        ("Été à Gdańsk", "ete gdansk"),
        ("Baltic means, at sea", '"baltic means" -pepper sea'),
        (None, "t1tle"),
    ],
)
def test_a_match_in_the_title_comes_first_however_it_is_written(
    store: metastore.MetaStore, title: str | None, query: str
) -> None:
    store.dataset_create("a/t1tle", {"title": title} if title else {}, at=day(1))
    store.dataset_create("a/newer", {"title": "Sea", "description": f"{title} t1tle"}, at=day(2))
    store.dataset_create(
        "a/parts", {"title": "Means of the Baltic, salt, sea", "description": f"{title} t1tle"}, at=day(3)
    )
    assert found(store.dataset_search(query)) == ["a/t1tle", "a/parts", "a/newer"]


def test_what_successive_texts_share_is_stored_once(store: metastore.MetaStore, dsn: str) -> None:
    """Not the words of each revision, but each text with the period in which it held."""
    for number in range(10):
        write = store.dataset_update if number else store.dataset_create
        write("a/b", OCEAN | {"version": f"1.{number // 2}", "title": "Salt"}, at=day(number))
    every_word = " ".join(words for (words,) in typed(dsn, "SELECT unnest(items) FROM dataset_span"))
    (present,) = typed(dsn, "SELECT words FROM dataset_text WHERE until IS NULL")
    assert (every_word.count("monthly"), present[0].count("monthly")) == (1, 1)
    assert len(typed(dsn, "SELECT since FROM dataset_span")) == 6  # what all revisions share, and five versions
    assert len(typed(dsn, "SELECT since FROM dataset_text")) == 5
    before = typed(dsn, SPANS)
    typed(dsn, "TRUNCATE dataset_text")
    assert found(store.dataset_search('"1 2" monthly', at=day(4))) == ["a/b"]
    assert typed(dsn, SPANS) == before


SPANS = "SELECT since, until, access, ARRAY(SELECT unnest(items) ORDER BY 1) FROM dataset_span ORDER BY 1, 2, 4"


def test_a_search_has_memory_for_very_many_matches_whatever_the_server_gives(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT set_config('work_mem', '1MB', false)")
        assert connection.execute("SHOW work_mem").fetchone() == ("1MB",)
        prepare(connection)
        assert connection.execute("SHOW work_mem").fetchone() == ("64MB",)


def test_a_further_change_in_the_same_second_ends_only_what_it_changes(store: metastore.MetaStore, dsn: str) -> None:
    for number, title in enumerate(["Sugar", "Pepper", "Thyme", "Pepper"]):
        write = store.dataset_update if number else store.dataset_create
        write("a/b", OCEAN | {"title": title}, at=day(min(number, 1)))
    first, second = (int(day(number).timestamp()) for number in (0, 1))
    spans = typed(dsn, "SELECT since, until, cardinality(items) > 1, items[1] FROM dataset_span ORDER BY 1, 2, 4")
    assert [span[:3] for span in spans] == [(first, second, False), (first, FOREVER, True), (second, FOREVER, False)]
    assert (spans[0][3], spans[2][3]) == ("sugar", "pepper")
    assert list(store.verify()) == []


def test_a_write_that_is_refused_is_not_found(store: metastore.MetaStore) -> None:
    first = store.dataset_create("a/b", {"title": "Salt"})
    store.dataset_update("a/b", {"title": "Pepper"})
    with pytest.raises(metastore.RevisionConflict):
        store.dataset_update("a/b", {"title": "Thyme"}, expected=first.revision.id)
    assert store.dataset_search("thyme").total == 0
    assert found(store.dataset_search("pepper")) == ["a/b"]


def test_a_copied_history_is_found_at_any_time(store: metastore.MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_texts, "_MOST_TEXT", 20_000)  # so that it takes several statements
    source = metastore.MetaStore(MemoryStorage(), author=ANN, validation="off")
    source.dataset_create("a/b", {"title": "Rain"}, at=day(0))
    copy(source.storage, store.storage)
    for number in range(1, 4):
        source.dataset_update("a/b", {"title": f"Salt {number}", **GIANT}, at=day(number))
    source.dataset_delete("a/b", at=day(4))
    copy(source.storage, store.storage, deleted=True)
    for number in range(1, 4):
        (hit,) = store.dataset_search(f"{number} word9", at=day(number)).hits
        assert (hit.title, hit.changed) == (f"Salt {number}", day(number))
    assert found(store.dataset_search("rain", at=day(0) + timedelta(hours=23))) == ["a/b"]
    assert store.dataset_search("salt").total == 0
    assert found(store.dataset_search("salt", deleted=True)) == ["a/b"]
    assert list(store.verify()) == []


@pytest.mark.parametrize("content", [b"[]", b"not JSON", b'{"title": 3, "resources": {"name": "x"}}', None])
def test_a_revision_without_a_descriptor_is_found_by_its_id(store: metastore.MetaStore, content: bytes | None) -> None:
    store.storage.create(DatasetId("a", "b"), {"datapackage.json" if content else "x": content or b""}, change())
    assert found(store.dataset_search("b")) == ["a/b"]


@pytest.mark.parametrize(
    ("descriptor", "query"),
    [
        ({"title": "Salt\u0000\ud800"}, "salt"),
        ({"title": "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM} " * 2000, "x": "salt"}, "salt"),
        ({"keywords": ["ä" * 999 + "\u0000"], "x": "salt"}, "salt"),
        (
            {"description": " ".join(chr(0x20000 + number) * 3 for number in range(40_000)), "name": "salt"},
            chr(0x20005) * 3,
        ),
        ({"description": "it's 100% \\a_b& | !c:*"}, "it's 100% \\a_b& c:*"),
    ],
    ids=["no text of PostgreSQL", "grows by folding", "long value", "many words", "signs"],
)
def test_odd_texts_are_found_as_by_scanning(store: metastore.MetaStore, descriptor: Any, query: str) -> None:
    content = json.dumps(descriptor).encode()
    scanned = metastore.MetaStore(MemoryStorage(), author=ANN)
    for each in (store, scanned):
        each.storage.create(DatasetId("a", "b"), {"datapackage.json": content}, change())
    keyword = (descriptor.get("keywords") or [None])[0]
    for wanted in ({"query": query}, {"query": "", "keyword": keyword}):
        ours, theirs = (each.dataset_search(**wanted, facets=["keyword"]) for each in (store, scanned))
        assert (found(ours), found(theirs)) == (["a/b"], ["a/b"])
        assert [count.count for count in ours.facets["keyword"]] == [count.count for count in theirs.facets["keyword"]]
    assert list(store.verify()) == []


@pytest.mark.parametrize("table", ["dataset_text", "dataset_span"])
def test_an_index_that_was_emptied_is_made_again_by_the_next_search(
    store: metastore.MetaStore, dsn: str, table: str
) -> None:
    fill(store)
    store.dataset_update("physics/cars", {"title": "Ships"}, at=day(5))
    before = typed(dsn, "SELECT * FROM dataset_text ORDER BY dataset, since")
    typed(dsn, f"TRUNCATE {table}")
    store.dataset_create("a/new", {"title": "Written while there was no index"}, at=day(6))
    assert found(store.dataset_search("cars", at=day(4))) == ["physics/cars"]
    assert found(store.dataset_search("written")) == ["a/new"]
    store.dataset_purge("a/new", force=True)
    assert typed(dsn, "SELECT * FROM dataset_text ORDER BY dataset, since") == before


@pytest.mark.parametrize("statements_before", [1, 2, 4])
def test_an_index_is_right_after_a_kill_while_it_was_made(
    store: metastore.MetaStore, dsn: str, monkeypatch: pytest.MonkeyPatch, statements_before: int
) -> None:
    for number in range(3):
        store.dataset_create(f"a/d{number}", {"title": f"Salt {number}", **GIANT}, at=day(1))
        store.dataset_update(f"a/d{number}", {"title": f"Pepper {number}", **GIANT}, at=day(2))
    typed(dsn, "TRUNCATE dataset_text")
    monkeypatch.setattr(_texts, "_MOST_TEXT", 20_000)  # so that each dataset takes several statements
    assert killed(_search_until_killed, dsn, statements_before)
    kept = typed(dsn, "SELECT dataset FROM dataset_text UNION ALL SELECT dataset FROM dataset_span")
    assert kept
    assert not typed(dsn, "SELECT indexed FROM dataset_feed")[0][0]
    assert found(store.dataset_search("pepper word9", order="id")) == ["a/d0", "a/d1", "a/d2"]
    assert found(store.dataset_search("salt word9", at=day(1), order="id")) == ["a/d0", "a/d1", "a/d2"]
    assert list(store.verify()) == []


def test_datasets_that_change_while_the_index_is_made_are_indexed_as_they_are_then(
    store: metastore.MetaStore, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("changed", "purged", "same"):
        store.dataset_create(f"a/{name}", {"title": "Salt"}, at=day(1))
    typed(dsn, "TRUNCATE dataset_text")
    run, sent = Connection.rows, list[str]()

    def rows(self: Connection, query: str, values: Any = None) -> list[Any]:
        sent.append(query)
        if query == _queries.INDEX_SOME and sent.count(query) == 1:
            with opened(dsn) as other:
                other.dataset_update("a/changed", {"title": "Pepper"}, at=day(2))
                other.dataset_purge("a/purged", force=True)
        return run(self, query, values)

    monkeypatch.setattr(Connection, "rows", rows)
    assert found(store.dataset_search("salt")) == ["a/same"]
    assert (
        found(store.dataset_search("pepper")) == found(store.dataset_search("salt -same", at=day(1))) == ["a/changed"]
    )
    assert (sent.count(_queries.INDEX_SOME), sent.count(_queries.INDEX)) == (1, 1)
    assert list(store.verify()) == []


def test_a_write_that_is_killed_between_its_statements_is_not_in_the_index(
    store: metastore.MetaStore, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.dataset_create("a/b", {"title": "Salt"})
    monkeypatch.setattr(_texts, "_MOST_TEXT", 20_000)
    assert killed(_write_until_killed, dsn, 0)
    assert (store.dataset_search("word9").total, found(store.dataset_search("salt"))) == (0, ["a/b"])
    assert list(store.verify()) == []


def killed(task: Any, dsn: str, statements_before: int) -> bool:
    """Run a task in a child, and tell whether it was killed."""
    child = multiprocessing.get_context("fork").Process(target=task, args=(dsn, statements_before))
    child.start()
    child.join()
    return child.exitcode == -signal.SIGKILL


def _die_after(statements: int) -> None:
    """Let this process kill itself when it has sent so many statements to the index by themselves."""
    rows, left = Connection.rows, [statements]

    def counted(self: Connection, query: str, values: Any = None) -> list[Any]:
        if query == _queries.INDEX:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return rows(self, query, values)

    Connection.rows = counted  # type: ignore[method-assign]


def _search_until_killed(dsn: str, statements: int) -> None:
    with opened(dsn) as store:
        _die_after(statements)
        store.dataset_search("salt")


def _write_until_killed(dsn: str, statements: int) -> None:
    with opened(dsn) as store:
        _die_after(statements)
        store.dataset_update("a/b", {"title": "Pepper", **GIANT})


@pytest.mark.parametrize(
    ("damage", "repaired"),
    [
        ("UPDATE dataset_text SET title = 'Wrong'", ["physics/ocean"]),
        ("UPDATE dataset_text SET until = 0 WHERE until IS NOT NULL", ["physics/ocean"]),
        ("UPDATE dataset_text SET words = ' salt \x1e' WHERE until IS NULL", ["physics/ocean"]),
        ("UPDATE dataset_text SET id_words = 'secret \x1e'", ["physics/ocean"]),
        ("UPDATE dataset_text SET access = '{other,other/ocean}'", ["physics/ocean"]),
        ("UPDATE dataset_text SET field = '{}'", ["physics/ocean"]),
        ("UPDATE dataset_text SET spelled = NULL", ["physics/ocean"]),
        ("UPDATE dataset_text SET findings = left(findings, -1) || '-'", ["physics/ocean"]),
        ("DELETE FROM dataset_text", ["physics/ocean"]),
        ("UPDATE dataset_text SET dataset = 99", ["dataset_text", "physics/ocean"]),
        ("DELETE FROM dataset_span", ["physics/ocean"]),
        ("UPDATE dataset_span SET since = since + 1", ["physics/ocean"]),
        ("UPDATE dataset_span SET until = until - 1", ["physics/ocean"]),
        ("UPDATE dataset_span SET items = items[2:]", ["physics/ocean"]),
        ("UPDATE dataset_span SET items = items || ARRAY['secret']", ["physics/ocean"]),
        ("UPDATE dataset_span SET access = '{other,other/ocean}'", ["physics/ocean"]),
        ("INSERT INTO dataset_span VALUES (99, 0, 1, '{a,a/ghost}', '{secret}')", ["dataset_text"]),
    ],
)
def test_verify_compares_the_index_with_the_datasets(
    store: metastore.MetaStore, dsn: str, damage: str, repaired: list[str]
) -> None:
    store.dataset_create("physics/ocean", OCEAN, at=day(1))
    store.dataset_update("physics/ocean", OCEAN | {"version": 1, "title": "Other"}, at=day(2))
    assert store.dataset_search(findings=True).total == 0
    wrong = {"resources": [{"name": "x", "path": "x.csv", "bytes": "many"}], "licenses": [{"name": "CC-BY"}]}
    store.dataset_update("physics/ocean", OCEAN | wrong, at=day(3))
    assert store.dataset_search(findings=True).total == 1
    assert list(store.verify()) == []
    typed(dsn, damage)
    damages = list(store.verify(repair=True))
    assert [(each.where, each.kind, each.repaired) for each in damages] == [
        (where, "search-index", True) for where in repaired
    ]
    assert list(store.verify()) == []
    assert found(store.dataset_search("other", at=day(2))) == ["physics/ocean"]


@pytest.fixture
def roles(dsn: str) -> Iterator[str]:
    set_up_roles(dsn)
    typed(dsn, "CREATE ROLE portal LOGIN IN ROLE metastore_app; CREATE ROLE page LOGIN IN ROLE metastore_reader")
    yield dsn
    for role in ("portal", "page", "metastore_app", "metastore_reader"):
        typed(dsn, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_an_application_keeps_the_index_and_a_reader_searches_it(roles: str) -> None:
    with opened(make_conninfo(roles, user="portal")) as store, opened(make_conninfo(roles, user="page")) as reader:
        fill(store)
        store.dataset_move("weather/rain", "weather/snow")
        assert found(reader.dataset_search("snow")) == ["weather/snow"]
        assert not reader.dataset_search("snow").scanned
        for statement in ("UPDATE dataset_text SET words = ''", "DELETE FROM dataset_text", "TRUNCATE dataset_text"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                typed(make_conninfo(roles, user="portal"), statement)
        with pytest.raises(PermissionDenied):
            reader.storage._calls.rows(_queries.SET_INDEXED)  # type: ignore[attr-defined]
        typed(roles, "TRUNCATE dataset_text")
        assert reader.dataset_search("snow").scanned  # since it may not make the index again
        assert found(store.dataset_search("snow")) == ["weather/snow"]
        assert not reader.dataset_search("snow").scanned


def test_a_limited_reader_has_as_many_rows_read_whatever_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a request follows from the rows that it reads."""
    nothing, others = (rows_read(monkeypatch, SEARCHES + LISTS, each) for each in (None, {"title": "Pepper"}))
    assert nothing == others
    assert all(sum(tables.values()) < 100 for tables in nothing.values())
    for analyzed in ("before", "after"):  # with statistics, other plans look at the reader's own texts in other orders
        for path, tables in rows_read(monkeypatch, SEARCHES, OCEAN | {"title": "Salt"}, analyzed).items():
            for table in ("dataset", "dataset_object", "dataset_segment", "dataset_text", "dataset_span"):
                assert tables[table] < nothing[path][table] + HIDDEN // 2, (path, table)


HIDDEN = 30
SEARCHES = [
    "datasets?q=salt&facets=licence,field,owner",
    "datasets?q=sal*&order=changed&limit=3",
    'datasets?q="salt 3"',
    "datasets?q=salt -4&order=title",
    "datasets?q=&order=id&limit=3",
    "datasets?q=&order=changed&changed_since=2024-01-01",
    "datasets?q=&licence=cc-by-4.0&facets=keyword",
    "datasets?q=measured monthly&field=lat",
    "datasets?q=&findings=true",
    f"datasets?q=salt&at={day(2):%Y-%m-%d}&facets=licence,field&limit=3",
    f'datasets?q="salt 3" -2&at={day(4):%Y-%m-%d}&licence=cc-by-4.0',
    f"datasets?q=&field=&at={day(4):%Y-%m-%d}",
]
LISTS = [
    "datasets?q=&order=changed&limit=3&summary=true",
    "datasets",
    "datasets?prefix=open/d1",
    "datasets?include=title,changed&deleted=any",
    f"datasets?at={day(4):%Y-%m-%d}",
    "owners",
    "tags",
]


def rows_read(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], hidden: dict[str, Any] | None, analyzed: str = ""
) -> dict[str, Counter[str]]:
    """Return how many rows of each table each request reads, for a caller who may read one owner.

    Args:
        monkeypatch: Pytest's.
        paths: The requests.
        hidden: The descriptor of hidden datasets; None for none.
        analyzed: Whether the planner learns what texts there are `before` the hidden ones are written, or `after` it.
    """
    with migrated_database() as dsn, opened(dsn) as store:
        for table in ("dataset", "dataset_object", "dataset_segment", "dataset_tag", "dataset_text", "dataset_span"):
            typed(dsn, f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        for number in range(5):
            store.dataset_create(f"open/d{number}", OCEAN | {"title": f"Salt {number}"}, at=day(1))
            if not analyzed:  # else all texts are readable, present ones
                store.dataset_update(f"open/d{number}", OCEAN | {"title": f"Salt {number}", "version": "2"}, at=day(5))
            store.tag_create(f"open/d{number}", "v1")
        typed(dsn, "ANALYZE" if analyzed == "before" else "")
        for number in range(HIDDEN if hidden else 0):
            store.dataset_create(f"secret/d{number}", hidden or {}, at=day(1 + number % 3))
            if number % 3 == 0:
                store.dataset_update(f"secret/d{number}", {**(hidden or {}), "version": "2"}, at=day(6))
                store.tag_create(f"secret/d{number}", "v1")
        typed(dsn, "ANALYZE" if analyzed == "after" else "")
        settings = ServiceSettings(public_read=False)
        with opened(dsn) as fresh:  # which knows no descriptor yet
            client = create_app(fresh, verifier=Authority(), settings=settings).test_client()  # type: ignore[arg-type]
            return {path: _rows_of(monkeypatch, client, path) for path in paths}


def _rows_of(monkeypatch: pytest.MonkeyPatch, client: Any, path: str) -> Counter[str]:
    """Return the rows that a request reads, in functions and by triggers, too."""
    counted, run = Counter[str](), Connection.rows
    query = """SELECT relname, (seq_tup_read + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables
        WHERE relname LIKE 'dataset%'"""

    def rows(self: Connection, statement: str, values: Any = None) -> list[Any]:
        with self.transaction():
            counted.subtract(dict(self.execute(query).fetchall()))
            result = run(self, statement, values)
            counted.update(dict(self.execute(query).fetchall()))
        return result

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "rows", rows)
        answer = client.get(
            f"{API}/{path}", headers={"Authorization": f"Bearer {Authority().token('ann', 'ds:open/*:read')}"}
        )
    assert (answer.status_code, "secret" in answer.text) == (200, False)
    return counted


def test_a_search_with_little_time_scans_while_a_thread_makes_the_index(dsn: str, store: metastore.MetaStore) -> None:
    fill(store)
    typed(dsn, "TRUNCATE dataset_text")
    wanted = Wanted.parse(
        "salinity", {}, changed_since=None, deleted=False, at=None, order="id", facets=(), after=None, limit=9
    )
    results = store.search(wanted, within=10)
    assert (found(results), results.scanned, results.complete) == (["physics/ocean"], True, True)
    store._finder._index._maker.join()
    assert not store.search(wanted, within=10).scanned
    assert list(store.verify()) == []


def test_a_search_for_findings_with_little_time_checks_some(store: metastore.MetaStore) -> None:
    for number in range(3):
        store.dataset_create(f"a/d{number}", {"title": f"Salt {number}"})
    wanted = Wanted.parse(
        "", {}, changed_since=None, deleted=False, findings=True, at=None, order="id", facets=(), after=None, limit=9
    )
    pages = [store.search(wanted, within=0) for _ in range(3)]
    assert [(len(page.hits), page.complete) for page in pages] == [(1, False), (2, False), (3, True)]
