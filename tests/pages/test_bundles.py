"""The pages of bundles, as visitors, admins and superusers use them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from metastore.errors import BundleDeleted

from .conftest import Person, Site, needs_browser

pytestmark = needs_browser
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def beam(site: Site) -> list[int]:
    """A bundle of NOvA's with a history; the numbers of its snapshots, oldest first."""
    given = {"name": "Beam", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TR101D", "E:TORTGT"]}
    site.registry.bundle_create(given, user="ann", comment="For the run")
    site.registry.bundle_update("Beam", {"hosts": ["h1"], "add_devices": ["E:HP121[]"]}, user="carol")
    site.registry.bundle_update("Beam", {"remove_devices": ["E:TOR860"]}, user="ann", comment="It drifts")
    return [line.id for line in reversed(site.registry.bundle_log("Beam"))]


@pytest.fixture
def plain(browser: Browser, site: Site) -> Iterator[Person]:
    """Somebody whose browser runs no scripts, and whose screen is small."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    yield (somebody := Person(context, site))
    context.close()
    assert somebody.complaints == []


def too_wide(page: Page) -> int:
    """How many pixels a page has to be scrolled sideways."""
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert isinstance(width, int)
    return max(width, 0)


def button(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name, exact=True).click()


def test_the_day_of_an_admin(person: Person, another: Person, site: Site) -> None:
    person.signs_in("ann")
    page = person.goes_to("/bundles")
    page.get_by_role("link", name="New bundle").click()
    # A list pasted from a spreadsheet is understood, and what is odd about it is said while it is typed.
    page.get_by_label("Devices").fill('Device\tE:TOR860\tToroid\n"E:TOR861";E:TOR860\nE:X')
    said = page.locator("#devices-said")
    expect(said).to_contain_text("4 devices")
    expect(said).to_contain_text("Looks like a column heading; remove it unless it is a device: Device")
    expect(said).to_contain_text("counted once: E:TOR860")
    expect(said).to_contain_text("is in another column; if it is a device, put it on its own line: Toroid")
    page.get_by_label("Devices").fill("Device\nE:TOR860\nE:TOR861\n<b>")
    expect(said).to_contain_text("Cannot be a device")
    page.get_by_label("Name", exact=True).fill("Morning")
    page.get_by_label("Event").fill("e,a9")
    assert page.get_by_label("Group").locator("option").all_inner_texts() == ["NOvA"]
    button(page, "Preview")
    expect(page.get_by_role("alert")).to_contain_text("line 4: <b>")
    page.get_by_label("Devices").fill("E:TOR860\nE:TOR861")
    page.get_by_label("Why?").fill("For the shift")
    button(page, "Preview")
    expect(page.get_by_role("status")).to_contain_text("Nothing has been saved yet")
    assert "Morning" not in [each.name for each in site.registry.bundle_list()]
    button(page, "Create")
    expect(page.get_by_role("status")).to_contain_text("Created Morning")

    # Two edit at once: the second sees what the first did, loses nothing, and takes it over.
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Devices").fill("E:TOR861\nE:MINE")
    page.get_by_label("Why?").fill("Mine")
    another.is_signed_in("carol")
    theirs = another.goes_to("/bundles/Morning/edit")
    theirs.get_by_label("Devices").fill("E:TOR860\nE:TOR861\nE:THEIRS")
    theirs.get_by_label("Hosts").fill("h1, h2")
    theirs.get_by_label("Why?").fill("I was first")
    button(theirs, "Preview")
    button(theirs, "Save")
    button(page, "Preview")
    expect(page.get_by_role("alert")).to_contain_text("carol changed it")
    expect(page.get_by_role("alert")).to_contain_text("I was first")
    expect(page.get_by_role("alert")).to_contain_text("E:THEIRS")
    expect(page.get_by_label("Devices")).to_have_value("E:TOR861\nE:MINE")
    expect(page.get_by_label("Why?")).to_have_value("Mine")
    button(page, "Merge their changes")
    expect(page.get_by_label("Devices")).to_have_value("E:MINE\nE:THEIRS\nE:TOR861")
    button(page, "Preview")
    expect(page.locator(".devices.removed")).to_have_text("− E:TOR860")
    expect(page.locator(".devices.added")).to_have_text("+ E:MINE")
    button(page, "Back to the form")
    expect(page.get_by_label("Hosts")).to_have_value("h1 h2")
    button(page, "Preview")
    button(page, "Save")
    now = site.registry.bundle_read("Morning")
    assert (now.devices, now.hosts) == ({"E:MINE", "E:THEIRS", "E:TOR861"}, ("h1", "h2"))

    # Who removed a device, and why? Put it back.
    page.get_by_label("Who added or removed a device?").fill("E:TOR860")
    button(page, "Search the record")
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("removed E:TOR860")
    expect(row).to_contain_text("ann")
    expect(row).to_contain_text("Mine")
    row.get_by_text("changed").click()
    page.get_by_role("link", name="Put this device back").click()
    expect(page.get_by_label("Devices")).to_have_value("E:MINE\nE:THEIRS\nE:TOR861\nE:TOR860")
    button(page, "Preview")
    button(page, "Save")
    assert "E:TOR860" in site.registry.bundle_read("Morning").devices
    page.get_by_role("link", name="Record").last.click()
    page.get_by_role("row").last.get_by_role("link").click()
    page.get_by_role("link", name="Restore this state").click()
    expect(page.locator("li", has_text="− E:THEIRS")).to_be_visible()
    page.get_by_label("Why?").fill("As it was in the morning")
    button(page, "Restore")
    assert site.registry.bundle_read("Morning").devices == {"E:TOR860", "E:TOR861"}

    page.get_by_role("link", name="Delete").click()
    page.get_by_label("Why?").fill("The shift is over")
    button(page, "Delete")
    with pytest.raises(BundleDeleted):
        site.registry.bundle_read("Morning")
    page.goto(f"{site.url}/bundles")
    page.get_by_role("link", name="Deleted bundles").click()
    page.get_by_role("row").nth(1).get_by_text("NOvA").click()
    page.get_by_role("link", name="Restore").click()
    page.get_by_label("Why?").fill("Not yet")
    button(page, "Restore")
    expect(page.get_by_role("heading", level=1)).to_have_text("Morning")
    actions = [(line.user, line.action, line.comment) for line in site.registry.bundle_log("Morning", limit=3)]
    morning = ("ann", "restore", "As it was in the morning")
    assert actions == [("ann", "restore", "Not yet"), ("ann", "delete", "The shift is over"), morning]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out")


def test_what_is_wrong_in_a_form_stands_at_its_field_in_words_for_people(plain: Person, site: Site) -> None:
    plain.is_signed_in("ann")
    page = plain.goes_to("/new-bundle")
    page.get_by_label("Name", exact=True).fill("Odd")
    page.get_by_label("Event").fill("e,<1>")
    page.get_by_label("Hosts").fill("ok bad/host")
    page.get_by_label("Devices").fill("E:TOR860\n<b>")
    button(page, "Preview")
    expect(page.locator("#devices-wrong")).to_contain_text("line 2: <b>")
    page.get_by_label("Devices").fill("E:TOR860")
    button(page, "Preview")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Event: ")
    expect(alert).to_contain_text("Hosts: ")
    for field in ("Event", "Hosts"):
        box = page.get_by_label(field)
        expect(box).to_have_attribute("aria-invalid", "true")
        described = str(box.get_attribute("aria-describedby")).split()
        expect(page.locator(f"#{described[-1]}")).to_have_class("wrong")
        assert page.locator(f"#{described[0]}").count() == 1
    expect(page.get_by_label("Devices")).not_to_have_attribute("aria-invalid", "true")
    assert "(at /" not in page.content()
    page.goto(f"{site.url}/bundles/{next(iter(site.registry.bundle_list())).name}/copy")
    page.get_by_label("Name of the copy").evaluate("(field) => field.form.noValidate = true")
    page.get_by_label("Name of the copy").fill("a b")
    button(page, "Copy")
    expect(page.get_by_label("Name of the copy")).to_have_attribute("aria-invalid", "true")


def test_a_visitor_finds_and_compares_with_the_keyboard_alone(person: Person, beam: list[int]) -> None:
    page = person.goes_to("/bundles?text=beam")
    expect(page.get_by_text("Anyone may read bundles; to change one, say who you are.")).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Beam":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/bundles/Beam")
    expect(page.get_by_text("Anyone may read bundles; to change one, say who you are.")).to_be_visible()
    assert page.get_by_role("link", name="Edit").count() == 0
    expect(page.get_by_text("Not collectable:")).to_be_visible()
    page.get_by_label("Find a device").fill("tr1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 device of 3")
    page.goto(f"{person.site.url}/log?device=E:TOR860&name=Beam")
    expect(page.get_by_role("row").nth(1)).to_contain_text("removed E:TOR860")
    expect(page.get_by_role("row").nth(2)).to_contain_text("added E:TOR860")
    page.get_by_role("row").nth(1).get_by_role("link").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/snapshots/{beam[-1]}")
    page.get_by_label("Compare with").select_option(str(beam[0]))
    button(page, "Compare")
    expect(page.get_by_role("heading", name="Differences from")).to_be_visible()
    expect(page.locator("ins")).to_have_text("h1")
    assert person.context.cookies() == []


def test_one_change_is_undone_and_what_stands_in_the_way_is_named(person: Person, site: Site) -> None:
    registry = site.registry
    registry.bundle_create(
        {"name": "Undone", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}, user="ann"
    )
    wrong = registry.bundle_update("Undone", {"event": "e,00", "devices": ["E:TYPO"]}, user="ann", comment="Oops")
    registry.bundle_update("Undone", {"add_devices": ["E:LATER"]}, user="ann")
    person.is_signed_in("ann")
    page = person.goes_to(f"/snapshots/{wrong.snapshot}")
    page.get_by_role("link", name="Undo this change").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Undo snapshot {wrong.snapshot} of Undone?")
    expect(page.get_by_role("main")).to_contain_text("E:TYPO")
    assert person.violations() == []
    page.get_by_label("Why?").fill("A typing mistake")
    button(page, "Undo")
    expect(page.get_by_role("status")).to_contain_text(f"Undid snapshot {wrong.snapshot} of Undone")
    undone = registry.bundle_read("Undone")
    assert (undone.event, undone.devices) == ("e,a9", {"E:TOR860", "E:LATER"})
    assert registry.bundle_log("Undone")[0].comment == "A typing mistake"
    changed = registry.bundle_update("Undone", {"event": "e,1d"}, user="ann")
    newest = registry.bundle_update("Undone", {"event": "e,8f"}, user="ann")
    page = person.goes_to(f"/snapshots/{changed.snapshot}/undo")
    page.get_by_label("Why?").fill("No")
    button(page, "Undo")
    expect(page.get_by_role("alert")).to_contain_text("stands in the way: event")
    assert registry.bundle_read("Undone") == newest


def test_a_superuser_makes_a_bundle_collectable_which_its_admins_then_only_see(
    person: Person, another: Person, beam: list[int], site: Site
) -> None:
    person.is_signed_in("carol")
    page = person.goes_to("/bundles/Beam/edit")
    page.get_by_label("Running").check()
    button(page, "Preview")
    expect(page.get_by_role("alert")).to_contain_text("only a collectable (writable) bundle can run")
    page.get_by_label("Collectable").check()
    button(page, "Preview")
    button(page, "Save")
    expect(page.get_by_text("a collector can read it, and one should be running now")).to_be_visible()
    another.is_signed_in("ann")
    theirs = another.goes_to("/bundles/Beam")
    expect(theirs.get_by_text("You cannot change it: Beam is collectable")).to_be_visible()
    assert theirs.get_by_role("link", name="Edit").count() == 0
    for path in ("/bundles/Beam/edit", "/bundles/Beam/delete", f"/snapshots/{beam[0]}/restore"):
        assert theirs.goto(site.url + path).status == 403  # type: ignore[union-attr]
    page.goto(f"{site.url}/new-bundle")
    assert page.get_by_label("Group").locator("option").all_inner_texts() == ["NOvA", "MINOS", "root"]
    page.goto(f"{site.url}/bundles/Beam/copy")
    page.get_by_label("Name of the copy").fill("Beam_2")
    button(page, "Copy")
    assert site.registry.bundle_log("Beam_2")[0].action == "copy"


def test_without_scripts_on_a_small_screen_everything_works(plain: Person, beam: list[int], site: Site) -> None:
    plain.signs_in("ann")
    page = plain.goes_to("/bundles")
    page.get_by_role("link", name="Devices", exact=True).last.click()
    page.wait_for_url("**order=devices*")
    page.get_by_role("link", name="Devices", exact=True).last.click()
    page.wait_for_url("**descending=1*")
    counts = [int(cell) for cell in page.locator("tbody td.number").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    page.goto(f"{site.url}/bundles/Beam/edit")
    page.get_by_label("Devices").fill("E:TOR860\nE:TOR860\nodd!")
    button(page, "Preview")
    expect(page.locator(".pointed-out")).to_contain_text("Listed more than once, counted once: E:TOR860")
    expect(page.locator(".pointed-out")).to_contain_text("not in a usual form")
    button(page, "Save")
    assert site.registry.bundle_read("Beam").devices == {"E:TOR860", "odd!"}
    page.goto(f"{site.url}/snapshots/{beam[0]}/restore")
    page.locator("[name=comment]").fill(" ")
    button(page, "Restore")
    expect(page.get_by_role("alert")).to_contain_text("give a reason")


def test_the_record_is_read_by_page_and_sent_as_a_file(person: Person, site: Site) -> None:
    given = {"name": "Busy", "event": "e,1d", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
    site.registry.bundle_create(given, user="ann", comment='=HYPERLINK("http://x")')
    for number in range(60):
        site.registry.bundle_update("Busy", {"event": f"e,{number}"}, user="ann", comment=f"\t-{number}")
    page = person.goes_to("/log?name=Busy&user=ann")
    page.get_by_role("link", name="Older changes").click()
    expect(page.get_by_role("row")).to_have_count(12)
    expect(page.get_by_role("row").last).to_contain_text("created")
    with page.expect_download() as waited:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(waited.value.path().read_text(), newline="")))
    assert waited.value.suggested_filename == "Busy-record.csv"
    assert len(rows) == 61
    assert [row["comment"] for row in rows[-2:]] == ["'-0", '\'=HYPERLINK("http://x")']
    answer = person.context.request.get(
        f"{site.url}/log/export?format=json&name=Busy&since=2000-01-01&until=9990-01-01"
    )
    assert [entry["comment"] for entry in json.loads(answer.text())] == [f"-{n}" for n in range(59, -1, -1)] + [
        '=HYPERLINK("http://x")'
    ]
    everything = json.loads(person.context.request.get(f"{site.url}/bundles.json").text())
    assert [each["name"] for each in everything] == [each.name for each in site.registry.bundle_list()]
    assert person.context.request.get(f"{site.url}/bundles.csv").text().count("\n") == len(everything) + 1
    assert person.context.request.get(f"{site.url}/log/export?until=2000-01-01").text().count("\n") == 1
    for path in (
        "/log?since=yesterday",
        "/log?before=x",
        "/log/export?format=x",
        "/bundles?order=x",
        "/log?until=9999-12-31",
    ):
        assert person.context.request.get(site.url + path).status in (400, 404)


def test_hostile_content_is_shown_harmlessly(person: Person, site: Site) -> None:
    devices = [f"E:D{number:05}" for number in range(3_000)] + ["&{constructor.constructor('x')()}".replace("'", "")]
    devices += ["\u202egnirts" + "x" * 240]
    hostile = {"name": "x" * 64, "event": "e," + "&" * 250, "ifb_group": "NOvA", "hosts": ["h" * 253] * 2}
    made = site.registry.bundle_create(
        {**hostile, "devices": devices}, user="carol", comment=f"{SCRIPT} \u202e{'x' * 4000}"
    )
    site.registry.bundle_update(made.name, {"devices": devices[10:]}, user="carol", comment=SCRIPT)
    person.is_signed_in("carol")
    person.page.set_viewport_size({"width": 360, "height": 740})
    last, first = (line.id for line in site.registry.bundle_log(made.name))
    one = f"/bundles/{made.name}"
    snapshots = (f"/snapshots/{first}", f"/snapshots/{last}?all=1", f"/snapshots/{first}/restore")
    for path in ("/", "/bundles", one, f"{one}/edit", f"{one}/copy", f"{one}/delete", f"{one}/log", "/log", *snapshots):
        page = person.goes_to(path)
        assert "owned" not in page.title()
        assert page.locator("main script, main img").count() == 0
        assert too_wide(page) == 0, path
    page = person.goes_to(f"{one}/edit")
    # As a paste does; what Playwright does to fill a field takes Chromium minutes for so many lines.
    page.get_by_label("Devices").evaluate("(area, text) => { area.value = text; }", "\n".join(devices))
    button(page, "Preview")
    expect(page.get_by_role("heading", name="10 devices added")).to_be_visible()
    button(page, "Save")
    assert site.registry.bundle_read(made.name).devices == set(devices)
    page = person.goes_to(f"/bundles?text={SCRIPT}&device={SCRIPT}&event={SCRIPT}&group={SCRIPT}")
    expect(page.get_by_text("No bundle matches.")).to_be_visible()
    for path in ("/bundles", "/log", one, f"/snapshots/{first}"):
        page = person.goes_to(f"{path}?_scheme=javascript&_external=1&endpoint=x&values=x&_anchor=x&q=E")
        assert page.locator("a[href^='javascript']").count() == 0
        assert page.get_by_role("main").count() == 1
    assert "owned" not in person.goes_to(f"/log?user={SCRIPT}&device={SCRIPT}&name={SCRIPT}").title()


def test_nothing_keeps_people_from_using_a_page(person: Person, beam: list[int], site: Site) -> None:
    site.registry.bundle_create({"name": "Gone", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
    gone = site.registry.bundle_delete("Gone", user="ann", comment="Over").id
    found = {}
    paths = ["/bundles?order=devices", "SIGN IN"]
    paths += ["/bundles?device=E:NONE", "/bundles?deleted=1", "/new-bundle", "/bundles/Gone", "/log"]
    paths += [f"/bundles/Beam{each}" for each in ("", "/edit", "/copy", "/delete", "/log?device=E:TOR860")]
    paths += [f"/snapshots/{each}" for each in (gone, f"{gone}/restore")]
    paths += [f"/snapshots/{beam[-1]}?to={beam[0]}"]
    for path in paths:
        if path == "SIGN IN":
            person.is_signed_in("ann")
            continue
        person.goes_to(path)
        if wrong := person.violations():
            found[path] = wrong
    page = person.goes_to("/bundles/Beam/edit")
    page.get_by_label("Devices").fill("<\n<\nDevice\nodd!\nodd!")
    button(page, "Preview")
    found |= {"wrong": wrong} if (wrong := person.violations()) else {}
    page.get_by_label("Devices").fill("E:NEW\nodd!\nodd!")
    page.get_by_label("Event").fill("e,00")
    button(page, "Preview")
    found |= {"preview": wrong} if (wrong := person.violations()) else {}
    site.registry.bundle_update("Beam", {"udp": True, "add_devices": ["E:NEW"]}, user="carol", comment="First")
    button(page, "Save")
    expect(page.get_by_role("alert")).to_be_visible()
    found |= {"conflict": wrong} if (wrong := person.violations()) else {}
    assert found == {}


def test_pages_fit_a_phone_and_a_screen_at_twice_the_size(person: Person, beam: list[int]) -> None:
    person.is_signed_in("ann")
    paths = ("/bundles", "/bundles/Beam", "/bundles/Beam/edit", "/log", f"/snapshots/{beam[-1]}", "/new-bundle")
    for width in (360, 640):  # a screen of 1280 at 200 % has room for 640 pixels of CSS
        person.page.set_viewport_size({"width": width, "height": 700})
        for path in paths:
            assert too_wide(person.goes_to(path)) == 0, f"{path} at {width}"


@pytest.mark.parametrize("path", ["/bundles", "/bundles?deleted=1"])
def test_the_list_says_everything_on_a_phone_and_scrolls_in_no_box(plain: Person, site: Site, path: str) -> None:
    state = {"name": "A" * 64, "event": "e," + "9" * 200, "ifb_group": "NOvA", "hosts": ["host-1", "host-2"]}
    site.registry.bundle_create(state | {"devices": ["E:TOR860"]}, user="ann")
    site.registry.bundle_create({"name": "Gone", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
    site.registry.bundle_delete("Gone", user="ann", comment="Over")
    page = plain.goes_to(path)
    wide = "[...document.querySelectorAll('.scroll')].map((box) => box.scrollWidth - box.clientWidth)"
    assert page.evaluate(wide) == [0]
    assert too_wide(page) == 0
    for cell in page.locator("tbody tr").first.locator("th, td").all():
        found = cell.bounding_box()
        assert found is not None
        assert found["x"] + found["width"] <= 360
    label = "getComputedStyle(document.querySelector('td.number'), '::before').content"
    assert "Devices" in str(page.evaluate(f"document.querySelector('td.number').dataset.label + {label}"))
    expect(page.get_by_role("link", name="Devices", exact=True)).to_be_visible()


def test_nothing_keeps_people_from_using_the_list_on_a_phone(plain: Person, person: Person, beam: list[int]) -> None:
    person.page.set_viewport_size({"width": 360, "height": 740})
    person.goes_to("/bundles")
    assert person.violations() == []


def test_a_form_of_another_site_changes_nothing(person: Person, beam: list[int], site: Site) -> None:
    person.is_signed_in("ann")
    for path in ("/bundles/Beam/delete", "/bundles/Beam/edit", "/new-bundle", f"/snapshots/{beam[0]}/restore"):
        form = {"comment": "forged", "expected": str(beam[-1]), "step": "store"}
        assert person.context.request.post(site.url + path, form=form).status == 400
    assert site.registry.bundle_read("Beam").snapshot == beam[-1]


def test_the_record_says_what_and_why_on_a_phone(plain: Person, beam: list[int]) -> None:
    page = plain.goes_to("/log?device=E:TOR860")
    for said in ("removed E:TOR860", "It drifts"):
        found = page.get_by_text(said).first.bounding_box()
        assert found is not None, said
        assert found["x"] + found["width"] <= 360, said


@pytest.mark.parametrize("name", ["Theirs", "Gone"])
def test_a_taken_name_is_said_at_its_field_and_blames_no_group(plain: Person, site: Site, name: str) -> None:
    site.registry.bundle_create({"name": name, "event": "e,a9", "ifb_group": "MINOS"}, user="carol")
    if name == "Gone":
        site.registry.bundle_delete(name, user="carol")
    plain.is_signed_in("ann")
    page = plain.goes_to("/new-bundle")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Event").fill("e,a9")
    button(page, "Preview")
    said = page.get_by_role("alert")
    if name == "Theirs":
        expect(page.locator("#name-wrong")).to_have_text("a bundle with this name already exists: choose another name")
    else:
        expect(said).to_contain_text("The name Gone belonged to MINOS and can return only there")
    expect(said).not_to_contain_text("admin")


def test_devices_are_read_down_columns_that_fit_the_window(person: Person, site: Site) -> None:
    devices = [f"E:TR{number:03}D" for number in range(200)]
    site.registry.bundle_create({"name": "Long", "event": "e,a9", "ifb_group": "NOvA", "devices": devices}, user="ann")
    page = person.goes_to("/bundles/Long")
    boxes = page.locator(".tall .devices li").evaluate_all(
        "(items) => items.map((item) => (({x, y}) => [item.textContent, x, y])(item.getBoundingClientRect()))"
    )
    assert [text for text, _, _ in boxes] == devices
    window = page.locator(".tall").bounding_box()
    assert window
    for (_, x, y), (name, next_x, next_y) in pairwise(boxes):
        assert (next_x == x and next_y > y) or abs(next_y - y) < window["height"], name
