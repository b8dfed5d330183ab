"""Datasets over HTTP: read, create, replace, patch, delete, purge, revert, move, list."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from metastore.auth.access import allows
from metastore.errors import AlreadyExists, DatasetMoved, DatasetNotFound, InvalidInput, RevisionConflict, StorageBusy
from metastore.parse import parse_dataset_id
from metastore.service import requests, responses
from metastore.service.context import service
from metastore.service.guard import (
    identity,
    named,
    readable,
    require_read,
    require_write,
    telling_nothing_stored,
)
from metastore.store.writer import TRIES
from metastore.types import DatasetId

datasets = Blueprint("datasets", __name__)
MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


@datasets.get("/datasets")
def dataset_list() -> Response:
    """List ids, in pages: of live datasets, with `deleted=true` of deleted ones, with `deleted=any` of both."""
    given = request.args
    deleted = None if given.get("deleted") == "any" else bool(requests.flag("deleted"))
    found = service().store.dataset_list(given.get("prefix", ""), after=given.get("after"), deleted=deleted)
    return responses.page(readable(found, lambda each: each), lambda last: {"after": str(last)})


@datasets.get("/datasets/<owner>/<name>")
def dataset_read(owner: str, name: str) -> Response:
    """Answer with the descriptor, as it is stored."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    store = service().store
    if "If-None-Match" in request.headers:
        found = store.revision_read(subject, revision)
        if not found.deleted and requests.is_known(found.id):
            return responses.unchanged(found.id, revision)
    found, content = store.dataset_bytes(subject, revision)
    return responses.descriptor(subject, found, content, revision)


@datasets.put("/datasets/<owner>/<name>")
def dataset_put(owner: str, name: str) -> Response:
    """Replace what is live, create what is not; whoever may do just one of them does just that one."""
    subject = requests.dataset_id(owner, name)
    _require_update_or_create(subject)
    body = requests.body(requests.JSON, requests.ENVELOPE)
    content = body.members["descriptor"] if "descriptor" in body.members else _whole(body)
    for _ in range(TRIES):
        try:
            return _put(subject, content, body.members)
        except DatasetMoved:
            raise
        except (DatasetNotFound, AlreadyExists):  # it came or went meanwhile
            if requests.creates_only() or "If-Match" in request.headers:
                raise
    raise StorageBusy(f"{subject} comes and goes too fast; try again")


def _put(subject: DatasetId, content: Any, given: Any) -> Response:
    """Make the one call that cannot do the other thing, whatever happens meanwhile."""
    store = service().store
    expected = requests.expected(given)
    if not requests.creates_only() and _is_live(subject):
        change = requests.change("update", subject, given)
        return responses.written(store.dataset_update(subject, content, expected=expected, **change))
    if "If-Match" in request.headers:
        raise RevisionConflict(subject, expected=expected, actual=None)
    change = requests.change("create", subject, given)
    return responses.written(store.dataset_create(subject, content, **change), 201)


def _require_update_or_create(subject: DatasetId) -> None:
    """Refuse whoever may do neither, before anything tells them whether the dataset is there."""
    if not allows(identity(), "create", subject):
        require_write("create" if requests.creates_only() else "update", subject)
    named(identity())


def _is_live(subject: DatasetId) -> bool:
    """Tell whether there is something to replace. Raises DatasetMoved."""
    try:
        return not service().store.revision_read(subject).deleted
    except DatasetNotFound as error:
        if type(error) is DatasetNotFound:
            return False
        raise


def _whole(body: requests.Body) -> bytes:
    if body.type == requests.ENVELOPE:
        raise InvalidInput("the member 'descriptor' is missing", pointer="/descriptor")
    return body.text


@datasets.patch("/datasets/<owner>/<name>")
def dataset_patch(owner: str, name: str) -> Response:
    """Change a part of a descriptor."""
    subject = requests.dataset_id(owner, name)
    require_write("update", subject)
    body = requests.body(MERGE_PATCH, JSON_PATCH, requests.ENVELOPE)
    change = requests.change("update", subject, body.members)
    patch = _patch(body)
    expected = requests.expected(body.members)
    with telling_nothing_stored(subject):
        made = service().store.dataset_patch(subject, patch, expected=expected, **change)
    return responses.written(made)


def _patch(body: requests.Body) -> Any:
    """Return the patch. Raises InvalidInput: it is of the other kind than its media type says."""
    if body.type == requests.ENVELOPE:
        if not isinstance(body.members.get("patch"), (dict, list)):
            raise InvalidInput("the member 'patch' has to be an object or a list", pointer="/patch")
        return body.members["patch"]
    kind = "[" if body.type == JSON_PATCH else "{"
    if not body.text.decode("utf-8-sig", "replace").lstrip().startswith(kind):
        what = "a list (RFC 6902)" if kind == "[" else "an object (RFC 7396)"
        raise InvalidInput(f"the body of {body.type} has to be {what}")
    return body.text


@datasets.delete("/datasets/<owner>/<name>")
def dataset_delete(owner: str, name: str) -> Response:
    """Delete, or with `purge=true` remove for ever."""
    subject = requests.dataset_id(owner, name)
    purge, force = requests.flag("purge"), requests.flag("force")
    require_write("purge" if purge else "delete", subject)
    given = requests.members(optional=True, allowed=requests.CHANGE)
    change = requests.change("purge" if purge else "delete", subject, given)
    store, expected = service().store, requests.expected(given)
    if purge:
        store.dataset_purge(subject, force=bool(force), expected=expected, **change)
        return responses.gone()
    revision = store.dataset_delete(subject, expected=expected, **change)
    return responses.changed(revision, etag=revision.id)


@datasets.post("/datasets/<owner>/<name>/revert")
def dataset_revert(owner: str, name: str) -> Response:
    """Put a dataset back to what it was; bringing back a deleted one is creating it."""
    subject = requests.dataset_id(owner, name)
    _require_update_or_create(subject)
    given = requests.members(allowed=("to", *requests.CHANGE))
    target = _to(given)
    for _ in range(TRIES):
        head = service().store.revision_read(subject)
        change = requests.change("create" if head.deleted else "update", subject, given)
        expected = requests.expected(given)
        try:
            # Made for the state that the right was checked for: who may only create overwrites nothing.
            with telling_nothing_stored(subject):
                made = service().store.dataset_revert(subject, target, expected=expected or head.id, **change)
        except RevisionConflict:
            if expected is not None:
                raise
            continue
        return responses.written(made)
    raise StorageBusy(f"{subject} is being changed by too many others; try again")


@datasets.post("/datasets/<owner>/<name>/move")
def dataset_move(owner: str, name: str) -> Response:
    """Give a dataset another id: deleting here, creating there."""
    subject = requests.dataset_id(owner, name)
    require_write("delete", subject)
    given = requests.members(allowed=("to", *requests.CHANGE))
    target = parse_dataset_id(_to(given))
    require_write("create", target)
    change = requests.change("delete", subject, given)
    made = service().store.dataset_move(subject, target, expected=requests.expected(given), **change)
    return responses.written(made, before=subject)


def _to(given: Any) -> str:
    to = requests.text(given, "to")
    if not to:
        raise InvalidInput("the member 'to' is missing", pointer="/to")
    return to


@datasets.get("/datasets/<owner>/<name>/resources/<path:resource>")
def resource_read(owner: str, name: str, resource: str) -> Response:
    """Answer with one resource of a descriptor."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    return responses.answer(service().store.resource_read(subject, resource, revision), revision=revision)


@datasets.get("/projects/<owner>/<name>")
def project_read(owner: str, name: str) -> Response:
    """Answer with a dataset, its tags, and its host's issues."""
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return responses.answer(service().store.project_read(subject))
