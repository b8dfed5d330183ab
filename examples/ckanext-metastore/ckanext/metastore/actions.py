"""The extension's actions, and what it adds to CKAN's own. Docstrings are CKAN's help texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import ckan.plugins.toolkit as tk
from ckan import model
from ckan.logic import auth_audit_exempt
from ckanext.metastore import portal, settings
from ckanext.metastore.authors import author
from ckanext.metastore.chained import CHAINED
from ckanext.metastore.differences import FieldChange, compared
from ckanext.metastore.errors import speaking_ckan
from ckanext.metastore.labels import label, labels_of
from ckanext.metastore.reading import answer, versions_of
from ckanext.metastore.record import descriptor_of, package_of
from ckanext.metastore.restoring import brought_back, gone_files
from ckanext.metastore.searching import dataset_version_search
from ckanext.metastore.versions import Versions

import metastore
from metastore.wire import to_wire

#: How many revisions one call returns at most.
PAGE = 100

Action = Callable[[Any, dict[str, Any]], Any]


def _versions(context: Any, data_dict: dict[str, Any]) -> tuple[Versions, dict[str, Any]]:
    """Return the versions that the caller may see of a dataset, and the dataset as CKAN has it now."""
    versions = versions_of(context, data_dict["id"])
    return versions, portal.shown(data_dict["id"])


def _held(context: Any, data_dict: dict[str, Any]) -> tuple[Versions, dict[str, Any]]:
    """Return what `_versions` does, and hold the dataset's row until the transaction ends."""
    portal.locked(data_dict["id"])
    return _versions(context, data_dict)


def _place(context: Any, data_dict: dict[str, Any]) -> tuple[metastore.Store, metastore.DatasetId]:
    """Return the store, and the dataset's id in it."""
    versions, _ = _versions(context, data_dict)
    return versions.store, versions.dataset_id


@contextmanager
def _allowed(action: str, context: Any, data_dict: dict[str, Any]) -> Iterator[None]:
    tk.get_or_bust(data_dict, "id")
    tk.check_access(action, context, data_dict)
    with speaking_ckan():
        yield


def _number(data_dict: dict[str, Any], name: str, default: int) -> int:
    try:
        return max(0, min(int(data_dict.get(name, default)), PAGE))
    except (TypeError, ValueError):
        raise tk.ValidationError({name: ["must be a number"]}) from None


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
    with _allowed("dataset_revision_list", context, data_dict):
        versions, _ = _versions(context, data_dict)
        begin, limit = data_dict.get("revision") or None, _number(data_dict, "limit", PAGE)
        of = {name: str(data_dict.get(name) or "") for name in ("field", "resource", "extra")}
        with_fields, of_one = tk.asbool(data_dict.get("fields")), of["field"] or of["extra"]
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
        if tk.asbool(data_dict.get("summary")) and not of_one:
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
    with _allowed("dataset_revision_show", context, data_dict):
        versions, now = _versions(context, data_dict)
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
    with _allowed("dataset_revision_diff", context, data_dict):
        versions, _ = _versions(context, data_dict)
        old, new = tk.get_or_bust(data_dict, "from"), data_dict.get("to") or None
        diff, descriptors = answer(lambda: (versions.diff(old, new), versions.descriptors(old, new)))
        changes = [{**to_wire(change), "text": str(change)} for change in diff.changes]
        return {**to_wire(diff), "changes": changes, "fields": [asdict(each) for each in compared(*descriptors)]}


def dataset_revert(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Restore an older version as a new one. The name, the organisation and the visibility do not change.

    CKAN keeps only the newest file of a resource. If the file has been replaced since, the resource gets its older file
    back only if the plugin metastore_files kept it.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version
    :param message: why it is restored (optional)
    :rtype: dictionary, the restored dataset
    """
    revision = tk.get_or_bust(data_dict, "revision")
    with _allowed("dataset_revert", context, data_dict):
        versions, now = _held(context, data_dict)
        dataset = answer(lambda: versions.read(revision))
        message = data_dict.get("message") or f"Restore version {dataset.revision.id[:12]}"
        package = brought_back(versions, dataset.descriptor, now)
    # Through CKAN's own action, so that validation, authorization, search and MetaStore all see it.
    return tk.get_action("package_update")(_fresh(context), {**package, portal.MESSAGE: message})


def dataset_undo(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Undo the change that one version made, and keep the changes after it. This makes a new version.

    The name, the organisation and the visibility do not change. If a later version changed one of the same fields, the
    call is refused, and the error names these fields. It is refused too if nothing is left of the change. For files,
    see dataset_revert. To undo the version that made the dataset, or brought it back, is to delete the dataset. That
    needs the right to delete it, and that no later change stands; a deletion has a message of its own.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version to undo
    :param message: why it is undone (optional)
    :rtype: dictionary, the dataset without the change
    """
    revision = tk.get_or_bust(data_dict, "revision")
    with _allowed("dataset_undo", context, data_dict):
        versions, now = _held(context, data_dict)
        present = descriptor_of(now)
        made = answer(lambda: versions.made(revision))
        if made is not None:
            return _unmade(context, made, now)
        try:
            undone, descriptor = answer(lambda: versions.without(revision, present))
        except metastore.MergeConflict as error:
            again = answer(lambda: versions.changed_again(revision, present))
            raise tk.ValidationError({"metastore": [_in_the_way(again, now["type"])]}) from error
        if descriptor == present:
            raise tk.ValidationError({"metastore": [tk._("Nothing is left of this change to undo")]})
        message = data_dict.get("message") or f"Undo version {undone.id[:12]}"
        package = brought_back(versions, descriptor, now)
    return tk.get_action("package_update")(_fresh(context), {**package, portal.MESSAGE: message})


def _unmade(context: Any, made: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Delete a dataset that is still as a version made it. Return it as it was."""
    if now["state"] == "deleted":
        raise tk.ValidationError({"metastore": [tk._("Nothing is left of this change to undo")]})
    if again := compared(made, descriptor_of(now)):
        raise tk.ValidationError({"metastore": [_in_the_way(again, now["type"])]})
    tk.get_action("package_delete")(_fresh(context), {"id": now["id"]})
    return {**now, "state": "deleted"}


def _in_the_way(again: list[FieldChange], dataset_type: str) -> str:
    names = labels_of(dataset_type)
    fields = dict.fromkeys(label(asdict(each), names) for each in again)
    return tk._("A later change stands in the way. It changed again: {fields}").format(fields=", ".join(fields))


@tk.side_effect_free
def dataset_tag_list(context: Any, data_dict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tags of a dataset's versions, sorted by name.

    :param id: the id or name of the dataset
    :rtype: list of dictionaries with name, revision, description, author, created, id
    """
    with _allowed("dataset_tag_list", context, data_dict):
        versions, _ = _versions(context, data_dict)
        return [to_wire(tag) for tag in answer(versions.tags)]


@tk.side_effect_free
def dataset_tag_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return one tag.

    :param id: the id or name of the dataset
    :param tag: the name of the tag
    :rtype: dictionary with name, revision, description, author, created, id
    """
    with _allowed("dataset_tag_show", context, data_dict):
        versions, _ = _versions(context, data_dict)
        name = tk.get_or_bust(data_dict, "tag")
        return to_wire(answer(lambda: versions.tag(name)))


def dataset_tag_create(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Tag a version.

    :param id: the id or name of the dataset
    :param tag: the name of the tag: letters, digits and _ - + . ,
    :param revision: the id or another tag of the version (optional, default: the newest)
    :param description: what the tag stands for (optional)
    :rtype: dictionary, the tag as dataset_tag_show returns it
    """
    with _allowed("dataset_tag_create", context, data_dict):
        store, where = _place(context, data_dict)
        name, revision = tk.get_or_bust(data_dict, "tag"), data_dict.get("revision") or None
        said = {"description": data_dict.get("description") or "", **_who(context)}
        return to_wire(answer(lambda: store.tag_create(where, name, revision, **said)))


def dataset_tag_update(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Rename a tag, change its description, or move it to another version. Parameters left out change nothing.

    :param id: the id or name of the dataset
    :param tag: the current name of the tag
    :param new_tag: the new name (optional)
    :param revision: the id or a tag of the version to move it to (optional)
    :param description: the new description (optional)
    :param message: why, for the journal (optional)
    :rtype: dictionary, the changed tag as dataset_tag_show returns it
    """
    with _allowed("dataset_tag_update", context, data_dict):
        store, where = _place(context, data_dict)
        said = {name: data_dict[name] for name in ("revision", "description", "message") if name in data_dict}
        name, new = tk.get_or_bust(data_dict, "tag"), data_dict.get("new_tag")
        said |= _who(context)
        return to_wire(answer(lambda: store.tag_update(where, name, new_name=new, **said)))


def dataset_tag_delete(context: Any, data_dict: dict[str, Any]) -> None:
    """Delete a tag. The version remains.

    :param id: the id or name of the dataset
    :param tag: the name of the tag
    :param message: why, for the journal (optional)
    """
    with _allowed("dataset_tag_delete", context, data_dict):
        store, where = _place(context, data_dict)
        why = {**({"message": data_dict["message"]} if data_dict.get("message") else {}), **_who(context)}
        name = tk.get_or_bust(data_dict, "tag")
        answer(lambda: store.tag_delete(where, name, **why))


def _who(context: Any) -> dict[str, Any]:
    return {"author": author(context.get("user"), emails=settings.current().emails)}


def _fresh(context: Any) -> Any:
    kept = ("user", "auth_user_obj", "ignore_auth")
    return {**{name: context[name] for name in kept if name in context}, "model": model, "session": model.Session}


# Older versions by CKAN's own actions


@tk.chained_action
@tk.side_effect_free
def package_show(original: Action, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a dataset. With `revision` (the id or a tag of a version), return it as it was then."""
    if not data_dict.get("revision"):
        return original(context, data_dict)
    now = original(context, {name: value for name, value in data_dict.items() if name != "revision"})
    return tk.get_action("dataset_revision_show")(
        _fresh(context), {"id": now["id"], "revision": data_dict["revision"]}
    )["package"]


@tk.chained_action
@tk.side_effect_free
@auth_audit_exempt  # `package_show` checks access; for a resource that is gone, no check of its own is possible
def resource_show(original: Action, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a resource. With `revision` (the id or a tag of a version), return it as it was then.

    With `package_id`, this also finds a resource that has been removed from the dataset.
    """
    if not data_dict.get("revision"):
        return original(context, data_dict)
    package_id = data_dict.get("package_id") or original(context, {"id": data_dict["id"]})["package_id"]
    package = tk.get_action("package_show")(_fresh(context), {"id": package_id, "revision": data_dict["revision"]})
    for resource in package["resources"]:
        if resource.get("id") == data_dict["id"]:
            return {**resource, "package_id": package["id"]}
    raise tk.ObjectNotFound("The version has no such resource")


_OURS: tuple[Any, ...] = (
    dataset_revision_list,
    dataset_revision_show,
    dataset_revision_diff,
    dataset_revert,
    dataset_undo,
    dataset_tag_list,
    dataset_tag_show,
    dataset_tag_create,
    dataset_tag_update,
    dataset_tag_delete,
    dataset_version_search,
    package_show,
    resource_show,
)
ACTIONS = {**{action.__name__: action for action in _OURS}, **CHAINED}
