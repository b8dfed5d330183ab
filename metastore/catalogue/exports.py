"""Write a store's descriptors to a folder, and keep the folder in step with the store.

The folder holds OWNER/NAME/datapackage.json and a manifest of the files that exports wrote. From the manifest, the next
export knows the files that somebody else changed, which it keeps, and those whose datasets are gone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import (
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    RevisionNotFound,
    StorageCorrupt,
)
from metastore.files.durable import replace_file
from metastore.os_errors import in_words
from metastore.parse import AnyId, parse_dataset_id
from metastore.types import DatasetId

if TYPE_CHECKING:
    from metastore.store.base import Store

MANIFEST = ".metastore-export.json"
_FORMAT = 1
#: The manifest is saved after this many files, so that it lacks few of them if the process is killed.
_BATCH = 200

Outcome = Literal["written", "unchanged", "removed", "stale", "kept", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class ExportLine:
    """The outcome of one file of an export.

    Attributes:
        path: The path of the file in the folder, such as `physics/cars/datapackage.json`.
        outcome: `written`; `unchanged`; `removed` and `stale` (its dataset is gone; with and without `prune`); `kept`
            (somebody changed the file); `skipped` (its dataset has no such revision); `failed`.
        reason: A sentence for `kept`, `skipped` and `failed`; else empty.
    """

    path: str
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason or self.outcome}"


def export(
    store: Store,
    folder: Path,
    *,
    prefix: str | tuple[str, ...] = "",
    ids: Iterable[AnyId] | None = None,
    revision: str | None = None,
    prune: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    through: Callable[[list[DatasetId]], Iterable[DatasetId]] = iter,
) -> list[ExportLine]:
    """Write each dataset's descriptor to a file, and return the outcome of each file.

    Args:
        store: The store to read.
        folder: The folder; created if it does not exist.
        prefix: Only ids that start with this text, or with one of several.
        ids: Only these datasets; then no file counts as one of a dataset that is gone.
        revision: A tag or another name of a revision; datasets without it are skipped. None means the newest.
        prune: Whether to remove the files of datasets that were deleted, moved or purged.
        overwrite: Whether to also write and remove files that somebody changed.
        dry_run: Whether to change nothing.
        through: Passes the ids on, one by one; for a progress bar.

    Raises:
        InvalidInput: The manifest cannot be read, or the folder cannot be written to.
        StorageError: The store fails. The manifest lists the files that have been written.
    """
    run = _Run(folder, overwrite=overwrite, dry_run=dry_run)
    lines: list[ExportLine] = []
    try:
        chosen = _chosen(store, prefix) if ids is None else list(map(parse_dataset_id, ids))
        lines.extend(_export_one(run, store, dataset_id, revision) for dataset_id in through(chosen))
        present = {_path(dataset_id) for dataset_id in chosen}
        covered = run.known if ids is None else ()
        gone = sorted(path for path in covered if path.startswith(prefix) and path not in present)
        lines += [run.remove(path) if prune else ExportLine(path, "stale") for path in gone]
    finally:
        run.save()
    return lines


def _chosen(store: Store, prefix: str | tuple[str, ...]) -> list[DatasetId]:
    prefixes = (prefix,) if isinstance(prefix, str) else prefix
    return sorted({dataset_id for each in prefixes for dataset_id in store.dataset_list(each)})


def exported_unchanged(file: Path, content: bytes) -> bool:
    """Tell whether a file is as an export wrote it. Importing it again could only undo later changes."""
    if file.name != DESCRIPTOR or len(file.parts) < 3:
        return False
    known = _read_manifest(file.parents[2] / MANIFEST)
    return known.get("/".join(file.parts[-3:])) == _digest(content)


def _export_one(run: _Run, store: Store, dataset_id: DatasetId, revision: str | None) -> ExportLine:
    path = _path(dataset_id)
    try:
        return run.write(path, store.dataset_read(dataset_id, revision).bytes)
    except (RevisionNotFound, DatasetNotFound) as error:
        return ExportLine(path, "skipped", str(error))
    except (StorageCorrupt, PathNotFound) as error:
        return ExportLine(path, "failed", str(error))


def _path(dataset_id: DatasetId) -> str:
    return f"{dataset_id.owner}/{dataset_id.name}/{DESCRIPTOR}"


class _Run:
    """One export: the folder, and the digest of each file that exports wrote there."""

    def __init__(self, folder: Path, *, overwrite: bool, dry_run: bool) -> None:
        self._folder, self._overwrite, self._dry_run = folder, overwrite, dry_run
        self.known = _read_manifest(folder / MANIFEST)
        self._unsaved = 0

    def write(self, path: str, content: bytes) -> ExportLine:
        if obstacle := self._obstacle(path):
            return ExportLine(path, "kept", obstacle)
        now = self._read(path)
        if now == content:
            self._note(path, content)
            return ExportLine(path, "unchanged")
        if now is not None and self._changed_by_somebody(path, now):
            return ExportLine(path, "kept", "somebody changed the file; --overwrite replaces it")
        if not self._dry_run:
            with _writing(self._folder / path):
                (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
                replace_file(os.fspath(self._folder / path), content, sync=False)
        self._note(path, content)
        return ExportLine(path, "written")

    def remove(self, path: str) -> ExportLine:
        if obstacle := self._obstacle(path):
            return ExportLine(path, "kept", obstacle)
        now = self._read(path)
        if now is not None and self._changed_by_somebody(path, now):
            return ExportLine(
                path, "kept", "the dataset is gone, but somebody changed the file; --overwrite removes it"
            )
        if not self._dry_run:
            with _writing(self._folder / path):
                (self._folder / path).unlink(missing_ok=True)
                self._remove_empty((self._folder / path).parent)
        del self.known[path]
        return ExportLine(path, "removed")

    def save(self) -> None:
        if self._dry_run or not (self.known or (self._folder / MANIFEST).exists()):
            return
        text = json.dumps({"format": _FORMAT, "files": dict(sorted(self.known.items()))}, indent=1)
        with _writing(self._folder / MANIFEST):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(os.fspath(self._folder / MANIFEST), f"{text}\n".encode(), sync=False)

    def _note(self, path: str, content: bytes) -> None:
        self.known[path] = _digest(content)
        self._unsaved += 1
        if self._unsaved % _BATCH == 0:
            self.save()

    def _obstacle(self, path: str) -> str:
        """Return what keeps a file from being read and written safely; empty if nothing does."""
        file = self._folder / path
        if not Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(self._folder)):
            return "a link leads out of the folder; remove it"
        return "it is not a file; remove it" if os.path.exists(file) and not os.path.isfile(file) else ""

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InvalidInput(f"{self._folder / path} cannot be read: {in_words(error)}") from None

    def _changed_by_somebody(self, path: str, content: bytes) -> bool:
        return not self._overwrite and self.known.get(path) != _digest(content)

    def _remove_empty(self, folder: Path) -> None:
        for each in (folder, folder.parent):
            if not any(each.iterdir()):
                each.rmdir()


def _read_manifest(file: Path) -> dict[str, str]:
    try:
        manifest = json.loads(file.read_bytes())
        if manifest["format"] != _FORMAT:
            raise InvalidInput(f"{file} was written by a newer version of MetaStore")
        # A path is made of an id again, so that no manifest leads out of the folder.
        return {
            _path(parse_dataset_id(path.removesuffix(f"/{DESCRIPTOR}"))): str(digest)
            for path, digest in manifest["files"].items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {in_words(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(
            f"{file} is damaged: remove it, then the next export keeps every file that differs"
        ) from None


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {in_words(error)}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
