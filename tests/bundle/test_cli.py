"""`metastore bundle …`: data on stdout, talk on stderr, an exit code for each kind of outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metastore import config
from metastore.bundle.versioned import BUNDLES, path_of
from metastore.storage.local.storage import GitStorage

from ..conftest import change
from ..test_cli import Outcome, Run, run  # noqa: F401 - a fixture
from .conftest import GROUPS, REAL

NUMI = ("NuMI", "--event", "e,a9", "--group", "NOvA", "--device", "E:TORTGT", "--device", "E:TR101D")


@pytest.fixture
def bundle(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:  # noqa: F811
    """Run `metastore bundle …` as ann, unless --user says otherwise."""
    (tmp_path / "groups.conf").write_text(GROUPS)
    monkeypatch.setenv("METASTORE_GROUPS_FILE", "groups.conf")
    monkeypatch.setenv("METASTORE_USER", "ann")

    def call(*arguments: str, stdin: bytes = b"") -> Outcome:
        return run("bundle", *arguments, stdin=stdin)

    return call


@pytest.fixture
def numi(bundle: Run) -> str:
    """Make a bundle; returns its first snapshot."""
    return bundle("create", *NUMI).out.strip()


def test_create_prints_the_snapshot_and_talks_on_stderr(bundle: Run) -> None:
    done = bundle("create", *NUMI, "-m", "First")
    assert (done.code, done.out, done.err) == (0, "1\n", "Created NuMI (NOvA, e,a9, 2 devices).\n")


def test_a_day_with_a_bundle(bundle: Run, numi: str) -> None:
    changed = bundle(
        "update",
        "NuMI",
        "--add-device",
        "E:TR101A",
        "--remove-device",
        "E:TR101D",
        "--host",
        "h1",
        "-m",
        "Other toroid",
    )
    assert (changed.code, changed.out) == (0, "2\n")
    same = bundle("update", "NuMI", "--host", "h1")
    assert (same.out, "no snapshot was made" in same.err) == ("2\n", True)
    log = bundle("log", "NuMI").out.splitlines()
    assert [line.split("  ", 2)[2] for line in log] == [
        "ann  update NuMI  +1 −1 devices, hosts  (Other toroid)",
        "ann  create NuMI  +2 devices",
    ]
    assert bundle("diff", "1", "2").out == "~ hosts: (none) → h1\n- E:TR101D\n+ E:TR101A\n"
    assert bundle("diff", "1").out == bundle("diff", "1", "2").out
    assert "No difference" in bundle("diff", "2").err
    refused = bundle("undo", "NuMI", "1")
    assert (refused.code, "stands in the way: hosts, devices" in refused.err) == (4, True)
    assert bundle("copy", "NuMI", "NuMI_2", "-m", "As new").out == "3\n"
    copied = bundle("undo", "NuMI_2", "3", "-m", "Not needed")
    assert (copied.out, "the bundle is deleted; `metastore bundle restore NuMI_2 3`" in copied.err) == ("4\n", True)
    assert bundle("restore", "NuMI_2", "3").out == "5\n"
    gone = bundle("delete", "NuMI", "-m", "Old")
    assert (gone.out, "bundle restore NuMI 2` brings it back" in gone.err) == ("6\n", True)
    assert bundle("read", "NuMI").code == 3
    assert bundle("restore", "NuMI", "1").out == "7\n"
    assert bundle("read", "NuMI").out.splitlines()[-2:] == ["  E:TORTGT", "  E:TR101D"]
    assert "action   delete" in bundle("snapshot", "6").out
    checked = bundle("verify")
    assert checked.code == 0
    assert [line.split(" ", 1)[1] for line in checked.out.splitlines()] == [
        "NuMI 4 snapshots, unbroken",
        "NuMI_2 3 snapshots, unbroken",
    ]


def test_list_is_a_table_for_people(bundle: Run, numi: str) -> None:
    bundle("create", "Roots", "--event", "e,1d", "--group", "root", "--collectable", "--run", "--user", "ruth")
    lines = bundle("list").out.splitlines()
    assert lines[0].split() == ["NAME", "EVENT", "GROUP", "RUN", "STORAGE", "HOSTS", "DEVICES", "UPDATED"]
    assert lines[1].startswith("NuMI   e,a9   NOvA   -    short    -      2        20")
    assert lines[2].startswith("Roots  e,1d   root   yes  short    -      0        20")
    assert [line.split()[0] for line in bundle("list", "--run").out.splitlines()] == ["NAME", "Roots"]
    assert len(bundle("list", "Nu", "--group", "NOvA", "--device", "E:TORTGT", "--limit", "5").out.splitlines()) == 2


def test_a_long_list_is_laid_out(bundle: Run) -> None:
    rows = [{"name": f"B{number}", "event": "e", "ifb_group": "NOvA"} for number in range(1100)]
    assert bundle("import", "-", stdin=json.dumps(rows).encode()).code == 0
    assert len(bundle("list").out.splitlines()) == 1101


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("read", "NuMI"), ("log",), ("snapshot", "1"), ("diff", "1", "2"), ("verify",), ("export",)],
    ids=lambda arguments: arguments[0],
)
def test_json_for_programs(bundle: Run, numi: str, arguments: Any) -> None:
    bundle("update", "NuMI", "--udp")
    out = bundle(*arguments, "--json").out
    for line in out.splitlines() if arguments[0] != "export" else [out]:
        assert json.loads(line)


def test_read_takes_a_snapshot_and_a_time(bundle: Run, numi: str) -> None:
    bundle("update", "NuMI", "--device", "E:OTHER")
    assert bundle("read", "NuMI", "--snapshot", "1", "--json").json["devices"] == ["E:TORTGT", "E:TR101D"]
    assert bundle("read", "NuMI", "--at", "2999-01-01T00:00:00Z", "--json").json["devices"] == ["E:OTHER"]
    assert bundle("read", "NuMI", "--at", "2000-01-01T00:00:00Z").code == 3


def test_devices_come_from_a_file_and_lists_can_be_emptied(bundle: Run, numi: str) -> None:
    assert bundle("update", "NuMI", "--devices-from", "-", stdin=b"E:ONE\nE:TWO\n").code == 0
    assert bundle("read", "NuMI", "--json").json["devices"] == ["E:ONE", "E:TWO"]
    bundle("update", "NuMI", "--host", "h1")
    bundle("update", "NuMI", "--host", "", "--device", "")
    read = bundle("read", "NuMI", "--json").json
    assert (read["hosts"], read["devices"]) == ([], [])


def test_unusual_devices_are_warned_of(bundle: Run, numi: str) -> None:
    done = bundle("update", "NuMI", "--add-device", "Zündung")
    assert (done.code, done.out) == (0, "2\n")
    assert "Unusual: Zündung is in none of the usual forms" in done.err


# Import and export


@pytest.mark.parametrize("file", ["bundles.json", "bundles.csv"])
def test_what_was_exported_is_imported(bundle: Run, tmp_path: Path, file: str) -> None:
    assert (
        bundle("import", "-", stdin=json.dumps(REAL).encode()).out == "18 created, 0 updated, 0 unchanged, 0 failed\n"
    )
    assert bundle("export", "-o", file).code == 0
    assert bundle("import", file).out == "0 created, 0 updated, 18 unchanged, 0 failed\n"
    assert bundle("export", "--format", file[-4:].strip(".")).out == (tmp_path / file).read_bytes().decode()


def test_import_is_all_or_nothing_unless_each_is_for_itself(bundle: Run, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("name,event,ifb_group,writable\nA,e,NOvA,false\nB,!,NOvA,false\nC,e,NOvA,true\n")
    done = bundle("import", "b.csv")
    assert (done.code, done.out) == (2, "")
    assert "line 3: B failed" in done.err
    assert "line 4: C failed: C is collectable" in done.err
    assert "Nothing was imported" in done.err
    assert len(bundle("list").out.splitlines()) == 1
    tried = bundle("import", "b.csv", "--each", "--dry-run")
    assert (tried.code, tried.out) == (1, "1 created, 0 updated, 0 unchanged, 2 failed (dry run)\n")
    done = bundle("import", "b.csv", "--each", "--json", "-m", "From a list")
    assert (done.code, done.json["failed"], done.json["lines"][1]["line"]) == (1, 2, 3)
    assert bundle("log", "--json").json["comment"] == "From a list"
    assert bundle("import", "b.csv", "--each", "--user", "ruth").out == "1 created, 0 updated, 1 unchanged, 1 failed\n"


def test_some_are_exported(bundle: Run, numi: str) -> None:
    bundle("copy", "NuMI", "Other")
    assert [each["name"] for each in bundle("export", "Other").json] == ["Other"]
    assert bundle("export", "None").code == 3


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("read", "None"), 3, "there is no bundle None"),
        (("snapshot", "99"), 3, "there is no snapshot 99"),
        (("restore", "NuMI", "99"), 3, "there is no snapshot 99"),
        (("create", *NUMI), 4, "bundle NuMI exists already"),
        (("update", "NuMI", "--udp", "--expected", "77"), 4, "read it again"),
        (("update", "NuMI", "--udp", "--user", "eve"), 6, "eve is not an admin of NOvA"),
        (("update", "NuMI", "--collectable"), 6, "NuMI is collectable"),
        (("delete", "NuMI", "--user", "cy"), 6, "cy is not an admin of NOvA"),
        (("create", "B", "--event", "!", "--group", "NOvA"), 2, "is not an event"),
        (("create", "B", "--group", "NOvA"), 2, "event is missing"),
        (("create", "B", "--event", "e"), 2, "Missing option '--group'"),
        (("create", "B", "--event", "e", "--group", "Nova", "--user", "ruth"), 2, "no group 'Nova'"),
        (("log", "--since", "yesterday"), 2, "not a time such as"),
        (("import", "missing.json"), 2, "there is no such file"),
        (("import", "groups.conf"), 2, "not JSON"),
        (
            ("list", "--groups", "missing.conf"),
            2,
            "groups file missing.conf cannot be read: there is no such file\n",
        ),
        (("list", "--bundles", "nowhere"), 5, "there is no store at"),
        (("list", "--bundles", "ftp://x"), 2, "no storage is called 'ftp'"),
    ],
)
def test_a_mistake_gets_a_sentence_and_its_exit_code(
    bundle: Run, numi: str, arguments: Any, code: int, said: str
) -> None:
    done = bundle(*arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_errors_are_json_where_it_was_asked_for(bundle: Run, numi: str) -> None:
    error = json.loads(bundle("delete", "NuMI", "--user", "eve", "--json").err)["error"]
    assert error["kind"] == "permission-denied"
    bundle("delete", "NuMI")
    error = json.loads(bundle("read", "NuMI", "--json").err)["error"]
    assert (error["kind"], error["snapshot"]["user"]) == ("bundle-deleted", "ann")


def test_without_a_groups_file_bundles_can_only_be_read(
    bundle: Run, numi: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METASTORE_GROUPS_FILE")
    assert bundle("list").code == 0
    refused = bundle("delete", "NuMI")
    assert (refused.code, "needs the groups file" in refused.err) == (2, True)
    assert bundle("delete", "NuMI", "--groups", "groups.conf").code == 0


def test_the_registry_is_where_the_options_and_the_environment_say(
    bundle: Run, numi: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert bundle("create", *NUMI, "--store", "elsewhere").code == 0
    assert (tmp_path / "elsewhere" / "_metastore" / "bundles.git").is_dir()
    monkeypatch.setenv("METASTORE_BUNDLES_URL", "apart")
    assert bundle("create", *NUMI).code == 0
    assert bundle("list", "--bundles", "elsewhere").code == 0
    assert bundle("create", *NUMI).code == 4


def test_a_store_that_was_typed_goes_before_the_registry_of_the_environment(
    bundle: Run, numi: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle("create", "Typed", *NUMI[1:], "--store", "typed")
    bundle("create", "Apart", *NUMI[1:], "--store", "apart")
    monkeypatch.setenv("METASTORE_BUNDLES_URL", "apart")
    assert "Apart" in bundle("list").out
    assert "Typed" in bundle("list", "--store", "typed").out
    assert "Apart" in bundle("list", "--store", "typed", "--bundles", "apart").out


def test_without_a_user_the_login_name_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load({"METASTORE_USER": "bo"}).user == "bo"
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert config.load({"USER": "forged", "LOGNAME": "forged"}).user == "root"
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    assert config.load({}).user is None


def test_verify_fails_where_somebody_changed_a_file(bundle: Run, numi: str, tmp_path: Path) -> None:
    storage = GitStorage(str(tmp_path / "metastore-data"))
    head = storage.resolve(BUNDLES, None)
    forged = storage.read(BUNDLES, head.id, path_of("NuMI")).replace(b"E:TORTGT", b"E:FORGED")
    storage.append(BUNDLES, {path_of("NuMI"): forged}, change(), parent=head.id)
    storage.close()
    done = bundle("verify")
    assert (done.code, "1 broken chain found" in done.err) == (1, True)
    assert "the current state differs from snapshot 1, the newest" in done.out


def test_verify_compares_with_heads_that_were_kept(bundle: Run, numi: str, tmp_path: Path) -> None:
    (tmp_path / "heads").write_text(bundle("verify").out)
    bundle("update", "NuMI", "--udp")
    assert bundle("verify", "--heads", "heads").code == 0
    (tmp_path / "heads").write_text(f"{'0' * 64} NuMI 1 snapshot, unbroken\n")
    done = bundle("verify", "--heads", "heads")
    assert (done.code, "its record was rewritten" in done.out) == (1, True)
