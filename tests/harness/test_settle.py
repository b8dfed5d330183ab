"""A change whose outcome is unknown: the error names it, and `settle` says what became of it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import MetaStore, Outcome, OutcomeUnknown, StorageUnavailable
from metastore.errors import MetastoreError
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

from ..conftest import ANN, EPOCH
from ..processes import SOAK
from .faults import failing

CARS, GONE, MADE = "physics/cars", "physics/gone", "physics/made"
WRITES: dict[str, Callable[[MetaStore], Any]] = {
    "create": lambda s: s.dataset_create("physics/new", {"n": 1}),
    "create again": lambda s: s.dataset_create(GONE, {"n": 9}),
    "update": lambda s: s.dataset_update(CARS, {"n": 3}),
    "patch": lambda s: s.dataset_patch(CARS, {"m": 3}),
    "delete": lambda s: s.dataset_delete(CARS),
    "revert": lambda s: s.dataset_revert(CARS, "v1"),
    "undo": lambda s: s.dataset_undo(CARS, "v1..HEAD"),
    "undo a creation": lambda s: s.dataset_undo(MADE, "HEAD"),
    "purge": lambda s: s.dataset_purge(GONE),
    "move": lambda s: s.dataset_move(CARS, "elsewhere/cars"),
    "tag_create": lambda s: s.tag_create(CARS, "v2"),
    "tag_update": lambda s: s.tag_update(CARS, "v1", description="One"),
    "tag_update to another name": lambda s: s.tag_update(CARS, "v1", new_name="v3"),
    "tag_delete": lambda s: s.tag_delete(CARS, "v1"),
}
#: What is there before each write: the tag, or the newest revision of one of the two datasets.
BEFORE = {"create": None, "undo a creation": MADE, "create again": GONE, "purge": GONE, "tag_create": None}
CALLS = ("fsync", "close", "rename", "replace", "flock", "unlink", "open") if SOAK else ("fsync",)


def connect(root: Path) -> MetaStore:
    store = metastore.connect(root, author=ANN, validation="off", clock=lambda: EPOCH)
    assert isinstance(store, MetaStore)
    return store


def filled(root: Path) -> None:
    store = metastore.connect(root, author=ANN, validation="off", sync=False)
    store.dataset_create(CARS, {"n": 1})
    store.tag_create(CARS, "v1")
    store.dataset_update(CARS, {"n": 2})
    store.dataset_create(GONE, {"n": 1})
    store.dataset_delete(GONE)
    store.dataset_create(MADE, {"n": 1})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "store"
    filled(root)
    return root


def whole(root: Path) -> Any:
    """Return all that can be read of a store, but for the journal, which may have a line too many."""
    store = metastore.connect(root, author=ANN, sync=False)
    ids = list(store.dataset_list(deleted=None))
    return [(each, list(store.revision_list(each)), list(store.tag_list(each))) for each in ids]


def known_ids(template: Path, write: str, root: Path) -> tuple[str | None, str | None, Any]:
    """Return what a write finds, what it makes, and how the store is then."""
    shutil.copytree(template, root)
    store = metastore.connect(root, author=ANN, validation="off", clock=lambda: EPOCH, sync=False)
    if write.startswith("tag_") and write != "tag_create":
        before: str | None = store.tag_read(CARS, "v1").id
    else:
        named = BEFORE.get(write, CARS)
        before = store.revision_read(named).id if named else None
    made = WRITES[write](store)
    made_id = getattr(getattr(made, "revision", None), "id", None) or getattr(made, "id", None)
    return before, None if write in ("purge", "move", "tag_delete") else made_id, whole(root)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_outcome_names_the_change_and_settle_says_what_became_of_it(
    call: str, write: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, wanted, done = known_ids(template, write, tmp_path / "done")
    unknown = 0
    for number in range(200):
        root = tmp_path / str(number)
        shutil.copytree(template, root)
        store, error = connect(root), None
        with failing(monkeypatch, call, number, 5) as struck:
            if call != "fsync":
                monkeypatch.setattr("os.fsync", lambda descriptor: None)
            try:
                WRITES[write](store)
            except MetastoreError as caught:
                error = caught
        if not struck:
            break
        if isinstance(error, OutcomeUnknown):
            unknown += 1
            error = pickle.loads(pickle.dumps(error))
            assert error.change.action == write.split()[0]
            assert (error.before, error.wanted) == (before, wanted)
            verdict = connect(root).settle(error)
            assert verdict != Outcome.UNKNOWN
            assert whole(root) == (done if verdict == Outcome.LANDED else whole(template))
            assert connect(template).settle(error) == Outcome.NOT_LANDED, "the power went before the disk had it"
        else:
            assert whole(root) == (whole(template) if error else done)
        shutil.rmtree(root)
    assert unknown or call != "fsync"


def unconfirmed(
    write: str, template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[MetaStore, OutcomeUnknown]:
    """Make a change that the disk does not confirm; return the store, and the error."""
    for number in range(200):
        shutil.copytree(template, root := folder / f"{write}-{number}")
        with failing(monkeypatch, "fsync", number, 5) as struck:
            try:
                WRITES[write](connect(root))
            except OutcomeUnknown as error:
                return connect(root), error
            except MetastoreError:
                continue
        assert struck
    raise AssertionError("no call left the outcome unknown")


def test_while_the_disk_confirms_nothing_the_outcome_stays_unknown(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, error = unconfirmed("update", template, tmp_path, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert store.settle(error) == Outcome.UNKNOWN
    assert store.settle(error) == Outcome.LANDED


@pytest.mark.parametrize("write", ["update", "tag_create", "move"])
def test_a_change_that_others_have_gone_on_from_has_landed(
    write: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, error = unconfirmed(write, template, tmp_path, monkeypatch)
    if write == "update":
        store.dataset_update(CARS, {"n": 8})
        store.dataset_move(CARS, "elsewhere/cars")
    elif write == "tag_create":
        store.tag_update(CARS, "v2", description="changed by somebody else")
        assert store.settle(error) == Outcome.LANDED
        store.tag_delete(CARS, "v2")
    else:
        store.dataset_update("elsewhere/cars", {"n": 8})
        store.dataset_move("elsewhere/cars", "beyond/cars")
    assert store.settle(error) == Outcome.LANDED


@pytest.mark.parametrize("write", ["create", "update", "move", "purge", "tag_create"])
def test_a_change_that_somebody_else_forestalled_has_not_landed(
    write: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, error = unconfirmed(write, template, tmp_path, monkeypatch)
    shutil.copytree(template, tmp_path / "store")  # the power went, and ours is not there
    store = connect(tmp_path / "store")
    theirs: dict[str, Callable[[], Any]] = {
        "create": lambda: store.dataset_create("physics/new", {"theirs": 1}),
        "update": lambda: store.dataset_update(CARS, {"theirs": 1}),
        "move": lambda: store.dataset_update(CARS, {"theirs": 1}),
        "purge": lambda: store.dataset_create(GONE, {"theirs": 1}),
        "tag_create": lambda: store.tag_create(CARS, "v2", description="theirs"),
    }
    theirs[write]()
    assert store.settle(error) == Outcome.NOT_LANDED


@pytest.mark.parametrize("write", ["purge", "move", "tag_update", "tag_delete"])
def test_a_journal_that_cannot_be_confirmed_stops_the_change(
    write: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metastore.storage.local import _locks

    shutil.copytree(template, tmp_path / "store")
    store = connect(tmp_path / "store")
    store.tag_update(CARS, "v1", description="so that there is a journal")
    before, count, real = whole(tmp_path / "store"), len(list(store.journal())), _locks.replace_file

    def replace_file(path: str, content: bytes, **options: Any) -> None:
        real(path, content, **options)
        if "journal.git/refs" in path and not struck:
            struck.append(path)
            raise OSError(5, "Input/output error")

    struck: list[str] = []
    monkeypatch.setattr(_locks, "replace_file", replace_file)
    with pytest.raises(StorageUnavailable, match="nothing was changed"):
        WRITES[write](store)
    assert struck
    assert whole(tmp_path / "store") == before
    lines = list(store.journal())
    assert [line.action for line in lines[: len(lines) - count]] in ([], ["withdrawn", write])


def test_a_change_that_fails_keeps_its_error_when_its_line_cannot_be_withdrawn(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template, tmp_path / "store")
    store = connect(tmp_path / "store")

    def rename(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(GitStorage, "append", lambda *a, **o: (_ for _ in ()).throw(StorageUnavailable("full")))
        raise metastore.AlreadyExists("elsewhere/cars")

    monkeypatch.setattr(store.storage, "rename", rename)
    with pytest.raises(metastore.AlreadyExists):
        WRITES["move"](store)


def test_the_line_of_a_change_whose_outcome_is_unknown_stays(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = unconfirmed("move", template, tmp_path, monkeypatch)
    assert [line.action for line in store.journal()] == ["move"]


def test_an_error_about_no_call_on_a_dataset_cannot_be_settled(template: Path) -> None:
    with pytest.raises(metastore.InvalidInput, match="cannot be settled"):
        connect(template).settle(OutcomeUnknown("of a bundle", "snapshot 7"))


@pytest.mark.parametrize("write", WRITES)
def test_a_change_that_was_made_is_not_denied_when_nothing_can_be_read_any_more(
    write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    store = connect(tmp_path)
    made: list[str] = []
    for name in ("create", "append", "rename", "purge", "tag_create", "tag_update", "tag_delete"):
        monkeypatch.setattr(store.storage, name, noting(made, getattr(store.storage, name)))
    for name in ("read", "find", "resolve", "history", "paths", "tag", "tags", "ids", "path_ids"):
        if hasattr(store.storage, name):
            monkeypatch.setattr(store.storage, name, failing_after(made, getattr(store.storage, name)))
    WRITES[write](store)
    assert made


def noting(made: list[str], call: Callable[..., Any]) -> Callable[..., Any]:
    """Note changes of datasets; the journal is written before them."""

    def noted(dataset_id: DatasetId, *args: Any, **options: Any) -> Any:
        result = call(dataset_id, *args, **options)
        made.extend([str(dataset_id)] if dataset_id.owner != "_metastore" else [])
        return result

    return noted


def failing_after(made: list[str], call: Callable[..., Any]) -> Callable[..., Any]:
    def read(*args: Any, **options: Any) -> Any:
        if made:
            raise StorageUnavailable("the disk reports an error")
        return call(*args, **options)

    return read
