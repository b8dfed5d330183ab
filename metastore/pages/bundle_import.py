"""Pages that import a file of bundles. They show its changes first, and then store exactly those."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from metastore.bundle.checks import apply_changes
from metastore.bundle.difference import diff
from metastore.bundle.exchange import ImportLine, Row
from metastore.bundle.port import BundleDiff
from metastore.errors import InvalidInput
from metastore.pages import bundle_parts as parts
from metastore.pages.formatting import number
from metastore.pages.languages import gettext as _
from metastore.pages.refusals import drawn_again_by, text_of
from metastore.service.bundles import registry, rows_of
from metastore.service.guard import identity

bundle_import = Blueprint("bundle_import", __name__)
Page = str | tuple[str, int] | Response
#: The largest file, in bytes: its text goes to the browser and back. The command line takes larger ones.
LARGEST = 5 * 1024 * 1024
#: The JSON Pointer at the end of a message, which is for programs.
_POINTER = re.compile(r" \(at /[^)]*\)$")
#: The bundles whose changes the page shows, and the number of other lines.
_DIFFERENCES, _LINES = 100, 500


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that a file would make.

    Attributes:
        lines: The outcome of each line.
        changes: The bundles that would change, each with its changes.
        counts: Outcome -> number of lines.
        seen: A hash of the plan and of the states that it was computed from.
    """

    lines: Sequence[ImportLine]
    changes: Sequence[tuple[ImportLine, BundleDiff]]
    counts: Counter[str]
    seen: str

    def of(self, outcome: str) -> Sequence[ImportLine]:
        """Return the first lines with an outcome."""
        return [line for line in self.lines if line.outcome == outcome][:_LINES]


@bundle_import.get("/import-bundles")
def ask() -> str:
    """Ask for a file."""
    parts.own_groups()
    return _form()


def _form(problem: Exception | None = None, text: str = "") -> str:
    comment = request.form.get("comment", "")
    return render_template("bundles/import.html", problem=problem, comment=comment, largest=LARGEST, text=text)


def _form_again(error: Exception) -> str:
    """Draw the form again with the file's text in it, since browsers forget the chosen file."""
    file = request.files.get("file")
    text = text_of(file) if file else request.form.get("text", "")
    kept = text if len(text) <= LARGEST else ""
    return _form(error if isinstance(error, InvalidInput) else None, kept)


@bundle_import.post("/import-bundles")
@drawn_again_by(_form_again)
def answer() -> Page:
    """Show the changes that a file would make; once they were shown, make them."""
    parts.own_groups()
    text = _text()
    rows = rows_of(text, "json" if text.lstrip()[:1] in ("[", "{") else "csv")
    plan = _plan(rows)
    if request.form.get("step") != "store":
        return _preview(text, plan)
    if request.form.get("seen") != plan.seen:
        return _preview(text, plan, meanwhile=True), 409
    return _store(rows, plan)


def _text() -> str:
    """Return the text of the chosen file, or of the one that the preview carries.

    Raises:
        InvalidInput: There is no file, or it is not UTF-8.
        RequestEntityTooLarge: The file is larger than `LARGEST`.
    """
    file = request.files.get("file")
    content = file.read() if file else request.form.get("text", "").encode()
    if len(content) > LARGEST:
        raise RequestEntityTooLarge(
            _(
                "the file has %(size)s bytes, and this page accepts %(most)s: use `metastore bundle import`",
                size=number(len(content)),
                most=number(LARGEST),
            )
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(_("the file is not UTF-8: byte %(byte)s is invalid", byte=error.start)) from None
    if not text.strip():
        raise InvalidInput(_("choose a file that contains bundles"))
    return text.replace("\r\n", "\n")  # browsers send text with CR LF


def _plan(rows: Sequence[Row]) -> Plan:
    """Compute the changes that the rows would make, and change nothing."""
    outcomes = registry().bundle_import(rows, user=identity().user, comment=request.form.get("comment"), dry_run=True)
    lines = [replace(line, reason=_POINTER.sub("", line.reason or "")) for line in outcomes]
    newest = {bundle.name: bundle.snapshot for bundle in registry().bundle_list()}
    states = [[line.line, str(line.name), line.outcome, line.reason, newest.get(str(line.name))] for line in lines]
    wanted = [dict(row.values) if isinstance(row.values, dict) else str(row.values) for row in rows]
    seen = hashlib.sha256(json.dumps([states, wanted], sort_keys=True).encode()).hexdigest()
    changed = [(line, row) for line, row in zip(lines, rows, strict=True) if line.outcome == "updated"]
    changes = [(line, _difference(row)) for line, row in changed[:_DIFFERENCES]]
    return Plan(lines, changes, Counter(line.outcome for line in lines), seen)


def _difference(row: Row) -> BundleDiff:
    newest = registry().bundle_snapshot(registry().bundle_read(row.name).snapshot or 0)
    return diff(newest, replace(newest, bundle=apply_changes(newest.bundle, row.changes)))


def _preview(text: str, plan: Plan, *, meanwhile: bool = False) -> str:
    comment = request.form.get("comment", "")
    more = max(0, plan.counts["updated"] - len(plan.changes))
    return render_template(
        "bundles/import_preview.html", text=text, plan=plan, comment=comment, meanwhile=meanwhile, more=more
    )


def _store(rows: Sequence[Row], plan: Plan) -> Response:
    """Import all rows at once, or those that can be imported if some cannot."""
    done = registry().bundle_import(
        rows, user=identity().user, comment=request.form.get("comment"), atomic=not plan.counts["failed"]
    )
    counts = Counter(line.outcome for line in done)
    flash(
        _(
            "Imported: %(created)s created, %(updated)s changed, %(unchanged)s unchanged, %(failed)s refused.",
            **{outcome: number(counts[outcome]) for outcome in ("created", "updated", "unchanged", "failed")},
        )
    )
    return redirect(url_for("pages.bundles.index"), 303)
