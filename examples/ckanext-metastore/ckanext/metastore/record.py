"""What of a CKAN dataset is recorded, and what of a record CKAN is given back. Knows no CKAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore import ckan

#: Counted, derived, or said by the revision itself: they change without anybody having changed the dataset.
COMPUTED = {"isopen", "metadata_modified", "num_resources", "num_tags", "tracking_summary", "creator_user_id"}
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


def recorded(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return what somebody said in CKAN, without what is empty and what CKAN computes.

    Args:
        package: As `package_show` returns it.
    """
    said = _said(package, COMPUTED)
    for member, kept in (("organization", ("id", "name", "title")), ("groups", ("id", "name", "title"))):
        if member in said:
            said[member] = _reduced(said[member], kept)
    if "tags" in said:
        said["tags"] = [
            _without_empty({key: tag.get(key) for key in ("name", "vocabulary_id")}) for tag in said["tags"]
        ]
    said["resources"] = [_said(resource, COMPUTED_OF_RESOURCES) for resource in package.get("resources", [])]
    return said


def descriptor_of(package: Mapping[str, Any]) -> dict[str, Any]:
    """Return the descriptor that is stored for a dataset."""
    return ckan.to_descriptor(recorded(package))


def package_of(descriptor: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the dataset that a descriptor describes, as CKAN shows datasets.

    Args:
        descriptor: What is stored.
        like: The dataset as it is now: what it has and the older one has not is empty.
    """
    package = ckan.to_package(descriptor)
    empty = {member: [] if isinstance(value, list) else None for member, value in (like or {}).items()}
    package = {**empty, "resources": [], "tags": [], "extras": [], "groups": [], **package}
    package["tags"] = [{"display_name": tag["name"], **tag} for tag in package["tags"]]
    package["resources"] = [
        {"name": None, "description": None, "url": "", "format": "", **resource, "position": position}
        for position, resource in enumerate(package["resources"])
    ]
    return {**package, "num_tags": len(package["tags"]), "num_resources": len(package["resources"])}


def restored(current: Mapping[str, Any], descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dictionary for `package_update` that brings back an older version, at the place where it is now."""
    package = ckan.to_package(descriptor)
    package = {member: value for member, value in package.items() if member not in PLACE}
    # CKAN guesses a missing type; None is left alone.
    resources = [{"mimetype": None, **resource} for resource in package.pop("resources", [])]
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


def _said(said: Mapping[str, Any], computed: set[str]) -> dict[str, Any]:
    return _without_empty({member: value for member, value in said.items() if member not in computed})


def _without_empty(said: Mapping[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in said.items() if value is not None and value not in ("", [], {})}


def _reduced(value: Any, members: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_reduced(each, members) for each in value]
    return _without_empty({member: value[member] for member in members if member in value})
