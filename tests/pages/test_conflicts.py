"""Editors whose change meets another one: beside it, before it, or after it, where it is to be undone."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from .conftest import CARS, Person, Site, needs_browser

pytestmark = needs_browser


def test_who_was_overtaken_sees_the_other_change_beside_what_they_typed(
    person: Person, another: Person, cars: list[str], site: Site
) -> None:
    person.is_signed_in("ann")
    mine = person.goes_to(f"{CARS}/edit")
    another.is_signed_in("bo")
    theirs = another.goes_to(f"{CARS}/edit")
    theirs.get_by_label("datapackage.json").fill('{"title": "Theirs", "resources": []}')
    theirs.get_by_label("Why?").fill("I was first")
    theirs.get_by_role("button", name="Save").click()
    mine.get_by_label("datapackage.json").fill('{"title": "Mine", "resources": []}')
    mine.get_by_label("Why?").fill("So was I")
    mine.get_by_role("button", name="Save").click()
    expect(mine.get_by_role("alert")).to_contain_text("I was first")
    expect(mine.get_by_role("alert")).to_contain_text("Theirs")
    expect(mine.get_by_label("datapackage.json")).to_have_value('{"title": "Mine", "resources": []}')
    expect(mine.get_by_label("Why?")).to_have_value("So was I")
    assert site.store.dataset_read("physics/cars").descriptor["title"] == "Theirs"
    mine.get_by_role("button", name="Save").click()
    assert [each.author.name for each in site.store.revision_list("physics/cars", limit=2)] == ["Ann", "Bo"]


def test_two_changes_of_different_members_are_put_together_and_seen_before_they_are_stored(
    person: Person, cars: list[str], site: Site
) -> None:
    person.is_signed_in("ann")
    page = person.goes_to(f"{CARS}/edit")
    box = page.get_by_label("datapackage.json")
    mine = json.loads(box.input_value()) | {"version": "2", "title": "Mine"}
    mine["resources"][0]["format"] = "tsv"
    patch = '{"description": "Theirs", "title": "Theirs", "licenses": null, "speed": 1.50e2}'
    site.store.dataset_patch("physics/cars", patch, author="Bo", message="I was first")
    more = [{"op": "add", "path": "/resources/0/bytes", "value": 7}]
    site.store.dataset_patch("physics/cars", [*more, {"op": "add", "path": "/resources/-", "value": {"name": "b"}}])
    theirs = site.store.revision_read("physics/cars").id
    page.get_by_label("Why?").fill("Mine")
    box.fill(json.dumps(mine))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Changed meanwhile")
    assert person.violations() == []
    box.fill(json.dumps(mine)[:-1])
    for name in ("Save", "Merge their changes"):  # what is no JSON is not taken for an answer
        page.get_by_role("button", name=name).click()
        expect(page.locator(".places")).to_contain_text("not JSON")
        expect(page.get_by_text("Changed meanwhile")).to_be_visible()
    box.fill(json.dumps(mine))
    page.get_by_role("button", name="Merge their changes").click()
    expect(page.locator(".differences tbody tr")).to_have_count(1)
    expect(page.locator(".differences tbody tr")).to_have_text("titleTheirsMine")
    assert person.violations() == []
    assert site.store.revision_read("physics/cars").id == theirs
    expect(page.get_by_label("Why?")).to_have_value("Mine")
    page.get_by_role("button", name="Save").click()
    made = site.store.dataset_read("physics/cars")
    resource = {"name": "velocities", "path": "speeds.csv", "format": "tsv", "bytes": 7}
    said = {"title": "Mine", "description": "Theirs", "version": "2", "resources": [resource, {"name": "b"}]}
    said["speed"] = 150.0
    assert b'"speed": 1.50e2' in made.bytes  # numbers stay as they were written
    assert (made.descriptor, made.revision.parent, made.revision.message) == (said, theirs, "Mine")


def test_one_change_is_undone_from_the_history_unless_a_later_one_stands_in_the_way(
    person: Person, cars: list[str], site: Site
) -> None:
    first = site.store.dataset_patch("physics/cars", {"title": "Wrong", "homepage": "https://example.org"}).revision
    later = site.store.dataset_patch("physics/cars", {"version": "2"}).revision
    person.is_signed_in("ann")
    page = person.goes_to(f"{CARS}/history")
    page.get_by_label(f"undo this: {first.id[:12]}").click()
    expect(page.locator("li.changed", has_text="title")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("Undone as revision")
    undone = site.store.dataset_read("physics/cars")
    assert (undone.descriptor["version"], "homepage" in undone.descriptor) == ("2", False)
    site.store.dataset_patch("physics/cars", {"version": "3"})
    page = person.goes_to(f"{CARS}/undo?revision={later.id}")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("alert")).to_contain_text("stands in the way: version")
    expect(page.locator("li", has_text="version: now 3")).to_be_visible()
    assert person.violations() == []


def test_a_creation_is_undone_from_the_history_which_says_that_this_deletes_the_dataset(
    person: Person, cars: list[str], site: Site
) -> None:
    made = site.store.dataset_create("physics/new", {"title": "New"}).revision
    later = site.store.dataset_patch("physics/new", {"version": "2"}, message="Second").revision
    person.is_signed_in("ann")
    page = person.goes_to("/datasets/physics/new/history")
    page.get_by_label(f"undo this: {made.id[:12]}").click()
    expect(page.locator("#typed")).to_contain_text("Undoing that deletes the dataset.")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("stands in the way")
    expect(page.locator("ul.changes li")).to_have_text(f"revision {later.id[:12]} ('Second')")
    site.store.dataset_undo("physics/new", later.id)
    page = person.goes_to(f"/datasets/physics/new/undo?revision={made.id}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("Deleted physics/new.")
    assert site.store.revision_read("physics/new").deleted
    assert person.violations() == []
