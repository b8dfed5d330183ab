"""Backs up a local store that is in use, and restores the backup.

A backup is itself a store: `metastore.connect` opens it. Datasets are copied one by one, each under its lock, objects
first and references last and all at once, so that each is in the backup as it was at some moment of the run. The
journal comes last, so that it has a line for everything that the backup shows. After a run that was killed, the next
one completes the backup. Of a repository its objects, references, `HEAD`, `config` and `former-ids` are copied.

A backup never drops data because of damage. Every object file is compared with its checksum when it is copied. A
dataset is removed only if the journal says that it was purged, or if the backup has it at the id that it was moved to.
A branch that was set back, and a tag that is gone without a line in the journal, are kept under `refs/kept/`, from
where `metastore.storage.local.recovery` brings them back. Nobody else may write to a backup.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from metastore.errors import InvalidInput, StorageCorrupt, StorageUnavailable
from metastore.files.durable import random_name
from metastore.files.locks import can_lock, locked
from metastore.os_errors import storage_errors
from metastore.storage.local._backup_run import BackupReport, BackupRun, KeptReference
from metastore.storage.local.layout import Layout
from metastore.storage.local.mark import Mark
from metastore.storage.local.storage import GitStorage

__all__ = ["BackupReport", "KeptReference", "backup", "restore"]

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


def backup(
    storage: GitStorage, target: str | Path, *, check: bool = False, progress: Progress = _silent
) -> BackupReport:
    """Copy a store that may be in use, or bring an earlier copy up to date.

    Args:
        storage: The store. A dataset cannot be written while it is copied.
        target: The folder of the backup: a new one, an empty one, or an earlier backup of the same store.
        check: Whether to read all of the backup, and to replace what is damaged there.
        progress: Called after each dataset with how many are done and how many there are.

    Raises:
        InvalidInput: One folder is inside the other, or the target is a backup of another store.
        StorageUnavailable: The target is not a store, or a disk is full or fails. Datasets copied before that stay
            copied.
    """
    path = os.path.abspath(os.path.expanduser(target))
    _keep_apart(storage.layout.root, path)
    with storage_errors():
        _share_identity(storage.layout, Layout(path, sync=True))
    return _copy(storage, GitStorage(path), progress, check=check)


def restore(source: str | Path, target: str | Path, *, progress: Progress = _silent) -> BackupReport:
    """Create a store from a backup, and verify that it is complete.

    Args:
        source: The folder of the backup; it may be read-only.
        target: A folder that is empty or missing.
        progress: Called after each dataset with how many are done and how many there are.

    Raises:
        InvalidInput: One folder is inside the other.
        StorageUnavailable: There is no backup, the target is not empty, or a disk fails. An interrupted restore leaves
            a folder that cannot be opened as a store: remove it, and start again.
        StorageCorrupt: The backup is damaged. Everything readable is restored, and can be used.
    """
    source, target = (os.path.abspath(os.path.expanduser(path)) for path in (source, target))
    _keep_apart(source, target)
    with storage_errors():
        if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
            if os.path.isdir(target):
                Mark(target).expect_no_unfinished()
            raise StorageUnavailable(f"{target} is not empty: a backup is restored into a new folder")
        storage = GitStorage(source, create=False)
        restored = GitStorage(target, unfinished=True)
        report = _copy(storage, restored, progress)
        problems = [f"{dataset_id} cannot be read" for dataset_id in report.kept]
        problems += (str(damage) for damage in restored.verify() if damage.kind != "not-an-id")
        restored.layout.take_identity(storage.layout.mark.identity() or random_name(16))
    if problems:
        raise StorageCorrupt(f"the backup {source} is damaged; the rest of it was restored. {'; '.join(problems[:10])}")
    return report


def _share_identity(source: Layout, target: Layout) -> None:
    """Give a new backup the identity of its store. Raises InvalidInput if an older one has a different identity."""
    identity = source.mark.identity()
    if identity is None:
        source.take_identity(random_name(16))
        identity = source.mark.identity()
    target.prepare(create=True, identity=identity)
    theirs = target.mark.identity()
    if theirs == identity or identity is None:
        return
    if theirs is None or not any(True for prefix in ("", "_") for _ in target.ids(prefix, None)):
        target.take_identity(identity)  # a backup of an old version, or a store without content
    else:
        raise InvalidInput(f"{target.root} is another store, or a backup of one: choose a folder for this one's own")


def _keep_apart(source: str, target: str) -> None:
    source, target = os.path.realpath(source), os.path.realpath(target)
    if os.path.commonpath((source, target)) in (source, target):
        raise InvalidInput(f"a store and its backup cannot be inside each other: {source} and {target}")


def _copy(source: GitStorage, target: GitStorage, progress: Progress, *, check: bool = False) -> BackupReport:
    ours, theirs = target.layout.backup_lock_file(), source.layout.backup_lock_file()
    with storage_errors(), locked([ours, *filter(can_lock, [theirs])]):
        run = BackupRun(source, target, check=check)
        try:
            return run.run(progress)
        finally:
            run.close()
