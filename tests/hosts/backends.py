"""Storages on emulated hosts, for the suites that run on every storage."""

from __future__ import annotations

from pathlib import Path

from metastore.storage.gitea.storage import GiteaStorage, open_gitea
from metastore.storage.github.connect import open_github
from metastore.storage.github.storage import GitHubStorage
from metastore.storage.gitlab.storage import GitLabStorage, open_gitlab
from metastore.storage.plain_git import PlainGitStorage, open_plain_git
from metastore.storage.port import Storage

from ..processes import SOAK
from . import gitea as gitea_emulator
from .git_server import GitServer
from .gitea import Gitea
from .github import TOKEN, GitHub
from .gitlab import GitLab
from .judges import judge


def github(folder: Path) -> GitHubStorage:
    """Return a storage of `physics` on a GitHub of its own."""
    hub = GitHub(folder)
    hub.judges.append(judge)
    hub.answer_directly()
    storage = open_github("github://physics", token=TOKEN, api_url=hub.url)
    storage.host._connection.sleep = _no_time_passes
    storage.hub = hub  # type: ignore[attr-defined]
    return storage


def gitlab(folder: Path) -> GitLabStorage:
    """Return a storage of `labs/physics` on a GitLab of its own."""
    hub = GitLab(folder / "gitlab", "labs/physics", in_process=not SOAK)
    hub.answer_directly()
    api = f"{hub.url}/api/v4"
    storage = open_gitlab("gitlab://labs/physics", token="glpat-ann", api_url=api, sleep=_no_time_passes)
    storage.hub = hub  # type: ignore[attr-defined]
    return storage


def gitea(folder: Path) -> GiteaStorage:
    """Return a storage of `physics` on a Gitea of its own."""
    hub = Gitea(folder / "gitea", in_process=not SOAK)
    hub.answer_directly()
    url = f"gitea://{hub.url.removeprefix('http://')}/physics"
    storage = open_gitea(url, token=gitea_emulator.TOKEN, sleep=_no_time_passes)
    storage.hub = hub  # type: ignore[attr-defined]
    return storage


def plain_git(folder: Path) -> PlainGitStorage:
    """Return a storage on a Git server on which somebody has made empty repositories for `physics`."""
    hub = GitServer(folder / "git", in_process=not SOAK)
    hub.answer_directly()
    for name in ("cars", "boats"):
        hub.make(f"physics/{name}.git")
    storage = open_plain_git(f"git+http://{hub.url.removeprefix('http://')}/{{owner}}/{{name}}.git", token="secret")
    storage.hub = hub  # type: ignore[attr-defined]
    return storage


def _no_time_passes(seconds: float) -> None:
    """In place of waiting: an emulated host lags by requests, and not by time."""


def stop(storage: Storage) -> None:
    """Take an emulated host away; raises what its judges found."""
    if hub := getattr(storage, "hub", None):
        hub.close()
