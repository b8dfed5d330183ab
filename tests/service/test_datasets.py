"""Datasets over HTTP: statuses, entity-tags, preconditions, caching, moved and deleted ones."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from werkzeug.test import TestResponse

from metastore import MetaStore

from ..conftest import REAL, real_descriptor
from .conftest import ADMIN, API, CARS, ENVELOPE, Door

JSON = "application/json"
MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"


def tag_of(answer: TestResponse) -> str:
    return answer.headers["ETag"].strip('"')


def put(door: Door, content: Any = None, **headers: str) -> TestResponse:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return door.admin.put(CARS, data=content or {"name": "cars"}, content_type=JSON, headers=named)


@pytest.mark.parametrize("name", REAL)
def test_a_real_descriptor_is_answered_byte_for_byte(door: Door, memory: MetaStore, name: str) -> None:
    made = door.admin.put(f"{API}/datasets/{name}", data=real_descriptor(name), content_type=JSON)
    assert made.status_code == 201
    read = door.anybody.get(f"{API}/datasets/{name}")
    assert (read.status_code, read.mimetype) == (200, JSON)
    assert read.data == memory.dataset_read(name).bytes
    assert tag_of(read) == tag_of(made) == memory.revision_read(name).id


def test_a_put_creates_then_updates(door: Door, memory: MetaStore) -> None:
    made = put(door)
    assert (made.status_code, made.headers["Location"]) == (201, CARS)
    again = put(door, {"name": "cars", "title": "Cars"})
    assert (again.status_code, "Location" in again.headers) == (200, False)
    assert again.json["revision"]["parent"] == tag_of(made)
    assert memory.dataset_read("physics/cars").descriptor["title"] == "Cars"


def test_a_put_of_a_deleted_one_creates_it_again(door: Door, memory: MetaStore) -> None:
    put(door)
    door.admin.delete(CARS)
    assert put(door).status_code == 201
    assert len(list(memory.revision_list("physics/cars"))) == 3


def test_a_put_that_says_the_same_makes_no_revision(door: Door) -> None:
    assert tag_of(put(door)) == tag_of(put(door))


def test_the_author_comes_from_the_token_and_the_message_from_the_query(door: Door, memory: MetaStore) -> None:
    door.admin.put(f"{CARS}?message=First+version", data={}, content_type=JSON)
    revision = memory.revision_read("physics/cars")
    assert (str(revision.author), revision.message) == ("Ann Lee <ann@example.org>", "First version")


def test_an_envelope_says_what_else_a_write_can_say(door: Door, memory: MetaStore) -> None:
    importer = door.comes("ann", *ADMIN, "ds:physics/*:import")
    said = {"descriptor": {"name": "cars"}, "message": "M" * 60_000, "at": "2020-01-02T03:04:05+01:00"}
    importer.put(CARS, data=said | {"author": {"name": "Bo", "email": "bo@x.org"}}, content_type=ENVELOPE)
    revision = memory.revision_read("physics/cars")
    assert (str(revision.author), len(revision.message)) == ("Bo <bo@x.org>", 60_000)
    assert f"{revision.created:%Y-%m-%dT%H:%M:%SZ}" == "2020-01-02T02:04:05Z"
    patch = {"patch": {"title": "Cars"}, "author": "Cy <cy@x.org>"}
    assert importer.patch(CARS, data=patch, content_type=ENVELOPE).status_code == 200
    assert memory.revision_read("physics/cars").author.name == "Cy"


def test_numbers_stay_as_written(door: Door) -> None:
    door.admin.put(CARS, data='{"a": 1.10, "b": 1180591620717411303424}', content_type=JSON)
    door.admin.patch(CARS, data='{"c": 2.50}', content_type=MERGE)
    assert door.anybody.get(CARS).text == '{\n  "a": 1.10,\n  "b": 1180591620717411303424,\n  "c": 2.50\n}\n'
    envelope = '{"descriptor": {"d": 3.0e1}}'
    door.admin.put(CARS, data=envelope, content_type=ENVELOPE)
    assert door.anybody.get(CARS).text == '{\n  "d": 3.0e1\n}\n'


def test_the_envelope_of_a_read_ends_with_the_descriptor_as_stored(door: Door, memory: MetaStore) -> None:
    put(door, {"name": "cars", "title": 'tricky "descriptor": {}'})
    read = door.anybody.get(CARS, headers={"Accept": ENVELOPE})
    assert read.mimetype == ENVELOPE
    stored = memory.dataset_read("physics/cars")
    assert read.data.partition(b'"descriptor": ')[2] == stored.bytes + b"}"
    assert read.json["revision"]["id"] == stored.revision.id
    assert tag_of(read) != stored.revision.id
    assert tag_of(read).startswith(stored.revision.id)


def test_both_kinds_of_patch_are_taken_by_their_media_type(door: Door) -> None:
    put(door)
    assert door.admin.patch(CARS, data={"title": "Cars"}, content_type=MERGE).json["descriptor"]["title"] == "Cars"
    patch = [{"op": "replace", "path": "/title", "value": "Autos"}]
    assert door.admin.patch(CARS, data=patch, content_type=PATCH).json["descriptor"]["title"] == "Autos"
    wrong = door.admin.patch(CARS, data={"title": "x"}, content_type=PATCH)
    assert (wrong.status_code, wrong.json["kind"]) == (400, "invalid-input")
    assert door.admin.patch(CARS, data={"title": "x"}, content_type=JSON).status_code == 415


def test_a_write_can_be_answered_without_a_body(door: Door) -> None:
    made = put(door, Prefer="return=minimal")
    assert (made.status_code, made.data, made.headers["Preference-Applied"]) == (201, b"", "return=minimal")
    assert "Content-Type" not in made.headers
    again = put(door, {"title": "x"}, Prefer="return=minimal")
    assert (again.status_code, again.data) == (204, b"")
    assert tag_of(again) != tag_of(made)


@pytest.mark.parametrize("mangled", ['"{}"', 'W/"{}"', '"{}-gzip"', 'W/"{}--gzip"', '"{}+envelope"'])
def test_if_match_is_the_id_in_any_form_that_a_proxy_makes_of_it(door: Door, mangled: str) -> None:
    old = tag_of(put(door))
    assert put(door, {"title": "2"}, If_Match=mangled.format(old)).status_code == 200
    lost = put(door, {"title": "3"}, If_Match=mangled.format(old))
    assert (lost.status_code, lost.json["kind"], lost.json["expected"]) == (412, "revision-conflict", old)
    assert lost.json["actual"] == tag_of(door.anybody.get(CARS))
    assert door.anybody.get(CARS).json == {"title": "2"}


def test_if_match_of_a_missing_dataset_fails(door: Door, memory: MetaStore) -> None:
    assert put(door, If_Match=f'"{"a" * 40}"').status_code == 412
    assert put(door, If_Match='"nonsense"').status_code == 412
    assert put(door, If_Match="no quotes").status_code == 400
    assert list(memory.dataset_list()) == []


def test_if_none_match_star_only_creates(door: Door) -> None:
    assert put(door, If_None_Match="*").status_code == 201
    taken = put(door, {"title": "x"}, If_None_Match="*")
    assert (taken.status_code, taken.json["kind"]) == (412, "already-exists")
    assert put(door, If_None_Match='"x"').status_code == 400


def test_expected_in_a_body_conflicts_with_409(door: Door) -> None:
    first = tag_of(put(door))
    put(door, {"title": "2"})
    stale = door.admin.post(f"{CARS}/revert", json={"to": first, "expected": first})
    assert (stale.status_code, stale.json["kind"]) == (409, "revision-conflict")


def test_a_put_that_expects_a_revision_in_its_body_creates_nothing(door: Door, memory: MetaStore) -> None:
    envelope = {"descriptor": {"a": 1}, "expected": "a" * 40}
    answer = door.admin.put(CARS, json=envelope, headers={"Content-Type": ENVELOPE})
    assert answer.status_code == 409
    assert list(memory.dataset_list()) == []


def test_a_deployment_can_demand_preconditions(careful: Door) -> None:
    assert put(careful).status_code == 428
    made = put(careful, If_None_Match="*")
    assert made.status_code == 201
    for call in ("put", "delete"):
        assert getattr(careful.admin, call)(CARS, data={}, content_type=JSON).status_code == 428
    assert careful.admin.patch(CARS, data={}, content_type=MERGE).status_code == 428
    assert careful.admin.post(f"{CARS}/revert", json={"to": tag_of(made)}).status_code == 428
    assert put(careful, {"title": "x"}, If_Match=made.headers["ETag"]).status_code == 200


def test_what_is_known_already_is_not_sent_again(door: Door) -> None:
    made = put(door)
    for tag in (f'"{tag_of(made)}"', f'W/"{tag_of(made)}"', f'"{tag_of(made)}-gzip"', '"x", "' + tag_of(made) + '"'):
        again = door.anybody.get(CARS, headers={"If-None-Match": tag})
        assert (again.status_code, again.data, tag_of(again)) == (304, b"", tag_of(made))
    put(door, {"title": "new"})
    assert door.anybody.get(CARS, headers={"If-None-Match": made.headers["ETag"]}).status_code == 200


def test_a_304_reads_no_blob(door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = put(door)
    monkeypatch.setattr(memory.storage, "read", lambda *args: pytest.fail("a blob was read"))
    assert door.anybody.get(CARS, headers={"If-None-Match": made.headers["ETag"]}).status_code == 304


def test_only_what_a_full_id_names_may_be_kept(door: Door, closed: Door) -> None:
    old = tag_of(put(door))
    for url, cache in (
        (CARS, "private, no-cache"),
        (f"{CARS}?revision={old[:10]}", "private, no-cache"),
        (f"{CARS}?revision={old}", "public, max-age=86400, immutable"),
        (f"{CARS}/revisions/{old}", "public, max-age=86400, immutable"),
    ):
        answer = door.anybody.get(url)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, cache)
        assert answer.headers["Vary"] == "Authorization, Cookie, Accept, Accept-Encoding"
    private = closed.admin.get(f"{CARS}?revision={old}")
    assert private.headers["Cache-Control"] == "private, max-age=86400, immutable"


def test_an_older_revision_is_read_by_a_moment_and_named(door: Door, memory: MetaStore) -> None:
    old = memory.dataset_create("physics/cars", {"name": "cars"}, at="2026-01-01").revision
    memory.dataset_patch("physics/cars", {"title": "new"}, at="2026-03-01T00:00:01Z")
    for moment in ("2026-03-01", "2026-03-01T00:00Z", "2026-03-01T00:59%2B01:00"):
        read = door.anybody.get(f"{CARS}?revision={moment}")
        assert (read.json, tag_of(read), read.headers["Cache-Control"]) == (
            {"name": "cars"},
            old.id,
            "private, no-cache",
        )
    before = door.anybody.get(f"{CARS}?revision=2025-12-31T23:59Z")
    assert (before.status_code, before.json["kind"]) == (404, "revision-not-found")


def test_an_older_revision_is_read_by_id_tag_or_abbreviation(door: Door) -> None:
    old = tag_of(put(door))
    door.admin.post(f"{CARS}/tags", json={"name": "v1"})
    put(door, {"title": "new"})
    for revision in (old, old[:7], "v1"):
        read = door.anybody.get(f"{CARS}?revision={revision}")
        assert (read.json, tag_of(read)) == ({"name": "cars"}, old)
    missing = door.anybody.get(f"{CARS}?revision=v2")
    assert (missing.status_code, missing.json["kind"]) == (404, "revision-not-found")


def test_a_deleted_one_is_gone_and_says_its_last_revision(door: Door, memory: MetaStore) -> None:
    old = tag_of(put(door))
    gone = door.admin.delete(f"{CARS}?message=Wrong+place")
    assert gone.status_code == 200
    for answer in (door.anybody.get(CARS), door.admin.patch(CARS, data={}, content_type=MERGE)):
        assert (answer.status_code, answer.json["kind"]) == (410, "dataset-deleted")
        assert answer.json["revision"]["message"] == "Wrong place"
        assert answer.headers["Cache-Control"] == "no-store"
    assert door.anybody.get(f"{CARS}?revision={old}").status_code == 200
    back = door.admin.post(f"{CARS}/revert", json={"to": old})
    assert (back.status_code, back.json["descriptor"]) == (200, {"name": "cars"})


def test_a_moved_one_says_where_it_went(door: Door) -> None:
    put(door)
    moved = door.admin.post(f"{CARS}/move", json={"to": "physics/autos", "message": "Better name"})
    assert (moved.status_code, moved.json["id"]) == (200, "physics/autos")
    read = door.anybody.get(f"{CARS}?revision=HEAD")
    assert (read.status_code, read.json["kind"], read.json["new_id"]) == (308, "dataset-moved", "physics/autos")
    assert read.headers["Location"] == f"{API}/datasets/physics/autos?revision=HEAD"
    assert read.headers["Cache-Control"] == "no-store"
    assert put(door, {"title": "x"}).status_code == 308
    assert put(door, {"title": "x"}, If_None_Match="*").status_code == 201


@pytest.mark.parametrize("tag", ["a%0D%0AX-Evil:%201", "a%3Fforce%3Dtrue%23x", "%E2%82%AC%20x"])
def test_where_a_moved_one_went_is_quoted_as_it_was_asked(door: Door, tag: str) -> None:
    door.admin.put(CARS, data={}, content_type=JSON)
    door.admin.post(f"{CARS}/move", json={"to": "physics/autos"})
    answer = door.admin.delete(f"{CARS}/tags/{tag}?message=Why")
    assert answer.status_code == 308
    assert unquote(answer.headers["Location"]) == unquote(f"{API}/datasets/physics/autos/tags/{tag}?message=Why")
    assert "tags/a?" not in answer.headers["Location"]


def test_a_moved_one_may_be_called_as_the_service_calls_its_own_paths(door: Door) -> None:
    door.admin.put(f"{API}/datasets/v1/datasets", data={}, content_type=JSON)
    door.admin.post(f"{API}/datasets/v1/datasets/move", json={"to": "v2/datasets"})
    assert door.admin.get(f"{API}/datasets/v1/datasets").headers["Location"] == f"{API}/datasets/v2/datasets"


def test_a_purged_one_is_not_there_but_in_the_journal(door: Door) -> None:
    put(door)
    live = door.admin.delete(f"{CARS}?purge=true")
    assert (live.status_code, live.json["kind"]) == (400, "invalid-input")
    assert door.admin.delete(f"{CARS}?purge=true&force=true&message=Private").status_code == 204
    assert door.anybody.get(CARS).json["kind"] == "dataset-not-found"
    (line,) = door.anybody.get(f"{API}/journal").json
    assert (line["action"], line["dataset_id"], line["message"]) == ("purge", "physics/cars", "Private")


def test_what_is_unsafe_or_breaks_a_strict_profile_is_422_with_pointers(door: Door) -> None:
    unsafe = put(door, {"resources": [{"name": "x", "path": "../x.csv"}]})
    assert (unsafe.status_code, unsafe.mimetype) == (422, "application/problem+json")
    assert unsafe.json["errors"][0]["pointer"] == "/resources/0/path"


def test_a_list_is_cut_into_pages_that_link_to_the_next(door: Door, memory: MetaStore) -> None:
    for owner, name in (("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")):
        memory.dataset_create((owner, name), {})
    seen, url = [], f"{API}/datasets?limit=2&prefix=a/"
    while url:
        page = door.anybody.get(url)
        assert len(page.json) <= 2
        seen += page.json
        link = page.headers.get("Link", "")
        assert not link or link.endswith('; rel="next"')
        url = link.partition(">")[0][1:]
    assert seen == ["a/1", "a/2", "a/3"]
    assert "Link" not in door.anybody.get(f"{API}/datasets").headers


def test_deleted_ones_are_listed_when_asked_for(door: Door) -> None:
    put(door)
    door.admin.delete(CARS)
    assert door.anybody.get(f"{API}/datasets").json == []
    assert door.anybody.get(f"{API}/datasets?deleted=true").json == ["physics/cars"]
    assert "physics/cars" in door.anybody.get(f"{API}/datasets?deleted=any").json


def test_revisions_are_listed_newest_first_in_pages(door: Door) -> None:
    ids = [tag_of(put(door, {"title": str(number)})) for number in range(5)]
    first = door.anybody.get(f"{CARS}/revisions?limit=3")
    second = door.anybody.get(first.headers["Link"].partition(">")[0][1:])
    assert [each["id"] for each in first.json + second.json] == ids[::-1]
    assert "Link" not in second.headers


def test_two_revisions_are_compared(door: Door) -> None:
    old, new = tag_of(put(door)), tag_of(put(door, {"name": "cars", "title": "Cars"}))
    diff = door.anybody.get(f"{CARS}/diff?from={old}").json
    assert (diff["old"]["id"], diff["new"]["id"]) == (old, new)
    assert diff["patch"] == [{"op": "add", "path": "/title", "value": "Cars"}]
    assert diff["changes"][0]["where"] == "title"
    assert door.anybody.get(f"{CARS}/diff").status_code == 400


def test_tags_are_made_read_changed_and_removed(door: Door) -> None:
    old = tag_of(put(door))
    made = door.admin.post(f"{CARS}/tags", json={"name": "v1+x", "description": "First"})
    assert (made.status_code, made.headers["Location"]) == (201, f"{CARS}/tags/v1%2Bx")
    read = door.anybody.get(made.headers["Location"])
    assert (read.json["revision"], tag_of(read)) == (old, made.json["id"])
    again = door.anybody.get(f"{CARS}/tags/v1+x", headers={"If-None-Match": read.headers["ETag"]})
    assert again.status_code == 304
    renamed = door.admin.patch(f"{CARS}/tags/v1+x", json={"name": "v1"}, headers={"If-Match": read.headers["ETag"]})
    assert (renamed.status_code, renamed.json["description"]) == (200, "First")
    stale = door.admin.delete(f"{CARS}/tags/v1", headers={"If-Match": read.headers["ETag"]})
    assert stale.status_code == 412
    assert [tag["name"] for tag in door.anybody.get(f"{CARS}/tags").json] == ["v1"]
    assert door.admin.post(f"{CARS}/tags", json={"name": "v1"}).status_code == 409
    assert door.admin.delete(f"{CARS}/tags/v1").status_code == 204
    assert door.anybody.get(f"{CARS}/tags/v1").json["kind"] == "tag-not-found"


def test_resources_are_read_by_name_or_path(door: Door) -> None:
    put(door, {"resources": [{"name": "x", "path": "data/x.csv"}]})
    for named in ("x", "data/x.csv"):
        assert door.anybody.get(f"{CARS}/resources/{named}").json["path"] == "data/x.csv"
    assert door.anybody.get(f"{CARS}/resources/y").json["kind"] == "resource-not-found"


def test_a_project_is_a_dataset_with_its_tags(door: Door) -> None:
    put(door)
    door.admin.post(f"{CARS}/tags", json={"name": "v1"})
    project = door.anybody.get(f"{API}/projects/physics/cars").json
    assert (project["owner"], project["dataset"]["descriptor"]) == ("physics", {"name": "cars"})
    assert [tag["name"] for tag in project["tags"]] == ["v1"]


def test_the_feed_goes_on_where_it_stopped(door: Door) -> None:
    put(door)
    feed = door.anybody.get(f"{API}/changes")
    assert [each["dataset_id"] for each in feed.json] == ["physics/cars"]
    put(door, {"title": "x"})
    later = door.anybody.get(feed.headers["Link"].partition(">")[0][1:]).json
    assert later[-1]["revision"]["id"] == tag_of(door.anybody.get(CARS))


def test_a_list_of_revisions_says_what_each_changed_if_asked(door: Door) -> None:
    put(door)
    put(door, {"name": "cars", "title": "x"})
    put(door, {"name": "cars", "title": "x", "resources": [{"name": "r", "path": "r.csv"}]})
    door.admin.delete(CARS)
    assert "summary" not in door.anybody.get(f"{CARS}/revisions").json[0]
    first = door.anybody.get(f"{CARS}/revisions?summary=true&limit=3")
    rest = door.anybody.get(first.headers["Link"].partition(">")[0][1:])
    told = [revision["summary"] for revision in first.json + rest.json]
    assert told == ["deleted", "resources added", "title added", "created"]
    part = door.anybody.get(f"{CARS}/revisions?summary=true&path=/title").json
    assert [revision["summary"] for revision in part] == ["deleted", "title added"]
    assert door.anybody.get(f"{CARS}/revisions?summary=perhaps").status_code == 400


def test_the_feed_says_what_each_newest_revision_changed_if_asked(door: Door) -> None:
    put(door)
    assert "summary" not in door.anybody.get(f"{API}/changes").json[0]
    put(door, {"name": "cars", "title": "x"})
    door.admin.put(f"{API}/datasets/physics/boats", json={"title": "Boats"})
    door.admin.delete(f"{API}/datasets/physics/boats")
    feed = door.anybody.get(f"{API}/changes?summary=true&limit=1")
    rest = door.anybody.get(feed.headers["Link"].partition(">")[0][1:])
    told = {each["dataset_id"]: each["summary"] for each in feed.json + rest.json}
    assert told == {"physics/cars": "title added", "physics/boats": "deleted"}


def test_a_page_of_the_feed_with_summaries_ends_where_it_has_read_enough(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metastore.service.revisions.PAGE_BYTES", 50)
    for number in range(4):
        memory.dataset_create(f"physics/n{number}", {"title": "x"})
        memory.dataset_patch(f"physics/n{number}", {"title": "y"})
    address, seen = f"{API}/changes?summary=true", dict[str, str]()
    while rows := (feed := door.anybody.get(address)).json:
        assert len(rows) < 4
        seen |= {row["dataset_id"]: row["summary"] for row in rows}
        address = feed.headers["Link"].partition(">")[0][1:]
    assert seen == {f"physics/n{number}": "title changed" for number in range(4)}


def test_pages_of_the_feed_get_on_even_where_all_changed_at_once(door: Door, memory: MetaStore) -> None:
    for number in range(9):
        memory.dataset_create(f"physics/n{number}", {})
    seen: set[str] = set()
    url = f"{API}/changes?limit=2"
    while url:
        page = door.anybody.get(url)
        seen |= {each["dataset_id"] for each in page.json}
        url = page.headers.get("Link", "").partition(">")[0][1:]
    assert len(seen) == 9


def test_a_put_that_loses_a_race_with_a_deletion_creates(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(door)
    update = memory.dataset_update

    def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(memory, "dataset_update", update)
        memory.dataset_delete("physics/cars")
        return update(*args, **kwargs)

    monkeypatch.setattr(memory, "dataset_update", late)
    assert put(door, {"title": "x"}).status_code == 201
    assert [each.deleted for each in memory.revision_list("physics/cars")] == [False, True, False]


def test_a_revert_that_loses_a_race_is_made_on_the_new_state(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tag_of(put(door))
    put(door, {"title": "2"})
    revert = memory.dataset_revert

    def late(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(memory, "dataset_revert", revert)
        memory.dataset_update("physics/cars", {"title": "3"})
        return revert(*args, **kwargs)

    monkeypatch.setattr(memory, "dataset_revert", late)
    assert door.admin.post(f"{CARS}/revert", json={"to": first}).status_code == 200
    assert len(list(memory.revision_list("physics/cars"))) == 4


def test_an_unexpected_failure_is_a_500_that_tells_nothing(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(memory, "dataset_json", fails)
    answer = door.anybody.get(CARS)
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert json.loads(answer.text)["kind"] == "internal-server-error"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/datasets?owner_=physics", "has no parameter 'owner_': did you mean owner?"),
        ("/datasets?zzz=1", "has no parameter 'zzz': it has after, at, "),
        ("/datasets/physics/cars?revison=v1", "did you mean revision?"),
        ("/datasets/physics/cars/tags?n=1", "has no parameter 'n'"),
        ("/bundles?grop=NOvA", "did you mean "),
        ("/changes?sinse=1", "did you mean since?"),
    ],
)
def test_a_parameter_that_there_is_not_is_refused_with_those_that_there_are(
    door: Door, path: str, message: str
) -> None:
    answer = door.anybody.get(f"{API}{path}")
    assert answer.status_code == 400
    assert message in answer.json["detail"]


def test_a_read_that_names_what_it_has_to_see_names_a_full_revision(door: Door) -> None:
    revision = tag_of(put(door))
    assert door.anybody.get(CARS, headers={"Metastore-At-Least": revision}).status_code == 200
    refused = door.anybody.get(CARS, headers={"Metastore-At-Least": revision[:12]})
    assert (refused.status_code, refused.json["detail"][:18]) == (400, "Metastore-At-Least")
