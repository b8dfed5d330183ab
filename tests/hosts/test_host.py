"""The HTTP client of the hosts: limits, retries, pages, redirects, errors, and tokens that stay secret."""

from __future__ import annotations

import gzip
import logging
import pickle
import sys
import tracemalloc
from collections.abc import Iterator
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
from metastore.http import responses
from metastore.http.client import Host
from metastore.http.credentials import Nobody, Token, check_base
from metastore.http.responses import Redirected, Response, ResponseLost

from ..processes import in_child
from .server import CUTS, Fault, HostServer, Reply, Request

SECRET = "ghp_0123456789abcdef"


class Echo(HostServer):
    """Answers what was asked."""

    pages = 3

    def answer(self, request: Request) -> Reply:
        if self.who(request) is None:
            return Reply(401, {"message": "Bad credentials"})
        if request.path == "/gone":
            return Reply(404, {"message": "Not Found"})
        if request.path == "/moved":
            return Reply(301, {"message": "Moved Permanently"}, {"Location": "/elsewhere"})
        if request.path == "/pages":
            number = int(request.query.get("page", 1))
            link = f'<{self.url}/pages?page={number + 1}&per_page=2>; rel="next", <{self.url}/pages?page=3>; rel="last"'
            return Reply(200, number, {"Link": link} if number < self.pages else {})
        return Reply(200, {"method": request.method, "path": request.raw_path, "body": request.json()})


@pytest.fixture
def server() -> Iterator[Echo]:
    with Echo() as made:
        made.tokens[SECRET] = "ann"
        yield made


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(server: Echo, clock: Clock) -> Iterator[Host]:
    made = Host(server.url, Token(SECRET), sleep=clock.sleep, clock=clock, timeout=5)
    yield made
    made.close()


def test_a_call_returns_what_the_host_answered(host: Host) -> None:
    answer = host.call("POST", "/a%2Fb", body={"x": "ä"})
    assert answer.json() == {"method": "POST", "path": "/a%2Fb", "body": {"x": "ä"}}
    assert answer.headers["content-type"].startswith("application/json")


def test_pages_are_followed_one_at_a_time(host: Host, server: Echo) -> None:
    pages = host.pages("/pages", query={"per_page": 2})
    assert next(pages).json() == 1
    assert len(server.seen) == 1
    assert [page.json() for page in pages] == [2, 3]


def test_pages_that_lead_in_a_circle_end_with_an_error(host: Host, server: Echo) -> None:
    server.fault(Reply(200, [], {"Link": f'<{server.url}/pages?page=2>; rel="next"'}), path="/pages", times=99, skip=1)
    with pytest.raises(StorageUnavailable, match="in a circle"):
        list(host.pages("/pages"))


def test_pages_without_end_are_given_up(host: Host, server: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MOST_PAGES", 1)
    with pytest.raises(StorageUnavailable, match="more than 1 pages"):
        list(host.pages("/pages"))


def test_an_answer_of_too_many_values_is_not_parsed() -> None:
    def answer(content: bytes) -> Response:
        return Response("", 200, {}, content)

    many = b"[" + b"[]," * responses.MOST_VALUES + b"[]]"
    with pytest.raises(StorageUnavailable, match="more than 2000000 values"):
        answer(many).json()
    assert answer(many).message() == ""
    assert answer(b'["' + many + b'"]').json() == [many.decode()]


def test_a_page_under_another_name_of_the_host_is_asked_for_under_ours(host: Host, server: Echo) -> None:
    server.fault(Reply(200, 1, {"Link": '<https://git.example.org/pages?page=3>; rel="next"'}))
    assert [page.json() for page in host.pages("/pages")] == [1, 3]
    assert server.calls() == ["GET /pages", "GET /pages"]


def test_a_page_outside_of_the_api_is_not_asked_for(server: Echo) -> None:
    host = Host(f"{server.url}/api/v4", Token(SECRET))
    server.fault(Reply(200, [], {"Link": '<http://127.0.0.1:1/pages>; rel="next"'}))
    with pytest.raises(StorageUnavailable, match="outside"):
        list(host.pages("/pages"))
    assert len(server.seen) == 1
    host.close()


def test_a_redirect_is_not_followed(host: Host, server: Echo) -> None:
    with pytest.raises(Redirected) as caught:
        host.call("GET", "/moved")
    assert caught.value.location == f"{server.url}/elsewhere"
    assert server.calls() == ["GET /moved"]


@pytest.mark.parametrize(
    "answer",
    [
        Reply(429, {"message": "m"}, {"Retry-After": "7"}),
        Reply(403, {"message": "m"}, {"Retry-After": "7"}),
        Reply(403, {"message": "m"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000007"}),
        Reply(429, {"message": "m"}, {"RateLimit-Remaining": "0", "RateLimit-Reset": "1700000007"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_limit_is_waited_for(host: Host, server: Echo, clock: Clock, answer: Reply, method: str) -> None:
    server.fault(answer)
    assert host.call(method, "/x").status == 200
    assert clock.slept == [7.0]
    assert len(server.seen) == 2


def test_who_shows_a_wait_does_the_waiting(host: Host, server: Echo, clock: Clock) -> None:
    shown: list[float] = []
    host.waiting = shown.append
    server.fault(Reply(429, {}, {"Retry-After": "7"}))
    assert host.call("GET", "/x").status == 200
    assert (shown, clock.slept) == ([7.0], [])


def test_a_secondary_limit_that_names_no_time_is_left_alone_for_a_minute(
    host: Host, server: Echo, clock: Clock
) -> None:
    server.fault(Reply(403, {"message": "m", "documentation_url": "https://docs.example/secondary-rate-limits"}))
    assert host.call("GET", "/x").status == 200
    assert clock.slept == [60.0]


def test_a_limit_longer_than_our_patience_is_an_error_at_once(host: Host, server: Echo, clock: Clock) -> None:
    server.fault(Reply(429, {}, {"Retry-After": "3000"}))
    for _ in range(2):  # the second does not even ask
        with pytest.raises(StorageBusy, match="in 3000 seconds"):
            host.call("GET", "/x")
    assert (clock.slept, len(server.seen)) == ([], 1)


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "999999999"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 400}],
    ids=["years", "for ever"],
)
def test_a_host_that_names_an_absurd_limit_is_asked_again_after_a_day(
    host: Host, server: Echo, clock: Clock, headers: dict[str, str]
) -> None:
    server.fault(Reply(429, {}, headers))
    with pytest.raises(StorageBusy, match="try again in 86400 seconds"):
        host.call("GET", "/a")
    clock.now += 86_401
    assert host.call("GET", "/a").status == 200


def test_limits_that_never_end_use_up_the_patience(host: Host, server: Echo, clock: Clock) -> None:
    server.fault(Reply(429, {}, {"Retry-After": "40"}), times=9)
    with pytest.raises(StorageBusy):
        host.call("GET", "/x")
    assert clock.slept == [40.0, 40.0]


def test_a_403_without_a_limit_is_a_refusal(host: Host, server: Echo, clock: Clock) -> None:
    server.fault(Reply(403, {"message": "Must have admin rights", "documentation_url": "https://docs.example/repos"}))
    with pytest.raises(PermissionDenied, match="Must have admin rights"):
        host.call("DELETE", "/x")
    assert clock.slept == []


@pytest.mark.parametrize("kind", [*CUTS, Reply(502), Reply(503, b"<html>")], ids=str)
def test_what_may_be_repeated_is_repeated(host: Host, server: Echo, kind: Any) -> None:
    fault = server.fault(kind)
    assert host.call("GET", "/x").status == 200
    server.fault(kind)
    assert host.call("POST", "/x", repeatable=True).status == 200
    assert fault.struck == 1


@pytest.mark.parametrize("kind", [*CUTS, Reply(502), Reply(500)], ids=str)
def test_a_change_whose_answer_is_lost_is_not_sent_twice(host: Host, server: Echo, kind: Any) -> None:
    fault = server.fault(kind)
    with pytest.raises(ResponseLost):
        host.call("POST", "/x")
    assert fault.struck == 1
    assert len(server.seen) <= 1


def test_a_host_that_stays_away_is_unavailable(host: Host, server: Echo, clock: Clock) -> None:
    server.fault("cut-before", times=99)
    with pytest.raises(StorageUnavailable, match="gave no whole response"):
        host.call("GET", "/x")
    assert len(clock.slept) == 3


def test_a_change_that_was_never_sent_is_no_unknown_outcome(clock: Clock) -> None:
    host = Host("http://127.0.0.1:1", Token(SECRET), sleep=clock.sleep)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        host.call("POST", "/x")


def test_a_slow_host_is_given_up(server: Echo, clock: Clock) -> None:
    host = Host(server.url, Token(SECRET), sleep=clock.sleep, timeout=0.05)
    held: Fault = server.fault("held")
    with pytest.raises(ResponseLost, match="does not answer in time"):
        host.call("POST", "/x")
    held.release()
    host.close()


def test_other_answers_are_errors_or_the_callers_to_handle(host: Host) -> None:
    assert host.call("GET", "/gone", handled=(404,)).status == 404
    with pytest.raises(StorageError, match="answered 404 to GET /gone: Not Found"):
        host.call("GET", "/gone")


def test_a_page_of_a_proxy_is_no_answer(host: Host, server: Echo) -> None:
    server.fault(Reply(200, b"<html>Please log in</html>"))
    with pytest.raises(StorageUnavailable, match="no JSON"):
        host.call("GET", "/x").json()


# Answers without end


@pytest.fixture
def brief(server: Echo, clock: Clock) -> Iterator[Host]:
    """Return a host of which no long answers are read."""
    made = Host(server.url, Token(SECRET), sleep=clock.sleep, clock=clock, timeout=5, longest=100_000)
    yield made
    made.close()


def packed(content: bytes) -> Reply:
    return Reply(200, content, {"Content-Encoding": "gzip"})


def test_an_answer_without_end_is_refused_and_not_asked_for_again(brief: Host, server: Echo, clock: Clock) -> None:
    server.fault("endless", times=9)
    for options in ({}, {"method": "POST", "repeatable": True}):
        with pytest.raises(StorageUnavailable, match="answers with more than 100000 bytes"):
            brief.call(**{"method": "GET", "path": "/x", **options})
    assert (len(server.seen), clock.slept) == (2, [])


def test_a_change_with_an_answer_without_end_may_have_been_made(brief: Host, server: Echo) -> None:
    server.fault("endless", times=9)
    with pytest.raises(ResponseLost, match="more than 100000 bytes"):
        brief.call("POST", "/x")
    assert len(server.seen) == 1


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked(brief: Host, server: Echo) -> None:
    server.fault(packed(gzip.compress(b" " * 80_000_000)), times=9)
    tracemalloc.start()
    try:
        with pytest.raises(StorageUnavailable, match="more than 100000 bytes"):
            brief.call("GET", "/x")
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (packed(gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 100_000), "more than 100000 bytes"),  # unpacks to nothing
        (packed(gzip.compress(b"x" * 1000)[:-9]), "cut short"),
        (packed(b"{}"), "not compressed as it says"),
        (Reply(200, b"{}", {"Content-Encoding": "br"}), "nobody asked for: 'br'"),
        (Reply(200, gzip.compress(gzip.compress(b"{}")), {"Content-Encoding": "gzip, gzip"}), "nobody asked for"),
    ],
)
def test_an_answer_that_is_packed_wrongly_is_refused(brief: Host, server: Echo, reply: Reply, said: str) -> None:
    server.fault(reply, times=9)
    with pytest.raises(StorageUnavailable, match=said):
        brief.call("GET", "/x")
    assert len(server.seen) == 1


def test_an_answer_that_is_packed_is_read(brief: Host, server: Echo) -> None:
    server.fault(packed(gzip.compress(b'{"a": 1}')))
    assert brief.call("GET", "/x").json() == {"a": 1}
    server.fault(Reply(304, None, {"Content-Encoding": "gzip"}))
    assert brief.call("GET", "/x").content == b""


def test_an_answer_as_long_as_it_may_be_is_read(brief: Host, server: Echo) -> None:
    server.fault(Reply(200, b" " * 100_000))
    assert len(brief.call("GET", "/x").content) == 100_000


def test_an_answer_nested_beyond_reading_is_no_json(host: Host, server: Echo) -> None:
    for status in (200, 403, 418):
        server.fault(Reply(status, b"[" * 200_000))
        with pytest.raises((StorageError, PermissionDenied), match=r"no JSON|does not allow|answered 418"):
            host.call("GET", "/x").json()


def test_a_wrong_token_is_said_and_never_shown(server: Echo, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = Token("wrong-and-secret")
    host = Host(server.url, token)
    with pytest.raises(StorageUnavailable, match="does not accept the token: Bad credentials") as caught:
        host.call("GET", "/x")
    with pytest.raises(TypeError):
        pickle.dumps(token)
    assert caplog.records
    for text in (str(caught.value), repr(caught.value), repr(token), repr(host), caplog.text):
        assert "wrong-and-secret" not in text
    host.close()


def test_credentials_that_can_be_renewed_are_renewed_once(server: Echo) -> None:
    class Renewed(Token):
        times = 0

        def renew(self) -> bool:
            self.times += 1
            self._headers = Token(SECRET)._headers
            return True

    host = Host(server.url, Renewed("old"))
    assert host.call("POST", "/x").status == 200
    assert server.calls() == ["POST /x", "POST /x"]
    host.close()


@pytest.mark.parametrize("token", ["two words", "new\nline", "ümlaut"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Token(token)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://example.org", "https://t:s@example.org", "https://", "https://x/?a", "https://[x"]
)
def test_a_token_goes_nowhere_unencrypted(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_base(url, Token("secret"))


def test_without_a_token_an_address_may_be_unencrypted() -> None:
    assert check_base("http://example.org/", Nobody()) == "http://example.org"


def test_a_forked_child_opens_its_own_connections(host: Host, server: Echo) -> None:
    host.call("GET", "/x")
    assert in_child(lambda: host.call("GET", "/from-the-child")) == 0
    assert host.call("GET", "/x").status == 200
    assert [call for call in server.calls() if "child" in call] == ["GET /from-the-child"]


def test_a_missing_package_is_named_by_the_extra_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for extra in ("github", "gitlab"):
        with pytest.raises(InvalidInput, match=rf"\[{extra}\]"):
            Host("https://git.example.org", Token("x"), extra=extra).call("GET", "/")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(403, b"You are not allowed\nto push code.\n", {"Content-Type": "text/plain"}), "allowed to push code"),
        (Reply(403, {"error": "insufficient_scope", "error_description": "more privileges"}), "scope; more privileges"),
        (Reply(422, {"message": "Invalid", "errors": [{"message": "too long"}, "odd"]}), "Invalid; too long; odd"),
        (Reply(400, {"message": {"path": ["is reserved"]}}), "is reserved"),
    ],
)
def test_a_refusal_has_the_hosts_words(host: Host, server: Echo, reply: Reply, words: str) -> None:
    server.fault(reply)
    with pytest.raises(MetastoreError, match=words):
        host.call("GET", "/")


@pytest.mark.parametrize(("count", "hours"), [(8, 0), (9, 1 / 60), (50, 6 / 60), (51, 1), (120, 2)])
def test_a_slow_host_is_sent_so_many_changes_a_minute_and_an_hour(
    server: Echo, clock: Clock, count: int, hours: float
) -> None:
    host = Host(server.url, Token(SECRET), sleep=clock.sleep, clock=clock)
    host.limits_of_changes = ((8, 60.0), (50, 3600.0))
    start = clock()
    host.slow_down()
    sent = []
    for _ in range(count):
        host.call("POST", "/x", body={})
        sent.append(clock())
    for _ in range(20):  # questions are none
        host.call("GET", "/x")
        host.call("POST", "/graphql", body={"query": " query Look { x }"})
        host.call("POST", "/x.git/git-upload-pack", body=b"")
    assert clock() - start == pytest.approx(hours * 3600, abs=121)
    for most, stretch in host.limits_of_changes:
        for earlier, later in zip(sent, sent[most:], strict=False):
            assert later - earlier >= stretch - 1e-3
    host.close()


def test_a_slow_host_waits_hours_for_the_end_of_a_limit(server: Echo, clock: Clock) -> None:
    host = Host(server.url, Token(SECRET), sleep=clock.sleep, clock=clock)
    host.slow_down()
    server.fault(Reply(403, {"message": "m"}, {"Retry-After": "7000"}))
    assert host.call("POST", "/x", body={}).status == 200
    host.close()
