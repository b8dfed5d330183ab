"""Every write, cut off in each of the calls that change a file: it happened as a whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from metastore.errors import AlreadyExists, DatasetNotFound, TagNotFound
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, RevisionId

from ..conftest import change
from ..processes import SOAK, fsck
from ..test_storage_contract import tag_of
from .faults import calls_of, cut_off_at, state, where

CARS, BOATS, SHIPS, PLANES = (DatasetId("physics", name) for name in ("cars", "boats", "ships", "planes"))
OTHER = DatasetId("other", "owner")
ALL = (CARS, BOATS, SHIPS, PLANES, OTHER)
#: Enough for one pack instead of a file for each.
MANY = {f"d/{n}": b"%d" % n for n in range(70)}


def head(storage: GitStorage, dataset_id: DatasetId = BOATS) -> RevisionId:
    return storage.resolve(dataset_id, None).id


def tag_id(storage: GitStorage, name: str) -> str:
    return storage.tag(BOATS, name).id


WRITES: dict[str, Callable[[GitStorage], object]] = {
    "create": lambda s: s.create(OTHER, {"a": b"1", "d/b": b"2"}, change()),
    "create many files": lambda s: s.create(OTHER, MANY, change()),
    "create where something moved away": lambda s: s.create(CARS, {"a": b"1"}, change()),
    "append": lambda s: s.append(BOATS, {"a": b"new"}, change(), parent=head(s)),
    "append many files": lambda s: s.append(BOATS, MANY, change(), parent=head(s)),
    "move": lambda s: s.rename(BOATS, OTHER, parent=head(s)),
    "move back": lambda s: s.rename(BOATS, CARS, parent=head(s)),
    "purge": lambda s: s.purge(BOATS, parent=head(s)),
    "tag": lambda s: s.tag_create(BOATS, tag_of("new", head(s))),
    "change a tag": lambda s: s.tag_update(BOATS, "loose", tag_of("loose", head(s), "x"), expected=tag_id(s, "loose")),
    "rename a tag": lambda s: s.tag_update(BOATS, "loose", tag_of("new", head(s)), expected=tag_id(s, "loose")),
    "rename a packed tag": lambda s: s.tag_update(
        BOATS, "packed", tag_of("new", head(s)), expected=tag_id(s, "packed")
    ),
    "rename a tag that is both": lambda s: s.tag_update(
        BOATS, "both", tag_of("new", head(s)), expected=tag_id(s, "both")
    ),
    "remove a tag": lambda s: s.tag_delete(BOATS, "loose", expected=tag_id(s, "loose")),
    "remove a packed tag": lambda s: s.tag_delete(BOATS, "packed", expected=tag_id(s, "packed")),
    "remove a tag that is both": lambda s: s.tag_delete(BOATS, "both", expected=tag_id(s, "both")),
    "pack": lambda s: s.pack_loose(BOATS),
    "compact": lambda s: s.compact(BOATS),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a dataset that was at two ids before, with tags of all kinds, packs and loose objects."""
    root = tmp_path_factory.mktemp("template") / "store"
    storage = GitStorage(root, sync=False)
    first = storage.create(CARS, MANY, change("first"))
    storage.compact(CARS)
    second = storage.append(CARS, {"a": b"1"}, change("second"), parent=first.id)
    made = [storage.tag_create(CARS, tag_of(name, first.id)) for name in ("packed", "both", "loose")]
    repository = root / "physics" / "cars.git"
    rows = [f"{tag.id} refs/tags/{tag.name}\n" for tag in sorted(made[:2], key=lambda tag: tag.name)]
    (repository / "packed-refs").write_text("# pack-refs with: sorted\n" + "".join(rows))
    (repository / "refs" / "tags" / "packed").unlink()
    storage.tag_update(CARS, "both", tag_of("both", second.id), expected=made[1].id)
    storage.rename(CARS, SHIPS, parent=second.id)
    storage.rename(SHIPS, BOATS, parent=second.id)
    storage.create(PLANES, {"a": b"a bystander"}, change())
    return root


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_cut_off_anywhere_happened_as_a_whole_or_not_at_all(
    write: str, template: Path, tmp_path: Path
) -> None:
    calls: list[str] = []
    before, after = state(GitStorage(template), ALL), _after(write, template, tmp_path / "done", calls)
    assert len(calls) > 2
    for number in _cuts(calls):
        root = tmp_path / str(number)
        shutil.copytree(template, root)
        kept = GitStorage(root)
        kept.resolve(BOATS, None)
        cut_off = cut_off_at(number, lambda root=root: WRITES[write](GitStorage(root)))
        for storage in (GitStorage(root), kept):
            found = state(storage, ALL)
            assert found in (before, after), f"half of it is seen after call {number}"
        assert cut_off or found == after
        if SOAK or number % 5 == 0 or not cut_off:  # starts a Git for each repository; verify agrees with it
            fsck(root)
        _is_sound(root, write)
        if not cut_off:
            fsck(root)
        shutil.rmtree(root)
    assert not cut_off


def _cuts(calls: list[str]) -> list[int]:
    """Return before which calls to cut: in the soak before each, and the end.

    Else, of a row of calls alike the first and last two: in between, a folder more or less is made or taken away, which
    nobody can tell apart. And of what is then left every third one, since a write is a chain of steps, each of which
    takes some calls.
    """
    if SOAK:
        return list(range(len(calls) + 1))
    telling = [n for n in range(len(calls)) if len(set(calls[max(n - 2, 0) : n + 2])) > 1]
    return [*telling[::3], len(calls)]


def _after(write: str, template: Path, root: Path, calls: list[str]) -> object:
    shutil.copytree(template, root)
    with calls_of(calls):
        WRITES[write](storage := GitStorage(root))
    return state(storage, ALL)


def _is_sound(root: Path, write: str) -> None:
    """Check what holds after any cut: nothing is damaged, all go on writing, and no id leads to a stranger."""
    storage = GitStorage(root, sync=False)
    assert all(each in ALL for _, each in storage.touched(None)), "the feed tells of an id that never was"
    list(storage.verify(repair=True))
    assert list(storage.verify()) == []
    with suppress(AlreadyExists, DatasetNotFound, TagNotFound):  # where it did happen
        WRITES[write](storage)
    for each in ALL:
        if where(storage, each) == "nothing" or where(storage, each).startswith("->"):
            storage.create(each, {"a": b"a stranger"}, change("a stranger"))
            led = [old for old in ALL if where(storage, old) == f"-> {each}"]
            assert led == [], f"{led} lead to the stranger at {each}"
    for each in storage.ids(deleted=None):
        storage.append(each, {"z": b"next"}, change("next"), parent=head(storage, each))
