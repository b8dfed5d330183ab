"""One bare Git repository on disk: objects through libgit2, references by hand.

References are read and written here and not by libgit2 for two reasons: libgit2 syncs them only by a switch for the
whole process, and it refuses repositories of other users unless another such switch is set. The format is that of
gitrepository-layout(5): a file per reference, and `packed-refs`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pygit2
from pygit2.enums import ObjectType

from metastore import gitobject
from metastore.errors import OutcomeUnknown, StorageCorrupt, StorageUnavailable
from metastore.gitobject import GitObject
from metastore.parse import is_tag_name
from metastore.storage.base import Storage
from metastore.storage.cache import Cache
from metastore.storage.files import make_folders, read_file, replace_file, sync_directory, write_file
from metastore.storage.objects import Repository
from metastore.types import BlobId, RevisionId

KINDS = {
    gitobject.COMMIT: ObjectType.COMMIT,
    gitobject.TREE: ObjectType.TREE,
    gitobject.BLOB: ObjectType.BLOB,
    gitobject.TAG: ObjectType.TAG,
}
#: What libgit2's failures become, beside KeyError for what is missing.
_LIBGIT2_ERRORS = (pygit2.GitError, OSError, ValueError)
_NAMES = {int(number): name for name, number in KINDS.items()}
#: From this many objects on, one pack is written instead of a file for each.
_MANY = 64
_CONFIG = b"""\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[receive]
\thideRefs = refs
"""
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_SYMBOLIC = re.compile(r"ref: refs/heads/([^\0-\x20/][^\0-\x20]{,250})\s*")
_PACKED = re.compile(r"([0-9a-f]{40}) (refs/[^\0-\x20]+)\r?")


class GitRepository(Repository):
    """An open repository. Not safe to share between threads: each takes one for itself.

    Args:
        path: The repository's folder.
        cache: Holds objects by id; may be shared between repositories, since an id tells the content.
        sync: Whether changes are made durable before they count.
    """

    def __init__(self, path: str, cache: Cache, *, sync: bool) -> None:
        super().__init__()
        self.path = path
        self._cache = cache
        self._sync = sync
        # While the folder is open its inode number cannot be given to another one: that is how we know it again.
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = _identity(os.fstat(self._folder))
        self._open_objects()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._folder)

    def is_current(self) -> bool:
        """Tell whether this is still the repository at its path."""
        try:
            return _identity(os.stat(self.path)) == self._identity
        except OSError:
            return False

    # References

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The branch that HEAD names."""
        head = read_file(f"{self.path}/HEAD")
        found = _SYMBOLIC.fullmatch((head or b"").decode(errors="replace"))
        if found is None or ".." in found[1]:
            raise StorageCorrupt(f"{self.path}/HEAD names no branch")
        return found[1]

    def head(self) -> RevisionId:
        target = self._reference(_HEADS + self.branch)
        if target is None:
            raise StorageCorrupt(f"{self.path}: the branch {self.branch} is missing")
        return RevisionId(target)

    def set_head(self, new: RevisionId) -> None:
        self._write_reference(_HEADS + self.branch, new)

    def tag_names(self) -> list[str]:
        names = set()
        with suppress(FileNotFoundError):  # before the packed ones: one that is being packed is always in one of them
            names |= set(os.listdir(f"{self.path}/{_TAGS}"))
        names |= {name[len(_TAGS) :] for name in self._packed() if name.startswith(_TAGS)}
        return sorted(name for name in names if is_tag_name(name) and not name.endswith(".lock"))

    def tag_target(self, name: str) -> str | None:
        return self._reference(_TAGS + name)

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        """See `Repository`. Several files cannot change at once, so they are first moved into the one that can."""
        new = {_TAGS + name: target for name, target in changes.items() if target is not None}
        if len(changes) == 1 and new:
            self._write_reference(*new.popitem())
            return
        packed = self._pack_references([_TAGS + name for name in changes])
        gone = {_TAGS + name for name in changes}
        self._write_packed({name: target for name, target in packed.items() if name not in gone} | new)

    def _pack_references(self, names: Iterable[str]) -> dict[str, str]:
        """Move references that have a file of their own into `packed-refs`; return all that are there then."""
        files = {name: f"{self.path}/{name}" for name in names if os.path.exists(f"{self.path}/{name}")}
        packed = self._packed() | {name: self._reference(name) or "" for name in files}
        if files:
            self._write_packed(packed)
            for path in files.values():
                os.unlink(path)
            if self._sync:
                sync_directory(f"{self.path}/{_TAGS}")
        return packed

    def _write_packed(self, references: Mapping[str, str]) -> None:
        rows = sorted((name.encode(errors="surrogateescape"), target.encode()) for name, target in references.items())
        content = b"# pack-refs with: sorted\n" + b"".join(b"%s %s\n" % (target, name) for name, target in rows)
        self._set_file(f"{self.path}/packed-refs", content, next(iter(references.values()), ""))

    def _reference(self, name: str) -> str | None:
        content = read_file(f"{self.path}/{name}")
        if content is None:
            return self._packed().get(name)
        target = content.decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9a-f]{40}", target):
            raise StorageCorrupt(f"{self.path}/{name} holds no object id")
        return target

    def _packed(self) -> dict[str, str]:
        content = read_file(f"{self.path}/packed-refs") or b""
        lines = content.decode(errors="surrogateescape").split("\n")
        rows = [_PACKED.fullmatch(line) for line in lines if line and line[0] not in "#^"]
        if not all(rows):
            raise StorageCorrupt(f"{self.path}/packed-refs cannot be read")
        return {row[2]: row[1] for row in rows if row}

    def _write_reference(self, name: str, target: str) -> None:
        """Set a reference through its lock file, as Git does; one that is there already was left by a killed process.

        That is certain, since every writer holds the dataset's lock, and pushes are refused (`receive.hideRefs`).
        """
        self._refuse_pushes()
        path = f"{self.path}/{name}"
        make_folders(os.path.dirname(path), sync=self._sync)
        self._set_file(path, f"{target}\n".encode(), target, temporary=f"{path}.lock")

    def _set_file(self, path: str, content: bytes, target: str, *, temporary: str | None = None) -> None:
        try:
            replace_file(path, content, sync=self._sync, temporary=temporary)
        except OSError as error:
            if read_file(path) == content:
                raise OutcomeUnknown(f"{path} may not be durable: {error.strerror}", target) from error
            raise

    def _refuse_pushes(self) -> None:
        """Make a repository that Git made refuse pushes, as ours do; they would go around the lock."""
        config = f"{self.path}/config"
        if b"hideRefs" not in (read_file(config) or b""):
            replace_file(config, (read_file(config) or b"") + b"[receive]\n\thideRefs = refs\n", sync=self._sync)

    # Objects

    def get(self, object_id: str) -> GitObject:
        found = self._cache.get(object_id)
        if found is None:
            found = self._read(object_id)
            self._cache.put(object_id, found, len(found.content) + 200)
        return found  # type: ignore[no-any-return]

    def _read(self, object_id: str) -> GitObject:
        """Read a loose object by hand: libgit2 never comes back from one that was cut short."""
        content = read_file(self._loose_path(object_id))
        if content is not None and (found := _parse_loose(object_id, content)):
            return found
        try:
            return self._read_packed(object_id)
        except KeyError:
            if content is None:
                raise
            raise StorageCorrupt(f"{self.path}: the object {object_id} is damaged") from None
        except _LIBGIT2_ERRORS as error:
            raise StorageCorrupt(f"{self.path}: the object {object_id} cannot be read: {error}") from error

    def _read_packed(self, object_id: str) -> GitObject:
        try:
            kind, content = self._packs.read(object_id)
        except (KeyError, *_LIBGIT2_ERRORS):  # perhaps it was packed, and the pack that we knew is gone
            self._open_objects()
            kind, content = self._packs.read(object_id)
        return GitObject(_NAMES[int(kind)], content)

    def _open_objects(self) -> None:
        try:
            self._packs = _object_database(self.path)
            self._odb = _object_database(self.path)
            self._odb.add_backend(pygit2.OdbBackendLoose(f"{self.path}/objects", -1, self._sync, 0, 0), 2)
        except (KeyError, *_LIBGIT2_ERRORS) as error:
            raise StorageCorrupt(f"{self.path} is no repository that can be read: {error}") from error

    def _loose_path(self, object_id: str) -> str:
        return f"{self.path}/objects/{object_id[:2]}/{object_id[2:]}"

    def put(self, objects: Mapping[str, GitObject]) -> None:
        if len(objects) >= _MANY:
            write_pack(_in_memory(objects), objects, self.path, sync=self._sync)
            return
        for identity, made in objects.items():
            self._drop_damaged(identity)
            try:
                stored = str(self._odb.write(KINDS[made.kind], made.content))
            except pygit2.GitError as error:
                raise StorageUnavailable(f"an object could not be written below {self.path}: {error}") from error
            if stored != identity:
                raise StorageCorrupt(f"{self.path}: an object was stored as {stored} and not as {identity}")
            self._cache.put(identity, made, len(made.content) + 200)
        if self._sync:
            sync_directory(f"{self.path}/objects")

    def entry(self, tree: str, path: str) -> BlobId | None:
        key = tree, path
        found: BlobId | None = self._cache.get(key)
        if found is None:
            found = super().entry(tree, path)
            if found is not None:
                self._cache.put(key, found, 300)
        return found

    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object from disk, comparing its content with its id. Raises KeyError."""
        return self._read(object_id)

    def packs(self) -> dict[str, list[str]]:
        """Return the name of each pack that has an index, and the ids of what is in it. Raises StorageCorrupt."""
        folder = f"{self.path}/objects/pack"
        names = [file.removesuffix(".idx") for file in os.listdir(folder) if file.endswith(".idx")]
        return {name: _ids_in_index(f"{folder}/{name}.idx") for name in names}

    def _drop_damaged(self, object_id: str) -> None:
        """Make room for an object: libgit2 writes none whose file is there, be it damaged."""
        path = self._loose_path(object_id)
        content = read_file(path)
        if content is not None and not _parse_loose(object_id, content):
            with suppress(FileNotFoundError):
                os.unlink(path)

    def loose_objects(self) -> Iterator[tuple[str, str]]:
        """Yield the id and file of every object that has a file of its own."""
        for folder in os.scandir(f"{self.path}/objects"):
            if re.fullmatch("[0-9a-f]{2}", folder.name):
                for file in os.scandir(folder.path):
                    if re.fullmatch("[0-9a-f]{38}", file.name):
                        yield folder.name + file.name, file.path

    def write_pack(self, ids: Iterable[str]) -> str:
        """Write objects of this repository into one pack, after making sure that they can be read; return its name."""
        wanted = dict.fromkeys(ids)
        for identity in wanted:
            if os.path.exists(self._loose_path(identity)):
                self._read(identity)
        return write_pack(_repository(self._odb), wanted, self.path, sync=self._sync)

    def pack_loose(self) -> int:
        """Put all loose objects into one pack. Only ever called under the dataset's lock.

        Returns:
            How many there were.
        """
        loose = dict(self.loose_objects())
        if loose:
            self.write_pack(loose)
            for file in loose.values():
                os.unlink(file)
        return len(loose)


def make_repository(path: str, objects: Mapping[str, GitObject], head: RevisionId, cache: Cache, *, sync: bool) -> None:
    """Make a repository with one branch, durable but for its own name."""
    for folder in ("", "/objects", "/objects/pack", "/refs", "/refs/heads", "/refs/tags"):
        os.mkdir(path + folder)
    write_file(f"{path}/config", _CONFIG, sync=sync)
    write_file(f"{path}/HEAD", f"ref: {_HEADS}{Storage.branch}\n".encode(), sync=sync)
    write_file(f"{path}/{_HEADS}{Storage.branch}", f"{head}\n".encode(), sync=sync)
    GitRepository(path, cache, sync=sync).put(objects)
    if sync:
        for folder in ("/refs/heads", "/refs", "/objects", ""):
            sync_directory(path + folder)


def write_pack(source: pygit2.Repository, ids: Mapping[str, Any], path: str, *, sync: bool) -> str:
    """Write objects into one pack of the repository at a path: aside first, then the pack, then its index.

    Returns:
        The pack's name, without folder and ending.
    """
    aside = f"{path}/objects/tmp_pack_{secrets.token_hex(8)}"
    os.mkdir(aside)
    try:
        builder = pygit2.PackBuilder(source)
        for identity in ids:
            builder.add(pygit2.Oid(hex=identity))
        builder.write(aside)
        name = next(file for file in os.listdir(aside) if file.endswith(".idx")).removesuffix(".idx")
        for ending in (".pack", ".idx"):
            if sync:
                _sync_file(f"{aside}/{name}{ending}")
            os.replace(f"{aside}/{name}{ending}", f"{path}/objects/pack/{name}{ending}")
    except (KeyError, ValueError) as error:
        raise StorageCorrupt(f"not all objects below {path} can be read: {error}") from error
    except pygit2.GitError as error:
        raise StorageUnavailable(f"a pack could not be written below {path}: {error}") from error
    finally:
        for file in os.listdir(aside):
            os.unlink(f"{aside}/{file}")
        os.rmdir(aside)
    if sync:
        sync_directory(f"{path}/objects/pack")
    return name


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _object_database(path: str) -> Any:
    """Open the packs alone, without the configuration: a third of the time, and syncing is ours to choose."""
    odb = pygit2.Odb()
    odb.add_backend(pygit2.OdbBackendPack(f"{path}/objects"), 1)
    return odb


def _repository(odb: Any) -> pygit2.Repository:
    git = pygit2.Repository()
    git.set_odb(odb)
    return git


def _in_memory(objects: Mapping[str, GitObject]) -> pygit2.Repository:
    odb = pygit2.Odb()
    odb.add_backend(_MemoryBackend(objects), 1)
    return _repository(odb)


def _parse_loose(object_id: str, content: bytes) -> GitObject | None:
    """Read the file of a loose object; None if it is damaged."""
    try:
        head, _, body = zlib.decompress(content).partition(b"\0")
        kind = head.split()[0].decode()
    except (zlib.error, IndexError, UnicodeDecodeError):
        return None
    return GitObject(kind, body) if kind in KINDS and gitobject.object_id(kind, body) == object_id else None


def _ids_in_index(path: str) -> list[str]:
    """Read the index of a pack (gitformat-pack, version 2): libgit2 passes over damaged ones in silence."""
    content = read_file(path) or b""
    checked = hashlib.sha1(content[:-20], usedforsecurity=False).digest() == content[-20:]
    if not checked or not content.startswith(b"\xfftOc\0\0\0\2"):
        raise StorageCorrupt(f"{path} cannot be read")
    ids = content[1032 : 1032 + 20 * int.from_bytes(content[1028:1032], "big")]
    return [ids[start : start + 20].hex() for start in range(0, len(ids), 20)]


class _MemoryBackend(pygit2.OdbBackend):
    """Lets libgit2 pack objects that are in memory only."""

    def __init__(self, objects: Mapping[str, GitObject]) -> None:
        super().__init__()
        self._objects = objects

    def read_cb(self, oid: Any) -> tuple[int, bytes]:
        kind, content = self._objects[str(oid)]
        return KINDS[kind], content

    def read_header_cb(self, oid: Any) -> tuple[int, int]:
        kind, content = self._objects[str(oid)]
        return KINDS[kind], len(content)

    def exists_cb(self, oid: Any) -> bool:
        return str(oid) in self._objects


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
