"""Uploaded files of older versions. The plugin `metastore_files` keeps each one; CKAN itself keeps only the newest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckan import model
from ckan.lib import uploader
from ckanext.metastore.record import is_same_file

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


class KeepingUpload(uploader.ResourceUpload):
    """CKAN's own upload, which also keeps a copy under its SHA-256."""

    def __init__(self, resource: dict[str, Any]) -> None:
        super().__init__(resource)
        self._sha256 = ""
        if self.storage_path and self.filename:
            self._sha256 = hashlib.file_digest(self.upload_file, "sha256").hexdigest()
            self.upload_file.seek(0)
            resource["hash"] = f"sha256:{self._sha256}"
        elif self.clear:  # a link takes the place of the file
            resource["hash"] = ""
        elif kept := _kept_hash(resource):  # xloader writes one of its own
            resource["hash"] = kept

    def upload(self, id: str, max_size: int = 10) -> None:
        super().upload(id, max_size)
        if self._sha256:
            _keep(Path(self.get_path(id)), folder_of(model.Resource.get(id).package_id) / self._sha256)


def _kept_hash(resource: Mapping[str, Any]) -> str:
    """Return the hash by which the file of a resource was kept; empty if it was not. Only a new file changes it."""
    row = model.Resource.get(resource["id"]) if resource.get("id") else None
    is_kept = row and row.url_type == resource.get("url_type") == "upload" and _SHA256.fullmatch(row.hash or "")
    return row.hash if is_kept else ""


def folder_of(package_id: str) -> Path:
    """Return the folder with the files of a dataset, each under its SHA-256 in hexadecimal digits."""
    return Path(uploader.get_storage_path()) / "metastore" / package_id


def forget(package_id: str) -> None:
    """Remove the files of a dataset that is purged."""
    if uploader.get_storage_path():
        shutil.rmtree(folder_of(package_id), ignore_errors=True)


def is_gone(package_id: str, resource: Mapping[str, Any], newest: Mapping[str, Any]) -> bool:
    """Tell whether the uploaded file of a resource of an older version is gone.

    Args:
        package_id: The dataset.
        resource: The resource, as it was then.
        newest: The same resource in its newest state.
    """
    if kept_file(package_id, resource):
        return False
    return not is_same_file(resource, newest) or (_is_in_folder(resource) and not path_of(package_id, resource))


def path_of(package_id: str, resource: Mapping[str, Any]) -> Path | None:
    """Return where the file of a resource is whose file is not gone; None if it is not in a folder of CKAN's."""
    if kept := kept_file(package_id, resource):
        return kept
    if not _is_in_folder(resource) or is_taken(package_id, resource["id"]):
        return None
    newest = Path(_upload(resource).get_path(resource["id"]))
    return newest if newest.is_file() else None


def is_taken(package_id: str, resource_id: str | None) -> bool:
    """Tell whether another dataset has the id of a resource now: CKAN allows that once the resource is removed."""
    row = model.Resource.get(resource_id) if resource_id else None
    return row is not None and row.package_id != package_id


def _is_in_folder(resource: Mapping[str, Any]) -> bool:
    return isinstance(_upload(resource), uploader.ResourceUpload) and bool(uploader.get_storage_path())


def _upload(resource: Mapping[str, Any]) -> Any:
    return uploader.get_resource_uploader(dict(resource))


def kept_file(package_id: str, resource: Mapping[str, Any]) -> Path | None:
    """Return the copy of an uploaded file that was kept; None if there is none."""
    sha256 = _SHA256.fullmatch(resource.get("hash") or "")
    path = folder_of(package_id) / sha256[1] if sha256 and uploader.get_storage_path() else None
    return path if path and path.is_file() else None


def _keep(source: Path, target: Path) -> None:
    """Copy a file that is complete to a place where it is never written again."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}~")
        shutil.copyfile(source, partial)
        partial.rename(target)
