"""The OpenAPI description at `/openapi.json`, and the page at `/docs` that shows it.

The page is Swagger UI, which comes with this package: it loads nothing from elsewhere.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from metastore.errors import InvalidInput
from metastore.service.requests import JSON
from metastore.wording import shortened

description = Blueprint("description", __name__)
_DATA = files("metastore") / "data"
#: The files that the page loads, and their licences: name -> folder and media type.
_FILES = {
    "docs.js": ("docs", "text/javascript"),
    "swagger-ui-bundle.js": ("swagger-ui", "text/javascript"),
    "swagger-ui.css": ("swagger-ui", "text/css"),
    "LICENSE": ("swagger-ui", "text/plain"),
    "NOTICE": ("swagger-ui", "text/plain"),
}
#: Nothing from elsewhere, no inline script or style. The style sheet has pictures in `data:` URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@description.get("/openapi.json")
def openapi() -> Response:
    """Answer with the description, with the address of this service."""
    return _answer(_described(request.root_path), JSON)


@description.get("/docs")
def docs() -> Response:
    """Answer with the page."""
    response = _answer(_read("docs", "page.html"), "text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@description.get("/docs/<file>")
def docs_file(file: str) -> Response:
    """Answer with a file of the page. Raises NotFound: there is no such file."""
    if file not in _FILES:
        raise NotFound(f"the page has no part {file[:60]!r}")
    folder, media_type = _FILES[file]
    return _answer(_read(folder, file), media_type)


def load() -> dict[str, Any]:
    """Return the description as the package has it."""
    import yaml

    # libyaml takes 50 ms and Python 370. Not every PyYAML is built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load((_DATA / "openapi.yaml").read_bytes(), loader)  # noqa: S506 - a safe one
    return document


def refuse_unknown_parameters() -> None:
    """Refuse a query parameter that the description lacks: a misspelt filter must not widen the response unnoticed.

    Raises:
        InvalidInput: There is one; the message names similar parameters, or all.
    """
    if not request.args or request.url_rule is None or not request.url_rule.rule.startswith("/api/"):
        return
    method = "get" if request.method == "HEAD" else request.method.lower()
    known = _parameters().get((method, re.sub("<[^>]*>", "{}", request.url_rule.rule)))
    if known is None or not (unknown := [name for name in request.args if name not in known]):
        return
    near = difflib.get_close_matches(unknown[0], known, 2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(known)) or 'none'}"
    raise InvalidInput(f"{request.method} {request.path} has no parameter {shortened(unknown[0])}: {hint}")


@lru_cache(1)
def _parameters() -> dict[tuple[str, str], frozenset[str]]:
    """Return the names of query parameters by method and path. Braces in the path are empty."""
    document = load()
    components = document["components"]["parameters"]
    table = {}
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "put", "post", "patch", "delete"}:
            listed = [*item.get("parameters", ()), *item[method].get("parameters", ())]
            resolved = [components[item["$ref"].rpartition("/")[2]] if "$ref" in item else item for item in listed]
            names = frozenset(parameter["name"] for parameter in resolved if parameter["in"] == "query")
            table[method, re.sub("{[^}]*}", "{}", path)] = names
    return table


@lru_cache(32)
def _described(root: str) -> bytes:
    """Return the description as JSON.

    Args:
        root: The path that the service is mounted at. The service does not know the public address of a proxy, so the
            description has this path alone, which clients read relative to their own address.
    """
    return json.dumps({**load(), "servers": [{"url": root or "/"}]}, ensure_ascii=False).encode()


@lru_cache(32)
def _read(folder: str, name: str) -> bytes:
    return (_DATA / folder / name).read_bytes()


@lru_cache(32)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _answer(content: bytes, media_type: str) -> Response:
    """Answer with content that changes only with the version of the service."""
    response = Response(content, mimetype=media_type)
    response.set_etag(_digest(content))
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.make_conditional(request)
    return response
