"""The pages of datasets, as their readers and editors use them."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from .conftest import CARS, Person, Site, needs_browser

pytestmark = needs_browser


def test_a_visitor_finds_a_dataset_and_what_changed_in_it(person: Person, cars: list[str]) -> None:
    page = person.goes_to("/")
    page.get_by_role("link", name="Datasets", exact=True).first.click()
    page.get_by_role("main").get_by_label("Words").fill("speeds cars")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Cars and their speeds").click()
    expect(page.get_by_role("heading", name="Cars and their speeds")).to_be_visible()
    expect(page.locator("em", has_text="Speeds")).to_be_visible()
    expect(page.get_by_text("1.2 MB")).to_be_visible()
    page.get_by_role("link", name="History", exact=True).click()
    page.get_by_label(f"From {cars[0][:12]}").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    expect(page.locator("del", has_text="Cars").first).to_be_visible()
    expect(page.locator("ins", has_text="Cars and their speeds")).to_be_visible()
    expect(page.get_by_text("renamed", exact=True)).to_be_visible()
    assert person.context.cookies() == []


def test_an_old_revision_is_marked_as_such_and_can_be_cited(person: Person, cars: list[str]) -> None:
    page = person.goes_to(f"{CARS}?revision=v1")
    expect(page.get_by_role("status")).to_contain_text("an older revision")
    link = page.get_by_role("link", name=f"{CARS}?revision={cars[1]}")
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cars and their speeds")
    page.get_by_role("link", name="See the current revision").click()
    expect(page.get_by_role("status")).to_have_count(0)


def test_an_editor_changes_tags_and_puts_back(person: Person, cars: list[str], site: Site) -> None:
    person.is_signed_in("ann")
    page = person.goes_to(CARS)
    page.get_by_role("link", name="Edit").click()
    page.get_by_role("button", name="Edit as JSON").click()
    page.get_by_label("datapackage.json").fill('{"title": "Autos", "resources": []}')
    page.get_by_label("Why?").fill("Shorter")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    newest = site.store.revision_read("physics/cars")
    assert (newest.author.name, newest.author.email, newest.message) == ("Ann", "ann@example.org", "Shorter")
    page.get_by_role("link", name="Tag", exact=True).click()
    page.get_by_label("Name").fill("v2")
    page.get_by_role("button", name="Tag").click()
    assert site.store.tag_read("physics/cars", "v2").revision == newest.id
    page.get_by_role("link", name="History", exact=True).click()
    page.get_by_label(f"revert to this: {cars[1][:12]}").click()
    expect(page.locator("li.changed", has_text="title")).to_be_visible()
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_role("heading", name="Cars and their speeds")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out")
    page.goto(f"{site.url}{CARS}")
    expect(page.get_by_role("link", name="Edit")).to_have_count(0)


def test_what_is_wrong_in_a_descriptor_is_marked_and_nothing_typed_is_lost(
    person: Person, cars: list[str], site: Site
) -> None:
    person.is_signed_in("ann")
    page = person.goes_to(f"{CARS}/edit")
    typed = '{\n  "title": "x",\n  "resources": [\n    {"name": "y", "path": "/etc/passwd"}\n  ]\n}'
    page.get_by_label("datapackage.json").fill(typed)
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".places")).to_contain_text("Line 4")
    expect(page.get_by_label("datapackage.json")).to_have_value(typed)
    page.get_by_label("datapackage.json").fill('{\n  "title": }')
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".places")).to_contain_text("Line 2")
    expect(page.get_by_text("not JSON")).to_have_count(1)
    assert site.store.revision_read("physics/cars").id == cars[-1]


def test_a_dataset_is_made_moved_deleted_and_brought_back(person: Person, site: Site) -> None:
    person.is_signed_in("ann")
    page = person.goes_to("/datasets")
    page.get_by_role("link", name="New dataset").click()
    page.get_by_label("Id", exact=True).fill("Physics/bikes")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("lower case")
    page.get_by_label("Id", exact=True).fill("physics/bikes")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("link", name="Move").click()
    page.get_by_label("New id").fill("physics/bicycles")
    page.get_by_role("button", name="Move").click()
    page.wait_for_url("**/datasets/physics/bicycles")
    page.goto(f"{site.url}/datasets/physics/bikes")
    assert page.url.endswith("/datasets/physics/bicycles?moved_from=physics/bikes")
    page.get_by_role("link", name="Delete").click()
    page.get_by_label("Why?").fill("A test")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("was deleted")
    page.get_by_role("link", name="Restore").click()
    page.get_by_role("button", name="Restore").click()
    assert [each.deleted for each in site.store.revision_list("physics/bicycles")] == [False, True, False]


def test_what_is_wrong_with_an_id_stands_at_its_field(person: Person, cars: list[str]) -> None:
    person.is_signed_in("ann")
    page = person.goes_to("/datasets/new")
    for typed, said in (("Physics/new", "lower case"), ("physics/cars", "exists already")):
        page.get_by_label("Id").fill(typed)
        page.get_by_role("button", name="Create").click()
        expect(page.locator("#id-wrong")).to_contain_text(said)
        expect(page.get_by_label("Id")).to_have_attribute("aria-describedby", "id-help id-wrong")
        expect(page.get_by_label("Id")).to_have_value(typed)
    page.get_by_label("Id").fill("physics/new")
    page.get_by_label("datapackage.json").fill('{"resources": [{"path": "/etc/passwd"}]}')
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_label("datapackage.json")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#id-wrong")).to_have_count(0)
    assert "(at /" not in page.content()
    assert person.violations() == []
    page.goto(f"{person.site.url}{CARS}/tag")
    page.get_by_label("Name").fill("no tag")
    page.get_by_role("button", name="Tag").click()
    expect(page.get_by_label("Name")).to_have_attribute("aria-describedby", "problem")


def test_hostile_content_is_shown_harmlessly(person: Person, site: Site) -> None:
    script = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    hostile = f"{script} \u202egnirts \u2066 {'x' * 4000}"
    descriptor = {
        "title": hostile,
        "description": f"{script}\n\n[click](javascript:alert(1)) ![](http://example.org/x.png) <b>b</b>",
        "homepage": "javascript:alert(1)",
        "licenses": [{"name": hostile, "path": "javascript:alert(1)"}],
        "contributors": [{"title": hostile, "role": [hostile]}, "text", None],
        "sources": hostile,
        "keywords": {"a": hostile},
        "resources": [
            {"name": "x", "path": "x.csv", "title": hostile, "bytes": "many", "schema": {"fields": [hostile]}}
        ],
    }
    site.store.dataset_create(
        "physics/hostile", json.dumps(descriptor), author=("&quot; ' onclick=x", "a@b"), message=hostile
    )
    site.store.tag_create("physics/hostile", "v1", description=hostile)
    site.store.dataset_patch("physics/hostile", {"title": f"{hostile}2"}, message=hostile)
    person.is_signed_in("ann")
    for path in (
        "",
        "/history",
        "/compare?from=v1",
        "/edit",
        "/tag",
        "/delete",
        "/revert?to=v1",
        "/undo?revision=HEAD",
    ):
        page = person.goes_to(f"/datasets/physics/hostile{path}")
        assert "owned" not in page.title().split("<")[0]
        assert page.locator("main script, main img, main b").count() == 0
        assert page.locator("a[href^=javascript]").count() == 0
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, f"{path} is {width} pixels too wide"


def test_a_form_of_another_site_changes_nothing(person: Person, cars: list[str], site: Site) -> None:
    person.is_signed_in("ann")
    answer = person.context.request.post(f"{site.url}{CARS}/delete", form={"message": "forged"})
    assert answer.status == 400
    assert site.store.revision_read("physics/cars").id == cars[-1]


def test_what_is_wrong_is_reached_by_line_and_column_in_an_editor_with_line_numbers(
    person: Person, cars: list[str]
) -> None:
    person.is_signed_in("ann")
    page = person.goes_to(f"{CARS}/edit")
    lines = ["{", '  "resources": [', *(f'    {{"name": "r{n}", "path": "a.csv"}},' for n in range(200))]
    lines += ['    {"name": "r", "path": "/etc/passwd"}', "  ],", *(f'  "x{n}": {n},' for n in range(90)), '  "y": 1}']
    page.get_by_label("datapackage.json").fill("\n".join(lines))
    expect(page.locator(".numbers div")).to_have_count(len(lines))
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Line 203, column 27").click()
    box = page.get_by_label("datapackage.json")
    selected = box.evaluate("(box) => box.value.slice(box.selectionStart, box.selectionEnd)")
    assert selected == '"/etc/passwd"}'
    expect(box).to_be_focused()
    number, text = (
        page.locator(place).first.evaluate(
            "(each) => { const b = each.getBoundingClientRect(); return [b.top, b.bottom]; }"
        )
        for place in (".numbers .wrong-line", ".editor textarea")
    )
    assert text[0] < number[0] < number[1] < text[1]
    expect(page.locator(".wrong-line")).to_have_text("203")
    assert person.violations() == []
