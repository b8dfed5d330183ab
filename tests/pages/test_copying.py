"""The additions of scripts to all pages: copy buttons, and times in the zone of the reader."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from .conftest import Site, needs_browser

PAGE = "/datasets/vega/datasets"


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    shown.goto(site.url + PAGE)
    yield shown
    context.close()


@needs_browser
def test_a_copy_button_puts_the_whole_value_on_the_clipboard_and_says_so(page: Page, site: Site) -> None:
    revision = site.store.revision_read("vega/datasets").id
    button = page.get_by_role("button", name=f"Copy {revision}")
    assert page.locator("dd code[data-copy]").inner_text() == revision[:12]
    button.click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == revision
    page.get_by_role("button", name="Copy git clone").click()
    assert page.evaluate("navigator.clipboard.readText()") == f"git clone {site.url}/git/vega/datasets.git"


@needs_browser
def test_without_the_clipboard_of_https_it_copies_too(page: Page, site: Site) -> None:
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("document.execCommand = () => { window.copied = String(document.activeElement.value); return true; }")
    page.get_by_role("button", name="Copy git clone").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("window.copied") == f"git clone {site.url}/git/vega/datasets.git"


@needs_browser
def test_a_time_has_the_exact_one_in_the_zone_of_the_reader_and_in_utc_on_hover(page: Page, site: Site) -> None:
    time = page.locator(".byline time").first
    created = site.store.revision_read("vega/datasets").created
    assert time.inner_text() == "just now"
    title = time.get_attribute("title") or ""
    assert title.endswith(f"({created:%H:%M} UTC)")
    assert title.split(" (")[0][-5:] != f"{created:%H:%M}", "the zone of the reader is another one"


@needs_browser
def test_without_scripts_the_exact_time_stands_and_nothing_promises_to_copy(browser: Browser, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url + PAGE)
    created = site.store.revision_read("vega/datasets").created
    assert page.locator(".byline time").first.get_attribute("title") == f"{created:%Y-%m-%d %H:%M} UTC"
    assert page.locator(".copier").count() == 0
    page.goto(f"{site.url}{PAGE}/compare?from=HEAD")
    assert page.locator("main time").first.inner_text() == f"{created:%Y-%m-%d %H:%M} UTC"
    assert page.locator("#permalink").input_value().startswith(f"{site.url}{PAGE}/compare?from=")
    context.close()
