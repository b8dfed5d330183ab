"""Requests to the pages that no form of theirs sends are refused in words, and cost no work."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import g, request, url_for
from flask.testing import FlaskClient
from markupsafe import Markup

import metastore
from metastore import MetaStore, bundle
from metastore.auth.access import Identity
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.bundle import BundleRegistry
from metastore.descriptor.profiles import Profiles
from metastore.errors import InvalidInput
from metastore.pages import markdown, refusals
from metastore.pages.json_lines import mark
from metastore.types import Author, Change, DatasetId
from metastore.web import create_app

from .conftest import GROUPS, SECRET, token
from .test_signing_in import csrf

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def store() -> MetaStore:
    made = metastore.connect("memory:", author="Setup", validation="off")
    made.dataset_create("physics/cars", {"title": "Cars"})
    return made


@pytest.fixture
def registry() -> BundleRegistry:
    return bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))


@pytest.fixture
def client(store: MetaStore, registry: BundleRegistry) -> FlaskClient:
    return create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),)), bundles=registry).test_client()


def sign_in(client: FlaskClient, *scopes: str) -> str:
    """Sign in, and return what the forms of this session hold."""
    client.post("/sign-in", data={"token": token("ann", *scopes), "csrf_token": csrf(client)})
    return csrf(client)


def without_languages(page: str) -> str:
    """Return a page without its links to other languages, which lead to the same address, parameters and all."""
    return re.sub(r'<a\s[^>]*hreflang="[^>]*>', "", page)


def test_a_form_with_more_fields_than_any_is_not_read(client: FlaskClient) -> None:
    body = f"csrf_token={sign_in(client)}&id=physics/new&text={{}}" + "&a" * 1000
    assert client.post("/datasets/new", data=body, content_type=FORM).status_code == 413


def test_a_large_form_of_somebody_not_signed_in_is_not_read(client: FlaskClient) -> None:
    said = {"csrf_token": csrf(client), "id": "no id", "text": "[" + "1, " * 90_000 + " " * 200_000 + "1]"}
    assert client.post("/datasets/new", data=said).status_code == 413
    said = {"csrf_token": sign_in(client), "id": "no id", "text": "[" + "1, " * 90_000 + " " * 200_000 + "1]"}
    assert client.post("/datasets/new", data=said).status_code == 400


def test_a_deeply_nested_text_is_refused_in_words(client: FlaskClient) -> None:
    said = {"csrf_token": sign_in(client), "id": "physics/new", "text": "[" * 900 + "]" * 900}
    answer = client.post("/datasets/new", data=said)
    assert (answer.status_code, "a descriptor is a JSON object" in answer.text) == (422, True)


def test_no_line_is_told_where_that_takes_long() -> None:
    text = '{"a":\n' + "[" + "1," * 1_000_000 + "1]}"
    assert [place.line for place in mark(text, InvalidInput("wrong", pointer="/a"))] == [0]


@pytest.mark.parametrize("name", ["a%0D%0AX-Evil:1", "a%22;x=%22", "%E2%82%AC", "a" * 5000])
def test_what_an_export_is_asked_for_stands_in_no_header(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/log/export?name={name}")
    assert answer.status_code == 200
    said = answer.headers["Content-Disposition"]
    assert said.isascii()
    assert len(said) < 200
    assert '"' not in said


def test_who_may_only_create_overwrites_nothing_that_came_back_meanwhile(
    client: FlaskClient, store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.revision_read("physics/cars").id
    store.dataset_delete("physics/cars")
    read = MetaStore.revision_read

    def overtaken(self: MetaStore, *given: Any) -> Any:
        found = read(self, *given)
        if found.deleted:
            store.dataset_create("physics/cars", {"title": "New cars"}, author="Bo")
        return found

    said = {"csrf_token": sign_in(client, "ds:physics/*:create"), "to": first}
    with monkeypatch.context() as patch:
        patch.setattr(MetaStore, "revision_read", overtaken)
        assert client.post("/datasets/physics/cars/revert", data=said).status_code == 409
    assert store.dataset_read("physics/cars").descriptor == {"title": "New cars"}


def test_a_comparison_is_a_page_of_bounded_length(client: FlaskClient, store: MetaStore) -> None:
    first = store.revision_read("physics/cars").id
    store.dataset_update("physics/cars", {f"x{number}": number for number in range(3000)})
    page = client.get(f"/datasets/physics/cars/compare?from={first}").text
    assert page.count("<tr>") < 1100
    assert "1 to 500 of 3,001 differences" in page


def test_a_comparison_shows_what_changed_in_a_long_text_and_in_the_spelling_of_a_number(
    client: FlaskClient, store: MetaStore
) -> None:
    text = "The table lists the places where water is measured, with the unit and the method. " * 20
    first = store.dataset_update("physics/cars", f'{{"n": 1.10, "description": "{text} until 2019"}}').revision
    store.dataset_update("physics/cars", f'{{"n": 1.1, "description": "{text} until 2020"}}')
    page = client.get(f"/datasets/physics/cars/compare?from={first.id}").text
    assert "1.<strong>10</strong></del>" in page
    assert "1.<strong>1</strong></ins>" in page
    assert "until <strong>2019</strong></del>" in page
    assert "until <strong>2020</strong></ins>" in page
    assert page.count("The table lists") < 5


def test_many_long_texts_that_changed_in_many_places_are_compared_in_bounded_time(
    client: FlaskClient, store: MetaStore
) -> None:
    def text(step: int) -> str:
        return "".join(f"{n % 7} {n * step % 5} w{n * step % 3} . Same. " for n in range(150))

    first = store.dataset_update("physics/cars", {f"x{n}": text(n % 9 + 1) for n in range(400)}).revision
    second = store.dataset_update("physics/cars", {f"x{n}": text(n % 7 + 2) for n in range(400)}).revision
    start = time.process_time()
    assert client.get(f"/datasets/physics/cars/compare?from={first.id}&to={second.id}").status_code == 200
    assert time.process_time() - start < 5


def test_each_value_leads_to_the_revision_it_comes_from_and_to_its_own_history(
    client: FlaskClient, store: MetaStore
) -> None:
    store.dataset_patch("physics/cars", {"homepage": "<script>"}, message="Say where <b>")
    store.dataset_patch("physics/cars", {"version": "2"}, message="Other")
    page = client.get("/datasets/physics/cars/blame").text
    assert "Say where &lt;b&gt;" in page
    assert "<script>" not in page.split("<main", 1)[1].split("</main", 1)[0]
    history = client.get("/datasets/physics/cars/history?path=/homepage").text
    assert "Say where &lt;b&gt;" in history
    assert "Other" not in history
    changes = client.get("/datasets/physics/cars/history?changes=true").text
    assert "homepage added" in changes
    assert "version added" in changes
    assert client.get("/datasets/physics/cars/history?path=nothing").status_code == 400


def test_half_a_character_that_somebody_pushed_breaks_no_page(client: FlaskClient, store: MetaStore) -> None:
    cars, first = DatasetId("physics", "cars"), store.revision_read("physics/cars")
    change = Change(Author("Bo", ""), "Push", datetime(2026, 1, 1, tzinfo=UTC))
    pushed = b'{"title": "\\ud800", "resources": [{"name": "\\udfff", "path": "a.csv"}]}'
    store.storage.append(cars, {"datapackage.json": pushed}, change, parent=first.id)
    api = "/api/v1/datasets/physics/cars"
    for path in ("/datasets", "/datasets/physics/cars", f"/datasets/physics/cars/compare?from={first.id}"):
        assert client.get(path).status_code == 200
    assert client.get(f"{api}/resources/a.csv").json["name"] == "\udfff"
    assert client.get(f"{api}/diff?from={first.id}").status_code == 200


@pytest.mark.parametrize(
    "query", ["edit?text=EVIL", "move?new_id=EVIL/x&message=EVIL", "delete?message=EVIL&expected=EVIL", "tag?name=EVIL"]
)
def test_a_link_fills_in_no_form_that_changes_something(client: FlaskClient, query: str) -> None:
    sign_in(client)
    answer = client.get(f"/datasets/physics/cars/{query}")
    assert answer.status_code == 200
    assert "EVIL" not in without_languages(answer.text)


@pytest.mark.parametrize(
    "path",
    [
        *("/new-bundle", "/import-bundles", "/bundles/NuMI/edit", "/bundles/NuMI/copy", "/bundles/NuMI/delete"),
        *("/snapshots/1/restore", "/snapshots/2/undo", "/datasets/new"),
        *(f"/datasets/physics/cars/{form}" for form in ("revert?revision=HEAD", "undo?revision=HEAD")),
    ],
)
def test_a_link_puts_no_text_of_its_own_into_a_form(
    store: MetaStore, registry: BundleRegistry, client: FlaskClient, path: str
) -> None:
    store.dataset_patch("physics/cars", {"title": "Cars of today"})
    new = {"event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}
    registry.bundle_create({"name": "NuMI", **new}, user="ann")
    registry.bundle_update("NuMI", {"devices": ["E:TOR860", "E:TRTGTD"]}, user="ann")
    sign_in(client, "ds:*:*", "bundles:*:write")
    page, names = client.get(path), set[str]()
    assert page.status_code == 200
    names.update(re.findall(r'<(?:input|textarea|select)[^>]* name="([^"]+)"', page.text))
    assert len(names) > 1
    link = f"{path}{'&' if '?' in path else '?'}{urlencode(dict.fromkeys(names - {'revision', 'to'}, 'EVIL'))}"
    assert "EVIL" not in without_languages(client.get(link).text)


@pytest.mark.parametrize(
    "text",
    [
        "[x]: /" + "y" * 16_000 + "\n\n" + "[x]" * 7_000,
        "[x]: /y\n'" + "t" * 16_000 + "'\n\n" + "[a][x]" * 7_000,
        "> " * 30_000 + "x",
        "* " * 30_000,
        "`" * 50_000 + "a" + "`" * 49_999,
        "|" * 99_000 + "\n" + "|-" * 400,
        "&" * 99_000,
    ],
    ids=["references", "titles", "quotes", "lists", "ticks", "cells", "entities"],
)
def test_a_description_becomes_html_of_bounded_size(text: str) -> None:
    assert len(markdown.render(text)) <= 1_000_000


def test_rendered_descriptions_are_kept_within_a_bound_in_bytes() -> None:
    cache = markdown._Cache(1000)
    for number in range(100):
        cache.put(str(number), Markup("x" * 100))
    assert sum(len(text) + len(html) for text, html in cache._rendered.items()) <= 1000
    assert cache.get("99") == "x" * 100


def test_a_revision_is_checked_once_however_often_its_page_is_shown(
    client: FlaskClient, store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    real = Profiles.findings
    monkeypatch.setattr(
        Profiles,
        "findings",
        lambda self, value: calls.append(value) or real(self, value),  # type: ignore[func-returns-value]
    )
    store.dataset_update("physics/cars", {"name": "cars", "keywords": list(range(300))})
    calls.clear()  # the write was checked, too
    pages = [client.get("/datasets/physics/cars").text for _ in range(3)]
    assert len(calls) == 1
    assert pages[0] == pages[2]
    assert "more" in pages[2]


@pytest.mark.parametrize(("beyond", "status"), [(0, 422), (1, 413)])
def test_the_text_of_a_form_has_a_size(client: FlaskClient, beyond: int, status: int) -> None:
    """A text of the largest size is looked at; that it is no descriptor shows that it was."""
    text = json.dumps(["x" * (2 * 1024 * 1024 - 4 + beyond)])
    said = {"csrf_token": sign_in(client), "id": "physics/new", "text": text}
    answer = client.post("/datasets/new", data=said)
    assert (answer.status_code, "a form at most 2,097,152" in answer.text) == (status, bool(beyond))


@pytest.mark.parametrize(("beyond", "status"), [(0, 400), (1, 413)])
def test_a_form_has_a_size(client: FlaskClient, beyond: int, status: int) -> None:
    """A form of the largest size is read; that its message is too long shows that it was."""
    body = f"csrf_token={sign_in(client)}&id=physics/new&text=[]&message="
    body += "x" * (6 * 1024 * 1024 - len(body) + beyond)
    assert client.post("/datasets/new", data=body, content_type=FORM).status_code == status


@pytest.mark.parametrize(("beyond", "status"), [(0, 422), (1, 413)])
def test_a_form_has_so_many_fields(client: FlaskClient, beyond: int, status: int) -> None:
    body = f"csrf_token={sign_in(client)}&id=physics/new&text=[]"
    body += "&a" * (100 - body.count("&") + beyond)
    assert client.post("/datasets/new", data=body, content_type=FORM).status_code == status


@pytest.mark.parametrize(("beyond", "status"), [(0, 401), (1, 413)])
def test_a_form_of_a_stranger_has_a_size(client: FlaskClient, beyond: int, status: int) -> None:
    body = f"csrf_token={csrf(client)}&id=physics/new&text="
    body += "x" * (256 * 1024 - len(body) + beyond)
    assert client.post("/datasets/new", data=body, content_type=FORM).status_code == status


#: What a browser may do with a page: no script or style within it, nothing of other sites, no frame, no address told.
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


@pytest.mark.parametrize(
    "path",
    ["/", "/datasets/physics/cars", "/sign-in", "/session", "/datasets/physics/none", "/none", "/datasets/a/b/edit"],
)
def test_every_page_and_error_tells_browsers_what_it_may_do(client: FlaskClient, path: str) -> None:
    for answer in (client.get(path, headers={"Accept": "text/html"}), client.post(path)):
        if answer.mimetype == "text/html":
            assert set(answer.headers["Content-Security-Policy"].split("; ")) > POLICY
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("name", ["token", "sign_in_token", "access_token", "jwt", "csrf_token"])
def test_a_token_in_an_address_signs_nobody_in(client: FlaskClient, name: str) -> None:
    query = f"?{name}={token('ann')}"
    assert client.get(f"/session{query}").status_code == 401
    assert client.post(f"/sign-in{query}", data={"csrf_token": csrf(client)}).status_code == 401
    assert client.get("/session").status_code == 401


@pytest.mark.parametrize(("origin", "language"), [(None, "en"), ("https://evil.example.org", "de")])
def test_no_form_is_taken_without_the_token_of_its_own_session(
    client: FlaskClient, store: MetaStore, registry: BundleRegistry, origin: str | None, language: str
) -> None:
    store.tag_create("physics/cars", "v1")
    other = client.application.test_client()
    theirs = sign_in(other, "ds:*:*")
    sign_in(client, "ds:*:*", "bundles:*:write")
    client.set_cookie("language", language)
    headers = {"Accept-Language": language} | ({"Origin": origin, "Referer": f"{origin}/x"} if origin else {})
    values = {"owner": "physics", "name": "cars", "tag": "v1", "bundle": "beam", "revision": "main"}
    before, taken, routes = store.revision_read("physics/cars"), [], 0
    for rule in client.application.url_map.iter_rules():
        if "POST" not in (rule.methods or ()) or not rule.endpoint.startswith("pages."):
            continue
        routes += 1
        with client.application.test_request_context():
            path = url_for(rule.endpoint, **{name: values.get(name, "cars") for name in rule.arguments})
        for forged in ({}, {"csrf_token": theirs}):
            form = {"step": "store", "text": "{}", "id": "physics/new", "message": "m", "sign_in_token": "x", **forged}
            answer = client.post(path, data=form, headers=headers)
            if answer.status_code != 400:
                taken.append((path, forged, answer.status_code))
    assert routes > 15
    assert not taken
    assert store.revision_read("physics/cars") == before
    assert not list(registry.bundle_list())
    assert [str(each) for each in store.dataset_list()] == ["physics/cars"]


def test_a_form_of_encoded_characters_takes_little_memory(client: FlaskClient) -> None:
    body = urlencode({"csrf_token": sign_in(client), "text": "[" * 500_000})
    client.post("/datasets/check", data="text=1", content_type=FORM)  # what it imports does not count
    tracemalloc.start()
    try:
        answer = client.post("/datasets/check", data=body, content_type=FORM)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)
    finally:
        tracemalloc.stop()
    assert answer.status_code == 200


@pytest.mark.parametrize("text", ["", "a b+c%", "%zz%4", "ü€😀" * 40_000, "x" * 65_535 + "%é", "a=b&c\r\n" * 20_000])
def test_a_long_form_is_read_as_it_was_typed(client: FlaskClient, text: str) -> None:
    with client.application.test_request_context(
        "/datasets/new", method="POST", data=urlencode({"text": text, "é": "1"}), content_type=FORM
    ):
        g.identity = Identity("ann")
        refusals.check_size()
        values = list(request.form.items())
    assert values == [("text", text), ("é", "1")]
