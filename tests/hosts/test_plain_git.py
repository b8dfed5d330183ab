"""Datasets on a plain Git server (`git http-backend`): what a push can do is done, the rest is refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import config
from metastore.errors import (
    AlreadyExists,
    DatasetDeleted,
    DatasetNotFound,
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    PermissionDenied,
    RevisionConflict,
    StorageError,
    StorageUnavailable,
)
from metastore.storage.plain_git import PlainGitStorage, open_plain_git
from metastore.store.store import MetaStore
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change, real_descriptor, ticking
from ..test_interop import git
from .git_server import GitServer
from .server import CUTS, Reply

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "hub") as made:
        for path in ("physics/cars.git", "physics/boats.git", "metastore-own/journal.git"):
            made.make(path)
        yield made
        while OPENED:
            OPENED.pop().close()


OPENED: list[PlainGitStorage] = []


def opened(server: GitServer, token: str | None = "secret", user: str = "") -> PlainGitStorage:
    address = f"{user}{server.url.removeprefix('http://')}"
    made = open_plain_git(f"git+http://{address}/{{owner}}/{{name}}.git", token=token)
    made.hosts[0]._connection.sleep = lambda seconds: None
    OPENED.append(made)
    return made


@pytest.fixture
def storage(server: GitServer) -> PlainGitStorage:
    return opened(server)


@pytest.fixture
def store(storage: PlainGitStorage) -> MetaStore:
    return MetaStore(storage, author=ANN, clock=ticking(), validation="off")


def test_a_dataset_lives_on_a_plain_git_server_as_it_does_in_memory(
    store: MetaStore, server: GitServer, tmp_path: Path
) -> None:
    memory = metastore.connect("memory:", author=ANN, clock=ticking(), validation="off")
    for each in (store, memory):
        first = each.dataset_create(CARS, real_descriptor()).revision
        each.dataset_patch(CARS, {"title": "Größe ☃"}, expected=first.id)
        each.tag_create(CARS, "v1", first.id, description="First")
        each.tag_update(CARS, "v1", new_name="v2")
        each.tag_create(CARS, "gone")
        each.tag_delete(CARS, "gone")
        each.dataset_delete(CARS)
        with pytest.raises(DatasetDeleted):
            each.dataset_read(CARS)
        each.dataset_revert(CARS, "v2")
    assert list(store.revision_list(CARS)) == list(memory.revision_list(CARS))
    assert list(store.tag_list(CARS)) == list(memory.tag_list(CARS))
    assert [each.action for each in store.journal()] == [each.action for each in memory.journal()]
    assert git("-C", server.root / "physics/cars.git", "fsck", "--strict", "--no-dangling") == ""


def test_a_store_is_opened_by_its_url_with_the_token_that_is_meant_for_it(server: GitServer, tmp_path: Path) -> None:
    server.make("physics/ships.git")
    url = f"git+http://{server.url.removeprefix('http://')}/{{owner}}/{{name}}.git"
    environment = {**os.environ, "METASTORE_GIT_TOKEN": "secret", "METASTORE_AUTHOR": "Ann", "METASTORE_STORE": url}
    command = [sys.executable, "-m", "metastore", "dataset"]
    (tmp_path / "a.json").write_text('{"name": "ships"}')
    made = [*command, "create", "physics/ships", "a.json", "-m", "First"]
    subprocess.run(made, env=environment, cwd=tmp_path, check=True, capture_output=True)
    listed = subprocess.run([*command, "list"], env=environment, capture_output=True, text=True, check=False)
    assert listed.returncode != 0
    assert "Git alone lists no repositories" in listed.stderr
    assert "Traceback" not in listed.stderr
    assert config.host_options(config.load({"METASTORE_GITHUB_TOKEN": "x"}), "git+https://h/{owner}/{name}.git") == {}


def test_a_stale_parent_is_a_conflict_and_changes_nothing(storage: PlainGitStorage, server: GitServer) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    other = opened(server)
    second = other.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict):
        storage.append(CARS, {"a": b"3"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == second
    with pytest.raises(AlreadyExists):
        other.create(CARS, {"a": b"1"}, change())


@pytest.mark.parametrize("kind", [*CUTS, Reply(503, b"Later", {"Content-Type": "text/plain"})], ids=str)
@pytest.mark.parametrize("times", [1, 99])
def test_a_write_whose_answer_is_lost_is_done_once_or_not(
    storage: PlainGitStorage, server: GitServer, kind: Any, times: int
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    fault = server.fault(kind, method="POST", path="receive-pack", times=times)
    done = None
    try:
        done = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    except (OutcomeUnknown, StorageError):
        assert times > 1
    assert fault.struck
    server.faults.clear()
    heads = [each.id for each in storage.history(CARS, storage.resolve(CARS, None).id)]
    assert heads[-1] == first.id
    assert len(heads) == 2 if done else len(heads) <= 2


def test_an_empty_repository_is_no_dataset_and_one_that_is_not_there_is_made_by_nobody(
    storage: PlainGitStorage, server: GitServer
) -> None:
    with pytest.raises(DatasetNotFound, match="is empty"):
        storage.resolve(CARS, None)
    with pytest.raises(DatasetNotFound):
        storage.resolve(DatasetId("physics", "ships"), None)
    with pytest.raises(InvalidInput, match=r"make an empty one at http://.*/physics/ships\.git"):
        storage.create(DatasetId("physics", "ships"), {"a": b"1"}, change())


def test_what_git_cannot_say_is_refused_in_words(storage: PlainGitStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    calls: list[Callable[[], object]] = [
        lambda: list(storage.ids()),
        lambda: list(storage.verify()),
        lambda: list(storage.touched(None)),
        lambda: storage.rename(CARS, BOATS, parent=first.id),
        lambda: storage.purge(CARS, parent=first.id),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match="Git alone"):
            call()
    assert storage.resolve(CARS, None) == first
    assert list(storage.issues(CARS)) == []
    storage.ping()
    storage.compact(CARS)


def test_a_repository_that_went_elsewhere_is_told_with_its_address(storage: PlainGitStorage, server: GitServer) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.moved["physics/cars.git"] = "labs/cars.git"
    with pytest.raises(DatasetNotFound, match=rf"it is at {server.url}/labs/cars\.git now"):
        storage.resolve(CARS, None)


def test_tokens_that_are_wrong_weak_or_missing_are_told_apart(storage: PlainGitStorage, server: GitServer) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    for token in ("another-one", None):
        with pytest.raises(StorageUnavailable, match="does not accept the token") as caught:
            opened(server, token).resolve(CARS, None)
        assert "another-one" not in str(caught.value)
    server.users["secret"] = "x-token-auth"
    with pytest.raises(StorageUnavailable):
        opened(server).resolve(CARS, None)
    named = opened(server, user="x-token-auth@")
    assert named.resolve(CARS, None) == first
    server.readers.add("ann")
    with pytest.raises(PermissionDenied, match="You may only read"):
        named.append(CARS, {"a": b"2"}, change(), parent=first.id)


def test_a_hook_that_refuses_is_told_with_its_words(storage: PlainGitStorage, server: GitServer) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    server.hook("physics/cars.git", "echo 'Tags are frozen' >&2; exit 1")
    with pytest.raises(PermissionDenied, match="Tags are frozen"):
        storage.tag_create(CARS, TagSpec("v1", first.id, "", ANN, EPOCH))


def test_a_server_that_ignores_the_version_of_the_protocol_is_said_to(
    storage: PlainGitStorage, server: GitServer
) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.knows_protocol = False
    for call in (lambda: storage.resolve(CARS, None), lambda: storage.create(BOATS, {"a": b"1"}, change())):
        with pytest.raises(StorageUnavailable, match="version 2"):
            call()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("git+https://git.example.org/{name}.git", None),
        ("git+https://git.example.org/all.git", None),
        ("git+https:///{owner}/{name}.git", None),
        ("git+https://ann:secret@git.example.org/{owner}/{name}.git", None),
        ("git+https://git.example.org/{owner}/{name}.git?token=secret", None),
        ("git+http://git.example.org/{owner}/{name}.git", "secret"),
        ("git+https://git.example.org/{owner}/{name}.git", "sec\nret"),
    ],
)
def test_a_url_that_names_no_git_server_is_refused_and_shows_no_secret(url: str, token: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        metastore.connect(url, **({"token": token} if token else {}))
    assert "secret" not in str(caught.value)


def test_options_of_other_hosts_are_refused() -> None:
    with pytest.raises(MetastoreError, match="no option 'private'"):
        metastore.connect("git+https://git.example.org/{owner}/{name}.git", private=True)
