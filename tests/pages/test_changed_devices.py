"""Which devices a change of a bundle added and removed, in the record and in the list of changes."""

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
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    many = [f"E:D{number:04}" for number in range(1200)]
    registry.bundle_create({"name": "A9", "event": "e,a9", "ifb_group": "NOvA", "devices": many}, user="ann")
    registry.bundle_update("A9", {"remove_devices": ["E:D0007"]}, user="ann", comment="Broken")
    changes = {"remove_devices": many[10:12], "add_devices": ["E:N1", "E:N2", "E:N3", "E:N4"], "hosts": ["acq"]}
    registry.bundle_update("A9", changes, user="ann")
    registry.bundle_update("A9", {"udp": True}, user="ann")
    return Reader(create_app(metastore.connect("memory:", author="Ann"), bundles=registry))


CHANGES = [
    "UDP messages",
    "removed E:D0010, E:D0011, added E:N1, E:N2, E:N3 and 1 more, hosts",
    "removed E:D0007",
    "added E:D0000, E:D0001, E:D0002 and 1,197 more, event, group",
]


@pytest.mark.parametrize("path", ["/bundles/A9/log", "/bundles/A9", "/log"])
def test_a_record_names_up_to_three_devices_on_each_side(reader: Reader, path: str) -> None:
    rows = reader.opens(path).soup.select("table.rows tbody tr")
    shown = [" ".join(row.select("td")[-2].get_text().split()) for row in rows]
    assert shown[:3] == CHANGES[:3]
    assert shown[3].startswith("added E:D0000, E:D0001, E:D0002 and 1,197 more")


def test_the_list_of_changes_names_them_too(reader: Reader) -> None:
    assert "removed E:D0007" in reader.opens("/changes").text()


def test_lines_behind_many_devices_keep_their_numbers(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> None:
    module = import_module("metastore.pages.changed_devices")
    monkeypatch.setattr(module, "_MOST_READ", 1_000)
    monkeypatch.setattr(module, "_remembered", {})
    rows = reader.opens("/bundles/A9/log").soup.select("table.rows tbody tr")
    shown = [" ".join(row.select("td")[-2].get_text().split()) for row in rows]
    assert shown[1:3] == [CHANGES[1], "−1 device"]
