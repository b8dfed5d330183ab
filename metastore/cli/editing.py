"""Edits in $EDITOR, edits of many datasets by a filter, and undoing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from metastore.catalogue.batches import Chosen, preview_undo, undo_all
from metastore.cli.base import App, say, tell_findings, tell_moment
from metastore.cli.output import show
from metastore.cli.problems import FOUND_PROBLEMS
from metastore.errors import InvalidInput, MetastoreError, RevisionConflict, StorageBusy
from metastore.search.values import FACETS
from metastore.store.base import Store
from metastore.store.batch import BatchLine
from metastore.types import Dataset, DatasetId, Revision


def edit_in_editor(store: Store, current: Dataset, message: str | None, at: datetime | None) -> Dataset | None:
    """Let the user edit a descriptor, and store the result; None if nothing was saved.

    Raises:
        InvalidInput: The editor cannot be started, or the text is refused.
        RevisionConflict: The dataset was changed meanwhile. As after any error, the text is kept in a file.
    """
    text = _edited(current.bytes.decode())
    if text is None:
        return None
    try:
        return store.dataset_update(current.id, text, expected=current.revision.id, message=message, at=at)
    except MetastoreError as error:
        kept = _keep(text)
        again = f"metastore dataset update {current.id} {kept} --expected"
        if isinstance(error, RevisionConflict):
            say(f"What others changed: `metastore revision diff {current.id} {str(error.expected)[:12]}`.")
            say(f"What you typed is kept in {kept}: add their changes, then `{again} {error.actual}`.")
        else:
            say(f"What you typed is kept in {kept}: mend it, then `{again} {current.revision.id}`.")
        raise


def _edited(text: str) -> str | None:
    """Return a text as somebody saves it in the editor; None if nothing is saved."""
    try:
        return click.edit(text, extension=".json")
    except click.ClickException as error:
        name = error.format_message().partition(":")[0]
        raise InvalidInput(
            f"the editor {name!r} cannot be started, or failed: set EDITOR to another one, such as nano"
        ) from None


def _keep(text: str) -> Path:
    import tempfile

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json", prefix="metastore-", delete=False) as file:
        file.write(text)
    return Path(file.name)


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


def change_to_undo(dataset_id: str | None, revision: str | None) -> tuple[str, str]:
    """Return the dataset and the revision, or revisions, that a command line names.

    Raises:
        InvalidInput: One is missing. The message says what to type.
    """
    if dataset_id == "-":
        raise InvalidInput("undo takes no ids from stdin: choose changes of many datasets by --batch, --by or --since")
    if dataset_id is not None and "@" in dataset_id:
        raise InvalidInput(f"write the id and the revision apart: metastore undo {dataset_id.replace('@', ' ')}")
    if dataset_id is not None and revision is None:
        raise InvalidInput(
            f"say which change: `metastore undo {dataset_id} HEAD` undoes the newest one, and "
            f"`metastore log {dataset_id}` lists all"
        )
    if dataset_id is None or revision is None:
        raise InvalidInput("say what to undo: OWNER/NAME and REVISION, or --batch, --by or --since")
    return dataset_id, revision


def undo_one(
    app: App,
    dataset_id: str,
    revision: str,
    message: str | None,
    at: datetime | None,
    expected: str | None,
    *,
    dry_run: bool,
) -> None:
    """Undo changes of one dataset, or (dry run) show what that would do."""
    store = app.reader()
    before = store.revision_read(dataset_id)
    tell_moment(store, dataset_id, revision)
    if dry_run:
        _preview_of_undo(app, before, dataset_id, revision, expected)
        return
    undone = store.dataset_undo(dataset_id, revision, expected=expected, message=message, at=at)
    _tell_undone(undone, before, revision)
    app.data(undone, undone.revision.id)


def _tell_undone(undone: Dataset, before: Revision, revision: str) -> None:
    if undone.revision.id == before.id:
        say(f"Nothing of that change is left in {undone.id}: no revision was made.")
    elif undone.revision.deleted:
        back = f"`metastore dataset revert {undone.id} {before.id[:12]}` brings it back"
        say(f"Undid {revision}, which created {undone.id}. So the dataset is deleted; {back}.", fg="green")
    else:
        say(f"Undid {revision} in {undone.id}.", fg="green")


def _preview_of_undo(app: App, head: Revision, dataset_id: str, changes: str, expected: str | None) -> None:
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
