"""How PostgreSQL keeps commits and trees: what another row says is left out, and comes back to the byte."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from hashlib import sha256

import psycopg
import pytest
from psycopg.errors import CheckViolation, InsufficientPrivilege

from metastore.errors import OutcomeUnknown, StorageCorrupt
from metastore.git.objects import BLOB, COMMIT, TREE, Entry, GitObject, blob_id, object_id, tree_content
from metastore.git.repository import DELETED_TREE
from metastore.storage.copy import copy
from metastore.storage.memory import MemoryStorage
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import DELETED, DELETED_CONTENT, RevisionId

from .bundle.postgres_server import migrated_database
from .conftest import change
from .test_postgres_datasets import typed
from .test_storage_contract import CARS

DESCRIPTOR = b'{"name": "cars"}'
ANN, BOB = b"Ann Lee <ann@example.org> 1767225600 +0000", b"Bob <bob@example.org> 1767225601 +0100"
FILE = {"datapackage.json": Entry("100644", blob_id(DESCRIPTOR))}

#: What follows the lines of the tree and of the parents.
ENDS = {
    "as we write it": b"author %s\ncommitter %s\n\nWhy\n" % (ANN, ANN),
    "without a message": b"author %s\ncommitter %s\n\n" % (ANN, ANN),
    "by two": b"author %s\ncommitter %s\n\nWhy\n" % (ANN, BOB),
    "whose name is a header": b"author author %s\ncommitter author %s\n\nWhy\n" % (ANN, ANN),
    "committed by one of a longer name": b"author %s\ncommitter %s0\n\nWhy\n" % (ANN, ANN),
    "with a header more": b"author %s\ncommitter %s\nencoding ISO-8859-1\n\n\xe9\n" % (ANN, ANN),
    "signed": b"author %s\ncommitter %s\ngpgsig -----BEGIN\n more\n\nWhy\n" % (ANN, ANN),
    "without a committer": b"author %s\n\nWhy\n" % ANN,
    "of nobody": b"author \ncommitter \n\nWhy\n",
    "with a header before the author": b"other x\nauthor %s\ncommitter %s\n\nWhy\n" % (ANN, ANN),
    "with bytes of all kinds": b"author %s\ncommitter %s\n\n%s" % (ANN, ANN, bytes(range(256))),
}


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.fixture
def storage(dsn: str) -> Iterator[PostgresStorage]:
    made = PostgresStorage(dsn, cache_bytes=0)
    yield made
    made.close()


def made_of(kind: str, content: bytes) -> tuple[str, GitObject]:
    return object_id(kind, content), GitObject(kind, content)


def test_commits_of_all_forms_come_back_to_the_byte(storage: PostgresStorage, dsn: str) -> None:
    tree, blob = made_of(TREE, tree_content(FILE)), made_of(BLOB, DESCRIPTOR)
    parent: RevisionId | None = None
    contents = []
    for merged in (b"", b"parent %s\n" % (b"1" * 40)):
        for end in ENDS.values():
            first = b"parent %s\n" % parent.encode() if parent else b""
            content = b"tree %s\n%s%s%s" % (tree[0].encode(), first, merged if parent else b"", end)
            commit = made_of(COMMIT, content)
            storage.adopt(CARS, dict([tree, blob, commit]), RevisionId(commit[0]), parent=parent)
            parent = RevisionId(commit[0])
            contents.append(content)
    shortest = b"%s\n\nWhy\n" % ANN
    assert typed(dsn, "SELECT rest FROM dataset_revision ORDER BY n LIMIT 1") == [(shortest,)]
    times = typed(dsn, "SELECT DISTINCT metastore_dataset_time(rest) FROM dataset_revision")
    assert sorted(str(time) for (time,) in times) == ["0", "1767225600"]  # nobody has no time
    commits = [object_id(COMMIT, content) for content in contents]
    with storage.objects(CARS) as repository:
        for page in (commits, reversed(commits)):
            assert [repository.get(commit).content for commit in page] == contents[:: 1 if page is commits else -1]


def test_a_commit_that_was_emptied_by_hand_is_named(storage: PostgresStorage, dsn: str) -> None:
    made = storage.create(CARS, {"datapackage.json": DESCRIPTOR}, change())
    change_it = "ALTER TABLE dataset_segment DISABLE TRIGGER USER; UPDATE dataset_segment SET rests[1] = ''"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(change_it)
    with pytest.raises(StorageCorrupt, match=f"{made.id} has been changed"):
        storage.resolve(CARS, None)


def test_a_tree_that_has_the_descriptor_alone_has_no_row(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"datapackage.json": DESCRIPTOR}, change())
    second = storage.append(CARS, {"README.md": b"Hello"}, change(), parent=first.id)
    third = storage.append(CARS, {"README.md": None}, change(), parent=second.id)
    gone = storage.append(CARS, {"datapackage.json": None, DELETED: DELETED_CONTENT}, change(), parent=third.id)
    back = storage.append(CARS, {"datapackage.json": blob_id(DESCRIPTOR), DELETED: None}, change(), parent=gone.id)
    assert typed(dsn, "SELECT kind, count(*) FROM dataset_object GROUP BY 1 ORDER BY 1") == [("blob", 3), ("tree", 2)]
    told = typed(dsn, f"SELECT n, tree = '\\x{DELETED_TREE}', blob IS NULL FROM dataset_revision ORDER BY n")
    assert told == [(0, None, False), (1, False, True), (2, None, False), (3, True, True), (4, None, False)]
    for revision in (first, third, back):
        assert storage.paths(CARS, revision.id) == {"datapackage.json": blob_id(DESCRIPTOR)}
    assert storage.read(CARS, second.id, "README.md") == b"Hello"
    assert [each.id for each in storage.history(CARS, back.id, path="README.md")] == [third.id, second.id]
    assert list(storage.verify()) == []
    tree = object_id(TREE, tree_content(FILE))
    with storage.objects(CARS) as repository:
        assert repository.get(tree).content == tree_content(FILE)  # without its commit
        with pytest.raises(KeyError):
            repository.get("1" * 40)


def test_a_folder_that_is_the_tree_of_a_revision_too_is_found(storage: PostgresStorage) -> None:
    first = storage.create(CARS, {"datapackage.json": DESCRIPTOR}, change())
    second = storage.append(CARS, {"old/datapackage.json": DESCRIPTOR}, change(), parent=first.id)
    assert storage.read(CARS, second.id, "datapackage.json") == DESCRIPTOR
    assert set(storage.paths(CARS, second.id)) == {"datapackage.json", "old/datapackage.json"}
    assert list(storage.verify()) == []


def test_no_large_tree_is_kept_against_one_without_a_row(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"datapackage.json": DESCRIPTOR}, change())
    many = {f"{number:02}": b"" for number in range(99)}
    second = storage.append(CARS, many, change(), parent=first.id)
    assert typed(dsn, "SELECT count(*), count(base) FROM dataset_object WHERE kind = 'tree' AND packed") == [(1, 0)]
    assert len(storage.paths(CARS, second.id)) == 100


def test_a_wrong_id_of_a_descriptor_is_found_by_the_id_of_its_commit(storage: PostgresStorage, dsn: str) -> None:
    made = storage.create(CARS, {"datapackage.json": DESCRIPTOR}, change())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dataset_segment DISABLE TRIGGER USER")
        connection.execute("UPDATE dataset_segment SET contents = %s", (bytes(20),))
    with pytest.raises(StorageCorrupt, match=f"{made.id} has been changed"):
        storage.find(CARS, None, "datapackage.json")
    assert any(f"{made.id} has been changed" in each.detail for each in storage.verify())


def descriptor(number: int) -> bytes:
    """Return one of several descriptors that differ little, and are long enough to be compressed."""
    return json.dumps({"name": "cars", "title": sha256(b"x").hexdigest() * 4, "version": number}).encode()


#: How a segment grows, and how a row that somebody would like to have differs from the one that is there.
GROWTH = {
    "pos": "pos + 1",
    **{name: f"{name} || {name}" for name in ("commits", "contents", "rests", "deltas", "attempts", "recorded")},
}
REWRITTEN = {
    "dataset": "dataset + 1",
    "first": "first + 1",
    "alone": "NOT alone",
    '"session_user"': "'nobody'",
    "parent": "'x'",
    "base": "'x'",
    "who": "who || 'x'",
    "pos": "pos",
    "commits": "commits",
    "contents": "overlay(contents PLACING 'x' FROM 5) || contents",
    **{name: f"ARRAY['x'::bytea] || {name}" for name in ("rests", "deltas")},
    "attempts": "ARRAY[gen_random_uuid()] || attempts",
    "recorded": "ARRAY['2000-01-01'::timestamptz] || recorded",
}


def test_a_segment_grows_and_keeps_what_it_has(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"datapackage.json": descriptor(0)}, change())
    storage.append(CARS, {"datapackage.json": descriptor(1)}, change(), parent=first.id)
    moved = {"commits": "overlay(commits PLACING 'x' FROM 5) || commits"}
    with psycopg.connect(dsn) as connection:
        for change_of in ({}, *({column: value} for column, value in REWRITTEN.items()), moved):
            values = ", ".join(f"{column} = {value}" for column, value in {**GROWTH, **change_of}.items())
            statement = f"UPDATE dataset_segment SET {values}".encode()
            with nullcontext() if not change_of else pytest.raises(InsufficientPrivilege, match="stays"):
                with connection.transaction(force_rollback=True):
                    connection.execute(statement)
    assert list(storage.verify()) == []


def test_a_descriptor_that_the_row_of_an_earlier_revision_has_is_read(storage: PostgresStorage, dsn: str) -> None:
    head = storage.create(CARS, {"datapackage.json": descriptor(0)}, change())
    second = storage.append(CARS, {"datapackage.json": descriptor(1)}, change(), parent=head.id)
    third = storage.append(CARS, {"README.md": b"Hello"}, change(), parent=second.id)
    fourth = storage.append(CARS, {"README.md": None}, change(), parent=third.id)
    assert typed(dsn, "SELECT kind, count(*) FROM dataset_object GROUP BY 1 ORDER BY 1") == [("blob", 2), ("tree", 1)]
    assert typed(dsn, "SELECT first, alone FROM dataset_segment ORDER BY 1") == [(0, True), (2, False), (3, True)]
    for revision in (second, third, fourth):
        assert storage.read(CARS, revision.id, "datapackage.json") == descriptor(1)
        assert storage.size(CARS, revision.id, "datapackage.json") == len(descriptor(1))
    assert storage.find(CARS, None, "datapackage.json") == (fourth, descriptor(1))
    again = storage.append(CARS, {"datapackage.json": blob_id(descriptor(0))}, change(), parent=fourth.id)
    assert storage.find(CARS, None, "datapackage.json") == (again, descriptor(0))
    assert list(storage.verify()) == []


def test_a_long_history_comes_back_from_its_segments(storage: PostgresStorage, dsn: str) -> None:
    source = MemoryStorage()
    made = [source.create(CARS, {"datapackage.json": descriptor(0)}, change())]
    for number in range(1, 230):
        content = os.urandom(200) if number == 115 else descriptor(number)  # another keyframe
        made.append(source.append(CARS, {"datapackage.json": content}, change(), parent=made[-1].id))
    copy(source, storage)
    for number in range(230, 233):
        made.append(storage.append(CARS, {"datapackage.json": descriptor(number)}, change(), parent=made[-1].id))
    assert list(storage.history(CARS, made[-1].id)) == made[::-1]
    for number in (0, 1, 99, 114, 116, 229, 232):
        assert storage.read(CARS, made[number].id, "datapackage.json") == descriptor(number)
    assert storage.resolve(CARS, made[7].id[:12]) == made[7]
    ((segments, longest),) = typed(dsn, "SELECT count(*), max(pg_column_size(s)) FROM dataset_segment AS s")
    assert segments == typed(dsn, "SELECT count(DISTINCT first) FROM dataset_revision")[0][0]
    assert isinstance(segments, int)
    assert isinstance(longest, int)
    assert 16 < segments < 40
    assert longest < 2000
    assert list(storage.verify()) == []


def test_a_dataset_is_purged_though_an_attempt_was_settled_without_it(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    ((attempt,),) = typed(dsn, "SELECT attempt FROM dataset_revision WHERE n = 1")
    assert not storage.was_made(OutcomeUnknown("lost", attempt=str(attempt)))
    storage.purge(CARS, parent=second.id)
    assert typed(dsn, "SELECT action FROM dataset_change WHERE owner <> '' ORDER BY pos") == [("create",), ("purge",)]


def test_a_transaction_that_began_before_the_newest_revision_adds_one(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"datapackage.json": descriptor(0)}, change())
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        second = storage.append(CARS, {"datapackage.json": descriptor(1)}, change(), parent=first.id)
        assert connection.execute(FORGED.format("03" * 20, second.id).encode()).fetchall() == [("done",)]
    places = typed(dsn, "SELECT first, xid < lag(xid, 1, xid) OVER (ORDER BY first) FROM dataset_segment ORDER BY 1")
    assert places == [(0, False), (2, True)]
    assert [dataset_id for _, dataset_id in storage.touched(None)] == [CARS]


def test_a_change_is_known_to_be_made_after_its_dataset_was_purged(storage: PostgresStorage, dsn: str) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    ((attempt, place),) = typed(dsn, "SELECT attempt, dataset FROM dataset_revision WHERE n = 1")
    made = OutcomeUnknown("lost", attempt=f"{attempt}@{place}")
    created = OutcomeUnknown("lost", attempt=str(typed(dsn, "SELECT attempt FROM dataset")[0][0]))
    other = OutcomeUnknown("lost", attempt=f"{uuid.uuid4()}@{place}")
    assert [storage.was_made(each) for each in (created, made, other)] == [True, True, False]
    storage.purge(CARS, parent=second.id)
    assert [storage.was_made(each) for each in (created, made, other)] == [True, True, False]


#: Add a revision that somebody makes up, as a role that may call the functions can.
FORGED = """SELECT w.outcome FROM dataset AS d, metastore_dataset_write(gen_random_uuid(), owner, name, pk, head,
    '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', ARRAY['\\x{}'::bytea], ARRAY['x'::bytea], ARRAY['\\x{}'::bytea],
    ARRAY['forged'::bytea], ARRAY['forged'::bytea], '{{1}}', ARRAY[NULL::bytea]) AS w"""


@pytest.mark.parametrize("forged", [0, 1, 2])
def test_a_forged_row_hides_no_revision_before_it(storage: PostgresStorage, dsn: str, forged: int) -> None:
    """The ids of an earlier commit, and of a descriptor that is in an object or in a segment, are taken again."""
    made = [storage.create(CARS, {"datapackage.json": descriptor(0)}, change())]
    for files in ({"datapackage.json": descriptor(1)}, {"README.md": b"Hello"}, {"datapackage.json": descriptor(0)}):
        made.append(storage.append(CARS, files, change(), parent=made[-1].id))
    blob = blob_id(descriptor(forged % 2))
    if forged == 2:
        blob = blob_id(descriptor(1))
        typed(
            dsn,
            f"""SELECT metastore_dataset_put(pk, ARRAY['\\x{blob}'::bytea], ARRAY['blob'], ARRAY[false],
            ARRAY[NULL::bytea], ARRAY['forged'::bytea]) FROM dataset""",
        )
    assert typed(dsn, FORGED.format(made[1].id, blob)) == [("done",)]
    for number, content in enumerate(map(descriptor, (0, 1, 1, 0))):
        assert storage.find(CARS, made[number].id, "datapackage.json") == (made[number], content)
        assert storage.read(CARS, made[number].id, "datapackage.json") == content
        assert list(storage.history(CARS, made[number].id)) == made[number::-1]
    assert list(storage.verify()) != []


@pytest.mark.parametrize(("commit", "blob"), [("01", "02" * 20), ("01" * 40, "02" * 20), ("01" * 20, "02")])
def test_a_segment_takes_no_ids_of_another_length(storage: PostgresStorage, dsn: str, commit: str, blob: str) -> None:
    made = storage.create(CARS, {"datapackage.json": descriptor(0)}, change())
    with pytest.raises((CheckViolation, InsufficientPrivilege)):
        typed(dsn, FORGED.format(commit, blob))
    assert storage.resolve(CARS, None) == made
