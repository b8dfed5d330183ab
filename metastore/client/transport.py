"""Sending requests to one service: time limits, retries of what is safe, bounds on what comes back."""

from __future__ import annotations

import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from metastore.errors import InvalidInput, StorageUnavailable, needs_extra
from metastore.http.body import ENCODING, BadBody, read_body

if TYPE_CHECKING:
    import httpx

#: Answers to a read that may be another one in a moment: of the service, or of a proxy in front of it.
TRANSIENT = frozenset({429, 502, 503, 504})
#: The longest pause between two tries, in seconds: who is told to wait longer is better told so at once.
LONGEST_PAUSE = 5.0
_FIRST_PAUSE = 0.1
#: A whole answer may take so many times as long as nothing of it may come.
_PATIENCE = 10
_TOKEN = re.compile(r"[!-~]+")


class NotSent(Exception):
    """The service was not reached: nothing can have happened."""


class AnswerLost(Exception):
    """The request may have been carried out, and what became of it is not known."""


class Unreadable(AnswerLost):
    """An answer came that nobody reads to its end, and no other is to be expected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    Attributes:
        address: What was asked, without parameters.
        status: The status code.
        headers: By names in lower case.
        body: Decoded from whatever compression it came in.
    """

    address: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """What the body is, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Transport:
    """The way to one service. Safe to share between threads, and to use after a fork.

    Args:
        url: The service's address, without `/api/v1`.
        token: Sent with every request, to this address alone.
        timeout: For how many seconds nothing may come; or a pair, of which the first is for making a connection.
        retries: How often what is safe is tried again.
        longest: The longest answer that is read, in bytes.
        sleep: Waits for some seconds.

    Raises:
        InvalidInput: One of them makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float | tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        longest: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = _address(url)
        self._token = _checked_token(token)
        self._connect, self._read = _checked_timeout(timeout)
        if type(retries) is not int or not 0 <= retries <= 100:
            raise InvalidInput(f"retries is a number from 0 to 100, not {retries!r}")
        self._retries = retries
        self._longest = longest
        self._sleep = sleep
        # By process: a child must not write into its parent's connections, nor close them.
        self._pools: dict[int, httpx.Client] = {}

    def __repr__(self) -> str:
        return f"Transport({self.address!r})"

    def close(self) -> None:
        """Close the connections; a request after that makes new ones."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.close()

    def read(self, path: str, params: Mapping[str, str], accept: str) -> Answer:
        """Ask for something, again where that may help.

        Raises:
            StorageUnavailable: There is no answer.
        """
        answer: Answer | None = None
        reason = ""
        for pause in self.pauses():
            try:
                answer = self._send("GET", path, params, {"Accept": accept}, b"")
            except Unreadable as error:
                raise StorageUnavailable(str(error)) from None
            except (NotSent, AnswerLost) as error:
                answer, reason = None, str(error)
            else:
                pause = max(pause, _asked_pause(answer))
                if answer.status not in TRANSIENT or pause > LONGEST_PAUSE:
                    return answer
            self._sleep(pause)
        if answer is None:
            raise StorageUnavailable(reason)
        return answer

    def write(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], content: bytes
    ) -> Answer:
        """Send a write; again only as long as it was not sent at all. Where no answer came, it is `AnswerLost`.

        Raises:
            StorageUnavailable: It was not sent.
        """
        reason = ""
        for pause in self.pauses():
            try:
                return self._send(method, path, params, headers, content)
            except NotSent as error:
                reason = str(error)
            self._sleep(pause)
        raise StorageUnavailable(reason)

    def pauses(self) -> Iterator[float]:
        """Yield for each try how long to wait after it, in seconds: longer each time, and never alike for two."""
        for attempt in range(self._retries):
            yield min(LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)
        yield 0.0

    def wait(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    def _send(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], content: bytes
    ) -> Answer:
        with needs_extra("client"):
            import httpx
        address = f"{self.address}{path}"
        try:
            pool = self._pool()
            request = pool.build_request(method, address, params=params, headers=headers, content=content or None)
            response = pool.send(request, stream=True)
            try:
                body = read_body(response, longest=self._longest, seconds=self._read * _PATIENCE)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSent(f"{address} cannot be reached: {_words(error)}") from error
        except httpx.RequestError as error:
            raise AnswerLost(f"{address} gave no whole answer: {_words(error)}") from error
        except BadBody as error:
            raise Unreadable(f"{address} {error}") from None
        known = {name.lower(): value for name, value in response.headers.items()}
        return Answer(address, response.status_code, known, body)

    def _pool(self) -> httpx.Client:
        pool = self._pools.get(os.getpid())
        # Two threads may both make one; all then use the one that came first, without a lock that a fork could copy.
        return pool or self._pools.setdefault(os.getpid(), self._new_pool())

    def _new_pool(self) -> httpx.Client:
        import httpx

        headers = {"User-Agent": "metastore", "Accept-Encoding": ENCODING}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        timeout = httpx.Timeout(self._read, connect=self._connect, pool=self._read)
        try:
            return httpx.Client(headers=headers, timeout=timeout, follow_redirects=False, verify=self._trusted())
        except OSError as error:  # SSL_CERT_FILE names no file
            raise StorageUnavailable(f"the certificates to trust cannot be read: {error}") from None

    def _trusted(self) -> ssl.SSLContext:
        """Return whom to trust: nobody where no TLS is spoken, which spares reading all certificates there are."""
        import httpx

        is_plain = self.address.lower().startswith("http:")
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else httpx.create_ssl_context()


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if parts.scheme.lower() not in ("http", "https") or not host or port == 0:
        raise InvalidInput("a service's address looks like https://metastore.example.org or http://localhost:5000")
    if "@" in parts.netloc:
        raise InvalidInput(f"an address holds no password: give {parts.scheme}://{host}, and the token beside it")
    if parts.query or parts.fragment or not parts.geturl().isascii() or re.search(r"\s", url):
        raise InvalidInput(f"a service's address has neither ? nor # nor spaces: {parts.scheme}://{host}")
    return parts.geturl().rstrip("/").removesuffix("/api/v1")


def _checked_token(token: Any) -> str | None:
    if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise InvalidInput("a token is a text of printable ASCII characters without spaces")  # and not shown
    return token


def _checked_timeout(timeout: Any) -> tuple[float, float]:
    pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    for each in pair:
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not 0 < each < float("inf"):
            raise InvalidInput(f"timeout is a number of seconds, or a pair of them, not {timeout!r}")
    if len(pair) != 2:
        raise InvalidInput("timeout is one number of seconds, or two: to connect, and to wait for an answer")
    return float(pair[0]), float(pair[1])


def _asked_pause(answer: Answer) -> float:
    """Return how long the answer says to wait, in seconds (RFC 9110, section 10.2.3; a date is passed over)."""
    said = answer.headers.get("retry-after", "")
    return float(said) if re.fullmatch(r"[0-9]{1,9}", said) else 0.0


def _words(error: Exception) -> str:
    """Return what went wrong; some of httpx's errors have no words of their own."""
    return str(error) or type(error).__name__
