"""Lists and several datasets on the command line: the same forms, fields and ids for every command."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import metastore
from metastore.cli import app
from metastore.cli.lists import show_list
from metastore.cli.output import show_each, show_pages

from .loopback import serving
from .terminal import on_terminal, screens
from .test_cli import WRITE, Run, cars, run

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # it reads its profiles and does not close them
    import datapackage  # noqa: F401

__all__ = ["cars", "run"]
AWAY = ("dataset", "delete", "physics/boats", *WRITE)


@pytest.fixture
def two(run: Run, cars: str) -> None:
    """Add a second dataset, whose title and message are a trap for tables and CSV."""
    descriptor = json.dumps({"name": "boats", "title": 'Boats, "fast"\nand slow'}).encode()
    run("dataset", "create", "physics/boats", "-m", "First\n\nA second paragraph", *WRITE, stdin=descriptor)


LISTS = [
    ("dataset", "list"),
    ("revision", "list", "physics/cars"),
    ("revision", "list", "physics/cars", "--summary"),
    ("tag", "list", "physics/cars"),
    ("blame", "physics/cars"),
    ("journal",),
    ("changes",),
    ("changes", "--summary"),
    ("search", "cars"),
    ("bundle", "list"),
    ("bundle", "log"),
]


def test_a_list_has_the_same_entries_in_every_form(run: Run, two: None, tmp_path: Path) -> None:
    run("tag", "create", "physics/cars", "v1", *WRITE)
    run("dataset", "move", "physics/boats", "physics/ships", *WRITE)
    (tmp_path / "groups").write_text("groups = lab\nlab = ann\n")
    bundle = ("--group", "lab", "--event", "e", "--user", "ann", "--groups", "groups")
    assert run("bundle", "create", "NuMI", *bundle).code == 0
    for command in LISTS:
        lines = [json.loads(line) for line in run(*command, "--format", "jsonl").out.splitlines()]
        assert lines, command
        for line, entry in zip(lines, run(*command, "--format", "json").json, strict=True):
            assert {**line, "cursor": ""} == {**entry, "cursor": ""} if isinstance(line, dict) else line == entry
        rows = list(csv.DictReader(io.StringIO(run(*command, "--format", "csv").out)))
        table = run(*command, "--format", "table").out.splitlines()
        assert len(lines) == len(rows) == len(table) - 1
        assert table[0].split() == [name.upper() for name in rows[0]]
        field = next(name for name in rows[0] if name != "cursor")  # a cursor depends on the moment
        assert run(*command, "--fields", field).out.splitlines() == [row[field] for row in rows]
        only = run(*command, "--fields", field, "--format", "json").json
        assert [set(entry) for entry in only] == [{field}] * len(rows)


def test_a_list_of_all_tags_names_datasets_whose_tags_cannot_be_read(run: Run, two: None, tmp_path: Path) -> None:
    run("tag", "create", "physics/boats", "v1", *WRITE)
    (tmp_path / "metastore-data/physics/cars.git/HEAD").write_text("rubbish\n")
    told = run("tag", "list")
    assert told.code == 0
    tagged, unread = told.out.splitlines()
    assert tagged.startswith("physics/boats  v1")
    assert unread.startswith("physics/cars  ")
    assert "HEAD names no branch" in unread
    rows = list(csv.DictReader(io.StringIO(run("tag", "list", "--format", "csv").out)))
    assert [(row["dataset_id"], row["tag.name"], bool(row["problem"])) for row in rows] == [
        ("physics/boats", "v1", False),
        ("physics/cars", "", True),
    ]


def test_json_is_short_for_json_lines(run: Run, two: None) -> None:
    assert run("log", "physics/cars", "--json").out == run("log", "physics/cars", "--format", "jsonl").out


def test_csv_keeps_texts_and_a_table_keeps_its_rows(run: Run, two: None) -> None:
    fields = ("dataset", "list", "--fields", "id,title")
    rows = list(csv.reader(io.StringIO(run(*fields, "--format", "csv").out)))
    assert rows[1] == ["physics/boats", 'Boats, "fast"\nand slow']
    assert run(*fields, "--format", "table").out.splitlines() == [
        "ID             TITLE",
        'physics/boats  Boats, "fast" and slow',
        "physics/cars   cars",
    ]


def test_an_unknown_field_is_told_the_known_ones(run: Run, two: None) -> None:
    for form in ("plain", "csv", "json"):
        wrong = run("log", "physics/cars", "--fields", "id,autor", "--format", form)
        assert (wrong.code, wrong.out) == (2, "")
        assert "there is no 'autor' here, but id, parent, author" in wrong.err


def test_what_has_no_end_is_no_table(run: Run, cars: str) -> None:
    assert "needs one: take plain, csv or jsonl" in run("changes", "--follow", "--format", "table").err


def test_an_empty_list_is_an_empty_array(run: Run, cars: str) -> None:
    assert run("journal", "--format", "json").out == "[]\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys, "stdout", _Terminal())
    values = [
        {"id": "physics/cars", "title": "A title that is far too long", "n": 1},
        {"id": "日本/車", "title": "日" * 20},
    ]
    show_list(values, "table", columns=("id", "title", "n"), paged=False)
    assert sys.stdout.getvalue().splitlines() == [
        "ID            TITLE          N",
        "physics/cars  A title that…  1",
        "日本/車       日日日日日日…",
    ]


def test_a_table_of_six_columns_fits_forty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", _Terminal())
    names = ("one", "two", "three", "four", "five", "six")
    show_list([dict.fromkeys(names, "x" * 40)], "table", columns=names, paged=False)
    assert {len(line) for line in sys.stdout.getvalue().splitlines()[1:]} == {40}


def test_long_output_on_a_terminal_goes_through_the_pager(run: Run, two: None, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\nhead -n 2\n")
    pager.chmod(0o755)
    env = {**os.environ, "PAGER": str(pager), "LINES": "4", "COLUMNS": "80", "METASTORE_AUTHOR": "Ann", "TERM": "xterm"}
    code, written = on_terminal([sys.executable, "-m", "metastore", "show", "physics/boats"], cwd=tmp_path, env=env)
    assert code == 0
    assert list(screens(written))[-1] == ("paged", "{", '  "name": "boats",')


def test_output_that_fits_needs_no_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "4")
    monkeypatch.setenv("PAGER", "false")
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, _Terminal())
    show_pages(iter("abc"))
    assert sys.stdout.getvalue() == "a\nb\nc\n"  # type: ignore[attr-defined]


class _Pipe(io.TextIOWrapper):
    """A stdout that another program reads; it counts how often it has to write what it holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(io.BytesIO())
        self.writes = 0
        monkeypatch.setattr(sys, "stdout", self)

    def flush(self) -> None:
        super().flush()
        self.writes += 1

    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@pytest.mark.parametrize("form", ["plain", "csv", "json", "jsonl", "table"])
def test_a_long_list_in_a_pipe_takes_few_writes(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    pipe = _Pipe(monkeypatch)
    rows = [{"id": f"physics/d{number}"} for number in range(5000)]
    show_list(rows, form, columns=("id",), text=lambda row: str(row["id"]))
    assert pipe.writes < 500
    assert pipe.text().count("physics/") == 5000


@pytest.mark.parametrize("form", ["plain", "csv", "jsonl"])
def test_a_pipe_has_each_line_of_what_has_no_end_before_the_next_is_awaited(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    pipe = _Pipe(monkeypatch)

    def rows() -> Iterator[dict[str, int]]:
        for number in (1, 2, 3):
            yield {"n": number}
            if form != "csv" or number > 1:  # its titles wait for the first row
                assert str(number) in pipe.text()

    show_list(rows(), form, columns=("n",), paged=False)


def test_the_first_line_in_a_pipe_and_a_later_one_after_a_pause_appear_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = _Pipe(monkeypatch)
    clock = iter([0.1, 0.1, 0.15, 0.25, 0.25])
    monkeypatch.setattr("metastore.cli.output.time.monotonic", lambda: next(clock))

    def lines() -> Iterator[str]:
        yield "one"
        assert pipe.text() == "one\n"
        yield "two"
        assert pipe.text() == "one\n"
        yield "three"
        assert pipe.text() == "one\ntwo\nthree\n"

    show_each(lines())


def test_lines_before_an_error_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = _Pipe(monkeypatch)

    def lines() -> Iterator[str]:
        yield from ("one", "two")
        raise metastore.StorageUnavailable("away")

    with pytest.raises(metastore.StorageUnavailable):
        show_each(lines())
    assert pipe.text() == "one\ntwo\n"


# Several datasets


def test_several_descriptors_are_read_at_once(run: Run, two: None) -> None:
    run("dataset", "patch", "physics/cars", '{"n": 2}', *WRITE)
    both = run("dataset", "read", "physics/boats", "physics/cars@HEAD~1", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in both] == ["physics/boats", "physics/cars"]
    assert json.loads(both[1])["descriptor"]["n"] == 1.1
    assert run("dataset", "read", "physics/cars", "HEAD~1").out == run("dataset", "read", "physics/cars@HEAD~1").out
    piped = run("dataset", "read", "-", stdin=run("dataset", "list").out.encode())
    assert piped.out == run("dataset", "read", "physics/boats", "physics/cars").out


def test_one_of_several_that_fails_does_not_stop_the_rest(run: Run, two: None) -> None:
    done = run("dataset", "delete", "physics/none", "physics/cars", "physics/boats", *WRITE)
    assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert "physics/none: there is no dataset physics/none" in done.err
    assert "1 of 3 datasets failed" in done.err
    assert run("dataset", "delete", "physics/none", *WRITE).code == 3
    gone = run("dataset", "list", "--deleted").out
    assert gone == "physics/boats\nphysics/cars\n"
    assert run("dataset", "purge", "-", "--yes", *WRITE, stdin=gone.encode()).code == 0
    assert run("dataset", "list", "--deleted").out == ""
    failed = run("dataset", "delete", "a/b", "a/c", "--json", *WRITE)
    assert [json.loads(line)["error"]["kind"] for line in failed.err.splitlines()[:2]] == ["dataset-not-found"] * 2


def test_datasets_whose_ids_are_on_stdin_are_tagged_reverted_and_exported(run: Run, two: None, tmp_path: Path) -> None:
    ids = run("dataset", "list").out.encode()
    assert run("tag", "create", "-", "v1", *WRITE, stdin=ids).code == 0
    for name in ("cars", "boats"):
        run("dataset", "patch", f"physics/{name}", '{"title": "New"}', *WRITE)
    assert run("dataset", "revert", "-", "v1", *WRITE, stdin=ids).code == 0
    assert "title" not in run("show", "physics/cars").json
    assert run("export", "out", "-", stdin=b"physics/cars\n").code == 0
    assert [path.name for path in (tmp_path / "out/physics").iterdir()] == ["cars"]
    run("dataset", "create", "physics/carsten", *WRITE, stdin=b"{}")
    assert run("export", "out", "physics/b", "physics/carst").code == 0
    assert sorted(path.name for path in (tmp_path / "out/physics").iterdir()) == ["boats", "cars", "carsten"]
    assert run("export", "out", "-", "--prune", stdin=ids).code == 2
    assert run("tag", "delete", "-", "v1", *WRITE, stdin=ids).code == 0


def test_what_is_expected_is_the_revision_of_one_dataset(run: Run, two: None, cars: str) -> None:
    refused = run("dataset", "delete", "physics/cars", "physics/boats", "--expected", cars, *WRITE)
    assert (refused.code, "one by one" in refused.err) == (2, True)
    assert len(run("dataset", "list").out.splitlines()) == 2


# A store that is not used


@pytest.mark.parametrize(
    "command",
    [
        ("describe", "."),
        ("check", "a.json"),
        ("diff", "a.json", "a.json"),
        ("copy", "metastore-data", "other"),
        ("restore", ".", "other"),
        ("check-host", "github://x"),
        ("init", "other"),
    ],
    ids=lambda command: command[0],
)
def test_a_store_is_refused_where_it_would_do_nothing(run: Run, cars: str, tmp_path: Path, command: tuple[str]) -> None:
    (tmp_path / "a.json").write_text("{}")
    name, *arguments = command
    for line in (("--store", "metastore-data", *command), (name, "--store", "metastore-data", *arguments)):
        done = run(*line)
        assert (done.code, "--store does nothing here: " in done.err) == (2, True)
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("place", range(3))
def test_the_store_is_named_anywhere_on_the_line(run: Run, cars: str, place: int) -> None:
    line = ["dataset", "list"]
    line[place:place] = ["--store", "metastore-data"]
    assert run(*line).out == "physics/cars\n"


def test_an_option_before_its_command_is_told_where_it_belongs(run: Run) -> None:
    behind = "--author is an option of some commands, and belongs behind them: metastore "
    for line, example in (
        (("--author", "Ann", "tag", "create"), "tag create … --author"),
        (("tag", "--author", "Ann", "update"), "tag update … --author"),
        (("--author", "Ann", "import"), "import … --author"),
    ):
        done = run(*line)
        assert (done.code, behind + example in done.err) == (2, True)


# The verdict of others


@pytest.mark.parametrize("engine", ["frictionless", "datapackage"])
def test_a_check_shows_what_another_library_says(run: Run, cars: str, tmp_path: Path, engine: str) -> None:
    good = {"name": "cars", "resources": [{"name": "x", "path": "x.csv"}]}
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "bad.json").write_text(json.dumps({**good, "title": 3}))
    (tmp_path / "far.json").write_text(
        json.dumps({**good, "resources": [{"name": "x", "path": "x.csv", "schema": "https://example.org/s.json"}]})
    )
    checked = run("check", "good.json", "bad.json", "far.json", "--engine", engine, "--json")
    verdicts = [json.loads(line)["engine"] for line in checked.out.splitlines()]
    assert checked.code == 1
    assert [verdict["library"] for verdict in verdicts] == [engine] * 3
    assert verdicts[0]["problems"] == []
    assert "3 is not of type 'string'" in verdicts[1]["problems"][0]
    assert "would read another document at once" in verdicts[2]["problems"][0]
    told = run("check", "good.json", "--engine", engine)
    assert (told.code, f"good.json: {engine} {verdicts[0]['version']}: no problems" in told.err) == (0, True)


def test_datasets_of_the_store_are_checked_by_their_ids(run: Run, two: None) -> None:
    done = run("check", "physics/cars@HEAD", "physics/boats", "--json")
    assert [json.loads(line)["dataset"] for line in done.out.splitlines()] == ["physics/cars@HEAD", "physics/boats"]
    assert run("check", "physics/none").code == 3


# More and less


def test_a_verbose_command_shows_requests_and_each_dataset(run: Run, two: None) -> None:
    assert "physics/cars/datapackage.json: written" in run("export", "out", "-v").err
    with metastore.connect("metastore-data") as store, serving(store) as url:
        done = run("--store", url, "-v", "ls")
        assert "HTTP Request: GET " in done.err
        assert "HTTP Request" not in run("--store", url, "ls").err


def test_every_command_takes_quiet_verbose_and_json() -> None:
    def without(command: click.Command, path: str) -> list[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            inner = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
            return [missing for name, each in inner if each for missing in without(each, f"{path} {name}")]
        known = {option for parameter in command.params for option in parameter.opts}
        return [] if {"--quiet", "--verbose", "--json"} <= known else [path]

    assert without(app.cli, "metastore") == ["metastore completion"]


def test_tables_of_the_journal_say_who_copied_a_line(run: Run, tmp_path: Path) -> None:
    source = metastore.connect("memory:", author="Eve")
    source.dataset_create("physics/cars", {"name": "cars"})
    source.dataset_purge("physics/cars", force=True)
    with metastore.connect(tmp_path / "told", author="Bo") as target:
        target.dataset_create("physics/boats", {})
        target.dataset_purge("physics/boats", force=True)
        target.journal_import(source.journal())
    rows = csv.DictReader(io.StringIO(run("journal", "--format", "csv", "--store", str(tmp_path / "told")).out))
    assert [(row["author.name"], row["copied.author.name"]) for row in rows] == [("Eve", "Bo"), ("Bo", "")]
