"""Pages of bundles that only show: the list, a bundle, a snapshot and what it changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, render_template, request

from metastore.bundle.listing import ORDERS, BundleLine, Listing
from metastore.bundle.policy import ROOT
from metastore.bundle.port import Bundle, Snapshot
from metastore.errors import BundleDeleted, InvalidInput, PermissionDenied
from metastore.pages import bundle_parts as parts
from metastore.service.bundles import registry

bundles = Blueprint("bundles", __name__)
_ROWS = 50
_NEWEST = 6
#: How many devices a page shows unless asked for all.
_SHOWN = 1_000
#: How many snapshots are offered to compare with.
_OFFERED = 200


@bundles.app_context_processor
def _parts() -> dict[str, Any]:
    return {"parts": parts}


@bundles.get("/bundles")
def index() -> str:
    """List bundles: filtered, in any order, a page at a time."""
    wanted = _listing()
    found = registry().bundle_lines(replace(wanted, limit=_ROWS + 1))
    groups = registry().groups.current().groups
    return render_template(
        "bundles/index.html",
        lines=found[:_ROWS],
        wanted=wanted,
        given=parts.given("text", "group", "device", "event", "run", "deleted", "order", "descending"),
        following=_behind(wanted, found[_ROWS - 1]) if len(found) > _ROWS else None,
        groups=dict.fromkeys([*groups, ROOT, *([wanted.group] if wanted.group else [])]),
        why_not=_why_not_new(),
    )


def _listing() -> Listing:
    """Read from the URL which list is wanted. Raises InvalidInput."""
    given = request.args
    texts: dict[str, Any] = {key: given.get(key, "").strip() or None for key in ("text", "group", "device", "event")}
    run = {"": None, "true": True, "false": False}.get(given.get("run", ""))
    order, after = given.get("order") or "name", given.get("after") or None
    wanted = Listing(**texts, run=run, deleted=bool(given.get("deleted")), order=order)
    key = _key(order, given.get("after_key", after)) if after else None
    return replace(wanted, descending=bool(given.get("descending")), after=after, after_key=key)


def _key(order: str, text: str) -> Any:
    """Read what the bundle before the page has in the order."""
    kind = ORDERS.get(order, str)
    try:
        if kind is bool:
            return text == "True"
        return datetime.fromisoformat(text) if kind is datetime else kind(text)
    except ValueError:
        raise InvalidInput(f"no page begins behind {order} {text[:40]!r}") from None


def _behind(wanted: Listing, last: BundleLine) -> dict[str, str]:
    key = getattr(last, wanted.order)
    return {"after": last.name, "after_key": key.isoformat() if isinstance(key, datetime) else str(key)}


def _why_not_new() -> str | None:
    try:
        parts.own_groups()
    except PermissionDenied as error:
        return str(error)
    return None


@bundles.get("/bundles.<any(csv, json):format>")
def export(format: str) -> Response:
    """Send all live bundles as a file, in the form that an import takes."""
    text = (part.encode() for part in registry().bundle_export(format=format))
    media_type = {"csv": "text/csv", "json": "application/json"}[format]
    return Response(
        text, mimetype=media_type, headers={"Content-Disposition": f"attachment; filename=bundles.{format}"}
    )


@bundles.get("/bundles/<name>")
def show(name: str) -> str | tuple[str, int]:
    """Show a bundle as it is."""
    try:
        found = registry().bundle_read(name)
    except BundleDeleted as error:
        gone = error.snapshot
        page = render_template("bundles/deleted.html", name=name, gone=gone, why_not=parts.why_not(gone.bundle))
        return page, 410
    log = registry().bundle_log(name, limit=_NEWEST)
    members = registry().groups.current()
    return render_template(
        "bundles/show.html",
        name=name,
        bundle=found,
        log=log,
        devices=_devices(found),
        admins=sorted(members.admins.get(found.ifb_group, ())),
        superusers=sorted(members.superusers),
        why_not=parts.why_not(found),
    )


def _devices(bundle: Bundle) -> dict[str, Any]:
    """Return the devices to show: those that were searched for, and not more than a page bears."""
    searched = request.args.get("q", "").strip()
    found = [each for each in sorted(bundle.devices) if searched.lower() in each.lower()]
    shown = found if request.args.get("all") else found[:_SHOWN]
    return {"shown": shown, "found": len(found), "all": len(bundle.devices), "searched": searched}


@bundles.get("/snapshots/<number>")
def snapshot(number: str) -> str:
    """Show a snapshot: who, when, why, the whole state, and what lies between it and another one."""
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
        why_not=parts.why_not(newest.bundle, found.bundle),
        may_edit=not newest.deleted and parts.why_not(newest.bundle) is None,
    )


def _other(found: Snapshot) -> Snapshot | None:
    """Return the snapshot to compare with: the one asked for, else the one before; None for the first."""
    if request.args.get("to"):
        return registry().bundle_snapshot(parts.snapshot_number(request.args["to"]))
    if found.previous is None:
        return None
    return registry().bundle_snapshot(found.previous)
