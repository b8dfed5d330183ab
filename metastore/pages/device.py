"""The page of a device: the bundles that have it and had it, and its replacement by another one in many bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from metastore.bundle.checks import check_devices
from metastore.bundle.port import Bundle, LogEntry
from metastore.errors import Conflict, InvalidInput
from metastore.pages import bundle_parts as parts
from metastore.pages.formatting import count
from metastore.pages.languages import gettext as _
from metastore.pages.record import came
from metastore.pages.refusals import drawn_again_by
from metastore.service.bundles import registry
from metastore.service.guard import identity

device = Blueprint("device", __name__)
Page = str | Response
#: The lines of the record, and the bundles, that the page reads.
_LINES, _BUNDLES = 500, 200
#: The prefix of the boxes that choose a bundle.
_IN = "in."


@dataclass(frozen=True, slots=True)
class Stay:
    """A time during which a bundle had the device.

    Attributes:
        bundle: The name of the bundle.
        since: The change that added the device; None if it is older than the lines that were read.
        until: The change that removed it, perhaps by deleting the bundle; None if the bundle still has it.
    """

    bundle: str
    since: LogEntry | None
    until: LogEntry | None


@device.get("/device")
def show() -> str:
    """Show where a device is and was."""
    return _page(None, request.args.get("name", ""))


def _page(problem: Exception | None, name: str, **typed: Any) -> str:
    (name,) = check_devices([name.strip()])
    lines = registry().bundle_log(device=name, limit=_LINES)
    now = [(bundle, parts.why_not(bundle)) for bundle in registry().bundle_list(device=name, limit=_BUNDLES)]
    return render_template(
        "bundles/device.html",
        device=name,
        now=now,
        may_replace=any(why_not is None for _, why_not in now),
        times=_stays(lines, name),
        is_cut=len(lines) == _LINES,
        problem=problem if isinstance(problem, (InvalidInput, Conflict)) else None,
        typed={"new": "", "comment": "", "chosen": [bundle.name for bundle, _ in now], **typed},
    )


def _stays(lines: Sequence[LogEntry], name: str) -> list[Stay]:
    """Return the times during which bundles had the device, the newest first."""
    done, begun = list[Stay](), dict[str, LogEntry]()
    for line in reversed(lines):
        if came(line, name):
            begun[line.name] = line
        else:
            done.append(Stay(line.name, begun.pop(line.name, None), line))
    return [Stay(line.name, line, None) for line in reversed(begun.values())] + done[::-1]


def _again(error: Exception) -> str:
    typed = {key: request.form.get(key, "") for key in ("new", "comment")}
    return _page(error, request.form.get("name", ""), **typed, chosen=_chosen())


def _chosen() -> list[str]:
    return [key.removeprefix(_IN) for key, value in request.form.items() if key.startswith(_IN) and value]


@device.post("/device")
@drawn_again_by(_again)
def replace() -> Page:
    """Show what a replacement would change, or make it in all chosen bundles at once."""
    old, new, comment = (request.form.get(key, "").strip() for key in ("name", "new", "comment"))
    if request.form.get("step") == "back":
        return _page(None, old, new=new, comment=comment, chosen=_chosen())
    rows = _rows(old, new)
    if request.form.get("step") != "store":
        outcomes = registry().bundle_import(rows, user=identity().user, comment=comment, dry_run=True)
        refused = [line for line in outcomes if line.outcome == "failed"]
        if refused:
            raise InvalidInput("; ".join(f"{line.name}: {line.reason}" for line in refused[:5]))
        both = [name for name in _chosen() if new in registry().bundle_read(name).devices]
        return render_template(
            "bundles/replace.html", device=old, new=new, comment=comment, chosen=_chosen(), both=both, prefix=_IN
        )
    registry().bundle_import(rows, user=identity().user, comment=parts.reason())
    bundles = count(len(rows), "bundle")
    if new:
        flash(_("Replaced %(old)s with %(new)s in %(bundles)s.", old=old, new=new, bundles=bundles))
    else:
        flash(_("Removed %(old)s in %(bundles)s.", old=old, bundles=bundles))
    return redirect(url_for("pages.device.show", name=new or old), 303)


def _rows(old: str, new: str) -> list[Bundle | dict[str, Any]]:
    """Return the changes of the chosen bundles. Raises InvalidInput."""
    check_devices([old])
    if new:
        check_devices([new], "/new")
    if new == old:
        raise InvalidInput(_("the new device is the same as the old one: name another"), pointer="/new")
    if not _chosen():
        raise InvalidInput(_("choose at least one bundle"))
    changes = {"remove_devices": [old], **({"add_devices": [new]} if new else {})}
    return [{"name": name, **changes} for name in _chosen()]
