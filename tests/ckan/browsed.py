"""A person with a browser at a running CKAN with sample data: CKAN's own forms, and the extension's pages.

Run by `make test-ckan`. With `CKAN_PICTURES` set, pictures of what the person saw are left in that folder.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.ckan.portal import Portal, away, fill
from tests.pages.conftest import CHROMIUM

PICTURES = os.environ.get("CKAN_PICTURES")


#: The settings of ckanext-scheming, whose forms take the place of CKAN's.
SCHEMING = {"scheming.dataset_schemas": "ckanext.scheming:ckan_dataset.yaml"}


@pytest.fixture(scope="module", params=["", "scheming_datasets"])
def portal(request: pytest.FixtureRequest) -> Iterator[Portal]:
    programs, settings = Path(os.environ["CKAN_PROGRAMS"]).absolute(), SCHEMING if request.param else {}
    # The first plugin's templates extend those of the others.
    made = Portal(programs, testing=False, plugins=f"metastore activity {request.param}", settings=settings)
    try:
        made.serve()
        fill(made)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


#: Names what sticks out of a page that is `width` wide, and is not in a box that can be scrolled.
STICKING_OUT = """width => {
    const sticks = each => each.getBoundingClientRect().right > width + 1;
    const clips = each => each && (
        getComputedStyle(each).overflowX !== 'visible' && !sticks(each) || clips(each.parentElement)
    );
    return [...document.querySelectorAll('body *')]
        .filter(each => sticks(each) && each.getClientRects().length && !clips(each.parentElement))
        .map(each => each.tagName + '.' + each.className + ': ' + each.textContent.trim().slice(0, 60)).slice(0, 9);
}"""
#: Where an element begins.
TOP = "each => each.getBoundingClientRect().top"


class Person:
    """Somebody in front of a browser of their own, who is told what goes wrong in it."""

    def __init__(self, chromium: Browser, portal: Portal, **how: object) -> None:
        self.context = chromium.new_context(base_url=portal.url, **how)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # a first page is made ready while it is asked for
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: self._see(answer.url, answer.status))
        self.page.route(lambda url: not url.startswith((portal.url, "data:")), lambda route: route.abort())

    def _see(self, url: str, status: int) -> None:
        if status >= 400:
            self.complaints.append(f"{status} {url}")

    def signs_in(self) -> None:
        self.page.goto("/user/login")
        self.page.get_by_label("Username").fill("ann")
        self.page.get_by_label("Password").fill("ann-password")
        self.page.get_by_role("button", name="Login").click()
        self.page.wait_for_url("**/dashboard**")

    @property
    def versions(self) -> Locator:
        """The tab that leads to the versions. With CKAN's styles its name begins with the glyph of an icon."""
        return self.page.get_by_role("link", name=re.compile("Versions$"))

    def edits(self, name: str, message: str, **fields: str) -> None:
        """Change fields of CKAN's form, say what changed, and wait for the dataset's page."""
        self.page.goto(f"/dataset/edit/{name}")
        for label, value in fields.items():
            self.page.get_by_label(label, exact=True).fill(value)
        self.page.get_by_label("What changed").fill(message)
        self.page.get_by_role("button", name="Update Dataset").click()
        self.versions.wait_for()

    def looks(self, name: str) -> None:
        """See that nothing keeps people from using the extension's part of the page, and keep a picture of it."""
        self.page.wait_for_load_state()  # before that, CKAN's scripts have not drawn everything
        # The words of datasets, and what CKAN's and scheming's own templates and scripts draw, are not ours.
        others = [[".description"], [".notes"], [".error-explanation"], [".additional-info"], [".select2-container"]]
        ours = {"include": [[".primary .module-content"]], "exclude": others}
        links = {"rules": {"link-in-text-block": {"enabled": False}}}  # CKAN's theme underlines none
        found = Axe().run(self.page, ours, links).response["violations"]
        assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found] == []
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    def sees(self, name: str) -> int:
        """Keep a picture of the page when all of it is there, and return how wide it is."""
        self.page.wait_for_load_state("networkidle")
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def rows(self) -> list[list[str]]:
        """Who and why of the versions that are listed, newest first, with their tags."""
        table = self.page.get_by_role("table").first
        cells = [row.get_by_role("cell").all_inner_texts()[2:] for row in table.get_by_role("row").all()[1:]]
        # The changed fields are on a second line.
        return [[who, why.split("\n")[0], tags] for why, who, _, tags in cells]


@pytest.fixture
def ann(chromium: Browser, portal: Portal) -> Iterator[Person]:
    somebody = Person(chromium, portal, viewport={"width": 1280, "height": 900})
    somebody.signs_in()
    yield somebody
    if PICTURES:
        somebody.page.screenshot(path=Path(PICTURES) / "last.png")
    somebody.context.close()
    assert somebody.complaints == [], portal.complaints()


def test_the_sample_data_are_found_and_lead_to_their_versions(ann: Person) -> None:
    ann.page.goto("/dataset/")
    ann.page.get_by_role("textbox", name="Search").last.fill("vega")
    ann.page.keyboard.press("Enter")
    ann.page.get_by_role("link", name="Vega's datasets").click()
    ann.versions.click()
    assert ann.rows() == [["Ann Lee", "Say whose they are", "v1"], ["Ann Lee", "Import datasets", ""]]
    ann.page.get_by_role("link", name="v1").first.click()
    ann.page.get_by_text("The newest version").wait_for()
    ann.looks("newest")


def test_a_dataset_edited_twice_is_compared_tagged_restored_and_cloned(
    ann: Person, portal: Portal, tmp_path: Path
) -> None:
    page, name = ann.page, "test-package"
    ann.edits(name, "Say what it is", Title="Packages for tests", Description="Tables of every kind")
    ann.edits(name, "Name the author", Author="Bo Ek", Title="Packages <for> tests")
    ann.versions.click()
    written = ["Name the author", "Say what it is", f"Import {name}"]
    assert ann.rows() == [["Ann Lee", each, ""] for each in written]
    ann.looks("versions")

    page.get_by_label("Compare from").last.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Compare versions").wait_for()
    compared = [row.inner_text().split("\t") for row in page.get_by_role("row").all()[1:]]
    assert ["Title", name, "Packages <for> tests"] in compared
    assert any("Bo Ek" in row[-1] for row in compared)
    ann.looks("compare")

    page.locator(".primary").get_by_role("link", name="All versions").click()
    page.get_by_role("link", name=f"Import {name}").click()
    page.get_by_text("An older version").wait_for()
    old = page.url
    ann.looks("older")
    page.get_by_text("Restore or tag this version").click()
    page.get_by_label("Name of the tag").fill("v1.0")
    page.get_by_label("What it stands for").fill("As it came")
    ann.looks("forms")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_text("Tagged versions").wait_for()
    assert ann.rows()[-1] == ["Ann Lee", f"Import {name}", "v1.0"]
    ann.looks("tagged")

    page.get_by_role("link", name="v1.0").last.click()
    page.get_by_text("An older version").wait_for()
    assert page.get_by_role("heading", level=1).last.inner_text() == name
    assert page.get_by_text(old.rpartition("/")[2]).is_visible()
    page.get_by_text("Restore or tag this version").click()
    page.get_by_label("Why restore it").fill("The edits were a mistake")
    page.get_by_role("button", name="Restore", exact=True).click()
    page.get_by_text("Restored", exact=True).wait_for()
    assert [row[1] for row in ann.rows()] == ["The edits were a mistake", *written]
    ann.looks("restored")
    page.get_by_role("link", name=re.compile("Dataset$")).click()
    assert page.get_by_role("heading", level=1).last.inner_text() == name
    assert page.get_by_text("Bo Ek").count() == 0

    assert cloned(portal, name, tmp_path) == ["The edits were a mistake", *written]
    tagged = git(tmp_path, "rev-parse", "v1.0^{commit}")
    assert tagged == old.rpartition("/")[2]
    assert git(tmp_path, "tag", "--list", "--format=%(contents:subject)", "v1.0") == "As it came"


def cloned(portal: Portal, name: str, folder: Path) -> list[str]:
    """Clone what MetaStore has of a dataset, and return what its commits say, newest first."""
    git(folder, "clone", "--quiet", f"{portal.folder}/store/{portal.place(name)}.git", ".")
    return git(folder, "log", "--format=%s").splitlines()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_one_change_is_undone_and_a_later_one_that_stands_in_the_way_is_named(ann: Person) -> None:
    page, name = ann.page, "compression"
    ann.edits(name, "Say where it is from", Source="https://example.org/first")
    ann.edits(name, "Describe it", Description="Where countries end")
    ann.versions.click()
    page.get_by_role("link", name="Say where it is from").click()
    page.get_by_text("Restore or tag this version").click()
    ann.looks("undo")
    page.get_by_label("Why undo it").fill("It is from elsewhere")
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_text("Undone", exact=True).wait_for()
    assert [row[1] for row in ann.rows()][:2] == ["It is from elsewhere", "Describe it"]
    ann.edits(name, "Correct the source", Source="https://example.org/second")
    ann.versions.click()
    page.get_by_role("link", name="Say where it is from").click()
    page.get_by_text("Restore or tag this version").click()
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_text("A later change stands in the way. It changed again: Source").wait_for()
    ann.looks("in-the-way")


def test_the_second_of_two_editors_sees_what_the_first_one_changed_and_keeps_the_input(
    ann: Person, chromium: Browser, portal: Portal
) -> None:
    page, name = ann.page, "zipped-resources"
    page.goto(f"/dataset/edit/{name}")
    page.get_by_label("Title", exact=True).fill("My title")
    page.get_by_label("What changed").fill("Give it my title")
    portal.act(portal.token, "package_patch", id=name, title="Their title")
    page.get_by_role("button", name="Update Dataset").click()
    page.get_by_text("Ann Lee saved a change after you opened this form").wait_for()
    assert page.get_by_text("Title: now Their title").is_visible()
    assert page.get_by_label("Title", exact=True).input_value() == "My title"
    ann.looks("two-editors")
    page.get_by_role("button", name="Update Dataset").click()
    ann.versions.wait_for()
    assert portal.act(portal.token, "package_show", id=name)["title"] == "My title"

    resource = portal.act(portal.token, "package_show", id=name)["resources"][0]["id"]
    # It has the path of a file, which Chromium may not send: CKAN's form asks for a URL.
    portal.act(portal.token, "resource_patch", id=resource, url="https://example.org/data.csv")
    page.goto(f"/dataset/{name}/resource/{resource}/edit")
    page.get_by_label("Name", exact=True).fill("My name")
    portal.act(portal.token, "resource_patch", id=resource, description="Their description")
    page.get_by_role("button", name="Update Resource").click()
    page.get_by_text("Description: now Their description").wait_for()
    assert page.get_by_label("Name", exact=True).input_value() == "My name"
    page.get_by_label("What changed").fill("Name the data")
    page.get_by_role("button", name="Update Resource").click()
    page.get_by_role("link", name="Edit resource").first.wait_for()
    assert portal.act(portal.token, "dataset_revision_list", id=name)[0]["message"] == "Name the data"


def test_the_page_of_a_dataset_leads_to_its_versions_and_they_lead_to_each_other(ann: Person, portal: Portal) -> None:
    page, name = ann.page, "ferries"
    said = {"name": name, "title": "Ferries", "owner_org": "examples", "metastore_message": "Begin with ferries"}
    portal.act(portal.token, "package_create", **said)
    ann.edits(name, "Say what it is", Title="Ferries and boats")
    portal.act(portal.token, "dataset_tag_create", id=name, tag="v2", description="Second edition")
    page.goto(f"/dataset/{name}")
    page.get_by_text("Second edition").wait_for()
    ann.looks("dataset")
    oldest = page.get_by_label("Show the version of").locator("option").last.get_attribute("value")
    page.get_by_label("Show the version of").select_option(oldest)
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("An older version").wait_for()
    page.get_by_role("link", name="The version after").click()
    page.get_by_text("The newest version.").wait_for()
    assert page.get_by_role("link", name="The version after").count() == 0
    assert page.request.get(page.get_by_role("link", name="JSON").get_attribute("href") or "").json()["success"]
    page.get_by_role("link", name="Activity Stream").click()
    page.get_by_role("link", name="View this version").last.click()
    page.get_by_role("link", name="See this version among all versions").click()
    page.get_by_role("alert").get_by_text("Begin with ferries").wait_for()  # the list of versions has it too, hidden
    page.get_by_role("link", name="Activity Stream").click()
    page.get_by_role("link", name="All versions, to compare and restore").click()
    page.get_by_role("link", name="These versions as JSON").wait_for()


def test_while_metastore_is_away_people_edit_and_read_and_the_operator_catches_up(
    ann: Person, chromium: Browser, portal: Portal
) -> None:
    page, name = ann.page, "barges"
    said = {"name": name, "title": "Barges", "owner_org": "examples", "metastore_message": "Begin with barges"}
    portal.act(portal.token, "package_create", **said)
    stranger = Person(chromium, portal, viewport={"width": 1280, "height": 900})
    with away(portal):
        ann.edits(name, "Add the rafts", Title="Barges and rafts")
        assert page.get_by_role("heading", level=1).last.inner_text() == "Barges and rafts"
        for person in (ann, stranger):
            person.page.goto(f"/dataset/{name}")
            person.page.get_by_role("heading", name="Barges and rafts").last.wait_for()
            person.versions.click()
            person.page.get_by_role("heading", name="The versions cannot be shown just now").wait_for()
        ann.looks("away")
        with pytest.raises(RuntimeError, match="Error: "):
            portal.ckan("metastore", "status")
    with pytest.raises(RuntimeError, match="datasets with changes that wait: 1"):
        portal.ckan("metastore", "status")
    portal.ckan("metastore", "reconcile")
    assert "in step" in portal.ckan("metastore", "status")
    stranger.page.goto(f"/dataset/{name}/versions")
    assert stranger.rows() == [["Ann Lee", "Add the rafts", ""], ["Ann Lee", "Begin with barges", ""]]
    for person in (ann, stranger):  # the pages of versions, and the lists beside those of datasets
        refused, person.complaints = person.complaints, []
        assert refused
        assert [each for each in refused if not each.startswith("503")] == []
    stranger.context.close()


def test_on_a_telephone_without_javascript_a_stranger_sees_versions_and_no_forms(
    chromium: Browser, portal: Portal
) -> None:
    stranger = Person(chromium, portal, viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page = stranger.page
    page.goto("/dataset/datasets/versions")
    page.get_by_role("button", name="Compare").click()
    assert page.get_by_text("Vega's datasets", exact=True).last.is_visible()
    page.locator(".primary").get_by_role("link", name="All versions").click()
    assert page.get_by_role("button", name="Remove").count() == 0
    page.get_by_role("link", name="Import datasets").click()
    assert page.get_by_text("An older version").is_visible()
    assert page.get_by_text("Restore").count() == 0
    page.get_by_role("link", name="Compare with the newest version").click()
    assert page.get_by_text("Vega's datasets", exact=True).last.is_visible()
    stranger.context.close()
    assert stranger.complaints == []


def test_on_a_telephone_no_page_of_versions_is_wider_than_ckans_own(chromium: Browser, portal: Portal) -> None:
    name, long = "rafts", "Donaudampfschifffahrtsgesellschaft" * 4
    said = {"name": name, "title": "Rafts of the Danube", "owner_org": "examples", "url": "https://example.org/rafts"}
    resource = {"name": "Where they stop", "url": f"https://example.org/{long}.csv", "format": "CSV"}
    made = portal.act(portal.token, "package_create", **said, resources=[resource], metastore_message="Begin")
    portal.act(portal.token, "dataset_tag_create", id=name, tag=long[:100], description=long)
    portal.act(portal.token, "package_patch", id=name, resources=[], metastore_message=long)
    new, old = (each["id"] for each in portal.act(portal.token, "dataset_revision_list", id=name))
    ann = Person(chromium, portal, viewport={"width": 390, "height": 844})
    ann.signs_in()
    ann.page.goto("/dataset/")
    width = ann.sees("telephone-ckan")
    pages = {
        "dataset": f"/dataset/{name}",
        "versions": f"/dataset/{name}/versions",
        "older": f"/dataset/{name}/versions/{old}",
        "resource": f"/dataset/{name}/versions/{old}/resource/{made['resources'][0]['id']}",
        "compare": f"/dataset/{name}/versions/compare?from={old}&to={new}",
        "edit": f"/dataset/edit/{name}",
    }
    too_wide = {}
    for page, address in pages.items():
        ann.page.goto(address)
        if page == "older":
            ann.page.get_by_text("Restore or tag this version").click()
        if page == "resource":
            banner, title = (ann.page.locator(each).evaluate(TOP) for each in (".alert", "h1.page-heading"))
            assert banner < title
        if ann.sees(f"telephone-{page}") > width:
            too_wide[page] = ann.page.evaluate(STICKING_OUT, width)
    assert too_wide == {}
    ann.page.get_by_label("Title", exact=True).fill("My title")
    portal.act(portal.token, "package_patch", id=name, url=f"https://example.net/{long}")
    ann.page.get_by_role("button", name="Update Dataset").click()
    ann.page.get_by_text("Ann Lee saved a change after you opened this form").wait_for()
    assert ann.sees("telephone-two-editors") <= width, ann.page.evaluate(STICKING_OUT, width)
    ann.context.close()
    assert ann.complaints == []
