"""A revision that is not JSON, as somebody may have committed with Git: it can be looked at through every door."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import metastore
from metastore.errors import DatasetDeleted, NotADescriptor
from metastore.store.store import MetaStore
from metastore.types import DatasetId
from metastore.web import create_app

from .conftest import ANN, change
from .loopback import TOKEN, serving

CARS = DatasetId("physics", "cars")
CONTENTS = {
    "a comma too many": b'{"name": "cars",}\n',
    "NaN": b'{"name": "cars", "n": NaN}',
    "a list": b"[1, 2]",
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "a page": b"<script>alert(1)</script>\n",
    "nothing": b"",
}


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]


def filled(content: bytes, *, mended: bool = True) -> tuple[MetaStore, str, str]:
    """Return a store whose dataset has a revision that is no descriptor, that revision, and the newest one."""
    store = metastore.connect("memory:", author=ANN)
    assert isinstance(store, MetaStore)
    store.dataset_create(CARS, {"name": "cars"})
    head = store.revision_read(CARS).id
    broken = store.storage.append(CARS, {"datapackage.json": content}, change("By hand"), parent=head).id
    if mended:
        store.dataset_update(CARS, {"name": "cars", "mended": True})
    return store, broken, store.revision_read(CARS).id


@pytest.mark.parametrize("door", ["library", "service"])
def test_its_bytes_are_read_and_nothing_passes_it_for_json(content: bytes, door: str) -> None:
    store, broken, newest = filled(content)
    with serving(store) as address, metastore.connect(address, token=TOKEN) as remote:
        reader: Any = store if door == "library" else remote
        assert reader.dataset_bytes(CARS, broken) == (store.revision_read(CARS, broken), content)
        for call in (
            lambda: reader.dataset_read(CARS, broken),
            lambda: reader.dataset_json(CARS, broken),
            lambda: reader.revision_diff(CARS, broken, newest),
            lambda: reader.revision_diff(CARS, newest, broken),
            lambda: reader.dataset_revert(CARS, broken),
        ):
            with pytest.raises(NotADescriptor) as caught:
                call()
            assert (caught.value.dataset_id, caught.value.revision) == (CARS, broken)
        assert reader.dataset_bytes(CARS)[1] == reader.dataset_json(CARS)[1] == reader.dataset_read(CARS).bytes
        assert [revision.id for revision in reader.revision_list(CARS)][:2] == [newest, broken]


@pytest.mark.parametrize("mend", ["update", "revert"])
def test_a_newest_revision_that_is_no_descriptor_is_replaced(content: bytes, mend: str) -> None:
    store, broken, _ = filled(content, mended=False)
    with pytest.raises(NotADescriptor):
        store.dataset_read(CARS)
    if mend == "update":
        store.dataset_update(CARS, {"name": "cars"})
    else:
        store.dataset_revert(CARS, str(store.revision_read(CARS).parent))
    assert store.dataset_read(CARS).descriptor == {"name": "cars"}
    assert store.dataset_bytes(CARS, broken)[1] == content


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/datasets/physics/cars?revision={broken}",
        "/api/v1/datasets/physics/cars/diff?from={broken}",
        "/api/v1/datasets/physics/cars/diff?from={newest}&to={broken}",
        "/datasets/physics/cars?revision={broken}",
        "/datasets/physics/cars/compare?from={broken}",
        "/datasets/physics/cars/compare?from={newest}&to={broken}",
        "/datasets/physics/cars/history",
        "/datasets/physics/cars/revert?to={broken}",
    ],
)
def test_no_address_of_the_service_answers_with_a_5xx(content: bytes, path: str) -> None:
    store, broken, newest = filled(content)
    answer = create_app(store).test_client().get(path.format(broken=broken, newest=newest))
    assert answer.status_code < 500
    if path.startswith("/api"):
        assert (answer.status_code, answer.json["kind"]) == (422, "not-a-descriptor")
        assert "is not" in answer.json["detail"]
        json.loads(answer.data)


def test_the_raw_bytes_are_no_page_for_a_browser(content: bytes) -> None:
    store, broken, newest = filled(content)
    client = create_app(store).test_client()
    answer = client.get(f"/api/v1/datasets/physics/cars/raw?revision={broken}")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, content, "application/octet-stream")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert broken in answer.headers["ETag"]
    assert client.get("/api/v1/datasets/physics/cars/raw").headers["ETag"] == f'"{newest}+raw"'
    store.dataset_delete(CARS)
    assert client.get("/api/v1/datasets/physics/cars/raw").status_code == 410
    with pytest.raises(DatasetDeleted):
        store.dataset_bytes(CARS)


def test_its_page_shows_it_as_text_with_a_sentence() -> None:
    store, broken, newest = filled(CONTENTS["a page"])
    client = create_app(store).test_client()
    page = client.get(f"/datasets/physics/cars?revision={broken}")
    assert page.status_code == 200
    assert "This revision is not a valid descriptor" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script>alert(1)" not in page.text
    lines = client.get(f"/datasets/physics/cars/compare?from={broken}&to={newest}")
    assert lines.status_code == 200
    assert "Compared line by line" in lines.text
    assert "-&lt;script&gt;alert(1)&lt;/script&gt;" in lines.text


def test_json_on_one_line_is_compared_by_its_members_on_pages_and_the_command_line(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    store = metastore.connect(tmp_path / "store", author=ANN, validation="off")
    first = store.dataset_create(CARS, {"name": "cars", "title": "Cars"}).revision.id
    one_line = b'{"title":"Autos","name":"cars"}'
    newest = store.storage.append(CARS, {"datapackage.json": one_line}, change(), parent=first).id
    client = create_app(store).test_client()
    said = "Both were indented and sorted first"
    for more in ("&view=text", ""):
        answer = client.get(f"/datasets/physics/cars/compare{'' if more else '.diff'}?from={first}&to={newest}{more}")
        text = unescape(answer.text)
        assert said in text
        assert '+  "title": "Autos"' in text
        assert f"+{one_line.decode()}" not in text
    lines = command("revision", "diff", str(CARS), first, "--unified")
    assert '+  "title": "Autos"' in lines.stdout
    assert said in lines.stderr


def test_on_the_command_line_it_is_printed_and_compared_line_by_line(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = tmp_path / "store"
    store = metastore.connect(root, author=ANN, validation="off")
    first = store.dataset_create(CARS, {"name": "cars"}).revision.id
    broken = store.storage.append(CARS, {"datapackage.json": b'{"name": "a",}\n'}, change(), parent=first).id
    store.dataset_update(CARS, {"name": "b"})
    assert command("dataset", "read", str(CARS), broken, "--raw").stdout == '{"name": "a",}\n'
    failed = command("dataset", "read", str(CARS), broken)
    assert failed.returncode == 5
    assert f"metastore dataset read physics/cars {broken} --raw" in failed.stderr
    for more in ([], ["--unified"]):
        lines = command("revision", "diff", str(CARS), first, broken, *more)
        assert lines.returncode == 0
        assert '+{"name": "a",}' in lines.stdout
        assert "Compared line by line" in lines.stderr
    assert command("revision", "diff", str(CARS), first, broken, "--patch").returncode == 5
    assert command("dataset", "revert", str(CARS), broken, "--author", "Ann <ann@example.org>").returncode == 5


@pytest.fixture
def command(tmp_path: Path, programs: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [programs / "metastore", *arguments, "--store", str(tmp_path / "store")]
        return subprocess.run(line, capture_output=True, text=True, timeout=60)

    return run
