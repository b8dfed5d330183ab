"""Errors as problem details (RFC 9457). One table maps classes to statuses; a class without one has its base's."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from metastore.errors import (
    AlreadyExists,
    AuthenticationError,
    BundleDeleted,
    Conflict,
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    MergeConflict,
    MetastoreError,
    NotADataset,
    NotADescriptor,
    NotFound,
    OutcomeUnknown,
    PathNotFound,
    PermissionDenied,
    RevisionConflict,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    TooLarge,
)
from metastore.parse import parse_dataset_id
from metastore.phrase import Phrase
from metastore.service.context import request_id
from metastore.service.guard import may_read
from metastore.service.metrics import metrics
from metastore.wire import to_wire

#: The media type of problem details.
PROBLEM = "application/problem+json"
#: The status of each class. `status_of` adds the cases that depend on the request.
STATUSES: dict[type[Exception], int] = {
    InvalidInput: 400,
    TooLarge: 413,
    AuthenticationError: 401,
    PermissionDenied: 403,
    NotFound: 404,
    Conflict: 409,
    DatasetDeleted: 410,
    BundleDeleted: 410,
    DatasetMoved: 308,
    StorageError: 503,
    StorageCorrupt: 500,
    NotADescriptor: 422,
    NotADataset: 422,
    OutcomeUnknown: 504,
}
#: The seconds after which a retry makes sense.
_RETRY_AFTER = {StorageBusy: 1, StorageError: 5}
#: The texts for failures of a storage, whose own messages name paths and hosts that only the operator may know.
_PLAINLY: dict[type[StorageError], str] = {
    StorageBusy: Phrase("The storage is busy: try again in a moment."),
    StorageError: Phrase(
        "The storage, or a server that this needs, does not answer or cannot be used: try again later."
    ),
    StorageCorrupt: Phrase("The stored data cannot be read. The log of the service has the details."),
    OutcomeUnknown: Phrase("The storage did not answer, or could not confirm the change"),
}
#: Stands for a revision id that the caller may not read.
_HIDDEN = "a newer one"
#: Attributes of errors that the document has elsewhere, or in another form.
_SAID = {"pointer", "problems", "missing"}
_log = logging.getLogger("metastore")


def install(app: Flask) -> None:
    """Make an application answer each error with a problem document."""
    app.register_error_handler(MetastoreError, of_ours)
    app.register_error_handler(HTTPException, of_werkzeug)
    app.register_error_handler(Exception, _of_unknown)


def status_of(error: MetastoreError) -> int:
    """Return the status of an error.

    An `InvalidInput` that points into a document is a 422: the document was parsed, and is not valid. A conflict with
    `If-Match` or `If-None-Match` is a 412.
    """
    if isinstance(error, InvalidInput) and error.pointer is not None:
        return 422
    if isinstance(error, RevisionConflict) and "If-Match" in request.headers:
        return 412
    if isinstance(error, AlreadyExists) and "If-None-Match" in request.headers:
        return 412
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def plainly(error: MetastoreError) -> MetastoreError:
    """Return an error of the same class without a storage's own message, which goes to the log."""
    if not isinstance(error, StorageError) or isinstance(error, NotADescriptor):
        return error
    if isinstance(error, NotADataset):
        return NotADataset(Phrase("What the store has at this id is not a dataset: it"), error.problem)
    _log.error("%s %s (request %s): %s", request.method, request.path, request_id(), error)
    kind = next(kind for kind in type(error).__mro__ if kind in _PLAINLY)
    if isinstance(error, OutcomeUnknown):
        readable = error.change is None or may_read(error.change.dataset_id)
        before, change = (error.before, error.change) if readable else (None, None)  # it names revisions of others
        told: str = _PLAINLY[kind]
        if error.wanted:
            told = Phrase("%(message)s, which makes %(wanted)s", message=told, wanted=error.wanted)
        return OutcomeUnknown(told, error.wanted, before=before, change=change)
    return type(error)(_PLAINLY[kind])


def problem(status: int, detail: str, kind: str, **members: Any) -> Response:
    """Make a problem document (RFC 9457); `kind` and `errors` are members of our own."""
    document = {"type": "about:blank", "title": _words(status), "status": status, "detail": detail, "kind": kind}
    document["request_id"] = request_id()
    text = json.dumps(document | to_wire(members), ensure_ascii=False)
    # Half of a surrogate pair is not valid UTF-8. This escapes it as JSON does.
    response = Response(text.encode("utf-8", "backslashreplace"), status, mimetype=PROBLEM)
    response.headers["Cache-Control"] = "no-store"
    return response


def of_ours(error: MetastoreError) -> Response:
    """Keep an error of ours as the caller may read it."""
    error = plainly(_for_the_caller(error))
    status = status_of(error)
    if isinstance(error, Conflict):
        metrics().conflicts.inc()
    facts = {name: value for name, value in vars(error).items() if name not in _SAID and value is not None}
    if isinstance(error, InvalidInput):
        facts["errors"] = [{"detail": detail, "pointer": pointer} for pointer, detail in error.problems]
    response = problem(status, str(error), error.kind, **facts)
    if isinstance(error, DatasetMoved):
        response.headers["Location"] = moved(error)
    for kind, seconds in _RETRY_AFTER.items():
        if status == 503 and isinstance(error, kind):
            response.headers.setdefault("Retry-After", str(seconds))
    if challenge := _challenge(error):
        response.headers["WWW-Authenticate"] = challenge
    return response


def _for_the_caller(error: MetastoreError) -> MetastoreError:
    """Return an error without facts that the caller may not read."""
    if isinstance(error, DatasetMoved) and not may_read(error.new_id):
        return DatasetNotFound(error.dataset_id)
    if isinstance(error, DatasetDeleted) and not may_read(parse_dataset_id(str(error.dataset_id))):
        return DatasetNotFound(error.dataset_id)  # the error names who deleted it and why
    if isinstance(error, RevisionConflict) and not _may_know_head(error.subject):
        return RevisionConflict(error.subject, error.expected, _HIDDEN)
    if isinstance(error, MergeConflict) and not _may_know_head(error.subject):
        return MergeConflict(error.subject, ())
    if isinstance(error, (NotADescriptor, PathNotFound)) and not _may_know_head(error.dataset_id):
        return InvalidInput("the stored content is not a descriptor, so it cannot be changed: replace it")
    return error


def _may_know_head(subject: object) -> bool:
    """Tell whether the caller may know the newest revision of a dataset or tag; anyone may read a bundle's."""
    text = str(subject).partition("@")[0]
    return "/" not in text or may_read(parse_dataset_id(text))


def _challenge(error: MetastoreError) -> str | None:
    """Return the value of `WWW-Authenticate` (RFC 6750, section 3), or None."""
    if isinstance(error, AuthenticationError):
        reason = "" if error.missing else f', error="invalid_token", error_description="{_quotable(str(error))}"'
        return f'Bearer realm="metastore"{reason}'
    if isinstance(error, PermissionDenied) and error.scope is not None:
        return f'Bearer realm="metastore", error="insufficient_scope", scope="{_quotable(error.scope)}"'
    return None


def _quotable(text: str) -> str:
    """Return a text for between the quotes of a challenge: printable ASCII without quote and backslash."""
    return "".join(char if char.isascii() and char.isprintable() and char not in '"\\' else "'" for char in text)


def moved(error: DatasetMoved) -> str:
    """Return the path and query of the same request for the dataset's new id."""
    there = {"owner": error.new_id.owner, "name": error.new_id.name}
    # Pages put the language that the address names into each one that they make; the query has it already.
    path = url_for(request.endpoint or "", **{**(request.view_args or {}), **there}).partition("?")[0]
    query = request.query_string.decode("ascii", "replace")
    return path + (f"?{query}" if query else "")


def of_werkzeug(error: HTTPException) -> Response:
    """Answer an error of Flask itself (404 of the router, 405, 413, 415, …) in the same form."""
    status = error.code or 500
    if status < 400:  # a redirection
        return error.get_response()  # type: ignore[return-value]
    response = problem(status, error.description or _words(status), _kind(status))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _words(status: int) -> str:
    return HTTP_STATUS_CODES[status]  # Python's own change from version to version


def _kind(status: int) -> str:
    return _words(status).lower().replace(" ", "-")


def _of_unknown(error: Exception) -> Response:
    _log.exception("%s %s failed", request.method, request.path)
    return problem(500, "The service failed. Its log has the reason.", "internal-server-error")
