"""Searching over HTTP: nobody finds, counts or guesses what they may not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.cli.editing import _found as chosen
from metastore.config import ServiceSettings
from metastore.errors import StorageBusy
from metastore.web import create_app

from ..bundle.postgres_server import new_storage
from ..loopback import serving
from .conftest import API, Authority

SEARCH = f"{API}/datasets"


@pytest.fixture(params=["index", "scan", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "postgres":
        store = metastore.MetaStore(new_storage(), author="Setup", validation="off")
    else:
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


@pytest.mark.parametrize("order", ["relevance", "changed", "id", "title"])
def test_a_cursor_of_somebody_who_reads_more_tells_nothing_more(app: Any, order: str) -> None:
    query = f"q=s*&deleted=any&order={order}&limit=1"
    everything, allowed = ask(app, query, "ds:*:read"), ask(app, query, "ds:open/*:read")
    while everything["following"]:
        everything = ask(app, f"{query}&after={everything['following']}", "ds:*:read")
        for name in ("after", "before"):
            seen = ask(app, f"{query}&{name}={everything['preceding'] or ''}", "ds:open/*:read")
            assert "secret" not in str(seen["hits"]) + str(seen["facets"])
            assert (seen["total"], seen["facets"]) == (allowed["total"], allowed["facets"])


def test_who_may_read_nothing_finds_nothing(app: Any) -> None:
    assert ask(app, "q=", "ds:other/*:read") == {
        "hits": [],
        "total": 0,
        "more_than_total": False,
        "facets": {"licence": [], "owner": []},
        "following": None,
        "preceding": None,
        "scanned": not app.extensions["metastore"].store.is_indexed,
        "complete": True,
        "unreadable": [],
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


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("datasets?at=2100-01-01T00:00:00Z", ["open/salt", "open/waves"]),
        ("datasets?include=title&limit=1", [{"id": "open/salt", "title": "salt of open"}]),
        ("owners", [{"name": "open", "datasets": 2}]),
        ("tags", []),
    ],
)
def test_lists_have_only_what_may_be_read(app: Any, path: str, expected: Any) -> None:
    app.extensions["metastore"].store.tag_create("secret/salt", "v1", author="Setup")
    headers = {"Authorization": f"Bearer {Authority().token('ann', 'ds:open/*:read')}"}
    answer = app.test_client().get(f"{API}/{path}", headers=headers)
    assert answer.json == expected
    everything = app.test_client().get(f"{API}/{path}", headers=headers | _bearer("ds:*:read"))
    assert "secret" in everything.text or "limit=1" in path
    assert app.test_client().get(f"{API}/{path}").status_code == 401


def _bearer(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {Authority().token('ann', *scopes)}"}


def test_a_list_that_includes_too_much_is_refused(app: Any) -> None:
    for query, message in (("include=titel", "include is any of title"), ("q=&include=title", "include is for lists")):
        answer = app.test_client().get(f"{SEARCH}?{query}", headers=_bearer("ds:*:read"))
        assert (answer.status_code, message in answer.json["detail"]) == (400, True)


def test_a_page_of_a_list_that_has_read_enough_ends_early(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.service.datasets.PAGE_BYTES", 1)
    first = app.test_client().get(f"{SEARCH}?include=changed", headers=_bearer("ds:*:read"))
    assert [row["id"] for row in first.json] == ["open/salt"]
    assert "after=open%2Fsalt" in first.headers["Link"]


def test_a_request_indexes_a_slice_of_what_others_changed_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metastore.connect(tmp_path, author="Setup", validation="off", sync=False) as store:
        for number in range(4):
            store.dataset_create(f"open/d{number}", {"title": "salt"})
    monkeypatch.setattr("metastore.service.datasets._INDEXING", 0)
    with metastore.connect(tmp_path) as store:
        client = create_app(store).test_client()
        first = client.get(f"{SEARCH}?q=salt").json
        assert ([hit["id"] for hit in first["hits"]], first["total"], first["complete"]) == (["open/d0"], 1, False)
        page = client.get("/search?q=salt").text
        assert "2 datasets" in page
        assert "Not all datasets have been searched yet" in page
        assert "Not all datasets have been searched yet" in client.get("/").text
        assert client.get(f"{SEARCH}?q=salt").json["complete"]
        assert "Not all datasets have been searched yet" not in client.get("/search?q=salt").text


def test_a_client_waits_until_the_index_of_the_service_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metastore.connect(tmp_path, author="Setup", validation="off", sync=False) as store:
        for number in range(4):
            store.dataset_create(f"open/d{number}", {"title": "salt"})
    monkeypatch.setattr("metastore.service.datasets._INDEXING", 0)
    with metastore.connect(tmp_path) as store, serving(store) as address, metastore.connect(address) as remote:
        with monkeypatch.context() as impatient:
            impatient.setattr("metastore.client.store._CATCHING_UP", 0)
            with pytest.raises(StorageBusy, match="some would be missed"):
                list(chosen(remote, {"owner": "open"}))
        results = remote.dataset_search("salt")
        assert (results.total, results.complete) == (4, True)
        assert len(list(chosen(remote, {"owner": "open"}))) == 4
