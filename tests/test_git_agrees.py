"""The real Git computes the ids that we compute, and a clone tells what we tell."""

from __future__ import annotations

import subprocess
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore import MetaStore
from metastore.errors import MetastoreError
from metastore.git import objects, trees
from metastore.parse import make_author, make_message
from metastore.types import Author, BlobId, RevisionId, TagSpec

from .conftest import EPOCH, change
from .test_fuzz import few, text, tried


@few
@given(text, text, st.dictionaries(st.text("abc.-é", min_size=1, max_size=3), st.binary(max_size=9), min_size=1))
def test_ids_are_those_that_git_computes(
    tmp_path_factory: pytest.TempPathFactory, name: str, message: str, files: dict[str, bytes]
) -> None:
    author, why = tried(make_author, (name, "ann@example.org")), tried(make_message, message)
    if isinstance(author, MetastoreError) or isinstance(why, MetastoreError) or {".", ".."} & files.keys():
        return
    folder = tmp_path_factory.mktemp("git")

    def git(*command: str, given: bytes = b"") -> str:
        who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in said.items()}
        done = subprocess.run(["git", *command], cwd=folder, input=given, capture_output=True, env=who, check=True)
        return done.stdout.decode().strip()

    said = {"NAME": author.name, "EMAIL": author.email, "DATE": f"{int(EPOCH.timestamp())} +0000", "X": "/"}
    git("init", "-q", "--bare", ".")
    blobs = {path: BlobId(git("hash-object", "-w", "--stdin", given=content)) for path, content in files.items()}
    assert blobs == {path: objects.blob_id(content) for path, content in files.items()}
    rows = b"".join(f"100644 blob {blob}\t{path}\0".encode() for path, blob in blobs.items())
    tree = git("mktree", "-z", given=rows)
    assert tree == trees.change_tree(None, blobs, lambda tree: b"")[0]
    content = objects.commit_content(tree, None, change(why, author=author))
    commit = git("commit-tree", tree, "-F", "-", given=f"{why}\n".encode() if why else b"")
    assert commit == objects.object_id("commit", content)
    tag = objects.tag_content(TagSpec("v1", RevisionId(commit), why, author, EPOCH))
    assert git("mktag", given=tag) == objects.object_id("tag", tag)


@pytest.mark.parametrize("parent", [None, "1" * 40])
@pytest.mark.parametrize("merged", [(), ("2" * 40, "3" * 40)])
def test_the_first_parent_is_that_of_the_whole_commit(parent: str | None, merged: tuple[str, ...]) -> None:
    content = objects.commit_content("0" * 40, parent, change("Merge"), merged)
    assert objects.first_parent(content) == objects.parse_commit(content).parent


def test_a_clone_tells_what_the_revision_list_tells(git_store: MetaStore, tmp_path: Path) -> None:
    for n in range(5):
        author = Author(f"Ann {n} Lee", f"{n}@example.org")
        (git_store.dataset_update if n else git_store.dataset_create)(
            "a/clone", {"resources": [], "n": n}, author=author, message=f"Why {n}\n\nBecause é", at=EPOCH
        )
    root = Path(git_store.storage.layout.root)  # type: ignore[attr-defined]
    command = ["git", "-c", "safe.directory=*", "clone", "-q", str(root / "a/clone.git"), str(tmp_path / "clone")]
    subprocess.run(command, check=True, env={"GIT_LFS_SKIP_SMUDGE": "1", "PATH": "/usr/bin:/bin"})
    log = ["git", "-C", str(tmp_path / "clone"), "log", "--format=%H%n%P%n%an%n%ae%n%at%n%B%x00"]
    told = subprocess.run(log, capture_output=True, text=True, check=True).stdout.split("\0\n")[:-1]
    expected = [
        f"{each.id}\n{each.parent or ''}\n{each.author.name}\n{each.author.email}\n"
        f"{int(each.created.astimezone(UTC).timestamp())}\n{each.message}\n"
        for each in git_store.revision_list("a/clone")
    ]
    assert told == expected
    assert (tmp_path / "clone" / "datapackage.json").read_bytes() == git_store.dataset_read("a/clone").bytes
