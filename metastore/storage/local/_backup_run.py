"""Copies all datasets of a local store to another: which ones, in which order, and what happens to those gone."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from metastore.errors import StorageCorrupt, StorageUnavailable
from metastore.files.durable import make_folders, random_name, sync_directory, sync_file
from metastore.files.reading import is_folder
from metastore.git.cache import Cache
from metastore.git.reachable import reachable
from metastore.os_errors import in_words
from metastore.storage.local._copying import KEPT, Copied, copy_new, copy_onto, lost_references
from metastore.storage.local._journaled import Journaled
from metastore.storage.local._maintenance import remove
from metastore.storage.local._notes import Notes
from metastore.storage.local._repository import GitRepository
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId

#: The prefixes of the datasets of people, and of the store's own.
_PREFIXES = ("", "_")
#: How many new datasets are made durable by one sync of the whole file system. That waits for what others write too,
#: so up to `_ONE_BY_ONE` of them are synced file by file.
_BATCH, _ONE_BY_ONE = 1024, 16
_TRIES = 10
_log = logging.getLogger("metastore.storage")


@dataclass(frozen=True, slots=True)
class KeptReference:
    """A branch or tag that the store lost, and the backup kept.

    Attributes:
        dataset: Its id.
        reference: Its name in the store, such as `refs/heads/main`.
        held: The id of the commit or tag that it held.
    """

    dataset: DatasetId
    reference: str
    held: str

    def __str__(self) -> str:
        return f"{self.dataset}: {self.reference} at {self.held} is lost in the store, and kept in the backup"


@dataclass(frozen=True, slots=True)
class BackupReport:
    """The result of a backup or restore.

    Attributes:
        datasets: How many datasets the source has; those of the store's own, such as the journal, are not counted.
        copied: How many object files were copied.
        bytes: The size of these files.
        unchanged: How many datasets were up to date.
        removed: Datasets removed from the target, because they were moved or purged at the source.
        kept: Datasets that look damaged at the source (gone without having been moved or purged, unreadable, or without
            objects that they had): what the target has of them was kept.
        lost: Branches and tags that the source lost, and that this run kept in the target.
        mended: How many damaged object files of the target were replaced.
    """

    datasets: int
    copied: int
    bytes: int
    unchanged: int
    removed: tuple[DatasetId, ...] = ()
    kept: tuple[DatasetId, ...] = ()
    lost: tuple[KeptReference, ...] = ()
    mended: int = 0


class BackupRun:
    """One run of a backup or restore. Nobody else writes to its target meanwhile.

    Args:
        source: Where to copy from; others may write to it.
        target: Where to copy to.
        check: Whether to read all of the target, and to replace what is damaged there.
    """

    def __init__(self, source: GitStorage, target: GitStorage, *, check: bool = False) -> None:
        self._source, self._target, self._check = source.layout, target.layout, check
        self._lock, self._target_lock = source.layout.read_locked, target.lock
        self._journaled = Journaled(source, target)
        # Apart from what others make in `tmp`, so that what a killed run left can be removed by the next.
        self._aside = self._target.backup_aside()
        self._new: list[tuple[str, DatasetId]] = []  # copied, and not yet in place
        self._done = self._counted = self._unchanged = 0
        self._copied: list[Copied] = []
        self._removed: list[DatasetId] = []
        self._kept: set[DatasetId] = set()
        self._lost: list[KeptReference] = []

    def run(self, progress: Callable[[int, int], None]) -> BackupReport:
        """Copy the datasets, then the notes, then the store's own datasets, such as the journal."""
        self.close()
        for path in list(self._target.left_over()):  # of a run that was killed: nobody else writes here
            remove(path)
        os.makedirs(self._aside)
        total = sum(1 for _ in self._source.ids("", None))
        for prefix in _PREFIXES:
            for dataset_id in self._source.ids(prefix, None):
                unchanged = self._copy_dataset(dataset_id)
                if not prefix:
                    self._done += 1
                    self._unchanged += unchanged
                    progress(self._done, max(self._done, total))
            for owner, name, _ in () if prefix else self._source.unnamed():
                self._copy_dataset(DatasetId(owner, name))
            self._put_in_place()
            if not prefix:
                self._copy_notes()
            self._remove_gone(prefix)
        self._remove_adopted()
        self._lost = [kept for kept in self._lost if not self._has_moved(kept)]
        return self._report()

    def _report(self) -> BackupReport:
        return BackupReport(
            self._done,
            sum(copied.files for copied in self._copied),
            sum(copied.bytes for copied in self._copied),
            self._unchanged,
            tuple(self._removed),
            tuple(sorted(self._kept)),
            tuple(self._lost),
            sum(copied.mended for copied in self._copied),
        )

    def close(self) -> None:
        """Remove what was being made."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def _copy_dataset(self, dataset_id: DatasetId) -> bool:
        """Copy a dataset, if it is still there; tell whether the copy was up to date before."""
        source, target = self._source.path(dataset_id), self._target.path(dataset_id)
        with self._lock(dataset_id), self._target_lock(dataset_id) if os.path.isdir(target) else nullcontext():
            if not os.path.isdir(source):
                return False
            try:
                copied = self._copy(dataset_id, source, target)
            except StorageCorrupt as error:
                self._keep(dataset_id, str(error))
                return False
            except OSError as error:
                if not _is_about(source, error):  # of the target or the machine: the next dataset would meet it too
                    raise
                self._keep(dataset_id, f"{in_words(error)}: {error.filename}")
                return False
        if len(self._new) >= _BATCH:
            self._put_in_place()
        self._copied.append(copied)
        self._lost += (KeptReference(dataset_id, name, held) for name, held in copied.lost)
        if copied.incomplete:
            self._keep(dataset_id, "the source has not all the objects that it had")
        return not copied.changed

    def _copy(self, dataset_id: DatasetId, source: str, target: str) -> Copied:
        for left in reversed(range(_TRIES)):
            with suppress(FileNotFoundError) if left else nullcontext():  # Git packs the source
                copied = None
                if os.path.isdir(target):
                    copied = copy_onto(source, target, self._aside, dataset_id, self._journaled, check=self._check)
                if copied is None:
                    copied = copy_new(source, made := f"{self._aside}/{random_name()}", self._journaled)
                    self._new.append((made, dataset_id))
                return copied
        raise AssertionError

    def _put_in_place(self) -> None:
        """Make new copies durable, then let them count."""
        if not self._new:
            return
        many = len(self._new) > _ONE_BY_ONE
        if many:
            _sync_file_system(self._aside)
        for made, dataset_id in self._new:
            target = self._target.path(dataset_id)
            if not many:
                _sync_folder(made)
            if is_folder(target) is False:
                raise StorageUnavailable(f"{target} is not a folder: move it out of the backup")
            if os.path.isdir(target):
                os.rename(target, f"{self._aside}/{random_name()}")
            make_folders(os.path.dirname(target), sync=not many)
            os.rename(made, target)
            if not many:
                sync_directory(os.path.dirname(target))
        if many:
            _sync_file_system(self._aside)
        self._new.clear()

    def _copy_notes(self) -> None:
        """Copy the notes, and the datasets that have moved to an id that this run has passed already."""
        notes, copied = Notes(self._source), Notes(self._target)
        for dataset_id in notes.ids():
            note = notes.read(dataset_id)
            if note and note != copied.read(dataset_id):
                copied.write(dataset_id, note)
                if note.moved_to and not os.path.isdir(self._target.path(note.moved_to)):
                    self._copy_dataset(note.moved_to)
        self._put_in_place()

    def _remove_gone(self, prefix: str) -> None:
        """Remove datasets that were moved or purged at the source; first copy moved ones from their new ids."""
        for dataset_id in self._target.ids(prefix, None):
            if os.path.isdir(self._source.path(dataset_id)):
                continue
            new_id = Notes(self._source).moved_to(dataset_id)
            if new_id:
                self._copy_dataset(new_id)
                self._put_in_place()
            with self._lock(dataset_id):
                self._remove(dataset_id, new_id)

    def _remove(self, dataset_id: DatasetId, new_id: DatasetId | None) -> None:
        if os.path.isdir(self._source.path(dataset_id)):
            return
        if not (new_id and self._holds_all(new_id, dataset_id)) and not self._is_purged(dataset_id):
            reason = "it is gone from the source, and was neither moved nor purged"
            if new_id:
                reason = (
                    f"it was moved to {new_id}, which lacks a part: `metastore recover --as {new_id}` restores that"
                )
            self._keep(dataset_id, reason)
            return
        self._take_away(dataset_id)

    def _remove_adopted(self) -> None:
        """Remove copies of repositories without an id that have got one, where the source has a link to it."""
        for owner, name, _ in self._target.unnamed():
            former = DatasetId(owner, name)
            link = self._source.path(former)
            place = os.path.relpath(os.path.realpath(link), self._source.root).removesuffix(".git").split("/")
            if os.path.islink(link) and len(place) == 2 and self._holds_all(DatasetId(*place), former):
                self._take_away(former)

    def _take_away(self, dataset_id: DatasetId) -> None:
        path = self._target.path(dataset_id)
        os.rename(path, gone := f"{self._aside}/{random_name()}")
        sync_directory(os.path.dirname(path))
        if os.path.islink(gone):
            _log.warning("%s was a link in the backup: remove %s by hand", dataset_id, os.path.realpath(gone))
            os.unlink(gone)
        else:
            shutil.rmtree(gone)
        self._removed.append(dataset_id)

    def _is_purged(self, dataset_id: DatasetId) -> bool:
        try:
            copy = GitRepository(self._target.path(dataset_id), Cache(0), sync=False)
            return self._journaled.purged(copy, dataset_id)
        except StorageCorrupt:
            return False

    def _holds_all(self, new_id: DatasetId, dataset_id: DatasetId) -> bool:
        """Tell whether the copy at the new id of a moved dataset has all that the copy at the old one has."""
        try:
            new, old = (GitRepository(self._target.path(each), Cache(0), sync=False) for each in (new_id, dataset_id))
            references, there = old.references.all(), new.references.all()
            kept = {held for name, held in references.items() if name.startswith(KEPT) and name not in there}
            lost = lost_references(old, references, new, there, self._journaled)
            return (not kept or kept <= reachable(new, there.values()).keys()) and not any(lost)
        except (StorageCorrupt, FileNotFoundError):
            return False

    def _has_moved(self, kept: KeptReference) -> bool:
        """Tell whether the copy at another id of a dataset has what was kept at this one, and let go of that then."""
        copy = GitRepository(self._target.path(kept.dataset), Cache(0), sync=True)
        for new_id in self._journaled.ids_of(copy, kept.dataset) - {kept.dataset}:
            with suppress(StorageCorrupt, FileNotFoundError):
                new = GitRepository(self._target.path(new_id), Cache(0), sync=False)
                if kept.held in reachable(new, new.references.all().values()):
                    with self._target_lock(kept.dataset):
                        left = copy.references.all()
                        del left[f"{KEPT}{kept.reference.removeprefix('refs/')}/{kept.held}"]
                        copy.references.replace_all(left)
                    return True
        return False

    def _keep(self, dataset_id: DatasetId, reason: str) -> None:
        _log.warning("the backup of %s is kept as it was: %s", dataset_id, reason)
        self._kept.add(dataset_id)


def _is_about(path: str, error: OSError) -> bool:
    """Tell whether an error is about a file below a path, and not about all files of the machine or of this process."""
    return str(error.filename).startswith(f"{path}/") and error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _sync_folder(path: str) -> None:
    """Make a folder and everything below it durable, file by file."""
    for folder, _, files in os.walk(path):
        for name in files:
            sync_file(f"{folder}/{name}")
        sync_directory(folder)


def _sync_file_system(path: str) -> None:
    """Make everything on the file system of a path durable: faster than file by file where there are thousands.

    Raises:
        OSError: The disk reports an error.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # not on Linux
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)
