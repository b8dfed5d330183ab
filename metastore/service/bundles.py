"""Bundles over HTTP: anyone reads; the token's scopes and the groups file decide who changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from metastore.bundle.checks import make_bundle
from metastore.bundle.exchange import Row, read_rows, write_rows
from metastore.bundle.port import STATE, Bundle, LogEntry
from metastore.bundle.registry import BundleRegistry
from metastore.errors import (
    AlreadyExists,
    BundleNotFound,
    InvalidInput,
    RevisionConflict,
    SnapshotNotFound,
    TooLarge,
)
from metastore.phrase import Phrase
from metastore.service import requests, responses
from metastore.service.context import service
from metastore.service.guard import bundle_grant, identity, named
from metastore.storage.retry import LostRace, retry

bundles = Blueprint("bundles", __name__)
CSV = "text/csv"
#: The devices of a page of bundles beyond which it ends.
_MOST_DEVICES = 200_000
#: The bytes of an import, and its bundles.
_LONGEST_IMPORT, _MOST_ROWS = 8 * 1024 * 1024, 5_000


def registry() -> BundleRegistry:
    """Return the registry, limited to the caller's grant. Raises NotFound: this service has none."""
    whole = service().bundles
    if whole is None:
        raise NotFound(Phrase("this service keeps no bundles"))
    return whole.limited_to(bundle_grant())


def _user() -> str:
    """Return the user of the token, for a write. Raises AuthenticationError."""
    return named(identity()).user or ""


@bundles.get("/bundles")
def bundle_list() -> Response:
    """List bundles: as JSON in pages, which end early if the bundles are large; all at once as CSV."""
    query = request.args
    matches = registry().bundle_list(
        group=query.get("group"),
        device=query.get("device"),
        event=query.get("event"),
        run=requests.flag("run"),
        host=query.get("host"),
        prefix=query.get("prefix", ""),
        after=query.get("after"),
    )
    if request.accept_mimetypes.best_match(("application/json", CSV)) == CSV:
        return responses.streamed(write_rows(matches, "csv"), CSV)
    return responses.page(matches, lambda last: {"after": last.name}, lambda each: len(each.devices), _MOST_DEVICES)


def rows_of(text: str | bytes, form: str) -> list[Row]:
    """Read the bundles of an import. Raises InvalidInput; TooLarge if one request would take too long for them."""
    rows = read_rows(text, form)
    if len(rows) > _MOST_ROWS:
        raise TooLarge(
            f"an import has at most {_MOST_ROWS} bundles here, not {len(rows)}: send it in parts, or use "
            "`metastore bundle import` where the bundles are kept"
        )
    return rows


@bundles.post("/bundles")
def bundle_import() -> Response:
    """Create and update many bundles, from a JSON list or CSV."""
    user = _user()
    request.max_content_length = _LONGEST_IMPORT
    body = requests.body(requests.JSON, CSV)
    rows = rows_of(body.text, "csv" if body.type == CSV else "json")
    atomic = requests.flag("atomic")
    done = registry().bundle_import(
        rows,
        user=user,
        comment=request.args.get("comment"),
        atomic=True if atomic is None else atomic,
        dry_run=bool(requests.flag("dry_run")),
    )
    return responses.changed(list(done))


@bundles.get("/bundles/<name>")
def bundle_read(name: str) -> Response:
    """Answer with a bundle as it is, or as it was at a snapshot or a time."""
    at, snapshot = requests.time("at"), _number(request.args.get("snapshot"))
    bundle = registry().bundle_read(name, snapshot=snapshot, at=at)
    if snapshot is not None:
        return responses.answer(bundle, etag=str(snapshot))
    if at is None and requests.is_known(str(bundle.snapshot)):
        return responses.unchanged(str(bundle.snapshot))
    return responses.answer(bundle, etag=str(bundle.snapshot))


@bundles.put("/bundles/<name>")
def bundle_put(name: str) -> Response:
    """Replace a bundle with the body, or create it."""
    user = _user()
    members = dict(requests.json_object())
    comment = _comment(members)
    bundle = make_bundle({**members, "name": _same_name(name, members)})

    def attempt() -> Response:
        try:
            return _put(bundle, user, comment)
        except (BundleNotFound, AlreadyExists) as error:  # created or deleted meanwhile
            if requests.creates_only() or "If-Match" in request.headers:
                raise
            raise LostRace from error

    return retry(attempt, f"bundle {name}")


def _put(bundle: Bundle, user: str, comment: str | None) -> Response:
    expected = requests.expected_snapshot()
    if not requests.creates_only() and _is_live(bundle.name):
        changes = {key: getattr(bundle, key) for key in STATE}
        return _written(registry().bundle_update(bundle.name, changes, user=user, comment=comment, expected=expected))
    if "If-Match" in request.headers:
        raise RevisionConflict(f"bundle {bundle.name}", expected=expected, actual=None)
    return _written(registry().bundle_create(bundle, user=user, comment=comment), 201)


def _is_live(name: str) -> bool:
    try:
        registry().bundle_read(name)
    except BundleNotFound:
        return False
    return True


@bundles.patch("/bundles/<name>")
def bundle_patch(name: str) -> Response:
    """Change the members that the body names: attributes, `devices`, `add_devices`, `remove_devices`."""
    user, changes = _user(), dict(requests.json_object())
    comment, expected = _comment(changes), requests.expected_snapshot(changes)
    changes.pop("expected", None)
    return _written(registry().bundle_update(name, changes, user=user, comment=comment, expected=expected))


@bundles.delete("/bundles/<name>")
def bundle_delete(name: str) -> Response:
    """Delete a bundle; its record stays."""
    user = _user()
    members = requests.members(optional=True, allowed=("comment",))
    snapshot = registry().bundle_delete(
        name, user=user, comment=_comment(dict(members)), expected=requests.expected_snapshot(members)
    )
    return responses.changed(snapshot, etag=str(snapshot.id))


@bundles.post("/bundles/<name>/copy")
def bundle_copy(name: str) -> Response:
    """Copy a bundle to another name."""
    user = _user()
    members = dict(requests.members(allowed=("to", "comment")))
    to = requests.text(members, "to")
    if not to:
        raise InvalidInput("the member 'to' is missing: the name of the copy", pointer="/to")
    return _written(registry().bundle_copy(name, to, user=user, comment=_comment(members)), 201)


@bundles.post("/bundles/<name>/restore")
def bundle_restore(name: str) -> Response:
    """Restore a bundle, also a deleted one, to its state at a snapshot."""
    return _back(name, BundleRegistry.bundle_restore)


@bundles.post("/bundles/<name>/undo")
def bundle_undo(name: str) -> Response:
    """Take the change that a snapshot made out of a bundle."""
    return _back(name, BundleRegistry.bundle_undo)


def _back(name: str, call: Callable[..., Bundle]) -> Response:
    user = _user()
    members = dict(requests.members(allowed=("snapshot", "comment")))
    snapshot = members.get("snapshot")
    if type(snapshot) is not int:
        raise InvalidInput("the member 'snapshot' has to be the number of a snapshot", pointer="/snapshot")
    expected = requests.expected_snapshot(members)
    return _written(call(registry(), name, snapshot, user=user, comment=_comment(members), expected=expected))


@bundles.get("/log")
@bundles.get("/bundles/<name>/log")
def bundle_log(name: str | None = None) -> Response:
    """List the changes of one bundle or of all, newest first, in pages."""
    query = request.args
    entries = registry().bundle_log(
        name,
        user=query.get("user"),
        device=query.get("device"),
        since=requests.time("since"),
        until=requests.time("until"),
        before=_number(query.get("before")),
        limit=requests.limit() + 1,
    )

    def after(last: LogEntry) -> dict[str, str]:
        return {"before": str(last.id)}

    return responses.page(entries, after)


@bundles.get("/snapshots/<snapshot>")
def bundle_snapshot(snapshot: str) -> Response:
    """Answer with a snapshot: who changed a bundle, when and why, and its state after that."""
    return responses.answer(registry().bundle_snapshot(_snapshot(snapshot)), etag=snapshot)


@bundles.get("/snapshots/<snapshot>/diff")
def bundle_diff(snapshot: str) -> Response:
    """Compare a snapshot with the one that `to` names."""
    if "to" not in request.args:
        raise InvalidInput("say with ?to= which snapshot to compare it with")
    return responses.answer(registry().bundle_diff(_snapshot(snapshot), _snapshot(request.args["to"])))


def _snapshot(text: str) -> int:
    number = _number(text)
    if number is None:
        raise SnapshotNotFound(text)
    return number


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidInput(f"the number of a snapshot has only digits, not {text[:20]!r}")
    return int(text)


def _same_name(name: str, members: Mapping[str, Any]) -> str:
    """Return the name in the URL. Raises InvalidInput: the body has another one."""
    if members.get("name", name) != name:
        raise InvalidInput(f"the URL names {name}, and the body another bundle", pointer="/name")
    return name


def _comment(members: dict[str, Any]) -> str | None:
    """Take the comment out of a body, or else from the query."""
    comment = requests.text(members, "comment")
    members.pop("comment", None)
    return comment if comment is not None else request.args.get("comment")


def _written(bundle: Bundle, status: int = 200) -> Response:
    location = f"{request.root_path}/api/v1/bundles/{bundle.name}"
    return responses.changed(bundle, status, etag=str(bundle.snapshot), location=location if status == 201 else None)
