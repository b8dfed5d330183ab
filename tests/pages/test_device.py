"""The page of a device: where it is and was, and its replacement in many bundles; two bundles compared."""

from __future__ import annotations

import pytest

from metastore import bundle
from metastore.bundle import BundleRegistry
from metastore.errors import InvalidInput

from .conftest import GROUPS
from .reader import Reader
from .test_bundle_forms import reader_of

PAGE = "/device?name=E:TOR860"
NOW, WAS = "section[aria-labelledby=now] tbody th", "section[aria-labelledby=was] tbody tr"


@pytest.fixture
def registry() -> BundleRegistry:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    for name, group in (("Beam", "NOvA"), ("Far", "MINOS"), ("Near", "NOvA"), ("Past", "NOvA")):
        state = {"name": name, "event": "e,a9", "ifb_group": group, "devices": ["E:TOR860", "E:HRNDIR"]}
        registry.bundle_create(state, user="carol", comment="Import")
    registry.bundle_update("Past", {"remove_devices": ["E:TOR860"]}, user="ann", comment="It drifts")
    return registry


def devices(registry: BundleRegistry) -> dict[str, list[str]]:
    return {each.name: sorted(each.devices) for each in registry.bundle_list()}


def test_a_device_in_a_list_leads_to_where_it_is_and_was(registry: BundleRegistry) -> None:
    reader = reader_of(registry).opens("/bundles/Beam").follows("E:TOR860")
    assert reader.texts(NOW) == ["Beam", "Far", "Near"]
    assert reader.texts(WAS)[-1] == "Past added just now by carol removed just now by ann It drifts"
    assert reader.texts(WAS)[0] == "Near added just now by carol still there Import"


@pytest.mark.parametrize("user", ["", "ann"])
def test_the_list_of_the_bundles_of_a_device_offers_to_replace_it(registry: BundleRegistry, user: str) -> None:
    reader = reader_of(registry, user).opens("/bundles?device=E:TOR860")
    assert reader.follows("Replace it in these bundles").texts(NOW) == ["Beam", "Far", "Near"]
    assert ("Preview" in reader.texts("button")) == bool(user)
    reader.opens("/bundles?device=E:TOR860").follows("Where the device E:TOR860 is and was")
    assert reader.texts(NOW)[0] == "Beam"


def test_on_a_phone_each_value_of_a_bundle_says_what_it_is(registry: BundleRegistry) -> None:
    cells = reader_of(registry).opens(PAGE).soup.select("section[aria-labelledby=now] .cards td")
    assert [cell["data-label"] for cell in cells][:3] == ["Event", "Group", "Running"]


def test_an_unknown_device_is_said_to_be_unknown(registry: BundleRegistry) -> None:
    reader = reader_of(registry).opens("/device?name=E:NONE")
    assert "The record has no device of this name" in reader.text()


def preview(reader: Reader, **typed: str) -> Reader:
    return reader.opens(PAGE).sends("Preview", new="E:TOR861", **typed)


def test_a_device_is_replaced_in_all_chosen_bundles_after_a_preview(registry: BundleRegistry) -> None:
    reader = preview(reader_of(registry, "ann"))
    assert reader.texts(".differences tbody tr") == ["Beam E:TOR860 E:TOR861", "Near E:TOR860 E:TOR861"]
    assert devices(registry)["Beam"] == ["E:HRNDIR", "E:TOR860"], "a preview stores nothing"
    reader.sends("Replace in 2 bundles", comment="TOR860 was exchanged")
    assert "Replaced E:TOR860 with E:TOR861 in 2 bundles." in reader.text("[role=status]")
    now = devices(registry)
    assert now["Beam"] == now["Near"] == ["E:HRNDIR", "E:TOR861"]
    assert now["Far"] == ["E:HRNDIR", "E:TOR860"], "ann is no admin of MINOS"
    newest = registry.bundle_log(limit=2)
    assert {(line.name, line.comment) for line in newest} == {
        ("Beam", "TOR860 was exchanged"),
        ("Near", "TOR860 was exchanged"),
    }


def test_a_replacement_keeps_what_others_changed_meanwhile(registry: BundleRegistry) -> None:
    reader = preview(reader_of(registry, "ann"))
    registry.bundle_update("Near", {"add_devices": ["E:NEW"]}, user="carol")
    reader.sends("Replace in 2 bundles", comment="Exchanged")
    assert devices(registry)["Near"] == ["E:HRNDIR", "E:NEW", "E:TOR861"]


def test_no_bundle_changes_if_one_of_them_cannot(registry: BundleRegistry) -> None:
    reader = preview(reader_of(registry, "ann"))
    registry.bundle_update("Near", {"remove_devices": ["E:TOR860"]}, user="carol")
    before = devices(registry)
    reader.sends("Replace in 2 bundles", comment="Exchanged")
    assert "E:TOR860 is not among its devices" in reader.text("[role=alert]")
    assert reader.value("new") == "E:TOR861", "what was typed is kept"
    assert devices(registry) == before


def test_a_device_is_only_removed_if_no_new_one_is_named(registry: BundleRegistry) -> None:
    reader = reader_of(registry, "ann").opens(PAGE).sends("Preview", **{"in.Near": ""})
    reader.sends("Remove in 1 bundle", comment="Broken")
    assert devices(registry)["Beam"] == ["E:HRNDIR"]


@pytest.mark.parametrize(("new", "reason"), [("E:TOR860", "the old one"), ("<b>", "device"), ("E:X Y", "device")])
def test_a_wrong_new_device_is_refused_before_the_preview(registry: BundleRegistry, new: str, reason: str) -> None:
    reader = reader_of(registry, "ann").opens(PAGE).sends("Preview", new=new)
    assert reason in reader.text("[role=alert]")
    assert reader.value("new") == new


def test_readers_see_no_form(registry: BundleRegistry) -> None:
    assert reader_of(registry).opens(PAGE).texts("main form button") == []


def test_rows_of_an_import_may_add_and_remove_devices_of_live_bundles_only(registry: BundleRegistry) -> None:
    with pytest.raises(InvalidInput, match="add_devices"):
        registry.bundle_import(
            [{"name": "New", "event": "e", "ifb_group": "NOvA", "add_devices": ["E:A01"]}], user="ann"
        )


def test_two_bundles_are_compared(registry: BundleRegistry) -> None:
    reader = reader_of(registry).opens("/bundle-comparison?from=Beam&to=Past")
    assert reader.texts("h2") == ["1 device removed"]
    reader.follows("Swap")
    assert reader.texts("h2") == ["1 device added"]
    assert reader.opens("/bundle-comparison?from=Beam&to=None").status == 404


def test_the_entries_of_a_record_lead_to_the_previous_and_the_next(registry: BundleRegistry) -> None:
    newest = registry.bundle_log("Past", limit=1)[0].id
    reader = reader_of(registry).opens(f"/snapshots/{newest}")
    assert reader.texts("a[rel]:is([rel=prev], [rel=next])") == ["← Previous change"]
    reader.follows("← Previous change")
    assert reader.texts("a[rel]:is([rel=prev], [rel=next])") == ["Next change →"]
    assert reader.follows("Next change →").path == f"/snapshots/{newest}"


def test_a_snapshot_is_compared_with_the_newest_by_one_click(registry: BundleRegistry) -> None:
    first, last = (line.id for line in reversed(registry.bundle_log("Past")))
    reader = reader_of(registry).opens(f"/snapshots/{first}").follows("Compare with the newest")
    assert reader.texts("ul.devices.removed li") == ["− E:TOR860"]
    assert "Compare with the newest" not in reader.opens(f"/snapshots/{last}").texts("main a")
    registry.bundle_delete("Past", user="ann", comment="Gone")
    assert "Compare with the newest" not in reader.opens(f"/snapshots/{first}").texts("main a")
