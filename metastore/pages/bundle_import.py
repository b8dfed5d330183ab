"""Pages that import a file of bundles: what it would change is shown first, and only that is then stored."""

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
from metastore.bundle.exchange import ImportLine, Row, read_rows
from metastore.bundle.port import BundleDiff
from metastore.errors import InvalidInput
from metastore.pages import bundle_parts as parts
from metastore.pages.refusals import drawn_again_by, text_of
from metastore.service.bundles import registry
from metastore.service.guard import identity

bundle_import = Blueprint("bundle_import", __name__)
Page = str | tuple[str, int] | Response
#: The largest file, in bytes: its text goes to the browser and back. The command line takes larger ones.
LARGEST = 5 * 1024 * 1024
#: What programs are told behind a sentence.
_POINTER = re.compile(r" \(at /[^)]*\)$")
#: Of how many bundles the page says what would change in them; and how many other lines it shows.
_DIFFERENCES, _LINES = 100, 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file would change.

    Attributes:
        lines: What would become of each line.
        changes: Bundles that would change, with what would.
        counts: Outcome -> how many lines have it.
        seen: A hash of all of it and of the states that it is computed from.
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
    """Draw the form again; a browser forgets which file was chosen, so its text stands in the form."""
    file = request.files.get("file")
    text = text_of(file) if file else request.form.get("text", "")
    kept = text if len(text) <= LARGEST else ""
    return _form(error if isinstance(error, InvalidInput) else None, kept)


@bundle_import.post("/import-bundles")
@drawn_again_by(_form_again)
def answer() -> Page:
    """Show what a file would change; or, once that was seen, change it."""
    parts.own_groups()
    text = _text()
    rows = read_rows(text, "json" if text.lstrip()[:1] in ("[", "{") else "csv")
    plan = _plan(rows)
    if request.form.get("step") != "store":
        return _preview(text, plan)
    if request.form.get("seen") != plan.seen:
        return _preview(text, plan, meanwhile=True), 409
    return _store(rows, plan)


def _text() -> str:
    """Return the file: chosen, or sent along from the preview.

    Raises:
        InvalidInput: There is none, or it is no UTF-8.
        RequestEntityTooLarge: It is larger than a page takes.
    """
    file = request.files.get("file")
    content = file.read() if file else request.form.get("text", "").encode()
    if len(content) > LARGEST:
        raise RequestEntityTooLarge(
            f"the file has {len(content):,} bytes, and this page takes {LARGEST:,}: use `metastore bundle import`"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the file is not UTF-8: byte {error.start} is wrong") from None
    if not text.strip():
        raise InvalidInput("choose a file that has bundles in it")
    return text.replace("\r\n", "\n")  # as it was, before a browser sent it along


def _plan(rows: Sequence[Row]) -> Plan:
    """Find out what the rows would change, and change nothing."""
    found = registry().bundle_import(rows, user=identity().user, comment=request.form.get("comment"), dry_run=True)
    lines = [replace(line, reason=_POINTER.sub("", line.reason or "")) for line in found]
    now = {each.name: each.snapshot for each in registry().bundle_list()}
    states = [[line.line, str(line.name), line.outcome, line.reason, now.get(str(line.name))] for line in lines]
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
    """Import what can be; all at once where all can."""
    done = registry().bundle_import(
        rows, user=identity().user, comment=request.form.get("comment"), atomic=not plan.counts["failed"]
    )
    counts = Counter(line.outcome for line in done)
    flash(
        f"Imported: {counts['created']:,} created, {counts['updated']:,} changed, "
        f"{counts['unchanged']:,} as they were, {counts['failed']:,} refused."
    )
    return redirect(url_for("pages.bundles.index"), 303)
