"""Bundles over HTTP: real names, events and devices, the record, and lists in pages."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from metastore import MetaStore
from metastore.bundle import BundleRegistry
from metastore.web import create_app

from .conftest import API, BUNDLES, Authority, Door

FILE = Path(__file__).parent.parent.parent / "examples" / "bundles.json"
REAL = [each for each in json.loads(FILE.read_text())["bundles"] if each.get("devices")]
NUMI = f"{API}/bundles/NuMI"
STATE = {"event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TORTGT", "E:HP121[]"]}


def make(door: Door, **changes: Any) -> TestResponse:
    return door.comes("ann", BUNDLES).put(NUMI, json=STATE | changes)


def links(door: Door, url: str) -> list[Any]:
    """Every item of a list, page by page."""
    items: list[Any] = []
    while url:
        page = door.anybody.get(url)
        items += page.json
        url = page.headers.get("Link", "").partition(">")[0][1:]
    return items


@pytest.mark.parametrize("given", REAL, ids=lambda each: each["name"])
def test_a_real_bundle_comes_back_as_given(door: Door, given: dict[str, Any]) -> None:
    url = f"{API}/bundles/{given['name']}"
    state = {"event": given["event"], "ifb_group": "MINOS", "devices": given["devices"], "hosts": ["acq01"]}
    made = door.comes("bo", BUNDLES).put(f"{url}?comment=First", json=state)
    assert (made.status_code, made.headers["Location"]) == (201, url)
    read = door.anybody.get(url)
    assert (read.json["event"], read.json["devices"]) == (given["event"], sorted(set(given["devices"])))
    assert read.headers["ETag"] == made.headers["ETag"] == f'"{read.json["snapshot"]}"'


def test_a_put_sends_back_what_a_read_said(door: Door) -> None:
    make(door)
    read = door.anybody.get(NUMI)
    unchanged = door.comes("ann", BUNDLES).put(NUMI, json=read.json)
    assert (unchanged.status_code, unchanged.headers["ETag"]) == (200, read.headers["ETag"])
    changed = door.comes("ann", BUNDLES).put(NUMI, json=read.json | {"event": "e,1d", "comment": "Why"})
    assert changed.json["event"] == "e,1d"
    assert door.anybody.get(f"{NUMI}/log").json[0]["comment"] == "Why"


def test_a_put_says_the_whole_state(door: Door) -> None:
    make(door, hosts=["acq01"], udp=True)
    made = door.comes("ann", BUNDLES).put(NUMI, json=STATE)
    assert (made.json["hosts"], made.json["udp"]) == ([], False)


@pytest.mark.parametrize(
    ("member", "value"), [("ifb_group", "MINOS"), ("name", "Other"), ("devices", ["a b"]), ("x", 1)]
)
def test_what_never_changes_or_is_unsafe_is_422_with_a_pointer(door: Door, member: str, value: Any) -> None:
    make(door)
    answer = door.comes("carol", BUNDLES).put(NUMI, json=STATE | {member: value})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"].startswith(f"/{member}")
    assert len(door.anybody.get(f"{NUMI}/log").json) == 1


def test_a_patch_changes_devices(door: Door) -> None:
    make(door)
    body = {"add_devices": ["E:TR101D"], "remove_devices": ["E:HP121[]"], "comment": "Replaced"}
    patched = door.comes("ann", BUNDLES).patch(NUMI, json=body)
    assert patched.json["devices"] == ["E:TORTGT", "E:TR101D"]
    (line, _) = door.anybody.get(f"{NUMI}/log").json
    assert (line["added"], line["removed"], line["user"], line["comment"]) == (1, 1, "ann", "Replaced")


@pytest.mark.parametrize("tag", ['"{}"', 'W/"{}"', '"{}-gzip"'])
def test_a_stale_if_match_is_412(door: Door, tag: str) -> None:
    old = make(door).json["snapshot"]
    match = {"If-Match": tag.format(old)}
    assert door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,1d"}, headers=match).status_code == 200
    for lost in (
        door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,36"}, headers=match),
        door.comes("ann", BUNDLES).put(NUMI, json=STATE, headers=match),
        door.comes("ann", BUNDLES).delete(NUMI, headers=match),
    ):
        assert (lost.status_code, lost.json["expected"], lost.json["actual"]) == (412, old, old + 1)
    assert door.comes("ann", BUNDLES).put(NUMI, json=STATE, headers={"If-None-Match": "*"}).status_code == 412


def test_expected_in_a_body_conflicts_with_409(door: Door) -> None:
    old = make(door).json["snapshot"]
    door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,1d"})
    body = {"snapshot": old, "expected": old}
    assert door.comes("ann", BUNDLES).post(f"{NUMI}/restore", json=body).status_code == 409
    assert door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,36", "expected": old}).status_code == 409


def test_what_stands_in_the_way_of_an_undo_is_named(door: Door) -> None:
    make(door)
    wrong = door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,1d"}).json["snapshot"]
    door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,36"})
    answer = door.comes("ann", BUNDLES).post(f"{NUMI}/undo", json={"snapshot": wrong})
    assert (answer.status_code, answer.json["kind"]) == (409, "merge-conflict")
    assert [place["where"] for place in answer.json["places"]] == ["event"]


def test_what_is_known_already_is_not_sent_again(door: Door) -> None:
    tag = make(door).headers["ETag"]
    assert door.anybody.get(NUMI, headers={"If-None-Match": tag}).status_code == 304
    assert door.anybody.get(NUMI, headers={"If-None-Match": '"12345"'}).status_code == 200


def test_a_deleted_one_is_gone_and_can_be_restored(door: Door) -> None:
    old = make(door).json["snapshot"]
    gone = door.comes("ann", BUNDLES).delete(NUMI, json={"comment": "Not needed"})
    assert (gone.status_code, gone.json["deleted"], gone.json["comment"]) == (200, True, "Not needed")
    read = door.anybody.get(NUMI)
    assert (read.status_code, read.json["kind"], read.json["snapshot"]["id"]) == (
        410,
        "bundle-deleted",
        gone.json["id"],
    )
    back = door.comes("ann", BUNDLES).post(f"{NUMI}/restore", json={"snapshot": old, "comment": "Needed"})
    assert (back.status_code, back.json["devices"]) == (200, sorted(STATE["devices"]))
    assert [line["action"] for line in door.anybody.get(f"{NUMI}/log").json] == ["restore", "delete", "create"]


def test_a_copy_is_a_new_bundle(door: Door) -> None:
    make(door)
    copy = door.comes("ann", BUNDLES).post(f"{NUMI}/copy", json={"to": "NuMI2"})
    assert (copy.status_code, copy.headers["Location"]) == (201, f"{API}/bundles/NuMI2")
    assert door.comes("ann", BUNDLES).post(f"{NUMI}/copy", json={"to": "NuMI2"}).status_code == 409
    assert door.comes("ann", BUNDLES).post(f"{NUMI}/copy", json={}).status_code == 422


def test_an_older_state_is_read_by_snapshot_and_by_time(door: Door) -> None:
    old = make(door).json["snapshot"]
    then = door.anybody.get(f"{API}/snapshots/{old}").json
    door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,1d"})
    for query in (f"snapshot={old}", f"at={then['created']}"):
        assert door.anybody.get(f"{NUMI}?{query}").json["event"] == "e,a9"
    assert then["bundle"]["devices"] == sorted(STATE["devices"])
    diff = door.anybody.get(f"{API}/snapshots/{old}/diff?to={old + 1}").json
    assert diff["attributes"] == {"event": ["e,a9", "e,1d"]}


@pytest.mark.parametrize(
    "url", [f"{NUMI}?snapshot=99", f"{API}/snapshots/99", f"{API}/bundles/None", f"{API}/snapshots/0"]
)
def test_a_missing_thing_is_404(door: Door, url: str) -> None:
    make(door)
    assert door.anybody.get(url).status_code == 404


@pytest.mark.parametrize(
    "url", [f"{NUMI}?snapshot=x", f"{NUMI}?at=x", f"{API}/snapshots/-1", f"{API}/log?since=1", f"{API}/log?before=²"]
)
def test_an_invalid_number_or_time_is_400(door: Door, url: str) -> None:
    make(door)
    assert door.anybody.get(url).status_code == 400


def test_an_import_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.service.bundles._MOST_ROWS", 2)
    rows = [{"name": f"B{number}", "event": "e,a9", "ifb_group": "NOvA", "devices": []} for number in range(3)]
    refused = door.comes("ann", BUNDLES).post(f"{API}/bundles", json=rows)
    assert (refused.status_code, refused.json["kind"]) == (413, "too-large")
    assert "at most 2 bundles" in refused.json["detail"]
    monkeypatch.setattr("metastore.service.bundles._LONGEST_IMPORT", 200)
    assert door.comes("ann", BUNDLES).post(f"{API}/bundles", json=[*rows[:2], {"x": "y" * 200}]).status_code == 413
    assert door.anybody.get(f"{API}/bundles").json == []
    assert door.comes("ann", BUNDLES).post(f"{API}/bundles", json=rows[:2]).status_code == 200


def test_a_page_of_large_bundles_ends_early(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.service.bundles._MOST_DEVICES", 3)
    for number in range(5):
        state = {"event": "e,a9", "ifb_group": "NOvA", "devices": [f"E:DEV{each}" for each in range(number)]}
        door.comes("ann", BUNDLES).put(f"{API}/bundles/B{number}", json=state)
    first = door.anybody.get(f"{API}/bundles")
    assert [len(each["devices"]) for each in first.json] == [0, 1, 2, 3]
    assert [each["name"] for each in links(door, f"{API}/bundles")] == ["B0", "B1", "B2", "B3", "B4"]


def test_lists_are_filtered_and_cut_into_pages(door: Door) -> None:
    for number in range(5):
        group, user = (("NOvA", "ann"), ("MINOS", "bo"))[number % 2]
        state = {"event": "e,a9", "ifb_group": group, "devices": [f"E:DEV{number}"]}
        door.comes(user, BUNDLES).put(f"{API}/bundles/B{number}", json=state)
    assert [each["name"] for each in links(door, f"{API}/bundles?limit=2")] == ["B0", "B1", "B2", "B3", "B4"]
    assert [each["name"] for each in links(door, f"{API}/bundles?limit=1&group=NOvA")] == ["B0", "B2", "B4"]
    assert [each["name"] for each in links(door, f"{API}/bundles?device=E:DEV3")] == ["B3"]
    assert [each["name"] for each in links(door, f"{API}/bundles?run=true")] == []
    assert [each["name"] for each in links(door, f"{API}/log?limit=2")] == ["B4", "B3", "B2", "B1", "B0"]
    assert [each["name"] for each in links(door, f"{API}/log?user=bo")] == ["B3", "B1"]


def test_a_list_as_csv_goes_back_in_by_import(door: Door) -> None:
    make(door)
    exported = door.anybody.get(f"{API}/bundles", headers={"Accept": "text/csv"})
    assert exported.mimetype == "text/csv"
    (row,) = csv.DictReader(io.StringIO(exported.text))
    assert row["name"] == "NuMI"
    text = exported.text.replace("e,a9", "e,1d")
    done = door.comes("ann", BUNDLES).post(f"{API}/bundles?comment=Bulk", data=text, content_type="text/csv")
    assert [line["outcome"] for line in done.json] == ["updated"]
    assert door.anybody.get(NUMI).json["event"] == "e,1d"


def test_an_import_is_one_transaction_or_a_report(door: Door) -> None:
    rows = [{"name": "A1", **STATE}, {"name": "A2", "event": "e,a9", "ifb_group": "MINOS"}]
    ann = door.comes("ann", BUNDLES)
    whole = ann.post(f"{API}/bundles", json=rows)
    assert (whole.status_code, whole.json["detail"][:6]) == (403, "line 2")
    dry = ann.post(f"{API}/bundles?dry_run=true", json=rows)
    assert [line["outcome"] for line in dry.json] == ["created", "failed"]
    assert door.anybody.get(f"{API}/bundles").json == []
    each = ann.post(f"{API}/bundles?atomic=false", json=rows)
    assert [line["outcome"] for line in each.json] == ["created", "failed"]
    assert [bundle["name"] for bundle in door.anybody.get(f"{API}/bundles").json] == ["A1"]


def test_a_service_without_bundles_says_so(memory: MetaStore, authority: Authority) -> None:
    door = Door(create_app(memory, verifier=authority), authority)  # type: ignore[arg-type]
    assert "no bundles" in door.anybody.get(f"{API}/bundles").json["detail"]


def test_the_record_holds(door: Door, registry: BundleRegistry) -> None:
    make(door)
    door.comes("ann", BUNDLES).patch(NUMI, json={"event": "e,1d"})
    assert [check.problem for check in registry.bundle_verify()] == [None]
