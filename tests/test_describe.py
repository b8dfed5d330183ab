"""Descriptors made of real files: what is measured is right, what is guessed is safe, what people wrote is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.descriptor.describe import describe
from metastore.errors import InvalidInput, StorageUnavailable

CARS = b"make,speed,built\nAudi,180,2001-02-03\nBMW,190,2004-05-06\n"
FIELDS = [
    {"name": "make", "type": "string"},
    {"name": "speed", "type": "integer"},
    {"name": "built", "type": "date"},
]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def by_path(descriptor: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {resource["path"]: resource for resource in descriptor["resources"]}


def only(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    (resource,) = describe(write(folder, {name: content}))["resources"]
    return resource


def test_a_csv_file_is_described_with_its_schema(tmp_path: Path) -> None:
    assert only(tmp_path, "Cars 2001.csv", CARS) == {
        "name": "cars-2001",
        "path": "Cars 2001.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "bytes": len(CARS),
        "hash": f"sha256:{hashlib.sha256(CARS).hexdigest()}",
        "schema": {"fields": FIELDS},
    }


def test_files_of_all_kinds_make_a_valid_descriptor_that_can_be_stored(
    tmp_path: Path, git_store: metastore.MetaStore
) -> None:
    folder = tmp_path / "Ärzte & Co"
    write(
        folder,
        {
            "cars.csv": CARS,
            "cars.tsv": CARS.replace(b",", b"\t"),
            "nested/deep/cars.csv": CARS,
            "nested/datapackage.json": b'{"resources": [{"name": "x", "path": "https://example.org/x.csv"}]}',
            "list.json": json.dumps([{"a": 1}]).encode(),
            "binary.dat": random.Random(1).randbytes(5000),
            "empty.csv": b"",
            "latin.csv": "città,été\n1,2\n".encode("latin-1"),
            "Straße/数据.csv": "città,数\n1,2\n".encode(),
            "数据.txt": b"text",
            "no-ending": b"text",
        },
    )
    with zipfile.ZipFile(folder / "book.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    made = describe(folder)
    assert made["name"] == "arzte-co"
    assert metastore.validate(made) == ()
    stored = git_store.dataset_create("physics/all", made)
    assert stored.findings == ()
    assert stored.descriptor == made
    resources = by_path(made)
    assert list(resources) == sorted(resources)
    assert len({resource["name"] for resource in made["resources"]}) == len(resources) == 12
    assert {path for path, resource in resources.items() if "schema" in resource} == {
        "cars.csv",
        "cars.tsv",
        "nested/deep/cars.csv",
        "Straße/数据.csv",
    }
    assert [field["name"] for field in resources["Straße/数据.csv"]["schema"]["fields"]] == ["città", "数"]
    assert resources["cars.tsv"]["mediatype"] == "text/tab-separated-values"
    assert resources["book.xlsx"]["format"] == "xlsx"
    assert "format" not in resources["no-ending"]


def test_names_are_unique_and_the_same_every_time(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(("a/x.csv", "b/x.csv", "b/x_.csv", "x.csv", "x.json", "é.csv", "e.csv"), b"a\n1\n"))
    names = {resource["path"]: resource["name"] for resource in describe(tmp_path)["resources"]}
    assert names == {
        "a/x.csv": "x",
        "b/x.csv": "b-x.csv",
        "b/x_.csv": "b-x_.csv",
        "e.csv": "e",
        "x.csv": "x.csv",
        "x.json": "x.json",
        "é.csv": "e.csv",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n\n\n", "empty"),
        ("é,à\n1,2\n".encode("latin-1"), "utf-8"),
        ("a,b\n1,2\n".encode("utf-16"), ""),
        (b"\x00\x01" * 1000, "binary"),
        (b"a," * 200_000, "first line is longer"),
        (b"," * 5000 + b"\n1\n", "5001 columns"),
    ],
)
def test_what_cannot_be_understood_has_no_schema_and_the_log_says_why(
    tmp_path: Path, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metastore")
    resource = only(tmp_path, "x.csv", content)
    assert "schema" not in resource
    assert resource["bytes"] == len(content)
    assert "x.csv has no schema" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(
    "content", [b'a,b\n1,"2\n3,4\n', b"a,b\n1\n1,2,3\n,,,,\n", b'"' * 9999, b"a\r1\r2\r", b"=1+1\n"]
)
def test_broken_csv_is_described_all_the_same(tmp_path: Path, content: bytes) -> None:
    assert only(tmp_path, "x.csv", content)["bytes"] == len(content)


def test_a_dialect_that_is_not_the_usual_one_is_said(tmp_path: Path) -> None:
    resource = only(tmp_path, "x.csv", CARS.replace(b",", b";"))
    assert resource["dialect"] == {"delimiter": ";"}
    assert resource["schema"] == {"fields": FIELDS}


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert only(tmp_path, "x.csv", b"\xef\xbb\xbf" + CARS)["schema"] == {"fields": FIELDS}


def test_a_character_cut_by_the_end_of_the_sample_does_no_harm(tmp_path: Path) -> None:
    for shift in range(3):
        content = b"a" * shift + b"a,b\n" + "数,据\n".encode() * 50_000
        assert len(only(tmp_path, "x.csv", content)["schema"]["fields"]) == 2


def test_hidden_files_and_links_that_leave_are_passed_over(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.csv": CARS})
    folder = write(tmp_path / "in", {"a.csv": CARS, ".hidden": CARS, ".git/config": CARS, "sub/.x/y.csv": CARS})
    (folder / "inside.csv").symlink_to("a.csv")
    (folder / "leaving.csv").symlink_to(outside / "secret.csv")
    (folder / "leaving").symlink_to(outside)
    (folder / "hidden.csv").symlink_to(".git/config")
    (folder / "broken.csv").symlink_to("nowhere")
    (folder / "loop").symlink_to(".")
    os.mkfifo(folder / "pipe.csv")
    assert list(by_path(describe(folder))) == ["a.csv", "inside.csv"]


def test_the_folder_itself_may_be_hidden_or_a_link(tmp_path: Path) -> None:
    write(tmp_path / ".data/x", {"a.csv": CARS})
    (tmp_path / "link").symlink_to(".data/x")
    assert list(by_path(describe(tmp_path / "link"))) == ["a.csv"]


def test_a_changed_file_changes_size_and_hash_only(tmp_path: Path) -> None:
    before = only(tmp_path, "cars.csv", CARS)
    after = only(tmp_path, "cars.csv", CARS + b"VW,150,1999-01-01\n")
    assert {key for key in after if after[key] != before[key]} == {"bytes", "hash"}


def test_a_second_run_over_its_own_output_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"a/x.csv": CARS.replace(b",", b";"), "b/x.csv": CARS, "c": b"", "z.csv": b""})
    first = describe(tmp_path, name="mine")
    write(tmp_path, {"datapackage.json": json.dumps(first).encode()})
    assert json.dumps(describe(tmp_path)) == json.dumps(first)
    write(tmp_path, {"0/x.csv": CARS})
    second = by_path(describe(tmp_path))
    assert {path: second[path] for path in by_path(first)} == by_path(first)


def test_what_people_wrote_is_kept(tmp_path: Path) -> None:
    schema = {"fields": [{"name": "make", "type": "string", "description": "By hand"}]}
    elsewhere = [
        {"name": "url", "path": "https://example.org/x.csv"},
        {"name": "inline", "data": [1, 2]},
        {"name": "parts", "path": ["p1.csv", "p2.csv"]},
    ]
    known = {
        "title": "Cars",
        "name": "by-hand",
        "licenses": [{"name": "CC0-1.0"}],
        "resources": [
            {"name": "my-cars", "path": "./cars.csv", "title": "All cars", "schema": schema, "sha256": "0" * 64},
            {"name": "boats", "path": "boats.csv", "format": "CSV", "hash": "0" * 32},
            {"name": "gone", "path": "gone.csv"},
            *elsewhere,
        ],
        "version": "1",
    }
    files = dict.fromkeys(("cars.csv", "boats.csv", "p1.csv", "p2.csv"), CARS)
    write(tmp_path, {**files, "datapackage.json": json.dumps(known).encode()})
    made = describe(tmp_path)
    assert list(made) == ["name", "title", "licenses", "resources", "version"]
    assert (made["name"], made["title"]) == ("by-hand", "Cars")
    boats, cars, *others = made["resources"]
    sha256 = hashlib.sha256(CARS).hexdigest()
    assert (cars["name"], cars["path"], cars["title"], cars["schema"]) == ("my-cars", "cars.csv", "All cars", schema)
    assert (cars["bytes"], cars["sha256"], cars["hash"]) == (len(CARS), sha256, f"sha256:{sha256}")
    assert (boats["format"], boats["hash"]) == ("CSV", f"sha256:{sha256}")
    assert others == elsewhere
    assert describe(tmp_path, name="other")["name"] == "other"


def test_nothing_in_the_folder_is_changed(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": CARS, "datapackage.json": b"{}"})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    describe(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())} == before


def test_progress_tells_bytes_and_file(tmp_path: Path) -> None:
    write(tmp_path, {"a.bin": bytes(2_500_000), "b.bin": b"", "c.bin": b"12345"})
    seen: list[tuple[int, int, str]] = []
    describe(tmp_path, progress=lambda *told: seen.append(told))
    total = 2_500_005
    assert seen == [
        (1_048_576, total, "a.bin"),
        (2_097_152, total, "a.bin"),
        (2_500_000, total, "a.bin"),
        (2_500_000, total, "b.bin"),
        (total, total, "c.bin"),
    ]


@pytest.mark.parametrize("name", ["C:x.csv", "~x.csv", "DataPackage.json", "a\nb.csv", "git~1/x.csv"])
def test_names_that_no_resource_may_have_are_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: CARS})
    with pytest.raises(InvalidInput, match="the path"):
        describe(tmp_path, progress=lambda *told: pytest.fail("it was read"))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_bytes(CARS)
    with pytest.raises(InvalidInput, match="name of the file"):
        describe(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"resources": [{"path": "../x"}]}', b'{"a": 1, "a": 2}'])
def test_a_descriptor_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidInput):
        describe(write(tmp_path, {"datapackage.json": content}))


def test_a_descriptor_that_is_no_file_of_the_folder_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {"outside.json": b'{"title": "secret"}', "in/a.csv": CARS})
    (tmp_path / "in/datapackage.json").symlink_to("../outside.json")
    assert "title" not in describe(tmp_path / "in")
    (tmp_path / "in/datapackage.json").unlink()
    os.mkfifo(tmp_path / "in/datapackage.json")
    assert list(by_path(describe(tmp_path / "in"))) == ["a.csv"]


def test_members_of_the_wrong_kind_do_no_harm(tmp_path: Path) -> None:
    odd = {"name": ["x"], "path": "a.csv", "format": {}, "bytes": "many", "hash": 1}
    write(tmp_path, {"a.csv": CARS, "datapackage.json": json.dumps({"resources": [odd, 1, None], "name": []}).encode()})
    (resource,) = describe(tmp_path)["resources"]
    assert (resource["bytes"], resource["name"]) == (len(CARS), ["x"])
    write(tmp_path, {"datapackage.json": b'{"resources": {"a": 1}}'})
    assert list(by_path(describe(tmp_path))) == ["a.csv"]


def test_what_is_asked_wrongly_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": CARS})
    for folder in (tmp_path / "nowhere", tmp_path / "a.csv"):
        with pytest.raises(InvalidInput, match="not a folder"):
            describe(folder)
    with pytest.raises(InvalidInput, match="name"):
        describe(tmp_path, name="Not A Name")


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> int:
        raise PermissionError(13, "Permission denied", path)

    write(tmp_path, {"a.csv": CARS})
    monkeypatch.setattr(os.path, "getsize", refuse)
    with pytest.raises(StorageUnavailable, match=r"permission denied: .*a\.csv"):
        describe(tmp_path)


def test_without_frictionless_files_are_described_but_not_the_columns_of_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "frictionless", None)
    described = describe(write(tmp_path, {"a.csv": CARS, "b.tsv": CARS, "c.json": b"{}"}))
    assert all("schema" not in resource for resource in described["resources"])
    assert by_path(described)["a.csv"]["hash"] == f"sha256:{hashlib.sha256(CARS).hexdigest()}"
    (warning,) = caplog.messages
    assert warning.startswith("the columns of 2 tables are not described: this needs frictionless")
    assert "pip install 'metastore-records[frictionless]'" in warning


def test_frictionless_is_loaded_on_use_only() -> None:
    code = "import sys, metastore.descriptor.describe; sys.exit('frictionless' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_is_fetched_and_no_other_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = b'{"resources": [{"name": "x", "path": "http://127.0.0.1:9/x.csv"}], "$schema": "http://127.0.0.1:9/s"}'
    write(
        tmp_path,
        {
            "*.csv": CARS,
            "package.json": package,
            "http:/127.0.0.1:9/x.csv": b"path,schema\nhttp://127.0.0.1:9/x.csv,file:///etc/passwd\n",
            "x.csv": b'=HYPERLINK("http://127.0.0.1:9"),{"$ref": "http://127.0.0.1:9"}\n__import__("os"),2\n',
            "x.yaml": b"!!python/object/apply:os.system ['false']\n",
            "x.py": b"raise SystemExit",
            "x.sql": b"http://127.0.0.1:9",
        },
    )

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(describe(tmp_path)["resources"]) == 7


@pytest.mark.parametrize("size", [256 * 1024**2, pytest.param(3 * 1024**3, marks=pytest.mark.soak)])
def test_a_file_larger_than_memory_is_streamed(tmp_path: Path, size: int) -> None:
    with open(write(tmp_path, {"big.csv": b"a,b\n" + b"1,2\n" * 500_000}) / "big.csv", "ab") as file:
        file.truncate(size)
    # VmHWM and not ru_maxrss, which counts what the parent had when it forked.
    code = (
        "import sys, metastore.descriptor.describe as d; r = d.describe(sys.argv[1])['resources'][0];"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1];"
        "print(r['bytes'], len(r['schema']['fields']), peak)"
    )
    told = subprocess.check_output([sys.executable, "-c", code, tmp_path], text=True).split()
    assert told[:2] == [str(size), "2"]
    assert int(told[2]) < 200 * 1024  # KiB; frictionless alone takes some 60
