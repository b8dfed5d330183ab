"""When each resource of a dataset was changed last, by whom and why."""

from __future__ import annotations

from importlib import import_module

import pytest

import metastore
from metastore import Store

from .reader import Reader, reader_of

DATES = import_module("metastore.pages.resource_dates")
NAMES = ("airports", "cars", "movies", "seattle", "stocks")


@pytest.fixture
def store() -> Store:
    store = metastore.connect("memory:", author="Ann Lee <ann@example.org>", validation="off")
    tables = [{"name": name, "path": f"{name}.csv"} for name in NAMES]
    store.dataset_create("vega/all", {"resources": tables}, at="2026-01-01T00:00:00Z", message="Import")
    tables[1] |= {"title": "Cars"}
    patch = {"author": "Bo Ek <bo@example.org>", "at": "2026-02-01T00:00:00Z", "message": "Give it a title"}
    store.dataset_patch("vega/all", {"resources": tables}, **patch)
    tables[3] |= {"name": "weather"}
    store.dataset_patch("vega/all", {"resources": tables[::-1]}, at="2026-03-01T00:00:00Z", message="Rename one")
    store.dataset_patch("vega/all", {"title": "All"}, at="2026-04-01T00:00:00Z", message="Entitle it")
    return store


def changes(reader: Reader) -> dict[str, str]:
    """Return name -> the line about the last change, of each resource in the order of the page."""
    cards = reader.soup.select(".resource")
    return {card.h3.text: " ".join(card.select_one(".byline").get_text().split()) for card in cards if card.h3}  # type: ignore[union-attr]


def test_a_card_says_when_its_resource_changed_last_who_did_it_and_why(store: Store) -> None:
    shown = changes(reader_of(store).opens("/datasets/vega/all"))
    assert list(shown) == ["stocks", "weather", "movies", "cars: Cars", "airports"]
    assert shown["cars: Cars"] == "Changed 1 Feb 2026 by Bo Ek: Give it a title History"
    assert shown["weather"] == "Changed 1 Mar 2026 by Ann Lee: Rename one History"
    assert shown["stocks"] == "Changed 1 Jan 2026 by Ann Lee: Import History"  # moving in the list is no change


def test_a_resource_alone_says_it_too_also_in_the_past(store: Store) -> None:
    reader = reader_of(store)
    assert "Changed 1 Feb 2026 by Bo Ek" in reader.opens("/datasets/vega/all?resource=3").text(".resource")
    assert "Changed 1 Jan 2026 by Ann Lee" in reader.opens("/datasets/vega/all?resource=1&revision=HEAD~3").text(
        ".resource"
    )


def test_resources_are_sorted_by_their_last_change(store: Store) -> None:
    reader = reader_of(store).opens("/datasets/vega/all")
    reader.sends("Sort", order="changed")
    assert list(changes(reader)) == ["weather", "cars: Cars", "stocks", "movies", "airports"]
    reader.sends("Sort", order="name")
    assert list(changes(reader)) == ["airports", "cars: Cars", "movies", "stocks", "weather"]


def test_what_is_too_far_back_is_not_said(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(DATES, "_MOST", 1)
    monkeypatch.setattr(DATES, "_remembered", {})
    shown = changes(reader_of(store).opens("/datasets/vega/all"))
    assert not any("Changed" in line for line in shown.values())


def test_the_next_revision_is_compared_only_with_the_one_before(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(DATES, "_remembered", {})
    reader = reader_of(store)
    reader.opens("/datasets/vega/all")
    store.dataset_patch("vega/all", {"title": "Everything"}, message="Once more")
    read = []
    original = DATES._resources_at
    monkeypatch.setattr(DATES, "_resources_at", lambda *of: read.append(of) or original(*of))
    assert changes(reader.opens("/datasets/vega/all"))["cars: Cars"].startswith("Changed 1 Feb 2026 by Bo Ek")
    assert len(read) == 1
