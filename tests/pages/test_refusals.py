"""A form that is refused is drawn again: with what was typed, what happened in a sentence, and a way to go on."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect
from werkzeug.test import TestResponse

import metastore
from metastore import MetaStore, bundle
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.bundle import BundleRegistry
from metastore.errors import OutcomeUnknown, StorageBusy
from metastore.pages import session
from metastore.web import create_app

from .conftest import GROUPS, SECRET, Person, needs_browser, serving, token
from .test_signing_in import csrf

HERE = {"Origin": "http://localhost"}
DESCRIPTOR = '{"title": "What I typed"}'
BUNDLE = {"event": "e,a9", "storage": "short", "devices": "E:TYPED", "comment": "My reason"}
#: Each form that changes something, with what somebody typed into it.
FORMS: dict[str, dict[str, str]] = {
    "/datasets/new": {"id": "physics/new", "text": DESCRIPTOR, "message": "My reason"},
    "/datasets/physics/cars/edit": {"text": DESCRIPTOR, "message": "My reason", "step": "store"},
    "/datasets/physics/cars/tag": {"name": "v77", "message": "My reason"},
    "/datasets/physics/cars/revert": {"to": "HEAD~1", "message": "My reason"},
    "/datasets/physics/cars/undo": {"revision": "HEAD", "message": "My reason"},
    "/datasets/physics/cars/delete": {"message": "My reason"},
    "/datasets/physics/cars/move": {"new_id": "physics/autos", "message": "My reason"},
    "/new-bundle": {"name": "Mine", "ifb_group": "NOvA", **BUNDLE},
    "/bundles/NuMI/edit": {**BUNDLE, "expected": "2"},
    "/bundles/NuMI/copy": {"new_name": "NuMI_2", "comment": "My reason"},
    "/bundles/NuMI/delete": {"comment": "My reason", "expected": "2"},
    "/snapshots/1/restore": {"comment": "My reason", "expected": "2"},
    "/snapshots/2/undo": {"comment": "My reason", "expected": "2"},
    "/import-bundles": {"text": '[{"name": "Typed"}]', "comment": "My reason"},
}
#: What somebody typed; the rest is the form's own.
TYPED = ("id", "text", "message", "name", "new_id", "devices", "comment", "new_name")


@pytest.fixture
def store() -> MetaStore:
    made = metastore.connect("memory:", author="Setup", validation="off")
    made.dataset_create("physics/cars", {"title": "Cars"})
    made.dataset_patch("physics/cars", {"title": "Fast cars"})
    return made


@pytest.fixture
def registry() -> BundleRegistry:
    made = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    beam = {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
    made.bundle_create(beam, user="ann")
    made.bundle_update("NuMI", {"event": "e,1d"}, user="ann")
    return made


@pytest.fixture
def client(store: MetaStore, registry: BundleRegistry) -> Iterator[FlaskClient]:
    verifier = Verifier((GivenKeys(secret_key(SECRET)),))
    with create_app(store, verifier=verifier, bundles=registry).test_client() as client:
        yield client


def sign_in(client: FlaskClient, user: str = "ann", *scopes: str) -> None:
    client.post("/sign-in", data={"token": token(user, *scopes), "csrf_token": csrf(client)})


def fields(page: str) -> dict[str, str]:
    """Return what stands in the fields of a page, as a browser would send it."""
    texts = dict(re.findall(r'<textarea\b[^>]*?\bname="([^"]*)"[^>]*>\n?(.*?)</textarea>', page, re.DOTALL))
    inputs = re.findall(r'<input\b[^>]*?\bname="([^"]*)"[^>]*?\bvalue="([^"]*)"', page)
    return {name: unescape(value) for name, value in [*inputs, *texts.items()] if name != "q"}


def alert(page: str) -> str:
    """Return what a page says first about what went wrong, as text."""
    box = re.search(r'role="alert"[^>]*>(.*?)</section>', page, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", box[1])).split()) if box else ""


def check_kept(page: str, path: str) -> None:
    typed = {name: value for name, value in FORMS[path].items() if name in TYPED}
    assert typed.items() <= fields(page).items(), path


@pytest.mark.parametrize("path", FORMS)
def test_a_lost_session_draws_the_form_again_and_signing_in_on_it_sends_it(
    client: FlaskClient, store: MetaStore, registry: BundleRegistry, path: str
) -> None:
    before = (store.revision_read("physics/cars"), len(list(registry.bundle_log())))
    answer = client.post(path, data={**FORMS[path], "csrf_token": "of a session with another key"}, headers=HERE)
    assert answer.status_code == 400
    assert alert(answer.text).startswith("You are no longer signed in. Nothing was saved.")
    check_kept(answer.text, path)
    assert (store.revision_read("physics/cars"), len(list(registry.bundle_log()))) == before
    wrong = client.post(path, data={**fields(answer.text), "sign_in_token": "junk"}, headers=HERE)
    assert wrong.status_code == 401
    assert alert(wrong.text).startswith("Token not recognised: ")
    check_kept(wrong.text, path)
    form = {**FORMS[path], **fields(wrong.text), "sign_in_token": token("ann")}
    sent = client.post(path, data=form, headers=HERE)
    assert sent.status_code in (200, 303, 400), path  # a preview, or done, or a file that names no group
    assert "no longer signed in" not in sent.text


@pytest.mark.parametrize("path", FORMS)
def test_what_another_site_sends_is_not_drawn_again(client: FlaskClient, path: str) -> None:
    sign_in(client)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
        answer = client.post(path, data={**FORMS[path], "csrf_token": "forged"}, headers=headers)
        assert answer.status_code == 400
        assert "This form has expired" in answer.text
        assert "My reason" not in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_without_the_right_the_form_is_drawn_again(client: FlaskClient, path: str) -> None:
    sign_in(client, "bo", "ds:physics/cars:read", "bundles:MINOS:write")
    answer = client.post(path, data={**FORMS[path], "csrf_token": csrf(client)})
    if path == "/import-bundles":  # of a group of one's own, a file may say anything
        return
    assert answer.status_code == 403
    assert "Nothing was saved." in alert(answer.text)
    check_kept(answer.text, path)


@pytest.mark.parametrize("path", [path for path in FORMS if "physics/cars" in path])
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (StorageBusy("database is locked in /srv"), 503, "The storage is busy: try again in a moment."),
        (OutcomeUnknown("no answer"), 504, "Your change may or may not have been saved"),
        (RuntimeError("a fault of ours"), 500, "Something went wrong. The log of the service has the reason."),
    ],
)
def test_a_storage_that_fails_costs_nothing_that_was_typed(
    client: FlaskClient, store: MetaStore, path: str, error: Exception, status: int, words: str
) -> None:
    sign_in(client)
    form = {**FORMS[path], "csrf_token": csrf(client)}

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with pytest.MonkeyPatch.context() as patch:  # nothing can be read either, so that the form itself cannot be drawn
        for name in ("revision_read", "dataset_read", "dataset_create", "dataset_update", "dataset_move", "tag_create"):
            patch.setattr(MetaStore, name, fail)
        answer = client.post(path, data=form)
    assert answer.status_code == status
    assert words in alert(answer.text)
    assert "/srv" not in answer.text
    check_kept(answer.text, path)


def test_a_large_text_of_a_lost_session_is_kept(client: FlaskClient) -> None:
    text = '{"description": "' + "water " * 100_000 + '"}'
    form = {"id": "physics/new", "text": text, "csrf_token": "lost"}
    answer = client.post("/datasets/new", data=form, headers=HERE)
    assert fields(answer.text)["text"] == text
    kept = {**fields(answer.text), "sign_in_token": token("ann")}
    assert client.post("/datasets/new", data=kept, headers=HERE).status_code == 303


def test_a_text_that_is_larger_than_the_store_takes_is_kept(registry: BundleRegistry) -> None:
    store = metastore.connect("memory:", author="Setup", max_bytes=1000)
    client = create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),))).test_client()
    sign_in(client)
    text = '{"description": "' + "&" * 2000 + '"}'
    form = {"id": "physics/new", "text": text, "csrf_token": csrf(client)}
    answer = client.post("/datasets/new", data=form)
    assert answer.status_code == 413
    assert "at most 1000 are allowed" in answer.text
    assert fields(answer.text)["text"] == text


@pytest.mark.parametrize(("path", "status"), [("/import-bundles", 403), ("/datasets/new", 401)])
def test_a_page_that_is_refused_to_a_visitor_offers_to_sign_in(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert f'class="button" href="/sign-in?next={path}' in answer.text
    sign_in(client, "nobody", "ds:other/*:read")
    assert 'class="button" href="/sign-in' not in client.get(path).text


def test_a_file_that_is_refused_is_kept_as_text(client: FlaskClient) -> None:
    sign_in(client)
    form: dict[str, Any] = {"csrf_token": csrf(client), "file": (io.BytesIO(b'[{"name": }]'), "bundles.json")}
    answer = client.post("/import-bundles", data=form)
    assert answer.status_code >= 400
    assert fields(answer.text)["text"] == '[{"name": }]'


def test_a_leading_line_break_is_kept(client: FlaskClient) -> None:
    sign_in(client)
    form = {"id": "no id", "text": "\n{}", "csrf_token": csrf(client)}
    assert fields(client.post("/datasets/new", data=form).text)["text"] == "\n{}"


def test_who_may_not_create_is_told_before_anything_is_typed(client: FlaskClient) -> None:
    answer = client.get("/datasets/new")
    assert answer.status_code == 401
    assert 'href="/sign-in?next=/datasets/new' in answer.text
    sign_in(client, "ann", "ds:physics/*:read,update", "ds:physics/cars:*")
    answer = client.get("/datasets/new")
    assert (answer.status_code, "You may not create datasets" in answer.text) == (403, True)
    assert "New dataset" not in client.get("/datasets").text
    sign_in(client, "ann", "ds:physics/*:create", "ds:chemistry/*:create,read")
    answer = client.get("/datasets/new")
    assert (answer.status_code, "You can create datasets of chemistry, physics." in answer.text) == (200, True)
    assert "New dataset" in client.get("/datasets").text


def test_a_dataset_that_was_deleted_meanwhile_is_drawn_as_deleted_and_comes_back_with_what_was_typed(
    client: FlaskClient, store: MetaStore
) -> None:
    sign_in(client)
    editor = fields(client.get("/datasets/physics/cars/edit").text)
    store.dataset_delete("physics/cars", author="Bo", message="No longer sold")
    answer = client.post("/datasets/physics/cars/edit", data={**editor, "text": DESCRIPTOR, "step": "store"})
    assert answer.status_code == 409
    assert "Deleted meanwhile Bo deleted it" in alert(answer.text)
    assert "No longer sold" in alert(answer.text)
    assert "removed" not in alert(answer.text)
    assert fields(answer.text)["text"] == DESCRIPTOR
    again = client.post("/datasets/physics/cars/edit", data={**fields(answer.text), "step": "store"})
    assert (again.status_code, "Deleted meanwhile" in alert(again.text)) == (410, True)
    back = client.post("/datasets/physics/cars/edit", data={**fields(again.text), "step": "create"})
    assert back.status_code == 303
    assert store.dataset_read("physics/cars").descriptor == {"title": "What I typed"}


@pytest.mark.parametrize(
    ("action", "typed", "button"),
    [
        ("delete", {}, "Delete anyway"),
        ("revert", {"to": "HEAD~1"}, "Revert anyway"),
        ("undo", {"revision": "HEAD"}, "Undo anyway"),
        ("move", {"new_id": "physics/autos"}, "Move anyway"),
    ],
)
def test_a_question_that_was_overtaken_shows_the_other_change_and_asks_again_by_another_button(
    client: FlaskClient, store: MetaStore, action: str, typed: dict[str, str], button: str
) -> None:
    sign_in(client)
    path = f"/datasets/physics/cars/{action}"
    asked = fields(client.get(f"{path}?{'&'.join('='.join(each) for each in typed.items())}").text) | typed
    theirs = store.dataset_patch("physics/cars", {"version": "7"}, author="Bo", message="Number them").revision
    answer = client.post(path, data={**asked, "message": "Mine"})
    assert answer.status_code == 409
    said = alert(answer.text)
    assert said.startswith("Changed meanwhile Bo changed it")
    assert "Number them. Since you opened this page: version" in said
    assert re.search(f'<button type="submit"[^>]*>{button}</button>', answer.text)
    assert "expected at" not in answer.text
    assert store.revision_read("physics/cars") == theirs
    assert client.post(path, data=fields(answer.text)).status_code == 303


def test_a_dataset_that_somebody_deleted_first_is_not_deleted_twice(client: FlaskClient, store: MetaStore) -> None:
    sign_in(client)
    asked = fields(client.get("/datasets/physics/cars/delete").text)
    store.dataset_delete("physics/cars", author="Bo")
    answer = client.post("/datasets/physics/cars/delete", data=asked, follow_redirects=True)
    assert (answer.status_code, "Bo deleted physics/cars before you did." in answer.text) == (410, True)
    assert len(list(store.revision_list("physics/cars"))) == 3


@pytest.mark.parametrize(
    ("path", "button"),
    [
        ("/bundles/NuMI/delete", "Delete anyway"),
        ("/snapshots/1/restore", "Restore anyway"),
        ("/snapshots/2/undo", "Undo anyway"),
    ],
)
def test_a_question_about_a_bundle_that_was_overtaken_shows_the_other_change_and_asks_again(
    client: FlaskClient, registry: BundleRegistry, path: str, button: str
) -> None:
    sign_in(client)
    asked = fields(client.get(path).text)
    registry.bundle_update("NuMI", {"devices": ["E:THEIRS"]}, user="carol", comment="Swap")
    answer = client.post(path, data={**asked, "comment": "Mine"})
    assert answer.status_code == 409
    assert alert(answer.text).startswith("Changed meanwhile carol changed it")
    assert "Swap." in alert(answer.text)
    assert "E:THEIRS" in alert(answer.text)
    assert re.search(f'<button type="submit"[^>]*>{button}</button>', answer.text)
    assert registry.bundle_log("NuMI", limit=1)[0].user == "carol"
    assert client.post(path, data=fields(answer.text)).status_code == 303


def test_a_bundle_that_was_deleted_meanwhile_is_drawn_as_deleted(client: FlaskClient, registry: BundleRegistry) -> None:
    sign_in(client)
    editor = fields(client.get("/bundles/NuMI/edit").text)
    registry.bundle_delete("NuMI", user="carol", comment="Retired")
    answer = client.post("/bundles/NuMI/edit", data={**editor, "devices": "E:TYPED", "storage": "short"})
    assert answer.status_code == 410
    assert alert(answer.text).startswith("Deleted meanwhile carol deleted it")
    assert fields(answer.text)["devices"] == "E:TYPED"
    registry.bundle_restore("NuMI", 2, user="carol")
    assert client.post("/bundles/NuMI/edit", data={**fields(answer.text), "storage": "short"}).status_code in (200, 409)


@pytest.mark.parametrize("edit", ["/datasets/okfn/compression/edit", "/bundles/Typed/edit"])
@needs_browser
def test_a_session_that_ended_while_typing_is_taken_up_on_the_same_page_without_scripts(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    with serving() as site:
        site.registry.bundle_create({"name": "Typed", "event": "e,1d", "ifb_group": "NOvA"}, user="ann")
        person = Person(browser.new_context(java_script_enabled=False), site)
        person.is_signed_in("ann")
        page = person.goes_to(edit)
        box = page.get_by_label("datapackage.json" if "datasets" in edit else "Devices")
        typed = '{\n  "title": "Typed",\n  "resources": []\n}' if "datasets" in edit else "E:TYPED"
        box.fill(typed)
        page.get_by_label("Why?").fill("It took long")
        later = time.time() + session.LASTS + 1
        with monkeypatch.context() as patch:
            patch.setattr(session.time, "time", lambda: later)
            page.get_by_role("main").get_by_role("button", name=re.compile("Save|Preview")).first.click()
        expect(page.get_by_role("alert")).to_contain_text("You are no longer signed in.")
        expect(box).to_have_value(typed)
        page.get_by_label("Token").fill(token("ann"))
        page.get_by_role("button", name="Sign in and send").click()
        if "bundles" in edit:
            expect(page.get_by_label("Why?")).to_have_value("It took long")
            page.get_by_role("button", name="Save").click()
            assert site.registry.bundle_read("Typed").devices == {"E:TYPED"}
        else:
            assert site.store.dataset_read("okfn/compression").descriptor["title"] == "Typed"
        person.context.close()


@needs_browser
def test_a_refused_form_can_be_used_by_all_and_a_text_that_is_too_large_is_not_even_sent(browser: Browser) -> None:
    with serving() as site:
        person = Person(browser.new_context(), site)
        person.is_signed_in("ann")
        page = person.goes_to("/datasets/okfn/compression/edit")
        person.context.clear_cookies()
        page.get_by_label("Why?").fill("Mine")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("You are no longer signed in.")
        assert person.violations() == []
        page.evaluate("document.getElementById('typed').dataset.largest = 10")
        address = page.url
        page.get_by_role("button", name="Save").click()
        said = page.get_by_label("datapackage.json").evaluate("(box) => box.validationMessage")
        assert said.startswith("This text is")
        assert page.url == address
        expect(page.get_by_label("Why?")).to_have_value("Mine")
        person.context.close()
        assert person.complaints == []


def in_german(client: FlaskClient, page: str, path: str) -> TestResponse:
    """Press the button for German at the end of a page that a form led to."""
    (button,) = BeautifulSoup(page, "html.parser").select("footer button[form=typed]")
    assert button.text == "Deutsch"
    form = {**fields(page), str(button["name"]): str(button["value"])}
    return client.post(path + str(button["formaction"]), data=form, headers=HERE)


@pytest.mark.parametrize("path", FORMS)
def test_a_refused_form_in_another_language_keeps_what_was_typed_and_changes_nothing(
    client: FlaskClient, store: MetaStore, registry: BundleRegistry, path: str
) -> None:
    answer = client.post(path, data={**FORMS[path], "csrf_token": "lost"}, headers=HERE)
    answer = in_german(client, answer.text, path)
    assert (answer.status_code, alert(answer.text)[:31]) == (401, "Sie sind nicht mehr angemeldet.")
    check_kept(answer.text, path)
    sign_in(client)
    before = len(list(store.changes())), len(list(registry.bundle_log()))
    refused = client.post(path, data={**FORMS[path], "csrf_token": "lost"}, headers=HERE)
    drawn = in_german(client, refused.text, path)
    assert (drawn.status_code, alert(drawn.text)) == (200, "")
    assert '<html lang="de">' in drawn.text
    check_kept(drawn.text, path)
    assert (len(list(store.changes())), len(list(registry.bundle_log()))) == before


@pytest.mark.parametrize(
    ("path", "typed", "heading"),
    [
        ("/datasets/new", {"id": "a/b", "text": DESCRIPTOR}, "Vorschau"),
        ("/datasets/physics/cars/edit", {"text": DESCRIPTOR}, "Was das Speichern ändert"),
        ("/new-bundle", FORMS["/new-bundle"], "Neues Bündel Mine"),
        ("/bundles/NuMI/edit", FORMS["/bundles/NuMI/edit"], "Änderungen an NuMI"),
        (
            "/device",
            {"name": "E:TOR860", "new": "E:NEW", "in.NuMI": "1", "comment": "My reason"},
            "E:TOR860 durch E:NEW",
        ),
        (
            "/import-bundles",
            {"text": '[{"name": "NuMI", "event": "e,00"}]', "comment": "My reason"},
            "Was die Datei ändert",
        ),
    ],
)
def test_a_preview_in_another_language_is_still_one(
    client: FlaskClient, path: str, typed: dict[str, str], heading: str
) -> None:
    sign_in(client)
    answer = client.post(path, data={**typed, "step": "preview", "csrf_token": csrf(client)})
    page = in_german(client, answer.text, path).text
    assert heading in " ".join(re.sub(r"<[^>]*>", "", page).split())
    kept = {name: value for name, value in typed.items() if name != "step"}
    assert kept.items() <= fields(page).items()


def test_another_language_keeps_the_changes_of_others_beside_a_bundle(client: FlaskClient) -> None:
    sign_in(client)
    form = {**FORMS["/bundles/NuMI/edit"], "expected": "1", "csrf_token": csrf(client)}
    page = in_german(client, client.post("/bundles/NuMI/edit", data=form).text, "/bundles/NuMI/edit").text
    assert "e,1d" in alert(page)
    assert 'value="merge"' in page
    check_kept(page, "/bundles/NuMI/edit")


def test_a_refused_token_can_be_followed_by_another_language(client: FlaskClient) -> None:
    refused = client.post("/sign-in", data={"token": "junk", "next": "/changes", "csrf_token": csrf(client)})
    page = in_german(client, refused.text, "/sign-in").text
    assert ("Anmelden" in page, fields(page)["next"], "junk" in page) == (True, "/changes", False)
    assert "only_draw" not in client.get("/sign-in").text
