"""Datasets as repositories of an organisation or user on Gitea or Forgejo: `gitea://host/owner`.

Git over HTTP reads and writes repositories: see `metastore.storage.hosted.storage`. Both servers run Git's own
`receive-pack`, which carries out a push only if each reference still has the value that the push was computed from. The
REST API creates, lists, renames and deletes repositories, and lists issues.

Operations that Gitea cannot carry out in one step:

* A create makes an empty repository and pushes to it. An empty repository is not a dataset; the next `create` uses it.
  A `create` that fails between the two steps has ended the forwarding from that id.
* A move renames the repository. A revision that somebody else pushes at that moment moves along.
* A purge renames the repository, which frees the id. If somebody has pushed meanwhile, the repository gets its name
  back; otherwise it is deleted. A write that arrives in between is not acknowledged.
* Moves to another owner are refused.
* Only its tree shows that a dataset is deleted, so a listing needs one request per dataset.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from metastore.errors import InvalidInput
from metastore.http.client import LONGEST, Host
from metastore.parse import split_url
from metastore.storage.gitea._api import GiteaApi, GiteaNaming
from metastore.storage.hosted.connect import address_of, open_hosts
from metastore.storage.hosted.storage import HostedStorage

_API = "/api/v1"


class GiteaStorage(HostedStorage):
    """The datasets of one organisation or user on Gitea or Forgejo. Safe to share between threads.

    Args:
        rest: The API; see `open_gitea`.
        git: The host of the Git repositories.
        owner: The organisation or user; a user has to be the token's owner.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, owner: str, **options: Any) -> None:
        super().__init__((rest, git), GiteaApi(rest, owner), GiteaNaming(owner), **options)


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
