"""Labels of a dataset's fields, as the portal's forms have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import ckan.plugins.toolkit as tk
from ckanext.metastore.schemas import schema_of

#: How many characters of a value are shown on one line.
_LONGEST = 200
#: The labels in CKAN's own forms of the fields that have another name. CKAN translates them.
LABELS = {
    "notes": "Description",
    "url": "Source",
    "license_id": "License",
    "author_email": "Author Email",
    "maintainer_email": "Maintainer Email",
    "name": "URL",
    "private": "Visibility",
    "resources": "Data and Resources",
    "resource.url": "URL",
}


def labels_of(dataset_type: str) -> dict[str, str]:
    """Return the labels of fields, by field and by `resource.` and field; those of ckanext-scheming if it is there."""
    labels = {field: tk._(text) for field, text in LABELS.items()}
    schema = schema_of(dataset_type)
    for prefix, fields in (("", "dataset_fields"), ("resource.", "resource_fields")):
        for field in schema.get(fields, []):
            if text := field.get("label"):
                labels[prefix + field["field_name"]] = tk.h.scheming_language_text(text)
    return labels


def label(change: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Return the label of a changed field.

    Args:
        change: One of the `fields` that `dataset_revision_diff` returns.
        labels: The labels for the type of the dataset, from `labels_of`.
    """
    field, resource = change["field"], change["resource"]
    text = change["extra"] or labels.get(f"resource.{field}" if resource else field) or _spelled_out(field)
    return tk._("Resource") + f" {resource}: {text}" if resource else text


def _spelled_out(field: str) -> str:
    return tk._(field.replace("_", " ").capitalize())


def in_words(value: Any) -> str:
    """Return the value of a field as text on one line, cut short if it is long."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
