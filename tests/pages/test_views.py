"""A list as it is filtered and ordered is an address, which the page offers to copy; and the totals of lists."""

from __future__ import annotations

from importlib import import_module

import pytest

import metastore
from metastore import bundle
from metastore.web import create_app

from .conftest import GROUPS
from .reader import Reader


@pytest.fixture
def reader() -> Reader:
    store = metastore.connect("memory:", author="Ann", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt", "licenses": [{"name": "CC0-1.0"}]})
    store.dataset_create("ocean/ice", {"title": "Ice"})
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for number in range(60):
        made = {
            "name": f"B{number:02}",
            "event": "e,1",
            "ifb_group": "NOvA" if number else "MINOS",
            "devices": ["E:ONE"],
        }
        registry.bundle_create(made, user="carol", comment="Import")
    return Reader(create_app(store, bundles=registry))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/datasets?licence=CC0-1.0", ".card h3, .card h2"),
        ("/bundles?group=MINOS&order=devices", ".rows tbody th"),
        ("/bundles?group=MINOS&columns=event&columns=devices", ".rows tbody th"),
        ("/log?name=B07", ".rows tbody th"),
        ("/datasets/ocean/salt/history?author=Ann", ".timeline li"),
    ],
)
def test_a_filtered_list_has_a_link_to_itself(reader: Reader, path: str, shown: str) -> None:
    reader.opens(f"{path}&lang=de&text=" if path.startswith("/bundles") else f"{path}&lang=de")
    link, before = str(reader.soup.select("#view")[0]["value"]), reader.texts(shown)
    assert link == f"http://localhost{path}"
    assert len(before) == 1
    assert len(reader.opens(link).texts(shown)) == 1
    assert not reader.opens(path.partition("?")[0]).soup.select("#view"), "a list without a filter needs no link"


def test_the_list_of_bundles_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> None:
    assert reader.opens("/bundles").text("main .total strong") == "60 bundles"
    assert reader.follows("More bundles").text("main .total strong") == "60 bundles"
    assert reader.opens("/bundles?group=MINOS").text("main .total strong") == "1 bundle"
    monkeypatch.setattr(import_module("metastore.pages.bundles"), "_COUNTED", 55)
    assert reader.opens("/bundles").text("main .total strong") == "More than 55 bundles"


def test_the_columns_of_the_list_of_bundles_are_chosen_and_kept(reader: Reader) -> None:
    reader.opens("/bundles?columns=devices&columns=event&columns=secret")
    assert reader.texts(".rows thead th") == ["Name ↑", "Event", "Devices"]
    assert reader.texts(".rows tbody tr:first-child > *") == ["B00", "e,1", "1"]
    assert reader.follows("Devices").texts(".rows thead th") == ["Name", "Event", "Devices ↑"]
    assert reader.opens("/bundles?columns=event").follows("More bundles").texts(".rows thead th") == ["Name ↑", "Event"]
    assert reader.sends("Filter", group="NOvA").texts(".rows thead th") == ["Name ↑", "Event"]
    assert len(reader.opens("/bundles?columns=secret").texts(".rows thead th")) == 9
