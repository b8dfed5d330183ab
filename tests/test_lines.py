"""Two texts line by line: JSON on one line is indented first, so that its members are lines."""

from __future__ import annotations

import pytest

from metastore.descriptor.lines import compare_lines

OLD = '{"name":"cars","title":"Cars","n":1.10}'


@pytest.mark.parametrize(
    "new", ['{"n":1.10,"title":"Autos","name":"cars"}', '{\n  "name": "cars",\n  "title": "Autos",\n  "n": 1.10\n}\n']
)
def test_json_on_one_line_is_indented_and_sorted_first(new: str) -> None:
    compared = compare_lines(OLD, new, "a", "b")
    assert [line for line in compared.lines if line[0] in "+-"] == [
        "--- a",
        "+++ b",
        '-  "title": "Cars"',
        '+  "title": "Autos"',
    ]
    assert "indented and sorted" in compared.note


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("not JSON", OLD, ["-not JSON", f"+{OLD}"]),
        ('{\n"a": 1\n}', '{\n"a": 2\n}\n', ['-"a": 1', '+"a": 2']),
        ("", '{\n"a": 2\n}\n', ["+{", '+"a": 2', "+}"]),
        ("a\r\nb\r\n", "a\nb\r\n", ["-a\r", "+a"]),
    ],
)
def test_any_other_text_is_compared_as_it_is(old: str, new: str, said: list[str]) -> None:
    compared = compare_lines(old, new, "a", "b")
    assert [line for line in list(compared.lines)[2:] if line[0] in "+-"] == said
    assert compared.note == ""
