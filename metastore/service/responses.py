"""Responses: bodies, entity-tags, caching, and the pages of lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from flask import Response, request
from werkzeug.http import http_date

from metastore.descriptor.document import encode_line
from metastore.parse import is_full_id
from metastore.service.context import service
from metastore.service.guard import identity, may_read
from metastore.service.requests import ENVELOPE, JSON, limit, wants_envelope, wants_little
from metastore.types import Dataset, DatasetId, Finding, Revision
from metastore.wire import to_wire

_Item = TypeVar("_Item")
#: A day, in seconds: by then, purged data is gone from caches.
_KEPT = 86_400
_VARY = "Authorization, Cookie, Accept, Accept-Encoding"
_http_date = lru_cache(http_date)


class Text(Response):
    """A response that may hold half of a surrogate pair, since Git accepts any bytes. It is escaped as in JSON."""

    def set_data(self, value: bytes | str) -> None:
        """Set the body."""
        super().set_data(value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value)


def answer(value: Any, status: int = 200, *, etag: str | None = None, revision: str | None = None) -> Response:
    """Answer with a value as JSON; `revision` is the revision that the URL names."""
    return _kept(_json(to_wire(value), status), etag, revision)


def _json(value: Any, status: int = 200) -> Response:
    return Text(encode_line(value), status, mimetype=JSON)


def streamed(parts: Iterable[str], media_type: str) -> Response:
    """Answer with text, one part at a time."""
    return _kept(Response((part.encode() for part in parts), mimetype=media_type), None, None)


def unchanged(etag: str, revision: str | None = None) -> Response:
    """Answer that the caller has this state already."""
    headers = [("ETag", f'"{etag}"'), ("Vary", _VARY), ("Cache-Control", _how_long(revision))]
    response = Text(status=304, headers=headers)
    del response.headers["Content-Type"]  # it has no body
    return response


def descriptor(dataset_id: DatasetId, stored: Revision, content: bytes, revision: str | None) -> Response:
    """Answer with a descriptor, byte for byte as it is stored, or in our envelope if the caller accepts that."""
    etag, media_type, body = f'"{stored.id}"', JSON, [content]
    if wants_envelope():  # another representation, so another tag; the id stays its beginning
        etag, media_type = f'"{stored.id}+envelope"', ENVELOPE
        body = _enveloped(dataset_id, stored, content, ())
    # Setting all headers at once takes a third of the time.
    headers = [
        ("Content-Type", media_type),
        ("ETag", etag),
        ("Last-Modified", _http_date(stored.created)),
        ("Vary", _VARY),
        ("Cache-Control", _how_long(revision)),
    ]
    return Text(body, headers=headers)


def raw(stored: Revision, content: bytes, revision: str | None) -> Response:
    """Answer with arbitrary bytes, in a way that no browser shows as a page."""
    response = Response(content, mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = 'attachment; filename="datapackage.json"'
    response.headers["Cache-Control"] = _how_long(revision)
    response.headers["Vary"] = _VARY
    response.set_etag(f"{stored.id}+raw")
    return response


def _enveloped(dataset_id: DatasetId, revision: Revision, content: bytes, findings: Iterable[Finding]) -> list[bytes]:
    """Put a descriptor into our envelope unchanged, as its last member."""
    head = json.dumps({"id": str(dataset_id), "revision": to_wire(revision), "findings": to_wire(list(findings))})
    return [head[:-1].encode(), b', "descriptor": ', content, b"}"]


def written(dataset: Dataset, status: int = 200, *, before: DatasetId | None = None) -> Response:
    """Answer a write with the stored descriptor and its findings.

    A caller who may not read the dataset gets an empty response. It has the revision's id only if the revision is
    theirs: a write that changes nothing returns an earlier revision. A dataset that the caller just created is shown,
    without the id of the deletion that it may follow.

    Args:
        dataset: The stored dataset.
        status: 201 for a created dataset.
        before: The dataset's id before a move, which decides whether the caller may read it.
    """
    is_readable = may_read(before or dataset.id)
    known = status == 201 or is_readable
    if wants_little() or not known:
        response = _empty(204 if status == 200 else status)
        if wants_little():
            response.headers["Preference-Applied"] = "return=minimal"
    else:
        revision = dataset.revision if is_readable else replace(dataset.revision, parent=None)
        parts = _enveloped(dataset.id, revision, dataset.bytes, dataset.findings)
        response = Response(parts, status, mimetype=ENVELOPE)
    if status == 201:
        response.headers["Location"] = path_of(dataset.id)
    response.headers["Content-Location"] = path_of(dataset.id)
    is_own = known or dataset.revision.author == identity().author
    return _fresh(response, dataset.revision.id if is_own else None)


def _empty(status: int) -> Response:
    """Return a response without a body, which has no media type either: Flask would say `text/html`."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def changed(value: Any, status: int = 200, *, etag: str | None = None, location: str | None = None) -> Response:
    """Answer a write that returns something other than a dataset."""
    response = _json(to_wire(value), status)
    if location is not None:
        response.headers["Location"] = location
    return _fresh(response, etag)


def gone(*, etag: str | None = None) -> Response:
    """Answer a write with an empty response."""
    return _fresh(_empty(204), etag)


def path_of(dataset_id: DatasetId, *more: str) -> str:
    """Return the path of a dataset, or of a part of it."""
    parts = (dataset_id.owner, dataset_id.name, *more)
    return f"{request.root_path}/api/v1/datasets/" + "/".join(quote(part, safe="") for part in parts)


def page(
    items: Iterable[_Item],
    after: Callable[[_Item], dict[str, str] | None],
    weight: Callable[[_Item], int] = lambda item: 0,
    most: int = 0,
) -> Response:
    """Answer with a page of a list, and a link to the next page.

    Args:
        items: The items from the beginning of the page on. One more than a page is read.
        after: Returns the parameters of the next page for the last item, or None if there is no next page.
        weight: Returns how much an item adds to the page.
        most: The weight beyond which a page ends.
    """
    shown, size, total = list[_Item](), limit(), 0
    for item in items:
        if len(shown) == size or total > most:
            return linked(shown, after(shown[-1]))
        shown.append(item)
        total += weight(item)
    return linked(shown, None)


def linked(shown: Sequence[Any], following: Mapping[str, str | None] | None) -> Response:
    """Answer with the items of a page, and a link to the next page (RFC 8288) if `following` has its parameters."""
    response = answer(shown)
    if following is not None:
        parameters = {**request.args.to_dict(), **following, "limit": str(limit())}
        query = urlencode({name: text for name, text in parameters.items() if text is not None})
        response.headers["Link"] = f'<{request.root_path}{quote(request.path)}?{query}>; rel="next"'
    return response


def _fresh(response: Response, etag: str | None) -> Response:
    response.headers["Cache-Control"] = "no-store"
    if etag is not None:
        response.headers["ETag"] = f'"{etag}"'
    return response


def _kept(response: Response, etag: str | None, revision: str | None) -> Response:
    if etag is not None:
        response.headers["ETag"] = f'"{etag}"'
    response.headers["Vary"] = _VARY
    response.headers["Cache-Control"] = _how_long(revision)
    return response


def _how_long(revision: str | None) -> str:
    """Return the `Cache-Control` of a read: the revision that a full id names never changes."""
    if revision is not None and is_full_id(revision):
        whose = "public" if service().settings.public_read else "private"
        return f"{whose}, max-age={_KEPT}, immutable"
    return "private, no-cache"
