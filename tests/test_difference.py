"""Two descriptors compared: the patch always leads from one to the other, and no descriptor makes it long or slow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metastore.descriptor import difference
from metastore.descriptor.difference import changes, json_patch
from metastore.descriptor.document import encode
from metastore.descriptor.patch import patched

from .processes import SOAK
from .test_fuzz import nearby

bounded = settings(suppress_health_check=list(HealthCheck))
#: The limits only choose among the ways that the test without any goes: fewer examples each.
few = settings(bounded, max_examples=500 if SOAK else 15)
items = st.lists(st.integers(0, 9) | st.sampled_from(["1", True, 1.0, None, [], {}, [1]]), max_size=12)
named = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcdefg")}, optional={"path": st.sampled_from("xyz"), "n": items}),
    max_size=6,
    unique_by=lambda each: str(each["name"]),
)
documents = st.dictionaries(st.sampled_from(["a", "~/", "resources"]), items | named | nearby)


def leads(old: Any, new: Any) -> None:
    patch = json_patch(old, new)
    assert encode(patched(old, json.loads(json.dumps(patch))), sort=True) == encode(new, sort=True)
    assert bool(patch) == (encode(old, sort=True) != encode(new, sort=True))
    assert all(operation["op"] in ("add", "remove", "replace") for operation in patch)


@bounded
@given(documents, documents)
@example({"a": [1, 2, 3]}, {"a": [3, 2, 1]})
def test_a_patch_of_lists_leads_from_the_old_to_the_new(old: Any, new: Any) -> None:
    leads(old, new)


@pytest.mark.parametrize(
    "limits",
    [{"_MOST": 2}, {"_MOST": 0}, {"_MOST_TEXT": 5}, {"_LONGEST": 3}, {"DEEPEST": 1}, {"DEEPEST": 2, "_MOST": 1}],
    ids=str,
)
def test_a_patch_that_would_be_too_long_leads_there_as_well(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(difference, name, limit)

    @few
    @given(documents, documents)
    def whatever(old: Any, new: Any) -> None:
        leads(old, new)
        assert bool(changes(old, new)) <= (encode(old, sort=True) != encode(new, sort=True))

    whatever()


def test_what_was_put_between_is_added_and_the_rest_is_left_alone() -> None:
    old = {"resources": [{"name": "a"}, {"name": "b", "path": "b.csv"}, {"name": "d"}]}
    new = {"resources": [{"name": "0"}, {"name": "a"}, {"name": "b", "path": "b.txt"}, {"name": "c"}, {"name": "d"}]}
    assert json_patch(old, new) == (
        {"op": "add", "path": "/resources/0", "value": {"name": "0"}},
        {"op": "replace", "path": "/resources/2/path", "value": "b.txt"},
        {"op": "add", "path": "/resources/3", "value": {"name": "c"}},
    )


LAT = {"name": "lat", "type": "number", "title": "Latitude", "unit": "deg", "example": 1}
CC0 = [{"name": "CC0-1.0", "path": "https://creativecommons.org/publicdomain/zero/1.0/"}]


def table(name: str, *fields: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "schema": {"fields": [{"name": "id"}, *fields]}, **more}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            [table("a", LAT), table("b")],
            [table("a"), table("b", {**LAT, "example": 2})],
            [
                "resource a › schema › field lat moved from resource a to resource b",
                "resource b › schema › field lat › example changed: 1 → 2",
            ],
        ),
        (
            [table("a", LAT), table("b")],
            [table("a"), table("b", {"name": "lat", "type": "string"})],
            [
                f"resource a › schema › field lat removed: {json.dumps(LAT)}",
                'resource b › schema › field lat added: {"name": "lat", "type": "string"}',
            ],
        ),
        (
            [table("a"), table("b"), table("c"), table("d")],
            [table("a"), table("c"), table("d"), table("b")],
            ["resource b moved to the end (was after 'a')"],
        ),
        (
            [table("a"), table("b"), table("c"), table("d")],
            [table("b"), table("c"), table("a"), table("d")],
            ["resource a moved after 'c' (was at the start)"],
        ),
        (
            [table(name) for name in "abcdefgh"],
            [table(name) for name in "hgfedcba"],
            ["resource order changed: " + " → ".join(json.dumps(list(order)) for order in ("abcdefgh", "hgfedcba"))],
        ),
        (
            [table("a", sources=CC0), table("b", sources=CC0), table("c"), table("d")],
            [table("a"), table("b"), table("c", sources=CC0), table("d", sources=CC0)],
            [
                f"resource {name} › sources {kind}: {json.dumps(CC0)}"
                for name, kind in zip("abcd", ["removed"] * 2 + ["added"] * 2, strict=True)
            ],
        ),
    ],
    ids=["moved", "too different", "in its list", "to its middle", "more than moved", "two that are alike"],
)
def test_what_moved_is_told_as_moved_and_never_guessed(old: Any, new: Any, said: list[str]) -> None:
    found = [str(each) for each in changes({"resources": old}, {"resources": new})]
    assert found == said


def test_a_licence_that_is_split_among_resources_and_one_that_is_spelled_otherwise_are_told() -> None:
    resources = [{"name": "a"}, {"name": "b"}]
    before = {"licenses": CC0, "resources": resources}
    after = {"resources": [{**each, "licenses": CC0} for each in resources]}
    assert [str(each) for each in changes(before, after)] == [
        "licenses moved from the dataset to resource a and resource b"
    ]
    assert [str(each) for each in changes(after, before)] == [
        "resource a › licenses moved from resource a to the dataset",
        "resource b › licenses moved from resource b to the dataset",
    ]
    assert [str(each) for each in changes({"license": "CC0-1.0"}, {"licenses": CC0})] == [
        "license renamed: 'license' → 'licenses'",
        f"licence CC0-1.0 › path added: '{CC0[0]['path']}'",
    ]


def test_a_licence_that_only_some_resources_kept_is_told_as_lost_by_the_others() -> None:
    own = {"name": "c", "license": "MIT"}
    before = {"licenses": CC0, "resources": [{"name": "a"}, {"name": "b"}, own]}
    after = {"resources": [{"name": "a", "licenses": CC0}, {"name": "b"}, own]}
    assert [str(each) for each in changes(before, after)] == [
        f"licenses removed: {json.dumps(CC0)} (no licence now: resource b)",
        f"resource a › licenses added: {json.dumps(CC0)}",
    ]
    after["resources"][1] = {"name": "b", "licenses": CC0}
    assert [each.kind for each in changes(before, after)] == ["moved"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            {"sources": [{"title": "WHO", "web": "https://who.int"}]},
            {"sources": [{"title": "WHO", "path": "https://who.int"}]},
            ["source WHO › web renamed: 'web' → 'path' (value unchanged)"],
        ),
        ({"type": "any"}, {"format": "any"}, ["type removed: 'any'", "format added: 'any'"]),
        ({"a": "same", "b": "same"}, {"c": "same"}, ["a removed: 'same'", "b removed: 'same'", "c added: 'same'"]),
        (
            {"fields": [{"id": "lat"}, {"id": "lon", "type": "number"}]},
            {"fields": [{"name": "lat"}, {"name": "lon", "type": "string"}]},
            [
                "field lat › id renamed: 'id' → 'name' (value unchanged)",
                "field lon › id renamed: 'id' → 'name' (value unchanged)",
                "field lon › type changed: 'number' → 'string'",
            ],
        ),
        (
            {"licenses": [{"type": "odc-pddl", "url": "https://o.org/pddl"}]},
            {"licenses": [{"name": "ODC-PDDL-1.0", "path": "https://o.org/pddl"}]},
            [
                "licence changed: 'odc-pddl' → 'ODC-PDDL-1.0'",
                "licence ODC-PDDL-1.0 › url renamed: 'url' → 'path' (value unchanged)",
            ],
        ),
        ({"license": "MIT"}, {"license": ["MIT"]}, ["license changed: 'MIT' → [\"MIT\"]"]),
        (
            {"resources": [{"name": "x", "title": "x", "path": "p"}]},
            {"resources": [{"name": "y", "title": "z", "path": "p"}]},
            ["resource x renamed: 'x' → 'y' (path unchanged)", "resource y › title changed: 'x' → 'z'"],
        ),
        (
            {"resources": [{"path": "births-2018.csv", "title": "Births", "format": "csv", "schema": "births.json"}]},
            {"resources": [{"path": "births-2019.csv", "title": "Births", "format": "csv", "schema": "births.json"}]},
            ["resource births-2019.csv › path changed: 'births-2018.csv' → 'births-2019.csv' (nothing else changed)"],
        ),
        (
            {"resources": [{"url": "http://a", "format": "csv"}, {"url": "http://b", "format": "csv"}]},
            {"resources": [{"path": "a.csv", "format": "csv"}, {"path": "b.csv", "format": "csv"}]},
            [
                "resource 1 › url removed: 'http://a'",
                "resource 1 › path added: 'a.csv'",
                "resource 2 › url removed: 'http://b'",
                "resource 2 › path added: 'b.csv'",
            ],
        ),
        (
            {"sources": [{"name": "WHO", "web": ["https://a", "https://b"]}]},
            {"sources": [{"name": "WHO", "web": "https://a"}, {"name": "WHO", "web": "https://b"}]},
            [
                'source 1 removed: {"name": "WHO", "web": ["https://a", "https://b"]}',
                'source 1 added: {"name": "WHO", "web": "https://a"}',
                'source 2 added: {"name": "WHO", "web": "https://b"}',
            ],
        ),
    ],
    ids=[
        "member",
        "common words",
        "two that hold the same",
        "names",
        "licence",
        "form of a licence",
        "title as name",
        "path as name",
        "no names",
        "nothing alike",
    ],
)
def test_what_is_called_otherwise_is_told_as_that(old: Any, new: Any, said: list[str]) -> None:
    assert [str(each) for each in changes(old, new)] == said


HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
RING = [[5.95587, 45.81792], [10.49205, 47.80838], [10.49205, 45.8], [5.95587, 45.81792], [6.0, 46.0]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            {"fields": [{"name": "x1", "type": "number", "title": "Mean"}, {"name": "a"}]},
            {"fields": [{"name": "yy", "type": "string", "title": "Mean"}, {"name": "a"}]},
            ["field x1 renamed: 'x1' → 'yy' (title unchanged)", "field yy › type changed: 'number' → 'string'"],
        ),
        (
            {"resources": [{"title": "Old", "url": "http://a"}, {"title": "Other", "url": "http://b"}]},
            {"resources": [{"title": "New", "url": "http://a", "n": 1}, {"title": "Other", "url": "http://b"}]},
            ["resource New › title changed: 'Old' → 'New' (url unchanged)", "resource New › n added: 1"],
        ),
        (
            {"licenses": [{"title": "Free", "path": "LICENSE"}]},
            {"licenses": [{"name": "other-pd", "title": "Free", "path": "LICENSE"}]},
            ["licence other-pd › name added: 'other-pd'"],
        ),
        (
            {"licenses": [{"name": "other-pd", "title": "Free"}]},
            {"licenses": [{"title": "Free"}]},
            ["licence Free › name removed: 'other-pd'"],
        ),
        ({"primaryKey": "a"}, {"primaryKey": ["a"]}, ["primaryKey changed: 'a' → [\"a\"] (the same field)"]),
        (
            {"missingValues": ["n/a", "-"]},
            {"missingValues": [{"value": "n/a", "label": "not answered"}, {"value": "-", "label": "unknown"}]},
            [
                'missingValues changed: ["n/a", "-"] → '
                '[{"value": "n/a", "label": "not answered"}, {"value": "-", "label": "unknown"}]'
            ],
        ),
        (
            {"resources": [{"name": f"table{number}"} for number in range(30)]},
            {"resources": [{"name": f"table{number}"} for number in reversed(range(30))]},
            [
                "resource order changed: [30 items: table0, table1, table2 and 27 more] → "
                "[30 items: table29, table28, table27 and 27 more]"
            ],
        ),
        ({"version": "1.10"}, {"version": "1.1"}, ["version changed: '1.10' → '1.1' (lower than before)"]),
        ({"version": "1.9"}, {"version": "1.10"}, ["version changed: '1.9' → '1.10'"]),
        (
            {"bbox": [5.95587, 45.81792, 10.49205, 47.80838]},
            {"bbox": [5.95587, 45.81792, 10.49205, 47.81]},
            ["bbox changed: [5.95587, 45.81792, 10.49205, 47.80838] → [5.95587, 45.81792, 10.49205, 47.81]"],
        ),
        (
            {"ring": RING},
            {"ring": [*RING[:3], [5.9, 45.81792], [6.0, 46.5]]},
            ["ring changed: 5.95587 → 5.9 at position 4, 1; 46.0 → 46.5 at position 5, 2"],
        ),
        ({"n": list(range(99))}, {"n": [*range(98), 0]}, ["n changed: 98 → 0 at position 99"]),
        ({"hash": HASH}, {"hash": f"{HASH[:-1]}f"}, ["hash changed: '2c26b46b…6266e7ae' → '2c26b46b…6266e7af'"]),
        (
            {"hash": f"sha256:{HASH}"},
            {"hash": f"sha256:{HASH[:30]}00{HASH[32:]}"},
            ["hash changed: 'sha256:2c26b46b…30413413422d…6266e7ae' → 'sha256:2c26b46b…30410013422d…6266e7ae'"],
        ),
    ],
    ids=[
        "title",
        "address",
        "name of a licence",
        "no name of a licence",
        "key",
        "labels",
        "order",
        "lower",
        "higher",
        "box",
        "places",
        "numbers",
        "end of a hash",
        "middle of a hash",
    ],
)
def test_a_small_change_in_something_long_is_seen(old: Any, new: Any, said: list[str]) -> None:
    assert [str(each) for each in changes(old, new)] == said


def test_fields_with_names_alike_are_paired_by_their_places() -> None:
    old, new = (
        {"fields": [{"name": name, "type": "number"} for name in ("year", *names, "days")]}
        for names in (("mean (adjusted)", "trend"), ("mean", "trend (adjusted)"))
    )
    assert [str(each) for each in changes(old, new)] == [
        "field mean (adjusted) renamed: 'mean (adjusted)' → 'mean' (type unchanged)",
        "field trend renamed: 'trend' → 'trend (adjusted)' (type unchanged)",
    ]


def test_more_changes_than_anybody_reads_are_one_of_the_member() -> None:
    old, new = ({"title": title, "many": {str(n): title for n in range(12_000)}} for title in ("Old", "New"))
    assert [each["path"] for each in json_patch(old, new)] == ["/title", "/many"]
    assert [each.where for each in changes(old, new)] == ["title", "many"]


def test_more_members_than_anybody_reads_are_one_change_of_the_descriptor() -> None:
    old, new = ({str(n): title for n in range(12_000)} for title in ("Old", "New"))
    assert json_patch(old, new) == ({"op": "replace", "path": "", "value": new},)
    assert [each.where for each in changes(old, new)] == ["descriptor"]
    assert patched(old, json_patch(old, new)) == new


def test_two_lists_too_long_to_be_paired_are_replaced_in_one() -> None:
    old, new = ({"x": [(n * step) % 60_013 for n in range(60_013)]} for step in (1, 7))
    assert [each["path"] for each in json_patch(old, new)] == ["/x"]


def test_a_name_as_long_as_a_descriptor_is_told_once_and_in_words_not_whole() -> None:
    old, new = ({"k" * 500_000: dict.fromkeys(map(str, range(100)), title)} for title in ("Old", "New"))
    assert len(json_patch(old, new)) == 1
    assert sum(len(each.where) for each in changes(old, new)) < 100 * 300


def test_what_is_nested_deeper_than_descriptors_are_is_compared_as_a_whole() -> None:
    old: Any = 1
    new: Any = 2
    for _ in range(90):
        old, new = [{"name": "x", "a": old}], [{"name": "x", "a": new}]
    (operation,) = json_patch({"a": old}, {"a": new})
    assert operation["path"].count("/") == 12
    assert len(changes({"a": old}, {"a": new})) == 1


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        ({"path": "a.csv"}, {"path": "a.csv"}, "path unchanged"),
        ({"path": "a.csv", "title": "The net"}, {"path": "b.csv", "title": "The net"}, "title unchanged"),
        ({"path": "a.csv"}, {"path": "b.csv", "schema": {"fields": [{"name": "z"}]}}, None),
    ],
)
def test_a_resource_with_another_name_and_schema_is_renamed_if_path_or_content_shows_it(
    old: Any, new: Any, how: str | None
) -> None:
    old = table("a", LAT, {"name": "x"}, {"name": "y"}, **old)
    new = table("b", LAT, {"name": "x"}, {"name": "z"}) | new
    found = [str(each) for each in changes({"resources": [old]}, {"resources": [new]})]
    assert found[0].startswith(f"resource a renamed: 'a' → 'b' ({how})" if how else "resource a removed: ")
    assert ('resource b › schema › field z added: {"name": "z"}' in found) is (how is not None)
