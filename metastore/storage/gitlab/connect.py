"""Opens a storage from `gitlab://group/subgroup` and options."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.client import LONGEST
from metastore.parse import split_url
from metastore.storage.gitlab.storage import GitLabStorage
from metastore.storage.hosted.connect import address_of, open_hosts

_API = "/api/v4"


def open_gitlab(
    url: str,
    *,
    token: str | None = None,
    api_url: str | None = None,
    timeout: float = 30.0,
    patience: float = 90.0,
    longest: int = LONGEST,
    sleep: Callable[[float], None] = time.sleep,
    **options: Any,
) -> GitLabStorage:
    """Open the datasets of a group.

    Args:
        url: `gitlab://group/subgroup` on gitlab.com, or `gitlab://host/group` elsewhere. A first part with a dot or a
            port is a host, so a group with a dot in its name needs its host in front.
        token: A personal, group or project access token.
        api_url: The address of the REST API, if it is not `https://host/api/v4`.
        timeout: How long to wait for GitLab to send something, in seconds.
        patience: How long a call may wait while GitLab limits the rate, in seconds.
        longest: The longest response that is read, in bytes.
        sleep: Waits, in seconds.
        **options: See `GitLabStorage`.

    Raises:
        InvalidInput: The URL or an option is invalid.
    """
    server, group = _parsed(url)
    base = api_url or f"{address_of(server)}{_API}"
    rest, git = open_hosts(
        base, _API, token, kind="GitLab", timeout=timeout, patience=patience, longest=longest, sleep=sleep
    )
    return GitLabStorage(rest, git, group, **options)


def _parsed(url: str) -> tuple[str, str]:
    parts = split_url(url)
    path = parts.path.strip("/")
    if "@" in parts.netloc:
        raise InvalidInput("a token is not part of a URL: give it as an option, or as METASTORE_GITLAB_TOKEN")
    is_host = "." in parts.netloc or ":" in parts.netloc or parts.netloc == "localhost"
    server, group = (parts.netloc, path) if is_host else ("gitlab.com", f"{parts.netloc}/{path}".rstrip("/"))
    if not group or "//" in group or parts.query or parts.fragment:
        raise InvalidInput("the URL of a GitLab group is gitlab://group/subgroup, or gitlab://host/group")
    return server, group
