"""The page of a dataset: its versions, its resources, what a check found, how to cite it, and how large it gets."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

import metastore
from metastore.auth.tokens import Verifier
from metastore.history import parts
from metastore.pages import overview
from metastore.pages.formatting import sentence
from metastore.store.base import Store
from metastore.web import create_app

PATH = "/datasets/ocean/salt"
STATIONS = {
    "name": "stations",
    "title": "Where we measure",
    "path": "https://example.org/stations.csv",
    "hash": "sha256:" + "ab" * 32,
    "bytes": 1234,
    "description": "All *buoys*",
    "licenses": [{"name": "CC0-1.0"}],
    "dialect": {"delimiter": ";"},
    "schema": {
        "primaryKey": ["id"],
        "fields": [
            {"name": "id", "type": "integer", "constraints": {"required": True, "minimum": 1}},
            {"name": "depth", "type": "number", "unit": "m", "title": "Depth", "description": "Below the surface"},
            {"name": "day", "type": "date", "format": "%d.%m.%Y"},
        ],
    },
}


@pytest.fixture
def store() -> Store:
    return metastore.connect("memory:", author="Ann", validation="off")


@pytest.fixture
def client(store: Store) -> FlaskClient:
    return create_app(store, verifier=Verifier(())).test_client()


def words(page: str) -> str:
    """Return the text of a page on one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def test_a_card_has_all_that_is_said_of_a_resource(store: Store, client: FlaskClient) -> None:
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": [STATIONS]})
    page = client.get(PATH).text
    text = words(page)
    for part in (
        "stations: Where we measure",
        "1.2 kB",
        "sha256:abababababab…",
        "Licence: CC0-1.0",
        "Dialect: delimiter ;",
        "Primary key: id",
        "3 fields",
        "Field Type Unit Meaning Values",
        "id integer required, minimum 1",
        "depth number m Depth: Below the surface",
        "day date (%d.%m.%Y)",
    ):
        assert part in text, part
    assert "All <em>buoys</em>" in page
    assert 'href="https://example.org/stations.csv"' in page
    assert f'data-copy="{STATIONS["hash"]}"' in page


def test_values_are_spelled_as_json_and_not_as_python(store: Store, client: FlaskClient) -> None:
    field = {"name": "on", "constraints": {"required": False, "enum": [True, None]}}
    resource = {"name": "r", "path": "r.csv", "dialect": {"header": False}, "schema": {"fields": [field]}}
    store.dataset_create("ocean/salt", {"version": True, "homepage": None, "resources": [resource]})
    text = words(client.get(PATH).text)
    for part in ("Version true", "Dialect: header false", "required false, enum [true, null]"):
        assert part in text, part
    assert "homepage null" in (blame := words(client.get(f"{PATH}/blame").text))
    store.dataset_patch("ocean/salt", [{"op": "replace", "path": "/version", "value": None}])
    compared = words(client.get(f"{PATH}/compare?from=HEAD~1").text)
    assert "version changed true null" in compared
    assert not {"True", "False", "None"} & set(re.findall(r"\w+", text + blame + compared))


def test_columns_that_no_field_has_are_left_out(store: Store, client: FlaskClient) -> None:
    plain = {"name": "a", "path": "a.csv", "schema": {"fields": [{"name": "x", "type": "string"}]}}
    store.dataset_create("ocean/salt", {"resources": [plain]})
    assert "Field Type x string" in words(client.get(PATH).text)


def test_resources_are_searched_and_paged(store: Store, client: FlaskClient) -> None:
    resources = [{"name": f"r{number}", "path": f"r{number}.csv"} for number in range(120)]
    store.dataset_create("ocean/salt", {"resources": [*resources, STATIONS]})
    seen, url = list[str](), PATH
    for _ in range(3):
        page = client.get(url).text
        seen += re.findall(r"<h3>(?:<a [^>]*>)?(\w+)", page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        url = unescape(following[1]) if following else ""
    assert (len(seen), len(set(seen)), url) == (121, 121, "")
    assert "101 to 121 of 121" in page
    for query in ("STATIONS", "buoys", "depth"):
        assert re.findall(r"<h3>(?:<a [^>]*>)?(\w+)", client.get(f"{PATH}?find={query}").text) == ["stations"]
    assert "No resource has “pepper” in its name" in words(client.get(f"{PATH}?find=pepper").text)
    for nonsense in ("start=-1", "start=x", "start=999", "resource=999", "resource=²"):
        assert client.get(f"{PATH}?{nonsense}").status_code == 200


def test_the_first_twelve_resources_are_open_and_the_others_folded(store: Store, client: FlaskClient) -> None:
    resources = [{"name": f"r{number}", "path": f"r{number}.csv"} for number in range(15)]
    store.dataset_create("ocean/salt", {"resources": resources})
    opened, folded = client.get(PATH).text.split('<details class="rest">')
    assert (opened.count("<h3>"), folded.count("<h3>")) == (12, 3)
    assert "<summary>3 more resources</summary>" in folded
    store.dataset_patch("ocean/salt", {"resources": resources[:12]})
    assert "more resource" not in client.get(PATH).text


def test_a_resource_of_many_fields_is_shown_whole_by_a_link(store: Store, client: FlaskClient) -> None:
    fields = [{"name": f"c{number}"} for number in range(72)]
    store.dataset_create(
        "ocean/salt", {"resources": [{"name": "a", "path": "a.csv"}, {**STATIONS, "schema": {"fields": fields}}]}
    )
    page = client.get(PATH).text
    assert len(re.findall(r"<code>c\d+</code>", page)) == 30
    link = re.search(r'href="([^"]*)">All 72 fields of stations', page)
    assert link
    alone = client.get(unescape(link[1])).text
    assert len(re.findall(r"<code>c\d+</code>", alone)) == 72
    assert '<h2 id="resources">Where we measure</h2>' in alone


def test_versions_are_listed_newest_first_with_grade_and_what_changed(store: Store, client: FlaskClient) -> None:
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": [STATIONS]})
    store.tag_create("ocean/salt", "v1", description="As published", at="2026-01-01T00:00:00Z")
    store.dataset_update("ocean/salt", {"title": "Salt", "resources": []})
    store.tag_create("ocean/salt", "v2", at="2026-02-01T00:00:00Z")
    page = client.get(PATH).text
    assert re.search(
        r"Versions v2 major 1 Feb 2026 1 resource removed Compare with v1 v1 1 Jan 2026 · As published", words(page)
    )
    assert f'href="{PATH}/compare?to=v2&amp;from=v1"' in page
    assert client.get(f"{PATH}/compare?to=v2&from=v1").status_code == 200


def test_older_versions_are_counted_where_there_are_many(store: Store, client: FlaskClient) -> None:
    store.dataset_create("ocean/salt", {"title": "Salt"})
    for number in range(12):
        store.tag_create("ocean/salt", f"v{number}", at=f"2026-01-{number + 1:02}T00:00:00Z")
    text = words(client.get(PATH).text)
    assert "Compare with v10" in text
    assert "4 older versions and all changes are in the history" in text


def test_an_old_revision_keeps_itself_in_the_links_of_its_resources(store: Store, client: FlaskClient) -> None:
    resources = [{"name": f"r{number}", "path": f"r{number}.csv"} for number in range(60)]
    old = store.dataset_create("ocean/salt", {"resources": resources}).revision.id
    store.dataset_update("ocean/salt", {"resources": []})
    page = client.get(f"{PATH}?revision={old}").text
    following = re.search(r'rel="next" href="([^"]*)"', page)
    assert following
    assert "51 to 60 of 60" in client.get(unescape(following[1])).text
    assert f'<input type="hidden" name="revision" value="{old}">' in page


def test_what_a_check_found_is_said_of_a_place_in_words(store: Store, client: FlaskClient) -> None:
    broken = {"resources": [{"name": f"a {number}", "path": "a.csv", "bytes": "many"} for number in range(12)]}
    store.dataset_create("ocean/salt", broken)
    text = words(client.get(PATH).text)
    assert re.search(r"breaks the Data Package specification in \d+ places: The (bytes|name) of resource", text)
    assert "resource 1: " not in text, "the place is not said twice"
    assert re.search(r"\d+ more findings", text)
    store.dataset_update("ocean/salt", {"resources": [STATIONS]})
    assert "The descriptor follows the Data Package specification." in words(client.get(PATH).text)


def test_a_page_checks_by_the_profiles_of_its_store() -> None:
    rule = {"required": ["fiscalPeriod"]}
    own = metastore.connect("memory:", author="Ann", profiles={"https://example.org/fiscal.json": rule})
    own.dataset_create("ocean/salt", {"profile": "https://example.org/fiscal.json", "resources": []})
    text = words(create_app(own, verifier=Verifier(())).test_client().get(PATH).text)
    assert "The descriptor has no fiscalPeriod" in text
    assert "unknown profile" not in text


def test_a_version_that_is_a_number_is_shown_as_it_was_written(store: Store, client: FlaskClient) -> None:
    store.dataset_create("ocean/salt", '{"version": 1.10, "resources": []}')
    text = words(client.get(PATH).text)
    assert "Version 1.10 " in text
    assert "Version 1.10. Dataset." in text
    assert "1.1 " not in text


def test_the_names_of_files_and_ids_keep_their_spelling_at_the_beginning_of_a_sentence() -> None:
    assert sentence("it is too long") == "It is too long."
    assert sentence("physics/cars was moved") == "physics/cars was moved."
    assert sentence("datapackage.json is not JSON.") == "datapackage.json is not JSON."
    assert sentence("conflict.") == "Conflict."


def test_a_revision_is_cited_with_its_tag_or_version(store: Store, client: FlaskClient) -> None:
    people = [{"title": "Bo Ek", "role": "author"}, {"title": "Institute", "role": "publisher"}]
    store.dataset_create(
        "ocean/salt", {"title": "Salt", "version": "1.2", "contributors": people}, at="2026-01-01T00:00:00Z"
    )
    assert "Bo Ek (2026): Salt. Version 1.2. Institute. Dataset. http" in words(client.get(PATH).text)
    store.tag_create("ocean/salt", "v3")
    page = client.get(PATH).text
    assert "Version v3." in words(page)
    assert "@misc{ocean_salt_2026," in page
    assert "jsonlite::fromJSON" in page


def large(kind: str) -> dict[str, Any]:
    """Return a descriptor of more than 1 MB."""
    long = "word " * 40
    fields = [{"name": f"c{number}", "description": long} for number in range(400)]
    if kind == "resources":
        return {
            "resources": [{"name": f"r{n}", "description": long, "schema": {"fields": fields[:40]}} for n in range(120)]
        }
    if kind == "fields":
        return {"resources": [{"name": f"r{n}", "schema": {"fields": fields}} for n in range(16)]}
    return {
        "description": long * 3_000,
        "title": long * 500,
        "keywords": [long] * 600,
        "sources": [{"title": long}] * 600,
        "contributors": [{"title": long, "role": long}] * 600,
        "licenses": [{"name": long * 10}] * 300,
    }


@pytest.mark.parametrize("kind", ["resources", "fields", "texts"])
def test_a_descriptor_of_megabytes_gives_a_page_below_300_kb(store: Store, client: FlaskClient, kind: str) -> None:
    content = json.dumps(large(kind))
    assert len(content) > 1_000_000
    store.dataset_create("ocean/salt", content)
    page = client.get(PATH)
    assert page.status_code == 200
    assert len(page.data) < 300_000
    assert f'href="/api/v1{PATH}/raw?revision=' in page.text


def test_lists_read_a_bounded_amount_of_descriptors(
    store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("pages.cards", "pages.versions", "service.part_history", "store.summaries"):
        monkeypatch.setattr(f"metastore.{part}.PAGE_BYTES", 1_000)
    for name in ("salt", "tide"):
        store.dataset_create(f"ocean/{name}", {"title": f"The {name}", "description": "x" * 2_000})
        for number in range(3):
            store.dataset_patch(f"ocean/{name}", {"version": str(number)})
            store.tag_create(f"ocean/{name}", f"v{number}", "HEAD")
    for address in ("/", "/datasets?order=id"):
        page = client.get(address).text
        assert (page.count("x" * 150), "tide" in page) == (1, True), address
    history = words(client.get(f"{PATH}/history?changes=true").text)
    assert ("version changed" in history, history.count("not compared here")) == (True, 3)
    assert words(client.get(PATH).text).count("version changed") == 1


def test_a_list_compares_no_further_descriptors_after_a_second(
    store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of 40,000 items in another order take most of a second each, though they are small."""
    store.dataset_create("ocean/salt", {"title": "Salt"})
    for number in range(4):
        store.dataset_patch("ocean/salt", {"version": str(number)})
        store.tag_create("ocean/salt", f"v{number}")
    passed = itertools.count()
    monkeypatch.setattr("metastore.store.metering.time.thread_time", lambda: 0.4 * next(passed))
    for address in (f"{PATH}/history?changes=true", f"/api/v1{PATH}/revisions?summary=true"):
        said = words(client.get(address).text)
        assert (said.count("version changed") + said.count("version added"), said.count("not compared here")) == (2, 3)
    assert words(client.get(PATH).text).count("version changed") == 2


def test_the_parts_to_choose_from_are_named_once(
    store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = [{"name": f"r{number}", "path": "a.csv"} for number in range(150)]
    store.dataset_create("ocean/salt", {"resources": resources})
    named, original = list[object](), parts.named_lists
    monkeypatch.setattr(parts, "named_lists", lambda *of: named.append(len(of[0])) or original(*of))
    for path in ("/resources/=r140", "/resources/140"):
        named.clear()
        shown = client.get(f"{PATH}/history", query_string={"path": path}).text
        assert re.findall(r'<option value="([^"]*)" selected', shown) == ["/resources/140"]
        assert len(named) < 10


def test_where_values_come_from_is_refused_in_words_where_it_takes_too_much(
    store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.dataset_create("ocean/salt", {"keywords": ["a"] * 20, "description": "x" * 2_000})
    for number in range(3):
        store.dataset_patch("ocean/salt", {"version": str(number)})
    assert client.get(f"/api/v1{PATH}/blame").status_code == 200
    monkeypatch.setattr(store._parts, "_blamed", {})  # type: ignore[attr-defined]
    monkeypatch.setattr("metastore.service.part_history._MOST_BYTES", 7_000)
    for start in ("/api/v1", ""):
        answer = client.get(f"{start}{PATH}/blame")
        assert answer.status_code == 413
        assert "reads more than 7,000 bytes" in words(answer.text)
    monkeypatch.setattr("metastore.service.part_history._MOST_VALUES", 20)
    answer = client.get(f"/api/v1{PATH}/blame")
    assert (answer.status_code, answer.get_json()["kind"]) == (413, "too-large")
    assert "more than the 20 values" in answer.text


def test_a_page_looks_at_each_part_of_a_descriptor_once(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    for name in ("openness", "_parties", "cut"):
        plain = getattr(overview, name)
        monkeypatch.setattr(overview, name, lambda *a, _of=plain, _n=name, **k: (seen.update([_n]), _of(*a, **k))[1])
    resources = [STATIONS | {"name": f"s{number}"} for number in range(20)]
    store.dataset_create("ocean/salt", {"title": "Salt", "resources": resources})
    assert client.get(PATH).status_code == 200
    assert seen["openness"] == 1
    assert seen["_parties"] <= 2 * (len(resources) + 2), "licences and sources of a resource, and those of the dataset"
    assert seen["cut"] < 31 * len(resources)


def test_a_former_address_leads_to_the_new_one_and_says_so(client: FlaskClient, store: Store) -> None:
    store.dataset_create("ocean/old", {"title": "Salt"})
    store.dataset_move("ocean/old", "ocean/salt")
    page = client.get("/datasets/ocean/old", follow_redirects=True)
    assert (page.status_code, page.request.path) == (200, PATH)
    assert "ocean/old is called ocean/salt now. The old address leads here." in page.text
    store.dataset_create("ocean/other", {"title": "Other"})
    for claimed in ("ocean/never", "ocean/other", "<b>", ""):
        assert "The old address leads here." not in client.get(f"{PATH}?moved_from={claimed}").text


def test_a_label_leads_to_the_revisions_that_its_value_comes_from(client: FlaskClient, store: Store) -> None:
    store.dataset_create("ocean/salt", {"title": "Salt", "licenses": [{"name": "CC0-1.0"}], "version": "1.0"})
    page = client.get(PATH).text
    for member, label in (("version", "Version"), ("licenses", "Licence")):
        address = rf'<a [^>]*title="Where this value comes from" href="([^"]*path=/{member})">{label}</a>'
        (link,) = re.findall(address, page)
        assert "Ann" in client.get(unescape(link)).text
