"""One repository copied onto an older copy of itself. At every moment the copy is one whole state of the repository."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple, Protocol

from metastore.errors import StorageCorrupt
from metastore.files import read_file, sync_directory, write_file
from metastore.git import links
from metastore.git.cache import Cache
from metastore.git.reachable import Needed
from metastore.storage.local._locks import git_locked, replace_locked
from metastore.storage.local._packed_refs import packed_content
from metastore.storage.local._repository import GitRepository
from metastore.types import DatasetId

#: Where a backup keeps what the source lost: below it, the former name of the reference and the id that it held.
KEPT = "refs/kept/"
_FOLDERS = ("objects", "objects/pack", "refs", "refs/heads", "refs/tags")
_SMALL_FILES = ("config", "former-ids", "HEAD")
_CHUNK = 1024 * 1024
_HEADS, _TAGS = "refs/heads/", "refs/tags/"

#: Tells whether the journal accounts for a tag that is gone or changed (repository, name, id that its reference held).
Accounted = Callable[[GitRepository, str, str], bool]


class Journal(Protocol):
    """What a journal accounts for; see `metastore.storage.local._accounts`."""

    def tag_changed(self, copy: GitRepository, name: str, held: str) -> bool: ...
    def purged(self, copy: GitRepository, dataset_id: DatasetId) -> bool: ...


class Copied(NamedTuple):
    """What copying a repository did.

    Attributes:
        files: How many object files were copied.
        bytes: Their size.
        changed: Whether the copy was out of date.
        incomplete: Whether the source lacks objects that the copy has, and no kept reference needs.
        lost: References that the source no longer has, and nothing accounts for: name and the id it held.
        mended: How many object files of the copy were damaged, and were replaced.
    """

    files: int = 0
    bytes: int = 0
    changed: bool = False
    incomplete: bool = False
    lost: tuple[tuple[str, str], ...] = ()
    mended: int = 0


class _State(NamedTuple):
    objects: dict[str, int]  # path below the repository -> size in bytes
    small: dict[str, bytes | None]
    references: dict[str, str]


def copy_new(source: str, target: str) -> Copied:
    """Copy a repository to where there is none. Nothing is synced: the caller does that for many at once.

    Raises:
        StorageCorrupt: The source is damaged.
    """
    theirs = GitRepository(source, Cache(0), sync=False)
    state = _state(theirs, theirs.references.all())
    _expect_targets(theirs, state)
    for folder in {*_FOLDERS, *map(os.path.dirname, state.objects)}:
        os.makedirs(f"{target}/{folder}", exist_ok=True)
    for path in state.objects:
        _copy_object(f"{source}/{path}", f"{target}/{path}", path, sync=False)
    for name, content in state.small.items():
        if content is not None:
            write_file(f"{target}/{name}", content, sync=False)
    if state.references:
        write_file(f"{target}/packed-refs", packed_content(state.references), sync=False)
    return Copied(len(state.objects), sum(state.objects.values()), changed=True)


def copy_onto(
    source: str, target: str, aside: str, dataset_id: DatasetId, journal: Journal, *, check: bool
) -> Copied | None:
    """Bring an older copy of a repository up to date, and keep in it what the source lost.

    Object files come first and are durable before the references change, which they do all at once. Files of the same
    name and size are not copied again.

    Args:
        source: A repository's folder. The caller holds its lock.
        target: The folder of the copy.
        aside: A folder on the target's file system for files that are being written.
        dataset_id: The dataset's id.
        journal: Accounts for what was removed on purpose.
        check: Whether to read every object file of the copy, and to replace the damaged ones.

    Returns:
        None if the copy is of an earlier dataset of this id, which was purged; nothing was copied then.

    Raises:
        StorageCorrupt: The source is damaged; the copy is what it was.
    """
    for folder in _FOLDERS:
        os.makedirs(f"{target}/{folder}", exist_ok=True)
    theirs, ours = (GitRepository(path, Cache(0), sync=True) for path in (source, target))
    new, old = _state(theirs, theirs.references.all()), _state(ours, _readable_references(ours))
    damaged = {path for path in old.objects if check and not _is_whole(f"{target}/{path}", path)}
    if new == old and not damaged:
        return Copied()
    _expect_targets(theirs, new)
    lost = tuple(lost_references(ours, old.references, theirs, new.references, journal.tag_changed))
    if any(name.startswith(_HEADS) for name, _ in lost) and journal.purged(ours, dataset_id):
        return None
    fresh = [path for path, size in new.objects.items() if old.objects.get(path) != size or path in damaged]
    for path in sorted(fresh, reverse=True):  # packs before their indexes, as Git does
        made = f"{aside}/{secrets.token_hex(8)}"
        _copy_object(f"{source}/{path}", made, path, sync=True)
        os.makedirs(os.path.dirname(f"{target}/{path}"), exist_ok=True)
        os.replace(made, f"{target}/{path}")
    for folder in {*_FOLDERS, *map(os.path.dirname, fresh), ""} if fresh else ():
        sync_directory(f"{target}/{folder}")
    return _follow(theirs, ours, new, old, fresh, lost)._replace(mended=len(damaged))


def _follow(
    theirs: GitRepository,
    ours: GitRepository,
    new: _State,
    old: _State,
    fresh: list[str],
    lost: tuple[tuple[str, str], ...],
) -> Copied:
    """Let the references of a copy follow those of its source, and remove object files that nothing needs."""
    kept = {name: held for name, held in old.references.items() if name.startswith(KEPT)}
    kept |= {f"{KEPT}{name.removeprefix('refs/')}/{held}": held for name, held in lost}
    new = new._replace(references=kept | new.references)
    gone = sorted(old.objects.keys() - new.objects.keys())
    missing = _missing(theirs, ours) if gone else set()
    _switch(ours, old, new)
    for path in gone if not missing else ():
        os.unlink(f"{ours.path}/{path}")
    changed = bool(fresh or (gone and not missing)) or (old.small, old.references) != (new.small, new.references)
    incomplete = bool(missing - _needed(ours, kept.values()))
    size = sum(new.objects[path] for path in fresh)
    return Copied(len(fresh), size, changed, incomplete, lost)


def lost_references(
    ours: GitRepository,
    old: dict[str, str],
    theirs: GitRepository,
    new: dict[str, str],
    accounted: Accounted,
) -> Iterator[tuple[str, str]]:
    """Yield the references of a copy, and what they hold, that its source neither has nor went on from."""
    for name, held in sorted(old.items()):
        if name.startswith(KEPT) or new.get(name) == held:
            continue
        if name.startswith(_TAGS):
            explained = accounted(ours, name, held)
        else:  # a branch that is only reachable by a tag was set back
            starts = [there for other, there in new.items() if not other.startswith(_TAGS)]
            explained = _leads_to(theirs, starts, held)
        if not explained:
            yield name, held


def _leads_to(repository: GitRepository, starts: Iterable[str], wanted: str) -> bool:
    """Tell whether a commit is among the ancestors of what references hold; newest first, so near ones are quick."""
    waiting, seen = list(starts), set[str]()
    while waiting:
        identity = waiting.pop(0)
        if identity == wanted:
            return True
        if identity in seen:
            continue
        seen.add(identity)
        with suppress(KeyError, ValueError, StorageCorrupt):
            found = repository.read_uncached(identity)
            if found.kind == "commit":
                waiting += list(links(found))[1:]
            elif found.kind == "tag":
                waiting += links(found)
    return False


def _needed(repository: GitRepository, starts: Iterable[str]) -> set[str]:
    """Return the objects that the kept references need."""
    needed: set[str] = set()
    for start in starts:
        with suppress(StorageCorrupt):
            needed.update(Needed(repository, start, None))
    return needed


def _state(repository: GitRepository, references: dict[str, str]) -> _State:
    small = {name: read_file(f"{repository.path}/{name}") for name in _SMALL_FILES}
    return _State(dict(_object_files(repository.path)), small, references)


def _readable_references(repository: GitRepository) -> dict[str, str]:
    try:
        return repository.references.all()
    except StorageCorrupt:  # a damaged copy is mended by copying
        return {}


def _object_files(path: str) -> Iterator[tuple[str, int]]:
    """Yield the object files of a repository and their sizes: loose objects first, since what Git packs goes there.

    Raises:
        FileNotFoundError: Git removed one meanwhile.
    """
    for folder in sorted(os.listdir(f"{path}/objects")):
        if re.fullmatch("pack|[0-9a-f]{2}", folder):
            names = _names(f"{path}/objects/{folder}")
            for name in names:
                # An index may have come into being between the pack and us.
                if _is_object(folder, name) and name.replace(".idx", ".pack") in names:
                    yield f"objects/{folder}/{name}", os.stat(f"{path}/objects/{folder}/{name}").st_size


def _names(folder: str) -> set[str]:
    """List a folder in which files are renamed: such a file may be missed, under either name."""
    names: set[str] | None = None
    while names != (now := set(os.listdir(folder))):
        names = now
    return names


def _is_object(folder: str, name: str) -> bool:
    pattern = r"[\w.-]+\.(pack|idx)" if folder == "pack" else "[0-9a-f]{38}"
    return re.fullmatch(pattern, name) is not None


def _expect_targets(repository: GitRepository, state: _State) -> None:
    for identity in {repository.head(), *state.references.values()}:
        try:
            repository.read_uncached(identity)
        except KeyError:
            raise StorageCorrupt(f"{repository.path}: the object {identity} is missing") from None


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let an error of the operating system name the file that it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _copy_object(source: str, target: str, name: str, *, sync: bool) -> None:
    """Copy an object file while comparing it with its checksum. Raises StorageCorrupt; then there is no copy."""
    checksum = _Checksum(name)
    with open(source, "rb") as file:
        with _naming(target):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
        try:
            while chunk := file.read(_CHUNK):
                checksum.update(chunk)
                with _naming(target):
                    _write(descriptor, chunk)
            if sync:
                with _naming(target):
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if not checksum.is_right():
        os.unlink(target)
        raise StorageCorrupt(f"{source} is damaged: its checksum is wrong")


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_whole(path: str, name: str) -> bool:
    checksum = _Checksum(name)
    with open(path, "rb") as file:
        _feed(file, checksum)
    return checksum.is_right()


def _feed(file: BinaryIO, checksum: _Checksum) -> None:
    while chunk := file.read(_CHUNK):
        checksum.update(chunk)


class _Checksum:
    """The checksum of an object file: a loose object's is its name, a pack's and an index's are their last 20 bytes.

    See gitformat-loose(5) and gitformat-pack(5).
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_pack = name.endswith((".pack", ".idx"))
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._inflated = zlib.decompressobj()
        self._end = b""
        self._broken = False

    def update(self, chunk: bytes) -> None:
        """Take in the next part of the file."""
        if self._is_pack:
            chunk = self._end + chunk
            self._digest.update(chunk[:-20])
            self._end = chunk[-20:]
            return
        try:
            self._digest.update(self._inflated.decompress(chunk))
        except zlib.error:
            self._broken = True

    def is_right(self) -> bool:
        """Tell whether the parts so far are a whole file."""
        if self._is_pack:
            return self._digest.digest() == self._end
        complete = self._inflated.eof and not self._broken
        return complete and self._digest.hexdigest() == "".join(self._name.split("/")[-2:])


def _missing(theirs: GitRepository, ours: GitRepository) -> set[str]:
    """Return the objects that the copy has and the source has not; MetaStore itself never drops any."""
    return ours.database.ids() - theirs.database.ids()


def _switch(repository: GitRepository, old: _State, new: _State) -> None:
    for name in ("config", "former-ids"):
        _set_small_file(repository.path, name, old, new)
    if old.small["HEAD"] != new.small["HEAD"]:
        # For a moment there are the branches of both, so that HEAD leads somewhere before and after.
        repository.references.add_all(new.references)
        _set_small_file(repository.path, "HEAD", old, new)
    if old.references != new.references or old.small["HEAD"] != new.small["HEAD"]:
        repository.references.replace_all(new.references)


def _set_small_file(path: str, name: str, old: _State, new: _State) -> None:
    content = new.small[name]
    if content == old.small[name]:
        return
    with git_locked([f"{path}/{name}"]):
        if content is None:
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/{name}")
        else:
            replace_locked(f"{path}/{name}", content, sync=True)
