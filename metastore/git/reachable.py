"""Finds the objects that a commit or tag needs, which have to be copied with its history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from metastore.errors import StorageCorrupt
from metastore.git.objects import COMMIT, TAG, GitObject, links
from metastore.git.repository import Repository, object_at


class Needed(Mapping[str, GitObject]):
    """The objects that a commit or tag needs, in the order in which they refer to each other. Each is read on access.

    Args:
        repository: The repository to read from.
        start: A commit or tag.
        known: A commit that the target has already, with all objects that it needs.
    """

    def __init__(self, repository: Repository, start: str, known: str | None) -> None:
        self._repository = repository
        repository.prepare(start, known=known, with_trees=True, with_blobs=True)
        self._ids = reachable(repository, [start], [known] if known else [])

    def __getitem__(self, identity: str) -> GitObject:
        if identity not in self._ids:
            raise KeyError(identity)
        return object_at(self._repository, identity)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def reachable(repository: Repository, starts: Iterable[str], known: Iterable[str] = ()) -> dict[str, None]:
    """Return the ids of some objects and of all that they need, in the order in which they refer to each other.

    Args:
        repository: The repository to read from.
        starts: Objects of any kind.
        known: Commits that the target has already, with all objects that their trees need.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
    """
    seen: dict[str, None] = {}
    for commit in known:
        seen[commit] = None
        _walk(repository, _links(repository, commit)[0], seen)
    there = len(seen)
    for start in starts:
        _walk(repository, start, seen)
    return dict.fromkeys(list(seen)[there:])


def _walk(repository: Repository, start: str, seen: dict[str, None]) -> None:
    """Add an object, and the objects that it needs, to those already seen."""
    waiting = [start]
    while waiting:
        identity = waiting.pop()
        if identity not in seen:
            seen[identity] = None
            waiting += _links(repository, identity)


def _links(repository: Repository, identity: str) -> list[str]:
    return links_of(identity, object_at(repository, identity))


def links_of(identity: str, found: GitObject) -> list[str]:
    """Return the ids of the objects to which an object refers, as `links` does. Raises StorageCorrupt."""
    try:
        return list(links(found))
    except ValueError:
        raise StorageCorrupt(f"the object {identity} cannot be read") from None


def boundary(repository: Repository, starts: Iterable[str], depth: int) -> tuple[set[str], set[str]]:
    """Return the commits of a history down to a depth, and those among them whose parents are left out.

    Args:
        repository: The repository to read from.
        starts: Commits, or tags of commits.
        depth: The number of generations, at least 1.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
    """
    level = set(filter(None, (peeled(repository, start) for start in starts)))
    seen, cut = set(level), set[str]()
    for left in range(depth - 1, -1, -1):
        parents = {commit: _links(repository, commit)[1:] for commit in level}
        if not left:
            cut = {commit for commit, there in parents.items() if there}
            break
        level = {parent for there in parents.values() for parent in there} - seen
        if not level:
            break
        seen |= level
    return seen, cut


def peeled(repository: Repository, identity: str) -> str | None:
    """Return the commit that a tag leads to, or None. A commit leads to itself.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
    """
    found = object_at(repository, identity)
    while found.kind == TAG:
        identity = _links(repository, identity)[0]
        found = object_at(repository, identity)
    return identity if found.kind == COMMIT else None
