"""The pages of bundles, as visitors, admins and superusers use them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

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
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out")


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


def test_hostile_content_is_shown_harmlessly_on_a_phone(person: Person, site: Site) -> None:
    devices = [f"E:D{number:05}" for number in range(30)] + ["&{constructor.constructor(x)()}"]
    devices += ["\u202egnirts" + "x" * 240]
    hostile = {"name": "x" * 64, "event": "e," + "&" * 250, "ifb_group": "NOvA", "hosts": ["h" * 253] * 2}
    made = site.registry.bundle_create(
        {**hostile, "devices": devices}, user="carol", comment=f"{SCRIPT} \u202e{'x' * 4000}"
    )
    site.registry.bundle_update(made.name, {"devices": devices[10:]}, user="carol", comment=SCRIPT)
    person.is_signed_in("carol")
    person.page.set_viewport_size({"width": 360, "height": 740})
    last = site.registry.bundle_log(made.name)[0].id
    one = f"/bundles/{made.name}"
    for path in ("/", one, f"{one}/edit", f"{one}/delete", "/log", f"/snapshots/{last}"):
        page = person.goes_to(path)
        assert "owned" not in page.title()
        assert too_wide(page) == 0, path


def test_nothing_keeps_people_from_using_a_page(person: Person, beam: list[int], site: Site) -> None:
    site.registry.bundle_create({"name": "Gone", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
    gone = site.registry.bundle_delete("Gone", user="ann", comment="Over").id
    found = {}
    # Few rows: axe takes its time for each, and they are alike.
    person.page.set_viewport_size({"width": 360, "height": 740})
    person.goes_to("/bundles?text=beam")
    found |= {"on a phone": wrong} if (wrong := person.violations()) else {}
    person.page.set_viewport_size({"width": 1280, "height": 900})
    person.is_signed_in("ann")
    paths = ["/bundles?deleted=1", "/bundles/Beam", f"/snapshots/{gone}/restore", f"/snapshots/{beam[-1]}?to={beam[0]}"]
    for path in paths:
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


@pytest.mark.soak
def test_nothing_keeps_people_from_using_any_page_of_bundles(person: Person, beam: list[int], site: Site) -> None:
    person.is_signed_in("ann")
    site.registry.bundle_create({"name": "Gone", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
    gone = site.registry.bundle_delete("Gone", user="ann", comment="Over").id
    paths = ["/bundles?order=devices", "/bundles?device=E:NONE", "/new-bundle", "/bundles/Gone", "/log"]
    paths += [f"/bundles/Beam/{each}" for each in ("edit", "copy", "delete", "log?device=E:TOR860")]
    for path in [*paths, f"/snapshots/{gone}", f"/snapshots/{beam[1]}/undo", "/import-bundles"]:
        person.goes_to(path)
        assert person.violations() == [], path


def test_a_line_of_the_record_fits_a_phone(person: Person, beam: list[int]) -> None:
    """`test_widths` looks at all pages."""
    person.page.set_viewport_size({"width": 360, "height": 700})
    page = person.goes_to("/log?device=E:TOR860")
    for said in ("removed E:TOR860", "It drifts"):
        found = page.get_by_text(said).first.bounding_box()
        assert found is not None, said
        assert found["x"] + found["width"] <= 360, said


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
