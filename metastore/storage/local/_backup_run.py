"""All datasets of one local store copied to another: which of them, in which order, and what becomes of those gone."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from metastore.errors import StorageCorrupt
from metastore.files import sync_directory
from metastore.storage.local._copying import copy_repository
from metastore.storage.local.layout import target_of
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

#: What people own, then what the store owns.
_PREFIXES = ("", "_")
_log = logging.getLogger("metastore.storage")


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup or restore did.

    Attributes:
        datasets: How many there were at the source, the journal among them.
        copied: How many object files were copied.
        bytes: The size of these files.
        unchanged: How many datasets were up to date.
        removed: Datasets removed from the target, because they were moved or purged at the source.
        kept: Datasets that look damaged at the source (gone without having been moved or purged, unreadable, or without
            objects that they had): what the target has of them was kept. A look at each is due.
    """

    datasets: int
    copied: int
    bytes: int
    unchanged: int
    removed: tuple[DatasetId, ...] = ()
    kept: tuple[DatasetId, ...] = ()


class BackupRun:
    """One run of a backup or restore, which is alone with its target.

    Args:
        source: Where to copy from; others may write to it.
        target: Where to copy to.
    """

    def __init__(self, source: GitStorage, target: GitStorage) -> None:
        self._source, self._target = source.layout, target.layout
        self._lock = source.lock if os.access(self._source.root, os.W_OK) else lambda dataset_id: nullcontext()
        # Apart from what others make in `tmp`, so that what a killed run left can be removed by the next.
        self._aside = self._target.private("tmp/backup")
        self._done = self._copied = self._bytes = self._unchanged = 0
        self._removed: list[DatasetId] = []
        self._kept: set[DatasetId] = set()

    def run(self, progress: Callable[[int, int], None]) -> BackupReport:
        """Copy the datasets, then what was noted of others, then the store's own datasets, such as the journal."""
        self.close()
        os.makedirs(self._aside)
        total = sum(1 for prefix in _PREFIXES for _ in self._source.ids(prefix, None))
        for prefix in _PREFIXES:
            for dataset_id in self._source.ids(prefix, None):
                self._unchanged += self._copy_dataset(dataset_id)
                self._done += 1
                progress(self._done, max(self._done, total))
            if not prefix:
                self._copy_notes()
            self._remove_gone(prefix)
        removed, kept = tuple(self._removed), tuple(sorted(self._kept))
        return BackupReport(self._done, self._copied, self._bytes, self._unchanged, removed, kept)

    def _new(self) -> str:
        return f"{self._aside}/{secrets.token_hex(8)}"

    def close(self) -> None:
        """Remove what was being made."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def _copy_dataset(self, dataset_id: DatasetId) -> bool:
        """Copy a dataset, if it is still there; tell whether the copy was up to date before."""
        source, target = self._source.path(dataset_id), self._target.path(dataset_id)
        with self._lock(dataset_id):
            if not os.path.isdir(source):
                return False
            try:
                if os.path.isdir(target):
                    copied = copy_repository(source, target, self._aside)
                else:
                    copied = copy_repository(source, made := self._new(), self._aside)
                    self._target.put_in_place(made, dataset_id, "")
            except StorageCorrupt as error:
                self._keep(dataset_id, str(error))
                return False
        self._copied += copied.files
        self._bytes += copied.bytes
        if copied.lost:
            self._keep(dataset_id, "the source has not all the objects that it had")
        return not copied.changed

    def _copy_notes(self) -> None:
        """Copy what is said of ids without a dataset, and what moved to an id that we had passed already."""
        for dataset_id in self._source.noted():
            note = self._source.note(dataset_id)
            if note and note != self._target.note(dataset_id):
                self._target.write_note(dataset_id, new_id := target_of(note), note.get("former", []))
                if new_id and not os.path.isdir(self._target.path(new_id)):
                    self._copy_dataset(new_id)

    def _remove_gone(self, prefix: str) -> None:
        """Remove datasets that are gone from the source on purpose, but first copy them from where they are now."""
        for dataset_id in self._target.ids(prefix, None):
            if os.path.isdir(self._source.path(dataset_id)):
                continue
            note = self._source.note(dataset_id)
            if new_id := target_of(note):
                self._copy_dataset(new_id)
            with self._lock(dataset_id):
                self._remove(dataset_id, new_id, purged=bool(note.get("purged")))

    def _remove(self, dataset_id: DatasetId, new_id: DatasetId | None, *, purged: bool) -> None:
        if os.path.isdir(self._source.path(dataset_id)):
            return
        if not purged and not (new_id and os.path.isdir(self._target.path(new_id))):
            self._keep(dataset_id, "it is gone from the source, and was neither moved nor purged")
            return
        path = self._target.path(dataset_id)
        os.rename(path, gone := self._new())
        sync_directory(os.path.dirname(path))
        shutil.rmtree(gone)
        self._removed.append(dataset_id)

    def _keep(self, dataset_id: DatasetId, reason: str) -> None:
        _log.warning("the backup of %s is kept as it was: %s", dataset_id, reason)
        self._kept.add(dataset_id)
