"""Credentials for a host, and the addresses to which they may be sent."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import NoReturn, Protocol

from metastore.errors import InvalidInput
from metastore.parse import split_url


class Credentials(Protocol):
    """Credentials for a host."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that carry the credentials."""

    def renew(self) -> bool:
        """Get fresh credentials after a 401. Return False if that is impossible."""


class Token:
    """A fixed token. It appears in no repr, and in no pickle.

    Args:
        value: The token; of any length and form.
        prefix: The text before it in the header.
    """

    __slots__ = ("_headers",)

    def __init__(self, value: str, *, prefix: str = "Bearer ") -> None:
        if not value.isascii() or not value.isprintable() or " " in value:
            raise InvalidInput("a token is one word of printable characters; this one is not")
        self._headers = {"Authorization": prefix + value}

    def __repr__(self) -> str:
        return "Token(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not to be pickled")

    def headers(self) -> Mapping[str, str]:
        """Return the one header."""
        return self._headers

    def renew(self) -> bool:
        """Return False: a fixed token cannot be renewed."""
        return False


class Nobody:
    """No credentials: only public data can be read."""

    def headers(self) -> Mapping[str, str]:
        """Return no header."""
        return {}

    def renew(self) -> bool:
        """Return False: there is nothing to renew."""
        return False


def check_base(url: str, credentials: Credentials) -> str:
    """Return an API's address without a trailing slash, if the credentials may be sent there.

    Raises:
        InvalidInput: It is not an address, holds credentials, or would take a token neither over https nor to this
            machine.
    """
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInput("the address of a host's API looks like https://git.example.org/api/v3")
    if "@" in parts.netloc:
        raise InvalidInput("the address of a host's API holds no token: give it as an option")
    if not isinstance(credentials, Nobody):
        refuse_unencrypted(url)
    return url.rstrip("/")


def refuse_unencrypted(url: str) -> None:
    """Refuse an address to which a token would travel in the clear.

    Raises:
        InvalidInput: The scheme is `http`, and the host is not this machine.
    """
    parts = split_url(url)
    if parts.scheme == "http" and not is_loopback(url):
        raise InvalidInput(f"a token is not sent to {parts.hostname} unencrypted: use https")


def is_loopback(url: str) -> bool:
    """Tell whether an address is on this very machine."""
    name = split_url(url).hostname or ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
