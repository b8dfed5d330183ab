"""One repository copied onto an older copy of itself, which is a whole older or newer state of it at every moment."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pygit2

from metastore.errors import StorageCorrupt
from metastore.files import read_file, replace_file, sync_directory, sync_file
from metastore.git.cache import Cache
from metastore.git.objects import parse_commit
from metastore.storage.local._repository import GitRepository

_FOLDERS = ("objects", "objects/pack", "refs", "refs/heads", "refs/tags")
_SMALL_FILES = ("config", "former-ids", "HEAD")
_CHUNK = 1024 * 1024


class Copied(NamedTuple):
    """What was done: how many object files and bytes came over, whether anything changed, and what looks wrong.

    `lost` says that the source has not all the objects that the copy has, though its history began in the same way.
    """

    files: int
    bytes: int
    changed: bool
    lost: bool


class _State(NamedTuple):
    objects: dict[str, int]  # path below the repository -> size in bytes
    small: dict[str, bytes | None]
    references: dict[str, str]


def copy_repository(source: str, target: str, aside: str) -> Copied:
    """Make a repository say what another one says.

    Object files come first and are durable before the references change, which they do all at once; what the source has
    no more goes last. Files of the same name and size are not copied again.

    Args:
        source: A repository's folder. The caller holds its lock.
        target: A repository's folder, or one that is not there yet.
        aside: A folder on the target's file system for files that are being made.

    Raises:
        StorageCorrupt: The source is damaged; the target says what it said.
    """
    for folder in _FOLDERS:
        os.makedirs(f"{target}/{folder}", exist_ok=True)
    theirs, ours = (GitRepository(path, Cache(0), sync=True) for path in (source, target))
    new, old = _state(theirs, theirs.references()), _state(ours, _readable_references(ours))
    if new == old:
        return Copied(0, 0, changed=False, lost=False)
    _expect_targets(theirs, new)
    fresh = [path for path, size in new.objects.items() if old.objects.get(path) != size]
    for path in sorted(fresh, reverse=True):  # packs before their indexes, as Git does
        _copy_object(f"{source}/{path}", f"{target}/{path}", aside)
    for folder in {*_FOLDERS, *map(os.path.dirname, fresh), ""}:
        sync_directory(f"{target}/{folder}")
    gone = sorted(old.objects.keys() - new.objects.keys())
    lost = bool(gone) and not _holds_all(theirs, ours) and _same_beginning(theirs, ours)
    _switch(ours, old, new)
    for path in () if lost else gone:
        os.unlink(f"{target}/{path}")
    return Copied(len(fresh), sum(new.objects[path] for path in fresh), changed=True, lost=lost)


def _state(repository: GitRepository, references: dict[str, str]) -> _State:
    small = {name: read_file(f"{repository.path}/{name}") for name in _SMALL_FILES}
    return _State(dict(_object_files(repository.path)), small, references)


def _readable_references(repository: GitRepository) -> dict[str, str]:
    try:
        return repository.references()
    except StorageCorrupt:  # a damaged copy is mended by copying
        return {}


def _object_files(path: str) -> Iterator[tuple[str, int]]:
    for folder in os.listdir(f"{path}/objects"):
        if re.fullmatch("pack|[0-9a-f]{2}", folder):
            names = set(os.listdir(f"{path}/objects/{folder}"))
            for name in names:
                # An index may have come into being between the pack and us.
                if _is_object(folder, name) and name.replace(".idx", ".pack") in names:
                    yield f"objects/{folder}/{name}", os.stat(f"{path}/objects/{folder}/{name}").st_size


def _is_object(folder: str, name: str) -> bool:
    pattern = r"pack-[0-9a-f]{40}\.(pack|idx)" if folder == "pack" else "[0-9a-f]{38}"
    return re.fullmatch(pattern, name) is not None


def _expect_targets(repository: GitRepository, state: _State) -> None:
    for identity in {repository.head(), *state.references.values()}:
        try:
            repository.read_uncached(identity)
        except KeyError:
            raise StorageCorrupt(f"{repository.path}: the object {identity} is missing") from None


def _copy_object(source: str, target: str, aside: str) -> None:
    made = f"{aside}/{secrets.token_hex(8)}"
    shutil.copy(source, made)
    if not _is_whole(made, target):
        os.unlink(made)
        raise StorageCorrupt(f"{source} is damaged: its checksum is wrong")
    sync_file(made)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.replace(made, target)


def _is_whole(path: str, name: str) -> bool:
    """Compare a file with its checksum: a loose object's is its name, a pack's and an index's are their last 20 bytes.

    See gitformat-loose(5) and gitformat-pack(5).
    """
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as file:
        if name.endswith((".pack", ".idx")):
            left = os.fstat(file.fileno()).st_size - 20
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
            return digest.digest() == file.read()
        inflated = zlib.decompressobj()
        with suppress(zlib.error):
            while chunk := file.read(_CHUNK):
                digest.update(inflated.decompress(chunk))
        return inflated.eof and digest.hexdigest() == "".join(name.split("/")[-2:])


def _holds_all(theirs: GitRepository, ours: GitRepository) -> bool:
    """Tell whether the source has all objects of its copy; MetaStore itself never drops any."""
    try:
        return ours.database.ids() <= theirs.database.ids()
    except pygit2.GitError as error:
        raise StorageCorrupt(f"the objects of {theirs.path} or {ours.path} cannot be listed: {error}") from error


def _same_beginning(theirs: GitRepository, ours: GitRepository) -> bool:
    """Tell whether two histories begin with the same revision; if not, the dataset was purged and made anew."""
    try:
        return _first(ours) == _first(theirs)
    except (KeyError, ValueError, StorageCorrupt):  # it cannot be told, so nothing may be removed
        return True


def _first(repository: GitRepository) -> str:
    commit = repository.head()
    while parent := parse_commit(repository.read_uncached(commit).content).parent:
        commit = parent
    return commit


def _switch(repository: GitRepository, old: _State, new: _State) -> None:
    for name in ("config", "former-ids"):
        _set_small_file(repository.path, name, old, new)
    if old.small["HEAD"] != new.small["HEAD"]:
        # For a moment there are the branches of both, so that HEAD leads somewhere before and after.
        repository.write_packed(old.references | new.references)
        _set_small_file(repository.path, "HEAD", old, new)
    if old.references != new.references or old.small["HEAD"] != new.small["HEAD"]:
        repository.set_references(new.references)


def _set_small_file(path: str, name: str, old: _State, new: _State) -> None:
    content = new.small[name]
    if content is None:
        with suppress(FileNotFoundError):
            os.unlink(f"{path}/{name}")
    elif content != old.small[name]:
        # What a killed run leaves of this name is overwritten by the next.
        replace_file(f"{path}/{name}", content, sync=True, temporary=f"{path}/{name}.lock")
