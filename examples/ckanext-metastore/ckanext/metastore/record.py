"""Chooses the parts of a CKAN dataset that are recorded, and those that CKAN gets back. Imports nothing of CKAN."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from metastore import ckan

#: Counted, derived, or said by the revision itself: they change without anybody having changed the dataset.
COMPUTED = {
    "creator_user_id",
    "isopen",
    "metadata_modified",
    "num_resources",
    "num_tags",
    "plugin_data",
    "tracking_summary",
}
#: The same for one type of datasets: a harvest source shows the state of its last job.
COMPUTED_OF_TYPES = {"harvest": {"status"}}
COMPUTED_OF_RESOURCES = {
    "datastore_active",
    "datastore_contains_all_records_of_source_file",
    "metadata_modified",
    "package_id",
    "position",
    "state",
    "tracking_summary",
}
#: What a dataset's older version does not bring back: where it is now, and who may see it.
PLACE = ("id", "name", "type", "state", "private", "owner_org", "organization", "metadata_created")


def is_recorded(package: Mapping[str, Any], *, private_too: bool) -> bool:
    """Tell whether a dataset has versions at all: active ones do, drafts do not, private ones if that is wanted."""
    return package.get("state", "active") == "active" and (private_too or not package.get("private"))


def kept(package: Mapping[str, Any], *, private_too: bool) -> Mapping[str, Any]:
    """Return what has to wait of a changed dataset: of one that has no versions, nothing that anybody wrote."""
    if is_recorded(package, private_too=private_too):
        return package
    return {member: package[member] for member in ("id", "state", "private")}


def recorded(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return what somebody said in CKAN, without what is empty and what CKAN computes.

    Args:
        package: As `package_show` returns it.
    """
    said = _said(package, COMPUTED | COMPUTED_OF_TYPES.get(package.get("type", ""), set()))
    for member in {"organization", "groups"}.intersection(said):
        said[member] = _reduced(said[member], ("id", "name", "title"))
    if "groups" in said:  # CKAN sorts them by title, so that a new title would change their order
        said["groups"].sort(key=lambda group: str(group.get("id")))
    if "tags" in said:
        said["tags"] = [
            _without_empty({key: tag.get(key) for key in ("name", "vocabulary_id")}) for tag in said["tags"]
        ]
    said["resources"] = [_said(resource, COMPUTED_OF_RESOURCES) for resource in package.get("resources", [])]
    return said


def descriptor_of(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptor that is stored for a dataset."""
    return ckan.to_descriptor(recorded(package))


def regrouped(descriptor: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a descriptor whose group or organisation is called as it is now.

    Args:
        descriptor: A stored descriptor.
        group: The group, with `id`, `name` and `title`; with `id` alone if datasets do not show it any more.
    """
    package = ckan.to_package(descriptor)
    shown = [group] if "name" in group else []
    if package.get("owner_org") == group["id"]:
        package["organization"] = shown[0] if shown else None
    groups = [shown if each.get("id") == group["id"] else [each] for each in package.get("groups", [])]
    return descriptor_of({**package, "groups": list(chain(*groups))})


def package_of(descriptor: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the dataset that a descriptor describes, with all members that CKAN shows.

    Args:
        descriptor: A stored descriptor.
        like: The dataset as CKAN shows it now. What CKAN computes is taken from there; other members that only the
            dataset of now has are empty.
    """
    package, like = ckan.to_package(descriptor), like or {}
    empty = {member: [] if isinstance(value, list) else None for member, value in like.items()}
    computed = {member: like[member] for member in COMPUTED if member in like}
    package = {**empty, **computed, "resources": [], "tags": [], "extras": [], "groups": [], **package}
    package["tags"] = [{**_NO_TAG, "display_name": tag["name"], **tag} for tag in package["tags"]]
    package["resources"] = [
        {**_NO_RESOURCE, "package_id": package.get("id"), **resource, "position": position}
        for position, resource in enumerate(package["resources"])
    ]
    for member in ("organization", "groups"):
        package[member] = _completed(package.get(member), like.get(member))
    return {**package, "num_tags": len(package["tags"]), "num_resources": len(package["resources"])}


_NO_TAG = {"id": None, "state": "active", "vocabulary_id": None}
#: The members that CKAN shows of every resource.
_NO_RESOURCE = {
    **dict.fromkeys(
        ("cache_last_updated", "cache_url", "created", "description", "last_modified", "metadata_modified")
    ),
    **dict.fromkeys(("mimetype", "mimetype_inner", "name", "resource_type", "size", "url_type")),
    "format": "",
    "hash": "",
    "state": "active",
    "url": "",
}


def _completed(group: Any, now: Any) -> Any:
    """Return an organisation or groups as recorded, with the other members as CKAN shows them now."""
    if isinstance(group, list):
        by_id = {each.get("id"): each for each in now or []}
        return [_completed(each, by_id.get(each.get("id"))) for each in group]
    return {**now, **group} if group and now and now.get("id") == group.get("id") else group


#: What CKAN says of the file of a resource.
FILE = ("url", "size", "hash", "mimetype", "last_modified")


def is_same_file(resource: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two states of a resource have the same file."""
    return all((resource.get(member) or None) == (other.get(member) or None) for member in FILE)


def uploads(descriptor: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the resources of a version whose files were uploaded."""
    return [each for each in ckan.to_package(descriptor).get("resources", []) if each.get("url_type") == "upload"]


def restored(
    current: Mapping[str, Any], descriptor: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the dictionary for `package_update` that brings back an older version, at the place where it is now.

    Args:
        current: The dataset as CKAN shows it now.
        descriptor: The older version.
        files: The resources whose files do not come back, by id, each in its newest state: of the file they say what
            CKAN says of the one that is there.
    """
    package = ckan.to_package(descriptor)
    package = {member: value for member, value in package.items() if member not in PLACE}
    resources = [
        # CKAN guesses a missing type, and leaves None alone.
        {"mimetype": None, **resource, **_file(files.get(resource.get("id", "")))}
        for resource in package.pop("resources", [])
    ]
    place = {member: current[member] for member in PLACE if member in current and member != "organization"}
    return {
        "title": current.get("name"),
        "tags": [],
        "extras": [],
        "groups": [],
        **package,
        "resources": resources,
        **place,
    }


def _file(resource: Mapping[str, Any] | None) -> dict[str, Any]:
    return {member: resource.get(member) for member in (*FILE, "url_type")} if resource else {}


def _said(said: Mapping[str, Any], computed: set[str]) -> dict[str, Any]:
    return _without_empty({member: value for member, value in said.items() if member not in computed})


def _without_empty(said: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in said.items() if value is not None and value not in ("", [], {})}


def _reduced(value: Any, members: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_reduced(each, members) for each in value]
    return _without_empty({member: value[member] for member in members if member in value})
