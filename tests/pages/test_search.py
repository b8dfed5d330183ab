"""The catalogue, and the search of datasets, bundles and devices, as pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import metastore
from metastore import bundle
from metastore.auth.tokens import Verifier
from metastore.storage.memory import MemoryStorage
from metastore.web import create_app

from ..bundle.postgres_server import new_storage
from .conftest import token
from .reader import editor_at, reader_of


@pytest.fixture
def client() -> FlaskClient:
    store = metastore.connect("memory:", author="Setup", validation="off")
    salt = {"title": "Salt", "description": "<b>sea</b> & **ice**", "licenses": [{"name": "CC0-1.0"}]}
    store.dataset_create("ocean/salt", salt)
    store.dataset_create("ocean/waves", {"title": "Waves of the sea"})
    return create_app(store, verifier=Verifier(())).test_client()


def titles(page: str) -> list[str]:
    return re.findall(r"<h3><a [^>]*>([^<]*)</a></h3>", page)


def test_words_and_filters_find_and_their_address_can_be_shared(client: FlaskClient) -> None:
    page = client.get("/search?q=sea&order=id").text
    assert titles(page) == ["Salt", "Waves of the sea"]
    choice = re.search(r'<a rel="nofollow" href="([^"]*licence=CC0[^"]*)">CC0-1.0</a> <small>1</small>', page)
    assert choice
    chosen = client.get("/search" + unescape(choice[1])).text
    assert titles(chosen) == ["Salt"]
    assert "Remove the filter Licence: CC0-1.0" in chosen


def test_datasets_whose_licence_is_not_open_or_missing_are_a_choice_and_say_so_themselves(client: FlaskClient) -> None:
    store = client.application.extensions["metastore"].store
    store.dataset_create("ocean/fish", {"title": "Fish", "licenses": [{"name": "CC-BY-NC-4.0"}]})
    page = client.get("/datasets?order=changed").text
    for words, title in (("Open licence", "Salt"), ("Not open", "Fish"), ("No licence", "Waves of the sea")):
        choice = re.search(rf'<a rel="nofollow" href="([^"]*)">{words}</a> <small>1</small>', page)
        assert choice
        chosen = client.get("/datasets" + unescape(choice[1])).text
        assert titles(chosen) == [title]
        assert f"Remove the filter Openness: {words}" in chosen
        others = re.findall(r'<a rel="nofollow" href="[^"]*">(Open licence|Not open|No licence)</a></li>', chosen)
        assert {words, *others} == {"Open licence", "Not open", "No licence"}
        address = re.search(r'<h3><a href="([^"]*)"', chosen)
        assert address
        assert re.search(rf'Licence(?:</a>)? <a class="badge [^>]*>{words}</a></dt>', client.get(address[1]).text)
        badge = re.search(r'<a class="badge (?:not-open|none)" rel="nofollow" href="[^"]*">([^<]*)</a></li>', chosen)
        assert (badge[1] if badge else "Open licence") == words
    assert client.get("/datasets?openness=closed").status_code == 400
    resource = {"name": "a", "path": "a.csv", "licenses": [{"name": "CC-BY-NC-4.0"}]}
    store.dataset_patch("ocean/salt", {"resources": [resource]})
    assert ">Not all open</a></dt>" in client.get("/datasets/ocean/salt").text
    assert ">Not all open</a></li>" in client.get("/datasets").text
    store.dataset_patch("ocean/salt", {"resources": [resource, {"name": "b", "path": "b.csv"}], "licenses": None})
    store.dataset_patch("ocean/salt", {"resources": [resource | {"licenses": [{"name": "CC0-1.0"}]}, {"name": "b"}]})
    assert "Not all of it has a licence</a>" in client.get("/").text


def test_a_snippet_is_text_and_marks_what_was_asked_for(client: FlaskClient) -> None:
    page = client.get("/search?q=ice").text
    assert "&lt;b&gt;sea&lt;/b&gt; &amp;" in page
    assert "<b>sea" not in page


def test_a_query_that_cannot_be_parsed_says_where(client: FlaskClient) -> None:
    answer = client.get('/search?q=sea "ice')
    assert answer.status_code == 400
    assert "The quote at character 5 of the query is not closed" in unescape(answer.text)
    assert 'value="sea &#34;ice"' in answer.text


def test_each_page_has_the_search_box(client: FlaskClient) -> None:
    for path in ("/", "/datasets", "/datasets/ocean/salt"):
        assert 'aria-label="Search datasets and bundles"' in client.get(path).text


@pytest.fixture(params=["index", "list"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlaskClient]:
    url = tmp_path if request.param == "index" else "memory:"
    with metastore.connect(url, author="Setup", validation="off", sync=False) as store:
        for number in range(45):
            store.dataset_create(
                f"many/d{number:02}", {"title": f"Number {number}"}, at=f"2024-05-01T00:00:{number:02}Z"
            )
        salt = {"title": "Salt", "description": "The [sea](https://example.org) is **salty**. <b>Is it?</b>"}
        salt |= {"licenses": [{"name": "CC0-1.0"}], "resources": [{"name": "a", "path": "a.CSV"}]}
        store.dataset_create("ocean/salt", salt, message="As measured")
        store.dataset_create("ocean/gone", {"title": "Gone for good?"})
        store.dataset_delete("ocean/gone", message="No longer needed")
        yield create_app(store, verifier=Verifier(())).test_client()


def test_a_card_says_what_a_dataset_is(catalogue: FlaskClient) -> None:
    page = catalogue.get("/datasets?owner=ocean").text
    (card,) = re.findall(r'<li class="card.*?\n  </li>', page, re.DOTALL)
    assert (
        re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", card)))
        .strip()
        .startswith("Salt ocean /salt The sea is salty. Is it? CC0-1.0 csv 1 resource just now · Setup · As measured")
    )
    assert "Setup · As measured" in card


def test_pages_lead_through_all_datasets_and_back(catalogue: FlaskClient) -> None:
    seen, url = list[str](), "/datasets?owner=many"
    for _ in range(3):
        page = catalogue.get(url).text
        seen += titles(page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        url = "/datasets" + unescape(following[1]) if following else ""
    assert (len(seen), len(set(seen)), url) == (45, 45, "")
    assert "First page" in page or 'rel="prev"' in page
    if previous := re.search(r'rel="prev" href="([^"]*)"', page):
        assert titles(catalogue.get("/datasets" + unescape(previous[1])).text) == seen[20:40]


def test_deleted_datasets_and_those_with_findings_are_found(catalogue: FlaskClient) -> None:
    page = catalogue.get("/datasets?deleted=true").text
    assert titles(page) == ["Gone for good?"]
    assert "Setup · No longer needed" in page
    assert titles(catalogue.get("/datasets?findings=false").text) == ["Salt"]


def test_a_deleted_dataset_is_restored_from_the_list_of_deleted_ones() -> None:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt"})
    store.dataset_delete("ocean/salt")
    reader = editor_at("/datasets?deleted=true", store).follows("Salt").follows("Restore").sends("Restore")
    assert reader.text(".notice") == "Restored ocean/salt."
    assert store.dataset_read("ocean/salt").descriptor == {"title": "Salt"}


def test_a_deleted_dataset_offers_a_stranger_to_sign_in_and_leads_back() -> None:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt"})
    store.dataset_delete("ocean/salt")
    reader = reader_of(store).opens("/datasets/ocean/salt").follows("Sign in to restore it")
    reader.sends("Sign in", token=token("ann"))
    assert reader.follows("Restore").sends("Restore").text(".notice") == "Restored ocean/salt."


def test_bundles_and_devices_are_found_by_the_same_box() -> None:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse("groups = NOvA\nNOvA = ann"))
    named = {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TR101D"]}
    registry.bundle_create(named, user="ann", comment="Import")
    store = metastore.connect("memory:", author="Setup", validation="off")
    client = create_app(store, verifier=Verifier(()), bundles=registry).test_client()
    found = client.get("/search?q=TOR860").text
    assert 'href="/bundles/NuMI"' in found
    assert "No dataset matches" not in found, "that would say that nothing was found"
    assert 'href="/bundles/NuMI"' in client.get("/search?q=tor860+nova").text
    assert 'href="/bundles/NuMI"' not in client.get("/search?q=tor860+minos").text
    assert 'href="/bundles/NuMI"' not in client.get("/search?q=nova+-tor860").text
    page = client.get("/search?q=E:TOR999").text
    assert 'href="/bundles/NuMI"' not in page
    assert "/device?name=" not in page
    assert "No dataset matches" in page


def test_a_device_that_was_removed_is_found_with_a_link_to_where_it_was() -> None:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse("groups = NOvA\nNOvA = ann"))
    named = {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TR101D"]}
    registry.bundle_create(named, user="ann", comment="Import")
    registry.bundle_update("NuMI", {"remove_devices": ["E:TR101D"]}, user="ann", comment="It drifts")
    store = metastore.connect("memory:", author="Setup", validation="off")
    client = create_app(store, verifier=Verifier(()), bundles=registry).test_client()
    page = client.get("/search?q=E:TR101D").text
    (link,) = re.findall(r'href="(/device[^"]*)">Where the device E:TR101D is and was<', page)
    assert "It drifts" in client.get(link).text
    assert link in client.get("/bundles?device=E:TR101D").text


def test_datasets_are_found_by_a_column() -> None:
    store = metastore.connect("memory:", author="Setup", validation="off")
    for name in ("lat", "lon"):
        resource = {"name": "a", "path": "a.csv", "schema": {"fields": [{"name": name, "type": "number"}]}}
        store.dataset_create(f"ocean/{name}", {"title": f"By {name}, not by lat", "resources": [resource]})
    page = create_app(store, verifier=Verifier(())).test_client().get("/search?field=lat").text
    assert titles(page) == ["By lat, not by lat"]
    assert '<input name="field" value="lat"' in page
    assert "Remove the filter Column: lat" in page


def test_a_card_names_the_columns_that_were_found_and_leads_to_their_resources() -> None:
    store = metastore.connect("memory:", author="Setup", validation="off")
    resources = [
        {"name": name, "path": f"{name}.csv", "schema": {"fields": [{"name": column, "type": "number"}]}}
        for name, column in (("sea", "Temp_max"), ("ice", "thickness"))
    ]
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": resources})
    reader = reader_of(store)
    for query, column in (("q=temp", "Temp_max"), ("q=thick*+-fog", "thickness"), ("field=temp_MAX", "Temp_max")):
        assert reader.opens(f"/search?{query}").texts(".card code") == [column]
    assert reader.follows("Temp_max").texts(".resource h3") == ["sea"]
    reader.follows("All")
    assert reader.texts(".resource h3") == ["sea", "ice"]
    assert not reader.opens("/search?q=salt").soup.select(".card code")


def test_the_rarer_values_of_a_filter_are_folded_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"keywords": [f"k{number:02}" for number in range(11)]})
    reader = reader_of(store).opens("/search?q=salt")
    assert reader.texts("#filters summary") == ["3 more"]
    assert reader.texts("#filters details a") == ["k08", "k09", "k10"]
    monkeypatch.setattr(import_module("metastore.pages.catalogue"), "_LISTED_VALUES", 10)
    reader.opens("/search?q=salt")
    assert reader.texts("#filters summary") == ["The 10 most frequent"]
    assert reader.texts("#filters details a") == ["k08", "k09"]


def test_without_words_nobody_is_told_to_search_for_fewer() -> None:
    reader = reader_of(metastore.connect("memory:", author="Setup"))
    assert "show all datasets" in reader.opens("/datasets?at=2020-01-01").text(".empty")
    assert "Try fewer words" in reader.opens("/search?q=salt").text(".empty")


def test_a_device_leads_to_where_it_was_and_where_it_is_now() -> None:
    registry = bundle.connect("memory:", groups=bundle.Groups.parse("groups = NOvA\nNOvA = ann"))
    for name in ("Old", "New"):
        named = {"name": name, "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860", "E:TR101D"]}
        registry.bundle_create(named, user="ann", comment="Import")
    registry.bundle_update("Old", {"remove_devices": ["E:TOR860"]}, user="ann", comment="It drifts")
    store = metastore.connect("memory:", author="Setup", validation="off")
    client = create_app(store, verifier=Verifier(()), bundles=registry).test_client()
    link = re.search(r'href="([^"]*)"><code>E:TOR860</code>', client.get("/bundles/New").text)
    assert link
    now, was = client.get(unescape(link[1])).text.split("When it was added and removed</h2>")
    assert ('href="/bundles/New"' in now, 'href="/bundles/Old"' in now) == (True, False)
    assert "It drifts" in was


@pytest.fixture(scope="module", params=["memory", "postgres"])
def ten(request: pytest.FixtureRequest) -> FlaskClient:
    """Serve datasets among which each question of a data manager has another answer."""
    storage = new_storage() if request.param == "postgres" else MemoryStorage()
    store = metastore.MetaStore(storage, author="Setup", validation="off")
    cc_by, bo = {"licenses": [{"name": "CC-BY-4.0"}]}, {"contributors": [{"title": "Bo Ek"}]}
    path = {"name": "a", "path": "a.csv"}
    then, now = "2026-02-01T00:00:00Z", "2026-03-05T00:00:00Z"
    store.dataset_create("ask/licence", {"title": "Licence", **cc_by}, at=then)
    store.dataset_create(
        "ask/field", {"title": "Field", "resources": [path | {"schema": {"fields": [{"name": "lat"}]}}]}, at=then
    )
    store.dataset_create("ask/person", {"title": "Person", **bo}, at=then)
    store.dataset_create(
        "ask/word", {"title": "Word", "resources": [path | {"format": "tsv", "description": "buoys"}]}, at=then
    )
    store.dataset_create("ask/past", {"title": "Past", "description": "It was CC-BY"}, at=then)
    store.dataset_update("ask/past", {"title": "Present"}, at=now)
    store.dataset_create("ask/gone", {"title": "Gone"}, at=then)
    store.dataset_delete("ask/gone", at=now)
    return create_app(store, verifier=Verifier(())).test_client()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("licence=CC-BY-4.0", ["Licence"]),
        ("field=lat", ["Field"]),
        ("contributor=Bo+Ek", ["Person"]),
        ("changed_since=2026-03-01T00:00:00Z&order=changed", ["Present"]),
        ("licence=", ["Field", "Person", "Present", "Word"]),
        ("openness=none", ["Field", "Person", "Present", "Word"]),
        ("openness=open", ["Licence"]),
        ("findings=true", ["Licence", "Person", "Present"]),
        ("deleted=true&q=", ["Gone"]),
        ("q=CC-BY&at=2026-03-01T00:00:00Z&order=id", ["Licence", "Past"]),
        ("q=buoys", ["Word"]),
        ("format=csv", ["Field"]),
    ],
)
def test_each_question_of_a_data_manager_has_the_same_answer_by_page_and_request(
    ten: FlaskClient, question: str, answer: list[str]
) -> None:
    assert sorted(titles(ten.get(f"/search?{question}").text)) == answer
    hits = ten.get(f"/api/v1/datasets?{question}").get_json()["hits"]
    assert sorted(hit["title"] for hit in hits) == answer
