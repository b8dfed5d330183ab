"""Datasets as repositories of an organisation or user on Gitea or Forgejo: `gitea://host/owner`.

What is Git's is done by Git over HTTP: see `metastore.storage.hosted.storage`. Both run Git's own `receive-pack`, which
carries out a push only if each reference still has the value that it was computed from. What is Gitea's is done by
REST: making, listing, moving and deleting repositories, and issues.

What Gitea cannot do at once, and what becomes of it:

* A dataset is made by making an empty repository and pushing to it. An empty repository is no dataset; the next
  `create` uses it. A `create` that fails between the two has ended the forwarding from that id.
* A move renames the repository. A revision that somebody else pushes at that moment moves along.
* A purge renames the repository, which frees the id, looks whether somebody has pushed meanwhile, in which case it is
  named back, and only then deletes it. A write that reaches it in between is not acknowledged.
* Moves to another owner are refused.
* A deletion can only be told by its tree, so a listing asks once for each dataset.
"""

from __future__ import annotations

from typing import Any

from metastore.http.client import Host
from metastore.storage.gitea._api import GiteaApi, GiteaNaming
from metastore.storage.hosted.storage import HostedStorage


class GiteaStorage(HostedStorage):
    """Datasets of one organisation or user on a Gitea or Forgejo. Safe to share between threads.

    Args:
        rest: The API; see `metastore.storage.gitea.connect`.
        git: Where Git's repositories are.
        owner: The organisation or user; a user has to be the token's owner.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, owner: str, **options: Any) -> None:
        super().__init__((rest, git), GiteaApi(rest, owner), GiteaNaming(owner), **options)
