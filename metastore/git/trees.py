"""Trees of several levels: the files below a root, and the trees that a change of files makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from metastore.errors import InvalidInput, StorageCorrupt
from metastore.git.objects import (
    FILE,
    FOLDER,
    SUBMODULE,
    TREE,
    Entry,
    GitObject,
    find_entry,
    object_id,
    parse_tree,
    tree_content,
)
from metastore.types import BlobId

#: The most parts of a path: `change_tree` takes a step of its recursion for each.
MOST_PARTS = 128
#: The most files and folders below a tree. To list so many takes less than a second, and 75 MB.
_MOST_WALKED = 250_000


def change_tree(
    root: str | None, changes: Mapping[str, BlobId | None], read_tree: Callable[[str], bytes]
) -> tuple[str, dict[str, GitObject]]:
    """Set and remove files in a tree, reading only the folders on their paths.

    Args:
        root: The id of the tree to change; None for the empty one.
        changes: POSIX path -> the id of its new blob, or None to remove the file.
        read_tree: Returns the content of a tree object by id.

    Returns:
        The id of the new root, and the tree objects that are new, by id.

    Raises:
        InvalidInput: A path needs a folder where there is a file, or the other way round.
    """
    made: dict[str, GitObject] = {}
    entries = parse_tree(read_tree(root)) if root else {}
    files = {path: blob for path, blob in changes.items() if "/" not in path}
    # Removals come first, so that a folder can take the place of a file; and files last, for the other way round.
    for name in [name for name, blob in files.items() if blob is None]:
        if name in entries and entries[name].mode != FOLDER:
            del entries[name]
    for name, below in _by_folder(changes).items():
        made.update(_change_folder(entries, name, below, read_tree))
    for name, blob in files.items():
        if blob is not None:
            if name in entries and entries[name].mode == FOLDER:
                raise InvalidInput(f"{name!r} cannot be a file and a folder at once")
            entries[name] = Entry(FILE, blob)
    content = tree_content(entries)
    identity = object_id(TREE, content)
    made[identity] = GitObject(TREE, content)
    return identity, made


def _by_folder(changes: Mapping[str, BlobId | None]) -> dict[str, dict[str, BlobId | None]]:
    nested: dict[str, dict[str, BlobId | None]] = {}
    for path, blob in changes.items():
        folder, slash, rest = path.partition("/")
        if slash:
            nested.setdefault(folder, {})[rest] = blob
    return nested


def _change_folder(
    entries: dict[str, Entry], name: str, changes: Mapping[str, BlobId | None], read_tree: Callable[[str], bytes]
) -> dict[str, GitObject]:
    """Change one folder of a tree in place, remove it if it becomes empty, and return the new tree objects."""
    old = entries.get(name)
    if old and old.mode != FOLDER:
        if any(blob is not None for blob in changes.values()):
            raise InvalidInput(f"{name!r} cannot be a file and a folder at once")
        return {}
    identity, made = change_tree(old.id if old else None, changes, read_tree)
    if made[identity].content:
        entries[name] = Entry(FOLDER, identity)
    else:
        entries.pop(name, None)
    return made


def walk_tree(root: str, read_tree: Callable[[str], bytes]) -> Iterator[tuple[str, BlobId]]:
    """Yield the path and blob of every file below a tree, in Git's order. Submodules are skipped.

    Raises:
        StorageCorrupt: It has too many files and folders, or is too deep. A few small trees that name each other many
            times stand for billions of files.
    """
    waiting, walked = [("", Entry(FOLDER, root))], 0
    while waiting:
        path, entry = waiting.pop()
        walked += 1
        if walked > _MOST_WALKED:
            raise StorageCorrupt(f"the tree {root} has more than {_MOST_WALKED} files and folders")
        if entry.mode == FOLDER:
            if path.count("/") + 1 >= MOST_PARTS:
                raise StorageCorrupt(f"the tree {root} has paths of more than {MOST_PARTS} parts")
            below = parse_tree(read_tree(entry.id))
            waiting += [(f"{path}/{name}" if path else name, each) for name, each in reversed(below.items())]
        elif entry.mode != SUBMODULE:
            yield path, BlobId(entry.id)


def find_blob(root: str, path: str, read_tree: Callable[[str], bytes]) -> BlobId | None:
    """Return the blob at a path below a tree, or None if there is none."""
    head, slash, rest = path.partition("/")
    entry = find_entry(read_tree(root), head)
    if entry is None or entry.mode == SUBMODULE or (entry.mode == FOLDER) != bool(slash):
        return None
    return find_blob(entry.id, rest, read_tree) if slash else BlobId(entry.id)
