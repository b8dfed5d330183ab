"""The search index in PostgreSQL: kept by each write, made again if it was emptied, and compared with the datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import metastore
from metastore.errors import PermissionDenied
from metastore.postgres.connection import Connection
from metastore.postgres.roles import set_up_roles
from metastore.search.values import Readable, Wanted
from metastore.storage.copy import copy
from metastore.storage.memory import MemoryStorage
from metastore.storage.postgres import _queries, _search_queries, _texts
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import DatasetId

from .bundle.postgres_server import migrated_database
from .conftest import ANN, change, ticking
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


def test_an_index_that_was_emptied_is_made_again_by_the_next_search(store: metastore.MetaStore, dsn: str) -> None:
    fill(store)
    store.dataset_update("physics/cars", {"title": "Ships"}, at=day(5))
    before = typed(dsn, "SELECT * FROM dataset_text ORDER BY dataset, since")
    typed(dsn, "TRUNCATE dataset_text")
    store.dataset_create("a/new", {"title": "Written while there was no index"}, at=day(6))
    assert found(store.dataset_search("cars", at=day(4))) == ["physics/cars"]
    assert found(store.dataset_search("written")) == ["a/new"]
    store.dataset_purge("a/new", force=True)
    assert typed(dsn, "SELECT * FROM dataset_text ORDER BY dataset, since") == before


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


@pytest.mark.parametrize("by_index", [True, False])
def test_a_search_reads_as_many_rows_with_any_text_in_hidden_datasets(dsn: str, by_index: bool) -> None:
    """The time of a search follows from the rows that it reads."""
    work = []
    for hidden in (None, {"title": "Pepper"}, OCEAN | {"title": "Salt"}):
        with opened(dsn) as store:
            for number in range(5):
                store.dataset_create(f"open/d{number}", OCEAN | {"title": f"Salt {number}"}, at=day(1))
            for number in range(30 if hidden else 0):
                store.dataset_create(f"secret/d{number}", hidden or {}, at=day(1 + number % 3))
            work.append([rows_read(dsn, query, filters, by_index) for query, filters in QUERIES])
            for dataset_id in store.dataset_list(deleted=None):
                store.dataset_purge(dataset_id, force=True)
        typed(dsn, "VACUUM dataset_text")
    nothing, others, alike = work
    assert others == alike
    if by_index:  # then a search looks at no hidden dataset at all
        assert nothing == others
        assert all(sum(each) <= 10 for each in nothing)


QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("salt", {}),
    ("sal*", {"order": "changed"}),
    ('"salt 3"', {}),
    ("salt -4", {"order": "title"}),
    ("", {"order": "id"}),
    ("", {"order": "changed", "changed_since": day(0)}),
    ("", {"licence": "cc-by-4.0", "order": "id"}),
    ("baltic monthly", {"field": "lat"}),
    ("salt", {"at": day(2)}),
]


def rows_read(dsn: str, query: str, more: dict[str, Any], by_index: bool) -> list[int]:
    """Return how many texts each statement of a search reads, for a caller who may read one owner."""
    filters = {name: more.get(name) for name in ("licence", "field")}
    times: dict[str, Any] = {"changed_since": more.get("changed_since"), "at": more.get("at")}
    page: dict[str, Any] = {"order": more.get("order", "relevance"), "after": None, "limit": 3}
    wanted = Wanted.parse(query, filters, deleted=False, facets=("licence", "field"), **times, **page)
    readable, read = Readable(frozenset({"open"})), []
    with psycopg.connect(dsn) as connection:
        if by_index:  # so few rows would be read as a whole otherwise, or along another index
            connection.execute("SET enable_seqscan = off; SET enable_indexscan = off; DROP INDEX dataset_text_changed")
        for statement, values in (_search_queries.counting(wanted, readable), _search_queries.page(wanted, readable)):
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".encode()
            ((plan,),) = connection.execute(explain, values | {"findings": None}).fetchall()
            read.append(sum(_texts_of(plan[0]["Plan"])))
        connection.rollback()
    return read


def _texts_of(node: dict[str, Any]) -> Iterator[int]:
    if node.get("Relation Name") == "dataset_text":
        yield node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    for each in node.get("Plans", []):
        yield from _texts_of(each)


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
