"""The uploaded files of older versions: kept by the plugin `metastore_files`, or said to be gone."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import ckan.tests.factories as factories
import pytest
from ckan.lib import uploader
from ckanext.metastore import files
from conftest import act, new_dataset
from werkzeug.datastructures import FileStorage

Package = dict[str, Any]
kept = pytest.mark.ckan_config("ckan.plugins", "metastore metastore_files")
FIRST, SECOND = b"speed\n30\n", b"speed\n300\n"


def upload(content: bytes) -> FileStorage:
    return FileStorage(io.BytesIO(content), "speeds.csv")


@pytest.fixture
def twice(cars: Package) -> Package:
    """A resource whose file was replaced, and the ids of the two versions."""
    made = act("resource_create", "ann", package_id=cars["id"], name="Speeds", upload=upload(FIRST))
    act("resource_patch", "ann", id=made["id"], upload=upload(SECOND), description="Faster")
    newest, older, *_ = [each["id"] for each in act("dataset_revision_list", id=cars["id"])]
    return {"id": cars["id"], "resource": made["id"], "older": older, "newest": newest}


def stored(resource: Package) -> bytes:
    return Path(uploader.get_resource_uploader(dict(resource)).get_path(resource["id"])).read_bytes()


def downloaded(app: Any, twice: Package, version: str) -> Any:
    return app.get(f"/dataset/{twice['id']}/versions/{twice[version]}/resource/{twice['resource']}/download")


@kept
def test_each_version_has_its_own_file(app: Any, twice: Package) -> None:
    for version, content in (("older", FIRST), ("newest", SECOND)):
        shown = act("dataset_revision_show", id=twice["id"], revision=twice[version])
        assert shown["gone_files"] == []
        [resource] = [each for each in shown["package"]["resources"] if each["id"] == twice["resource"]]
        assert resource["hash"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert downloaded(app, twice, version).data == content
    page = app.get(f"/dataset/{twice['id']}/versions/{twice['older']}/resource/{twice['resource']}")
    assert f"{twice['resource']}/download" in page.body
    assert "is gone" not in page.body


@kept
@pytest.mark.parametrize("meanwhile", ["replaced", "removed"])
def test_a_restored_version_has_its_own_file(twice: Package, meanwhile: str) -> None:
    if meanwhile == "removed":
        act("resource_delete", "ann", id=twice["resource"])
    back = act("dataset_revert", "ann", id=twice["id"], revision=twice["older"])["resources"][-1]
    assert (back["id"], back["size"], stored(back)) == (twice["resource"], len(FIRST), FIRST)
    act("dataset_undo", "ann", id=twice["id"], revision="HEAD")
    assert stored(act("resource_show", id=twice["resource"]) if meanwhile == "replaced" else back) is not None


@kept
def test_a_description_changes_no_file_and_a_link_has_no_hash(twice: Package) -> None:
    digest = act("resource_show", id=twice["resource"])["hash"]
    form = {"id": twice["resource"], "name": "Speeds", "url": "speeds.csv", "url_type": "upload"}
    assert act("resource_update", "ann", **form, description="Edited")["hash"] == digest
    link = {**form, "url": "https://example.org/s.csv", "url_type": "", "clear_upload": "true"}
    assert not act("resource_update", "ann", **link)["hash"]


@kept
def test_a_hash_that_another_extension_writes_hides_no_file_and_makes_no_version(twice: Package) -> None:
    act("resource_patch", "ann", id=twice["resource"], hash=hashlib.md5(SECOND).hexdigest())  # xloader does
    assert act("resource_show", id=twice["resource"])["hash"] == f"sha256:{hashlib.sha256(SECOND).hexdigest()}"
    assert act("dataset_revision_list", id=twice["id"], limit=1)[0]["id"] == twice["newest"]


@kept
def test_a_purged_dataset_leaves_no_files(twice: Package) -> None:
    assert len(list(files.folder_of(twice["id"]).iterdir())) == 2
    act("dataset_purge", factories.Sysadmin()["name"], id=twice["id"])
    assert not files.folder_of(twice["id"]).exists()


@kept
def test_the_file_of_a_version_is_for_those_who_may_see_the_dataset(app: Any, twice: Package) -> None:
    act("package_patch", "ann", id=twice["id"], private=True)
    assert downloaded(app, twice, "older").status_code == 404


@pytest.mark.parametrize("meanwhile", ["replaced", "removed"])
def test_without_the_plugin_a_file_that_was_replaced_is_gone_and_said_to_be(
    app: Any, twice: Package, meanwhile: str
) -> None:
    if meanwhile == "removed":
        act("resource_delete", "ann", id=twice["resource"])
    shown = act("dataset_revision_show", id=twice["id"], revision=twice["older"])
    assert shown["gone_files"] == [twice["resource"]]
    assert downloaded(app, twice, "older").status_code == 404
    assert downloaded(app, twice, "newest").status_code in (200, 302)
    page = app.get(f"/dataset/{twice['id']}/versions/{twice['older']}/resource/{twice['resource']}")
    assert "The file of this version is gone" in page.body
    back = act("dataset_revert", "ann", id=twice["id"], revision=twice["older"])["resources"][-1]
    assert (back["size"], stored(back)) == (len(SECOND), SECOND)


def test_another_dataset_that_takes_the_id_of_a_removed_resource_gives_its_file_to_no_version(
    app: Any, twice: Package, physics: Package
) -> None:
    """CKAN allows that, and keeps the file of the new resource in the place of the old one."""
    act("resource_delete", "ann", id=twice["resource"])
    other = act("package_create", "ann", **new_dataset(physics), private=True)
    said = {"package_id": other["id"], "id": twice["resource"], "name": "Secret"}
    act("resource_create", "ann", **said, upload=upload(b"secret\n"))
    assert downloaded(app, twice, "newest").status_code == 404
    shown = act("dataset_revision_show", id=twice["id"], revision=twice["newest"])
    assert shown["gone_files"] == [twice["resource"]]
    back = act("dataset_revert", "ann", id=twice["id"], revision=twice["newest"])["resources"][-1]
    assert (back["name"], back["id"] == twice["resource"]) == ("Speeds", False)


def test_a_file_that_somebody_removed_from_the_folder_is_gone(twice: Package) -> None:
    resource = act("resource_show", id=twice["resource"])
    Path(uploader.get_resource_uploader(dict(resource)).get_path(resource["id"])).unlink()
    assert act("dataset_revision_show", id=twice["id"])["gone_files"] == [twice["resource"]]
