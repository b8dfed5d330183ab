"""A stand-in for Solr: CKAN's schema, and as much searching as its lists, facets and search box need.

Words and the filters that CKAN's pages send are understood. A query of a single dataset finds none, so that CKAN reads
its database, which is right at any time.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Document = Mapping[str, Any]
Query = Mapping[str, list[str]]

#: What a filter may name. The others (the site, who may see it) are the same for everything that is public.
_FILTERS = frozenset({"state", "capacity", "dataset_type", "owner_org", "organization", "groups", "tags", "res_format"})
_WORDS = ("name", "title", "notes", "tags", "organization", "res_name")
_FILTER = re.compile(r'(\w+):(?:"([^"]*)"|\(([^)]*)\)|([^\s()]+))')


class Index:
    """The documents that CKAN has sent, by dataset."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._lock = threading.Lock()

    def change(self, body: bytes, content_type: str) -> None:
        """Take documents (JSON), or forget some (XML: the delete that CKAN sends)."""
        with self._lock:
            if "json" in content_type:
                self._documents |= {each["id"]: each for each in json.loads(body)}
            elif b"<delete>" in body:
                one = re.search(rb'id:(?:"|&quot;)([0-9a-f-]{36})', body)
                gone = [one[1].decode()] if one else list(self._documents)
                self._documents = {id: each for id, each in self._documents.items() if id not in gone}

    def select(self, query: Query) -> dict[str, Any]:
        """Answer a query, newest change first, or by name or title if that is asked for."""
        with self._lock:
            found = [each for each in self._documents.values() if _matches(each, query)]
        field, _, way = query.get("sort", [""])[0].split(",")[0].strip().partition(" ")
        by_name = field in ("name", "title_string")
        found.sort(key=lambda each: str(each.get(field if by_name else "metadata_modified")))
        if not by_name or way == "desc":
            found.reverse()
        start, rows = (int(query.get(name, [default])[0]) for name, default in (("start", "0"), ("rows", "10")))
        facets = {field: _counts(found, field) for field in query.get("facet.field", [])}
        response = {"numFound": len(found), "start": start, "docs": found[start : start + rows]}
        return {"responseHeader": {"status": 0}, "response": response, "facet_counts": {"facet_fields": facets}}


def _matches(document: Document, query: Query) -> bool:
    asked = query.get("q", ["*:*"])[0]
    if asked != "*:*" and ":" in asked:
        return False
    words = [] if asked == "*:*" else re.findall(r"\w+", asked.lower())
    text = " ".join(str(document.get(name, "")) for name in _WORDS).lower()
    filters = [found for each in query.get("fq", []) for found in _FILTER.findall(each) if found[0] in _FILTERS]
    return all(word in text for word in words) and all(
        set(_values(document, name)) & set([exact] if exact else re.split(r"\s+OR\s+", several or single))
        for name, exact, several, single in filters
    )


def _values(document: Document, name: str) -> list[str]:
    found = document.get(name)
    return [str(each) for each in (found if isinstance(found, list) else [found]) if each]


def _counts(found: list[Document], field: str) -> list[str | int]:
    """Value, count, value, count, as Solr writes a facet."""
    counts = Counter(value for each in found for value in set(_values(each, field)))
    return [part for pair in counts.most_common() for part in pair]


def start(schema: Path) -> str:
    """Serve in a thread, and return the address.

    Args:
        schema: CKAN's own `schema.xml`.
    """
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            wants_schema = "/schema" in url.path
            self.answer(schema.read_bytes() if wants_schema else _json(index.select(parse_qs(url.query))))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "/select" in self.path:  # what is too long for an address
                self.answer(_json(index.select(parse_qs(body.decode()))))
            else:
                index.change(body, self.headers.get("Content-Type", ""))
                self.answer(_json({"responseHeader": {"status": 0}}))

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


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
