"""Real servers for tests: `metastore serve`, and nginx in front of it, on loopback."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from metastore.auth.tokens import issue
from metastore.config import load, own_secret

from .waiting import children, free_port, reachable, until

BIN = Path(sys.executable).parent
NGINX = Path(__file__).parent.parent / "examples" / "deploy" / "nginx.conf"
_CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("METASTORE_", "PROMETHEUS_"))}


class Answer:
    """The answer to a request."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _opened(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error


class Served:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder
        secret = own_secret(load({"METASTORE_STORE": str(folder / "store")}))
        self.token = issue(
            secret, user="ann", scopes=["ds:*:*"], expires=timedelta(hours=1), now=time.time(), name="Ann Lee"
        )

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        *,
        port: int | None = None,
        exact: Mapping[str, str] = MappingProxyType({}),
        **headers: str,
    ) -> Answer:
        """Send one request; `If_Match="…"` is a header. A body is sent as JSON, with a token.

        Raises OSError where the connection is cut anywhere in the response.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | dict(exact)
        if method != "GET":
            sent |= {"Authorization": f"Bearer {self.token}"}
        data = json.dumps(body).encode() if body is not None else None
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port or self.port}{path}", data, method=method, headers=sent
        )
        try:
            with _opened(request) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:  # cut in the middle of the answer
            raise ConnectionError(f"the answer was cut: {error!r}") from error

    def connect(self, port: int | None = None) -> socket.socket:
        """Open a connection, to misbehave on it."""
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=60)

    def workers(self) -> list[int]:
        """Return the ids of the processes that answer."""
        return children(self.process.pid)

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def log(self, name: str) -> str:
        return (self.folder / name).read_text()


@contextmanager
def served(folder: Path, *options: str, **environment: str) -> Iterator[Served]:
    """Run `metastore serve` with a store in a folder, on a port that is free."""
    command = [BIN / "metastore", "serve", "--port", "0", "--store", folder / "store", *options]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**_CLEAN, **environment}, cwd=folder)
    try:
        until(lambda: "at http://" in (folder / "err").read_text() or process.poll() is not None)
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", (folder / "err").read_text())
        assert found, (folder / "err").read_text()
        yield Served(process, int(found[1]), folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


@contextmanager
def behind_nginx(port: int, folder: Path, edit: Callable[[str], str] = str) -> Iterator[int]:
    """Run a real nginx with the configuration that we ship, edited, in front of a port; yields its own port."""
    ours = free_port()
    site = NGINX.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("listen 80;", f"listen {ours};")
    (folder / "site.conf").write_text(edit(site))
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    user = "user root;" if os.getuid() == 0 else ""  # who may write into our folder
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; error_log {folder}/nginx.err; pid {folder}/nginx.pid;\n"
        f"events {{ worker_connections 4096; }}\n"
        f"http {{ access_log off; {places} include {folder}/site.conf; }}\n"
    )
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "nginx.err"])
    try:
        until(lambda: reachable(ours))
        yield ours
    finally:
        process.terminate()
        process.wait(60)
