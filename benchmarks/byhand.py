"""The baselines of the benchmarks: the same writes by hand on pygit2, and a plain file."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any

import pygit2

ANN = pygit2.Signature("Ann Lee", "ann@example.org", 1_714_564_800, 0)
MAIN = "refs/heads/main"
_FOLDERS = ("", "/objects", "/objects/pack", "/refs", "/refs/heads", "/refs/tags")


class ByHand:
    """Descriptors in bare repositories, written with as little as gives the same files and the same durability.

    No check, no cache, no id to parse; one handle a repository is kept open.
    """

    def __init__(self, root: Path, *, sync: bool) -> None:
        self.root = str(root)
        self.sync = sync
        self.kept: dict[str, pygit2.Repository] = {}
        os.makedirs(f"{self.root}/tmp", exist_ok=True)
        os.makedirs(f"{self.root}/owner", exist_ok=True)

    def create(self, name: str, descriptor: Any) -> None:
        aside, target = f"{self.root}/tmp/{secrets.token_hex(8)}", f"{self.root}/owner/{name}.git"
        for folder in _FOLDERS:
            os.mkdir(aside + folder)
        config = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
        _write(f"{aside}/config", config + ("\tfsyncObjectFiles = true\n" if self.sync else ""), self.sync)
        _write(f"{aside}/HEAD", f"ref: {MAIN}\n", self.sync)
        self._commit(pygit2.Repository(aside), descriptor, [])
        if self.sync:
            for folder in ("/refs/heads", "/refs", ""):
                _sync(aside + folder)
        os.rename(aside, target)
        if self.sync:
            _sync(os.path.dirname(target))
            _sync(os.path.dirname(aside))

    def update(self, name: str, descriptor: Any) -> None:
        repository = self.repository(name)
        self._commit(repository, descriptor, [repository.references[MAIN].target])

    def update_locked(self, name: str, descriptor: Any) -> None:
        """Update beside other writers: everything but the reference is made before the lock is taken."""
        repository = self.repository(name)
        tree = self._tree(repository, descriptor)
        with open(f"{self.root}/{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            head = repository.references[MAIN].target
            repository.create_commit(MAIN, ANN, ANN, "Update dataset", tree, [head])
            if self.sync:
                _sync(f"{repository.path}objects")

    def repository(self, name: str) -> pygit2.Repository:
        if name not in self.kept:
            self.kept[name] = self.open(name)
        return self.kept[name]

    def open(self, name: str) -> pygit2.Repository:
        return pygit2.Repository(f"{self.root}/owner/{name}.git")

    def blob(self, name: str) -> pygit2.Oid:
        """The newest descriptor's blob."""
        repository = self.repository(name)
        return repository[repository.references[MAIN].target].tree["datapackage.json"].id

    def read_opened(self, name: str) -> Any:
        repository = self.open(name)
        return json.loads(repository[repository.references[MAIN].target].tree["datapackage.json"].data)

    def _commit(self, repository: pygit2.Repository, descriptor: Any, parents: list[Any]) -> None:
        tree = self._tree(repository, descriptor)
        repository.create_commit(MAIN, ANN, ANN, "Update dataset", tree, parents)
        if self.sync:
            _sync(f"{repository.path}objects")

    def _tree(self, repository: pygit2.Repository, descriptor: Any) -> pygit2.Oid:
        content = json.dumps(descriptor, indent=2, ensure_ascii=False).encode() + b"\n"
        builder = repository.TreeBuilder()
        builder.insert("datapackage.json", repository.create_blob(content), pygit2.enums.FileMode.BLOB)
        return builder.write()


class PlainFile:
    """A file a dataset, replaced as a whole; no history."""

    def __init__(self, root: Path, *, sync: bool) -> None:
        self.root = str(root)
        self.sync = sync
        os.makedirs(self.root)

    def write(self, name: str, descriptor: Any) -> None:
        path = f"{self.root}/{name}.json"
        _write(f"{path}.new", json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n", self.sync)
        os.replace(f"{path}.new", path)
        if self.sync:
            _sync(self.root)

    def read(self, name: str) -> Any:
        with open(f"{self.root}/{name}.json", "rb") as file:
            return json.loads(file.read())


def _write(path: str, text: str, sync: bool) -> None:
    with open(path, "wb") as file:
        file.write(text.encode())
        if sync:
            file.flush()
            os.fsync(file.fileno())


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
