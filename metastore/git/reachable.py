"""Which objects a commit or tag needs: what has to travel when history goes from one repository to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metastore import git
from metastore.errors import StorageCorrupt
from metastore.git.objects import GitObject
from metastore.git.repository import Repository, object_at


class Needed(Mapping[str, GitObject]):
    """The objects that one needs, in the order in which they name each other; each is read when it is asked for.

    Args:
        repository: Where to read them.
        start: A commit or tag.
        known: A commit that is there already, with all that it needs.
    """

    def __init__(self, repository: Repository, start: str, known: str | None) -> None:
        self._repository = repository
        self._ids: dict[str, None] = {}
        repository.prepare(start, known=known, with_trees=True, with_blobs=True)
        there: set[str] = set()
        if known:
            tree = next(git.links(object_at(repository, known)))
            there = {known, *self._walk(tree, set())}
        self._ids = dict.fromkeys(self._walk(start, there))

    def _walk(self, start: str, there: set[str]) -> Iterator[str]:
        seen, waiting = {start, *there}, [] if start in there else [start]
        while waiting:
            identity = waiting.pop()
            yield identity
            found = object_at(self._repository, identity)
            try:
                new = [each for each in git.links(found) if each not in seen]
            except ValueError:
                raise StorageCorrupt(f"the object {identity} cannot be read") from None
            seen.update(new)
            waiting += new

    def __getitem__(self, identity: str) -> GitObject:
        if identity not in self._ids:
            raise KeyError(identity)
        return object_at(self._repository, identity)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
