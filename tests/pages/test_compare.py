"""The page that compares two revisions: everything can be seen, and each side chosen."""

from __future__ import annotations

import json
import re
import subprocess
import time
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import metastore
from metastore import MetaStore
from metastore.auth.key_sources import GivenKeys
from metastore.auth.keys import secret_key
from metastore.auth.tokens import Verifier
from metastore.descriptor.lines import unified
from metastore.web import create_app

from ..test_reported_differences import READ
from .conftest import SECRET
from .reader import reader_of, text_of
from .test_hostile import sign_in

COMPARE = "/datasets/physics/cars/compare"
SPEEDS = {"name": "speeds", "path": "s.csv"}


@pytest.fixture
def store() -> MetaStore:
    made = metastore.connect("memory:", author="Setup", validation="off")
    made.dataset_create("physics/cars", {"title": "Cars", "version": "1.0.0"}, at="2024-05-01T10:00:00Z")
    made.tag_create("physics/cars", "v1")
    return made


@pytest.fixture
def client(store: MetaStore) -> FlaskClient:
    return create_app(store, verifier=Verifier((GivenKeys(secret_key(SECRET)),))).test_client()


def main(page: str) -> str:
    """Return the text of what a page is about."""
    content = page.split("<main", 1)[1].split("</main", 1)[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", content)).split())


def test_a_value_that_is_cut_is_seen_as_a_whole_behind_a_link(client: FlaskClient, store: MetaStore) -> None:
    text = "".join(f"a{n:04} " for n in range(400)).strip()
    store.dataset_patch("physics/cars", {"description": text, "one": 1})
    for link_of, side in (("from=v1", "After"), ("from=HEAD&to=v1", "Before")):
        page = client.get(f"{COMPARE}?{link_of}").text
        assert "a0399" not in main(page)
        (link,) = (unescape(href) for href in re.findall(r'href="([^"]*)">Show in full', page))
        assert f"{side} {text}" in main(client.get(link).text)


def test_the_reported_differences_read_well_on_a_page_too() -> None:
    """`reported-differences.txt` is meant to be read: to write it again, print `shown`."""
    store = metastore.connect("memory:", author="Setup", validation="off")
    reader, shown = reader_of(store), ""
    for number, (report, (old, new, _said)) in enumerate(READ.items()):
        dataset_id = f"reports/d{number}"
        store.dataset_create(dataset_id, old)
        store.dataset_update(dataset_id, {"title": "Between"})  # another order alone makes no revision
        store.dataset_update(dataset_id, json.dumps(new))
        reader.opens(f"/datasets/{dataset_id}/compare?from={store.revision_list(dataset_id)[-1].id}")
        assert reader.status == 200, report
        summaries = reader.soup.select(".summary")
        rows = reader.soup.select("main tr:has(td)")
        texts = [" | ".join(text_of(cell) for cell in row.select("th, td")) for row in rows]
        shown += "\n".join((report, *map(text_of, summaries), *(f"  {text}" for text in texts), "", ""))
    assert shown == (Path(__file__).parent / "data" / "reported-differences.txt").read_text()


def test_changes_at_two_places_of_a_short_text_leave_nothing_out(client: FlaskClient, store: MetaStore) -> None:
    store.dataset_patch("physics/cars", {"title": "Salt in the North Sea"})
    store.dataset_patch("physics/cars", {"title": "Salt of the North Sea, by station"})
    said = main(client.get(f"{COMPARE}?from=HEAD~1").text)
    assert "title changed Salt in the North Sea Salt of the North Sea , by station" in said


def test_a_list_of_words_is_not_cut_and_each_side_says_its_tags(client: FlaskClient, store: MetaStore) -> None:
    store.dataset_patch("physics/cars", {"keywords": ["fast", "red"]})
    page = client.get(f"{COMPARE}?from=v1").text
    assert "keywords added fast, red" in main(page)
    assert "Show in full" not in page
    assert "From v1 Create" in main(page)


def test_each_value_says_who_changed_it_when_and_why_and_a_cut_one_is_seen_as_a_whole(
    client: FlaskClient, store: MetaStore
) -> None:
    text = "".join(f"a{n:04} " for n in range(400)).strip()
    store.dataset_patch(
        "physics/cars", {"description": text}, author="Bo Ek", message="Say <more>", at="2024-06-01T10:00:00Z"
    )
    page = client.get("/datasets/physics/cars/blame").text
    assert '<tr title="Bo Ek, 2024-06-01 10:00 UTC: Say &lt;more&gt;">' in page
    assert "a0399" not in main(page)
    (link,) = (unescape(href) for href in re.findall(r'href="([^"]*)">Show in full', page))
    whole = main(client.get(link).text)
    assert f"description {text} Say" in whole
    assert "version" not in whole


def test_values_of_the_dataset_stand_before_those_of_its_resources(client: FlaskClient, store: MetaStore) -> None:
    descriptor = {"name": "cars", "resources": [SPEEDS], "title": "Cars", "version": "1.0.0"}
    store.dataset_update("physics/cars", descriptor)
    rows = re.findall(r'<th scope="row"><a[^>]*>([^<]*)', client.get("/datasets/physics/cars/blame").text)
    assert rows == ["name", "title", "version", "resource speeds › name", "resource speeds › path"]


def test_values_beyond_a_page_are_reached_by_links(client: FlaskClient, store: MetaStore) -> None:
    store.dataset_patch("physics/cars", {f"member{n:04}": n for n in range(1001)})
    first = client.get("/datasets/physics/cars/blame").text
    assert "1 to 1,000 of 1,003 values" in main(first)
    (link,) = (unescape(href) for href in re.findall(r'rel="next" href="([^"]*)"', first))
    second = client.get(link).text
    assert "1,001 to 1,003 of 1,003 values" in main(second)
    assert "member1000" in main(second)
    assert 'rel="prev"' in second


def test_a_clash_in_a_long_text_shows_what_each_side_changed(client: FlaskClient, store: MetaStore) -> None:
    text = "The table lists the places where water is measured, with the unit and the method. " * 20
    base = store.dataset_patch("physics/cars", {"description": f"{text} until 2018"}).revision.id
    store.dataset_patch("physics/cars", {"description": f"{text} until 2019"})
    token = sign_in(client)
    mine = json.dumps({"title": "Cars", "version": "1.0.0", "description": f"{text} until 2020"})
    form = {"csrf_token": token, "text": mine, "base": base, "expected": base, "step": "merge", "message": ""}
    page = client.post("/datasets/physics/cars/edit", data=form, headers={"Origin": "http://localhost"}).text
    table = page.split("Values that both changed", 1)[1].split("</table", 1)[0]
    assert "until <strong>2019</strong>" in table
    assert "until <strong>2020</strong>" in table


def test_differences_beyond_a_page_are_reached_by_links_forward_and_back(client: FlaskClient, store: MetaStore) -> None:
    store.dataset_patch("physics/cars", {f"member{n:04}": n for n in range(1203)})
    seen, urls, url = set[str](), list[str](), f"{COMPARE}?from=v1"
    while url:
        page = client.get(url).text
        urls.append(url)
        seen |= set(re.findall(r"member\d{4}", page))
        following = re.search(r'rel="next" href="([^"]*)"', page)
        url = unescape(following[1]) if following else ""
    assert (len(seen), len(urls)) == (1203, 3)
    assert "1,001 to 1,203 of 1,203 differences" in page
    back = re.search(r'rel="prev" href="([^"]*)"', page)
    assert back
    assert unescape(back[1]) == urls[1]


@pytest.mark.parametrize("side", ["v1", "2024-05-02", "HEAD~1"])
def test_a_side_is_a_tag_a_date_or_a_revision(client: FlaskClient, store: MetaStore, side: str) -> None:
    store.dataset_patch("physics/cars", {"title": "Autos", "version": "1.0.1"}, at="2024-06-01T10:00:00Z")
    page = client.get(f"{COMPARE}?from={side}")
    said = main(page.text)
    assert said.index("patch Title and version changed.") < said.index("Before")
    old, new = (each.id for each in reversed(list(store.revision_list("physics/cars"))))
    assert f'value="http://localhost{COMPARE}?from={old}&amp;to={new}"' in page.text
    assert '<option value="v1">' in page.text


def test_another_spelling_and_what_a_renamed_thing_is_known_by_are_shown(client: FlaskClient, store: MetaStore) -> None:
    table = {"name": "cars", "path": "cars.csv"}
    store.dataset_update("physics/cars", {"version": "1.0.0", "n": 1, "resources": [table]})
    store.dataset_update(
        "physics/cars", json.dumps({"version": "1.0.0", "n": 1.0, "resources": [{**table, "name": "autos"}]})
    )
    said = main(client.get(f"{COMPARE}?from=HEAD~1").text)
    assert "n changed 1 1 .0" in said  # what is new stands apart
    assert "renamed path unchanged" in said


def test_a_comparison_without_sides_asks_for_them_and_says_which_is_not_there(client: FlaskClient) -> None:
    assert (client.get(COMPARE).status_code, 'name="from"' in client.get(COMPARE).text) == (200, True)
    answer = client.get(f"{COMPARE}?from=v77&to=v1")
    assert answer.status_code == 404
    assert 'value="v77"' in answer.text
    assert "has no revision 'v77'" in main(answer.text)


def test_a_comparison_of_distant_revisions_names_all_who_made_those_between(store: MetaStore) -> None:
    for number, author in enumerate(("Bo", "Cy", "Bo")):
        at = f"2024-05-0{number + 2}T10:00:00Z"
        store.dataset_patch("physics/cars", {"number": number}, author=author, message=f"Step {number}", at=at)
    reader = reader_of(store)
    for sides in ("from=v1", "from=HEAD&to=v1", "from=v1&view=text"):
        assert reader.opens(f"{COMPARE}?{sides}").text(".steps summary") == "3 revisions by Bo, Cy"
        assert reader.texts(".steps li") == [
            f"Step {number} {author}, 2024-05-0{number + 2} 10:00 UTC"
            for number, author in ((2, "Bo"), (1, "Cy"), (0, "Bo"))
        ]
    reader.follows("Step 1")
    assert "number changed 0 1" in reader.text()
    assert not reader.soup.select(".steps"), "the two sides name all who made it"


def test_of_very_many_revisions_between_the_newest_are_listed(
    store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("compare", "versions"):
        monkeypatch.setattr(import_module(f"metastore.pages.{module}"), "MOST_STEPS", 2)
    for number, author in enumerate(("Bo", "Cy", "Bo")):
        store.dataset_patch("physics/cars", {"number": number}, author=author, message=f"Step {number}")
    reader = reader_of(store).opens(f"{COMPARE}?from=v1")
    assert reader.text(".steps summary") == "More than 2 revisions, the newest by Bo, Cy"
    assert reader.texts(".steps li a") == ["Step 2", "Step 1"]


def test_a_comparison_without_sides_leads_from_each_version_to_the_next(store: MetaStore) -> None:
    for number in (2, 3):
        store.dataset_patch("physics/cars", {"number": number})
        store.tag_create("physics/cars", f"v{number}")
    reader = reader_of(store).opens(COMPARE)
    assert reader.texts(".log a") == ["v2 → v3", "v1 → v2"]
    reader.follows("v1 → v2")
    assert "number added 2" in reader.text()


def test_differences_are_filtered_by_kind_swapped_and_undone(client: FlaskClient, store: MetaStore) -> None:
    sign_in(client)
    store.dataset_patch("physics/cars", {"title": "Autos", "version": None, "homepage": "https://example.org"})
    newest = store.revision_read("physics/cars")
    page = client.get(f"{COMPARE}?from=v1").text
    links = {
        " ".join(text.split()): unescape(href) for href, text in re.findall(r'<a[^>]*href="([^"]*)"[^>]*>([^<]*)', page)
    }
    assert {"All 3", "1 added", "1 removed", "1 changed"} <= links.keys()
    added = main(client.get(links["1 added"]).text)
    assert "homepage added" in added
    assert "title changed" not in added.split("Before")[1]
    assert links["Undo this change"] == f"/datasets/physics/cars/undo?revision={newest.id}"
    swapped = main(client.get(links["Swap"]).text)
    assert "homepage removed" in swapped


def test_a_comparison_line_by_line_and_as_a_file_is_what_diff_says(
    client: FlaskClient, store: MetaStore, tmp_path: Path
) -> None:
    resources = [{"name": f"r{n}", "path": f"{n}.csv"} for n in range(500)]
    store.dataset_patch("physics/cars", {"resources": resources})
    old = store.revision_read("physics/cars")
    resources[499]["path"] = "last.csv"
    resources[3]["path"] = "third.csv"
    store.dataset_patch("physics/cars", {"resources": resources})
    page = client.get(f"{COMPARE}?from={old.id}&view=text").text
    assert "third.csv" in page
    assert "last.csv" in page
    text = client.get(f"{COMPARE}.diff?from={old.id}")
    assert text.mimetype == "text/plain"
    (tmp_path / "x.json").write_bytes(store.dataset_json("physics/cars", old.id)[1])
    applied = subprocess.run(["patch", "-s", "x.json"], input=text.data, cwd=tmp_path, capture_output=True, check=False)
    assert applied.returncode == 0, applied.stdout
    assert (tmp_path / "x.json").read_bytes() == store.dataset_json("physics/cars")[1]


def test_long_texts_are_compared_line_by_line_in_bounded_time() -> None:
    one, other = ([f"{n * step % 7}" for n in range(200_000)] for step in (3, 5))
    start = time.process_time()
    lines = list(unified(one, other, "a", "b"))
    assert len(lines) > 200_000
    same = list(unified([*one, "x", *other], [*one, "y", *other], "a", "b"))
    assert same[2:] == [
        "@@ -199998,7 +199998,7 @@",
        *(f" {each}" for each in one[-3:]),
        "-x",
        "+y",
        *(f" {n}" for n in other[:3]),
    ]
    assert time.process_time() - start < 5


def test_a_resource_that_came_or_went_is_shown_with_its_members_and_columns(
    client: FlaskClient, store: MetaStore
) -> None:
    fields = [{"name": "s", "type": "number", "unit": "psu"}, {"name": "t", "type": "date", "description": "When"}]
    resource = {"name": "water", "path": "w.csv", "bytes": 1200, "schema": {"fields": fields, "primaryKey": ["t"]}}
    licences = [{"name": "CC0-1.0", "path": "https://example.org"}]
    store.dataset_patch("physics/cars", {"resources": [SPEEDS]})
    store.dataset_patch("physics/cars", {"resources": [SPEEDS, resource], "licenses": licences})
    for sides, kind in (("from=HEAD~1", "added"), ("from=HEAD&to=HEAD~1", "removed")):
        text = main(client.get(f"{COMPARE}?{sides}").text)
        assert f"resource water {kind}" in text
        assert "name water path w.csv bytes 1200 schema primaryKey t s number, psu t date When" in text
        assert "{" not in text


def test_a_long_resource_that_went_is_seen_as_a_whole_behind_a_link(client: FlaskClient, store: MetaStore) -> None:
    fields = [{"name": f"c{number:03}", "type": "string"} for number in range(60)]
    store.dataset_patch("physics/cars", {"resources": [SPEEDS]})
    store.dataset_patch("physics/cars", {"resources": [SPEEDS, {"name": "wide", "schema": {"fields": fields}}]})
    page = client.get(f"{COMPARE}?from=HEAD~1").text
    assert "c049" in main(page)
    assert "c059" not in main(page)
    (link,) = (unescape(href) for href in re.findall(r'href="([^"]*)">Show in full', page))
    assert "c059" in main(client.get(link).text)


def test_the_changes_of_a_field_stand_together_under_its_name_before_and_after(store: MetaStore) -> None:
    fields = [{"name": "lat", "type": "string"}, {"name": "lon", "type": "string"}]
    table = {"name": "stations", "path": "s.csv", "title": "Stations", "schema": {"fields": fields}}
    before = store.dataset_create("ocean/buoys", {"resources": [table]}).revision.id
    lat = {"name": "lat", "type": "number", "unit": "degrees", "constraints": {"minimum": -90}}
    changed = [lat, {"name": "lon", "type": "number"}]
    store.dataset_update("ocean/buoys", {"resources": [table | {"title": "Buoys", "schema": {"fields": changed}}]})
    page = reader_of(store).opens(f"/datasets/ocean/buoys/compare?from={before}")
    tables = [part for part in page.soup.select("section") if part.select("table.differences")]
    assert [text_of(part.h2) for part in tables if part.h2] == ["Resource stations"]
    parts = [[text_of(cell) for cell in part.select("th, td")] for part in tables[0].select("tbody")]
    assert parts == [
        ["title changed", "Stations", "Buoys"],
        [
            "field lat",
            "type changed",
            "string",
            "number",
            "unit added",
            "",
            "degrees",
            "constraints added",
            "",
            "minimum -90",
        ],
        ["field lon › type changed", "string", "number"],
    ]


@pytest.mark.parametrize("revision", ["v1", "HEAD~1"])
def test_an_older_revision_is_compared_with_the_newest_by_one_click(store: MetaStore, revision: str) -> None:
    store.dataset_patch("physics/cars", {"title": "Cars and lorries"})
    store.dataset_patch("physics/cars", {"title": "Lorries"})
    reader = reader_of(store).opens(f"/datasets/physics/cars?revision={revision}").follows("Compare with the newest")
    assert "Lorries" in reader.text(".differences")
    assert ("from=v1" in reader.path) == (revision == "v1"), "a tag is easier to read in an address than an id"
    assert "Compare with the newest" not in reader.opens("/datasets/physics/cars").texts("main a")
