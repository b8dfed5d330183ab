"""The objects of one repository on disk: loose objects in their own files, the others in packs.

libgit2 reads packs. Objects that it does not find are looked for by hand: see `_pack_reader`. Loose objects are read
and written by hand, since libgit2 hangs on one that was cut short. Formats: gitformat-pack(5), and "Loose Objects" in
gitrepository-layout(5).
"""

from __future__ import annotations

import os
import re
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from metastore import forks
from metastore.errors import StorageBusy, StorageCorrupt, StorageUnavailable
from metastore.files import reading
from metastore.files.durable import random_name, sync_directory, write_file
from metastore.files.reading import mtime_ns, open_file, read_file
from metastore.git.objects import KINDS, GitObject, object_id
from metastore.git.pack import KINDS_BY_NUMBER
from metastore.storage.local._git_program import run
from metastore.storage.local._pack_index import read_index
from metastore.storage.local._pack_reader import ObjectTooLarge, Packs, expect_size, is_indexable
from metastore.storage.local._packs import pack_files, readable_packs, write_pack

if TYPE_CHECKING:
    import pygit2

#: From this number of objects on, a write makes one pack instead of one file per object.
_MANY = 64
_TRIES = 50
#: The repetitions of a search for a missing object while packs stay the same, and the pause in between, in seconds.
_LOOKS, _PAUSE = 3, 0.01
#: The bytes of the longest head of an object: its kind, a space, its size, and NUL.
_LONGEST_HEAD = 64
#: The bytes of a file in which a compressed head is.
_BEGINNING = 512
_MOST_SQUEEZED = 1032  # how many times shorter zlib can make something
#: How many objects are read from packs by hand before libgit2 is imported, which takes as long as some 500 reads.
_BEFORE_LIBGIT2 = 20
_FASTEST = 1  # a loose object is compressed better when it is packed


class ObjectDatabase:
    """The objects below `<path>/objects`. Not safe to share between threads.

    Args:
        path: The repository's folder.
        sync: Whether writes are made durable.
    """

    def __init__(self, path: str, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._packs: Packs | None = None
        self._read_by_hand = 0
        self._libgit2: tuple[pygit2.Odb, pygit2.OdbBackendPack] | None = None
        self._indexed: set[str] = set()
        #: Whether packs are read without libgit2, which unpacks the bases of a delta whatever their size.
        self.by_hand = False
        #: Whether the object that was read last has no file of its own.
        self.last_was_packed = False
        self._packed_at, self._looked_at = self._last_packed(), time.monotonic()

    def _open(self) -> Packs:
        """Find the present packs."""
        self._packed_at, self._looked_at = self._last_packed(), time.monotonic()
        self._libgit2, self._packs = None, Packs(self._path)
        return self._packs

    def knows_all_packs(self) -> bool:
        """Tell whether no packs were added or removed since this was opened; looks at most once a second.

        Reads are right in any case, but an open database keeps the disk space of deleted packs in use.
        """
        now = time.monotonic()
        if now - self._looked_at > 1:
            self._looked_at = now
            return self._packed_at == self._last_packed()
        return True

    def _last_packed(self) -> int:
        return mtime_ns(f"{self._path}/objects/pack")

    def read(self, identity: str) -> GitObject:
        """Return an object, after comparing its content with its id.

        Raises:
            KeyError: There is none.
            StorageCorrupt: It is damaged.
        """
        if self.last_was_packed and (found := self._read_by_libgit2(identity)):  # as its neighbours mostly are
            return found
        content = read_file(self._loose_path(identity))
        self.last_was_packed = content is None
        if content is not None and (found := _parse_loose(identity, content)):
            return found
        try:
            return self._read_by_libgit2(identity) or self._read_packed(identity)
        except KeyError:
            if content is None:
                raise
            raise StorageCorrupt(f"{self._path}: the object {identity} is damaged") from None
        except (ValueError, FileNotFoundError) as error:
            raise StorageCorrupt(f"{self._path}: the object {identity} cannot be read: {error}") from error

    def size(self, identity: str) -> int | None:
        """Return the size of an object's content in bytes, as its head says; None if there is none to be read."""
        path = self._loose_path(identity)
        with suppress(OSError, StorageCorrupt, zlib.error, ValueError), open(path, "rb", opener=open_file) as file:
            return _read_head(file.read(_BEGINNING))[1]
        size = self._packs.size(identity) if self._packs else None
        return self._open().size(identity) if size is None else size

    def _read_by_libgit2(self, identity: str) -> GitObject | None:
        """Return an object that libgit2 finds in a pack, after comparing its content with its id.

        A child that is forked meanwhile would inherit its locks, so a fork waits.
        """
        if self.by_hand or ("pygit2" not in sys.modules and self._read_by_hand < _BEFORE_LIBGIT2):
            return None
        try:
            with forks.undisturbed():
                number, content = self._read_by_backend(identity)
        except _faults():
            return None
        found = GitObject(KINDS_BY_NUMBER[number], content)  # libgit2 counts the kinds as packs do
        return found if object_id(*found) == identity else None

    def _read_by_backend(self, identity: str) -> tuple[int, bytes]:
        """Read an object without libgit2's own comparison, which takes as long again, and its second cache.

        Raises:
            ValueError: It is too large. Some hundred bytes of a pack can hold gigabytes.
        """
        if self._libgit2 is None:
            import pygit2  # slow to import: see `_BEFORE_LIBGIT2`

            self._libgit2 = pygit2.Odb(), pygit2.OdbBackendPack(f"{self._path}/objects")
            self._libgit2[0].add_backend(self._libgit2[1], 1)  # so that its files are closed with the database
        backend = self._libgit2[1]
        try:
            _, size = backend.read_header(identity)
        except KeyError:
            backend.refresh()
            _, size = backend.read_header(identity)
        expect_size(size)
        return backend.read(identity)

    def _read_packed(self, identity: str) -> GitObject:
        """Read an object from a pack by hand, and repeat the search while packs come and go.

        An object that is in no pack may be packed at this very moment, or its pack may have been replaced, so only a
        search during which the packs stayed the same counts.
        """
        self._read_by_hand += 1
        if self._packs:
            with suppress(KeyError, ValueError, FileNotFoundError):
                return self._packs.read(identity)
        looks = 0
        for _ in range(_TRIES):
            before = pack_files(self._path)
            packs = self._open()
            try:
                return packs.read(identity)
            except (KeyError, ValueError, FileNotFoundError):
                looks += before == pack_files(self._path)
                if looks == _LOOKS:
                    raise
            # Git names a finished pack in several steps, between which neither name is complete.
            time.sleep(_PAUSE)
            content = read_file(self._loose_path(identity))
            if content is not None and (found := _parse_loose(identity, content)):
                return found
        return self._open().read(identity)

    def index_again(self) -> set[str]:
        """Index each pack that has no index. Return the names of those that were not tried before.

        `git gc` removes an index by its name if it once saw it without its pack, but the pack may have been written
        again since. Git itself makes the new index, since Git is installed where `gc` ran.
        """
        files = pack_files(self._path)
        packs = {name.removesuffix(".pack") for name in files if name.startswith("pack-") and name.endswith(".pack")}
        lacking = {name for name in packs if f"{name}.idx" not in files} - self._indexed
        for name in lacking:
            pack = f"{os.path.abspath(self._path)}/objects/pack/{name}.pack"
            if os.path.isfile(pack) and is_indexable(pack):  # Git would wait for ever at a pipe, and unpack all
                self._index(pack)
        self._indexed |= lacking
        return lacking

    def _index(self, pack: str) -> None:
        """Index a pack, if that is possible. On a full disk, Git would leave half an index under its final name."""
        made = f"{os.path.abspath(self._path)}/objects/tmp_pack_{random_name()}"
        command = ["git", "-C", "/", "-c", "pack.writeReverseIndex=false", "index-pack", "-o", made, pack]
        with suppress(StorageUnavailable, OSError):
            if run(command).code == 0:
                os.replace(made, f"{pack.removesuffix('.pack')}.idx")
        with suppress(OSError):
            os.unlink(made)

    def write(self, objects: Mapping[str, GitObject]) -> None:
        """Store objects, durably.

        Raises:
            StorageUnavailable: They cannot be written.
        """
        if len(objects) >= _MANY:
            write_pack(objects.__getitem__, objects, self._path, sync=self._sync)
            return
        folders = {f"{self._path}/objects"}
        for identity, made in objects.items():
            folder = f"{self._path}/objects/{identity[:2]}"
            if not self._has(identity):
                self._write_loose(folder, identity, made)
            folders.add(folder)  # also of one that is there: its writer may not have synced the folder yet
        for folder in folders if self._sync else ():
            with suppress(FileNotFoundError):  # it is in a pack
                sync_directory(folder)

    def _has(self, identity: str) -> bool:
        """Tell whether an object can be read, without another search of the packs."""
        path = self._loose_path(identity)
        if os.access(path, os.F_OK) and (content := read_file(path)) is not None and _parse_loose(identity, content):
            return True
        return (self._packs or self._open()).has(identity)

    def _write_loose(self, folder: str, identity: str, made: GitObject) -> None:
        head = b"%s %d\0" % (made.kind.encode(), len(made.content))
        path, aside = f"{folder}/{identity[2:]}", f"{self._path}/objects/tmp_object_{random_name()}"
        try:
            packer = zlib.compressobj(_FASTEST)
            parts = packer.compress(head), packer.compress(made.content), packer.flush()
            write_file(aside, b"".join(parts), sync=self._sync)
            for _ in range(_TRIES):
                try:
                    os.replace(aside, path)
                    return
                except FileNotFoundError:  # `git gc` removes empty folders of objects, even new ones
                    with suppress(FileExistsError):
                        os.mkdir(folder)
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(aside)
            raise

    def loose(self) -> Iterator[tuple[str, str]]:
        """Yield the id and file of every object that has a file of its own."""
        for folder in os.listdir(f"{self._path}/objects"):
            if re.fullmatch("[0-9a-f]{2}", folder):
                files: list[str] = []
                with suppress(FileNotFoundError):  # Git removes empty folders
                    files = os.listdir(f"{self._path}/objects/{folder}")
                for file in files:
                    if re.fullmatch("[0-9a-f]{38}", file):
                        yield folder + file, f"{self._path}/objects/{folder}/{file}"

    def ids(self) -> set[str]:
        """Return the id of every object, packed or loose. Raises StorageCorrupt.

        While packs come and go, an object of a removed pack may be in one that did not exist yet, so it looks again.
        """
        for left in reversed(range(_TRIES)):
            before = pack_files(self._path)
            with suppress(FileNotFoundError) if left else nullcontext():
                ids = {identity for identity, _ in self.loose()}
                for name in readable_packs(self._path):
                    ids.update(read_index(self._path, name).ids())
                if before == pack_files(self._path):
                    return ids
            time.sleep(_PAUSE)
        raise StorageBusy(f"the packs of {self._path} come and go; try again")

    def pack(self, ids: Iterable[str]) -> str:
        """Write existing objects into one more pack, and return its name. Raises StorageCorrupt."""
        self._packs = self._libgit2 = None
        return write_pack(self.read, ids, self._path, sync=self._sync)

    def pack_loose(self) -> int:
        """Put all loose objects into one pack. Only ever called under the dataset's lock.

        Returns:
            The number of objects.
        """
        loose = dict(self.loose())
        if loose:
            self.pack(loose)
            for file in loose.values():
                with suppress(FileNotFoundError):  # Git may have packed it too
                    os.unlink(file)
        return len(loose)

    def _loose_path(self, identity: str) -> str:
        return f"{self._path}/objects/{identity[:2]}/{identity[2:]}"


def _faults() -> tuple[type[Exception], ...]:
    """Return what libgit2 raises if it cannot read an object."""
    import pygit2

    return KeyError, ValueError, OSError, pygit2.GitError


def _read_head(content: bytes) -> tuple[bytes, int]:
    """Return the head of a loose object, and the size that it announces. Raises zlib.error or ValueError."""
    head, _, _ = zlib.decompressobj().decompress(content, _LONGEST_HEAD).partition(b"\0")
    return head, int(head.decode().partition(" ")[2])


def _parse_loose(identity: str, content: bytes) -> GitObject | None:
    """Read the file of a loose object; None if it is damaged. Raises StorageCorrupt: it is too large."""
    try:
        head, announced = _read_head(content)
        unpacker = zlib.decompressobj()
        unpacker.decompress(content, len(head) + 1)
        longest = len(content) * _MOST_SQUEEZED
        size = max(1, min(announced, longest))
        if longest <= reading.LONGEST:
            body = unpacker.flush(size)  # into memory of this size; it would be copied otherwise
        else:
            expect_size(size)
            body = unpacker.decompress(unpacker.unconsumed_tail, size + 1)
    except ObjectTooLarge as error:
        raise StorageCorrupt(f"the object {identity} cannot be read: {error}") from None
    except (zlib.error, ValueError):
        return None
    kind = head.decode().partition(" ")[0]
    return GitObject(kind, body) if kind in KINDS and unpacker.eof and object_id(kind, body) == identity else None
