"""A plain Git host: Git's own `git http-backend` over bare repositories, with accounts; and nginx in front of it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from ..waiting import free_port, reachable, until
from . import repositories
from .server import HostServer, Reply, Request

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class GitServer(HostServer):
    """Serves the bare repositories `OWNER/NAME.git` in a folder.

    `tokens` maps passwords to their owners, and `users` says which user name goes with a password; any, if it names
    none. Those in `readers` may not push.

    Args:
        root: The folder.
        in_process: Whether to answer without a program of Git, to clients other than Git.
    """

    def __init__(self, root: Path, *, in_process: bool = False) -> None:
        self.root, self.in_process = root, in_process
        self.users: dict[str, str] = {}
        self.readers: set[str] = set()
        #: Whether the server knows the header `Git-Protocol`; old ones and some proxies drop it.
        self.knows_protocol = True
        #: Where repositories went, by path.
        self.moved: dict[str, str] = {}
        super().__init__()
        self.tokens["secret"] = "ann"

    def take(self, other: GitServer) -> None:
        shutil.copytree(other.root, self.root, dirs_exist_ok=True)

    def make(self, path: str, **config: str) -> Path:
        """Make an empty repository with some configuration, such as `receive_fsckObjects="true"`."""
        folder = self.root / path
        if self.in_process and not config:
            repositories.make(self.root, folder)
            return folder
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder], check=True)
        for name, value in {"http_receivepack": "true", **config}.items():
            key = name.replace("_", ".", 1)
            subprocess.run(["git", "-C", folder, "config", key, value], check=True)
        return folder

    def hook(self, path: str, script: str) -> None:
        """Let a repository run a script before it takes a push."""
        file = self.root / path / "hooks/pre-receive"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def who(self, request: Request) -> str | None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        user, _, password = base64.b64decode(value).decode().partition(":")
        return self.tokens.get(password) if self.users.get(password, user) == user else None

    def answer(self, request: Request) -> Reply:
        found = re.fullmatch(r"/(.+\.git)(/info/refs|/git-upload-pack|/git-receive-pack)", request.path)
        user = self.who(request)
        if user is None:
            return Reply(401, b"Who are you?\n", {"WWW-Authenticate": 'Basic realm="Git"'})
        if found and found[1] in self.moved:
            query = f"?{urlencode(request.query)}" if request.query else ""
            return Reply(301, b"", {"Location": f"{self.url}/{self.moved[found[1]]}{found[2]}{query}"})
        if not found or not (self.root / found[1]).is_dir():
            return Reply(404, b"There is no such repository.\n", {"Content-Type": "text/plain"})
        if user in self.readers and "receive-pack" in (found[2] + request.query.get("service", "")):
            return Reply(403, b"You may only read.\n", {"Content-Type": "text/plain"})
        if self.in_process:
            folder = self.root / found[1]
            return repositories.answer(self.root, folder, found[2], request, quick=True, refuses_pointers=False)
        return repositories.run_backend(self.root, request.path, request, protocol=self.knows_protocol)


@contextmanager
def nginx(folder: Path, upstream: str, *settings: str) -> Iterator[str]:
    """Run nginx in front of a server, with further settings of its `server` block; yield its address."""
    assert NGINX
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid nginx.pid; error_log error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass {upstream}; proxy_http_version 1.1; }}
                {" ".join(settings)}
            }}
        }}""")
    process = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
    try:
        until(lambda: reachable(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
