"""A stand-in for Solr: it has CKAN's schema, takes every document, and finds none."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EMPTY = {"responseHeader": {"status": 0}, "response": {"numFound": 0, "start": 0, "docs": []}, "facet_counts": {}}


def start(schema: Path) -> str:
    """Serve in a thread, and return the address.

    Args:
        schema: CKAN's own `schema.xml`.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wants_schema = "/schema" in self.path
            self.answer(schema.read_bytes() if wants_schema else json.dumps(EMPTY).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(json.dumps(EMPTY).encode())

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/solr/ckan"
