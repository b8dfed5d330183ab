"""Values in messages: short ones in full, long ones so that nothing is left out without a word."""

from __future__ import annotations

from typing import Any

import pytest

from metastore.wording import outlined

FIELDS = [{"name": f"f{number}"} for number in range(12)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 100, f"'{'x' * 76}…"),
        (None, "null"),
        ({"name": "a", "n": 1.5}, '{"name": "a", "n": 1.5}'),
        (
            {"name": "a", "description": "x" * 200, "schema": {"fields": FIELDS, "primaryKey": "f1"}, "licenses": []},
            f'{{"name": "a", "description": "{"x" * 49}…", '
            '"schema": {"fields": [12 items: f0, f1, f2 and 9 more], "primaryKey": "f1"}, "licenses": []}',
        ),
        (
            {"name": "a", "description": "x" * 200, "hash": f"sha256:{'0123456789abcdef' * 4}"},
            f'{{"name": "a", "description": "{"x" * 49}…", "hash": "sha256:01234567…89abcdef"}}',
        ),
        (["x" * 110, "y", "z", "a"], f"[4 items: {'x' * 49}…, y, z and 1 more]"),
        ([[1.25, 2.5]] * 20, "[20 items]"),
    ],
)
def test_a_value_that_came_or_went_is_outlined(value: Any, said: str) -> None:
    assert outlined(value) == said


def test_the_last_members_of_a_very_large_object_are_named() -> None:
    said = outlined({f"m{number}": "x" * 60 for number in range(20)})
    assert said.endswith('…", and 13 more: m7, m8, m9 and 10 more}')
    assert len(outlined({"k" * 10_000: ["x" * 10_000] * 3})) < 500
