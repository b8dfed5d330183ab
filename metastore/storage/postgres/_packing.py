"""The form of objects in a row: unchanged, compressed, or compressed against a keyframe; and that of commits.

A keyframe is an object that is stored without a base, so a read takes one further object at most. Versions of a large
descriptor differ little, so each takes some hundred bytes beside its keyframe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Set
from typing import NamedTuple

import zstandard

from metastore.descriptor.document import DESCRIPTOR
from metastore.errors import StorageCorrupt
from metastore.git.objects import BLOB, COMMIT, FILE, TAG, TREE, GitObject, first_parent, links, object_id, parse_tree

_LEVEL = 3
#: Objects below this size are kept as they are, in bytes. SQL looks into trees that are.
_SMALL = {TREE: 2048, BLOB: 128, COMMIT: 4096, TAG: 4096}
_ONLY = f"{FILE} {DESCRIPTOR}\0".encode()


class _Threads(threading.local):
    """A decompressor for each thread: threads cannot share one, and making one takes as long as using it."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()


_threads = _Threads()


class Keyframe(NamedTuple):
    """An object that others are kept against; `size` is what it takes in its row, in bytes."""

    id: str
    content: bytes
    size: int


class Row(NamedTuple):
    """An object as it is kept."""

    id: bytes
    kind: str
    packed: bool
    base: bytes | None
    data: bytes


class RevisionRow(NamedTuple):
    """A commit of the branch as it is kept; see the table `dataset_segment`."""

    id: bytes
    tree: bytes
    blob: bytes | None
    rest: bytes


def revision_row(identity: str, body: bytes, tree: bytes) -> RevisionRow:
    """Return a commit as it is kept.

    Args:
        identity: Its id.
        body: Its content.
        tree: The content of its tree.
    """
    rest = body[len("tree \nparent ") + 80 if first_parent(body) else len("tree ") + 40 :]
    who = rest[len("\nauthor ") : rest.find(b"\n", 1)]
    both = b"\nauthor %s\ncommitter " % who
    if who and rest.startswith(both + who + b"\n"):
        rest = rest[len(both) :]
    return RevisionRow(bytes.fromhex(identity), bytes.fromhex(body[5:45].decode()), only_descriptor(tree), rest)


def commit_content(row: RevisionRow, parent: bytes | None) -> bytes:
    """Return the content of a commit from its row, and the id of its parent."""
    begin = b"tree %s" % row.tree.hex().encode()
    if parent is not None:
        begin += b"\nparent %s" % parent.hex().encode()
    if row.rest.startswith(b"\n"):
        return begin + row.rest
    return b"%s\nauthor %s\ncommitter %s" % (begin, row.rest.partition(b"\n")[0], row.rest)


def only_descriptor(tree: bytes) -> bytes | None:
    """Return the id of the descriptor, if a tree has that file alone. The row of the commit stands for such a tree."""
    return tree[-20:] if len(tree) == len(_ONLY) + 20 and tree.startswith(_ONLY) else None


def tree_of(descriptor: bytes) -> bytes:
    """Return the content of the tree that holds a descriptor alone, given the descriptor's id."""
    return _ONLY + descriptor


def tree_id(descriptor: bytes) -> str:
    """Return the id of that tree."""
    return object_id(TREE, tree_of(descriptor))


class Packer:
    """Packs the objects of one write, each against the keyframe of what it replaces.

    Args:
        keyframe: Returns the keyframe of the object that the parent has under a name, or None. The root tree has the
            name ''.
        stored: Returns the keyframe of an object that the dataset has already, or None. Such an object stays as it is
            stored: it may have a base, so nothing may be kept against it.

    Attributes:
        keyframes: Object id -> the id of its keyframe (its own, if it is one) and what that takes in its row, in bytes;
            for the packed objects of `rows`.
    """

    def __init__(
        self,
        keyframe: Callable[[str], Keyframe | None] = lambda name: None,
        stored: Callable[[str], Keyframe | None] = lambda identity: None,
    ) -> None:
        self.keyframes: dict[str, tuple[str, int]] = {}
        self._keyframe, self._stored = keyframe, stored
        self._newest: dict[str, Keyframe | None] = {}
        self._names: dict[str, str] = {}  # of objects that a commit or tree before them names

    def rows(self, objects: Mapping[str, GitObject], but: Set[str] = frozenset()) -> Iterator[Row]:
        """Yield objects as they are to be kept, `but` for some. What names others comes after them only in a `dict`."""
        are_noted = isinstance(objects, dict)
        if are_noted:
            for git_object in objects.values():
                self._note(git_object)
        for identity in objects:
            git_object = objects[identity]
            if not are_noted:
                self._note(git_object)
            if identity not in but:
                yield self._row(identity, git_object)

    def _note(self, found: GitObject) -> None:
        if found.kind == COMMIT:
            self._names[next(links(found))] = ""
        elif found.kind == TREE:
            self._names.update((entry.id, name) for name, entry in parse_tree(found.content).items())

    def _row(self, identity: str, found: GitObject) -> Row:
        raw = bytes.fromhex(identity)
        if len(found.content) < _SMALL[found.kind]:
            return Row(raw, found.kind, False, None, found.content)
        name = f"{found.kind} {self._names.pop(identity, identity)}"
        if name not in self._newest:
            self._newest[name] = self._keyframe(name.partition(" ")[2])
        keyframe = self._newest[name]
        if keyframe is not None:
            data = _compress(found.content, keyframe.content)
            if len(data) <= _most(keyframe.size):
                self.keyframes[identity] = keyframe.id, keyframe.size
                return Row(raw, found.kind, True, bytes.fromhex(keyframe.id), data)
        data = _compress(found.content)
        packed = len(data) < len(found.content)
        row = Row(raw, found.kind, packed, None, data if packed else found.content)
        keyframe = self._stored(identity) or Keyframe(identity, found.content, len(row.data))
        self._newest[name] = keyframe
        self.keyframes[identity] = keyframe.id, keyframe.size
        return row


def _most(keyframe: int) -> int:
    """Return how large an object may be beside its keyframe before it becomes one itself, in bytes."""
    return max(keyframe // 12, min(keyframe // 2, 256))


def _compress(content: bytes, base: bytes | None = None) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=_dictionary(base)).compress(content)


def unpack(identity: str, packed: bool, data: bytes, base: tuple[bool, bytes] | None = None) -> bytes:
    """Return the content of an object from its row. Its id has to be compared, also for the sake of the base.

    Args:
        identity: Its id.
        packed: Whether it is compressed.
        data: What is in its row.
        base: Whether its base is compressed, and what is in that row; None if it has none.

    Raises:
        StorageCorrupt: It cannot be read.
    """
    if not packed:
        return data
    try:
        if base is None:
            return _threads.decompressor.decompress(data)
        if base[0]:  # a decompressor with a dictionary of its own takes longer to make than to use
            return _threads.decompressor.decompress_content_dict_chain([base[1], data])
        return zstandard.ZstdDecompressor(dict_data=_dictionary(base[1])).decompress(data)
    except (zstandard.ZstdError, ValueError) as error:  # a chain that begins with no frame is a ValueError
        raise StorageCorrupt(f"the object {identity} cannot be read: {error}") from None


def size_of(packed: bool, length: int, begin: bytes) -> int | None:
    """Return the size of the content of an object in bytes, from its row; None if that does not tell.

    Args:
        packed: Whether it is compressed.
        length: The length of its data, in bytes.
        begin: The first 18 of them, which is the longest head of a frame (RFC 8878).
    """
    if not packed:
        return length
    try:
        size: int = zstandard.frame_content_size(begin)
    except zstandard.ZstdError:
        return None
    return size if size >= 0 else None


def _dictionary(base: bytes | None) -> zstandard.ZstdCompressionDict | None:
    if base is None:
        return None
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
