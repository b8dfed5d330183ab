"""Reading all of a repository, and saying what is wrong with it: what `git fsck --full --strict` finds, and more.

One check for every storage. A storage brings the repository, opened so that nothing comes from a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from metastore import git
from metastore.errors import StorageCorrupt
from metastore.git._faults import faults
from metastore.git.history import DELETED_TREE, Repository
from metastore.git.objects import GitObject
from metastore.types import Damage, DatasetId

#: Says what is wrong with the content of a file in the root of a dataset (id, path, content), or None.
Inspect = Callable[[DatasetId, str, bytes], str | None]
_UNREADABLE = "unreadable"


def no_inspection(dataset_id: DatasetId, path: str, content: bytes) -> str | None:
    """Find nothing wrong with any content."""
    return None


def verify(
    repository: Repository, dataset_id: DatasetId, inspect: Inspect, stored: Iterable[str] = ()
) -> Iterator[Damage]:
    """Read every object that the references lead to, along all parents, and yield what is wrong.

    Args:
        repository: Where to read.
        dataset_id: Whose repository it is.
        inspect: Called once with each version of each file in the root of a revision.
        stored: Ids of further objects, to which no reference may lead; what they name may be missing.
    """
    yield from _Check(repository, dataset_id, inspect).run(stored)


class _Check:
    def __init__(self, repository: Repository, dataset_id: DatasetId, inspect: Inspect) -> None:
        self._repository = repository
        self._where = dataset_id
        self._inspect = inspect
        self._kinds: dict[str, str | None] = {}  # of what was read; None for what could not be
        self._inspected: set[tuple[str, str]] = set()
        #: What is still to be read: an object, the kind that it has to be of, and what leads to it.
        self._waiting: list[tuple[str, str | None, str]] = []

    def run(self, stored: Iterable[str]) -> Iterator[Damage]:
        try:
            self._repository.prepare(self._repository.head(), with_trees=True, with_blobs=True)
            references = self._repository.reference_targets()
        except StorageCorrupt as error:
            yield self._damage(str(error))
            return
        for name, target in sorted(references.items()):
            kind = git.COMMIT if name.startswith("refs/heads/") else None
            yield from self._follow(target, kind, name)
        for identity in stored:
            if identity not in self._kinds:
                yield from self._read(identity, None, "no reference", follow=False)

    def _follow(self, start: str, kind: str | None, name: str) -> Iterator[Damage]:
        self._waiting.append((start, kind, name))
        while self._waiting:
            yield from self._read(*self._waiting.pop())

    def _read(self, identity: str, kind: str | None, leads: str, *, follow: bool = True) -> Iterator[Damage]:
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
        problems = [f"the {found.kind} {identity}: {problem}" for problem in faults(found)]
        yield from map(self._damage, problems)
        if problems or not follow:
            return
        self._waiting += self._links(identity, found)
        if found.kind == git.COMMIT:
            yield from self._look_into(identity, git.parse_commit(found.content).tree)

    def _links(self, identity: str, found: GitObject) -> Iterator[tuple[str, str | None, str]]:
        """Yield what an object leads to, each with the kind that it has to be of."""
        leads = f"the {found.kind} {identity}"
        if found.kind == git.TREE:
            for entry in git.parse_tree(found.content).values():
                if entry.mode != "160000":  # a submodule: its commits are in another repository
                    yield entry.id, git.TREE if entry.mode == "40000" else git.BLOB, leads
        elif found.kind == git.COMMIT:
            tree, *parents = git.links(found)
            yield from ((parent, git.COMMIT, leads) for parent in reversed(parents))
            yield tree, git.TREE, leads
        elif found.kind == git.TAG:
            tag = git.parse_tag(found.content)
            yield tag.target, tag.kind, leads

    def _look_into(self, commit: str, tree: str) -> Iterator[Damage]:
        """Inspect the files in the root of a revision that are not known from another one."""
        if tree == DELETED_TREE:
            return
        try:
            entries = git.parse_tree(self._repository.get(tree).content)
        except (KeyError, ValueError, StorageCorrupt):
            return  # found when the tree's turn comes
        for path, entry in entries.items():
            if (path, entry.id) in self._inspected or entry.mode in ("40000", "160000"):
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
