"""Lists of devices as people paste them."""

from __future__ import annotations

import json

import pytest

from metastore.pages.devices import read

from .conftest import BUNDLES


@pytest.mark.parametrize(
    "text",
    [
        "E:TOR860\nE:TOR861",
        "E:TOR860\tE:TOR861",
        "E:TOR860, E:TOR861",
        "E:TOR860;E:TOR861;",
        '"E:TOR860"\r\n"E:TOR861"\r\n\r\n',
        " E:TOR860\u00a0E:TOR861 \n",
        "“E:TOR860”,'E:TOR861'",
    ],
)
def test_a_pasted_list_is_understood_however_it_is_written(text: str) -> None:
    found = read(text)
    assert found.devices == ("E:TOR860", "E:TOR861")
    assert (found.doubles, found.headings, found.unusual, found.refused) == ((), (), (), ())


def test_what_is_odd_about_a_list_is_pointed_out_and_kept() -> None:
    found = read("Device\tUnits\nE:TOR860\nodd!\nE:TOR860\nE:TOR860\nx\n<script>")
    assert found.devices == ("Device", "Units", "E:TOR860", "odd!", "x", "<script>")
    assert found.headings == ("Device", "Units")
    assert found.doubles == ("E:TOR860",)
    assert found.unusual == ("odd!",)
    assert found.refused == ((6, "x"), (7, "<script>"))


def test_every_real_device_reads_back() -> None:
    for bundle in json.loads(BUNDLES.read_text())["bundles"]:
        devices = bundle.get("devices", [])
        found = read("\n".join(devices))
        assert (found.devices, found.unusual, found.headings) == (tuple(devices), (), ())
