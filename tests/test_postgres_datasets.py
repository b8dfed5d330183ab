"""Datasets in PostgreSQL: what goes beyond the contract of every storage."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import metastore
from metastore.errors import (
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    PermissionDenied,
    StorageBusy,
    StorageCorrupt,
)
from metastore.git.objects import blob_id, links
from metastore.git.reachable import reachable
from metastore.postgres._primary import connect
from metastore.postgres.roles import set_up_roles
from metastore.postgres.status import status
from metastore.storage.copy import copy
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.postgres import _queries, _repository
from metastore.storage.postgres._arrays import BooleanArray, ByteArray, TextArray
from metastore.storage.postgres._packing import _compress
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import DatasetId

from .bundle.postgres_server import migrated_database
from .conftest import ANN, change, real_descriptor, ticking
from .processes import fsck
from .test_storage_contract import BOATS, CARS, tag_of

BASES_WITH_A_BASE = """SELECT count(*) FROM dataset_object AS o
    JOIN dataset_object AS b ON b.dataset = o.dataset AND b.id = o.base WHERE b.base IS NOT NULL"""
RECIPE = Path(__file__).parent.parent / "docs" / "howto" / "postgres-datasets.md"


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture
def storage(dsn: str) -> Iterator[PostgresStorage]:
    made = PostgresStorage(dsn, patience=5)
    yield made
    made.close()


def typed(dsn: str, statement: str) -> list[tuple[object, ...]]:
    """Run SQL as somebody at a terminal does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def vega(edit: int = 0) -> bytes:
    """Return a large descriptor, edited so many times."""
    text = (Path(__file__).parent.parent / "examples/catalogue/vega/datasets/datapackage.json").read_bytes()
    for number in range(edit):
        text = text.replace(b"the ", b"a %d " % number, 1)
    return text


def test_a_history_copied_there_and_back_is_the_same_to_the_byte(storage: PostgresStorage, tmp_path: Path) -> None:
    first, last = GitStorage(tmp_path / "first", sync=False), GitStorage(tmp_path / "last", sync=False)
    with metastore.MetaStore(first, author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{name}") as store:
        for name in ("okfn/compression", "vega/datasets"):
            store.dataset_create(name, real_descriptor(name))
            store.dataset_patch(name, {"title": "Ours"})
            store.tag_create(name, "v1", description="One")
            store.dataset_delete(name)
            store.dataset_create(name, {"resources": [{"name": "r", "path": "r.csv", "bytes": 1, "hash": "a" * 64}]})
        assert copy(first, storage, deleted=True).not_copied == ()
        assert copy(storage, last, deleted=True).not_copied == ()
    assert list(storage.verify()) == []
    fsck(tmp_path / "last")
    for name in ("okfn/compression", "vega/datasets"):
        assert everything(tmp_path / "first", name) == everything(tmp_path / "last", name)


def everything(root: Path, name: str) -> str:
    """Return all references and objects of a repository, as Git tells them."""
    ask = "git for-each-ref && git cat-file --batch-check --batch-all-objects"
    return subprocess.run(
        ["sh", "-c", ask], cwd=root / f"{name}.git", check=True, capture_output=True, text=True
    ).stdout


def test_what_a_storage_remembers_of_a_dataset_makes_no_write_wrong(storage: PostgresStorage, dsn: str) -> None:
    other = PostgresStorage(dsn)
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    other.rename(CARS, BOATS, parent=second.id)
    with pytest.raises(DatasetMoved):
        storage.append(CARS, {"a": b"3"}, change(), parent=second.id)
    other.rename(BOATS, CARS, parent=second.id)
    third = storage.append(CARS, {"a": b"3"}, change(), parent=second.id)
    other.purge(CARS, parent=third.id)
    with pytest.raises(DatasetNotFound):
        storage.append(CARS, {"a": b"4"}, change(), parent=third.id)
    storage.create(CARS, {"a": b"1"}, change())
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    other.purge(CARS, parent=second.id)
    other.create(CARS, {"a": b"1"}, change())
    other.append(CARS, {"a": b"2"}, change(), parent=first.id)  # the same ids in another dataset
    storage.append(CARS, {"c": b""}, change(), parent=second.id)
    assert list(other.verify()) == []
    other.close()


@pytest.mark.parametrize("follows", [False, True])
def test_a_history_whose_dataset_is_purged_while_it_is_read_is_gone_and_not_damaged(
    storage: PostgresStorage, dsn: str, monkeypatch: pytest.MonkeyPatch, follows: bool
) -> None:
    monkeypatch.setattr(_repository, "_COMMITS", 1)
    head = storage.create(CARS, {"a": b"1"}, change())
    for content in (b"2", b"3"):
        head = storage.append(CARS, {"a": content}, change(), parent=head.id)
    reader = PostgresStorage(dsn, cache_bytes=0)
    history = reader.history(CARS, head.id)
    assert next(history) == head
    storage.purge(CARS, parent=head.id)
    if follows:
        storage.create(CARS, {"a": b"another"}, change())
    with pytest.raises(StorageBusy if follows else DatasetNotFound):
        list(history)
    reader.close()


def test_a_history_of_many_megabytes_is_copied_at_once(storage: PostgresStorage, tmp_path: Path) -> None:
    local = GitStorage(tmp_path, sync=False)
    made = local.create(CARS, {"a": os.urandom(3_000_000)}, change())
    for _ in range(3):
        made = local.append(CARS, {"a": os.urandom(3_000_000)}, change(), parent=made.id)
    copy(local, storage)
    assert storage.resolve(CARS, None) == made
    assert list(storage.verify()) == []
    again = local.append(CARS, {"b": os.urandom(6_000_000), "c": os.urandom(6_000_000)}, change(), parent=made.id)
    copy(local, storage)
    assert storage.read(CARS, again.id, "c") == local.read(CARS, again.id, "c")


def test_versions_of_a_large_descriptor_take_two_kilobytes_each(storage: PostgresStorage, dsn: str) -> None:
    revision = storage.create(CARS, {"datapackage.json": vega()}, change())
    before = sum(size for (size,) in typed(dsn, "SELECT length(data) FROM dataset_object"))  # type: ignore[misc]
    for number in range(1, 65):
        revision = storage.append(CARS, {"datapackage.json": vega(number)}, change(), parent=revision.id)
    after = sum(size for (size,) in typed(dsn, "SELECT length(data) FROM dataset_object"))  # type: ignore[misc]
    assert (after - before) / 64 < 2000
    assert before < 32_000
    fresh = PostgresStorage(dsn)
    for number, each in enumerate(reversed(list(fresh.history(CARS, revision.id)))):
        assert fresh.read(CARS, each.id, "datapackage.json") == vega(number)
    assert typed(dsn, BASES_WITH_A_BASE) == [(0,)]
    fresh.close()


@pytest.mark.parametrize("cache_bytes", [0, 2**26])
def test_the_newest_revision_is_read_by_one_statement(
    cache_bytes: int, storage: PostgresStorage, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = storage.create(CARS, {"a": vega()}, change())
    reader = PostgresStorage(dsn, cache_bytes=cache_bytes)
    rows, statements = reader._calls.rows, list[str]()
    monkeypatch.setattr(reader._calls, "rows", lambda query, values: (statements.append(query), rows(query, values))[1])
    assert reader.find(CARS, None, "a")[1] == vega()  # for the first time,
    assert reader.find(CARS, None, "a")[1] == vega()  # again,
    storage.append(CARS, {"a": vega(1)}, change(), parent=revision.id)
    assert reader.find(CARS, None, "a")[1] == vega(1)  # and after somebody else has changed it
    assert statements == [_queries.NEWEST] * 3
    reader.close()


def test_what_came_with_the_newest_revision_is_not_read_again_for_the_next_one(
    storage: PostgresStorage, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = storage.create(CARS, {"a": vega()}, change())
    second = storage.append(CARS, {"a": vega(1)}, change(), parent=first.id)
    writer = PostgresStorage(dsn)
    rows, statements = writer._calls.rows, list[str]()
    monkeypatch.setattr(writer._calls, "rows", lambda query, values: (statements.append(query), rows(query, values))[1])
    assert writer.find(CARS, None, "a")[1] == vega(1)
    writer.append(CARS, {"a": vega(2)}, change(), parent=second.id)  # kept against `vega()`, which came as a base
    assert statements == [_queries.NEWEST]
    assert typed(dsn, "SELECT count(*) FROM dataset_object WHERE kind = 'blob' AND base IS NULL") == [(1,)]
    writer.close()


@pytest.mark.parametrize("cache_bytes", [0, 2**26])
@pytest.mark.parametrize("brings", ["one revision", "two revisions"])
def test_a_content_that_comes_back_is_no_base_where_it_has_one(
    brings: str, cache_bytes: int, storage: PostgresStorage, dsn: str
) -> None:
    source = MemoryStorage()
    contents = [vega(), vega(1), _other(), vega(1), vega(2)]
    revisions = [source.create(CARS, {"a": contents[0]}, change())]
    target = PostgresStorage(dsn, cache_bytes=cache_bytes)
    for number, content in enumerate(contents[1:], 1):
        if number <= 3 or brings == "one revision":
            copy(source, target)
        revisions.append(source.append(CARS, {"a": content}, change(), parent=revisions[-1].id))
    copy(source, target)
    assert typed(dsn, BASES_WITH_A_BASE) == [(0,)]
    assert storage.read(CARS, revisions[-1].id, "a") == contents[-1]
    assert list(storage.verify()) == []
    target.close()


def test_what_comes_with_a_tag_is_read_although_a_revision_brings_the_same_content_at_the_same_moment(
    storage: PostgresStorage, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, source = storage.create(CARS, {"a": vega()}, change()), PostgresStorage(dsn), MemoryStorage()
    made = source.create(CARS, {"a": vega(1)}, change())
    made = source.append(CARS, {"a": vega(2)}, change(), parent=made.id)
    with source.objects(CARS) as repository:
        objects = {identity: repository.get(identity) for identity in reachable(repository, [made.id])}
    rows = storage._calls.rows

    def revision_before(query: str, values: object = None) -> object:
        if query == _queries.PUT:
            monkeypatch.undo()
            other.append(CARS, {"a": vega(1)}, change(), parent=first.id)
        return rows(query, values)

    monkeypatch.setattr(storage._calls, "rows", revision_before)
    storage.adopt_tag(CARS, objects, "v1", made.id)
    assert typed(dsn, BASES_WITH_A_BASE) == [(0,)]
    assert other.read(CARS, made.id, "a") == vega(2)
    assert list(other.verify()) == []
    other.close()


def test_an_object_that_is_kept_against_one_with_a_base_is_named_by_verify(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"a": vega()}, change())
    storage.append(CARS, {"a": vega(1)}, change(), parent=first.id)
    raw = bytes.fromhex(blob_id(vega(2)))
    values = raw, bytes.fromhex(blob_id(vega(1))), _compress(vega(2), vega(1))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO dataset_object SELECT dataset, %s, kind, true, %s, %s FROM dataset_object"
            " WHERE kind = 'blob' AND base IS NULL",
            values,
        )
    assert typed(dsn, BASES_WITH_A_BASE) == [(1,)]
    details = [damage.detail for damage in storage.verify()]
    assert f"the object {raw.hex()} cannot be read: its base {blob_id(vega(1))} has a base itself" in details
    assert all(raw.hex() in detail for detail in details)


def _other() -> bytes:
    """Return a descriptor of about the size of `vega`'s that has nothing in common with it."""
    return json.dumps({"name": [sha256(b"%d" % number).hexdigest() for number in range(1000)]}).encode()


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd: apt-get install zstd")
@pytest.mark.parametrize("content", [b'{"name": "cars"}', vega()], ids=["small", "large"])
@pytest.mark.parametrize("others", [{}, {"README.md": b"Hello"}], ids=["alone", "beside others"])
def test_a_descriptor_is_read_with_psql_as_the_page_says(
    storage: PostgresStorage, dsn: str, content: bytes, others: dict[str, bytes], tmp_path: Path
) -> None:
    section = RECIPE.read_text().partition("## Read a descriptor")[2]
    recipe = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0]
    assert len(recipe.splitlines()) <= 10

    def read() -> bytes:
        environment = {**os.environ, "METASTORE_STORE": dsn}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", recipe], env=environment, capture_output=True, check=True, cwd=tmp_path
        ).stdout

    first = storage.create(CARS, {"datapackage.json": content, **others}, change())
    assert read() == content
    storage.append(CARS, {"datapackage.json": content + b"\n"}, change(), parent=first.id)
    assert read() == content + b"\n"


def test_what_was_changed_by_hand_is_found_by_its_id(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"a": b"1", "b": vega()}, change())
    second = storage.append(CARS, {"b": vega(1)}, change(), parent=first.id)
    as_owner = "ALTER TABLE {0} DISABLE TRIGGER USER; UPDATE {0} SET {1}; ALTER TABLE {0} ENABLE TRIGGER USER"
    for table, mend, told in (
        ("dataset_object", "data = '2' WHERE data = '1'", "has been changed"),
        ("dataset_object", "data = substring(data FROM 2) WHERE base IS NOT NULL", "cannot be read"),
        ("dataset_segment", "rests[1] = rests[1] || 'x'", "has been changed"),
    ):
        typed(dsn, f"CREATE TABLE kept AS SELECT * FROM {table}")
        typed(dsn, as_owner.format(table, mend))
        assert [told in each.detail for each in storage.verify()] != []
        assert all(told in each.detail or "dead" in each.detail for each in storage.verify())
        typed(
            dsn,
            f"ALTER TABLE {table} DISABLE TRIGGER USER; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept",
        )
        typed(dsn, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER metastore_stays; DROP TABLE kept")
        assert list(storage.verify()) == []
    typed(dsn, f"UPDATE dataset SET head = '\\x{first.id}'")
    assert any("does not end with its head" in each.detail for each in storage.verify())
    typed(dsn, f"UPDATE dataset SET head = '\\x{second.id}'")
    typed(dsn, "ALTER TABLE dataset_object DISABLE TRIGGER USER; DELETE FROM dataset_object WHERE base IS NULL")
    fresh = PostgresStorage(dsn)
    with pytest.raises(StorageCorrupt, match="missing"):
        fresh.read(CARS, second.id, "b")
    fresh.close()


def test_a_base_that_was_changed_by_hand_is_found_by_the_id_of_what_is_kept_against_it(
    storage: PostgresStorage, dsn: str
) -> None:
    first = storage.create(CARS, {"a": vega()}, change())
    second = storage.append(CARS, {"a": vega(1)}, change(), parent=first.id)
    changed = _compress(vega().replace(b"the", b"The"))
    typed(dsn, "ALTER TABLE dataset_object DISABLE TRIGGER USER")
    typed(dsn, f"UPDATE dataset_object SET data = '\\x{changed.hex()}' WHERE kind = 'blob' AND base IS NULL")
    fresh = PostgresStorage(dsn)
    with pytest.raises(StorageCorrupt, match=blob_id(vega(1))):
        fresh.read(CARS, second.id, "a")
    fresh.close()


def test_the_feed_is_in_the_order_of_numbers_not_of_digits(storage: PostgresStorage, dsn: str) -> None:
    insert = "INSERT INTO dataset_change (xid, owner, name, action) VALUES ('{0}', 'a', 'n{0}', 'create')"
    for xid in (10, 9, 100, 99):
        typed(dsn, insert.format(xid))
    seen = list(storage.touched(None))
    assert [each.name for _, each in seen] == ["n9", "n10", "n99", "n100"]
    assert [each.name for _, each in storage.touched(seen[1][0])] == ["n99", "n100"]


APPEND_ONLY = [
    "UPDATE dataset_segment SET rests = '{}'",
    "UPDATE dataset_segment SET pos = pos + 1",
    "DELETE FROM dataset_segment",
    "UPDATE dataset_object SET data = ''",
    "DELETE FROM dataset_object",
    "UPDATE dataset_change SET action = ''",
    "DELETE FROM dataset_change",
    *(f"TRUNCATE dataset{name}" for name in ("", "_segment", "_object", "_tag", "_forward", "_change")),
]


@pytest.mark.parametrize("statement", APPEND_ONLY)
def test_what_was_written_is_refused_a_change_even_to_the_owner(
    storage: PostgresStorage, dsn: str, statement: str
) -> None:
    made = storage.create(CARS, {"a": b"1"}, change())
    storage.tag_create(CARS, tag_of("v1", made.id))
    with pytest.raises(pg.InsufficientPrivilege, match="stays"):
        typed(dsn, statement)


@pytest.fixture
def as_application(dsn: str) -> Iterator[str]:
    set_up_roles(dsn)
    typed(dsn, "CREATE ROLE portal LOGIN IN ROLE metastore_app; CREATE ROLE page LOGIN IN ROLE metastore_reader")
    yield make_conninfo(dsn, user="portal")
    with psycopg.connect(dsn, autocommit=True) as connection:
        for role in ("portal", "page", "metastore_app", "metastore_reader"):
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_an_application_uses_every_call_and_cannot_rewrite_history_in_sql(as_application: str) -> None:
    storage = PostgresStorage(as_application)
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    tag = storage.tag_create(CARS, tag_of("v1", second.id))
    storage.tag_delete(CARS, "v1", expected=tag.id)
    storage.rename(CARS, DatasetId("physics", "boats"), parent=second.id)
    for statement in (
        *APPEND_ONLY,
        "UPDATE dataset SET head = ''",
        "DELETE FROM dataset",
        "INSERT INTO dataset_tag VALUES (1, 'v1', '')",
        "INSERT INTO dataset_change (owner, name, action) VALUES ('a', 'b', 'c')",
        "SELECT set_config('metastore.purging', '1', false); DELETE FROM dataset_segment",
        "ALTER TABLE dataset DISABLE TRIGGER ALL",
        "CREATE OR REPLACE FUNCTION metastore_dataset_settle(this uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            typed(as_application, statement)
    storage.purge(DatasetId("physics", "boats"), parent=second.id)
    left = typed(as_application, "SELECT action, tag IS NOT NULL FROM dataset_change ORDER BY recorded")
    actions = ["create", "append", "tag", "tag", "move", "move", "purge"]
    assert left == [(action, action == "tag") for action in actions]
    storage.close()


def test_revisions_tell_which_role_wrote_them(as_application: str, storage: PostgresStorage, dsn: str) -> None:
    application = PostgresStorage(as_application)
    head = storage.create(CARS, {"a": b"0"}, change())
    for number, writer in enumerate((storage, application, application, storage), 1):
        head = writer.append(CARS, {"a": b"%d" % number}, change(), parent=head.id)
    roles = [role for (role,) in typed(dsn, 'SELECT "session_user" FROM dataset_revision ORDER BY n')]
    assert roles == ["postgres", "postgres", "portal", "portal", "postgres"]
    application.close()


def test_objects_that_an_application_makes_up_hide_no_revision(as_application: str) -> None:
    storage = PostgresStorage(as_application)
    first = storage.create(CARS, {"datapackage.json": b"{}"}, change())
    second = storage.append(CARS, {"datapackage.json": b"[]"}, change(), parent=first.id)
    with storage.objects(CARS) as repository:
        needed = set(reachable(repository, [second.id]))
        tree = next(links(repository.get(first.id)))
    for identity in (first.id, tree):
        typed(
            as_application,
            f"SELECT metastore_dataset_put(pk, ARRAY['\\x{identity}'::bytea], ARRAY['blob'], ARRAY[false],"
            " ARRAY[NULL::bytea], ARRAY['\\x00'::bytea]) FROM dataset WHERE owner = 'physics'",
        )
    assert typed(as_application, "SELECT count(*) FROM dataset_object WHERE data = '\\x00'") == [(2,)]
    storage.close()
    storage = PostgresStorage(as_application)
    with storage.objects(CARS) as repository:
        assert set(reachable(repository, [second.id])) == needed
        for identity in (tree, first.id):
            assert repository.read_uncached(identity).kind in ("tree", "commit")
    assert [revision.id for revision in storage.history(CARS, second.id)] == [second.id, first.id]
    assert storage.paths(CARS, first.id) == {"datapackage.json": blob_id(b"{}")}
    assert list(storage.verify()) == []
    storage.close()


def test_an_application_cannot_put_a_revision_where_it_does_not_follow(as_application: str) -> None:
    storage = PostgresStorage(as_application)
    storage.create(CARS, {"a": b"1"}, change())
    other = DatasetId("physics", "boats")
    made = storage.create(other, {"a": b"2"}, change())
    with storage.objects(other) as repository, pytest.raises(InvalidInput, match="does not follow"):
        storage.adopt(CARS, {made.id: repository.get(made.id)}, made.id, parent=storage.resolve(CARS, None).id)
    assert len(list(storage.history(CARS, storage.resolve(CARS, None).id))) == 1
    storage.close()


def test_a_reader_reads_and_changes_nothing(as_application: str) -> None:
    storage, reader = PostgresStorage(as_application), PostgresStorage(make_conninfo(as_application, user="page"))
    made = storage.create(CARS, {"a": b"1"}, change())
    assert reader.read(CARS, made.id, "a") == b"1"
    with pytest.raises(PermissionDenied):
        reader.create(DatasetId("a", "b"), {"a": b"1"}, change())
    for each in (storage, reader):
        each.close()


def test_no_role_calls_what_has_the_rights_of_the_owner_by_a_trigger_of_its_own(as_application: str) -> None:
    typed(as_application, "INSERT INTO bundles (name, event, ifb_group) VALUES ('NuMI', 'e,1d,2', 'NOvA')")
    for role in ("page", "portal"):
        with psycopg.connect(make_conninfo(as_application, user=role), autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE mine (name text, bundle text)")
            for function in ("metastore_record", "metastore_touch"):
                with pytest.raises(pg.InsufficientPrivilege):
                    connection.execute(
                        f"CREATE TRIGGER t AFTER INSERT ON mine REFERENCING NEW TABLE AS touched"
                        f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()".encode()
                    )
    assert typed(as_application, "SELECT action FROM snapshot_bundles") == [("create",)]
    callable_by_all = """SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosecdef
        AND has_function_privilege('page', oid, 'EXECUTE')"""
    assert typed(as_application, callable_by_all) == []


#: What a role could try. Some of it PostgreSQL grants to everybody: it must change nothing of the record.
ATTEMPTS = [
    "SET ROLE postgres; UPDATE dataset SET n = 7",
    "SET session_replication_role = replica; UPDATE dataset SET n = 7",
    "SET metastore.first = 'true'; INSERT INTO snapshot_bundles DEFAULT VALUES",
    "SET metastore.renumbering = 'true'; UPDATE dataset_change SET xid = '1'",
    "COPY dataset_feed FROM PROGRAM 'echo x 1'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_import('/etc/hostname')",
    "CREATE TEMP TABLE dataset (pk bigint, owner text, name text); INSERT INTO dataset VALUES (1, 'a', 'b')",
    "CREATE TEMP VIEW dataset_revision AS SELECT 1; SELECT metastore_dataset_indexed()",
    "SELECT setval('dataset_pk_seq', 1)",
    "SELECT setval(pg_get_serial_sequence('dataset_change', 'pos'), 1, false)",
    "SELECT setval(pg_get_serial_sequence('snapshot_bundles', 'snapshot_id'), 1, false)",
    "BEGIN; LOCK TABLE dataset",
    "BEGIN; LOCK TABLE bundles IN ROW EXCLUSIVE MODE NOWAIT; PREPARE TRANSACTION 'x'",
    "SELECT FROM dataset FOR UPDATE",
    "VACUUM FULL dataset",
    "CREATE INDEX ON dataset (owner)",
    "CREATE RULE r AS ON INSERT TO bundles DO INSTEAD NOTHING",
    "CREATE TRIGGER t BEFORE INSERT ON bundles FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE FUNCTION cardinality(bytea[]) RETURNS int LANGUAGE sql AS 'SELECT 0'",
    "CREATE TABLE own (a int)",
    "CREATE SCHEMA own",
    "GRANT ALL ON dataset TO PUBLIC",
    "DROP TABLE dataset_revision CASCADE",
    "TRUNCATE bundles CASCADE",
    "ALTER SYSTEM SET fsync = off",
    "SELECT metastore_take('NuMI', NULL, false)",
    "SELECT metastore_dataset_renumber()",
    "UPDATE dataset_feed SET id = 'x'",
    "DELETE FROM dataset_text",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "LISTEN everything",
    "SELECT pg_advisory_lock(1)",
]
RECORD = """SELECT table_name, query_to_xml(
    format('SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM %I AS t', table_name), false, true, '')::text
    FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"""
DEFINITIONS = """SELECT oid::regclass::text, relacl::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace UNION SELECT oid::regprocedure::text, md5(prosrc) FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace ORDER BY 1"""


@pytest.mark.parametrize("role", ["portal", "page"])
def test_nothing_that_a_role_can_type_changes_the_record(dsn: str, as_application: str, role: str) -> None:
    typed(dsn, "GRANT CREATE ON SCHEMA public TO PUBLIC")  # as PostgreSQL 14 does
    set_up_roles(dsn)
    storage = PostgresStorage(as_application)
    storage.create(CARS, {"a": b"1"}, change())
    typed(as_application, "INSERT INTO bundles (name, event, ifb_group) VALUES ('NuMI', 'e,1d,2', 'NOvA')")
    before = typed(dsn, RECORD), typed(dsn, DEFINITIONS)
    for statement in ATTEMPTS:
        with suppress(psycopg.Error):
            typed(make_conninfo(as_application, user=role, options="-c statement_timeout=3000"), statement)
    assert (typed(dsn, RECORD), typed(dsn, DEFINITIONS)) == before
    storage.close()


def test_status_names_what_puts_changes_and_the_feed_at_risk(dsn: str) -> None:
    with psycopg.connect(dsn, application_name="forgotten") as other:
        other.execute("SELECT pg_current_xact_id()")
        state = status(dsn, patience=0)
    assert (state.schema, state.is_replica, state.replicas) == (state.wanted, False, (0, 0))
    assert [(stall.application, stall.state) for stall in state.stalls] == [("forgotten", "idle in transaction")]
    assert "forgotten" in str(state)
    assert any("fsync" in risk for risk in state.risks)  # as the tests have it
    assert status(dsn).stalls == ()


def test_status_counts_the_connections_of_metastore_and_of_others(dsn: str) -> None:
    with ExitStack() as stack:
        for name in ("metastore", "metastore", "another"):
            stack.enter_context(psycopg.connect(dsn, application_name=name))
        ours, altogether, most = status(dsn).connections
    assert ours >= 3  # with its own
    assert ours < altogether <= most


def test_the_feed_misses_nothing_while_a_transaction_is_open(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    (cursor, _), *_ = storage.touched(None)
    with psycopg.connect(dsn) as late:
        late.execute("INSERT INTO dataset_change (owner, name, action) VALUES ('physics', 'late', 'create')")
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
        seen = list(storage.touched(cursor))
        assert [each for _, each in seen] == [CARS]
    again = list(storage.touched(seen[-1][0]))
    assert [each for _, each in again] == [DatasetId("physics", "late"), CARS]
    assert list(storage.touched(again[-1][0])) == []


def test_a_service_on_a_database_answers_and_tells_nobody_the_password(dsn: str, tmp_path: Path) -> None:
    parts = conninfo_to_dict(dsn)
    place = f"{parts['host']}:{parts['port']}/{parts['dbname']}"
    url = f"postgresql://{parts['user']}:hidden-one@{place}?password=hidden-two"
    with metastore.connect(url, author=ANN) as store:
        store.dataset_create(CARS, {"name": "cars"})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METASTORE_")}
    server = subprocess.Popen(
        [sys.executable, "-m", "metastore", "serve", "--port", "0", "--store", url],
        **{"cwd": tmp_path, "env": environment, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
    )
    try:
        assert server.stderr
        address = None
        said = []
        while address is None:
            said.append(server.stderr.readline())
            assert said[-1], "the service ended"
            address = re.search(r"http://\S+", said[-1])
        with urllib.request.urlopen(f"{address[0]}/api/v1/datasets") as answer:
            assert json.load(answer) == ["physics/cars"]
    finally:
        server.terminate()
        rest = "".join(server.communicate())
    assert f"Serving postgresql://{place} at" in "".join(said)
    assert "hidden" not in "".join(said) + rest


def test_arrays_arrive_as_they_were_sent(dsn: str) -> None:
    arrays = ByteArray([b"a", None, b""]), ByteArray([]), TextArray(["é".encode()]), BooleanArray([b"\1", b"\0"])
    with connect(dsn) as connection:
        assert connection.rows("SELECT %s, %s, %s, %s", arrays) == [([b"a", None, b""], [], ["é"], [True, False])]
