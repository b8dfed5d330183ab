"""How PostgreSQL finds the rows of each statement on datasets: by an index."""

from __future__ import annotations

import os
import uuid
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import psycopg
import pytest

from metastore import MetaStore
from metastore.errors import DatasetMoved, OutcomeUnknown, RevisionNotFound
from metastore.git.objects import blob_id
from metastore.parse import parse_dataset_id
from metastore.postgres.connection import Connection
from metastore.search.values import Wanted
from metastore.storage.postgres import _indexing, _queries, _search_queries
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import DatasetId

from .bundle.postgres_server import migrated_database
from .conftest import ANN, change
from .test_search import day

#: Statements that read whole tables: what `verify` compares, and the end of making the index again.
WHOLE = {_queries.STRAYS, _queries.STRAY_TEXTS, _queries.SET_INDEXED}
#: Each statement of the module but parts of others. `_indexing` names the columns of one.
STATEMENTS = {name: text for name, text in vars(_queries).items() if name.isupper() and name[0] != "_"}
STATEMENTS["TEXTS"] = _indexing._TEXTS
#: `dataset_feed` has one row.
_SCANS = b"""SELECT relname, seq_scan FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'dataset%' AND relname <> 'dataset_feed'"""
QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("sal*", {"order": "changed"}),
    ("salt -4", {"order": "title"}),
    ("", {"order": "id"}),
    ("", {"order": "changed", "changed_since": day(0)}),
    ("baltic monthly", {"field": "lat"}),
    ('"salt 3" -2', {"at": day(4), "licence": "cc-by-4.0"}),
    ("", {"at": day(4), "field": "", "order": "id"}),
]
CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


#: The tables are small, so PostgreSQL is told to avoid that. It does it all the same where no index helps.
_SMALL = "SET LOCAL enable_seqscan = off"
#: As it plans the first runs on a connection: with the values that it is given.
_FIRST_RUN = "SET LOCAL plan_cache_mode = force_custom_plan"


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> dict[str, set[str]]:
    """Return a dict that gets each statement of the library, with the tables that it reads from end to end."""
    seen, setting = defaultdict[str, set[str]](set), getattr(request, "param", _SMALL)
    run = Connection.rows

    def scans(connection: Connection) -> dict[str, int]:
        return dict(connection.execute(_SCANS).fetchall())

    def rows(self: Connection, query: str, values: Any = None) -> list[Any]:
        with self.transaction():
            self.execute(setting.encode())
            before = scans(self)
            answer = run(self, query, values)
            seen[query] |= {table for table, count in scans(self).items() if count > before.get(table, 0)}
        return answer

    monkeypatch.setattr(Connection, "rows", rows)
    return seen


def test_no_statement_reads_a_table_from_end_to_end(dsn: str, scanned: dict[str, set[str]]) -> None:
    with MetaStore(PostgresStorage(dsn, replicas=dsn, cache_bytes=0), author=ANN) as store:
        _write(store)
        _read(store)
        with psycopg.connect(dsn) as connection:
            connection.execute("TRUNCATE dataset_text")
        for query, more in QUERIES:
            store.dataset_search(query, facets=("licence",), findings=False if "at" not in more else None, **more)
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE dataset_text SET changed = 0")
        assert len(list(store.verify(repair=True))) == 2
        assert list(store.verify()) == []
    names = {name for name, text in STATEMENTS.items() if text in scanned}
    assert names == set(STATEMENTS), "the calls of this test are to run every statement"
    assert {query: tables for query, tables in scanned.items() if tables and query not in WHOLE} == {}


#: Copies of the rows of each dataset, under keys and ids of their own.
_COPIES = b"""
INSERT INTO dataset (pk, owner, name, head, n, first, deleted) OVERRIDING SYSTEM VALUE
    SELECT pk + 10 * i, 'o' || i % 20, 'd' || i || name, head, n, first, deleted
    FROM dataset, generate_series(1, 10000) AS i ORDER BY md5(i::text);
INSERT INTO dataset_segment (dataset, first, alone, parent, base, who, commits, contents, rests, recorded)
    SELECT dataset + 10 * i, first, alone, parent, base, who, commits, contents, rests, recorded
    FROM dataset_segment, generate_series(1, 2000) AS i;
INSERT INTO dataset_object SELECT dataset + 10 * i, id, kind, packed, base, data
    FROM dataset_object, generate_series(1, 2000) AS i;
INSERT INTO dataset_tag SELECT dataset + 10 * i, name, target, revision FROM dataset_tag, generate_series(1, 2000) AS i;
INSERT INTO dataset_forward SELECT owner, name || i, dataset + 10 * i
    FROM dataset_forward, generate_series(1, 2000) AS i;
INSERT INTO dataset_change (owner, name, action, after) SELECT owner, name || i, action, after
    FROM dataset_change, generate_series(1, 2000) AS i;
INSERT INTO dataset_text SELECT r.* FROM dataset_text AS t, generate_series(1, 2000) AS i,
    LATERAL jsonb_populate_record(t, jsonb_build_object('dataset', dataset + 10 * i, 'words', ' word' || i)) AS r;
INSERT INTO dataset_span SELECT r.* FROM dataset_span AS t, generate_series(1, 2000) AS i,
    LATERAL jsonb_populate_record(t, jsonb_build_object('dataset', dataset + 10 * i, 'items', ARRAY['word' || i])) AS r;
SELECT setval(pg_get_serial_sequence('dataset', 'pk'), (SELECT max(pk) FROM dataset) + 10);
"""


@pytest.mark.parametrize("scanned", [_FIRST_RUN], indirect=True)
def test_the_first_run_of_a_statement_on_a_connection_reads_no_large_table(
    dsn: str, scanned: dict[str, set[str]]
) -> None:
    with MetaStore(PostgresStorage(dsn), author=ANN) as store:
        store.dataset_create("chemistry/acid", {"title": "Acid"})
        store.tag_create("chemistry/acid", "v1", store.dataset_update("chemistry/acid", {"title": "Acids"}).revision)
        store.dataset_create("chemistry/base", {"title": "Base"})
        store.dataset_move("chemistry/base", "chemistry/alkali")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_COPIES)
        connection.execute("VACUUM ANALYZE")
    scanned.clear()
    with MetaStore(PostgresStorage(dsn, replicas=dsn, cache_bytes=0), author=ANN) as store:
        _write(store)
        _read(store)
        for after, deleted in product((None, DatasetId("o5", "d")), (False, None)):
            assert next(store.storage.ids(after=after, deleted=deleted)) is not None
        for query, more in QUERIES:
            if query:  # without words, nearly all texts may fit: those are counted up to a limit
                store.dataset_search(query, facets=("licence",), **more)
    assert {query: tables for query, tables in scanned.items() if tables} == {}


def _write(store: MetaStore) -> None:
    storage = store.storage
    assert isinstance(storage, PostgresStorage)
    for name in (CARS, BOATS, "chemistry/salt"):
        store.dataset_create(name, {"name": "x", "title": name})
    first = store.dataset_update(CARS, {"title": "Other"}).revision
    small = os.urandom(100)
    large = {"a": small, "b": os.urandom(3_000_000), "c": os.urandom(3_000_000)}  # too much for one statement
    second = storage.append(CARS, large, change(), parent=first.id)
    third = storage.append(CARS, {"d": blob_id(small)}, change(), parent=second.id)
    assert storage.size(CARS, third.id, "d") == len(small)
    tag = store.tag_create(CARS, "v1")
    store.tag_update(CARS, "v1", new_name="v2", expected=tag)
    store.tag_delete(CARS, "v2")
    storage.adopt_tag(BOATS, {}, "light", store.revision_read(BOATS).id)
    store.dataset_move(BOATS, "physics/ships")
    store.dataset_purge("chemistry/salt", force=True)
    assert storage.was_made(OutcomeUnknown("lost", attempt=str(uuid.uuid4()))) is False


def _read(store: MetaStore) -> None:
    newest = store.revision_read(CARS)
    store.dataset_read(CARS, at_least=newest)
    store.dataset_read(CARS, newest.id[:8])
    assert store.storage.size(parse_dataset_id(CARS), newest.id, "c") == 3_000_000
    oldest = store.revision_list(CARS)[-1]
    store.tag_create(CARS, "v0", oldest)
    assert store.revision_read(CARS, "v0") == oldest
    assert len(store.tag_list(CARS)) == 1
    assert list(store.dataset_list("physics/")) == [CARS, "physics/ships"]
    with pytest.raises(DatasetMoved):
        store.dataset_read(BOATS)
    with pytest.raises(RevisionNotFound):
        store.dataset_read(CARS, "0" * 40)
    assert len(list(islice(store.changes(), 4))) == 4
    store.storage.ping()


def test_the_list_of_one_owner_reads_nothing_of_those_before_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""INSERT INTO dataset (owner, name, head, n, first, deleted)
            SELECT CASE WHEN n > 20000 THEN 'z' ELSE 'a' END, 'd' || lpad((n % 20000)::text, 5, '0'), '', 0, 0, false
            FROM generate_series(1, 20600) AS n""")
        connection.execute("VACUUM ANALYZE dataset")
    blocks, run = list[int](), Connection.rows

    def rows(self: Connection, query: str, values: Any = None) -> list[Any]:
        ((plan,),) = run(self, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", values)
        blocks.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
        return run(self, query, values)

    monkeypatch.setattr(Connection, "rows", rows)
    storage = PostgresStorage(dsn)
    for prefix, after, first in (
        ("z/", None, "z/d00001"),
        ("z/", DatasetId("a", "d00001"), "z/d00001"),
        ("z/", DatasetId("z", "d00001"), "z/d00002"),
        ("z/d0001", DatasetId("z", "d00001"), "z/d00010"),
        ("z/d00010", DatasetId("z", "d00001"), "z/d00010"),
        ("z/d0001", DatasetId("z", "d00010"), "z/d00011"),
    ):
        assert next(storage.ids(prefix=prefix, after=after)) == first
    assert max(blocks) < 30
    storage.close()


def test_of_very_many_matches_the_last_changed_are_not_sorted_out_of_all(dsn: str) -> None:
    with MetaStore(PostgresStorage(dsn), author=ANN, validation="off") as store:
        store.dataset_create("a/b", {"title": "Salt and pepper"})
    more: dict[str, Any] = {"changed_since": None, "deleted": False, "at": None, "after": None, "limit": 2}
    wanted = Wanted.parse("salt pepper", {}, order="changed", facets=(), **more)
    query, values = _search_queries.page(wanted, None, are_very_many=True)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""INSERT INTO dataset_text
            (dataset, since, changed, deleted, title, id_words, words, access)
            SELECT -n, since, changed - n, deleted, title, id_words, words, access
            FROM dataset_text, generate_series(1, 500) AS n""")
        connection.execute("VACUUM ANALYZE")
        connection.execute("SET enable_seqscan = off")
        ((plan,),) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode(), values).fetchall()
    read = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") == "dataset_text"]
    assert [node["Index Name"] for node in read] == ["dataset_text_changed"]
    assert read[0]["Actual Rows"] < 100


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


@pytest.mark.parametrize(
    "name", ["NEWEST", "SEEING", "BY_ID", "FORWARD", "GET", "IDS", "STARTING", "TAG", "TAGS", "TOUCHED", "LIST"]
)
def test_no_statement_of_a_page_or_a_read_sorts_what_it_finds(name: str, dsn: str) -> None:
    values: dict[str, Any] = {
        "NEWEST": {"owner": "a", "name": "b", "known": None, "needle": b" x\0"},
        "SEEING": {"owner": "a", "name": "b", "known": None, "needle": b" x\0", "least": b"x"},
        "BY_ID": {"owner": "a", "name": "b", "needle": None, "revision": b"x"},
        "FORWARD": ("a", "b"),
        "GET": {"place": 1, "id": b"x", "limit": 100},
        "IDS": (1, b"", 500),
        "STARTING": (1, b"a", b"b"),
        "TAG": (1, "v1"),
        "TAGS": (1,),
        "TOUCHED": {"xid": "0", "pos": 0, "limit": 500},
        "LIST": {
            **{"owner": "a", "name": "b", "until": "q", "last": "", "prefix": "p"},
            **{"hidden": False, "deleted": False, "limit": 500},
        },
    }
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        rows = connection.execute(f"EXPLAIN {getattr(_queries, name)}".encode(), values[name]).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Sort  (" not in plan, plan  # a merge has a key only
    if name == "LIST":
        assert plan.count("ROW(owner, name)") == 2, plan


def test_an_index_that_was_empty_at_first_is_not_read_from_end_to_end_while_it_grows(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is kept, and that for an empty table would read it all for each dataset."""
    with MetaStore(PostgresStorage(dsn), author=ANN) as store:
        for number in range(20):
            store.dataset_create(f"physics/d{number}", {"title": "Salt"})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE dataset_text")
        connection.execute("VACUUM ANALYZE")
    run, scans = Connection.rows, list[int]()

    def rows(self: Connection, query: str, values: Any = None) -> list[Any]:
        with self.transaction():
            before = dict(self.execute(_SCANS).fetchall())
            answer = run(self, query, values)
            after = dict(self.execute(_SCANS).fetchall())
        if query in (_queries.INDEX, _queries.INDEX_SOME):
            scans.append(after["dataset_text"] - before["dataset_text"])
        return answer

    monkeypatch.setattr(Connection, "rows", rows)
    monkeypatch.setattr(_indexing, "_DATASETS", 2)
    with MetaStore(PostgresStorage(dsn), author=ANN) as store:
        assert store.dataset_search("salt").total == 20
    assert scans == [0] * 10
