"""Changes between two looks at the disk of a local store: no look may contradict another one."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    MetastoreError,
    RevisionConflict,
    RevisionNotFound,
    StorageBusy,
)
from metastore.files import locks
from metastore.files.reading import is_folder
from metastore.storage.local import _locks
from metastore.storage.local import _maintenance as maintenance
from metastore.storage.local import _packs as packs
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, RevisionId, TagSpec

from .conftest import change
from .processes import SOAK

CARS, BOATS, SHIPS = (DatasetId("physics", name) for name in ("cars", "boats", "ships"))
LOOKS = ("stat", "lstat", "open", "listdir", "scandir", "readlink")


@contextmanager
def happening(monkeypatch: pytest.MonkeyPatch, number: int, event: Callable[[], object]) -> Iterator[list[int]]:
    """Let something happen after the n-th look at the disk by a caller who holds no lock; yield a list of when."""
    calls, happened = itertools.count(), list[int]()

    def hooked(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(*args: Any, **options: Any) -> Any:
            try:
                return real(*args, **options)
            finally:
                if not locks._held.descriptors and not happened and next(calls) == number:
                    happened.append(number)
                    with suppress(MetastoreError):  # the call was faster
                        event()

        return look

    with monkeypatch.context() as patched:
        for name in LOOKS:
            patched.setattr(os, name, hooked(getattr(os, name)))
        yield happened


def head(storage: GitStorage, dataset_id: DatasetId = CARS) -> RevisionId:
    return storage.resolve(dataset_id, None).id


CALLS: dict[str, Callable[[GitStorage], object]] = {
    "read": lambda s: s.read(CARS, head(s), "a"),
    "tags": lambda s: list(s.tags(CARS)),
    "create": lambda s: s.create(CARS, {"a": b"theirs"}, change()),
    "append": lambda s: s.append(CARS, {"a": b"3"}, change(), parent=head(s)),
    "rename": lambda s: s.rename(CARS, SHIPS, parent=head(s)),
    "purge": lambda s: s.purge(CARS, parent=head(s)),
    "compact": lambda s: s.compact(CARS),
    "confirm": lambda s: s.confirm(CARS),
    "verify": lambda s: [*s.verify()],
    "list": lambda s: [*s.ids(), *s.touched(None)],
}
#: What happens, after what there was before.
EVENTS: dict[str, tuple[Callable[[GitStorage], object], Callable[[GitStorage], object]]] = {
    "is made": (lambda s: None, lambda s: s.create(CARS, {"a": b"1"}, change())),
    "is purged": (
        lambda s: s.create(CARS, {"a": b"1"}, change()),
        lambda s: s.purge(CARS, parent=head(s)),
    ),
    "moves away": (
        lambda s: s.create(CARS, {"a": b"1"}, change()),
        lambda s: s.rename(CARS, BOATS, parent=head(s)),
    ),
    "comes back": (
        lambda s: s.rename(CARS, BOATS, parent=s.create(CARS, {"a": b"1"}, change()).id),
        lambda s: s.rename(BOATS, CARS, parent=head(s, BOATS)),
    ),
    "is replaced": (
        lambda s: s.create(CARS, {"a": b"1"}, change()),
        lambda s: (s.purge(CARS, parent=head(s)), s.create(CARS, {"a": b"2"}, change("another"))),
    ),
}


def test_a_dataset_that_is_made_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, other = (GitStorage(str(tmp_path), sync=False) for _ in range(2))
    look = storage.notes.raise_missing

    def make_then_look(dataset_id: DatasetId) -> None:
        other.create(CARS, {"a": b"1"}, change())
        look(dataset_id)

    monkeypatch.setattr(storage.notes, "raise_missing", make_then_look)
    assert storage.resolve(CARS, None) == other.resolve(CARS, None)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("call", CALLS)
def test_a_dataset_that_changes_between_two_looks_is_never_called_damaged(
    call: str, event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, happens = EVENTS[event]
    step = 1 if SOAK or call == "read" else 5
    for number in range(0, 1000, step):
        root = tmp_path / str(number)
        prepare(GitStorage(root, sync=False))
        storage, other = GitStorage(root), GitStorage(root, sync=False)
        with happening(monkeypatch, number, lambda other=other: happens(other)) as happened:
            try:
                result = CALLS[call](storage)
                assert call != "verify" or result == []
            except (DatasetMoved, AlreadyExists, RevisionConflict, StorageBusy):
                pass
            except RevisionNotFound:
                assert event == "is replaced"
            except DatasetNotFound:
                assert event != "comes back", "it was always at one id or the other"
        if not happened:
            return
    pytest.fail("the call does not end")


def test_a_link_to_a_folder_is_one_and_a_link_to_nothing_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-nothing").symlink_to("nowhere")
    (tmp_path / "to-itself").symlink_to("to-itself")
    paths = ["folder", "file", "to-folder", "to-file", "to-nothing", "to-itself", "nothing", "file/below"]
    assert [is_folder(f"{tmp_path}/{path}") for path in paths] == [True, False, True, False, False, False, None, None]


@pytest.mark.parametrize("now", [True, None])
def test_a_link_that_goes_while_it_is_followed_is_not_a_link_to_nothing(
    now: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to("nowhere")

    def change_it() -> None:
        link.unlink()
        if now:
            link.mkdir()

    with happening(monkeypatch, 0, change_it):
        assert is_folder(str(link)) is now


def test_half_a_pack_that_is_being_removed_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = GitStorage(tmp_path, sync=False)
    storage.create(CARS, {"a": b"1"}, change())
    storage.compact(CARS)
    pack = next(Path(storage.layout.path(CARS)).glob("objects/pack/*.pack"))
    half = pack.with_name("pack-old.pack")
    half.write_bytes(pack.read_bytes())
    os.utime(half, (1, 1))
    assert [damage.detail for damage in storage.verify()] == [
        "objects/pack/pack-old.pack has no index, so that Git reads nothing from it"
    ]

    def goes_then(path: str) -> bool:
        half.unlink()
        return True

    monkeypatch.setattr(maintenance, "is_stale", goes_then)
    assert list(storage.verify()) == []


def test_an_index_over_packs_that_git_removes_first_names_no_gone_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = GitStorage(tmp_path, sync=False)
    storage.create(CARS, {"a": b"1"}, change())
    storage.compact(CARS)
    index = Path(storage.layout.path(CARS), "objects/pack/multi-pack-index")
    subprocess.run(["git", "multi-pack-index", "write", "--no-progress"], cwd=index.parents[2], check=True)
    real = os.path.exists

    def exists(path: str | bytes) -> bool:
        index.unlink(missing_ok=True)
        return real(path) and False

    assert not packs.names_gone_packs(str(index.parents[2]))
    monkeypatch.setattr(os.path, "exists", exists)
    assert not packs.names_gone_packs(str(index.parents[2]))


def test_objects_are_listed_though_their_pack_becomes_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = GitStorage(tmp_path, sync=False)
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    storage.compact(CARS)
    with storage.open(CARS) as repository:
        ids = repository.database.ids()
        folder = Path(repository.path, "objects/pack")
    (old,) = folder.glob("*.idx")
    content = old.read_bytes(), old.with_suffix(".pack").read_bytes()

    def becomes_another() -> None:
        for path, part in zip((old, old.with_suffix(".pack")), content, strict=True):
            path.with_name("pack-" + "f" * 40 + path.suffix).write_bytes(part)
            path.unlink()

    for number in range(40):
        with happening(monkeypatch, number, becomes_another) as happened, storage.open(CARS) as repository:
            assert repository.database.ids() == ids
        if not happened:
            return
        for path, part in zip((old, old.with_suffix(".pack")), content, strict=True):
            path.write_bytes(part)
            path.with_name("pack-" + "f" * 40 + path.suffix).unlink()


def test_a_tag_is_set_while_git_packs_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = GitStorage(tmp_path / "store", sync=False)
    revision = storage.create(CARS, {"a": b"1"}, change())
    Path(f"{storage.layout.path(CARS)}/packed-refs.lock").touch()
    monkeypatch.setattr(_locks, "_PATIENCE", 0.0)
    tag = storage.tag_create(CARS, TagSpec("v1", revision.id, "", change().author, change().at))
    assert storage.tag(CARS, "v1") == tag
    with pytest.raises(StorageBusy):
        storage.tag_delete(CARS, "v1", expected=tag.id)
