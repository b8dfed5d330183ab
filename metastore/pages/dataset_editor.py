"""Pages that create a dataset and edit its descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from metastore.descriptor.difference import changes
from metastore.descriptor.document import decode, encode, load_written
from metastore.descriptor.merge import limit_together, merge
from metastore.descriptor.summary import only_the_order
from metastore.errors import (
    AlreadyExists,
    AuthenticationError,
    Conflict,
    DatasetDeleted,
    InvalidInput,
    PermissionDenied,
    RevisionConflict,
    TooLarge,
)
from metastore.pages import markdown
from metastore.pages.compare import beside
from metastore.pages.dataset_forms import expected, to_dataset, written
from metastore.pages.datasets import between, can, owners_of, readable_id
from metastore.pages.json_lines import mark
from metastore.pages.languages import gettext as _
from metastore.pages.places import in_words
from metastore.pages.refusals import drawn_again_by, is_explained
from metastore.pages.typed import (
    as_sent,
    decoded,
    filled,
    form_of,
    in_fields,
    largest,
    limit,
    parsed,
    redraws,
    spots,
    typed,
)
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
        raise PermissionDenied(_("you may not create datasets: ask for the scope ds:<owner>/*:create"))
    way = request.args.get("as", "")
    return _new({"text": '{"resources": []}' if way == "form" else _EMPTY, "as": way}, is_fresh=True)


def _new(given: Any, **more: Any) -> str:
    page: dict[str, Any] = {
        "problem": None,
        "places": (),
        "wrong_id": None,
        "preview": None,
        "form": form_of(given),
        **more,
    }
    return render_template("datasets/new.html", given=given, owners=owners_of(identity()), largest=largest(), **page)


def _new_again(error: Exception) -> str:
    given = _as_typed()
    about_id = isinstance(error, (Conflict, PermissionDenied)) or not _is_id(given["id"])
    if about_id and isinstance(error, (Conflict, InvalidInput)):
        return _new(given, wrong_id=error)
    if isinstance(error, InvalidInput):
        return _new(given, problem=error, places=_places(given, error))
    return _new(given)


def _as_typed() -> dict[str, Any]:
    """Return what was typed, to be shown again; as it was sent if that is no JSON."""
    try:
        return filled()
    except InvalidInput:
        return as_sent()


def _places(given: dict[str, Any], error: Exception) -> Sequence[Any]:
    """Return the problems of an error, each with its line in the JSON or its field in the form."""
    if form_of(given) is None:
        return mark(given["text"], error)
    return in_fields(getattr(error, "problems", ()))


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
    given = typed()
    if way := redraws(given):
        return _new({**given, "as": way})
    if request.form.get("step") == "preview":
        return _new(given, preview=[], **_seen({}, parsed(given["text"]), given))
    subject = parse_dataset_id(given["id"].strip())
    service().store.dataset_create(subject, given["text"], **written("create", subject))
    return to_dataset(subject, _("Created %(name)s.", name=subject))


@dataset_editor.post("/datasets/check")
def look() -> str:
    """Return what the check finds in what somebody is typing, as a part of their page."""
    if identity().anonymous:
        raise AuthenticationError(_("you are no longer signed in"), missing=True)
    given = typed()
    return render_template("datasets/check.html", findings=spots(given["text"], in_form=given["as"] == "form"))


# Edit


@dataset_editor.get("/datasets/<owner>/<name>/edit")
def edit(owner: str, name: str) -> Page:
    """Show the editor of a descriptor."""
    subject = readable_id(owner, name)
    writer(subject, "update")
    dataset = service().store.dataset_read(subject)
    try:
        limit(dataset.bytes)
    except TooLarge as error:
        return render_template("datasets/large.html", id=subject, problem=error, can=can(subject)), 413
    given = {"text": dataset.bytes.decode(), "expected": dataset.revision.id, "as": request.args.get("as", "")}
    return _editor(subject, {**given, "opened": request.args.get("open", "")}, is_fresh=True)


def _editor_again(error: Exception, owner: str, name: str) -> str:
    """Draw the editor with the user's input, and with its mistakes or the changes that others made meanwhile."""
    subject, given = readable_id(owner, name), _as_typed()
    if isinstance(error, RevisionConflict):
        beside = _beside(subject, str(error.expected))
        return _editor(subject, {**given, "expected": beside["newest"].id, "base": str(error.expected)}, **beside)
    if isinstance(error, (DatasetDeleted, AlreadyExists)):
        is_explained()
        beside = _beside(subject, given["base"] or given["expected"])
        return _editor(subject, {**given, "expected": beside["newest"].id}, **beside)
    beside = _beside(subject, given["base"]) if given["base"] else {}
    if isinstance(error, InvalidInput):
        return _editor(subject, given, problem=error, places=_places(given, error), **beside)
    return _editor(subject, given, **beside)


@dataset_editor.post("/datasets/<owner>/<name>/edit")
@drawn_again_by(_editor_again)
def update(owner: str, name: str) -> Page:
    """Save the descriptor, or create a deleted dataset with it again."""
    subject, store, given = readable_id(owner, name), service().store, typed()
    step = request.form.get("step")
    if way := redraws(given):
        return _switched(subject, {**given, "as": way})
    if step == "merge":
        return _merge(subject, given)
    if step == "preview":
        return _preview(subject, given)
    if step == "create":
        store.dataset_create(subject, given["text"], **written("create", subject))
        return to_dataset(subject, _("Restored %(name)s.", name=subject))
    before = store.revision_read(subject)
    saved = store.dataset_update(subject, given["text"], expected=expected(), **written("update", subject))
    return to_dataset(subject, _("No changes to save.") if saved.revision.id == before.id else _("Saved."))


def _switched(subject: DatasetId, given: dict[str, Any]) -> str:
    """Show what was typed in the other way. If it was a mistake to be in a form, show where the JSON is wrong."""
    writer(subject, "update")
    if given["as"] == "form":
        decoded(given["text"])
    return _editor(subject, given, **(_beside(subject, given["base"]) if given["base"] else {}))


def _beside(subject: DatasetId, base: str) -> dict[str, Any]:
    """Return the changes of others since a revision, which the page shows beside the user's input."""
    newest = service().store.revision_read(subject)
    return {"newest": newest, "others": [] if newest.deleted else between(subject, base, newest)}


def _merge(subject: DatasetId, given: dict[str, Any]) -> str:
    """Merge the changes of others into the user's input, and show the editor again. Nothing is stored."""
    writer(subject, "update")
    store = service().store
    mine = parsed(given["text"])
    base, newest = store.dataset_read(subject, given["base"]), store.dataset_read(subject)
    limit_together(given["text"], base.bytes, newest.bytes)
    # Decoded from the bytes, in which numbers have their original form.
    before, theirs = (decode(dataset.bytes) for dataset in (base, newest))
    merged, clashes = merge(before, mine, theirs)
    kept = {**given, "text": encode(merged).decode(), "expected": newest.revision.id, "base": ""}
    rows = [
        (in_words(clash.where), *beside(clash.old, clash.new, by_words=number < _COMPARED_CLASHES))
        for number, clash in enumerate(clashes[:_MOST_CLASHES])
    ]
    return _editor(subject, kept, merged=True, clashes=rows, more=len(clashes) - len(rows))


def _preview(subject: DatasetId, given: dict[str, Any]) -> str:
    """Show what saving would change, and the editor again. Nothing is stored."""
    writer(subject, "update")
    after, newest = parsed(given["text"]), service().store.dataset_read(subject)
    if expected() not in (None, newest.revision.id):
        raise RevisionConflict(subject, expected=str(expected()), actual=newest.revision.id)
    before = load_written(newest.bytes)
    found = list(changes(before, after))
    order = "" if found else only_the_order(before, after)
    return _editor(subject, given, preview=found, order=order, **_seen(before, after, given))


def _seen(before: Any, after: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a preview shows beside the changes: a new description as it will look, and the findings."""
    description = after.get("description")
    is_new = isinstance(description, str) and description != before.get("description")
    return {
        "described": markdown.render(description) if is_new else "",
        "findings": spots(given["text"], in_form=given["as"] == "form"),
    }


def _editor(subject: DatasetId, given: dict[str, Any], **more: Any) -> str:
    page: dict[str, Any] = {"problem": None, "places": (), "preview": None, "form": form_of(given), **more}
    return render_template("datasets/edit.html", id=subject, given=given, can=can(subject), largest=largest(), **page)
