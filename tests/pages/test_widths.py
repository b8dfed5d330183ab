"""Pages on screens of all widths: nothing is cut off at the side, and what is to be hit is large enough for a thumb."""

from __future__ import annotations

import pytest

import metastore
from metastore import bundle
from metastore.auth.tokens import Verifier
from metastore.web import create_app

from ..processes import SOAK
from .conftest import Person, Site, needs_browser

#: The snapshot of the bundle that is deleted.
GONE = 6
#: A screen of 1280 at twice the size has room for 640 pixels of CSS. The soak adds widths at which the styles have the
#: same rules as at a lesser one.
WIDTHS = (320, 360, 390, 640, 768, 1024, 1280, 1440, 1920) if SOAK else (320, 640, 768, 1024, 1280, 1920)
#: An address of each page, and of those that look different with other parameters.
PAGES = (
    "/",
    "/datasets",
    "/search?q=csv",
    "/datasets/vega/datasets?find=unemployment&revision=v1",
    "/datasets/vega/datasets?resource=5",
    "/datasets/vega/datasets/history",
    "/datasets/vega/datasets/blame?path=/resources/3",
    "/datasets/vega/datasets/tags",
    "/datasets/vega/datasets/tags/v1/edit",
    "/datasets/vega/datasets/tags/v1/delete",
    "/datasets/vega/datasets/compare/choose?side=to",
    "/datasets/vega/datasets/compare?from=v1",
    "/datasets/vega/datasets/compare?from=v1&view=text",
    "/datasets/vega/datasets/compare?from=v1&view=text&columns=2",
    "/datasets/vega/datasets/edit?as=form&open=1",
    "/datasets/vega/datasets/tag",
    "/datasets/vega/datasets/move",
    "/datasets/vega/datasets/delete",
    "/datasets/vega/datasets/revert?to=v1",
    "/datasets/vega/datasets/undo?revision=HEAD",
    "/datasets/new?as=form",
    "/datasets/ocean/rows",
    "/bundles",
    "/bundles?device=E:HRNDIR",
    "/bundles/NuMI_Physics_A9",
    "/bundles/NuMI_Physics_A9/edit",
    "/bundles/NuMI_Physics_A9/copy",
    "/bundles/NuMI_Physics_A9/delete",
    "/bundles/NuMI_Physics_A9/log",
    "/bundles-as-of?at=2099-01-01",
    "/bundle-comparison?from=NuMI_Physics_A9&to=BNB_BPM_settings",
    "/snapshots/1",
    "/snapshots/1/undo",
    f"/snapshots/{GONE}/restore",
    "/new-bundle",
    "/import-bundles",
    "/log",
    "/changes",
    "/device?name=E:HRNDIR",
    "/session",
    "/sign-in",
)
#: Files, and what shows no page.
NO_PAGES = {"static", "bundles.export", "record.export", "compare.as_text"}
#: Returns what reaches beyond the screen, outside of parts that scroll by themselves.
_BEYOND = """[...document.querySelectorAll("body *")].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1)
        && !part.closest(".scroll, pre, .skip, .hidden") && part.checkVisibility();
}).map((part) => `${part.tagName} ${part.className} ${part.textContent.trim().slice(0, 40)}`)"""
#: Returns what is less than 24 pixels high to hit. WCAG 2.5.8 excepts links in a line of text; here they fit, too.
_SMALL = """[...document.querySelectorAll("main :is(a, button, input, select, summary)")].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.width && box.height < 24 && !part.closest(".hidden") && part.checkVisibility();
}).map((part) => `${part.tagName} ${part.getBoundingClientRect().height} ${part.textContent.trim().slice(0, 40)}`)"""
#: Returns the words on badges in tables that are broken in two.
_BROKEN = """[...document.querySelectorAll(":is(td, th) > .badge")].filter(
    (part) => part.offsetHeight > 26 && !part.textContent.trim().includes(" ")
).map((part) => `broken: ${part.textContent}`)"""
#: Returns the height of the header, and those three.
_LOOK = f"() => [document.querySelector('body > header').offsetHeight, {_BEYOND}, {_SMALL}, {_BROKEN}]"


def fills(site: Site) -> None:
    """Give the pages what they show: a tag, two versions with resources, a table in a descriptor, a deleted bundle."""
    sample = "vega/datasets"
    site.store.tag_create(sample, "v1", description="As published")
    site.store.dataset_patch(sample, [{"op": "remove", "path": "/resources/1"}], message="Drop one")
    rows = [{f"column_{number}": f"a value of some length {number}" for number in range(12)}] * 3
    site.store.dataset_create("ocean/rows", {"title": "Rows", "resources": [{"name": "rows", "data": rows}]})
    made = {"name": "Gone", "event": "e,1d", "ifb_group": "NOvA", "devices": ["E:ONE"]}
    site.registry.bundle_create(made, user="carol")
    assert site.registry.bundle_delete("Gone", user="carol", comment="Over").id == GONE + 1
    site.registry.bundle_update("NuMI_Physics_A9", {"udp": True}, user="carol", comment="Send it")


def wrong_on(person: Person, path: str) -> dict[tuple[str, int], list[str]]:
    """Return what is cut off, broken or too small on a page, by width."""
    answer = person.page.goto(person.site.url + path)
    assert answer is not None
    assert answer.status == 200, path
    wrong = {}
    for width in WIDTHS:
        person.page.set_viewport_size({"width": width, "height": 900})
        header, *parts = person.page.evaluate(_LOOK)
        assert width > 390 or header < 120, "on a phone the header has two rows"
        if any(parts):
            wrong[path, width] = [part for found in parts for part in found][:5]
    return wrong


@needs_browser
@pytest.mark.parametrize("first", [0, 1])
def test_pages_fit_screens_of_all_widths_in_german_too(person: Person, site: Site, first: int) -> None:
    """German words are longer, so each page is looked at in German, and in the soak in English, too."""
    person.is_signed_in("carol")
    fills(site)
    wrong = {}
    for path in PAGES[first::2]:
        more = "&" if "?" in path else "?"
        for each in (f"{path}{more}lang=de", *([path] if SOAK else [])):
            wrong |= wrong_on(person, each)
    assert wrong == {}


@needs_browser
def test_on_a_phone_filters_are_folded_unless_one_is_set(person: Person, site: Site) -> None:
    fills(site)
    for path, name, value in (
        ("/datasets", "field", "Year"),
        ("/bundles", "event", "e,1d"),
        ("/log", "user", "carol"),
        ("/datasets/vega/datasets/history", "grep", "Drop"),
    ):
        field = person.goes_to(path).locator(f".filters input[name={name}]")
        for width, is_shown in ((767, False), (768, True)):
            person.page.set_viewport_size({"width": width, "height": 900})
            assert field.is_visible() == is_shown, (path, width)
        person.page.set_viewport_size({"width": 390, "height": 900})
        person.page.locator(".fold > summary").click()
        field.fill(value)
        field.press("Enter")
        person.page.wait_for_url(f"**{name}=*")
        assert person.page.locator(f".filters input[name={name}]").is_visible()


def test_each_page_is_among_those_that_are_looked_at() -> None:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse("groups = A"))
    app = create_app(metastore.connect("memory:", author="Ann"), verifier=Verifier(()), bundles=registry)
    of_pages = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("pages.")]
    named = {rule.endpoint.removeprefix("pages.") for rule in of_pages if "GET" in (rule.methods or ())}
    adapter = app.url_map.bind("localhost")
    seen = {str(adapter.match(path.partition("?")[0])[0]).removeprefix("pages.") for path in PAGES}
    assert named - NO_PAGES == seen
