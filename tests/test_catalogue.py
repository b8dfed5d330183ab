"""Import and export: folders and dumps beside a store, the nightly import, and the work of curators."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore import config
from metastore.catalogue import sources
from metastore.catalogue.exports import MANIFEST
from metastore.catalogue.imports import Importer
from metastore.ckan import to_package
from metastore.errors import StorageUnavailable

from .conftest import ANN, CATALOGUE
from .test_cli import WRITE, Run, run

__all__ = ["run"]  # the fixture


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def cars(title: str, **more: Any) -> dict[str, Any]:
    return {"name": "cars", "title": title, **more, "resources": [{"name": "all", "path": "all.csv"}]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one dataset, as somebody's nightly download leaves it."""
    return write(tmp_path / "in/physics/cars/datapackage.json", cars("Cars"))


def title(run: Run) -> str:
    return str(json.loads(run("dataset", "read", "physics/cars").out)["title"])


# Export


def test_a_second_export_follows_deletions_and_moves_with_prune(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("export", "out")
    run("dataset", "delete", "okfn/compression", *WRITE)
    run("dataset", "move", "pandas/test-package", "museum/test-package", *WRITE)
    told = run("export", "out")
    assert (told.code, told.out) == (0, "3 exported, 2 stale\n")
    assert "--prune removes them" in told.err
    assert run("export", "out", "--prune").out == "3 exported, 2 removed\n"
    kept = sorted(
        str(file.relative_to(tmp_path / "out").parent) for file in (tmp_path / "out").rglob("datapackage.json")
    )
    assert kept == ["frictionless/zipped-resources", "museum/test-package", "vega/datasets"]
    assert not (tmp_path / "out" / "okfn").exists()


def test_export_leaves_alone_what_somebody_changed(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("export", "out")
    file = write(tmp_path / "out/okfn/compression/datapackage.json", '{"mine": 1}')
    done = run("export", "out")
    assert (done.code, done.out) == (1, "3 exported, 1 kept\n")
    assert "okfn/compression/datapackage.json: somebody changed the file; --overwrite replaces it" in done.err
    assert file.read_text() == '{"mine": 1}'
    run("dataset", "delete", "okfn/compression", *WRITE)
    assert run("export", "out", "--prune").code == 1
    assert file.exists()
    assert run("export", "out", "--prune", "--overwrite").code == 0
    assert not file.exists()


def test_export_keeps_a_file_that_was_there_before_the_first_export(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    file = write(tmp_path / "out/okfn/compression/datapackage.json", '{"mine": 1}')
    assert run("export", "out").code == 1
    assert file.read_text() == '{"mine": 1}'


def test_export_neither_writes_through_a_link_out_of_its_folder_nor_waits_for_a_pipe(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    run("export", "out")
    file = out / "pandas/test-package/datapackage.json"
    for folder in (elsewhere, out / "okfn", file.parent):
        shutil.rmtree(folder, ignore_errors=True)
    elsewhere.mkdir()
    file.parent.mkdir()
    os.mkfifo(file)
    (out / "okfn").symlink_to(elsewhere)
    for more in ((), ("--overwrite",), ("--prune",)):
        told = run("export", "out", *more)
        assert (told.code, told.out) == (1, "2 exported, 2 kept\n")
        assert "a link leads out of the folder" in told.err
        assert "it is not a file" in told.err
    assert not any(elsewhere.iterdir())


def test_a_dry_export_writes_nothing_and_says_what_it_would_do(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    done = run("export", "out", "--dry-run")
    assert (done.code, done.out) == (0, "4 exported (dry run)\n")
    assert "vega/datasets/datapackage.json: written" in done.err
    assert not (tmp_path / "out").exists()


def test_export_at_a_revision_that_no_dataset_has_fails(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    done = run("export", "out", "--revision", "2024-13-01")
    assert (done.code, done.out) == (1, "0 exported, 4 skipped\n")
    assert "month must be in 1..12" in done.err


def test_export_at_a_tag_skips_datasets_without_it(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("tag", "create", "okfn/compression", "v1", *WRITE[:2])
    run("dataset", "patch", "okfn/compression", '{"title": "Later"}', *WRITE)
    done = run("export", "out", "--revision", "v1", "--json")
    assert (done.json["exported"], done.json["skipped"]) == (1, 3)
    assert "Later" not in (tmp_path / "out/okfn/compression/datapackage.json").read_text()


def test_import_reads_nothing_that_a_link_in_a_folder_shows_of_the_rest_of_the_machine(
    run: Run, tmp_path: Path, source: Path
) -> None:
    secret = write(tmp_path / "secret.json", cars("Secret"))
    for name in ("linked", "piped", "inside"):
        (tmp_path / "in/physics" / name).mkdir()
    (tmp_path / "in/physics/linked/datapackage.json").symlink_to(secret)
    (tmp_path / "in/physics/inside/datapackage.json").symlink_to(source)
    os.mkfifo(tmp_path / "in/physics/piped/datapackage.json")
    told = run("import", "in", *WRITE)
    assert (told.code, told.out.partition(",")[0]) == (1, "1 created")
    assert told.err.count("a link that leads out of in") == 2
    assert "Secret" not in run("dataset", "list", "--long").out


def test_importing_an_export_undoes_no_later_change(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("export", "out")
    run("dataset", "patch", "okfn/compression", '{"title": "Curated"}', *WRITE)
    assert run("import", "out", *WRITE).out.startswith("0 created, 0 updated, 4 unchanged")
    assert json.loads(run("dataset", "read", "okfn/compression").out)["title"] == "Curated"
    run("dataset", "purge", "okfn/compression", "--force", "--yes", *WRITE)
    run("dataset", "delete", "vega/datasets", *WRITE)
    run("dataset", "move", "pandas/test-package", "pandas/moved", *WRITE)
    assert run("import", "out", *WRITE).out.startswith("0 created, 0 updated, 4 unchanged")


def test_an_export_fills_another_store(run: Run, tmp_path: Path) -> None:
    run("import", str(CATALOGUE), *WRITE)
    run("export", "out")
    assert run("--store", "other", "import", "out", *WRITE).out.splitlines()[-1].startswith("4 created, 0 updated")
    assert run("--store", "other", "dataset", "list").out == run("dataset", "list").out


@pytest.mark.parametrize(
    "manifest", ["{", "[]", '{"format": 1, "files": {"../../x/datapackage.json": ""}}', '{"format": 2, "files": {}}']
)
def test_a_manifest_that_cannot_be_read_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, manifest: str
) -> None:
    run("import", str(CATALOGUE), *WRITE)
    write(tmp_path / "out" / MANIFEST, manifest)
    done = run("export", "out", "--prune")
    assert (done.code, MANIFEST in done.err) == (2, True)
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / MANIFEST]


# Import beside curators


def test_only_new_datasets_are_imported_when_asked(run: Run, source: Path) -> None:
    run("import", "in", *WRITE)
    write(source, cars("Other"))
    write(source.parents[1] / "boats" / "datapackage.json", {"name": "boats", "resources": []})
    done = run("import", "in", "--only-new", *WRITE)
    assert (done.code, done.out) == (0, "1 created, 0 updated, 0 unchanged, 1 skipped, 0 failed, 0 findings\n")
    assert title(run) == "Cars"


def test_what_a_curator_changed_since_the_last_import_is_left_alone_when_asked(run: Run, source: Path) -> None:
    keep = ("import", "in", "--if-unchanged-since-import", *WRITE)
    run(*keep)
    write(source, cars("Better"))
    assert "1 updated" in run(*keep).out
    run("dataset", "patch", "physics/cars", '{"title": "Curated"}', *WRITE, "-m", "Say it better")
    write(source, cars("Later"))
    done = run(*keep)
    assert "1 skipped" in done.out
    assert "changed here since its last import, by Ann Lee" in done.err
    assert "Say it better" in done.err
    assert title(run) == "Curated"


def test_a_dataset_that_was_never_imported_is_not_merged_and_the_way_out_is_told(run: Run, source: Path) -> None:
    run("dataset", "create", "physics/cars", *WRITE, stdin=b'{"name": "cars", "title": "Mine"}')
    done = run("import", "in", "--merge", "last", *WRITE)
    assert (done.code, "import it once without --merge" in done.err, title(run)) == (1, True, "Mine")
    assert run("import", "in", *WRITE).code == 0
    assert run("import", "in", "--merge", "last", *WRITE).code == 0


def test_what_an_import_merged_is_not_called_a_change_of_the_importer(run: Run, source: Path) -> None:
    run("import", "in", "--merge", "last", *WRITE)
    run("dataset", "patch", "physics/cars", '{"title": "Curated"}', *WRITE)
    write(source, {**cars("Cars"), "version": "2"})
    assert "1 merged" in run("import", "in", "--merge", "last", *WRITE).out
    write(source, cars("Later"))
    done = run("import", "in", "--if-unchanged-since-import", *WRITE)
    assert "an earlier import merged changes that were made here" in done.err
    assert title(run) == "Curated"


def test_changes_of_both_sides_are_merged_night_after_night(run: Run, source: Path) -> None:
    merge = ("import", "in", "--merge", "base", *WRITE)
    run(*merge)
    run("dataset", "patch", "physics/cars", '{"title": "Curated"}', *WRITE)
    write(source, cars("Cars", version="2"))
    assert "1 merged" in run(*merge).out
    assert json.loads(run("dataset", "read", "physics/cars").out) == cars("Curated", version="2")
    assert "1 unchanged" in run(*merge).out  # the source says what it said last night, and takes nothing back
    write(source, cars("Cars", version="3"))
    assert "1 merged" in run(*merge).out
    assert json.loads(run("dataset", "read", "physics/cars").out) == cars("Curated", version="3")


def test_a_folder_of_the_last_import_that_cannot_be_written_is_named_and_the_next_import_goes_on(
    run: Run, source: Path, tmp_path: Path
) -> None:
    merge = ("import", "in", "--merge", "base", *WRITE)
    (tmp_path / "base").mkdir()
    (tmp_path / "base/physics").write_text("a file")
    done = run(*merge)
    assert (done.code, f"a part of the path is a file, not a folder: {tmp_path}/base/physics" in done.err) == (5, True)
    items = sources.read([tmp_path / "in"])
    with metastore.connect(config.load().url, author=ANN) as store, pytest.raises(StorageUnavailable):
        list(Importer(store, rule="merge", base=tmp_path / "base").run(items))
    (tmp_path / "base/physics").unlink()
    assert "1 unchanged" in run(*merge).out
    assert (tmp_path / "base/physics/cars/datapackage.json").exists()


@pytest.mark.parametrize("rule", [("--if-unchanged-since-import",), ("--merge", "another")])
def test_what_a_curator_changed_before_a_merge_is_no_import_either(
    run: Run, source: Path, rule: tuple[str, ...]
) -> None:
    run("import", "in", "--merge", "base", *WRITE)
    run("dataset", "patch", "physics/cars", '{"title": "Curated"}', *WRITE)
    write(source, cars("Cars", version="2"))
    assert "1 merged" in run("import", "in", "--merge", "base", *WRITE).out
    write(source, cars("Cars", version="2", homepage="https://example.org"))
    run("import", "in", *rule, *WRITE)  # another rule, or the folder of the last import is lost
    assert json.loads(run("dataset", "read", "physics/cars").out)["title"] == "Curated"


def test_a_change_of_the_same_place_on_both_sides_is_reported_and_nothing_is_stored(run: Run, source: Path) -> None:
    merge = ("import", "in", "--merge", "base", *WRITE)
    run(*merge)
    run("dataset", "patch", "physics/cars", '{"title": "Curated"}', *WRITE)
    write(source, cars("Upstream"))
    done = run(*merge)
    assert (done.code, "changed here and at the source in the same place: title" in done.err) == (1, True)
    assert title(run) == "Curated"
    write(source, cars("Curated"))  # the curators of both sides have spoken
    assert run(*merge).code == 0


def test_a_dry_import_stores_nothing_and_names_each_change(run: Run, source: Path) -> None:
    run("import", "in", *WRITE)
    write(source, cars("Better"))
    done = run("import", "in", "--dry-run", *WRITE)
    assert done.out.splitlines() == [
        "physics/cars: updated",
        "  title changed: 'Cars' → 'Better'",
        "0 created, 1 updated, 0 unchanged, 0 failed, 0 findings (dry run)",
    ]
    assert title(run) == "Cars"
    told = run("import", "in", "--dry-run", "--json", *WRITE).json
    assert [(line["dataset_id"], line["outcome"]) for line in told["lines"]] == [("physics/cars", "updated")]


def test_a_verbose_import_names_each_dataset_its_changes_and_its_findings(run: Run, source: Path) -> None:
    run("import", "in", *WRITE)
    write(source, cars("Better", homepage=1))
    done = run("import", "in", "--verbose", *WRITE)
    assert done.out.splitlines() == [
        "physics/cars: updated",
        "  title changed: 'Cars' → 'Better'",
        "  homepage added: 1",
        "  finding: /homepage: the homepage is a number, not text (Data Package 1.0)",
        "0 created, 1 updated, 0 unchanged, 0 failed, 1 finding",
    ]
    again = run("import", "in", "-v", *WRITE)
    assert again.out.startswith("physics/cars: unchanged\n")
    assert title(run) == "Better"


def test_a_dry_import_into_no_store_makes_none(run: Run, source: Path, tmp_path: Path) -> None:
    assert "1 created" in run("import", "in", "--dry-run", *WRITE).out
    assert not (tmp_path / "metastore-data").exists()


def test_an_import_of_which_nothing_can_be_stored_makes_no_store(run: Run, source: Path, tmp_path: Path) -> None:
    write(source, '{"resources": [{"path": "../../x"}]}')
    assert run("import", "in", *WRITE).code == 1
    assert not (tmp_path / "metastore-data").exists()


def test_a_revision_says_from_where_it_was_imported(run: Run, source: Path) -> None:
    run("import", "in", *WRITE, "-m", "Nightly", "--batch", "night-7")
    message = run("revision", "read", "physics/cars", "--json").json["message"]
    assert message == "Nightly\n\nImported-From: in/physics/cars/datapackage.json\nBatch: night-7"


def test_an_import_without_a_batch_gets_one_of_its_own(run: Run, source: Path) -> None:
    run("import", "in", *WRITE)
    message = run("revision", "read", "physics/cars", "--json").json["message"]
    assert re.search(r"^Batch: import-\d{8}T\d{6}-[0-9a-f]{4}$", message, re.MULTILINE)


# Sources


def test_ids_are_turned_into_lower_case_when_asked(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "in/Physics/Cars/datapackage.json", cars("Cars"))
    refused = run("import", "in", *WRITE)
    assert (refused.code, "try 'physics'" in refused.err) == (1, True)
    assert run("import", "in", "--lower-case", *WRITE).code == 0
    assert run("dataset", "list").out == "physics/cars\n"


def test_json_lines_have_a_descriptor_on_each_line(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", json.dumps(cars("Cars")) + "\n\n{oops\n" + json.dumps({"name": "boats"}) + "\n")
    done = run("import", "all.jsonl", "--owner", "physics", *WRITE)
    assert (done.code, "all.jsonl:3:" in done.err) == (1, True)
    assert run("dataset", "list").out == "physics/boats\nphysics/cars\n"


def test_columns_of_a_table_are_json_pointers(tmp_path: Path) -> None:
    file = write(
        tmp_path / "all.csv", "name,title,keywords/0,keywords/1,resources/0/path\ncars,C,a,b,x.csv\nboats,,,,\n"
    )
    items = list(sources.read([file], owner="physics"))
    assert [str(item.dataset_id) for item in items] == ["physics/cars", "physics/boats"]
    assert json.loads(items[0].content) == {
        "name": "cars",
        "title": "C",
        "keywords": ["a", "b"],
        "resources": [{"path": "x.csv"}],
    }
    assert json.loads(items[1].content) == {"name": "boats"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name\na,b\n", "cells than the header"),
        ("name,title\na\n", "cells than the header"),
        ("name,keywords/1\na,b\n", "does not follow"),
        ("name,name/0\na,b\n", "does not follow"),
    ],
)
def test_a_row_that_makes_no_document_is_reported(tmp_path: Path, text: str, problem: str) -> None:
    [item] = sources.read([write(tmp_path / "all.csv", text)], owner="physics")
    assert problem in str(item.problem)
    assert item.source.endswith("all.csv:2")


def test_a_table_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_bytes(b"name\n\xff\n")
    [item] = sources.read([tmp_path / "all.csv"], owner="physics")
    assert "the file is not UTF-8: byte 5 is wrong" in str(item.problem)


def test_what_ckan_returns_is_imported_by_organization_and_name(run: Run, tmp_path: Path) -> None:
    package = {
        "name": "cars",
        "owner_org": "0-1",
        "organization": {"name": "physics"},
        "title": "Cars",
        "resources": [],
    }
    answer = {"success": True, "result": {"count": 2, "results": [package, {**package, "name": "boats"}]}}
    write(tmp_path / "search.json", answer)
    write(tmp_path / "dump.jsonl", json.dumps({**package, "name": "trains"}))
    write(tmp_path / "show.json", {"success": True, "result": {**package, "name": "planes"}})
    assert run("import", "search.json", "dump.jsonl", "show.json", *WRITE).code == 0
    assert run("dataset", "list").out.split() == ["physics/boats", "physics/cars", "physics/planes", "physics/trains"]
    assert to_package(json.loads(run("dataset", "read", "physics/cars").out))["title"] == "Cars"
