"""The commands that look after a store: `verify`, `pack`, `backup`, `restore` and `adopt`."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from metastore import config
from metastore.web import create_app

from .test_cli import WRITE, Run, cars, run

__all__ = ["cars", "run"]  # the fixtures


def test_verify_says_in_json_how_much_was_read_also_where_all_is_well(run: Run, cars: str, tmp_path: Path) -> None:
    assert run("verify", "--json").json == {"datasets": 1, "problems": 0, "repaired": 0}


def test_every_command_counts_the_same_datasets_and_none_the_journal(run: Run, cars: str) -> None:
    run("dataset", "create", "physics/boats", "-", *WRITE, stdin=b"{}")
    run("dataset", "move", "physics/boats", "navy/boats", *WRITE)
    run("dataset", "create", "physics/old", "-", *WRITE, stdin=b"{}")
    run("dataset", "delete", "physics/old", *WRITE)
    assert run("journal").out.count("\n") == 1
    counts = {
        "list": len(run("dataset", "list").out.split()) + len(run("dataset", "list", "--deleted").out.split()),
        "status": sum(run("status", "--json").json[kind] for kind in ("datasets", "deleted")),
        "verify": run("verify", "--json").json["datasets"],
        "pack": run("pack", "--json").json["packed"],
        "backup": run("backup", "kept", "--json").json["datasets"],
        "restore": run("restore", "kept", "back", "--json").json["datasets"],
    }
    assert counts == dict.fromkeys(counts, 3)


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_a_new_store_and_its_backup_let_no_other_user_in(run: Run, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run("dataset", "create", "physics/cars", "-", *WRITE, stdin=b"{}")
        run("backup", "kept")
    finally:
        os.umask(before)
    for folder in (Path(config.load().url), Path("kept")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750 & ~umask


@pytest.mark.parametrize("unit", ["metastore.service", "metastore-backup.service"])
def test_under_our_units_every_file_of_a_store_and_its_backup_is_closed_to_others(run: Run, unit: str) -> None:
    settings = (Path(__file__).parent.parent / "examples" / "deploy" / unit).read_text()
    umask = re.search("^UMask=([0-7]+)$", settings, re.MULTILINE)
    assert umask is not None
    before = os.umask(int(umask[1], 8))
    try:
        run("dataset", "create", "physics/cars", "-", *WRITE, stdin=b"{}")
        run("dataset", "update", "physics/cars", "-", *WRITE, stdin=b'{"title": "Cars"}')
        run("tag", "create", "physics/cars", "v1", *WRITE)
        run("search", "cars")
        run("pack")
        run("backup", "kept")
        run("backup", "kept")
    finally:
        os.umask(before)
    for folder in (Path(config.load().url), Path("kept")):
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
        assert len(modes) > 10
        open_ones = {path: oct(mode) for path, mode in modes.items() if mode & (0o027 if path.is_dir() else 0o137)}
        assert open_ones == {}


def test_verify_names_a_store_that_all_users_can_read_though_the_service_hides_it(
    run: Run, cars: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(config.load().url).chmod(0o755)
    assert "Every user of this machine" not in run("verify").err
    monkeypatch.setenv("METASTORE_PUBLIC_READ", "off")
    assert "Every user of this machine" in run("verify").err
    Path(config.load().url).chmod(0o750)
    assert "Every user of this machine" not in run("verify").err


def test_verify_and_the_start_name_keys_that_came_with_a_store(
    run: Run, cars: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A copy keeps the time of the content. Nobody chooses that of the status, which `touch` makes equal to it."""
    run("token", "--user", "ann", "--scope", "ds:*")
    create_app()
    keys = [Path(config.load().url).resolve() / "_metastore" / name for name in ("token.key", "session.key")]
    assert all(key.exists() for key in keys)
    assert "changed hands" not in capsysbinary.readouterr().err.decode() + run("verify").err
    for key in keys:
        os.utime(key, (1e9, 1e9))
        warned = run("verify")
        assert warned.code == 0
        create_app()
        for said in (warned.err, capsysbinary.readouterr().err.decode()):
            assert f"{key}: copied, or changed hands" in said
            assert f"run: touch {key}" in said
        key.touch()


def test_verify_compares_with_heads_that_it_printed_earlier(run: Run, cars: str, tmp_path: Path) -> None:
    kept = run("verify", "--print-heads").out
    assert kept == f"physics/cars {cars}\n"
    (tmp_path / "heads").write_text(kept)
    assert run("verify", "--heads", "heads").code == 0
    run("dataset", "purge", "physics/cars", "--force", "--yes", *WRITE)
    run("dataset", "create", "physics/cars", *WRITE, stdin=b'{"name": "cars", "resources": []}')
    done = run("verify", "--heads", "heads")
    assert (done.code, "its history was replaced" in done.out) == (1, True)
    (tmp_path / "heads").write_text("rubbish\n")
    done = run("verify", "--heads", "heads")
    assert (done.code, "OWNER/NAME REVISION" in done.err) == (2, True)
