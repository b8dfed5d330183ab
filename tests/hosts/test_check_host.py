"""The check of a Git host passes where the host behaves, and says where it does not; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metastore.errors import InvalidInput
from metastore.storage.github.storage import GitHubStorage
from metastore.storage.hosted.storage import HostedStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.plain_git import open_plain_git
from metastore.storage.probe import MOST_REQUESTS, check
from metastore.types import DatasetId

from .backends import gitea, github, gitlab, stop
from .git_server import GitServer
from .github import TOKEN, GitHub
from .server import HostServer, Reply, Request

Hosted = GitHubStorage | HostedStorage
CHECK = DatasetId("physics", "check")


OPENERS: dict[str, Callable[[Path], Hosted]] = {"github": github, "gitlab": gitlab, "gitea": gitea}


@pytest.fixture(params=OPENERS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosted]:
    made = OPENERS[request.param](tmp_path)
    yield made
    made.close()
    stop(made)


def hub(storage: Hosted) -> HostServer:
    return storage.hub  # type: ignore[return-value, union-attr]


def _makes(request: Request) -> bool:
    return request.method == "POST" and re.search(r"/(repos|projects)$", request.path) is not None


def names(storage: Hosted) -> list[str]:
    return [str(each) for each in storage.ids(deleted=None)]


def test_a_host_that_behaves_passes_and_is_left_as_it_was(storage: Hosted) -> None:
    steps = list(check(storage))
    assert [str(each) for each in steps if not each.ok] == []
    assert steps[-1].detail == "nothing was left"
    assert names(storage) == []
    assert sum(each.requests for each in steps) < MOST_REQUESTS / 1.5
    made = [request.json() for request, _ in hub(storage).seen if _makes(request)]
    assert made
    assert all(each.get("private") or each.get("visibility") == "private" for each in made)


def test_a_dry_run_makes_nothing(storage: Hosted) -> None:
    reach, *others = check(storage, dry_run=True)
    assert reach.ok
    assert {each.ok for each in others} == {None}
    assert hub(storage).calls() in (
        ["GET /rate_limit"],
        ["GET /api/v4/groups/labs/physics"],
        ["GET /api/v1/orgs/physics"],
    )


def test_a_step_that_fails_is_told_and_the_rest_is_cleaned_up(storage: Hosted) -> None:
    refusal = Reply(403, {"message": "No tags here"})
    hub(storage).fault(refusal, path="/git/tags$", times=999)
    hub(storage).fault(refusal, path="receive-pack", body="refs/tags/v", times=999)
    steps = {each.step: each for each in check(storage)}
    assert [name for name, each in steps.items() if each.ok is False] == ["tag", "rename a tag", "remove a tag"]
    assert "No tags here" in steps["tag"].detail
    assert names(storage) == []


@pytest.mark.parametrize(("path", "kind"), [("commits", "commit"), ("trees", "tree"), ("blobs", "blob")])
def test_a_host_that_changes_bytes_is_found_out_with_the_kind_and_cleaned_up(
    tmp_path: Path, path: str, kind: str
) -> None:
    storage = github(tmp_path)
    server: GitHub = storage.hub  # type: ignore[attr-defined]

    def other(reply: Reply) -> Reply:
        return Reply(reply.status, {**reply.body, "sha": "0" * 40})

    server.fault(other, path=f"/git/{path}$", method="POST", times=999)
    create, *others = [each for each in check(storage) if each.ok is not None][1:]
    assert f"GitHub made the {kind} 0000" in create.detail
    assert [each.step for each in others] == ["clean up"]
    assert server.repositories == {}
    storage.close()
    server.close()


def test_a_host_that_cannot_be_reached_is_not_tried_further(storage: Hosted) -> None:
    hub(storage).tokens.clear()
    steps = list(check(storage))
    assert steps[0].ok is False
    assert "does not accept the token" in steps[0].detail
    assert {each.ok for each in steps[1:-1]} == {None}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "git") as made:
        made.make("physics/check.git")
        yield made


def test_a_server_that_speaks_git_alone_is_checked_in_an_empty_repository(server: GitServer) -> None:
    storage = open_plain_git(f"git+http://{server.url.removeprefix('http://')}/{{owner}}/{{name}}.git", token="secret")
    steps = list(check(storage, dataset_id=CHECK))
    assert [str(each) for each in steps if not each.ok] == []
    assert {"create", "lose a race", "rename a tag", "clone"} <= {each.step for each in steps}
    assert not {"list", "move", "purge"} & {each.step for each in steps}
    assert storage.resolve(CHECK, None).deleted
    again = {each.step: each for each in check(storage, dataset_id=CHECK)}
    assert (again["create"].ok, again["update"].ok, again["clean up"].detail) == (False, None, "nothing was left")
    with pytest.raises(InvalidInput, match="--dataset"):
        list(check(storage))
    storage.close()


def test_the_command_checks_a_git_server_with_the_user_that_its_address_names(
    server: GitServer, tmp_path: Path, programs: Path
) -> None:
    server.users["secret"] = "x-token-auth"
    url = f"git+http://x-token-auth@{server.url.removeprefix('http://')}/{{owner}}/{{name}}.git"
    command = [str(programs / "metastore"), "check-host", url]
    environment = {**os.environ, "METASTORE_GIT_TOKEN": "secret", "HOME": str(tmp_path)}
    for more, code, told in (([], 2, "--dataset"), (["--dataset", str(CHECK)], 0, "This host behaves")):
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, told in done.stderr) == (code, True), done.stdout + done.stderr


def test_only_a_store_on_a_git_host_is_checked(storage: Hosted) -> None:
    with pytest.raises(InvalidInput, match="name no dataset"):
        list(check(storage, dataset_id=CHECK))
    with pytest.raises(InvalidInput, match="Git host"):
        list(check(MemoryStorage()))


def test_the_command_prints_a_table(tmp_path: Path, programs: Path) -> None:
    with GitHub(tmp_path) as server:
        url = f"github://{server.url.removeprefix('http://')}/physics"
        command = [str(programs / "metastore"), "check-host", url]
        environment = {**os.environ, "METASTORE_GITHUB_TOKEN": TOKEN, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "This host behaves as a store needs it.")
        assert done.stdout.splitlines()[1].startswith("create                 ok")
        server.read_only.add(TOKEN)
        command.append("--json")
        failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert failed.returncode == 1
        rows = [json.loads(line) for line in failed.stdout.splitlines()]
        assert (rows[1]["step"], rows[1]["ok"]) == ("create", False)
        assert TOKEN not in done.stdout + done.stderr + failed.stdout + failed.stderr
