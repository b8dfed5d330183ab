"""What can be asked about versions, and what CKAN's own actions do besides. Docstrings are CKAN's help texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
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
    """Return what `_versions` does, and let nobody else change the dataset until the transaction ends."""
    portal.locked(data_dict["id"])
    return _versions(context, data_dict)


def _place(context: Any, data_dict: dict[str, Any]) -> tuple[metastore.Store, metastore.DatasetId]:
    """Return the store and the id that a dataset has there, for those who may change the dataset."""
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
    :param revision: begin with this version: its id or a tag (optional)
    :param limit: at most so many (optional, default and most: 100). For the next page, begin with the last one's parent
    :param fields: whether to tell which fields each version changed (optional, default: no)
    :rtype: list of dictionaries: id, parent, author, message, created, deleted, tags, and if asked for fields (of CKAN:
        dictionaries with field, resource, extra)
    """
    with _allowed("dataset_revision_list", context, data_dict):
        versions, _ = _versions(context, data_dict)
        begin, limit = data_dict.get("revision") or None, _number(data_dict, "limit", PAGE)
        with_fields = tk.asbool(data_dict.get("fields"))
        read = versions.changes if with_fields else versions.revisions
        listed, found = answer(lambda: (versions.tags(), read(begin, limit=limit)))
        tags: dict[str, list[str]] = {}
        for tag in listed:
            tags.setdefault(tag.revision, []).append(tag.name)
        told = found if with_fields else [(revision, None) for revision in found]
        return [
            {**to_wire(revision), "tags": tags.get(revision.id, []), **({} if fields is None else {"fields": fields})}
            for revision, fields in told
        ]


@tk.side_effect_free
def dataset_revision_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return one version of a dataset.

    :param id: the id or name of the dataset
    :param revision: the version's id or a tag (optional, default: the newest)
    :rtype: dictionary: id, parent, author, message, created, deleted, older and newer (the ids of the versions before
        and after it), package, gone_files (the ids of resources whose uploaded files are gone: replaced since, and not
        kept), descriptor
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
            "package": package,
            "gone_files": gone,
            "descriptor": dataset.descriptor,
        }


@tk.side_effect_free
def dataset_revision_diff(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Compare two versions of a dataset.

    :param id: the id or name of the dataset
    :param from: a version's id or a tag
    :param to: another one (optional, default: the newest)
    :rtype: dictionary: old, new (versions), patch (RFC 6902, of descriptors), changes (of descriptors, in words),
        fields (of CKAN: dictionaries with field, resource, extra, old, new)
    """
    with _allowed("dataset_revision_diff", context, data_dict):
        versions, _ = _versions(context, data_dict)
        old, new = tk.get_or_bust(data_dict, "from"), data_dict.get("to") or None
        diff, descriptors = answer(lambda: (versions.diff(old, new), versions.descriptors(old, new)))
        changes = [{**to_wire(change), "text": str(change)} for change in diff.changes]
        return {**to_wire(diff), "changes": changes, "fields": [asdict(each) for each in compared(*descriptors)]}


def dataset_revert(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Bring back an older version, as a new one. Name, organisation and visibility stay as they are now.

    CKAN keeps only the newest file of a resource. A resource whose file was replaced since keeps the newest one, unless
    the plugin metastore_files has kept the older one.

    :param id: the id or name of the dataset
    :param revision: the version's id or a tag
    :param message: why (optional)
    :rtype: dictionary: the dataset
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
    """Take one change out, and keep those after it, by a new version. Name, organisation and visibility stay.

    It is refused if a later change stands in the way. Files are as with dataset_revert.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version that made the change
    :param message: why (optional)
    :rtype: dictionary: the dataset
    """
    revision = tk.get_or_bust(data_dict, "revision")
    with _allowed("dataset_undo", context, data_dict):
        versions, now = _held(context, data_dict)
        present = descriptor_of(now)
        try:
            undone, descriptor = answer(lambda: versions.without(revision, present))
        except metastore.MergeConflict as error:
            again = answer(lambda: versions.changed_again(revision, present))
            raise tk.ValidationError({"metastore": [_in_the_way(again, now["type"])]}) from error
        message = data_dict.get("message") or f"Undo version {undone.id[:12]}"
        package = brought_back(versions, descriptor, now)
    return tk.get_action("package_update")(_fresh(context), {**package, portal.MESSAGE: message})


def _in_the_way(again: list[FieldChange], dataset_type: str) -> str:
    names = labels_of(dataset_type)
    fields = dict.fromkeys(label(asdict(each), names) for each in again)
    return tk._("A later change stands in the way. It changed again: {fields}").format(fields=", ".join(fields))


@tk.side_effect_free
def dataset_tag_list(context: Any, data_dict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tags of a dataset's versions, by name.

    :param id: the id or name of the dataset
    :rtype: list of dictionaries: name, revision, description, author, created, id
    """
    with _allowed("dataset_tag_list", context, data_dict):
        versions, _ = _versions(context, data_dict)
        return [to_wire(tag) for tag in answer(versions.tags)]


@tk.side_effect_free
def dataset_tag_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return one tag.

    :param id: the id or name of the dataset
    :param tag: its name
    """
    with _allowed("dataset_tag_show", context, data_dict):
        versions, _ = _versions(context, data_dict)
        name = tk.get_or_bust(data_dict, "tag")
        return to_wire(answer(lambda: versions.tag(name)))


def dataset_tag_create(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Name a version.

    :param id: the id or name of the dataset
    :param tag: the name: letters, digits and _ - + . ,
    :param revision: the version's id or another tag (optional, default: the newest)
    :param description: what it stands for (optional)
    """
    with _allowed("dataset_tag_create", context, data_dict):
        store, where = _place(context, data_dict)
        name, revision = tk.get_or_bust(data_dict, "tag"), data_dict.get("revision") or None
        said = {"description": data_dict.get("description") or "", **_who(context)}
        return to_wire(answer(lambda: store.tag_create(where, name, revision, **said)))


def dataset_tag_update(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Rename a tag, describe it anew, or let it name another version. What is not given stays.

    :param id: the id or name of the dataset
    :param tag: its name now
    :param new_tag: its new name (optional)
    :param revision: the version that it shall name (optional)
    :param description: what it shall say (optional)
    :param message: why, for the journal (optional)
    """
    with _allowed("dataset_tag_update", context, data_dict):
        store, where = _place(context, data_dict)
        said = {name: data_dict[name] for name in ("revision", "description", "message") if name in data_dict}
        name, new = tk.get_or_bust(data_dict, "tag"), data_dict.get("new_tag")
        said |= _who(context)
        return to_wire(answer(lambda: store.tag_update(where, name, new_name=new, **said)))


def dataset_tag_delete(context: Any, data_dict: dict[str, Any]) -> None:
    """Remove a tag; the version stays.

    :param id: the id or name of the dataset
    :param tag: its name
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
    """Return a dataset; with `revision` (a version's id or a tag), as it was."""
    if not data_dict.get("revision"):
        return original(context, data_dict)
    now = original(context, {name: value for name, value in data_dict.items() if name != "revision"})
    return tk.get_action("dataset_revision_show")(
        _fresh(context), {"id": now["id"], "revision": data_dict["revision"]}
    )["package"]


@tk.chained_action
@tk.side_effect_free
@auth_audit_exempt  # `package_show` checks: the resource may be gone, and then nobody is asked about it
def resource_show(original: Action, context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a resource; with `revision` (a version's id or a tag), as it was.

    With `package_id`, also one that the dataset has no more.
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
