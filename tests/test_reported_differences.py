"""Differences that people could not read in other tools, as their public reports describe them, in our words."""

from __future__ import annotations

import json
from typing import Any

import pytest

import metastore
from metastore.descriptor.difference import changes
from metastore.descriptor.summary import summary

RULES = '[{"id":"a","value":{"color":"red","size":1}},{"id":"b","value":{"color":"%s","size":2}},{"id":"c","value":{}}]'
CODES = ["ASN", "AST", "AWS", "FIN", "USA"]
LINES = "".join(f"This is line {number} of the text, and it says something.\r\n" for number in range(30))
WORDS = " ".join(f"word{number}" for number in range(60))
PACKAGES = ["install 0.1", "install 1.1", "types 3", "types 3", "z 1"]


def table(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"name": "visits", "path": "visits.csv", "schema": {"fields": list(fields)}}]}


READ: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "JSON inside a text": (
        {"rules": RULES % "blue"},
        {"rules": RULES % "navy"},
        ["""rules changed: '…":{"color":"blue","size":2}…' → '…":{"color":"navy","size":2}…'"""],
    ),
    "an item at the start of a list": ({"keywords": CODES}, {"keywords": ["AXG", *CODES]}, ["keyword added: 'AXG'"]),
    "a letter before doubled ones": (
        {"letters": list("happy")},
        {"letters": list("chappy")},
        ["letters item added: 'c'"],
    ),
    "objects without names": (
        {"x": [{"b": [1], "c": "x"}]},
        {"x": [{"b": [1], "c": "x"}, {"b": [1], "c": "y"}]},
        ['x item 2 added: {"b": [1], "c": "y"}'],
    ),
    "members in another order": ({"name": "a", "version": "1"}, {"version": "1", "name": "a"}, []),
    "two items of a lock file that changed places": (
        {"packages": PACKAGES},
        {"packages": [PACKAGES[1], PACKAGES[0], "types 3", "types 4", "types 3", "z 1"]},
        [
            "packages item added: 'types 4'",
            'packages item order changed: ["install 0.1", "install 1.1", …] → ["install 1.1", "install 0.1", …]',
        ],
    ),
    "a space in front": (
        {"title": "Stations"},
        {"title": " Stations"},
        ["title changed: 'Stations' → '·Stations' (only white space)"],
    ),
    "other line ends": (
        {"description": LINES},
        {"description": LINES.replace("\r\n", "\n")},
        ["description changed: line ends CRLF → LF"],
    ),
    "other line ends, and a word": (
        {"description": LINES},
        {"description": LINES.replace("\r\n", "\n").replace("line 17", "row 17")},
        [
            "description changed: '… something.\nThis is line 17 of the text…' → "
            "'… something.\nThis is row 17 of the text…' (line ends CRLF → LF)"
        ],
    ),
    "two more authors": (
        {"contributors": [{"title": "Finch, Fiona"}]},
        {"contributors": [{"title": "Finch, Fiona"}, {"title": "Poe, Edgar"}, {"title": "Mulligan, Hercules"}]},
        [
            'contributor Poe, Edgar added: {"title": "Poe, Edgar"}',
            'contributor Mulligan, Hercules added: {"title": "Mulligan, Hercules"}',
        ],
    ),
    "a corrected author": (
        {"contributors": [{"title": "Ann Lee", "email": "ann@example.org"}, {"title": "Bo Ek"}]},
        {"contributors": [{"title": "Anne Lee", "email": "ann@example.org"}, {"title": "Bo Ek"}]},
        ["contributor Anne Lee › title changed: 'Ann Lee' → 'Anne Lee' (nothing else changed)"],
    ),
    "one change in one of two files": (
        {"resources": [{"name": "a", "path": "a.csv"}, {"name": "b", "path": "b.csv"}]},
        {"resources": [{"name": "a", "path": "a.csv", "tags": ["Survey"]}, {"name": "b", "path": "b.csv"}]},
        ['resource a › tags added: ["Survey"]'],
    ),
    "extras of CKAN": (
        {"extras": [{"key": "spatial", "value": "Geneva"}, {"key": "theme", "value": "cars"}]},
        {"extras": [{"key": "theme", "value": "trains"}, {"key": "contact", "value": "Ann"}]},
        [
            'extras spatial removed: {"key": "spatial", "value": "Geneva"}',
            "extras theme › value changed: 'cars' → 'trains'",
            'extras contact added: {"key": "contact", "value": "Ann"}',
        ],
    ),
    "a renamed column": (
        table({"name": "id", "type": "integer"}, {"name": "visit_dt", "type": "date", "description": "Its start"}),
        table({"name": "id", "type": "integer"}, {"name": "visit_date", "type": "date", "description": "Its start"}),
        ["resource visits › schema › field visit_dt renamed: 'visit_dt' → 'visit_date' (type unchanged)"],
    ),
    "a type that looks the same": ({"version": 1}, {"version": "1"}, ["version changed: 1 → '1' (now a text)"]),
    "columns in another order": (
        table({"name": "id"}, {"name": "start"}, {"name": "end"}),
        table({"name": "start"}, {"name": "end"}, {"name": "id"}),
        ["resource visits › schema › field id moved to the end (was at the start)"],
    ),
    "codes that were exchanged": (
        table({"name": "sex", "categories": [{"value": 1, "label": "Male"}, {"value": 2, "label": "Female"}]}),
        table({"name": "sex", "categories": [{"value": 1, "label": "Female"}, {"value": 2, "label": "Male"}]}),
        [
            "resource visits › schema › field sex › category 1 › label changed: 'Male' → 'Female'",
            "resource visits › schema › field sex › category 2 › label changed: 'Female' → 'Male'",
        ],
    ),
    "a year in a long text": (
        {"description": f"{WORDS} measured until 2019. {WORDS}"},
        {"description": f"{WORDS} measured until 2020. {WORDS}"},
        [
            "description changed: '…word58 word59 measured until 2019. word0 word1 word2 …' → "
            "'…word58 word59 measured until 2020. word0 word1 word2 …'"
        ],
    ),
    "a second licence": (
        {"licenses": [{"name": "CC-BY-4.0"}]},
        {"licenses": [{"name": "ODbL-1.0"}, {"name": "CC-BY-4.0"}]},
        ['licence ODbL-1.0 added: {"name": "ODbL-1.0"}'],
    ),
    "a row in a table": (
        {"resources": [{"name": "r", "data": [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]}]},
        {"resources": [{"name": "r", "data": [{"id": 1, "v": "a"}, {"id": 2, "v": "c"}, {"id": 3, "v": "d"}]}]},
        ["resource r › data item 2 › v changed: 'b' → 'c'", 'resource r › data item 3 added: {"id": 3, "v": "d"}'],
    ),
}


@pytest.mark.parametrize("report", READ)
def test_a_difference_says_what_changed_and_nothing_else(report: str) -> None:
    old, new, said = READ[report]
    assert [str(change) for change in changes(old, new)] == said


def test_a_summary_names_the_parts_and_counts_each_once() -> None:
    old, new, _ = READ["one change in one of two files"]
    assert summary(changes(old, new)) == "tags added in a"
    old, new, _ = READ["extras of CKAN"]
    assert summary(changes(old, new)) == "extras spatial removed; extras theme changed; extras contact added"
    old, new, _ = READ["two more authors"]
    assert summary(changes(old, new)) == "2 contributors added"
    assert summary(changes({"keywords": ["a"]}, {"title": "T", "keywords": ["a", "b", "c"]})) == (
        "2 keywords and title added"
    )


def test_members_in_another_order_are_no_difference_but_a_summary_says_so() -> None:
    old, new, _ = READ["members in another order"]
    store = metastore.connect("memory:", author="Setup", validation="off")
    first = store.dataset_create("a/b", old).revision.id
    store.dataset_update("a/b", {"title": "Between"})  # a new order alone makes no revision
    store.dataset_update("a/b", json.dumps(new))
    diff = store.revision_diff("a/b", first)
    assert (diff.changes, diff.summary, diff.grade) == ((), "only the order of members changed", "")
    assert store.revision_diff("a/b", first, first).summary == ""
