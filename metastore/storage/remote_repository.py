"""One repository on any Git server, without a clone: objects are fetched on access, and changes are pushed.

The server compares every reference with its old value, which makes a push atomic: branch and tags move together or not
at all, and no revision is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from metastore.errors import (
    AlreadyExists,
    MetastoreError,
    OutcomeUnknown,
    PermissionDenied,
    RevisionConflict,
    StorageCorrupt,
    StorageError,
    TagNotFound,
    TooLarge,
)
from metastore.git.cache import Cache
from metastore.git.objects import COMMIT, GitObject, links
from metastore.git.pkt_lines import NONE
from metastore.git.protocol import NoRepository, References, SmartHttp
from metastore.git.repository import HEADS, TAGS, Repository, ancestry
from metastore.http.responses import ResponseLost
from metastore.parse import is_tag_name
from metastore.storage.port import Storage
from metastore.types import DatasetId, RevisionId

_TRIES = 3
#: The commits that are fetched at once when a history is followed.
_STRETCH = 256


class RemoteRepository(Repository):
    """A repository as it was when its references were read. Objects from `put` stay here until a push needs them.

    Args:
        dataset_id: The dataset, for errors.
        server: The server.
        path: The path of the repository there, with a leading slash.
        references: Its references, if they are known already.
        cache: Holds objects by id; can be shared between repositories.
    """

    def __init__(
        self, dataset_id: DatasetId, server: SmartHttp, path: str, cache: Cache, references: References | None = None
    ) -> None:
        super().__init__(cache)
        self._dataset_id, self._server, self._path = dataset_id, server, path
        self._waiting: dict[str, GitObject] = {}
        #: A history that was fetched as a whole, since the cache may have room for only a part of it.
        self._whole: dict[str, GitObject] = {}
        #: The commit that this history continues. A server may give its trees and files with it alone.
        self._known: str | None = None
        self.references = references if references is not None else server.references(path)
        #: The id that the last push brought. It still has to be confirmed that the repository is the right one.
        self.pushed: str | None = None

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The branch that HEAD names. Right after the first push, the server may not have set it yet."""
        return self.references.branch or Storage.branch

    @property
    def is_empty(self) -> bool:
        """Whether the branch has no commit."""
        return HEADS + self.branch not in self.references.targets

    def head(self) -> RevisionId:
        try:
            return RevisionId(self.references.targets[HEADS + self.branch])
        except KeyError:
            raise StorageCorrupt(f"{self._dataset_id} has no branch {self.branch}") from None

    def tag_names(self) -> list[str]:
        names = (name.removeprefix(TAGS) for name in self.references.targets if name.startswith(TAGS))
        return sorted(filter(is_tag_name, names))

    def reference_targets(self) -> Mapping[str, str]:
        targets = self.references.targets
        return {name: target for name, target in targets.items() if name.startswith((HEADS, TAGS))}

    def tag_target(self, name: str) -> str | None:
        return self.references.targets.get(TAGS + name)

    # Objects

    def get(self, object_id: str) -> GitObject:
        found = self._found(object_id)
        if found is None and self._known is not None:
            known, self._known = self._known, None
            self._whole |= self._fetch(known, 1, None)
            found = self._found(object_id)
        if found is None:
            follows = self.cache.get(("parent", object_id))
            found = (self._stretch(object_id) if follows else self._fetch(object_id, 1, None))[object_id]
        return found

    def _found(self, object_id: str) -> GitObject | None:
        return self._waiting.get(object_id) or self._whole.get(object_id) or self.cache.get(object_id)

    def _stretch(self, commit_id: str) -> dict[str, GitObject]:
        """Fetch a commit and those behind it: fewer of them if the server, which may not filter, sends no more."""
        depth = _STRETCH
        while True:
            try:
                return self._fetch(commit_id, depth, "tree:0")
            except TooLarge:
                if depth == 1:
                    raise
                depth //= 2

    def read_uncached(self, object_id: str) -> GitObject:
        return self._fetch(object_id, 1, None)[object_id]

    def prepare(
        self, start: str, *, known: str | None = None, with_trees: bool = False, with_blobs: bool = False
    ) -> None:
        if with_trees:
            found = self._fetch(start, None, None if with_blobs else "blob:none", known)
            self._whole, self._known = (found, known) if with_blobs else ({}, None)
        elif self.cache.get(start):
            self.cache.put(("parent", start), True, 100)

    def _fetch(
        self, object_id: str, depth: int | None, filter_spec: str | None, known: str | None = None
    ) -> dict[str, GitObject]:
        objects = self._server.fetch(
            self._path, [object_id], haves=[known] if known else [], depth=depth, filter_spec=filter_spec
        )
        if object_id not in objects and object_id != known:
            raise StorageCorrupt(f"the server sent other objects for {object_id}")
        for identity, git_object in objects.items():
            self.cache.put(identity, git_object, len(git_object.content) + 200)
            if git_object.kind == COMMIT:
                _, *parents = links(git_object)
                for parent in parents:
                    self.cache.put(("parent", parent), True, 200)
        return objects

    def put(self, objects: Mapping[str, GitObject]) -> None:
        self._waiting.update(objects)

    # Pushes

    def set_head(self, new: RevisionId) -> None:
        name = HEADS + self.branch
        self.push({name: (self.references.targets.get(name, NONE), new)})

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        self.push({TAGS + name: (self.tag_target(name) or NONE, target or NONE) for name, target in changes.items()})

    def push(self, updates: Mapping[str, tuple[str, str]]) -> None:
        """Move references from an old value to a new one, with the objects from `put`.

        Raises:
            AlreadyExists: A reference exists already.
            RevisionConflict: A reference has another value.
            TagNotFound: A reference is gone.
            TooLarge: The server does not take so much at once.
            PermissionDenied: The server refuses, and says why.
            OutcomeUnknown: The response was lost, and the server cannot be reached.
        """
        revision = next((new for _, new in updates.values() if new != NONE), next(iter(updates.values()))[0])
        lost = False
        for _ in range(_TRIES):
            try:
                refusal = self._server.push(self._path, updates, self._waiting)
            except ResponseLost:
                lost, refusal = True, ""
            except (NoRepository, StorageError, TooLarge) as error:
                if lost:
                    raise OutcomeUnknown(f"the answer to a push for {self._dataset_id} was lost", revision) from error
                raise
            if refusal is None or self._landed(updates, revision, lost=lost):
                self._done(updates, revision)
                return
            if refusal and not lost:
                raise PermissionDenied(f"the server refuses the change of {self._dataset_id}: {refusal}")
        raise OutcomeUnknown(f"the answers to pushes for {self._dataset_id} were lost", revision)

    def _landed(self, updates: Mapping[str, tuple[str, str]], revision: str, *, lost: bool) -> bool:
        """Read the references again. Return False if a lost or refused push changed nothing."""
        try:
            self.references = self._server.references(self._path)
            now = {name: self.references.targets.get(name, NONE) for name in updates}
            if all(now[name] == new for name, (_, new) in updates.items()):
                return lost
            if lost and all(name.startswith(HEADS) and self._follows(now[name], *updates[name]) for name in updates):
                return True
        except (MetastoreError, NoRepository, KeyError) as error:
            if isinstance(error, NoRepository) and not lost and all(old == NONE for old, _ in updates.values()):
                return False  # it was not made, and the refusal says why
            if lost:
                raise OutcomeUnknown(f"the answer to a push for {self._dataset_id} was lost", revision) from error
            raise
        if any(now[name] != old for name, (old, _) in updates.items()):
            self._raise_conflict(updates, now, lost=lost)
        return False

    def _follows(self, head: str, old: str, new: str) -> bool:
        """Tell whether a commit is a descendant of ours."""
        for commit_id, _ in ancestry(self, head if head != NONE else None):
            if commit_id in (old, new):
                return commit_id == new
        return False

    def _raise_conflict(self, updates: Mapping[str, tuple[str, str]], now: Mapping[str, str], *, lost: bool) -> None:
        for full_name, (old, new) in updates.items():
            actual = now[full_name]
            name = full_name.removeprefix(TAGS)
            if actual == old:
                continue
            if full_name.startswith(HEADS):
                if old == NONE:
                    raise AlreadyExists(self._dataset_id)
                raise RevisionConflict(self._dataset_id, expected=old, actual=None if actual == NONE else actual)
            if lost:
                raise OutcomeUnknown(f"tags of {self._dataset_id} were changed twice at once", new)
            if old == NONE:
                raise AlreadyExists(f"tag {name} of {self._dataset_id}")
            if actual == NONE:
                raise TagNotFound(self._dataset_id, name)
            raise RevisionConflict(f"{self._dataset_id}@{name}", expected=old, actual=actual)

    def _done(self, updates: Mapping[str, tuple[str, str]], revision: str) -> None:
        targets = {**self.references.targets, **{name: new for name, (_, new) in updates.items()}}
        branch = self.references.branch or Storage.branch
        self.references = References(branch, {name: at for name, at in targets.items() if at != NONE})
        for identity, each in self._waiting.items():
            self.cache.put(identity, each, len(each.content) + 200)
        self._waiting = {}
        self.pushed = revision
