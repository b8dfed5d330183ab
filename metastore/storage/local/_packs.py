"""Packs: many objects in one file, with an index. Format: gitformat-pack(5)."""

from __future__ import annotations

import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from metastore.errors import StorageCorrupt
from metastore.files.durable import make_folders, random_name, sync_directory, sync_file
from metastore.files.locks import building
from metastore.files.reading import read_file
from metastore.git.delta import compute_delta
from metastore.git.objects import BLOB, TREE, GitObject, parse_tree
from metastore.git.pack import HEADER, delta_entry, whole_entry
from metastore.os_errors import naming
from metastore.storage.local._locks import git_locked
from metastore.storage.local._pack_index import Row, index_content

#: The prefix of Git's unfinished packs.
UNFINISHED = ".tmp-"
#: Smaller objects are written in full; a delta is only used if it is this many times smaller.
_WORTH, _GAIN = 200, 2
#: How many replaced packs stay, of how many bytes in total, and up to which age in seconds: see `remove_packs`.
MOST_YOUNG, _MOST_BYTES, _YOUNG = 32, 256 * 1024 * 1024, 30.0


def write_pack(read: Callable[[str], GitObject], ids: Iterable[str], path: str, *, sync: bool) -> str:
    """Write objects into one pack of the repository at a path: to a temporary folder first, then pack and index.

    libgit2 is not used for this: it packs without Python's lock and with locks of its own, for which a child that is
    forked meanwhile would wait for ever.

    Args:
        read: Returns an object by its id, or raises KeyError; called twice for each.
        ids: The ids of the objects.
        path: The repository's folder.
        sync: Whether to make the pack durable before it counts.

    Returns:
        The pack's name, without folder and extension.

    Raises:
        StorageCorrupt: An object cannot be read; nothing has changed.
    """
    with aside(path) as folder:
        try:
            name = _write(read, dict.fromkeys(ids), folder)
        except KeyError as error:
            raise StorageCorrupt(f"{path}: the object {error} is missing") from error
        install(folder, name, path, sync=sync)
    return name


def _write(read: Callable[[str], GitObject], ids: Iterable[str], folder: str) -> str:
    order = _ordered(read, ids)
    rows: list[Row] = []
    versions = _Versions(None)
    with naming(f"{folder}/new"), open(f"{folder}/new", "wb") as out:
        digest = hashlib.sha1(usedforsecurity=False)
        _put(out, digest, HEADER + len(order).to_bytes(4))
        for identity, file in order:
            if versions.file != file:
                versions = _Versions(file)
            offset, entry = out.tell(), versions.entry(read(identity), out.tell())
            rows.append(Row(bytes.fromhex(identity), zlib.crc32(entry).to_bytes(4), offset))
            _put(out, digest, entry)
        out.write(digest.digest())
    return name_pack(folder, "new", rows, digest.digest())


def _put(out: BinaryIO, digest: hashlib._Hash, content: bytes) -> None:
    digest.update(content)
    out.write(content)


def _ordered(read: Callable[[str], GitObject], ids: Iterable[str]) -> list[tuple[str, tuple[str, str]]]:
    """Order objects so that versions of a file (a kind and a name) follow one another, by size as in Git."""
    sizes: dict[str, tuple[str, int]] = {}
    names: dict[str, str] = {}
    for identity in ids:
        git_object = read(identity)
        sizes[identity] = git_object.kind, -len(git_object.content)
        if git_object.kind == TREE:
            with suppress(ValueError):
                names.update((entry.id, name) for name, entry in parse_tree(git_object.content).items())
    files = {identity: (kind, names.get(identity, "")) for identity, (kind, _) in sizes.items()}
    return [
        (identity, files[identity])
        for identity in sorted(sizes, key=lambda identity: (files[identity], sizes[identity][1]))
    ]


class _Version(NamedTuple):
    number: int
    offset: int
    content: bytes


class _Versions:
    """The versions of one file in a pack, each a delta to an earlier one.

    The base is not the previous version, or reading the last of a thousand would take a thousand steps. It is the
    version whose number has one bit less, as in a skip list, which takes ten.
    """

    def __init__(self, file: tuple[str, str] | None) -> None:
        self.file = file
        self._bases: list[_Version] = []  # the last version, its base, that one's base, …, the first, in reverse order

    def entry(self, found: GitObject, offset: int) -> bytes:
        """Return the entry of the next version, for an offset in the pack."""
        size = len(found.content)
        if found.kind not in (BLOB, TREE) or size < _WORTH:
            return whole_entry(found)
        number = self._bases[-1].number + 1 if self._bases else 0
        while self._bases and self._bases[-1].number > number & (number - 1):
            self._bases.pop()
        if self._bases:
            base = self._bases[-1]
            delta = compute_delta(base.content, found.content, longest=size // _GAIN)
            if delta is not None:
                self._bases.append(_Version(number, offset, found.content))
                return delta_entry(delta, offset - base.offset)
        self._bases = [_Version(0, offset, found.content)]
        return whole_entry(found)


def name_pack(folder: str, name: str, rows: list[Row], checksum: bytes) -> str:
    """Give a pack in a temporary folder its name and its index. Return the name."""
    new = f"pack-{checksum.hex()}"
    os.rename(f"{folder}/{name}", f"{folder}/{new}.pack")
    with naming(f"{folder}/{new}.idx"), open(f"{folder}/{new}.idx", "wb") as out:
        out.write(index_content(rows, checksum))
    return new


@contextmanager
def aside(path: str) -> Iterator[str]:
    """Provide a folder in the repository at a path for files that do not count yet, and remove it at the end."""
    folder = f"{path}/objects/tmp_pack_{random_name()}"
    with building(folder):
        yield folder


def install(folder: str, name: str, path: str, *, sync: bool) -> None:
    """Move a pack from a temporary folder into place, durably."""
    make_folders(f"{path}/objects/pack", sync=sync)
    for ending in (".pack", ".idx"):
        if sync:
            sync_file(f"{folder}/{name}{ending}")
        os.replace(f"{folder}/{name}{ending}", f"{path}/objects/pack/{name}{ending}")
    if sync:
        sync_directory(f"{path}/objects/pack")


def pack_names(path: str) -> set[str]:
    """Return the names of the complete packs of the repository at a path, without folder and extension.

    An index alone does not count: Git renames a pack and its index one after the other, perhaps while an older pack of
    the same name is being removed.
    """
    files = pack_files(path)
    return {name for name in _indexed(files) if f"{name}.pack" in files and not name.startswith(UNFINISHED)}


def readable_packs(path: str) -> set[str]:
    """Return the names of all packs of the repository at a path, without folder and extension.

    Git calls an unfinished one `.tmp-…`. It may hold the only copy of an object, since `git prune-packed` removes loose
    objects that it finds there. So it is read, but neither joined nor removed.
    """
    return _indexed(pack_files(path))


def pack_files(path: str) -> set[str]:
    """Return the names of the files below `objects/pack` of the repository at a path, where there need be no folder."""
    with suppress(FileNotFoundError):
        return set(os.listdir(f"{path}/objects/pack"))
    return set()


def _indexed(files: Iterable[str]) -> set[str]:
    return {file.removesuffix(".idx") for file in files if file.endswith(".idx")}


def names_gone_packs(path: str) -> bool:
    """Tell whether there is an index over several packs (git-multi-pack-index(1)) that names a missing pack.

    Git replaces or removes the index before it removes a pack, so only an index that stays the same counts.
    """
    file = f"{path}/objects/pack/multi-pack-index"
    content = read_file(file)
    return content is not None and _names_gone_packs(path, content) and read_file(file) == content


def _names_gone_packs(path: str, content: bytes) -> bool:
    rows = [
        content[place : place + 12] for place in range(12, 12 + 12 * (content[6] + 1 if len(content) > 6 else 0), 12)
    ]
    for row, following in pairwise(rows):
        if row.startswith(b"PNAM"):
            names = content[int.from_bytes(row[4:]) : int.from_bytes(following[4:])].split(b"\0")
            return any(name and not os.path.exists(f"{path}/objects/pack/".encode() + name) for name in names)
    return False


def remove_packs(path: str, names: Iterable[str]) -> None:
    """Remove packs whose objects are in others, except a few young ones, which are left to a later run.

    If Git finds a pack gone, it lists the packs once more, and gives up if one of these goes before it is open. That
    list has the pack that replaced the first one: it is young, so it stays even if it has been replaced since.

    An index over several packs (git-multi-pack-index(1)) is removed first, since it would name missing packs. A pack
    that Git is writing again stays, or only half of it would be left.
    """
    names = set(removable(path, names)) - _made_again(path)
    several = f"{path}/objects/pack/multi-pack-index"
    if names and os.path.exists(several):
        with git_locked([several], sync=False), suppress(FileNotFoundError):
            os.unlink(several)
    for name in names:
        for ending in (".idx", ".pack", ".rev", ".bitmap", ".mtimes"):
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/objects/pack/{name}{ending}")


def removable(path: str, names: Iterable[str]) -> list[str]:
    """Return the packs that are not among the young ones. A clock that was set back makes no pack young.

    The youngest one stays, of any size.
    """
    names, now = set(names), time.time()
    kept, total = set[str](), 0
    ages = ((now - written, size, name) for name in names for written, size in _written(path, name))
    for _, size, name in sorted(row for row in ages if 0 <= row[0] < _YOUNG):
        total += size
        if len(kept) == MOST_YOUNG or (kept and total > _MOST_BYTES):
            break
        kept.add(name)
    return sorted(names - kept)


def _written(path: str, name: str) -> Iterator[tuple[float, int]]:
    with suppress(FileNotFoundError):
        status = os.stat(f"{path}/objects/pack/{name}.pack")
        yield status.st_mtime, status.st_size


def _made_again(path: str) -> set[str]:
    """Return the packs whose files Git has not all renamed yet: `.tmp-PROCESS-pack-….idx` is the last one."""
    files = pack_files(path)
    return {file[file.rindex("pack-") :].split(".")[0] for file in files if re.match(r"\.tmp-\d+-pack-", file)}
