"""A Git LFS server for tests: the batch API and basic downloads (git-lfs `docs/api/batch.md`), on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LfsServer:
    """Serves what was given to `keep`; `asked` are the paths of the batch requests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keep(self, content: bytes) -> str:
        """Keep an object; returns its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        self.objects[digest] = content
        return digest

    def _batch(self, path: str, request: Any) -> Any:
        self.asked.add(path)
        objects = [
            {**each, "actions": {"download": {"href": f"{self.url}/{each['oid']}"}}}
            if each["oid"] in self.objects
            else {**each, "error": {"code": 404, "message": "not here"}}
            for each in request["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(server._batch(self.path, request)).encode()
                self._send(200, answer, "application/vnd.git-lfs+json")

            def do_GET(self) -> None:
                content = server.objects.get(self.path.lstrip("/"))
                self._send(404 if content is None else 200, content or b"", "application/octet-stream")

            def _send(self, status: int, content: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler
