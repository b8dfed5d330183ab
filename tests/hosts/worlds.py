"""Emulated hosts that begin alike, one after the other, for tests that let something go wrong at every request."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metastore.storage.gitea.storage import open_gitea
from metastore.storage.github.connect import open_github
from metastore.storage.gitlab.storage import open_gitlab
from metastore.storage.plain_git import open_plain_git

from ..processes import SOAK, fsck
from . import gitea as gitea_emulator
from .git_server import GitServer
from .gitea import Gitea
from .github import TOKEN, GitHub
from .gitlab import GitLab
from .server import HostServer

#: Each kind of host, with the repositories that somebody else makes where Git alone makes none.
KINDS: dict[str, Callable[[Path], HostServer]] = {
    "github": GitHub,
    "gitlab": lambda folder: GitLab(folder / "gitlab", "labs/physics", in_process=not SOAK),
    "gitea": lambda folder: Gitea(folder / "gitea", in_process=not SOAK),
    "git+https": lambda folder: GitServer(folder / "git", in_process=not SOAK),
}


def open_on(hub: HostServer, slept: list[float], **options: Any) -> Any:
    """Open a storage of `physics`; in place of waiting, it notes the seconds, which pass on its clock alone."""
    server = hub.url.removeprefix("http://")
    storage: Any
    match hub:
        case GitHub():
            storage = open_github("github://physics", token=TOKEN, api_url=hub.url, **options)
        case GitLab():
            storage = open_gitlab("gitlab://labs/physics", token="glpat-ann", api_url=f"{hub.url}/api/v4", **options)
        case Gitea():
            storage = open_gitea(f"gitea://{server}/physics", token=gitea_emulator.TOKEN, **options)
        case _:
            storage = open_plain_git(f"git+http://{server}/{{owner}}/{{name}}.git", token="secret", **options)
    for host in storage.hosts:
        host._connection.sleep = host.waiting = slept.append
        host._clock = lambda: time.time() + sum(slept)
    return storage


class Worlds:
    """Worlds that begin alike, each made when it is first asked for: `worlds["gitea"]`. Use them in `with`.

    Args:
        folder: Where the hosts keep their repositories.
        prepare: Makes what each host begins with, on a storage.
        rooms: The empty repositories that are there on a host that makes none by itself.
    """

    def __init__(self, folder: Path, prepare: Callable[[Any], object], rooms: tuple[str, ...] = ()) -> None:
        self._folder, self._prepare, self._rooms = folder, prepare, rooms
        self._made: dict[str, World] = {}

    def __getitem__(self, kind: str) -> World:
        if kind not in self._made:
            self._made[kind] = World(kind, self._folder / kind.partition("+")[0], self._prepare, self._rooms)
        return self._made[kind]

    def __enter__(self) -> Worlds:
        return self

    def __exit__(self, *error: object) -> None:
        for each in self._made.values():
            each.close()


class World:
    """Hosts of one kind, one at a time, each of which holds what was prepared on the first one; see `Worlds`."""

    def __init__(self, kind: str, folder: Path, prepare: Callable[[Any], object], rooms: tuple[str, ...]) -> None:
        self.kind = kind
        self._folder, self._number = folder, 0
        self.slept: list[float] = []
        self._opened: list[Any] = []
        self._hub: HostServer | None = None
        self._example = self._new()
        if isinstance(self._example, GitServer):
            for room in rooms:
                self._example.make(room)
        prepare(self._open(self._example))
        self._close_storages()

    @property
    def hub(self) -> HostServer:
        """The present host."""
        assert self._hub
        return self._hub

    def start(self) -> Any:
        """Begin again with another host; return a storage on it."""
        self._stop()
        self._hub = self._new()
        self._hub.take(self._example)
        return self.open()

    def open(self, **options: Any) -> Any:
        """Open another storage on the present host."""
        return self._open(self.hub, **options)

    def close(self) -> None:
        self._stop()
        self._example.close()

    def _new(self) -> HostServer:
        self._number += 1
        hub: Any = KINDS[self.kind](self._folder / str(self._number))
        hub.list_lag = 0  # tests look at the whole state, by a list
        return hub  # type: ignore[no-any-return]

    def _open(self, hub: HostServer, **options: Any) -> Any:
        made = open_on(hub, self.slept, **{"timeout": 30.0, **options})
        self._opened.append(made)
        return made

    def _close_storages(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def _stop(self) -> None:
        self._close_storages()
        if self._hub:
            self._hub.close()
            if SOAK:
                fsck(self._folder / str(self._number))
