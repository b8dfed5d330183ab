"""Repositories that others made: empty ones are created in, and those whose names are no ids are named and get ids."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import InvalidInput, MetastoreError
from metastore.storage.local.backup import backup, restore
from metastore.storage.local.storage import GitStorage
from metastore.store.adoption import adopt

from .conftest import ANN, change
from .processes import fsck

NAMES = {
    "Datopian/GDX": "datopian/gdx",
    "physics/Our Cars": "physics/our-cars",
    "physics/naïve": "physics/naive",
    "Ünïts/a..b": "units/a.b",
}
Command = Callable[..., subprocess.CompletedProcess[str]]


def git(*arguments: object) -> str:
    line = ["git", "-c", "safe.directory=*", *map(str, arguments)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a dataset, and copies of its repository under names that are no ids."""
    root = tmp_path / "store"
    store = metastore.connect(root, author=ANN, validation="off", sync=False)
    store.dataset_create("physics/cars", {"n": 1})
    for name in NAMES:
        path = root / f"{name}.git"
        path.parent.mkdir(exist_ok=True)
        git("clone", "--quiet", "--bare", root / "physics/cars.git", path)
    return root


@pytest.fixture
def command(root: Path, programs: Path) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [programs / "metastore", *arguments, "--store", str(root)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60)

    return run


def test_list_and_verify_name_what_has_no_id(root: Path, command: Command) -> None:
    listed = command("dataset", "list")
    assert listed.stdout == "physics/cars\n"
    for name in NAMES:
        assert name in listed.stderr
    found = {damage.where: damage.kind for damage in metastore.connect(root).verify()}
    assert found == dict.fromkeys(NAMES, "not-an-id")


@pytest.mark.parametrize("name", NAMES)
def test_an_error_about_what_has_no_id_leads_to_adopt(name: str, command: Command) -> None:
    done = command("dataset", "read", name)
    assert done.returncode == 2
    assert "`metastore adopt --dry-run` shows the id that it can get" in done.stderr
    assert "adopt" not in command("dataset", "read", "Not/There").stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_call_about_what_has_no_id_leads_to_adopt(name: str, root: Path) -> None:
    store = metastore.connect(root, author=ANN, validation="off")
    calls: list[Callable[[str], object]] = [
        store.dataset_read,
        store.revision_list,
        store.tag_list,
        lambda name: store.dataset_update(name, {}),
        lambda name: store.dataset_create(name, {}),
        lambda name: store.dataset_move("physics/cars", name),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match="`metastore adopt --dry-run` shows the id that it can get"):
            call(name)
        with pytest.raises(InvalidInput, match=r"^(?!.*adopt)"):
            call("Not/There")


NO_IDS = ["", "/", "../x", "a/../b", "./X", "X/\0", "\udcff/X", f"{'X' * 300}/x", 5, (), ("X", 5)]


@pytest.mark.parametrize("text", NO_IDS)
def test_a_text_that_is_not_an_id_is_refused(text: Any, root: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^(?!.*adopt)"):
        metastore.connect(root).dataset_read(text)


def test_a_backup_has_what_has_no_id_as_it_is_and_brings_it_back(root: Path, tmp_path: Path) -> None:
    backup(GitStorage(root), tmp_path / "copy")
    backup(GitStorage(root), tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "back")
    for name in NAMES:
        for place in ("copy", "back"):
            assert git("-C", tmp_path / place / f"{name}.git", "log", "--format=%s") == "Create dataset"
    fsck(tmp_path / "back")


def test_a_backup_follows_an_adoption(root: Path, tmp_path: Path) -> None:
    backup(GitStorage(root), tmp_path / "copy")
    assert all(not each.problem for each in adopt(GitStorage(root), change(), dry_run=False))
    backup(GitStorage(root), tmp_path / "copy")
    copied = metastore.connect(tmp_path / "copy")
    assert set(map(str, copied.dataset_list())) == {"physics/cars", *NAMES.values()}
    assert list(copied.verify()) == []
    assert not any((tmp_path / "copy" / f"{name}.git").exists() for name in NAMES)


def test_adopt_gives_ids_and_leads_from_the_former_paths(root: Path, command: Command) -> None:
    dry = command("adopt", "--dry-run", "-a", "Ann <ann@example.org>")
    assert dry.returncode == 0
    assert sorted(dry.stdout.splitlines()) == sorted(f"{old} -> {new}" for old, new in NAMES.items())
    assert command("dataset", "list").stdout == "physics/cars\n"
    done = command("adopt", "-a", "Ann <ann@example.org>")
    assert (done.returncode, done.stdout) == (0, dry.stdout)
    store = metastore.connect(root, author=ANN, validation="off")
    assert set(map(str, store.dataset_list())) == {"physics/cars", *NAMES.values()}
    for old, new in NAMES.items():
        assert git("-C", root / f"{old}.git", "log", "--format=%H") == store.revision_read(new).id
        store.dataset_update(new, {"n": 2})
    assert list(store.verify()) == []
    assert {(line.action, line.dataset_id, line.details["path"]) for line in store.journal()} == {
        ("adopt", new, old) for old, new in NAMES.items()
    }
    assert "adopt" not in command("dataset", "list").stderr
    assert {entry.dataset_id for entry in store.changes()} == {"physics/cars", *NAMES.values()}
    assert command("adopt", "-a", "Ann <ann@example.org>").stdout == ""


def test_what_gets_no_id_is_named_and_stays(root: Path) -> None:
    (root / "Physics").mkdir()
    git("clone", "--quiet", "--bare", root / "physics/cars.git", root / "Physics/Cars.git")
    (root / "日本").mkdir()
    git("clone", "--quiet", "--bare", root / "physics/cars.git", root / "日本/日本.git")
    git("init", "--quiet", "--bare", root / "Physics/Empty.git")
    problems = {each.former: each.problem for each in adopt(GitStorage(root), change(), dry_run=False) if each.problem}
    assert set(problems) == {"Physics/Cars", "日本/日本", "Physics/Empty"}
    assert "taken" in problems["Physics/Cars"]
    for name in problems:
        assert (root / f"{name}.git").is_dir()


def test_a_repository_with_two_paths_gets_one_id(root: Path) -> None:
    (root / "Linked Owner").symlink_to("Datopian")
    adopted = list(adopt(GitStorage(root), change(), dry_run=False))
    assert len({each.dataset_id for each in adopted}) == len(adopted) == len(NAMES)
    ids = map(str, metastore.connect(root).dataset_list())
    assert not [name for name in ids if (root / f"{name}.git").is_symlink()]


REASONS = {"unreadable": "is damaged", "elsewhere": "is missing", "sha256": "uses SHA-256", "empty": "is empty"}


@pytest.mark.parametrize("what", REASONS)
def test_what_cannot_be_read_gets_no_id(what: str, root: Path) -> None:
    path = root / "Physics/Bad One.git"
    path.parent.mkdir()
    if what in ("sha256", "empty"):
        git("init", "--quiet", "--bare", f"--object-format={'sha1' if what == 'empty' else what}", path)
    else:
        git("clone", "--quiet", "--bare", "--no-hardlinks", root / "physics/cars.git", path)
        for file in path.glob("objects/*/*"):
            file.unlink() if what == "elsewhere" else (file.chmod(0o644), file.write_bytes(b"rubbish"))
    reason = REASONS[what]
    for dry_run in (True, False):
        (problem,) = (each.problem for each in adopt(GitStorage(root), change(), dry_run=dry_run) if each.problem)
        assert reason in problem
    assert path.is_dir()
    (damage,) = (damage for damage in metastore.connect(root).verify() if damage.where == "Physics/Bad One")
    assert reason in str(damage)
    assert "adopt" not in str(damage)


@pytest.mark.parametrize("branch", ["main", "master", "feature/one"])
def test_a_dataset_is_created_where_an_empty_repository_stands(branch: str, tmp_path: Path) -> None:
    store = metastore.connect(tmp_path, author=ANN, validation="off")
    git("init", "--quiet", "--bare", f"--initial-branch={branch}", tmp_path / "physics/cars.git")
    made = store.dataset_create("physics/cars", {"n": 1})
    assert store.dataset_read("physics/cars").revision == made.revision
    assert git("-C", tmp_path / "physics/cars.git", "rev-parse", branch) == made.revision.id
    fsck(tmp_path)
    with pytest.raises(metastore.AlreadyExists):
        store.dataset_create("physics/cars", {"n": 2})
    store.dataset_update("physics/cars", {"n": 2})
    assert list(store.verify()) == []


@pytest.mark.parametrize("what", ["sha256", "a folder", "a lost branch"])
def test_a_repository_that_is_not_empty_is_left_as_it_is(what: str, tmp_path: Path) -> None:
    store = metastore.connect(tmp_path, author=ANN, validation="off")
    path = tmp_path / "physics/cars.git"
    if what == "a folder":
        path.mkdir(parents=True)
    elif what == "sha256":
        git("init", "--quiet", "--bare", "--object-format=sha256", path)
    else:
        revision = store.dataset_create("physics/cars", {"n": 1}).revision.id
        store.tag_create("physics/cars", "v1")
        (path / "refs/heads/main").unlink()
        assert revision
    before = sorted(str(each) for each in path.rglob("*") if each.name != "changed")
    with pytest.raises(MetastoreError):
        store.dataset_create("physics/cars", {"n": 2})
    assert sorted(str(each) for each in path.rglob("*") if each.name != "changed") == before
