"""Nothing keeps people from using a page, by the rules of axe: each template once.

Pages of bundles, conflicts, imports and refusals are looked at where other tests have them before them.
"""

from __future__ import annotations

from .conftest import CARS, Person, Site, needs_browser
from .test_widths import PAGES, fills

pytestmark = needs_browser


def test_pages_of_datasets(person: Person, cars: list[str]) -> None:
    person.is_signed_in("ann")
    found = {}
    compare = f"{CARS}/compare?from={cars[0]}"
    more = (
        "/edit",
        "/edit?as=form&open=0",
        "/tag",
        "/move",
        "/delete",
        "/history",
        "/blame",
        f"/revert?to={cars[0]}",
        "/undo?revision=HEAD",
        "?revision=v1",
        "/tags",
        "/tags/v1/edit",
        "/compare/choose?side=to",
    )
    for path in (
        "/",
        "/sign-in",
        "/datasets",
        "/search?q=cars&owner=physics&order=id",
        "/search?q=%22",
        "/datasets/new",
        "/nope",
        compare,
        CARS,
        *(f"{CARS}{each}" for each in more),
    ):
        person.goes_to(path)
        if violations := person.violations():
            found[path] = violations
    assert found == {}


def test_other_pages(person: Person, site: Site) -> None:
    person.is_signed_in("carol")
    fills(site)
    found = {}
    others = ("/bundles-as-of", "/bundle-comparison", "/changes", "/log", "/device", "/session", "/datasets/ocean/rows")
    for path in (path for path in PAGES if path.startswith(others)):
        person.goes_to(f"{path}{'&' if '?' in path else '?'}lang=de")
        found |= {path: wrong} if (wrong := person.violations()) else {}
    assert found == {}
