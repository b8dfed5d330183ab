"""The references of one bare repository, read and written beside Git itself. Format: gitrepository-layout(5).

A reference is a file of its own, or a line of `packed-refs`, or both; then the file counts. `git gc` and `git
pack-refs` move references from files to lines while others write. So each change is made under Git's own locks, with a
comparison there, in Git's order: first the references, then `packed-refs`.

libgit2 is not used for two reasons: it syncs references only by a switch for the whole process, and it refuses
repositories of other users unless another such switch is set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from metastore.errors import OutcomeUnknown, StorageBusy, StorageCorrupt
from metastore.files.durable import sync_directory
from metastore.files.reading import SmallFiles, read_file
from metastore.git.repository import HEADS, TAGS
from metastore.os_errors import in_words
from metastore.parse import is_tag_name
from metastore.storage.local._config import protect
from metastore.storage.local._locks import git_locked, is_lock, replace_locked, stale_locks
from metastore.storage.local._packed_refs import fault_of_packed, find_packed, packed_content, read_packed

Read = Callable[[str], bytes | None]
_SYMBOLIC = re.compile(r"ref: refs/heads/([^\0-\x20/][^\0-\x20]{,250})\s*")
_SYMBOLIC_TO = re.compile(rb"ref: *([^\s]+)")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
#: A name that Git refuses: see git-check-ref-format(1).
_BROKEN_NAME = re.compile(r"[\0-\x20\x7f~^:?*\[\\]|\.\.|@\{|(^|/)(\.|/|$)|\.lock(/|$)|\.$")
_TRIES = 10


class References:
    """The references of the repository at a path. Not safe to share between threads.

    Args:
        path: The repository's folder.
        sync: Whether to make changes durable before they count.
    """

    def __init__(self, path: str, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._files = SmallFiles()
        self._locked: frozenset[str] = frozenset()
        self._cleared: dict[str, int] = {}  # folder -> its time when it was last searched

    # Reading

    def branch(self, read: Read = read_file) -> str:
        """Return the branch that HEAD names. Raises StorageCorrupt."""
        found = _SYMBOLIC.fullmatch((read(f"{self._path}/HEAD") or b"").decode(errors="replace"))
        if found is None or ".." in found[1]:
            raise StorageCorrupt(f"{self._path}/HEAD names no branch")
        return found[1]

    def target(self, name: str, read: Read = read_file) -> str | None:
        """Return the object that a reference holds, by its full name, or None. Raises StorageCorrupt."""
        content = read(f"{self._path}/{name}")
        if content is None:  # in this order: while a reference is being packed, it is in at least one of them
            return find_packed(self._packed_path, name)
        return self._id_in(content, name)

    def all(self) -> dict[str, str]:
        """Return every reference and the object it holds, all at one moment. Symbolic references are skipped.

        Raises:
            StorageCorrupt: One holds neither an object id nor a name.
        """
        for _ in range(_TRIES):  # renaming a tag writes `packed-refs` twice
            before = self._packed_version()
            loose = dict(self._loose_targets())
            packed = read_packed(self._packed_path)
            if before == self._packed_version():
                break
        return packed | loose

    def tags(self) -> dict[str, str]:
        """Return the tags with valid names, sorted by name, and the objects that they hold."""
        found = sorted((name[len(TAGS) :], target) for name, target in self.all().items() if name.startswith(TAGS))
        return {name: target for name, target in found if is_tag_name(name)}

    def faults(self) -> Iterator[str]:
        """Yield why Git does not read the references, or some of them."""
        if fault := fault_of_packed(self._packed_path):
            yield fault
        loose = self.loose()
        names = {*loose, *self.all()}
        for name in sorted(names):
            if _BROKEN_NAME.search(name):
                yield f"{name!r} is no name for a reference: Git passes it over"
        for name in loose:
            symbolic = _SYMBOLIC_TO.match(read_file(f"{self._path}/{name}") or b"")
            if symbolic and symbolic[1].decode(errors="surrogateescape") not in names:
                yield f"{name} stands for another reference, which is missing"

    def _loose_targets(self) -> Iterator[tuple[str, str]]:
        for name in self.loose():
            content = None if _BROKEN_NAME.search(name) else read_file(f"{self._path}/{name}")
            if content is not None and not content.startswith(b"ref: "):
                yield name, self._id_in(content, name)

    def loose(self) -> list[str]:
        """Return the full names of the references that have a file of their own, without those that Git skips."""
        names, folders = [], ["refs"]
        for folder in folders:
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{self._path}/{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir():
                        names += [] if is_lock(entry.name) else [f"{folder}/{entry.name}"]
                    elif not entry.is_symlink():
                        folders.append(f"{folder}/{entry.name}")
        return names

    def _id_in(self, content: bytes, name: str) -> str:
        target = content.decode("ascii", "replace").strip()
        if not _OBJECT_ID.fullmatch(target):
            raise StorageCorrupt(f"{self._path}/{name} holds no object id")
        return target

    @property
    def _packed_path(self) -> str:
        return f"{self._path}/packed-refs"

    def _packed_version(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self._packed_path)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    # Writing, only ever under the dataset's `flock`

    @contextmanager
    def locked(self, names: Iterable[str]) -> Iterator[None]:
        """Keep Git itself from changing references, so that the body can compare and set them.

        Raises:
            StorageBusy: Git holds a lock, and does not release it in time.
        """
        wanted = sorted(set(names))
        self.clear_stale(wanted)
        protect(self._path, self._files.read, sync=self._sync)
        with git_locked((f"{self._path}/{name}" for name in wanted), sync=self._sync):
            self._locked = frozenset(wanted)
            try:
                yield
            finally:
                self._locked = frozenset()

    def set(self, name: str, target: str) -> None:
        """Set a locked reference.

        Raises:
            OutcomeUnknown: The change is made, but the disk did not confirm that it is durable.
        """
        self._expect_locked([name])
        self._replace(f"{self._path}/{name}", f"{target}\n".encode(), target)

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set or (None) remove locked references, atomically for readers.

        A single reference is set by its own file. Several change together as lines of `packed-refs`; those that have
        files are moved there first. A removal takes away the line before the file, which counts as long as it is there.

        Raises:
            OutcomeUnknown: The change is made, but the disk did not confirm that it is durable.
        """
        self._expect_locked(changes)
        if len(changes) == 1 and (target := next(iter(changes.values()))) is not None:
            self.set(next(iter(changes)), target)
            return
        with git_locked([self._packed_path], sync=self._sync):
            packed = read_packed(self._packed_path)
            loose = {name: held for name in changes if (held := self._loose_target(name)) is not None}
            if len(changes) > 1 and loose:  # several files cannot change atomically, but the lines of one file can
                packed |= loose
                self._write_packed(packed, next(iter(loose.values())))
                self._remove(loose)
                loose = {}
            new = {name: target for name, target in changes.items() if target is not None}
            known = _first_target(new, {name: (packed | loose).get(name) for name in changes})
            if new or not packed.keys().isdisjoint(changes):
                kept = {name: target for name, target in packed.items() if name not in changes}
                self._write_packed(kept | new, known)
            try:
                self._remove(loose)
            except OSError as error:
                if any(os.path.lexists(f"{self._path}/{name}") for name in loose):
                    raise
                raise OutcomeUnknown(f"{self._path}/{TAGS} may not be durable: {in_words(error)}", known) from error

    def replace_all(self, references: Mapping[str, str]) -> None:
        """Replace all references at once."""
        loose = self.loose()
        with self.locked(loose), git_locked([self._packed_path], sync=self._sync):
            self._write_packed(references, next(iter(references.values()), ""))
            self._remove(loose)

    def add_all(self, references: Mapping[str, str]) -> None:
        """Add references to `packed-refs`. A reference with its own file keeps its value."""
        with git_locked([self._packed_path], sync=self._sync):
            packed = {**read_packed(self._packed_path), **references}
            self._write_packed(packed, next(iter(packed.values()), ""))

    def _loose_target(self, name: str) -> str | None:
        content = read_file(f"{self._path}/{name}")
        return None if content is None else self._id_in(content, name)

    def _expect_locked(self, names: Iterable[str]) -> None:
        if not self._locked.issuperset(names):  # for example the branch, if HEAD names another one meanwhile
            raise StorageBusy(f"the references of {self._path} were changed meanwhile; try again")

    def _remove(self, names: Iterable[str]) -> None:
        folders = set()
        for name in names:
            os.unlink(f"{self._path}/{name}")
            folders.add(os.path.dirname(f"{self._path}/{name}"))
        for folder in folders if self._sync else ():
            sync_directory(folder)

    def _write_packed(self, references: Mapping[str, str], known: str) -> None:
        self._replace(self._packed_path, packed_content(references), known)

    def _replace(self, path: str, content: bytes, target: str) -> None:
        try:
            replace_locked(path, content, sync=self._sync)
        except OSError as error:
            if read_file(path) == content:
                raise OutcomeUnknown(f"{path} may not be durable: {in_words(error)}", target) from error
            raise

    def clear_stale(self, names: Iterable[str] = ()) -> None:
        """Remove the locks of killed writers, which would stop Git. Unchanged folders are not read again."""
        for folder in {self._path, *(f"{self._path}/{name.rpartition('/')[0]}" for name in (HEADS, TAGS, *names))}:
            with suppress(FileNotFoundError):
                if self._cleared.get(folder) != os.stat(folder).st_mtime_ns:
                    for path in stale_locks(folder):
                        os.unlink(path)
                    self._cleared[folder] = os.stat(folder).st_mtime_ns


def _first_target(new: Mapping[str, str], held: Mapping[str, str | None]) -> str:
    """Return an id by which a change of unknown outcome can be recognised: a new target, or else a removed one."""
    return next((target for target in (*new.values(), *held.values()) if target), "")
