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
#: What CKAN's form calls the values of `private`.
VISIBILITIES = {True: "Private", False: "Public"}


def labels_of(dataset_type: str) -> dict[str, str]:
    """Return the labels of fields, by field and by `resource.` and field; those of ckanext-scheming if it is there.

    A field of ckanext-scheming that has subfields is followed by a dot and the subfield.
    """
    labels = {field: tk._(text) for field, text in LABELS.items()}
    schema = schema_of(dataset_type)
    for prefix, fields in (("", "dataset_fields"), ("resource.", "resource_fields")):
        for field in schema.get(fields, []):
            name = prefix + field["field_name"]
            inner = [(f"{name}.{each['field_name']}", each) for each in field.get("repeating_subfields", [])]
            for place, said in [(name, field), *inner]:
                if text := said.get("label"):
                    labels[place] = tk.h.scheming_language_text(text)
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


def in_words(change: Mapping[str, Any], side: str, labels: Mapping[str, str]) -> str:
    """Return a value of a changed field as text; empty if there is none.

    Args:
        change: As for `label`.
        side: `old` or `new`.
        labels: As for `label`.
    """
    if change["resource"]:
        return _text(change[side], f"resource.{change['field']}", labels)
    return _text(_as_offered(change["field"], change[side]), change["field"], labels)


def _as_offered(field: str, value: Any) -> Any:
    """Return what CKAN's form calls a value that is chosen from a list there."""
    if field == "license_id":
        return dict(tk.h.license_options()).get(value, value)
    return tk._(VISIBILITIES[value]) if field == "private" and value in VISIBILITIES else value


def _text(value: Any, field: str, labels: Mapping[str, str]) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list):
        of_objects = any(isinstance(each, dict) for each in value)
        return ("; " if of_objects else ", ").join(_text(each, field, labels) for each in value)
    if isinstance(value, dict):
        order = list(labels)  # that of the form
        places = {key: f"{field}.{key}" for key, inner in value.items() if inner not in (None, "", [])}
        keys = sorted(places, key=lambda key: order.index(places[key]) if places[key] in labels else len(order))
        names = {key: labels.get(places[key]) or _spelled_out(key) for key in keys}
        return ", ".join(f"{name}: {_text(value[key], places[key], labels)}" for key, name in names.items())
    return json.dumps(value, ensure_ascii=False)


def on_one_line(text: str) -> str:
    """Return a value's text, cut short if it is long; a dash for none."""
    return (text if len(text) <= _LONGEST else text[:_LONGEST] + "…") or "–"
