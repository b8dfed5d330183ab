"""Opens the two connections to a host, its API and Git over HTTP, with the same token."""

from __future__ import annotations

import base64
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.client import Host
from metastore.http.credentials import Token, is_loopback


def open_hosts(api_url: str, below: str, token: str | None, *, kind: str, **limits: Any) -> tuple[Host, Host]:
    """Open a host's API, and its repositories.

    Args:
        api_url: The API's address.
        below: The path of the API on the host, such as `/api/v4`.
        token: The token. Git takes it as a password, with any user name.
        kind: The name of the kind of host.
        **limits: Of both hosts; see `Host`.

    Raises:
        InvalidInput: There is no token, or the address is invalid.
    """
    base = api_url.rstrip("/")
    if not token:
        raise InvalidInput(f"{kind} needs a token: give it as an option, or as METASTORE_{kind.upper()}_TOKEN")
    if not base.endswith(below):
        raise InvalidInput(f"the address of {kind}'s API ends in {below}")
    rest = Host(base, Token(token), extra=kind.lower(), **limits)
    basic = base64.b64encode(f"oauth2:{token}".encode()).decode()
    return rest, Host(base.removesuffix(below), Token(basic, prefix="Basic "), extra=kind.lower(), **limits)


def address_of(server: str) -> str:
    """Return the address of a server: unencrypted only on this machine."""
    return f"{'http' if is_loopback(f'http://{server}') else 'https'}://{server}"
