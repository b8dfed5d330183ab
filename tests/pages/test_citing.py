"""Citations of a revision, in the forms that programs read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from metastore.pages.citing import Citation, authors_of, publisher_of
from metastore.pages.overview import Party
from metastore.parse import parse_dataset_id

SALT = parse_dataset_id("ocean/salt-2")
CITATION = Citation(
    SALT,
    "Salt & ice: 100 % {sea}",
    ("Ann Lee", "Bo Ek"),
    "Ocean Institute",
    "v1.0",
    datetime(2026, 3, 1, 12, tzinfo=UTC),
    "https://data.example.org/datasets/ocean/salt-2?revision=abc",
)


def test_a_citation_as_text_has_creators_year_title_version_publisher_and_address() -> None:
    assert CITATION.text == (
        "Ann Lee and Bo Ek (2026): Salt & ice: 100 % {sea}. Version v1.0. Ocean Institute. Dataset. "
        "https://data.example.org/datasets/ocean/salt-2?revision=abc"
    )


def test_bibtex_gets_no_character_that_it_would_read_as_a_command() -> None:
    assert CITATION.bibtex == (
        "@misc{ocean_salt_2_2026,\n"
        "  author = {{Ann Lee} and {Bo Ek}},\n"
        "  title = {{Salt \\& ice: 100 \\% \\{sea\\}}},\n"
        "  year = {2026},\n"
        "  version = {v1.0},\n"
        "  publisher = {Ocean Institute},\n"
        "  howpublished = {\\url{https://data.example.org/datasets/ocean/salt-2?revision=abc}},\n"
        "  note = {Dataset},\n"
        "}"
    )


def test_csl_json_is_a_list_of_one_dataset() -> None:
    (entry,) = json.loads(CITATION.csl)
    assert entry["type"] == "dataset"
    assert entry["author"] == [{"literal": "Ann Lee"}, {"literal": "Bo Ek"}]
    assert entry["issued"] == {"date-parts": [[2026, 3, 1]]}
    assert entry["URL"] == CITATION.link


@pytest.mark.parametrize(
    ("parties", "authors"),
    [
        ([Party("Ann", None, "author"), Party("Institute", None, "publisher")], ("Ann",)),
        ([Party("Ann", None, "maintainer, Creator"), Party("Bo", None, "wrangler")], ("Ann",)),
        ([Party("Ann"), Party("Institute", None, "publisher")], ("Ann",)),
        ([Party("Institute", None, "publisher")], ("ocean",)),
        ([], ("ocean",)),
    ],
)
def test_authors_are_cited_first_then_other_contributors_then_the_owner(
    parties: list[Party], authors: tuple[str, ...]
) -> None:
    assert authors_of(parties, SALT) == authors


def test_the_publisher_is_the_contributor_who_publishes() -> None:
    assert publisher_of([Party("Ann", None, "author"), Party("Institute", None, "publisher")]) == "Institute"
    assert publisher_of([Party("Ann", None, "author")]) == ""
