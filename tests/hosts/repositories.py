"""Bare repositories of an emulated host, and Git over HTTP: by Git's own server, or a quick one in this process."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

from . import smart_server
from .server import Reply, Request

BACKEND = f"{subprocess.check_output(['git', '--exec-path'], text=True).strip()}/git-http-backend"


def run_backend(root: Path, path: str, request: Request, *, protocol: bool = True) -> Reply:
    """Let `git http-backend` answer a request to `path` below a folder; see gitprotocol-http(5)."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": urlencode(request.query),
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", "") if protocol else "",
        "REMOTE_USER": "somebody",
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run([BACKEND], input=request.body, env=environment, capture_output=True, check=False)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(headers.pop("Status", "200").split()[0])
    return Reply(status, content, headers)


def make(root: Path, folder: Path) -> None:
    """Make an empty repository, configured as hosts configure Git."""
    template = root / "template.git"
    if not template.exists():
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "--template=", template], check=True)
        with (template / "config").open("a") as config:
            config.write("[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n")
            config.write("[http]\n\treceivepack = true\n")
    shutil.copytree(template, folder)
    (folder / "hooks").mkdir()


def is_empty(folder: Path) -> bool:
    return not (any(folder.glob("refs/*/*")) or (folder / "packed-refs").exists())


def answer(root: Path, folder: Path, below: str, request: Request, *, quick: bool, refuses_pointers: bool) -> Reply:
    """Answer a request of Git's protocol to a repository; quickly only to clients other than Git."""
    if not quick or request.headers.get("user-agent", "").startswith("git"):
        return run_backend(root, f"/{folder.relative_to(root)}{below}", request)
    body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
    kind, content = smart_server.serve(
        str(folder), below, urlencode(request.query), body, refuses_pointers=refuses_pointers
    )
    return Reply(200, content, {"Content-Type": kind})
