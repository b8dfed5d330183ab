"""The record in Git: it reads well, and changes by hand are found."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metastore.bundle import BundleRegistry, Groups, versioned
from metastore.bundle.versioned import BUNDLES, REGISTRY, VersionedRecord, path_of
from metastore.errors import InvalidInput, OutcomeUnknown, StorageBusy, StorageCorrupt
from metastore.index_file import IndexFile, transaction
from metastore.storage.memory import MemoryStorage
from metastore.types import BlobId, Change, DatasetId, Outcome, Revision, RevisionId

from ..conftest import EPOCH, change, ticking
from ..processes import open_to_others
from .conftest import GROUPS, git_record, numi, registry_of


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    repository = folder / "_metastore" / "bundles.git"
    done = subprocess.run(["git", "-C", str(repository), *arguments], input=stdin, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture
def history(git_registry: BundleRegistry) -> BundleRegistry:
    git_registry.bundle_create(numi(), user="ann", comment="First")
    git_registry.bundle_create(numi(name="Other"), user="bo")
    git_registry.bundle_update(
        "NuMI", {"add_devices": ["E:TR101A"]}, user="bo", comment="Second toroid\n\nSee logbook."
    )
    return git_registry


def edit(folder: Path, name: str, old: bytes, new: bytes, *, registry: tuple[bytes, bytes] = (b"", b"")) -> None:
    """Change a bundle's file by a commit of one's own, as somebody with access to the disk could."""
    storage = git_record(folder)._storage
    head = storage.resolve(BUNDLES, None)
    files = {path_of(name): storage.read(BUNDLES, head.id, path_of(name)).replace(old, new)}
    files[REGISTRY] = storage.read(BUNDLES, head.id, REGISTRY).replace(*registry)
    storage.append(BUNDLES, files, change("By hand"), parent=head.id)
    storage.close()


def problems(registry: BundleRegistry) -> dict[str, str]:
    return {check.name: check.problem for check in registry.bundle_verify() if check.problem}


def test_git_log_says_who_when_and_why(history: BundleRegistry, folder: Path) -> None:
    assert git(folder, "log", "-z", "--format=%an|%at|%B").split("\0")[:3] == [
        "bo|1714564802|Second toroid\n\nSee logbook.\n",
        "bo|1714564801|create Other\n",
        "ann|1714564800|First\n",
    ]


def test_a_new_device_is_one_new_line(history: BundleRegistry, folder: Path) -> None:
    patch = git(folder, "show", "--format=", "HEAD", "--", path_of("NuMI"))
    added = [line[1:].strip() for line in patch.splitlines() if line[0] == "+" and line[:3] != "+++"]
    assert '"E:TR101A",' in added
    assert [line for line in added if "E:" in line] == ['"E:TR101A",']


def test_one_write_is_one_commit_and_touches_nothing_else(history: BundleRegistry, folder: Path) -> None:
    assert set(git(folder, "show", "--format=", "--name-only", "HEAD").split()) == {REGISTRY, path_of("NuMI")}
    assert json.loads(git(folder, "show", f"HEAD:{REGISTRY}")) == {"last": 3, "changed": ["NuMI"]}


def test_a_file_is_the_whole_snapshot(history: BundleRegistry, folder: Path) -> None:
    said = json.loads(git(folder, "show", f"HEAD:{path_of('NuMI')}"))
    assert (said["devices"], said["snapshot"], said["user"]) == (["E:TORTGT", "E:TR101A", "E:TR101D"], 3, "bo")


def test_git_finds_the_repository_whole(history: BundleRegistry, folder: Path) -> None:
    git(folder, "fsck", "--strict")


def test_a_user_whom_git_cannot_name_is_kept_in_the_file(folder: Path) -> None:
    groups = Groups.parse("groups = NOvA\nNOvA = <>\nroot = .")
    with BundleRegistry(git_record(folder), groups, clock=ticking()) as registry:
        registry.bundle_create(numi(), user="<>")
        assert registry.bundle_log()[0].user == "<>"
        assert git(folder, "log", "--format=%an") == "unknown\n"


# Tampering


def test_a_changed_file_is_found(history: BundleRegistry, folder: Path) -> None:
    edit(folder, "NuMI", b"E:TR101A", b"E:FORGED")
    assert list(problems(history)) == ["NuMI"]


def test_a_changed_file_of_another_bundle_accuses_nobody_else(history: BundleRegistry, folder: Path) -> None:
    edit(folder, "Other", b"E:TR101D", b"E:FORGED")
    assert list(problems(history)) == ["Other"]


def test_a_changed_file_is_still_found_when_somebody_went_on_from_it(history: BundleRegistry, folder: Path) -> None:
    edit(folder, "Other", b"E:TR101D", b"E:FORGED")
    history.bundle_update("Other", {"udp": True}, user="ann")
    assert "E:FORGED" in history.bundle_read("Other").devices
    assert problems(history) == {"Other": "it was changed without a snapshot, after snapshot 2"}


def test_lists_and_logs_go_on_after_a_commit_by_hand(history: BundleRegistry, folder: Path) -> None:
    before = list(history.bundle_log())
    edit(folder, "Other", b"E:TR101D", b"E:FORGED")
    assert list(history.bundle_log()) == before
    made = history.bundle_update("NuMI", {"udp": True}, user="ann")
    assert history.bundle_log()[0].id == made.snapshot
    assert [each.name for each in history.bundle_list(device="E:TR101D")] == ["NuMI", "Other"]


def test_a_forged_snapshot_is_found(history: BundleRegistry, folder: Path) -> None:
    edit(
        folder,
        "NuMI",
        b'"snapshot": 3',
        b'"snapshot": 4',
        registry=(b'"last": 3', b'"last": 4'),
    )
    assert list(problems(history)) == ["NuMI"]


def test_files_that_are_not_the_registry_s_are_found(history: BundleRegistry, folder: Path) -> None:
    storage = git_record(folder)._storage
    head = storage.resolve(BUNDLES, None)
    copied = storage.read(BUNDLES, head.id, path_of("NuMI")).replace(b"NuMI", b"Planted")
    files = {path_of("Planted"): copied, "00/NuMI/bundle.json": copied, "notes.txt": b""}
    storage.append(BUNDLES, files, change("By hand"), parent=head.id)
    assert problems(history) == {
        "00/NuMI/bundle.json": "00/NuMI/bundle.json is not a file of the registry",
        "Planted": "it has no snapshot",
        "notes.txt": "notes.txt is not a file of the registry",
    }


@pytest.mark.parametrize("broken", [b"no JSON", b"[]", b"{}", b'{"name": 1}'])
def test_a_file_that_cannot_be_read_is_named(history: BundleRegistry, folder: Path, broken: bytes) -> None:
    content = git(folder, "show", f"HEAD:{path_of('Other')}").encode()
    edit(folder, "Other", content, broken)
    assert list(problems(history)) == ["Other"]
    with pytest.raises(StorageCorrupt, match="file of a bundle"):
        history.bundle_read("Other")
    assert history.bundle_read("NuMI").devices


def test_a_file_in_the_place_of_another_is_refused(history: BundleRegistry, folder: Path) -> None:
    edit(folder, "Other", b'"name": "Other"', b'"name": "NuMI"')
    with pytest.raises(StorageCorrupt, match="claims to be NuMI"):
        history.bundle_read("Other")
    assert list(problems(history)) == ["Other"]


@pytest.mark.parametrize("broken", [b"no JSON", b"[]", b"{}", b'{"last": null, "changed": []}'])
def test_a_damaged_list_of_changes_is_said_to_be_damaged(history: BundleRegistry, folder: Path, broken: bytes) -> None:
    content = git(folder, "show", f"HEAD:{REGISTRY}").encode()
    edit(folder, "Other", b"", b"", registry=(content, broken))
    for call in (history.bundle_log, lambda: list(history.bundle_verify())):
        with pytest.raises(StorageCorrupt, match="is not what MetaStore writes"):
            call()


def test_a_rewritten_history_breaks_the_chain(history: BundleRegistry, folder: Path) -> None:
    stream = git(folder, "fast-export", "--all").replace("E:TORTGT", "E:FORGED")
    git(folder, "fast-import", "--force", "--quiet", stdin=stream.encode())
    history._record.close()
    assert "altered" in problems(history)["NuMI"]
    assert history.bundle_read("NuMI").devices >= {"E:FORGED"}


def test_a_history_cut_short_has_other_heads_than_those_kept_elsewhere(history: BundleRegistry, folder: Path) -> None:
    kept = {check.name: check.head for check in history.bundle_verify()}
    git(folder, "update-ref", "refs/heads/main", "HEAD~1")
    history._record.close()
    now = {check.name: check.head for check in history.bundle_verify()}
    assert problems(history) == {}
    assert [name for name in kept if kept[name] != now[name]] == ["NuMI"]
    assert [line.id for line in history.bundle_log()] == [2, 1]
    assert history.bundle_read("NuMI").snapshot == 1


def test_heads_that_were_kept_elsewhere_find_a_rewritten_record(history: BundleRegistry, folder: Path) -> None:
    kept = {check.name: check.head for check in history.bundle_verify()}
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    assert [check.problem for check in history.bundle_verify(kept)] == [None, None]
    git(folder, "update-ref", "refs/heads/main", "HEAD~2")
    history._record.close()
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    found = {check.name: check.problem for check in history.bundle_verify({**kept, "Gone": "0" * 64})}
    assert found == {
        "NuMI": f"its record was rewritten: {kept['NuMI'][:12]}… is no longer in it",
        "Other": None,
        "Gone": "its record is gone",
    }


def test_nobody_changes_the_registry_through_the_calls_for_datasets(history: BundleRegistry, folder: Path) -> None:
    import metastore

    with metastore.connect(folder, author="Ann <ann@example.org>") as store:
        for call in (
            lambda: store.dataset_update("_metastore/bundles", {"name": "x"}),
            lambda: store.dataset_patch("_metastore/bundles", {"name": "x"}),
            lambda: store.dataset_delete("_metastore/bundles"),
            lambda: store.dataset_purge("_metastore/bundles", force=True),
            lambda: store.dataset_move("_metastore/bundles", "a/b"),
        ):
            with pytest.raises(InvalidInput):
                call()
    assert problems(history) == {}


# The index is never trusted over the record


def answers(registry: BundleRegistry) -> object:
    return list(registry.bundle_list()), list(registry.bundle_log()), registry.bundle_snapshot(1)


@pytest.fixture
def index(history: BundleRegistry, folder: Path) -> Path:
    """Return the index's file, complete and closed."""
    answers(history)
    history._record.close()
    return folder / "_metastore" / "bundles.sqlite"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_index_is_deleted_and_rebuilt(history: BundleRegistry, index: Path, content: bytes) -> None:
    right = answers(history)
    history._record.close()
    index.write_bytes(content)
    assert answers(history) == right
    history._record.close()
    assert index.read_bytes().startswith(b"SQLite format 3\0")
    assert answers(history) == right


def test_an_index_broken_while_it_is_open_is_rebuilt(history: BundleRegistry, index: Path) -> None:
    right = answers(history)
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (index.stat().st_size - 4096))
    (index.parent / "bundles.sqlite-wal").write_bytes(b"")
    assert answers(history) == right


def test_a_deleted_index_is_rebuilt(history: BundleRegistry, index: Path) -> None:
    right = answers(history)
    index.unlink()
    assert answers(history) == right
    history._record.close()
    index.unlink(missing_ok=True)
    assert answers(history) == right


def test_an_old_index_catches_up(history: BundleRegistry, index: Path) -> None:
    old = index.read_bytes()
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    right = answers(history)
    history._record.close()
    index.write_bytes(old)
    assert answers(history) == right


def test_an_index_that_is_ahead_is_rebuilt(history: BundleRegistry, index: Path, folder: Path) -> None:
    right = answers(history)
    history._record.close()
    shutil.copytree(folder, folder.with_name("backup"))
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    answers(history)
    history._record.close()
    shutil.rmtree(folder / "_metastore" / "bundles.git")
    shutil.copytree(folder.with_name("backup") / "_metastore" / "bundles.git", folder / "_metastore" / "bundles.git")
    assert answers(history) == right


def test_the_index_of_another_registry_is_not_believed(
    history: BundleRegistry, index: Path, folder: Path, tmp_path: Path
) -> None:
    with BundleRegistry(git_record(tmp_path / "other"), Groups.parse(GROUPS), clock=ticking()) as other:
        other.bundle_create(numi(name="Elsewhere"), user="ann")
        right = answers(other)
        other._record.close()
        shutil.copy(index, tmp_path / "other" / "_metastore" / "bundles.sqlite")
        assert answers(other) == right


def test_an_index_of_a_registry_that_is_gone_is_empty(history: BundleRegistry, index: Path, folder: Path) -> None:
    shutil.rmtree(folder / "_metastore" / "bundles.git")
    assert list(history.bundle_list()) == list(history.bundle_log()) == []


def test_where_no_file_can_be_written_the_index_is_kept_in_memory(
    history: BundleRegistry, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right = answers(history)
    history._record.close()
    index.unlink()
    index.mkdir()
    with caplog.at_level(logging.WARNING, "metastore.bundle"):
        assert answers(history) == right
    assert "is kept in memory" in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_who_may_only_read_the_folder_gets_right_answers(history: BundleRegistry, index: Path, folder: Path) -> None:
    right = repr(answers(history))
    history._record.close()
    open_to_others(folder.parent)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        with BundleRegistry(git_record(folder), Groups.parse(GROUPS)) as reader:
            os._exit(repr(answers(reader)) != right)
    assert os.waitpid(child, 0)[1] == 0


def test_a_reader_who_waits_too_long_for_the_index_is_told_to_try_again(
    history: BundleRegistry, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.index_file._PATIENCE", 0.05)
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    with contextlib.closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match="try again"):
            history.bundle_log()
        assert history.bundle_read("NuMI").udp
    assert len(history.bundle_log()) == 4


def test_an_index_that_sqlite_says_at_once_is_busy_is_asked_again(index: Path) -> None:
    """SQLite does not wait where a file was deleted while others had it open."""
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorname = "SQLITE_BUSY"
    answers: list[object] = [busy, busy, busy, busy, 7]

    def question(database: sqlite3.Connection) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    file = IndexFile(str(index), "CREATE TABLE x (y)", 1)
    assert file.ask(question) == 7
    file.close()


def test_an_index_that_the_system_does_not_show_is_kept_in_memory(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = os.lstat

    def lstat(path: str) -> os.stat_result:
        if path == str(index):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return shown(path)

    index.write_bytes(b"stays")
    monkeypatch.setattr(os, "lstat", lstat)
    file = IndexFile(str(index), "CREATE TABLE x (y)", 1)
    assert file.ask(lambda database: database.execute("SELECT count(*) FROM x").fetchone()[0]) == 0
    assert file.path is None
    assert index.read_bytes() == b"stays"


def test_what_another_file_in_place_of_an_open_index_has_is_not_believed(index: Path) -> None:
    def count(database: sqlite3.Connection) -> Any:
        return database.execute("SELECT count(*) FROM x").fetchone()[0]

    def add(database: sqlite3.Connection) -> None:
        with transaction(database):
            database.execute("INSERT INTO x VALUES (7)")

    paths = f"{index}-other", str(index)
    other, file = (IndexFile(path, "CREATE TABLE x (y)", 1, empty_replaced=True) for path in paths)
    other.ask(add)
    assert (other.ask(count), file.ask(count)) == (1, 0)
    for each in (other, file):
        each.close()  # which empties the journal beside it
    assert file.ask(count) == 0
    os.replace(f"{index}-other", index)
    assert (file.ask(count), file.openings) == (0, 3)
    assert IndexFile(str(index), "CREATE TABLE x (y)", 1).ask(count) == 0


def test_an_index_with_other_content_is_rebuilt(history: BundleRegistry, index: Path) -> None:
    right = answers(history)
    history._record.close()
    with contextlib.closing(sqlite3.connect(index)) as other, other:
        other.execute("DROP TABLE snapshots")
    assert answers(history) == right
    history._record.close()
    with contextlib.closing(sqlite3.connect(index)) as other, other:
        other.execute("DELETE FROM meta")
    assert answers(history) == right


def test_a_child_of_a_fork_has_an_index_of_its_own(history: BundleRegistry, index: Path) -> None:
    right = repr(answers(history))
    child = os.fork()
    if child == 0:
        wrong = repr(answers(history)) != right
        history._record.close()
        os._exit(wrong)
    assert os.waitpid(child, 0)[1] == 0
    history.bundle_update("NuMI", {"udp": True}, user="ann")
    assert len(history.bundle_log()) == 4


def test_the_registry_is_the_same_on_every_storage(history: BundleRegistry, folder: Path) -> None:
    from metastore.bundle.versioned import VersionedRecord
    from metastore.storage.memory import MemoryStorage

    storage = MemoryStorage()
    with BundleRegistry(VersionedRecord(storage), Groups.parse(GROUPS), clock=ticking()) as other:
        other.bundle_create(numi(), user="ann", comment="First")
        other.bundle_create(numi(name="Other"), user="bo")
        other.bundle_update("NuMI", {"add_devices": ["E:TR101A"]}, user="bo", comment="Second toroid\n\nSee logbook.")
        assert storage.resolve(BUNDLES, None).id == git(folder, "rev-parse", "HEAD").strip()
        assert storage.resolve(BUNDLES, None).created > EPOCH


class Losing(MemoryStorage):
    """Loses the answer to a write, or the write itself."""

    lost = ""

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        if self.lost == "write":
            raise OutcomeUnknown("no answer", "f" * 40, before=parent)
        revision = super().append(dataset_id, changes, change, parent=parent)
        if self.lost == "answer":
            raise OutcomeUnknown("no answer", revision.id, before=parent)
        return revision


def settled_after(registry: BundleRegistry, storage: Losing, lost: str) -> OutcomeUnknown:
    registry.bundle_create(numi(), user="ann")
    storage.lost = lost
    with pytest.raises(OutcomeUnknown) as caught:
        registry.bundle_update("NuMI", {"udp": True}, user="ann")
    storage.lost = ""
    return caught.value


def test_a_change_whose_answer_was_lost_is_settled_as_made_also_after_others() -> None:
    storage = Losing()
    registry = registry_of(VersionedRecord(storage))
    error = settled_after(registry, storage, "answer")
    assert registry.settle(error) == Outcome.LANDED
    registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
    assert registry.settle(error) == Outcome.LANDED


def test_a_change_that_was_lost_is_settled_as_not_made_once_it_cannot_arrive_any_more() -> None:
    storage = Losing()
    registry = registry_of(VersionedRecord(storage))
    error = settled_after(registry, storage, "write")
    assert registry.settle(error) == Outcome.NOT_LANDED
    storage.may_arrive_late = True
    assert registry.settle(error) == Outcome.UNKNOWN
    registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
    assert registry.settle(error) == Outcome.NOT_LANDED


def test_a_first_change_that_was_lost_is_settled_by_what_the_record_begins_with() -> None:
    storage = MemoryStorage()
    registry = registry_of(VersionedRecord(storage))
    error = OutcomeUnknown("no answer", "f" * 40, before=None)
    assert registry.settle(error) == Outcome.NOT_LANDED
    storage.may_arrive_late = True
    assert registry.settle(error) == Outcome.UNKNOWN
    registry.bundle_create(numi(), user="ann")
    assert registry.settle(error) == Outcome.NOT_LANDED
    assert registry.settle(OutcomeUnknown("no answer", storage.resolve(BUNDLES, None).id)) == Outcome.LANDED


def test_a_change_is_unknown_once_more_revisions_followed_than_are_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versioned, "_RECENT", 2)
    storage = Losing()
    registry = registry_of(VersionedRecord(storage))
    lost = settled_after(registry, storage, "write")
    for number in (1, 2):
        assert registry.settle(lost) == Outcome.NOT_LANDED
        registry.bundle_update("NuMI", {"event": f"e,{number}d"}, user="ann")
    assert registry.settle(lost) == Outcome.UNKNOWN


@pytest.mark.parametrize("named", [{}, {"change": "tag"}, {"bundles": (1,)}])
def test_an_error_about_something_else_cannot_be_settled(named: dict[str, Any]) -> None:
    storage = MemoryStorage()
    registry = registry_of(VersionedRecord(storage))
    registry.bundle_create(numi(), user="ann")
    wanted = storage.resolve(BUNDLES, None).id if named else None
    with pytest.raises(InvalidInput, match="names no change of bundles"):
        registry.settle(OutcomeUnknown("no answer", wanted, **named))
