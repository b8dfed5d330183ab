"""Finds the objects that a commit or tag needs, which have to be copied with its history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from metastore.errors import StorageCorrupt, TooLarge
from metastore.git.objects import COMMIT, TAG, GitObject, links
from metastore.git.pack import FETCH_LESS
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


def reachable(
    repository: Repository,
    starts: Iterable[str],
    known: Iterable[str] = (),
    *,
    behind: Collection[str] = (),
    shallow: Collection[str] = (),
    most: int | None = None,
) -> dict[str, None]:
    """Return the ids of some objects and of all that they need, in the order in which they refer to each other.

    Args:
        repository: The repository to read from.
        starts: Objects of any kind.
        known: Commits that the target has already, with all objects that their trees need.
        behind: Commits that the target has already, perhaps without their trees.
        shallow: Commits whose parents are left out.
        most: The largest number of objects; None for any number.

    Raises:
        StorageCorrupt: An object is missing, or cannot be read.
        TooLarge: There are more than `most`.
    """
    seen: dict[str, None] = dict.fromkeys(behind)
    for commit in known:
        seen[commit] = None
        _walk(repository, next(_links(repository, commit)), seen, shallow, None)
    there = len(seen)
    for start in starts:
        _walk(repository, start, seen, shallow, None if most is None else there + most)
    return dict.fromkeys(list(seen)[there:])


def _walk(
    repository: Repository, start: str, seen: dict[str, None], shallow: Collection[str], most: int | None
) -> None:
    """Add an object, and the objects that it needs, to those already seen. Raises TooLarge: they are too many."""
    waiting = [start]
    while waiting:
        identity = waiting.pop()
        if identity not in seen:
            seen[identity] = None
            if most is not None and len(seen) > most:
                raise TooLarge(f"the history has too many objects: {FETCH_LESS}")
            referred = _links(repository, identity)
            waiting += [next(referred)] if identity in shallow else referred


def _links(repository: Repository, identity: str) -> Iterator[str]:
    try:
        return iter(list(links(object_at(repository, identity))))
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
        parents = {commit: list(_links(repository, commit))[1:] for commit in level}
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
        identity = next(_links(repository, identity))
        found = object_at(repository, identity)
    return identity if found.kind == COMMIT else None
