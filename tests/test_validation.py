"""The check of descriptors: what is unsafe is refused always, what breaks its profile as configured."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import InvalidInput, MetaStore, TooLarge, ckan, validate
from metastore.descriptor.document import decode
from metastore.descriptor.limits import size_of
from metastore.descriptor.profiles import Profiles, findings
from metastore.storage.port import Storage

from .cases import cases
from .conftest import ANN, OF_ONE_OWNER, REAL, real_descriptor, ticking

CARS = "physics/cars"
V2 = "https://datapackage.org/profiles/2.0/datapackage.json"


@cases("mode", ["off", "warn", "strict"])
@cases(
    "path, reason",
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
        (".", "is not a file"),
        ("data/", "is not a file"),
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


@cases(
    "path", ["data.csv", "./data.csv", "a/b/c.csv", "ünïcode ☃.csv", "a b.csv", ".data.csv", "a..b", "https://x/../y"]
)
def test_an_ordinary_path_is_accepted(store: MetaStore, path: str) -> None:
    store.dataset_create(CARS, {"resources": [{"name": "x", "path": path}]})
    store.dataset_purge(CARS, force=True)


def test_two_resources_of_one_name_would_hide_each_other(store: MetaStore) -> None:
    with pytest.raises(InvalidInput, match=r"resource \d has the name 'x', which resource 1 has already") as caught:
        store.dataset_create(CARS, {"resources": [{"name": "x"}, {"name": "y"}, {"name": "x"}, {"path": "../a"}]})
    assert [pointer for pointer, _ in caught.value.problems] == ["/resources/2/name", "/resources/3/path"]


@cases(
    "text, said",
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


@cases(
    "value, said",
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


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[]", 1),
        ("[1, [], {}]", 4),
        ('{"a": [ ],\n"b,[": "\\\\\\",[", "c": {"d": -1.5e3}}', 5),
        ('{"a": [[[true]]], "b": null}', 6),
        ('["a", "b\\n,", ","]', 4),
    ],
)
def test_the_values_of_a_document_are_counted_before_it_is_read(text: str, count: int) -> None:
    assert decode(text, max_values=count) == json.loads(text)
    for content in (text, text.encode()):
        with pytest.raises(TooLarge, match=f"more than the {count - 1} values"):
            decode(content, max_values=count - 1)


@pytest.mark.parametrize("text", ['["' + '\\",' * 300_000, "[ " * 200_000, "[" + "{}" * 200_000, '"' * 999_999])
def test_counting_the_values_of_invalid_json_takes_no_time(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(InvalidInput):
        decode(text, max_values=150_000)
    assert time.process_time() - begin < 5


def test_a_descriptor_has_a_bounded_number_of_values() -> None:
    store = metastore.connect("memory:", author=ANN, validation="off")
    most = 32 * 1024 * 1024 // 256
    keywords = ["x"] * (most - 2)
    made = store.dataset_create(CARS, json.dumps({"keywords": keywords}))
    with pytest.raises(TooLarge, match=f"more than the {most} values that are allowed"):
        store.dataset_patch(CARS, {"title": "One more"})
    with pytest.raises(TooLarge, match="values"):
        store.dataset_update(CARS, {"keywords": [*keywords, "x"]})
    with pytest.raises(TooLarge, match="values"):
        store.dataset_patch(CARS, json.dumps({"keywords": [*keywords, "x", "x"]}))
    assert store.revision_read(CARS).id == made.revision.id
    text = store.dataset_patch(CARS, {"keywords": None, "title": "," * (most + 1)})
    assert len(text.descriptor["title"]) == most + 1, "commas in a text are no values"


def test_long_texts_of_all_kinds_are_stored_as_they_are(store: MetaStore) -> None:
    text = '\u00fc\U0001f600\n\\"' * 50_000 + "x" * 70_000
    made = store.dataset_create(CARS, json.dumps({"title": text, text: 1}))
    assert made.descriptor == {"title": text, text: 1}
    assert made.bytes == (json.dumps(made.descriptor, indent=2, ensure_ascii=False) + "\n").encode()


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


@pytest.mark.parametrize(
    "store",
    # What takes them, takes them whatever is below: the emulated hosts would only show how they are emulated.
    [
        *("git-synced", "postgres", "service"),
        *(pytest.param(name, marks=pytest.mark.soak) for name in sorted(OF_ONE_OWNER)),
    ],
    indirect=True,
)
def test_a_descriptor_of_nearly_the_permitted_size_is_stored_and_changed(store: MetaStore) -> None:
    rows = [{"name": f"r{n}", "path": f"{n}.csv", "title": "x" * 9_000} for n in range(3_680)]
    made = store.dataset_create(CARS, {"resources": rows})
    assert 0.95 * store.max_bytes < len(made.bytes) < store.max_bytes
    assert store.dataset_patch(CARS, {"title": "Big"}).descriptor["title"] == "Big"


@pytest.mark.parametrize(("title", "each"), [("€", 2), ("\N{GRINNING FACE}", 4)])
def test_a_character_that_makes_a_text_wide_in_memory_counts_for_all(title: str, each: int) -> None:
    value = {"title": "x" * 300 + title}
    content = json.dumps(value, ensure_ascii=False)
    with metastore.connect("memory:", author=ANN, max_bytes=400) as store:
        store.dataset_create("physics/narrow", {"title": "é" + "x" * 300})
        for text in (value, content, content.encode(), json.dumps(value)):
            with pytest.raises(TooLarge, match=rf"makes every character take {each} bytes: leave it out, or raise"):
                store.dataset_create(CARS, text)


def test_what_is_stored_already_is_read_and_undone_though_it_is_larger_than_permitted(storage: Storage) -> None:
    value = {"title": "x" * 300 + "\N{GRINNING FACE}"}
    MetaStore(storage, author=ANN).dataset_create(CARS, value)
    store = MetaStore(storage, author=ANN, max_bytes=400)
    assert store.dataset_read(CARS).descriptor == value
    assert [hit.id for hit in store.dataset_search("xxx*").hits] == [CARS]
    with pytest.raises(TooLarge):
        store.dataset_patch(CARS, {"version": "1"})
    store.dataset_update(CARS, {"title": "small"})
    assert store.dataset_revert(CARS, list(store.revision_list(CARS))[-1].id).descriptor == value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (r'"abc"', 5),
        (r'"\u00e9"', 8),
        (r'"a\u20ac"', 9),
        (r'"a\u20acb\u20ac"', 16),
        (r'"a\ud83d\ude00"', 20),
        (r'"aaaaaaaaaaaaaaaaaaaaaaaaa\ud83d\ude00"', 4 * 29),
        (r'"aaaaaaaaaaaaaaaaaaaaaaaaa\\ud83d\\ude00"', 41),
        (r'"aaaaaaaaaaaaaaaaaaaaaaaaa\\\ud83d"', 4 * 30),
        ('"é"', 4),
        ('"€€€"', 11),
        ('"a\N{GRINNING FACE}"', 16),
    ],
)
def test_the_size_of_a_text_is_what_it_or_what_its_escapes_stand_for_takes_in_memory(text: str, size: int) -> None:
    assert size_of(text) == size_of(text.encode()) == size


def test_warn_returns_and_logs_the_findings(store: MetaStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "metastore"):
        made = store.dataset_create(CARS, {"name": "cars"})
    assert [str(finding) for finding in made.findings] == [
        "(descriptor): the descriptor has no resources (Data Package 1.0)"
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


def test_an_address_without_json_at_its_end_is_taken_whole() -> None:
    profiles = Profiles.load({"https://example.org/profile": {"required": ["mine"]}})
    assert [found.kind for found in profiles.findings({"profile": "https://example.org/profile"})] == ["required"]
    assert profiles.findings({"profile": "https://example.org/pr"})[0].kind == "unknown-profile"


def test_a_ckan_dataset_whose_files_come_later_is_valid(storage: Storage) -> None:
    package = {"name": "a", "title": "A dataset whose files come later", "resources": [], "tags": [], "extras": []}
    descriptor = ckan.to_descriptor(package)
    assert validate(descriptor) == validate({"name": "a", "resources": []}) == ()
    MetaStore(storage, author=ANN, validation="strict").dataset_create(CARS, descriptor)


def test_the_declared_profile_is_the_one_that_counts() -> None:
    # The first describes a table, made to be invalid, that has the column `name` twice.
    assert [len(validate(real_descriptor(name))) for name in REAL] == [1, 0, 0, 3]
    assert len(validate({**real_descriptor("vega/datasets"), "$schema": V2})) == 15
    tabular = {"profile": "tabular-data-package", "resources": [{"name": "x", "path": "x.csv"}]}
    assert validate(tabular)[0].pointer.startswith("/resources/0")
    assert validate({"profile": "https://example.org/mine", "resources": [{"name": "x", "path": "x"}]}) == (
        metastore.Finding("/profile", "unknown profile 'https://example.org/mine', not fetched", "unknown-profile"),
    )
    assert "not fetched" in str(validate({"$schema": "https://example.org/mine", "resources": []})[0])


@cases(
    "declared, said",
    [
        ({"$schema": 5}, ["'$schema' is a number, not the address of a profile"]),
        ({"$schema": None}, ["'$schema' is null, not the address of a profile"]),
        ({"$schema": [], "profile": "data-package"}, ["'$schema' is a list, not the address of a profile"]),
        ({"profile": 5}, ["the profile is a number, not text (Data Package 1.0)"]),
    ],
)
def test_a_declaration_that_is_not_text_is_one_finding(declared: dict[str, Any], said: list[str]) -> None:
    assert details({**declared, **package()}) == said


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


def details(descriptor: Any, **options: Any) -> list[str]:
    return [finding.detail for finding in validate(descriptor, **options)]


def package(**resource: Any) -> dict[str, Any]:
    return {"name": "a", "resources": [{"name": "r", "path": "r.csv", **resource}]}


def test_a_finding_says_what_is_missing_and_not_what_is_there() -> None:
    long = {"path": "data/a.csv", "description": "A text as long as people write about a table. " * 9}
    assert details({"name": "a", "resources": [long]}) == ["resource 1 has no name (Data Package 1.0)"]
    assert details({"resources": [{"name": "r"}]}) == ["resource 'r' has neither data nor path (Data Package 1.0)"]
    both = {"name": "r", "path": "x", "data": []}
    assert details({"resources": [both]}) == [
        "resource 'r' has data and path, but only one is allowed (Data Package 1.0)"
    ]


@pytest.mark.parametrize(
    ("descriptor", "said"),
    [
        ({**package(), "name": "My Data"}, "the name is 'My Data', but may have only a to z, 0 to 9 and - . _ / ("),
        (
            package(path="./r.csv"),
            "the path of resource 'r' is './r.csv', but may not begin with . / or ~, nor have two",
        ),
        (
            {"$schema": V2, **package(path="./r.csv")},
            "is './r.csv', which is neither a URL nor a path inside the dataset",
        ),
        (package(mediatype="csv"), "is 'csv', which is not a type and a subtype, such as text/csv ("),
        (package(hash="md5"), "is 'md5', which is not an algorithm, a colon and hexadecimal digits ("),
        (package(schema=5), "the schema of resource 'r' is a number, not an object ("),
        ({**package(), "keywords": []}, "'keywords' must not be empty ("),
    ],
)
def test_a_finding_reads_as_a_sentence_and_shows_no_pattern(descriptor: Any, said: str) -> None:
    (detail,) = details(descriptor)
    assert said in detail


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"enum": [True, None, 1.5, "on"]}, "the x is false, not true or null or 1.5 or on (own)"),
        ({"const": None}, "the x is false, not null (own)"),
        ({"enum": [[None], {"a": True}]}, 'the x is false, not [null] or {"a": true} (own)'),
    ],
)
def test_values_in_findings_are_spelled_as_json_and_not_as_python(rule: dict[str, Any], said: str) -> None:
    profile = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"x": rule}}
    assert details({"profile": "own", "x": False, **package()}, profiles={"own": profile}) == [said]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "integer"}, "field 1 of resource 'r' has no name"),
        ({"name": "x", "type": "integer", "format": 5}, "the format of field 'x' of resource 'r' is 5, not default"),
        ({"name": "x", "type": "strin"}, "the type of field 'x' of resource 'r' is 'strin', not string or number or "),
    ],
)
def test_of_many_alternatives_the_one_that_fits_best_is_judged(field: dict[str, Any], said: str) -> None:
    (detail,) = details({"$schema": V2, **package(schema={"fields": [field]})})
    assert detail.startswith(said)


@pytest.mark.parametrize(
    ("descriptor", "most"),
    [
        (package() | {"keywords": [1] * 250_000}, 2.0),
        ({"$schema": V2, **package(schema={"fields": [{"name": "x", "type": "strin"}] * 30_000})}, 6.0),
        ({"resources": [{"x": "y" * 30}] * 30_000}, 3.0),
    ],
    ids=["keywords", "fields", "resources"],
)
def test_more_problems_than_anybody_reads_are_counted_and_take_no_time(descriptor: Any, most: float) -> None:
    begin = time.process_time()
    findings = validate(descriptor)
    assert time.process_time() - begin < most
    assert len(findings) == 101
    assert findings[-1].detail == "there are more than 1000 more problems"


def test_up_to_a_thousand_further_problems_are_counted() -> None:
    assert details(package() | {"keywords": [1] * 350})[100:] == ["there are 250 more problems"]
    assert len(details(package() | {"keywords": [1] * 100})) == 100


@pytest.mark.parametrize(
    "descriptor",
    [
        package(schema="schema.json", dialect="https://example.org/dialect.json"),
        {"$schema": V2, **package(schema="schema.json", dialect="dialect.json")},
        {
            "$schema": "https://specs.frictionlessdata.io/schemas/tabular-data-package.json",
            **package(schema={"fields": [{"name": "x", "type": "string"}]}),
        },
        {"$schema": "https://specs.frictionlessdata.io/schemas/data-package.json", **package()},
        {"profile": "https://specs.frictionlessdata.io/schemas/data-package.json", **package()},
        '\ufeff{"name":"a","resources":[{"name":"r","path":"r.csv"}]}',
    ],
    ids=["text-1", "text-2", "old-address", "old-address-2", "profile-address", "byte-order-mark"],
)
def test_what_the_specification_allows_is_no_finding(descriptor: Any) -> None:
    assert details(descriptor) == []


def test_text_with_a_byte_order_mark_is_stored(store: MetaStore) -> None:
    assert store.dataset_create(CARS, "\ufeff" + json.dumps(package())).descriptor == package()


FIELDS = [{"name": "x", "type": "string"}]


def keyed(field: str, resource: str, target: str) -> dict[str, Any]:
    reference = {"resource": resource, "fields": target}
    return {"schema": {"fields": FIELDS, "foreignKeys": [{"fields": field, "reference": reference}]}}


@pytest.mark.parametrize(
    ("resource", "said", "pointer"),
    [
        ({"profile": "tabular-data-resource"}, "has no schema", ""),
        (
            {"schema": {"fields": [*FIELDS, *FIELDS]}},
            "two fields of resource 'r' have the name 'x'",
            "/schema/fields/1/name",
        ),
        ({"schema": {"fields": FIELDS, "primaryKey": "y"}}, "names no field: 'y'", "/schema/primaryKey"),
        ({"schema": {"fields": FIELDS, "primaryKey": ["x", "y"]}}, "names no field: 'y'", "/schema/primaryKey"),
        (
            {
                "schema": {
                    "fields": FIELDS,
                    "foreignKeys": [{"fields": "y", "reference": {"resource": "", "fields": "x"}}],
                }
            },
            "foreign key 1 of resource 'r' names no field: 'y'",
            "/schema/foreignKeys/0",
        ),
        (
            {
                "schema": {
                    "fields": FIELDS,
                    "foreignKeys": [{"fields": "x", "reference": {"resource": "s", "fields": "x"}}],
                }
            },
            "refers to the resource 's', which is not there",
            "/schema/foreignKeys/0",
        ),
        (
            {
                "schema": {
                    "fields": FIELDS,
                    "foreignKeys": [{"fields": "x", "reference": {"resource": "r", "fields": "z"}}],
                }
            },
            "refers to the field 'z', which is not there",
            "/schema/foreignKeys/0",
        ),
        ({"schema": "../../x"}, "the schema '../../x' of resource 'r' leaves the dataset", "/schema"),
        ({"dialect": "/etc/passwd"}, "is absolute", "/dialect"),
        ({"path": "file:///etc/passwd"}, "reads a file of the machine", "/path"),
        ({"extrapaths": ["../../x.csv"]}, "the extra path '../../x.csv' of resource 'r' leaves", "/extrapaths/0"),
        ({"hash": "SHA256:" + "a" * 64}, "begins with SHA256:, not sha256:", "/hash"),
        ({"hash": "sha-256:" + "a" * 64}, "begins with sha-256:, not sha256:", "/hash"),
    ],
)
def test_what_a_schema_cannot_say_is_a_finding(resource: dict[str, Any], said: str, pointer: str) -> None:
    (finding,) = validate(package(**resource))
    assert said in finding.detail
    assert finding.pointer == f"/resources/0{pointer}"


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"extrapaths": ["../b.csv"]}, ["the extra path '../b.csv' of resource 'r' leaves the dataset"]),
        ({"extrapaths": "b.csv"}, ["'extrapaths' of resource 'r' is text, not a list"]),
        ({"extrapaths": ["b.csv", 5]}, ["extra path 2 of resource 'r' is a number, not text"]),
        ({"path": ["a.csv", 5]}, ["path 2 of resource 'r' is a number, not text (Data Package 2.0)"]),
        ({"name": 5}, ["the name of resource 1 is a number, not text (Data Package 2.0)"]),
        ({"schema": {"fields": 5}}, ["'fields' of resource 'r' is a number, not a list (Data Package 2.0)"]),
    ],
)
def test_each_mistake_is_one_finding_and_each_place_is_named_once(resource: dict[str, Any], said: list[str]) -> None:
    assert details({"$schema": V2, **package(**resource)}) == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../b.csv", "the path '../b.csv' of resource 'r' leaves the dataset"),
        (["a.csv", ""], "the path '' of resource 'r' is empty"),
    ],
)
def test_an_unsafe_path_that_is_stored_already_is_one_finding(path: Any, said: str) -> None:
    assert [finding.detail for finding in findings({"$schema": V2, **package(path=path)})] == [said]
    with pytest.raises(InvalidInput, match=re.escape(said)):
        validate(package(path=path))


def test_a_name_that_does_not_fit_is_not_the_name_of_its_place() -> None:
    (detail,) = details(package(name="My file"))
    assert detail.startswith("the name of resource 1 is 'My file', but may have only")
    assert details(package(name="")) == ["the name of resource 1 must not be empty (Data Package 1.0)"]
    assert details({"resources": [5]}) == ["resource 1 is a number, not an object (Data Package 1.0)"]


@pytest.mark.parametrize(("one", "other"), [("Data.csv", "data.csv"), ("caf\u00e9.csv", "cafe\u0301.csv")])
def test_two_paths_that_are_one_file_elsewhere_are_a_finding(one: str, other: str) -> None:
    (finding,) = validate({"resources": [{"name": "a", "path": one}, {"name": "b", "path": other}]})
    assert (finding.kind, finding.pointer) == ("collision", "/resources/1/path")
    assert finding.detail in (
        "the path 'data.csv' of resource 'b' and 'Data.csv' are one file on Windows and macOS",
        r"the path 'cafe\u0301.csv' of resource 'b' and 'café.csv' are one file on Windows and macOS",  # alike
    )
    assert validate({"resources": [{"name": "a", "path": one}, {"name": "b", "path": one}]}) == ()
    (finding,) = validate(package(path=one, extrapaths=["more.csv", other]))
    assert (finding.kind, finding.pointer) == ("collision", "/resources/0/extrapaths")


def test_a_local_file_that_gets_no_pointer_is_named_where_lfs_is_on_and_not_refused(storage: Storage) -> None:
    lfs = MetaStore(storage, author=ANN, validation="strict", lfs_url="https://lfs.example.org/{owner}/{name}")
    (finding,) = lfs.dataset_create(CARS, package()).findings
    assert finding.detail == "resource 'r' gets no Git LFS pointer: no sha256 and no bytes"
    assert lfs.dataset_update(CARS, package(sha256="a" * 64, bytes=3)).findings == ()
    assert lfs.dataset_update(CARS, package(path="https://example.org/r.csv")).findings == ()


FISCAL = {"$schema": "http://json-schema.org/draft-07/schema#", "required": ["fiscalPeriod"]}


def test_an_unknown_profile_is_one_finding_and_strict_stores_it(storage: Storage, tmp_path: Path) -> None:
    strict = MetaStore(storage, author=ANN, validation="strict")
    made = strict.dataset_create(CARS, {"profile": "fiscal-data-package", **package()})
    assert [finding.kind for finding in made.findings] == ["unknown-profile"]
    with pytest.raises(InvalidInput, match="has neither"):
        strict.dataset_update(CARS, {"profile": "fiscal-data-package", "resources": [{"name": "r"}]})


def test_a_profile_of_ones_own_is_known_by_its_file_its_url_or_its_id(storage: Storage, tmp_path: Path) -> None:
    tmp_path = tmp_path / "profiles"
    (tmp_path / "1.0").mkdir(parents=True)
    (tmp_path / "fiscal-data-package.json").write_text(json.dumps(FISCAL))
    base = "https://specs.frictionlessdata.io/schemas/data-package.json"
    based = {"allOf": [{"$ref": base}, {"$ref": "part.json"}]}
    (tmp_path / "1.0" / "based.json").write_text(json.dumps(based))
    (tmp_path / "1.0" / "part.json").write_text(
        json.dumps({"$id": "https://example.org/part", "required": ["deployments"]})
    )
    for declared, said in (
        ("fiscal-data-package", "the descriptor has no fiscalPeriod (fiscal-data-package.json)"),
        ("https://example.org/p/1.0/based.json", "the descriptor has no deployments (1.0/based.json)"),
        ("https://example.org/part", "the descriptor has no deployments (1.0/part.json)"),
    ):
        assert details({"profile": declared, **package()}, profiles=tmp_path) == [said]
    assert "unknown" in details({"profile": "https://example.org/p/2.0/based.json", **package()}, profiles=tmp_path)[0]
    store = MetaStore(storage, author=ANN, validation="strict", profiles={"https://example.org/f.json": FISCAL})
    with pytest.raises(InvalidInput, match="no fiscalPeriod"):
        store.dataset_create(CARS, {"profile": "https://example.org/f.json", **package()})
    store.dataset_create(CARS, {"profile": "https://example.org/f.json", "fiscalPeriod": 1, **package()})


@pytest.mark.parametrize(
    "schema", [{"$ref": "https://example.org/elsewhere.json"}, {"type": "text"}, [], {"properties": []}], ids=str
)
def test_a_profile_that_cannot_be_used_is_refused_when_the_store_is_opened(storage: Storage, schema: Any) -> None:
    with pytest.raises(InvalidInput, match=r"the profile x\.json is not usable"):
        MetaStore(storage, profiles={"x.json": schema})


def test_a_revision_is_checked_once_and_a_missing_pointer_is_no_news(
    storage_of_all: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MetaStore(storage_of_all, author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{owner}/{name}")
    local = {**package(), "resources": [{"name": "a", "path": "a.csv"}]}
    first = store.dataset_create(CARS, local)
    checked: list[Any] = []
    findings = Profiles.findings
    monkeypatch.setattr(
        Profiles, "findings", lambda self, value, **options: checked.append(value) or findings(self, value, **options)
    )
    second = store.dataset_update(CARS, {**local, "title": "Cars"})
    assert [finding.known for finding in first.findings] == [False]
    assert [(finding.kind, finding.known) for finding in second.findings] == [("no-pointer", True)]
    assert len(checked) == 1
    store.dataset_update(CARS, {**local, "title": "More cars"})
    assert len(checked) == 2
    anew = MetaStore(storage_of_all, author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{owner}/{name}")
    third = anew.dataset_update(CARS, {**local, "title": "Most cars"})
    assert [(finding.kind, finding.known) for finding in third.findings] == [("no-pointer", True)]


def test_findings_that_a_write_adds_are_told_apart(local_store: MetaStore, caplog: pytest.LogCaptureFixture) -> None:
    wrong = {"name": "A B", **{key: value for key, value in package().items() if key != "name"}}
    local_store.dataset_create(CARS, wrong)
    caplog.clear()
    made = local_store.dataset_update(CARS, {**wrong, "keywords": [1]})
    assert [(finding.pointer, finding.known) for finding in made.findings] == [("/name", True), ("/keywords/0", False)]
    assert [record.getMessage().partition(": ")[2].partition(" (")[0] for record in caplog.records] == [
        "/keywords/0",  # what is wrong there would quote the descriptor
        "1 problem as before",
    ]
