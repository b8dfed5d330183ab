"""Reading the descriptors of successive revisions: what they share is parsed once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from metastore.descriptor.document import encode
from metastore.history._documents import Documents, read

from .cases import cases

TABLES: dict[str, Any] = {
    "title": "Tables",
    "resources": [
        {"name": f"table-{table}", "schema": {"fields": [{"name": f"f{n}", "width": 1.0} for n in range(50)]}}
        for table in range(3)
    ],
}


def changed() -> dict[str, Any]:
    """The tables after a change of one field."""
    tables = copy.deepcopy(TABLES)
    tables["resources"][1]["schema"]["fields"][7]["width"] = 2.50
    return tables


def test_what_two_revisions_share_is_one_object() -> None:
    documents = Documents()
    old, new = documents.read(encode(TABLES)), documents.read(encode(changed()))
    assert (old, new) == (read(encode(TABLES)), read(encode(changed())))
    assert old != new
    shared = [a is b for a, b in zip(old["resources"], new["resources"], strict=True)]
    assert shared == [True, False, True]
    fields = zip(*(side["resources"][1]["schema"]["fields"] for side in (old, new)), strict=True)
    assert [n for n, (a, b) in enumerate(fields) if a is not b] == [7]


LAYOUTS: dict[str, Callable[[Any], str]] = {
    "indented by one space": lambda value: json.dumps(value, indent=1),
    "indented by four spaces": lambda value: json.dumps(value, indent=4),
    "with tabs": lambda value: json.dumps(value, indent="\t"),
    "on one line": json.dumps,
    "with spaces before the colons": lambda value: json.dumps(value, indent=2, separators=(",", " : ")),
    "with the line ends of Windows": lambda value: json.dumps(value, indent=2).replace("\n", "\r\n"),
    "with commas at the beginnings of lines": lambda value: json.dumps(value, indent=2).replace(",\n", "\n,"),
    "with a wrong indentation": lambda value: json.dumps(value, indent=2).replace("\n      ", "\n  "),
    "without a comma": lambda value: json.dumps(value, indent=2).replace("},\n", "}\n", 1),
    "with two commas": lambda value: json.dumps(value, indent=2).replace(",\n", ",,\n", 1),
    "cut short": lambda value: json.dumps(value, indent=2)[:-1],
}


@cases("layout", LAYOUTS)
def test_a_layout_of_others_is_read_as_any_json(layout: str) -> None:
    documents = Documents()
    for value in (TABLES, changed(), TABLES):
        content = LAYOUTS[layout](value).encode()
        assert documents.read(content) == read(content)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(['": ', "},\n", '",\n  "', "é", "x" * 1_000, ""]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(['a": ', "\\", "b\n", "c", ""]), inner),
    max_leaves=20,
)


@settings(max_examples=30)
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_any_value_is_read_as_by_the_standard_library(values: list[Any]) -> None:
    documents = Documents()
    for value in values:
        for content in (encode(value), encode({"resources": [value, {"value": value}, {"text": "x" * 1_000}]})):
            assert documents.read(content) == read(content)
