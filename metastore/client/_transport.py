"""The connection to one service: its address, the token, and the rules for repeating requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.connection import Connection
from metastore.http.credentials import refuse_unencrypted
from metastore.http.responses import Response
from metastore.parse import split_url

#: Statuses of a read that may change in a moment: the service's own, or those of a proxy in front of it.
TRANSIENT = frozenset({429, 502, 503, 504})
_TOKEN = re.compile(r"[!-~]+")


class Transport:
    """The connection to one service. Safe to share between threads, and usable after a fork.

    Args:
        url: The service's address, without `/api/v1`.
        token: Sent with every request, to this address alone.
        timeout: The longest wait for a piece of a response, in seconds; or a pair, whose first number is the limit for
            connecting.
        retries: How often a safe request is repeated.
        longest: The longest body to read, in bytes.

    Raises:
        InvalidInput: An argument is invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float | tuple[float, float] = (10.0, 60.0),
        retries: int = 3,
        longest: int,
    ) -> None:
        self.address = _address(url)
        token = _checked_token(token)
        if token is not None:
            refuse_unencrypted(self.address)
        if type(retries) is not int or not 0 <= retries <= 100:
            raise InvalidInput(f"retries is a number from 0 to 100, not {retries!r}")
        self.connection = Connection(
            self.address,
            extra="client",
            headers={"Authorization": f"Bearer {token}"} if token is not None else {},
            timeout=_checked_timeout(timeout),
            retries=retries,
            longest=longest,
        )

    def __repr__(self) -> str:
        return f"Transport({self.address!r})"

    def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        self.connection.close()

    def read(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        """Send a GET, and repeat it if that may help.

        Raises:
            StorageUnavailable: No response came.
        """
        url = f"{self.address}{path}"
        return self.connection.request("GET", url, query=query, headers=headers, repeatable=True, transient=TRANSIENT)

    def write(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes,
        *,
        repeatable: bool = False,
    ) -> Response:
        """Send a write. Repeat it only if it was not sent, or was refused for now (429) before anything was done.

        Raises `ResponseLost` if no response came. A `repeatable` write, which has the same effect if it is sent twice,
        is repeated as a read is.

        Raises:
            StorageUnavailable: The service was not reached.
        """
        return self.connection.request(
            method,
            f"{self.address}{path}",
            query=query,
            headers=headers,
            content=content or None,
            repeatable=repeatable,
            transient=TRANSIENT if repeatable else (HTTPStatus.TOO_MANY_REQUESTS,),
        )

    def pauses(self) -> Iterator[float]:
        """Yield the pause after each try, in seconds."""
        yield from self.connection.pauses()
        yield 0.0

    def wait(self, seconds: float) -> None:
        """Wait."""
        self.connection.sleep(seconds)


def _address(url: str) -> str:
    parts = split_url(url)
    host = parts.hostname
    if parts.scheme.lower() not in ("http", "https") or not host or parts.port == 0:
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
