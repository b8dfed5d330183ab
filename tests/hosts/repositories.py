"""Bare repositories of an emulated host, and Git over HTTP: by Git's own server, or a quick one in this process."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

from . import smart_server
from .git_server import run_backend
from .server import Reply, Request


def make(root: Path, folder: Path) -> None:
    """Make an empty repository, configured as hosts configure Git."""
    template = root / "template.git"
    if not template.exists():
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", template], check=True)
        with (template / "config").open("a") as config:
            config.write("[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n")
            config.write("[http]\n\treceivepack = true\n")
    shutil.copytree(template, folder)


def is_empty(folder: Path) -> bool:
    return not (any(folder.glob("refs/*/*")) or (folder / "packed-refs").exists())


def answer(root: Path, folder: Path, below: str, request: Request, *, quick: bool, refuses_pointers: bool) -> Reply:
    """Answer a request of Git's protocol to a repository; quickly only to clients other than Git."""
    if not quick or request.headers.get("user-agent", "").startswith("git"):
        return run_backend(root, f"/{folder.name}{below}", request)
    body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
    kind, content = smart_server.serve(
        str(folder), below, urlencode(request.query), body, refuses_pointers=refuses_pointers
    )
    return Reply(200, content, {"Content-Type": kind})
