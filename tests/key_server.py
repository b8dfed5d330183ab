"""A server of keys on loopback, that can be told what to answer, and counts who asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KeyServer:
    """Answers `status` and `body`, with `headers`; each is set by the test."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b"", {}
        self.asked = 0
        self.open = threading.Event()  # cleared: answers wait
        self.open.set()
        self.url = ""

    def answer(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status, self.headers = status, headers


@contextmanager
def key_server() -> Iterator[KeyServer]:
    told = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked += 1
            told.open.wait(30)
            self.send_response(told.status)
            for name, value in {**told.headers, "Content-Length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/keys"
    try:
        yield told
    finally:
        told.open.set()
        server.shutdown()
        thread.join()
        server.server_close()
