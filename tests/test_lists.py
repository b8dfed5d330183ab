"""Lists over a whole store: datasets now and at a time, owners, tags and resources; the same by a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import metastore
from metastore import InvalidInput, Store

from .conftest import ANN, TOKEN, serving
from .test_search import CARS, OCEAN, RAIN, day


@pytest.fixture(scope="module", params=["folder", "memory", "service"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Yield a store that was filled day by day."""
    url: Path | str = "memory:" if request.param == "memory" else tmp_path_factory.mktemp("lists") / "store"
    with metastore.connect(url, author=ANN, validation="off", **({} if url == "memory:" else {"sync": False})) as made:
        made.dataset_create("physics/ocean", OCEAN, at=day(1))
        made.dataset_create("physics/cars", CARS, at=day(2))
        made.dataset_create("weather/rain", RAIN, at=day(3))
        made.dataset_update("physics/ocean", OCEAN | {"title": "Salt"}, message="Shorter", at=day(4))
        made.dataset_delete("physics/cars", at=day(5))
        made.dataset_move("weather/rain", "climate/rain", at=day(6))
        for dataset_id, name in (("physics/ocean", "v2"), ("physics/ocean", "v10"), ("climate/rain", "v1")):
            made.tag_create(dataset_id, name, at=day(6))
        made.tag_create("physics/cars", "last", made.revision_list("physics/cars")[1], at=day(6))
        if request.param != "service":
            yield made
            return
        with serving(made) as address, metastore.connect(address, token=TOKEN) as remote:
            yield remote


@pytest.mark.parametrize(
    ("at", "deleted", "expected"),
    [
        (0, False, []),
        (1, False, ["physics/ocean"]),
        (3, False, ["climate/rain", "physics/cars", "physics/ocean"]),
        (5, False, ["climate/rain", "physics/ocean"]),
        (4, True, []),
        (5, True, ["physics/cars"]),
        (5, None, ["climate/rain", "physics/cars", "physics/ocean"]),
    ],
)
def test_a_list_at_a_time_has_what_there_was_then(store: Store, at: int, deleted: Any, expected: list[str]) -> None:
    assert list(store.dataset_list(at=day(at), deleted=deleted)) == expected
    assert [hit.id for hit in store.dataset_search(at=day(at), deleted=deleted, order="id").hits] == expected


def test_a_list_at_a_time_goes_on_behind_the_last_one(store: Store) -> None:
    assert list(store.dataset_list(at=day(3), limit=2)) == ["climate/rain", "physics/cars"]
    assert list(store.dataset_list("physics/", at="2024-05-04", after="physics/cars", limit=2)) == ["physics/ocean"]


def test_entries_have_titles_and_changes_now_and_at_a_time(store: Store) -> None:
    def told(**arguments: Any) -> list[tuple[str, str, Any]]:
        return [(entry.id, entry.title, entry.changed) for entry in store.dataset_entries(**arguments)]

    assert told() == [("climate/rain", "Rain means", day(3)), ("physics/ocean", "Salt", day(4))]
    assert told(prefix="physics/", at=day(2)) == [
        ("physics/cars", "Cars", day(2)),
        ("physics/ocean", OCEAN["title"], day(1)),
    ]
    assert told(deleted=True) == [("physics/cars", "Cars", day(5))]
    assert str(store.dataset_entries("physics/")[0]) == "physics/ocean  2024-05-05  Ann Lee  Salt  (Shorter)"


def test_owners_are_counted_page_by_page(store: Store) -> None:
    pages = [
        [(owner.name, owner.datasets) for owner in store.owner_list(after=after, limit=1)]
        for after in (None, "climate")
    ]
    assert pages == [[("climate", 1)], [("physics", 1)]]
    assert list(store.owner_list(after="physics")) == []


def test_tags_of_all_datasets_are_listed_page_by_page(store: Store) -> None:
    def told(*prefix: str, **arguments: Any) -> list[str]:
        return [f"{entry.dataset_id}@{entry.tag.name}" for entry in store.tag_entries(*prefix, **arguments)]

    everything = ["climate/rain@v1", "physics/cars@last", "physics/ocean@v10", "physics/ocean@v2"]
    assert told() == everything
    assert told("physics/", limit=1) == ["physics/cars@last"]
    assert [told(after=after, limit=1) for after in everything] == [[each] for each in everything[1:]] + [[]]
    with pytest.raises(InvalidInput):
        store.tag_entries(after="v2")


def test_a_dataset_that_cannot_be_read_hides_no_tags_of_those_after_it_and_is_named(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN, sync=False) as store:
        for name in ("a", "b", "c"):
            store.dataset_create(f"physics/{name}", {"name": name})
            store.tag_create(f"physics/{name}", "v1")
    (tmp_path / "store/physics/b.git/HEAD").write_text("rubbish\n")
    with metastore.connect(tmp_path / "store") as store, serving(store) as address:
        unread = {
            store: "HEAD names no branch",
            metastore.connect(address, token=TOKEN): "The stored data cannot be read.",
        }
        for reader, problem in unread.items():
            first, second, third = reader.tag_entries()
            assert [first.dataset_id, second.dataset_id, third.dataset_id] == ["physics/a", "physics/b", "physics/c"]
            assert (second.tag, first.problem, third.problem) == (None, "", "")
            assert problem in second.problem
            assert str(second) == f"physics/b  {second.problem}"
            assert [each.dataset_id for each in reader.tag_entries(after="physics/a@v1", limit=1)] == ["physics/b"]
            assert [each.dataset_id for each in reader.tag_entries(after="physics/b@", limit=1)] == ["physics/c"]
        request = Request(f"{address}/api/v1/tags?limit=2", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request, timeout=10) as page:
            assert page.headers["Link"] == '</api/v1/tags?limit=2&after=physics%2Fb%40>; rel="next"'


def test_resources_are_listed_in_their_order(store: Store) -> None:
    assert [resource["name"] for resource in store.resource_list("physics/ocean")] == ["stations"]
    assert store.resource_list("climate/rain") == ()
    assert store.resource_list("physics/cars", day(4).isoformat())[0]["format"] == "json"


def test_a_hit_says_what_its_revision_changed_if_asked(store: Store) -> None:
    assert [hit.summary for hit in store.dataset_search(order="id").hits] == ["", ""]
    hits = store.dataset_search(order="id", deleted=None, summary=True).hits
    assert [hit.summary for hit in hits] == ["created", "deleted", "title changed"]
