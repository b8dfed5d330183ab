"""Gitea and Forgejo as a storage: what the contract does not say, and the traps of the host.

What is as on GitLab (caches, races, lost answers) is in test_gitlab.py; faults are in test_faults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MetastoreError,
    PermissionDenied,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.storage.gitea.storage import GiteaStorage, open_gitea
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change
from ..test_interop import git
from .gitea import ALL_SCOPES, TOKEN, Gitea
from .gitea_judge import judge
from .server import Reply, Request

CARS, BOATS, SHIPS = (DatasetId("physics", name) for name in ("cars", "boats", "ships"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gitea]:
    with Gitea(tmp_path / "gitea", in_process=True) as made:
        yield made
        while OPENED:
            OPENED.pop().close()


OPENED: list[GiteaStorage] = []


def opened(server: Gitea, owner: str = "physics", **options: Any) -> GiteaStorage:
    url = f"gitea://{server.url.removeprefix('http://')}/{owner}"
    made = open_gitea(url, **{"token": TOKEN, "timeout": 5.0, "sleep": lambda seconds: None, **options})
    OPENED.append(made)
    return made


@pytest.fixture
def storage(server: Gitea) -> GiteaStorage:
    return opened(server)


def test_an_answer_that_gitea_or_forgejo_does_not_describe_is_found_out() -> None:
    request = Request("GET", "/api/v1/repos/a/b", "/api/v1/repos/a/b", {}, {}, b"")
    judge(request, Reply(200, {"id": 1}))
    for wrong in (Reply(200, {"id": "1"}), Reply(200, {"number": 1}), Reply(202, {}), Reply(200, {"open_prs": 1})):
        with pytest.raises(AssertionError):
            judge(request, wrong)
    for asked in (
        Request("GET", "/api/v1/repos/a", "/api/v1/repos/a", {}, {}, b""),
        Request("GET", "/api/v1/repos/search", "/api/v1/repos/search", {"owner": "a"}, {}, b""),
        Request("PATCH", "/api/v1/repos/a/b", "/api/v1/repos/a/b", {}, {}, b'{"path": "c"}'),
    ):
        with pytest.raises((AssertionError, KeyError)):
            judge(asked, Reply(200, {}))


def test_a_clone_by_git_tells_the_same_story(server: Gitea, storage: GiteaStorage, tmp_path: Path) -> None:
    store = metastore.MetaStore(storage, author=ANN)
    first = store.dataset_create(CARS, {"title": "Größe"})
    tag = store.tag_create(CARS, "v1", first.revision.id, description="First")
    address = f"http://any:{TOKEN}@{server.url.removeprefix('http://')}/physics/cars.git"
    git("clone", "-q", address, tmp_path / "clone")
    assert git("-C", tmp_path / "clone", "fsck", "--strict", "--full") == ""
    assert git("-C", tmp_path / "clone", "rev-parse", "v1", "HEAD").split() == [tag.id, first.revision.id]


def test_a_write_costs_few_requests(server: Gitea, storage: GiteaStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    server.forget()
    storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert [call.rpartition("/")[2] for call in server.calls()][-2:] == ["git-receive-pack", "101"]
    assert len(server.seen) <= 4


def test_new_repositories_are_private_unless_they_are_to_be_public(server: Gitea, storage: GiteaStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    opened(server, private=False, description="Of {owner}, {name}").create(BOATS, {"a": b"1"}, change())
    cars, boats = server.repositories.values()
    assert (cars.facts["private"], boats.facts["private"]) == (True, False)
    assert boats.facts["description"] == "Of physics, boats"


def test_only_what_has_the_topic_is_listed(server: Gitea, storage: GiteaStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    mine = opened(server, topic="datasets")
    mine.create(BOATS, {"a": b"1"}, change())
    assert (list(mine.ids()), list(storage.ids())) == ([BOATS], [BOATS, CARS])


def test_a_users_own_repositories_are_a_store_for_that_user(tmp_path: Path) -> None:
    ours = DatasetId("ann", "cars")
    with Gitea(tmp_path / "own", "ann", in_process=True) as server:
        storage = opened(server, "ann")
        made = storage.create(ours, {"a": b"1"}, change())
        assert (list(storage.ids()), storage.resolve(ours, None)) == ([ours], made)
        assert "POST /api/v1/user/repos" in server.calls()
        with pytest.raises(StorageUnavailable, match=r"no organisation bob .* belongs to ann"):
            opened(server, "bob").ping()
        while OPENED:
            OPENED.pop().close()


@pytest.mark.parametrize("status", [301, 307])
def test_a_former_name_is_forwarded_until_somebody_takes_it(server: Gitea, storage: GiteaStorage, status: int) -> None:
    server.moved_status = status
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    for each in (storage, opened(server)):
        with pytest.raises(DatasetMoved) as caught:
            each.resolve(CARS, None)
        assert caught.value.new_id == BOATS
        assert each.resolve(BOATS, None) == first
    again = storage.create(CARS, {"a": b"2"}, change())
    assert opened(server).resolve(CARS, None) == again


@pytest.mark.parametrize("status", [301, 307])
def test_a_write_to_a_repository_that_somebody_renamed_meanwhile_changes_nothing(
    server: Gitea, storage: GiteaStorage, status: int
) -> None:
    server.moved_status = status
    first = storage.create(CARS, {"a": b"1"}, change())
    cars = server.repository("cars")
    assert cars
    fault = server.fault(lambda reply: reply, path="/git-receive-pack$")
    fault.before = lambda: server._rename(cars, "boats")
    with pytest.raises(MetastoreError):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert fault.struck
    assert opened(server).resolve(BOATS, None) == first


def test_a_repository_that_was_transferred_is_not_in_this_store(server: Gitea, storage: GiteaStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.fault(Reply(301, b"", {"Location": "/api/v1/repos/chemistry/cars"}), path="/repos/physics/cars$")
    there = {"id": 101, "full_name": "chemistry/cars", "updated_at": "2024-05-01T12:00:00Z"}
    server.fault(Reply(200, there), path="/repos/chemistry/cars$")
    with pytest.raises(DatasetNotFound, match="moved to chemistry/cars"):
        opened(server).resolve(CARS, None)


def test_a_page_to_sign_in_is_no_former_name(server: Gitea, storage: GiteaStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.fault(Reply(302, b"", {"Location": "/user/login"}), path="/repos/physics/cars$", times=9)
    with pytest.raises(StorageUnavailable, match="user/login"):
        opened(server).resolve(CARS, None)


def test_a_name_that_another_repository_took_meanwhile_is_given_back(server: Gitea, storage: GiteaStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    other = storage.create(BOATS, {"a": b"other"}, change())
    cars, boats = server.repository("cars"), server.repository("boats")
    assert cars
    assert boats

    def swap() -> None:
        cars.name, boats.name = "elsewhere", "cars"

    fault = server.fault(lambda reply: reply, method="PATCH", path="/repos/physics/cars$")
    fault.before = swap
    with pytest.raises(StorageBusy, match="replaced meanwhile"):
        storage.rename(CARS, SHIPS, parent=first.id)
    assert fault.struck
    assert (cars.name, boats.name) == ("elsewhere", "cars")
    assert opened(server).resolve(CARS, None) == other


def test_a_listing_misses_nothing_though_repositories_are_deleted_between_its_pages(
    server: Gitea, storage: GiteaStorage
) -> None:
    server.most_entries = 2
    names = [DatasetId("physics", f"d{number}") for number in range(7)]
    for each in names:
        storage.create(each, {"a": b"1"}, change())
    assert list(storage.ids()) == names
    for deleted in ("d0", "d3", "d6"):
        repository = server.repository(deleted)
        assert repository
        fault = server.fault(lambda reply: reply, path="/repos/search", skip=1)
        fault.before = lambda repository=repository: server._delete(repository)  # type: ignore[misc]
        names = [each for each in names if each.name != deleted]
        assert list(storage.ids()) == names
        assert fault.struck


@pytest.mark.parametrize("name", ["x.wiki", "x.rss", "x.atom", "metastore-tmp.x"])
def test_names_that_gitea_refuses_are_refused_before_anything_is_made(
    server: Gitea, storage: GiteaStorage, name: str
) -> None:
    with pytest.raises(InvalidInput):
        storage.create(DatasetId("physics", name), {"a": b"1"}, change())
    assert server.seen == []


def test_a_refusal_has_the_hosts_words_and_changes_nothing(server: Gitea, storage: GiteaStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    cars = server.repository("cars")
    assert cars
    cars.facts["archived"] = True
    with pytest.raises(PermissionDenied, match="This repo is archived"):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first


CALLS: dict[str, Callable[[GiteaStorage], object]] = {
    "read": lambda storage: storage.find(CARS, None, "a"),
    "list": lambda storage: list(storage.ids()),
    "issues": lambda storage: list(storage.issues(CARS)),
    "append": lambda storage: storage.append(CARS, {"a": b"2"}, change(), parent=storage.resolve(CARS, None).id),
    "tag": lambda storage: storage.tag_create(CARS, TagSpec("v1", storage.resolve(CARS, None).id, "", ANN, EPOCH)),
    "create": lambda storage: storage.create(BOATS, {"a": b"1"}, change()),
    "rename": lambda storage: storage.rename(CARS, SHIPS, parent=storage.resolve(CARS, None).id),
    "purge": lambda storage: storage.purge(SHIPS, parent=storage.resolve(SHIPS, None).id),
}


def assert_possible(server: Gitea, possible: set[str]) -> None:
    """Assert that these calls succeed and the others are refused, and that those leave nothing behind."""
    storage = opened(server)
    for name, call in CALLS.items():
        if name == "purge" and "rename" not in possible:
            continue
        if name in possible:
            call(storage)
        else:
            with pytest.raises((PermissionDenied, StorageUnavailable)):
                call(storage)
    known = {"cars", "boats", "ships", "metastore-own.moves"}
    assert {each.name for each in server.repositories.values()} <= known


READING = {"read", "list", "issues"}
#: What docs/howto/gitea.md says of teams.
ROLES = {
    "readers": READING,
    "writers": {*READING, "append", "tag"},
    "admins": {*READING, "append", "tag", "rename"},
    "owners": set(CALLS),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_what_the_documentation_says(server: Gitea, storage: GiteaStorage, role: str) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    storage._moves.note(CARS)
    if role != "owners":
        getattr(server, role).add("ann")
    assert_possible(server, ROLES[role])


#: What docs/howto/gitea.md says of scopes.
SCOPES = {
    "reading": ({"read:repository", "read:organization", "read:issue"}, READING),
    "without issues": ({"read:repository", "read:organization"}, READING - {"issues"}),
    "changing": (
        {"write:repository", "read:organization", "read:issue"},
        {*READING, "append", "tag", "rename", "purge"},
    ),
    "all": (ALL_SCOPES, set(CALLS)),
    "none": (set(), set()),
}


@pytest.mark.parametrize("case", SCOPES)
def test_a_token_can_do_what_its_scopes_say(server: Gitea, storage: GiteaStorage, case: str) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    storage._moves.note(CARS)
    scopes, possible = SCOPES[case]
    server.scopes = set(scopes)
    assert_possible(server, possible)


def test_a_purge_by_an_administrator_changes_nothing_and_says_what_is_missing(
    server: Gitea, storage: GiteaStorage
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage._moves.note(CARS)
    server.admins.add("ann")
    with pytest.raises(PermissionDenied, match="takes an owner's rights"):
        storage.purge(CARS, parent=first.id)
    assert opened(server).resolve(CARS, None) == first


def test_what_interrupted_purges_left_is_told_and_removed(server: Gitea, storage: GiteaStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    cars = server.repository("cars")
    assert cars
    cars.name, cars.updated = f"metastore-tmp.0.{first.id}", datetime.now(UTC) - timedelta(days=2)
    assert [each.kind for each in storage.verify()] == ["left-over-project"]
    assert [each.repaired for each in storage.verify(repair=True)] == [True]
    assert list(storage.verify()) == []
    assert server.repositories == {}


def test_issues_are_those_that_are_open(server: Gitea, storage: GiteaStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    cars = server.repository("cars")
    assert cars
    page = f"{server.external_url}/physics/cars/issues/"
    cars.issues = [
        {"number": number, "title": f"No {number}", "state": state, "html_url": f"{page}{number}"}
        for number, state in enumerate(["open", "closed"], 1)
    ]
    (found,) = storage.issues(CARS)
    assert (found.number, found.title, found.url) == (1, "No 1", f"{page}1")
    server.fault(Reply(404, {"message": "Not Found"}), path="/issues$")
    with pytest.raises(StorageError, match="not its issues"):
        list(storage.issues(CARS))
    cars.facts["has_issues"] = False
    assert list(storage.issues(CARS)) == []


def test_a_name_that_is_taken_by_what_nobody_shows_us_is_taken(server: Gitea, storage: GiteaStorage) -> None:
    server.fault(Reply(409, {"message": "The repository with the same name already exists."}), method="POST")
    with pytest.raises(AlreadyExists, match="physics/cars"):
        storage.create(CARS, {"a": b"1"}, change())
    server.fault(Reply(422, {"message": "name is reserved"}), method="POST", path="/repos$")
    with pytest.raises(InvalidInput, match="name is reserved"):
        storage.create(CARS, {"a": b"1"}, change())


def test_no_internal_exception_leaves_the_storage_where_a_name_is_refused_and_forwarded(
    server: Gitea, storage: GiteaStorage
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.rename(CARS, BOATS, parent=first.id)
    server.fault(Reply(422, {"message": "name is reserved"}), method="POST", path="/repos$")
    with pytest.raises(InvalidInput, match="name is reserved"):
        storage.create(CARS, {"a": b"1"}, change())


def test_a_server_below_a_path_of_its_host_is_named_with_it() -> None:
    storage = open_gitea("gitea://example.org/git/physics", token="x")
    assert [host.base for host in storage.hosts] == ["https://example.org/git/api/v1", "https://example.org/git"]
    assert storage.clone_template == "https://example.org/git/physics/{name}.git"
    storage.close()


@pytest.mark.parametrize(
    "url",
    [
        "gitea://physics",
        "gitea:///physics",
        "gitea://ann:secret@git.example.org/physics",
        "gitea://git.example.org/physics?token=secret",
        "gitea://git.example.org/git//physics",
        "gitea://git.example.org/_physics",
    ],
)
def test_a_url_that_names_no_owner_is_refused_and_shows_no_secret(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        metastore.connect(url, token="secret")
    assert "secret" not in str(caught.value)


def test_options_of_other_hosts_and_a_missing_token_are_refused() -> None:
    with pytest.raises(MetastoreError, match="no option 'app_id'"):
        metastore.connect("gitea://git.example.org/physics", token="x", app_id=1)
    with pytest.raises(InvalidInput, match="METASTORE_GITEA_TOKEN"):
        metastore.connect("gitea://git.example.org/physics")
    with pytest.raises(InvalidInput, match="/api/v1"):
        metastore.connect("gitea://git.example.org/physics", token="x", api_url="https://git.example.org/api")
