"""Hostile requests are refused in words: 4xx, a problem document, nothing changed, never 500."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

import metastore
from metastore import MetaStore
from metastore.bundle import BundleRegistry
from metastore.descriptor.limits import MAX_BYTES
from metastore.web import create_app

from ..processes import SOAK
from .conftest import ADMIN, API, CARS, ENVELOPE, Authority, Door
from .described import operations

JSON, MERGE, PATCH = "application/json", "application/merge-patch+json", "application/json-patch+json"
BUNDLE = f"{API}/bundles/NuMI"
NEW = {"event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TOR860"]}


@pytest.fixture
def there(door: Door, memory: MetaStore, registry: BundleRegistry) -> Iterator[Door]:
    """A service with something in it, in which nothing may change."""
    first = memory.dataset_create("physics/cars", {"name": "cars"})
    memory.tag_create("physics/cars", "v1", first.revision.id)
    registry.bundle_create({"name": "NuMI", **NEW}, user="ann")
    before = state(memory, registry)
    yield door
    assert state(memory, registry) == before


def state(store: MetaStore, registry: BundleRegistry) -> list[object]:
    changed = [(entry.dataset_id, entry.revision) for entry in store.changes()]
    return [*changed, *store.tag_list("physics/cars"), *store.journal(), *registry.bundle_log(limit=None)]


def refused(answer: TestResponse, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in (statuses or range(400, 500)), answer.text
    assert answer.mimetype == "application/problem+json"
    assert "Traceback" not in answer.text
    said: dict[str, Any] = json.loads(answer.data)
    assert len(said["detail"]) > 10
    if said["kind"] == "invalid-input":
        assert said["errors"]
    return said


# Bodies

NO_JSON = {
    "empty": b"",
    "white space": b" \n",
    "cut off": b'{"name": "ca',
    "two documents": b"{} {}",
    "a key twice": b'{"title": "a", "title": "b"}',
    "a key twice, far down": b'{"resources": [{"schema": {"fields": [{"name": "a", "name": "b"}]}}]}',
    "a key twice, written differently": b'{"a": 1, "\\u0061": 2}',
    "NaN": b'{"a": NaN}',
    "infinite": b'{"a": -Infinity}',
    "too large a number": b'{"a": 1e400}',
    "too many digits": b'{"a": ' + b"9" * 5000 + b"}",
    "half of a pair": b'{"a": "\\ud800"}',
    "half of a pair as a key": b'{"\\udc00": 1}',
    "nested deeply": b'{"a":' * 200 + b"1" + b"}" * 200,
    "nested very deeply": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "UTF-16": '{"name": "cars"}'.encode("utf-16"),
    "UTF-16 without mark": '{"name": "cars"}'.encode("utf-16-le"),
    "Latin-1": '{"title": "Käse"}'.encode("latin-1"),
    "a character of more bytes than needed": b'{"a": "\xc0\xaf"}',
    "comments": b'{"a": 1} // one',
    "single quotes": b"{'a': 1}",
    "NUL": b'{"a": 1}\0',
    "gzip": b"\x1f\x8b\x08\x00",
}
NO_OBJECT = {"a list": b"[]", "text": b'"cars"', "a number": b"1", "null": b"null", "true": b"true"}
#: What takes a JSON object as body: method, path, media type.
WRITES = [
    ("put", CARS, JSON),
    ("put", CARS, ENVELOPE),
    ("put", f"{API}/datasets/physics/new", JSON),
    ("patch", CARS, MERGE),
    ("patch", CARS, ENVELOPE),
    ("post", f"{CARS}/revert", JSON),
    ("post", f"{CARS}/undo", JSON),
    ("post", f"{CARS}/move", JSON),
    ("post", f"{CARS}/tags", JSON),
    ("patch", f"{CARS}/tags/v1", JSON),
    ("put", BUNDLE, JSON),
    ("patch", BUNDLE, JSON),
    ("post", f"{BUNDLE}/copy", JSON),
    ("post", f"{BUNDLE}/restore", JSON),
]
IDS = [f"{method} {path.removeprefix(API)} {kind.partition('/')[2]}" for method, path, kind in WRITES]


@pytest.mark.parametrize(("method", "path", "media_type"), WRITES, ids=IDS)
def test_a_body_that_is_no_object_is_refused(there: Door, method: str, path: str, media_type: str) -> None:
    for body in (*NO_JSON.values(), *NO_OBJECT.values()):
        refused(getattr(there.admin, method)(path, data=body, content_type=media_type), 400, 422)


@pytest.mark.parametrize("body", [*NO_JSON.values(), *NO_OBJECT.values()], ids=[*NO_JSON, *NO_OBJECT])
@pytest.mark.parametrize(("method", "path", "media_type"), [("patch", CARS, PATCH), ("post", f"{API}/bundles", JSON)])
def test_a_body_that_is_no_list_is_refused(there: Door, method: str, path: str, media_type: str, body: bytes) -> None:
    if body == b"[]":
        assert getattr(there.admin, method)(path, data=body, content_type=media_type).status_code == 200
    else:
        refused(getattr(there.admin, method)(path, data=body, content_type=media_type), 400, 422)


def test_bundles_are_held_to_the_same_json(there: Door) -> None:
    row = json.dumps({"name": "Other", **NEW})
    for wrong in (row[:-1] + ', "event": "e,1d"}', row[:-1] + ', "storage": NaN}'):
        refused(there.admin.post(f"{API}/bundles", data=f"[{wrong}]", content_type=JSON), 400)


def test_a_byte_order_mark_is_no_mistake(door: Door) -> None:
    body = b'\xef\xbb\xbf{"name": "cars"}'
    assert door.admin.put(CARS, data=body, content_type=JSON).status_code == 201
    assert door.anybody.get(CARS).data.startswith(b"{")


def test_an_error_in_a_document_says_where(there: Door) -> None:
    content = {"resources": [{"name": "a", "path": "../secret"}, {"name": "a", "path": "x"}]}
    said = refused(there.admin.put(CARS, data=content, content_type=JSON), 422)
    assert [each["pointer"] for each in said["errors"]] == ["/resources/0/path", "/resources/1/name"]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "", "/", "é"]
)
@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in WRITES])
def test_another_media_type_is_refused(there: Door, method: str, path: str, media_type: str) -> None:
    refused(getattr(there.admin, method)(path, data=b"\xff", headers={"Content-Type": media_type}), 400, 415, 422)


@pytest.mark.parametrize(("method", "path", "media_type"), WRITES, ids=IDS)
def test_too_large_a_body_is_refused(there: Door, method: str, path: str, media_type: str) -> None:
    there.app.config["MAX_CONTENT_LENGTH"] = 1000
    said = refused(getattr(there.admin, method)(path, data=b" " * 1001, content_type=media_type), 413)
    assert said["kind"] == "request-entity-too-large"


@pytest.mark.parametrize(
    ("method", "media_type", "body"),
    [
        ("put", JSON, {"text": "x" * 1000}),
        ("put", ENVELOPE, {"descriptor": {"text": "x" * 1000}}),
        ("patch", MERGE, {"text": "x" * 1000}),
        ("patch", MERGE, {"text": "x" * 500}),  # only with what is there
    ],
)
def test_too_large_a_document_is_refused_as_such(
    authority: Authority, method: str, media_type: str, body: dict[str, Any]
) -> None:
    store = metastore.connect("memory:", author="Ann", max_bytes=1000)
    store.dataset_create("physics/cars", {"name": "cars", "title": "x" * 500})
    admin = Door(create_app(store, verifier=authority), authority).admin  # type: ignore[arg-type]
    said = refused(getattr(admin, method)(CARS, data=body, content_type=media_type), 413)
    assert said["kind"] == "too-large"
    assert store.dataset_read("physics/cars").descriptor == {"name": "cars", "title": "x" * 500}


def test_an_envelope_may_be_as_large_as_the_store_says(authority: Authority) -> None:
    store = metastore.connect("memory:", author="Ann", max_bytes=2 * MAX_BYTES)
    admin = Door(create_app(store, verifier=authority), authority).admin  # type: ignore[arg-type]
    text = json.dumps({"descriptor": {"name": "cars", "text": "x" * MAX_BYTES}})
    assert admin.put(CARS, data=text, content_type=ENVELOPE).status_code == 201


def test_members_of_another_name_are_refused_by_name(there: Door) -> None:
    for method, path in (("post", f"{CARS}/revert"), ("post", f"{CARS}/tags"), ("delete", CARS), ("delete", BUNDLE)):
        said = refused(getattr(there.admin, method)(path, data={"mesage": "x"}, content_type=JSON), 422)
        assert said["errors"][0]["pointer"] == "/mesage"


def test_members_of_an_envelope_are_refused_by_name(there: Door) -> None:
    for method, extra in (("put", {"descriptor": {}}), ("patch", {"patch": {}})):
        body = {**extra, "mesage": "x"}
        said = refused(getattr(there.admin, method)(CARS, data=body, content_type=ENVELOPE), 422)
        assert said["errors"][0]["pointer"] == "/mesage"


RUBBISH: list[Any] = [1, -1, 2**70, 1.5, True, [], {}, [None], {"a": 1}, "", "\0", "x" * 70_000, "\ud800", "../..", "²"]


MEMBERS = ["to", "message", "author", "at", "expected", "name", "revision", "description", "descriptor", "patch"]


@pytest.mark.parametrize("value", RUBBISH, ids=[ascii(each)[:12] for each in RUBBISH])
def test_members_of_the_wrong_kind_never_break_anything(door: Door, memory: MetaStore, value: Any) -> None:
    """Outside the soak: every third combination of members, writes and values, with each pair of them."""
    memory.dataset_create("physics/cars", {"name": "cars"})
    admin = door.comes("ann", *ADMIN, "ds:*:*:import")
    first = RUBBISH.index(value)
    for number, member in enumerate(MEMBERS):
        for method, path, media_type in WRITES if SOAK else WRITES[(first + number) % 3 :: 3]:
            least = {"descriptor": {}, "patch": {}} if media_type == ENVELOPE else {"to": "HEAD", "name": "v2", **NEW}
            answer = getattr(admin, method)(path, data={**least, member: value}, content_type=media_type)
            assert answer.status_code < 500, f"{method} {path} {member}: {answer.text}"


# Addresses

SEGMENTS = [
    "%00",
    "a%00b",
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e",
    "a%2Fb",
    "%2F",
    ".git",
    "a.git",
    "a.lock",
    "A",
    "%FF",
    "a" * 5000,
]
SEGMENTS += [
    "%0d%0aX-Evil:1",
    "%C3%A4",
    "%20",
    "a b",
    "-",
    "%F0%9F%9A%97",
    "%ED%A0%80",
    "_metastore",
    "~",
    "%5c..%5c",
    "a;b",
]


@pytest.mark.parametrize("segment", SEGMENTS, ids=[each[:20] for each in SEGMENTS])
def test_rubbish_in_an_address_is_refused(there: Door, segment: str) -> None:
    named = {"owner": "physics", "name": "cars", "tag": "v1", "revision": "HEAD", "resource": "x", "snapshot": "1"}
    for method, pattern, _ in operations():
        if method != "GET" or pattern == f"{API}/bundles/{{name}}/log":  # the log of what never was is empty
            continue
        for name in re.findall(r"\{(\w+)\}", pattern):
            path = pattern.replace(f"{{{name}}}", segment)
            for other, value in named.items():
                path = path.replace(f"{{{other}}}", value)
            query = {"from": "HEAD", "to": "HEAD"} if pattern.endswith("/diff") and "snapshot" not in pattern else {}
            answer = there.admin.get(path, query_string=query)
            if path.startswith("/git/") and answer.mimetype == "text/plain":  # which Git shows to people
                assert answer.status_code in (400, 403, 404), answer.text
                assert len(answer.text) > 10
            else:
                refused(answer, 400, 404, 405)


@pytest.mark.parametrize("segment", SEGMENTS, ids=[each[:20] for each in SEGMENTS])
def test_rubbish_in_the_address_of_a_write_is_refused(there: Door, segment: str) -> None:
    carol = there.comes("carol", *ADMIN)
    if segment != "_metastore":  # may be the name of a dataset, though of no owner
        refused(carol.put(f"{API}/datasets/physics/{segment}", data={}, content_type=JSON), 400, 404, 405)
    refused(carol.put(f"{API}/datasets/{segment}/cars", data={}, content_type=JSON), 400, 403, 404, 405)
    if segment not in ("A", "a.git", "a.lock"):  # may be the name of a bundle
        refused(carol.put(f"{API}/bundles/{segment}", data=NEW, content_type=JSON), 400, 404, 405, 422)


def test_a_cursor_that_is_none_is_refused(door: Door) -> None:
    door.admin.put(CARS, data={}, content_type=JSON)
    door.admin.post(f"{CARS}/tags", data={"name": "v2"}, content_type=JSON)
    door.admin.delete(f"{CARS}/tags/v2")
    for cursor in ("0" * 40, "%00", "x", "²"):
        refused(door.anybody.get(f"{API}/journal?before={cursor}"), 400, 404)


QUERIES = [
    ("/datasets", "limit=-1"),
    ("/datasets", "limit=0"),
    ("/datasets", "limit=%C2%B2"),
    ("/datasets", "limit=1e9"),
    ("/datasets", "limit=" + "9" * 5000),
    ("/datasets", "limit=+1"),
    ("/datasets", "limit=%20%31"),
    ("/datasets", "limit="),
    ("/datasets", "limit=%00"),
    ("/datasets", "deleted=perhaps"),
    ("/datasets", "deleted="),
    ("/datasets", "after=nothing"),
    ("/datasets", "after=a/b/c"),
    ("/datasets", "after=%00/%00"),
    ("/datasets/physics/cars/revisions", "limit=x"),
    ("/datasets/physics/cars/diff", ""),
    ("/journal", "since=yesterday"),
    ("/journal", "since=2024-05-01"),
    ("/journal", "since=0001-01-01T00:00:00%2B14:00"),
    ("/journal", "since=0001-01-01T00:00:00Z"),
    ("/journal", "dataset=cars"),
    ("/changes", "since=garbage"),
    ("/changes", "since=2024-05-01"),
    ("/changes", "since=" + "a" * 40),
    ("/bundles", "run=perhaps"),
    ("/bundles", "limit=-1"),
    ("/bundles", "device=%00"),
    ("/bundles/NuMI", "at=0001-01-01"),
    ("/bundles/NuMI", "at=0001-01-01T00:00:00%2B14:00"),
    ("/bundles/NuMI", "at=2024-13-01T00:00:00Z"),
    ("/bundles/NuMI", "snapshot=%C2%B2"),
    ("/bundles/NuMI", "snapshot=-1"),
    ("/bundles/NuMI", "snapshot=" + "9" * 19),
    ("/bundles/NuMI", "snapshot=" + "9" * 30),
    ("/log", "before=x"),
    ("/log", "since=x"),
    ("/log", "user=%00"),
    ("/snapshots/1/diff", ""),
    ("/snapshots/1/diff", "to=x"),
    ("/snapshots/1/diff", "to=999"),
]


@pytest.mark.parametrize(("path", "query"), QUERIES, ids=[f"{path}?{query[:40]}" for path, query in QUERIES])
def test_rubbish_in_a_query_is_refused(there: Door, path: str, query: str) -> None:
    refused(there.admin.get(f"{API}{path}?{query}"), 400, 404, 410)


@pytest.mark.parametrize(
    "revision", ["", "%00", "HEAD~1", "HEAD^{tree}", "..", "refs/heads/main", "a" * 40, "a" * 5000, "%FF"]
)
def test_what_names_no_revision_is_not_found(there: Door, revision: str) -> None:
    for path in ("", "/revisions", "/resources/x"):
        refused(there.admin.get(f"{CARS}{path}?revision={revision}"), 400, 404)
    refused(there.admin.get(f"{CARS}/diff?from={revision}"), 400, 404)


def test_of_a_parameter_that_is_repeated_the_first_counts(there: Door) -> None:
    assert there.anybody.get(f"{API}/datasets?limit=1&limit=x").status_code == 200
    refused(there.anybody.get(f"{API}/datasets?limit=x&limit=1"), 400)


def test_a_cursor_of_another_list_gets_an_error_or_a_page_but_nothing_else(there: Door) -> None:
    cursors = [*(entry.json[-1] for entry in (there.anybody.get(f"{API}/changes"), there.anybody.get(f"{API}/log")))]
    for cursor in (cursors[0]["cursor"], cursors[1]["id"], "physics/cars", "NuMI", "v1"):
        for path, name in (("/datasets", "after"), ("/bundles", "after"), ("/log", "before"), ("/changes", "since")):
            answer = there.anybody.get(f"{API}{path}", query_string={name: cursor})
            assert answer.status_code in (200, 400), f"{path} {name}={cursor}"


# Headers

HEADERS = {
    "If-Match": [
        "x",
        '"',
        '""',
        '"x"',
        'W/"x"',
        '"a", "b"',
        "*, *",
        '"' + "a" * 5000 + '"',
        "\xff",
        '"' + "0" * 40 + '"',
    ],
    "If-None-Match": ["x", '"', '"x"', "**", '"*"'],
}


@pytest.mark.parametrize(("header", "value"), [(name, value) for name, values in HEADERS.items() for value in values])
def test_rubbish_in_a_precondition_is_refused(there: Door, header: str, value: str) -> None:
    for path, media_type, body in ((CARS, JSON, {}), (BUNDLE, JSON, NEW)):
        refused(there.admin.put(path, data=body, content_type=media_type, headers={header: value}), 400, 412)


@pytest.mark.parametrize(
    "value", ["", "x", ";", "*/*;q=x", "," * 5000, "\xff/\xff", "application/json;q=-1", "text/csv;q=1e400"]
)
def test_rubbish_in_accept_and_prefer_is_passed_over(there: Door, value: str) -> None:
    for path in (CARS, BUNDLE, f"{API}/bundles", f"{API}/datasets", "/docs", "/metrics"):
        assert there.anybody.get(path, headers={"Accept": value, "Prefer": value}).status_code == 200


AUTHORIZATIONS = [
    "x",
    "Bearer",
    "Bearer ",
    "Bearer \xff",
    "Basic",
    "Basic x",
    "Basic " + "A" * 5000,
    "Basic OjpfandOjo=",
    "Digest a=b",
]
AUTHORIZATIONS += ["Basic //////8=", "Bearer " + "a" * 20_000, "Bearer a b", "Bearer\ta", "Basic X2p3dDo="]


@pytest.mark.parametrize("value", AUTHORIZATIONS, ids=[each[:20] for each in AUTHORIZATIONS])
def test_rubbish_instead_of_a_token_is_refused_everywhere(there: Door, value: str) -> None:
    for method, path in (
        ("get", CARS),
        ("put", CARS),
        ("get", f"{API}/datasets"),
        ("get", f"{API}/changes"),
        ("put", BUNDLE),
    ):
        answer = getattr(there.anybody, method)(path, data=b"{}", content_type=JSON, headers={"Authorization": value})
        refused(answer, 401)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("value", ["a b", "<script>", "x" * 65, "\xff", "é", ""])
def test_a_request_id_that_is_none_is_replaced(there: Door, value: str) -> None:
    answer = there.anybody.get(CARS, headers={"X-Request-ID": value})
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] != value


def test_a_body_without_a_content_type_is_refused(there: Door) -> None:
    """A page of another site can send one, since it makes a browser ask nobody first."""
    for method, path, _ in WRITES:
        refused(getattr(there.admin, method)(path, data=b"{}"), 415)


# Methods


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "x", "GET\xff"]
)
def test_another_method_is_refused_and_those_that_there_are_named(there: Door, method: str) -> None:
    known = {path: {each for each, other, _ in operations() if other == path} for _, path, _ in operations()}
    for path, methods in known.items():
        if method not in methods:
            answer = there.app.test_client().open(path.replace("{", "").replace("}", ""), method=method)
            refused(answer, 404, 405)
            if answer.status_code == 405:
                assert set(answer.headers["Allow"].split(", ")) >= methods


def test_head_answers_as_get_does_without_a_body(there: Door) -> None:
    for path in (
        CARS,
        f"{CARS}/revisions",
        f"{CARS}/tags/v1",
        f"{API}/datasets",
        BUNDLE,
        f"{API}/log",
        "/openapi.json",
        "/docs",
    ):
        head, get = there.anybody.head(path), there.anybody.get(path)
        assert (head.status_code, head.data) == (200, b"")
        changing = {"X-Request-ID", "Date"}
        assert [each for each in head.headers if each[0] not in changing] == [
            each for each in get.headers if each[0] not in changing
        ]
    assert there.anybody.head(f"{API}/datasets/physics/none").status_code == 404


def test_options_says_which_methods_there_are(there: Door) -> None:
    for path in {path for _, path, _ in operations()}:
        answer = there.anybody.options(path.replace("{", "").replace("}", ""))
        assert answer.status_code == 200
        methods = {each for each, other, _ in operations() if other == path}
        assert methods <= set(answer.headers["Allow"].split(", ")) <= methods | {"HEAD", "OPTIONS"}


#: What proxies and frameworks take for the host, path, method, address or user of a request.
SPOOFED = {
    "Forwarded": "for=127.0.0.1;host=evil.example.org;proto=https",
    "X-Forwarded-Host": "evil.example.org",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Server": "evil.example.org",
    "X-Host": "evil.example.org",
    "X-Original-URL": "/metrics",
    "X-Rewrite-URL": "/metrics",
    "X-Script-Name": "/evil",
    "X-HTTP-Method": "DELETE",
    "X-HTTP-Method-Override": "DELETE",
    "X-Method-Override": "DELETE",
    "X-Real-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "Remote-User": "carol",
    "X-Remote-User": "carol",
    "X-Forwarded-User": "carol",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_header_of_a_client_changes_host_path_method_or_user(there: Door, method: str) -> None:
    """`X-Forwarded-For` and `SCRIPT_NAME` of a near proxy count: see `test_rate` and `test_serving`."""

    def seen(path: str, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], str]:
        answer = there.app.test_client().open(path, method=method, headers={"Accept": "text/html", **headers})
        kept = [
            each for each in answer.headers if each[0] not in ("X-Request-ID", "Date", "Set-Cookie", "Content-Length")
        ]
        cookie = answer.headers.get("Set-Cookie", "").partition(";")[2]
        return answer.status_code, [*kept, ("cookie", cookie)], re.sub('"[0-9a-f]{16}"|value="[^"]*"', "", answer.text)

    pages = ("/", "/datasets", "/datasets/physics/cars", "/sign-in", "/sign-out", "/session", "/bundles/NuMI", "/none")
    for path in (*pages, CARS, f"{API}/datasets", f"{API}/log", "/openapi.json", "/git/physics/cars.git/info/refs"):
        assert seen(path, SPOOFED) == seen(path, {}), path


# On a socket, where there are bytes that no client would send


@contextmanager
def listening(door: Door) -> Iterator[tuple[str, int]]:
    server = make_server("127.0.0.1", 0, door.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield ("127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(address: tuple[str, int], head: str, body: bytes = b"") -> tuple[int, bytes]:
    with socket.create_connection(address, 10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer


def test_a_body_in_chunks_without_length_is_read(there: Door) -> None:
    token = there._authority.token("ann", *ADMIN)
    head = (
        f"PUT {CARS} HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\nContent-Type: {JSON}\nTransfer-Encoding: chunked"
    )
    with listening(there) as address:
        status, answer = send(address, head, b'11\r\n{"name": "cars"}\n\r\n0\r\n\r\n')
        assert status == 200, answer
        status, answer = send(address, head, b"3\r\n[1]\r\n0\r\n\r\n")
        assert status == 422, answer
        there.app.config["MAX_CONTENT_LENGTH"] = 100
        status, answer = send(address, head, b"C8\r\n" + b" " * 200 + b"\r\n0\r\n\r\n")
        assert status == 413, answer
        status, answer = send(address, head, b"zz\r\n")
        assert status == 400, answer


def test_raw_bytes_in_the_request_line_are_refused(there: Door) -> None:
    with listening(there) as address:
        for target in (
            f"{API}/datasets/\xff/\xfe",
            f"{API}/../../etc/passwd",
            "//etc/passwd",
            f"{API}/datasets/physics/cars%",
        ):
            status, answer = send(address, f"GET {target} HTTP/1.1\nHost: x")
            assert 400 <= status < 500, answer
            assert b"Traceback" not in answer


# Whatever comes

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FUZZED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZED
@given(body=ANYTHING | st.binary(), which=st.sampled_from(WRITES))
def test_no_body_is_answered_with_500(door: Door, body: Any, which: tuple[str, str, str]) -> None:
    method, path, media_type = which
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert getattr(door.admin, method)(path, data=data, content_type=media_type).status_code < 500


@FUZZED
@given(
    member=st.sampled_from(["to", "name", "message", "expected", "author", "at", "descriptor", "patch", "devices"]),
    value=ANYTHING,
)
def test_no_member_is_answered_with_500(door: Door, member: str, value: Any) -> None:
    door.admin.put(CARS, data={"name": "cars"}, content_type=JSON)
    for method, path, media_type in WRITES:
        body = {"to": "HEAD", "name": "v1", "descriptor": {}, "patch": {}, **NEW, member: value}
        assert getattr(door.admin, method)(path, data=body, content_type=media_type).status_code < 500


@FUZZED
@given(
    path=st.text(),
    query=st.dictionaries(st.sampled_from(["limit", "after", "since", "before", "at", "revision", "to"]), st.text()),
)
def test_no_address_is_answered_with_500(door: Door, path: str, query: dict[str, str]) -> None:
    from urllib.parse import quote

    where = quote(path.encode("utf-8", "surrogatepass"), safe="/")
    for start in ("/", f"{API}/datasets/", f"{API}/bundles/", f"{API}/snapshots/", f"{CARS}/resources/"):
        assert door.admin.get(f"{start}{where}", query_string=query).status_code < 500
    for start in ("/datasets", "/changes", "/journal", "/log", "/bundles"):
        assert door.admin.get(API + start, query_string=query).status_code < 500


@pytest.mark.parametrize("digits", ["9" * 5000, "0" * 5000, "\u0663" * 700])
def test_digits_without_end_name_nothing(door: Door, digits: str) -> None:
    """Python refuses to read more than 4,300 of them."""
    for number in range(2):
        named = {"resources": [{"name": "a", "path": "a.csv"}], "number": number}
        door.admin.put(CARS, data=named, content_type=JSON)
    pages = "/datasets/physics/cars"
    for path, query in (
        (f"{CARS}/revisions", {"path": f"/resources/{digits}"}),
        (f"{pages}/history", {"path": f"/resources/{digits}"}),
        (f"{pages}/blame", {"path": f"/resources/{digits}"}),
        (f"{pages}/compare", {"from": "HEAD~1", "only": digits}),
        (pages, {"resource": digits, "start": digits}),
    ):
        assert door.anybody.get(path, query_string=query).status_code == 200, path
    for operation in ("remove", "test"):
        patch = [{"op": operation, "path": f"/resources/{digits}", "value": 1}]
        assert door.admin.patch(CARS, data=patch, content_type=PATCH).status_code == 422


def test_a_patch_that_doubles_what_is_there_is_refused(door: Door) -> None:
    door.admin.put(CARS, data={"a": ["x"]}, content_type=JSON)
    doubled = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 60
    answer = door.admin.patch(CARS, data=doubled, content_type=PATCH)
    assert (answer.status_code, "copies or compares" in answer.json["detail"]) == (422, True)
    text = [{"op": "add", "path": "/t", "value": "x" * 1_000_000}]
    copies = [{"op": "copy", "from": "/t", "path": f"/t{number}"} for number in range(40)]
    assert door.admin.patch(CARS, data=text + copies, content_type=PATCH).status_code == 422
    tests = [{"op": "test", "path": "", "value": 1}]
    assert door.admin.patch(CARS, data=text + tests, content_type=PATCH).status_code == 422
    assert door.anybody.get(CARS).json == {"a": ["x"]}


def test_a_body_of_too_many_values_is_413_in_words(there: Door) -> None:
    many = b'{"keywords": [' + b"1," * 131_172 + b"1]}"
    envelope = b'{"descriptor": ' + many + b"}"
    for send in (
        lambda: there.admin.put(CARS, data=many, content_type=JSON),
        lambda: there.admin.put(CARS, data=envelope, content_type=ENVELOPE),
        lambda: there.admin.patch(CARS, data=many, content_type=MERGE),
        lambda: there.admin.post(f"{CARS}/tags", data=many, content_type=JSON),
    ):
        assert re.search("more than the 131[01]72 values", refused(send(), 413)["detail"])


def test_no_answer_is_taken_for_another_kind_than_it_says(there: Door) -> None:
    paths = [
        CARS,
        f"{CARS}/diff?from=HEAD",
        BUNDLE,
        f"{API}/none",
        "/",
        "/sign-in",
        "/metrics",
        "/docs",
        "/static/icon.svg",
    ]
    for path in paths:
        for answer in (there.anybody.get(path), there.anybody.delete(path)):
            assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"], path


def test_a_request_that_expects_two_states_is_refused(there: Door) -> None:
    newest = there.anybody.get(CARS).headers["ETag"].strip('"')
    said = {"descriptor": {"name": "x"}, "expected": newest}
    answer = there.admin.put(CARS, data=said, content_type=ENVELOPE, headers={"If-Match": f'"{"0" * 40}"'})
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/expected")
    answer = there.admin.patch(
        BUNDLE, data={"event": "e,1", "expected": 1}, content_type=JSON, headers={"If-Match": '"999"'}
    )
    assert answer.status_code == 422


def test_many_findings_are_a_short_answer_and_a_line_of_log_that_quotes_nothing(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"keywords": [{"secret": number} for number in range(2000)]}
    answer = door.admin.put(CARS, data=words, content_type=JSON)
    found = answer.json["findings"]
    assert (answer.status_code, len(found) <= 101, "more" in found[-1]["detail"]) == (201, True, True)
    (line,) = [record.getMessage() for record in caplog.records if "profile" in record.getMessage()]
    assert line.startswith("physics/cars breaks its profile in ")
    assert (len(line) < 1000, "secret" in line) == (True, False)
