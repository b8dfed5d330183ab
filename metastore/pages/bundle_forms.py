"""Pages that change a bundle: new, edit, copy, delete, restore; nothing that was typed is lost when one fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from metastore.bundle.checks import apply_changes, make_bundle
from metastore.bundle.difference import diff
from metastore.bundle.exchange import Row
from metastore.bundle.policy import check_change
from metastore.bundle.port import Bundle, BundleDiff, Snapshot
from metastore.errors import (
    AlreadyExists,
    BundleDeleted,
    InvalidInput,
    MetastoreError,
    PermissionDenied,
    RevisionConflict,
)
from metastore.pages import bundle_parts as parts
from metastore.pages import devices
from metastore.pages.bundle_parts import Typed, snapshot_number
from metastore.service.bundles import registry
from metastore.service.guard import identity, named
from metastore.service.problems import plainly, status_of

bundle_forms = Blueprint("bundle_forms", __name__)
Page = str | tuple[str, int] | Response


def _to(name: str, said: str) -> Response:
    flash(said)
    return redirect(url_for("pages.bundles.show", name=name), 303)


def _form(typed: Typed, name: str | None = None, **more: Any) -> str:
    """Draw the form, of a new bundle or of one that is there."""
    return render_template(
        "bundles/form.html",
        name=name,
        typed=typed,
        groups=parts.own_groups(),
        superuser=parts.is_superuser(),
        pasted=typed.pasted if typed.devices else None,
        rules=devices,
        **{"problem": None, "others": None, "newest": None, **more},
    )


def _refused(typed: Typed, error: MetastoreError, name: str | None = None) -> Page:
    """Draw the form again with what is wrong; whoever may not have one sees what they typed all the same."""
    if identity().anonymous:  # who typed this was signed in when the form was drawn
        named(identity())
    error = plainly(error)
    try:
        return _form(typed, name, problem=error), status_of(error)
    except PermissionDenied:
        return render_template("bundles/lost.html", name=name, typed=typed, problem=error), status_of(error)


# New


@bundle_forms.get("/new-bundle")
def new() -> str:
    """Ask for a new bundle, perhaps one like another."""
    parts.own_groups()
    like = request.args.get("like")
    if not like:
        return _form(Typed())
    typed = Typed.of_bundle(registry().bundle_read(like), comment=f"Like {like}")
    return _form(replace(typed, name="", expected="", run=False, writable=typed.writable and parts.is_superuser()))


@bundle_forms.post("/new-bundle")
def create() -> Page:
    """Show what would be made, or make it."""
    typed, step = Typed.of_form(request.form), request.form.get("step")
    if step == "back":
        return _form(typed)
    try:
        made = make_bundle(typed.values())
        if step == "store":
            registry().bundle_create(made, user=identity().user, comment=typed.comment)
            return _to(made.name, f"{made.name} was created.")
        _check_new(made)
    except MetastoreError as error:
        return _refused(typed, error)
    return render_template("bundles/preview.html", name=None, typed=typed, after=made, diff=None, pasted=typed.pasted)


def _check_new(bundle: Bundle) -> None:
    """Make sure that a bundle could be made. Raises MetastoreError: it could not, and why."""
    check_change(registry().groups, identity().user, [bundle])
    (line,) = registry().bundle_import([Row(1, bundle)], user=identity().user, dry_run=True)
    if line.outcome in ("updated", "unchanged"):
        raise AlreadyExists(f"bundle {bundle.name}")
    if line.outcome == "failed":
        raise InvalidInput(line.reason or "it cannot be made")


# Edit


@bundle_forms.get("/bundles/<name>/edit")
def edit(name: str) -> str:
    """Show the bundle to be changed; `back` names a snapshot whose removed devices are put back into the form."""
    now = registry().bundle_read(name)
    check_change(registry().groups, identity().user, [now])
    more: tuple[str, ...] = ()
    comment = ""
    if request.args.get("back"):
        there = registry().bundle_snapshot(snapshot_number(request.args["back"]))
        more = registry().bundle_diff(there.previous, there.id).removed if there.previous else ()
        comment = f"Put back what snapshot {there.id} removed"
    return _form(Typed.of_bundle(now, comment, more), name)


@bundle_forms.post("/bundles/<name>/edit")
def update(name: str) -> Page:
    """Show what would change, or change it; who was overtaken sees what the others did, beside what they typed."""
    typed = replace(Typed.of_form(request.form), name=name)
    answer = {"back": _again, "merge": _merge, "store": _store}.get(request.form.get("step", ""), _preview)
    try:
        newest = _newest(name)
        typed = replace(typed, ifb_group=newest.bundle.ifb_group)
        return answer(typed, newest)
    except RevisionConflict:
        return _overtaken(typed), 409
    except MetastoreError as error:
        return _refused(typed, error, name)


def _again(typed: Typed, newest: Snapshot) -> Page:
    return _form(typed, newest.name)


def _preview(typed: Typed, newest: Snapshot) -> Page:
    after = _after(typed, newest)
    changes = diff(newest, replace(newest, bundle=after))
    return render_template(
        "bundles/preview.html", name=newest.name, typed=typed, after=after, diff=changes, pasted=typed.pasted
    )


def _store(typed: Typed, newest: Snapshot) -> Page:
    same = _after(typed, newest) == newest.bundle
    who, expected = identity().user, snapshot_number(typed.expected)
    registry().bundle_update(newest.name, typed.values(), user=who, comment=typed.comment, expected=expected)
    return _to(newest.name, "It is so already: nothing was changed." if same else "The change is stored.")


def _after(typed: Typed, newest: Snapshot) -> Bundle:
    """Return what would become of the newest state. Raises MetastoreError: nothing would, and why."""
    expected = snapshot_number(typed.expected)
    after = apply_changes(newest.bundle, typed.values())
    check_change(registry().groups, identity().user, [newest.bundle, after])
    if expected != newest.id:
        raise RevisionConflict(f"bundle {newest.name}", expected=expected, actual=newest.id)
    return after


def _newest(name: str) -> Snapshot:
    """Return the newest snapshot of a live bundle. Raises BundleNotFound."""
    return registry().bundle_snapshot(registry().bundle_read(name).snapshot or 0)


def _overtaken(typed: Typed) -> str:
    """Draw the form with what was typed, and what others changed since it was drawn."""
    newest = _newest(typed.name)
    others = _since(typed.name, snapshot_number(typed.expected), newest)
    kept = replace(typed, expected=str(newest.id))
    return _form(kept, typed.name, others=others, newest=newest, base=typed.expected)


def _since(name: str, expected: int, newest: Snapshot) -> BundleDiff:
    old = registry().bundle_snapshot(expected)
    if old.name != name:
        raise InvalidInput(f"snapshot {expected} is of {old.name}, not of {name}")
    return diff(old, newest)


def _merge(typed: Typed, newest: Snapshot) -> Page:
    """Take the others' changes into what was typed."""
    base = registry().bundle_snapshot(snapshot_number(request.form.get("base")))
    mine = apply_changes(newest.bundle, typed.values())
    made = Typed.of_bundle(parts.merged(mine, base.bundle, newest.bundle), comment=typed.comment)
    flash("Their changes are in the form now, with yours. See the preview before you store it.")
    return _form(replace(made, expected=str(newest.id)), typed.name)


# Copy, delete, restore: a question and an answer


def _confirm(kind: str, name: str, problem: MetastoreError | None = None, **more: Any) -> Page:
    problem = plainly(problem) if problem else None
    page = render_template(f"bundles/{kind}.html", name=name, given=request.form, problem=problem, **more)
    return (page, status_of(problem)) if problem else page


@bundle_forms.get("/bundles/<name>/copy")
def copy(name: str) -> Page:
    """Ask for the name of a copy."""
    found = registry().bundle_read(name)
    return _confirm("copy", name, bundle=found, why_not=parts.why_not(found))


@bundle_forms.post("/bundles/<name>/copy")
def make_copy(name: str) -> Page:
    """Make a bundle like another one."""
    given = request.form
    try:
        made = registry().bundle_copy(
            name, given.get("new_name", "").strip(), user=identity().user, comment=given.get("comment")
        )
    except MetastoreError as error:
        return _confirm("copy", name, error, bundle=registry().bundle_read(name), why_not=None)
    return _to(made.name, f"{made.name} was made, like {name}.")


@bundle_forms.get("/bundles/<name>/delete")
def delete(name: str) -> Page:
    """Ask whether to delete a bundle."""
    newest = _newest(name)
    check_change(registry().groups, identity().user, [newest.bundle])
    return _confirm("delete", name, newest=newest)


@bundle_forms.post("/bundles/<name>/delete")
def remove(name: str) -> Page:
    """Delete a bundle; its record stays."""
    expected = snapshot_number(request.form.get("expected"))
    try:
        registry().bundle_delete(name, user=identity().user, comment=parts.reason(), expected=expected)
    except BundleDeleted:
        return _to(name, f"{name} was deleted by somebody else meanwhile.")
    except MetastoreError as error:
        return _confirm("delete", name, error, newest=_newest(name))
    return _to(name, f"{name} was deleted.")


@bundle_forms.get("/snapshots/<number>/restore")
def restore(number: str) -> Page:
    """Ask whether to make a bundle what it was."""
    then = registry().bundle_snapshot(snapshot_number(number))
    newest = _newest_even_deleted(then.name)
    check_change(registry().groups, identity().user, [newest.bundle, then.bundle])
    return _ask_to_restore(then, newest)


@bundle_forms.post("/snapshots/<number>/restore")
def put_back(number: str) -> Page:
    """Make a bundle what it was, by a new change."""
    then = registry().bundle_snapshot(snapshot_number(number))
    expected = snapshot_number(request.form.get("expected"))
    try:
        registry().bundle_restore(then.name, then.id, user=identity().user, comment=parts.reason(), expected=expected)
    except MetastoreError as error:
        return _ask_to_restore(then, _newest_even_deleted(then.name), error)
    return _to(then.name, f"{then.name} is what it was at snapshot {then.id}.")


@bundle_forms.get("/snapshots/<number>/undo")
def undo(number: str) -> Page:
    """Ask whether to take one change out."""
    last = registry().bundle_snapshot(snapshot_number(number))
    newest = _newest_even_deleted(last.name)
    check_change(registry().groups, identity().user, [newest.bundle])
    return _confirm("undo", last.name, None, last=last, newest=newest)


@bundle_forms.post("/snapshots/<number>/undo")
def take_out(number: str) -> Page:
    """Take one change out, by a new change."""
    last = registry().bundle_snapshot(snapshot_number(number))
    expected = snapshot_number(request.form.get("expected"))
    try:
        registry().bundle_undo(last.name, last.id, user=identity().user, comment=parts.reason(), expected=expected)
    except MetastoreError as error:
        return _confirm("undo", last.name, error, last=last, newest=_newest_even_deleted(last.name))
    return _to(last.name, f"Snapshot {last.id} of {last.name} was undone.")


def _newest_even_deleted(name: str) -> Snapshot:
    return registry().bundle_snapshot(registry().bundle_log(name, limit=1)[0].id)


def _ask_to_restore(then: Snapshot, newest: Snapshot, problem: MetastoreError | None = None) -> Page:
    return _confirm("restore", then.name, problem, then=then, newest=newest, diff=diff(newest, then))
