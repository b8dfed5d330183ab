"""One bare Git repository on disk: its folder, its objects and its references."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress

from metastore.errors import NotADataset, StorageCorrupt
from metastore.files.durable import sync_directory, write_file
from metastore.files.reading import SmallFiles, read_file
from metastore.git.cache import Cache
from metastore.git.objects import TAG, GitObject
from metastore.git.repository import HEADS, TAGS, Repository
from metastore.phrase import Phrase
from metastore.storage.local._config import new_config
from metastore.storage.local._objects import ObjectDatabase
from metastore.storage.local._references import Read, References
from metastore.storage.port import Storage
from metastore.types import RevisionId

#: The most new objects that are kept in the cache: a copy or an import would push out all others.
_MOST_CACHED = 64


class GitRepository(Repository):
    """An open repository. Not safe to share between threads: each takes one for itself.

    Args:
        path: The repository's folder.
        cache: Holds objects by id; can be shared between repositories, since an id identifies the content.
        sync: Whether to make changes durable before they count.
        mends: Whether a pack without an index gets one again when an object is missing.
    """

    def __init__(self, path: str, cache: Cache, *, sync: bool, mends: bool = False) -> None:
        super().__init__(cache)
        self.path = path
        self._sync, self._mends = sync, mends
        self._files = SmallFiles()
        self._untouched_head: RevisionId | None = None  # from `is_usable` to the next `newest`
        # While the folder is open, no other one can get its inode number, which identifies it.
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._identity = _identity(os.fstat(self._folder))
        self.references = References(path, sync=sync)
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
        """Tell whether a kept handle can be used again: it is still the repository at its path, and has its packs.

        If the branch's file is unchanged since it was read, it is the same repository. Then nothing else is looked at,
        and the next `newest` returns what was read, without another look.
        """
        self._untouched_head = self._head_if_untouched()
        return self.database.knows_all_packs() and (self._untouched_head is not None or self.is_current())

    def is_empty(self) -> bool:
        """Tell whether nothing has ever been written to the repository."""
        return bool(self.branch) and not self.references.all() and not self._is_sha256()

    def _is_sha256(self) -> bool:
        return b"sha256" in (read_file(f"{self.path}/config") or b"").lower()

    # References

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The branch that HEAD names."""
        return self.references.branch()

    def head(self) -> RevisionId:
        return self._head(read_file)

    def newest(self) -> RevisionId:
        head, self._untouched_head = self._untouched_head, None
        return head or self._head(self._files.read)

    def _head_if_untouched(self) -> RevisionId | None:
        try:
            return self._head(self._files.known)
        except KeyError:
            return None

    def _head(self, read: Read) -> RevisionId:
        try:
            return self._branch_target(read)
        except StorageCorrupt:
            if problem := self._why_not():
                raise NotADataset(self.path, problem) from None
            raise

    def _why_not(self) -> str:
        """Return why this is no dataset and never was one; empty if it is a damaged one."""
        if self._is_sha256():
            return Phrase("uses SHA-256; only repositories with SHA-1 can be read")
        if not os.path.isdir(f"{self.path}/objects"):
            return Phrase("is not a Git repository")
        with suppress(OSError, StorageCorrupt):
            if os.path.exists(f"{self.path}/HEAD") and not self.references.all() and not self.database.ids():
                return Phrase("is an empty repository, to which nothing was written")
        return ""

    def _branch_target(self, read: Read) -> RevisionId:
        branch = self.references.branch(read)
        target = self.references.target(HEADS + branch, read)
        if target is None:
            raise StorageCorrupt(f"{self.path}: the branch {branch} is missing")
        return RevisionId(target)

    def branch_locked(self) -> AbstractContextManager[None]:
        return self.references.locked([self._branch_by_status()])

    def set_head(self, new: RevisionId) -> None:
        self.references.set(self._branch_by_status(), new)

    def _branch_by_status(self) -> str:
        """Return the full name of the branch, without reading a HEAD that nobody has touched; `head` reads it again."""
        return HEADS + self.references.branch(self._files.read)

    def tag_names(self) -> list[str]:
        return list(self.tag_targets())

    def tag_target(self, name: str) -> str | None:
        return self.references.target(TAGS + name)

    def tag_targets(self) -> Mapping[str, str]:
        return self.references.tags()

    def tags_locked(self, *names: str) -> AbstractContextManager[None]:
        return self.references.locked(TAGS + name for name in names)

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        self.references.change({TAGS + name: target for name, target in changes.items()})

    def reference_targets(self) -> Mapping[str, str]:
        return self.references.all()

    # Objects

    def get(self, object_id: str) -> GitObject:
        found = self.cache.get(object_id)
        if found is None:
            found = self._read_indexed_again(object_id)
            # A packed tag is read in microseconds, and a list of thousands would displace all that others read.
            if found.kind != TAG or not self.database.last_was_packed:
                self.cache.put(object_id, found, len(found.content) + 200)
        return found  # type: ignore[no-any-return]

    def size(self, object_id: str) -> int | None:
        size = super().size(object_id)
        return self.database.size(object_id) if size is None else size

    def expect_object(self, object_id: str) -> None:
        """Raise StorageCorrupt if an object is missing, or cannot be read."""
        try:
            self.read_uncached(object_id)
        except KeyError:
            raise StorageCorrupt(f"{self.path}: the object {object_id} is missing") from None

    def _read_indexed_again(self, object_id: str) -> GitObject:
        """Read an object, even from a pack that lost its index. Raises KeyError."""
        try:
            return self.database.read(object_id)
        except KeyError:
            if not self._mends or not self.database.index_again():
                raise
            return self.database.read(object_id)

    def read_uncached(self, object_id: str) -> GitObject:
        """Read an object from disk, and compare its content with its id. Raises KeyError."""
        return self.database.read(object_id)

    def put(self, objects: Mapping[str, GitObject]) -> None:
        self.database.write(objects)
        if len(objects) <= _MOST_CACHED:
            for identity, made in objects.items():
                self.cache.put(identity, made, len(made.content) + 200)


def make_repository(path: str, objects: Mapping[str, GitObject], head: RevisionId, cache: Cache, *, sync: bool) -> None:
    """Create a repository with one branch in an empty folder, durably except for its own name."""
    for folder in ("/objects", "/objects/pack", "/refs", "/refs/heads", "/refs/tags"):
        os.mkdir(path + folder)
    write_file(f"{path}/config", new_config(), sync=sync)
    write_file(f"{path}/HEAD", f"ref: {HEADS}{Storage.branch}\n".encode(), sync=sync)
    write_file(f"{path}/{HEADS}{Storage.branch}", f"{head}\n".encode(), sync=sync)
    GitRepository(path, cache, sync=sync).put(objects)
    if sync:
        for folder in ("/refs/heads", "/refs", "/objects", ""):
            sync_directory(path + folder)


def newest_readable(path: str) -> RevisionId:
    """Return the newest revision of a repository that others made.

    Raises:
        StorageCorrupt: There is none, or it cannot be read.
    """
    repository = GitRepository(path, Cache(0), sync=False)
    if repository.is_empty():
        raise StorageCorrupt(f"{path} is empty: commit to it, or remove it")
    head = repository.head()
    repository.expect_object(head)
    return head


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
