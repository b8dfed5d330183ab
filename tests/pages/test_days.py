"""The days of three people, at a desk and on a phone: a visitor, an editor, and the admin of a group of bundles."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from ..processes import SOAK
from .conftest import Person, Site, needs_browser, serving

pytestmark = needs_browser
DEVICES = [f"E:TR{number:03}D" for number in range(200)]


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def site(served: Site) -> Site:
    """One service for all days: starting it takes longer than a day."""
    return served


#: Other tests use each page at a desk; outside the soak, the days are spent on a phone.
@pytest.fixture(params=[1280, 390] if SOAK else [390])
def width(request: pytest.FixtureRequest, person: Person) -> int:
    person.page.set_viewport_size({"width": request.param, "height": 844})
    return int(request.param)


@pytest.fixture
def cars(site: Site) -> str:
    """Return the id of a dataset of two versions."""
    name = f"physics/cars{len(site.store.dataset_list())}"
    fields = [{"name": "speed", "type": "integer", "unit": "km/h"}]
    first = {"title": "Cars", "resources": [{"name": "speeds", "path": "s.csv", "schema": {"fields": fields}}]}
    site.store.dataset_create(name, first, message="First import")
    site.store.tag_create(name, "v1.0")
    change = [{"op": "replace", "path": "/resources/0/schema/fields/0/type", "value": "number"}]
    site.store.dataset_patch(name, change, message="Measure better")
    site.store.tag_create(name, "v2.0", description="Measured better")
    return name


def fits(page: Page) -> bool:
    """Tell whether nothing reaches beyond the side of the screen."""
    page.wait_for_load_state("load")  # a click returns while the next page still lacks its styles
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def keeps_work(page: Page, text: str) -> None:
    page.wait_for_function("(text) => Object.values(localStorage).some((work) => work.includes(text))", arg=text)


def test_a_visitor_finds_what_changed_between_two_versions_and_cites_one(person: Person, cars: str, width: int) -> None:
    page = person.goes_to("/")
    page.get_by_label("Search datasets, bundles and devices").fill(cars)
    page.get_by_role("button", name="Search").click()
    page.locator(f"a[href^='/datasets/{cars}']").first.click()
    page.get_by_role("link", name="Compare with v1.0").click()
    expect(page.locator(".summary")).to_contain_text("minor")
    expect(page.locator(".differences")).to_contain_text("integer")
    expect(page.locator(".differences")).to_contain_text("number")
    assert fits(page)
    page.get_by_role("link", name="Tags").click()
    page.get_by_role("link", name="v1.0", exact=True).click()
    assert fits(page)
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
    expect(page.get_by_role("heading", name="Cars").first).to_be_visible()
    page.emulate_media(media="screen")
    page.get_by_text("BibTeX").click()
    cited = page.locator("pre", has_text="@")
    expect(cited).to_contain_text("1.0")
    expect(cited).to_contain_text(person.site.store.tag_read(cars, "v1.0").revision)


def test_an_editor_survives_a_conflict_a_mistake_and_a_lost_session(
    person: Person, cars: str, site: Site, width: int
) -> None:
    person.is_signed_in("ann")
    edit = f"/datasets/{cars}/edit?as=form"
    # A conflict: somebody else is faster, and both changes are kept.
    page = person.goes_to(edit)
    page.get_by_label("Title", exact=True).first.fill("Fast cars")
    site.store.dataset_patch(cars, {"version": "2.1"}, author="Bo <bo@example.org>", message="I was first")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("I was first")
    page.get_by_role("button", name="Merge their changes").click()
    assert fits(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Fast cars")).to_be_visible()
    merged = site.store.dataset_read(cars).descriptor
    assert (merged["title"], merged["version"]) == ("Fast cars", "2.1")
    # A mistake: a resource is removed, and comes back.
    page = person.goes_to(edit)
    page.get_by_role("checkbox", name="Remove resource speeds").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    assert site.store.dataset_read(cars).descriptor["resources"] == []
    page.get_by_role("link", name="History", exact=True).click()
    page.get_by_role("link", name="Undo").first.click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("Undone")
    assert site.store.dataset_read(cars).descriptor == merged
    # A lost session: the browser has what was typed.
    page = person.goes_to(edit)
    page.get_by_label("Description, in Markdown").fill("Typed before the session was lost")
    keeps_work(page, "Typed before")
    person.context.clear_cookies()
    person.is_signed_in("ann")
    page = person.goes_to(edit)
    page.get_by_role("button", name="Continue editing").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    assert site.store.dataset_read(cars).descriptor["description"] == "Typed before the session was lost"


def test_an_admin_of_a_group_pastes_two_hundred_devices(person: Person, site: Site, width: int) -> None:
    person.is_signed_in("ann")
    name = f"Pasted_{width}"
    page = person.goes_to("/new-bundle")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Event").fill("e,a9")
    pasted = "\r\n".join(f"{device}\tToroid {number}" for number, device in enumerate([*DEVICES, DEVICES[0]]))
    page.get_by_label("Devices", exact=True).fill(pasted)
    expect(page.locator("#devices-said")).to_contain_text("200 devices")
    expect(page.locator("#devices-said")).to_contain_text("counted once")
    page.get_by_label("Why?").fill("All toroids")
    page.get_by_role("button", name="Preview").click()
    assert fits(page)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    assert fits(page)
    stored = site.registry.bundle_read(name)
    assert (set(stored.devices), stored.ifb_group) == (set(DEVICES), "NOvA")
