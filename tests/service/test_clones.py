"""`git clone` from the service, with Git itself: what it gets, what it is told, and what it costs."""

from __future__ import annotations

import gzip
import json
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import metastore
from metastore import MetaStore
from metastore.config import ServiceSettings
from metastore.storage.copy import copy

from ..conftest import ANN, STORAGES, ticking
from ..loopback import serving, token
from .conftest import Door

HIDING = ServiceSettings(public_read=False)
CLONE = "/git/physics/cars.git"
POST = f"{CLONE}/git-upload-pack"


def git(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def history(store: MetaStore, dataset_id: str = "physics/cars") -> list[str]:
    return [revision.id for revision in store.revision_list(dataset_id)]


def commits(folder: Path) -> list[str]:
    git("fsck", "--strict", folder=folder)
    return git("log", "--format=%H", folder=folder).split()


@pytest.fixture(params=["memory", "git", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetaStore]:
    made = MetaStore(STORAGES[request.param](tmp_path), author=ANN, clock=ticking())
    for number in range(6):
        write = made.dataset_update if number else made.dataset_create
        write("physics/cars", {"name": "cars", "number": number})
    made.tag_create("physics/cars", "v1", made.revision_list("physics/cars")[2].id, description="As published")
    yield made
    made.close()


@pytest.fixture
def small(memory: MetaStore) -> MetaStore:
    memory.dataset_create("physics/cars", {"name": "cars"})
    return memory


def test_a_clone_has_the_history_and_the_tags_and_follows_them(store: MetaStore, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    with serving(store) as url:
        git("clone", f"{url}{CLONE}", folder)
        assert commits(folder) == history(store)
        assert git("rev-parse", "v1^{}", folder=folder).strip() == store.tag_read("physics/cars", "v1").revision
        store.dataset_update("physics/cars", {"name": "cars", "number": 7})
        store.tag_create("physics/cars", "first", store.revision_list("physics/cars")[5].id)
        git("pull", folder=folder)
    assert commits(folder) == history(store)
    assert git("tag", folder=folder).split() == ["first", "v1"]
    assert json.loads((folder / "datapackage.json").read_text())["number"] == 7


def test_a_clone_has_pointers_to_large_files_and_the_address_of_their_server(store: MetaStore, tmp_path: Path) -> None:
    described = {"name": "x", "path": "x.csv", "sha256": "a" * 64, "bytes": 3}
    url = "https://lfs.example.org/{owner}/{name}"
    pointing = MetaStore(store.storage, author=ANN, clock=ticking(), lfs_url=url, validation="off")
    pointing.dataset_update("physics/cars", {"name": "cars", "resources": [described]})
    with serving(store) as address:
        git("clone", "--no-checkout", f"{address}{CLONE}", tmp_path / "clone")
    assert f"oid sha256:{'a' * 64}\nsize 3\n" in git("show", "HEAD:x.csv", folder=tmp_path / "clone")
    assert "url = https://lfs.example.org/physics/cars\n" in git("show", "HEAD:.lfsconfig", folder=tmp_path / "clone")


def test_a_clone_of_depth_one_has_the_newest_revision_alone(store: MetaStore, tmp_path: Path) -> None:
    with serving(store) as url:
        git("clone", "--depth", "1", f"{url}{CLONE}", tmp_path / "clone")
    assert commits(tmp_path / "clone") == history(store)[:1]


def test_a_shallow_clone_can_be_updated_and_deepened(store: MetaStore, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    with serving(store) as url:
        git("clone", "--depth", "2", f"{url}{CLONE}", folder)
        assert commits(folder) == history(store)[:2]
        store.dataset_update("physics/cars", {"name": "cars", "number": 7})
        git("pull", folder=folder)
        assert commits(folder) == history(store)[:3]
        git("fetch", "--depth", "5", folder=folder)
        assert commits(folder) == history(store)[:5]
        git("fetch", "--unshallow", folder=folder)
    assert commits(folder) == history(store)


def test_a_fetch_gets_what_is_new_and_no_more(small: MetaStore, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    with serving(small) as url:
        git("clone", f"{url}{CLONE}", folder)
        before = set(git("cat-file", "--batch-all-objects", "--batch-check", folder=folder).splitlines())
        small.dataset_update("physics/cars", {"name": "cars", "title": "Cars"})
        small.tag_create("physics/cars", "first", small.revision_list("physics/cars")[1].id, description="The first")
        sent = git("fetch", "--no-auto-gc", folder=folder)
        packs = list((folder / ".git/objects/pack").glob("*.pack"))
    after = set(git("cat-file", "--batch-all-objects", "--batch-check", folder=folder).splitlines())
    assert len(after - before) == 4, sent  # a commit, its tree, the descriptor, and the tag
    assert len(packs) <= 1  # few objects are unpacked


def test_a_moved_dataset_is_cloned_from_where_it_was(small: MetaStore, tmp_path: Path) -> None:
    small.dataset_move("physics/cars", "physics/autos")
    with serving(small) as url:
        git("clone", f"{url}{CLONE}", tmp_path / "clone")
    assert commits(tmp_path / "clone") == history(small, "physics/autos")


def test_a_deleted_dataset_keeps_its_history(small: MetaStore, tmp_path: Path) -> None:
    small.dataset_delete("physics/cars")
    with serving(small) as url:
        git("clone", f"{url}{CLONE}", tmp_path / "clone")
    assert commits(tmp_path / "clone") == history(small)


def test_a_hidden_dataset_needs_a_token_as_the_password_of_jwt(small: MetaStore, tmp_path: Path) -> None:
    reader, stranger = token("ds:physics/*:read"), token("ds:other/*:read")
    with serving(small, HIDING) as url:
        there = f"{url.replace('://', '://_jwt:{}@')}{CLONE}"
        assert "not found" in refused("clone", there.format(stranger), tmp_path / "no")
        assert "Authentication failed" in refused("clone", there.format("rubbish"), tmp_path / "no")
        git("clone", there.format(reader), tmp_path / "clone")
        git("-c", f"http.extraHeader=Authorization: Bearer {reader}", "clone", f"{url}{CLONE}", tmp_path / "bearer")
    assert commits(tmp_path / "clone") == commits(tmp_path / "bearer") == history(small)


def test_git_tells_people_what_is_wrong(small: MetaStore, tmp_path: Path) -> None:
    with serving(small) as url:
        assert "remote: there is no dataset physics/bikes" in refused(
            "clone", f"{url}/git/physics/bikes.git", tmp_path / "a"
        )
        assert "speaks version 2" in refused("-c", "protocol.version=0", "clone", f"{url}{CLONE}", tmp_path / "b")
        git("clone", f"{url}{CLONE}", tmp_path / "c")
        git("commit", "--allow-empty", "--message", "Mine", folder=tmp_path / "c")
        said = refused("-c", "credential.helper=", "-c", "core.askPass=true", "push", folder=tmp_path / "c")
        assert "Authentication failed" in said
    assert len(history(small)) == 1


def test_the_stores_own_datasets_are_not_cloned(small: MetaStore, door: Door) -> None:
    small.tag_create("physics/cars", "v1")
    small.tag_delete("physics/cars", "v1")  # so that there is a journal
    assert door.anybody.get("/git/_metastore/journal.git/info/refs?service=git-upload-pack").status_code == 404


def lines(*texts: str) -> bytes:
    """Return pkt-lines; the empty text is a flush, and a bar is a delimiter."""
    special = {"": b"0000", "|": b"0001"}
    return b"".join(special.get(text) or b"%04x%s" % (len(text.encode()) + 4, text.encode()) for text in texts)


ZEROS = "0" * 40


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not made of Git's packets"),
        (b"zzzz", "not made of Git's packets"),
        (b"0003", "not made of Git's packets"),
        (b"ffffcommand=fetch", "not made of Git's packets"),
        (lines("want"), "not made of Git's packets"),
        (lines("want x", ""), "not a request of version 2"),
        (lines("command=fetch", "object-format=sha256", ""), "SHA-1"),
    ],
)
def test_what_git_would_not_send_is_a_bad_request(small: MetaStore, door: Door, body: bytes, said: str) -> None:
    answer = door.anybody.post(POST, data=body)
    assert answer.status_code == 400
    assert said in answer.text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("command=push", ""), "does not support 'push'"),
        (("command=fetch", "|", f"want {ZEROS}", "done", ""), f"not our ref {ZEROS}"),
        (("command=fetch", "|", "want main", "done", ""), "want is followed by an id"),
        (("command=fetch", "|", "have \ufffd", "done", ""), "have is followed by an id"),
        (("command=fetch", "|", "deepen -1", "done", ""), "deepen is followed by a number"),
        (("command=fetch", "|", "deepen-since 1", "done", ""), "it supports --depth"),
        (("command=fetch", "|", "filter sparse:oid=main", "done", ""), "it supports blob:none"),
    ],
)
def test_what_cannot_be_answered_is_told_in_gits_own_way(
    small: MetaStore, door: Door, command: tuple[str, ...], said: str
) -> None:
    answer = door.anybody.post(POST, data=lines(*command[:-1], ""))
    assert answer.status_code == 200
    assert answer.data[4:].startswith(b"ERR ")
    assert said in answer.text


def test_a_tag_on_an_old_revision_is_sent_without_what_the_client_has(small: MetaStore, door: Door) -> None:
    small.dataset_update("physics/cars", {"name": "cars", "title": "Cars"})
    head, first = history(small)
    tag = small.tag_create("physics/cars", "first", first, description="The first").id
    asked = lines("command=fetch", "|", f"want {tag}", f"have {head}", "done", "")
    pack = door.anybody.post(POST, data=asked).data.partition(b"PACK\0\0\0\2")[2]
    assert int.from_bytes(pack[:4]) == 1


def test_what_is_said_of_a_reference_is_what_was_asked_for(small: MetaStore, door: Door) -> None:
    tag, head = small.tag_create("physics/cars", "v1", description="One").id, history(small)[0]

    def listed(*wishes: str) -> str:
        request = lines("command=ls-refs", "|", *wishes, "") if wishes else lines("command=ls-refs", "")
        return door.anybody.post(POST, data=request).text

    assert f"{head} HEAD\n" in listed()
    assert f"{head} HEAD symref-target:refs/heads/main\n" in listed("symrefs")
    assert f"{tag} refs/tags/v1\n" in listed("symrefs")
    assert f"{tag} refs/tags/v1 peeled:{head}\n" in listed("peel")
    assert "HEAD" not in listed("ref-prefix refs/tags/")


def test_a_request_is_bounded_also_when_it_is_unpacked(small: MetaStore, door: Door) -> None:
    wanted = lines("command=ls-refs", "")
    compressed = {"Content-Encoding": "gzip"}
    assert door.anybody.post(POST, data=gzip.compress(wanted), headers=compressed).data.endswith(b"main\n0000")
    assert door.anybody.post(POST, data=b"rubbish", headers=compressed).status_code == 400
    assert door.anybody.post(POST, data=bytes(8 * 1024 * 1024 + 1)).status_code == 413
    bomb = zlib.compressobj(9, wbits=31)
    content = b"".join(bomb.compress(bytes(1024 * 1024)) for _ in range(16)) + bomb.flush()
    assert door.anybody.post(POST, data=content, headers=compressed).status_code == 413


def test_a_history_that_is_too_large_is_refused_in_words(
    small: MetaStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.service.clones._MOST", 100)
    answer = door.anybody.post(POST, data=lines("command=fetch", "|", f"want {history(small)[0]}", "done", ""))
    assert "more than 100 bytes: take a part of it, with --depth" in answer.text
    monkeypatch.setattr("metastore.service.clones._MOST_OBJECTS", 1)
    answer = door.anybody.post(POST, data=lines("command=fetch", "|", f"want {history(small)[0]}", "done", ""))
    assert "too many objects: take a part of it, with --depth" in answer.text


def test_a_service_is_copied_with_histories_tags_and_ids(store: MetaStore, tmp_path: Path) -> None:
    store.dataset_create("math/cars", {"name": "cars"})
    reader = token("ds:*:*")
    with serving(store, HIDING) as url, metastore.connect(url, token=reader) as service:
        target = metastore.connect(tmp_path / "target", author=ANN)
        first = copy(service.storage, target.storage)
        store.dataset_update("physics/cars", {"name": "cars", "number": 7})
        second = copy(service.storage, target.storage)
        third = copy(service.storage, target.storage)
    assert (first.datasets, first.revisions, first.tags, first.not_copied) == (2, 7, 1, ())
    assert (second.revisions, second.unchanged, third.unchanged) == (1, 1, 2)
    assert history(target) == history(store)  # type: ignore[arg-type]
    assert target.tag_read("physics/cars", "v1") == store.tag_read("physics/cars", "v1")
    assert not list(target.verify())
