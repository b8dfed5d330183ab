"""The form of a dataset: fields beside the JSON, in step with it, and nothing changed that nobody typed."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

import metastore
from metastore import MetaStore, Store
from metastore.descriptor.document import decode, encode
from metastore.pages.descriptor_form import filled_in

from .conftest import Person, Site, needs_browser
from .reader import Reader, editor_at

EDIT = "/datasets/ocean/salt/edit?as=form"
ODD = """{
  "title": "Salt",
  "x-depth": 1.10,
  "version": 2.50,
  "description": "One\\r\\ntwo",
  "licenses": [{"x": 1e3, "name": "CC0-1.0", "title": "CC Zero"}],
  "contributors": [{"title": "Ann", "role": "author"}, "Bo"],
  "keywords": ["sea", "salt, dry"],
  "homepage": null,
  "resources": [
    {"name": "a", "path": ["a1.csv", "a2.csv"], "schema": "https://example.org/schema.json"},
    {
      "name": "b",
      "schema": {
        "fields": [
          {"name": "s", "type": "number", "constraints": {"minimum": 0.0, "required": true}, "units": "psu"},
          {"name": "t", "type": "kelvin", "title": "Two\\nlines\\u0000"}
        ]
      }
    }
  ]
}
"""


@pytest.fixture
def store() -> Store:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", ODD)
    return store


@pytest.fixture
def reader(store: Store) -> Reader:
    return editor_at(EDIT, store)


def stored(store: Store) -> str:
    return store.dataset_read("ocean/salt").bytes.decode()


@pytest.mark.parametrize("opened", ["", "&open=0", "&open=1", "&open=2"])
def test_a_form_that_nobody_changed_changes_nothing(store: Store, reader: Reader, opened: str) -> None:
    before = stored(store)
    reader.opens(f"{EDIT}{opened}").sends("Save")
    assert "No changes to save" in reader.text()
    assert stored(store) == before


def test_a_change_of_one_field_keeps_the_order_the_spelling_and_unknown_members(store: Store, reader: Reader) -> None:
    before = stored(store)
    reader.sends("Save", **{"/title": "Salinity", "message": "A better word"})
    assert stored(store) == before.replace('"Salt"', '"Salinity"')
    assert store.revision_read("ocean/salt").message == "A better word"


def test_a_preview_shows_the_change_the_description_and_the_findings_and_stores_nothing(
    store: Store, reader: Reader
) -> None:
    before = stored(store)
    reader.sends("Preview", **{"/description": "It is *wet*", "/name": "No Name"})
    assert "description" in reader.text(".notice .changes")
    assert reader.texts(".notice .description em") == ["wet"]
    (finding,) = reader.texts('.notice .places a[href="#/name"]')
    assert finding.startswith("the name is 'No Name', but may have only a to z")
    assert (reader.value("/description"), stored(store)) == ("It is *wet*", before)
    reader.sends("Save")
    assert store.dataset_read("ocean/salt").descriptor["description"] == "It is *wet*"


def test_what_is_typed_goes_along_from_the_form_to_the_json_and_back(store: Store, reader: Reader) -> None:
    reader.sends("Edit as JSON", **{"/title": "Typed", "message": "Why"})
    assert (json.loads(reader.value("text"))["title"], reader.value("message")) == ("Typed", "Why")
    reader.sends("Edit as a form", text=reader.value("text").replace("Typed", "Typed twice"))
    assert (reader.value("/title"), reader.value("message")) == ("Typed twice", "Why")
    assert store.dataset_read("ocean/salt").descriptor["title"] == "Salt"


def test_json_with_a_mistake_stays_json_until_it_is_mended(reader: Reader) -> None:
    reader.sends("Edit as JSON").sends("Edit as a form", text='{"title": }')
    assert reader.status == 400
    assert "Line 1" in reader.text("[role=alert]")
    assert reader.value("text") == '{"title": }'


def test_a_resource_is_opened_edited_and_another_one_added_before_anything_is_stored(
    store: Store, reader: Reader
) -> None:
    reader.sends("b")
    assert [reader.value(f"/resources/1/schema/fields/0/{name}") for name in ("name", "units")] == ["s", "psu"]
    assert reader.value("/resources/1/schema/fields/1/type") == "kelvin"
    reader.sends("Add a resource", **{"/resources/1/schema/fields/2/name": "depth", "/title": "Salinity"})
    reader.sends("Save", **{"/resources/2/name": "c", "/resources/2/path": "c.csv"})
    changed = store.dataset_read("ocean/salt").descriptor
    assert changed["title"] == "Salinity"
    assert changed["resources"][1]["schema"]["fields"][2] == {"name": "depth"}
    assert changed["resources"][2] == {"name": "c", "path": "c.csv"}


def test_a_licence_is_chosen_by_its_id(store: Store, reader: Reader) -> None:
    assert "Creative Commons Attribution 4.0" in reader.text('#licences [value="CC-BY-4.0"]')
    assert reader.soup.select_one('#licences [value="MIT"]') is not None
    title = "Creative Commons Attribution 4.0"
    reader.sends("Save", **{"/licenses/0/name": "CC-BY-4.0", "/licenses/1/name": "own", "/licenses/1/title": "Mine"})
    assert store.dataset_read("ocean/salt").descriptor["licenses"] == [
        {"x": 1000, "name": "CC-BY-4.0", "title": title, "path": "https://creativecommons.org/licenses/by/4.0/"},
        {"name": "own", "title": "Mine"},
    ]


def test_a_conflict_in_the_form_is_merged_in_the_form(store: Store, reader: Reader) -> None:
    store.dataset_patch("ocean/salt", {"version": "3"}, author="Bo <bo@example.org>", message="I was first")
    reader.sends("Save", **{"/title": "Salinity"})
    assert reader.status == 409
    assert "I was first" in reader.text("[role=alert]")
    reader.sends("Merge their changes")
    assert (reader.value("/title"), reader.value("/version")) == ("Salinity", "3")
    reader.sends("Save")
    changed = store.dataset_read("ocean/salt").descriptor
    assert (changed["title"], changed["version"]) == ("Salinity", "3")


def test_a_dataset_is_created_in_the_form(store: Store, reader: Reader) -> None:
    reader.opens("/datasets/new?as=form").sends("Preview", **{"/description": "It is *wet*"})
    assert reader.texts(".notice .description em") == ["wet"]
    reader.sends("Create", id="Ocean/Tide", **{"/title": "Tide", "/keywords": "sea\n\nmoon"})
    assert (reader.status, reader.value("/title")) == (400, "Tide")
    reader.sends("Create", id="ocean/tide")
    tide = {"description": "It is *wet*", "title": "Tide", "keywords": ["sea", "moon"], "resources": []}
    assert list(store.dataset_read("ocean/tide").descriptor.items()) == list(tide.items())


def test_a_stranger_gets_no_check_and_a_typist_one_with_places(reader: Reader) -> None:
    said = {"csrf_token": reader.value("csrf_token"), "text": '{\n"name": "No Name"}'}
    answer = reader.client.post("/datasets/check", data=said)
    assert "Line 2, column 9" in answer.text
    assert "<html" not in answer.text
    form = {**said, "as": "form", "/name": "Still Wrong"}
    assert 'href="#/name"' in reader.client.post("/datasets/check", data=form).text
    assert reader.client.post("/datasets/check", data={"text": "{}"}).status_code == 400
    reader.client.post("/sign-out", data=said)
    token = Reader(reader.client.application).opens("/sign-in")
    form = {**said, "csrf_token": token.value("csrf_token")}
    assert token.client.post("/datasets/check", data=form).status_code == 401


def test_a_descriptor_that_is_no_object_is_edited_as_json(reader: Reader) -> None:
    reader.sends("Edit as JSON").sends("Edit as a form", text="[1]")
    assert reader.value("text") == "[1]"


# Values


def filled(text: str, typed: dict[str, str], *removed: str) -> str:
    return json.dumps(json.loads(encode(filled_in(decode(text), typed, removed))))


@pytest.mark.parametrize(
    ("before", "typed", "removed", "after"),
    [
        ("{}", {"/keywords": "a\r\nb, c\n"}, (), '{"keywords": ["a", "b, c"]}'),
        ('{"keywords": ["a"]}', {"/keywords": " "}, (), "{}"),
        ('{"title": "x"}', {"/title": ""}, (), "{}"),
        ('{"title": ""}', {"/title": ""}, (), '{"title": ""}'),
        ('{"title": null}', {"/title": ""}, (), '{"title": null}'),
        ('{"title": {"en": "x"}}', {"/title": "y"}, (), '{"title": {"en": "x"}}'),
        ('{"resources": [], "x": 1}', {"/title": "y"}, (), '{"title": "y", "resources": [], "x": 1}'),
        ('{"contributors": [{"title": "A"}]}', {"/contributors/0/title": ""}, (), "{}"),
        (
            '{"contributors": [{"title": "A", "x": 1}]}',
            {"/contributors/0/title": ""},
            (),
            '{"contributors": [{"x": 1}]}',
        ),
        ("{}", {"/contributors/0/roles": "a, b"}, (), '{"contributors": [{"roles": ["a", "b"]}]}'),
        ("{}", {"/contributors/9/title": "Z"}, (), '{"contributors": [{"title": "Z"}]}'),
        ("{}", {"/contributors/999999/title": "Z"}, (), "{}"),
        ('{"contributors": "Ann"}', {"/contributors/0/title": "Z"}, (), '{"contributors": "Ann"}'),
        ("{}", {"/sources/0/title": "no field", "title": "neither"}, (), "{}"),
        ('{"licenses": [{"name": "a"}, {"name": "b"}]}', {}, ("/licenses/0",), '{"licenses": [{"name": "b"}]}'),
        ('{"resources": [{"name": "a"}]}', {}, ("/resources/0", "/title", "/resources/7"), '{"resources": []}'),
    ],
)
def test_what_is_typed_becomes(before: str, typed: dict[str, str], removed: tuple[str, ...], after: str) -> None:
    assert filled(before, typed, *removed) == after


def test_columns_are_changed_marked_removed_and_added() -> None:
    fields = '[{"name": "a", "constraints": {"required": true}}, {"name": "b"}, {"name": "c"}]'
    before = f'{{"resources": [{{"schema": {{"fields": {fields}}}}}]}}'
    at = "/resources/0/schema/fields"
    typed = {
        f"{at}/0/constraints/required": "",
        f"{at}/1/constraints/required": "true",
        f"{at}/2/type": "date",
        f"{at}/4/name": "e",
    }
    after = json.loads(filled(before, typed, f"{at}/0"))["resources"][0]["schema"]["fields"]
    assert after == [{"name": "b", "constraints": {"required": True}}, {"name": "c", "type": "date"}, {"name": "e"}]


@pytest.mark.parametrize(
    ("moved", "removed", "names"),
    [
        ("/resources/0:down", (), ["b", "a", "c"]),
        ("/resources/2:up", (), ["a", "c", "b"]),
        ("/resources/0:up", (), ["a", "b", "c"]),
        ("/resources/2:down", (), ["a", "b", "c"]),
        ("/resources/2:up", ("/resources/0",), ["c", "b"]),
        ("/resources/2:up", ("/resources/2",), ["a", "b"]),
        ("/resources/9:up", (), ["a", "b", "c"]),
        ("/title:up", (), ["a", "b", "c"]),
    ],
)
def test_an_item_changes_places_with_its_neighbour(moved: str, removed: tuple[str, ...], names: list[str]) -> None:
    given = {"title": "T", "resources": [{"name": name} for name in "abc"]}
    filled = filled_in(given, {}, removed, moved)
    assert [resource["name"] for resource in filled["resources"]] == names
    assert filled["title"] == "T"


def test_rows_are_reordered_with_what_was_typed_into_them(store: Store, reader: Reader) -> None:
    reader.opens(f"{EDIT}&open=1").presses("Move s down", **{"/resources/1/schema/fields/0/title": "Salinity"})
    assert [reader.value(f"/resources/1/schema/fields/{at}/name") for at in (0, 1)] == ["t", "s"]
    reader.presses("Move resource b up")
    assert reader.value("/resources/0/schema/fields/1/name") == "s", "the open resource stays open"
    reader.sends("Save")
    first = store.dataset_read("ocean/salt").descriptor["resources"][0]
    assert (first["name"], first["schema"]["fields"][1]["title"]) == ("b", "Salinity")


def test_the_last_column_takes_the_schema_along() -> None:
    assert filled('{"resources": [{"name": "r", "schema": {"fields": [{}]}}]}', {}, "/resources/0/schema/fields/0") == (
        '{"resources": [{"name": "r"}]}'
    )


# In a browser


@needs_browser
def test_unsaved_work_is_checked_while_it_is_typed_and_offered_again_until_it_is_saved(
    person: Person, site: Site
) -> None:
    person.is_signed_in("ann")
    site.store.dataset_create("ocean/salt", ODD)
    page = person.goes_to(EDIT)
    page.get_by_label("Name for programs").fill("No Name")
    page.locator("#check a[href='#/name']").wait_for()
    page.get_by_label("Name for programs").fill("salt")
    expect(page.locator("#check a[href='#/name']")).to_have_count(0)
    page.wait_for_function("Object.values(localStorage).some((work) => work.includes('salt'))")
    person.goes_to("/datasets")
    page = person.goes_to(EDIT)
    expect(page.get_by_label("Name for programs")).to_have_value("")
    assert person.violations() == []
    page.get_by_role("button", name="Continue editing").click()
    expect(page.get_by_label("Name for programs")).to_have_value("salt")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    assert site.store.dataset_read("ocean/salt").descriptor["name"] == "salt"
    page = person.goes_to(EDIT)
    expect(page.get_by_label("Name for programs")).to_have_value("salt")
    expect(page.get_by_role("button", name="Continue editing")).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage)") == []


def test_what_was_typed_stays_though_it_makes_the_descriptor_too_large_for_a_form(store: MetaStore) -> None:
    store.dataset_create("ocean/large", {"title": "Salt", "x": "y" * 1_300_000})
    editor = editor_at("/datasets/ocean/large/edit?as=form", store)
    editor.sends("Save", **{"/title": "Tide", "/description": "d" * 900_000, "message": "Why not"})
    assert (editor.status, editor.value("/title"), editor.value("message")) == (413, "Tide", "Why not")
    assert len(editor.value("/description")) == 900_000
    editor.sends("Save", **{"/description": "Short"})
    assert store.dataset_read("ocean/large").descriptor["title"] == "Tide"


def test_a_descriptor_that_is_too_large_for_a_form_is_downloaded_instead(store: MetaStore) -> None:
    store.dataset_create("ocean/large", {"x": "y" * 2_200_000})
    editor = editor_at("/datasets/ocean/large/edit?as=form", store)
    assert (editor.status, editor.text("h1")) == (413, "Too large to edit in a browser")
    assert "takes 2,200,014 bytes, and a form at most 2,097,152" in editor.text()
    assert "metastore dataset update ocean/large datapackage.json" in editor.text()
    assert editor.client.get(str(editor.soup.select("a[download]")[0]["href"])).status_code == 200
