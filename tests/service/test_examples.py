"""The examples of the service run as they are printed, and what we ship to deploy it is accepted by those it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import compose_spec
import pytest
import yaml

import metastore
from metastore import bundle
from metastore.config import ServiceSettings
from metastore.web import create_app

from ..serving import Served, behind_nginx, served

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DEPLOY = EXAMPLES / "deploy"
PROGRAMS = {"service.sh": ["bash"], "service.py": [sys.executable], "service.mjs": ["node"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_day_with_the_service(service: Served, tmp_path: Path, name: str) -> None:
    address = {"METASTORE_SERVICE": f"http://127.0.0.1:{service.port}", "METASTORE_TOKEN": service.token}
    done = subprocess.run(
        [*PROGRAMS[name], EXAMPLES / name],
        cwd=tmp_path,
        env={**os.environ, **address},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("a stale change: (412|revision-conflict)", done.stdout)
    assert "Cars" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1] in ("the title is gone again", "False", "false")


@pytest.mark.parametrize("options", [[], ["--postgres"]], ids=["folder", "postgres"])
def test_the_sample_service_has_something_to_compare_to_restore_and_to_look_up(
    tmp_path: Path, options: list[str]
) -> None:
    command = [sys.executable, EXAMPLES / "serve.py", "--store", tmp_path / "new", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It answers with 4 datasets" in done.stdout
    folder = tmp_path / "new" / "files" / "ifbeam" / "devices"
    assert {len(file.read_text().splitlines()) for file in folder.iterdir()} == {50, 49}


def test_the_sample_has_a_file_for_each_version_a_move_and_a_mistake_to_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sample = import_module("sample")
    store = metastore.connect("memory:", author=sample.ANN)
    clock = sample.Clock(datetime(2026, 9, 10, tzinfo=UTC))
    registry = bundle.connect("memory:", groups=bundle.Groups.parse(sample.GROUPS), clock=clock)
    sample.fill(store, registry, clock, tmp_path)
    settings = ServiceSettings(lfs_folder=f"{tmp_path}/{{owner}}/{{name}}")
    client = create_app(store, bundles=registry, settings=settings).test_client()
    file = "/datasets/ifbeam/devices?resource=0"
    assert "<td>E:TRTGTD</td>" in client.get(f"{file}&revision=v1.0.0").text
    assert "<td>E:TRTGTD</td>" not in (newest := client.get(file).text)
    assert "<td>E:HRNDIR</td>" in newest
    moved = client.get("/datasets/vega/vega-datasets", follow_redirects=True)
    assert moved.request.path == "/datasets/vega/datasets"
    assert "vega/vega-datasets is called vega/datasets now." in moved.text
    mistake = next(each for each in store.revision_list("okfn/compression") if each.message == "Describe the files")
    mended = store.dataset_undo("okfn/compression", mistake.id).descriptor
    assert ("description" in mended, mended["licenses"][0]["name"]) == (False, "CC-BY-4.0")


def test_nginx_accepts_what_we_ship(service: Served, tmp_path: Path) -> None:
    with behind_nginx(service.port, tmp_path) as port:
        assert service.ask("/healthz", port=port).status == 200
    done = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "nginx.err"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_accepts_what_we_ship(tmp_path: Path) -> None:
    units = [path for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer")]
    assert len(units) == 3
    for unit in units:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/metastore/bin/metastore", sys.executable))
    command = ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_compose_file_follows_the_specification() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    compose_spec.PyCompose.from_yaml(text).validate()
    with pytest.raises(ValueError, match="restrat"):
        compose_spec.PyCompose.from_yaml(text.replace("restart:", "restrat:"))
    for each in yaml.safe_load(text)["services"].values():
        for volume in each.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists()


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    words = [line.split(maxsplit=1)[0] for line in lines if line and not line.startswith("#")]
    assert set(words) <= {"FROM", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "CMD"}
    assert words.index("USER") < words.index("CMD")
    assert "constraints.txt" in "".join(lines)
    assert not [line for line in lines if line.startswith("FROM") and (":" not in line or ":latest" in line)]
