"""The check of descriptors: what is unsafe is refused always, what breaks its profile as configured."""

from __future__ import annotations

import json
import logging
import socket
from typing import Any

import pytest

import metastore
from metastore import InvalidInput, MetaStore, validate
from metastore.storage.port import Storage

from .conftest import ANN, REAL, real_descriptor

CARS = "physics/cars"
V2 = "https://datapackage.org/profiles/2.0/datapackage.json"


@pytest.mark.parametrize("mode", ["off", "warn", "strict"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("\\\\host\\share", "absolute"),
        ("C:\\data.csv", "absolute"),
        ("~/data.csv", "absolute"),
        ("../data.csv", "leaves"),
        ("a/../../data.csv", "leaves"),
        ("a\\..\\..\\data.csv", "leaves"),
        (".git/hooks/post-checkout", "Git keeps"),
        ("a/.GIT/config", "Git keeps"),
        ("a/.g\u200cit/config", "Git keeps"),
        (".git ", "Git keeps"),
        ("GIT~1/config", "Git keeps"),
        (".gitmodules", "Git keeps"),
        (".hidden/data.csv", "begins with a dot"),
        ("datapackage.json", "MetaStore's own"),
        ("./DataPackage.json", "MetaStore's own"),
        (".lfsconfig", "MetaStore's own"),
        (".metastore-deleted", "MetaStore's own"),
        ("a\nb", "control characters"),
        ("a\0b", "control characters"),
        ("", "is empty"),
        (".", "is no file"),
        ("data/", "is no file"),
        ("a/" + "x" * 256, "more than 255 bytes"),
        ("ü" * 128 + "/x", "more than 255 bytes"),
    ],
)
def test_an_unsafe_path_is_refused_in_every_mode(storage: Storage, mode: Any, path: str, reason: str) -> None:
    store = MetaStore(storage, author=ANN, validation=mode)
    for resource, pointer in (({"path": path}, "path"), ({"path": ["fine.csv", path]}, "path/1")):
        with pytest.raises(InvalidInput, match=reason) as caught:
            store.dataset_create(CARS, {"resources": [{"name": "fine", "data": []}, {"name": "x", **resource}]})
        assert caught.value.pointer == f"/resources/1/{pointer}"
    assert list(store.dataset_list()) == []


@pytest.mark.parametrize(
    "path", ["data.csv", "./data.csv", "a/b/c.csv", "ünïcode ☃.csv", "a b.csv", ".data.csv", "a..b", "https://x/../y"]
)
def test_an_ordinary_path_is_accepted(store: MetaStore, path: str) -> None:
    store.dataset_create(CARS, {"resources": [{"name": "x", "path": path}]})


def test_two_resources_of_one_name_would_hide_each_other(store: MetaStore) -> None:
    with pytest.raises(InvalidInput, match="belongs to resource 0 already") as caught:
        store.dataset_create(CARS, {"resources": [{"name": "x"}, {"name": "y"}, {"name": "x"}, {"path": "../a"}]})
    assert [pointer for pointer, _ in caught.value.problems] == ["/resources/2/name", "/resources/3/path"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "JSON object"),
        ('"text"', "JSON object"),
        ("null", "JSON object"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "not JSON"),
        ('{"a": 1e400}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": "\\ud800"}', "Unicode"),
        ('{"\\ud800": 1}', "Unicode"),
        ("[" * 100_000, "nested"),
        ('{"a": ' + "[" * 101 + "]" * 101 + "}", "nested"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
    ],
)
def test_text_that_is_no_descriptor_is_refused(store: MetaStore, text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        store.dataset_create(CARS, text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "JSON object"),
        (None, "JSON object"),
        ({"a": float("nan")}, "no nan"),
        ({"a": float("inf")}, "no inf"),
        ({"a": {1: 2}}, "keys are text"),
        ({"a": object()}, "no object"),
        ({"a": b"bytes"}, "no bytes"),
        ({"a": {1, 2}}, "no set"),
        ({"a": 10**5000}, "too long"),
    ],
)
def test_values_that_json_cannot_say_are_refused(store: MetaStore, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        store.dataset_create(CARS, value)


def test_a_value_that_contains_itself_is_refused(store: MetaStore) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(InvalidInput, match="nested"):
        store.dataset_create(CARS, endless)


def test_the_largest_descriptor_is_configurable(storage: Storage) -> None:
    store = MetaStore(storage, author=ANN, max_bytes=100)
    store.dataset_create(CARS, {"a": "x" * 80})
    for write in (lambda: store.dataset_update(CARS, {"a": "x" * 100}), lambda: store.dataset_patch(CARS, " " * 101)):
        with pytest.raises(InvalidInput, match="at most 100"):
            write()


def test_ten_megabytes_are_stored_and_changed(store: MetaStore) -> None:
    rows = [{"name": f"r{n}", "path": f"{n}.csv", "title": "x" * 900} for n in range(11_000)]
    made = store.dataset_create(CARS, {"resources": rows})
    assert len(made.bytes) > 10_000_000
    assert store.dataset_patch(CARS, {"title": "Big"}).descriptor["title"] == "Big"


def test_warn_returns_and_logs_the_findings(store: MetaStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "metastore"):
        made = store.dataset_create(CARS, {"name": "cars"})
    assert [str(finding) for finding in made.findings] == [
        '(descriptor): "resources" is a required property (Data Package 1.0)'
    ]
    assert "physics/cars" in caplog.text


def test_a_write_warns_once_however_often_it_is_computed_and_never_when_refused(
    local_store: MetaStore, storage: Storage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_store.dataset_create(CARS, {"name": "cars"})
    caplog.clear()
    with pytest.raises(metastore.AlreadyExists):
        local_store.dataset_create(CARS, {"name": "other"})
    assert caplog.records == []
    append = type(storage).append

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(type(storage), "append", append)
        local_store.dataset_patch(CARS, {"name": "theirs"})
        caplog.clear()
        return append(*arguments, **options)

    monkeypatch.setattr(type(storage), "append", overtaken)
    local_store.dataset_patch(CARS, {"title": "Ours"})
    assert len(caplog.records) == 1


def test_strict_refuses_and_says_everything(storage: Storage) -> None:
    store = MetaStore(storage, author=ANN, validation="strict")
    with pytest.raises(InvalidInput, match="and 2 more") as caught:
        store.dataset_create("physics/vega", real_descriptor("vega/datasets"))
    assert caught.value.pointer == "/resources/4/licenses/0/name"
    assert len(caught.value.problems) == 3
    store.dataset_create("physics/okfn", real_descriptor("okfn/compression"))


def test_off_does_not_look(storage: Storage) -> None:
    store = MetaStore(storage, author=ANN, validation="off")
    assert store.dataset_create(CARS, {}).findings == ()
    with pytest.raises(InvalidInput, match="off, warn or strict"):
        MetaStore(storage, validation="maybe")  # type: ignore[arg-type]


def test_a_ckan_dataset_without_resources_is_storable(store: MetaStore) -> None:
    assert store.dataset_create(CARS, {"name": "cars", "resources": []}).findings


def test_the_declared_profile_is_the_one_that_counts() -> None:
    assert [len(validate(real_descriptor(name))) for name in REAL] == [0, 0, 0, 3]
    assert len(validate({**real_descriptor("vega/datasets"), "$schema": V2})) == 15
    tabular = {"profile": "tabular-data-package", "resources": [{"name": "x", "path": "x.csv"}]}
    assert validate(tabular)[0].pointer.startswith("/resources/0")
    assert validate({"profile": "https://example.org/mine", "resources": [{"name": "x", "path": "x"}]}) == (
        metastore.Finding("/profile", "unknown profile 'https://example.org/mine', not fetched"),
    )
    assert "not fetched" in str(validate({"$schema": "https://example.org/mine", "resources": []})[0])


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    remote = "https://example.org/schema.json"
    for member in ("profile", "$schema"):
        validate({member: remote, "resources": [{"name": "x", "path": remote, "schema": remote, "dialect": remote}]})


def test_validate_takes_text_too_and_refuses_what_is_unsafe() -> None:
    assert validate(json.dumps(real_descriptor())) == ()
    with pytest.raises(InvalidInput):
        validate({"resources": [{"path": "/etc/passwd"}]})
