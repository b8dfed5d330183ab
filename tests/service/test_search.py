"""Searching over HTTP: nobody finds, counts or guesses what they may not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.config import ServiceSettings
from metastore.web import create_app

from .conftest import API, Authority

SEARCH = f"{API}/datasets"


@pytest.fixture(params=["index", "scan"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    store = metastore.connect(tmp_path if request.param == "index" else "memory:", author="Setup", validation="off")
    for owner in ("open", "secret"):
        for name in ("salt", "waves"):
            licence = [{"name": f"{owner}-{name}"}]
            store.dataset_create(f"{owner}/{name}", {"title": f"{name} of {owner}", "licenses": licence})
    settings = replace(ServiceSettings(), public_read=False)
    yield create_app(store, verifier=Authority(), settings=settings)  # type: ignore[arg-type]
    store.close()


def ask(app: Any, query: str, *scopes: str) -> Any:
    headers = {"Authorization": f"Bearer {Authority().token('ann', *scopes)}"}
    answer = app.test_client().get(f"{SEARCH}?{query}&facets=licence,owner", headers=headers)
    assert answer.status_code == 200
    return answer.json


@pytest.mark.parametrize(
    "query", ["q=", "q=salt", "q=s*", "owner=secret", "licence=secret-salt", "q=-waves", "deleted=any&q="]
)
def test_only_what_may_be_read_is_found_and_counted(app: Any, query: str) -> None:
    seen = ask(app, query, "ds:open/*:read")
    everything = ask(app, query, "ds:*:read")
    assert not any("secret" in str(part) for part in (seen["hits"], seen["facets"]))
    allowed = [hit for hit in everything["hits"] if hit["id"].startswith("open/")]
    assert sorted(seen["hits"], key=lambda hit: hit["id"]) == sorted(allowed, key=lambda hit: hit["id"])
    assert seen["total"] == len(allowed)
    assert seen["following"] is None


def test_pages_do_not_tell_how_much_is_hidden(app: Any) -> None:
    first = ask(app, "q=&order=id&limit=1", "ds:open/*:read")
    assert (first["total"], first["hits"][0]["id"]) == (2, "open/salt")
    second = ask(app, f"q=&order=id&limit=1&after={first['following']}", "ds:open/*:read")
    assert ([hit["id"] for hit in second["hits"]], second["following"]) == (["open/waves"], None)


def test_who_may_read_nothing_finds_nothing(app: Any) -> None:
    assert ask(app, "q=", "ds:other/*:read") == {
        "hits": [],
        "total": 0,
        "more_than_total": False,
        "facets": {"licence": [], "owner": []},
        "following": None,
        "preceding": None,
        "scanned": app.extensions["metastore"].store.storage.private("x") is None,
    }


def test_neither_order_nor_cursor_tells_in_how_many_hidden_datasets_a_word_is(tmp_path: Path) -> None:
    answers = []
    for hidden in (0, 9):
        at = "2024-05-01T00:00:00Z"
        with metastore.connect(tmp_path / str(hidden), author="Setup", validation="off", sync=False) as store:
            for name in ("salt", "waves", "salty"):
                store.dataset_create(f"open/{name}", {"title": name, "description": "salt and waves"}, at=at)
            for number in range(hidden):
                store.dataset_create(f"secret/d{number}", {"title": "waves"}, at=at)
            app = create_app(store, verifier=Authority(), settings=replace(ServiceSettings(), public_read=False))  # type: ignore[arg-type]
            answers.append([ask(app, f"q={query}&limit=1", "ds:open/*:read") for query in ("waves", "salt waves")])
    for fewer, more in zip(*answers, strict=True):
        for answer in (fewer, more):
            answer["hits"] = [hit["id"] for hit in answer["hits"]]
        assert fewer == more
