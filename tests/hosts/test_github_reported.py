"""GitHub as people report it to behave: late, limited, cut short, and refusing. The emulator names the reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import (
    InvalidInput,
    MetastoreError,
    PermissionDenied,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.storage.github.connect import open_github
from metastore.storage.github.storage import GitHubStorage
from metastore.types import DatasetId

from ..conftest import change
from ..test_storage_contract import tag_of
from .github import TOKEN, GitHub
from .judges import judge
from .server import Reply

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    with GitHub(tmp_path) as made:
        made.judges.append(judge)
        yield made
        while OPENED:
            OPENED.pop().close()


OPENED: list[GitHubStorage] = []


def opened(hub: GitHub, slept: list[float] | None = None) -> GitHubStorage:
    """Return a storage that notes how long it would sleep."""
    made = open_github("github://physics", token=TOKEN, api_url=hub.url)
    made.host._connection.sleep = ([] if slept is None else slept).append
    OPENED.append(made)
    return made


@pytest.fixture
def storage(hub: GitHub) -> GitHubStorage:
    return opened(hub)


@pytest.mark.parametrize("shown", [True, False])
def test_a_purge_that_github_refuses_says_which_permission_is_missing(
    hub: GitHub, storage: GitHubStorage, shown: bool
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    hub.no_delete.add(TOKEN)
    hub.deletion_shown = shown
    with pytest.raises(PermissionDenied, match="Administration"):
        storage.purge(CARS, parent=first.id)
    assert opened(hub).resolve(CARS, None) == first


@pytest.mark.parametrize("lag", [1, 2, 3, 5, 8])
def test_a_repository_that_github_does_not_know_everywhere_yet_is_waited_for(hub: GitHub, lag: int) -> None:
    slept: list[float] = []
    storage = opened(hub, slept)
    hub.lag = lag
    made = storage.create(CARS, {"a": b"1"}, change())
    assert slept
    assert storage.resolve(CARS, None) == made
    assert [each.name for each in hub.repositories.values()] == ["cars"]


def test_what_github_lists_late_is_listed_at_once_by_the_process_that_made_it(
    hub: GitHub, storage: GitHubStorage
) -> None:
    hub.list_lag = 100
    first = storage.create(CARS, {"a": b"1"}, change())
    assert list(storage.ids()) == [CARS]
    assert list(storage.ids(deleted=True)) == list(storage.ids(prefix="physics/d")) == list(opened(hub).ids()) == []
    storage.rename(CARS, BOATS, parent=first.id)
    assert list(storage.ids()) == [BOATS]
    storage.purge(BOATS, parent=first.id)
    assert list(storage.ids(deleted=None)) == []


def test_what_github_lists_late_is_in_the_feed_all_the_same(hub: GitHub, storage: GitHubStorage) -> None:
    hub.list_lag = 0
    storage.create(CARS, {"a": b"1"}, change())
    hub.list_lag = 1
    storage.create(BOATS, {"a": b"1"}, change())
    for name, age in (("cars", 3600), ("boats", 40)):
        made = hub.find("physics", name)
        assert made
        made.created = made.pushed = made.updated = datetime.now(UTC) - timedelta(seconds=age)
    reader = opened(hub)
    ((cursor, listed),) = reader.touched(None)
    assert listed == CARS
    assert [dataset_id for _, dataset_id in reader.touched(cursor)] == [BOATS]


def test_a_repository_that_stays_unknown_right_after_it_was_made_is_asked_for_again(hub: GitHub) -> None:
    slept: list[float] = []
    storage = opened(hub, slept)
    made = storage.create(CARS, {"a": b"1"}, change())
    next(iter(hub.repositories.values())).unknown_for = 4
    assert storage.resolve(CARS, None) == made
    assert slept


def test_a_repository_that_never_comes_leaves_nothing_behind(hub: GitHub) -> None:
    storage = opened(hub)
    hub.fault(Reply(404, {"message": "Not Found"}), path="/git/", times=10_000)
    with pytest.raises(StorageBusy, match="not ready"):
        storage.create(CARS, {"a": b"1"}, change())
    assert not hub.repositories


@pytest.mark.parametrize(
    "answer",
    [
        {
            "errors": [
                {"type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": "API rate limit already exceeded"}
            ]
        },
        {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]},
        {"message": "You have exceeded a secondary rate limit", "documentation_url": "https://docs/rest/rate-limits"},
    ],
    ids=str,
)
def test_a_limit_that_comes_with_status_200_is_waited_for(hub: GitHub, answer: dict[str, Any]) -> None:
    first = opened(hub).create(CARS, {"a": b"1"}, change())
    storage, waits = opened(hub), list[float]()
    now = storage.host._clock()
    storage.host._clock, storage.host.waiting = lambda: now + sum(waits), waits.append
    fault = hub.fault(Reply(200, answer, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(now) + 30)}))
    assert storage.resolve(CARS, None) == first
    assert fault.struck == 1
    assert 25 < sum(waits) < 35


def test_a_file_that_speaks_of_limits_is_no_limit(hub: GitHub, storage: GitHubStorage) -> None:
    content = b'{"errors": [{"type": "RATE_LIMITED"}]}' + b" " * 600_000
    first = storage.create(CARS, {"a": content}, change())
    assert opened(hub).read(CARS, first.id, "a") == content


def test_a_tree_that_is_told_in_part_is_refused(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, dict.fromkeys("abcd", b"1"), change())
    hub.longest_tree = 3
    hub.fault(_without_entries, path="graphql", times=99)
    with pytest.raises(StorageUnavailable, match="only a part of the tree"):
        opened(hub).paths(CARS, first.id)


def test_a_tree_that_is_another_one_is_refused(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, dict.fromkeys("abcd", b"1"), change())
    hub.fault(_without_entries, path="graphql", times=99)
    tree = opened(hub)
    hub.fault(lambda reply: Reply(200, {**reply.body, "tree": reply.body["tree"][:3]}), path="/git/trees/", times=99)
    with pytest.raises(StorageUnavailable, match="gave another tree"):
        tree.paths(CARS, first.id)


def _without_entries(reply: Reply) -> Reply:
    """Return an answer of GraphQL that tells of each tree only its first entry."""

    def cut(value: Any) -> Any:
        if isinstance(value, list):
            return [cut(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: cut(below[:1] if name == "entries" else below) for name, below in value.items()}

    return Reply(reply.status, cut(reply.body), reply.headers)


def test_a_name_that_github_keeps_for_itself_is_refused_before_anything_is_made(
    hub: GitHub, storage: GitHubStorage
) -> None:
    hub.forget()
    with pytest.raises(InvalidInput, match=r"no repository can be called cars\.wiki"):
        storage.create(DatasetId("physics", "cars.wiki"), {"a": b"1"}, change())
    assert hub.seen == []


def test_a_repository_that_cannot_be_deleted_at_once_is_not_left_behind(hub: GitHub) -> None:
    hub.fault(Reply(422, {"message": "Invalid tree info"}), path="/git/trees")
    hub.undeletable = 2
    with pytest.raises(StorageError, match="Invalid tree info"):
        opened(hub).create(CARS, {"a": b"1"}, change())
    assert not hub.repositories


@pytest.mark.parametrize("words", ["Changes must be made through a pull request.", "Cannot force-push to this branch"])
def test_a_ruleset_that_refuses_is_told_with_its_words(hub: GitHub, storage: GitHubStorage, words: str) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    hub.rules = words
    with pytest.raises(PermissionDenied, match=words):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(MetastoreError, match=words):
        storage.create(DatasetId("physics", "boats"), {"a": b"2"}, change())
    assert [each.name for each in hub.repositories.values()] == ["cars"]
    assert opened(hub).resolve(CARS, None) == first


def test_an_archived_repository_is_read_and_its_changes_are_refused(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    next(iter(hub.repositories.values())).archived = True
    for call in (
        lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: storage.rename(CARS, DatasetId("physics", "boats"), parent=first.id),
        lambda: storage.tag_create(CARS, tag_of("v1", first.id)),
    ):
        with pytest.raises(PermissionDenied, match="archived"):
            call()
    assert opened(hub).read(CARS, first.id, "a") == b"1"


def test_many_files_and_much_text_go_in_several_requests(hub: GitHub, storage: GitHubStorage) -> None:
    many = {f"d/{number}": b"%d" % number for number in range(600)}
    first = storage.create(CARS, {**many, "z": b"1"}, change())
    assert len(storage.paths(CARS, first.id)) == 601
    much = {f"large/{number}": bytes([97 + number]) * 250_000 for number in range(15)}
    removed: dict[str, Any] = dict.fromkeys(many)
    second = storage.append(CARS, {**much, **removed}, change(), parent=first.id)
    assert set(opened(hub).paths(CARS, second.id)) == {*much, "z"}
    last = storage.append(CARS, {**dict.fromkeys(much), "z": None, "a": b"2"}, change(), parent=second.id)
    assert set(opened(hub).paths(CARS, last.id)) == {"a"}


#: The table of docs/howto/github.md: what a token may, and which calls it can make.
TOKENS: dict[str, tuple[dict[str, str], set[str]]] = {
    "to read": ({"contents": "read", "issues": "read"}, {"read", "issues"}),
    "to change": ({"contents": "write"}, {"read", "append", "tag"}),
    "all": (
        {"contents": "write", "administration": "write", "issues": "read"},
        {"read", "issues", "append", "tag", "create", "rename", "purge"},
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_fine_grained_token_can_do_what_the_documentation_says(
    hub: GitHub, storage: GitHubStorage, name: str
) -> None:
    given, able = TOKENS[name]
    first = storage.create(CARS, {"a": b"1"}, change())
    boats, ships = DatasetId("physics", "boats"), DatasetId("physics", "ships")
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: storage.read(CARS, first.id, "a"),
        "issues": lambda: list(storage.issues(CARS)),
        "append": lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        "tag": lambda: storage.tag_create(CARS, tag_of("v1", first.id)),
        "create": lambda: storage.create(boats, {"a": b"1"}, change()),
        "rename": lambda: storage.rename(CARS, ships, parent=storage.resolve(CARS, None).id),
        "purge": lambda: storage.purge(ships, parent=storage.resolve(ships, None).id),
    }
    hub.permissions[TOKEN] = given
    for call in [each for each in calls if each != "purge" or "rename" in able]:
        if call in able:
            calls[call]()
        else:
            with pytest.raises(PermissionDenied):
                calls[call]()
    assert not [each for each in hub.repositories.values() if each.name.startswith("metastore-tmp")]


def test_a_refusal_names_the_permission_that_is_missing(hub: GitHub, storage: GitHubStorage) -> None:
    hub.permissions[TOKEN] = {"contents": "write"}
    with pytest.raises(PermissionDenied, match="the token needs administration=write"):
        storage.create(CARS, {"a": b"1"}, change())


def test_pages_that_lead_to_themselves_end_with_an_error(hub: GitHub, storage: GitHubStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())

    def circle(reply: Reply) -> Reply:
        again = {"hasNextPage": True, "endCursor": "1"}
        repositories = {**reply.body["data"]["repositoryOwner"]["repositories"], "pageInfo": again}
        return Reply(200, {"data": {"repositoryOwner": {"repositories": repositories}}}, reply.headers)

    hub.fault(circle, body="query List", times=99)
    with pytest.raises(StorageUnavailable, match="in a circle"):
        list(storage.ids())
