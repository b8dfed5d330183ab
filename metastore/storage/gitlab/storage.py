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

from typing import Any

from metastore.http.client import Host
from metastore.storage.gitlab._api import GitLabApi, GitLabNaming
from metastore.storage.hosted.storage import HostedStorage


class GitLabStorage(HostedStorage):
    """The datasets in one GitLab group. The last part of its path is their owner. Safe to share between threads.

    Args:
        rest: The API; see `metastore.storage.gitlab.connect`.
        git: The host of the Git repositories.
        group: The group's full path, such as `labs/physics`.
        **options: `private`, `description`, `topic` and `cache_bytes`, as of `HostedStorage`.
    """

    def __init__(self, rest: Host, git: Host, group: str, **options: Any) -> None:
        naming = GitLabNaming(group.rpartition("/")[2])
        super().__init__((rest, git), GitLabApi(rest, group), naming, **options)
