"""The forms of bundles, by request: what they refuse and say, and what they store. No script helps."""

from __future__ import annotations

import csv
import io
import json

import pytest

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.bundle import BundleRegistry
from metastore.errors import BundleDeleted
from metastore.web import create_app

from .conftest import GROUPS, SECRET
from .reader import Reader

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def registry() -> BundleRegistry:
    return bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))


@pytest.fixture
def beam(registry: BundleRegistry) -> list[int]:
    """A bundle of NOvA's with a history; the numbers of its snapshots, oldest first."""
    given = {"name": "Beam", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TR101D", "E:TORTGT"]}
    registry.bundle_create(given, user="ann", comment="For the run")
    registry.bundle_update("Beam", {"hosts": ["h1"], "add_devices": ["E:HP121[]"]}, user="carol")
    registry.bundle_update("Beam", {"remove_devices": ["E:TOR860"]}, user="ann", comment="It drifts")
    return [line.id for line in reversed(registry.bundle_log("Beam"))]


def reader_of(registry: BundleRegistry, user: str = "") -> Reader:
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    reader = Reader(create_app(metastore.connect("memory:", author="Setup"), verifier=verifier, bundles=registry))
    if user:
        reader.signs_in(user)
    return reader


def test_what_is_wrong_in_a_form_stands_at_its_field_in_words_for_people(registry: BundleRegistry) -> None:
    registry.bundle_create({"name": "There", "event": "e,a9", "ifb_group": "NOvA"}, user="ann")
    reader = reader_of(registry, "ann").opens("/new-bundle")
    reader.sends("Preview", name="Odd", event="e,<1>", hosts="ok bad/host", devices="E:TOR860\n<b>")
    assert "line 2: <b>" in reader.text("#devices-wrong")
    reader.sends("Preview", devices="E:TOR860")
    for field in ("event", "hosts"):
        assert f"{field.title()}: " in reader.text("[role=alert]")
        box = reader.soup.select_one(f"[name={field}]")
        assert box is not None
        assert box["aria-invalid"] == "true"
        described = str(box["aria-describedby"]).split()
        assert reader.soup.select_one(f"#{described[-1]}.wrong")
        assert len(reader.soup.select(f"#{described[0]}")) == 1
    assert not reader.soup.select("[name=devices][aria-invalid]")
    assert "(at /" not in reader.text("body")
    reader.opens("/bundles/There/copy").sends("Copy", new_name="a b")
    assert reader.soup.select("[name=new_name][aria-invalid=true]")


def test_one_change_is_undone_and_what_stands_in_the_way_is_named(registry: BundleRegistry) -> None:
    registry.bundle_create(
        {"name": "Undone", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}, user="ann"
    )
    wrong = registry.bundle_update("Undone", {"event": "e,00", "devices": ["E:TYPO"]}, user="ann", comment="Oops")
    registry.bundle_update("Undone", {"add_devices": ["E:LATER"]}, user="ann")
    reader = reader_of(registry, "ann").opens(f"/snapshots/{wrong.snapshot}").follows("Undo this change")
    assert reader.text("h1") == f"Undo snapshot {wrong.snapshot} of Undone?"
    assert "E:TYPO" in reader.text()
    reader.sends("Undo", comment="A typing mistake")
    assert f"Undid snapshot {wrong.snapshot} of Undone" in reader.text("[role=status]")
    undone = registry.bundle_read("Undone")
    assert (undone.event, undone.devices) == ("e,a9", {"E:TOR860", "E:LATER"})
    assert registry.bundle_log("Undone")[0].comment == "A typing mistake"
    changed = registry.bundle_update("Undone", {"event": "e,1d"}, user="ann")
    newest = registry.bundle_update("Undone", {"event": "e,8f"}, user="ann")
    reader.opens(f"/snapshots/{changed.snapshot}/undo").sends("Undo", comment="No")
    assert "stands in the way: event" in reader.text("[role=alert]")
    assert registry.bundle_read("Undone") == newest


def test_a_creation_is_undone_from_its_page_which_says_that_this_deletes(registry: BundleRegistry) -> None:
    made = registry.bundle_create({"name": "Made", "event": "e,a9", "ifb_group": "NOvA"}, user="ann")
    reader = reader_of(registry, "ann").opens(f"/snapshots/{made.snapshot}").follows("Undo this change")
    assert "ann created this bundle" in reader.text()
    assert "Undoing that deletes the bundle" in reader.text()
    changed = registry.bundle_update("Made", {"event": "e,1d"}, user="ann")
    reader.sends("Delete", comment="Not needed")
    assert "Changed meanwhile" in reader.text("[role=alert]")
    reader.sends("Delete anyway", comment="Not needed")
    assert "stands in the way: event" in reader.text("[role=alert]")
    registry.bundle_undo("Made", changed.snapshot or 0, user="ann")
    reader.opens(f"/snapshots/{made.snapshot}/undo").sends("Delete", comment="Not needed")
    assert registry.bundle_log("Made")[0].action == "delete"


def test_a_superuser_makes_a_bundle_collectable_which_its_admins_then_only_see(
    registry: BundleRegistry, beam: list[int]
) -> None:
    superuser = reader_of(registry, "carol").opens("/bundles/Beam/edit")
    superuser.sends("Preview", run="1")
    assert "only a collectable (writable) bundle can run" in superuser.text("[role=alert]")
    superuser.sends("Preview", writable="1").sends("Save")
    assert "a collector can read it, and one should be running now" in superuser.text()
    admin = reader_of(registry, "ann").opens("/bundles/Beam")
    assert "You cannot change it: Beam is collectable" in admin.text()
    assert "Edit" not in admin.texts("main a")
    for path in ("/bundles/Beam/edit", "/bundles/Beam/delete", f"/snapshots/{beam[0]}/restore"):
        assert admin.opens(path).status == 403
    assert superuser.opens("/new-bundle").texts("[name=ifb_group] option") == ["NOvA", "MINOS", "root"]
    superuser.opens("/bundles/Beam/copy").sends("Copy", new_name="Beam_2")
    assert registry.bundle_log("Beam_2")[0].action == "copy"


def test_what_was_removed_restored_and_deleted_comes_back(registry: BundleRegistry, beam: list[int]) -> None:
    reader = reader_of(registry, "ann").opens("/bundles/Beam").sends("Search the record", device="E:TOR860")
    row = reader.texts("tr")[1]
    assert "removed E:TOR860" in row
    assert "ann" in row
    assert "It drifts" in row
    reader.opens(f"/snapshots/{beam[-1]}").follows("Put this device back")
    assert reader.value("devices").split() == ["E:HP121[]", "E:TORTGT", "E:TR101D", "E:TOR860"]
    reader.sends("Preview").sends("Save")
    assert "E:TOR860" in registry.bundle_read("Beam").devices
    reader.opens(f"/snapshots/{beam[0]}").follows("Restore this state")
    assert "− E:HP121[]" in reader.texts("li")
    reader.sends("Restore", comment="As it was in the morning")
    assert registry.bundle_read("Beam").devices == {"E:TOR860", "E:TR101D", "E:TORTGT"}
    reader.follows("Delete").sends("Delete", comment="The shift is over")
    with pytest.raises(BundleDeleted):
        registry.bundle_read("Beam")
    reader.opens("/bundles").follows("Deleted bundles")
    deleted = reader.soup.select_one("tr[data-href]")
    assert deleted is not None
    reader.opens(str(deleted["data-href"])).follows("Restore").sends("Restore", comment="Not yet")
    assert reader.text("h1") == "Beam"
    actions = [(line.user, line.action, line.comment) for line in registry.bundle_log("Beam", limit=3)]
    morning = ("ann", "restore", "As it was in the morning")
    assert actions == [("ann", "restore", "Not yet"), ("ann", "delete", "The shift is over"), morning]


def test_hostile_names_comments_and_parameters_stay_text(registry: BundleRegistry) -> None:
    devices = [f"E:D{number:05}" for number in range(300)] + ["&{constructor.constructor(x)()}"]
    hostile = {"name": "x" * 64, "event": "e," + "&" * 250, "ifb_group": "NOvA", "devices": devices}
    registry.bundle_create(hostile, user="carol", comment=f"{SCRIPT} \u202e{'x' * 3000}")
    registry.bundle_update("x" * 64, {"devices": devices[10:]}, user="carol", comment=SCRIPT)
    reader, one = reader_of(registry, "carol"), f"/bundles/{'x' * 64}"
    last, first = (line.id for line in registry.bundle_log("x" * 64))
    snapshots = (f"/snapshots/{first}", f"/snapshots/{last}?all=1", f"/snapshots/{first}/restore")
    shown = ("/", "/bundles", one, *(f"{one}/{part}" for part in ("edit", "copy", "delete", "log")), "/log", *snapshots)
    asked = f"text={SCRIPT}&device={SCRIPT}&event={SCRIPT}&group={SCRIPT}&user={SCRIPT}&name={SCRIPT}"
    odd = "_scheme=javascript&_external=1&endpoint=x&values=x&_anchor=x&q=E"
    for path in (*shown, *(f"{path}?{query}" for path in ("/bundles", "/log", one) for query in (asked, odd))):
        assert reader.opens(path).status == 200, path
        assert not reader.soup.select("main script, main img, a[href^=javascript]"), path
        assert len(reader.soup.select("main")) == 1
    assert "No bundle matches." in reader.opens(f"/bundles?{asked}").text()
    reader.opens(f"{one}/edit").sends("Preview", devices="\n".join(devices))
    assert "10 devices added" in reader.texts("h2")
    reader.sends("Save")
    assert registry.bundle_read("x" * 64).devices == set(devices)


def test_lists_are_sorted_and_odd_devices_are_pointed_out_without_scripts(
    registry: BundleRegistry, beam: list[int]
) -> None:
    registry.bundle_create({"name": "Few", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}, user="ann")
    reader = reader_of(registry, "ann").opens("/bundles").follows("Devices")
    assert reader.texts("tbody td.number") == ["1", "3"]
    assert reader.follows("Devices").texts("tbody td.number") == ["3", "1"]
    reader.opens("/bundles/Beam/edit").sends("Preview", devices="E:TOR860\nE:TOR860\nodd!")
    assert "Listed more than once, counted once: E:TOR860" in reader.text(".pointed-out")
    assert "not in a usual form" in reader.text(".pointed-out")
    reader.sends("Save")
    assert registry.bundle_read("Beam").devices == {"E:TOR860", "odd!"}
    reader.opens(f"/snapshots/{beam[0]}/restore").sends("Restore", comment=" ")
    assert "give a reason" in reader.text("[role=alert]").lower()


def test_the_record_is_read_by_page_and_sent_as_a_file(registry: BundleRegistry) -> None:
    given = {"name": "Busy", "event": "e,1d", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
    registry.bundle_create(given, user="ann", comment='=HYPERLINK("http://x")')
    for number in range(60):
        registry.bundle_update("Busy", {"event": f"e,{number}"}, user="ann", comment=f"\t-{number}")
    reader = reader_of(registry).opens("/log?name=Busy&user=ann").follows("Older changes")
    assert len(reader.soup.select("tr")) == 12
    assert "created" in reader.texts("tr")[-1]
    link = next(str(link["href"]) for link in reader.soup.select("main a") if link.get_text() == "CSV")
    file = reader.client.get(link, buffered=True)
    rows = list(csv.DictReader(io.StringIO(file.text, newline="")))
    assert "filename=Busy-record.csv" in file.headers["Content-Disposition"]
    assert len(rows) == 61
    assert [row["comment"] for row in rows[-2:]] == ["'-0", '\'=HYPERLINK("http://x")']
    log = json.loads(
        reader.client.get("/log/export?format=json&name=Busy&since=2000-01-01&until=9990-01-01", buffered=True).text
    )
    assert [entry["comment"] for entry in log] == [f"-{n}" for n in range(59, -1, -1)] + ['=HYPERLINK("http://x")']
    everything = json.loads(reader.client.get("/bundles.json", buffered=True).text)
    assert [each["name"] for each in everything] == ["Busy"]
    assert reader.client.get("/bundles.csv", buffered=True).text.count("\n") == 2
    assert reader.client.get("/log/export?until=2000-01-01", buffered=True).text.count("\n") == 1
    for path in (
        "/log?since=yesterday",
        "/log?before=x",
        "/log/export?format=x",
        "/bundles?order=x",
        "/log?until=9999-12-31",
    ):
        assert reader.client.get(path).status_code in (400, 404)


def test_a_form_of_another_site_changes_nothing(registry: BundleRegistry, beam: list[int]) -> None:
    reader = reader_of(registry, "ann")
    for path in ("/bundles/Beam/delete", "/bundles/Beam/edit", "/new-bundle", f"/snapshots/{beam[0]}/restore"):
        form = {"comment": "forged", "expected": str(beam[-1]), "step": "store"}
        assert reader.client.post(path, data=form).status_code == 400
    assert registry.bundle_read("Beam").snapshot == beam[-1]


@pytest.mark.parametrize("name", ["Theirs", "Gone"])
def test_a_taken_name_is_said_at_its_field_and_blames_no_group(registry: BundleRegistry, name: str) -> None:
    registry.bundle_create({"name": name, "event": "e,a9", "ifb_group": "MINOS"}, user="carol")
    if name == "Gone":
        registry.bundle_delete(name, user="carol")
    reader = reader_of(registry, "ann").opens("/new-bundle").sends("Preview", name=name, event="e,a9")
    if name == "Theirs":
        assert reader.text("#name-wrong") == "a bundle with this name already exists: choose another name"
    else:
        assert "The name Gone belonged to MINOS and can return only there" in reader.text("[role=alert]")
    assert "admin" not in reader.text("[role=alert]")
