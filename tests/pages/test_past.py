"""All bundles as of a time: as they were, with those that are deleted now and without those that came later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import metastore
from metastore import bundle
from metastore.bundle import BundleRegistry
from metastore.web import create_app

from .conftest import GROUPS
from .reader import Reader

ROWS = "tbody tr"


@pytest.fixture
def registry() -> BundleRegistry:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for name in ("Kept", "Later_changed", "Later_deleted"):
        registry.bundle_create({"name": name, "event": "e,a9", "ifb_group": "NOvA"}, user="ann", comment="First")
    return registry


def reader_of(registry: BundleRegistry) -> Reader:
    return Reader(create_app(metastore.connect("memory:", author="Setup"), bundles=registry))


def test_the_registry_is_shown_as_it_was_with_what_happened_since(registry: BundleRegistry) -> None:
    made = registry.bundle_read("Later_deleted").updated
    assert made is not None
    registry.bundle_update("Later_changed", {"event": "e,1d"}, user="ann", comment="Turn")
    registry.bundle_delete("Later_deleted", user="ann", comment="Gone")
    registry.bundle_create({"name": "Newer", "event": "e,a9", "ifb_group": "NOvA"}, user="ann", comment="New")
    reader = (
        reader_of(registry).opens("/bundles").follows("All bundles as of a time").sends("Show", at=made.isoformat())
    )
    names, since = reader.texts(f"{ROWS} th"), reader.texts(f"{ROWS} td:last-child")
    assert list(zip(names, since, strict=True)) == [
        ("Kept", "unchanged"),
        ("Later_changed", "changed"),
        ("Later_deleted", "deleted"),
    ]
    assert set(reader.texts(f"{ROWS} code")) == {"e,a9"}
    reader.follows("Later_changed")
    assert (reader.status, "e,a9" in reader.text()) == (200, True)


def test_before_the_first_bundle_there_was_none_and_a_wrong_time_says_what_is_right(registry: BundleRegistry) -> None:
    reader = reader_of(registry)
    assert "There were no bundles then" in reader.opens("/bundles-as-of?at=2001-02-03").text(".empty")
    assert reader.opens("/bundles-as-of?at=yesterday").status == 400
    assert "2026-05-31" in reader.text("[role=alert]")
    assert len(reader.opens(f"/bundles-as-of?at={datetime.now(UTC):%Y-%m-%d}").texts(ROWS)) == 3


def test_bundles_beyond_a_page_are_reached_by_links(registry: BundleRegistry) -> None:
    for number in range(60):
        state = {"name": f"B{number:02}", "event": "e,a9", "ifb_group": "NOvA"}
        registry.bundle_create(state, user="ann", comment="First")
    registry.bundle_delete("B10", user="ann", comment="Gone")
    reader = reader_of(registry).opens("/bundles-as-of?at=2099-01-01")
    seen = reader.texts(f"{ROWS} th")
    seen += reader.follows("More bundles").texts(f"{ROWS} th")
    assert seen[:60] == [*(f"B{number:02}" for number in range(60) if number != 10), "Kept"]
    assert seen[60:] == ["Later_changed", "Later_deleted"]
    assert reader.texts("[rel=next]") == []


def test_one_bundle_is_shown_on_days_that_are_one_click_away() -> None:
    times = [datetime.now(UTC) - timedelta(days=ago) for ago in (20, 3)]
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS), clock=lambda: times.pop(0))
    made = {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA"}
    registry.bundle_create(made, user="ann", comment="First")
    registry.bundle_update("NuMI", {"event": "e,1d"}, user="ann", comment="Turn")
    reader = reader_of(registry).opens("/bundles-as-of?name=NuMI").follows("a week ago")
    assert reader.texts(f"{ROWS} code") == ["e,a9"]
    assert reader.texts(f"{ROWS} td:last-child") == ["changed"]
    assert "e,1d" in Reader(reader.client.application).opens(reader.path).follows("changed").text("ins")
    assert reader.follows("yesterday").texts(f"{ROWS} td:last-child") == ["unchanged"]
    assert "This bundle did not exist then." in reader.follows("30 days ago").text(".empty")
    assert reader.opens("/bundles-as-of?name=Other&at=2026-01-01").status == 404
