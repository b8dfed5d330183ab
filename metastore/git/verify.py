"""Reads a whole repository and reports damage: everything that `git fsck --full --strict` finds, and more.

The check is the same for every storage. A storage opens the repository without a cache.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from metastore.errors import StorageCorrupt
from metastore.git.objects import (
    BLOB,
    COMMIT,
    FOLDER,
    SUBMODULE,
    TAG,
    TREE,
    GitObject,
    links,
    parse_commit,
    parse_tag,
    parse_tree,
)
from metastore.git.pack import PUSH_LESS
from metastore.git.repository import DELETED_TREE, HEADS, Inspect, ReadableRepository
from metastore.types import Damage, DatasetId

_UNREADABLE = "unreadable"
#: The most faults of one object that are told: it can have millions.
_MOST_FAULTS = 100
_FILE_MODES = (b"100644", b"100755", b"100664", b"120000", b"160000")
_FOLDER_MODE = FOLDER.encode()
_ID = re.compile(rb"[0-9a-f]{40}")
#: With at most 19 digits, as `_LATEST` has: Python makes no number of more than 4,300.
_IDENTITY = re.compile(rb"[^<>\n]* <[^<>\n]*> (0|[1-9][0-9]{0,18}) [+-][0-9]{4}")
_LATEST = 2**63 - 1
#: Names that a checkout on Windows or macOS could take for `.git`.
_GIT_FOLDER = re.compile(r"(\.git|git~1)[ .]*(:.*)?", re.IGNORECASE | re.DOTALL)
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


def verify(
    repository: ReadableRepository,
    dataset_id: DatasetId,
    inspect: Inspect,
    stored: Iterable[str] = (),
    *,
    known: Callable[[str], bool] = lambda identity: False,
    most: int | None = None,
) -> Iterator[Damage]:
    """Read every object that the references lead to, along all parents, and yield the damage.

    Args:
        repository: The repository to read from.
        dataset_id: Its dataset.
        inspect: Called once with each version of each file in the root of a revision.
        stored: Ids of further objects, to which no reference has to lead. The objects that they refer to may be
            missing.
        known: Tells whether a commit has been verified before, with all objects that it needs.
        most: How many objects may be named, by all entries of trees and parents of commits; None for any number. The
            object that goes beyond is not read, since each name takes memory and time.
    """
    yield from _Check(repository, dataset_id, inspect, known, most).run(stored)


class _Check:
    def __init__(
        self,
        repository: ReadableRepository,
        dataset_id: DatasetId,
        inspect: Inspect,
        known: Callable[[str], bool],
        most: int | None,
    ) -> None:
        self._repository = repository
        self._where = dataset_id
        self._inspect = inspect
        self._known = known
        self._left = self._most = most
        self._kinds: dict[str, str | None] = {}  # of the objects that were read; None if unreadable
        self._inspected: set[tuple[str, str]] = set()
        #: The objects still to be read: the id, the expected kind, and the object that refers to it.
        self._waiting: list[tuple[str, str | None, str]] = []

    def run(self, stored: Iterable[str]) -> Iterator[Damage]:
        try:
            self._repository.prepare(self._repository.head(), with_trees=True, with_blobs=True)
            references = self._repository.reference_targets()
        except StorageCorrupt as error:
            yield self._damage(str(error))
            return
        for name, target in sorted(references.items()):
            kind = COMMIT if name.startswith(HEADS) else None
            yield from self._follow(target, kind, name)
        for identity in stored:
            if identity not in self._kinds:
                yield from self._read(identity, None, "no reference", follow=False)

    def _follow(self, start: str, kind: str | None, name: str) -> Iterator[Damage]:
        self._waiting.append((start, kind, name))
        while self._waiting:
            yield from self._read(*self._waiting.pop())

    def _read(self, identity: str, kind: str | None, leads: str, *, follow: bool = True) -> Iterator[Damage]:
        if identity not in self._kinds and kind in (COMMIT, None) and self._known(identity):
            self._kinds[identity] = COMMIT
        if identity not in self._kinds:
            self._kinds[identity] = None
            try:
                found = self._repository.get(identity)
            except KeyError:
                yield self._damage(f"the object {identity} is missing, to which {leads} leads")
            except StorageCorrupt as error:
                yield self._damage(f"the object {identity} cannot be read: {error}")
            else:
                self._kinds[identity] = found.kind
                yield from self._look_at(identity, found, follow=follow)
        actual = self._kinds[identity]
        if kind and actual and actual != kind:
            yield self._damage(f"the object {identity} is a {actual}, but {leads} needs a {kind}")

    def _look_at(self, identity: str, found: GitObject, *, follow: bool) -> Iterator[Damage]:
        if self._most is not None and self._left is not None:
            self._left -= _most_links(found)
            if self._left < 0:
                yield self._damage(
                    f"the {found.kind} {identity} is one too many: trees and commits name more than {self._most}"
                    f" objects in all; {PUSH_LESS}"
                )
                return
        problems = [f"the {found.kind} {identity}: {problem}" for problem in islice(_faults(found), _MOST_FAULTS)]
        yield from map(self._damage, problems)
        if problems or not follow:
            return
        self._waiting += self._links(identity, found)
        if found.kind == COMMIT:
            yield from self._look_into(identity, parse_commit(found.content).tree)

    def _links(self, identity: str, found: GitObject) -> Iterator[tuple[str, str | None, str]]:
        """Yield the objects that an object refers to, each with its expected kind."""
        leads = f"the {found.kind} {identity}"
        if found.kind == TREE:
            for entry in parse_tree(found.content).values():
                if entry.mode != SUBMODULE:  # its commits are in another repository
                    yield entry.id, TREE if entry.mode == FOLDER else BLOB, leads
        elif found.kind == COMMIT:
            tree, *parents = links(found)
            yield from ((parent, COMMIT, leads) for parent in reversed(parents))
            yield tree, TREE, leads
        elif found.kind == TAG:
            tag = parse_tag(found.content)
            yield tag.target, tag.kind, leads

    def _look_into(self, commit: str, tree: str) -> Iterator[Damage]:
        """Inspect the files in the root of a revision that no earlier revision had."""
        if tree == DELETED_TREE:
            return
        try:
            entries = parse_tree(self._repository.get(tree).content)
        except (KeyError, ValueError, StorageCorrupt):
            return  # reported when the tree is read
        for path, entry in entries.items():
            if (path, entry.id) in self._inspected or entry.mode in (FOLDER, SUBMODULE):
                continue
            self._inspected.add((path, entry.id))
            try:
                fault = self._inspect(self._where, path, self._repository.get(entry.id).content)
            except (KeyError, StorageCorrupt):
                continue
            if fault:
                yield Damage(str(self._where), "not-a-descriptor", f"{path} of revision {commit[:12]} {fault}")

    def _damage(self, detail: str) -> Damage:
        return Damage(str(self._where), _UNREADABLE, detail)


def _most_links(found: GitObject) -> int:
    """Return the most objects that an object can name, without parsing it."""
    if found.kind == TREE:
        return found.content.count(b"\0")
    return found.content.count(b"\nparent ") if found.kind == COMMIT else 0


# The rules of `git fsck --strict` for single objects. Their names: git-fsck(1), "fsck messages".


def _faults(found: GitObject) -> Iterator[str]:
    """Yield the violations of an object's format, one sentence each."""
    if found.kind == TREE:
        yield from _of_tree(found.content)
    elif found.kind == COMMIT:
        yield from _of_commit(found.content)
    elif found.kind == TAG:
        yield from _of_tag(found.content)
    elif found.kind != BLOB:
        yield f"its kind {found.kind!r} is unknown"


def _of_tree(content: bytes) -> Iterator[str]:
    rows = []
    position = 0
    while position < len(content):
        zero = content.find(b"\0", position)
        mode, space, name = content[position:zero].partition(b" ")
        if zero < 0 or not space or zero + 21 > len(content) or not re.fullmatch(b"[0-7]+", mode):
            yield "it cannot be read to its end"
            return
        rows.append((mode, name, content[zero + 1 : zero + 21]))
        position = zero + 21
    for mode, name, identity in rows:
        yield from _of_entry(mode, name, identity)
    names = [name for _, name, _ in rows]
    keys = [name + b"/" if mode.lstrip(b"0") == _FOLDER_MODE else name for mode, name, _ in rows]
    if len(set(names)) < len(names):
        yield "it has two entries of one name"
    elif keys != sorted(keys):
        yield "its entries are not in order"


def _of_entry(mode: bytes, name: bytes, identity: bytes) -> Iterator[str]:
    shown = name.decode(errors="replace")
    if mode.startswith(b"0"):
        yield f"the mode of {shown!r} begins with a zero"
    if mode.lstrip(b"0") not in (*_FILE_MODES, _FOLDER_MODE):
        yield f"{shown!r} has the mode {mode.decode()}, which Git does not know"
    if not any(identity):
        yield f"{shown!r} leads to the object of only zeros"
    if not name or b"/" in name or name in (b".", b"..") or _is_git_folder(name):
        yield f"an entry is called {shown!r}"


def _is_git_folder(name: bytes) -> bool:
    text = _IGNORED_BY_HFS.sub("", name.decode(errors="replace"))
    return _GIT_FOLDER.fullmatch(text) is not None


def _of_commit(content: bytes) -> Iterator[str]:
    head, rows = _head(content)
    lines = deque(rows)  # from whose front lines are removed: a commit can have a million parents
    if head is not None:
        yield head
        return
    if b"\0" in content:
        yield "it contains a NUL character"
    if not lines or not _is_id(lines.popleft(), b"tree"):
        yield "it does not begin with a tree"
        return
    while lines and lines[0].startswith(b"parent "):
        if not _is_id(line := lines.popleft(), b"parent"):
            yield f"its parent {line[7:60]!r} is not an id"
    for role in (b"author", b"committer"):
        yield from _of_role(role, lines)


def _of_role(role: bytes, lines: deque[bytes]) -> Iterator[str]:
    """Remove the lines of one role from the front."""
    count = 0
    while lines and lines[0].startswith(role + b" "):
        yield from _of_identity(role.decode(), lines.popleft()[len(role) + 1 :])
        count += 1
    if count != 1:
        yield f"it has {count or 'no'} {role.decode()}{'s' * (count > 1)}"


def _of_identity(role: str, line: bytes) -> Iterator[str]:
    match = _IDENTITY.fullmatch(line)
    if match is None or int(match[1]) > _LATEST:
        yield f"its {role} {line[:80].decode(errors='replace')!r} is not 'Name <email> seconds +zone'"


def _of_tag(content: bytes) -> Iterator[str]:
    head, lines = _head(content)
    if head is not None:
        yield head
        return
    if not lines or not _is_id(lines[0], b"object"):
        yield "it does not begin with an object"
    elif len(lines) < 2 or lines[1] not in (b"type commit", b"type tree", b"type blob", b"type tag"):
        yield "it does not say which kind of object it names"
    elif len(lines) < 3 or not lines[2].startswith(b"tag "):
        yield "it has no name"
    elif len(lines) > 3 and lines[3].startswith(b"tagger "):
        yield from _of_identity("tagger", lines[3][7:])


def _head(content: bytes) -> tuple[str | None, list[bytes]]:
    """Return the fault of the whole header, or None, and its lines."""
    header, blank, _ = content.partition(b"\n\n")
    if not blank and not content.endswith(b"\n"):
        return "its header has no end", []
    if b"\0" in header:
        return "its header contains a NUL character", []
    return None, header.rstrip(b"\n").split(b"\n")


def _is_id(line: bytes, name: bytes) -> bool:
    word, _, identity = line.partition(b" ")
    return word == name and _ID.fullmatch(identity) is not None
