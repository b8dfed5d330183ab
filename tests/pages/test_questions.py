"""Questions of a visitor who knows nothing yet: each is answered within three clicks from the home page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.web import create_app

from .conftest import BUNDLES, GROUPS, SECRET
from .reader import Reader

BO = "Bo Ek <bo@example.org>"


@pytest.fixture
def visitor(tmp_path: Path) -> Reader:
    store = metastore.connect(str(tmp_path / "store"), author="Ann", validation="off", sync=False)
    fields = [{"name": "lat", "type": "string"}, {"name": "salt", "type": "number"}]
    table = {"name": "stations", "path": "s.csv", "schema": {"fields": fields}}
    store.dataset_create("ocean/salt", {"title": "Salt", "licenses": [{"name": "CC0-1.0"}], "resources": [table]})
    store.tag_create("ocean/salt", "v1.0.0")
    typed = table | {"schema": {"fields": [fields[0] | {"type": "number"}, fields[1]]}}
    store.dataset_patch("ocean/salt", {"resources": [typed]}, author=BO, message="Degrees are numbers")
    store.tag_create("ocean/salt", "v2.0.0")
    store.dataset_create("ocean/gone", {"title": "Gone"})
    store.dataset_delete("ocean/gone", author=BO, message="Measured twice")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    made = {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TOR861"]}
    registry.bundle_create(made, user="ann", comment="First")
    registry.bundle_update("NuMI", {"remove_devices": ["E:TOR860"]}, user="ann", comment="It broke")
    return Reader(create_app(store, verifier=Verifier(()), bundles=registry)).opens("/")


@pytest.mark.parametrize(
    ("clicks", "answer"),
    [
        ([], "CC0-1.0"),
        (["Salt", "Compare with v1.0.0"], "major 1 field changed in stations."),
        (["Salt", "v1.0.0"], "Salt. Version v1.0.0. Dataset."),
        (["Salt", "Where each value comes from"], "field lat › type number Degrees are numbers Bo Ek"),
        (["Salt", "All changes"], "Degrees are numbers v2.0.0 Bo Ek"),
        (["Salt"], "git clone http://localhost/git/ocean/salt.git"),
        (["Datasets", "Show the deleted ones"], "Gone ocean /gone deleted"),
        (["Changes"], "deleted ocean/gone : Measured twice Bo Ek"),
        (["Bundles", "NuMI", "E:TOR861"], "When it was added and removed"),
        (["NuMI"], "ann, just now : It broke"),
        (["Bundles", "All bundles as of a time"], "Date, or time in UTC"),
    ],
    ids=[
        *("licence", "what changed between versions", "cite a version", "who changed a field", "who changed it"),
        *("get it", "what was deleted", "who deleted it", "where a device is", "why a bundle changed", "as of a time"),
    ],
)
def test_an_answer_is_at_most_three_clicks_away(visitor: Reader, clicks: list[str], answer: str) -> None:
    assert len(clicks) <= 3
    for click in clicks:
        visitor.follows(click)
    assert answer in visitor.text()


def test_the_past_of_a_device_is_found_by_the_search(visitor: Reader) -> None:
    visitor.sends("Search", q="E:TOR860").follows("Where the device E:TOR860 is and was")
    assert "No bundle has it now." in visitor.text()
    assert "by ann It broke" in visitor.text()


@pytest.fixture
def people(tmp_path: Path) -> Reader:
    """Return somebody in front of a service with versions, files behind pointers, a deleted dataset and bundles."""
    options: dict[str, Any] = {"author": "Bo", "validation": "off", "lfs_url": "https://lfs.org/{owner}/{name}"}
    store = metastore.connect(str(tmp_path / "store"), sync=False, **options)
    file = {"name": "stations", "path": "data/s.csv", "hash": f"sha256:{'ab' * 32}", "bytes": 10}
    made = {
        "title": "Salt",
        "licenses": [{"name": "CC-BY-NC-4.0"}],
        "resources": [file, {"name": "notes", "path": "n.md"}],
    }
    store.dataset_create("ocean/salt", made, at="2026-01-05T00:00:00Z")
    store.tag_create("ocean/salt", "v1")
    resources = [file | {"hash": f"sha256:{'cd' * 32}"}, made["resources"][1]]
    change = {"author": "Ann <ann@example.org>", "message": "Measure again", "at": "2026-02-05T00:00:00Z"}
    store.dataset_patch("ocean/salt", {"resources": resources}, **change)
    store.dataset_create("ocean/gone", {"title": "Gone"})
    store.dataset_delete("ocean/gone", message="Measured twice")
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for name in ("NuMI", "BNB"):
        made_bundle = {"name": name, "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TOR861"]}
        registry.bundle_create(made_bundle, user="ann", comment="First")
    registry.bundle_update("NuMI", {"remove_devices": ["E:TOR861"]}, user="ann", comment="It broke")
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    return Reader(create_app(store, verifier=verifier, bundles=registry))


@pytest.mark.parametrize(
    ("who", "clicks", "answer"),
    [
        ("", ["CC-BY-NC-4.0"], "Licence: CC-BY-NC-4.0"),
        ("", ["Salt", "v1", "stations"], "-- data/s.csv"),
        ("", ["Salt"], "Changed 5 Feb 2026 by Ann: Measure again"),
        ("", ["Salt", "History"], "Ann (1)"),
        ("", ["NuMI", "Record"], "removed E:TOR861 It broke"),
        ("ann", ["Salt", "All changes", "undo this"], "Undo"),
        ("ann", ["Salt", "Tag"], "Tag"),
        ("ann", ["Datasets", "Show the deleted ones", "Gone"], "Restore"),
        ("ann", ["Bundles", "NuMI", "E:TOR860"], "Replace it in the chosen bundles"),
        ("ann", ["NuMI", "Record", "just now"], "Undo this change"),
    ],
    ids=[
        *("which licences are not open", "get version 1 of a file", "when did a file change and why"),
        *("what did Ann change", "who removed a device and why", "undo my last change", "tag a version"),
        *("put a deleted dataset back", "replace a device in all bundles", "undo a change of a bundle"),
    ],
)
def test_a_visitor_an_editor_and_an_admin_find_what_they_look_for(
    people: Reader, who: str, clicks: list[str], answer: str
) -> None:
    if who:
        people.signs_in(who)
    people.opens("/")
    for click in clicks:
        people.follows(click)
    assert answer in people.text()


def test_a_bundle_of_the_samples_is_restored_as_it_was_on_a_day_by_eight_clicks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BUNDLES.parent))
    sample = import_module("sample")
    clock = sample.Clock(now := datetime.now(UTC))
    groups = bundle.Groups.parse(sample.GROUPS)
    store = metastore.connect("memory:", author=sample.ANN, validation="off")
    with bundle.connect("memory:", groups=groups, clock=clock) as registry:
        sample.fill(store, registry, clock, tmp_path)
        admin = Reader(create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),)), bundles=registry))
        admin.signs_in("ann")  # two clicks
        admin.opens("/").follows("Bundles").follows("NuMI_Physics_A9")
        assert "E:TRTGTD" not in admin.texts("#devices ~ .tall code")
        admin.sends("Show that day", at=f"{now - timedelta(days=7):%Y-%m-%d}")
        assert "changed" in admin.text("tbody")
        admin.follows("NuMI_Physics_A9").follows("Restore this state").sends("Restore", comment="It is repaired")
        assert {"E:TRTGTD", "E:TR101D"} <= set(admin.texts("#devices ~ .tall code"))
        days = {entry.created.date() for entry in registry.bundle_log()}
    assert len(days) >= 6
