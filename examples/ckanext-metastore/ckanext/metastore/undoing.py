"""Restore older versions, and undo single changes. Docstrings are CKAN's help texts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore import portal
from ckanext.metastore.differences import FieldChange, compared
from ckanext.metastore.labels import label, labels_of
from ckanext.metastore.reading import allowed, answer, fresh, seen_now
from ckanext.metastore.record import descriptor_of
from ckanext.metastore.restoring import brought_back
from ckanext.metastore.versions import Versions

import metastore


def _held(context: Any, data_dict: dict[str, Any]) -> tuple[Versions, dict[str, Any]]:
    """Return what `seen_now` does, and hold the dataset's row until the transaction ends."""
    portal.locked(data_dict["id"])
    return seen_now(context, data_dict)


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
    with allowed("dataset_revert", context, data_dict) as data_dict:
        versions, now = _held(context, data_dict)
        dataset = answer(lambda: versions.read(revision))
        message = data_dict.get("message") or f"Restore version {dataset.revision.id[:12]}"
        package = brought_back(versions, dataset.descriptor, now)
    # Through CKAN's own action, so that validation, authorization, search and MetaStore all see it.
    return tk.get_action("package_update")(fresh(context), {**package, portal.MESSAGE: message})


def dataset_undo(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Undo the change that one version made, and keep the changes after it. This makes a new version.

    The name, the organisation and the visibility do not change. If a later version changed one of the same fields, the
    call is refused, and the error names these fields. It is refused too if nothing is left of the change. For files,
    see dataset_revert. Undoing the version that created the dataset, or brought it back, deletes the dataset. This
    needs the right to delete it, and is refused if a later change stands. The deletion has a message of its own.

    :param id: the id or name of the dataset
    :param revision: the id or a tag of the version to undo
    :param message: why it is undone (optional)
    :rtype: dictionary, the dataset without the change
    """
    revision = tk.get_or_bust(data_dict, "revision")
    with allowed("dataset_undo", context, data_dict) as data_dict:
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
    return tk.get_action("package_update")(fresh(context), {**package, portal.MESSAGE: message})


def _unmade(context: Any, made: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Delete a dataset that is still as a version made it. Return it as it was."""
    if now["state"] == "deleted":
        raise tk.ValidationError({"metastore": [tk._("Nothing is left of this change to undo")]})
    if again := compared(made, descriptor_of(now)):
        raise tk.ValidationError({"metastore": [_in_the_way(again, now["type"])]})
    tk.get_action("package_delete")(fresh(context), {"id": now["id"]})
    return {**now, "state": "deleted"}


def _in_the_way(again: list[FieldChange], dataset_type: str) -> str:
    names = labels_of(dataset_type)
    fields = dict.fromkeys(label(asdict(each), names) for each in again)
    return tk._("A later change stands in the way. It changed again: {fields}").format(fields=", ".join(fields))
