"""Talking to a Git host over HTTP: the one place for credentials, limits, retries, pages, and foreign errors.

What is done by itself: a host that limits us (403 and 429 alike) is waited for, up to `patience`; what may be repeated
is repeated when its answer is lost. What never happens: a redirect followed, a change sent twice, or an answer read
that has no end.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from metastore import forks
from metastore.errors import PermissionDenied, StorageBusy, StorageError, StorageUnavailable
from metastore.forks import ForkSafeLock
from metastore.http.body import ENCODING, BadBody, read_body
from metastore.http.credentials import Credentials, check_base, is_loopback
from metastore.http.responses import Answer, AnswerLost, Redirected

if TYPE_CHECKING:
    import httpx

_REPEATS = 3
_FIRST_PAUSE = 0.25  # seconds; doubled each time
#: A whole answer may take so many times as long as nothing of it may come.
_SLOWNESS = 10
#: The longest answer that is read, in bytes. GitHub's largest blob has 100 MiB.
LONGEST = 256 * 1024 * 1024


class Host:
    """A host's API. Safe to share between threads, and usable after a fork.

    Args:
        base: The API's address, without a slash at the end.
        credentials: Who we are.
        headers: What else every request says.
        timeout: How long to wait for a connection, and for each piece of an answer, in seconds.
        patience: How long a call may wait in all while the host limits us, in seconds.
        concurrency: How many requests may be under way at once.
        longest: The longest answer that is read, in bytes.
        sleep: Waits, in seconds.
        clock: Returns the time, in seconds since 1970.
    """

    #: Waits so many seconds, because the host limits us. Who wants to show that puts in its place what also does.
    waiting: Callable[[float], None]
    _client: httpx.Client | None

    def __init__(
        self,
        base: str,
        credentials: Credentials,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        patience: float = 90.0,
        concurrency: int = 8,
        longest: int = LONGEST,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.base = check_base(base)
        self._credentials = credentials
        self._headers = {"User-Agent": "metastore", "Accept-Encoding": ENCODING, **(headers or {})}
        self._timeout = timeout
        self._patience = patience
        self._concurrency = concurrency
        self.longest = longest
        self._sleep = self.waiting = sleep
        self._clock = clock
        self._limited_until = 0.0
        self._mutex = ForkSafeLock()
        self._forget()
        forks.register(self, Host._after_fork)

    def __repr__(self) -> str:
        return f"Host({self.base!r})"

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        handled: Container[int] = (),
        repeatable: bool | None = None,
    ) -> Answer:
        """Ask, and return an answer of 2xx, 304, or a status that the caller handles.

        Args:
            method: As HTTP calls it.
            path: Below the API's address, quoted; or a whole address of the same host.
            query: What follows the question mark.
            body: Sent as JSON, if it is given; bytes as they are.
            headers: What else to say.
            handled: Other statuses that are answers to the caller.
            repeatable: Whether asking twice is as good as once; if not given, a GET is, and nothing else.

        Two exceptions are for the storage alone: `AnswerLost`, where it was sent, may not be repeated, and no answer
        came; and `Redirected`, where it is somewhere else.

        Raises:
            StorageBusy: The host limits us for longer than we wait.
            StorageUnavailable: The host cannot be reached, fails, or does not know us.
            PermissionDenied: The host knows us, and says no.
            StorageError: The host says that the request is wrong.
        """
        repeatable = method == "GET" if repeatable is None else repeatable
        content = body if body is None or isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        sent = ({"Content-Type": "application/json"} if content is not None else {}) | dict(headers or {})
        url, left, renewed = self._url(path), self._patience, False
        while True:
            left = self._wait_for_limit(left)
            answer = self._repeated(method, url, query, content, sent, repeatable)
            if (wait := self._limit(answer)) is not None:
                self._limited_until = max(self._limited_until, self._clock() + wait)
            elif answer.status == 401 and not renewed and self._credentials.renew():
                renewed = True
            else:
                return self._checked(answer, method, path, handled)

    def pages(self, path: str, *, query: Mapping[str, str | int] | None = None, **options: Any) -> Iterator[Answer]:
        """Yield an answer and those that its `Link` leads on to, one at a time; see `call`."""
        answer = self.call("GET", path, query=query, **options)
        yield answer
        while found := answer.next_page():
            answer = self.call("GET", found, **options)
            yield answer

    def close(self) -> None:
        """Close the connections; they are opened again on use."""
        client, self._client = self._client, None
        if client:
            client.close()

    # Limits

    def _limit(self, answer: Answer) -> float | None:
        """Return for how many seconds the host wants to be left alone, or None where the answer is no such wish."""
        return answer.limit(self._clock())

    def _wait_for_limit(self, left: float) -> float:
        """Wait until the host wants to hear from us again; return how much patience is left."""
        wait = self._limited_until - self._clock()
        if wait <= 0:
            return left
        if wait > left:
            raise StorageBusy(f"{self._name()} limits how often it is asked: try again in {wait:.0f} seconds")
        self.waiting(wait)
        return left - wait

    # Sending

    def _repeated(
        self,
        method: str,
        url: str,
        query: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        repeatable: bool,
    ) -> Answer:
        """Send, again when nothing came back and that does no harm."""
        import httpx

        for attempt in range(_REPEATS + 1):
            last = attempt == _REPEATS
            try:
                answer = self._send(method, url, query, content, headers)
                if answer.status < 500:
                    return answer
                problem = f"answered {answer.status}"
                never_sent = False
            except httpx.RequestError as error:
                problem = f"could not be reached ({type(error).__name__})"
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            except BadBody as error:
                problem, never_sent, last = str(error), False, True
            if not never_sent and not repeatable:
                raise AnswerLost(f"{self._name()} {problem}")
            if last:
                raise StorageUnavailable(f"{self._name()} {problem}")
            self.pause(attempt)
        raise AssertionError

    def pause(self, attempt: int) -> None:
        """Wait a little before asking again; longer each time."""
        self._sleep(_FIRST_PAUSE * 2**attempt * random.uniform(0.5, 1))

    def _send(
        self,
        method: str,
        url: str,
        query: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        said = {**headers, **self._credentials.headers()}
        with self._slots, self._open().stream(method, url, params=query, content=content, headers=said) as response:
            body = read_body(response, longest=self.longest, seconds=self._timeout * _SLOWNESS)
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)

    def _open(self) -> httpx.Client:
        """Return the connections of this process."""
        import httpx

        with self._mutex:
            if self._client is None:
                self._client = httpx.Client(
                    timeout=self._timeout,
                    headers=self._headers,
                    follow_redirects=False,
                    trust_env=not is_loopback(self.base),
                )
            return self._client

    def _after_fork(self) -> None:
        """Open connections of its own in a forked child: those of the parent are neither used nor closed there."""
        forks.abandon(self._client)
        self._forget()

    def _forget(self) -> None:
        self._client = None
        self._slots = threading.BoundedSemaphore(self._concurrency)

    # Answers

    def _checked(self, answer: Answer, method: str, path: str, handled: Container[int]) -> Answer:
        status = answer.status
        if status < 300 or status == 304 or status in handled:
            return answer
        if status < 400:
            raise Redirected(urljoin(self._url(path), answer.headers.get("location", "")))
        said = answer.said()
        if status == 401:
            raise StorageUnavailable(f"{self._name()} does not accept the token: {said}")
        if status == 403:
            raise PermissionDenied(f"{self._name()} does not allow the token's owner to {method} {path}: {said}")
        raise StorageError(f"{self._name()} answered {status} to {method} {path}: {said}")

    def _url(self, path: str) -> str:
        """Return a whole address; never one of another host, which would be given our token."""
        if not path.startswith(("http://", "https://")):
            return f"{self.base}{path}"
        if urlsplit(path)[:2] != urlsplit(self.base)[:2]:
            raise StorageUnavailable(f"{self._name()} sends us to another host, {urlsplit(path).netloc}: not followed")
        return path

    def _name(self) -> str:
        return urlsplit(self.base).netloc
