"""Pages that show bundles: the list, a bundle, a snapshot and its changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, render_template, request

from metastore.bundle.difference import diff
from metastore.bundle.listing import ORDERS, BundleLine, Listing
from metastore.bundle.policy import ROOT
from metastore.bundle.port import Bundle, Snapshot
from metastore.errors import BundleDeleted, InvalidInput, NotFound, PermissionDenied
from metastore.pages import bundle_parts as parts
from metastore.pages.formatting import message
from metastore.pages.languages import gettext as _
from metastore.service.bundles import registry

bundles = Blueprint("bundles", __name__)
_ROWS = 50
#: The columns of the list beside the name; a reader can choose some.
_COLUMNS = ("event", "ifb_group", "run", "storage", "hosts", "devices", "updated", "user")
#: The bundles of a list that are counted.
_COUNTED = 500
_NEWEST = 6
#: The devices that a page shows unless it is asked for all.
_SHOWN = 1_000
#: The later changes among which the next one is looked for.
_LATER = 1_000
#: The snapshots that a page offers to compare with.
_OFFERED = 200


@bundles.app_context_processor
def _parts() -> dict[str, Any]:
    return {"parts": parts}


@bundles.get("/bundles")
def index() -> str:
    """List bundles in pages, filtered and ordered as the URL says."""
    wanted = _listing()
    lines, preceding, following = _lines(wanted)
    groups = registry().groups.current().groups
    chosen = [name for name in _COLUMNS if name in request.args.getlist("columns")]
    given = parts.given("text", "group", "device", "event", "run", "deleted", "order", "descending")
    return render_template(
        "bundles/index.html",
        lines=lines,
        total=_total(wanted, len(lines), is_all=not preceding and not following),
        most=_COUNTED,
        wanted=wanted,
        given={**given, "columns": chosen} if 0 < len(chosen) < len(_COLUMNS) else given,
        shown=chosen or _COLUMNS,
        preceding=preceding,
        following=following,
        groups=dict.fromkeys([*groups, ROOT, *([wanted.group] if wanted.group else [])]),
        why_not=_why_not_new(),
    )


_Place = dict[str, str] | None


def _lines(wanted: Listing) -> tuple[Sequence[BundleLine], _Place, _Place]:
    """Return the lines of a page, and the parameters that lead to the page before it and to the one behind it."""
    before = request.args.get("before")
    if before:
        key = _key(wanted.order, request.args.get("before_key", before))
        back = replace(wanted, descending=not wanted.descending, after=before, after_key=key, limit=_ROWS + 1)
        found = registry().bundle_lines(back)
        if lines := found[:_ROWS][::-1]:
            is_first = len(found) <= _ROWS
            return lines, None if is_first else _at("before", wanted, lines[0]), _at("after", wanted, lines[-1])
    found = registry().bundle_lines(replace(wanted, limit=_ROWS + 1))
    lines = found[:_ROWS]
    return (
        lines,
        _at("before", wanted, lines[0]) if wanted.after and lines else None,
        _at("after", wanted, lines[-1]) if len(found) > _ROWS else None,
    )


def _listing() -> Listing:
    """Return the list that the URL asks for. Raises InvalidInput."""
    query = request.args
    texts: dict[str, Any] = {key: query.get(key, "").strip() or None for key in ("text", "group", "device", "event")}
    run = {"": None, "true": True, "false": False}.get(query.get("run", ""))
    order, after = query.get("order") or "name", query.get("after") or None
    wanted = Listing(**texts, run=run, deleted=bool(query.get("deleted")), order=order)
    key = _key(order, query.get("after_key", after)) if after else None
    return replace(wanted, descending=bool(query.get("descending")), after=after, after_key=key)


def _total(wanted: Listing, found: int, *, is_all: bool) -> int:
    """Return the number of bundles in a list, or one more than are counted."""
    if is_all:
        return found
    return len(registry().bundle_lines(replace(wanted, after=None, after_key=None, limit=_COUNTED + 1)))


def _key(order: str, text: str) -> Any:
    """Parse the sort key of the bundle before the page."""
    kind = ORDERS.get(order, str)
    try:
        if kind is bool:
            return text == "True"
        return datetime.fromisoformat(text) if kind is datetime else kind(text)
    except ValueError:
        raise InvalidInput(_("no page begins after %(order)s %(text)s", order=order, text=repr(text[:40]))) from None


def _at(side: str, wanted: Listing, line: BundleLine) -> dict[str, str]:
    """Return the parameters of the page before a line, or of the page after it."""
    key = getattr(line, wanted.order)
    return {side: line.name, f"{side}_key": key.isoformat() if isinstance(key, datetime) else str(key)}


def _why_not_new() -> str | None:
    try:
        parts.own_groups()
    except PermissionDenied as error:
        return message(error)
    return None


@bundles.get("/bundles.<any(csv, json):format>")
def export(format: str) -> Response:
    """Send all live bundles as a file that can be imported."""
    text = (part.encode() for part in registry().bundle_export(format=format))
    media_type = {"csv": "text/csv", "json": "application/json"}[format]
    return Response(
        text, mimetype=media_type, headers={"Content-Disposition": f"attachment; filename=bundles.{format}"}
    )


@bundles.get("/bundles/<name>")
def show(name: str) -> str | tuple[str, int]:
    """Show the current state of a bundle."""
    try:
        bundle = registry().bundle_read(name)
    except BundleDeleted as error:
        gone = error.snapshot
        page = render_template("bundles/deleted.html", name=name, gone=gone, why_not=parts.why_not(gone.bundle))
        return page, 410
    log = registry().bundle_log(name, limit=_NEWEST)
    members = registry().groups.current()
    return render_template(
        "bundles/show.html",
        name=name,
        bundle=bundle,
        log=log,
        devices=_devices(bundle),
        admins=sorted(members.admins.get(bundle.ifb_group, ())),
        superusers=sorted(members.superusers),
        why_not=parts.why_not(bundle),
    )


def _devices(bundle: Bundle) -> dict[str, Any]:
    """Return the devices to show: those that match the search, in a number that a page can hold."""
    searched = request.args.get("q", "").strip()
    matches = [device for device in sorted(bundle.devices) if searched.lower() in device.lower()]
    shown = matches if request.args.get("all") else matches[:_SHOWN]
    return {"shown": shown, "found": len(matches), "all": len(bundle.devices), "searched": searched}


@bundles.get("/bundle-comparison")
def compare() -> str | tuple[str, int]:
    """Compare two bundles, or ask which ones."""
    names = request.args.get("from", "").strip(), request.args.get("to", "").strip()
    if not all(names):
        return render_template("bundles/compare.html", names=names)
    try:
        old, new = (parts.newest(name) for name in names)
    except NotFound as problem:
        return render_template("bundles/compare.html", names=names, problem=problem), 404
    return render_template("bundles/compare.html", names=names, diff=diff(old, new))


@bundles.get("/snapshots/<number>")
def snapshot(number: str) -> str:
    """Show a snapshot: its user, time and comment, its state, and the changes since another one."""
    found = registry().bundle_snapshot(parts.snapshot_number(number))
    other = _other(found)
    now = registry().bundle_log(found.name, limit=1)[0]
    newest = registry().bundle_snapshot(now.id)
    return render_template(
        "bundles/snapshot.html",
        name=found.name,
        found=found,
        bundle=found.bundle,
        other=other,
        diff=registry().bundle_diff(other.id, found.id) if other else None,
        devices=_devices(found.bundle),
        offered=registry().bundle_log(found.name, limit=_OFFERED),
        newest=newest,
        following=_following(found),
        why_not=parts.why_not(newest.bundle, found.bundle),
        may_edit=not newest.deleted and parts.why_not(newest.bundle) is None,
    )


def _following(found: Snapshot) -> int | None:
    """Return the number of the bundle's next snapshot; None for the newest, and if very many came after."""
    later = [line.id for line in registry().bundle_log(found.name, since=found.created, limit=_LATER)]
    return min((number for number in later if number > found.id), default=None) if len(later) < _LATER else None


def _other(found: Snapshot) -> Snapshot | None:
    """Return the snapshot to compare with: the requested one, or else the one before; None for the first."""
    if request.args.get("to"):
        return registry().bundle_snapshot(parts.snapshot_number(request.args["to"]))
    if found.previous is None:
        return None
    return registry().bundle_snapshot(found.previous)
