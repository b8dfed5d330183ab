"""Changes of many datasets at once: edits by a filter, and undoing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from metastore.catalogue.batches import Chosen, preview_undo, undo_all
from metastore.cli.base import App, say, tell_findings
from metastore.cli.output import show
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, RevisionConflict, StorageBusy
from metastore.search.values import FACETS
from metastore.store.base import Store
from metastore.store.batch import BatchLine
from metastore.types import DatasetId, Revision


def edit_many(
    app: App,
    filters: Sequence[str],
    patch: str | bytes,
    message: str | None,
    at: datetime | None,
    *,
    dry_run: bool,
) -> None:
    """Patch all datasets that fit some filters, in one batch; or (dry run) list what that would change.

    Raises:
        InvalidInput: A filter makes no sense, or the patch does not fit one of the datasets. Nothing was changed.
        RevisionConflict: A dataset was changed meanwhile. Those before it are changed, and the batch's id is told.
    """
    store = app.reader()
    batch = store.batch(message or "Patch datasets", at=at)
    for dataset_id in _found(store, _wanted(filters)):
        batch.dataset_patch(dataset_id, patch)
    try:
        lines = batch.preview() if dry_run else batch.write()
    finally:
        if any(line.revision for line in batch.lines):
            say(f"To take it back: metastore undo --batch {batch.id}")
    for line in lines if not app.json else ():
        _show_line(line)
    changed = sum(line.action != "unchanged" for line in lines)
    facts = {"datasets": len(lines), "changed": changed, "lines": lines, "batch": batch.id, "dry_run": dry_run}
    app.summary(facts, f"{changed} of {len(lines)} datasets {'would be ' if dry_run else ''}changed")


def _wanted(filters: Sequence[str]) -> dict[str, Any]:
    """Return filters as keyword arguments for a search."""
    wanted: dict[str, Any] = {}
    for text in filters:
        name, colon, value = text.partition(":")
        if not colon or name not in FACETS or name in wanted:
            raise InvalidInput(
                f"--where takes each of {', '.join(FACETS)} once, as in licence:CC-BY-3.0, and not {text!r}"
            )
        wanted[name] = value
    return wanted


def _found(store: Store, wanted: dict[str, Any]) -> Iterator[DatasetId]:
    after = None
    while True:
        page = store.dataset_search(order="id", limit=1000, after=after, **wanted)
        if not page.complete:
            raise StorageBusy(
                "the service had no time to search all datasets, so some would be missed: try again later"
            )
        yield from (hit.id for hit in page.hits)
        after = page.following
        if after is None:
            return


def preview_of_undo(app: App, head: Revision, dataset_id: str, changes: str, expected: str | None) -> None:
    """Show what the undo of one change would do. Raises RevisionConflict: `expected` is not the newest revision."""
    if expected not in (None, head.id):
        raise RevisionConflict(dataset_id, expected, head.id)
    line = preview_undo(app.reader(), dataset_id, changes)
    if app.json:
        app.data(line)
    else:
        _show_line(line)


def _show_line(line: BatchLine) -> None:
    show(str(line), *(f"  {change}" for change in line.changes))
    tell_findings(line.dataset_id, line.findings)


def undo_many(app: App, chosen: Chosen, message: str | None, *, dry_run: bool) -> None:
    """Undo the chosen changes, and print what became of each dataset."""
    failed, line = 0, None
    for line in undo_all(app.reader(), chosen, message=message, dry_run=dry_run):
        failed += line.outcome in ("conflict", "failed")
        app.data(line, str(line))
    if line is None:
        say("No change fits, so nothing was undone.")
    if failed:
        raise click.exceptions.Exit(FOUND_PROBLEMS)
