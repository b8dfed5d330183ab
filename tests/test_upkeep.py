"""The commands that look after a store: `verify`, `pack`, `backup`, `restore` and `adopt`."""

from __future__ import annotations

from pathlib import Path

from .test_cli import WRITE, Run, cars, run

__all__ = ["cars", "run"]  # the fixtures


def test_verify_says_in_json_how_much_was_read_also_where_all_is_well(run: Run, cars: str, tmp_path: Path) -> None:
    assert run("verify", "--json").json == {"datasets": 1, "problems": 0, "repaired": 0}


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
