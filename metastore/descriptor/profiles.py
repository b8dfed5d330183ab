"""The official Data Package profiles, versions 1 and 2: vendored, compiled once, never fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from metastore.descriptor.document import escape
from metastore.types import Finding

_LONGEST = 300


def findings(descriptor: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Check a descriptor against the profile that it declares; without a declaration, against version 1.

    Version 2 declares itself by `$schema`, version 1 by `profile` (Data Package 2.0, "$schema"). What is declared and
    not known is itself a finding; nothing is ever fetched.
    """
    name, unknown = _profile_of(descriptor)
    found = [unknown] if unknown else []
    for error in _validator(name).iter_errors(descriptor):
        pointer = "".join(f"/{escape(str(part))}" for part in error.instance_path)
        detail = error.message if len(error.message) <= _LONGEST else error.message[: _LONGEST - 1] + "…"
        found.append(Finding(pointer, f"{detail} (Data Package {name.partition('/')[0]})"))
    return tuple(found)


def _profile_of(descriptor: Mapping[str, Any]) -> tuple[str, Finding | None]:
    declared = descriptor.get("$schema")
    if isinstance(declared, str):
        if declared.rstrip("/").endswith("/profiles/2.0/datapackage.json"):
            return "2.0/datapackage", None
        if not declared.rstrip("/").endswith("/profiles/1.0/datapackage.json"):
            return "2.0/datapackage", Finding("/$schema", f"unknown profile {declared[:100]!r}, not fetched")
    profile = descriptor.get("profile", "data-package")
    if profile in ("data-package", "tabular-data-package"):
        return f"1.0/{profile}", None
    return "1.0/data-package", Finding("/profile", f"unknown profile {str(profile)[:100]!r}, not fetched")


@cache
def _validator(name: str) -> Any:
    import jsonschema_rs

    schema = json.loads((files("metastore") / "data" / "profiles" / f"{name}.json").read_bytes())
    return jsonschema_rs.Draft4Validator(schema) if name.startswith("1.0/") else jsonschema_rs.Draft7Validator(schema)
