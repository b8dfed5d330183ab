"""The service for operators and browsers: health, metrics, request ids, the log, CORS, HEAD and OPTIONS."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from unittest.mock import Mock

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import metastore
from metastore import MetaStore
from metastore.auth.tokens import Verifier
from metastore.bundle import BundleRegistry
from metastore.config import ServiceSettings
from metastore.errors import (
    AuthenticationError,
    OutcomeUnknown,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)
from metastore.printable import printable
from metastore.service.context import Service
from metastore.service.metrics import metrics
from metastore.web import create_app, make_app

from ..bundle.postgres_server import migrated_database
from .conftest import API, CARS, Authority, Door

ORIGIN = "https://catalogue.example.org"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The access log's lines."""
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    logger, handler = logging.getLogger("metastore.access"), Kept()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def opened(memory: MetaStore, *origins: str) -> Door:
    return Door(create_app(memory, settings=ServiceSettings(cors_origins=origins)), Authority())


def test_health_says_that_the_process_lives(door: Door) -> None:
    answer = door.anybody.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "alive"})
    assert answer.headers["Cache-Control"] == "no-store"


def test_ready_while_the_storages_answer(door: Door) -> None:
    assert door.anybody.get("/readyz").json == {"status": "ready"}


def test_not_ready_while_the_store_does_not_answer_and_no_word_of_why(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise StorageUnavailable("/secret/path is away")

    monkeypatch.setattr(memory.storage, "ping", fail)
    answer = door.anybody.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json["detail"] == "The storage of datasets does not answer."
    assert "secret" not in answer.text
    assert "/secret/path" in caplog.text
    assert door.anybody.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageUnavailable("postgresql://db.internal/x: connection refused"), 503),
        (StorageBusy("db.internal limits how often it is asked"), 503),
        (StorageCorrupt("/secret/path/HEAD names no branch"), 500),
        (StorageError("/secret/path"), 503),
        (OutcomeUnknown("/secret/path on db.internal may not be durable", "a" * 40), 504),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_a_storage_says_is_for_the_log_alone(
    door: Door,
    memory: MetaStore,
    registry: BundleRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: StorageError,
    status: int,
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(memory, "dataset_json", fail)
    monkeypatch.setattr(memory, "dataset_read", fail)
    monkeypatch.setattr(registry, "bundle_read", fail)
    for path in (CARS, f"{API}/bundles/NuMI", "/datasets/physics/cars", "/bundles/NuMI"):
        caplog.clear()
        answer = door.anybody.get(path, headers={"X-Request-ID": "this-one"})
        assert answer.status_code == status
        assert "secret" not in answer.text
        assert "internal" not in answer.text
        assert f"(request this-one): {error}" in caplog.text
    if isinstance(error, OutcomeUnknown):
        assert answer.text.count("a" * 40) == 1
        assert door.anybody.get(CARS).json["wanted"] == "a" * 40


def test_not_ready_when_a_store_in_a_folder_is_gone(tmp_path: object) -> None:
    import shutil

    store = metastore.connect(f"{tmp_path}/store", author="Ann")
    client = create_app(store).test_client()
    assert client.get("/readyz").status_code == 200
    shutil.rmtree(f"{tmp_path}/store")
    assert client.get("/readyz").status_code == 503


def counted(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_count_by_route_and_not_by_path(door: Door) -> None:
    name = 'metastore_http_requests_total{method="GET",route="/api/v1/datasets/<owner>/<name>",status="404"}'
    before = counted(door.anybody.get("/metrics").text, name)
    for number in range(3):
        door.anybody.get(f"/api/v1/datasets/physics/unknown-{number}")
    text = door.anybody.get("/metrics").text
    assert counted(text, name) == before + 3
    assert "unknown-" not in text


def test_metrics_know_no_method_that_nobody_defined(door: Door) -> None:
    door.app.test_client().open(CARS, method="MAKECOFFEE", buffered=True)
    text = door.anybody.get("/metrics").text
    assert "MAKECOFFEE" not in text
    assert 'method="other",route="none",status="405"' in text


def test_metrics_count_writes_and_conflicts(door: Door) -> None:
    writes, conflicts = 'metastore_writes_total{action="create"}', "metastore_conflicts_total"
    text = door.anybody.get("/metrics").text
    before = counted(text, writes), counted(text, conflicts)
    door.admin.put(CARS, json={"name": "cars"})
    assert door.admin.put(CARS, json={"name": "cars"}, headers={"If-Match": f'"{"0" * 40}"'}).status_code == 412
    text = door.anybody.get("/metrics").text
    assert (counted(text, writes), counted(text, conflicts)) == (before[0] + 1, before[1] + 1)


def test_metrics_show_the_database_and_the_pool(memory: MetaStore) -> None:
    with migrated_database() as dsn, psycopg.connect(dsn) as writer:
        named = conninfo_to_dict(dsn)
        url = f"postgresql://{named['user']}@{named['host']}:{named['port']}/{named['dbname']}"
        store = metastore.connect(url)
        door = Door(make_app(Service(store, Verifier(()), databases=(url,))), Authority())
        writer.execute("CREATE TABLE unfinished ()")  # a transaction that writes, and goes on
        door.anybody.get("/readyz")
        text = door.anybody.get("/metrics").text
        label = f'{{database="{named["dbname"]}"}}'
        assert counted(text, f"metastore_database_up{label}") == 1
        assert counted(text, f"metastore_database_oldest_write_seconds{label}") > 0
        assert counted(text, f"metastore_database_connections{label}") >= 3
        assert counted(text, f"metastore_database_replicas{label}") == 0
        assert "\nmetastore_database_replication_lag_seconds{" in text
        assert counted(text, "metastore_database_pool_waiting") == 0
        pool = next(iter(store.storage.database._pools.values()))  # type: ignore[attr-defined]
        with pool.connection():
            door.anybody.get("/healthz")
            assert counted(door.anybody.get("/metrics").text, "metastore_database_pool_in_use") == 1
        door.anybody.get("/healthz")
        assert counted(door.anybody.get("/metrics").text, "metastore_database_pool_in_use") == 0
        store.close()
    metrics().databases._asked = float("-inf")
    text = door.anybody.get("/metrics").text  # the database is gone, the metrics are not
    assert f"metastore_database_up{label} 0.0" in text
    assert f"metastore_database_connections{label}" not in text
    del metrics().databases.watched[url]


def test_what_was_answered_is_not_in_flight(door: Door) -> None:
    name = "metastore_http_requests_in_flight"
    before = counted(door.anybody.get("/metrics").text, name)
    for path in (CARS, "/nothing", "/healthz"):
        door.anybody.get(path)
    assert counted(door.anybody.get("/metrics").text, name) == before


@pytest.mark.parametrize("given", ["abc", "0123-ABC_x.y", "x" * 64])
def test_a_request_id_that_looks_like_one_is_kept(door: Door, given: str) -> None:
    answer = door.anybody.get(CARS, headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert answer.json["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "é", "a\tb", "<script>"])
def test_any_other_request_id_is_replaced(door: Door, given: str) -> None:
    made = door.anybody.get(CARS, headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{16}", made)


def test_the_log_says_what_was_asked_and_by_whom_and_no_secret(door: Door, lines: list[str]) -> None:
    door.admin.put(f"{CARS}?message=why-secret", json={"name": "cars", "title": "body-secret"})
    (line,) = lines
    said = json.loads(line)
    assert said["time"].endswith("+00:00")
    assert said.pop("ms") >= 0
    assert said.pop("bytes") > 0
    assert len(said.pop("request_id")) == 16
    said.pop("time")
    assert said == {
        "method": "PUT",
        "path": CARS,
        "route": "/api/v1/datasets/<owner>/<name>",
        "status": 201,
        "user": "ann",
    }
    assert "secret" not in line
    assert "Bearer" not in line


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", f"{API}/bundles/NuMI", f"{API}/none", f"{CARS}?none=1"])
def test_the_log_names_the_caller_where_no_token_is_needed(door: Door, lines: list[str], path: str) -> None:
    door.admin.get(path)
    assert json.loads(lines[0])["user"] == "ann"


@pytest.mark.parametrize("error", [AuthenticationError("refused"), StorageUnavailable("no keys")])
def test_a_token_that_is_not_needed_is_in_nobodys_way(
    door: Door, lines: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Authority, "identify", Mock(side_effect=error))
    assert door.admin.get("/healthz").status_code == 200
    assert json.loads(lines[0])["user"] is None


@pytest.mark.parametrize("path", ['/a"b', "/a\nb", "/a\x00b", "/ü", "/a%0Ab", "/\x1b[31m"])
def test_a_request_is_one_line_with_any_path(door: Door, lines: list[str], path: str) -> None:
    door.anybody.get(path)
    (line,) = lines
    assert "\n" not in line
    assert json.loads(line)["status"] == 404


def test_the_longest_line_is_written_in_one_piece(door: Door, lines: list[str]) -> None:
    door.comes("\U0001f600" * 1000, "ds:*:*").delete(f"{API}/datasets/x/" + "\x1b" * 1000)
    (line,) = lines
    assert json.loads(line)["user"].startswith("\U0001f600")
    assert len(printable(line).encode()) < 4096


def test_a_request_that_is_refused_at_once_is_logged_too(door: Door, lines: list[str]) -> None:
    door.anybody.get(CARS, headers={"Authorization": "Bearer nonsense"})
    assert (json.loads(lines[0])["status"], json.loads(lines[0])["user"]) == (401, None)


def test_no_page_of_another_origin_may_call_unless_it_is_named(door: Door) -> None:
    answer = door.anybody.get(CARS, headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


def test_a_page_of_a_named_origin_may_read_and_see_our_headers(memory: MetaStore) -> None:
    memory.dataset_create("physics/cars", {"name": "cars"})
    answer = opened(memory, ORIGIN).anybody.get(CARS, headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Credentials" not in answer.headers
    for name in ("ETag", "Link", "Location", "Retry-After", "X-Request-ID"):
        assert name in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://catalogue.example.org.evil.example", ""])
def test_a_page_of_another_origin_may_not(memory: MetaStore, origin: str) -> None:
    answer = opened(memory, ORIGIN).anybody.get(CARS, headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


def test_any_origin_may_where_that_is_set(memory: MetaStore) -> None:
    answer = opened(memory, "*").anybody.get(CARS, headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_browser_that_asks_first_is_told_what_it_may_send(memory: MetaStore) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    answer = opened(memory, ORIGIN).anybody.options(CARS, headers=asked)
    assert answer.status_code == 200
    assert {"GET", "PUT", "PATCH", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    for name in ("Authorization", "If-Match", "Prefer", "Content-Type"):
        assert name in answer.headers["Access-Control-Allow-Headers"]


def test_a_refusal_can_be_read_by_the_page_too(memory: MetaStore) -> None:
    answer = opened(memory, ORIGIN).anybody.put(CARS, json={}, headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)


def test_head_says_what_get_says_without_a_body(memory: MetaStore, door: Door) -> None:
    memory.dataset_create("physics/cars", {"name": "cars"})
    for path in (CARS, f"{CARS}/revisions", "/api/v1/datasets", "/healthz"):
        got, head = door.anybody.get(path), door.anybody.head(path)
        assert (head.status_code, head.data) == (got.status_code, b"")
        assert head.headers.get("ETag") == got.headers.get("ETag")
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_every_route_says_what_it_allows(door: Door) -> None:
    for rule in door.app.url_map.iter_rules():
        path = re.sub("<any[^>]+>", "csv", rule.rule)
        path = re.sub("<[^>]+>", "1" if "<int:" in path else "x", path)
        allowed = set(door.anybody.options(path).headers["Allow"].split(", "))
        assert rule.methods is not None
        assert rule.methods <= allowed, rule.rule
        answer = door.app.test_client().open(path, method="LINK", buffered=True)
        assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, allowed)
