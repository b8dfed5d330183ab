"""The files beside a descriptor that let a clone fetch its data through Git LFS."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import InvalidInput, MetaStore
from metastore.descriptor import lfs
from metastore.storage.port import Storage
from metastore.types import DatasetId

from .conftest import ANN, change, ticking
from .lfs_server import LfsServer

CARS = DatasetId("physics", "cars")
URL = "https://lfs.example.org/{owner}/{name}.git/info/lfs"
A, B, C = "a" * 64, "b" * 64, "c" * 64


def resource(name: str, sha256: str = A, **members: Any) -> dict[str, Any]:
    return {"name": name, "path": f"{name}.csv", "sha256": sha256, "bytes": 3, **members}


@pytest.fixture
def lfs_store(storage: Storage) -> MetaStore:
    return MetaStore(storage, author=ANN, clock=ticking(), lfs_url=URL, validation="off")


def files(store: MetaStore, dataset_id: DatasetId = CARS) -> dict[str, str]:
    head = store.revision_read(dataset_id)
    paths = store.storage.paths(dataset_id, head.id)
    return {path: store.storage.read(dataset_id, head.id, path).decode() for path in paths}


def test_a_resource_with_path_hash_and_size_gets_a_pointer(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x")]})
    stored = files(lfs_store)
    assert stored["x.csv"] == f"version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 3\n"
    assert stored[".gitattributes"] == "/x.csv filter=lfs diff=lfs merge=lfs -text\n"
    config = "[lfs]\n\turl = https://lfs.example.org/physics/cars.git/info/lfs\n\tlocksverify = false\n"
    assert stored[".lfsconfig"] == config


def test_an_empty_file_is_its_own_pointer(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x", bytes=0)]})
    assert files(lfs_store)["x.csv"] == ""
    lfs_store.dataset_update(CARS, {"resources": [resource("x", B)]})
    assert B in files(lfs_store)["x.csv"]
    lfs_store.dataset_update(CARS, {"resources": [resource("x", bytes=0)]})
    lfs_store.dataset_update(CARS, {"resources": []})
    assert "x.csv" not in files(lfs_store)


@pytest.mark.parametrize(
    ("members", "has_pointer"),
    [
        ({"sha256": None, "hash": f"sha256:{A}"}, True),
        ({"sha256": A.upper()}, True),
        ({"path": "./deep/x.csv"}, True),
        ({"sha256": None, "hash": f"sha1:{A}"}, False),
        ({"sha256": None, "hash": A}, False),
        ({"sha256": "abc"}, False),
        ({"bytes": None}, False),
        ({"bytes": "3"}, False),
        ({"bytes": True}, False),
        ({"bytes": -1}, False),
        ({"bytes": 3.0}, False),
        ({"path": "https://example.org/x.csv"}, False),
        ({"path": ["x.csv", "y.csv"]}, False),
        ({"path": None}, False),
    ],
)
def test_only_a_local_file_with_hash_and_size_gets_a_pointer(
    lfs_store: MetaStore, members: dict[str, Any], has_pointer: bool
) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x", **members)]})
    assert (len(files(lfs_store)) == 4) is has_pointer


def test_an_update_writes_changed_pointers_alone_and_removes_those_that_went(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x"), resource("y"), resource("d/z")]})
    lfs_store.dataset_update(CARS, {"resources": [resource("x"), resource("y", B), resource("new")]})
    stored = files(lfs_store)
    assert set(stored) == {".gitattributes", ".lfsconfig", "datapackage.json", "new.csv", "x.csv", "y.csv"}
    assert B in stored["y.csv"]
    assert "z.csv" not in stored[".gitattributes"]


def test_a_file_that_is_no_pointer_is_never_touched(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x"), resource("d")]})
    head = lfs_store.revision_read(CARS)
    real = {"x.csv": b"1,2\n", "y.csv": b"3,4\n", "z.csv/inner": b"5\n"}
    lfs_store.storage.append(CARS, real, change("By hand"), parent=head.id)
    lfs_store.dataset_update(CARS, {"resources": [resource("y"), resource("z")]})
    stored = files(lfs_store)
    assert (stored["x.csv"], stored["y.csv"], stored["z.csv/inner"]) == ("1,2\n", "3,4\n", "5\n")
    assert "z.csv" not in stored
    assert stored[".gitattributes"] == ""


def test_lines_of_others_in_gitattributes_stay(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x")]})
    head = lfs_store.revision_read(CARS)
    kept = "*.md text\n*.psd filter=lfs diff=lfs merge=lfs -text\n"
    lfs_store.storage.append(CARS, {".gitattributes": kept.encode()}, change("By hand"), parent=head.id)
    lfs_store.dataset_update(CARS, {"resources": [resource("y")]})
    assert files(lfs_store)[".gitattributes"] == kept + "/y.csv filter=lfs diff=lfs merge=lfs -text\n"


def test_deletion_and_revert_take_the_pointers_along(lfs_store: MetaStore) -> None:
    first = lfs_store.dataset_create(CARS, {"resources": [resource("x")]})
    before = files(lfs_store)
    lfs_store.dataset_delete(CARS)
    assert set(files(lfs_store)) == {".metastore-deleted"}
    lfs_store.dataset_revert(CARS, first.revision.id)
    assert files(lfs_store) == before


def test_after_a_move_the_data_still_lie_where_they_were(lfs_store: MetaStore) -> None:
    lfs_store.dataset_create(CARS, {"resources": [resource("x")]})
    boats = DatasetId("physics", "boats")
    lfs_store.dataset_move(CARS, boats)
    lfs_store.dataset_update(boats, {"resources": [resource("y")]})
    lfs_store.dataset_delete(boats)
    lfs_store.dataset_create(boats, {"resources": [resource("z")]})
    assert "physics/cars.git" in files(lfs_store, boats)[".lfsconfig"]


def test_without_a_server_there_are_no_pointers_and_a_server_given_later_adds_them(storage: Storage) -> None:
    plain = MetaStore(storage, author=ANN, validation="off")
    plain.dataset_create(CARS, {"resources": [resource("x")]})
    assert set(files(plain)) == {"datapackage.json"}
    served = MetaStore(storage, author=ANN, validation="off", lfs_url=URL)
    served.dataset_update(CARS, {"resources": [resource("x")], "title": "Cars"})
    assert set(files(served)) == {".gitattributes", ".lfsconfig", "datapackage.json", "x.csv"}


def test_resources_may_share_a_file_if_they_agree(lfs_store: MetaStore) -> None:
    one = resource("x")
    lfs_store.dataset_create(CARS, {"resources": [one, {**one, "name": "other"}]})
    with pytest.raises(InvalidInput, match="something else") as caught:
        lfs_store.dataset_update(CARS, {"resources": [one, {**one, "name": "other", "sha256": B}]})
    assert caught.value.pointer == "/resources/1"
    with pytest.raises(InvalidInput, match="file and the folder"):
        lfs_store.dataset_update(CARS, {"resources": [{**one, "path": "a"}, {**one, "name": "y", "path": "a/b"}]})


@pytest.mark.parametrize("bad", ["lfs.example.org", "https://x y", "https://x\n[core]", 'https://x"', "https://x;y"])
def test_a_server_address_that_would_break_the_configuration_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="LFS"):
        metastore.connect("memory:", lfs_url=bad)


ODD_NAMES = [
    "data dir/a b.csv",
    'quo"te.csv',
    "#hash.csv",
    "!bang.csv",
    "glob[1]*?.csv",
    "ünïcode ☃.csv",
    "back\\slash",
    "-x",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_git_reads_the_attributes_as_meant(tmp_path: Path, name: str) -> None:
    others = ["datapackage.json", "a b.csv", "glob1x.csv", "sub/" + name, "x"]
    for path in (name, *others):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / ".gitattributes").write_bytes(lfs.attributes([name]))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    done = subprocess.run(
        ["git", "-C", tmp_path, "check-attr", "-z", "filter", "--", name, *others],
        capture_output=True,
        text=True,
        check=True,
    )
    cells = done.stdout.split("\0")
    values = dict(zip(cells[0::3], cells[2::3], strict=False))
    assert values.pop(name) == "lfs"
    assert set(values.values()) == {"unspecified"}


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_a_real_clone_fetches_the_data_through_a_server(tmp_path: Path) -> None:
    contents = {"x.csv": b"a,b\n1,2\n", "data dir/y z.csv": b"\x00\xff" * 5000}
    with (
        LfsServer() as server,
        metastore.connect(
            tmp_path / "store", author=ANN, sync=False, lfs_url=f"{server.url}/{{owner}}/{{name}}", validation="off"
        ) as store,
    ):
        described = [
            {"name": str(n), "path": path, "hash": f"sha256:{server.keep(content)}", "bytes": len(content)}
            for n, (path, content) in enumerate(contents.items())
        ]
        store.dataset_create(CARS, {"resources": described})
        home = {**os.environ, "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}
        subprocess.run(["git", "lfs", "install", "--skip-repo"], check=True, env=home, capture_output=True)
        source, clone = tmp_path / "store/physics/cars.git", tmp_path / "clone"
        subprocess.run(["git", "clone", "-q", source, clone], check=True, env=home, capture_output=True)
        assert {path: (clone / path).read_bytes() for path in contents} == contents
        assert server.asked == {"/physics/cars/objects/batch"}
        status = subprocess.run(
            ["git", "-C", clone, "status", "--porcelain"], check=True, env=home, capture_output=True, text=True
        )
        assert status.stdout == ""
