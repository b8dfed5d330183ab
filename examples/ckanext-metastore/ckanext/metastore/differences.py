"""Compare two versions of a dataset by CKAN's fields, and not by those of the stored descriptors. Knows no CKAN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metastore import ckan

#: Fields that other lines tell, or nobody: where a dataset is, and what follows from another field.
_TOLD_ELSEWHERE = {
    "extras", "groups", "id", "license_title", "license_url", "metadata_created", "organization", "owner_org",
    "resources", "tags",
}  # fmt: skip
_OF_RESOURCES = {"created", "id", "last_modified", "metadata_modified", "package_id", "position"}


@dataclass(frozen=True)
class FieldChange:
    """A field that two versions have with different values.

    Attributes:
        field: The name of the field in CKAN, such as `notes`; `organization`, `tags`, `groups` or `resources` for
            these; empty for an extra.
        resource: The name of the resource that has the field; empty if it is a field of the dataset.
        extra: The key of the extra.
        old: The value before; None if there was none.
        new: The value after; None if there is none.
    """

    field: str
    old: Any
    new: Any
    resource: str = ""
    extra: str = ""


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldChange]:
    """Return the fields that differ.

    Args:
        old: A descriptor; an empty one for a deletion.
        new: Another one.
    """
    before, after = (dict(ckan.to_package(each)) if each else {} for each in (old, new))
    changes = [
        FieldChange("organization", *values) for values in _differing(_organization(before), _organization(after))
    ]
    changes += _fields(before, after, _TOLD_ELSEWHERE)
    for field, name in (("tags", "name"), ("groups", "title")):
        values = _differing(_names(before, field, name), _names(after, field, name))
        changes += [FieldChange(field, *pair) for pair in values]
    extras, later = _extras(before), _extras(after)
    for key in _keys(extras, later):
        changes += [FieldChange("", *pair, extra=key) for pair in _differing(extras.get(key), later.get(key))]
    return changes + list(_resources(before.get("resources", []), after.get("resources", [])))


def _resources(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[FieldChange]:
    before, after = _by_id(old), _by_id(new)
    for key in _keys(before, after):
        if key not in after or key not in before:
            names = (_called(each[key]) if key in each else None for each in (before, after))
            yield FieldChange("resources", *names)
        else:
            yield from _fields(before[key], after[key], _OF_RESOURCES, _called(after[key]))
    order = [key for key in before if key in after], [key for key in after if key in before]
    for keys, others in _differing(*order):
        yield FieldChange("resources", [_called(before[key]) for key in keys], [_called(after[key]) for key in others])


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], ignored: set[str], resource: str = "") -> list[FieldChange]:
    return [
        FieldChange(field, *pair, resource=resource)
        for field in _keys(old, new)
        if field not in ignored
        for pair in _differing(old.get(field), new.get(field))
    ]


def _differing(old: Any, new: Any) -> list[tuple[Any, Any]]:
    """Return the pair of values if they differ; CKAN does not tell an empty value from none."""
    old, new = (None if value in ("", [], {}) else value for value in (old, new))
    return [] if (old, type(old)) == (new, type(new)) else [(old, new)]


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return list({**old, **new})


def _organization(package: Mapping[str, Any]) -> str | None:
    organization = package.get("organization") or {}
    return organization.get("title") or organization.get("name") or package.get("owner_org")


def _names(package: Mapping[str, Any], field: str, name: str) -> list[str]:
    return sorted(str(each.get(name) or each.get("name")) for each in package.get(field) or [])


def _extras(package: Mapping[str, Any]) -> dict[str, Any]:
    return {extra["key"]: extra["value"] for extra in package.get("extras") or []}


def _by_id(resources: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(resource.get("id") or resource.get("url")): resource for resource in resources}


def _called(resource: Mapping[str, Any]) -> str:
    return str(resource.get("name") or resource.get("url") or resource.get("id"))
