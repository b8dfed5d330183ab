"""Pages that ask for confirmation before they change a dataset: tag, revert, undo, delete and move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from metastore.errors import (
    Conflict,
    InvalidInput,
    RevisionConflict,
)
from metastore.pages.datasets import between, can, readable_id
from metastore.pages.languages import gettext as _
from metastore.pages.refusals import drawn_again_by
from metastore.parse import parse_dataset_id
from metastore.service.context import service
from metastore.service.guard import identity, require_move, writer
from metastore.store.spans import span_of
from metastore.types import DatasetId, Revision

dataset_forms = Blueprint("dataset_forms", __name__)
Page = str | tuple[str, int] | Response


def written(action: str, subject: DatasetId) -> dict[str, Any]:
    """Return author and message of a write that the caller may make. Raises AuthenticationError, PermissionDenied."""
    who = writer(subject, action)
    return {"author": who.author, "message": request.form.get("message", "").strip() or None}


def expected() -> str | None:
    """Return the revision that the form was drawn from, or None."""
    return request.form.get("expected") or None


def to_dataset(subject: DatasetId, message: str) -> Response:
    """Redirect to a dataset, whose page shows the message."""
    flash(message, "saved")
    return redirect(url_for("pages.datasets.show", owner=subject.owner, name=subject.name), 303)


@dataset_forms.get("/datasets/<owner>/<name>/tag")
def tag(owner: str, name: str) -> str:
    """Ask for the name of a tag."""
    return _confirm("tag", readable_id(owner, name), _of_link("revision"))


@dataset_forms.get("/datasets/<owner>/<name>/revert")
def revert(owner: str, name: str) -> str:
    """Ask whether to revert a dataset."""
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
    """Return the revision that a link names. No other parameter of the URL may fill in a form that changes data."""
    return {parameter: request.args[parameter]} if parameter in request.args else {}


#: The parameter that names the older revision of an action.
_TARGETS = {"revert": "to", "undo": "revision", "tag": "revision"}


def _confirm(action: str, subject: DatasetId, given: Any, problem: Exception | None = None) -> str:
    """Show the changes of an action, and ask for the reason. After a conflict, show the changes of others first."""
    store = service().store
    newest = store.revision_read(subject)
    target = store.revision_read(subject, given.get(_TARGETS[action]) or None) if action in _TARGETS else newest
    overtaken = isinstance(problem, RevisionConflict)
    return render_template(
        f"datasets/{action}.html",
        id=subject,
        given=given,
        problem=problem if isinstance(problem, (InvalidInput, Conflict)) and not overtaken else None,
        newest=newest,
        target=target,
        deletes=action == "undo" and span_of(store, subject, target).creates,
        differences=_differences(action, subject, target, newest),
        overtaken=overtaken,
        others=_others(subject, problem, newest),
        can=can(subject),
        me=identity(),
    )


def _differences(action: str, subject: DatasetId, target: Revision, newest: Revision) -> list[Any]:
    """Return the changes that an action would take back."""
    if action == "revert" and not target.deleted:
        return between(subject, target.id, newest)
    if action == "undo" and target.parent is not None:
        return between(subject, target.parent, target)
    return []


def _others(subject: DatasetId, problem: Exception | None, newest: Revision) -> list[Any]:
    """Return the changes of others since the form was drawn."""
    if not isinstance(problem, RevisionConflict) or newest.deleted:
        return []
    return between(subject, str(problem.expected), newest)


def _asked_again(action: str) -> Callable[[Exception, str, str], str]:
    """Return the function that draws the form of an action again."""

    def draw(error: Exception, owner: str, name: str) -> str:
        return _confirm(action, readable_id(owner, name), request.form, error)

    return draw


@dataset_forms.post("/datasets/<owner>/<name>/tag")
@drawn_again_by(_asked_again("tag"))
def make_tag(owner: str, name: str) -> Page:
    """Tag a revision."""
    subject, form = readable_id(owner, name), request.form
    created = service().store.tag_create(
        subject,
        form.get("name", "").strip(),
        form.get("revision") or None,
        description=form.get("message", ""),
        author=written("update", subject)["author"],
    )
    return to_dataset(subject, _("Tagged %(name)s.", name=created.name))


@dataset_forms.post("/datasets/<owner>/<name>/revert")
@drawn_again_by(_asked_again("revert"))
def put_back(owner: str, name: str) -> Page:
    """Revert a dataset to an earlier revision."""
    subject, form = readable_id(owner, name), request.form
    store = service().store
    head = store.revision_read(subject)
    change = written("create" if head.deleted else "update", subject)
    expected_id = expected() or head.id
    if expected_id != head.id:  # the right was checked for this state only
        raise RevisionConflict(subject, expected=expected_id, actual=head.id)
    reverted = store.dataset_revert(subject, form.get("to", ""), expected=expected_id, **change)
    if reverted.revision.id == head.id:
        return to_dataset(subject, _("No changes to save."))
    if head.deleted:
        return to_dataset(subject, _("Restored %(name)s.", name=subject))
    ids = {"old": form.get("to", "")[:12], "new": reverted.revision.id[:12]}
    return to_dataset(subject, _("Reverted to %(old)s as revision %(new)s.", **ids))


@dataset_forms.post("/datasets/<owner>/<name>/undo")
@drawn_again_by(_asked_again("undo"))
def take_out(owner: str, name: str) -> Page:
    """Take one change out."""
    subject, form = readable_id(owner, name), request.form
    store = service().store
    head = store.revision_read(subject)
    span = span_of(store, subject, form.get("revision", ""))
    change = written("delete" if span.creates else "create" if head.deleted else "update", subject)
    undone = store.dataset_undo(subject, span.name, expected=expected() or head.id, **change).revision
    if undone.id == head.id:
        return to_dataset(subject, _("There was nothing left to undo."))
    if undone.deleted:
        return to_dataset(subject, _("Deleted %(name)s.", name=subject))
    return to_dataset(subject, _("Undone as revision %(new)s.", new=undone.id[:12]))


@dataset_forms.post("/datasets/<owner>/<name>/delete")
@drawn_again_by(_asked_again("delete"))
def remove(owner: str, name: str) -> Page:
    """Delete a dataset; its history stays."""
    subject, store = readable_id(owner, name), service().store
    head = store.revision_read(subject)
    if head.deleted:
        return to_dataset(subject, _("%(user)s deleted %(name)s before you did.", user=head.author.name, name=subject))
    store.dataset_delete(subject, expected=expected(), **written("delete", subject))
    return to_dataset(subject, _("Deleted %(name)s.", name=subject))


@dataset_forms.post("/datasets/<owner>/<name>/move")
@drawn_again_by(_asked_again("move"))
def rename(owner: str, name: str) -> Page:
    """Give a dataset another id."""
    subject = readable_id(owner, name)
    target = parse_dataset_id(request.form.get("new_id", "").strip())
    require_move(subject, target)
    service().store.dataset_move(subject, target, expected=expected(), **written("update", subject))
    return to_dataset(target, _("Moved %(old)s to %(new)s. The old address leads here.", old=subject, new=target))
