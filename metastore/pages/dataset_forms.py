"""Pages that change a dataset: edit, tag, revert, delete, move; nothing that was typed is lost when one fails."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from metastore.descriptor.document import check, decode, encode
from metastore.descriptor.merge import merge
from metastore.errors import Conflict, InvalidInput, MetastoreError, RevisionConflict
from metastore.pages.datasets import between, can, readable_id, shown
from metastore.pages.json_lines import mark
from metastore.parse import parse_dataset_id
from metastore.service.context import service
from metastore.service.guard import identity, named, require_move, writer
from metastore.service.problems import status_of
from metastore.types import DatasetId

dataset_forms = Blueprint("dataset_forms", __name__)
Page = str | tuple[str, int] | Response
#: How many of the places that two people changed at once are shown.
_MOST_CLASHES = 100
_EMPTY = '{\n  "name": "",\n  "title": "",\n  "resources": []\n}\n'


def _written(action: str, subject: DatasetId) -> dict[str, Any]:
    """Return who writes and why, if they may. Raises AuthenticationError, PermissionDenied."""
    who = writer(subject, action)
    return {"author": who.author, "message": request.form.get("message", "").strip() or None}


def _expected() -> str | None:
    return request.form.get("expected") or None


def _to(subject: DatasetId, said: str) -> Response:
    flash(said)
    return redirect(url_for("pages.datasets.show", owner=subject.owner, name=subject.name), 303)


@dataset_forms.get("/datasets/new")
def new() -> str:
    """Ask for a new dataset."""
    return _new({"text": _EMPTY})


def _new(given: Any, **more: Any) -> str:
    return render_template(
        "datasets/new.html", given=given, **{"problem": None, "places": (), "wrong_id": None, **more}
    )


@dataset_forms.post("/datasets/new")
def create() -> Page:
    """Make a dataset."""
    given = request.form
    named(identity())
    try:
        subject = parse_dataset_id(given.get("id", "").strip())
    except InvalidInput as error:
        return _new(given, wrong_id=error), status_of(error)
    try:
        service().store.dataset_create(subject, given.get("text", ""), **_written("create", subject))
    except Conflict as error:
        return _new(given, wrong_id=error), status_of(error)
    except InvalidInput as error:
        return _new(given, problem=error, places=mark(given.get("text", ""), error)), status_of(error)
    return _to(subject, f"{subject} was created.")


@dataset_forms.get("/datasets/<owner>/<name>/edit")
def edit(owner: str, name: str) -> str:
    """Show the descriptor to be changed."""
    subject = readable_id(owner, name)
    writer(subject, "update")
    found = service().store.dataset_read(subject)
    return _editor(subject, {"text": found.bytes.decode(), "expected": found.revision.id})


@dataset_forms.post("/datasets/<owner>/<name>/edit")
def update(owner: str, name: str) -> Page:
    """Change the descriptor; who was overtaken sees what the others did, beside what they typed."""
    subject, store, given = readable_id(owner, name), service().store, request.form
    try:
        if given.get("step") == "merge":
            return _merge(subject, given)
        before = store.revision_read(subject)
        made = store.dataset_update(subject, given.get("text", ""), expected=_expected(), **_written("update", subject))
    except RevisionConflict as error:
        beside = _beside(subject, str(error.expected))
        kept = {**_typed(given), "expected": beside["newest"].id, "base": str(error.expected)}
        return _editor(subject, kept, **beside), 409
    except InvalidInput as error:
        beside = _beside(subject, given["base"]) if given.get("base") else {}
        places = mark(given.get("text", ""), error)
        return _editor(subject, given, problem=error, places=places, **beside), status_of(error)
    same = made.revision.id == before.id
    return _to(subject, "No changes to save." if same else "Saved.")


def _typed(given: Any) -> dict[str, str]:
    return {"text": given.get("text", ""), "message": given.get("message", "")}


def _beside(subject: DatasetId, base: str) -> dict[str, Any]:
    """Return what others changed since a revision, to be shown beside what was typed."""
    newest = service().store.revision_read(subject)
    return {"newest": newest, "others": between(subject, base, newest)}


def _merge(subject: DatasetId, given: Any) -> str:
    """Take what others changed into what was typed, for the editor to look at; nothing is stored."""
    writer(subject, "update")
    store = service().store
    mine = decode(given.get("text", ""))
    check(mine)
    base, newest = store.dataset_read(subject, given.get("base")), store.dataset_read(subject)
    # Read as text, since numbers stay as they were written.
    before, theirs = (decode(each.bytes, max_bytes=len(each.bytes)) for each in (base, newest))
    merged, clashes = merge(before, mine, theirs)
    kept = {**_typed(given), "text": encode(merged).decode(), "expected": newest.revision.id}
    rows = [(each.where, shown(each.old), shown(each.new)) for each in clashes[:_MOST_CLASHES]]
    return _editor(subject, kept, merged=True, clashes=rows, more=len(clashes) - len(rows))


def _editor(subject: DatasetId, given: Any, **more: Any) -> str:
    return render_template("datasets/edit.html", id=subject, given=given, **{"problem": None, "places": (), **more})


@dataset_forms.get("/datasets/<owner>/<name>/tag")
def tag(owner: str, name: str) -> str:
    """Ask for the name of a tag."""
    return _confirm("tag", readable_id(owner, name), _of_link("revision"))


@dataset_forms.get("/datasets/<owner>/<name>/revert")
def revert(owner: str, name: str) -> str:
    """Ask whether to put a dataset back."""
    return _confirm("revert", readable_id(owner, name), _of_link("to"))


@dataset_forms.get("/datasets/<owner>/<name>/undo")
def undo(owner: str, name: str) -> str:
    """Ask whether to take one change out."""
    return _confirm("undo", readable_id(owner, name), _of_link("revision"))


@dataset_forms.get("/datasets/<owner>/<name>/delete")
def delete(owner: str, name: str) -> str:
    """Ask whether to delete a dataset."""
    return _confirm("delete", readable_id(owner, name), {})


@dataset_forms.get("/datasets/<owner>/<name>/move")
def move(owner: str, name: str) -> str:
    """Ask for the new id of a dataset."""
    return _confirm("move", readable_id(owner, name), {})


def _of_link(parameter: str) -> dict[str, str]:
    """Return the revision that a link names; nothing else of a query goes into a form that changes something."""
    return {parameter: request.args[parameter]} if parameter in request.args else {}


#: The parameter that names the older revision which an action is about.
_TARGETS = {"revert": "to", "undo": "revision"}


def _confirm(action: str, subject: DatasetId, given: Any, problem: MetastoreError | None = None) -> str:
    """Show what is about to happen, and ask for the reason."""
    store = service().store
    newest = store.revision_read(subject)
    target = store.revision_read(subject, given.get(_TARGETS[action])) if action in _TARGETS else newest
    others = []
    if action == "revert" and not target.deleted:
        others = between(subject, target.id, newest)
    elif action == "undo" and target.parent is not None:
        others = between(subject, target.parent, target)
    return render_template(
        f"datasets/{action}.html",
        id=subject,
        given=given,
        problem=problem,
        newest=newest,
        target=target,
        differences=others,
        can=can(subject),
        me=identity(),
    )


@dataset_forms.post("/datasets/<owner>/<name>/tag")
def make_tag(owner: str, name: str) -> Page:
    """Name a revision."""
    subject, given = readable_id(owner, name), request.form
    try:
        author = _written("update", subject)["author"]
        made = service().store.tag_create(
            subject,
            given.get("name", "").strip(),
            given.get("revision") or None,
            description=given.get("message", ""),
            author=author,
        )
    except (InvalidInput, Conflict) as error:
        return _confirm("tag", subject, given, error), status_of(error)
    return _to(subject, f"Tagged {made.name}.")


@dataset_forms.post("/datasets/<owner>/<name>/revert")
def put_back(owner: str, name: str) -> Page:
    """Put a dataset back to what it was."""
    subject, given = readable_id(owner, name), request.form
    store = service().store
    try:
        head = store.revision_read(subject)
        change = _written("create" if head.deleted else "update", subject)
        expected = _expected() or head.id
        if expected != head.id:  # the right was checked for what is there, and for nothing else
            raise RevisionConflict(subject, expected=expected, actual=head.id)
        made = store.dataset_revert(subject, given.get("to", ""), expected=expected, **change)
    except (InvalidInput, Conflict) as error:
        return _confirm("revert", subject, given, error), status_of(error)
    return _to(subject, f"Reverted to {given.get('to', '')[:12]} as revision {made.revision.id[:12]}.")


@dataset_forms.post("/datasets/<owner>/<name>/undo")
def take_out(owner: str, name: str) -> Page:
    """Take one change out."""
    subject, given = readable_id(owner, name), request.form
    store = service().store
    try:
        head = store.revision_read(subject)
        change = _written("create" if head.deleted else "update", subject)
        made = store.dataset_undo(subject, given.get("revision", ""), expected=_expected() or head.id, **change)
    except (InvalidInput, Conflict) as error:
        return _confirm("undo", subject, given, error), status_of(error)
    same = made.revision.id == head.id
    return _to(subject, "Nothing of that change was left." if same else f"Undone as revision {made.revision.id[:12]}.")


@dataset_forms.post("/datasets/<owner>/<name>/delete")
def remove(owner: str, name: str) -> Page:
    """Delete a dataset; its history stays."""
    subject = readable_id(owner, name)
    try:
        service().store.dataset_delete(subject, expected=_expected(), **_written("delete", subject))
    except Conflict as error:
        return _confirm("delete", subject, request.form, error), status_of(error)
    return _to(subject, f"{subject} was deleted.")


@dataset_forms.post("/datasets/<owner>/<name>/move")
def take_elsewhere(owner: str, name: str) -> Page:
    """Give a dataset another id."""
    subject, given = readable_id(owner, name), request.form
    try:
        target = parse_dataset_id(given.get("new_id", "").strip())
        require_move(subject, target)
        service().store.dataset_move(subject, target, expected=_expected(), **_written("update", subject))
    except (InvalidInput, Conflict) as error:
        return _confirm("move", subject, given, error), status_of(error)
    return _to(target, f"Moved {subject} to {target}. The old address leads here.")
