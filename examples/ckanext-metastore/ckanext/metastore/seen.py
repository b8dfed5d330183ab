"""Recognise the state of a dataset that a form shows. Knows no CKAN."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ckanext.metastore.differences import FieldChange, compared
from ckanext.metastore.record import descriptor_of

#: What the form of a dataset does not show, and CKAN leaves alone when the form is saved.
_NOT_IN_FORM = {"groups", "resources"}


def digest(said: Mapping[str, Any], resource_id: str = "") -> str:
    """Return a digest of what a form shows.

    Args:
        said: A dataset, as `record.recorded` returns it.
        resource_id: The resource that the form is for; empty for the form of the dataset.
    """
    shown = {member: value for member, value in said.items() if member not in _NOT_IN_FORM}
    if resource_id:
        shown = next((each for each in said.get("resources", []) if each.get("id") == resource_id), {})
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def changes(old: Mapping[str, Any], now: Mapping[str, Any], resource_id: str = "") -> list[FieldChange]:
    """Return the changes of what a form shows.

    Args:
        old: The descriptor of the state that the form shows.
        now: The dataset, as CKAN shows it now.
        resource_id: The resource that the form is for; empty for the form of the dataset.
    """
    found = compared(*({**each, "resources": _resource(each, resource_id)} for each in (old, descriptor_of(now))))
    return [each for each in found if (each.resource if resource_id else each.field not in _NOT_IN_FORM)]


def _resource(descriptor: Mapping[str, Any], resource_id: str) -> list[Any]:
    return [each for each in descriptor.get("resources", []) if resource_id and each.get("id") == resource_id]
