"""Looking after local Git repositories: packing them, finding what is wrong, mending what is safe to mend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from metastore import git
from metastore.errors import DatasetNotFound, StorageError
from metastore.storage.local._packs import index_ids, pack_names, remove_packs
from metastore.storage.local._repository import GitRepository
from metastore.storage.local.layout import is_stale
from metastore.types import Damage, DatasetId

#: How the files begin that libgit2 and `write_pack` write objects into.
_OBJECTS = ("tmp_", "pack_git2_")

if TYPE_CHECKING:
    from metastore.storage.local.storage import GitStorage


def compact(repository: GitRepository) -> None:
    """Put everything that a repository has into one pack. Only ever called under the dataset's lock.

    Nothing is dropped: another writer may have stored objects whose reference is still to be set, and what cannot be
    read now may be mended from elsewhere.

    Raises:
        StorageCorrupt: Not everything can be read; nothing has changed.
    """
    database = repository.database
    loose = dict(database.loose())
    packs = {name: index_ids(repository.path, name) for name in pack_names(repository.path)}
    if not loose and len(packs) <= 1:
        return
    new = database.pack([*loose, *chain.from_iterable(packs.values())])
    for file in loose.values():
        os.unlink(file)
    remove_packs(repository.path, packs.keys() - {new})


def verify(storage: GitStorage, *, repair: bool) -> Iterator[Damage]:
    """See `Storage.verify`."""
    for path in storage.layout.left_over():
        if repair:
            _remove(path)
        yield Damage(
            os.path.relpath(path, storage.layout.root), "left-over-file", "left by an interrupted write", repair
        )
    for prefix in ("", "_"):
        for dataset_id in storage.ids(prefix=prefix, deleted=None):
            try:
                yield from _verify_dataset(storage, dataset_id, repair)
            except DatasetNotFound:  # moved or purged meanwhile
                continue


def _verify_dataset(storage: GitStorage, dataset_id: DatasetId, repair: bool) -> Iterator[Damage]:
    with storage.lock(dataset_id):
        left_over = [*_left_over(storage.layout.path(dataset_id), dataset_id, repair)]
    yield from left_over  # without the lock: the caller may want to write
    try:
        with storage.open(dataset_id) as repository:
            yield from _history(repository, dataset_id)
    except DatasetNotFound:
        raise
    except StorageError as error:
        yield Damage(str(dataset_id), "unreadable", str(error))


def _left_over(path: str, dataset_id: DatasetId, repair: bool) -> Iterator[Damage]:
    """Find what killed processes left. The dataset is locked, but objects are written before the lock is taken."""
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            kind = _left_over_kind(name)
            found = os.path.join(folder, name)
            if kind is None or (name.startswith(_OBJECTS) and not is_stale(found)):
                continue
            if repair:
                _remove(found)
            yield Damage(str(dataset_id), kind, f"{os.path.relpath(found, path)} was left by a killed process", repair)
        folders[:] = [name for name in folders if not _left_over_kind(name)]


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _left_over_kind(name: str) -> str | None:
    if name.endswith(".lock"):
        return "left-over-lock"
    if name.startswith(_OBJECTS) or name.endswith(".new"):
        return "left-over-file"
    return None


def _history(repository: GitRepository, dataset_id: DatasetId) -> Iterator[Damage]:
    """Read every object that the branch and the tags lead to; libgit2 compares content and id at each read."""
    seen: set[str] = set()
    starts = [repository.head(), *(repository.tag_target(name) for name in repository.tag_names())]
    stack = [start for start in starts if start]
    while stack:
        identity = stack.pop()
        if identity in seen:
            continue
        seen.add(identity)
        try:
            stack += _links(repository.read_uncached(identity))
        except (KeyError, ValueError, StorageError) as error:
            detail = "is missing" if isinstance(error, KeyError) else f"cannot be read: {error}"
            yield Damage(str(dataset_id), "unreadable", f"the object {identity} {detail}")


def _links(item: git.GitObject) -> list[str]:
    """Return the objects that an object leads to."""
    if item.kind == git.COMMIT:
        commit = git.parse_commit(item.content)
        return [commit.tree, *([commit.parent] if commit.parent else [])]
    if item.kind == git.TREE:
        return [entry.id for entry in git.parse_tree(item.content).values() if entry.mode != "160000"]
    return [git.parse_tag(item.content).target] if item.kind == git.TAG else []
