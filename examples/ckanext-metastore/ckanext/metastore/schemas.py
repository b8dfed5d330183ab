"""Schemas of ckanext-scheming, if the portal has it."""

from __future__ import annotations

from typing import Any

import ckan.plugins.toolkit as tk


def schema_of(dataset_type: str) -> dict[str, Any]:
    """Return the schema of a type of datasets; empty without ckanext-scheming, or if it has none for the type."""
    find = tk.h.get("scheming_get_dataset_schema")
    return (find(dataset_type) if find else None) or {}


def for_templates(package: dict[str, Any]) -> dict[str, Any]:
    """Return a dataset without the schema's empty fields, as ckanext-scheming leaves them out of `package_show`.

    Its templates show each field that is there: None as "None", or with an exception.
    """
    schema = schema_of(package["type"])
    resources = [_without_empty(each, schema.get("resource_fields", [])) for each in package["resources"]]
    return {**_without_empty(package, schema.get("dataset_fields", [])), "resources": resources}


def _without_empty(said: dict[str, Any], fields: list[dict[str, Any]]) -> dict[str, Any]:
    names = {field["field_name"] for field in fields}
    return {member: value for member, value in said.items() if value is not None or member not in names}
