"""Pages that create a dataset and edit its descriptor."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from metastore.descriptor.difference import changes
from metastore.descriptor.document import decode, encode, load_written, most_values
from metastore.descriptor.merge import limit_size, merge
from metastore.descriptor.resources import check
from metastore.errors import AlreadyExists, Conflict, DatasetDeleted, InvalidInput, PermissionDenied, RevisionConflict
from metastore.pages.compare import beside
from metastore.pages.dataset_forms import expected, to_dataset, written
from metastore.pages.datasets import between, can, owners_of, readable_id
from metastore.pages.json_lines import mark
from metastore.pages.refusals import drawn_again_by, is_explained
from metastore.parse import parse_dataset_id
from metastore.service.context import service
from metastore.service.guard import identity, named, writer
from metastore.types import DatasetId

dataset_editor = Blueprint("dataset_editor", __name__)
Page = str | tuple[str, int] | Response
#: The clashes of two changes that a page shows.
_MOST_CLASHES = 100
#: The clashes whose words are compared, which takes time for long texts.
_COMPARED_CLASHES = 50
_EMPTY = '{\n  "name": "",\n  "title": "",\n  "resources": []\n}\n'


# New


@dataset_editor.get("/datasets/new")
def new() -> str:
    """Show the form of a new dataset, if the caller may create any."""
    if not owners_of(named(identity())):
        raise PermissionDenied("you may not create datasets: ask for the scope ds:<owner>/*:create")
    return _new({"text": _EMPTY})


def _new(given: Any, **more: Any) -> str:
    page: dict[str, Any] = {"problem": None, "places": (), "wrong_id": None, **more}
    largest = service().store.max_bytes
    return render_template("datasets/new.html", given=given, owners=owners_of(identity()), largest=largest, **page)


def _new_again(error: Exception) -> str:
    given = request.form
    about_id = isinstance(error, (Conflict, PermissionDenied)) or not _is_id(given.get("id", ""))
    if about_id and isinstance(error, (Conflict, InvalidInput)):
        return _new(given, wrong_id=error)
    if isinstance(error, InvalidInput):
        return _new(given, problem=error, places=mark(given.get("text", ""), error))
    return _new(given)


def _is_id(text: str) -> bool:
    try:
        parse_dataset_id(text.strip())
    except InvalidInput:
        return False
    return True


@dataset_editor.post("/datasets/new")
@drawn_again_by(_new_again)
def create() -> Page:
    """Create a dataset."""
    form = request.form
    subject = parse_dataset_id(form.get("id", "").strip())
    service().store.dataset_create(subject, form.get("text", ""), **written("create", subject))
    return to_dataset(subject, f"Created {subject}.")


# Edit


@dataset_editor.get("/datasets/<owner>/<name>/edit")
def edit(owner: str, name: str) -> str:
    """Show the editor of a descriptor."""
    subject = readable_id(owner, name)
    writer(subject, "update")
    dataset = service().store.dataset_read(subject)
    return _editor(subject, {"text": dataset.bytes.decode(), "expected": dataset.revision.id})


def _editor_again(error: Exception, owner: str, name: str) -> str:
    """Draw the editor with the user's input, and with its mistakes or the changes that others made meanwhile."""
    subject, given = readable_id(owner, name), request.form
    if isinstance(error, RevisionConflict):
        beside = _beside(subject, str(error.expected))
        kept = {**_typed(given), "expected": beside["newest"].id, "base": str(error.expected)}
        return _editor(subject, kept, **beside)
    if isinstance(error, (DatasetDeleted, AlreadyExists)):
        is_explained()
        beside = _beside(subject, given.get("base") or given.get("expected", ""))
        return _editor(subject, {**given, "expected": beside["newest"].id}, **beside)
    beside = _beside(subject, given["base"]) if given.get("base") else {}
    if isinstance(error, InvalidInput):
        return _editor(subject, given, problem=error, places=mark(given.get("text", ""), error), **beside)
    return _editor(subject, given, **beside)


@dataset_editor.post("/datasets/<owner>/<name>/edit")
@drawn_again_by(_editor_again)
def update(owner: str, name: str) -> Page:
    """Save the descriptor, or create a deleted dataset with it again."""
    subject, store, form = readable_id(owner, name), service().store, request.form
    step, text = form.get("step"), form.get("text", "")
    if step == "merge":
        return _merge(subject, form)
    if step == "preview":
        return _preview(subject, form)
    if step == "create":
        store.dataset_create(subject, text, **written("create", subject))
        return to_dataset(subject, f"Restored {subject}.")
    before = store.revision_read(subject)
    saved = store.dataset_update(subject, text, expected=expected(), **written("update", subject))
    return to_dataset(subject, "No changes to save." if saved.revision.id == before.id else "Saved.")


def _typed(given: Any) -> dict[str, str]:
    return {"text": given.get("text", ""), "message": given.get("message", "")}


def _beside(subject: DatasetId, base: str) -> dict[str, Any]:
    """Return the changes of others since a revision, which the page shows beside the user's input."""
    newest = service().store.revision_read(subject)
    return {"newest": newest, "others": [] if newest.deleted else between(subject, base, newest)}


def _merge(subject: DatasetId, given: Any) -> str:
    """Merge the changes of others into the user's input, and show the editor again. Nothing is stored."""
    writer(subject, "update")
    store = service().store
    mine = _parsed(given.get("text", ""))
    base, newest = store.dataset_read(subject, given.get("base")), store.dataset_read(subject)
    limit_size(given.get("text", ""), base.bytes, newest.bytes)
    # Decoded from the bytes, in which numbers have their original form.
    before, theirs = (decode(dataset.bytes) for dataset in (base, newest))
    merged, clashes = merge(before, mine, theirs)
    kept = {**_typed(given), "text": encode(merged).decode(), "expected": newest.revision.id}
    rows = [
        (clash.where, *beside(clash.old, clash.new, by_words=number < _COMPARED_CLASHES))
        for number, clash in enumerate(clashes[:_MOST_CLASHES])
    ]
    return _editor(subject, kept, merged=True, clashes=rows, more=len(clashes) - len(rows))


def _parsed(text: str) -> Any:
    """Return a typed descriptor. Raises InvalidInput."""
    most = service().store.max_bytes
    descriptor = decode(text, max_bytes=most, max_values=most_values(most))
    check(descriptor)
    return descriptor


def _preview(subject: DatasetId, given: Any) -> str:
    """Show what saving would change, and the editor again. Nothing is stored."""
    writer(subject, "update")
    after, newest = _parsed(given.get("text", "")), service().store.dataset_read(subject)
    if expected() not in (None, newest.revision.id):
        raise RevisionConflict(subject, expected=str(expected()), actual=newest.revision.id)
    return _editor(subject, given, preview=list(changes(load_written(newest.bytes), after)))


def _editor(subject: DatasetId, given: Any, **more: Any) -> str:
    page: dict[str, Any] = {"problem": None, "places": (), "preview": None, **more}
    largest = service().store.max_bytes
    return render_template("datasets/edit.html", id=subject, given=given, can=can(subject), largest=largest, **page)
