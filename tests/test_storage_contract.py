"""The contract that every storage keeps. A backend joins by a line in conftest.py, and cannot change a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    RevisionConflict,
    RevisionNotFound,
    TagNotFound,
)
from metastore.git.objects import GitObject, blob_id, parse_commit, parse_tree
from metastore.git.trees import change_tree
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import BlobId, DatasetId, RevisionId, TagSpec

from .conftest import ALIKE, ANN, EPOCH, GIT_ALONE, OF_ONE_OWNER, STORAGES, change, opened

CARS = DatasetId("physics", "cars")
BOATS = DatasetId("physics", "boats")
SHIPS = DatasetId("physics", "ships")
NOWHERE = RevisionId("0" * 40)


@pytest.fixture(params={**STORAGES, **GIT_ALONE})
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


@pytest.fixture(params={**STORAGES, **ALIKE})
def storage_that_lists(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A storage that can tell, move and purge what it has; Git alone cannot."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=STORAGES)
def storage_of_its_own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A storage that reads its histories as no other one does."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=sorted({*OF_ONE_OWNER, *ALIKE}))
def storage_of_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


def tag_of(name: str, revision: RevisionId, description: str = "") -> TagSpec:
    return TagSpec(name, revision, description, ANN, EPOCH)


def test_a_created_dataset_reads_back_byte_for_byte(storage: Storage) -> None:
    made = storage.create(CARS, {"a.json": b'{"a": 1.10}\n', "sub/dir/b": b"\x00\xff"}, change())
    assert storage.read(CARS, made.id, "a.json") == b'{"a": 1.10}\n'
    assert storage.read(CARS, made.id, "sub/dir/b") == b"\x00\xff"


def test_a_revision_says_who_when_and_why(storage: Storage) -> None:
    made = storage.create(CARS, {"a": b""}, change("Because\n\nof much"))
    assert storage.resolve(CARS, None) == made
    assert (made.author, made.message, made.created) == (ANN, "Because\n\nof much", EPOCH)
    assert made.parent is None
    assert not made.deleted


def test_the_revision_id_is_the_one_git_computes(storage: Storage) -> None:
    # printf hello | git hash-object -w --stdin, mktree, and commit-tree with Ann's name and date
    made = storage.create(CARS, {"a": b"hello"}, change("Why"))
    assert made.id == "d95d7b4106f8610c5cbfab92ad99cee3c0e4223f"


def test_create_on_a_taken_id_changes_nothing(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    with pytest.raises(AlreadyExists):
        storage.create(CARS, {"a": b"2"}, change())
    assert storage.resolve(CARS, None) == first


def test_append_sets_and_removes_files_and_keeps_the_rest(storage: Storage) -> None:
    first = storage.create(CARS, {"kept": b"k", "changed": b"1", "gone": b"g", "d/e/gone": b"x"}, change())
    second = storage.append(
        CARS, {"changed": b"2", "gone": None, "d/e/gone": None, "d/new": b"n"}, change(), parent=first.id
    )
    assert second.parent == first.id
    assert storage.paths(CARS, second.id) == {
        "changed": blob_id(b"2"),
        "d/new": blob_id(b"n"),
        "kept": blob_id(b"k"),
    }
    assert storage.read(CARS, first.id, "gone") == b"g"


def test_append_takes_blobs_that_are_there_already(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"b": blob_id(b"1")}, change(), parent=first.id)
    assert storage.read(CARS, second.id, "b") == b"1"
    with pytest.raises(InvalidInput, match="no blob"):
        storage.append(CARS, {"c": blob_id(b"never stored")}, change(), parent=second.id)


def test_append_with_a_stale_parent_changes_nothing(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict) as caught:
        storage.append(CARS, {"a": b"3"}, change(), parent=first.id)
    assert (caught.value.expected, caught.value.actual) == (first.id, second.id)
    assert storage.resolve(CARS, None) == second


@pytest.mark.parametrize("there", [{"a": b"file"}, {"a/b/c": b"file"}])
def test_a_path_that_is_a_file_and_a_folder_at_once_is_refused(storage: Storage, there: dict[str, bytes]) -> None:
    first = storage.create(CARS, there, change())
    with pytest.raises(InvalidInput, match="file and a folder"):
        storage.append(CARS, {"a": b"x"} if "a/b/c" in there else {"a/b": b"x"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first


def test_removing_the_last_file_of_a_folder_removes_the_folder(storage: Storage) -> None:
    first = storage.create(CARS, {"a/b/c": b"1", "z": b"2"}, change())
    second = storage.append(CARS, {"a/b/c": None}, change(), parent=first.id)
    third = storage.append(CARS, {"a": b"a file now"}, change(), parent=second.id)
    assert set(storage.paths(CARS, third.id)) == {"a", "z"}


def test_the_size_of_a_file_is_told_before_and_after_it_is_read_and_hosts_tell_none(storage: Storage) -> None:
    text, made = b"text " * 10_000, None
    tells = isinstance(storage, (MemoryStorage, GitStorage, PostgresStorage))
    for content in (text, b"small", text + b"more"):
        if made is None:
            made = storage.create(CARS, {"a": content, "d/b": b""}, change())
        else:
            made = storage.append(CARS, {"a": content}, change(), parent=made.id)
        for compacted in (False, True):
            if compacted:
                storage.compact(CARS)
            storage.close()
            assert storage.size(CARS, made.id, "a") in ((len(content),) if tells else (len(content), None))
            assert storage.size(CARS, made.id, "d/b") in ((0,) if tells else (0, None))
            with pytest.raises(PathNotFound):
                storage.size(CARS, made.id, "nothing")
            assert storage.read(CARS, made.id, "a") == content


def test_what_is_missing_is_named_precisely(storage: Storage) -> None:
    with pytest.raises(DatasetNotFound):
        storage.resolve(CARS, None)
    made = storage.create(CARS, {"a": b""}, change())
    for unknown in (NOWHERE, "1234567", "no-such-tag", "../heads/main", "refs/heads/main", "", made.id[:6], "HEAD~1"):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, unknown)
    with pytest.raises(RevisionNotFound):
        storage.read(CARS, NOWHERE, "a")
    for path in ("b", "a/b", "", "/a", "../a"):
        with pytest.raises(PathNotFound):
            storage.read(CARS, made.id, path)
    with pytest.raises(TagNotFound):
        storage.tag(CARS, "v1")
    with pytest.raises(TagNotFound):
        storage.tag(CARS, "../heads/main")


def test_objects_that_are_no_revisions_are_not_found(storage: Storage) -> None:
    made = storage.create(CARS, {"d/a": b"x"}, change())
    tree = change_tree(None, {"a": blob_id(b"x")}, lambda tree: b"")[0]
    for identity in (blob_id(b"x"), tree):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, identity)
    assert storage.resolve(CARS, made.id) == made


def test_a_lost_race_is_no_revision_though_its_commit_exists(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.create(BOATS, {"a": b"1"}, change())
    lost = storage.append(BOATS, {"a": b"2"}, change("lost"), parent=first.id)
    storage.append(CARS, {"a": b"3"}, change("won"), parent=first.id)
    with storage._open(CARS) as repository:  # type: ignore[attr-defined]
        repository.put(_objects_of(storage, BOATS, lost.id))
    for text in (lost.id, lost.id[:12]):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, text)
    with pytest.raises(RevisionNotFound):
        storage.read(CARS, lost.id, "a")


def _objects_of(storage: Storage, dataset_id: DatasetId, revision: str) -> dict[str, GitObject]:
    with storage._open(dataset_id) as repository:  # type: ignore[attr-defined]
        commit = repository.get(revision)
        tree = parse_commit(commit.content).tree
        blobs = [entry.id for entry in parse_tree(repository.tree(tree)).values()]
        return {identity: repository.get(identity) for identity in (revision, tree, *blobs)}


def test_revisions_resolve_in_gits_order(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    storage.tag_create(CARS, tag_of("v1", first.id))
    assert storage.resolve(CARS, "v1") == first
    assert storage.resolve(CARS, "HEAD") == second
    assert storage.resolve(CARS, "main") == second
    assert storage.resolve(CARS, first.id) == first
    assert storage.resolve(CARS, first.id[:7]) == first


def test_history_is_lazy_newest_first_and_starts_anywhere(storage: Storage) -> None:
    revisions = [storage.create(CARS, {"a": b"0"}, change())]
    for n in range(1, 6):
        revisions.append(storage.append(CARS, {"a": b"%d" % n}, change(str(n)), parent=revisions[-1].id))
    assert list(storage.history(CARS, revisions[-1].id)) == revisions[::-1]
    assert list(storage.history(CARS, revisions[2].id)) == revisions[2::-1]
    walk = storage.history(CARS, revisions[-1].id)
    assert next(walk) == revisions[-1]


def test_history_of_a_path_has_only_what_changed_it(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1", "d/b": b"1"}, change())
    second = storage.append(CARS, {"d/b": b"2"}, change(), parent=first.id)
    third = storage.append(CARS, {"a": b"2"}, change(), parent=second.id)
    fourth = storage.append(CARS, {"d/b": None}, change(), parent=third.id)
    assert list(storage.history(CARS, fourth.id, path="d/b")) == [fourth, second, first]


def test_listing_is_sorted_by_name(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    ids = [DatasetId("physics", name) for name in ("b", "b.c", "b-c", "_x", "ba", "a", "b_c", "9")]
    for each in ids:
        storage.create(each, {"f": b""}, change())
    own = DatasetId("_metastore", "x")
    storage.create(own, {"f": b""}, change())
    expected = sorted(ids, key=lambda each: each.name)
    assert list(storage.ids()) == expected
    assert list(storage.ids(prefix="physics/b")) == [each for each in expected if each.name.startswith("b")]
    for prefix in ("physics", "physics/", "p"):
        assert list(storage.ids(prefix=prefix)) == expected
    for position, each in enumerate(expected):
        assert list(storage.ids(after=each)) == expected[position + 1 :]
    assert list(storage.ids(prefix="zz")) == []
    assert list(storage.ids(prefix="_metastore/")) == [own]


def test_listing_is_sorted_by_owner_then_name(storage_of_all: Storage) -> None:
    storage = storage_of_all
    ids = [DatasetId(*text.split("/")) for text in ("a/b", "a/b.c", "a/b-c", "a-b/a", "ab/a", "a/_x", "b/a", "a/ba")]
    for each in ids:
        storage.create(each, {"f": b""}, change())
    storage.create(DatasetId("_own", "x"), {"f": b""}, change())
    expected = sorted(ids, key=lambda each: (each.owner, each.name))
    assert list(storage.ids()) == expected
    assert list(storage.ids(prefix="a")) == [each for each in expected if str(each).startswith("a")]
    assert list(storage.ids(prefix="a/")) == [each for each in expected if each.owner == "a"]
    for position, each in enumerate(expected):
        assert list(storage.ids(after=each)) == expected[position + 1 :]


def test_a_dataset_moves_to_another_owner(storage_of_all: Storage) -> None:
    first = storage_of_all.create(CARS, {"a": b"1"}, change())
    storage_of_all.rename(CARS, DatasetId("other", "boats"), parent=first.id)
    assert storage_of_all.resolve(DatasetId("other", "boats"), None) == first
    with pytest.raises(DatasetMoved):
        storage_of_all.resolve(CARS, None)


def test_a_store_of_one_owner_refuses_ids_of_another_and_changes_nothing(storage_of_one: Storage) -> None:
    first = storage_of_one.create(CARS, {"a": b"1"}, change())
    other = DatasetId("other", "boats")
    for call in (
        lambda: storage_of_one.create(other, {"a": b"1"}, change()),
        lambda: storage_of_one.resolve(other, None),
        lambda: storage_of_one.rename(CARS, other, parent=first.id),
    ):
        with pytest.raises(InvalidInput, match="physics"):
            call()
    assert list(storage_of_one.ids(prefix="other/")) == []
    assert storage_of_one.resolve(CARS, None) == first


def test_a_renamed_dataset_keeps_everything_and_the_old_id_says_where_it_went(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    tag = storage.tag_create(CARS, tag_of("v1", first.id))
    storage.rename(CARS, BOATS, parent=first.id)
    assert storage.resolve(BOATS, None) == first
    assert storage.tag(BOATS, "v1") == tag
    assert list(storage.ids()) == [BOATS]
    for call in (
        lambda: storage.resolve(CARS, None),
        lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: list(storage.tags(CARS)),
        lambda: storage.purge(CARS, parent=first.id),
    ):
        with pytest.raises(DatasetMoved) as caught:
            call()
        assert caught.value.new_id == BOATS


def test_a_dataset_moved_twice_is_found_from_all_its_ids(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    storage.rename(BOATS, SHIPS, parent=first.id)
    storage.create(BOATS, {"a": b"somebody else's"}, change())
    with pytest.raises(DatasetMoved) as caught:
        storage.resolve(CARS, None)
    assert caught.value.new_id == SHIPS


def test_a_dataset_can_move_back(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    storage.rename(BOATS, CARS, parent=first.id)
    assert storage.resolve(CARS, None) == first
    with pytest.raises(DatasetMoved) as caught:
        storage.resolve(BOATS, None)
    assert caught.value.new_id == CARS


def test_create_on_a_moved_id_ends_the_forwarding(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    new = storage.create(CARS, {"a": b"new"}, change())
    assert storage.resolve(CARS, None) == new
    storage.rename(BOATS, SHIPS, parent=first.id)
    storage.purge(CARS, parent=new.id)
    with pytest.raises(DatasetNotFound) as caught:
        storage.resolve(CARS, None)
    assert not isinstance(caught.value, DatasetMoved)


def test_rename_refuses_a_taken_id_and_a_stale_parent(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.create(BOATS, {"a": b"2"}, change())
    with pytest.raises(AlreadyExists) as caught:
        storage.rename(CARS, BOATS, parent=first.id)
    assert caught.value.what == BOATS
    with pytest.raises(RevisionConflict):
        storage.rename(CARS, SHIPS, parent=NOWHERE)
    assert storage.resolve(CARS, None) == first
    assert list(storage.ids()) == [BOATS, CARS]


def test_purge_removes_everything_and_frees_the_id(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    with pytest.raises(RevisionConflict):
        storage.purge(BOATS, parent=NOWHERE)
    storage.purge(BOATS, parent=first.id)
    for gone in (CARS, BOATS):
        with pytest.raises(DatasetNotFound) as caught:
            storage.resolve(gone, None)
        assert not isinstance(caught.value, DatasetMoved)
    again = storage.create(BOATS, {"a": b"2"}, change())
    assert storage.resolve(BOATS, None) == again
    with pytest.raises(RevisionNotFound):
        storage.resolve(BOATS, first.id)


def test_tags_are_listed_by_name_and_say_who_when_and_what(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    made = [storage.tag_create(CARS, tag_of(name, first.id, f"About {name}")) for name in ("v10", "v2", "V1")]
    assert list(storage.tags(CARS)) == sorted(made, key=lambda tag: tag.name)
    read = storage.tag(CARS, "v2")
    assert (read.name, read.revision, read.description) == ("v2", first.id, "About v2")
    assert (read.author, read.created) == (ANN, EPOCH)
    with pytest.raises(AlreadyExists):
        storage.tag_create(CARS, tag_of("v2", first.id))
    with pytest.raises(RevisionNotFound):
        storage.tag_create(CARS, tag_of("v3", NOWHERE))


def test_a_tag_is_updated_renamed_and_removed_only_as_it_was_seen(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    old = storage.tag_create(CARS, tag_of("v1", first.id))
    storage.tag_create(CARS, tag_of("taken", first.id))
    new = storage.tag_update(CARS, "v1", tag_of("v2", second.id, "moved"), expected=old.id)
    assert storage.tag(CARS, "v2") == new
    with pytest.raises(TagNotFound):
        storage.tag(CARS, "v1")
    with pytest.raises(RevisionConflict):
        storage.tag_update(CARS, "v2", tag_of("v2", first.id), expected=old.id)
    with pytest.raises(AlreadyExists):
        storage.tag_update(CARS, "v2", tag_of("taken", first.id), expected=new.id)
    with pytest.raises(RevisionConflict):
        storage.tag_delete(CARS, "v2", expected=old.id)
    storage.tag_delete(CARS, "v2", expected=new.id)
    assert [tag.name for tag in storage.tags(CARS)] == ["taken"]
    with pytest.raises(TagNotFound):
        storage.tag_delete(CARS, "v2", expected=new.id)


def test_what_was_written_moved_or_purged_is_touched(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.create(BOATS, {"a": b"1"}, change())
    touched = list(storage.touched(None))
    assert {each for _, each in touched} == {CARS, BOATS}
    storage.rename(CARS, SHIPS, parent=first.id)
    storage.purge(BOATS, parent=storage.resolve(BOATS, None).id)
    later = list(storage.touched(touched[-1][0]))
    assert {each for _, each in later} >= {CARS, BOATS, SHIPS}
    assert {each for _, each in storage.touched(f"{'f' * 16}.5")} >= {CARS, BOATS, SHIPS}, "another feed begins anew"


def test_compact_verify_and_ping_leave_everything_readable(storage_that_lists: Storage) -> None:
    storage = storage_that_lists
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    storage.compact(CARS)
    storage.ping()
    assert list(storage.verify()) == []
    assert storage.read(CARS, first.id, "a") == b"1"
    third = storage.append(CARS, {"a": b"3"}, change(), parent=second.id)
    assert storage.read(CARS, third.id, "a") == b"3"


def test_a_closed_storage_opens_again(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.close()
    assert storage.resolve(CARS, None) == first


def test_blob_ids_are_texts_of_a_class_of_their_own(storage: Storage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    (found,) = storage.paths(CARS, first.id).values()
    assert isinstance(found, BlobId)
    assert list(storage.issues(CARS)) == []


def test_every_revision_of_a_long_history_is_found(storage_of_its_own: Storage) -> None:
    storage = storage_of_its_own
    revisions = [storage.create(CARS, {"a": b"0"}, change())]
    for number in range(1, 150):
        revisions.append(storage.append(CARS, {"a": b"%d" % number}, change(), parent=revisions[-1].id))
        if number % 40 == 0:
            assert storage.read(CARS, revisions[number // 2].id, "a") == b"%d" % (number // 2)
    for number, revision in enumerate(revisions):
        assert storage.read(CARS, revision.id, "a") == b"%d" % number
        assert storage.resolve(CARS, revision.id[:12]) == revision
    assert list(storage.history(CARS, revisions[-1].id)) == revisions[::-1]
