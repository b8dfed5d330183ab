"""Our findings beside those of frictionless, on real descriptors: where only one finds fault, there is a reason."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from typing import Any

import frictionless
import pytest

from metastore import InvalidInput, validate

from .conftest import CATALOGUE, REAL

DATA = Path(__file__).parent / "data" / "grades" / "descriptors.json.xz"
#: What frictionless says, and of which kind our finding for the same is.
BOTH = {
    "resource-error: 'name' is a required property": "required",
    "does not match .* at property 'name'": "pattern",
    "is not of type 'array' at property 'licenses'": "type",
    "'path' or 'data'|requires .*(path|data)": "required",
    "names of the fields are not unique": "duplicate-field",
    "names of the resources are not unique": "refused",
}
#: What frictionless alone says, and why.
FRICTIONLESS_ALONE = {
    "(field|schema)-error: 'name' is a required property": "Data Package 1.0 checks schemas in tabular packages only",
    "is not of type 'array' at property 'primaryKey'": "a primary key of one field may be a text",
    r"is not one of \['default', .* at property 'format'": "Data Package 1.0 checks schemas in tabular packages only",
    r'constraint "\w+" is not supported by type': "Data Package 1.0 checks schemas in tabular packages only",
    r'field type "\w+" is not supported': "Data Package 1.0 checks schemas in tabular packages only",
    'license requires "path" or "name"': "the schema of Data Package 1.0 does not ask for it, that of 2.0 does",
    "is not of type 'integer' at property 'fields'": "`fields` of a resource is a member of its own to Data Package",
}
#: What we alone find, and why.
OURS_ALONE = {
    "(source|contributor) .* has no title": "Data Package 1.0 requires it, and frictionless looks into neither",
    "the name of licence .* may have only": "Data Package 1.0 limits its letters, and frictionless does not",
    "has neither data nor path": "frictionless looks no further where a name is missing",
}


def descriptors() -> list[tuple[str, Any]]:
    histories = json.loads(lzma.decompress(DATA.read_bytes()))
    old = [(f"{name} at {commit}", each) for name, versions in histories.items() for commit, each in versions.items()]
    real = [(name, json.loads((CATALOGUE / name / "datapackage.json").read_bytes())) for name in REAL]
    return real + old


def said_by_frictionless(descriptor: Any) -> tuple[list[str], bool]:
    """Return what frictionless finds, and whether it got to the end."""
    copied = json.loads(json.dumps(descriptor))
    try:
        return [f"{error.type}: {error.note}" for error in frictionless.Package.metadata_validate(copied)], True
    except frictionless.FrictionlessException as error:
        return [f"{error.error.type}: {error.error.note}"], False


def found_here(descriptor: Any) -> list[tuple[str, str]]:
    try:
        return [(finding.kind, finding.detail) for finding in validate(descriptor)]
    except InvalidInput as error:
        return [("refused", str(error))]


def unexplained(descriptor: Any) -> list[str]:
    theirs, is_whole = said_by_frictionless(descriptor)
    ours = found_here(descriptor)
    kinds, matched = {kind for kind, _ in ours}, set()
    rest = []
    for note in theirs:
        kind = next((kind for pattern, kind in BOTH.items() if re.search(pattern, note)), None)
        if kind in kinds:
            matched.add(kind)
        elif not any(re.search(pattern, note, re.DOTALL) for pattern in FRICTIONLESS_ALONE):
            rest.append(f"frictionless alone: {note}")
    for kind, detail in ours if is_whole else ():
        if kind not in matched and not any(re.search(pattern, detail, re.DOTALL) for pattern in OURS_ALONE):
            rest.append(f"ours alone: {detail}")
    return rest


@pytest.mark.parametrize("share", [12, pytest.param(1, marks=pytest.mark.soak)])
def test_where_frictionless_judges_otherwise_there_is_a_reason(share: int) -> None:
    judged = {name: unexplained(descriptor) for name, descriptor in descriptors()[::share]}
    assert len(judged) >= 20
    assert {name: rest for name, rest in judged.items() if rest} == {}
