"""Pages on screens of all widths: nothing is cut off at the side, and what is to be hit is large enough for a thumb."""

from __future__ import annotations

from .conftest import Person, Site, needs_browser

pytestmark = needs_browser
WIDTHS = (320, 360, 390, 768, 1024, 1280, 1920)
PAGES = (
    "/",
    "/datasets",
    "/search?q=csv",
    "/datasets/vega/datasets?find=unemployment",
    "/datasets/vega/datasets?resource=5",
    "/datasets/vega/datasets/history",
    "/datasets/vega/datasets/tags",
    "/datasets/vega/datasets/tags/v1/delete",
    "/datasets/vega/datasets/compare/choose?side=to",
    "/datasets/vega/datasets/compare?from=v1",
    "/bundles",
    "/bundles-as-of?at=2099-01-01",
    "/bundle-comparison?from=NuMI_Physics_A9&to=BNB_BPM_settings",
    "/changes",
    "/device?name=E:HRNDIR",
    "/datasets/vega/datasets/edit?as=form&open=1",
    "/datasets/new?as=form",
)
#: Returns what reaches beyond the screen, outside of parts that scroll by themselves.
_BEYOND = """() => [...document.querySelectorAll("body *")].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1)
        && !part.closest(".scroll, pre, .skip, .hidden, details:not([open]) > :not(summary)");
}).map((part) => `${part.tagName} ${part.className} ${part.textContent.trim().slice(0, 40)}`)"""
#: Returns what is less than 24 pixels high to hit. WCAG 2.5.8 excepts links in a line of text; here they fit, too.
_SMALL = """() => [...document.querySelectorAll("main :is(a, button, input, select, summary)")].filter((part) => {
    const box = part.getBoundingClientRect();
    return box.width && box.height < 24 && !part.closest(".hidden, details:not([open]) > :not(summary)");
}).map((part) => `${part.tagName} ${part.getBoundingClientRect().height} ${part.textContent.trim().slice(0, 40)}`)"""

_HEADER = "() => document.querySelector('body > header').offsetHeight"


def fills(site: Site) -> None:
    """Give the pages what they show: a tag, and a comparison of two descriptors with resources."""
    sample = "vega/datasets"
    site.store.tag_create(sample, "v1", description="As published")
    site.store.dataset_patch(sample, [{"op": "remove", "path": "/resources/1"}], message="Drop one")


def test_pages_fit_screens_of_all_widths(person: Person, site: Site) -> None:
    person.is_signed_in("carol")
    fills(site)
    wrong = {}
    for path in PAGES:
        page = person.goes_to(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert width > 390 or page.evaluate(_HEADER) < 120, "on a phone the header has two rows"
            if parts := page.evaluate(_BEYOND) + page.evaluate(_SMALL):
                wrong[path, width] = parts[:5]
    assert wrong == {}
