"""Git's own view of a dataset, and stores that somebody else made."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

import metastore
from metastore import MetaStore, RevisionNotFound, StorageUnavailable
from metastore.git.objects import Author, parse_commit

from .conftest import ANN, REAL, real_descriptor, ticking

CARS = "physics/cars"


def git(*arguments: object, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    command = ["git", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, env=env)
    assert done.stderr == "" or "Cloning" in done.stderr, done.stderr
    return done.stdout.strip()


def repository(store: MetaStore, dataset_id: str = CARS) -> str:
    return f"{store.storage.layout.root}/{dataset_id}.git"  # type: ignore[attr-defined]


def test_git_tells_the_same_story_as_the_api(git_store: MetaStore) -> None:
    store = git_store
    store.dataset_create(CARS, {"name": "cars", "title": "Größe"}, message="First\n\nWith a body: ü.")
    store.dataset_patch(
        CARS, {"n": 1}, author="Bo Li <bo@example.org>", at=datetime.fromisoformat("2001-02-03T04:05:06Z")
    )
    store.tag_create(CARS, "v1", description="First release")
    store.dataset_delete(CARS)
    newest = store.dataset_revert(CARS, "v1").revision
    path = repository(store)
    assert git("-C", path, "fsck", "--strict", "--full") == ""
    separator = "\x1e"
    log = git("-C", path, "log", "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%B%x1e").split(separator)
    told = [tuple(row.strip("\n").split("\0")) for row in log if row.strip()]
    said = [
        (
            each.id,
            each.parent or "",
            each.author.name,
            each.author.email,
            str(int(each.created.timestamp())),
            each.message,
        )
        for each in store.revision_list(CARS)
    ]
    assert [(*row[:5], row[5].rstrip("\n")) for row in told] == said
    assert git("-C", path, "show", "HEAD:datapackage.json") == store.dataset_read(CARS).bytes.decode().strip()
    tag = store.tag_read(CARS, "v1")
    assert git("-C", path, "rev-parse", "v1", "v1^{commit}").split() == [tag.id, tag.revision]
    assert git("-C", path, "for-each-ref", "--format=%(taggername) %(subject)", "refs/tags") == "Ann Lee First release"
    assert git("-C", path, "rev-parse", "HEAD") == newest.id


@pytest.mark.parametrize("name", REAL)
def test_a_clone_has_the_descriptor_and_the_tags(git_store: MetaStore, tmp_path: Path, name: str) -> None:
    made = git_store.dataset_create(name, real_descriptor(name))
    git_store.tag_create(name, "v1")
    as_stored = ("-c", "core.autocrlf=false")  # whoever wants other ends of lines gets them from Git
    git(*as_stored, "clone", "--quiet", repository(git_store, name), tmp_path / "clone")
    assert (tmp_path / "clone" / "datapackage.json").read_bytes() == made.bytes
    assert git("-C", tmp_path / "clone", "tag") == "v1"
    assert git(*as_stored, "-C", tmp_path / "clone", "status", "--porcelain") == ""


def test_a_push_is_refused(git_store: MetaStore, tmp_path: Path) -> None:
    git_store.dataset_create(CARS, {"a": 1})
    clone = tmp_path / "clone"
    git("clone", "--quiet", repository(git_store), clone)
    git("-C", clone, "-c", "user.name=X", "-c", "user.email=x@y", "commit", "--quiet", "--allow-empty", "-m", "Mine")
    with pytest.raises(subprocess.CalledProcessError):
        git("-C", clone, "push", "--quiet", "origin", "HEAD")
    assert git_store.dataset_read(CARS).revision.message == "Create dataset"


def test_git_gc_and_pack_refs_beside_us_lose_nothing(git_store: MetaStore) -> None:
    store = git_store
    revisions = [store.dataset_create(CARS, {"n": 0}).revision.id]
    revisions += [store.dataset_update(CARS, {"n": n}).revision.id for n in range(1, 6)]
    tags = [store.tag_create(CARS, f"v{n}", revisions[n]) for n in range(4)]
    git("-C", repository(store), "gc", "--quiet")
    git("-C", repository(store), "pack-refs", "--all")
    assert [each.id for each in store.revision_list(CARS)] == revisions[::-1]
    assert list(store.tag_list(CARS)) == tags
    store.tag_delete(CARS, "v0")
    store.tag_update(CARS, "v1", new_name="w1")
    assert [tag.name for tag in store.tag_list(CARS)] == ["v2", "v3", "w1"]
    assert sorted(git("-C", repository(store), "tag").split()) == ["v2", "v3", "w1"]
    assert store.dataset_update(CARS, {"n": 9}).revision.parent == revisions[-1]
    assert git("-C", repository(store), "fsck", "--strict", "--no-dangling") == ""


@pytest.fixture
def predecessors(tmp_path: Path) -> Path:
    """A store as metastore-lib's GitHub backend left it, cloned bare: a README first, `master`, files for Git LFS."""
    work, bare = tmp_path / "work", tmp_path / "old" / "org" / "cars.git"
    bare.parent.mkdir(parents=True)
    sha = "a" * 64
    resources = [{"name": "x", "path": "a b.csv", "sha256": sha, "bytes": 3}, {"name": "y", "path": "y.csv"}]
    contents = {
        ".gitattributes": "a b.csv filter=lfs diff=lfs merge=lfs -text\n",
        ".lfsconfig": '[remote "origin"]\n\tlfsurl = https://lfs.example.org/org/cars',
        "a b.csv": f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 3\n",
        "datapackage.json": json.dumps({"name": "cars", "title": "Größe", "resources": resources}, indent=2),
    }
    env = {**os.environ, "GIT_AUTHOR_DATE": "1600000000 +0200", "GIT_COMMITTER_DATE": "1600000000 +0200"}
    env |= {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in WHO.items()}
    git("-c", "init.defaultBranch=master", "init", "--quiet", work)
    (work / "README.md").write_text("# Made by its backend\n")
    git("-C", work, "-c", "core.autocrlf=false", "add", "README.md")
    git("-C", work, "commit", "--quiet", "-m", "Initialize data repository", env=env)
    for path, content in contents.items():
        (work / path).write_text(content)
        git("-C", work, "-c", "core.autocrlf=false", "add", "-f", path)
    git("-c", "filter.lfs.clean=cat", "-C", work, "commit", "--quiet", "-m", "Initial datapackage commit", env=env)
    git("-C", work, "tag", "-a", "v1", "-m", "Tagging revision", env=env)
    git("-C", work, "update-ref", "refs/tags/light", "HEAD")
    git("clone", "--quiet", "--bare", work, bare)
    return tmp_path / "old"


WHO = {"NAME": "Åsa Old", "EMAIL": "asa@example.org"}


def test_a_predecessors_store_is_read_and_taken_over_as_it_is(predecessors: Path) -> None:
    with metastore.connect(predecessors, author=ANN, clock=ticking(), sync=False) as store:
        assert [str(each) for each in store.dataset_list()] == ["org/cars"]
        old = store.dataset_read("org/cars")
        assert old.descriptor["title"] == "Größe"
        assert (old.revision.author, old.revision.created.timestamp()) == (Author("Åsa Old", "asa@example.org"), 1.6e9)
        assert store.dataset_read("org/cars", "master").revision == old.revision
        assert [(tag.name, tag.revision) for tag in store.tag_list("org/cars")] == [
            ("light", old.revision.id),
            ("v1", old.revision.id),
        ]
        assert [each.message for each in store.revision_list("org/cars")] == [
            "Initial datapackage commit",
            "Initialize data repository",
        ]
        assert store.dataset_update("org/cars", old.descriptor).revision == old.revision
        new = store.dataset_patch("org/cars", [{"op": "remove", "path": "/resources/0"}])
        path = predecessors / "org" / "cars.git"
        assert git("-C", path, "rev-parse", "master") == new.revision.id
        assert sorted(store.storage.paths(new.id, new.revision.id)) == [
            ".gitattributes",
            ".lfsconfig",
            "README.md",
            "datapackage.json",
        ]
        assert git("-C", path, "show", "HEAD:.gitattributes") == ""
        assert "remote" in git("-C", path, "show", "HEAD:.lfsconfig")
        assert git("-C", path, "config", "receive.hideRefs") == "refs"
        assert git("-C", path, "fsck", "--strict") == ""
        assert list(store.verify()) == []


def test_a_merge_by_hand_is_followed_by_first_parents_alone(git_store: MetaStore, tmp_path: Path) -> None:
    store = git_store
    first = store.dataset_create(CARS, {"n": 1}).revision.id
    path = repository(store)
    tree = git("-C", path, "rev-parse", f"{first}^{{tree}}")
    env = {
        **os.environ,
        **{f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in WHO.items()},
    }
    side = git("-C", path, "commit-tree", tree, "-p", first, "-m", "On the side", env=env)
    merge = git("-C", path, "commit-tree", tree, "-p", first, "-p", side, "-m", "Merge", env=env)
    git("-C", path, "update-ref", "refs/heads/main", merge)
    assert [each.id for each in store.revision_list(CARS)] == [merge, first]
    for text in (side, side[:12]):
        with pytest.raises(RevisionNotFound):
            store.revision_read(CARS, text)


def test_a_tag_beside_the_branch_makes_its_commit_a_revision_in_full_and_abbreviated(git_store: MetaStore) -> None:
    store = git_store
    first = store.dataset_create(CARS, {"n": 1}).revision.id
    path = repository(store)
    side = git("-C", path, "commit-tree", f"{first}^{{tree}}", "-p", first, "-m", "On the side")
    with pytest.raises(RevisionNotFound):
        store.revision_read(CARS, side[:12])
    git("-C", path, "update-ref", "refs/tags/light", side)
    git("-C", path, "tag", "-a", "-m", "Why", "annotated", side)
    for tags in (["light", "annotated"], ["annotated"]):
        assert [tag.name for tag in store.tag_list(CARS)] == sorted(tags)
        assert {store.revision_read(CARS, text).id for text in (*tags, side, side[:12])} == {side}
        git("-C", path, "tag", "-d", tags[0])
    with pytest.raises(RevisionNotFound):
        store.revision_read(CARS, side[:12])


def test_commits_in_another_encoding_and_with_signatures_are_read(git_store: MetaStore, tmp_path: Path) -> None:
    store = git_store
    first = store.dataset_create(CARS, {"n": 1}).revision.id
    path = repository(store)
    tree = git("-C", path, "rev-parse", f"{first}^{{tree}}")
    commit = (
        f"tree {tree}\nparent {first}\nauthor J\xf6  <> 1600000000 -0730\ncommitter X <x@y> 1600000000 +0000\n"
        "encoding ISO-8859-1\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n tree 000\n -----END PGP SIGNATURE-----\n\n"
        "Gr\xf6\xdfe\n"
    ).encode("latin-1")
    file = tmp_path / "commit"
    file.write_bytes(commit)
    new = git("-C", path, "hash-object", "-t", "commit", "-w", "--literally", file)
    git("-C", path, "update-ref", "refs/heads/main", new)
    read = store.revision_read(CARS)
    assert (read.id, read.parent, read.message, read.author.name) == (new, first, "Größe", "Jö")
    assert read.created.timestamp() == 1_600_000_000


@pytest.mark.parametrize(
    "charset", ["UTF-7", "unicode_escape", "punycode", "idna", "UTF-16", "cp037", "no-such", "rot13", ""]
)
def test_a_charset_that_would_change_plain_text_does_not_count(charset: str) -> None:
    """Some of Python's codecs make half surrogates and NUL of it, or take quadratic time."""
    head = f"tree {'1' * 40}\nauthor A <a@b.c> 1 +0000\ncommitter A <a@b.c> 1 +0000\nencoding {charset}\n\n"
    message = "plain +2AA- +AAA- \\ud800 \\x00"
    assert parse_commit(head.encode() + message.encode()).message == message


@pytest.mark.parametrize("content", ["file", "folder", "mixed", "format", "broken"])
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, content: str) -> None:
    root = tmp_path / "root"
    if content == "file":
        root.write_text("A file")
    elif content == "folder":
        (root / "src").mkdir(parents=True)
        (root / "src" / "main.c").write_text("")
    elif content == "mixed":
        (root / "org" / "cars.git").mkdir(parents=True)
        (root / "org" / "cars.git" / "HEAD").write_text("ref: refs/heads/main\n")
        (root / "notes.txt").write_text("")
    else:
        root.mkdir()
        (root / "metastore.json").write_text('{"format": 99}' if content == "format" else "{")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(metastore.StorageError):
        metastore.connect(root)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_store_that_has_to_be_there_is_not_made(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "new"):
        with pytest.raises(StorageUnavailable, match="no store at"):
            metastore.connect(root, create=False)
    assert list(tmp_path.iterdir()) == []


def test_urls_lead_to_storages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in (tmp_path / "a b", f"file://{tmp_path}/a%20b", f"file://localhost{tmp_path}/a%20b", "~/a b"):
        with metastore.connect(url, author=ANN, sync=False) as store:
            assert store.storage.layout.root == str(tmp_path / "a b")  # type: ignore[attr-defined]
    for bad in ("", "file://host/x", "ftp://x/y", "nope://"):
        with pytest.raises(metastore.InvalidInput):
            metastore.connect(bad)
    with pytest.raises(metastore.InvalidInput, match="no option 'colour'"):
        metastore.connect("memory:", colour="red")


def test_options_of_the_wrong_kind_are_refused_in_words() -> None:
    for wrong in (None, b"bytes", 7):
        with pytest.raises(metastore.InvalidInput, match="path or URL"):
            metastore.connect(wrong)  # type: ignore[arg-type]
    for size in ("7", 0, True):
        with pytest.raises(metastore.InvalidInput, match="number of bytes"):
            metastore.connect("memory:", max_bytes=size)
