"""Two revisions side by side, line by line."""

from __future__ import annotations

import metastore
from metastore.descriptor.lines import unified
from metastore.pages.side_by_side import Row, Side, rows_of

from .conftest import Person, Site, needs_browser
from .reader import Reader, reader_of

COMPARE = "/datasets/ocean/salt/compare"


def rows(before: str, after: str) -> list[Row]:
    return list(rows_of(unified(before.split("\n"), after.split("\n"), "old", "new")))


def test_what_differs_in_two_lines_is_marked() -> None:
    assert rows('same\n"type": "string"', 'same\n"type": "number"') == [
        Row(),
        Row(Side(1, "same"), Side(1, "same"), is_same=True),
        Row(Side(2, '"type": "', "string", '"'), Side(2, '"type": "', "number", '"')),
    ]


def test_lines_that_have_little_in_common_differ_as_a_whole() -> None:
    assert rows("salt of the sea", "a quite other text")[1:] == [
        Row(Side(1, "salt of the sea"), Side(1, "a quite other text"))
    ]


def test_a_line_without_another_has_nothing_beside_it() -> None:
    assert rows("a\nc", "a\nb\nc")[2] == Row(None, Side(2, "b"))
    assert rows("a\nb\nc", "a\nc")[2] == Row(Side(2, "b"), None)


def test_each_side_keeps_its_own_numbers_across_places() -> None:
    before = [str(number) for number in range(40)]
    after = ["first", *before[:30], "between", *before[30:]]
    shown = list(rows_of(unified(before, after, "old", "new")))
    assert [row for row in shown if row == Row()] == [Row(), Row()]
    assert Row(None, Side(1, "first")) in shown
    assert Row(Side(31, "30"), Side(33, "30"), is_same=True) in shown


def salty() -> Reader:
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt", "description": "<b>old</b> words, and more of them"})
    store.dataset_patch("ocean/salt", {"description": "<b>new</b> words, and more of them"})
    return reader_of(store)


def test_one_column_or_two_is_a_link_that_the_other_links_keep() -> None:
    reader = salty().opens(f"{COMPARE}?from=HEAD~1&view=text")
    assert reader.text(".layouts [aria-current]") == "One column"
    assert reader.soup.select_one("pre.unified")
    reader.follows("Side by side")
    assert reader.texts(".beside .was, .beside .is") == [
        '"description": "<b> old </b> words, and more of them"',
        '"description": "<b> new </b> words, and more of them"',
    ]
    assert reader.texts(".beside del, .beside ins") == ["old", "new"]
    assert reader.follows("Swap").texts(".beside del, .beside ins") == ["new", "old"]
    assert reader.sends("Compare").texts(".beside del, .beside ins") == ["new", "old"]
    assert reader.follows("One column").soup.select_one("pre.unified")


def test_a_long_value_in_full_has_its_two_sides_beside_each_other() -> None:
    reader = salty().opens(f"{COMPARE}?from=HEAD~1&only=0")
    assert not reader.soup.select_one("main .grid h3")
    assert reader.follows("Side by side").texts("main .grid h3") == ["Before", "After"]


@needs_browser
def test_on_a_phone_the_two_sides_are_one_column(person: Person, site: Site) -> None:
    site.store.dataset_patch("okfn/compression", {"title": "Compressed"})
    page = person.goes_to("/datasets/okfn/compression/compare?from=HEAD~1&view=text&columns=2")
    was, now = page.locator(".beside .was").first, page.locator(".beside .is").first

    def corners() -> list[dict[str, float]]:
        return [part.evaluate("part => part.getBoundingClientRect().toJSON()") for part in (was, now)]

    left, right = corners()
    assert left["right"] < right["left"]
    page.set_viewport_size({"width": 390, "height": 900})
    above, below = corners()
    assert above["left"] == below["left"]
    assert person.violations() == []
