"""The history of a dataset on its page: revisions, and between them what left none."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module

import pytest

import metastore
from metastore import Store
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.config import ServiceSettings
from metastore.pages.activity import picture
from metastore.types import DatasetId, RevisionId
from metastore.web import create_app

from .conftest import SECRET
from .reader import Reader, editor_at, reader_of, text_of

LINES = "ol.timeline > li > div"


@pytest.fixture
def store() -> Store:
    store = metastore.connect("memory:", author="Ann Lee <ann@example.org>", validation="off")
    store.dataset_create("ocean/old", {"title": "Salt"}, at="2026-01-01T00:00:00Z", message="Import")
    store.tag_create("ocean/old", "v1", at="2026-01-02T00:00:00Z", description="As published")
    store.dataset_move("ocean/old", "ocean/salt", at="2026-01-03T00:00:00Z", message="A better name")
    store.dataset_patch("ocean/salt", {"title": "Salinity"}, at="2026-01-04T00:00:00Z", message="Retitle")
    return store


def history(store: Store, query: str = "", **settings: bool) -> Reader:
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    reader = Reader(create_app(store, verifier=verifier, settings=ServiceSettings(**settings)))
    if settings:
        reader.signs_in("ann", "ds:ocean/salt:read")
    return reader.opens(f"/datasets/ocean/salt/history{query}")


def lines(reader: Reader) -> list[str]:
    """Return the first words of each line, without who and when."""
    events = [re.sub(r" (Ann Lee|Bo), .*", "", line) for line in reader.texts(LINES)]
    return [f"{badge} {line}".strip() for badge, line in zip(badges(reader), events, strict=True)]


def badges(reader: Reader) -> list[str]:
    return [
        badge.text if (badge := line.select_one(".badge")) else "" for line in reader.soup.select("ol.timeline > li")
    ]


@pytest.mark.parametrize("view", ["", "/history"])
def test_a_link_is_called_by_what_it_shows_and_by_what_it_is_about(store: Store, view: str) -> None:
    store.dataset_patch("ocean/salt", {"resources": [{"name": "stations", "path": "stations.csv"}]})
    links = editor_at(f"/datasets/ocean/salt{view}", store).soup.select("main a[aria-label]")
    assert [link["aria-label"] for link in links if text_of(link) not in link["aria-label"]] == []
    assert len({link["aria-label"] for link in links}) == len(links) > 0


def test_tags_and_moves_stand_between_the_revisions(store: Store) -> None:
    assert lines(history(store)) == [
        "Retitle",
        "moved from ocean/old: A better name",
        "tagged v1 : As published",
        "Import v1",
    ]


def test_of_tags_of_one_second_the_later_name_comes_first(store: Store) -> None:
    for name in ("v2", "v3"):
        store.tag_create("ocean/salt", name, at="2026-01-05T00:00:00Z")
    assert lines(history(store))[:2] == ["tagged v3", "tagged v2"]


def test_a_day_stands_above_all_that_happened_on_it(store: Store) -> None:
    store.dataset_patch("ocean/salt", {"title": "Salt"}, at="2026-01-04T23:59:59Z", message="And back")
    page = history(store)
    assert page.texts("h2.day") == ["4 Jan 2026", "3 Jan 2026", "2 Jan 2026", "1 Jan 2026"]
    assert [len(day.select("li")) for day in page.soup.select("ol.timeline")] == [2, 1, 1, 1]


def test_changes_of_tags_under_any_name_stand_in_the_history(store: Store) -> None:
    store.tag_update("ocean/salt", "v1", new_name="v1.0", message="Three parts", at="2026-01-05T00:00:00Z")
    store.tag_create("ocean/salt", "draft", at="2026-01-06T00:00:00Z")
    store.tag_delete("ocean/salt", "draft", message="Too early", at="2026-01-07T00:00:00Z")
    assert lines(history(store))[:2] == ["deleted tag draft: Too early", "tagged v1.0 : As published"]
    assert "changed tag v1 is now called v1.0: Three parts" in lines(history(store))


def test_a_purge_is_told_and_nothing_from_before_it(store: Store) -> None:
    store.dataset_purge("ocean/salt", force=True, message="Wrong data", at="2026-02-01T00:00:00Z")
    store.dataset_create("ocean/salt", {"title": "Again"}, at="2026-02-02T00:00:00Z", message="Begin again")
    assert lines(history(store)) == [
        "Begin again",
        "purged an earlier dataset of this name, with its history: Wrong data",
    ]


def test_a_line_that_was_copied_says_so_and_hides_nothing(store: Store) -> None:
    (own,) = store.journal()
    other = metastore.connect("memory:", author="Bo <bo@example.org>")
    other.dataset_create("ocean/salt", {}, at="2026-01-01T00:00:00Z")
    other.tag_create("ocean/salt", "v0", at="2026-01-01T00:00:00Z")
    other.tag_delete("ocean/salt", "v0", message="Too early", at="2026-01-05T00:00:00Z")
    other.dataset_purge("ocean/salt", force=True, message="Elsewhere", at="2026-01-06T00:00:00Z")
    lines_there = list(other.journal())[::-1]
    withdrawing = {"id": RevisionId("d" * 40), "action": "withdrawn", "details": {"entry": own.id}}
    before = lines(history(store))
    store.journal_import([*lines_there, replace(lines_there[0], **withdrawing)], author="Cy <cy@example.org>")
    shown = [line for line in lines(history(store)) if line not in before]
    assert [re.sub(r"\d+ \w+ \d{4}", "DAY", line) for line in shown] == [
        "purged an earlier dataset of this name, with its history (copied here by Cy, DAY): Elsewhere",
        "deleted tag v0 (copied here by Cy, DAY): Too early",
    ]
    assert [line for line in lines(history(store)) if line in before] == before


def test_a_line_that_somebody_made_up_hides_no_copied_line(store: Store) -> None:
    other = metastore.connect("memory:", author="Bo <bo@example.org>")
    other.dataset_create("ocean/salt", {}, at="2026-01-01T00:00:00Z")
    other.dataset_purge("ocean/salt", force=True, message="Elsewhere", at="2026-01-06T00:00:00Z")
    (true,) = other.journal()
    gone = replace(true, id=RevisionId("d" * 40), action="withdrawn", details={"entry": true.id})
    elsewhere = replace(gone, dataset_id=DatasetId("eve", "own"))
    forged = replace(true, message="Made up")
    for who, entry in (("Eve", forged), ("Cy", true), ("Eve", gone), ("Cy", elsewhere)):
        store.journal_import([entry], author=f"{who} <x@example.org>")
    shown = [re.sub(r"\d+ \w+ \d{4}", "DAY", line) for line in lines(history(store)) if "copied" in line]
    said = "purged an earlier dataset of this name, with its history (copied here by Cy, DAY"
    assert shown == [f"{said}; contradicts an earlier copy): Elsewhere"]
    store.journal_import([replace(gone, id=RevisionId("e" * 40))], author="Cy <x@example.org>")
    assert not any("copied" in line for line in lines(history(store)))


def test_a_history_says_where_the_events_are_that_it_leaves_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "metastore journal ocean/salt" not in history(store).text()
    monkeypatch.setattr("metastore.pages.events._LINES", 0)
    assert "metastore journal ocean/salt" in history(store).text()
    monkeypatch.setattr("metastore.pages.events._LINES", 1)
    assert "metastore journal ocean/salt" not in history(store).text()
    monkeypatch.setattr("metastore.pages.events._TAGS", 0)
    assert "metastore tag list ocean/salt" in history(store).text()


def test_a_dataset_that_moved_away_from_the_name_is_not_told_of(store: Store) -> None:
    store.dataset_move("ocean/salt", "ocean/far", at="2026-02-01T00:00:00Z")
    store.dataset_create("ocean/salt", {"title": "Another"}, at="2026-02-02T00:00:00Z", message="Another one")
    assert lines(history(store)) == ["Another one"]


def test_a_former_name_is_hidden_from_those_who_may_not_read_it(store: Store) -> None:
    page = history(store, public_read=False)
    assert "moved from an id that you may not read" in lines(page)
    assert "ocean/old" not in page.text()


def test_each_event_stands_on_one_page_of_the_history(store: Store) -> None:
    for number in range(60):  # a page has 50
        store.dataset_patch("ocean/salt", {"version": str(number)}, at=f"2026-03-01T00:{number:02}:00Z", message="Turn")
        store.tag_create("ocean/salt", f"t{number}", at=f"2026-03-01T00:{number:02}:30Z")
    first = history(store)
    second = history(store, f"?revision={revision_of(first)}")
    tagged = [line.split()[1] for page in (first, second) for line in lines(page) if line.startswith("tagged ")]
    assert tagged == [f"t{number}" for number in reversed(range(60))] + ["v1"]


def revision_of(page: Reader) -> RevisionId:
    link = page.soup.select_one("a[rel=next]")
    assert link is not None
    return RevisionId(str(link["href"]).partition("revision=")[2])


def test_the_chart_has_axes_with_dates(store: Store) -> None:
    chart = picture(revision.created for revision in store.revision_list("ocean/salt"))
    assert 'aria-label="2 revisions from 2025-02 to 2026-01, at most 2 in a month"' in chart
    assert re.findall(r">([\d-]+)</text>", chart) == ["2", "2025-02", "2026-01"]


def test_the_headings_of_a_part_name_it_in_words() -> None:
    store = metastore.connect("memory:", author="Ann", validation="off")
    fields = [{"name": "lat", "type": "number"}]
    resource = {"name": "stations", "path": "s.csv", "title": "Stations", "schema": {"fields": fields}}
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": [resource]})
    reader = reader_of(store)
    for path, words in (
        ("/title", "the title"),
        ("/resources/0", "resource 'stations'"),
        ("/resources/0/title", "the title of resource 'stations'"),
        ("/resources/stations/schema/fields/lat/type", "the type of field 'lat' of resource 'stations'"),
        ("/resources/7", "/resources/7"),
        ("/gone", "/gone"),
    ):
        assert reader.opens(f"/datasets/ocean/salt/history?path={path}").text("h1") == f"History of {words}"
    reader.opens("/datasets/ocean/salt/blame?path=/resources/0/title")
    assert reader.text("h1") == "Where the title of resource 'stations' comes from"
    reader.opens("/datasets/ocean/salt/blame?path=/resources/0")
    assert reader.text("h1") == "Where each value of resource 'stations' comes from"


@pytest.fixture
def filtered() -> Reader:
    """Return somebody in front of a history of two authors, of which one changed a resource."""
    store = metastore.connect("memory:", author="Ann Lee <ann@example.org>", validation="off")
    table = {"name": "stations", "path": "s.csv"}
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": [table]}, at="2026-01-01T10:00:00Z")
    more = {"at": "2026-02-01T23:59:59Z", "author": "Bo <bo@example.org>", "message": "Name the file"}
    store.dataset_patch("ocean/salt", {"resources": [table | {"title": "Stations"}]}, **more)
    store.tag_create("ocean/salt", "v1", at="2026-02-02T00:00:00Z")
    store.dataset_patch("ocean/salt", {"title": "Salinity"}, at="2026-03-01T10:00:00Z", message="Retitle")
    return reader_of(store).opens("/datasets/ocean/salt/history")


def found(reader: Reader) -> tuple[list[str], str]:
    return lines(reader), reader.text("main [role=status]")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ({"author": "Bo"}, ["Name the file"]),
        ({"author": "Ann Lee"}, ["Retitle", "Create dataset"]),
        ({"since": "2026-02-01", "until": "2026-02-01"}, ["Name the file v1"]),
        ({"grep": "TITLE"}, ["Retitle"]),
        ({"path": "/resources/0"}, ["Name the file v1", "Create dataset"]),
        ({"path": "/title", "author": "Ann Lee", "since": "2026-02-01"}, ["Retitle"]),
        ({"author": "Bo", "grep": "Retitle"}, []),
    ],
)
def test_a_history_is_filtered_by_its_address_and_says_how_many_match(
    filtered: Reader, typed: dict[str, str], shown: list[str]
) -> None:
    assert found(filtered)[1] == "3 revisions"
    filtered.sends("Filter", **typed)
    assert all(f"{key}=" in filtered.path for key in typed)
    assert [line.removesuffix(" v1") for line in found(filtered)[0]] == [each.removesuffix(" v1") for each in shown]
    assert found(filtered)[1] == f"{len(shown)} of 3 revisions"
    assert {key: filtered.value(key) for key in typed} == typed
    assert found(filtered.follows("Show all"))[1] == "3 revisions"


def test_the_filter_offers_authors_with_their_numbers_and_the_parts_in_words(filtered: Reader) -> None:
    assert filtered.texts("select[name=author] option") == ["Anyone", "Ann Lee (2)", "Bo (1)"]
    parts = filtered.texts("select[name=path] option")
    assert parts == ["The whole dataset", "the title", "resource 'stations'"]


def test_a_filter_with_nothing_to_find_says_so(filtered: Reader) -> None:
    assert "No revision matches." in filtered.opens(f"{filtered.path}?author=Cy").text()
    assert filtered.texts("select[name=author] option[selected]") == ["Cy (0)"]
    filtered.opens("/datasets/ocean/salt/history?since=yesterday")
    assert (filtered.status, "a day is written as 2024-05-31" in filtered.text().lower()) == (400, True)


def test_the_pages_of_a_filter_keep_it(monkeypatch: pytest.MonkeyPatch, filtered: Reader) -> None:
    monkeypatch.setattr(import_module("metastore.pages.history"), "_ROWS", 1)
    filtered.opens("/datasets/ocean/salt/history?author=Ann+Lee&changes=true")
    assert found(filtered)[1] == "2 of 3 revisions"
    assert "title changed" in filtered.text(LINES)
    filtered.follows("Older revisions")
    assert "author=Ann+Lee" in filtered.path
    assert "changes=true" in filtered.path
    assert [line.split()[0] for line in lines(filtered)] == ["Create"]


def test_a_filter_that_finds_little_stops_and_goes_on_on_the_next_page(
    monkeypatch: pytest.MonkeyPatch, filtered: Reader
) -> None:
    monkeypatch.setattr(import_module("metastore.pages.history"), "_LOOKED_AT", 1)
    filtered.opens("/datasets/ocean/salt/history?author=Bo")
    assert "Older revisions have not been searched yet." in filtered.text()
    assert lines(filtered.follows("Older revisions"))[0].startswith("Name the file")
