"""A Git host's API over HTTP: credentials, rate limits, pages and errors, in one place.

The client waits for a host that limits it (403 and 429 alike), up to `patience`. It repeats a request only if that is
safe. It never follows a redirect, never sends a change twice, and never reads a body without end.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from metastore.errors import MetastoreError, PermissionDenied, StorageBusy, StorageError, StorageUnavailable
from metastore.http.connection import Connection, backoff
from metastore.http.credentials import Credentials, check_base
from metastore.http.responses import Missing, Pages, Redirected, Response, ResponseLost

#: The longest body to read, in bytes. GitHub's largest blob has 100 MiB.
LONGEST = 256 * 1024 * 1024
#: The longest time that a slowed-down call may wait for the end of a limit, in seconds.
HOURS = 4 * 3600.0
#: The longest time that a host is left alone, in seconds. A broken host may name years, or infinity.
_DAY = 24 * 3600.0
_Result = TypeVar("_Result")


class _Pace:
    """Keeps below a host's limits on changes, so that the host need not refuse any.

    Args:
        limits: Pairs of a number of changes and a period in seconds.
    """

    def __init__(self, limits: Sequence[tuple[int, float]]) -> None:
        self._limits = limits
        self._times: deque[float] = deque(maxlen=max((count for count, _ in limits), default=0))

    def wait(self, now: float) -> float:
        """Return the seconds until the next change may be sent, at a time in seconds since 1970."""
        waits = [self._times[-count] + stretch - now for count, stretch in self._limits if len(self._times) >= count]
        return max([0.0, *waits])

    def note(self, now: float) -> None:
        """Count a change that is sent at a time."""
        self._times.append(now)


class Host:
    """A host's API. Safe to share between threads, and usable after a fork.

    Args:
        base: The API's address, without a slash at the end.
        credentials: Sent with every request.
        extra: The extra of this package that brings httpx, named in the error if it is missing.
        headers: Further headers of every request.
        timeout: The longest wait for a connection, and for each piece of a response, in seconds.
        patience: The longest time that a call may wait in total while the host limits us, in seconds.
        concurrency: The most requests at a time.
        longest: The longest body to read, in bytes.
        unauthorized: Makes the error for a token that is missing or not accepted, from a sentence.
        sleep: Waits, in seconds.
        clock: Returns the time, in seconds since 1970.
    """

    #: Pairs of a number of changes and a period in seconds: the documented limits of the host.
    limits_of_changes: Sequence[tuple[int, float]] = ()
    #: Waits for the end of a limit, some seconds. A progress bar replaces it by a function that shows the wait.
    waiting: Callable[[float], None]

    def __init__(
        self,
        base: str,
        credentials: Credentials,
        *,
        extra: str = "github",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        patience: float = 90.0,
        concurrency: int = 8,
        longest: int = LONGEST,
        unauthorized: Callable[[str], MetastoreError] = StorageUnavailable,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.base = check_base(base, credentials)
        self._connection = Connection(
            self.base,
            extra=extra,
            headers=headers,
            timeout=(timeout, timeout),
            concurrency=concurrency,
            longest=longest,
            sleep=sleep,
        )
        self._credentials = credentials
        self._patience = patience
        self.longest = longest
        self._unauthorized = unauthorized
        self.waiting = sleep
        self._clock = clock
        self._limited_until = 0.0
        self._pace: _Pace | None = None
        #: The number of requests so far. A request that was repeated after a fault counts once.
        self.requests = 0

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
    ) -> Response:
        """Send a request, and return a response of 2xx, 304, or a status that the caller handles.

        Args:
            method: The HTTP method.
            path: A quoted path below the API's address; or a whole address, such as that of a link, of which only the
                path and
                query are used.
            query: The parameters.
            body: Bytes are sent as they are, anything else as JSON.
            headers: Further headers.
            handled: Other statuses to return.
            repeatable: Whether sending the request twice has the same effect as once. By default only a GET's has.

        Two exceptions stay inside the storage: `ResponseLost` (the request is not repeatable, and no response came) and
        `Redirected` (the resource is at another address).

        Raises:
            StorageBusy: The host's limit lasts longer than the patience.
            StorageUnavailable: The host cannot be reached, fails, or does not accept the token.
            PermissionDenied: The host refuses the token's owner.
            StorageError: The host rejects the request as invalid.
        """
        repeatable = method == "GET" if repeatable is None else repeatable
        content = body if body is None or isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        sent = ({"Content-Type": "application/json"} if content is not None else {}) | dict(headers or {})
        url, left, renewed = self._url(path), self._patience, False
        while True:
            left = self._wait_for_limit(left)
            if self._pace and _is_change(method, path, body):
                self._keep_pace(self._pace)
            response = self._sent(method, url, query, content, sent, repeatable)
            if (wait := self._limit(response)) is not None:
                self._limited_until = max(self._limited_until, self._clock() + min(wait, _DAY))
            elif response.status == 401 and not renewed and self._credentials.renew():
                renewed = True
            else:
                return self._checked(response, method, path, handled)

    def pages(self, path: str, *, query: Mapping[str, str | int] | None = None, **options: Any) -> Iterator[Response]:
        """Yield a page and the pages that its `Link` header leads to, one at a time; see `call`.

        Raises:
            StorageUnavailable: A page leads back to an earlier one, or there are more than 100,000.
        """
        response = self.call("GET", path, query=query, **options)
        yield response
        pages = Pages()
        while address := response.next_page():
            response = self.call("GET", pages.turn(address), **options)
            yield response

    def when_there(self, attempt: Callable[[], _Result], *, within: float | None = None) -> _Result:
        """Repeat a call until the host knows a resource that it has just created, within the patience.

        A host's machines learn of a new repository one after the other, so for some seconds some of them answer 404.

        Args:
            attempt: Raises `Missing` if the host does not know the resource yet. It must be safe to repeat.
            within: A shorter time than the patience, in seconds.
        """
        left, count = self._patience if within is None else min(within, self._patience), 0
        while True:
            try:
                return attempt()
            except Missing:
                wait = backoff(count)
                if wait > left:
                    raise
                self._connection.sleep(wait)
                left, count = left - wait, count + 1

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._connection.close()

    def token(self) -> str:
        """Return the token that is sent with requests, for Git, which takes it as a password."""
        return self._credentials.headers()["Authorization"].partition(" ")[2]

    def slow_down(self) -> None:
        """Keep below the host's limits on changes from now on, and wait for hours if it limits us."""
        self._pace = _Pace(self.limits_of_changes)
        self._patience = max(self._patience, HOURS)

    # Limits

    def _keep_pace(self, pace: _Pace) -> None:
        if (wait := pace.wait(self._clock())) > 0:
            self.waiting(wait)
        pace.note(self._clock())

    def _limit(self, response: Response) -> float | None:
        """Return the seconds until the host's limit ends, or None if it sets no limit."""
        return response.limit(self._clock())

    def _wait_for_limit(self, left: float) -> float:
        """Wait for the end of the host's limit; return the remaining patience, in seconds."""
        wait = self._limited_until - self._clock()
        if wait <= 0:
            return left
        if wait > left:
            raise StorageBusy(f"{self._name()} limits how often it is asked: try again in {wait:.0f} seconds")
        self.waiting(wait)
        return left - wait

    # Sending

    def _sent(
        self,
        method: str,
        url: str,
        query: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        repeatable: bool,
    ) -> Response:
        """Send a request, and repeat it if that is safe. A 5xx does not tell whether a change was made."""
        self.requests += 1
        response = self._connection.request(
            method,
            url,
            query=query,
            headers={**headers, **self._credentials.headers()},
            content=content,
            repeatable=repeatable,
            transient=range(500, 600),
        )
        if response.status < 500:
            return response
        if not repeatable:
            raise ResponseLost(response.address, f"answered {response.status}")
        raise StorageUnavailable(f"{response.address} answered {response.status}")

    def pause(self, attempt: int) -> None:
        """Wait before a repetition, longer after each attempt."""
        self._connection.sleep(backoff(attempt))

    # Responses

    def _checked(self, response: Response, method: str, path: str, handled: Container[int]) -> Response:
        status = response.status
        if status < 300 or status == 304 or status in handled:
            return response
        if status < 400:
            raise self._redirected(response, self._url(path))
        message = response.message()
        if status == 401:
            raise self._unauthorized(f"{self._name()} does not accept the token: {message}")
        if status == 403:
            needed = response.headers.get("x-accepted-github-permissions", "")[:100]
            missing = f" (the token needs {needed})" if needed else ""
            raise PermissionDenied(
                f"{self._name()} does not allow the token's owner to {method} {path}: {message}{missing}"
            )
        raise StorageError(f"{self._name()} answered {status} to {method} {path}: {message}")

    def _redirected(self, response: Response, address: str) -> StorageUnavailable:
        try:
            location = urljoin(address, response.headers.get("location", ""))
        except ValueError:  # such as https://[
            location = address
        if location == address:
            return StorageUnavailable(f"{response.address} answered {response.status}, and not where to go instead")
        return Redirected(location)

    def _url(self, path: str) -> str:
        """Return a whole address on our own host.

        A host that is known by several names links to the one in its configuration (GitLab's `external_url`). Our name
        is kept: the token must not go to another host.
        """
        if not path.startswith(("http://", "https://")):
            return f"{self.base}{path}"
        try:
            link, ours = urlsplit(path), urlsplit(self.base)
        except ValueError:  # such as https://[
            raise StorageUnavailable(f"{self._name()} links to an address that cannot be read") from None
        if link[:2] == ours[:2]:
            return path
        if not f"{link.path}/".startswith(f"{ours.path}/"):
            raise StorageUnavailable(f"{self._name()} links to {link.netloc}{link.path}, which is outside {self.base}")
        return ours._replace(path=link.path, query=link.query).geturl()

    def _name(self) -> str:
        return urlsplit(self.base).netloc


def _is_change(method: str, path: str, body: Any) -> bool:
    """Tell whether a request changes something. Queries of Git and GraphQL are POSTs too, and change nothing."""
    question = isinstance(body, dict) and str(body.get("query", "")).lstrip().startswith("query")
    return method != "GET" and not question and not path.endswith("git-upload-pack")
