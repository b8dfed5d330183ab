"""The extension's actions, and what it adds to CKAN's own. Docstrings are CKAN's help texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import ckan.plugins.toolkit as tk
from ckan.logic import auth_audit_exempt
from ckanext.metastore import tagging, undoing
from ckanext.metastore.chained import CHAINED
from ckanext.metastore.differences import compared
from ckanext.metastore.reading import allowed, answer, fresh, seen_now, text, versions_of
from ckanext.metastore.record import package_of
from ckanext.metastore.restoring import gone_files
from ckanext.metastore.searching import dataset_version_search

from metastore.wire import to_wire

#: How many revisions one call returns at most.
PAGE = 100

Action = Callable[[Any, dict[str, Any]], Any]


def _number(data_dict: dict[str, Any], name: str, default: int) -> int:
    try:
        return max(0, min(int(data_dict.get(name, default)), PAGE))
    except (TypeError, ValueError):
        raise tk.ValidationError({name: ["must be a number"]}) from None


def _switch(data_dict: dict[str, Any], name: str) -> bool:
    try:
        return bool(tk.asbool(data_dict.get(name)))
    except ValueError:
        raise tk.ValidationError({name: ["must be true or false"]}) from None


@tk.side_effect_free
def dataset_revision_list(context: Any, data_dict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the versions of a dataset, newest first.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version to start from (optional, default: the newest)
    :param limit: the largest number of versions (optional, default and maximum: 100). For the next page, start from
        the `parent` of the last version
    :param fields: whether to list the fields that each version changed (optional, default: false)
    :param summary: whether to say on one line what each version changed, and how grave that is for those who use the
        data (optional, default: false; not for the versions of one field)
    :param field: only versions that changed this field of CKAN, among the 1,000 versions from there on (optional)
    :param resource: the name of the resource that has the field (optional, default: it is a field of the dataset)
    :param extra: instead of field: only versions that changed the extra with this key (optional)
    :rtype: list of dictionaries with id, parent, author, message, created, deleted, tags, with `fields`, `field` or
        `extra` also fields (of CKAN: dictionaries with field, resource, extra), and with `summary` also summary and
        grade (major, minor or patch; both are empty where there is nothing to compare)
    """
    with allowed("dataset_revision_list", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        begin, limit = data_dict.get("revision") or None, _number(data_dict, "limit", PAGE)
        of = {name: str(data_dict.get(name) or "") for name in ("field", "resource", "extra")}
        with_fields, of_one = _switch(data_dict, "fields"), of["field"] or of["extra"]
        read = partial(versions.changes, of=of if of_one else None) if with_fields or of_one else versions.revisions
        listed, found = answer(lambda: (versions.tags(), read(begin, limit=limit)))
        tags: dict[str, list[str]] = {}
        for tag in listed:
            tags.setdefault(tag.revision, []).append(tag.name)
        told = found if with_fields or of_one else [(revision, None) for revision in found]
        rows = [
            {**to_wire(revision), "tags": tags.get(revision.id, []), **({} if fields is None else {"fields": fields})}
            for revision, fields in told
        ]
        if _switch(data_dict, "summary") and not of_one:
            summaries = answer(lambda: versions.summaries(begin, limit=limit))
            for row, (summary, grade) in zip(rows, summaries, strict=False):
                row.update(summary=summary, grade=grade)
        return rows


@tk.side_effect_free
def dataset_revision_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return one version of a dataset.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version (optional, default: the newest)
    :rtype: dictionary with id, parent, author, message, created, deleted, older and newer (the ids of the versions
        before and after it), creates (whether it made the dataset or brought it back), package (the dataset as it was),
        gone_files (the ids of resources whose uploaded files were replaced and not kept), descriptor (the stored Data
        Package)
    """
    with allowed("dataset_revision_show", context, data_dict) as data_dict:
        versions, now = seen_now(context, data_dict)
        dataset = answer(lambda: versions.read(data_dict.get("revision") or None))
        older, newer = answer(lambda: versions.beside(dataset.revision.id))
        package = package_of(dataset.descriptor, now)
        package["metadata_modified"] = dataset.revision.created.replace(tzinfo=None).isoformat()
        gone = gone_files(versions, dataset.descriptor, now)
        return {
            **to_wire(dataset.revision),
            "older": older,
            "newer": newer,
            "creates": answer(lambda: versions.made(dataset.revision.id)) is not None,
            "package": package,
            "gone_files": gone,
            "descriptor": dataset.descriptor,
        }


@tk.side_effect_free
def dataset_revision_diff(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Compare two versions of a dataset.

    :param id: the id or name of the dataset
    :param from: the id or a tag of the older version
    :param to: the id or a tag of the newer version (optional, default: the newest)
    :rtype: dictionary with old and new (the versions), patch (RFC 6902, between the descriptors), changes (the same as
        sentences), summary (the same on one line), grade (major, minor or patch, by what it means to users of the
        data), version (the next one by that grade), fields (of CKAN: dictionaries with field, resource, extra, old,
        new)
    """
    with allowed("dataset_revision_diff", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        old, new = tk.get_or_bust(data_dict, "from"), data_dict.get("to") or None
        diff, descriptors = answer(lambda: (versions.diff(old, new), versions.descriptors(old, new)))
        changes = [{**to_wire(change), "text": str(change)} for change in diff.changes]
        return {**to_wire(diff), "changes": changes, "fields": [asdict(each) for each in compared(*descriptors)]}


# Older versions by CKAN's own actions


@tk.chained_action
@tk.side_effect_free
def package_show(original: Action, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a dataset. With `revision` (the id or a tag of a version), return it as it was then."""
    if not data_dict.get("revision"):
        return original(context, data_dict)
    text(data_dict, "id" if data_dict.get("id") else "name_or_id")
    now = original(context, {name: value for name, value in data_dict.items() if name != "revision"})
    return tk.get_action("dataset_revision_show")(fresh(context), {"id": now["id"], "revision": data_dict["revision"]})[
        "package"
    ]


@tk.chained_action
@tk.side_effect_free
@auth_audit_exempt  # `package_show` checks access; for a resource that is gone, no check of its own is possible
def resource_show(original: Action, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a resource. With `revision` (the id or a tag of a version), return it as it was then.

    With `package_id`, this also finds a resource that has been removed from the dataset.
    """
    if not data_dict.get("revision"):
        return original(context, data_dict)
    resource_id = text(data_dict, "id")
    called = data_dict if data_dict.get("package_id") else original(context, {"id": resource_id})
    package_id = text(called, "package_id")
    package = tk.get_action("package_show")(fresh(context), {"id": package_id, "revision": data_dict["revision"]})
    for resource in package["resources"]:
        if resource.get("id") == resource_id:
            return {**resource, "package_id": package["id"]}
    raise tk.ObjectNotFound("The version has no such resource")


_OURS: tuple[Any, ...] = (
    dataset_revision_list,
    dataset_revision_show,
    dataset_revision_diff,
    undoing.dataset_revert,
    undoing.dataset_undo,
    tagging.dataset_tag_list,
    tagging.dataset_tag_show,
    tagging.dataset_tag_create,
    tagging.dataset_tag_update,
    tagging.dataset_tag_delete,
    dataset_version_search,
    package_show,
    resource_show,
)
ACTIONS = {**{action.__name__: action for action in _OURS}, **CHAINED}
