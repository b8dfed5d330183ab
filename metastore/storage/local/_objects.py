"""The objects of one repository on disk: loose ones in files of their own, the others in packs.

libgit2 reads packs. What it does not find there is looked for by hand, see `_pack_reader`. Loose objects are read and
written by hand, since libgit2 never comes back from one that was cut short. Formats: gitformat-pack(5), and "Loose
Objects" in gitrepository-layout(5).
"""

from __future__ import annotations

import os
import re
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress

import pygit2
from pygit2.enums import ObjectType

from metastore import forks
from metastore.errors import StorageBusy, StorageCorrupt, StorageUnavailable
from metastore.files import read_file, sync_directory, write_file
from metastore.git import BLOB, COMMIT, TAG, TREE
from metastore.git.objects import GitObject, object_id
from metastore.storage.local._git_program import run
from metastore.storage.local._pack_reader import Packs
from metastore.storage.local._packs import index_ids, readable_packs, write_pack

_KINDS = (COMMIT, TREE, BLOB, TAG)
_NAMES: dict[int, str] = {
    ObjectType.COMMIT: COMMIT,
    ObjectType.TREE: TREE,
    ObjectType.BLOB: BLOB,
    ObjectType.TAG: TAG,
}
#: From this many objects on, one pack is written instead of a file for each.
_MANY = 64
_TRIES = 50
#: How often to look for a missing object among packs that stay the same, and how long to wait in between, in seconds.
_LOOKS, _PAUSE = 3, 0.01
_FASTEST = 1  # a loose object is compressed better when it is packed


class ObjectDatabase:
    """The objects below `<path>/objects`. Not safe to share between threads.

    Args:
        path: The repository's folder.
        sync: Whether what is written is made durable.
    """

    def __init__(self, path: str, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._packs: Packs | None = None
        self._libgit2: pygit2.Odb | None = None
        self._indexed: set[str] = set()
        self._last_was_packed = False
        self._packed_at, self._looked_at = self._last_packed(), time.monotonic()

    def _open(self) -> Packs:
        """Find out which packs there are now."""
        self._packed_at, self._looked_at = self._last_packed(), time.monotonic()
        self._libgit2, self._packs = None, Packs(self._path)
        return self._packs

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
        if self._last_was_packed and (found := self._read_by_libgit2(identity)):  # as its neighbours mostly are
            return found
        content = read_file(self._loose_path(identity))
        self._last_was_packed = content is None
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

    def _read_by_libgit2(self, identity: str) -> GitObject | None:
        """Return an object that libgit2 finds in a pack; it compares the content with the id.

        Its locks would stay locked in a child that is forked meanwhile, so a fork waits.
        """
        with suppress(KeyError, ValueError, OSError, pygit2.GitError), forks.undisturbed():
            if self._libgit2 is None:
                self._libgit2 = pygit2.Odb()
                self._libgit2.add_backend(pygit2.OdbBackendPack(f"{self._path}/objects"), 1)
            kind, content = self._libgit2.read(identity)
            return GitObject(_NAMES[kind], content)
        return None

    def _read_packed(self, identity: str) -> GitObject:
        """Read an object from a pack by hand, and look again for as long as packs come and go.

        What is in no pack may have been packed this very moment, or its pack may have gone: only packs that stayed are
        to be believed.
        """
        if self._packs:
            with suppress(KeyError, ValueError, FileNotFoundError):
                return self._packs.read(identity)
        looks = 0
        for _ in range(_TRIES):
            before = self._pack_files()
            packs = self._open()
            try:
                return packs.read(identity)
            except (KeyError, ValueError, FileNotFoundError):
                looks += before == self._pack_files()
                if looks == _LOOKS:
                    raise
            # Git gives a finished pack its name in several steps, in between which neither name is complete.
            time.sleep(_PAUSE)
            content = read_file(self._loose_path(identity))
            if content is not None and (found := _parse_loose(identity, content)):
                return found
        return self._open().read(identity)

    def index_again(self) -> set[str]:
        """Index each pack that has no index; return the names of those that were not tried before.

        `git gc` removes by name an index that it once saw without its pack; the pack may have been made again since.
        Git makes the new index: where `gc` ran, it is installed.
        """
        files = self._pack_files()
        packs = {name.removesuffix(".pack") for name in files if name.startswith("pack-") and name.endswith(".pack")}
        lacking = {name for name in packs if f"{name}.idx" not in files} - self._indexed
        for name in lacking:
            with suppress(StorageUnavailable):
                run(["git", "-C", "/", "index-pack", f"{os.path.abspath(self._path)}/objects/pack/{name}.pack"])
        self._indexed |= lacking
        return lacking

    def _pack_files(self) -> set[str]:
        with suppress(FileNotFoundError):
            return set(os.listdir(f"{self._path}/objects/pack"))
        return set()

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
            if not self._has(identity):
                self._write_loose(identity, made)
            folders.add(os.path.dirname(self._loose_path(identity)))
        for folder in folders if self._sync else ():
            with suppress(FileNotFoundError):  # it is in a pack
                sync_directory(folder)

    def _has(self, identity: str) -> bool:
        """Tell whether an object can be read, as far as is known without another look at the packs."""
        content = read_file(self._loose_path(identity))
        if content is not None and _parse_loose(identity, content):
            return True
        with suppress(KeyError, ValueError, FileNotFoundError):
            (self._packs or self._open()).read(identity)
            return True
        return False

    def _write_loose(self, identity: str, made: GitObject) -> None:
        head = b"%s %d\0" % (made.kind.encode(), len(made.content))
        path, aside = self._loose_path(identity), f"{self._path}/objects/tmp_object_{secrets.token_hex(8)}"
        try:
            write_file(aside, zlib.compress(head + made.content, _FASTEST), sync=self._sync)
            for _ in range(_TRIES):  # `git gc` removes folders of objects that are empty, also one that was just made
                with suppress(FileExistsError):
                    os.mkdir(os.path.dirname(path))
                with suppress(FileNotFoundError):
                    os.replace(aside, path)
                    return
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
                with suppress(FileNotFoundError):  # Git removes folders that are empty
                    files = os.listdir(f"{self._path}/objects/{folder}")
                for file in files:
                    if re.fullmatch("[0-9a-f]{38}", file):
                        yield folder + file, f"{self._path}/objects/{folder}/{file}"

    def ids(self) -> set[str]:
        """Return the id of every object, packed or loose. Raises StorageCorrupt.

        While packs come and go, what was in one that is gone may be in one that was not there yet: it looks again.
        """
        for left in reversed(range(_TRIES)):
            before = self._pack_files()
            with suppress(FileNotFoundError) if left else nullcontext():
                ids = {identity for identity, _ in self.loose()}
                for name in readable_packs(self._path):
                    ids.update(index_ids(self._path, name))
                if before == self._pack_files():
                    return ids
            time.sleep(_PAUSE)
        raise StorageBusy(f"the packs of {self._path} come and go; try again")

    def pack(self, ids: Iterable[str]) -> str:
        """Write objects that are here into one more pack, and return its name. Raises StorageCorrupt."""
        self._packs = self._libgit2 = None
        return write_pack(self.read, ids, self._path, sync=self._sync)

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
    return GitObject(kind, body) if kind in _KINDS and object_id(kind, body) == identity else None
