"""Two texts beside each other: what changed is seen, however long they are, and no text takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metastore.excerpts import contrast
from metastore.looks import only
from metastore.types import Difference

SENTENCE = "The table lists the places where water is measured, with the unit and the method. "


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            SENTENCE * 6 + "Measured until 2019.",
            SENTENCE * 6 + "Measured until 2020.",
            "d changed: '… method. Measured until 2019.' → '… method. Measured until 2020.'",
        ),
        (
            "First. " + SENTENCE * 3 + "Last.",
            "Fist. " + SENTENCE * 3 + "Least.",
            "d changed in 2 places: 'First. The table lists …' → 'Fist. The table lists …'; "
            "'… and the method. Last.' → '… and the method. Least.'",
        ),
        ("two  spaces", "two spaces", "d changed: 'two··spaces' → 'two·spaces' (only white space)"),
        ("a\u00a0b", "a b", "d changed: 'a⍽b' → 'a·b' (only white space)"),
        ("Cafe\u0301", "Caf\u00e9", "d changed: 'Cafe\\u0301' → 'Café' (only Unicode form)"),
        ("zero\u200bwidth", "zerowidth", "d changed: 'zero\\u200bwidth' → 'zerowidth' (only invisible characters)"),
        ("A", "B", "d changed: 'A' → 'B'"),
        ({"a": 1}, {"a": 2}, 'd changed: {"a": 1} → {"a": 2}'),
        (True, None, "d changed: true → null"),
        ("True", True, "d changed: 'True' → true"),
        ([None, False, 'a"b\u202e'], [], r'd changed: [null, false, "a\"b\u202e"] → []'),
        ({}, [{}], "d changed: {} → [{}]"),
    ],
)
def test_a_change_is_seen(old: object, new: object, said: str) -> None:
    assert str(Difference("changed", "d", old, new)) == said


@given(st.text("ab .\n", max_size=60), st.text("ab .\n", max_size=60))
def test_excerpts_are_parts_of_both_texts_and_differ(old: str, new: str) -> None:
    excerpts, more = contrast(old, new, most=3)
    assert bool(excerpts) == (old != new)
    assert more >= 0
    for each in excerpts:
        assert each.old != each.new
        if not only(old, new):
            assert (each.before + each.old + each.after).strip("…") in old
            assert each.old + each.after.rstrip("…") in old
            assert each.new in new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a " * 500_000, "b " * 500_000),
        ("".join(f"word{n} " for n in range(100_000)), "".join(f"word{n}x " for n in range(100_000))),
        ("x" * 1_000_000, "y" + "x" * 999_999),
        ("a b c. " * 50_000 + "a", "b a c. " * 50_000 + "b"),
        tuple("".join(f"{n % 7} {n * step % 5} . Same. " for n in range(2_000)) for step in (2, 3)),
    ],
)
def test_long_texts_are_compared_in_bounded_time_and_told_in_few_words(old: str, new: str) -> None:
    start = time.process_time()
    said = str(Difference("changed", "d", old, new))
    assert time.process_time() - start < 5
    assert len(said) < 5_000


def test_a_change_in_the_middle_of_a_long_text_is_found_with_the_words_around_it() -> None:
    words = " ".join(f"w{n}" for n in range(200_000))
    old = f"{words} the sea is blue today {words}"
    for new in (f"{words} the sea is deep blue today {words}", f"{words} the sky is blue today {words}"):
        (excerpt,), more = contrast(old, new)
        assert more == 0
        assert excerpt.before.startswith("…")
        assert excerpt.after.endswith("…")
        assert excerpt.new.strip() in ("deep", "sky")
        assert "the" in excerpt.before


def test_of_two_long_texts_a_bounded_part_is_compared() -> None:
    words = [f"w{n % 9_973}" for n in range(300_000)]
    excerpts, _ = contrast(" ".join(words), " ".join(reversed(words)))
    assert 0 < len(excerpts) <= 5
    assert sum(len(excerpt.old) + len(excerpt.new) for excerpt in excerpts) < 10_000
    assert contrast("a" * 1_000_000, "a" * 1_000_001)[0][0].new == "a"
    assert contrast("a" * 1_000_000, "b" * 1_000_000)[0][0].new.startswith("b")
