"""Chooses the objects of a fetch: those that a partial clone takes, and those that a client may ask for by id.

A tree tells which of its entries are blobs, so blobs are not read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf

from metastore.errors import InvalidInput, StorageCorrupt, TooLarge
from metastore.git.objects import BLOB, COMMIT, FOLDER, SUBMODULE, TAG, TREE, parse_tree
from metastore.git.pack import FETCH_LESS
from metastore.git.reachable import links_of
from metastore.git.repository import Repository, object_at

_SPEC = re.compile(
    "blob:(?P<none>none)|blob:limit=(?P<size>[0-9]{1,15})|tree:(?P<depth>[0-9]{1,10})"
    f"|object:type=(?P<kind>{BLOB}|{TREE}|{COMMIT}|{TAG})"
)
#: The number of revisions whose objects are remembered together.
_PIECE = 64
#: How many wanted objects are looked for before the older revisions are walked through.
_PROBED = 32
#: The depth of trees that the client names, as in Git.
_NAMED = -1


@dataclass(frozen=True, slots=True)
class Filter:
    """The objects that a client takes besides those that it names: `--filter` of git-rev-list(1).

    Attributes:
        size: Blobs of this size in bytes, and larger ones, are left out.
        depth: Trees and blobs at this depth, and below, are left out. A revision's tree has the depth 0, and so have
            the entries of a tree that the client names.
        kind: Objects of other kinds are left out; None for every kind.
    """

    size: float = inf
    depth: float = inf
    kind: str | None = None

    @classmethod
    def parse(cls, spec: str) -> Filter:
        """Read a filter as Git sends it.

        Raises:
            InvalidInput: It is none of `blob:none`, `blob:limit=`, `tree:` and `object:type=`.
        """
        found = _SPEC.fullmatch(spec)
        if found is None:
            known = "blob:none, blob:limit=BYTES, tree:DEPTH and object:type=KIND"
            raise InvalidInput(f"the server does not support the filter {spec[:60]!r}; it supports {known}")
        if kind := found["kind"]:
            return cls(kind=kind, depth=0 if kind in (COMMIT, TAG) else inf, size=0 if kind == TREE else inf)
        return cls(depth=int(found["depth"])) if found["depth"] else cls(size=int(found["size"] or 0))


ALL = Filter()


def selected(
    repository: Repository,
    starts: Iterable[str],
    known: Iterable[str] = (),
    *,
    chosen: Filter = ALL,
    behind: Iterable[str] = (),
    shallow: Collection[str] = (),
    most: float = inf,
) -> dict[str, None]:
    """Return the ids of some objects, and of those that they need and a filter lets through.

    Args:
        repository: The repository to read from.
        starts: Objects of any kind. The filter lets them through.
        known: Commits that the client has already, with all objects that their trees need.
        chosen: The filter.
        behind: Commits that the client has already, perhaps without their trees.
        shallow: Commits whose parents are left out.
        most: The largest number of objects that are looked at.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
        TooLarge: There are more than `most`.
    """
    there = _Walk(repository, ALL, (), (), inf)
    for commit in known:
        there.add_commit(commit)
    walk = _Walk(repository, chosen, [*behind, *there.found], shallow, most)
    walk.run(starts)
    return walk.found


class _Walk:
    """Walks from objects to those that they need; `found` has those that the filter lets through.

    Each tree is read once, at its least depth: some thousand trees can name each other in such a way that as many
    millions of paths lead through them.
    """

    def __init__(
        self, repository: Repository, chosen: Filter, there: Iterable[str], shallow: Collection[str], most: float
    ) -> None:
        self.found: dict[str, None] = {}
        self._repository, self._chosen, self._shallow = repository, chosen, shallow
        self._there = frozenset(there)
        self._seen = set(self._there)
        self._most = len(self._seen) + most
        # Trees that the client named, and those of revisions, which wait.
        self._named, self._roots = list[str](), list[str]()

    def run(self, starts: Iterable[str]) -> None:
        """Walk from objects that the client names."""
        for start in starts:
            self._begin(start)
        self._add_trees()

    def _begin(self, start: str) -> None:
        """Walk from one object. What a tag leads to counts as named, too, as in Git."""
        waiting = [start]
        while waiting and (named := waiting.pop()) not in self._there:
            self.found[named] = None
            found = object_at(self._repository, named)
            if found.kind == COMMIT:
                self._add_history(named)
            elif found.kind == TREE:
                self._named.append(named)
            else:
                self._see(named, found.kind)
                waiting = links_of(named, found)

    def _add_history(self, start: str) -> None:
        waiting = [start]
        while waiting:
            identity = waiting.pop()
            if identity not in self._seen:
                parents = self.add_commit(identity)
                waiting += () if identity in self._shallow else parents

    def add_commit(self, identity: str) -> list[str]:
        """Add a commit with its tree. Return its parents."""
        found = object_at(self._repository, identity)
        if found.kind != COMMIT:
            raise StorageCorrupt(f"the object {identity} is not a commit")
        tree, *parents = links_of(identity, found)
        self._see(identity, COMMIT)
        self._roots.append(tree)
        if self._chosen.depth == inf:  # what is read together is best read at once
            self._add_trees()
        return parents

    def _add_trees(self) -> None:
        """Add the trees that wait and what is below them, one depth after the other."""
        level, following, depth = self._named, self._roots, _NAMED
        self._named, self._roots = [], []
        while (level or following) and depth < self._chosen.depth:
            for identity in level:
                if identity not in self._seen:
                    self._see(identity, TREE)
                    following += self._add_entries(identity, takes_blobs=depth + 1 < self._chosen.depth)
            level, following, depth = following, [], depth + 1

    def _add_entries(self, tree: str, *, takes_blobs: bool) -> list[str]:
        """Add the blobs of a tree. Return the trees in it."""
        folders = []
        for mode, entry in self._entries(tree):
            if mode == FOLDER:
                folders.append(entry)
            elif mode != SUBMODULE and takes_blobs and entry not in self._seen and self._is_small(entry):
                self._see(entry, BLOB)
        return folders

    def _is_small(self, blob: str) -> bool:
        least = self._chosen.size
        if least in (0, inf):
            return least > 0
        size = self._repository.size(blob)
        return (len(object_at(self._repository, blob).content) if size is None else size) < least

    def _see(self, identity: str, kind: str) -> None:
        self._seen.add(identity)
        if len(self._seen) > self._most:
            raise TooLarge(f"the history has too many objects: {FETCH_LESS}")
        if self._chosen.kind in (None, kind):
            self.found[identity] = None

    def _entries(self, tree: str) -> list[tuple[str, str]]:
        try:
            return [(entry.mode, entry.id) for entry in parse_tree(self._repository.tree(tree)).values()]
        except ValueError:
            raise StorageCorrupt(f"the object {tree} cannot be read") from None


def unreachable(repository: Repository, wanted: Iterable[str], branch: Mapping[str, int], most: int) -> str | None:
    """Return one of some objects to which neither the branch nor a tag leads; None if they lead to all of them.

    The newest revisions are looked through first. What they lead to never changes, and is remembered.

    Args:
        repository: The repository to read from.
        wanted: Ids.
        branch: The commits of the branch, the newest first.
        most: The largest number of objects of `_PIECE` revisions.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
        TooLarge: There are more than `most`.
    """
    left = {bytes.fromhex(identity) for identity in wanted}
    for place, offered in enumerate(_offered(repository, list(branch), most)):
        if not left:
            return None
        if place == 1:  # a request of made-up ids costs no more than this
            for identity in islice(left, _PROBED):
                try:
                    repository.read_uncached(identity.hex())
                except KeyError:
                    return identity.hex()
        left -= {offered[at : at + 20] for at in range(0, len(offered), 20)}
    return next(iter(left)).hex() if left else None


def _offered(repository: Repository, branch: list[str], most: int) -> Iterator[bytes]:
    """Yield the ids of the objects to which revisions lead, many at a time: those of the branch, then those of tags."""
    place, size = 0, (len(branch) - 1) % _PIECE + 1  # the pieces stay the same when the branch grows
    while place < len(branch):
        key = "offered", branch[place]
        found: bytes | None = repository.cache.get(key)
        if found is None:
            found = _joined(selected(repository, [branch[place]], behind=branch[place + size :], most=most))
            repository.cache.put(key, found, len(found) + 300)
        yield found
        place, size = place + size, _PIECE
    tags = set(repository.tag_targets().values()).difference(branch)
    yield _joined(selected(repository, tags, behind=branch, most=most))


def _joined(ids: Iterable[str]) -> bytes:
    return b"".join(map(bytes.fromhex, ids))
