"""Tags on pages: any revision is tagged, found, compared, and its tag renamed, described and deleted."""

from __future__ import annotations

import pytest

import metastore
from metastore import Store

from .reader import Reader, editor_at, reader_of

SALT = "/datasets/ocean/salt"
COUNT = 60  # more than a page of tags or of choices


@pytest.fixture(scope="module")
def filled() -> Store:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt 0"}, at="2025-01-01T00:00:00Z")
    for number in range(COUNT):
        minute = f"2026-01-01T{number // 60:02}:{number % 60:02}"
        store.dataset_patch("ocean/salt", {"title": f"Salt {number + 1}"}, message=f"Step {number}", at=f"{minute}:00Z")
        store.tag_create("ocean/salt", f"t{number:02}", description=f"Take {number}", at=f"{minute}:30Z")
    return store


@pytest.fixture
def store() -> Store:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt"}, at="2026-01-01T00:00:00Z")
    store.dataset_patch("ocean/salt", {"title": "Salinity"}, at="2026-01-02T00:00:00Z")
    store.tag_create("ocean/salt", "v1", "HEAD~1", description="First\nof all")
    return store


@pytest.fixture
def reader(store: Store) -> Reader:
    return editor_at(f"{SALT}/tags", store)


def test_an_older_revision_is_tagged_from_the_history(store: Store, reader: Reader) -> None:
    reader.opens(f"{SALT}/history").follows("tag this").sends("Tag", name="v0", message="Where it began")
    tag = store.tag_read("ocean/salt", "v0")
    assert tag.revision == store.revision_read("ocean/salt", "HEAD~1").id
    assert (tag.description, tag.author.name) == ("Where it began", "Ann")


def test_a_tag_is_renamed_and_described_and_the_reason_stands_in_the_history(store: Store, reader: Reader) -> None:
    reader.follows("edit")
    assert reader.value("description") == "First\nof all"
    reader.sends("Save", name="v1.0", description="The first", message="Three parts")
    tag = store.tag_read("ocean/salt", "v1.0")
    assert (tag.description, tag.author.name) == ("The first", "Ann")
    assert "v1 is now called v1.0" in reader.opens(f"{SALT}/history").text()
    assert "Three parts" in reader.text()


@pytest.mark.parametrize(("typed", "said"), [("no tag", "letters, digits"), ("v2", "exists already")])
def test_a_wrong_name_is_refused_beside_what_was_typed(store: Store, reader: Reader, typed: str, said: str) -> None:
    store.tag_create("ocean/salt", "v2")
    reader.opens(f"{SALT}/tags/v1/edit").sends("Save", name=typed, description="Kept")
    assert reader.status in (400, 409)
    assert said in reader.text("[role=alert]")
    assert (reader.value("name"), reader.value("description")) == (typed, "Kept")


def test_a_tag_that_somebody_changed_meanwhile_is_shown_and_changed_only_by_another_button(
    store: Store, reader: Reader
) -> None:
    reader.opens(f"{SALT}/tags/v1/delete")
    store.tag_update("ocean/salt", "v1", description="Still needed", author="Bo <bo@example.org>")
    reader.sends("Delete", message="Not needed")
    assert "Bo changed this tag" in reader.text("[role=alert]")
    assert "Still needed" in reader.text("[role=alert]")
    assert store.tag_read("ocean/salt", "v1").name == "v1"
    reader.sends("Delete anyway")
    assert list(store.tag_list("ocean/salt")) == []
    assert "Not needed" in reader.opens(f"{SALT}/history").text()


def test_deleting_is_red_and_leads_to_no_empty_page(store: Store, reader: Reader) -> None:
    reader.follows("delete")
    assert reader.texts("button.danger") == ["Delete"]
    reader.sends("Delete")
    assert "Deleted the tag v1" in reader.text()
    assert "No revision has been tagged" in reader.opens(f"{SALT}/tags").text(".empty")


def test_who_may_not_change_tags_learns_so_before_anything_is_typed(store: Store) -> None:
    reader = reader_of(store)
    reader.signs_in("eve", "ds:other/*:update")
    assert reader.opens(f"{SALT}/tags").texts("a.removed") == []
    for action in ("edit", "delete"):
        assert reader.opens(f"{SALT}/tags/v1/{action}").status == 403


def test_all_tags_are_found_paged_through_and_compared(filled: Store) -> None:
    reader = reader_of(filled).opens(f"{SALT}/tags")
    seen = reader.texts(".timeline strong") + reader.follows("Older").texts(".timeline strong")
    assert seen == [f"t{number:02}" for number in reversed(range(COUNT))]
    assert reader.sends("Find", find="take 7").texts(".timeline strong") == ["t07"]
    assert "No tag has" in reader.sends("Find", find="nothing").text(".empty")
    reader.follows("All tags").sends("Compare", **{"from": "t10", "to": "t59"})
    assert "Salt 60" in reader.text(".differences")


def test_each_side_of_a_comparison_is_chosen_among_all_tags_and_revisions(filled: Store) -> None:
    reader = reader_of(filled).opens(f"{SALT}/compare?from=t59").follows("the earlier")
    assert reader.sends("Find", find="2025-01-01").texts(".log code") == [
        filled.revision_read("ocean/salt", "2025-06-01").id[:12]
    ]
    reader.follows("(no message)" if "(no message)" in reader.texts(".log a") else reader.texts(".log a")[0])
    assert reader.value("to") == ""
    reader.follows("the later side").sends("Find", find="take 3")
    reader.follows(reader.texts(".log a")[-1])
    assert reader.value("to") == "t03"
    assert "Salt 4" in reader.text(".differences")


def test_choices_are_paged_through_to_the_first_revision(filled: Store) -> None:
    reader, pages = reader_of(filled).opens(f"{SALT}/compare/choose?side=to&from=t01"), 1
    while reader.texts('a[rel="next"]'):
        reader.follows("Older")
        pages += 1
    assert pages == 3
    first = filled.revision_read("ocean/salt", "2025-06-01").id
    assert reader.texts(".log code")[-1] == first[:12]
    reader.follows(reader.texts(".log a")[-1])
    assert (reader.value("from"), reader.value("to")) == ("t01", first)
