"""`git clone --filter` from the service, with Git itself, and what a client gets that names objects by their ids."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from metastore import MetaStore
from metastore.git import partial
from metastore.git.objects import (
    BLOB,
    COMMIT,
    FILE,
    FOLDER,
    TREE,
    Entry,
    GitObject,
    blob_id,
    commit_content,
    links,
    object_id,
    tree_content,
)
from metastore.git.pack import from_pack
from metastore.git.repository import Repository
from metastore.git.trees import change_tree
from metastore.git.upload_pack import Request, negotiate
from metastore.service import clones
from metastore.storage.objects import ObjectStorage
from metastore.types import DatasetId, RevisionId

from ..conftest import ANN, STORAGES, change, opened, ticking
from ..loopback import serving
from .conftest import Door
from .test_clones import CLONE, POST, commits, git, history, lines, refused, small, store

__all__ = ["small", "store"]  # fixtures
CARS, BIKES = DatasetId("physics", "cars"), DatasetId("physics", "bikes")


def missing(folder: Path) -> list[str]:
    """Return the objects that a partial clone knows of, and lacks."""
    known = git("rev-list", "--objects", "--all", "--missing=print", folder=folder).splitlines()
    return [line.removeprefix("?") for line in known if line.startswith("?")]


def kinds(folder: Path) -> list[str]:
    """Return the kinds of the objects that a clone has."""
    listed = git("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)", folder=folder)
    return listed.split()


def objects_of(store: MetaStore, dataset_id: DatasetId) -> AbstractContextManager[Repository]:
    storage = store.storage
    assert isinstance(storage, ObjectStorage)
    return storage.objects(dataset_id)


def with_folders(store: MetaStore) -> MetaStore:
    """Add a revision with files in folders."""
    head = store.revision_read(CARS).id
    files = {"data/2026/cars.csv": b"a,b\n", "data/large.csv": bytes(5000), "notes.txt": b"Notes\n"}
    store.storage.append(CARS, files, change(), parent=head)
    return store


@pytest.mark.parametrize(
    ("chosen", "got"),
    [
        ("blob:none", {"blob": 0, "tree": 9, "commit": 7, "tag": 1}),
        ("tree:0", {"blob": 0, "tree": 0, "commit": 7, "tag": 1}),
    ],
)
def test_a_partial_clone_gets_the_rest_as_it_is_needed(
    store: MetaStore, tmp_path: Path, chosen: str, got: dict[str, int]
) -> None:
    folder = tmp_path / "clone"
    with serving(with_folders(store)) as url:
        git("clone", "--no-checkout", f"--filter={chosen}", f"{url}{CLONE}", folder)
        assert {kind: kinds(folder).count(kind) for kind in got} == got
        store.dataset_update("physics/cars", {"name": "cars", "number": 7})
        git("reset", "--hard", folder=folder)
        git("pull", folder=folder)
        assert (folder / "data/2026/cars.csv").read_text() == "a,b\n"
        assert git("log", "-p", folder=folder).count('"number"') == 13
        git("rev-list", "--objects", "--all", folder=folder)
        assert missing(folder) == []
    assert commits(folder) == history(store)


def taken(store: MetaStore, *wishes: str) -> set[str]:
    """Return the ids of the objects that are sent."""
    with objects_of(store, CARS) as repository:
        fetch = negotiate(repository, Request("fetch", (*wishes, "done")), 1000)
    return set(fetch.ids or ())


@pytest.mark.parametrize(
    "chosen",
    [
        *(
            "blob:none",
            "blob:limit=0",
            "blob:limit=5",
            "blob:limit=6",
            "tree:0",
            "tree:1",
            "tree:2",
            "tree:3",
            "tree:4",
        ),
        *(f"object:type={kind}" for kind in ("blob", "tree", "commit", "tag")),
    ],
)
def test_a_filter_leaves_out_what_git_leaves_out(git_store: MetaStore, tmp_path: Path, chosen: str) -> None:
    folder, head = next(tmp_path.rglob("cars.git")), history(git_store)[0]
    tree = git("rev-parse", f"{head}:data", folder=folder).strip()
    blob = git("rev-parse", f"{head}:notes.txt", folder=folder).strip()
    tag = git("rev-parse", "v1", folder=folder).strip()
    command = ["git", "pack-objects", "--revs", "--stdout", "-q", f"--filter={chosen}"]
    for wanted in ([head, tag], [tree], [tree, blob], [blob, head], [head, tree], [tag, head, tag]):
        packed = subprocess.run(command, input="\n".join(wanted).encode(), cwd=folder, capture_output=True, check=True)
        ours = taken(git_store, *(f"want {each}" for each in wanted), f"filter {chosen}")
        assert ours == from_pack(packed.stdout, longest=10**6).keys()


@pytest.fixture
def git_store(tmp_path: Path) -> Iterator[MetaStore]:
    """Yield a store with a dataset that has folders, the same file in two of them, and a tag."""
    with MetaStore(STORAGES["git"](tmp_path), author=ANN, clock=ticking()) as made:
        made.dataset_create(CARS, {"name": "cars"})
        made.tag_create(CARS, "v1", description="One")
        with_folders(made)
        more = {"data/2026/january/cars.csv": b"a,b\n", "data/2025/empty": b"", "other/2026/january/cars.csv": b"a,b\n"}
        made.storage.append(CARS, more, change(), parent=made.revision_read(CARS).id)
        yield made


def test_a_partial_clone_can_be_shallow_and_sparse(store: MetaStore, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    with serving(with_folders(store)) as url:
        git("clone", "--filter=blob:none", "--depth", "1", "--sparse", f"{url}{CLONE}", folder)
        assert sorted(path.name for path in folder.glob("[!.]*")) == ["datapackage.json", "notes.txt"]
        assert len(missing(folder)) == 2
        git("sparse-checkout", "set", "data/2026", folder=folder)
        assert missing(folder) == []  # a set folder has the files of those above it
        git("fetch", "--unshallow", folder=folder)
    assert commits(folder) == history(store)


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_dataset_on_a_host_is_cloned_from_the_service_too(host: str, tmp_path: Path) -> None:
    with closing(opened(host, tmp_path)) as storages:
        store = MetaStore(next(storages), author=ANN, clock=ticking())
        store.dataset_create(CARS, {"name": "cars"})
        store.dataset_update(CARS, {"name": "cars", "number": 1})
        with serving(store) as url:
            git("clone", "--filter=tree:0", "--no-checkout", f"{url}{CLONE}", tmp_path / "clone")
            assert kinds(tmp_path / "clone") == ["commit"] * 2
            assert git("log", "-p", folder=tmp_path / "clone").count('"number"') == 1
        assert commits(tmp_path / "clone") == history(store)


def fetched(door: Door, *wishes: str) -> str:
    """Return the beginning of an answer to a request for objects."""
    answer = door.anybody.post(POST, data=lines("command=fetch", "|", *wishes, "done", ""))
    return answer.data[4:].partition(b"PACK")[0].decode(errors="replace")


def blob_of(store: MetaStore, dataset_id: DatasetId, at: int = 0) -> str:
    """Return the id of the descriptor of a revision, the newest or an older one."""
    with objects_of(store, dataset_id) as repository:
        tree = next(links(repository.get(store.revision_list(dataset_id)[at].id)))
        blob = repository.entry(tree, "datapackage.json")
    assert blob is not None
    return blob


def test_objects_are_sent_by_id_only_if_the_branch_or_a_tag_leads_to_them(small: MetaStore, door: Door) -> None:
    kept, tag = blob_of(small, CARS), small.tag_create(CARS, "v1", description="One").id
    small.dataset_create(BIKES, {"name": "bikes"})
    stray = GitObject(BLOB, b"stored before a push was refused")
    with objects_of(small, CARS) as repository:
        repository.put({blob_id(stray.content): stray})
    small.tag_delete(CARS, "v1")
    assert fetched(door, f"want {kept}", "filter blob:none").startswith("packfile")
    for other in (blob_of(small, BIKES), blob_id(stray.content), tag, "0" * 40):
        assert fetched(door, f"want {kept}", f"want {other}") == f"ERR upload-pack: not our ref {other}\n"


def test_the_objects_of_a_purged_dataset_are_not_sent_by_the_next_one_there(store: MetaStore, tmp_path: Path) -> None:
    with_folders(store)
    blob, secret = blob_of(store, CARS), blob_id(b"a,b\n")
    with serving(store) as url:
        git("clone", "--no-checkout", "--filter=blob:none", f"{url}{CLONE}", tmp_path / "clone")
        store.dataset_purge(CARS, force=True)
        store.dataset_create(CARS, {"name": "cars"})
        for identity in (blob, secret):
            said = refused("cat-file", "-p", identity, folder=tmp_path / "clone")
            assert f"not our ref {identity}" in said


def test_objects_of_old_revisions_are_found(small: MetaStore, door: Door) -> None:
    first = blob_of(small, CARS)
    for number in range(130):
        small.dataset_update(CARS, {"name": "cars", "number": number})
    asked = ("filter blob:none", f"want {first}", f"want {blob_of(small, CARS, 70)}", f"want {blob_of(small, CARS)}")
    assert fetched(door, *asked).startswith("packfile")
    assert "not our ref" in fetched(door, *asked, f"want {'a' * 40}")


@pytest.mark.parametrize("way", ["tag", "merge"])
def test_objects_beside_the_branch_are_found_once_something_leads_to_them(
    small: MetaStore, door: Door, way: str
) -> None:
    first, head = history(small)[-1], small.dataset_update(CARS, {"name": "cars", "number": 1}).revision.id
    blob = GitObject(BLOB, b"Beside the branch")
    tree, trees = change_tree(None, {"notes.txt": blob_id(blob.content)}, lambda tree: b"")
    beside = GitObject(COMMIT, commit_content(tree, first, change()))
    merge = GitObject(COMMIT, commit_content(tree, head, change(), [object_id(*beside)]))
    made = {object_id(*each): each for each in (blob, beside, merge)}
    with objects_of(small, CARS) as repository:
        repository.put({**made, **trees})
        assert "not our ref" in fetched(door, f"want {blob_id(blob.content)}")
        if way == "tag":
            repository.set_tags({"beside": object_id(*beside)})
        else:
            repository.set_head(RevisionId(object_id(*merge)))
    assert fetched(door, f"want {blob_id(blob.content)}", f"want {tree}").startswith("packfile")
    assert fetched(door, f"want {object_id(*beside)}").startswith("packfile")


@pytest.fixture
def trees_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the trees that are read."""
    read, reading = list[str](), Repository.tree

    def tree(self: Repository, tree_id: str) -> bytes:
        read.append(tree_id)
        return reading(self, tree_id)

    monkeypatch.setattr(Repository, "tree", tree)
    return read


def test_what_revisions_lead_to_is_remembered(small: MetaStore, door: Door, trees_read: list[str]) -> None:
    for number in range(80):
        small.dataset_update(CARS, {"name": "cars", "number": number})
    first, second = blob_of(small, CARS, 79), blob_of(small, CARS, 78)
    trees_read.clear()
    assert fetched(door, f"want {first}").startswith("packfile")
    assert len(trees_read) == 81
    small.dataset_update(CARS, {"name": "cars", "number": 80})
    trees_read.clear()
    assert fetched(door, f"want {second}").startswith("packfile")
    assert len(trees_read) < 25  # the revisions since the last whole piece


@pytest.mark.parametrize("wishes", [(), ("filter blob:none",), ("filter tree:500",)])
def test_trees_with_very_many_paths_are_read_once_each(
    small: MetaStore, trees_read: list[str], wishes: tuple[str, ...]
) -> None:
    """A chain of trees that one folder names all of, and revisions that lead to it at less and less depth."""
    made: dict[str, GitObject] = {}

    def added(kind: str, content: bytes) -> str:
        identity = object_id(kind, content)
        made[identity] = GitObject(kind, content)
        return identity

    def folder(*below: str) -> str:
        return added(TREE, tree_content({f"{at:03}": Entry(FOLDER, each) for at, each in enumerate(below)}))

    tree = added(TREE, tree_content({"a.txt": Entry(FILE, added(BLOB, b"a"))}))
    chain, commit = [tree, *(tree := folder(tree) for _ in range(100))], history(small)[0]
    roots = [tree := folder(*chain), *(tree := folder(tree) for _ in range(20))]
    for root in roots:
        commit = added(COMMIT, commit_content(root, commit, change()))
    with objects_of(small, CARS) as repository:
        repository.put(made)
        repository.set_tags({"deep": commit})
    trees_read.clear()
    assert {*chain, *roots} < taken(small, f"want {commit}", *wishes)
    assert len(trees_read) == len({*chain, *roots}) + 1


def test_an_id_that_is_made_up_is_refused_before_the_whole_history_is_read(
    small: MetaStore, door: Door, trees_read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "_PIECE", 4)
    for number in range(19):
        small.dataset_update(CARS, {"name": "cars", "number": number})
    trees_read.clear()
    assert "not our ref" in fetched(door, f"want {'a' * 40}")
    assert len(trees_read) <= 8


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (("filter sparse:oid=main",), "does not support the filter 'sparse:oid=main'; it supports blob:none,"),
        (("filter combine:blob:none+tree:1",), "does not support the filter 'combine:blob:none+tree:1'"),
        (("filter blob:none", "filter tree:1"), "one filter at a time"),
        (("filter blob:limit=1k",), "does not support the filter"),
        (("filter tree:-1",), "does not support the filter"),
        (("filter tree:99999999999",), "does not support the filter"),
        (("filter object:type=all",), "does not support the filter"),
        ((f"filter blob:limit={'9' * 60000}",), f"does not support the filter 'blob:limit={'9' * 49}'; it"),
    ],
)
def test_a_filter_that_cannot_be_done_is_refused_in_words(
    small: MetaStore, door: Door, wishes: tuple[str, ...], said: str
) -> None:
    assert said in fetched(door, f"want {history(small)[0]}", *wishes)


def test_very_many_filters_are_refused(small: MetaStore, door: Door) -> None:
    many = [f"filter combine:tree:{number}" for number in range(10_000)]
    assert "one filter at a time" in fetched(door, f"want {history(small)[0]}", *many)


def test_what_a_client_names_is_looked_for_among_so_many_objects_and_no_more(
    small: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.txt": b"%d" % number for number in range(40)}
    small.storage.append(CARS, files, change(), parent=small.revision_read(CARS).id)
    monkeypatch.setattr(clones, "_MOST_OBJECTS", 30)
    assert "too many objects" in fetched(door, f"want {blob_id(b'7')}")


def test_very_many_objects_are_wanted_at_the_cost_of_one_walk(
    small: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that are made up end the search at the first one."""
    files = {f"{number}.txt": b"%d" % number for number in range(10_000)}
    small.storage.append(CARS, files, change(), parent=small.revision_read(CARS).id)
    wants = [f"want {blob_id(content)}" for content in files.values()]
    assert fetched(door, "filter blob:none", *wants).startswith("packfile")
    assert "not our ref" in fetched(door, *(f"want {number:040x}" for number in range(10_000)))
    monkeypatch.setattr(clones, "_MOST_OBJECTS", 9_000)
    assert "too many objects: take a part of it, with --depth or --filter" in fetched(door, *wants)


def test_few_of_the_wanted_objects_are_read_to_find_made_up_ids(
    small: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Git host, each is a request."""
    files = {f"{number}.txt": b"%d" % number for number in range(300)}
    for content in (files, dict.fromkeys(files), *({"number.txt": b"%d" % number} for number in range(64))):
        small.storage.append(CARS, content, change(), parent=small.revision_read(CARS).id)
    wants = [f"want {blob_id(content)}" for content in files.values()]
    read = list[str]()
    with objects_of(small, CARS) as repository:
        reading = repository.read_uncached
        monkeypatch.setattr(repository, "read_uncached", lambda identity: read.append(identity) or reading(identity))
        fetch = negotiate(repository, Request("fetch", (*wants, "done")), 1000)
    assert fetch.ids is not None
    assert len(fetch.ids) == 300
    assert 0 < len(read) < 40
