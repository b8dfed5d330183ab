"""Run by `make wheel` in an environment that has the built wheel and no extra: what users get from a plain install."""

import sys
import tempfile
import time
from pathlib import Path

before = set(sys.modules)
start = time.perf_counter()
import metastore  # noqa: E402

took = time.perf_counter() - start
third_party = {"pygit2", "jsonschema_rs", "blinker", "click", "flask", "frictionless", "datapackage"}
assert not third_party & set(sys.modules), third_party & set(sys.modules)
assert "site-packages" in metastore.__file__, metastore.__file__

with tempfile.TemporaryDirectory() as folder:
    with metastore.connect(folder, author="Ann Lee <ann@example.org>") as store:
        dataset = store.dataset_create("physics/cars", {"name": "cars"})
        assert dataset.findings, "the vendored profiles are missing from the wheel"
        store.dataset_patch("physics/cars", {"title": "Cars"})
        assert store.dataset_revert("physics/cars", dataset.revision.id).descriptor == dataset.descriptor
data = Path(metastore.__file__).parent / "data"
for name in (
    "openapi.yaml",
    "docs/page.html",
    "docs/docs.js",
    "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui/NOTICE",
    "licences/licences.json",
    "licences/open.json",
):
    assert (data / name).is_file(), f"{name} is missing from the wheel"
assert (Path(sys.prefix) / "share/man/man1/metastore.1").is_file(), "the manual page is missing from the wheel"
print(f"the bare wheel works; import metastore took {took * 1000:.0f} ms")
