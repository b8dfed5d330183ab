"""Copies a repository onto an older copy of itself. At every moment the copy is one whole state of the repository."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from typing import NamedTuple

from metastore.errors import StorageCorrupt
from metastore.files.durable import random_name, sync_directory, write_file
from metastore.files.reading import read_file
from metastore.git.cache import Cache
from metastore.git.objects import COMMIT, TAG, links
from metastore.git.reachable import reachable
from metastore.git.repository import HEADS, TAGS
from metastore.storage.local._journaled import COPIED_AFTER, Journaled
from metastore.storage.local._locks import git_locked, replace_locked
from metastore.storage.local._object_files import copy_object, is_whole, object_files, object_names
from metastore.storage.local._packed_refs import packed_content
from metastore.storage.local._repository import GitRepository
from metastore.types import DatasetId

#: A backup keeps what the source lost below this, by the reference's former name and the id that it held.
KEPT = "refs/kept/"
#: The file of a copy that names its newest state of which it is known that no reference of the source needs any of the
#: objects that only the copy has: to find that out takes a walk through the history.
_UNNEEDED = "unneeded"
_FOLDERS = ("objects", "objects/pack", "refs", "refs/heads", "refs/tags")
_SMALL_FILES = ("config", "former-ids", "HEAD")


class Copied(NamedTuple):
    """The result of copying a repository.

    Attributes:
        files: How many object files were copied.
        bytes: Their size.
        changed: Whether the copy was out of date.
        incomplete: Whether the source lacks objects that its references need, and the copy has.
        lost: References that the source no longer has, and the journal does not account for: name and the id it held.
        mended: How many damaged object files of the copy were replaced.
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


def copy_new(source: str, target: str, journaled: Journaled) -> Copied:
    """Copy a repository to a path where there is none. The caller syncs many copies at once.

    Args:
        source: The folder of the repository. The caller holds its lock.
        target: The path of the copy.
        journaled: Knows the newest line of the source's journal.

    Raises:
        StorageCorrupt: The source is damaged.
    """
    theirs = GitRepository(source, Cache(0), sync=False)
    theirs.database.index_again()  # a copy of a pack without its index could not be read
    references, small, names = theirs.references.all(), _small_files(source), list(object_names(source))
    _expect_targets(theirs, small, references, known=frozenset(names))
    for folder in sorted({"", *_FOLDERS, *map(os.path.dirname, names)}):
        os.mkdir(f"{target}/{folder}")
    size = sum(copy_object(f"{source}/{name}", f"{target}/{name}", name, sync=False) for name in names)
    for name, content in small.items():
        if content is not None:
            write_file(f"{target}/{name}", content, sync=False)
    if references:
        write_file(f"{target}/packed-refs", packed_content(references), sync=False)
    write_file(f"{target}/{COPIED_AFTER}", journaled.newest().encode(), sync=False)
    return Copied(len(names), size, changed=True)


def copy_onto(
    source: str, target: str, aside: str, dataset_id: DatasetId, journaled: Journaled, *, check: bool
) -> Copied | None:
    """Bring an older copy of a repository up to date, and keep in it what the source lost.

    Object files come first and are durable before the references change, which they do all at once. Files of the same
    name and size are not copied again.

    Args:
        source: A repository's folder. The caller holds its lock.
        target: The folder of the copy. The caller holds its lock, too.
        aside: A folder on the target's file system for files that are being written.
        dataset_id: The dataset's id.
        journaled: Tells what a call removed, by the source's journal.
        check: Whether to read every object file of the copy, and to replace the damaged ones.

    Returns:
        None if the copy is of an earlier dataset of this id, which was purged; then nothing was copied.

    Raises:
        StorageCorrupt: The source is damaged; the copy has not changed.
    """
    for folder in _FOLDERS:
        os.makedirs(f"{target}/{folder}", exist_ok=True)
    theirs, ours = (GitRepository(path, Cache(0), sync=True) for path in (source, target))
    ours.references.clear_stale()  # of a run that was killed; if nothing has changed, nothing below removes them
    theirs.database.index_again()
    new, old = _state(theirs, theirs.references.all()), _state(ours, _readable_references(ours))
    damaged = {path for path in old.objects if check and not is_whole(f"{target}/{path}", path)}
    if new == old and not damaged:
        return Copied()
    _expect_targets(theirs, new.small, new.references)
    lost = tuple(lost_references(ours, old.references, theirs, new.references, journaled))
    if any(name.startswith(HEADS) for name, _ in lost) and journaled.purged(ours, dataset_id):
        return None
    fresh = [path for path, size in new.objects.items() if old.objects.get(path) != size or path in damaged]
    for path in sorted(fresh, reverse=True):  # packs before their indexes, as Git does
        made = f"{aside}/{random_name()}"
        copy_object(f"{source}/{path}", made, path, sync=True)
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
    needed = set(new.references.values())
    new = new._replace(references=kept | new.references)
    gone = sorted(old.objects.keys() - new.objects.keys())
    missing = _missing(theirs, ours) if gone else set()
    _switch(ours, old, new)
    for path in gone if not missing else ():
        os.unlink(f"{ours.path}/{path}")
    changed = bool(fresh or (gone and not missing)) or (old.small, old.references) != (new.small, new.references)
    incomplete = bool(missing) and _needs_any(ours, needed, missing)
    size = sum(new.objects[path] for path in fresh)
    return Copied(len(fresh), size, changed, incomplete, lost)


def lost_references(
    ours: GitRepository,
    old: dict[str, str],
    theirs: GitRepository,
    new: dict[str, str],
    journaled: Journaled,
) -> Iterator[tuple[str, str]]:
    """Yield the references of a copy that its source neither holds nor continues, each with the id that it holds."""
    for name, held in sorted(old.items()):
        if name.startswith(KEPT) or new.get(name) == held:
            continue
        if name.startswith(TAGS):
            explained = journaled.tag_changed(name, held)
        else:  # a branch whose commit only a tag leads to was set back
            starts = [there for other, there in new.items() if not other.startswith(TAGS)]
            explained = _leads_to(theirs, starts, held)
        if not explained:
            yield name, held


def _leads_to(repository: GitRepository, starts: Iterable[str], wanted: str) -> bool:
    """Tell whether a commit is an ancestor of `starts`; newest first, so that near ones are quick."""
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
            if found.kind == COMMIT:
                waiting += list(links(found))[1:]
            elif found.kind == TAG:
                waiting += links(found)
    return False


def _needs_any(copy: GitRepository, starts: Set[str], wanted: Set[str]) -> bool:
    """Tell what `_leads_to_any` does. If it is no, that is noted, since it stays so for the same objects."""
    mark = hashlib.sha256("\n".join([*sorted(starts), "", *sorted(wanted)]).encode()).hexdigest().encode()
    if read_file(f"{copy.path}/{_UNNEEDED}") == mark:
        return False
    if _leads_to_any(copy, starts, wanted):
        return True
    write_file(f"{copy.path}/{_UNNEEDED}", mark, sync=False)  # half of it is no such mark
    return False


def _leads_to_any(repository: GitRepository, starts: Iterable[str], wanted: Set[str]) -> bool:
    """Tell whether some objects need one of others, or cannot be followed."""
    try:
        return not wanted.isdisjoint(reachable(repository, starts))
    except StorageCorrupt:
        return True


def _state(repository: GitRepository, references: dict[str, str]) -> _State:
    small = _small_files(repository.path)
    return _State(dict(object_files(repository.path)), small, references)


def _small_files(path: str) -> dict[str, bytes | None]:
    return {name: read_file(f"{path}/{name}") for name in _SMALL_FILES}


def _readable_references(repository: GitRepository) -> dict[str, str]:
    try:
        return repository.references.all()
    except StorageCorrupt:  # a damaged copy is mended by copying
        return {}


def _expect_targets(
    repository: GitRepository,
    small: Mapping[str, bytes | None],
    references: Mapping[str, str],
    *,
    known: Set[str] = frozenset(),
) -> None:
    """Check that there is a branch, and that the objects of all references can be read.

    Args:
        repository: The repository.
        small: Its small files.
        references: Its references.
        known: Files of objects to pass over, since copying them compares them with their checksums.

    Raises:
        StorageCorrupt: One is missing, or damaged.
    """
    branch = repository.references.branch(lambda path: small[os.path.basename(path)])
    if HEADS + branch not in references:
        raise StorageCorrupt(f"{repository.path}: the branch {branch} is missing")
    for identity in set(references.values()):
        if f"objects/{identity[:2]}/{identity[2:]}" not in known:
            repository.expect_object(identity)


def _missing(theirs: GitRepository, ours: GitRepository) -> set[str]:
    """Return the objects that the copy has and the source lacks; MetaStore itself never drops any."""
    return ours.database.ids() - theirs.database.ids()


def _switch(repository: GitRepository, old: _State, new: _State) -> None:
    for name in ("config", "former-ids"):
        _set_small_file(repository.path, name, old, new)
    if old.small["HEAD"] != new.small["HEAD"]:
        # For a moment the branches of both states exist, so that HEAD always names one.
        repository.references.add_all(new.references)
        _set_small_file(repository.path, "HEAD", old, new)
    if old.references != new.references or old.small["HEAD"] != new.small["HEAD"]:
        repository.references.replace_all(new.references)


def _set_small_file(path: str, name: str, old: _State, new: _State) -> None:
    content = new.small[name]
    if content == old.small[name]:
        return
    with git_locked([f"{path}/{name}"], sync=True):
        if content is None:
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/{name}")
        else:
            replace_locked(f"{path}/{name}", content, sync=True)
