"""Who may do what over HTTP: no token, a bad one, one for something else, one for just this."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.test import TestResponse

import metastore
from metastore import MetaStore
from metastore.config import ServiceSettings
from metastore.errors import NotFound, OutcomeUnknown
from metastore.storage.local.layout import Layout
from metastore.types import Change, DatasetId
from metastore.web import create_app

from .conftest import ADMIN, API, BUNDLES, CARS, EDITOR, ENVELOPE, Authority, Caller, Door

JSON, MERGE = "application/json", "application/merge-patch+json"
NEW = f"{API}/datasets/physics/new"
#: Every route that changes a dataset: the action it needs, and how it is called.
WRITES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "update": ("update", "put", CARS, {"data": {"title": "x"}, "content_type": JSON}),
    "create": ("create", "put", NEW, {"data": {}, "content_type": JSON}),
    "patch": ("update", "patch", CARS, {"data": {"title": "x"}, "content_type": MERGE}),
    "delete": ("delete", "delete", CARS, {}),
    "purge": ("purge", "delete", f"{CARS}?purge=true&force=true", {}),
    "revert": ("update", "post", f"{CARS}/revert", {"json": {"to": "HEAD"}}),
    "undo": ("update", "post", f"{CARS}/undo", {"json": {"revision": "HEAD"}}),
    "move": ("update", "post", f"{CARS}/move", {"json": {"to": "physics/new"}}),
    "tag": ("update", "post", f"{CARS}/tags", {"json": {"name": "v2"}}),
    "retag": ("update", "patch", f"{CARS}/tags/v1", {"json": {"name": "v2"}}),
    "untag": ("update", "delete", f"{CARS}/tags/v1", {}),
}
READS = {
    "dataset": CARS,
    "revisions": f"{CARS}/revisions",
    "revision": f"{CARS}/revisions/HEAD",
    "blame": f"{CARS}/blame",
    "diff": f"{CARS}/diff?from=HEAD",
    "raw": f"{CARS}/raw",
    "tags": f"{CARS}/tags",
    "tag": f"{CARS}/tags/v1",
    "resources": f"{CARS}/resources",
    "resource": f"{CARS}/resources/x",
    "project": f"{API}/projects/physics/cars",
    "journal": f"{API}/journal?dataset=physics/cars",
}


@pytest.fixture(autouse=True)
def cars(memory: MetaStore) -> None:
    memory.dataset_create("physics/cars", {})
    memory.dataset_update("physics/cars", {"resources": [{"name": "x", "path": "x.csv"}]})
    memory.tag_create("physics/cars", "v1")


def test_each_route_of_a_dataset_is_asked(door: Door) -> None:
    routes = door.app.url_map.bind("")
    asks = [("GET", url) for url in READS.values()] + [(method.upper(), url) for _, method, url, _ in WRITES.values()]
    asked = {(method, routes.match(urlsplit(url).path, method)[0]) for method, url in asks}
    of_one = [
        rule for rule in door.app.url_map.iter_rules() if rule.rule.startswith(f"{API}/") and "<owner>" in rule.rule
    ]
    assert {
        (method, rule.endpoint) for rule in of_one for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    } <= asked


def state(memory: MetaStore) -> Any:
    """Everything that a write could have changed."""
    found = [memory.dataset_read(each) for each in memory.dataset_list()]
    return found, list(memory.tag_list("physics/cars")), list(memory.journal())


def call(caller: Caller, name: str) -> TestResponse:
    _, method, url, body = WRITES[name]
    return getattr(caller, method)(url, **body)


@pytest.mark.parametrize("name", WRITES)
def test_a_write_without_a_token_is_401_and_changes_nothing(door: Door, memory: MetaStore, name: str) -> None:
    before = state(memory)
    answer = call(door.anybody, name)
    assert (answer.status_code, answer.json["kind"]) == (401, "authentication-error")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="metastore"'
    assert state(memory) == before


@pytest.mark.parametrize("name", WRITES)
def test_a_write_with_a_bad_token_is_401_and_says_why(door: Door, memory: MetaStore, name: str) -> None:
    before = state(memory)
    _, method, url, body = WRITES[name]
    answer = getattr(door.anybody, method)(url, **body, headers={"Authorization": "Bearer junk"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith(
        'Bearer realm="metastore", error="invalid_token", error_description="'
    )
    assert state(memory) == before


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    "scopes",
    [
        ("ds:physics/other", "ds:chemistry/*"),
        ("ds:physics/cars:read", "ds:physics/*:read,list"),
        ("ds:physics/cars:data:update,delete,purge",),
        ("ds:physics/cars:metadata:",),
        ("",),
        ("org:physics:admin", "obj:physics/cars"),
    ],
)
def test_a_token_for_something_else_is_403_and_says_what_is_missing(
    door: Door, memory: MetaStore, name: str, scopes: tuple[str, ...]
) -> None:
    before = state(memory)
    answer = call(door.comes("bo", *scopes), name)
    assert (answer.status_code, answer.json["kind"]) == (403, "permission-denied")
    assert 'error="insufficient_scope", scope="ds:physics/' in answer.headers["WWW-Authenticate"]
    assert state(memory) == before


@pytest.mark.parametrize("name", WRITES)
def test_a_token_with_every_action_but_the_needed_one_is_403(door: Door, memory: MetaStore, name: str) -> None:
    needed = WRITES[name][0]
    words = {"read", "list", "create", "update", "patch", "delete", "purge"} - {needed}
    if needed == "update":
        words -= {"patch"}
    before = state(memory)
    assert call(door.comes("bo", f"ds:*:{','.join(sorted(words))}"), name).status_code == 403
    assert state(memory) == before


@pytest.mark.parametrize("name", WRITES)
def test_a_token_with_just_the_needed_actions_is_enough(door: Door, name: str) -> None:
    scopes = [f"ds:physics/cars:{WRITES[name][0]}", *(["ds:physics/*:create"] if name == "create" else [])]
    answer = call(door.comes("bo", *scopes), name)
    assert answer.status_code in (200, 201, 204), answer.text


@pytest.mark.parametrize("name", WRITES)
def test_a_token_without_a_subject_writes_nothing(door: Door, memory: MetaStore, name: str) -> None:
    before = state(memory)
    assert call(door.comes(None, *ADMIN), name).status_code in (401, 403)
    assert state(memory) == before


def test_a_token_that_only_creates_overwrites_nothing(door: Door, memory: MetaStore) -> None:
    """Every editor of an organisation in CKAN holds `org/*:create`."""
    before = state(memory)
    creator = door.comes("bo", "ds:physics/*:create,list,read")
    for headers in ({}, {"If-None-Match": "*"}):
        answer = creator.put(CARS, data={"title": "x"}, content_type=JSON, headers=headers)
        assert answer.status_code in (403, 412)
    assert creator.post(f"{CARS}/revert", json={"to": "HEAD"}).status_code == 403
    assert state(memory) == before
    memory.dataset_delete("physics/cars")
    assert creator.put(CARS, data={"title": "x"}, content_type=JSON).status_code == 201


def test_a_token_that_only_updates_creates_nothing(door: Door, memory: MetaStore) -> None:
    first = memory.dataset_delete("physics/cars").parent
    updater = door.comes("bo", "ds:physics/cars:update,delete")
    assert updater.put(CARS, data={}, content_type=JSON).status_code == 403
    assert updater.post(f"{CARS}/revert", json={"to": first}).status_code == 403
    assert updater.post(f"{CARS}/move", json={"to": "chemistry/new"}).status_code == 403
    assert list(memory.dataset_list()) == []


def test_a_refused_creation_says_which_right_it_needs(door: Door) -> None:
    answer = door.comes("bo", "ds:physics/*:read").put(NEW, data={}, content_type=JSON, headers={"If-None-Match": "*"})
    assert 'scope="ds:physics/*:create"' in answer.headers["WWW-Authenticate"]


def test_an_editor_as_ckan_makes_one_edits_their_dataset_alone(door: Door) -> None:
    editor = door.comes("ann", *EDITOR)
    assert editor.patch(CARS, data={"title": "x"}, content_type=MERGE).status_code == 200
    assert editor.put(NEW, data={}, content_type=JSON).status_code == 201
    assert editor.patch(NEW, data={"title": "x"}, content_type=MERGE).status_code == 403


@pytest.mark.parametrize(
    "said",
    [
        {"author": "Bo <bo@x.org>"},
        {"at": "2020-01-01T00:00:00Z"},
        {"author": {"name": "Ann Lee", "email": "other@x.org"}},
    ],
)
def test_another_author_or_time_needs_the_right_to_import(door: Door, memory: MetaStore, said: dict[str, Any]) -> None:
    before = state(memory)
    body = {"to": "physics/new", **said}
    for scopes in (ADMIN, EDITOR, ("ds:*",), ("ds:",), ("ds:physics/*:create,update,delete",)):
        caller = door.comes("ann", *scopes, name="Ann Lee", email="ann@example.org")
        assert caller.post(f"{CARS}/move", json=body).status_code == 403
        assert caller.delete(CARS, json=said).status_code == 403
    assert state(memory) == before
    importer = door.comes("ann", *ADMIN, "ds:physics/cars:import")
    assert importer.post(f"{CARS}/move", json=body).status_code == 200


def test_saying_oneself_needs_no_right_to_import(door: Door) -> None:
    said = {"name": "v2", "author": {"name": "Ann Lee", "email": "ann@example.org"}}
    assert door.admin.post(f"{CARS}/tags", json=said).status_code == 201


@pytest.mark.parametrize("url", READS.values(), ids=READS)
def test_reading_can_need_a_token(closed: Door, url: str) -> None:
    answer = closed.anybody.get(url)
    assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True)
    assert closed.comes("bo", "ds:physics/cars:read").get(url).status_code == 200
    assert closed.comes(None, "ds:physics/cars:metadata:read").get(url).status_code == 200


@pytest.mark.parametrize("url", READS.values(), ids=READS)
def test_a_hidden_dataset_answers_like_a_missing_one(closed: Door, url: str) -> None:
    for caller in (closed.comes("bo", "ds:physics/other"), closed.comes("bo", "ds:chemistry/*")):
        same = {"X-Request-ID": "one-and-the-same"}
        hidden = caller.get(url, headers=same)
        absent = caller.get(url.replace("physics/cars", "physics/none"), headers=same)
        assert hidden.status_code == 404
        assert hidden.text.replace("cars", "none") == absent.text
        assert dict(hidden.headers) == dict(absent.headers)


def test_a_list_shows_only_what_may_be_read(closed: Door, memory: MetaStore) -> None:
    memory.dataset_create("physics/secret", {})
    memory.dataset_move("physics/secret", "physics/hidden", author="x")
    assert closed.anybody.get(f"{API}/datasets").status_code == 401
    caller = closed.comes("bo", "ds:physics/cars:read")
    assert caller.get(f"{API}/datasets").json == ["physics/cars"]
    assert caller.get(f"{API}/journal").json == []
    assert {each["dataset_id"] for each in caller.get(f"{API}/changes").json} == {"physics/cars"}
    assert closed.admin.get(f"{API}/datasets").json == ["physics/cars", "physics/hidden"]


@pytest.mark.parametrize(
    "query",
    ["datasets?", "datasets?at=2030-01-01&", "datasets?deleted=true&", "datasets?include=title&", "owners?", "tags?"],
)
def test_a_list_looks_at_no_hidden_dataset_so_that_its_time_tells_nothing(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    with metastore.connect(tmp_path / "store", author="Setup", sync=False) as store:
        for name in ("a/a", "a/secret", "b/cars", "b/cars2", "b/gone", "c/x", "d/secret"):
            store.dataset_create(name, {})
            store.tag_create(name, "v1")
        store.dataset_delete("b/gone")
        looked, path = list[str](), Layout.path
        monkeypatch.setattr(Layout, "path", lambda self, each: (looked.append(str(each)), path(self, each))[1])
        app = create_app(store, verifier=authority, settings=ServiceSettings(public_read=False))  # type: ignore[arg-type]
        caller = Door(app, authority).comes("bo", "ds:c/*:read", "ds:b/cars:read", "ds:b/gone:read", "ds:a/a:read")
        listed = caller.get(f"{API}/{query}").json
        expected = ["b/gone"] if "deleted" in query else ["a/a", "b/cars", "c/x"]
        if query.startswith("datasets"):
            assert [each["id"] if "include" in query else each for each in listed] == expected
        for prefix in ("a/secret", "d/", "e/", "c/x2"):
            assert query == "owners?" or caller.get(f"{API}/{query}prefix={prefix}").json == []
        if query == "datasets?":
            assert caller.get(f"{API}/{query}prefix=b/c&after=b/ca").json == ["b/cars"]
            assert caller.get(f"{API}/{query}prefix=c").json == ["c/x"]
            assert caller.get(f"{API}/{query}after=junk").status_code == 400
    assert {name for name in looked if "secret" in name} == set()


def test_where_a_hidden_one_moved_to_is_not_told(closed: Door, memory: MetaStore) -> None:
    memory.dataset_move("physics/cars", "chemistry/cars")
    here = closed.comes("bo", "ds:physics/*:read")
    assert here.get(CARS).status_code == 404
    assert "chemistry" not in here.get(CARS).text
    assert closed.admin.get(CARS).status_code == 308


@pytest.mark.parametrize("name", ["journal", "bundles"])
def test_the_stores_own_datasets_are_nobodys(door: Door, memory: MetaStore, name: str) -> None:
    memory.dataset_move("physics/cars", "physics/autos")
    url = f"{API}/datasets/_metastore/{name}"
    assert door.admin.get(url).status_code == 404
    assert door.admin.get(f"{API}/datasets?prefix=_metastore/").json == []
    for method in ("put", "patch"):
        assert getattr(door.admin, method)(url, data={}, content_type=MERGE).status_code == 403


def test_a_git_client_sends_its_token_as_a_password(door: Door, authority: Authority) -> None:
    token = authority.token("ann", "ds:physics/cars:delete")
    header = f"Basic {base64.b64encode(f'_jwt:{token}'.encode()).decode()}"
    assert door.anybody.delete(CARS, headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Digest x", "Basic !!!", "Basic YW5uOnB3", "junk", "Bearer\tx"]
)
def test_another_kind_of_authorization_is_401(door: Door, header: str) -> None:
    assert door.anybody.delete(CARS, headers={"Authorization": header}).status_code == 401


def test_a_bad_token_is_refused_even_where_none_is_needed(door: Door) -> None:
    assert door.anybody.get(CARS, headers={"Authorization": "Bearer junk"}).status_code == 401


BUNDLE = f"{API}/bundles/NuMI"
STATE = {"event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TORTGT"]}
BUNDLE_WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "update": ("put", BUNDLE, {"json": STATE | {"event": "e,1d"}}),
    "create": ("put", f"{API}/bundles/New", {"json": STATE}),
    "patch": ("patch", BUNDLE, {"json": {"event": "e,1d"}}),
    "delete": ("delete", BUNDLE, {}),
    "copy": ("post", f"{BUNDLE}/copy", {"json": {"to": "New"}}),
    "restore": ("post", f"{BUNDLE}/restore", {"json": {"snapshot": 1}}),
    "undo": ("post", f"{BUNDLE}/undo", {"json": {"snapshot": 2}}),
    "import": ("post", f"{API}/bundles", {"json": [{"name": "NuMI", "event": "e,1d"}]}),
}


@pytest.mark.parametrize("name", BUNDLE_WRITES)
def test_the_groups_file_decides_who_changes_bundles(door: Door, name: str) -> None:
    ann = door.comes("ann", BUNDLES)
    assert ann.put(BUNDLE, json=STATE).status_code == 201
    assert ann.patch(BUNDLE, json={"event": "e,36"}).status_code == 200
    before = door.anybody.get(f"{API}/log").json
    method, url, body = BUNDLE_WRITES[name]
    assert getattr(door.anybody, method)(url, **body).status_code == 401
    assert getattr(door.comes(None), method)(url, **body).status_code == 401
    refused = getattr(door.comes("bo", *ADMIN, BUNDLES), method)(url, **body)
    assert (refused.status_code, refused.json["kind"]) == (403, "permission-denied")
    assert door.anybody.get(f"{API}/log").json == before
    assert getattr(ann, method)(url, **body).status_code in (200, 201)
    assert door.anybody.get(f"{API}/log").json[0]["user"] == "ann"


#: Rights that do not let a superuser's token change the bundles of NOvA.
NARROW = [(), ("ds:physics/cars",), ADMIN, ("bundles:*:read",), ("bundles:MINOS:write",), ("bundles:root:write",)]


@pytest.mark.parametrize("scopes", NARROW)
@pytest.mark.parametrize("name", BUNDLE_WRITES)
def test_a_superusers_token_changes_no_bundle_that_its_scopes_do_not_name(
    door: Door, name: str, scopes: tuple[str, ...]
) -> None:
    ann = door.comes("ann", BUNDLES)
    ann.put(BUNDLE, json=STATE)
    ann.patch(BUNDLE, json={"event": "e,36"})
    before = door.anybody.get(f"{API}/log").json
    method, url, body = BUNDLE_WRITES[name]
    refused = getattr(door.comes("carol", *scopes), method)(url, **body)
    assert (refused.status_code, refused.json["kind"]) == (403, "permission-denied")
    assert 'error="insufficient_scope", scope="bundles:NOvA:write"' in refused.headers["WWW-Authenticate"]
    assert door.anybody.get(f"{API}/log").json == before


def test_bundles_are_read_by_anyone_even_where_datasets_are_not(closed: Door) -> None:
    assert closed.comes("ann", BUNDLES).put(BUNDLE, json=STATE).status_code == 201
    for url in (BUNDLE, f"{API}/bundles", f"{BUNDLE}/log", f"{API}/log", f"{API}/snapshots/1"):
        assert closed.anybody.get(url).status_code == 200


SECRET = {"title": "Plans", "resources": [{"name": "x", "path": "hidden.csv"}]}
#: Every write that could answer with what somebody else wrote, and the action that suffices for it.
BLIND: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "put": ("update", "put", CARS, {"data": SECRET, "content_type": JSON}),
    "merge": ("patch", "patch", CARS, {"data": {"version": "2"}, "content_type": MERGE}),
    "operations": (
        "update",
        "patch",
        CARS,
        {"data": [{"op": "add", "path": "/version", "value": "2"}], "content_type": "application/json-patch+json"},
    ),
    "envelope": ("update", "patch", CARS, {"data": {"patch": {"version": "2"}}, "content_type": ENVELOPE}),
    "revert": ("update", "post", f"{CARS}/revert", {"json": {"to": "first"}}),
    "undo": ("update", "post", f"{CARS}/undo", {"json": {"revision": "first"}}),
    "retag": ("update", "patch", f"{CARS}/tags/first", {"json": {"name": "renamed"}}),
    "untag": ("update", "delete", f"{CARS}/tags/first", {}),
    "move": ("update", "post", f"{CARS}/move", {"json": {"to": "physics/new"}}),
}


@pytest.fixture
def plans(memory: MetaStore) -> None:
    memory.dataset_update("physics/cars", SECRET, message="Secretly")
    memory.tag_create("physics/cars", "first", description="Not for all")


@pytest.mark.parametrize("name", BLIND)
def test_who_may_write_and_not_read_is_shown_nothing_that_is_stored(
    closed: Door, memory: MetaStore, plans: None, name: str
) -> None:
    action, method, url, body = BLIND[name]
    writer = closed.comes("bo", f"ds:physics/cars:{action}", "ds:physics/*:create")
    answer = getattr(writer, method)(url, **body)
    assert (answer.status_code, answer.data) == (204, b""), answer.text
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize("name", BLIND)
def test_who_may_read_as_well_is_shown_it(closed: Door, plans: None, name: str) -> None:
    action, method, url, body = BLIND[name]
    answer = getattr(closed.comes("bo", f"ds:physics/cars:{action},read", "ds:physics/*:create"), method)(url, **body)
    assert answer.status_code == (204 if name == "untag" else 200), answer.text


def test_a_change_that_was_made_blindly_can_be_followed_by_another(closed: Door, plans: None) -> None:
    writer = closed.comes("bo", "ds:physics/cars:update")
    first = writer.patch(CARS, data={"version": "2"}, content_type=MERGE)
    again = {"If-Match": first.headers["ETag"]}
    assert writer.patch(CARS, data={"version": "3"}, content_type=MERGE, headers=again).status_code == 204
    assert writer.patch(CARS, data={"version": "4"}, content_type=MERGE, headers=again).status_code == 412


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/resources/7"},
        {"op": "remove", "path": "/resources/0/nothing"},
        {"op": "test", "path": "/title", "value": "guess"},
        {"op": "add", "path": "/resources/0/path", "value": "/etc/passwd"},
        {"op": "replace", "path": "/title/x", "value": "guess"},
    ],
)
def test_a_patch_that_does_not_fit_says_no_more_than_that(closed: Door, plans: None, operation: dict[str, Any]) -> None:
    sent: dict[str, Any] = {"data": [operation], "content_type": "application/json-patch+json"}
    answer = closed.comes("bo", "ds:physics/cars:update").patch(CARS, **sent)
    assert answer.status_code == 400
    assert answer.json["detail"] == "the change does not fit the stored descriptor, which the token may not read"
    assert answer.json["errors"] == [{"detail": answer.json["detail"], "pointer": ""}]
    told = closed.comes("bo", "ds:physics/cars:update,read").patch(CARS, **sent)
    assert told.json["detail"] != answer.json["detail"]


def test_who_deleted_a_dataset_and_why_is_told_to_its_readers_alone(closed: Door, memory: MetaStore) -> None:
    memory.dataset_delete("physics/cars", message="For a secret reason")
    for scopes, status in (("update,delete", 404), ("update,delete,read", 410)):
        caller = closed.comes("bo", f"ds:physics/cars:{scopes}")
        for answer in (caller.patch(CARS, data={}, content_type=MERGE), caller.delete(CARS)):
            assert (answer.status_code, "secret" in answer.text) == (status, status == 410)


def test_what_somebody_creates_is_shown_to_them(closed: Door) -> None:
    answer = closed.comes("bo", "ds:physics/*:create").put(NEW, data={"title": "Mine"}, content_type=JSON)
    assert (answer.status_code, answer.json["descriptor"]) == (201, {"title": "Mine"})


def test_a_purge_leaves_nothing_to_read(door: Door, memory: MetaStore) -> None:
    assert call(door.admin, "purge").status_code == 204
    with pytest.raises(NotFound):
        memory.revision_read("physics/cars")


def test_neither_journal_nor_feed_tells_where_a_hidden_one_moved_to(closed: Door, memory: MetaStore) -> None:
    memory.dataset_move("physics/cars", "secret/plans")
    caller = closed.comes("bo", "ds:physics/*:read")
    (line,) = caller.get(f"{API}/journal?dataset=physics/cars").json
    assert (line["action"], "new_id" in line["details"]) == ("move", False)
    assert "secret/plans" not in caller.get(f"{API}/journal").text
    (entry,) = caller.get(f"{API}/changes").json
    assert (entry["dataset_id"], entry["action"], entry["new_id"]) == ("physics/cars", "moved", None)
    both = closed.comes("cy", "ds:physics/*:read", "ds:secret/*:read")
    assert "secret/plans" in [each["new_id"] for each in both.get(f"{API}/changes").json]
    assert "secret/plans" in both.get(f"{API}/journal").text


def test_ids_of_hidden_lines_of_the_journal_cannot_be_guessed_digit_by_digit(closed: Door, memory: MetaStore) -> None:
    memory.dataset_move("physics/cars", "secret/plans")
    memory.dataset_purge("secret/plans", force=True)
    hidden = next(iter(memory.journal())).id
    caller = closed.comes("bo", "ds:physics/*:read")
    refusals = [caller.get(f"{API}/journal?before={short}") for short in (hidden[:10], "0" * 10, "HEAD", hidden[:39])]
    assert [(each.status_code, "40 hex digits" in each.json["detail"]) for each in refusals] == [(400, True)] * 4


@pytest.mark.parametrize("missing", ["read", "update", "delete"])
def test_a_move_to_another_owner_needs_each_right_on_the_source(closed: Door, memory: MetaStore, missing: str) -> None:
    words = ",".join(sorted({"read", "update", "delete"} - {missing}))
    taker = closed.comes("eve", f"ds:physics/cars:{words}", "ds:eve/*")
    before = state(memory)
    answer = taker.post(f"{CARS}/move", json={"to": "eve/loot"})
    assert (answer.status_code, "resources" in answer.text) == (403, False)
    assert state(memory) == before


def test_a_move_to_another_owner_with_all_rights_is_shown_and_leaves_a_line(closed: Door) -> None:
    taker = closed.comes("eve", "ds:physics/cars:read,update,delete", "ds:eve/*:create")
    assert closed.comes("eve", "ds:physics/cars").post(f"{CARS}/move", json={"to": "eve/loot"}).status_code == 403
    assert taker.post(f"{CARS}/move", json={"to": "eve/loot"}).status_code == 200
    (line,) = closed.comes("ann", "ds:physics/*:read").get(f"{API}/journal?dataset=physics/cars").json
    assert (line["action"], line["author"]["name"], "eve/loot" in str(line)) == ("move", "eve", False)


@pytest.mark.parametrize("right", ["delete", "purge", "import"])
@pytest.mark.parametrize("target", ["physics/mine", "eve/mine"])
def test_a_move_gives_no_right_that_its_mover_lacked(door: Door, memory: MetaStore, target: str, right: str) -> None:
    """Rights go by ids, so who may purge the new id could purge what they could only change before."""
    words = {"read", "update", "delete", "purge", "import"}
    create = f"ds:{target.partition('/')[0]}/*:create"
    lacking = ("ds:physics/cars:" + ",".join(words - {right}), f"ds:{target}:{','.join(words)}", create)
    before = state(memory)
    answer = door.comes("eve", *lacking).post(f"{CARS}/move", json={"to": target})
    assert (answer.status_code, state(memory)) == (403, before)
    assert f'scope="ds:physics/cars:metadata:{right}"' in answer.headers["WWW-Authenticate"]
    enough = door.comes("eve", *lacking, f"ds:physics/cars:{right}")
    assert enough.post(f"{CARS}/move", json={"to": target}).status_code == 200


def test_a_move_within_an_owner_opens_nothing_to_its_mover(closed: Door) -> None:
    scopes = ("ds:physics/cars:update", "ds:physics/open:read")
    answer = closed.comes("eve", *scopes).post(f"{CARS}/move", json={"to": "physics/open"})
    assert (answer.status_code, answer.headers.get("ETag")) == (403, None)
    answer = closed.comes("eve", *scopes).post(f"{CARS}/move", json={"to": "physics/new"})
    assert (answer.status_code, answer.data, answer.headers.get("ETag")) == (204, b"", None)


def test_who_may_write_and_not_read_does_not_learn_what_stands_in_the_way_of_an_undo(
    closed: Door, memory: MetaStore
) -> None:
    wrong = memory.dataset_update("physics/cars", {"secret-plans": "A"}).revision.id
    memory.dataset_update("physics/cars", {"secret-plans": "B"})
    writer = closed.comes("bo", "ds:physics/cars:update")
    answer = writer.post(f"{CARS}/undo", json={"revision": wrong})
    assert (answer.status_code, answer.json["kind"], answer.json["places"]) == (409, "merge-conflict", [])
    assert "secret-plans" not in answer.text


def test_a_creation_is_undone_with_the_right_to_delete_alone(door: Door, memory: MetaStore) -> None:
    memory.dataset_create("physics/new", {})
    for scope in ("ds:physics/new:update", "ds:physics/*:create"):
        refused = door.comes("bo", scope).post(f"{NEW}/undo", json={"revision": "HEAD"})
        assert (refused.status_code, refused.json["kind"]) == (403, "permission-denied")
        assert 'scope="ds:physics/new:metadata:delete"' in refused.headers["WWW-Authenticate"]
    deleting = door.comes("bo", "ds:physics/*:delete")
    assert deleting.post(f"{CARS}/undo", json={"revision": "HEAD"}).status_code == 403
    first = memory.revision_list("physics/cars")[-1].id
    conflict = deleting.post(f"{CARS}/undo", json={"revision": first})
    assert (conflict.status_code, conflict.json["kind"]) == (409, "merge-conflict")
    assert conflict.json["places"][0]["where"].startswith(f"revision {memory.revision_read('physics/cars').id[:12]}")
    done = deleting.post(f"{NEW}/undo", json={"revision": "HEAD"})
    assert (done.status_code, done.json["revision"]["deleted"], done.json["descriptor"]) == (200, True, {})
    assert memory.revision_read("physics/new").deleted


def test_a_tag_that_moves_meanwhile_makes_no_deletion_of_an_undo(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = memory.revision_list("physics/cars")[-1].id
    memory.dataset_revert("physics/cars", first)
    undo = memory.dataset_undo

    def overtaken(*args: Any, **options: Any) -> Any:
        memory.tag_update("physics/cars", "v1", revision=first)
        return undo(*args, **options)

    monkeypatch.setattr(memory, "dataset_undo", overtaken)
    answer = door.comes("bo", "ds:physics/cars:update").post(f"{CARS}/undo", json={"revision": "v1"})
    assert (answer.status_code, memory.revision_read("physics/cars").deleted) == (200, False)


def test_who_may_write_and_not_read_learns_no_revision_but_their_own(closed: Door, memory: MetaStore) -> None:
    memory.dataset_update("physics/cars", {"title": "Secret"})
    head = memory.revision_read("physics/cars").id
    writer = closed.comes("bo", "ds:physics/cars:update,delete")
    stale = {"If-Match": f'"{"0" * 40}"'}
    answers = [
        writer.put(CARS, data={"title": "Secret"}, content_type=JSON),
        writer.patch(CARS, data={}, content_type=MERGE),
        writer.patch(CARS, data={"title": "x"}, content_type=MERGE, headers=stale),
        writer.post(f"{CARS}/revert", json={"to": "HEAD"}),
        writer.post(f"{CARS}/tags", json={"name": "v3"}),
        writer.patch(f"{CARS}/tags/v3", json={"description": "x"}),
        writer.delete(CARS),
    ]
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    assert head[:12] not in told
    assert [answer.status_code for answer in answers] == [204, 204, 412, 204, 204, 204, 204]
    assert answers[-1].headers["ETag"].strip('"') == next(memory.changes()).revision.id  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [{"to": "{}"}, {"revision": "{}"}, {"revision": "{}..HEAD"}, {"revision": "{}~1"}])
def test_who_may_write_and_not_read_finds_no_revision_digit_by_digit(
    closed: Door, memory: MetaStore, body: dict[str, str]
) -> None:
    first = memory.revision_list("physics/cars")[-1].id
    memory.dataset_update("physics/cars", {"title": "Secret"})
    names = {member: text.format(first[:8]) for member, text in body.items()}
    call = "revert" if "to" in body else "undo"
    before = state(memory)
    for subject, sent in ((f"{CARS}/{call}", names), (f"{CARS}/tags", {"name": "v9", "revision": first[:8]})):
        answer = closed.comes("bo", "ds:physics/cars:update").post(subject, json=sent)
        assert (answer.status_code, "full id" in answer.json["detail"]) == (400, True)
    assert (
        closed.comes("bo", "ds:physics/cars:update").patch(f"{CARS}/tags/v1", json={"revision": first[:8]}).status_code
        == 400
    )
    assert state(memory) == before
    reading = closed.comes("bo", "ds:physics/cars:update,read")
    assert reading.post(f"{CARS}/tags", json={"name": "v9", "revision": first[:8]}).status_code == 201
    whole = closed.comes("bo", "ds:physics/cars:update").post(f"{CARS}/revert", json={"to": first})
    assert whole.status_code == 204


def test_who_creates_a_deleted_dataset_again_does_not_learn_its_deletion(closed: Door, memory: MetaStore) -> None:
    deletion = memory.dataset_delete("physics/cars").id
    again = closed.comes("bo", "ds:physics/*:create").put(CARS, data={"title": "Mine"}, content_type=JSON)
    assert (again.status_code, again.json["descriptor"]) == (201, {"title": "Mine"})
    assert (again.json["revision"]["parent"], deletion in again.text + str(again.headers)) == (None, False)
    memory.dataset_delete("physics/cars")
    reading = closed.comes("bo", "ds:physics/*:create,read").put(CARS, data={}, content_type=JSON)
    assert reading.json["revision"]["parent"] == next(memory.changes()).revision.parent  # type: ignore[union-attr]


def test_a_tag_that_is_changed_into_itself_tells_nothing_of_its_author(closed: Door, memory: MetaStore) -> None:
    head = memory.revision_read("physics/cars").id
    with memory.storage.objects(DatasetId("physics", "cars")) as repository:  # type: ignore[attr-defined]
        repository.set_tags({"light": head})  # as Git's lightweight tags, which have the id of the revision
    writer = closed.comes("bo", "ds:physics/cars:update")
    for name in ("light", "v1"):
        answer = writer.patch(f"{CARS}/tags/{name}", json={"name": name})
        assert (answer.status_code, answer.headers.get("ETag")) == (204, None)
    own = writer.patch(f"{CARS}/tags/light", json={"description": "Mine"})
    assert own.headers["ETag"].strip('"') == memory.tag_read("physics/cars", "light").id


def test_what_a_revision_lacks_is_not_told_with_its_id(closed: Door, memory: MetaStore) -> None:
    old = memory.revision_read("physics/cars")
    bare = memory.storage.append(
        DatasetId("physics", "cars"),
        {"datapackage.json": None, "README": b"x"},
        Change(old.author, "Secret", old.created),
        parent=old.id,
    )
    writer = closed.comes("bo", "ds:physics/cars:update,create,delete")
    answers = [
        writer.post(f"{CARS}/revert", json={"to": "HEAD"}),
        writer.post(f"{CARS}/undo", json={"revision": "v1"}),
        writer.patch(CARS, data={"title": "x"}, content_type=MERGE),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 204]
    assert bare.id[:12] not in "".join(answer.text + str(answer.headers) for answer in answers)


def test_a_rule_about_versions_tells_nothing_of_the_stored_one(authority: Authority) -> None:
    store = metastore.connect("memory:", author="Setup", version_rule="refuse")
    store.dataset_create("physics/cars", {"version": "3.1.4", "resources": [{"name": "plans", "path": "plans.csv"}]})
    settings = ServiceSettings(public_read=False)
    there = Door(create_app(store, verifier=authority, settings=settings), authority)  # type: ignore[arg-type]
    sent: dict[str, Any] = {"data": {"version": "3.1.5"}, "content_type": JSON}
    answer = there.comes("bo", "ds:physics/cars:update").put(CARS, **sent)
    assert (answer.status_code, "3.1.4" in answer.text) == (400, False)
    assert "the token may not read" in answer.json["detail"]
    assert "3.1.4" in there.comes("bo", "ds:physics/cars:update,read").put(CARS, **sent).json["detail"]
    unsafe = {"resources": [{"name": "a", "path": "/etc/passwd"}]}
    own = there.comes("bo", "ds:physics/cars:update").put(CARS, data=unsafe, content_type=JSON)
    assert (own.status_code, "/etc/passwd" in own.json["detail"]) == (422, True)


def test_a_change_of_unknown_outcome_names_no_revision_to_who_may_not_read(
    closed: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = memory.revision_list("physics/cars")[-1].id

    def lost(*arguments: Any, **options: Any) -> Any:
        raise OutcomeUnknown("the answer was lost")

    monkeypatch.setattr(memory.storage, "append", lost)
    for scopes, known in (("update", False), ("update,read", True)):
        answer = closed.comes("bo", f"ds:physics/cars:{scopes}").post(f"{CARS}/undo", json={"revision": "v1"})
        assert (answer.status_code, first in answer.text) == (504, known), answer.text


def test_a_repository_without_an_id_is_named_to_those_who_might_read_it(
    closed: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.storage, "is_unnamed", lambda text: text == "Datopian/GDX")
    address = f"{API}/datasets/Datopian/GDX"
    told = closed.comes("ann", "ds:datopian/*:read").get(address)
    assert told.status_code == 400
    assert "`metastore adopt --dry-run`" in told.json["detail"]  # type: ignore[index]
    refused = Caller(closed.app.test_client(), "no token")
    for caller in (closed.anybody, refused, closed.comes("ben", "ds:physics/*:read")):
        answer = caller.get(address)
        assert (answer.status_code, "adopt" in answer.text) == (400, False)
