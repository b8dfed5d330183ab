"""Datasets over HTTP: read, create, replace, patch, delete, purge, revert, undo, move, list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, g, request

from metastore.auth.access import Identity, require
from metastore.errors import AlreadyExists, DatasetMoved, DatasetNotFound, InvalidInput, RevisionConflict
from metastore.parse import parse_dataset_id
from metastore.search.values import FACETS, Results, Wanted
from metastore.service import requests, responses
from metastore.service.context import service
from metastore.service.guard import (
    hiding_stored_values,
    listed,
    may_read,
    require_move,
    require_read,
    sees,
    signed,
    unabbreviated,
    writer,
)
from metastore.service.problems import plainly
from metastore.storage.retry import LostRace, retry
from metastore.store.lists import entry_of, ids_after_owner, owners_in
from metastore.store.metering import metered
from metastore.store.spans import span_of
from metastore.store.summaries import MOST_SUMMARIES, PAGE_BYTES
from metastore.types import Dataset, DatasetId, Revision
from metastore.wording import shortened

datasets = Blueprint("datasets", __name__)
#: The parameters that turn a list of ids into a search, and the hits on a page of it.
SEARCH = ("q", *FACETS, "changed_since", "findings", "order", "facets", "before", "summary")
_HITS = 50
#: The CPU seconds that a search spends on indexing the changes of others, or on scanning.
_INDEXING = 0.5
#: What a list can include for each dataset.
_INCLUDED = ("title", "changed", "revision")
MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


@datasets.get("/datasets")
def dataset_list() -> Response:
    """List ids in pages: live datasets, with `deleted=true` deleted ones, with `deleted=any` both; or search."""
    query = request.args
    deleted = None if query.get("deleted") == "any" else bool(requests.flag("deleted"))
    if any(name in query for name in SEARCH):
        return _search(deleted)
    at, included = query.get("at"), [name for name in query.get("include", "").split(",") if name]
    shown = listed(query.get("prefix", ""), after=query.get("after"), deleted=deleted, at=at)
    return _entries(shown, at, included) if included else responses.page(shown, lambda last: {"after": str(last)})


def _entries(ids: Iterator[DatasetId], at: str | None, included: list[str]) -> Response:
    """Answer with what a list says of each dataset. A page that has read enough ends early."""
    if unknown := [name for name in included if name not in _INCLUDED]:
        raise InvalidInput(f"include is any of {', '.join(_INCLUDED)}, not {shortened(unknown[0])}")
    rows, size = list[dict[str, Any]](), requests.limit()
    with metered() as meter:
        for dataset_id in ids:
            if len(rows) == size or meter.spent > PAGE_BYTES:
                return responses.linked(rows, {"after": rows[-1]["id"]})
            entry = entry_of(service().store, dataset_id, at, lambda error: str(plainly(error)))
            problem = {"problem": entry.problem} if entry.problem else {}
            rows.append({"id": str(dataset_id), **{name: getattr(entry, name) for name in included}, **problem})
    return responses.linked(rows, None)


@datasets.get("/owners")
def owner_list() -> Response:
    """List the owners of datasets that the caller may read, in pages."""
    ids = ids_after_owner(listed, request.args.get("after"))
    return responses.page(owners_in(ids), lambda last: {"after": last.name})


def _search(deleted: bool | None) -> Response:
    """Answer with the hits among the datasets that the caller may read."""
    query = request.args
    if "prefix" in query:
        raise InvalidInput("prefix is for lists of ids; in a search, use owner")
    if "include" in query:
        raise InvalidInput("include is for lists of ids; the hits of a search have titles and times")
    summary, size = bool(requests.flag("summary")), requests.limit() if "limit" in query else _HITS
    wanted = Wanted.parse(
        query.get("q", ""),
        {name: query.get(name) for name in FACETS},
        changed_since=query.get("changed_since"),
        deleted=deleted,
        findings=requests.flag("findings"),
        at=query.get("at"),
        order=query.get("order", "relevance"),
        facets=[name for name in query.get("facets", "").split(",") if name],
        after=query.get("after"),
        before=query.get("before"),
        limit=min(size, MOST_SUMMARIES) if summary else size,
        summary=summary,
    )
    return responses.answer(find(wanted))


def find(wanted: Wanted) -> Results:
    """Search among the datasets that the caller may read. What others have changed is indexed in slices."""
    results = service().store.search(wanted, sees(), within=_INDEXING)
    if not results.complete:
        g.search_is_incomplete = True  # the layout of the pages says so
    g.unreadable = results.unreadable  # likewise
    return results


@datasets.get("/datasets/<owner>/<name>")
def dataset_read(owner: str, name: str) -> Response:
    """Answer with the descriptor as it is stored."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    store = service().store
    if "If-None-Match" in request.headers:
        newest = store.revision_read(subject, revision)
        if not newest.deleted and requests.is_known(newest.id):
            return responses.unchanged(newest.id, revision)
    stored, content = store.dataset_json(subject, revision, at_least=requests.at_least())
    return responses.descriptor(subject, stored, content, revision)


@datasets.get("/datasets/<owner>/<name>/raw")
def dataset_raw(owner: str, name: str) -> Response:
    """Answer with a revision's descriptor, byte for byte, whether it is JSON or not."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    return responses.raw(*service().store.dataset_bytes(subject, revision), revision)


@datasets.put("/datasets/<owner>/<name>")
def dataset_put(owner: str, name: str) -> Response:
    """Replace a live dataset, or create one. A token with only `create` creates; one with only `update` updates."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, *(["create"] if requests.creates_only() else ["update", "create"]))
    body = requests.body(requests.JSON, requests.ENVELOPE)
    content = body.members["descriptor"] if "descriptor" in body.members else _whole(body)
    expected, change = requests.expected(body.members), requests.change(who, body.members)
    replaces_only = expected is not None or "If-Match" in request.headers

    def attempt() -> Response:
        try:
            if not requests.creates_only() and _is_live(subject):
                return _replace(who, subject, content, expected, change)
            if replaces_only:
                raise RevisionConflict(subject, expected=expected, actual=None)
            return _create(who, subject, content, change)
        except DatasetMoved:
            raise
        except (DatasetNotFound, AlreadyExists) as error:  # created or deleted meanwhile
            if replaces_only or requests.creates_only():
                raise
            raise LostRace from error

    return retry(attempt, subject)


def _replace(who: Identity, subject: DatasetId, content: Any, expected: str | None, change: dict[str, Any]) -> Response:
    """Make the call that cannot create, so that a token with only `update` creates nothing, even in a race."""
    require(who, "update", subject)
    with hiding_stored_values(subject, "/version"):  # a rule about versions quotes the stored one
        dataset = service().store.dataset_update(subject, content, expected=expected, **signed(who, subject, change))
    return responses.written(dataset)


def _create(who: Identity, subject: DatasetId, content: Any, change: dict[str, Any]) -> Response:
    """Make the call that cannot replace, so that a token with only `create` overwrites nothing."""
    require(who, "create", subject)
    return responses.written(service().store.dataset_create(subject, content, **signed(who, subject, change)), 201)


def _is_live(subject: DatasetId) -> bool:
    """Tell whether there is a dataset to replace. Raises DatasetMoved."""
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
    who = writer(subject, "update")
    body = requests.body(MERGE_PATCH, JSON_PATCH, requests.ENVELOPE)
    change = signed(who, subject, requests.change(who, body.members))
    patch, expected = _patch(body), requests.expected(body.members)
    with hiding_stored_values(subject):
        dataset = service().store.dataset_patch(subject, patch, expected=expected, **change)
    return responses.written(dataset)


def _patch(body: requests.Body) -> Any:
    """Return the patch. Raises InvalidInput: it does not have the form of its media type."""
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
    """Delete a dataset, or with `purge=true` remove it for ever."""
    subject = requests.dataset_id(owner, name)
    purge, force = requests.flag("purge"), requests.flag("force")
    who = writer(subject, "purge" if purge else "delete")
    members = requests.members(optional=True, allowed=requests.CHANGE)
    change = signed(who, subject, requests.change(who, members))
    store, expected = service().store, requests.expected(members)
    if purge:
        store.dataset_purge(subject, force=bool(force), expected=expected, **change)
        return responses.gone()
    revision = store.dataset_delete(subject, expected=expected, **change)
    return responses.changed(revision, etag=revision.id) if may_read(subject) else responses.gone(etag=revision.id)


@datasets.post("/datasets/<owner>/<name>/revert")
def dataset_revert(owner: str, name: str) -> Response:
    """Put a dataset back to an earlier revision; for a deleted one, that takes the right to create it."""
    subject = requests.dataset_id(owner, name)

    def prepare(head: Revision, target: str) -> tuple[str, str]:
        return "create" if head.deleted else "update", target

    return _back(subject, "to", service().store.dataset_revert, prepare, "update", "create")


@datasets.post("/datasets/<owner>/<name>/undo")
def dataset_undo(owner: str, name: str) -> Response:
    """Take one change out; for a deletion, that takes the right to create the dataset, for a creation to delete it."""
    subject = requests.dataset_id(owner, name)

    def prepare(head: Revision, target: str) -> tuple[str, str]:
        span = span_of(service().store, subject, target)
        return "delete" if span.creates else "create" if head.deleted else "update", span.name

    return _back(subject, "revision", service().store.dataset_undo, prepare, "update", "create", "delete")


def _back(
    subject: DatasetId,
    member: str,
    call: Callable[..., Dataset],
    prepare: Callable[[Revision, str], tuple[str, str]],
    *rights: str,
) -> Response:
    """Call the store with the revision that the body names, for the state that the rights were checked for.

    Args:
        subject: The dataset.
        member: The member of the body.
        call: The call of the store.
        prepare: Returns the right that the call needs, from the newest revision and the text in the body. Returns that
            text too, so that it names the same when the call is made.
        rights: All rights that the call can need.
    """
    who = writer(subject, *(["create"] if requests.creates_only() else rights))
    members = requests.members(allowed=(member, *requests.CHANGE))
    target = _required(members, member)
    unabbreviated(subject, target)
    expected, change = requests.expected(members), requests.change(who, members)

    def attempt() -> Response:
        head = service().store.revision_read(subject)
        with hiding_stored_values(subject):
            right, changes = prepare(head, target)
        require(who, right, subject)
        arguments = {"expected": expected or head.id, **signed(who, subject, change)}
        try:
            # A token with only `create` overwrites nothing.
            with hiding_stored_values(subject):
                return responses.written(call(subject, changes, **arguments))
        except RevisionConflict as error:
            if expected is not None:
                raise
            raise LostRace from error

    return retry(attempt, subject)


@datasets.post("/datasets/<owner>/<name>/move")
def dataset_move(owner: str, name: str) -> Response:
    """Give a dataset another id."""
    subject = requests.dataset_id(owner, name)
    who = writer(subject, "update")
    members = requests.members(allowed=("to", *requests.CHANGE))
    target = parse_dataset_id(_required(members, "to"))
    require_move(subject, target)
    change = signed(who, subject, requests.change(who, members))
    dataset = service().store.dataset_move(subject, target, expected=requests.expected(members), **change)
    return responses.written(dataset, before=subject)


def _required(members: Mapping[str, Any], name: str) -> str:
    value = requests.text(members, name)
    if not value:
        raise InvalidInput(f"the member {name!r} is missing", pointer=f"/{name}")
    return value


@datasets.get("/datasets/<owner>/<name>/resources")
def resource_list(owner: str, name: str) -> Response:
    """Answer with the resources of a descriptor."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    return responses.answer(service().store.resource_list(subject, revision), revision=revision)


@datasets.get("/datasets/<owner>/<name>/resources/<path:resource>")
def resource_read(owner: str, name: str, resource: str) -> Response:
    """Answer with one resource of a descriptor."""
    subject, revision = requests.dataset_id(owner, name), request.args.get("revision")
    require_read(subject)
    return responses.answer(service().store.resource_read(subject, resource, revision), revision=revision)


@datasets.get("/projects/<owner>/<name>")
def project_read(owner: str, name: str) -> Response:
    """Answer with a dataset, its tags and the issues at its host."""
    subject = requests.dataset_id(owner, name)
    require_read(subject)
    return responses.answer(service().store.project_read(subject))
