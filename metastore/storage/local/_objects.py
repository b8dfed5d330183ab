"""The objects of one repository on disk: loose ones in files of their own, the others in packs.

libgit2 writes both and reads packs. Loose objects are read by hand, since libgit2 never comes back from one that was
cut short. Formats: gitformat-pack(5), and "Loose Objects" in gitrepository-layout(5).
"""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import pygit2

from metastore.errors import StorageCorrupt, StorageUnavailable
from metastore.files import read_file, sync_directory
from metastore.git.objects import GitObject, object_id
from metastore.storage.local._packs import KINDS, in_memory, index_ids, pack_names, write_pack

_NAMES = {int(number): name for name, number in KINDS.items()}
#: From this many objects on, one pack is written instead of a file for each.
_MANY = 64
_TRIES = 10
#: What libgit2's failures become, beside KeyError for what is missing.
_LIBGIT2_ERRORS = (pygit2.GitError, OSError, ValueError)


class ObjectDatabase:
    """The objects below `<path>/objects`. Not safe to share between threads.

    Args:
        path: The repository's folder.
        sync: Whether what is written is made durable.

    Raises:
        StorageCorrupt: It cannot be opened.
    """

    def __init__(self, path: str, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._open()

    def _open(self) -> None:
        """Find out anew which packs there are.

        Only the objects are opened, without the configuration: it takes a third of the time, and syncing is ours to
        choose.
        """
        self._packed_at, self._looked_at = self._last_packed(), time.monotonic()
        try:
            self._packs = pygit2.Odb()
            self._packs.add_backend(pygit2.OdbBackendPack(f"{self._path}/objects"), 1)
            self._all = pygit2.Odb()
            self._all.add_backend(pygit2.OdbBackendPack(f"{self._path}/objects"), 1)
            self._all.add_backend(pygit2.OdbBackendLoose(f"{self._path}/objects", -1, self._sync, 0, 0), 2)
        except (KeyError, *_LIBGIT2_ERRORS) as error:
            raise StorageCorrupt(f"{self._path} is no repository that can be read: {error}") from error

    def knows_all_packs(self) -> bool:
        """Tell whether packs came or went since this was opened: it would hold on to those that are gone.

        Nothing is read wrongly for that, only room is not freed; so it is looked at once a second.
        """
        now = time.monotonic()
        if now - self._looked_at > 1:
            self._looked_at = now
            return self._packed_at == self._last_packed()
        return True

    def _last_packed(self) -> int:
        try:
            return os.stat(f"{self._path}/objects/pack").st_mtime_ns
        except OSError:
            return 0

    def read(self, identity: str) -> GitObject:
        """Return an object, after comparing its content with its id.

        Raises:
            KeyError: There is none.
            StorageCorrupt: It is damaged.
        """
        content = read_file(self._loose_path(identity))
        if content is not None and (found := _parse_loose(identity, content)):
            return found
        try:
            return self._read_packed(identity)
        except KeyError:
            if content is None:
                raise
            raise StorageCorrupt(f"{self._path}: the object {identity} is damaged") from None
        except _LIBGIT2_ERRORS as error:
            raise StorageCorrupt(f"{self._path}: the object {identity} cannot be read: {error}") from error

    def _read_packed(self, identity: str) -> GitObject:
        try:
            kind, content = self._packs.read(identity)
        except (KeyError, *_LIBGIT2_ERRORS):  # perhaps it was packed, or the pack that it was in went, this very moment
            self._open()
            kind, content = self._packs.read(identity)
        return GitObject(_NAMES[int(kind)], content)

    def write(self, objects: Mapping[str, GitObject]) -> None:
        """Store objects, durably.

        Raises:
            StorageUnavailable: They cannot be written.
        """
        if len(objects) >= _MANY:
            write_pack(in_memory(objects), objects, self._path, sync=self._sync)
            return
        for identity, made in objects.items():
            self._drop_damaged(identity)
            stored = self._write_loose(made)
            if stored != identity:
                raise StorageCorrupt(f"{self._path}: an object was stored as {stored} and not as {identity}")
        if self._sync:
            sync_directory(f"{self._path}/objects")

    def _write_loose(self, made: GitObject) -> str:
        for left in reversed(range(_TRIES)):
            try:
                return str(self._all.write(KINDS[made.kind], made.content))
            except (pygit2.GitError, OSError) as error:
                # `git gc` removes folders of objects that are empty, also one that was made for this object just now.
                if not left or "No such file" not in str(error):
                    raise StorageUnavailable(f"an object could not be written below {self._path}: {error}") from error
        raise AssertionError

    def _drop_damaged(self, identity: str) -> None:
        """Make room for an object: libgit2 writes none whose file is there, be it damaged."""
        path = self._loose_path(identity)
        content = read_file(path)
        if content is not None and not _parse_loose(identity, content):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def loose(self) -> Iterator[tuple[str, str]]:
        """Yield the id and file of every object that has a file of its own."""
        for folder in os.listdir(f"{self._path}/objects"):
            if re.fullmatch("[0-9a-f]{2}", folder):
                files: list[str] = []
                with suppress(FileNotFoundError):  # Git removes folders that are empty
                    files = os.listdir(f"{self._path}/objects/{folder}")
                for file in files:
                    if re.fullmatch("[0-9a-f]{38}", file):
                        yield folder + file, f"{self._path}/objects/{folder}/{file}"

    def ids(self) -> set[str]:
        """Return the id of every object, packed or loose. Raises StorageCorrupt."""
        packed = (index_ids(self._path, name) for name in pack_names(self._path))
        return {identity for identity, _ in self.loose()}.union(*packed)

    def pack(self, ids: Iterable[str]) -> str:
        """Write objects that are here into one more pack, after making sure that they can be read; return its name."""
        wanted = dict.fromkeys(ids)
        for identity in wanted:
            if os.path.exists(self._loose_path(identity)):
                self.read(identity)
        self._open()
        return write_pack(self._all, wanted, self._path, sync=self._sync)

    def pack_loose(self) -> int:
        """Put all loose objects into one pack. Only ever called under the dataset's lock.

        Returns:
            How many there were.
        """
        loose = dict(self.loose())
        if loose:
            self.pack(loose)
            for file in loose.values():
                with suppress(FileNotFoundError):  # Git may have packed it, too
                    os.unlink(file)
        return len(loose)

    def _loose_path(self, identity: str) -> str:
        return f"{self._path}/objects/{identity[:2]}/{identity[2:]}"


def _parse_loose(identity: str, content: bytes) -> GitObject | None:
    """Read the file of a loose object; None if it is damaged."""
    try:
        head, _, body = zlib.decompress(content).partition(b"\0")
        kind = head.split()[0].decode()
    except (zlib.error, IndexError, UnicodeDecodeError):
        return None
    return GitObject(kind, body) if kind in KINDS and object_id(kind, body) == identity else None
