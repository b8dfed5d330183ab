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

from typing import Any

from metastore.http.client import Host
from metastore.storage.gitea._api import GiteaApi, GiteaNaming
from metastore.storage.hosted.storage import HostedStorage


class GiteaStorage(HostedStorage):
    """The datasets of one organisation or user on Gitea or Forgejo. Safe to share between threads.

    Args:
        rest: The API; see `metastore.storage.gitea.connect`.
        git: The host of the Git repositories.
        owner: The organisation or user; a user has to be the token's owner.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, owner: str, **options: Any) -> None:
        super().__init__((rest, git), GiteaApi(rest, owner), GiteaNaming(owner), **options)
