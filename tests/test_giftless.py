"""Data beside the metadata, end to end with software that others wrote: git, git-lfs and the LFS server giftless.

giftless needs older packages than we do, so it is in an environment of its own, which `make` makes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.types import DatasetId

from .conftest import ANN

READY = Path(__file__).parents[1] / ".venv-giftless/ready"
GUNICORN = READY.parent / "bin/gunicorn"
CARS = DatasetId("physics", "cars")
FIRST = {"x.csv": b"a,b\n1,2\n", "data dir/y z.csv": b"\x00\xff" * 500_000, "empty.csv": b""}
SECOND = {**FIRST, "x.csv": b"a,b\n3,4\n"}

pytestmark = [
    pytest.mark.skipif(not READY.exists(), reason="there is no giftless: make giftless"),
    pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed"),
]


@pytest.fixture
def giftless(tmp_path: Path) -> Iterator[str]:
    """Serve giftless with anybody's uploads; yields its address."""
    config = {
        "LEGACY_ENDPOINTS": False,
        "AUTH_PROVIDERS": ["giftless.auth.allow_anon:read_write"],
        "TRANSFER_ADAPTERS": {"basic": {"options": {"storage_options": {"path": str(tmp_path / "lfs-storage")}}}},
    }
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "giftless.log").open("wb") as log:
        command = [GUNICORN, "--bind", f"fd://{listener.fileno()}", "--threads", "8", "giftless.wsgi_entrypoint:app"]
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "GIFTLESS_CONFIG_STR": json.dumps(config)},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def store(tmp_path: Path, giftless: str) -> Iterator[metastore.MetaStore]:
    url = f"{giftless}/{{owner}}/{{name}}.git/info/lfs"
    with metastore.connect(tmp_path / "store", author=ANN, sync=False, lfs_url=url, validation="off") as made:
        yield made


class Person:
    """Somebody with git and git-lfs, who knows nothing of MetaStore."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.source = home / "store/physics/cars.git"
        self.environment = {**os.environ, "HOME": str(home), "GIT_TERMINAL_PROMPT": "0"}
        self.git("lfs", "install", "--skip-repo")

    def git(self, *arguments: str | Path, **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments], env=self.environment | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def clone(self, name: str, *options: str, **environment: str) -> Path:
        self.git("clone", "-q", *options, self.source, self.home / name, **environment)
        return self.home / name

    def upload(self, name: str, contents: dict[str, bytes]) -> None:
        """Put the real files in place of the pointers of a clone, and push them."""
        clone = self.clone(name, GIT_LFS_SKIP_SMUDGE="1")
        for path, content in contents.items():
            (clone / path).write_bytes(content)
        self.git("-C", clone, "add", ".")
        assert self.git("-C", clone, "status", "--porcelain") == ""  # git-lfs would have written the same pointers
        self.git("-C", clone, "lfs", "push", "--all", "origin")


def described(contents: dict[str, bytes]) -> dict[str, Any]:
    resources = [
        {"name": str(number), "path": path, "hash": f"sha256:{hashlib.sha256(content).hexdigest()}"}
        for number, (path, content) in enumerate(contents.items())
    ]
    for each in resources:
        each["bytes"] = len(contents[each["path"]])  # type: ignore[assignment]
    return {"resources": resources}


def files(clone: Path, contents: dict[str, bytes]) -> dict[str, bytes]:
    return {path: (clone / path).read_bytes() for path in contents}


def test_what_was_uploaded_comes_with_a_clone_of_each_revision(store: metastore.MetaStore, tmp_path: Path) -> None:
    person = Person(tmp_path)
    store.dataset_create(CARS, described(FIRST))
    person.upload("first", FIRST)
    store.tag_create(CARS, "v1")
    store.dataset_update(CARS, described(SECOND))
    person.upload("second", SECOND)
    newest, older = person.clone("newest"), person.clone("older", "--branch", "v1")
    assert files(newest, SECOND) == SECOND
    assert files(older, FIRST) == FIRST
    for clone in (newest, older):
        assert person.git("-C", clone, "status", "--porcelain") == ""
        person.git("-C", clone, "lfs", "fsck")


def test_what_was_never_uploaded_is_said_by_git_and_not_invented(store: metastore.MetaStore, tmp_path: Path) -> None:
    person = Person(tmp_path)
    store.dataset_create(CARS, described(FIRST))
    with pytest.raises(AssertionError, match=r"Smudge error.* 404 Not Found"):
        person.clone("clone")
