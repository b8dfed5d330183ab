"""Texts of the core that remember their form and values."""

from __future__ import annotations

import pickle

import pytest

from metastore.phrase import Phrase, both, counted, either, joined, neither


def test_a_phrase_is_its_english_text() -> None:
    phrase = Phrase("%(where)s has no %(name)s", where=Phrase("the descriptor"), name="title")
    assert phrase == "the descriptor has no title"
    assert {phrase: 1}["the descriptor has no title"] == 1
    assert (phrase.form, phrase.values["where"].form) == ("%(where)s has no %(name)s", "the descriptor")


@pytest.mark.parametrize(("number", "text"), [(0, "0 fields"), (1, "1 field"), (2, "2 fields")])
def test_a_count_chooses_its_form(number: int, text: str) -> None:
    assert counted("%(number)s field", "%(number)s fields", number) == text


def test_a_phrase_survives_pickling() -> None:
    for phrase in (Phrase("a %(b)s", b=Phrase("c")), counted("%(number)s field", "%(number)s fields", 2)):
        again = pickle.loads(pickle.dumps(phrase))
        assert (again, again.form, again.many, again.values) == (phrase, phrase.form, phrase.many, phrase.values)


def test_lists_are_put_in_words() -> None:
    assert joined("; ", ["a", "b"]) == "a; b"
    assert [both(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [either(names) for names in (["a"], ["a", "b", "c"])] == ["a", "a or b or c"]
    assert neither(["a", "b"]) == "a nor b"
