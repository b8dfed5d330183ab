"""The connections to one server: they send requests, repeat those that are safe, and bound the responses.

Git hosts, services and key servers are all reached through this module. Redirects are never followed.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from metastore.errors import StorageUnavailable, needs_extra
from metastore.forks import undisturbed
from metastore.http._body import ENCODING, BadBody, head_within, read_body
from metastore.http.credentials import is_loopback
from metastore.http.responses import NotSent, Response, ResponseLost, Unreadable
from metastore.os_errors import in_words

if TYPE_CHECKING:
    import httpx

#: The longest pause between two tries, in seconds. A server that demands a longer one is not asked again.
LONGEST_PAUSE = 5.0
_FIRST_PAUSE = 0.2
#: The time for a whole head or body, as a multiple of the wait for a piece of it.
_SLOWNESS = 10


class Connection:
    """The connections to one server. Safe to share between threads, and usable after a fork.

    Args:
        base: The server's address, without a slash at its end.
        extra: The extra of this package that brings httpx, named in the error if it is missing.
        headers: Sent with every request.
        timeout: The longest wait for a connection, and for each piece of a response, in seconds.
        seconds: The longest time for a whole head, and for a whole body; by default ten times the wait for a piece.
        concurrency: The most requests at a time. Further ones wait.
        retries: How often a safe request is repeated.
        longest: The longest body to read, in bytes.
        sleep: Waits, in seconds.
    """

    def __init__(
        self,
        base: str,
        *,
        extra: str,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float],
        seconds: float | None = None,
        concurrency: int = 64,
        retries: int = 3,
        longest: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base = base
        self.longest = longest
        self.sleep = sleep
        self._extra = extra
        self._headers = {"User-Agent": "metastore", "Accept-Encoding": ENCODING, **(headers or {})}
        self._connect, self._read = timeout
        self._seconds = self._read * _SLOWNESS if seconds is None else seconds
        self._trace = head_within(self._seconds)
        self._concurrency = concurrency
        self._retries = retries
        # By process: a child must neither write to its parent's connections nor close them.
        self._pools: dict[int, httpx.Client] = {}

    def __repr__(self) -> str:
        return f"Connection({self.base!r})"

    def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool,
        transient: Container[int],
    ) -> Response:
        """Send a request, and repeat it if that is safe.

        A request that was not sent is always repeated. A lost response, or a transient status, leads to another try
        only if the request is `repeatable`; a transient 429 always does, since nothing was done. After the last try a
        transient response is returned as it is.

        Args:
            method: The HTTP method.
            url: The whole address, without parameters.
            query: The parameters.
            headers: Further headers.
            content: The body.
            repeatable: Whether sending it twice has the same effect as sending it once.
            transient: Statuses that may change in a moment.

        `ResponseLost` stays inside the package: the request is not repeatable, and no response came.

        Raises:
            StorageUnavailable: The server was not reached, or never gave a whole response to a repeatable request.
        """
        outcome: Response | Exception | None = None
        pauses = [*self.pauses(), None]
        for pause in pauses:
            try:
                outcome = self.send(method, url, query=query, headers=headers, content=content)
                wanted = outcome.retry_after or 0.0
                was_tried = not repeatable and outcome.status != HTTPStatus.TOO_MANY_REQUESTS
                if was_tried or outcome.status not in transient or wanted > LONGEST_PAUSE:
                    return outcome
            except NotSent as error:
                outcome, wanted = error, 0.0
            except ResponseLost as error:
                if not repeatable:
                    raise
                outcome, wanted = error, 0.0
                if isinstance(error, Unreadable):
                    break
            if pause is not None:
                self.sleep(max(pause, wanted))
        if isinstance(outcome, Response):
            return outcome
        raise StorageUnavailable(str(outcome)) from None

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each further try, in seconds."""
        return map(backoff, range(self._retries))

    def send(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Response:
        """Send a request once.

        Raises `NotSent`, `ResponseLost` or `Unreadable`, which callers translate.
        """
        with needs_extra(self._extra):
            import httpx

        address = url.partition("?")[0]
        try:
            pool = self._pool()
            request = pool.build_request(
                method, url, params=query, content=content, headers=headers, extensions={"trace": self._trace}
            )
            request.url = _quiet()(request.url)
            answer = pool.send(request, stream=True)
            try:
                body = read_body(answer, longest=self.longest, seconds=self._seconds)
            finally:
                answer.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSent(address, f"cannot be reached: {_reason(error)}") from error
        except httpx.RequestError as error:
            raise ResponseLost(address, f"gave no whole response: {_reason(error)}") from error
        except BadBody as error:
            raise Unreadable(address, str(error)) from None
        lower = {name.lower(): value for name, value in answer.headers.items()}
        return Response(address, answer.status_code, lower, body)

    def _pool(self) -> httpx.Client:
        pool = self._pools.get(os.getpid())
        # Two threads may both create a client; both then use the first.
        if pool is None:
            with undisturbed():  # OpenSSL initialises itself, and reads certificates
                pool = self._pools.setdefault(os.getpid(), self._new_pool())
        return pool

    def _new_pool(self) -> httpx.Client:
        import httpx

        try:
            return httpx.Client(
                headers=self._headers,
                # No limit for `pool`: a request waits for others, which have limits themselves.
                timeout=httpx.Timeout(self._read, connect=self._connect, pool=None),
                limits=httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency),
                follow_redirects=False,
                trust_env=not is_loopback(self.base),
                verify=self._trusted(),
            )
        except OSError as error:  # SSL_CERT_FILE names a missing file
            raise StorageUnavailable(f"the certificates to trust cannot be read: {in_words(error)}") from None

    def _trusted(self) -> ssl.SSLContext:
        """Return the certificates to trust: httpx's and the system's. Plain HTTP needs none, which saves time."""
        import httpx

        if self.base.lower().startswith("http:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context = httpx.create_ssl_context()
        context.load_default_certs()
        return context


def backoff(attempt: int) -> float:
    """Return the pause after a failed attempt, in seconds: longer each time, and with a random part.

    Args:
        attempt: The number of earlier failed attempts.
    """
    return min(LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt) * random.uniform(0.5, 1)


@cache
def _quiet() -> type[httpx.URL]:
    """Return the class of addresses that print without their query: httpx logs them, and a query can hold a secret."""
    import httpx

    class Quiet(httpx.URL):
        def __str__(self) -> str:
            return super().__str__().partition("?")[0]

    return Quiet


def _reason(error: Exception) -> str:
    """Return the reason of an error of httpx in our words, from the error of the system that is behind it."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    if isinstance(error, httpx.ProxyError):
        return "the proxy in between refuses"
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return "it does not answer as a TLS server: is it http, not https?"
    return in_words(cause) if cause is not None else "the connection ended too early"
