"""Pages of the record: the changes of one bundle or of all, filtered, in pages and as a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, render_template, request

from metastore.bundle.exchange import write_log
from metastore.bundle.port import LogEntry, LogFilter
from metastore.bundle.registry import BundleRegistry
from metastore.errors import InvalidInput
from metastore.pages.bundle_parts import given, snapshot_number
from metastore.pages.languages import gettext as _
from metastore.pages.paging import day_in
from metastore.service.bundles import registry

record = Blueprint("record", __name__)
_ROWS = 50
#: The lines of an export that are read at once, and those among which the page above is looked for.
_PART = 1_000
_TYPES = {"csv": "text/csv", "json": "application/json"}


@record.get("/log")
def everything() -> str:
    """Show the record of all bundles."""
    return _page(None)


@record.get("/bundles/<name>/log")
def of_bundle(name: str) -> str:
    """Show the record of one bundle."""
    return _page(name)


def _page(name: str | None) -> str:
    wanted = _wanted(name)
    entries = _log(registry(), replace(wanted, limit=_ROWS + 1))
    lines = entries[:_ROWS]
    return render_template(
        "bundles/log.html",
        name=name,
        lines=lines,
        words_of=_device_words(lines, wanted.device) if wanted.device else {},
        wanted=wanted,
        given=given("name", "user", "device", "since", "until"),
        newer=_newer(wanted, lines[0]) if wanted.before and lines else None,
        following=lines[-1].id if len(entries) > _ROWS else None,
    )


def _newer(wanted: LogFilter, first: LogEntry) -> dict[str, int] | None:
    """Return the parameter of the page above a line, none for the newest page; None if it is too far from the top."""
    later = replace(wanted, before=None, since=max(filter(None, (wanted.since, first.created))), limit=_PART)
    lines = _log(registry(), later)
    if len(lines) == _PART:
        return None
    above = [line.id for line in lines if line.id > first.id]
    return {"before": above[-_ROWS - 1]} if len(above) > _ROWS else {}


def _wanted(name: str | None) -> LogFilter:
    """Return the filter that the URL asks for. Raises InvalidInput."""
    texts: dict[str, Any] = {key: request.args.get(key, "").strip() or None for key in ("name", "user", "device")}
    before = request.args.get("before")
    return LogFilter(
        **{**texts, "name": name or texts["name"]},
        since=day_in("since"),
        until=day_in("until", timedelta(days=1)),
        before=snapshot_number(before) if before else None,
    )


def _log(bundles: BundleRegistry, wanted: LogFilter) -> list[LogEntry]:
    more: dict[str, Any] = {key: getattr(wanted, key) for key in ("user", "device", "since", "until", "before")}
    return list(bundles.bundle_log(wanted.name, **more, limit=wanted.limit))


def _device_words(lines: list[LogEntry], device: str) -> dict[int, str]:
    """Return line id -> whether the device was added or removed."""
    return {line.id: "added" if came(line, device) else "removed" for line in lines}


def came(line: LogEntry, device: str) -> bool:
    """Tell whether a change that names a device added it; otherwise it removed it."""
    if not line.removed or not line.added:
        return not line.removed  # otherwise only the snapshot can tell
    return device in registry().bundle_snapshot(line.id).bundle.devices


@record.get("/log/export")
def export() -> Response:
    """Send all changes that match the filter, as a file."""
    format = request.args.get("format", "csv")
    if format not in _TYPES:
        raise InvalidInput(_("the record is written as csv or json, not %(text)s", text=repr(format[:40])))
    wanted = replace(_wanted(None), limit=_PART)
    # Taken now, since the response is streamed when the request has ended.
    bundles = registry()
    first = _log(bundles, wanted)  # an invalid filter fails before the response begins
    text = (part.encode() for part in write_log(_all(bundles, wanted, first), format))
    response = Response(text, mimetype=_TYPES[format])
    response.headers.set("Content-Disposition", "attachment", filename=f"{_file_name(wanted.name)}-record.{format}")
    return response


def _file_name(name: str | None) -> str:
    """Return a file name for a bundle. The name in the URL may be invalid."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name[:100]) if name else "bundles"


def _all(bundles: BundleRegistry, wanted: LogFilter, page: list[LogEntry]) -> Iterator[LogEntry]:
    while page:
        yield from page
        page = _log(bundles, replace(wanted, before=page[-1].id)) if len(page) == wanted.limit else []
