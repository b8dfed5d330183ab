"""What readers cannot see or tell apart is shown by its code, and a place names its parts without doubt."""

from __future__ import annotations

from typing import Any

import pytest

from metastore.descriptor.difference import changes
from metastore.looks import distinct


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            {"title": "Cat data"},
            {"title": "C\u0430t data"},
            [r"title changed: 'Cat data' → 'C\u0430t data' (only characters that look alike)"],
        ),
        (
            {"unit": "\u00b5m"},
            {"unit": "\u03bcm"},
            [r"unit changed: '\u00b5m' → 'μm' (only characters that look alike)"],
        ),
        (
            {"data": "x"},
            {"d\u0430ta": "y"},
            [
                r"data renamed: 'data' → 'd\u0430ta' (only characters that look alike)",
                r"d\u0430ta changed: 'x' → 'y'",
            ],
        ),
        (
            {"data": 1},
            {"da\u200bta": 1},
            [r"data renamed: 'data' → 'da\u200bta' (only invisible characters) (value unchanged)"],
        ),
        (
            {"fields": [{"name": "lat", "type": "number"}, {"name": "x"}]},
            {"fields": [{"name": "l\u0430t", "type": "string"}, {"name": "x"}]},
            [
                r"field lat renamed: 'lat' → 'l\u0430t' (only characters that look alike)",
                r"field l\u0430t › type changed: 'number' → 'string'",
            ],
        ),
        (
            {"a › b": 1, "a": {"b": 1}, "c ›": {"d": 1}},
            {"a › b": 2, "a": {"b": 2}, "c ›": {"d": 2}},
            [r"a \u203a b changed: 1 → 2", "a › b changed: 1 → 2", r"c \u203a › d changed: 1 → 2"],
        ),
    ],
)
def test_a_difference_that_nobody_sees_is_shown(old: Any, new: Any, said: list[str]) -> None:
    assert [str(each) for each in changes(old, new)] == said


def test_in_a_longer_change_the_part_that_looks_the_same_is_shown_too() -> None:
    old = "The net of stations in the north, with a cat. " * 3 + "It was begun in 2019."
    new = old.replace("2019", "2020").replace("cat", "c\u0430t", 1)
    (said,) = map(str, changes({"title": old}, {"title": new}))
    assert r"c\u0430t" in said
    assert "2020" in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Größe", "Größe"),
        ("Данные о населении", "Данные о населении"),
        ("Данные о популяция data", "Данные о популяция data"),
        ("l\u0430t", r"l\u0430t"),
        ("\u0430", r"\u0430"),
        ("αβγ", "αβγ"),
        ("a\u200bb\u00a0c", r"a\u200bb\u00a0c"),
    ],
)
def test_a_name_shows_foreign_letters_only_where_they_pass_for_latin_ones(name: str, shown: str) -> None:
    assert distinct(name) == shown
