"""Pages that change a bundle: new, edit, copy, delete, restore and undo. See `refusals` for refused forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from metastore.bundle.checks import apply_changes, make_bundle
from metastore.bundle.difference import diff, merged
from metastore.bundle.exchange import Row
from metastore.bundle.policy import check_change
from metastore.bundle.port import Bundle, Snapshot
from metastore.errors import AlreadyExists, BundleDeleted, BundleNotFound, Conflict, InvalidInput, RevisionConflict
from metastore.pages import bundle_parts as parts
from metastore.pages import devices
from metastore.pages.bundle_parts import Typed, snapshot_number
from metastore.pages.languages import gettext as _
from metastore.pages.refusals import drawn_again_by, is_explained
from metastore.service.bundles import registry
from metastore.service.guard import identity

bundle_forms = Blueprint("bundle_forms", __name__)
Page = str | tuple[str, int] | Response


def _to(name: str, message: str) -> Response:
    flash(message)
    return redirect(url_for("pages.bundles.show", name=name), 303)


def _form(typed: Typed, name: str | None = None, **more: Any) -> str:
    """Draw the form of a new or an existing bundle."""
    return render_template(
        "bundles/form.html",
        name=name,
        typed=typed,
        groups=parts.groups_to_choose(typed.ifb_group),
        superuser=parts.is_superuser(),
        pasted=typed.pasted if typed.devices else None,
        rules=devices,
        **{"problem": None, "others": None, "newest": None, **more},
    )


# New


@bundle_forms.get("/new-bundle")
def new() -> str:
    """Show the form of a new bundle, perhaps filled in from another bundle."""
    parts.own_groups()
    like = request.args.get("like")
    if not like:
        return _form(Typed())
    typed = Typed.of_bundle(registry().bundle_read(like), comment=_("Like %(name)s", name=like))
    return _form(replace(typed, name="", expected="", run=False, writable=typed.writable and parts.is_superuser()))


def _new_again(error: Exception) -> str:
    return _form(Typed.of_form(request.form), problem=_of_fields(error))


def _of_fields(error: Exception) -> Exception | None:
    """Return the error if the form itself shows it; any other reason stands above the form."""
    if isinstance(error, AlreadyExists):
        return InvalidInput(_("a bundle with this name already exists: choose another name"), pointer="/name")
    return error if isinstance(error, InvalidInput) else None


@bundle_forms.post("/new-bundle")
@drawn_again_by(_new_again)
def create() -> Page:
    """Show a preview of the new bundle, or create it."""
    typed, step = Typed.of_form(request.form), request.form.get("step")
    if step == "back":
        return _form(typed)
    bundle = make_bundle(typed.values())
    if step == "store":
        registry().bundle_create(bundle, user=identity().user, comment=typed.comment)
        return _to(bundle.name, _("Created %(name)s.", name=bundle.name))
    _check_new(bundle)
    return render_template("bundles/preview.html", name=None, typed=typed, after=bundle, diff=None, pasted=typed.pasted)


def _check_new(bundle: Bundle) -> None:
    """Check that a bundle can be created. Raises MetastoreError: it cannot."""
    check_change(registry().groups, identity().user, [bundle])
    if _is_taken(bundle.name):
        raise AlreadyExists(f"bundle {bundle.name}")
    (line,) = registry().bundle_import([Row(1, bundle)], user=identity().user, dry_run=True)
    if line.outcome == "failed":
        raise InvalidInput(line.reason or _("the bundle cannot be created"))


def _is_taken(name: str) -> bool:
    try:
        registry().bundle_read(name)
    except BundleNotFound:
        return False
    return True


# Edit


@bundle_forms.get("/bundles/<name>/edit")
def edit(name: str) -> str:
    """Show the form of a bundle. `back` names a snapshot whose removed devices are put back into the form."""
    current = registry().bundle_read(name)
    check_change(registry().groups, identity().user, [current])
    more: tuple[str, ...] = ()
    comment = ""
    if request.args.get("back"):
        snapshot = registry().bundle_snapshot(snapshot_number(request.args["back"]))
        more = registry().bundle_diff(snapshot.previous, snapshot.id).removed if snapshot.previous else ()
        comment = _("Put back what snapshot %(number)s removed", number=snapshot.id)
    return _form(Typed.of_bundle(current, comment, more), name)


def _edited_again(error: Exception, name: str) -> str:
    """Draw the form with the user's input, and with its mistakes or the changes that others made meanwhile."""
    newest = parts.newest_even_deleted(name)
    typed = replace(Typed.of_form(request.form), name=name, ifb_group=newest.bundle.ifb_group)
    if newest.deleted:
        is_explained()
        return _form(replace(typed, expected=str(newest.id)), name, newest=newest)
    base = typed.expected if isinstance(error, RevisionConflict) else request.form.get("base")
    if base:
        more = {"others": parts.since(name, snapshot_number(base), newest), "newest": newest, "base": base}
        return _form(replace(typed, expected=str(newest.id)), name, problem=_of_fields(error), **more)
    return _form(typed, name, problem=_of_fields(error))


@bundle_forms.post("/bundles/<name>/edit")
@drawn_again_by(_edited_again)
def update(name: str) -> Page:
    """Show a preview of the changes, or save them."""
    newest = parts.newest(name)
    typed = replace(Typed.of_form(request.form), name=name, ifb_group=newest.bundle.ifb_group)
    answer = {"back": _again, "merge": _merge, "store": _store}.get(request.form.get("step", ""), _preview)
    return answer(typed, newest)


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
    return _to(newest.name, _("No changes to save.") if same else _("Saved."))


def _after(typed: Typed, newest: Snapshot) -> Bundle:
    """Return the state after the changes. Raises MetastoreError: they cannot be made."""
    expected = snapshot_number(typed.expected)
    after = apply_changes(newest.bundle, typed.values())
    check_change(registry().groups, identity().user, [newest.bundle, after])
    if expected != newest.id:
        raise RevisionConflict(f"bundle {newest.name}", expected=expected, actual=newest.id)
    return after


def _merge(typed: Typed, newest: Snapshot) -> Page:
    """Merge the changes of others into the user's input."""
    base = registry().bundle_snapshot(snapshot_number(request.form.get("base")))
    mine = apply_changes(newest.bundle, typed.values())
    both = Typed.of_bundle(merged(base.bundle, mine, newest.bundle), comment=typed.comment)
    flash(_("The form now has their changes and yours. Look at the preview before you save."))
    return _form(replace(both, expected=str(newest.id)), typed.name)


# Copy, delete, restore, undo: each asks for confirmation


def _confirm(kind: str, name: str, problem: Exception | None = None, **more: Any) -> str:
    """Ask for confirmation. After a conflict, show the changes of others first."""
    overtaken = isinstance(problem, RevisionConflict)
    if overtaken and not more["newest"].deleted:
        more["others"] = parts.since(name, snapshot_number(request.form.get("expected")), more["newest"])
    shown = None if overtaken or not isinstance(problem, (InvalidInput, Conflict)) else problem
    return render_template(
        f"bundles/{kind}.html", name=name, given=request.form, problem=shown, overtaken=overtaken, **more
    )


@bundle_forms.get("/bundles/<name>/copy")
def copy(name: str) -> str:
    """Ask for the name of a copy."""
    return _ask_to_copy(None, name)


def _ask_to_copy(problem: Exception | None, name: str) -> str:
    bundle = registry().bundle_read(name)
    return _confirm(
        "copy",
        name,
        problem and (_of_fields(problem) or problem),
        bundle=bundle,
        why_not=None if problem else parts.why_not(bundle),
    )


@bundle_forms.post("/bundles/<name>/copy")
@drawn_again_by(_ask_to_copy)
def make_copy(name: str) -> Page:
    """Copy a bundle to another name."""
    form = request.form
    copied = registry().bundle_copy(
        name, form.get("new_name", "").strip(), user=identity().user, comment=form.get("comment")
    )
    return _to(copied.name, _("Copied %(name)s to %(new_name)s.", name=name, new_name=copied.name))


@bundle_forms.get("/bundles/<name>/delete")
def delete(name: str) -> str:
    """Ask whether to delete a bundle."""
    newest = parts.newest(name)
    check_change(registry().groups, identity().user, [newest.bundle])
    return _confirm("delete", name, newest=newest)


def _ask_to_delete(problem: Exception, name: str) -> str:
    return _confirm("delete", name, problem, newest=parts.newest_even_deleted(name))


@bundle_forms.post("/bundles/<name>/delete")
@drawn_again_by(_ask_to_delete)
def remove(name: str) -> Page:
    """Delete a bundle; its record stays."""
    expected = snapshot_number(request.form.get("expected"))
    try:
        registry().bundle_delete(name, user=identity().user, comment=parts.reason(), expected=expected)
    except BundleDeleted as error:
        return _to(name, _("%(user)s deleted %(name)s before you did.", user=error.snapshot.user, name=name))
    return _to(name, _("Deleted %(name)s.", name=name))


@bundle_forms.get("/snapshots/<number>/restore")
def restore(number: str) -> str:
    """Ask whether to restore a bundle to a snapshot."""
    then = registry().bundle_snapshot(snapshot_number(number))
    newest = parts.newest_even_deleted(then.name)
    check_change(registry().groups, identity().user, [newest.bundle, then.bundle])
    return _ask_to_restore(None, number)


def _ask_to_restore(problem: Exception | None, number: str) -> str:
    then = registry().bundle_snapshot(snapshot_number(number))
    newest = parts.newest_even_deleted(then.name)
    return _confirm("restore", then.name, problem, then=then, newest=newest, diff=diff(newest, then))


@bundle_forms.post("/snapshots/<number>/restore")
@drawn_again_by(_ask_to_restore)
def put_back(number: str) -> Page:
    """Restore a bundle to a snapshot, by a new change."""
    then = registry().bundle_snapshot(snapshot_number(number))
    expected = snapshot_number(request.form.get("expected"))
    registry().bundle_restore(then.name, then.id, user=identity().user, comment=parts.reason(), expected=expected)
    return _to(then.name, _("Restored %(name)s to snapshot %(number)s.", name=then.name, number=then.id))


@bundle_forms.get("/snapshots/<number>/undo")
def undo(number: str) -> str:
    """Ask whether to undo one change."""
    last = registry().bundle_snapshot(snapshot_number(number))
    check_change(registry().groups, identity().user, [parts.newest_even_deleted(last.name).bundle])
    return _ask_to_undo(None, number)


def _ask_to_undo(problem: Exception | None, number: str) -> str:
    last = registry().bundle_snapshot(snapshot_number(number))
    before = registry().bundle_snapshot(last.previous) if last.previous is not None else None
    change = diff(before, last) if before is not None and not before.deleted and not last.deleted else None
    newest = parts.newest_even_deleted(last.name)
    deletes = before is None or before.deleted
    return _confirm("undo", last.name, problem, last=last, newest=newest, change=change, deletes=deletes)


@bundle_forms.post("/snapshots/<number>/undo")
@drawn_again_by(_ask_to_undo)
def take_out(number: str) -> Page:
    """Undo one change by a new change."""
    last = registry().bundle_snapshot(snapshot_number(number))
    expected = snapshot_number(request.form.get("expected"))
    registry().bundle_undo(last.name, last.id, user=identity().user, comment=parts.reason(), expected=expected)
    return _to(last.name, _("Undid snapshot %(number)s of %(name)s.", number=last.id, name=last.name))
