"""Who follows the change feed can wait for the next change, on any storage and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from flask import Flask

import metastore
from metastore import InvalidInput
from metastore.service import context
from metastore.store import waiting
from metastore.store.base import Store
from metastore.store.waiting import Waiting
from metastore.types import FeedEntry
from metastore.web import create_app

from .conftest import ANN
from .loopback import TOKEN, serving
from .service.conftest import Authority

CARS, BOATS = "physics/cars", "physics/boats"
#: Longer than a test may take: whoever waits so long has missed the change.
LONG = 10_000.0


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0.01)


@pytest.fixture
def store() -> metastore.MetaStore:
    made = metastore.connect("memory:", author=ANN, validation="off")
    assert isinstance(made, metastore.MetaStore)
    made.dataset_create(CARS, {"n": 1})
    return made


def last(store: Store) -> str:
    return list(store.changes())[-1].cursor


@contextmanager
def changed_while_somebody_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create another dataset when the first look found nothing."""
    waits, sleep = threading.Event(), waiting.time.sleep

    def noting(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    def change() -> None:
        waits.wait()
        store.dataset_create(BOATS, {"n": 1})

    monkeypatch.setattr(waiting.time, "sleep", noting)
    changing = threading.Thread(target=change)
    changing.start()
    yield
    changing.join()


def test_who_waits_gets_the_next_change(store: metastore.MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = last(store)
    with changed_while_somebody_waits(store, monkeypatch):
        assert [str(entry.dataset_id) for entry in store.changes(cursor, wait=LONG)] == [BOATS]


def test_who_waits_in_vain_gets_nothing(store: metastore.MetaStore) -> None:
    assert list(store.changes(last(store), wait=0.01)) == []


@pytest.mark.parametrize("wait", ["x", True, float("nan"), None])
def test_a_wait_that_is_no_number_is_refused(wait: object) -> None:
    with metastore.connect("memory:", author=ANN) as store, serving(store) as address:
        for each in (store, metastore.connect(address, token=TOKEN)):
            with pytest.raises(InvalidInput, match="wait is a number of seconds"):
                each.changes(wait=wait)  # type: ignore[arg-type]


def test_who_waits_at_a_service_gets_the_next_change(
    store: metastore.MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(store) as url, metastore.connect(url, token=TOKEN) as remote:
        cursor = last(remote)
        with changed_while_somebody_waits(store, monkeypatch):
            assert [str(entry.dataset_id) for entry in remote.changes(cursor, wait=LONG)] == [BOATS]


def test_what_the_feed_repeats_is_no_news_but_comes_with_the_news(store: metastore.MetaStore) -> None:
    store.dataset_create(BOATS, {"n": 1})
    first, second = store.changes()
    looks: list[list[FeedEntry]] = [[first], [replace(first, cursor="0.2")], [first], [first, second]]
    feed = Waiting()

    def look() -> Iterator[FeedEntry]:
        return iter(looks.pop(0) if len(looks) > 1 else looks[0])

    assert list(feed.read(look, None, LONG)) == [first]
    assert list(feed.read(look, first.cursor, LONG)) == [first, second]
    assert looks == [[first, second]]
    assert list(feed.read(look, second.cursor, 0.01)) == [first, second]


def test_the_more_requests_wait_the_longer_each_pauses_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, now, pauses = Waiting(), [0.0], list[float]()

    def passing(seconds: float) -> None:
        now[0] += seconds

    def look() -> Iterator[FeedEntry]:
        passing(1)
        return iter(())

    def look_beside_another() -> Iterator[FeedEntry]:
        list(feed.read(look, None, 7))
        return look()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        passing(seconds)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    list(feed.read(look, None, 7))
    assert pauses == [5]
    pauses.clear()
    list(feed.read(look_beside_another, None, 1))
    assert pauses == [6]


def app_of(store: metastore.MetaStore, places: int) -> Flask:
    app = create_app(store)
    context.install(app, replace(app.extensions["metastore"], may_wait=context.waiting_places(places)))
    return app


def test_a_service_gives_back_the_place_of_a_request_that_has_waited(store: metastore.MetaStore) -> None:
    client = app_of(store, 1).test_client()
    for _ in range(2):
        assert client.get(f"/api/v1/changes?since={last(store)}&wait=1").json == []


def test_a_service_lets_no_more_requests_wait_than_it_has_places(store: metastore.MetaStore) -> None:
    client = app_of(store, 0).test_client()
    answer = client.get("/api/v1/changes?wait=1")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert client.get("/api/v1/changes?wait=0").status_code == 200


def test_one_caller_leaves_places_to_others_who_wait(store: metastore.MetaStore) -> None:
    app = create_app(store, verifier=Authority())  # type: ignore[arg-type]
    path, far = f"/api/v1/changes?since={last(store)}&wait=1", {"REMOTE_ADDR": "192.0.2.1"}
    places = app.extensions["metastore"].may_wait
    ann, bo = ({"Authorization": f"Bearer {Authority().token(user)}"} for user in ("ann", "bo"))
    assert [places.take(who) for who in ["user ann"] * 9] == [True] * 8 + [False]
    assert app.test_client().get(path, headers=ann).status_code == 429
    assert app.test_client().get(path, headers=bo).status_code == 200
    assert [places.take("address 192.0.2.1") for _ in range(9)] == [True] * 8 + [False]
    assert app.test_client().get(path, environ_overrides=far).status_code == 429
    others = [places.take(f"user {number}") for number in range(17)]
    assert others == [True] * 16 + [False]  # 32 in all


@pytest.mark.parametrize("text", ["-1", "26", "1.5", "long", ""])
def test_a_request_cannot_wait_for_longer_than_half_a_minute(text: str, store: metastore.MetaStore) -> None:
    answer = app_of(store, 1).test_client().get(f"/api/v1/changes?wait={text}")
    assert answer.status_code == 400
    assert "from 0 to 25" in answer.text
