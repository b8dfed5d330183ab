"""Datasets as projects in a GitLab group, `gitlab://group/subgroup`, over GitLab's own API and Git's protocol.

What is Git's is done by Git over HTTP: see `metastore.storage.hosted.storage`. GitLab carries out a push only if each
reference still has the value that it was computed from. The API's own commits know no such comparison, take no dates,
and their answers have no trees. What is GitLab's is done by REST.

What GitLab cannot do at once, and what becomes of it:

* A dataset is made by making an empty project and pushing to it. An empty project is no dataset; the next `create` uses
  it. A `create` that fails between the two has ended the forwarding from that id.
* A move renames the project. A revision that somebody else pushes at that moment moves along.
* A purge renames the project, which frees the id, looks whether somebody has pushed meanwhile, in which case it is
  named back, and only then deletes it. A write that reaches it in between is not acknowledged. GitLab deletes later,
  and may keep what is deleted for as many days as it is set to.
* Moves to another group are refused.
* A deletion can only be told by its tree, so a listing asks once for each dataset.
"""

from __future__ import annotations

from typing import Any

from metastore.http.client import Host
from metastore.storage.gitlab._api import GitLabApi, GitLabNaming
from metastore.storage.hosted.storage import HostedStorage


class GitLabStorage(HostedStorage):
    """Datasets in one group of a GitLab, whose last part is their owner. Safe to share between threads.

    Args:
        rest: The API; see `metastore.storage.gitlab.connect`.
        git: Where Git's repositories are.
        group: The group's full path, such as `labs/physics`.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, group: str, **options: Any) -> None:
        naming = GitLabNaming(group.rpartition("/")[2])
        super().__init__((rest, git), GitLabApi(rest, group), naming, **options)
