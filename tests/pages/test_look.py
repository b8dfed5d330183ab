"""The common parts of all pages: the menu, times, badges and icons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import metastore
from metastore import bundle
from metastore.pages import formatting
from metastore.pages.formatting import ago
from metastore.web import create_app

from .conftest import GROUPS
from .reader import Reader

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def reader() -> Reader:
    store = metastore.connect("memory:", author="Ann Lee <ann@example.org>", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt"}, at="2026-01-05T10:30:00Z")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    registry.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA"}, user="ann")
    return Reader(create_app(store, bundles=registry))


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=-30), "just now"),  # of a clock that is ahead
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=119), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=30), "2 May 2026"),
        (timedelta(days=-2), "3 Jun 2026"),
    ],
)
def test_a_time_says_how_long_ago_it_is_and_an_old_one_the_date(passed: timedelta, words: str) -> None:
    assert ago(NOW - passed, NOW) == words


def test_the_exact_time_is_on_hover_and_for_programs(reader: Reader) -> None:
    time = reader.opens("/datasets/ocean/salt").soup.select_one(".byline time")
    assert time is not None
    assert (time.text, time["title"], time["datetime"]) == (
        "5 Jan 2026",
        "2026-01-05 10:30 UTC",
        "2026-01-05T10:30:00Z",
    )


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("/datasets", ("Datasets", "page")),
        ("/datasets/ocean/salt/history", ("Datasets", "true")),
        ("/bundles", ("Bundles", "page")),
        ("/bundles/NuMI/log", ("Bundles", "true")),
        ("/changes", ("Changes", "page")),
        ("/log", ("Changes", "true")),
    ],
)
def test_the_menu_marks_where_the_reader_is(reader: Reader, path: str, item: tuple[str, str]) -> None:
    marked = reader.opens(path).soup.select("header nav ul:first-child a[aria-current]")
    assert [(each.text, each["aria-current"]) for each in marked] == [item]


def test_a_service_without_bundles_does_not_lead_to_any() -> None:
    reader = Reader(create_app(metastore.connect("memory:", author="Ann")))
    assert reader.opens("/").texts("header nav ul:first-child a") == ["MetaStore", "Datasets", "Changes"]


def test_what_removes_is_marked(reader: Reader) -> None:
    assert reader.opens("/datasets/ocean/salt/delete").texts("main button.danger") == ["Delete"]


def test_icons_say_nothing_to_screen_readers(reader: Reader) -> None:
    icons = reader.opens("/datasets/ocean/salt").soup.select("svg.icon")
    assert icons
    assert all(icon["aria-hidden"] == "true" and not icon.text.strip() for icon in icons)


def test_a_time_that_a_descriptor_states_reads_like_other_times() -> None:
    assert formatting.stated("2020-03-01T10:20:30+02:00").striptags() == "1 Mar 2020"
    assert 'title="2020-03-01 08:20 UTC"' in formatting.stated("2020-03-01T10:20:30+02:00")
    for text in ("2020-03-01", "Text", "Tuesday", "<b>"):
        assert formatting.stated(text).unescape() == text
