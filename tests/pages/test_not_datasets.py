"""What is at an id in a store and is no dataset: every page and route says so in words, and lists name it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import metastore
from metastore import MetaStore, NotADataset
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.config import ServiceSettings
from metastore.web import create_app

from ..conftest import ANN
from ..pages.conftest import SECRET, token

PROBLEMS = {
    "empty": "is an empty repository, to which nothing was written",
    "file": "is not a folder, so it is not a Git repository",
    "sha256": "uses SHA-256; only repositories with SHA-1 can be read",
    "stray": "is not a Git repository",
}
IDS = [f"x/{name}" for name in PROBLEMS]
API = "/api/v1/datasets"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    with metastore.connect(root, author=ANN, sync=False) as store:
        store.dataset_create("a/one", {"name": "one", "resources": []})
        store.dataset_create("z/last", {"name": "last", "resources": []})
    (root / "x" / "stray.git").mkdir(parents=True)
    (root / "x" / "file.git").write_text("not a folder")
    for name, more in (("empty", ()), ("sha256", ("--object-format=sha256",))):
        subprocess.run(["git", "init", "-q", "--bare", *more, root / "x" / f"{name}.git"], check=True)
    return root


@pytest.fixture
def store(root: Path) -> Iterator[MetaStore]:
    with metastore.connect(root, author=ANN, sync=False) as store:
        assert isinstance(store, MetaStore)
        yield store


def client(store: MetaStore, *, public: bool = True) -> FlaskClient:
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    return create_app(store, verifier=verifier, settings=ServiceSettings(public_read=public)).test_client()


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_page_and_route_says_what_is_wrong_and_names_no_path(store: MetaStore, root: Path, name: str) -> None:
    site, problem = client(store), PROBLEMS[name]
    for page in ("", "/history", "/compare", "/blame", "/tags"):
        answer = site.get(f"/datasets/x/{name}{page}")
        assert (answer.status_code, "<h1>Not a dataset</h1>" in answer.text) == (422, True)
        assert f"is not a dataset: it {problem}." in answer.text
        assert str(root) not in answer.text
    for route in ("", "/raw", "/revisions", "/tags", "/blame", "/resources"):
        answer = site.get(f"{API}/x/{name}{route}")
        assert (answer.status_code, answer.json["kind"], answer.json["problem"]) == (422, "not-a-dataset", problem)
        assert str(root) not in answer.text
    git = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request"}
    cloned = site.post(f"/git/x/{name}.git/git-upload-pack", data=b"0014command=ls-refs\n0000", headers=git)
    assert (cloned.status_code, problem in cloned.text) == (422, True)
    with pytest.raises(NotADataset, match=problem):
        store.dataset_read(f"x/{name}")


@pytest.mark.parametrize("page", ["/", "/datasets", "/datasets?owner=x", "/search?q=one", "/changes"])
def test_lists_name_what_cannot_be_read(store: MetaStore, page: str) -> None:
    text = client(store).get(page).text
    assert "4 datasets cannot be read" in text
    assert [each for each in IDS if f'href="/datasets/{each}"' in text] == IDS


def test_only_who_may_read_them_is_told(store: MetaStore) -> None:
    site = client(store, public=False)
    for scope, told in (("ds:a/*:read", []), ("ds:x/empty:read", ["x/empty"]), ("ds:*:read", IDS)):
        headers = {"Authorization": f"Bearer {token('bo', scope)}"}
        assert site.get(f"{API}?q=one", headers=headers).json["unreadable"] == told
    everyone = {"Authorization": f"Bearer {token('bo', 'ds:*:read')}"}
    assert site.get(f"{API}?owner=x", headers=everyone).json["unreadable"] == IDS
    assert site.get(f"{API}?owner=a", headers=everyone).json["unreadable"] == []
    listed = {each["id"]: each.get("problem") for each in site.get(f"{API}?include=title", headers=everyone).json}
    assert listed == {"a/one": None, "z/last": None} | {
        each: f"What the store has at this id is not a dataset: it {PROBLEMS[each[2:]]}" for each in IDS
    }


def test_what_becomes_readable_or_goes_is_named_no_longer(store: MetaStore, root: Path) -> None:
    site = client(store)
    assert site.get(f"{API}?q=one").json["unreadable"] == IDS
    (root / "x" / "stray.git").rmdir()
    (root / "x" / "file.git").unlink()
    store.dataset_create("x/empty", {"name": "empty", "resources": []})
    found = site.get(f"{API}?q=empty").json
    assert ([hit["id"] for hit in found["hits"]], found["unreadable"]) == (["x/empty"], ["x/sha256"])
    store.verify(repair=True)
    assert site.get(f"{API}?q=empty").json["unreadable"] == ["x/sha256"]


def test_without_an_index_they_are_named_too(root: Path) -> None:
    with metastore.connect(root, author=ANN, sync=False) as store:
        assert isinstance(store, MetaStore)
        from metastore.search.scan import scan
        from metastore.search.values import Wanted

        finder = store._finder  # type: ignore[attr-defined]
        results = scan(
            finder,
            Wanted.parse(
                "one", {}, limit=10, at=None, changed_since=None, deleted=False, order="id", facets=(), after=None
            ),
        )
        assert [str(each) for each in results.unreadable] == IDS


def test_a_damaged_dataset_is_still_a_fault_of_the_service(store: MetaStore, root: Path) -> None:
    (root / "a" / "one.git" / "refs" / "heads" / "main").unlink()
    answer = client(store).get("/datasets/a/one")
    assert (answer.status_code, "cannot be read" in answer.text) == (500, True)
