"""How to call the service: its OpenAPI description at `/openapi.json`, and the page at `/docs` that shows it.

The page is Swagger UI, kept beside it and loaded from nowhere else.
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
#: What the page loads, and the licences of that: name -> folder and media type.
_FILES = {
    "docs.js": ("docs", "text/javascript"),
    "swagger-ui-bundle.js": ("swagger-ui", "text/javascript"),
    "swagger-ui.css": ("swagger-ui", "text/css"),
    "LICENSE": ("swagger-ui", "text/plain"),
    "NOTICE": ("swagger-ui", "text/plain"),
}
#: Nothing from elsewhere, no script and no style within the page. The style sheet has pictures in `data:` URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@description.get("/openapi.json")
def openapi() -> Response:
    """Answer with the description, whose addresses are those of this service."""
    return _answer(_described(request.root_path), JSON)


@description.get("/docs")
def docs() -> Response:
    """Answer with the page."""
    response = _answer(_read("docs", "page.html"), "text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@description.get("/docs/<file>")
def docs_file(file: str) -> Response:
    """Answer with a part of the page. Raises NotFound: it has no such part."""
    if file not in _FILES:
        raise NotFound(f"the page has no part {file[:60]!r}")
    folder, media_type = _FILES[file]
    return _answer(_read(folder, file), media_type)


def load() -> dict[str, Any]:
    """Read the description as it is kept."""
    import yaml

    # libyaml takes 50 ms and Python 370, so it is used where PyYAML was built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load((_DATA / "openapi.yaml").read_bytes(), loader)  # noqa: S506 - a safe one
    return found


def refuse_unknown_parameters() -> None:
    """Refuse a parameter in the query that the description does not have: passed over, it would change the answer.

    Raises:
        InvalidInput: There is one; the message names those that are alike, or all.
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
    """Return the names of the query's parameters by method and path, without the names in the path."""
    document = load()
    components = document["components"]["parameters"]
    table = {}
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "put", "post", "patch", "delete"}:
            listed = [*item.get("parameters", ()), *item[method].get("parameters", ())]
            whole = [components[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in listed]
            names = frozenset(each["name"] for each in whole if each["in"] == "query")
            table[method, re.sub("{[^}]*}", "{}", path)] = names
    return table


@lru_cache(32)
def _described(root: str) -> bytes:
    """Return the description as JSON.

    Args:
        root: The path under which the service is mounted. Where a proxy has it in public the service cannot know, so
            the address is a path alone, which is relative to where the description was read.
    """
    return json.dumps({**load(), "servers": [{"url": root or "/"}]}, ensure_ascii=False).encode()


@lru_cache(32)
def _read(folder: str, name: str) -> bytes:
    return (_DATA / folder / name).read_bytes()


@lru_cache(32)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _answer(content: bytes, media_type: str) -> Response:
    """Answer with what changes only with a new version of the service."""
    response = Response(content, mimetype=media_type)
    response.set_etag(_digest(content))
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.make_conditional(request)
    return response
