"""The tags of versions. Docstrings are CKAN's help texts."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore import settings
from ckanext.metastore.authors import author
from ckanext.metastore.reading import allowed, answer, versions_of

from metastore.wire import to_wire


@tk.side_effect_free
def dataset_tag_list(context: Any, data_dict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tags of a dataset's versions, sorted by name.

    :param id: the id or name of the dataset
    :rtype: list of dictionaries with name, revision, description, author, created, id
    """
    with allowed("dataset_tag_list", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        return [to_wire(tag) for tag in answer(versions.tags)]


@tk.side_effect_free
def dataset_tag_show(context: Any, data_dict: dict[str, Any]) -> dict[str, Any]:
    """Return one tag.

    :param id: the id or name of the dataset
    :param tag: the name of the tag
    :rtype: dictionary with name, revision, description, author, created, id
    """
    with allowed("dataset_tag_show", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
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
    with allowed("dataset_tag_create", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        name, revision = tk.get_or_bust(data_dict, "tag"), data_dict.get("revision") or None
        said = {"description": data_dict.get("description") or "", **_who(context)}
        return to_wire(answer(lambda: versions.tag_create(name, revision, **said)))


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
    with allowed("dataset_tag_update", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        said = {name: data_dict[name] for name in ("revision", "description", "message") if name in data_dict}
        name, new = tk.get_or_bust(data_dict, "tag"), data_dict.get("new_tag")
        said |= _who(context)
        return to_wire(answer(lambda: versions.tag_update(name, new_name=new, **said)))


def dataset_tag_delete(context: Any, data_dict: dict[str, Any]) -> None:
    """Delete a tag. The version remains.

    :param id: the id or name of the dataset
    :param tag: the name of the tag
    :param message: why, for the journal (optional)
    """
    with allowed("dataset_tag_delete", context, data_dict) as data_dict:
        versions = versions_of(context, data_dict["id"])
        why = {**({"message": data_dict["message"]} if data_dict.get("message") else {}), **_who(context)}
        name = tk.get_or_bust(data_dict, "tag")
        answer(lambda: versions.tag_delete(name, **why))


def _who(context: Any) -> dict[str, Any]:
    return {"author": author(context.get("user"), emails=settings.current().emails)}
