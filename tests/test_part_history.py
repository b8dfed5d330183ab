"""The history of a part of a descriptor, and where each value comes from, in every store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import metastore
from metastore import DatasetDeleted, InvalidInput, MetaStore, TooLarge

from .conftest import ANN
from .test_undo import states

CARS = "physics/cars"
LAT = {"name": "lat", "type": "number"}


def stations(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "stations", "path": "stations.csv", "schema": {"fields": list(fields)}, **more}


@pytest.fixture
def history(store: MetaStore) -> list[str]:
    """Seven revisions, oldest first."""
    other = {"name": "other", "path": "other.csv"}
    descriptors: list[dict[str, Any]] = [
        {"title": "A", "resources": [stations(LAT)]},
        {"title": "B", "resources": [stations(LAT)]},
        {"title": "B", "resources": [other, stations(LAT)]},
        {"title": "B", "resources": [other, stations({**LAT, "unit": "deg"})]},
        {"title": "B", "resources": [other, stations({**LAT, "unit": "deg"}, name="places")]},
        {"title": "C", "resources": [other, stations({**LAT, "unit": "deg", "name": "latitude"}, name="places")]},
        {"title": "C", "resources": [{**other, "title": "O"}, stations({"name": "latitude"}, name="places")]},
    ]
    made = [store.dataset_create(CARS, descriptors[0], message="Set 0")]
    for number, each in enumerate(descriptors[1:], 1):
        author = "Bo Ek <bo@example.org>" if number == 3 else None
        made.append(store.dataset_update(CARS, each, message=f"Set {number}", author=author))
    return [each.revision.id for each in made]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ({"path": "/title"}, [5, 1, 0]),
        ({"path": ""}, [6, 5, 4, 3, 2, 1, 0]),
        ({"path": "/resources/1"}, [6, 5, 4, 3, 0]),
        ({"path": "/resources/0"}, [6, 2]),
        ({"path": "/resources/other/title"}, [6]),
        ({"path": "/resources/=other/path"}, [2]),
        ({"resource": "places"}, [6, 5, 4, 3, 0]),
        ({"field": "places/latitude"}, [6, 5, 3, 0]),
        ({"path": "/licenses"}, []),
        ({"resource": "stations"}, [4, 3, 0]),
    ],
    ids=str,
)
def test_only_revisions_that_changed_a_part_are_listed(
    store: MetaStore, history: list[str], part: dict[str, str], changed: list[int]
) -> None:
    assert [each.id for each in store.revision_list(CARS, **part)] == [history[at] for at in changed]
    assert [each.id for each in store.revision_list(CARS, limit=1, **part)] == [history[at] for at in changed[:1]]


def test_revisions_are_chosen_by_author_time_and_message(store: MetaStore, history: list[str]) -> None:
    def messages(**wanted: Any) -> list[str]:
        return [each.message for each in store.revision_list(CARS, **wanted)]

    assert messages(author="BO EK") == messages(author="bo@example") == ["Set 3"]
    assert messages(grep="set 5") == ["Set 5"]
    assert messages(author="ann", grep="3") == []
    made = [store.revision_read(CARS, each).created for each in history]
    assert messages(since=made[0], until=made[-1]) == messages()
    assert messages(until=datetime(1999, 1, 1, tzinfo=UTC)) == messages(since=datetime(2999, 1, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize(
    "wrong", [{"path": "title"}, {"path": "/a", "resource": "b"}, {"field": "x"}, {"grep": 5}, {"resource": 7}], ids=str
)
def test_what_names_no_part_is_refused(store: MetaStore, history: list[str], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        list(store.revision_list(CARS, **wrong))


def test_a_deletion_changes_every_part(store: MetaStore, history: list[str]) -> None:
    gone = store.dataset_delete(CARS)
    back = store.dataset_revert(CARS, history[-1]).revision
    found = [each.id for each in store.revision_list(CARS, path="/title")]
    assert found == [back.id, gone.id, history[5], history[1], history[0]]


def test_blame_names_the_revision_of_each_value(store: MetaStore, history: list[str]) -> None:
    values = {each.pointer: (each.where, each.value, history.index(each.revision.id)) for each in store.blame(CARS)}
    assert values == {
        "/title": ("title", "C", 5),
        "/resources/0/name": ("resource other › name", "other", 2),
        "/resources/0/path": ("resource other › path", "other.csv", 2),
        "/resources/0/title": ("resource other › title", "O", 6),
        "/resources/1/name": ("resource places › name", "places", 4),
        "/resources/1/path": ("resource places › path", "stations.csv", 0),
        "/resources/1/schema/fields/0/name": ("resource places › schema › field latitude › name", "latitude", 5),
    }
    assert {each.value for each in store.blame(CARS, history[1])} >= {"B", "lat", "number"}
    store.dataset_delete(CARS)
    with pytest.raises(DatasetDeleted):
        store.blame(CARS)


def test_blame_sees_spelling_types_and_lists_without_names(store: MetaStore) -> None:
    first = store.dataset_create(
        CARS, '{"n": 1.10, "b": 1, "c": [{"x": 1}, {"x": 2, "y": 3, "z": 4, "w": 5}], "e": []}'
    )
    second = store.dataset_update(
        CARS, '{"n": 1.1, "b": true, "c": [{"x": 2, "y": 3, "z": 4, "w": 6}, {"x": 1}], "e": []}'
    )
    found = {each.pointer: each.revision.id == second.revision.id for each in store.blame(CARS)}
    assert [pointer for pointer, is_second in found.items() if is_second] == ["/n", "/b", "/c/0/w"]
    assert found["/e"] is False
    number = next(each.value for each in store.blame(CARS, first.revision.id) if each.pointer == "/n")
    assert repr(number) == "1.10"
    assert first.revision.parent is None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(states, states, states)
def test_blame_and_part_history_agree(first: Any, second: Any, third: Any) -> None:
    store = metastore.connect("memory:", author=ANN, validation="off")
    store.dataset_create(CARS, first)
    for each in (second, third):
        store.dataset_update(CARS, each)
    for value in store.blame(CARS):
        assert value.revision == store.revision_list(CARS, path=value.pointer)[0], value


def test_a_long_history_is_searched_and_blamed_in_bounded_time() -> None:
    store = metastore.connect("memory:", author=ANN, validation="off")
    fields = [{"name": f"f{n}", "type": "string", "title": "T"} for n in range(500)]
    store.dataset_create(CARS, {"resources": [{"name": "r", "path": "r", "schema": {"fields": fields}}]})
    for number in range(100):
        fields[number]["title"] = "New"
        store.dataset_update(CARS, {"resources": [{"name": "r", "path": "r", "schema": {"fields": fields}}]})
    start = time.process_time()
    assert len(list(store.revision_list(CARS, field="r/f7"))) == 2
    assert len({each.revision.id for each in store.blame(CARS)}) == 101
    assert time.process_time() - start < 5
    start = time.process_time()
    store.blame(CARS)
    assert time.process_time() - start < 0.1


def test_a_service_reads_some_revisions_a_request_and_follows_the_part_from_page_to_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from metastore.service import part_history

    from .loopback import TOKEN, serving

    monkeypatch.setattr(part_history, "_READ", 2)
    local = metastore.connect("memory:", author=ANN, validation="off")
    local.dataset_create(CARS, {"resources": [stations(LAT)]})
    for number in range(9):
        local.dataset_patch(CARS, {"version": str(number)})
    local.dataset_patch(CARS, {"resources": [stations(LAT, name="places")]})
    local.dataset_patch(CARS, {"version": "last"})
    with serving(local) as address, metastore.connect(address, token=TOKEN) as remote:
        for part in ({"resource": "places"}, {"field": "places/lat"}, {"path": "/resources/0"}, {"path": "/none"}):
            expected = [each.id for each in local.revision_list(CARS, **part)]
            assert [each.id for each in remote.revision_list(CARS, **part)] == expected
        page = remote._calls.get(f"/datasets/{CARS}/revisions", {"resource": "places", "limit": "1"})  # type: ignore[attr-defined]
        assert "path=" in page.headers["link"]
        assert "resource=" not in page.headers["link"]
        assert remote.blame(CARS) == local.blame(CARS)
        monkeypatch.setattr(part_history, "_MOST", 11)
        with pytest.raises(TooLarge, match="more than 11 revisions"):
            remote.blame(CARS)
