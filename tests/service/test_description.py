"""The description of the service: it says what there is, all of it, and no more; and the page that shows it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest

import metastore

from ..conftest import real_descriptor
from .conftest import API, BUNDLES, ENVELOPE, Door
from .described import AUTOMATIC, DOCUMENT, operations, parameters, problems, resolve, template

DATA = Path(metastore.__file__).parent / "data"
REAL_BUNDLES = json.loads((Path(__file__).parents[2] / "examples" / "bundles.json").read_text())["bundles"]
COMPRESSION = f"{API}/datasets/okfn/compression"
MERGE = "application/merge-patch+json"


def walk(value: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield pointer, value
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from walk(each, f"{pointer}/{key}")


def test_it_is_openapi() -> None:
    openapi_spec_validator.validate(DOCUMENT)


def test_every_route_is_described_and_everything_described_is_a_route(door: Door) -> None:
    rules = [rule for rule in door.app.url_map.iter_rules() if not rule.endpoint.startswith("pages.")]
    served = {(method, template(rule.rule)) for rule in rules for method in rule.methods - AUTOMATIC}
    assert served == {(method, path) for method, path, _ in operations()}


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in operations()])
def test_an_operation_describes_each_part_of_its_path_and_nothing_else(method: str, path: str) -> None:
    assert parameters(method, path, "path") == set(re.findall(r"\{(\w+)\}", path))


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    names = [said["operationId"] for _, _, said in operations()]
    assert len(names) == len(set(names))
    for _, path, said in operations():
        assert said["summary"], path
        assert set(said["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}, path


def test_what_writes_needs_a_token_and_what_reads_may_go_without() -> None:
    for method, path, said in operations():
        needed = said.get("security", DOCUMENT["security"])
        reads = method == "GET" or said["operationId"] == "clone"  # Git asks with POST
        assert (not needed or {} in needed) == reads, f"{method} {path}"


def test_every_component_is_used() -> None:
    used = {each["$ref"] for _, each in walk(DOCUMENT) if isinstance(each.get("$ref"), str)}
    for group, members in DOCUMENT["components"].items():
        if group != "securitySchemes":
            for name in members:
                assert f"#/components/{group}/{name}" in used, f"{group}/{name}"


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield where each example is, the schema that it has to fit, and its value."""
    for pointer, each in walk(DOCUMENT):
        if "schema" not in each or pointer.startswith("/components/examples"):
            continue
        values = [each["example"]] if "example" in each else []
        values += [resolve(said)["value"] for said in each.get("examples", {}).values()]
        for value in values:
            yield pointer, each["schema"], value


EXAMPLES = list(examples())


@pytest.mark.parametrize(("schema", "value"), [each[1:] for each in EXAMPLES], ids=[each[0] for each in EXAMPLES])
def test_an_example_is_one(schema: dict[str, Any], value: Any) -> None:
    assert not problems(schema, value)


def test_every_body_has_an_example() -> None:
    for pointer, each in walk(DOCUMENT):
        if re.search(r"/content/[^/]+(/[^/]+)?$", pointer) and "schema" in each:
            assert "example" in each or "examples" in each, pointer


def test_the_examples_are_the_real_samples() -> None:
    said = DOCUMENT["components"]["examples"]
    assert said["Descriptor"]["value"] == real_descriptor("okfn/compression")
    real = next(each for each in REAL_BUNDLES if each["name"] == said["Bundle"]["value"]["name"])
    assert (said["Bundle"]["value"]["event"], said["Bundle"]["value"]["devices"]) == (real["event"], real["devices"])


def test_each_operation_answers_as_described_with_real_data(door: Door) -> None:
    """Calls everything once; the client holds each answer to the description."""
    importer = door.comes("carol", "ds:*:*", "ds:*:*:import", BUNDLES, name="Carol", email="carol@example.org")
    _play_datasets(door, importer)
    _play_bundles(door, importer)
    for path in ("/openapi.json", "/docs", "/docs/docs.js", "/docs/LICENSE", "/healthz", "/readyz", "/metrics"):
        assert door.anybody.get(path).status_code == 200
    seen = door.app.extensions["seen"]
    for method, path, said in operations():
        statuses, asked = seen.get((method, path), (set(), set()))
        well = {int(status) for status in said["responses"] if status[0] == "2"}
        assert well - {204} <= statuses or well == {204} == statuses, (
            f"{method} {path} answered {statuses or 'nothing'}"
        )
        forgotten = parameters(method, path, "query") - asked
        assert not forgotten, f"nobody looks at {forgotten} of {method} {path}"


def _play_datasets(door: Door, importer: Any) -> None:
    made = importer.put(COMPRESSION, data=real_descriptor("okfn/compression"), content_type="application/json")
    newer = {"patch": {"title": "Compressed"}, "at": "2030-01-01T00:00:00Z", "author": "Bo <bo@example.org>"}
    importer.patch(COMPRESSION, data=newer, content_type=ENVELOPE)
    importer.put(COMPRESSION, data=real_descriptor("okfn/compression"), content_type="application/json")
    for tag in ("v1.0", "v1.1"):
        importer.post(f"{COMPRESSION}/tags", data={"name": tag}, content_type="application/json")
    importer.patch(f"{COMPRESSION}/tags/v1.0", data={"description": "First"}, content_type="application/json")
    importer.delete(f"{COMPRESSION}/tags/v1.1?message=No")
    clone = "/git/okfn/compression.git"
    door.anybody.get(f"{clone}/info/refs?service=git-upload-pack", headers={"Git-Protocol": "version=2"})
    door.anybody.post(f"{clone}/git-upload-pack", data=b"0014command=ls-refs\n0000")
    importer.get(f"{clone}/info/refs?service=git-receive-pack")
    importer.post(f"{clone}/git-receive-pack", data=b"0000", content_type="application/x-git-receive-pack-request")
    for path in (
        "",
        "/revisions?limit=1&path=/title",
        "/revisions?resource=x&author=a&grep=b&since=2024-01-01T00:00:00Z&until=2034-01-01T00:00:00Z",
        "/revisions?field=x/y",
        "/blame",
        "/revisions/HEAD",
        f"/diff?from={made.headers['ETag'][1:-1]}",
        "/raw",
        "/tags?limit=1",
    ):
        assert door.anybody.get(COMPRESSION + path).status_code == 200
    assert door.anybody.get(COMPRESSION, headers={"Accept": ENVELOPE}).mimetype == ENVELOPE
    for path in ("/tags/v1.0", "/resources", "/resources/explicit-gz", "/resources/explicit.csv.gz"):
        assert door.anybody.get(COMPRESSION + path).status_code == 200
    importer.post(f"{COMPRESSION}/revert", data={"to": "v1.0"}, content_type="application/json")
    importer.post(f"{COMPRESSION}/undo", data={"revision": "HEAD"}, content_type="application/json")
    importer.post(f"{COMPRESSION}/move", data={"to": "okfn/compressed"}, content_type="application/json")
    for path in (
        f"{API}/datasets?q=compress*&facets=licence&limit=1",
        f"{API}/projects/okfn/compressed",
        f"{API}/datasets?include=title,changed,revision",
        f"{API}/datasets?q=&summary=true",
        f"{API}/owners",
        f"{API}/tags",
        f"{API}/journal",
        f"{API}/changes?limit=1",
        f"{API}/datasets",
    ):
        assert door.anybody.get(path).status_code == 200
    lines = importer.get(f"{API}/journal?dataset=okfn/compressed").json
    importer.post(f"{API}/journal", data={"lines": lines}, content_type="application/json")
    importer.delete(f"{API}/datasets/okfn/compressed?message=Over")
    importer.delete(f"{API}/datasets/okfn/compressed?purge=true&force=false")


def _play_bundles(door: Door, importer: Any) -> None:
    bundles = [
        {**{key: each[key] for key in ("name", "event", "devices")}, "ifb_group": "NOvA"} for each in REAL_BUNDLES
    ]
    importer.post(f"{API}/bundles", data=bundles, content_type="application/json")
    one, new = f"{API}/bundles/{bundles[0]['name']}", {**bundles[0], "name": "New"}
    importer.put(f"{API}/bundles/New", data=new, content_type="application/json")
    importer.put(f"{API}/bundles/New", data={**new, "hosts": ["a"]}, content_type="application/json")
    fewer = importer.patch(one, data={"remove_devices": bundles[0]["devices"][:1]}, content_type="application/json")
    importer.post(f"{one}/undo", data={"snapshot": fewer.json["snapshot"]}, content_type="application/json")
    importer.post(f"{one}/copy", data={"to": "Copy"}, content_type="application/json")
    importer.delete(f"{API}/bundles/Copy?comment=No")
    importer.post(f"{one}/restore", data={"snapshot": 1}, content_type="application/json")
    for path in (f"{API}/bundles?limit=2", one, f"{one}/log?limit=1", f"{API}/log"):
        assert door.anybody.get(path).status_code == 200
    assert door.anybody.get(f"{API}/bundles", headers={"Accept": "text/csv"}).mimetype == "text/csv"
    for path in ("/snapshots/1", "/snapshots/1/diff?to=6"):
        assert door.anybody.get(API + path).status_code == 200


# What is served


def test_it_is_served_with_the_address_of_the_service(door: Door) -> None:
    said = door.anybody.get("/openapi.json").json
    assert said == {**DOCUMENT, "servers": [{"url": "/"}]}
    below = door.app.test_client().get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/metastore"})
    assert below.json["servers"] == [{"url": "/metastore"}]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/swagger-ui.css"])
def test_what_is_known_is_not_sent_again(door: Door, path: str) -> None:
    first = door.anybody.get(path)
    again = door.anybody.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_loads_nothing_from_elsewhere(door: Door) -> None:
    page = door.anybody.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) == 5
    for address in loaded:
        assert address == "data:," or door.anybody.get(f"/{address}").status_code == 200
    styles = door.anybody.get("/docs/swagger-ui.css").text
    assert re.findall(r"url\((?![\"']?data:)[^)]*", styles) == re.findall("@import", styles) == []


def test_the_page_has_no_script_and_no_style_within_it(door: Door) -> None:
    page = door.anybody.get("/docs").text
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page) == []


def test_no_other_file_is_served(door: Door) -> None:
    for name in ("openapi.yaml", "README.md", "..%2Fopenapi.yaml", "%2e%2e/openapi.yaml", "docs.js%00", "SHA256SUMS"):
        assert door.anybody.get(f"/docs/{name}").status_code == 404, name


def test_what_is_vendored_is_what_was_published() -> None:
    folder = DATA / "swagger-ui"
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {path.name for path in folder.iterdir()} == {*sums, "SHA256SUMS", "README.md"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
