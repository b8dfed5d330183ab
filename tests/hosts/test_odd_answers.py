"""Answers that do not say what was asked: never taken for done or for not there, and never a crash.

Proxies, limits and outages answer 200 with something else; an answer may lack any field, and may come after the host
has carried the request out. Every call on a storage meets each of these at each of its requests.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import DatasetNotFound, MetastoreError, NotFound, OutcomeUnknown, StorageError, StorageUnavailable
from metastore.storage.port import Storage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change
from ..processes import SOAK
from .git_server import GitServer
from .gitea import Gitea
from .github import GitHub
from .server import HostServer, Reply
from .worlds import KINDS, open_on

_LIMIT = {"message": "You have exceeded a secondary rate limit", "documentation_url": "https://d/rest/rate-limits"}
_NULLS = {"data": {"repository": None, "repositoryOwner": None, "updateRefs": None}}
_HTML = {"Content-Type": "text/html"}

#: In place of the real answer; the request is not carried out.
ODD: dict[str, Reply] = {
    "an empty object": Reply(200, {}),
    "null": Reply(200, b"null"),
    "an empty list": Reply(200, []),
    "a text": Reply(200, b'"hello"'),
    "no data": Reply(200, {"data": None}),
    "nulls": Reply(200, _NULLS),
    "a limit": Reply(200, _LIMIT),
    "a typed limit": Reply(200, {"errors": [{"type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": "m"}]}),
    "errors of another form": Reply(200, {"errors": "no"}),
    "a page to sign in": Reply(200, b"<html>Sign in</html>", _HTML),
    "nothing": Reply(200, b"", _HTML),
    "204": Reply(204),
    "304": Reply(304),
    "301 to nowhere": Reply(301),
    "302": Reply(302, b"", {"Location": "https://login.example.org/"}),
    "307 to the same host": Reply(307, b"", {"Location": "/user/login"}),
    "400": Reply(400, {"message": "m"}),
    "403": Reply(403, {"message": "m"}),
    "403 in HTML": Reply(403, b"<html>Forbidden</html>", _HTML),
    "429": Reply(429),
    "429 for a while": Reply(429, {"message": 5}, {"Retry-After": "5"}),
    "500": Reply(500, b"<html>Oops</html>", _HTML),
    "502": Reply(502, b"<html>Bad Gateway</html>", _HTML),
    "503 in JSON": Reply(503, {"message": "Maintenance"}, {"Retry-After": "3600"}),
}


class Place:
    """A host, and storages on it whose time does not pass."""

    def __init__(self, hub: HostServer) -> None:
        self.hub = hub
        self.slept: list[float] = []
        self.opened: list[Any] = []

    def open(self) -> Storage:
        self.opened.append(open_on(self.hub, self.slept))
        return self.opened[-1]  # type: ignore[no-any-return]

    def make_room(self, dataset_id: DatasetId) -> None:
        """Make the empty repositories that Git alone needs, for a dataset and for what is made beside it."""
        if isinstance(self.hub, GitServer):
            for each in (dataset_id, _other(dataset_id)):
                self.hub.make(f"{each}.git")

    def close(self) -> None:
        for each in self.opened:
            each.close()
        self.opened.clear()


BEYOND_GIT = {"ids", "issues", "touched", "verify", "rename", "purge"}
#: What Gitea's own API answers; the rest is Git's, as on GitLab.
OF_GITEA = {"resolve", "ids", "issues", "touched", "verify", "create", "rename", "purge"}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with KINDS[request.param](tmp_path) as hub:
        hub.list_lag = 0  # a storage looks for what another one made
        made = Place(hub)
        yield made
        made.close()


CARS = DatasetId("physics", "cars")
MOST: dict[str, bytes] = {"a": b"1", "datapackage.json": b"{}", "d/b": b"2"}

READS: dict[str, Callable[[Storage], Any]] = {
    "resolve": lambda storage: storage.resolve(CARS, None),
    "resolve a tag": lambda storage: storage.resolve(CARS, "v1"),
    "find": lambda storage: storage.find(CARS, None, "a"),
    "read": lambda storage: storage.read(CARS, storage.resolve(CARS, None).id, "d/b"),
    "paths": lambda storage: storage.paths(CARS, storage.resolve(CARS, None).id),
    "history": lambda storage: list(storage.history(CARS, storage.resolve(CARS, None).id, path="d/b")),
    "tag": lambda storage: storage.tag(CARS, "v1"),
    "tags": lambda storage: list(storage.tags(CARS)),
    "ids": lambda storage: list(storage.ids(deleted=None)),
    "issues": lambda storage: list(storage.issues(CARS)),
    "touched": lambda storage: [each for _, each in storage.touched(None)],
    "verify": lambda storage: list(storage.verify()),
}

Write = Callable[[Storage, DatasetId, str], Any]


def _spec(dataset_id: DatasetId, name: str, head: str, text: str = "") -> TagSpec:
    return TagSpec(name, head, text, ANN, EPOCH)  # type: ignore[arg-type]


WRITES: dict[str, Write] = {
    "create": lambda storage, at, head: storage.create(_other(at), MOST, change()),
    "append": lambda storage, at, head: storage.append(at, {"a": b"2"}, change(), parent=head),  # type: ignore[arg-type]
    "rename": lambda storage, at, head: storage.rename(at, _other(at), parent=head),  # type: ignore[arg-type]
    "purge": lambda storage, at, head: storage.purge(at, parent=head),  # type: ignore[arg-type]
    "tag_create": lambda storage, at, head: storage.tag_create(at, _spec(at, "v2", head)),
    "tag_update": lambda storage, at, head: storage.tag_update(at, "v1", _spec(at, "v3", head), expected=FIRST_TAG),
    "tag_delete": lambda storage, at, head: storage.tag_delete(at, "v1", expected=FIRST_TAG),
}


def _other(dataset_id: DatasetId) -> DatasetId:
    return DatasetId(dataset_id.owner, f"{dataset_id.name}-2")


def cases(calls: Iterable[str]) -> list[tuple[str, str]]:
    """Return each host with each call that it has; outside the soak, of Gitea its own ones."""
    left_out = {"git+https": BEYOND_GIT, "gitea": set() if SOAK else {*READS, *WRITES} - OF_GITEA}
    return [(host, call) for host in KINDS for call in calls if call not in left_out.get(host, ())]


def prepared(storage: Storage, dataset_id: DatasetId) -> str:
    first = storage.create(dataset_id, MOST, change())
    storage.tag_create(dataset_id, _spec(dataset_id, "v1", first.id, "First"))
    return first.id


def told(storage: Storage, dataset_id: DatasetId) -> list[Any]:
    found: list[Any] = []
    for each in (dataset_id, _other(dataset_id)):
        try:
            found.append((storage.resolve(each, None).id, {tag.name: tag.id for tag in storage.tags(each)}))
        except DatasetNotFound:
            found.append(None)
    return found


FIRST_TAG = ""


@pytest.fixture(autouse=True)
def _first_tag() -> None:
    global FIRST_TAG  # the same for every dataset: what a tag's object says does not depend on its dataset
    from metastore.storage.memory import MemoryStorage

    memory = MemoryStorage()
    prepared(memory, CARS)
    FIRST_TAG = memory.tag(CARS, "v1").id


def without(name: str) -> Callable[[Reply], Reply]:
    """Return what removes a field from an answer, wherever it is."""

    def removed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: removed(below) for key, below in value.items() if key != name}
        return [removed(each) for each in value] if isinstance(value, list) else value

    def changed(reply: Reply) -> Reply:
        return Reply(reply.status, removed(reply.body), reply.headers)

    return changed


def wrong(name: str) -> Callable[[Reply], Reply]:
    """Return what gives a field of an answer a value of another type, wherever it is."""

    def other(value: Any) -> Any:
        return {"odd": 1} if isinstance(value, str | None) else "odd"

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: other(below) if key == name else changed(below) for key, below in value.items()}
        return [changed(each) for each in value] if isinstance(value, list) else value

    return lambda reply: Reply(reply.status, changed(reply.body), reply.headers)


def cut_short(reply: Reply) -> Reply:
    """Return half of an answer, as a proxy may cut it that counts what it sends."""
    kind = {"Content-Type": reply.headers.get("Content-Type", "application/json")}
    return Reply(reply.status, reply.content[: len(reply.content) // 2], {**reply.headers, **kind})


def keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys, value))
    return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()


def distort(replies: list[Reply]) -> Iterator[tuple[int, str, Any]]:
    """Yield what is to go wrong: the number of a request, a name for it, and the fault."""
    for number, reply in enumerate(replies):
        for name, odd in ODD.items():
            if type(odd.body) is not type(reply.body) or not isinstance(odd.body, list):  # an empty list is a list
                yield number, name, odd
        for name in sorted(keys(reply.body) if not isinstance(reply.body, bytes) else ()):
            yield number, f"no {name}", without(name)
            yield number, f"another {name}", wrong(name)
        if len(reply.content) > 4:
            yield number, "half", cut_short


def some(faults: Iterator[Any], count: int, place: Place) -> list[Any]:
    """Return `count` of the faults, the same each time, or fewer for a host that is much like another.

    In the soak, return all of them.
    """
    every = list(faults)
    if type(place.hub) in (Gitea, GitServer):
        count = (count + 3) // 4
    return every if SOAK or len(every) <= count else random.Random(len(every)).sample(every, count)


@pytest.mark.parametrize(("place", "name"), cases(READS), indirect=["place"])
def test_a_read_is_right_or_an_error_of_the_host(name: str, place: Place) -> None:
    place.make_room(CARS)
    prepared(place.open(), CARS)
    place.hub.forget()
    expected = json.dumps(READS[name](place.open()), default=str)
    replies = [reply for _, reply in place.hub.seen]
    assert replies
    for number, what, kind in some(distort(replies), 14, place):
        place.hub.faults.clear()
        place.hub.fault(kind, skip=number, times=10_000)
        where = f"{name}, request {number}, {what}"
        try:
            actual = json.dumps(READS[name](place.open()), default=str)
        except NotFound as error:
            raise AssertionError(where) from error
        except MetastoreError:
            continue
        except Exception as error:
            raise AssertionError(where) from error
        finally:
            place.close()
        assert actual == expected, where


@pytest.mark.parametrize(("place", "name"), cases(WRITES), indirect=["place"])
def test_a_write_is_done_or_not_done_and_never_said_to_be_otherwise(name: str, place: Place) -> None:
    numbers = itertools.count()

    def fresh() -> tuple[DatasetId, str]:
        dataset_id = DatasetId("physics", f"cars{next(numbers)}")
        place.make_room(dataset_id)
        return dataset_id, prepared(place.open(), dataset_id)

    dataset_id, head = fresh()
    before = told(place.open(), dataset_id)
    place.hub.forget()
    WRITES[name](place.open(), dataset_id, head)
    replies = [reply for _, reply in place.hub.seen]
    after = told(place.open(), dataset_id)
    assert after != before
    for number, what, kind in some(distort(replies), 7, place):
        dataset_id, head = fresh()
        place.hub.fault(kind, skip=number, times=10_000)
        where = f"{name}, request {number}, {what}"
        allowed = [after]
        try:
            WRITES[name](place.open(), dataset_id, head)
        except OutcomeUnknown:
            allowed = [before, after]
        except NotFound as error:
            raise AssertionError(where) from error
        except MetastoreError:
            allowed = [before]
        except Exception as error:
            raise AssertionError(where) from error
        place.hub.faults.clear()
        assert told(place.open(), dataset_id) in allowed, where
        place.close()


def test_an_answer_of_graphql_that_names_no_reference_moves_none(tmp_path: Path) -> None:
    with GitHub(tmp_path) as hub:
        place = Place(hub)
        head = prepared(place.open(), CARS)
        fault = hub.fault(Reply(200, {"data": {"updateRefs": None}}), body="updateRefs", times=10_000)
        with pytest.raises(StorageError):
            place.open().append(CARS, {"a": b"2"}, change(), parent=head)  # type: ignore[arg-type]
        assert fault.struck
        assert place.open().resolve(CARS, None).id == head
        place.close()


def test_an_error_of_graphql_whose_type_is_no_text_is_one_of_the_host(tmp_path: Path) -> None:
    with GitHub(tmp_path) as hub:
        place = Place(hub)
        hub.fault(Reply(200, {"errors": [{"type": {"name": "FORBIDDEN"}, "message": "no"}]}), times=10_000)
        with pytest.raises(StorageUnavailable, match="no"):
            place.open().resolve(CARS, None)
        place.close()
