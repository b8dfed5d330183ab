"""The page that finds datasets."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

import metastore
from metastore.auth.tokens import Verifier
from metastore.web import create_app


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
    choice = re.search(r'<a href="([^"]*licence=CC0[^"]*)">CC0-1.0</a> <small>1</small>', page)
    assert choice
    chosen = client.get("/search" + unescape(choice[1])).text
    assert titles(chosen) == ["Salt"]
    assert "Remove the filter licence: CC0-1.0" in chosen


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
        assert 'aria-label="Search datasets"' in client.get(path).text
