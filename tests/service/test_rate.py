"""A flood of costly requests by one caller: some wait, further ones are told to come again, and others are served."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from metastore import MetaStore
from metastore.config import ServiceSettings
from metastore.service import rate
from metastore.service.places import WAITING_FOR_EACH, Places
from metastore.web import create_app

from .conftest import ADMIN, CARS, Authority
from .described import DOCUMENT, operation, template

NEARBY = {"REMOTE_ADDR": "127.0.0.1"}
ALL_PLACES = 1 + WAITING_FOR_EACH


class Slow:
    """Holds each comparison until it is let go."""

    def __init__(self, store: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        compare = store.revision_diff

        def slowly(*args: Any, **more: Any) -> Any:
            self.begun.release()
            assert self.go.wait(30)
            return compare(*args, **more)

        monkeypatch.setattr(store, "revision_diff", slowly)


@pytest.fixture
def slow(memory: MetaStore, monkeypatch: pytest.MonkeyPatch) -> Slow:
    memory.dataset_create("physics/cars", {"name": "cars"})
    return Slow(memory, monkeypatch)


def application(store: MetaStore, at_once: int | None) -> Flask:
    return create_app(
        store,
        verifier=Authority(),  # type: ignore[arg-type]
        settings=ServiceSettings(rate_at_once=at_once),
    )


def of(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {Authority().token(user, *ADMIN)}"}


def compare(client: FlaskClient, **more: Any) -> Any:
    return client.get(f"{CARS}/diff?from=HEAD", **more)


def present(app: Flask) -> int:
    places: Places = app.extensions[rate._NAME]
    return places._present.total()


def wait_until_there_are(app: Flask, count: int) -> None:
    end = time.monotonic() + 30
    while present(app) < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_flood_by_one_token_is_refused_and_others_are_served(memory: MetaStore, slow: Slow) -> None:
    app = application(memory, 1)
    with ThreadPoolExecutor(3 * ALL_PLACES) as threads:
        flood = [threads.submit(lambda: compare(app.test_client(), headers=of("ann"))) for _ in range(ALL_PLACES)]
        assert slow.begun.acquire(timeout=30)
        wait_until_there_are(app, ALL_PLACES)

        refused = compare(app.test_client(), headers=of("ann"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.get_json()["kind"] == "too-many-requests"
        written = app.test_client().put("/api/v1/datasets/physics/new", json={"name": "new"}, headers=of("bo"))
        assert written.status_code == 201
        assert app.test_client().get(CARS, headers=of("ann")).status_code == 200  # a read that costs little

        slow.go.set()
        assert Counter(each.result().status_code for each in flood) == {200: ALL_PLACES}
    assert present(app) == 0
    assert compare(app.test_client(), headers=of("ann")).status_code == 200


def test_what_waits_for_too_long_is_refused(memory: MetaStore, slow: Slow) -> None:
    app = application(memory, 1)
    app.extensions[rate._NAME].patience = 0.05
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: compare(app.test_client()))
        assert slow.begun.acquire(timeout=30)
        assert compare(app.test_client()).status_code == 429
        slow.go.set()
        assert first.result().status_code == 200


def test_addresses_are_callers_and_a_near_proxy_names_them(memory: MetaStore, slow: Slow) -> None:
    app = application(memory, 1)
    app.extensions[rate._NAME].patience = 0.05

    with ThreadPoolExecutor(1) as threads:
        headers = {"X-Forwarded-For": "192.0.2.7, 192.0.2.1"}
        first = threads.submit(lambda: compare(app.test_client(), environ_base=NEARBY, headers=headers))
        assert slow.begun.acquire(timeout=30)
        asked = {"environ_base": NEARBY, "headers": {"X-Forwarded-For": "192.0.2.1"}}
        assert compare(app.test_client(), **asked).status_code == 429
        far = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}, "headers": {"X-Forwarded-For": "192.0.2.9"}}
        assert compare(app.test_client(), **far).status_code == 429  # what a stranger says of itself is not believed
        slow.go.set()
        assert first.result().status_code == 200


@pytest.mark.parametrize("route", ["/datasets/physics/cars/compare?from=HEAD", f"{CARS}/nothing"])
def test_a_place_in_the_queue_is_given_back_after_every_response(memory: MetaStore, slow: Slow, route: str) -> None:
    slow.go.set()
    app = application(memory, 1)
    for _ in range(3):
        app.test_client().get(route)
        app.test_client().delete("/api/v1/datasets/physics/none", headers=of("ann"))
        app.test_client().put(CARS, data=b"{", content_type="application/json", headers=of("ann"))
    assert present(app) == 0


def test_off_limits_nothing(memory: MetaStore, slow: Slow) -> None:
    app = application(memory, None)
    count = 2 * ALL_PLACES
    with ThreadPoolExecutor(count) as threads:
        asked = [threads.submit(lambda: compare(app.test_client())) for _ in range(count)]
        for _ in range(count):
            assert slow.begun.acquire(timeout=30)
        slow.go.set()
        assert {each.result().status_code for each in asked} == {200}


@pytest.mark.parametrize(
    ("path", "is_costly"),
    [
        ("/search?q=salt", True),
        ("/datasets", True),
        ("/datasets?owner=physics", True),
        ("/datasets/physics/cars/blame", True),
        ("/datasets/physics/cars/compare", True),
        ("/datasets/physics/cars", False),
        ("/api/v1/datasets", False),
        ("/api/v1/datasets?prefix=physics/", False),
        ("/api/v1/datasets?q=salt", True),
        ("/api/v1/datasets?licence=", True),
        ("/api/v1/datasets?findings=true", True),
        ("/api/v1/datasets?order=changed", True),
        ("/api/v1/datasets/physics/cars/diff?from=HEAD", True),
        ("/api/v1/changes", False),
        ("/api/v1/changes?summary=true", True),
        ("/api/v1/datasets/physics/cars/revisions", False),
        ("/api/v1/datasets/physics/cars/revisions?summary=true", True),
        ("/api/v1/datasets/physics/cars/revisions?grep=salt", True),
        ("/datasets/physics/cars/history", False),
        ("/datasets/physics/cars/history?changes=1", True),
        ("/datasets/physics/cars/history?path=/title", True),
        ("/git/physics/cars.git/info/refs?service=git-upload-pack", True),
        ("/no/such/page", False),
    ],
)
def test_searches_and_comparisons_are_costly_by_request_and_page(memory: MetaStore, path: str, is_costly: bool) -> None:
    with application(memory, 1).test_request_context(path):
        assert rate._costs_much() is is_costly


#: Reads that are costly without any parameter. What is added to the service is costly, too, until somebody decides.
COSTLY_READS = {
    "bundles.bundle_diff",
    "bundles.bundle_list",
    "bundles.bundle_log",
    "clones.clone_capabilities",
    "datasets.owner_list",
    "pages.bundles.compare",
    "pages.bundles.export",
    "pages.bundles.index",
    "pages.catalogue.index",
    "pages.catalogue.search",
    "pages.changelog.index",
    "pages.choosing.show",
    "pages.compare.as_text",
    "pages.compare.show",
    "pages.dataset_forms.undo",
    "pages.datasets.blame",
    "pages.device.show",
    "pages.home.index",
    "pages.past.index",
    "pages.record.everything",
    "pages.record.export",
    "pages.record.of_bundle",
    "pages.tags.index",
    "revisions.blame",
    "revisions.journal",
    "revisions.revision_diff",
    "revisions.tag_entries",
}
_PROVIDED_BY_A_SETTING = {"pages.oidc.begin", "pages.oidc.end"}


def test_it_was_decided_of_each_read_whether_it_is_costly(memory: MetaStore) -> None:
    rules = application(memory, 1).url_map.iter_rules()
    reads = {rule.endpoint for rule in rules if "GET" in (rule.methods or ())} | _PROVIDED_BY_A_SETTING
    assert reads - rate._CHEAP - set(rate._COSTLY_WITH) == COSTLY_READS
    assert (rate._CHEAP | set(rate._COSTLY_WITH)) <= reads


@pytest.mark.parametrize("path", [f"{CARS}/revisions", "/datasets/physics/cars/history"])
def test_a_history_costs_much_with_each_filter(memory: MetaStore, path: str) -> None:
    app = application(memory, 1)
    for query, costs in {"": False, **dict.fromkeys(("path", "author", "since", "until", "grep"), True)}.items():
        with app.test_request_context(f"{path}?{query}=x"):
            assert (query, rate._costs_much()) == (query, costs)


def test_every_write_is_costly(memory: MetaStore) -> None:
    app = application(memory, 1)
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) & {"DELETE", "PATCH", "POST", "PUT"}:
            path = re.sub(r"<any\((\w+).*?>", r"\1", rule.rule)
            with app.test_request_context(re.sub(r"<.*?>", "1", path), method=method):
                assert (flask.request.endpoint, rate._costs_much()) == (rule.endpoint, True)


def test_each_costly_request_of_the_api_is_described_with_a_429(memory: MetaStore) -> None:
    for rule in application(memory, 1).url_map.iter_rules():
        path = template(rule.rule)
        for method in (rule.methods or set()) & {"DELETE", "GET", "PATCH", "POST", "PUT"}:
            if path in DOCUMENT["paths"] and (method != "GET" or rule.endpoint not in rate._CHEAP):
                assert {"429", "4XX"} & operation(method, path)["responses"].keys(), (method, path)
