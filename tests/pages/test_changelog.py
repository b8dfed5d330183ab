"""The change log covers datasets and bundles, and shows only what the reader may know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import metastore
from metastore import Store, bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.config import ServiceSettings
from metastore.web import create_app

from .conftest import GROUPS, SECRET
from .reader import Reader

LINES = "main ul.log > li"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with metastore.connect(tmp_path, author="Ann Lee <ann@example.org>", validation="off", sync=False) as store:
        store.dataset_create("ocean/salt", {"title": "Salt"}, at="2026-01-01T00:00:00Z", message="Import")
        store.dataset_create("ocean/old", {"title": "Waves"}, at="2026-01-02T00:00:00Z", message="Import")
        store.dataset_patch("ocean/salt", {"title": "Salinity"}, at="2026-01-03T00:00:00Z", message="Retitle")
        store.dataset_move("ocean/old", "coast/waves", at="2026-01-04T00:00:00Z", message="To the coast")
        store.dataset_delete("ocean/salt", at="2026-01-05T00:00:00Z", message="No longer needed")
        yield store


def reader_of(store: Store, **settings: bool) -> Reader:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    registry.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA"}, user="ann", comment="First")
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    return Reader(create_app(store, verifier=verifier, bundles=registry, settings=ServiceSettings(**settings)))


def test_changes_of_datasets_and_bundles_are_in_one_list_newest_first(store: Store) -> None:
    assert reader_of(store).opens("/changes").texts(LINES) == [
        "created NuMI : First ann, just now",
        "deleted ocean/salt : No longer needed Ann Lee, 5 Jan 2026",
        "moved ocean/old to coast/waves: To the coast Ann Lee, 4 Jan 2026",
        "changed ocean/salt : Retitle Ann Lee, 3 Jan 2026",
        "created coast/waves : Import Ann Lee, 2 Jan 2026",
        "created ocean/salt : Import Ann Lee, 1 Jan 2026",
    ]


def test_the_home_page_shows_the_newest_and_a_chart_of_datasets(store: Store) -> None:
    reader = reader_of(store).opens("/")
    assert reader.texts("aside ul.log > li")[0] == "created NuMI : First ann, just now"
    chart = reader.soup.select_one("aside svg.activity")
    assert chart is not None
    assert chart["aria-label"] == "1 dataset from 2025-02 to 2026-01, at most 1 in a month"


def test_a_change_leads_to_what_it_changed(store: Store) -> None:
    reader = reader_of(store).opens("/changes").follows("3 Jan 2026")
    assert "title" in reader.text(".differences")


def test_changes_of_datasets_that_the_reader_may_not_read_are_left_out(store: Store) -> None:
    reader = reader_of(store, public_read=False)
    reader.signs_in("bo", "ds:ocean/old:read")
    assert reader.opens("/changes").texts(LINES)[1:] == [
        "moved ocean/old to an id that you may not read Ann Lee, 4 Jan 2026"
    ]


def test_older_changes_are_behind_previous_and_next(store: Store) -> None:
    for number in range(60):
        store.dataset_patch("coast/waves", {"version": str(number)}, at="2026-02-01T00:00:00Z", message=f"V{number}")
    reader = reader_of(store).opens("/changes")
    assert "1 to 50" in reader.text("nav.pager")
    seen = reader.texts(LINES)
    older = reader.follows("Older").texts(LINES)
    assert older[-1] == "created ocean/salt : Import Ann Lee, 1 Jan 2026"
    assert (len(seen), len(older), len({*seen, *older})) == (50, 16, 66)
    assert reader.texts("[rel=next]") == []
    assert reader.follows("Newer").texts(LINES) == seen
    assert reader.opens("/changes?start=9999999").status == 200
