"""The pages "Versions" of a dataset."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
from flask import Blueprint

blueprint = Blueprint("metastore", __name__, url_prefix="/dataset/<id>/versions")

#: How many versions a page shows.
PAGE = 50


def _call(action: str, **said: Any) -> Any:
    """Call an action as whoever asks."""
    return tk.get_action(action)({"user": tk.current_user.name, "auth_user_obj": tk.current_user}, said)


def _act(action: str, **said: Any) -> Any:
    """Call an action; what is not there or not to be seen is one page."""
    try:
        return _call(action, **said)
    except (tk.ObjectNotFound, tk.NotAuthorized):
        return tk.abort(404, tk._("There is no such version, or you may not see it"))


def _page(template: str, id: str, **said: Any) -> str:
    package = _act("package_show", id=id)
    may_change = tk.h.check_access("package_update", {"id": package["id"]})
    said = {"pkg_dict": package, "pkg": package, "dataset_type": package["type"], "may_change": may_change, **said}
    return tk.render(f"metastore/{template}.html", said)


def versions(id: str) -> str:
    """Show the history."""
    _act("package_show", id=id)
    begin = tk.request.args.get("revision")
    try:
        listed = _or_complain(lambda: _call("dataset_revision_list", id=id, revision=begin, limit=PAGE), [])
    except tk.ObjectNotFound:  # a draft, say
        listed = []
    tags = _or_complain(lambda: _act("dataset_tag_list", id=id), []) if listed else []
    older = listed[-1]["parent"] if len(listed) == PAGE else None
    return _page("versions", id, versions=listed, tags=tags, older=older)


def version(id: str, revision: str) -> str:
    """Show the dataset as it was."""
    found = _act("dataset_revision_show", id=id, revision=revision)
    newest = _act("dataset_revision_list", id=id, limit=1)[0]["id"] == found["id"]
    tags = [each for each in _act("dataset_tag_list", id=id) if each["revision"] == found["id"]]
    return _page("version", id, version=found, old=found["package"], newest=newest, tags=tags)


def compare(id: str) -> str:
    """Show what lies between two versions."""
    old, new = tk.request.args.get("from", ""), tk.request.args.get("to", "")
    if not old:
        return tk.abort(400, tk._("Choose two versions"))
    try:
        diff = _act("dataset_revision_diff", id=id, **{"from": old, "to": new})
    except tk.ValidationError as error:
        return tk.abort(400, _text(error))
    return _page("compare", id, diff=diff)


def restore(id: str, revision: str) -> Any:
    """Bring back an older version."""
    message = tk.request.form.get("message") or ""
    _or_complain(lambda: _act("dataset_revert", id=id, revision=revision, message=message), None, tk._("Restored"))
    return tk.redirect_to("metastore.versions", id=id)


def tag(id: str, revision: str) -> Any:
    """Name a version."""
    said = {name: tk.request.form.get(name, "").strip() for name in ("tag", "description")}
    _or_complain(lambda: _act("dataset_tag_create", id=id, revision=revision, **said), None, tk._("Tagged"))
    return tk.redirect_to("metastore.versions", id=id)


def untag(id: str, tag: str) -> Any:
    """Remove a tag."""
    _or_complain(lambda: _act("dataset_tag_delete", id=id, tag=tag), None, tk._("Tag removed"))
    return tk.redirect_to("metastore.versions", id=id)


def _or_complain(call: Any, otherwise: Any, done: str = "") -> Any:
    """Do it, and say on the next page that it was done or what was wrong."""
    try:
        found = call()
    except tk.ValidationError as error:
        tk.h.flash_error(_text(error))
        return otherwise
    if done:
        tk.h.flash_success(done)
    return found


def _text(error: tk.ValidationError) -> str:
    return " ".join(
        str(each) for value in error.error_dict.values() for each in (value if isinstance(value, list) else [value])
    )


blueprint.add_url_rule("", view_func=versions)
blueprint.add_url_rule("/compare", view_func=compare)
blueprint.add_url_rule("/<revision>", view_func=version)
blueprint.add_url_rule("/<revision>/restore", view_func=restore, methods=["POST"])
blueprint.add_url_rule("/<revision>/tag", view_func=tag, methods=["POST"])
blueprint.add_url_rule("/tags/<tag>/delete", view_func=untag, methods=["POST"])
