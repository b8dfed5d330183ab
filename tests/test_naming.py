"""The items of a list are compared by their natural keys, so an exchange is not mistaken for something else."""

from __future__ import annotations

from typing import Any

import pytest

from metastore.descriptor.difference import changes, json_patch
from metastore.descriptor.document import decode
from metastore.descriptor.grade import default
from metastore.descriptor.item_names import named_lists
from metastore.descriptor.merge import merge
from metastore.descriptor.patch import patched


def field(**members: Any) -> dict[str, Any]:
    fields = [{"name": "id"}, {"name": "sex", "type": "integer", **members}]
    return {"resources": [{"name": "people", "schema": {"fields": fields}}]}


def categories(*labels: tuple[Any, str]) -> dict[str, Any]:
    return field(categories=[{"value": value, "label": label} for value, label in labels])


@pytest.mark.parametrize(
    ("old", "new", "grade", "said"),
    [
        (
            categories((1, "M"), (2, "F")),
            categories((1, "F"), (2, "M")),
            "major",
            ["category 1 › label changed: 'M' → 'F'", "category 2 › label changed: 'F' → 'M'"],
        ),
        (
            categories((1, "M"), (2, "F"), (3, "X")),
            categories((3, "X"), (1, "M"), (2, "F")),
            "major",
            ["category 3 moved to the start (was at the end)"],
        ),
        (
            categories((1, "M"), (2, "F")),
            categories((1, "M"), (3, "F")),
            "major",
            ["category 3 › value changed: 2 → 3 (label unchanged)"],
        ),
        (
            categories((1, "M")),
            categories(("1", "M")),
            "major",
            ["category 1 › value changed: 1 → '1' (now a text)"],
        ),
        (
            categories((1, "M")),
            categories((1, "M"), (2, "F")),
            "minor",
            ['category 2 added: {"value": 2, "label": "F"}'],
        ),
        (
            field(categories=["low", "high"]),
            field(categories=["low", "high", "top"]),
            "minor",
            ["category added: 'top'"],
        ),
        (field(categories=["low", "high"]), field(categories=["low"]), "major", ["category removed: 'high'"]),
        (
            field(constraints={"enum": [1, 2]}),
            field(constraints={"enum": [2, 1, 3]}),
            "minor",
            [
                "constraints › enum item added: 3",
                "constraints › enum item order changed: [1, 2] → [2, 1]",
            ],
        ),
        (
            field(constraints={"enum": [1, 2]}),
            field(constraints={"enum": [2, 1]}),
            "patch",
            ["constraints › enum item order changed: [1, 2] → [2, 1]"],
        ),
        (
            field(constraints={"enum": ["low"], "unique": True}),
            field(constraints={"enum": "levels.json", "unique": True}),
            "major",
            ["constraints › enum changed: [\"low\"] → 'levels.json'"],
        ),
        (field(), field(missingValues=["-9"]), "minor", ['missingValues added: ["-9"]']),
        (
            field(categoriesOrdered=True),
            field(categoriesOrdered=False),
            "major",
            ["categoriesOrdered changed: true → false"],
        ),
    ],
)
def test_categories_and_enum_items_are_told_and_graded_by_their_values(
    old: Any, new: Any, grade: str, said: list[str]
) -> None:
    place = "resource people › schema › field sex › "
    found = changes(old, new)
    assert [str(each).removeprefix(place) for each in found] == said
    assert default().grade(found) == grade
    assert patched(old, json_patch(old, new)) == new


@pytest.mark.parametrize(
    ("old", "new", "grade", "said"),
    [
        (["a", "b"], ["b", "a"], "patch", ["foreign key a moved to the end (was at the start)"]),
        (["a", "b"], ["b"], "major", ['foreign key a removed: {"fields": "a", "reference": {"resource": "to a"}}']),
        ([["a", "b"], "c"], ["c", ["a", "b"]], "patch", ["foreign key a, b moved to the end (was at the start)"]),
    ],
)
def test_foreign_keys_are_told_by_their_fields_and_have_no_order(
    old: list[Any], new: list[Any], grade: str, said: list[str]
) -> None:
    before, after = (
        {"resources": [{"name": "r", "schema": {"foreignKeys": [key(fields) for fields in side]}}]}
        for side in (old, new)
    )
    found = changes(before, after)
    assert [str(each).removeprefix("resource r › schema › ") for each in found] == said
    assert default().grade(found) == grade


def key(fields: Any) -> dict[str, Any]:
    return {"fields": fields, "reference": {"resource": f"to {fields if isinstance(fields, str) else fields[0]}"}}


def test_a_schema_that_became_an_address_is_outlined() -> None:
    schema = {"fields": [{"name": f"f{number}"} for number in range(30)], "primaryKey": "f1"}
    (said,) = map(str, changes({"schema": schema}, {"schema": "https://example.org/s.json"}))
    assert said == (
        'schema changed: {"fields": [30 items: f0, f1, f2 and 27 more], "primaryKey": "f1"} → \'https://example.org/s.json\''
    )


ANN, BOB = {"title": "Ann", "email": "a@x.org"}, {"title": "Ann", "email": "b@x.org"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([ANN, BOB], [BOB, ANN], ["contributor Ann (a@x.org) moved to the end (was at the start)"]),
        ([ANN, BOB], [ANN], ['contributor Ann (b@x.org) removed: {"title": "Ann", "email": "b@x.org"}']),
        (
            [ANN, BOB],
            [ANN, {**BOB, "email": "c@x.org"}],
            ["contributor Ann (c@x.org) › email changed: 'b@x.org' → 'c@x.org'"],
        ),
        (
            [{"title": "Ann", "role": "author"}, {"title": "Ann", "role": "publisher"}],
            [{"title": "Ann", "role": "author", "path": "http://a"}, {"title": "Ann", "role": "publisher"}],
            ["contributor Ann (author) › path added: 'http://a'"],
        ),
        (
            [{"title": "Ann", "role": "author"}, {"title": "Bob"}, {"title": "Ann", "role": "publisher"}],
            [{"title": "Bob"}, {"title": "Ann", "role": "publisher"}, {"title": "Ann", "role": "author"}],
            ["contributor Ann (author) moved to the end (was at the start)"],
        ),
        (
            [{"email": "a@x.org"}, {"email": "b@x.org"}],
            [{"email": "b@x.org", "role": "author"}, {"email": "a@x.org"}],
            [
                "contributor b@x.org › role added: 'author'",
                "contributor a@x.org moved to the end (was at the start)",
            ],
        ),
    ],
)
def test_people_of_one_name_are_told_apart(old: Any, new: Any, said: list[str]) -> None:
    assert [str(each) for each in changes({"contributors": old}, {"contributors": new})] == said


def test_changes_of_two_categories_are_merged() -> None:
    base, mine, theirs = (
        categories(*labels)
        for labels in (
            ((1, "M"), (2, "F")),
            ((2, "F"), (1, "male")),
            ((1, "M"), (2, "female"), (3, "X")),
        )
    )
    assert merge(base, mine, theirs) == (categories((2, "female"), (3, "X"), (1, "male")), ())


def test_one_value_for_two_categories_is_a_clash() -> None:
    base, mine, theirs = (categories(*labels) for labels in ([(1, "M")], [(3, "M")], [(1, "M"), (3, "X")]))
    (clash,) = merge(base, mine, theirs)[1]
    assert clash.where.endswith("categories › 3")


@pytest.mark.parametrize(
    ("items", "names"),
    [
        ('[{"value": 1.10}, {"value": 2}]', ["1.10", "2"]),
        ('[{"value": true}, {"value": false}]', None),
        ('[{"name": "a"}, {"name": "a"}]', None),
        ('[{"name": "a"}, {"title": "b"}]', None),
        ('[{"name": "a", "url": "u"}, {"name": "a", "url": "v"}]', ["a (u)", "a (v)"]),
        ('[{"role": "x", "url": "u"}, {"role": "x", "url": "v"}]', ["u", "v"]),
    ],
)
def test_names_are_texts_and_numbers_that_are_distinct(items: str, names: list[str] | None) -> None:
    keyed = named_lists(decode(items))
    assert (keyed and list(keyed[0])) == names
