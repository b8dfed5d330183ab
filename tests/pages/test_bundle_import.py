"""The page that imports a file of bundles: first seen, then stored, and nothing else than what was seen."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect
from werkzeug.test import TestResponse

import metastore
from metastore import bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.bundle import BundleRegistry
from metastore.web import create_app

from .conftest import GROUPS, SECRET, Person, Site, needs_browser, token
from .test_bundles import button, too_wide
from .test_hostile import sign_in
from .test_signing_in import csrf

PATH = "/import-bundles"
OLD = {"name": "Beam", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
NEW = {"name": "Fresh", "event": "e,1d", "ifb_group": "NOvA", "devices": ["E:TOR861"]}
BO = {"name": "Other", "event": "e,1d", "ifb_group": "MINOS"}


@pytest.fixture(params=[True, False], ids=["with scripts", "without"])
def person(request: pytest.FixtureRequest, browser: Browser, site: Site) -> Iterator[Person]:
    context = browser.new_context(java_script_enabled=request.param, viewport={"width": 360, "height": 740})
    yield (somebody := Person(context, site))
    context.close()
    assert somebody.complaints == []


def choose(page: Page, name: str, content: str) -> None:
    page.get_by_label("File").set_input_files({"name": name, "mimeType": "", "buffer": content.encode()})
    button(page, "Preview")


@needs_browser
def test_an_admin_sees_what_a_file_changes_and_then_stores_just_that(person: Person, site: Site) -> None:
    site.registry.bundle_create(OLD, user="ann")
    person.is_signed_in("ann")
    page = person.goes_to("/bundles")
    page.get_by_role("link", name="Import", exact=True).click()
    csv = 'name,event,ifb_group,devices\nBeam,e,NOvA,E:TOR860 E:NEW\nFresh,"e,1d",NOvA,E:TOR861\n'
    page.get_by_label("Why?").fill("From the spreadsheet")
    choose(page, "bundles.csv", csv)
    expect(page.get_by_role("status")).to_contain_text("Nothing has been saved yet")
    expect(page.locator("details", has_text="Beam")).to_contain_text("E:NEW")
    expect(page.locator("section", has_text="Created")).to_contain_text("Fresh")
    assert site.registry.bundle_read("Beam").devices == {"E:TOR860"}
    assert too_wide(page) == 0
    site.registry.bundle_update("Beam", {"udp": True}, user="carol", comment="Meanwhile")
    button(page, "Import")
    expect(page.get_by_role("alert")).to_contain_text("check it again")
    expect(page.get_by_label("Why?")).to_have_value("From the spreadsheet")
    button(page, "Import")
    expect(page.get_by_role("status")).to_contain_text("1 created, 1 changed, 0 unchanged, 0 refused")
    now = site.registry.bundle_read("Beam")
    assert (now.devices, now.udp, now.event) == ({"E:TOR860", "E:NEW"}, True, "e")
    (line,) = site.registry.bundle_log("Fresh")
    assert (line.user, line.action, line.comment) == ("ann", "import", "From the spreadsheet")


@needs_browser
def test_what_is_refused_is_said_by_line_and_the_others_can_be_imported(person: Person, site: Site) -> None:
    person.is_signed_in("ann")
    page = person.goes_to(PATH)
    choose(page, "bundles.json", json.dumps([NEW, BO, NEW | {"name": "Odd", "event": "<"}, {"name": "Odd2"}]))
    refused = page.locator("section", has_text="Refused")
    expect(refused).to_contain_text("Line 2, Other: ")
    expect(refused).to_contain_text("Line 3, Odd: ")
    expect(refused).to_contain_text("Line 4, Odd2: event is missing")
    assert "(at /" not in page.content()
    button(page, "Import the other 1")
    expect(page.get_by_role("status")).to_contain_text("1 created, 0 changed, 0 unchanged, 3 refused")
    names = [each.name for each in site.registry.bundle_list()]
    assert "Fresh" in names
    assert not {"Other", "Odd", "Odd2"} & set(names)
    choose(person.goes_to(PATH), "same.json", json.dumps([NEW]))
    expect(page.get_by_role("status")).to_have_text("No changes to save.")
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)


@needs_browser
def test_nothing_keeps_people_from_importing(browser: Browser, site: Site) -> None:
    site.registry.bundle_create(OLD, user="ann")
    context = browser.new_context()
    person = Person(context, site)
    person.is_signed_in("ann")
    page = person.goes_to(PATH)
    assert person.violations() == []
    choose(page, "wrong.csv", "no,header\n")
    assert person.violations() == []
    choose(person.goes_to(PATH), "x.json", json.dumps([NEW, BO, OLD | {"event": "e,1d", "devices": ["E:NEW"]}]))
    expect(page.get_by_role("heading", level=1)).to_have_text("What the file will change")
    assert person.violations() == []
    context.close()


@pytest.fixture
def registry() -> BundleRegistry:
    return bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))


@pytest.fixture
def client(registry: BundleRegistry) -> FlaskClient:
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    return create_app(metastore.connect("memory:"), verifier=verifier, bundles=registry).test_client()


def send(client: FlaskClient, content: bytes, **more: Any) -> TestResponse:
    form = {"csrf_token": csrf(client), "step": "preview", "file": (io.BytesIO(content), "x"), **more}
    return client.post(PATH, data=form, content_type="multipart/form-data")


def test_who_is_no_admin_is_asked_for_no_file(client: FlaskClient, registry: BundleRegistry) -> None:
    assert client.get(PATH).status_code == 403
    assert send(client, json.dumps([NEW]).encode()).status_code == 401
    client.post("/sign-in", data={"token": token("dan"), "csrf_token": csrf(client)})
    assert send(client, json.dumps([NEW]).encode()).status_code == 403
    assert list(registry.bundle_list()) == []


def test_a_form_of_another_site_imports_nothing(client: FlaskClient, registry: BundleRegistry) -> None:
    sign_in(client)
    answer = send(client, json.dumps([NEW]).encode(), csrf_token="forged", step="store")
    assert answer.status_code == 400
    assert list(registry.bundle_list()) == []


@pytest.mark.parametrize("seen", ["", "0" * 64])
def test_what_nobody_saw_is_not_stored(client: FlaskClient, registry: BundleRegistry, seen: str) -> None:
    sign_in(client)
    assert send(client, json.dumps([NEW]).encode(), step="store", seen=seen).status_code == 409
    assert list(registry.bundle_list()) == []


def test_another_file_than_the_one_that_was_seen_is_not_stored(client: FlaskClient, registry: BundleRegistry) -> None:
    sign_in(client)
    shown = send(client, json.dumps([NEW]).encode())
    found = re.search(r'name="seen" value="([0-9a-f]+)"', shown.text)
    assert found is not None
    other = json.dumps([NEW | {"devices": ["E:OTHER"]}]).encode()
    assert send(client, other, step="store", seen=found[1]).status_code == 409
    assert list(registry.bundle_list()) == []
    assert send(client, json.dumps([NEW]).encode(), step="store", seen=found[1]).status_code == 303
    assert [each.name for each in registry.bundle_list()] == ["Fresh"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"  \n", b"\xff\xfe", b"{", b"[1, 2]", b"[[]]", b'[{"name": {}}]', b'name\n"open', b"x" * 1000),
        *(b"[" * 5000, b'{"a": 1}', b'[{"name": NaN}]', b"name,event\n\0,\0\n", b'[{"name": "\\ud800"}]'),
        b"name,name\na,b,c,d\n",
    ],
)
def test_rubbish_is_refused_in_words_and_changes_nothing(
    client: FlaskClient, registry: BundleRegistry, content: bytes
) -> None:
    sign_in(client)
    answer = send(client, content)
    assert answer.status_code in (200, 400, 422)
    if answer.status_code == 200:
        assert "No changes to save." in answer.text
    else:
        assert 'role="alert"' in answer.text
    assert list(registry.bundle_list()) == []


def test_a_file_that_is_too_large_is_refused_with_where_else_to_go(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client)
    monkeypatch.setattr(sys.modules["metastore.pages.bundle_import"], "LARGEST", 1_000)
    assert send(client, b" " * 1_000).status_code == 400
    answer = send(client, b" " * 1_001)
    assert (answer.status_code, "metastore bundle import" in answer.text) == (413, True)


def test_a_preview_is_a_page_of_bounded_length(client: FlaskClient, registry: BundleRegistry) -> None:
    sign_in(client)
    rows = [NEW | {"name": f"B{number}"} for number in range(700)] + [{"name": f"bad {n}"} for n in range(700)]
    page = send(client, json.dumps(rows).encode()).text
    assert page.count("<li>") < 1100
    assert page.count("And 200 more.") == 2
