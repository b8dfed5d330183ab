"""The pages of a dataset's versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ckan.plugins.toolkit as tk
from ckan.lib.plugins import lookup_package_plugin
from ckan.plugins import plugin_loaded
from ckanext.metastore import settings
from ckanext.metastore.errors import Unavailable
from ckanext.metastore.files import path_of
from ckanext.metastore.labels import in_words, label, labels_of
from ckanext.metastore.record import PLACE
from ckanext.metastore.schemas import for_templates
from ckanext.metastore.versions import tag_of
from flask import Blueprint, current_app, g, send_file

blueprint = Blueprint("metastore", __name__, url_prefix="/dataset/<id>/versions")

#: How many versions a page shows, and how many changed fields it names of each.
PAGE, _MOST_LABELS = 50, 4


@blueprint.before_request
def refuse_forged_requests() -> None:
    """Check the CSRF token of a form. CKAN by default exempts the blueprints of all extensions.

    A request with an API token in its header is not a forged one: no page of another site can send the header.
    """
    if current_app.config["WTF_CSRF_ENABLED"] and not g.get("login_via_auth_header"):
        current_app.extensions["csrf"].protect()


@blueprint.errorhandler(Unavailable)
def unavailable(error: Unavailable) -> tuple[str, int]:
    """Say that MetaStore is away."""
    return tk.render("metastore/unavailable.html", {"reason": _text(error)}), 503


@blueprint.errorhandler(tk.ValidationError)
def wrong(error: tk.ValidationError) -> tuple[str, int]:
    """Say what was wrong with a request."""
    return tk.render("error_document_template.html", {"code": 400, "name": "", "content": _text(error)}), 400


def _call(action: str, **said: Any) -> Any:
    """Call an action with the rights of the visitor."""
    return tk.get_action(action)({"user": tk.current_user.name, "auth_user_obj": tk.current_user}, said)


def _act(action: str, **said: Any) -> Any:
    """Call an action; show one page for what is missing and for what the visitor may not see."""
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
    """Show the history, or that of one field."""
    package = _act("package_show", id=id)
    begin = tk.request.args.get("revision")
    of = {name: tk.request.args[name] for name in ("field", "resource", "extra") if tk.request.args.get(name)}
    try:
        said = {"revision": begin, "limit": PAGE, "fields": True, "summary": True, **of}
        listed = _call("dataset_revision_list", id=package["id"], **said)
    except tk.ObjectNotFound:  # a draft, say
        listed = []
    names = labels_of(package["type"])
    listed = [{**each, "changed": _in_short(each["fields"], names)} for each in listed]
    tags = _act("dataset_tag_list", id=package["id"]) if listed else []
    older = listed[-1]["parent"] if len(listed) == PAGE else None
    clone = settings.clone_address(package["id"]) if listed else ""
    one = label({"field": "", "resource": "", "extra": "", **of}, names) if of else ""
    said = {"clone": clone, "with_activities": plugin_loaded("activity"), "of": of, "field_label": one}
    return _page("versions", id, versions=listed, tags=tags, older=older, **said)


def selector(id: str) -> str:
    """Return a part of a dataset's page: its newest tag, and a form to choose a version."""
    package = _act("package_show", id=id)
    listed = [each for each in _act("dataset_revision_list", id=package["id"], limit=PAGE) if not each["deleted"]]
    newest = max(_act("dataset_tag_list", id=package["id"]), key=lambda tag: tag["created"], default=None)
    said = {"pkg": package, "versions": listed, "tag": newest, "current": tk.request.args.get("current")}
    return tk.render("metastore/selector.html", said)


def of_activity(id: str, activity_id: str) -> Any:
    """Lead from an item of the activity stream to the version that it made."""
    activity = _act("activity_show", id=activity_id)
    if activity["object_id"] != _act("package_show", id=id)["id"]:
        return tk.abort(404, tk._("There is no such version, or you may not see it"))
    return tk.redirect_to("metastore.version", id=id, revision=f"{activity['timestamp']}Z")


def _in_short(changes: list[dict[str, Any]], names: Mapping[str, str]) -> str:
    """Return the labels of changed fields on one line."""
    labels = [label(change, names) for change in changes]
    more = len(labels) - _MOST_LABELS
    return ", ".join([*labels[:_MOST_LABELS], *([tk._("{number} more").format(number=more)] if more > 0 else [])])


def version(id: str, revision: str) -> str:
    """Show the dataset as it was, by the site's own template for it."""
    package, more = _older(id, revision)
    return tk.render("metastore/version.html", {"site_template": _template("read_template", package), **more})


def resource(id: str, revision: str, resource_id: str) -> str:
    """Show a resource as it was, by the site's own template for it."""
    package, more = _older(id, revision)
    for member in package["resources"]:
        if member.get("id") == resource_id:
            if member.get("url_type") == "upload" and member not in more["files"]:
                member["url"] = tk.url_for("metastore.download", id=id, revision=revision, resource_id=resource_id)
            more |= {"package": package, "resource": member, "resource_views": [], "current_resource_view": None}
            template = {"site_template": _template("resource_template", package)}
            return tk.render("metastore/resource.html", {**template, **more})
    return tk.abort(404, tk._("The version has no such resource"))


def download(id: str, revision: str, resource_id: str) -> Any:
    """Send the uploaded file that a resource had."""
    found = _act("dataset_revision_show", id=id, revision=revision)
    for member in found["package"]["resources"]:
        if member.get("id") == resource_id and resource_id not in found["gone_files"]:
            if path := path_of(found["package"]["id"], member):
                name = member["url"].rpartition("/")[2]
                return send_file(path, member.get("mimetype"), as_attachment=True, download_name=name)
            return tk.redirect_to(member["url"])
    return tk.abort(404, tk._("The file of this version is gone"))


def _older(id: str, revision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a dataset as it was, where it is now, and what the templates of its pages need."""
    now = _act("package_show", id=id)
    found = _act("dataset_revision_show", id=now["id"], revision=revision)
    newest = _act("dataset_revision_list", id=now["id"], limit=1)[0]["id"] == found["id"]
    tags = [tag for tag in _act("dataset_tag_list", id=now["id"]) if tag["revision"] == found["id"]]
    package = for_templates({**found["package"], **{member: now[member] for member in PLACE if member in now}})
    may_change = tk.h.check_access("package_update", {"id": now["id"]})
    return package, {
        "pkg_dict": package,
        "dataset_type": now["type"],
        "version": found,
        "newest": newest,
        "tags": tags,
        "may_change": may_change,
        "may_undo": not found["creates"] or tk.h.check_access("package_delete", {"id": now["id"]}),
        "files": [each for each in package["resources"] if each.get("id") in found["gone_files"]],
    }


def _template(which: str, package: dict[str, Any]) -> str:
    plugin = lookup_package_plugin(package["type"])
    template = getattr(plugin, which)
    try:
        return template(package["type"])
    except TypeError:  # plugins of older CKANs take no type
        return template()


@blueprint.before_app_request
def lead_to_version() -> Any:
    """Lead `?revision=` at the page of a dataset or a resource to the page of that version."""
    revision, endpoint, where = tk.request.args.get("revision"), tk.request.endpoint or "", tk.request.view_args or {}
    if not revision or tk.request.method != "GET" or not endpoint.endswith(".read") or "package_type" not in where:
        return None
    if "resource_id" in where:
        names = {"id": where["id"], "revision": revision, "resource_id": where["resource_id"]}
        return tk.redirect_to("metastore.resource", **names)
    return tk.redirect_to("metastore.version", id=where["id"], revision=revision)


def compare(id: str) -> str:
    """Show the differences of two versions."""
    old, new = tk.request.args.get("from", ""), tk.request.args.get("to", "")
    if not old:
        return tk.abort(400, tk._("Choose two versions"))
    now = _act("package_show", id=id)
    diff = _act("dataset_revision_diff", id=now["id"], **{"from": old, "to": new})
    names = labels_of(now["type"])
    values = [{side: in_words(change, side, names) for side in ("old", "new")} for change in diff["fields"]]
    rows = [
        {**change, **pair, "label": label(change, names)} for change, pair in zip(diff["fields"], values, strict=True)
    ]
    return _page("compare", id, diff=diff, rows=rows)


def restore(id: str, revision: str) -> Any:
    """Bring back an older version."""
    message = tk.request.form.get("message") or ""
    gone = _act("dataset_revision_show", id=id, revision=revision)["gone_files"]
    done = tk._("Restored, but for the files that are gone") if gone else tk._("Restored")
    _do("dataset_revert", done, id=id, revision=revision, message=message)
    return tk.redirect_to("metastore.versions", id=id)


def undo(id: str, revision: str) -> Any:
    """Take out the change that a version made."""
    creates = _act("dataset_revision_show", id=id, revision=revision)["creates"]
    done = tk._("The dataset is deleted") if creates else tk._("Undone")
    _do("dataset_undo", done, id=id, revision=revision, message=tk.request.form.get("message") or "")
    return tk.redirect_to("metastore.versions", id=id)


def tag(id: str, revision: str) -> Any:
    """Name a version."""
    label, description = (tk.request.form.get(name, "").strip() for name in ("tag", "description"))
    name, description = tag_of(label, description)
    _do("dataset_tag_create", tk._("Tagged"), id=id, revision=revision, tag=name, description=description)
    return tk.redirect_to("metastore.versions", id=id)


def untag(id: str, tag: str) -> Any:
    """Remove a tag."""
    _do("dataset_tag_delete", tk._("Tag removed"), id=id, tag=tag)
    return tk.redirect_to("metastore.versions", id=id)


def _do(action: str, done: str, **said: Any) -> None:
    """Call an action, and let the next page say that it was done or what was wrong."""
    try:
        _act(action, **said)
    except Unavailable:
        raise
    except tk.ValidationError as error:
        tk.h.flash_error(_text(error))
    else:
        tk.h.flash_success(done)


def _text(error: tk.ValidationError) -> str:
    return " ".join(
        str(each) for value in error.error_dict.values() for each in (value if isinstance(value, list) else [value])
    )


blueprint.add_url_rule("", view_func=versions)
blueprint.add_url_rule("/compare", view_func=compare)
blueprint.add_url_rule("/selector", view_func=selector)
blueprint.add_url_rule("/activity/<activity_id>", view_func=of_activity)
blueprint.add_url_rule("/<revision>", view_func=version)
blueprint.add_url_rule("/<revision>/resource/<resource_id>", view_func=resource)
blueprint.add_url_rule("/<revision>/resource/<resource_id>/download", view_func=download)
blueprint.add_url_rule("/<revision>/restore", view_func=restore, methods=["POST"])
blueprint.add_url_rule("/<revision>/undo", view_func=undo, methods=["POST"])
blueprint.add_url_rule("/<revision>/tag", view_func=tag, methods=["POST"])
blueprint.add_url_rule("/tags/<tag>/delete", view_func=untag, methods=["POST"])
