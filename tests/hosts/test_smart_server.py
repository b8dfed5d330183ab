"""Our client on Git's own server; and the quick server of the emulated GitLab gives the same answers."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import PermissionDenied, RevisionConflict, StorageCorrupt, StorageUnavailable, TooLarge
from metastore.git.history import next_objects
from metastore.git.pkt_lines import FLUSH, NONE, pkt_line
from metastore.git.protocol import SmartHttp
from metastore.http.client import Host
from metastore.http.credentials import Token
from metastore.http.responses import ResponseLost
from metastore.storage.gitlab.storage import GitLabStorage, open_gitlab
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change
from ..test_interop import git
from .git_server import NGINX, GitServer, nginx
from .gitlab import GitLab
from .server import Reply

CARS = DatasetId("physics", "cars")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"


@pytest.fixture(params=["git", "quick"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GitLab]:
    with GitLab(tmp_path / "gitlab", "labs/physics", in_process=request.param == "quick") as made:
        yield made


@pytest.fixture
def storage(server: GitLab) -> Iterator[GitLabStorage]:
    with_token: dict[str, Any] = {"token": "glpat-ann", "api_url": f"{server.url}/api/v4"}
    made = open_gitlab("gitlab://labs/physics", **with_token)
    yield made
    made.close()


def test_what_was_pushed_is_listed_and_fetched(storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1", "d/b": b"2"}, change("First"))
    second = storage.append(CARS, {"d/b": b"3"}, change("Second"), parent=first.id)
    storage.tag_create(CARS, TagSpec("v1", first.id, "Described", ANN, EPOCH))
    assert [each.message for each in storage.history(CARS, second.id)] == ["Second", "First"]
    assert storage.read(CARS, first.id, "d/b") == b"2"
    assert storage.read(CARS, second.id, "d/b") == b"3"
    assert [tag.name for tag in storage.tags(CARS)] == ["v1"]
    storage.tag_delete(CARS, "v1", expected=storage.tag(CARS, "v1").id)
    assert list(storage.tags(CARS)) == []


def test_a_push_from_an_old_value_changes_nothing(storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict):
        storage.append(CARS, {"a": b"3"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == second


def test_a_push_of_pointers_is_refused_while_lfs_is_on(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    project = next(each for each in server.projects.values() if each.path == "cars")
    server._set(project, {"lfs_enabled": True})
    with pytest.raises(PermissionDenied, match="pre-receive hook declined"):
        storage.append(CARS, {"a": POINTER}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first


def test_a_revision_that_is_not_there_is_not_found(storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    with pytest.raises(Exception, match=r"f{40}"):
        storage.read(CARS, "f" * 40, "a")


# A plain Git server


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "hub") as made:
        made.make("cars.git")
        yield made


@pytest.fixture
def client(plain: GitServer) -> Iterator[SmartHttp]:
    basic = base64.b64encode(b"ann:secret").decode()
    host = Host(plain.url, Token(basic, prefix="Basic "), sleep=lambda seconds: None)
    yield SmartHttp(host)
    host.close()


MAIN = "refs/heads/main"
OBJECTS, HEAD = next_objects(None, None, {"a": b"1"}, change())


def test_a_push_is_done_only_if_the_server_says_so_of_each_reference(plain: GitServer, client: SmartHttp) -> None:
    updates = {MAIN: (NONE, HEAD), "refs/tags/v1": (NONE, HEAD)}
    kind = {"Content-Type": "application/x-git-receive-pack-result"}
    for report in (b"", b"000eunpack ok\n0000", b"000eunpack ok\n0017ok refs/heads/main\n0000"):
        banded = b"%04x\1%s" % (len(report) + 5, report) + b"0000"
        plain.fault(Reply(200, banded, kind), method="POST", path="receive-pack")
        with pytest.raises(ResponseLost):
            client.push("/cars.git", updates, OBJECTS)
    assert client.references("/cars.git").targets == {}
    assert client.push("/cars.git", updates, OBJECTS) is None
    assert client.references("/cars.git").targets == {MAIN: HEAD, "refs/tags/v1": HEAD}


def test_a_pack_that_cannot_be_read_is_damage(plain: GitServer, client: SmartHttp) -> None:
    client.push("/cars.git", {MAIN: (NONE, HEAD)}, OBJECTS)
    kind = {"Content-Type": "application/x-git-upload-pack-result"}
    content = b"000dpackfile\n" + pkt_line("\1PACK") + FLUSH
    plain.fault(Reply(200, content, kind), method="POST", path="upload-pack")
    with pytest.raises(StorageCorrupt, match="the host sent a pack that cannot be read: its checksum is wrong"):
        client.fetch("/cars.git", [HEAD])
    assert client.fetch("/cars.git", [HEAD]) == OBJECTS


def test_a_pack_of_too_many_objects_is_not_unpacked(client: SmartHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    client.push("/cars.git", {MAIN: (NONE, HEAD)}, OBJECTS)
    monkeypatch.setattr("metastore.git.protocol._MOST_OBJECTS", 2)
    with pytest.raises(StorageCorrupt, match="it has 3 objects, which is more than 2"):
        client.fetch("/cars.git", [HEAD])


def test_a_hook_that_refuses_is_told_with_its_words(plain: GitServer, client: SmartHttp) -> None:
    plain.hook("cars.git", "echo 'GL-HOOK-ERR: Committer is not a member of the team' >&2; exit 1")
    refusal = client.push("/cars.git", {MAIN: (NONE, HEAD)}, OBJECTS)
    assert refusal == "refs/heads/main pre-receive hook declined; GL-HOOK-ERR: Committer is not a member of the team"
    assert client.references("/cars.git").targets == {}


def test_hidden_references_are_refused(plain: GitServer, client: SmartHttp) -> None:
    git("-C", plain.root / "cars.git", "config", "receive.hideRefs", "refs/tags")
    assert "hidden ref" in str(client.push("/cars.git", {"refs/tags/v1": (NONE, HEAD)}, OBJECTS))
    assert client.references("/cars.git").targets == {}
    with pytest.raises(ResponseLost):  # Git moves the branch all the same, atomic or not: what is there has to be read
        client.push("/cars.git", {MAIN: (NONE, HEAD), "refs/tags/v1": (NONE, HEAD)}, OBJECTS)
    assert client.references("/cars.git").targets == {MAIN: HEAD}


def test_a_server_that_ignores_the_version_of_the_protocol_is_no_empty_repository(
    plain: GitServer, client: SmartHttp
) -> None:
    client.push("/cars.git", {MAIN: (NONE, HEAD)}, OBJECTS)
    plain.knows_protocol = False
    for call in (lambda: client.references("/cars.git"), lambda: client.fetch("/cars.git", [HEAD])):
        with pytest.raises(StorageUnavailable):
            call()


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_push_that_is_too_large_for_a_proxy_is_an_error_that_says_so(plain: GitServer, tmp_path: Path) -> None:
    objects, head = next_objects(None, None, {"a": random.Random(1).randbytes(5000)}, change())
    basic = base64.b64encode(b"ann:secret").decode()
    with nginx(tmp_path / "nginx", plain.url, "client_max_body_size 1k;") as address:
        host = Host(address, Token(basic, prefix="Basic "), sleep=lambda seconds: None)
        with pytest.raises(TooLarge, match="413"):
            SmartHttp(host).push("/cars.git", {MAIN: (NONE, head)}, objects)
        host.close()


def test_wrong_and_insufficient_tokens_are_errors(plain: GitServer, client: SmartHttp) -> None:
    plain.readers.add("ann")
    assert client.references("/cars.git").targets == {}
    with pytest.raises(PermissionDenied):
        client.push("/cars.git", {MAIN: (NONE, HEAD)}, OBJECTS)
    plain.tokens.clear()
    with pytest.raises(StorageUnavailable, match="does not accept the token"):
        client.references("/cars.git")
