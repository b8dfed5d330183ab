"""The command line: data on stdout, talk on stderr, an exit code for each kind of outcome."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlencode

import click
import pytest
from click.shell_completion import BashComplete
from flask import request, request_started
from psycopg.conninfo import conninfo_to_dict

import metastore
from metastore.auth.tokens import Verifier
from metastore.cli import app, main
from metastore.cli.base import App
from metastore.config import ServiceSettings
from metastore.errors import OutcomeUnknown
from metastore.http import connection
from metastore.http.responses import NotSent
from metastore.storage import copy as copying
from metastore.storage.local import mirror
from metastore.store import waiting
from metastore.store._storage_writer import StorageWriter
from metastore.types import ChangeRequest
from metastore.web import create_app

from .bundle.postgres_server import migrated_database
from .conftest import CATALOGUE, real_descriptor
from .loopback import TOKEN, serving, token
from .test_interop import git
from .waiting import until

WRITE = ("-a", "Ann Lee <ann@example.org>")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run the command line in this process, on a store of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("METASTORE_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["metastore", *arguments])
        (tmp_path / "stdin").write_bytes(stdin)
        with (tmp_path / "stdin").open() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as ended:
                app.run()
        out, err = capsysbinary.readouterr()
        return Outcome(int(ended.value.code or 0), out.decode(), err.decode())

    return call


@pytest.fixture
def cars(run: Run) -> str:
    """Make a dataset; returns its first revision."""
    return run("dataset", "create", "physics/cars", *WRITE, stdin=b'{"name": "cars", "n": 1.10}').out.strip()


def test_create_prints_the_revision_and_talks_on_stderr(run: Run) -> None:
    done = run("dataset", "create", "physics/cars", *WRITE, stdin=b'{"name": "cars"}')
    assert done.code == 0
    assert len(done.out.strip()) == 40
    assert "Created physics/cars" in done.err
    assert "the descriptor has no resources" in done.err


def test_read_prints_exactly_what_is_stored(run: Run, cars: str) -> None:
    assert run("dataset", "read", "physics/cars").out == '{\n  "name": "cars",\n  "n": 1.10\n}\n'
    assert run("dataset", "read", "physics/cars", cars[:8], "--json").json["revision"]["id"] == cars


def test_a_revision_that_a_time_names_is_told(run: Run, cars: str) -> None:
    made = run("revision", "read", "physics/cars", "--json").json["created"]
    run("dataset", "patch", "physics/cars", '{"n": 2}', "--at", "2999-01-01", *WRITE)
    told = f"2998-01-01: revision {cars[:12]}, from {made[:10]} {made[11:16]} UTC.\n"
    for command in (
        ("show", "physics/cars@2998-01-01"),
        ("show", "physics/cars", "2998-01-01", "--raw"),
        ("revision", "diff", "physics/cars", "2998-01-01"),
        ("revision", "diff", "physics/cars", "HEAD", "2998-01-01"),
        ("blame", "physics/cars", "2998-01-01"),
        ("diff", "physics/cars", "physics/cars@2998-01-01"),
    ):
        assert run(*command).err == told, command
        assert run(*command, "--quiet").err == "", command
    for command in (
        ("check", "physics/cars@2998-01-01"),
        ("tag", "create", "physics/cars", "v1", "2998-01-01", *WRITE),
        ("tag", "update", "physics/cars", "v1", "--revision", "2998-01-01", *WRITE),
    ):
        assert run(*command).err.startswith(told), command
    assert run("show", "physics/cars@HEAD").err == ""
    assert run("show", "physics/cars@HEAD~1").err == told.replace("2998-01-01", "HEAD~1")
    exported = run("export", "out", "--revision", "2998-01-01")
    assert told.replace("2998-01-01", "physics/cars@2998-01-01") in exported.err
    assert run("undo", "physics/cars", "2998-01-01", "--dry-run", *WRITE).err.startswith(told)
    reverted = run("dataset", "revert", "physics/cars", "2998-01-01", *WRITE)
    assert reverted.err.startswith(told)


def test_json_is_taken_in_front_and_behind(run: Run, cars: str) -> None:
    for arguments in (("--json", "revision", "read", "physics/cars"), ("revision", "read", "physics/cars", "--json")):
        assert run(*arguments).json["id"] == cars


def test_a_day_with_a_dataset(run: Run, cars: str) -> None:
    patched = run("dataset", "patch", "physics/cars", '{"title": "Cars"}', "-m", "Say what it is", *WRITE)
    assert patched.code == 0
    same = run("dataset", "patch", "physics/cars", '{"title": "Cars"}', *WRITE)
    assert "no revision was made" in same.err
    assert same.out == patched.out
    diff = run("revision", "diff", "physics/cars", cars)
    assert diff.out == "+ title added: 'Cars'\n"
    assert run("revision", "diff", "physics/cars", cars, "--patch").json == [
        {"op": "add", "path": "/title", "value": "Cars"}
    ]
    assert '+  "title": "Cars"' in run("revision", "diff", "physics/cars", cars, "--unified").out
    assert "No difference" in run("revision", "diff", "physics/cars", cars, cars).err
    listed = run("revision", "list", "physics/cars").out.splitlines()
    assert [line.split(": ", 1)[1] for line in listed] == ["Say what it is", "Create dataset"]
    summaries = run("revision", "list", "physics/cars", "--summary").out.splitlines()
    assert [line.strip() for line in summaries[1::2]] == ["title added", "created"]
    assert run("changes", "--summary").out.rstrip().split("\t")[1:3] == ["changed", "physics/cars"]
    assert run("changes", "--summary").out.endswith("\ttitle added\n")
    assert run("tag", "create", "physics/cars", "v1", cars, "-d", "First", *WRITE).code == 0
    assert run("tag", "list", "physics/cars").out == f"v1 -> {cars[:12]} (First)\n"
    assert run("tag", "update", "physics/cars", "v1", "--new-name", "v2", *WRITE).code == 0
    assert run("tag", "read", "physics/cars", "v2").out.startswith(f"v2 -> {cars}")
    assert run("dataset", "revert", "physics/cars", "v2", *WRITE).code == 0
    assert "title" not in run("dataset", "read", "physics/cars").out
    assert run("dataset", "move", "physics/cars", "physics/boats", *WRITE).code == 0
    moved = run("dataset", "read", "physics/cars")
    assert (moved.code, "moved to physics/boats" in moved.err) == (3, True)
    assert run("tag", "delete", "physics/boats", "v2", *WRITE).code == 0
    gone = run("dataset", "delete", "physics/boats", *WRITE)
    assert "brings it back" in gone.err
    assert run("dataset", "read", "physics/boats").code == 3
    assert run("dataset", "list").out == ""
    assert run("dataset", "list", "--deleted").out == "physics/boats\n"
    assert run("dataset", "purge", "physics/boats", "--yes", *WRITE).code == 0
    lines = run("journal", "--json").out.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["purge", "tag_delete", "move", "tag_update"]
    assert "purged" in run("changes").out
    feed = run("changes", "--summary", "--json").out.splitlines()
    assert [json.loads(line)["summary"] for line in feed] == ["", ""]  # of the id that moved away, too
    assert run("verify").code == 0


def test_the_records_of_a_name_that_never_was_are_not_found(run: Run, cars: str) -> None:
    assert run("journal", "physics/cars") == (0, "", "")
    told = run("journal", "physics/none")
    assert (told.code, "physics/none" in told.err) == (3, True)
    run("dataset", "delete", "physics/cars", *WRITE)
    run("dataset", "purge", "physics/cars", "--yes", *WRITE)
    assert "purge" in run("journal", "physics/cars").out
    told = run("bundle", "log", "None")
    assert (told.code, "None" in told.err, "metastore bundle list" in told.err) == (3, True, True)


def test_files_and_revisions_are_graded_by_the_deployments_own_table(
    run: Run, cars: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules, file = tmp_path / "rules.json", tmp_path / "cars.json"
    rules.write_text('[{"grade": "major", "kinds": ["added"], "place": "title"}]')
    file.write_text('{"name": "cars", "n": 1.10, "title": "Cars"}')
    monkeypatch.setenv("METASTORE_GRADES", str(rules))
    assert run("dataset", "patch", "physics/cars", '{"title": "Cars"}', *WRITE).code == 0
    for command in (("diff", "physics/cars@HEAD~1", str(file)), ("revision", "diff", "physics/cars", "HEAD~1")):
        assert run(*command, "--grade").out == "major\n"


def test_what_changes_nothing_says_so(run: Run, cars: str) -> None:
    run("tag", "create", "physics/cars", "v1", *WRITE)
    assert "nothing was changed" in run("tag", "update", "physics/cars", "v1", *WRITE).err
    assert "nothing was moved" in run("dataset", "move", "physics/cars", "physics/cars", *WRITE).err


def test_files_datasets_and_stores_are_compared(run: Run, cars: str, tmp_path: Path) -> None:
    file = tmp_path / "cars.json"
    file.write_text('{"name": "cars", "n": 1.1, "title": "Cars"}')
    assert run("dataset", "patch", "physics/cars", '{"version": "2"}', *WRITE).code == 0
    said = run("diff", f"physics/cars@{cars[:12]}", str(file))
    assert said.out == "~ n changed: 1.10 → 1.1 (the same number, written otherwise)\n+ title added: 'Cars'\n"
    lines = run("diff", f"physics/cars@{cars[:12]}", str(file), "--unified").out.splitlines()
    assert [line for line in lines if '"n"' in line] == ['-  "n": 1.10,', '+  "n": 1.1,']
    assert run("diff", "physics/cars@HEAD~1", "physics/cars", "--summary", "--exit-code").code == 1
    same = run("diff", "physics/cars", "physics/cars", "--exit-code")
    assert (same.code, same.out, "No difference" in same.err) == (0, "", True)
    orders = [b'{"name": "cars", "title": "Cars"}', b'{"title": "Cars", "name": "cars"}']
    file.write_bytes(orders[0])
    swapped = run("diff", str(file), "-", stdin=orders[1])
    assert swapped.err == "No differences: only the order of members changed.\n"
    assert run("diff", str(file), "-", stdin=orders[0]).err == "No differences.\n"
    assert run("diff", str(file), "-", "--grade", stdin=b'{"name": "x"}').out == "major\n"
    assert "+++ -" in run("diff", str(file), "-", "--unified", stdin=b'{"name": "x"}').out
    other = str(tmp_path / "other")
    assert run("dataset", "create", "physics/boats", "--store", other, *WRITE, stdin=b"{}").code == 0
    assert run("dataset", "create", "physics/cars", "--store", other, *WRITE, stdin=b'{"name": "x"}').code == 0
    assert run("diff", "physics/cars", "--with", other, "--summary").out.startswith("name changed")
    assert run("diff", "--with", other).out.splitlines() == [
        "physics/boats: only in the other store",
        "physics/cars: name changed; n and version removed (major)",
    ]
    (lone, both) = map(json.loads, run("diff", "--with", other, "--json").out.splitlines())
    assert (lone["grade"], both["grade"]) == ("", "major")
    value = run("diff", "physics/cars", "--with", other, "--json").json
    assert (value["grade"], value["version"], len(value["changes"])) == ("major", None, 3)
    broken = tmp_path / "other" / "physics" / "cars.git"
    for loose in broken.glob("objects/??/*"):
        loose.unlink()
    said = run("diff", "--with", other)
    assert said.out.startswith("physics/boats: only in the other store\nphysics/cars: cannot be compared: ")
    for wrong in (("diff",), ("diff", str(file), "-"), ("diff", str(file), "none.json")):
        assert run(*wrong, stdin=b"[]").code == 2


def test_a_deletion_is_compared_as_an_empty_descriptor(run: Run, cars: str) -> None:
    run("dataset", "delete", "physics/cars", *WRITE)
    assert run("revision", "diff", "physics/cars", cars).out == "- name removed: 'cars'\n- n removed: 1.10\n"
    lines = run("revision", "diff", "physics/cars", cars, "--unified").out.splitlines()
    assert lines[2:] == ["@@ -1,4 +0,0 @@", "-{", '-  "name": "cars",', '-  "n": 1.10', "-}"]


def test_update_takes_a_file_and_expected(run: Run, cars: str, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text('{"name": "cars", "n": 2}')
    assert run("dataset", "update", "physics/cars", "new.json", "--expected", cars, *WRITE).code == 0
    stale = run("dataset", "update", "physics/cars", "new.json", "--expected", cars, *WRITE)
    assert (stale.code, "was expected at" in stale.err) == (4, True)


def test_resources_and_projects_are_read(run: Run) -> None:
    assert run("import", str(CATALOGUE), *WRITE).code == 0
    assert run("resource", "read", "vega/datasets", "airports", "--json").json["path"] == "airports.csv"
    assert run("resource", "read", "vega/datasets", "nothing").code == 3
    assert run("project", "read", "okfn/compression").out.startswith("dataset  okfn/compression")
    assert run("project", "read", "okfn/compression", "--json").json["owner"] == "okfn"


def test_import_goes_on_where_it_was_interrupted_and_reports_what_fails(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "more" / "owner" / "bad" / "datapackage.json"
    bad.parent.mkdir(parents=True)
    bad.write_text('{"resources": [{"name": "x", "path": "../../etc/passwd"}]}')
    first = run("import", str(CATALOGUE), str(tmp_path / "more"), "--json", *WRITE)
    assert first.code == 1
    assert (first.json["created"], first.json["failed"]) == (4, 1)
    assert first.json["failures"][0]["file"] == str(bad)
    assert "leaves the dataset" in first.json["failures"][0]["reason"]
    second = run("import", str(CATALOGUE), *WRITE)
    assert (second.code, second.out) == (0, "0 created, 0 updated, 4 unchanged, 0 failed, 4 findings\n")


def test_import_takes_the_name_from_the_descriptor_with_an_owner(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "cars", "resources": []}')
    assert "give --owner" in run("import", "a.json", *WRITE).err
    assert run("import", "a.json", "--owner", "physics", *WRITE).code == 0
    assert run("dataset", "list").out == "physics/cars\n"


def test_import_takes_no_dataset_from_two_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "cars", "title": "A", "resources": []}')
    (tmp_path / "b.json").write_text('{"name": "cars", "title": "B", "resources": []}')
    done = run("import", "a.json", "b.json", "--owner", "physics", *WRITE)
    assert (done.code, "b.json: physics/cars was taken from a.json already" in done.err) == (1, True)
    assert json.loads(run("dataset", "read", "physics/cars").out)["title"] == "A"
    assert run("import", "a.json", "./a.json", "--owner", "physics", *WRITE).code == 0


def test_import_leaves_what_was_moved_where_it_is(run: Run) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("dataset", "move", "okfn/compression", "museum/compression", *WRITE)
    again = run("import", str(CATALOGUE), *WRITE)
    assert (again.code, "was moved to museum/compression" in again.err) == (1, True)
    assert "was moved to" in run("dataset", "read", "okfn/compression").err


def test_export_writes_what_import_reads(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    assert run("export", "out").out == "4 exported\n"
    assert run("import", "out", *WRITE).out.startswith("0 created, 0 updated, 4 unchanged")
    exported = json.loads((tmp_path / "out/okfn/compression/datapackage.json").read_text())
    assert exported == real_descriptor("okfn/compression")


def test_a_long_list_has_date_author_title_and_reason_of_each_dataset(run: Run, cars: str) -> None:
    title = '{"title": "Old\\u001b[31m"}'
    run("dataset", "create", "physics/old", *WRITE, "--at", "2024-05-01T12:00:00Z", stdin=title.encode())
    run("dataset", "delete", "physics/old", *WRITE, "-m", "No longer needed", "--at", "2024-05-02T12:00:00Z")
    line = run("dataset", "list", "--long", "--deleted").out
    assert line == "physics/old  2024-05-02  Ann Lee  Old\\u001b[31m  (No longer needed)\n"
    listed = run("dataset", "list", "--long", "--json", "physics/cars").json
    assert (listed["id"], listed["title"], listed["revision"]["id"]) == ("physics/cars", "cars", cars)


def test_check_lists_findings_and_fails_on_any(run: Run) -> None:
    good = str(CATALOGUE / "okfn/compression/datapackage.json")
    bad = str(CATALOGUE / "vega/datasets/datapackage.json")
    assert run("check", good).code == 0
    done = run("check", good, bad)
    assert (done.code, len(done.out.splitlines())) == (1, 3)
    assert len(run("check", bad, "--json").json["findings"]) == 3


def test_all_datasets_are_checked_with_a_count_by_kind_also_where_one_cannot_be_read(run: Run, cars: str) -> None:
    compression = str(CATALOGUE / "okfn/compression/datapackage.json")
    assert run("dataset", "create", "physics/fine", compression, *WRITE).code == 0
    worse = b'{"resources": [{"name": "a"}, {"path": "b"}]}'
    assert run("dataset", "create", "physics/worse", *WRITE, stdin=worse).code == 0
    store = metastore.connect("metastore-data")
    created = store.revision_read("physics/cars")
    change = metastore.types.Change(created.author, "By hand", created.created)
    store.storage.create(metastore.DatasetId("physics", "zero"), {"datapackage.json": b"no JSON"}, change)
    done = run("check", "--all")
    lines = done.out.splitlines()
    assert done.code == 1
    assert any(line.startswith("physics/zero: (descriptor): ") and "not JSON" in line for line in lines)
    assert "physics/fine: no problems" in done.err
    counted = [line.split() for line in done.err.splitlines() if line.startswith("  ")]
    assert sum(int(count) for count, _ in counted) == len(lines)
    assert ["1", "invalid-input"] in counted
    *found, last = [json.loads(line) for line in run("check", "--store", "metastore-data", "--json").out.splitlines()]
    assert [each["dataset"] for each in found] == ["physics/cars", "physics/fine", "physics/worse", "physics/zero"]
    assert last == {"kinds": {kind: int(count) for count, kind in counted}}
    assert run("check").code == run("check", "--all", "x.json").code == 2


def test_an_abbreviation_is_enough_to_say_which_revision_is_expected(run: Run, cars: str) -> None:
    patch = ("dataset", "patch", "physics/cars", '{"title": "T"}', "--expected")
    assert run(*patch, cars[:12], *WRITE).code == 0
    assert run(*patch, cars[:12], *WRITE).code == 4
    assert run(*patch, "0" * 12, *WRITE).code == 3
    assert run(*patch, "HEAD", *WRITE).code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("dataset", "read", "physics/none"), 3, "there is no dataset physics/none"),
        (("dataset", "read", "Physics/Cars"), 2, "lower case: try 'physics'"),
        (("dataset", "read", "physics/cars", "v9"), 3, "has no revision 'v9'"),
        (("dataset", "create", "physics/cars", "-", *WRITE), 2, "stdin is empty"),
        (
            ("dataset", "create", "physics/new", "missing.json", *WRITE),
            2,
            "missing.json cannot be read: there is no such file",
        ),
        (("dataset", "patch", "physics/cars", "[1]", *WRITE), 2, "operation 0"),
        (("dataset", "update", "physics/cars", "--at", "yesterday", *WRITE), 2, "not a time such as"),
        (("dataset", "update", "physics/cars", "--at", "2024-01-01T00:00:00", *WRITE), 2, "no time zone"),
        (("dataset", "revert", "physics/cars"), 2, "Missing argument 'REVISION'"),
        (("dataset", "frobnicate"), 2, "No such command"),
        (("dataset", "read", "physics/cars", "--colour"), 2, "No such option"),
        (("dataset", "list", "--store", "nowhere"), 5, "there is no store at"),
        (("dataset", "list", "--store", "ftp://x"), 2, "no storage is called 'ftp'"),
        (("dataset", "list", "--store", "ftp://x"), 2, "gitlab:, https:, memory:"),
        (("tag", "create", "physics/cars", "HEAD"), 2, "the branch: choose another"),
        (("dataset", "list", "--store", ""), 2, "an empty path names no store"),
        (("dataset", "update", "physics/cars", "--author", ""), 2, "an author needs a name: '' has none"),
        (("dataset", "update", "physics/cars", "--author", "<x@example.org>"), 2, "a name: '<x@example.org>' has none"),
        (("dataset", "purge", "physics/cars", "--yes", *WRITE), 2, "delete it first"),
        (("dataset", "purge", "physics/cars", *WRITE), 2, "Error: physics/cars is live"),
        (("journal", "--since", "2024-01-01T00:00:00"), 2, "write 2024-01-01T00:00:00Z for UTC"),
    ],
)
def test_a_mistake_gets_a_sentence_and_its_exit_code(run: Run, cars: str, arguments: Any, code: int, said: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("show", "physics/care"), "metastore dataset list physics/"),
        (("show", "physics/gone"), "metastore dataset revert physics/gone "),
        (("show", "physics/moved"), "metastore dataset read physics/new"),
        (("show", "physics/cars", "v9"), "metastore revision list physics/cars"),
        (("tag", "read", "physics/cars", "v9"), "metastore tag list physics/cars"),
        (("resource", "read", "physics/cars", "x"), "metastore dataset read physics/cars"),
        (("bundle", "read", "none"), "metastore bundle list"),
    ],
)
def test_a_not_found_error_names_the_command_that_helps(
    run: Run, cars: str, command: tuple[str, ...], advice: str
) -> None:
    with metastore.connect("metastore-data", author="Setup", validation="off") as store:
        store.dataset_create("physics/gone", {})
        store.dataset_delete("physics/gone")
        store.dataset_create("physics/moved", {})
        store.dataset_move("physics/moved", "physics/new")
    done = run(*command)
    assert (done.code, f", run: {advice}" in done.err) == (3, True)
    line = next(line for line in done.err.splitlines() if f", run: {advice}" in line)
    helps = run(*line.partition(", run: metastore ")[2].split(), *(WRITE if "revert" in advice else ()))
    assert helps.code == 0
    assert "run: " not in run(*command, "-q").err


def test_an_id_that_is_taken_gets_the_command_that_shows_it(run: Run, cars: str) -> None:
    taken = run("dataset", "create", "physics/cars", *WRITE, stdin=b"{}")
    assert "run: metastore dataset read physics/cars" in taken.err


def test_a_creation_is_undone_unless_a_later_change_stands_and_that_is_said(run: Run, cars: str) -> None:
    later = run("dataset", "patch", "physics/cars", '{"version": "2"}', *WRITE, "-m", "Second").out.strip()
    refused = run("undo", "physics/cars", cars, *WRITE)
    assert refused.code == 4
    assert refused.err.splitlines()[1:] == [f"  revision {later[:12]} ('Second')"]
    run("undo", "physics/cars", "HEAD", *WRITE)
    done = run("undo", "physics/cars", cars, *WRITE)
    assert (done.code, "So the dataset is deleted; `metastore dataset revert physics/cars " in done.err) == (0, True)
    assert "no revision was made" in run("undo", "physics/cars", cars, *WRITE).err
    back = run(*done.err.split("`")[1].split()[1:], *WRITE)
    assert (back.code, run("dataset", "read", "physics/cars").code) == (0, 0)


def test_nothing_to_read_or_to_undo_is_said_so(run: Run, cars: str) -> None:
    for command in (("create", "physics/new"), ("update", "physics/cars"), ("patch", "physics/cars")):
        done = run("dataset", *command, *WRITE, stdin=b"\n")
        assert (done.code, done.err) == (2, "Error: stdin is empty: JSON was expected there\n")
    nothing = run("undo", "--batch", "none", *WRITE)
    assert (nothing.code, nothing.err) == (0, "No change fits, so nothing was undone.\n")
    which = run("undo", "physics/cars", *WRITE)
    assert (which.code, "`metastore undo physics/cars HEAD` undoes the newest one" in which.err) == (2, True)


def test_a_patch_that_does_not_fit_is_told_in_a_line(run: Run) -> None:
    run("import", str(CATALOGUE), *WRITE)
    patch = '[{"op": "remove", "path": "/nothing/here"}]'
    done = run("dataset", "patch", "vega/datasets", patch, *WRITE)
    assert (done.code, "the document has no member 'nothing'" in done.err, len(done.err) < 300) == (2, True, True)


def test_errors_are_json_where_it_was_asked_for(run: Run, cars: str) -> None:
    error = json.loads(run("dataset", "read", "physics/none", "--json").err)["error"]
    assert (error["kind"], error["dataset_id"]) == ("dataset-not-found", "physics/none")
    for arguments in (("dataset", "read", "--json"), ("--json", "dataset", "lst")):
        done = run(*arguments)
        assert (done.code, json.loads(done.err)["error"]["kind"]) == (2, "invalid-input")


def test_verify_tells_each_damage_once(run: Run, cars: str, tmp_path: Path) -> None:
    (tmp_path / "metastore-data/physics/cars.git/HEAD").write_text("nothing")
    done = run("verify")
    assert (done.code, done.out.count("\n"), "1 problem found" in done.err) == (1, 1, True)


def test_a_backup_says_in_json_what_it_copied(run: Run, cars: str) -> None:
    report = run("backup", "copy", "--json").json
    assert (report["datasets"], report["copied"] > 0, report["bytes"] > 0) == (1, True, True)
    assert "bytes" not in run("dataset", "read", "physics/cars", "--json").json


def test_settings_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METASTORE_STORE", "elsewhere")
    monkeypatch.setenv("METASTORE_AUTHOR", "Bo <bo@example.org>")
    monkeypatch.setenv("METASTORE_VALIDATION", "strict")
    refused = run("dataset", "create", "physics/cars", stdin=b'{"name": "cars"}')
    assert (refused.code, "not valid" in refused.err) == (2, True)
    monkeypatch.setenv("METASTORE_VALIDATION", "off")
    assert run("dataset", "create", "physics/cars", stdin=b'{"name": "cars"}').code == 0
    assert "Bo <bo@example.org>" in run("revision", "read", "physics/cars").out
    assert (tmp_path / "elsewhere" / "metastore.json").exists()
    for variable, wrong in (("MAX_BYTES", "many"), ("AUTHOR", "<>"), ("LFS_URL", "here")):
        with monkeypatch.context() as patch:
            patch.setenv(f"METASTORE_{variable}", wrong)
            assert f"METASTORE_{variable}" in run("dataset", "list").err


def test_a_missing_author_is_told_once_and_nothing_is_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("metastore.connecting.git_author", lambda: None)
    for arguments in (("import", str(CATALOGUE)), ("dataset", "create", "physics/cars")):
        done = run(*arguments, stdin=b"{}")
        assert (done.code, done.out, done.err.count("--author"), done.err.count("\n")) == (2, "", 1, 1)
    assert not (tmp_path / "metastore-data").exists()


def edit_with(run: Run, editor: Path, script: str) -> Outcome:
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    os.environ["EDITOR"] = os.environ["VISUAL"] = str(editor)
    try:
        return run("dataset", "edit", "physics/cars", *WRITE)
    finally:
        del os.environ["EDITOR"], os.environ["VISUAL"]


@pytest.mark.parametrize(("meanwhile", "code"), [("patch physics/cars {}", 4), ("move physics/cars physics/vans", 3)])
def test_edit_keeps_the_typed_text_when_others_change_the_dataset(
    run: Run, cars: str, tmp_path: Path, meanwhile: str, code: int
) -> None:
    change = meanwhile.replace("{}", '\'{"title": "Cars"}\'')
    other = f"{sys.executable} -m metastore dataset {change} -a Bo 2>/dev/null >/dev/null"
    done = edit_with(run, tmp_path / "editor", f'{other}\nprintf \'%s\' \'{{"name": "typed"}}\' > "$1"')
    assert done.code == code
    kept = Path(done.err.split("is kept in ")[1].split(":")[0])
    assert kept.read_text() == '{"name": "typed"}'
    if code == 4:
        assert f"metastore revision diff physics/cars {cars[:12]}`" in done.err
        newest = run("revision", "read", "physics/cars", "--json").json["id"]
        assert f"update physics/cars {kept} --expected {newest}`" in done.err
    kept.unlink()


@pytest.mark.parametrize("saved", ['{"name": "edited"}', '{"name": '])
def test_edit_opens_the_editor_and_keeps_what_was_typed(run: Run, cars: str, tmp_path: Path, saved: str) -> None:
    done = edit_with(run, tmp_path / "editor", f"printf '%s' '{saved}' > \"$1\"")
    if saved.endswith("}"):
        assert json.loads(run("dataset", "read", "physics/cars").out) == {"name": "edited"}
    else:
        assert (done.code, "not JSON" in done.err) == (2, True)
        kept = done.err.split("is kept in ")[1].split(":")[0]
        assert Path(kept).read_text() == saved
        Path(kept).unlink()


def test_a_store_may_be_a_service(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(metastore.connect("memory:", author="Setup")) as address:
        monkeypatch.setenv("METASTORE_STORE", address)
        refused = run("dataset", "create", "physics/cars", stdin=b"{}")
        assert (refused.code, "Set METASTORE_TOKEN" in refused.err) == (6, True)
        monkeypatch.setenv("METASTORE_TOKEN", "wrong")
        refused = run("dataset", "create", "physics/cars", stdin=b"{}")
        assert (refused.code, "The token is that of METASTORE_TOKEN" in refused.err) == (6, True)
        monkeypatch.setenv("METASTORE_TOKEN", TOKEN)
        first = run("dataset", "create", "physics/cars", "-m", "First", stdin=b'{"name": "cars", "n": 1.10}')
        assert first.code == 0
        assert '"n": 1.10' in run("dataset", "read", "physics/cars").out
        for arguments in (
            ("tag", "create", "physics/cars", "v1"),
            ("dataset", "patch", "physics/cars", '{"title": "Cars"}', "--expected", first.out.strip()),
            ("dataset", "revert", "physics/cars", "v1", *WRITE),
            ("dataset", "undo", "physics/cars", "HEAD", *WRITE),
            ("undo", "physics/cars", "HEAD", *WRITE),
            ("tag", "update", "physics/cars", "v1", "--new-name", "v2"),
            ("project", "read", "physics/cars"),
            ("revision", "list", "physics/cars"),
            ("revision", "diff", "physics/cars", "v2"),
            ("export", "out"),
            ("dataset", "move", "physics/cars", "x/y"),
            ("dataset", "delete", "x/y"),
            ("journal",),
            ("changes",),
            ("dataset", "purge", "x/y", "--yes"),
        ):
            done = run(*arguments)
            assert done.code == 0, (arguments, done)
        assert run("dataset", "list").out == ""
        assert run("import", str(CATALOGUE)).code == 0
        for arguments in (
            ("verify",),
            ("pack",),
            ("backup", "copy"),
            ("bundle", "list"),
            ("token", "--user", "x", "--scope", "ds:*"),
        ):
            done = run(*arguments)
            assert (done.code, "a service" in done.err) == (2, True), (arguments, done)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("metastore dataset read phy", ["physics/cars"]),
        ("metastore dataset list ", ["math/", "physics/"]),
        ("metastore dataset list math/", ["math/cars"]),
        ("metastore revision diff physics/cars v", ["v1", "v2"]),
        ("metastore tag delete physics/cars v2", ["v2"]),
        ("metastore show physics/cars v", ["v1", "v2"]),
        ("metastore show math/cars phys", ["physics/cars"]),
        ("metastore --store nowhere dataset read ", []),
        ("metastore und", ["undo"]),
        ("metastore hist", ["history"]),
    ],
)
def test_a_shell_completes_ids_owners_and_tags(run: Run, cars: str, typed: str, offered: list[str]) -> None:
    store = metastore.connect("metastore-data", author="Setup")
    store.dataset_create("math/cars", {"name": "cars"})
    for tag in ("v1", "v2"):
        store.tag_create("physics/cars", tag)
    *words, incomplete = typed.split(" ")
    completion = BashComplete(app.cli, {"obj": App()}, "metastore", "_METASTORE_COMPLETE")
    assert [item.value for item in completion.get_completions(words[1:], incomplete)] == offered


def test_status_says_which_store_is_used_and_who_would_write(run: Run, cars: str) -> None:
    run("dataset", "create", "physics/boats", *WRITE, stdin=b"{}")
    run("dataset", "delete", "physics/boats", *WRITE)
    told = run("status", "--json").json
    assert (told["store"], told["datasets"], told["deleted"]) == ("./metastore-data", 1, 1)
    assert "Datasets: 1, and 1 deleted" in run("status").out


def test_every_shell_gets_a_completion_script(run: Run) -> None:
    for shell in ("zsh", "fish"):
        assert "_METASTORE_COMPLETE" in run("completion", shell).out


def test_the_installed_program_and_the_module_are_the_command_line(tmp_path: Path) -> None:
    for program in ([str(Path(sys.executable).parent / "metastore")], [sys.executable, "-m", "metastore"]):
        done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stdout.startswith("metastore 0.")


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, run: Run, cars: str) -> None:
    program = f"{sys.executable} -m metastore dataset read physics/cars | true"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [("dataset read physics/cars | true", 141, ""), ("dataset list >/dev/full", 5, "the disk is full: stdout")],
)
def test_what_cannot_be_printed_has_its_exit_code(
    tmp_path: Path, run: Run, cars: str, arguments: str, code: int, said: str
) -> None:
    program = f"set -o pipefail; {sys.executable} -m metastore {arguments}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code
    assert done.stderr == (f"Error: {said}\n" if said else "")


def test_output_that_python_does_not_buffer_is_written_to_its_end_or_said_to_be_cut(tmp_path: Path, run: Run) -> None:
    values = json.dumps({"name": "cars", "description": "x" * 200_000}).encode()
    run("dataset", "create", "physics/cars", *WRITE, stdin=values)
    program = f"set -o pipefail; {sys.executable} -u -m metastore dataset read physics/cars | head -c 1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "{", "")


def test_a_folder_that_cannot_be_written_to_gets_a_sentence(run: Run, cars: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    exported = run("export", "file/out")
    assert (exported.code, "file/out/physics/cars" in exported.err, "Traceback" in exported.err) == (2, True, False)
    pytest.importorskip("frictionless")
    (tmp_path / "folder").mkdir()
    described = run("describe", "folder", "-o", "file/datapackage.json")
    assert (described.code, "file/datapackage.json cannot be written" in described.err) == (2, True)


def test_an_interrupt_ends_with_130(run: Run, cars: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metastore.store.store.MetaStore.dataset_read", interrupted)
    assert run("dataset", "read", "physics/cars").code == 130


def test_without_click_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"needs click, .* pip install .metastore-records\[cli\]"):
        main()


def test_one_damaged_dataset_does_not_keep_the_others_from_being_packed_and_exported(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    objects = tmp_path / "metastore-data" / "okfn" / "compression.git" / "objects"
    for file in objects.glob("??/*"):
        file.chmod(0o644)
        file.write_bytes(b"damaged")
    packed = run("pack", "--json")
    assert (packed.code, packed.json["packed"]) == (1, 3)
    assert packed.json["failures"][0]["dataset"] == "okfn/compression"
    exported = run("export", "out")
    assert (exported.code, exported.out) == (1, "3 exported, 1 failed\n")
    assert "okfn/compression" in exported.err
    assert run("pack", "no/such").code == 3


def test_a_backup_that_was_kept_from_damage_says_so_by_its_exit_code(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    assert run("backup", "copy").code == 0
    shutil.rmtree(tmp_path / "metastore-data" / "okfn" / "compression.git")
    assert run("backup", "copy").code == 7
    assert run("dataset", "read", "okfn/compression", "--store", "copy").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dataset", "patch", "physics/cars", "title=Cars"), "neither JSON"),
        (("tag", "create", "physics/cars", "v1", "-d", "One", "-m", "Two"), "give one of them"),
    ],
)
def test_what_is_easily_mistaken_is_explained(run: Run, cars: str, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments, *WRITE)
    assert (done.code, said in done.err) == (2, True)


# Where a store comes from


def test_a_write_says_when_it_makes_a_new_store(run: Run) -> None:
    first = run("dataset", "create", "physics/cars", *WRITE, stdin=b"{}")
    assert "Made a new store at ./metastore-data." in first.err
    assert "new store" not in run("dataset", "create", "physics/boats", *WRITE, stdin=b"{}").err


def test_a_quiet_write_makes_no_store_silently_unless_one_is_meant(run: Run) -> None:
    create = ("-q", "dataset", "create", "physics/cars", *WRITE)
    assert run("--store", "mistyped", *create, stdin=b"{}").err == "Made a new store at mistyped.\n"
    assert run("--store", "meant", *create, "--create", stdin=b"{}").err == ""


def test_a_descriptor_that_is_refused_leaves_no_store_behind(run: Run, tmp_path: Path) -> None:
    assert run("dataset", "create", "physics/cars", *WRITE, stdin=b"[]").code == 2
    assert not (tmp_path / "metastore-data").exists()


def test_init_makes_a_store_where_there_is_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("init").out == "./metastore-data\n"
    assert run("dataset", "list").code == 0
    assert run("init", "elsewhere").code == 0
    assert run("--store", "third", "init", "--json").json == {"store": "third"}
    again = run("init", "elsewhere")
    assert (again.code, "exists already" in again.err) == (4, True)
    monkeypatch.setenv("METASTORE_STORE", "fourth")
    assert run("init").out == "fourth\n"
    assert (tmp_path / "fourth" / "metastore.json").exists()


# Habits


@pytest.mark.parametrize(("shortcut", "noun", "verb"), [(name, *path) for name, path in app.SHORTCUTS.items()])
def test_a_shortcut_does_what_its_command_does(run: Run, cars: str, shortcut: str, noun: str, verb: str) -> None:
    arguments = {"list": (), "undo": ("physics/cars", "HEAD", *WRITE)}.get(verb, ("physics/cars",))
    if (noun, verb) in (("revision", "list"), ("tag", "list")):
        arguments = ("physics/cars",)
    short, long = run(shortcut, *arguments), run(noun, verb, *arguments)
    assert short.code == 0
    assert short.out == long.out or verb == "undo"  # the second undo takes back the first
    assert f"  {shortcut} " in run("--help").out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("datset", "dataset"),
        ("revert", "`dataset revert`"),
        ("read", "`dataset read` or `bundle read`"),
        ("hisotry", "history"),
        ("rename", "`dataset move`?"),
        ("rm", "`dataset delete`?"),
        ("logs", "log or"),
        ("xyzzy", ""),
    ],
)
def test_an_unknown_command_is_answered_with_those_that_are_alike(run: Run, typed: str, meant: str) -> None:
    done = run(typed, "physics/cars")
    assert done.code == 2
    assert f"No such command {typed!r}." in done.err
    assert (f"Did you mean {meant}" in done.err) == bool(meant)


def test_all_datasets_that_fit_are_patched_in_one_batch_which_is_taken_back(run: Run, cars: str) -> None:
    for name in ("a", "b", "c"):
        licence = "CC-BY-3.0" if name != "c" else "CC0-1.0"
        descriptor = {"name": name, "licenses": [{"name": licence}]}
        run("dataset", "create", f"museum/{name}", *WRITE, stdin=json.dumps(descriptor).encode())
    edit = ("dataset", "edit", "--where", "licence:CC-BY-3.0", "--where", "owner:museum", "--patch")
    tried = run(*edit, '{"version": "2"}', "--dry-run", *WRITE)
    assert tried.out == (
        "museum/a: update\n  version added: '2'\nmuseum/b: update\n  version added: '2'\n"
        "2 of 2 datasets would be changed\n"
    )
    assert run("show", "museum/a").json.get("version") is None
    broken = run(*edit, '{"homepage": 1}', "--dry-run", *WRITE)
    assert broken.err.count("WARNING: museum/b: /homepage: ") == 1
    assert run(*edit, '{"homepage": 1}', *WRITE).err.count("WARNING: museum/b: /homepage: ") == 1
    known = run(*edit, '{"title": "Broken before"}', "--dry-run", *WRITE)
    assert re.search("WARNING: museum/b: [1-9] problems? as before", known.err)
    again = run(*edit, '{"title": "Broken before"}', *WRITE)
    assert "/homepage" not in again.err
    assert re.search("WARNING: museum/b: [1-9] problems? as before", again.err)
    for _ in range(2):
        run("undo", "museum/a", "HEAD", *WRITE)
        run("undo", "museum/b", "HEAD", *WRITE)
    done = run(*edit, '{"version": "2"}', "--json", *WRITE)
    assert (done.json["changed"], run("show", "museum/b").json["version"]) == (2, "2")
    assert "version" not in run("show", "museum/c").json
    assert f"metastore undo --batch {done.json['batch']}" in done.err
    refused = run(*edit, '[{"op": "test", "path": "/name", "value": "a"}, {"op": "remove", "path": "/name"}]', *WRITE)
    assert (refused.code, run("show", "museum/a").json["name"]) == (2, "a")
    assert run("undo", "--batch", done.json["batch"], *WRITE).code == 0
    assert "version" not in run("show", "museum/b").json
    for wrong in (("--where", "licence"), ("--where", "author:x"), ("--where", "owner:a", "--where", "owner:b"), ()):
        assert run("dataset", "edit", *wrong, "--patch", "{}", *WRITE).code == 2


def test_an_undo_is_shown_before_it_is_made(run: Run, cars: str) -> None:
    run("dataset", "patch", "physics/cars", '{"title": "Wrong"}', *WRITE)
    run("dataset", "patch", "physics/cars", '{"version": "2"}', *WRITE)
    head = run("log", "physics/cars").out
    tried = run("undo", "physics/cars", "HEAD~1", "--dry-run", *WRITE)
    assert (tried.code, tried.out.splitlines()[0]) == (0, "physics/cars: update")
    assert ("title" in tried.out, "version" in tried.out) == (True, False)
    assert run("undo", "physics/cars", "HEAD~1", "--dry-run", "--json", *WRITE).json["action"] == "update"
    run("dataset", "patch", "physics/cars", '{"title": "Better"}', *WRITE)
    refused = run("undo", "physics/cars", "HEAD~2", "--dry-run", *WRITE)
    assert (refused.code, "stands in the way: title" in refused.err) == (4, True)
    run("undo", "physics/cars", "HEAD", *WRITE)
    assert head in run("log", "physics/cars").out, "nothing was written in between"


def examples() -> dict[str, str]:
    """Return each example in the help of a command, and whose help that is."""
    found, waiting = {}, [("metastore", click.Context(app.cli))]
    while waiting:
        name, context = waiting.pop()
        command = context.command
        text = f"{command.help}\n\n{command.epilog or ''}"
        for paragraph in re.findall(r"Examples?: (.+?)(?:\n\n|\Z)", text, re.DOTALL):
            found.update(dict.fromkeys(re.split(r";\s+(?=metastore )", " ".join(paragraph.split())), name))
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                inner = command.get_command(context, each)
                assert inner is not None
                waiting.append((f"{name} {each}", click.Context(inner, context)))
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_in_the_help_works(run: Run, tmp_path: Path, example: str) -> None:
    values = {"name": "cars", "title": "Fast cars", "licenses": [{"name": "CC-BY-3.0"}]}
    descriptor = json.dumps({**values, "resources": [{"name": "cars", "path": "cars.csv"}]}).encode()
    if "dataset create" not in example:
        run("dataset", "create", "physics/cars", *WRITE, stdin=descriptor)
        run("tag", "create", "physics/cars", "v1", *WRITE)
        run("dataset", "patch", "physics/cars", '{"title": "Very fast cars"}', *WRITE)
        run("copy", "metastore-data", "backup")
    (tmp_path / "cars.json").write_bytes(descriptor)
    (tmp_path / "dumps/physics/cars").mkdir(parents=True)
    (tmp_path / "dumps/physics/cars/datapackage.json").write_bytes(descriptor)
    out = ""
    for part in re.sub(r'eval "\$\((.*)\)"', r"\1", example).split(" | "):
        words = shlex.split(part)
        writes = words[1] in ("undo", "import") or words[2] in ("create", "patch", "edit", "purge")
        done = run(*words[1:], *(WRITE[:2] if writes else ()), stdin=out.encode())
        assert done.code == 0, (EXAMPLES[example], done)
        out = done.out


def test_the_change_feed_is_followed_until_it_is_interrupted(
    run: Run, cars: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = metastore.connect("metastore-data", author="Setup")
    names = iter(["boats", "trains"])

    def pause(seconds: float) -> None:
        try:
            store.dataset_create(f"physics/{next(names)}", {})
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    done = run("changes", "--follow")
    listed = [line.split("\t")[2] for line in done.out.splitlines()]
    assert (done.code, list(dict.fromkeys(listed))) == (130, ["physics/cars", "physics/boats", "physics/trains"])


def test_a_purge_that_nobody_can_confirm_needs_yes(run: Run, cars: str) -> None:
    run("dataset", "delete", "physics/cars", *WRITE)
    done = run("dataset", "purge", "physics/cars", *WRITE)
    assert (done.code, "needs --yes" in done.err) == (2, True)
    done = run("dataset", "purge", "physics/cars", "--json", *WRITE)
    assert json.loads(done.err.splitlines()[-1])["error"]["kind"] == "invalid-input"
    assert run("dataset", "purge", "physics/cars", "--yes", *WRITE).code == 0


def test_a_quiet_command_prints_results_and_errors_alone(run: Run, cars: str) -> None:
    done = run("dataset", "create", "physics/boats", "-q", *WRITE, stdin=b"{}")
    assert (done.code, len(done.out.strip()), done.err) == (0, 40, "")
    again = run("-q", "dataset", "create", "physics/boats", *WRITE, stdin=b"{}")
    assert (again.code, again.err) == (4, "Error: physics/boats exists already\n")


def test_a_quiet_command_shows_neither_bar_nor_summary(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in/physics/cars"
    folder.mkdir(parents=True)
    (folder / "datapackage.json").write_text("{}")
    (tmp_path / "bad.json").write_text("{")
    for arguments in (
        ("import", "in", "--create", *WRITE[:2]),
        ("export", "out"),
        ("copy", "metastore-data", "other"),
        ("pack",),
        ("backup", "saved"),
        ("restore", "saved", "back"),
        ("verify",),
    ):
        done = run(*arguments, "-q")
        assert (done.code, done.out, done.err) == (0, "", ""), arguments
    assert run("export", "out", "-q", "--json").json["exported"] == 1
    failed = run("import", "bad.json", "--owner", "physics", "-q", *WRITE[:2])
    assert (failed.code, failed.out, failed.err.startswith("bad.json: not JSON")) == (1, "", True)


def test_a_copy_takes_what_a_service_shows_and_then_what_is_new(run: Run, cars: str, tmp_path: Path) -> None:
    served = metastore.connect("memory:", author="Setup")
    served.dataset_create("physics/cars", {"name": "cars"})
    with serving(served) as address:
        tried = run("copy", address, "pulled", "--dry-run")
        assert (tried.code, (tmp_path / "pulled").exists()) == (0, False)
        assert run("copy", address, "pulled").out.endswith("1 revision and 0 tags copied\n")
        served.dataset_patch("physics/cars", {"title": "Cars"})
        again = run("copy", address, "pulled", "--json")
        assert (again.code, again.json["revisions"]) == (0, 1)
    assert run("--store", "pulled", "dataset", "read", "physics/cars").json["title"] == "Cars"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that no other run of these tests uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_service_is_mirrored_at_a_git_remote_by_way_of_a_copy_that_can_be_kept(
    run: Run, tmp_path: Path, temporary: Path
) -> None:
    served = metastore.connect("memory:", author="Setup")
    for name in ("cars", "boats"):
        served.dataset_create(f"physics/{name}", {"name": name})
        git("init", "-q", "--bare", "-b", "main", tmp_path / f"remote/physics/{name}.git")
    served.tag_create("physics/cars", "v1")
    remote = f"file://{tmp_path}/remote/{{owner}}/{{name}}.git"
    with serving(served) as address:
        mirror = ("--store", address, "mirror", remote, "--json")
        assert run(*mirror, "physics/cars").json["references"] == 2
        head = git("-C", tmp_path / "remote/physics/cars.git", "rev-parse", "main").strip()
        assert head == served.revision_read("physics/cars").id
        assert not list(temporary.glob("metastore-mirror-*"))
        assert run(*mirror, "physics/cars", "--via", "kept").json["references"] == 0
        with metastore.connect(tmp_path / "kept") as kept:
            assert kept.dataset_list() == ["physics/cars"]
        assert run(*mirror, "--via", "kept").json["references"] == 1
        served.dataset_patch("physics/cars", {"title": "Cars"})
        again = run(*mirror, "--via", "kept")
        assert (again.code, again.json["references"], again.json["unchanged"]) == (0, 1, 1)
        with metastore.connect(tmp_path / "kept") as kept:
            assert kept.revision_read("physics/cars") == served.revision_read("physics/cars")
        unknown = run(*mirror, "physics/none")
        assert unknown.code == 3
    assert run("mirror", remote, "--via", "kept", "--store", "kept").code == 2


@pytest.mark.parametrize("stop", ["Ctrl-C while mirroring", "Ctrl-C while copying", "the service goes away"])
@pytest.mark.parametrize("via", [(), ("--via", "kept")])
def test_an_interrupted_mirror_of_a_service_is_continued_by_the_next(
    run: Run, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, via: tuple[str, ...], stop: str
) -> None:
    served = metastore.connect("memory:", author="Setup")
    for name in ("a", "b", "c"):
        served.dataset_create(f"physics/{name}", {"name": name})
        git("init", "-q", "--bare", "-b", "main", tmp_path / f"remote/physics/{name}.git")
    remote = f"file://{tmp_path}/remote/{{owner}}/{{name}}.git"
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0)

    def gone(self: object, method: str, url: str, **options: Any) -> NoReturn:
        raise NotSent(url, "cannot be reached")

    def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = itertools.count(1)

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == 2:
                if stop != "the service goes away":
                    raise KeyboardInterrupt
                patch.setattr(connection.Connection, "send", gone)
            return function(*args, **kwargs)

        return call

    with serving(served) as address:
        command = ("--store", address, "mirror", remote, "--json", *via)
        with monkeypatch.context() as patch:
            if stop == "Ctrl-C while mirroring":
                patch.setattr(mirror, "_mirror_one", stopping(mirror._mirror_one))
            else:
                patch.setattr(copying._Run, "copy", stopping(copying._Run.copy))
            stopped = run(*command)
        assert (stopped.code, stopped.out) == (5 if stop == "the service goes away" else 130, "")
        assert "Traceback" not in stopped.err
        assert not list(temporary.glob("metastore-mirror-*"))
        again = run(*command)
    assert (again.code, again.json["datasets"], again.json["not_pushed"]) == (0, 3, [])
    assert again.json["unchanged"] == (1 if stop == "Ctrl-C while mirroring" else 0)
    for name in ("a", "b", "c"):
        head = git("-C", tmp_path / f"remote/physics/{name}.git", "rev-parse", "main").strip()
        assert head == served.revision_read(f"physics/{name}").id
    if via:
        assert run("--store", "kept", "verify").code == 0


def test_a_mirror_that_is_terminated_leaves_no_copy_behind(tmp_path: Path) -> None:
    served = metastore.connect("memory:", author="Setup")
    served.dataset_create("physics/cars", {"name": "cars"})
    for folder in ("bin", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 60\n")
    (tmp_path / "bin/git").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "tmp")}
    with serving(served) as address:
        command = [
            sys.executable,
            "-m",
            "metastore",
            "--store",
            address,
            "mirror",
            f"file://{tmp_path}/{{owner}}/{{name}}",
        ]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            until((tmp_path / "asked").exists)
            assert list((tmp_path / "tmp").glob("metastore-mirror-*"))
            process.terminate()
            assert process.wait(timeout=30) == -signal.SIGTERM
    assert not list((tmp_path / "tmp").iterdir())


def test_an_interrupt_while_modules_are_imported_is_told_like_a_later_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted.\n")


@pytest.mark.parametrize("module", ["click", "metastore.cli.app", "metastore.cli.dataset"])
def test_an_interrupt_at_any_import_of_the_program_is_told(module: str) -> None:
    program = f"""import sys
class Finder:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder)
sys.argv = ["metastore", "dataset", "read", "physics/cars"]
import metastore.cli
metastore.cli.main()"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    assert (done.returncode, done.stderr.strip()) == (130, "Interrupted.")


@pytest.mark.parametrize(
    ("noun", "typed", "meant"),
    [("dataset", "rename", "dataset move"), ("tag", "rename", "tag update"), ("bundle", "ls", "bundle list")],
)
def test_a_verb_that_people_guess_is_answered_with_ours(run: Run, noun: str, typed: str, meant: str) -> None:
    assert f"Did you mean `{meant}`?" in run(noun, typed, "x").err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "physics/cars", "2001-13-01"), 3, "neither a tag nor a date (month must be in 1..12"),
        (("show", "physics/cars", "2001-1-1"), 3, "write 2024-05-01 or"),
        (("show", "physics/cars", "yesterday"), 3, "write 2024-05-01 or"),
        (("show", "physics/cars", "HEAD^"), 3, "Write HEAD~1"),
        (("show", "physics/cars", "abc"), 3, "7 digits or more, in lower case"),
        (("show", "physics/cars", "ABCDEF0"), 3, "7 digits or more, in lower case"),
        (("show", "physics/cars@v1", "v1"), 2, "two revisions of one dataset"),
        (("show", "physics/"), 2, "looks like 'owner/name', not 'physics/'"),
        (("undo", "--by", ""), 2, "every change would fit, so none was undone"),
        (("undo", "--batch", ""), 2, "every change would fit, so none was undone"),
        (("undo", "physics/cars", ""), 2, "the change to undo is an empty text: write HEAD"),
        (("undo", "physics/cars", "v1...HEAD"), 2, "has three dots"),
        (("undo", "physics/cars", "HEAD", "--dry-run", "--expected", "1234567"), 3, "no revision '1234567'"),
        (("undo", "physics/cars@HEAD"), 2, "metastore undo physics/cars HEAD"),
        (("undo", "-", "HEAD"), 2, "by --batch, --by or --since"),
        (("undo", "--since", "2001-13-01"), 2, "(month must be in 1..12"),
        (("dataset", "update", "physics/cars", "--expected", "v1"), 2, "the id of a revision, or its first 7 digits"),
        (("dataset", "patch", "physics/cars", "[1]"), 2, "an operation is an object, not a number\n"),
        (("dataset", "edit", "physics/cars", "--patch", "{}"), 2, "`metastore dataset patch` patches one dataset"),
        (("diff", "physics/cars"), 2, "say what to compare physics/cars with"),
        (("diff", "physics/cars", "v1"), 2, "for a revision, write physics/cars@v1"),
        (("diff", "cars", "physics/cars"), 2, "'cars' is neither a file nor a dataset"),
        (("check", "cars"), 2, "'cars' is neither a file nor a dataset"),
        (("diff", "-", "-"), 2, "stdin can be read only once"),
        (("diff", "-", "physics/cars"), 2, "stdin is empty"),
        (("diff", ".", "physics/cars"), 2, "this is a folder, not a file"),
        (("init", "http://ann:secret@example.org"), 2, "'http://example.org' is an address: name a path"),
        (("check-host", "nope"), 2, "github://OWNER, gitlab://GROUP"),
        (("changes", "--since", "nope"), 2, "from an earlier list of changes, or leave it out"),
    ],
    ids=str,
)
def test_an_error_says_what_would_be_right(
    run: Run, cars: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.setenv("METASTORE_AUTHOR", "Ann")
    before = run("log", "physics/cars").out
    done = run(*arguments)
    assert (done.code, said in done.err) == (code, True), done.err
    assert run("log", "physics/cars").out == before


@pytest.mark.parametrize("editor", ["no-such-editor", "false"])
def test_an_editor_that_fails_is_named(run: Run, cars: str, monkeypatch: pytest.MonkeyPatch, editor: str) -> None:
    monkeypatch.setenv("EDITOR", editor)
    monkeypatch.delenv("VISUAL", raising=False)
    done = run("dataset", "edit", "physics/cars", "-a", "Ann")
    assert (done.code, f"the editor {editor!r} cannot be started, or failed" in done.err) == (2, True)


def test_a_file_that_cannot_be_compared_is_named(run: Run, cars: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json: not JSON" in run("diff", "bad.json", "physics/cars").err


def test_a_copy_from_a_store_that_cannot_be_reached_leaves_none(run: Run, tmp_path: Path) -> None:
    done = run("copy", "http://127.0.0.1:9", "copied")
    assert (done.code, (tmp_path / "copied").exists()) == (5, False)


def test_a_copy_to_the_same_store_is_refused(run: Run, cars: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("metastore-data")
    for other in ("metastore-data", "./metastore-data/", "link", (tmp_path / "metastore-data").as_uri()):
        refused = run("copy", "metastore-data", other)
        assert (refused.code, "are the same store" in refused.err) == (2, True), other
    assert run("pull", "metastore-data").code == run("push", "metastore-data").code == 2
    assert run("copy", "memory:", "memory:").code == 0


def test_a_service_is_pushed_to_and_pulled_from_until_both_sides_changed_a_dataset(
    run: Run, cars: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = metastore.connect("memory:", author="Setup")
    with serving(served) as address:
        refused = run("push", address)
        assert (refused.code, "Set METASTORE_TOKEN" in refused.err) == (6, True)
        monkeypatch.setenv("METASTORE_TOKEN", TOKEN)
        assert run("push", address, "--dry-run").out.endswith("1 revision and 0 tags would be copied\n")
        assert run("push", address).out.endswith("1 revision and 0 tags copied\n")
        served.dataset_patch("physics/cars", {"title": "Cars"})
        served.dataset_create("physics/bikes", {"name": "bikes"})
        served.dataset_delete("physics/bikes")
        assert run("pull", address).out.endswith("3 revisions and 0 tags copied\n")
        assert run("dataset", "list", "--deleted").out == "physics/bikes\n"
        served.dataset_patch("physics/cars", {"title": "Autos"})
        run("dataset", "patch", "physics/cars", '{"title": "Motors"}', *WRITE)
        for way in ("pull", "push"):
            conflict = run(way, address)
            assert (conflict.code, "physics/cars: it has another history" in conflict.err) == (1, True)
    assert served.dataset_read("physics/cars").descriptor["title"] == "Autos"


READING = token("ds:*:read", user="reader")
PRIVATE = ServiceSettings(public_read=False)


def test_one_service_is_copied_to_another_and_neither_sees_the_token_of_the_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = (metastore.connect("memory:", author="Setup") for _ in range(2))
    source.dataset_create("physics/cars", {"name": "cars"})
    first = source.dataset_patch("physics/cars", {"title": "Cars"}).revision
    tag = source.tag_create("physics/cars", "v1")
    seen: dict[int, set[str | None]] = {0: set(), 1: set()}

    def note(*_: Any) -> None:
        seen[request.environ["SERVER_PORT"] == port].add(request.headers.get("Authorization"))

    with request_started.connected_to(note), serving(source, PRIVATE) as here, serving(target, PRIVATE) as there:
        port = there.rpartition(":")[2]
        monkeypatch.setenv("METASTORE_TOKEN", TOKEN)
        refused = run("copy", here, there)
        assert (refused.code, "METASTORE_SOURCE_TOKEN" in refused.err) == (6, True)
        monkeypatch.setenv("METASTORE_SOURCE_TOKEN", READING)
        assert run("copy", here, there).out.endswith("2 revisions and 1 tag copied\n")
        assert run("push", there, "--store", here).out.startswith("1 dataset, 1 of them there already")
    assert (target.revision_read("physics/cars"), target.tag_read("physics/cars", "v1")) == (first, tag)
    assert seen == {0: {None, f"Bearer {READING}"}, 1: {f"Bearer {TOKEN}"}}


def test_the_journal_is_copied_when_asked_as_far_as_it_goes_on(run: Run, cars: str) -> None:
    run("dataset", "move", "physics/cars", "physics/autos", *WRITE)
    first = run("copy", "metastore-data", "other", "--journal")
    assert "1 revision, 0 tags and 1 line of the journal copied" in first.out
    assert run("--store", "other", "journal", "--json").json["action"] == "move"
    run("--store", "other", "dataset", "move", "physics/autos", "physics/cars", *WRITE)
    run("dataset", "move", "physics/autos", "physics/bikes", *WRITE)
    again = run("copy", "metastore-data", "other", "--journal")
    assert (again.code, "_metastore/journal: it has another history" in again.err) == (1, True)


def test_the_journal_travels_from_and_to_a_service_line_by_line(
    run: Run, cars: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = metastore.connect("memory:", author="Setup")
    monkeypatch.setenv("METASTORE_TOKEN", token("ds:*:*", "ds:*:import", user="imp"))
    run("dataset", "move", "physics/cars", "physics/autos", "-m", "A better name", "--author", "Ann <ann@example.org>")
    with serving(served) as address:
        pushed = run("push", address, "--journal")
        assert pushed.out.endswith("1 revision, 0 tags and 1 line of the journal copied\n")
        shown = run("--store", address, "journal", "physics/cars").out
        assert re.search(
            r" Ann: move physics/cars .* \(A better name\) \[copied by imp, \d{4}-\d\d-\d\d \d\d:\d\d\]\n", shown
        )
        served.dataset_purge("physics/autos", force=True, message="Asked to")
        pulled = run("pull", address, "--journal", "--author", "Bo <bo@example.org>", "--json")
        assert (pulled.code, pulled.json["journal"]) == (0, 2)  # what it received, and the purge
        assert run("pull", address, "--journal", "--dry-run", "--json").json["journal"] == 0
        assert run("dataset", "read", "physics/autos").code == 0
        monkeypatch.setattr("metastore.connecting.git_author", lambda: None)
        unsigned = run("copy", address, "pulled", "--journal")
        assert (unsigned.code, "has no author" in unsigned.err, (tmp_path / "pulled").exists()) == (2, True, False)
    assert "[copied by Bo, " in run("journal", "--limit", "1").out


def test_a_mirror_has_the_journal_when_asked(run: Run, cars: str, tmp_path: Path) -> None:
    run("dataset", "move", "physics/cars", "physics/autos", *WRITE)
    served = metastore.connect("memory:", author="Setup")
    served.dataset_create("physics/autos", {})
    served.dataset_move("physics/autos", "physics/bikes")
    for name in ("physics/autos", "physics/bikes", "_metastore/journal"):
        for remote in ("local", "other"):
            git("init", "-q", "--bare", "-b", "main", tmp_path / f"{remote}/{name}.git")
    local, other = (f"file://{tmp_path}/{folder}/{{owner}}/{{name}}.git" for folder in ("local", "other"))
    assert run("mirror", local, "--journal", "--json").json["references"] == 2
    log = ("-C", tmp_path / "local/_metastore/journal.git", "log", "--format=%s", "main")
    assert git(*log).strip() == run("journal", "--json").json["message"]
    with serving(served) as address:
        mirror = ("--store", address, "mirror", other, "--journal", "--json")
        assert run(*mirror).code == 2
        first, again = (run(*mirror, "--via", "kept", "--author", "Bo <bo@example.org>") for _ in "ab")
        assert (first.code, first.json["references"], again.json["references"]) == (0, 2, 0)


def test_a_copy_from_nothing_makes_no_store(run: Run, tmp_path: Path) -> None:
    missing = run("copy", "absent", "pulled")
    assert (missing.code, (tmp_path / "pulled").exists()) == (5, False)


def test_colours_follow_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\033[" not in run("init", "one").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\033[" in run("init", "two").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[" not in run("init", "three").err


def test_a_plain_date_is_a_time(run: Run) -> None:
    run("dataset", "create", "physics/cars", *WRITE, "--at", "2024-05-01", stdin=b"{}")
    assert run("revision", "read", "physics/cars", "--json").json["created"] == "2024-05-01T00:00:00Z"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unknown_outcome_ends_with_the_command_that_finds_out(
    as_json: bool, run: Run, cars: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(writer: StorageWriter, request: ChangeRequest) -> None:
        raise OutcomeUnknown("the disk failed", wanted, before=None if landed else cars, change=request)

    for landed in (True, False):
        wanted = cars if landed else "f" * 40
        with monkeypatch.context() as patched:
            patched.setattr(StorageWriter, "delete", fail)
            failed = run("dataset", "delete", "physics/cars", *WRITE, *(["--json"] if as_json else []))
        assert failed.code == 5
        line = failed.err.strip().splitlines()[-1].strip()
        arguments = [line] if as_json else shlex.split(line.removeprefix("To find out, run: metastore settle "))
        settled = run("settle", *arguments)
        assert settled.code == (0 if landed else 1)
        assert settled.out == f"The change has {'' if landed else 'not '}landed.\n"
    assert run("settle", '{"change": 1}').code == 2


@pytest.fixture(params=["local", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "store")
        return
    with migrated_database() as dsn:
        yield f"postgresql://?{urlencode(conninfo_to_dict(dsn))}"


def test_each_question_of_a_data_manager_is_one_command_and_finds_what_its_request_finds(run: Run, url: str) -> None:
    then, now = "2026-02-01T00:00:00Z", "2026-03-05T00:00:00Z"
    cc_by, bo = {"licenses": [{"name": "CC-BY-4.0"}]}, {"contributors": [{"title": "Bo Ek"}]}
    fields = {"schema": {"fields": [{"name": "lat"}]}}
    with metastore.connect(url, author="Setup", validation="off") as store:
        store.dataset_create("ask/licence", {"title": "Licence", **cc_by}, at=then)
        store.dataset_create("ask/closed", {"licenses": [{"name": "CC-BY-NC-4.0"}]}, at=then)
        store.dataset_create("ask/person", {"resources": [{"name": "a", "path": "a.csv", **fields}], **bo}, at=then)
        store.dataset_create("ask/word", {"resources": [{"name": "a", "path": "a.b", "title": "buoys"}]}, at=then)
        store.dataset_create("ask/past", {"description": "It was CC-BY"}, at=then)
        store.dataset_update("ask/past", {"title": "Present"}, at=now)
        store.dataset_create("ask/gone", {"title": "Gone"}, at=then)
        store.dataset_delete("ask/gone", at=now)
    table = (Path(__file__).parent.parent / "docs" / "howto" / "find.md").read_text("utf-8")
    rows = re.findall(r"^\| .*\? \| `(metastore search [^`]*)` \| `([^`]*)` \|$", table, re.MULTILINE)
    assert len(rows) == 11
    found = []
    with metastore.connect(url) as store:
        service = create_app(store, verifier=Verifier(())).test_client()
        for command, request in rows:
            wanted = {hit["id"] for hit in service.get(f"/api/v1/datasets?{request}").get_json()["hits"]}
            done = run(*shlex.split(command)[1:], "--json", "--store", url)
            hits = {hit["id"] for line in done.out.splitlines() for hit in json.loads(line)["hits"]}
            assert (done.code, hits) == (0, wanted), command
            found.append(len(hits))
    assert 0 not in found
