"""The emulated GitHub, judged by others: PyGithub drives it, and it answers what GitHub answered when recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github
import httpx
import pytest

from .github import TOKEN, GitHub
from .judges import judge, operation_of
from .server import Reply, Request

_DATA = Path(__file__).parent / "data"
RECORDED: dict[str, Any] = json.loads((_DATA / "recorded-exchanges.json").read_text())
ORGANISATION = "metastore-lib-tests"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    with GitHub(tmp_path, ORGANISATION) as made:
        yield made


def lenient(request: Request, reply: Reply) -> None:
    """Judge what GitHub still describes: PyGithub and the recordings also use calls of old."""
    if operation_of(request):
        headers = {"x-github-api-version": "2022-11-28", "accept": "*/*"} | request.headers
        judge(Request(**{**vars(request), "headers": headers}), reply)


def test_pygithub_finds_what_it_expects(hub: GitHub) -> None:
    hub.lag = hub.list_lag = 0  # PyGithub does not wait
    hub.judges.append(lenient)
    other = github.Github(auth=github.Auth.Token(TOKEN), base_url=hub.url, retry=0, seconds_between_requests=0)
    found = other.get_organization(ORGANISATION).create_repo("cars", private=True, auto_init=True)
    assert (found.full_name, found.default_branch) == (f"{ORGANISATION}/cars", "main")
    readme = found.get_contents("README.md")
    assert not isinstance(readme, list)
    assert readme.decoded_content == b"# cars\n"
    parent = found.get_git_commit(found.get_branch("main").commit.sha)
    element = github.InputGitTreeElement("datapackage.json", "100644", "blob", content="{}")
    tree = found.create_git_tree([element], parent.tree)
    commit = found.create_git_commit("Second", tree, [parent])
    found.get_git_ref("heads/main").edit(commit.sha)
    assert [each.sha for each in found.get_commits(path="datapackage.json")] == [commit.sha]
    tag = found.create_git_tag("v1", "First", commit.sha, "commit")
    found.create_git_ref("refs/tags/v1", tag.sha)
    assert [each.object.sha for each in found.get_git_matching_refs("tags/")] == [tag.sha]
    with pytest.raises(github.GithubException) as caught:
        found.create_git_ref("refs/tags/v1", tag.sha)
    assert caught.value.status == 422
    found.edit(name="ships")
    assert {each.name for each in other.get_organization(ORGANISATION).get_repos()} == {"ships"}
    found.delete()
    with pytest.raises(github.UnknownObjectException):
        other.get_repo(f"{ORGANISATION}/ships")
    other.close()


@pytest.mark.parametrize("exchange", RECORDED)
def test_a_recorded_exchange_goes_as_it_went_on_github(exchange: str, hub: GitHub) -> None:
    hub.judges.append(lenient)
    recorded = RECORDED[exchange]
    known = prepared(hub, exchange)
    path, body = replaced(recorded["path"], known), recorded["request_body"]
    answer = httpx.request(
        recorded["method"],
        hub.url + path,
        content=replaced(body, known) if body else None,
        headers={"Authorization": f"Bearer {TOKEN}", "User-Agent": "test", "Accept": "*/*"},
    )
    assert answer.status_code == recorded["status"]
    said = answer.json() if answer.content else None
    if recorded["status"] >= 400:
        assert said["message"] == recorded["body"]["message"]
    expect_keys(recorded["body"], said, exchange)


def expect_keys(recorded: Any, ours: Any, where: str) -> None:
    """Expect every key of the recording but those that GitHub has dropped since 2020, which are named here."""
    if isinstance(recorded, list) and recorded:
        assert ours, where
        expect_keys(recorded[0], ours[0], where)
    elif isinstance(recorded, dict):
        missing = recorded.keys() - (ours or {}).keys() - {"documentation_url", "errors"}
        assert not missing, f"{where}: {missing}"
        for name, value in recorded.items():
            if isinstance(value, (dict, list)) and name not in ("plan", "license"):
                expect_keys(value, ours.get(name), f"{where} {name}")


def prepared(hub: GitHub, exchange: str) -> dict[str, str]:
    """Bring the emulator to where the exchange happened; return the ids that take the recorded ones' places."""
    call, status = exchange.rsplit(" ", 1)
    name = "test__mydataset"
    nothing = "/repos/{o}/{r}" not in call and status != "422"
    if nothing or (call == "GET /repos/{o}/{r}" and status == "404"):
        return {}
    found = hub.make(ORGANISATION, name)
    found.git.set_head("refs/heads/master")
    if "README.md" in call or call.startswith("POST /orgs"):
        return {}
    from .test_github import pushed

    first = pushed(found, {"README.md": b"x"}, branch="master")
    head = pushed(found, {"README.md": b"x", "datapackage.json": b"{}"}, branch="master")
    after = pushed(found, {"a": b"1"}, branch="other", parents=[head])
    tag = str(found.git.create_tag("version-1.0", head, 1, found.git[head].author, "My nice little tag\n"))
    if not ("/git/refs" in call and (call.startswith("POST") and status == "201")) and status != "404":
        assert found.target("refs/tags/version-1.0") == tag
    else:
        found.git.references.delete("refs/tags/version-1.0")
    blob_tree = str(found.git[first].tree_id)
    return {"commit": head, "new": after, "tag": tag, "tree": blob_tree, "new_tree": str(found.git[head].tree_id)}


def replaced(text: str, known: dict[str, str]) -> str:
    """Put our ids in the places of the recorded ones, by what each of them is."""
    if not known:
        return text
    places = [
        (r'("base_tree": ?")[0-9a-f]{40}', "tree"),
        (r'("tree": ?")[0-9a-f]{40}', "new_tree"),
        (r'("parents": ?\[")[0-9a-f]{40}', "commit"),
        (r'("object": ?")[0-9a-f]{40}', "commit"),
        (r"(/git/tags/)[0-9a-f]{40}", "tag"),
        (r"(/git/commits/)[0-9a-f]{40}", "commit"),
        (r"(\?ref=)[0-9a-f]{40}", "commit"),
        (r'("sha": ?")[0-9a-f]{40}', "new" if "ref" not in text else "tag"),
    ]
    for pattern, which in places:
        text = re.sub(pattern, lambda match, which=which: match[1] + known[which], text)  # type: ignore[misc]
    return text
