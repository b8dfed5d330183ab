"""Run by `make test-packages`: what needs libraries that the other tests do without."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from frictionless import Package, Resource

import metastore

from .conftest import ANN

FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": lambda resource: resource.to_pandas(),
    "polars": lambda resource: import_module("polars").DataFrame([dict(row) for row in resource.read_rows()]),
}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_rows_of_a_tag_become_a_data_frame(library: str, tmp_path: Path) -> None:
    (tmp_path / "speed.csv").write_text("id,speed\n1,120\n2,95\n")
    package = Package(name="cars", title="Cars", resources=[Resource(path="speed.csv", basepath=str(tmp_path))])
    package.infer()
    store = metastore.connect(":memory:", author=ANN)
    store.tag_create("physics/cars", "v1", store.dataset_create("physics/cars", package).revision)
    store.dataset_update("physics/cars", {"name": "cars", "resources": []})
    resource = store.dataset_read("physics/cars", "v1").to_package(basepath=str(tmp_path)).get_resource("speed")
    assert list(FRAMES[library](resource)["speed"]) == [120, 95]


@pytest.mark.filterwarnings("ignore:Field name .* shadows:UserWarning")  # dplib hides a name of pydantic's
def test_a_package_of_dplib_is_stored() -> None:
    values = {"name": "cars", "title": "Cars", "resources": [{"name": "cars", "path": "cars.csv"}], "x-room": {"no": 1}}
    package = import_module("dplib.models").Package.from_dict(values)
    store = metastore.connect(":memory:", author=ANN)
    made = store.dataset_create("physics/cars", package)
    assert {**made.descriptor, **values} == made.descriptor
    assert store.dataset_update("physics/cars", package).revision == made.revision
