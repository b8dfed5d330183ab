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
    found = read("Device\nUnits\nE:TOR860\nodd!\nE:TOR860\nE:TOR860\nx\n<script>")
    assert found.devices == ("Device", "Units", "E:TOR860", "odd!", "x", "<script>")
    assert found.headings == ("Device", "Units")
    assert found.doubles == ("E:TOR860",)
    assert found.unusual == ("odd!",)
    assert found.refused == ((7, "x"), (8, "<script>"))


def test_every_real_device_reads_back() -> None:
    for bundle in json.loads(BUNDLES.read_text())["bundles"]:
        devices = bundle.get("devices", [])
        found = read("\n".join(devices))
        assert (found.devices, found.unusual, found.headings) == (tuple(devices), (), ())


@pytest.mark.parametrize(
    ("text", "devices", "beside"),
    [
        ("Device\tDescription\nE:TOR860\tToroid at 101\nE:TOR861\tToroid", ("Device", "E:TOR860", "E:TOR861"), 3),
        ("E:TOR860,Toroid at 101\nE:TOR861;15", ("E:TOR860", "E:TOR861"), 2),
        ("odd!\tmmol/l\nodd2\t\tmA", ("odd!", "odd2"), 2),
        ("E:TOR860\tE:TOR861\tdip/acc/x:y", ("E:TOR860", "E:TOR861", "dip/acc/x:y"), 0),
        ("odd!, odd2; odd3", ("odd!", "odd2", "odd3"), 0),
        ("\tE:TOR860\tToroid", ("E:TOR860",), 1),
    ],
)
def test_a_pasted_second_column_is_no_list_of_devices_and_is_named(
    text: str, devices: tuple[str, ...], beside: int
) -> None:
    pasted = read(text)
    assert (pasted.devices, len(pasted.beside)) == (devices, beside)
    assert pasted.refused == ()
