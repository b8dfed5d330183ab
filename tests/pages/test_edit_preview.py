"""The editor of a dataset shows what saving would change before anything is stored."""

from __future__ import annotations

import pytest

import metastore
from metastore import Store

from .reader import Reader, editor_at

EDIT = "/datasets/ocean/salt/edit"


@pytest.fixture
def store() -> Store:
    store = metastore.connect("memory:", author="Setup", validation="off")
    store.dataset_create("ocean/salt", {"title": "Salt", "licenses": [{"name": "CC0-1.0"}]})
    return store


@pytest.fixture
def reader(store: Store) -> Reader:
    return editor_at(EDIT, store)


def test_a_preview_says_in_words_what_will_change_and_stores_nothing(store: Store, reader: Reader) -> None:
    typed = '{"title": "Salinity", "licenses": [{"name": "CC0-1.0"}]}'
    reader.sends("Preview", text=typed, message="A better word")
    assert len(reader.texts(".notice .changes li")) == 1
    assert "Salinity" in reader.text(".notice .changes")
    assert store.dataset_read("ocean/salt").descriptor["title"] == "Salt"
    assert (reader.value("text").strip(), reader.value("message")) == (typed, "A better word")
    reader.sends("Save")
    assert store.dataset_read("ocean/salt").descriptor["title"] == "Salinity"
    assert store.revision_read("ocean/salt").message == "A better word"


def test_a_preview_without_changes_says_so(reader: Reader) -> None:
    assert reader.sends("Preview").texts(".notice .changes li") == ["No differences"]
    turned = '{"licenses": [{"name": "CC0-1.0"}], "title": "Salt"}'
    assert reader.sends("Preview", text=turned).texts(".notice .changes li") == [
        "No differences. Only the order of members changed."
    ]


def test_a_preview_names_the_place_of_a_mistake(reader: Reader) -> None:
    assert "Line 1" in reader.sends("Preview", text='{"title": }').text("[role=alert]")


def test_a_preview_of_a_dataset_that_changed_meanwhile_shows_the_other_change(store: Store, reader: Reader) -> None:
    store.dataset_patch("ocean/salt", {"version": "2"}, author="Bo <bo@example.org>")
    reader.sends("Preview", text='{"title": "Salinity"}')
    assert "Changed meanwhile" in reader.text("[role=alert]")
    assert reader.value("text").strip() == '{"title": "Salinity"}'
