"""Maintains local Git repositories: packs them, finds damage, and removes what interrupted writes left."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from metastore.errors import DatasetNotFound, StorageBusy, StorageCorrupt, StorageError
from metastore.files.durable import remove_tree
from metastore.files.locks import locked_if_free
from metastore.files.reading import open_file, read_file
from metastore.git.cache import Cache
from metastore.git.repository import Inspect
from metastore.os_errors import naming, storage_errors
from metastore.storage.local._config import fault_of_config
from metastore.storage.local._locks import stale_locks
from metastore.storage.local._notes import Notes
from metastore.storage.local._object_files import is_whole
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.local._pack_index import read_index
from metastore.storage.local._pack_reader import Foreseen
from metastore.storage.local._packs import (
    UNFINISHED,
    names_gone_packs,
    pack_files,
    pack_names,
    readable_packs,
    remove_packs,
)
from metastore.storage.local._repository import GitRepository, newest_readable
from metastore.storage.local.layout import Layout, is_stale
from metastore.types import Damage, DatasetId

if TYPE_CHECKING:
    from metastore.storage.local.storage import GitStorage

#: The temporary files below `objects`; the last two are libgit2's, of older versions of MetaStore. Nobody else gives
#: such names. Below `refs` people choose the names, so there only what `_locks` knows as ours is left over.
_UNFINISHED_OBJECTS = re.compile(
    r"tmp_(pack|object)_[0-9a-f]{16}|([0-9a-f]{2}/)?tmp_object_git2_[^/]*|pack/pack_git2_[^/]*"
)
#: The temporary files of `files.durable.replace_file` beside a repository's own, named after process and thread.
_UNFINISHED_FILE = re.compile(r"(former-ids|packed-refs|config|HEAD)\.(\d+-\d+\.)?new")
#: The endings of files whose last 20 bytes are a checksum; the last one is of `multi-pack-index` and `commit-graph`.
_WITH_CHECKSUM = (".pack", ".idx", ".rev", ".bitmap", "")
_CACHE_BYTES = 16 * 1024 * 1024
_CHUNK = 1024 * 1024
#: The file in which Git notes the commits whose parents it does not have.
_SHALLOW = re.compile(rb"([0-9a-fA-F]{40}\n)*")
#: Some of the 256 folders of loose objects, and how many objects in them call for packing.
_SAMPLE, _MANY_SAMPLED = ("17", "5c", "a3", "e8"), 6
#: How often, and after how many seconds each time, half a pack is looked at again.
_LOOKS, _PAUSE = 3, 0.1
_MULTI_PACK_INDEX = "objects/pack/multi-pack-index"


def wants_packing(path: str) -> bool:
    """Guess from 4 of 256 folders whether a repository has some 400 loose objects, much as `git gc --auto` does."""
    loose = 0
    for folder in _SAMPLE:
        with suppress(OSError):
            loose += len(os.listdir(f"{path}/objects/{folder}"))
    return loose >= _MANY_SAMPLED


def compact(repository: GitRepository) -> None:
    """Put everything that a repository has into one pack. The caller holds the dataset's lock.

    Nothing is dropped: another writer may have stored objects whose reference is still to be set, and what cannot be
    read now may be mended from elsewhere.

    Raises:
        StorageCorrupt: An object cannot be read; nothing has changed.
    """
    database = repository.database
    database.index_again()
    loose, packs = dict(database.loose()), pack_names(repository.path)
    ids = database.ids().union(loose)
    if not loose and len(packs) <= 1:
        return
    new = database.pack(sorted(ids))
    for file in loose.values():
        with suppress(FileNotFoundError):  # Git may have packed it, too
            os.unlink(file)
    remove_packs(repository.path, packs - {new})


def damage_of_store(layout: Layout, *, repair: bool) -> Iterator[Damage]:
    """Yield what is wrong outside of the datasets: left-over files, unreadable notes, folders that are not datasets."""
    for path in _left_over_of_store(layout, repair=repair):
        yield Damage(os.path.relpath(path, layout.root), "left-over-file", "left by an interrupted write", repair)
    for owner, name, path in layout.unnamed():
        detail = f"these names are not a dataset id, so it is not listed: {_way_to_an_id(path)}"
        yield Damage(f"{owner}/{name}", "not-an-id", detail)
    notes = Notes(layout)
    for dataset_id in notes.ids():
        if not notes.read(dataset_id) and not os.path.isdir(layout.path(dataset_id)):
            what = "the note of where this dataset moved, or that it was purged, cannot be read"
            detail = f"{what}: copy {os.path.relpath(notes.path(dataset_id), layout.root)} from a backup"
            yield Damage(str(dataset_id), "unreadable", detail)
    if not os.path.isdir(layout.backup_aside()):  # a backup that is unfinished gets its notes last
        yield from _lost_notes(layout, notes)


def _lost_notes(layout: Layout, notes: Notes) -> Iterator[Damage]:
    """Find former ids of datasets at which there is nothing, so that they lead nowhere."""
    for dataset_id in layout.ids("", None):
        # What is no folder is named among the datasets.
        for former in layout.former_ids(dataset_id) if os.path.isdir(layout.path(dataset_id)) else ():
            path, note = layout.path(former), notes.path(former)
            # Looked at twice, since a dataset that is created there meanwhile removes the note.
            if not (os.path.isdir(path) or os.path.lexists(note) or os.path.isdir(path)):
                what = f"{dataset_id} was here, but no note says so any more, and no dataset is here"
                detail = f"{what}: copy {os.path.relpath(note, layout.root)} from a backup, or recover the dataset"
                yield Damage(str(former), "unreadable", detail)


def _left_over_of_store(layout: Layout, *, repair: bool) -> list[str]:
    """Find what interrupted writes left, and remove it if asked to. A backup that copies for hours keeps its folder."""
    paths, aside = list(layout.left_over()), layout.backup_aside()
    with locked_if_free(layout.backup_lock_file()) if aside in paths else nullcontext(True) as free:
        paths = [path for path in paths if free or path != aside]
        for path in paths if repair else ():
            remove(path)
    return paths


def _way_to_an_id(path: str) -> str:
    try:
        newest_readable(path)
    except (StorageCorrupt, OSError) as error:
        return f"it cannot get one either, since {error}"
    return "`metastore adopt --dry-run` shows the id that it can get"


def damage_of_dataset(
    storage: GitStorage, dataset_id: DatasetId, inspect: Inspect, *, repair: bool
) -> Iterator[Damage]:
    """Yield what is wrong with a dataset.

    Raises:
        DatasetNotFound: There is none.
        StorageBusy: It was moved, purged or replaced meanwhile.
    """
    path = storage.layout.path(dataset_id)
    with storage.lock(dataset_id) if repair else storage.layout.read_locked(dataset_id):
        left_over = list(_left_over(path))
        for file in left_over if repair else ():
            remove(file)
        mended = list(_mend_packs(path)) if repair else []
    for detail in mended:
        yield Damage(str(dataset_id), "unreadable", detail, repaired=True)
    for file in left_over:  # outside of the lock, since the caller may want to write
        why = "names packs that are gone" if file.endswith(_MULTI_PACK_INDEX) else "was left by an interrupted write"
        detail = f"{os.path.relpath(file, path)} {why}"
        yield Damage(str(dataset_id), "left-over-file", detail, repair)
    yield from _unreadable(storage, dataset_id, inspect)


def _mend_packs(path: str) -> Iterator[str]:
    """Index packs without an index, and remove indexes without a pack whose objects are all elsewhere."""
    if not os.path.isdir(f"{path}/objects/pack") or not (halves := list(_halves(path))):
        return
    database = ObjectDatabase(path, sync=True)
    database.index_again()
    for name in halves:
        stem, ending = os.path.splitext(f"{path}/objects/{name}")
        if ending == ".pack" and os.path.exists(f"{stem}.idx"):
            yield f"objects/{name} had no index"
        elif ending == ".idx" and is_stale(f"{path}/objects/{name}") and _is_elsewhere(path, os.path.basename(stem)):
            remove(f"{path}/objects/{name}")
            yield f"objects/{name} belonged to no pack; its objects are elsewhere"


def _is_elsewhere(path: str, name: str) -> bool:
    """Tell whether all objects of an index that has no pack can be read."""
    database = ObjectDatabase(path, sync=False)
    try:
        for identity in read_index(path, name).ids():
            database.read(identity)
    except (KeyError, StorageCorrupt, FileNotFoundError):
        return False
    return True


def _unreadable(storage: GitStorage, dataset_id: DatasetId, inspect: Inspect) -> Iterator[Damage]:
    try:
        with storage.open(dataset_id) as repository, storage_errors():
            yield from _as_long_as_it_stays(repository, _damage(repository.path, dataset_id, inspect))
    except (DatasetNotFound, StorageBusy):
        raise
    except StorageError as error:
        yield Damage(str(dataset_id), "unreadable", str(error))


def _as_long_as_it_stays(repository: GitRepository, damages: Iterator[Damage]) -> Iterator[Damage]:
    """Yield damages until a repository is moved, purged or replaced: what is missing then is not damage."""
    for damage in damages:
        if not repository.is_current():
            raise StorageBusy(f"{repository.path} was moved, purged or replaced meanwhile; try again")
        yield damage


def _damage(path: str, dataset_id: DatasetId, inspect: Inspect) -> Iterator[Damage]:
    from metastore.git.verify import verify  # few programs need it

    yield from (Damage(str(dataset_id), "unreadable", fault) for fault in _pack_faults(path))
    foreseen = Foreseen(path)
    for name, reason in foreseen.refused.items():
        detail = f"objects/pack/{name}.pack {reason}; no object was read"
        yield Damage(str(dataset_id), "unreadable", detail)
    if foreseen.refused:
        return
    repository = GitRepository(path, Cache(_CACHE_BYTES), sync=False)
    repository.database.by_hand = not foreseen.is_all
    for fault in _faults_around(repository):
        yield Damage(str(dataset_id), "unreadable", fault)
    for file in _damaged_files(repository):
        detail = f"{file} is damaged, but its content can be read: `metastore pack {dataset_id}` replaces it"
        yield Damage(str(dataset_id), "unreadable", detail)
    yield from verify(repository, dataset_id, inspect, _stored(repository))


def _faults_around(repository: GitRepository) -> Iterator[str]:
    """Yield why Git opens a repository only in part, or not at all, though its objects are whole."""
    if fault := fault_of_config(repository.path):
        yield fault
    if not _SHALLOW.fullmatch(read_file(f"{repository.path}/shallow") or b""):
        yield "shallow cannot be read, so Git reads nothing from this repository: remove it"
    yield from repository.references.faults()


def _damaged_files(repository: GitRepository) -> Iterator[str]:
    """Yield files of loose objects that Git cannot read, and we can: from a pack, or up to where something follows."""
    for identity, file in repository.database.loose():
        with suppress(KeyError, StorageCorrupt, FileNotFoundError):  # it was packed meanwhile, or is reported later
            if not is_whole(file, name := os.path.relpath(file, repository.path)):
                repository.database.read(identity)
                yield name


def _stored(repository: GitRepository) -> Iterator[str]:
    """Yield the id of every object, also of those to which no reference leads; damaged indexes are passed over."""
    yield from (identity for identity, _ in repository.database.loose())
    for name in readable_packs(repository.path):
        with suppress(StorageCorrupt, FileNotFoundError):
            yield from read_index(repository.path, name).ids()


def _pack_faults(path: str) -> Iterator[str]:
    """Find packs without an index and indexes without a pack; compare each file with its checksum.

    Packs and indexes come and go one after the other, so that a half counts only if it stays one.
    """
    halves = set(_halves(path))
    for _ in range(_LOOKS if halves else 0):
        time.sleep(_PAUSE)
        halves &= set(_halves(path))
    for name in [*_pack_files(path), "info/commit-graph"]:
        ending = os.path.splitext(name)[1]
        if name in halves and ending == ".pack":
            yield f"objects/{name} has no index, so that Git reads nothing from it"
        elif name in halves:
            yield f"objects/{name} belongs to no pack"
        elif ending in _WITH_CHECKSUM and not _ends_with_checksum(f"{path}/objects/{name}"):
            yield f"objects/{name} is damaged: its checksum is wrong"


def _halves(path: str) -> Iterator[str]:
    """Yield the packs that have no index, some time after they were written, and the indexes that have no pack."""
    names = _pack_files(path)
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending == ".pack" and f"{stem}.idx" not in names and is_stale(f"{path}/objects/{name}"):
            yield name
        if ending == ".idx" and f"{stem}.pack" not in names:
            yield name


def _pack_files(path: str) -> list[str]:
    """Return the files below `objects/pack` that Git has finished, or given up."""
    names = [f"pack/{name}" for name in sorted(pack_files(path))]
    return [name for name in names if not name.startswith(f"pack/{UNFINISHED}") or is_stale(f"{path}/objects/{name}")]


def _ends_with_checksum(path: str) -> bool:
    """Tell whether the last 20 bytes of a file are the SHA-1 of the others; see gitformat-pack(5)."""
    digest = hashlib.sha1(usedforsecurity=False)
    # A pack may be replaced at any moment.
    with suppress(FileNotFoundError), naming(path), open(path, "rb", opener=open_file) as file:
        left = os.fstat(file.fileno()).st_size - 20
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        return left == 0 and digest.digest() == file.read()
    return True


def _left_over(path: str) -> Iterator[str]:
    """Find the unfinished files of interrupted writes. Objects are written before the lock is taken, so age counts."""
    if not os.path.isdir(path):
        return
    for name in os.listdir(path):
        if _UNFINISHED_FILE.fullmatch(name):
            yield f"{path}/{name}"
    for folder in (path, *(folder for folder, _, _ in os.walk(f"{path}/refs"))):
        yield from stale_locks(folder)
    if names_gone_packs(path):
        yield f"{path}/{_MULTI_PACK_INDEX}"
    for folder, folders, files in os.walk(f"{path}/objects"):
        for name in [*folders, *files]:
            found = os.path.join(folder, name)
            if _UNFINISHED_OBJECTS.fullmatch(os.path.relpath(found, f"{path}/objects")) and is_stale(found):
                yield found


def remove(path: str) -> None:
    """Remove a left-over file, folder or link, if it is still there. What a link leads to stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)
