"""Two changes of one descriptor put together: nothing that one side alone changed is lost, and no clash is hidden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from metastore.descriptor.document import decode, encode
from metastore.descriptor.merge import merge, take_out
from metastore.errors import TooLarge

from .test_difference import bounded, documents

A, B, C = ({"name": name, "n": 1} for name in "abc")


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "merged", "clashes"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3}, {"a": 1, "b": 2, "c": 3}, []),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": 2}, {}, []),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, [("a", 3, 2)]),
        ({"a": 1}, {}, {"a": 3}, {}, [("a", 3, None)]),
        ({"a": 1}, {"a": 2}, {}, {"a": 2}, [("a", None, 2)]),
        ({"a": 1}, {"a": True}, {"a": 1.0}, {"a": True}, [("a", 1.0, True)]),
        ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, []),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 2, "y": 2}}, []),
        ({"r": [A, B]}, {"r": [A | {"n": 2}, B]}, {"r": [A, B, C]}, {"r": [A | {"n": 2}, B, C]}, []),
        ({"r": [A, B]}, {"r": [B]}, {"r": [A, B | {"n": 2}]}, {"r": [B | {"n": 2}]}, []),
        ({"r": [A]}, {"r": [A | {"n": 2}]}, {"r": [A | {"n": 3}]}, {"r": [A | {"n": 2}]}, [("r › a › n", 3, 2)]),
        ({"r": [A, B]}, {"r": [A, B | {"n": 2}]}, {"r": [B, A]}, {"r": [B | {"n": 2}, A]}, []),
        ({"r": [A, B]}, {"r": [B, A]}, {"r": [A | {"n": 2}, B]}, {"r": [B, A | {"n": 2}]}, []),
        ({"r": [A, B]}, {"r": [B, A, C]}, {"r": [B, A]}, {"r": [B, A, C]}, []),
        ({"r": [A, B, C]}, {"r": [B, C | {"n": 2}]}, {"r": [A, B, C]}, {"r": [B, C | {"n": 2}]}, []),
        ({"r": [B]}, {"r": [B | {"n": 2}]}, {"r": [A, B]}, {"r": [A, B | {"n": 2}]}, []),
        ({"r": [A, B]}, {"r": [A, C, B]}, {"r": [B, A]}, {"r": [B, A, C]}, []),
        (
            {"r": [A, B, C]},
            {"r": [B, A, C]},
            {"r": [A, C, B]},
            {"r": [B, A, C]},
            [("order of r", ["a", "c", "b"], ["b", "a", "c"])],
        ),
        ({"k": [1]}, {"k": [1, 2]}, {"k": [1, 3]}, {"k": [1, 2]}, [("k", [1, 3], [1, 2])]),
        ({"k": ["a"]}, {"k": ["a", "b"]}, {"k": ["c", "a"]}, {"k": ["c", "a", "b"]}, []),
        ({}, {"k": ["a"]}, {"k": ["b"]}, {"k": ["b", "a"]}, []),
        ({"k": ["a", "b"]}, {"k": ["b"]}, {"k": ["a", "b", "c"]}, {"k": ["b", "c"]}, []),
        ({"k": ["a", "b"]}, {"k": ["b", "a"]}, {"k": ["a", "b", "c"]}, {"k": ["b", "c", "a"]}, []),
        ({"k": ["a", "a"]}, {"k": ["a"]}, {"k": ["a", "a", "b"]}, {"k": ["a", "b"]}, []),
        (
            {"primaryKey": ["id"]},
            {"primaryKey": ["id", "x"]},
            {"primaryKey": ["id", "y"]},
            {"primaryKey": ["id", "x"]},
            [("primaryKey", ["id", "y"], ["id", "x"])],
        ),
    ],
)
def test_each_side_keeps_what_it_alone_changed(base: Any, mine: Any, theirs: Any, merged: Any, clashes: Any) -> None:
    found, both = merge(base, mine, theirs)
    assert encode(found, sort=True) == encode(merged, sort=True)
    assert [(each.where, each.old, each.new) for each in both] == clashes


STATIONS = {"name": "stations", "path": "stations.csv", "format": "csv", "encoding": "utf-8"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (STATIONS, STATIONS | {"name": "places"}),
        (STATIONS, STATIONS | {"name": "stations2", "path": "moved/stations.csv"}),
        ({"name": "ID", "type": "integer"}, {"name": "id", "type": "integer"}),
    ],
)
def test_a_renamed_thing_keeps_what_the_other_side_changed(before: dict[str, Any], after: dict[str, Any]) -> None:
    other = {"name": "other", "path": "other.csv"}
    base, mine, theirs = {"r": [before, other]}, {"r": [after, other]}, {"r": [before | {"title": "T"}, other]}
    for one, two in ((mine, theirs), (theirs, mine)):
        merged, clashes = merge(base, one, two)
        assert merged == {"r": [after | {"title": "T"}, other]}
        assert clashes == ()


def test_what_only_looks_alike_is_not_taken_for_a_renaming() -> None:
    base = {"r": [{"name": "lat", "type": "number"}]}
    mine = {"r": [{"name": "comment", "type": "number"}]}
    theirs = {"r": [{"name": "lat", "type": "number", "title": "T"}]}
    merged, (clash,) = merge(base, mine, theirs)
    assert clash.where == "r › lat"
    assert [field["name"] for field in merged["r"]] == ["comment"]


def test_of_two_things_that_fit_equally_well_none_is_taken() -> None:
    base = {"r": [STATIONS]}
    twins = [STATIONS | {"name": name, "path": f"{name}.csv"} for name in ("stations1", "stations2")]
    _, (clash,) = merge(base, {"r": twins}, {"r": [STATIONS | {"title": "T"}]})
    assert clash.where == "r › stations"


def test_one_name_for_two_things_is_a_clash() -> None:
    base, other = {"r": [STATIONS]}, {"name": "places", "path": "places.csv"}
    _, (clash,) = merge(base, {"r": [STATIONS | {"name": "places"}]}, {"r": [STATIONS, other]})
    assert (clash.where, clash.old) == ("r › places", other)


def test_a_change_of_spelling_alone_is_kept() -> None:
    base, mine, theirs = map(decode, ('{"v": 1.10}', '{"v": 1.10, "title": "T"}', '{"v": 1.1}'))
    for one, other in ((mine, theirs), (theirs, mine)):
        merged, clashes = merge(base, one, other)
        assert encode(merged, sort=True) == encode(decode('{"title": "T", "v": 1.1}'), sort=True)
        assert clashes == ()
    assert len(merge(base, decode('{"v": 1.100}'), theirs)[1]) == 1


@bounded
@given(documents, documents, documents)
def test_who_changed_nothing_undoes_nothing(base: Any, mine: Any, theirs: Any) -> None:
    for one, other, expected in ((base, theirs, theirs), (mine, base, mine), (mine, mine, mine)):
        found, clashes = merge(base, one, other)
        assert encode(found, sort=True) == encode(expected, sort=True)
        assert clashes == ()
    found, clashes = merge(base, mine, theirs)
    for key in {*base, *mine, *theirs}:
        if encode([base.get(key)], sort=True) == encode([mine.get(key)], sort=True) and (key in base) == (key in mine):
            assert (key in found, found.get(key)) == (key in theirs, theirs.get(key))


def test_what_is_nested_deeply_is_compared_as_a_whole() -> None:
    base, mine, theirs = ({"a": value} for value in (1, 2, 3))
    for _ in range(90):
        base, mine, theirs = {"a": base}, {"a": mine}, {"a": theirs}
    found, (clash,) = merge(base, mine, theirs)
    assert found == mine
    assert clash.where.count("a") == 12


def test_descriptors_that_are_very_large_together_are_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.descriptor.merge._MOST_BYTES", 20)
    assert take_out(b'{"a":1}', b'{"a":1}', b"{}") == ({}, ())
    with pytest.raises(TooLarge, match="25 bytes together; at most 20 are merged"):
        take_out(b'{"a":111}', b'{"a":111}', b'{"a":1}')


def test_lists_of_very_many_items_are_merged_as_one_value() -> None:
    base = [f"k{number}" for number in range(60_000)]
    merged, clashes = merge({"k": base}, {"k": [*base, "a"], "x": 1}, {"k": [*base, "b"], "y": 2})
    assert merged == {"k": [*base, "a"], "x": 1, "y": 2}
    assert [clash.where for clash in clashes] == ["k"]
    assert merge({"k": base}, {"k": base}, {"k": [*base, "b"]}) == ({"k": [*base, "b"]}, ())
