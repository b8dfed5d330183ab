"""Opens a storage from `gitea://host/owner` and options."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.client import LONGEST
from metastore.parse import split_url
from metastore.storage.gitea.storage import GiteaStorage
from metastore.storage.hosted.connect import address_of, open_hosts

_API = "/api/v1"


def open_gitea(
    url: str,
    *,
    token: str | None = None,
    api_url: str | None = None,
    timeout: float = 30.0,
    patience: float = 90.0,
    longest: int = LONGEST,
    sleep: Callable[[float], None] = time.sleep,
    **options: Any,
) -> GiteaStorage:
    """Open the datasets of an organisation or user on Gitea or Forgejo.

    Args:
        url: `gitea://host/owner`. A server below a path of its host has that path in between: `gitea://host/git/owner`.
        token: An access token.
        api_url: The address of the REST API, if it is not `https://host/api/v1`.
        timeout: How long to wait for the server to send something, in seconds.
        patience: How long a call may wait while the server limits the rate, in seconds.
        longest: The longest response that is read, in bytes.
        sleep: Waits, in seconds.
        **options: See `GiteaStorage`.

    Raises:
        InvalidInput: The URL or an option is invalid.
    """
    server, owner = _parsed(url)
    base = api_url or f"{address_of(server)}{_API}"
    rest, git = open_hosts(
        base, _API, token, kind="Gitea", timeout=timeout, patience=patience, longest=longest, sleep=sleep
    )
    return GiteaStorage(rest, git, owner, **options)


def _parsed(url: str) -> tuple[str, str]:
    parts = split_url(url)
    if "@" in parts.netloc:
        raise InvalidInput("a token is not part of a URL: give it as an option, or as METASTORE_GITEA_TOKEN")
    above, _, owner = parts.path.strip("/").rpartition("/")
    if not parts.netloc or not owner or "//" in parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidInput("the URL of an owner on Gitea or Forgejo is gitea://git.example.org/owner")
    return f"{parts.netloc}/{above}".rstrip("/"), owner
