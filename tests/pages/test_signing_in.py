"""Signing in to the pages: with a token, at a provider, through a proxy; and what nobody gets in with."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect

import metastore
from metastore import bundle, config, trust
from metastore.auth.access import ALL_BUNDLES, NO_BUNDLES, Identity, parse_bundle_scopes, parse_scopes
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier, issue
from metastore.config import ServiceSettings
from metastore.pages import oidc, session
from metastore.web import create_app

from ..key_server import key_server
from .conftest import GROUPS, SECRET, Person, needs_browser, serving, token

EDIT = "/datasets/physics/cars/edit"


def make_app(**settings: Any) -> Flask:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("physics/cars", {"title": "Cars"})
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(GROUPS))
    verifier = Verifier((GivenKeys(secret_key(SECRET)),), mapping=settings.get("claims"))
    return create_app(store, verifier=verifier, bundles=registry, settings=ServiceSettings(**settings))


@pytest.fixture
def client() -> FlaskClient:
    return make_app().test_client()


def csrf(client: FlaskClient, path: str = "/sign-in") -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def sign_in(client: FlaskClient, said: str, onward: str = "") -> Any:
    return client.post("/sign-in", data={"token": said, "next": onward, "csrf_token": csrf(client)})


def test_the_cookie_holds_no_token_and_no_script_reads_it(client: FlaskClient) -> None:
    answer = sign_in(client, token("ann"))
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert token("ann").split(".")[2] not in cookie


def with_copied_cookie(client: FlaskClient) -> FlaskClient:
    """Return somebody with a copy of a client's cookie, which is as good as the cookie."""
    cookie = client.get_cookie("metastore")
    assert cookie is not None
    thief = client.application.test_client()
    thief.set_cookie("metastore", cookie.value)
    assert thief.get(EDIT).status_code == 200
    return thief


def test_a_copied_cookie_ends_when_its_user_signs_out(client: FlaskClient) -> None:
    sign_in(client, token("ann"))
    thief = with_copied_cookie(client)
    client.post("/sign-out", data={"csrf_token": csrf(client)})
    assert thief.get(EDIT).status_code != 200
    sign_in(client, token("ann"))
    assert client.get(EDIT).status_code == 200
    assert thief.get(EDIT).status_code != 200


@pytest.mark.parametrize("user", ["ann", "bo"])
def test_a_copied_cookie_ends_when_its_user_signs_in_again_or_another_does(client: FlaskClient, user: str) -> None:
    sign_in(client, token("ann"))
    thief = with_copied_cookie(client)
    sign_in(client, token(user))
    assert thief.get(EDIT).status_code != 200


def test_the_end_of_a_session_is_known_to_all_processes_and_after_a_restart(tmp_path: Path) -> None:
    one, other = (session.EndedSessions(str(tmp_path / "ended.sqlite")) for _ in range(2))
    one.add("over", 1)
    one.add("a", 4_000_000_000)
    assert one.name == other.name
    assert not other.is_open("a", one.name)
    assert other.is_open("b", one.name)
    other.add("b", 4_000_000_000)
    later = session.EndedSessions(str(tmp_path / "ended.sqlite"))
    assert not any(later.is_open(each, one.name) for each in "ab")
    assert one.is_open("over", one.name)  # nothing is kept for ever


@pytest.mark.parametrize("damage", ["text", "pages", "empty", "lost", "former format"])
def test_without_its_list_of_ended_sessions_a_service_signs_everybody_out(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ended.sqlite"
    one, other = (session.EndedSessions(str(path)) for _ in range(2))
    name = other.name
    for number in range(500):
        one.add(f"a{number}", 4_000_000_000)
    assert one.is_open("b", name)
    assert not other.is_open("a9", name)
    one._file.close()
    other._file.close()
    if damage == "text":
        path.write_bytes(b"no database" * 500)
    elif damage == "pages":
        content = path.read_bytes()
        path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    elif damage == "former format":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 1")
    else:
        for file in tmp_path.iterdir():
            file.write_bytes(b"") if damage == "empty" else file.unlink()
    for each in (one, other, session.EndedSessions(str(path))):
        assert not any(each.is_open(session_id, name) for session_id in ("a9", "b", "c"))
        assert each.is_open("c", one.name)
        assert not each.is_open("c", "")


def test_a_process_follows_a_list_of_ended_sessions_that_another_one_made_again(tmp_path: Path) -> None:
    path = tmp_path / "ended.sqlite"
    one, other = (session.EndedSessions(str(path)) for _ in range(2))
    name = other.name
    one._file.close()
    path.write_bytes(b"no database" * 500)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    assert one.name != name
    one.add("b", 4_000_000_000)
    assert not other.is_open("a", name)
    assert not other.is_open("b", one.name)
    assert other.is_open("c", one.name)


def test_while_the_list_of_ended_sessions_cannot_be_used_nobody_is_signed_in(tmp_path: Path) -> None:
    app = make_app()
    session.install(app, str(tmp_path / "ended.sqlite"))
    client = app.test_client()
    sign_in(client, token("ann"))
    assert client.get(EDIT).status_code == 200
    (tmp_path / "ended.sqlite").unlink()
    (tmp_path / "ended.sqlite").mkdir()
    assert client.get(EDIT).status_code == 401
    assert client.get("/datasets/physics/cars").status_code == 200
    assert sign_in(client, token("ann")).status_code == 503


def test_another_key_ends_the_sessions_that_a_former_one_began(tmp_path: Path) -> None:
    def secret(**variables: str) -> str:
        names = {"METASTORE_STORE": str(tmp_path), **{f"METASTORE_{name}": each for name, each in variables.items()}}
        return trust.session_secret(config.load(names))

    begun = secret()
    assert begun == secret()
    assert begun not in (tmp_path / "_metastore/session.key").read_text()
    (tmp_path / "_metastore/token.key").unlink()
    assert secret() != begun
    assert secret(JWT_SECRET="x" * 40) != secret(JWT_SECRET="y" * 40)


def test_a_page_shows_what_a_session_may_do(client: FlaskClient) -> None:
    assert client.get("/session").status_code == 401
    sign_in(client, token("ann", "ds:physics/*:read,update", "ds:okfn/gdp:create,read", "bundles:*:write"))
    shown = client.get("/session").text
    assert "<td>physics/*</td><td>read, update</td>" in shown
    assert "<td>okfn/gdp</td><td>create, read</td>" in shown
    assert "change the bundles of NOvA." in shown
    assert "UTC</time>, or until you sign out" in shown
    assert 'href="/session"' in client.get("/").text
    sign_in(client, token("ann", "bundles:MINOS:write"))
    shown = client.get("/session").text
    assert "You have no permissions for datasets" in shown
    assert "change none" in shown


def test_the_log_names_the_user_of_a_session(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "metastore.access"):  # a line is written when an answer has been sent
        client.get(EDIT).close()
        sign_in(client, "no token").close()
        sign_in(client, token("ann")).close()
        client.get(EDIT).close()
        client.get("/nowhere", headers={"Accept": "text/html"}).close()
        client.post("/sign-out", data={"csrf_token": csrf(client)}).close()
        client.get(EDIT).close()
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "metastore.access"]
    users = [(line["method"], line["path"], line["status"], line["user"]) for line in lines]
    assert users == [
        ("GET", EDIT, 401, None),
        ("GET", "/sign-in", 200, None),
        ("POST", "/sign-in", 401, None),
        ("GET", "/sign-in", 200, None),
        ("POST", "/sign-in", 303, "ann"),
        ("GET", EDIT, 200, "ann"),
        ("GET", "/nowhere", 404, "ann"),
        ("GET", "/sign-in", 200, "ann"),
        ("POST", "/sign-out", 303, "ann"),
        ("GET", EDIT, 401, None),
    ]


def test_a_session_ends_with_the_key_that_signed_its_token(tmp_path: Path) -> None:
    keys = GivenKeys(*(secret_key(name * 32) for name in "ab"))
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("physics/cars", {"title": "Cars"})
    client = create_app(store, verifier=Verifier((keys,))).test_client()
    hour = timedelta(hours=1)
    sign_in(client, issue("a" * 32, user="ann", scopes=["ds"], expires=hour, now=time.time()))
    assert client.get(EDIT).status_code == 200
    keys._keys = (secret_key("b" * 32), secret_key("c" * 32))
    assert client.get(EDIT).status_code == 401
    sign_in(client, issue("b" * 32, user="ann", scopes=["ds"], expires=hour, now=time.time()))
    keys._keys = (secret_key("c" * 32), secret_key("b" * 32))
    assert client.get(EDIT).status_code == 200


def test_a_token_with_too_many_scopes_for_a_cookie_is_refused_in_words(client: FlaskClient) -> None:
    scopes = [f"ds:physics/{secrets.token_hex(30)}:read" for _ in range(80)]
    answer = sign_in(client, token("ann", *scopes))
    assert answer.status_code == 401
    assert "too many scopes for a cookie" in answer.text
    assert client.get(EDIT).status_code != 200


def test_over_https_the_cookie_is_for_https_alone(client: FlaskClient) -> None:
    home = "https://localhost"
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in", base_url=home).text)
    assert found is not None
    said = {"token": token("ann"), "csrf_token": found[1]}
    answer = client.post("/sign-in", data=said, base_url=home, headers={"Referer": f"{home}/sign-in"})
    assert answer.status_code == 303
    assert "Secure" in answer.headers["Set-Cookie"]


def test_behind_a_proxy_with_https_the_cookie_is_for_https_alone() -> None:
    answer = sign_in(make_app(public_url="https://metastore.example.org").test_client(), token("ann"))
    assert "Secure" in answer.headers["Set-Cookie"]


def test_a_session_keeps_all_that_is_known_of_who_signed_in() -> None:
    granted = parse_bundle_scopes(["bundles:NOvA:write", "bundles:MINOS:write"])
    who = Identity("ann", "Ann", "ann@example.org", parse_scopes("ds:a/b:read ds:c/*"), granted)
    assert {field.name for field in dataclasses.fields(Identity)} == {
        *("user", "name", "email", "scopes", "bundles"),
        *(
            "anonymous",
            "expires",
            "key",
        ),  # who signed in is not; the cookie has an end of its own, and ends with the key
    }
    for bundles in (granted, NO_BUNDLES, ALL_BUNDLES):
        with make_app().test_request_context():
            session.remember(replace(who, bundles=bundles))
            assert session.identity() == replace(who, bundles=bundles)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        (("ds:*:*",), 403),
        (("ds:*:*", "bundles:MINOS:write"), 403),
        (("bundles:NOvA:read",), 403),
        (("bundles:NOvA:write",), 303),
        (("bundles:*:write",), 303),
    ],
)
@pytest.mark.parametrize("user", ["ann", "carol"])
def test_who_signs_in_with_a_token_changes_the_bundles_that_it_names(
    client: FlaskClient, user: str, scopes: tuple[str, ...], status: int
) -> None:
    sign_in(client, token(user, *scopes))
    form = {"name": "Beam", "ifb_group": "NOvA", "event": "e,a9", "storage": "short", "devices": "E:TOR860"}
    answer = client.post("/new-bundle", data={**form, "step": "store", "csrf_token": csrf(client, "/datasets/new")})
    assert answer.status_code == status


def test_a_session_lasts_no_longer_than_its_token(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    brief = issue(SECRET, user="ann", scopes=["ds:*:*"], expires=timedelta(minutes=5), now=now)
    sign_in(client, brief)
    assert client.get(EDIT).status_code == 200
    monkeypatch.setattr(session.time, "time", lambda: now + 301)
    assert client.get(EDIT).status_code == 401


def test_a_session_ends_by_itself(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    long = issue(SECRET, user="ann", scopes=["ds:*:*"], expires=timedelta(days=30), now=time.time())
    sign_in(client, long)
    assert client.get(EDIT).status_code == 200
    later = time.time() + session.LASTS + 1
    monkeypatch.setattr(session.time, "time", lambda: later)
    assert client.get(EDIT).status_code == 401


def test_no_form_of_anybody_else_outlives_signing_in(client: FlaskClient) -> None:
    before = csrf(client)
    sign_in(client, token("ann"))
    mine = csrf(client)
    for who, form, status in (("ann", before, 400), ("ann", mine, 303), ("bo", mine, 400)):
        sign_in(client, token(who))
        said = {"csrf_token": form, "text": '{"title": "x"}'}
        assert client.post(EDIT, data=said).status_code == status, who


@pytest.mark.parametrize("path", [EDIT, "/datasets/new", "/new-bundle", "/bundles/Typed/edit", "/import-bundles"])
def test_what_another_site_sends_is_not_shown_again(client: FlaskClient, path: str) -> None:
    answer = client.post(path, data={"text": "evil words", "devices": "evil words", "csrf_token": "forged"})
    assert (answer.status_code, "evil words" in answer.text) == (400, False)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "junk",
        "a.b.c",
        issue(
            "another secret that is long enough for it",
            user="ann",
            scopes=["ds:*:*"],
            expires=timedelta(1),
            now=time.time(),
        ),
        issue(SECRET, user="ann", scopes=["ds:*:*"], expires=timedelta(hours=1), now=time.time() - 7200),
    ],
)
def test_a_bad_token_signs_nobody_in(client: FlaskClient, said: str) -> None:
    answer = sign_in(client, said)
    assert (answer.status_code, 'role="alert"' in answer.text) == (401, True)
    assert client.get(EDIT).status_code == 401


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/bundles?group=NOvA", "/bundles?group=NOvA"),
        ("", "/"),
        ("https://evil.example", "/"),
        ("//evil.example/x", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
    ],
)
def test_signing_in_leads_to_no_other_site(client: FlaskClient, asked: str, given: str) -> None:
    assert sign_in(client, token("ann"), asked).headers["Location"] == given


def test_a_forged_or_cut_cookie_is_nobodys(client: FlaskClient) -> None:
    sign_in(client, token("ann"))
    cookie = client.get_cookie("metastore")
    assert cookie is not None
    for forged in (f"{cookie.value}x", cookie.value[:-5], "e30.x.y", "\u00e9"):
        client.set_cookie("metastore", forged)
        assert client.get(EDIT).status_code == 401


def test_the_api_knows_no_cookies(client: FlaskClient) -> None:
    """Otherwise any page on the web could write with the reader's rights."""
    sign_in(client, token("ann"))
    answer = client.put("/api/v1/datasets/physics/cars", json={})
    assert answer.status_code == 401


def test_every_form_needs_its_token(client: FlaskClient) -> None:
    sign_in(client, token("ann"))
    posts = [
        rule.rule
        for rule in client.application.url_map.iter_rules()
        if rule.endpoint.startswith("pages.") and "POST" in (rule.methods or ())
    ]
    assert len(posts) > 5
    for rule in posts:
        path = re.sub(r"<(\w+:)?\w+>", "x", rule)
        assert client.post(path, data={}).status_code == 400, path


@pytest.mark.parametrize(
    "given", [{"remote_user_from": ("127.0.0.1",)}, {"remote_user_from": ("127.0.0.1", "10.1.2.3")}]
)
def test_a_proxy_that_may_says_who_is_there(given: dict[str, Any]) -> None:
    app = make_app(**given, claims={"sub": {"ann": "ds:physics/*:read,update"}})
    client = app.test_client()
    for said in ({"headers": {"Remote-User": "ann"}}, {"environ_overrides": {"REMOTE_USER": "ann"}}):
        answer = client.get(EDIT, **said)  # type: ignore[arg-type]
        assert (answer.status_code, "Signed in as" in answer.text, "Sign out" in answer.text) == (200, True, False)


@pytest.mark.parametrize(
    ("allowed", "peer", "headers"),
    [
        ((), "127.0.0.1", {"Remote-User": "ann"}),
        (("10.0.0.1",), "127.0.0.1", {"Remote-User": "ann"}),
        (("10.0.0.1",), "127.0.0.1", {"Remote-User": "ann", "X-Forwarded-For": "10.0.0.1"}),
        (("127.0.0.1",), "127.0.0.1", {"X-Remote-User": "ann"}),
        (("127.0.0.1",), "127.0.0.1", {"Remote-User": ""}),
    ],
)
def test_anybody_else_who_says_so_is_not_believed(allowed: Any, peer: str, headers: dict[str, str]) -> None:
    client = make_app(remote_user_from=allowed, claims={"sub": {"ann": "ds:*:*"}}).test_client()
    assert client.get(EDIT, headers=headers, environ_overrides={"REMOTE_ADDR": peer}).status_code == 401


@needs_browser
def test_somebody_signs_in_at_a_provider(browser: Browser) -> None:
    user = oidc_provider_mock.User(sub="ann", claims={"name": "Ann Lee", "groups": ["editors"]})
    with oidc_provider_mock.run_server_in_thread(user_claims=[user]) as provider:
        settings = ServiceSettings(
            oidc_issuer=f"http://localhost:{provider.server_port}",
            oidc_client_id="metastore",
            oidc_client_secret="secret",
            claims={"groups": {"editors": "ds:okfn/*:read,update"}},
        )
        with serving(settings) as site:
            person = Person(browser.new_context(), site)
            page = person.goes_to("/sign-in?next=/datasets/okfn/compression")
            page.get_by_role("link", name="Sign in at").click()
            page.locator("input[name=sub]").fill("ann")
            page.get_by_role("button", name="Authorize", exact=True).click()
            expect(page.get_by_text("Signed in as")).to_be_visible()
            expect(page).to_have_url(f"{site.url}/datasets/okfn/compression")
            page.get_by_role("link", name="Edit").click()
            page.get_by_role("button", name="Edit as JSON").click()
            page.get_by_label("datapackage.json").fill('{"title": "New", "resources": []}')
            page.get_by_role("button", name="Save").click()
            expect(page.get_by_role("status")).to_contain_text("Saved.")
            assert site.store.revision_read("okfn/compression").author.name in ("Ann Lee", "ann")
            person.context.close()


def test_an_answer_that_the_provider_did_not_give_signs_nobody_in() -> None:
    with oidc_provider_mock.run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        client = make_app(oidc_issuer=issuer, oidc_client_id="metastore", oidc_client_secret="secret").test_client()
        sent = client.get("/sign-in/provider?next=/bundles")
        asked = parse_qs(urlsplit(sent.headers["Location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert asked["nonce"]
        for query in ("", "?code=x", "?code=x&state=y", f"?code=x&state={asked['state'][0]}", "?error=access_denied"):
            answer = client.get(f"/sign-in/provider/back{query}")
            assert answer.status_code == 401, answer.text
        assert client.get(EDIT).status_code == 401


def test_a_provider_that_is_away_is_said_to_be(unused_port: int) -> None:
    app = make_app(oidc_issuer=f"http://localhost:{unused_port}", oidc_client_id="metastore")
    answer = app.test_client().get("/sign-in/provider")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://localhost:{unused_port}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"authorization_endpoint": "http://127.0.0.1/", "x": "%s"}' % (b"x" * 300_000),
        b"[" * 100_000,
        b"[]",
        b"a page",
        b'{"authorization_endpoint": 5}',
        b"{}",
    ],
    ids=["long", "deep", "list", "page", "number", "empty"],
)
def test_a_provider_that_answers_otherwise_than_documented_is_said_to_be(body: bytes) -> None:
    with key_server() as provider:
        provider.answer(body)
        answer = make_app(oidc_issuer=provider.url, oidc_client_id="metastore").test_client().get("/sign-in/provider")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


def test_a_provider_leads_to_no_other_address_and_chooses_no_options() -> None:
    with key_server() as provider, key_server() as other:
        begin = {"authorization_endpoint": "http://127.0.0.1/begin", "token_endpoint": f"{other.url}/token"}
        other.answer(json.dumps(begin))
        provider.answer(b"", 302, Location=other.url)
        client = make_app(oidc_issuer=provider.url, oidc_client_id="metastore").test_client()
        assert client.get("/sign-in/provider").status_code == 503
        assert other.asked == 0
        options = {"client_id": "theirs", "hooks": {"response": "x"}, "max_redirects": 9, "verify": False, "scope": 5}
        provider.answer(json.dumps({**begin, **options, "code_challenge_method": None}))
        asked = parse_qs(urlsplit(client.get("/sign-in/provider").headers["Location"]).query)
        assert (asked["client_id"], asked["scope"]) == (["metastore"], ["openid profile email"])
        assert asked["code_challenge_method"] == ["S256"]
        other.answer(b"", 307, Location=f"{provider.url}/stolen")
        provider.asked = 0
        back = client.get(f"/sign-in/provider/back?code=x&state={asked['state'][0]}")
        assert (back.status_code, other.asked, provider.asked) == (503, 1, 0)


@pytest.mark.timeout(20)
def test_nobody_waits_for_a_provider_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "_PATIENCE", 0.2)
    with key_server() as provider:
        provider.open.clear()
        answer = make_app(oidc_issuer=provider.url, oidc_client_id="metastore").test_client().get("/sign-in/provider")
    assert answer.status_code == 503


@pytest.mark.parametrize("root", ["", "/metadata"])
@pytest.mark.parametrize("host", ["metastore.internal:8000", "evil.example.org"])
def test_addresses_begin_with_the_public_one_despite_the_requests_host(host: str, root: str) -> None:
    with oidc_provider_mock.run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        settings = {"oidc_issuer": issuer, "oidc_client_id": "metastore", "oidc_client_secret": "secret"}
        client = make_app(public_url="https://data.example.org/meta", **settings).test_client()
        asked: Any = {"headers": {"Host": host}, "environ_overrides": {"SCRIPT_NAME": root}}
        shown = client.get("/datasets/physics/cars", **asked).text
        assert "https://data.example.org/meta/datasets/physics/cars?revision=" in shown
        assert "https://data.example.org/meta/api/v1/datasets/physics/cars?revision=" in shown
        assert "connect(&#34;https://data.example.org/meta&#34;)" in shown
        assert host not in shown
        sent = urlsplit(client.get("/sign-in/provider", **asked).headers["Location"])
        assert parse_qs(sent.query)["redirect_uri"] == ["https://data.example.org/meta/sign-in/provider/back"]


def test_addresses_are_those_of_the_request_where_no_public_one_is_set() -> None:
    asked: Any = {"headers": {"Host": "here.example.org"}, "environ_overrides": {"SCRIPT_NAME": "/metadata"}}
    shown = make_app().test_client().get("/datasets/physics/cars", **asked).text
    assert "http://here.example.org/metadata/datasets/physics/cars?revision=" in shown
    assert "connect(&#34;http://here.example.org/metadata&#34;)" in shown


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
