"""One bare Git repository on disk: objects through libgit2, references by hand.

References are read and written here and not by libgit2 for two reasons: libgit2 syncs them only by a switch for the
whole process, and it refuses repositories of other users unless another such switch is set. The format is that of
gitrepository-layout(5): a file per reference, and `packed-refs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from metastore.errors import OutcomeUnknown, StorageCorrupt
from metastore.files import SmallFiles, make_folders, read_file, replace_file, sync_directory, write_file
from metastore.git.cache import Cache
from metastore.git.history import Repository
from metastore.git.objects import GitObject
from metastore.parse import is_tag_name
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.port import Storage
from metastore.types import RevisionId

#: Of more objects than these none is worth keeping in the cache.
_FEW = 64
_CONFIG = b"""\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[receive]
\thideRefs = refs
"""
_Read = Callable[[str], bytes | None]
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_SYMBOLIC = re.compile(r"ref: refs/heads/([^\0-\x20/][^\0-\x20]{,250})\s*")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_PACKED = re.compile(r"([0-9a-f]{40}) (refs/[^\0-\x20]+)\r?")


class GitRepository(Repository):
    """An open repository. Not safe to share between threads: each takes one for itself.

    Args:
        path: The repository's folder.
        cache: Holds objects by id; may be shared between repositories, since an id tells the content.
        sync: Whether changes are made durable before they count.
    """

    def __init__(self, path: str, cache: Cache, *, sync: bool) -> None:
        super().__init__(cache)
        self.path = path
        self._sync = sync
        self._files = SmallFiles()
        self._found: RevisionId | None = None
        # While the folder is open its inode number cannot be given to another one: that is how we know it again.
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = _identity(os.fstat(self._folder))
        self.database = ObjectDatabase(path, sync=sync)

    def __del__(self) -> None:
        try:  # noqa: SIM105 - names of other modules may be gone already when the interpreter ends
            os.close(self._folder)
        except (OSError, AttributeError):
            pass

    def is_current(self) -> bool:
        """Tell whether this is still the repository at its path."""
        try:
            return _identity(os.stat(self.path)) == self._identity
        except OSError:
            return False

    def is_usable(self) -> bool:
        """Tell whether a handle that was kept can be used again: it is the repository at its path, and has its packs.

        Where the branch's file was not touched since it was read, it is the same repository; nothing else is looked at,
        and the next `newest` is what was found here.
        """
        self._found = self._head_if_untouched()
        return self.database.knows_all_packs() and (self._found is not None or self.is_current())

    # References

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The branch that HEAD names."""
        return self._branch(read_file)

    def _branch(self, read: _Read) -> str:
        found = _SYMBOLIC.fullmatch((read(f"{self.path}/HEAD") or b"").decode(errors="replace"))
        if found is None or ".." in found[1]:
            raise StorageCorrupt(f"{self.path}/HEAD names no branch")
        return found[1]

    def head(self) -> RevisionId:
        return self._head(read_file)

    def newest(self) -> RevisionId:
        found, self._found = self._found, None
        return found or self._head(self._files.read)

    def _head_if_untouched(self) -> RevisionId | None:
        try:
            return self._head(self._files.known)
        except KeyError:
            return None

    def _head(self, read: _Read) -> RevisionId:
        branch = self._branch(read)
        target = self._reference(_HEADS + branch, read)
        if target is None:
            raise StorageCorrupt(f"{self.path}: the branch {branch} is missing")
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
        self.write_packed({name: target for name, target in packed.items() if name not in gone} | new)

    def _pack_references(self, names: Iterable[str]) -> dict[str, str]:
        """Move references that have a file of their own into `packed-refs`; return all that are there then."""
        files = {name: f"{self.path}/{name}" for name in names if os.path.exists(f"{self.path}/{name}")}
        packed = self._packed() | {name: self._reference(name) or "" for name in files}
        if files:
            self.write_packed(packed)
            for path in files.values():
                os.unlink(path)
            if self._sync:
                sync_directory(f"{self.path}/{_TAGS}")
        return packed

    def write_packed(self, references: Mapping[str, str]) -> None:
        """Replace `packed-refs`; a reference that has a file of its own is not changed by that."""
        rows = sorted((name.encode(errors="surrogateescape"), target.encode()) for name, target in references.items())
        content = b"# pack-refs with: sorted\n" + b"".join(b"%s %s\n" % (target, name) for name, target in rows)
        self._set_file(f"{self.path}/packed-refs", content, next(iter(references.values()), ""))

    def references(self) -> dict[str, str]:
        """Return every reference and the object it holds; symbolic ones (`ref: …`) are passed over.

        Raises:
            StorageCorrupt: One holds neither an object id nor a name.
        """
        found = self._packed()
        for name in self._loose_references():
            if not (read_file(f"{self.path}/{name}") or b"").startswith(b"ref: "):
                found[name] = self._reference(name) or ""
        return found

    def reference_targets(self) -> Mapping[str, str]:
        return self.references()

    def set_references(self, references: Mapping[str, str]) -> None:
        """Make these all the references that there are, at once. Only ever called under the dataset's lock."""
        self.write_packed(references)
        for name in self._loose_references():
            os.unlink(f"{self.path}/{name}")

    def _loose_references(self) -> list[str]:
        return [
            os.path.relpath(f"{folder}/{file}", self.path)
            for folder, _, files in os.walk(f"{self.path}/refs")
            for file in files
            if not file.endswith(".lock")
        ]

    def _reference(self, name: str, read: _Read = read_file) -> str | None:
        content = read(f"{self.path}/{name}")
        if content is None:
            return self._packed(read).get(name)
        target = content.decode("ascii", "replace").strip()
        if not _OBJECT_ID.fullmatch(target):
            raise StorageCorrupt(f"{self.path}/{name} holds no object id")
        return target

    def _packed(self, read: _Read = read_file) -> dict[str, str]:
        content = read(f"{self.path}/packed-refs") or b""
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
        self._set_file(path, f"{target}\n".encode(), target)

    def _set_file(self, path: str, content: bytes, target: str) -> None:
        """Replace a file through its lock file, as Git does; one that is there was left by a killed process."""
        try:
            replace_file(path, content, sync=self._sync, temporary=f"{path}.lock")
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
        found = self.cache.get(object_id)
        if found is None:
            found = self.database.read(object_id)
            self.cache.put(object_id, found, len(found.content) + 200)
        return found  # type: ignore[no-any-return]

    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object from disk, comparing its content with its id. Raises KeyError."""
        return self.database.read(object_id)

    def put(self, objects: Mapping[str, GitObject]) -> None:
        self.database.write(objects)
        if len(objects) <= _FEW:
            for identity, made in objects.items():
                self.cache.put(identity, made, len(made.content) + 200)


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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
