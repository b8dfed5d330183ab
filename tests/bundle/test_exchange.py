"""Bundles as JSON and CSV: what was exported is imported, and what fails is named by its line."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from metastore.bundle import BundleRegistry
from metastore.bundle.exchange import ImportLine, read_rows, write_rows
from metastore.bundle.port import Bundle
from metastore.errors import BundleNotFound, InvalidInput, PermissionDenied

from .conftest import REAL, numi


def outcomes(lines: Any) -> list[tuple[int, str]]:
    return [(line.line, line.outcome) for line in lines]


# Import


def test_many_bundles_are_created_updated_and_passed_over(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(), user="ann")
    registry.bundle_create(numi(name="Same"), user="ann")
    rows = [numi(event="e,00"), numi(name="Same"), numi(name="New"), Bundle("Value", "e,1d", "NOvA")]
    lines = registry.bundle_import(rows, user="ann", comment="From the list")
    assert outcomes(lines) == [(1, "updated"), (2, "unchanged"), (3, "created"), (4, "created")]
    assert registry.bundle_read("NuMI").event == "e,00"
    log = registry.bundle_log(limit=3)
    assert [(line.name, line.action, line.comment) for line in log] == [
        ("Value", "import", "From the list"),
        ("New", "import", "From the list"),
        ("NuMI", "import", "From the list"),
    ]
    assert len({line.created for line in log}) == 1


def test_values_that_are_not_named_stay(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(hosts=["h1"]), user="ann")
    registry.bundle_create(numi(name="Other"), user="ann")
    registry.bundle_import([{"name": "NuMI", "udp": True}], user="ann")
    assert registry.bundle_read("NuMI").hosts == ("h1",)
    assert registry.bundle_read("Other").devices


def test_a_row_can_exchange_a_device_and_keep_the_others(registry: BundleRegistry) -> None:
    before = registry.bundle_create(numi(devices=["E:OLD", "E:KEPT"]), user="ann")
    row = {"name": before.name, "remove_devices": ["E:OLD"], "add_devices": ["E:NEW"]}
    assert outcomes(registry.bundle_import([row], user="ann")) == [(1, "updated")]
    assert registry.bundle_read(before.name).devices == {"E:KEPT", "E:NEW"}


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (numi(name="B", event="!"), InvalidInput, "line 2: '!' is not an event"),
        (numi(name="A"), InvalidInput, "line 2: bundle A occurs twice"),
        (numi(name="B", colour="red"), InvalidInput, "line 2: .*colour is not an attribute"),
        (numi(colour="red"), InvalidInput, "line 2: 'colour' is not an attribute"),
        (numi(name="B", add_devices=["E:NEW"]), InvalidInput, "line 2: .*add_devices is not an attribute"),
        ({"name": "NuMI", "remove_devices": ["E:NONE"]}, InvalidInput, "line 2: E:NONE is not among its devices"),
        (numi(ifb_group="MINOS"), InvalidInput, "line 2: the ifb_group of a bundle never changes"),
        (numi(name="B", ifb_group="Minerva"), PermissionDenied, "line 2: ann is not an admin of Minerva"),
        (numi(writable=True), PermissionDenied, "line 2: NuMI is collectable"),
        (numi(name="B", writable=True), PermissionDenied, "line 2: B is collectable"),
        ({"event": "e,1d"}, InvalidInput, "line 2: .*is not a name"),
        ("text", InvalidInput, "line 2: "),
        (None, InvalidInput, "line 2: "),
    ],
)
def test_one_bad_row_and_nothing_is_imported(registry: BundleRegistry, bad: Any, error: type, said: str) -> None:
    registry.bundle_create(numi(), user="ann")
    rows = [numi(name="A"), bad, numi(name="C")]
    with pytest.raises(error, match=said):
        registry.bundle_import(rows, user="ann")
    assert len(registry.bundle_log()) == 1
    tried = registry.bundle_import(rows, user="ann", dry_run=True)
    assert outcomes(tried) == [(1, "created"), (2, "failed"), (3, "created")]
    assert len(registry.bundle_log()) == 1
    done = registry.bundle_import(rows, user="ann", atomic=False)
    assert done == tried
    assert done[1].reason
    assert [each.name for each in registry.bundle_list()] == ["A", "C", "NuMI"]


def test_an_import_again_alters_nothing(registry: BundleRegistry) -> None:
    for _ in range(2):
        lines = registry.bundle_import(REAL, user="ann")
    assert {line.outcome for line in lines} == {"unchanged"}
    assert len(registry.bundle_log(limit=None)) == len(REAL)


def test_an_import_of_nothing_is_one(registry: BundleRegistry) -> None:
    assert list(registry.bundle_import([], user="ann")) == []


def test_a_comment_that_is_refused_is_refused_before_anything_is_written(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput, match="comment"):
        registry.bundle_import([numi(name="A"), numi(name="B")], user="ann", comment="\0", atomic=False)
    assert list(registry.bundle_log()) == []


def test_a_line_of_the_report_reads_as_a_sentence() -> None:
    assert str(ImportLine(3, "NuMI", "created")) == "line 3: NuMI created"
    assert str(ImportLine(3, "NuMI", "failed", "no")) == "line 3: NuMI failed: no"


# Export


@pytest.mark.parametrize("format", ["json", "csv"])
def test_what_was_exported_is_imported(registry: BundleRegistry, format: str) -> None:
    registry.bundle_import(REAL, user="ann")
    registry.bundle_create(
        numi(name="All", storage="long", run=True, udp=True, writable=True, hosts=["b", "a"]), user="ruth"
    )
    odd = ["=cmd|/c!A1", "+1:2", "-abc", "@SUM(1:2)", "Zündung"]
    registry.bundle_create(numi(name="Odd", devices=odd), user="ann")
    before = list(registry.bundle_list())
    text = "".join(registry.bundle_export(format=format))
    for each in before:
        registry.bundle_delete(each.name, user="ruth")
    lines = registry.bundle_import(read_rows(text, format), user="ruth")
    assert {line.outcome for line in lines} == {"created"}
    assert list(registry.bundle_list()) == before
    for content in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        lines = registry.bundle_import(read_rows(content, format), user="ruth")
        assert {line.outcome for line in lines} == {"unchanged"}


def test_json_is_a_list_of_objects(registry: BundleRegistry) -> None:
    assert "".join(registry.bundle_export()) == "[]\n"
    registry.bundle_create(numi(), user="ann")
    registry.bundle_create(numi(name="Other"), user="ann")
    said = json.loads("".join(registry.bundle_export()))
    assert [each["name"] for each in said] == ["NuMI", "Other"]
    assert said[0]["devices"] == ["E:TORTGT", "E:TR101D"]
    assert said[0]["updated"] == "2024-05-01T12:00:00+00:00"


def test_csv_has_a_line_a_bundle(registry: BundleRegistry) -> None:
    registry.bundle_create(numi(hosts=["h2", "h1"]), user="ann")
    assert "".join(registry.bundle_export(format="csv")) == (
        "name,event,ifb_group,storage,run,udp,writable,hosts,devices,updated,snapshot\r\n"
        'NuMI,"e,a9",NOvA,short,false,false,false,h2 h1,E:TORTGT E:TR101D,2024-05-01T12:00:00+00:00,1\r\n'
    )


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    devices = [f"{sign}SUM(A1:A2)" for sign in "=+-@"]
    for device in devices:
        text = "".join(write_rows([Bundle("B", "e,1d", "NOvA", devices=frozenset({device}))], "csv"))
        cells = next(iter(csv.DictReader(io.StringIO(text))))
        assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells.values())
        assert read_rows(text, "csv")[0].values["devices"] == [device]  # type: ignore[index]


def test_some_bundles_are_exported_in_the_order_asked_for(registry: BundleRegistry) -> None:
    for name in ("A", "B", "C"):
        registry.bundle_create(numi(name=name), user="ann")
    assert [row.name for row in read_rows("".join(registry.bundle_export(["C", "A"])), "json")] == ["C", "A"]
    with pytest.raises(BundleNotFound):
        "".join(registry.bundle_export(["None"]))
    with pytest.raises(InvalidInput, match="json or csv"):
        registry.bundle_export(format="xml")


# Reading files


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("json", "", "not JSON"),
        ("json", "{}", "a list of objects"),
        ("json", "[1]", "a list of objects"),
        ("json", "[" * 100_000, "not JSON"),
        ("json", b"\xff", "not UTF-8"),
        ("csv", "", "has to name the columns"),
        ("csv", "a,b\n1,2", "has to name the columns"),
        ("csv", "name,name\n1,2", "has to name the columns"),
        ("csv", 'name\n"NuMI', "line 1 is not CSV"),
        ("xml", "", "json or csv"),
    ],
)
def test_a_file_that_is_none_is_refused(format: str, text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_rows(text, format)


def test_lines_of_csv_are_those_that_an_editor_shows(registry: BundleRegistry) -> None:
    text = 'name,event,ifb_group,devices\r\n\r\nA,e,NOvA,"E:ONE\nE:TWO"\r\nB,!,NOvA,\r\nC,e,NOvA,,surplus\r\nD,e\r\n'
    lines = registry.bundle_import(read_rows(text, "csv"), user="ann", atomic=False)
    assert outcomes(lines) == [(4, "created"), (5, "failed"), (6, "failed"), (7, "failed")]
    assert registry.bundle_read("A").devices == {"E:ONE", "E:TWO"}


def test_what_spreadsheets_make_of_true_and_false_is_understood(registry: BundleRegistry) -> None:
    text = "name,event,ifb_group,writable,udp\nA,e,NOvA,TRUE,False\nB,e,NOvA,1,no\n"
    lines = registry.bundle_import(read_rows(text, "csv"), user="ruth", atomic=False)
    assert outcomes(lines) == [(2, "created"), (3, "failed")]
    assert registry.bundle_read("A").writable
    assert "neither true nor false" in (lines[1].reason or "")


def test_a_very_long_cell_is_read() -> None:
    devices = frozenset(f"E:D{number:06}" for number in range(50_000))
    text = "".join(write_rows([Bundle("B", "e,1d", "NOvA", devices=devices)], "csv"))
    assert len(read_rows(text, "csv")[0].values["devices"]) == 50_000  # type: ignore[index]
