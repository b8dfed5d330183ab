"""The first rows of tables that a descriptor holds itself."""

from __future__ import annotations

from typing import Any

import pytest

import metastore
from metastore.pages.overview import Resource
from metastore.pages.previews import preview_of

from .reader import reader_of

FIELDS = [{"name": "id", "type": "string"}, {"name": "salt", "type": "number"}]
SHOWN = ((("id", "string", False), ("salt", "number", True)), (("A", "34.5"), ("B", None)))


def shown(resource: dict[str, Any]) -> Any:
    preview = preview_of(Resource({"name": "r", **resource}, 0))
    return preview and (tuple((each.name, each.type, each.has_numbers) for each in preview.columns), preview.rows)


@pytest.mark.parametrize("member", ["data", "preview"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"salt": 34.5, "id": "A"}, {"id": "B"}],
        [["id", "salt"], ["A", 34.5], ["B"]],
        [["id", "salt"], ["A", 34.5], ["B", None]],
    ],
    ids=["objects", "lists", "lists with null"],
)
def test_rows_are_objects_or_lists(rows: Any, member: str) -> None:
    assert shown({member: rows, "schema": {"fields": FIELDS}}) == SHOWN


def test_csv_in_a_descriptor_is_a_table() -> None:
    resource = {"data": 'id;salt\n"A;1";34.5\n', "format": "csv", "dialect": {"delimiter": ";"}}
    assert shown(resource) == ((("id", "", False), ("salt", "", False)), (("A;1", "34.5"),))


@pytest.mark.parametrize(
    "resource",
    [
        *(
            {},
            {"data": "text"},
            {"data": {"type": "Point"}},
            {"data": []},
            {"data": ["a", "b"]},
            {"data": [{"a": 1}, 2]},
        ),
        *({"data": "", "format": "csv"}, {"data": None}, {"preview": 7}),
    ],
)
def test_other_content_has_no_rows(resource: dict[str, Any]) -> None:
    assert shown(resource) is None


def test_an_odd_delimiter_is_a_comma() -> None:
    for mark in ("", "ab", 7, "\n", '"'):
        assert shown({"data": "a,b\n1,2", "format": "CSV", "dialect": {"delimiter": mark}})[1] == (("1", "2"),)


def test_a_page_has_the_first_rows_and_says_how_many_there_are() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    rows = [{"id": f"B{n}", "salt": n, "on": True, "<b>": None} for n in range(1200)]
    store.dataset_create("ocean/salt", {"resources": [{"name": "r", "data": rows, "schema": {"fields": FIELDS}}]})
    page = reader_of(store).opens("/datasets/ocean/salt")
    assert page.text(".preview caption") == "The first 10 of 1,200 rows"
    assert page.texts(".preview th") == ["id string", "salt number", "on", "<b>"]
    assert page.texts(".preview td")[:4] == ["B0", "0", "true", "–"]
    assert len(page.texts(".preview tbody tr")) == 10


def test_previews_keep_a_page_small() -> None:
    wide = [{f"column {n}": "x" * 5_000 for n in range(30)} for _ in range(12)]
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", {"resources": [{"name": f"r{n}", "data": wide} for n in range(5)]})
    reader = reader_of(store)
    page = reader.opens("/datasets/ocean/salt")
    assert len(page.texts(".preview")) == 5
    assert page.text(".preview caption") == "The first 10 of 12 rows; the first 20 of 30 columns"
    assert len(str(page.soup)) < 300_000
