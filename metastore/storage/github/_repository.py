"""One dataset on GitHub: objects fetched once and kept, references always asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metastore.errors import StorageBusy, StorageError
from metastore.git.cache import Cache
from metastore.git.objects import BLOB, COMMIT, TAG, TREE, GitObject, object_id, parse_commit, parse_tag, tree_content
from metastore.git.repository import Repository, ancestry, commit_at
from metastore.http.fields import Fields, Unexpected
from metastore.http.responses import Redirected
from metastore.storage.github import _queries
from metastore.storage.github._api import GitHubApi
from metastore.storage.github._graphql import Move
from metastore.storage.github._objects import as_json, lines_of, portions, text_of
from metastore.storage.github._references import Mover
from metastore.types import BlobId, RevisionId

_BLOBS = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """The last known state of a repository, and its time by the monotonic clock, in seconds.

    Attributes:
        node_id: GitHub's own id, another one for another repository of the same name.
        branch: The default branch.
        head: The newest commit.
        etag: What a question for the head is compared with, where it was asked before.
        looked: When everything was seen.
        checked: When the head was.
    """

    node_id: str
    branch: str
    head: str
    etag: str | None
    looked: float
    checked: float

    @classmethod
    def now(cls, node_id: str, branch: str, head: str) -> Seen:
        """Return what is seen at this moment."""
        now = time.monotonic()
        return cls(node_id, branch, head, None, now, now)


class GitHubRepository(Repository):
    """The objects and references of one dataset.

    Args:
        api: The calls.
        name: The repository's name.
        cache: Shared between datasets: what it holds is true of an id for ever.
        seen: What is known of it already; otherwise `look` comes first.
    """

    seen: Seen

    def __init__(self, api: GitHubApi, name: str, cache: Cache, seen: Seen | None = None) -> None:
        super().__init__(cache)
        self.api = api
        self.name = name
        #: When it was made here, by the monotonic clock; None for one that was there.
        self.made_at: float | None = None
        self._blobs: dict[str, None] = {}
        if seen:
            self.seen = seen

    @property
    def branch(self) -> str:  # type: ignore[override]
        """The default branch."""
        return self.seen.branch

    @property
    def _head_name(self) -> str:
        return f"refs/heads/{self.seen.branch}"

    # The head

    def look(self, answer: Fields) -> None:
        """Take over what `_queries.LOOK` brought."""
        branch = answer.below("defaultBranchRef")
        self._keep(dict(_queries.objects_in(answer)))
        head = branch.below("target").oid("oid")
        self._went_on(head)
        self.seen = Seen.now(answer.text("id"), branch.text("name"), head)

    def _went_on(self, head: str) -> None:
        """Forget what was on the branch, where the new head is not just behind the old one: it may be rewritten."""
        before = getattr(self, "seen", None)
        if before and head != before.head and commit_at(self, head).parent != before.head:
            self.on_branch = {}

    def head(self) -> RevisionId:
        return RevisionId(self.seen.head)

    def unchanged(self) -> bool:
        """Ask whether the head still is what was seen; free of charge where it is, and was asked before."""
        seen = self.seen
        try:
            answer = self.api.reference(self.name, self._head_name, seen.etag)
        except Redirected:
            return False
        same = answer.status == 304 and seen.etag is not None
        if answer.status == 200:
            same = answer.fields("reference").below("object").oid("sha") == seen.head
        if same:
            self.seen = replace(seen, etag=answer.headers.get("etag", seen.etag), checked=time.monotonic())
        return same

    def set_head(self, new: RevisionId) -> None:
        self.move_head(self.head(), new)

    def move_head(self, before: str, after: RevisionId) -> str | None:
        """Move the branch, if it is where it should be; return where it is instead, or None when it is done.

        Raises:
            OutcomeUnknown: GitHub did not say, and stays away.
        """
        found = self.move([Move(self._head_name, before, after)])
        if found:
            return found[self._head_name] or "nothing"
        self._went_on(after)
        now = time.monotonic()
        self.seen = replace(self.seen, head=after, etag=None, checked=now)
        return None

    def move(self, moves: Sequence[Move]) -> Mapping[str, str | None] | None:
        """Move references; see `Mover.move`."""
        return Mover(self.api, self.name, self.seen.node_id, self._behind).move(moves)

    def _behind(self, commit_id: str) -> Iterator[str]:
        return (each for each, _ in ancestry(self, commit_id))

    # Objects

    def get(self, object_id: str) -> GitObject:
        found: GitObject | None = self.cache.get(object_id)
        return found or self.read_uncached(object_id)

    def read_uncached(self, object_id: str) -> GitObject:
        answer = self.api.graph.repository(_queries.OBJECT, self.name, oid=object_id, **_queries.read_along(object_id))
        node = answer.optional("object") if answer else None
        if not answer or not node or node.oid("oid") != object_id:
            raise KeyError(object_id)
        found = dict(_queries.objects_in(answer))
        self._keep(found)
        if object_id not in found:
            found[object_id] = self._by_rest(object_id, node.text("__typename"))
        return found[object_id]

    def _by_rest(self, identity: str, kind: str) -> GitObject:
        """Return what GraphQL does not tell in full: binary and large blobs, trees with odd modes."""
        content: bytes | None = None
        if kind == "Blob":
            content = self.api.blob(self.name, identity)
        elif kind == "Tree" and (entries := self.api.tree(self.name, identity)) is not None:
            content = tree_content(entries)
        if content is None:
            raise KeyError(identity)
        if object_id(kind.lower(), content) != identity:
            raise Unexpected(f"GitHub gave another {kind.lower()} than {identity}")
        made = GitObject(kind.lower(), content)
        self._keep({identity: made})
        return made

    def has_blob(self, blob: BlobId) -> bool:
        return blob in self._blobs or super().has_blob(blob)

    def remember_blobs(self, blobs: Sequence[str]) -> None:
        """Keep in mind which blobs are in this very dataset: writing them again needs no question."""
        if len(self._blobs) + len(blobs) > _BLOBS:
            self._blobs = {}
        self._blobs.update(dict.fromkeys(blobs[:_BLOBS]))

    def put(self, objects: Mapping[str, GitObject]) -> None:
        blobs = {identity: git_object for identity, git_object in objects.items() if git_object.kind == BLOB}
        for identity, git_object in blobs.items():
            if text_of(git_object.content) is None:
                _expect(BLOB, identity, self.api.put_blob(self.name, git_object.content))
        for identity, git_object in objects.items():
            if git_object.kind == COMMIT:
                self._put_commit(identity, git_object, objects)
            elif git_object.kind == TAG:
                _expect(TAG, identity, self.api.put_tag(self.name, parse_tag(git_object.content)))
        self._keep(objects)

    def _put_commit(self, identity: str, made: GitObject, objects: Mapping[str, GitObject]) -> None:
        commit = parse_commit(made.content)
        base = commit_at(self, commit.parent).tree if commit.parent and commit.parent not in objects else None
        if commit.tree != base:
            lines, base = lines_of(commit.tree, base, objects, self.tree)
            for portion in portions(as_json(lines, objects)):
                base = self.api.put_tree(self.name, portion, base)
            _expect(TREE, commit.tree, str(base))
        _expect(COMMIT, identity, self.api.put_commit(self.name, commit))

    def _keep(self, objects: Mapping[str, GitObject]) -> None:
        for identity, found in objects.items():
            self.cache.put(identity, found, len(found.content) + 200)

    # Tags

    def tag_target(self, name: str) -> str | None:
        answer = self.api.graph.repository(_queries.REFERENCE, self.name, reference=f"refs/tags/{name}")
        reference = answer.optional("ref") if answer else None
        return self._target_of(reference) if reference else None

    def tag_targets(self) -> dict[str, str]:
        nodes = self.api.graph.pages(_queries.REFERENCES, "repository", "refs", name=self.name)
        return dict(sorted((node.text("name"), self._target_of(node)) for node in nodes))

    def tag_names(self) -> list[str]:
        return list(self.tag_targets())

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        now = self.tag_targets()
        if self.move([Move(f"refs/tags/{name}", now.get(name), after) for name, after in changes.items()]):
            raise StorageBusy(f"the tags of {self.name} were changed meanwhile; try again")

    def _target_of(self, reference: Fields) -> str:
        target = reference.below("target")
        kind = target.text("__typename")
        if kind == "Tag":
            self._keep(dict([_queries.tag_in(target)]))
        elif kind == "Commit":
            self._keep(dict([_queries.commit_in(target)]))
        return target.oid("oid")


def _expect(kind: str, ours: str, theirs: str) -> None:
    """Refuse an object that GitHub made otherwise, naming its kind: no reference leads to it yet."""
    if ours != theirs:
        raise StorageError(f"GitHub made the {kind} {theirs} where {ours} was meant: nothing was changed")
