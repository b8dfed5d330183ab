"""Datasets as projects in a GitLab group, `gitlab://group/subgroup`, over GitLab's own API and Git's protocol.

Git over HTTP reads and writes repositories: see `metastore.storage.hosted.storage`. GitLab carries out a push only if
each reference still has the value that the push was computed from. Commits through the API have no such comparison and
no dates, and the responses have no trees. The REST API manages projects.

Operations that GitLab cannot carry out in one step:

* A create makes an empty project and pushes to it. An empty project is not a dataset; the next `create` uses it. A
  `create` that fails between the two steps has ended the forwarding from that id.
* A move renames the project. A revision that somebody else pushes at that moment moves along.
* A purge renames the project, which frees the id. If somebody has pushed meanwhile, the project gets its name back;
  otherwise it is deleted. A write that arrives in between is not acknowledged. GitLab deletes later, and may keep a
  deleted project for as many days as it is configured to.
* Moves to another group are refused.
* Only its tree shows that a dataset is deleted, so a listing needs one request per dataset.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.client import LONGEST, Host
from metastore.parse import split_url
from metastore.storage.gitlab._api import GitLabApi, GitLabNaming
from metastore.storage.hosted.connect import address_of, open_hosts
from metastore.storage.hosted.storage import HostedStorage

_API = "/api/v4"


class GitLabStorage(HostedStorage):
    """The datasets in one GitLab group. The last part of its path is their owner. Safe to share between threads.

    Args:
        rest: The API; see `open_gitlab`.
        git: The host of the Git repositories.
        group: The group's full path, such as `labs/physics`.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, group: str, **options: Any) -> None:
        naming = GitLabNaming(group.rpartition("/")[2])
        super().__init__((rest, git), GitLabApi(rest, group), naming, **options)


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
