"""One dataset in PostgreSQL, as a repository of Git's objects: for reading. Writes are functions of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from metastore.errors import StorageCorrupt
from metastore.git.cache import Cache
from metastore.git.objects import (
    BLOB,
    COMMIT,
    FOLDER,
    TREE,
    Entry,
    GitObject,
    find_entry,
    object_id,
    parse_tag,
)
from metastore.git.repository import Repository, parsed_commit
from metastore.parse import looks_like_revision
from metastore.storage.port import Storage
from metastore.storage.postgres import _queries
from metastore.storage.postgres._arrays import arrays, chunks
from metastore.storage.postgres._calls import Calls
from metastore.storage.postgres._packing import (
    Keyframe,
    Packer,
    RevisionRow,
    commit_content,
    only_descriptor,
    size_of,
    tree_id,
    tree_of,
    unpack,
)
from metastore.types import BlobId, DatasetId, RevisionId

#: How many commits are read at once, and how many other objects.
_COMMITS, _OBJECTS = 100, 500
#: How many trees without a row are noted, with their descriptors.
_NOTED = 50_000


class PostgresRepository(Repository):
    """The objects and references of one dataset.

    Args:
        calls: Of the database.
        cache: May be shared.
        place: The key of the dataset in its table.
        head: The newest revision.
    """

    branch = Storage.branch

    def __init__(self, calls: Calls, cache: Cache, place: int, head: RevisionId) -> None:
        super().__init__(cache)
        self.place = place
        self._calls = calls
        self._head = head
        # What came with the last answer: objects, and of each packed one its keyframe and what that takes in its row.
        self._near: dict[str, GitObject] = {}
        self._keyframes: dict[str, tuple[str, int]] = {}
        self._descriptors: dict[str, bytes] = {}  # of trees that have no row
        self.remember_on_branch(head)

    def remember_on_branch(self, revision: str) -> None:
        """Note that a commit is known to be on the branch."""
        self.on_branch[revision] = None

    def head(self) -> RevisionId:
        return self._head

    def get(self, object_id: str) -> GitObject:
        found: GitObject | None = self._near.get(object_id) or self.cache.get(object_id)
        return found or self._from_row(object_id) or self._from_descriptor(object_id) or self.read_uncached(object_id)

    def _from_row(self, identity: str) -> GitObject | None:
        """Return a base that came with an object which is kept against it, or None. Raises StorageCorrupt."""
        row = self.cache.get(("row", identity))
        return self._unpacked(identity, *row) if row else None

    def _from_descriptor(self, identity: str) -> GitObject | None:
        """Return a tree whose descriptor is known, or None. Raises StorageCorrupt."""
        blob = self._descriptors.get(identity)
        return self._unpacked(identity, TREE, False, tree_of(blob)) if blob is not None else None

    def read_uncached(self, object_id: str) -> GitObject:
        try:
            raw = bytes.fromhex(object_id)
        except ValueError:
            raise KeyError(object_id) from None
        self._near, self._keyframes = {}, {}
        values = {"place": self.place, "id": raw, "limit": _COMMITS}
        fault: StorageCorrupt | None = None
        for identity, *columns, parent, tree, blob in self._calls.lasting_rows(_queries.GET, values):
            if tree is not None or blob is not None:
                self.take_revision(identity, parent, tree, blob, columns[2])
                continue
            try:
                self.take(identity, columns)
            except StorageCorrupt as error:  # whoever may write can add a row, but not change what revisions stand for
                fault = error
        if object_id not in self._near:
            self._take_tree(object_id)
        if fault and object_id not in self._near:
            raise fault
        return self._near[object_id]

    def _take_tree(self, identity: str) -> None:
        """Keep a tree without a row, if the dataset has it."""

        def found(rows: Sequence[Any]) -> list[bytes]:
            blobs = (contents[at : at + 20] for (contents,) in rows for at in range(0, len(contents), 20))
            return [blob for blob in blobs if tree_id(blob) == identity]

        rows = self._calls.lasting_rows(_queries.ALONE, {"place": self.place}, found)
        for blob in found(rows)[:1]:
            self._near[identity] = GitObject(TREE, tree_of(blob))

    def size(self, object_id: str) -> int | None:
        if (found := self._near.get(object_id) or self.cache.get(object_id)) is not None:
            return len(found.content)
        rows = self._calls.lasting_rows(_queries.SIZE, self._asked(object_id))
        return size_of(*rows[0]) if rows else None

    def take_revision(
        self, raw: bytes, parent: bytes | None, tree: bytes | None, blob: bytes | None, rest: bytes
    ) -> None:
        """Keep a commit of the branch that came with an answer. Raises StorageCorrupt: It is not that of this id."""
        identity = raw.hex()
        if blob is not None:
            tree = bytes.fromhex(tree_id(blob))
        assert tree is not None
        self._near[identity] = self.cache.get(identity) or self._unpacked(
            identity, COMMIT, False, commit_content(RevisionRow(raw, tree, blob, rest), parent)
        )
        if blob is not None:
            if len(self._descriptors) >= _NOTED:
                self._descriptors.clear()
            self._descriptors[tree.hex()] = blob

    def take_all(self, raw: bytes, columns: Sequence[Any]) -> None:
        """Keep a commit of the branch, its tree and a file, as far as they came with the answer to a `_queries._look`.

        Args:
            raw: The id of the commit.
            columns: Those after it.

        Raises:
            StorageCorrupt: The commit, or the tree, is not the object of its id.
        """
        parent, tree, blob, rest, *columns = columns
        self.take_revision(raw, parent, tree, blob, rest)
        self.take(tree, (*columns[:4], *columns[9:]))
        with suppress(StorageCorrupt):  # the dataset may have it in another row, too: `get` looks at all
            self.take(columns[4], columns[5:])

    def take(self, raw: bytes | None, columns: Sequence[Any]) -> None:
        """Keep an object that came with an answer, if one did.

        Args:
            raw: Its id.
            columns: Its kind, whether it is packed, its data, its base, and whether that is packed, and its data.

        Raises:
            StorageCorrupt: It is not the object of this id.
        """
        if raw is None or columns[0] is None:
            return
        identity = raw.hex()
        kind, packed, data, base_id, base_packed, base_data = columns
        if base_id is not None:
            if base_data is None:
                raise StorageCorrupt(f"the object {identity} cannot be read: its base {base_id.hex()} is missing")
            self.cache.put(("row", base_id.hex()), (kind, base_packed, base_data), len(base_data) + 300)
        base = (base_packed, base_data) if base_id is not None else None
        self._near[identity] = self._unpacked(identity, kind, packed, data, base)
        if kind == BLOB or (kind == TREE and only_descriptor(self._near[identity].content) is None):
            keyframe = (base_id or raw).hex(), len(base_data if base_id else data)
            self._keyframes[identity] = keyframe
            self.cache.put(("keyframe", self.place, identity), keyframe, 300)

    def _unpacked(
        self, identity: str, kind: str, packed: bool, data: bytes, base: tuple[bool, bytes] | None = None
    ) -> GitObject:
        """Return an object from its row, and that of its base. Raises StorageCorrupt."""
        known: GitObject | None = self.cache.get(identity)
        if known is not None:
            return known
        found = GitObject(kind, unpack(identity, packed, data, base))
        if object_id(kind, found.content) != identity:
            raise StorageCorrupt(f"the object {identity} has been changed: its content has another id")
        self.cache.put(identity, found, len(found.content) + 300)
        return found

    def _asked(self, identity: str) -> dict[str, Any]:
        return {"place": self.place, "id": bytes.fromhex(identity)}

    def keyframe(self, identity: str) -> Keyframe | None:
        """Return what a new version of an object is kept against, or None if there is no such object."""
        known: tuple[str, int] | None = self.cache.get(("keyframe", self.place, identity))
        if known is None:
            try:
                self.read_uncached(identity)
            except KeyError:
                return None
            known = self._keyframes.get(identity)
        return Keyframe(known[0], self.get(known[0]).content, known[1]) if known else None

    def packer(self, parent: str) -> Packer:
        """Return what packs the objects of a revision that follows on `parent`."""
        tree = parsed_commit(self.get(parent).content).tree

        def keyframe(name: str) -> Keyframe | None:
            entry = find_entry(self.tree(tree), name) if name else Entry(FOLDER, tree)
            return self.keyframe(entry.id) if entry else None

        return Packer(keyframe, self.keyframe)

    def prepare(
        self, start: str, *, known: str | None = None, with_trees: bool = False, with_blobs: bool = False
    ) -> None:
        """Read nothing ahead: commits come in pages anyway, and what they lead to is cached as it is read."""

    def put(self, objects: Mapping[str, GitObject]) -> None:
        # Each by itself: a revision that brings the same object at this moment may keep it against another one. Then
        # nothing may be kept against it.
        rows = (row for identity in objects for row in Packer().rows({identity: objects[identity]}))
        for chunk in chunks(rows):
            self._calls.rows(_queries.PUT, {"place": self.place, **arrays(chunk)})

    def written(self, objects: Mapping[str, GitObject], keyframes: Mapping[str, tuple[str, int]]) -> None:
        """Cache objects that were written, and what they are kept against, for the next write."""
        for identity, found in objects.items():
            self.cache.put(identity, found, len(found.content) + 300)
        for identity, keyframe in keyframes.items():
            self.cache.put(("keyframe", self.place, identity), keyframe, 300)

    def has_blob(self, blob: BlobId) -> bool:
        return bool(self._calls.lasting_rows(_queries.IS_BLOB, self._asked(blob)))

    def leads_to(self, revision_id: str) -> bool:
        return bool(self._calls.lasting_rows(_queries.ON_BRANCH, self._asked(revision_id)))

    def starting_with(self, digits: str) -> set[str]:
        ends = [bytes.fromhex(digits.ljust(40, filler)) for filler in "0f"]
        return {row[0] for row in self._calls.rows(_queries.STARTING, (self.place, *ends))}

    def stored(self) -> Iterator[str]:
        """Yield the ids of all objects but the commits of the branch."""
        last = ""
        while page := self._calls.rows(_queries.IDS, (self.place, bytes.fromhex(last), _OBJECTS)):
            yield from (row[0] for row in page)
            last = page[-1][0]

    def tag_names(self) -> list[str]:
        return list(self.tag_targets())

    def tag_target(self, name: str) -> str | None:
        rows = self._calls.rows(_queries.TAG, (self.place, name))
        return rows[0][0] if rows else None

    def tag_targets(self) -> Mapping[str, str]:
        targets = {}
        for name, target, *columns in self._calls.rows(_queries.TAGS, (self.place,)):
            self.take(target, columns)
            targets[name] = target.hex()
        return targets

    def set_head(self, new: RevisionId) -> None:
        _by_the_storage()

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        _by_the_storage()


def _by_the_storage() -> NoReturn:
    raise NotImplementedError("references move in the function of the database that writes the objects")


def opened(calls: Calls, cache: Cache, dataset_id: DatasetId) -> PostgresRepository:
    """Return the repository of a dataset. Raises DatasetNotFound or DatasetMoved."""
    rows = calls.rows(_queries.PLACE, {"owner": dataset_id.owner, "name": dataset_id.name})
    if not rows:
        calls.raise_missing(dataset_id)
    place, head = rows[0]
    return PostgresRepository(calls, cache, place, RevisionId(head.hex()))


class Looked(NamedTuple):
    """A dataset and the revision that was asked for, which is None if it is not on the branch."""

    repository: PostgresRepository
    revision: RevisionId | None


def look(
    calls: Calls,
    cache: Cache,
    dataset_id: DatasetId,
    revision: str | None,
    path: str | None = None,
    known: RevisionId | None = None,
    least: str | None = None,
) -> Looked:
    """Read a dataset, a revision with its tree, and the file at a path in it, by one statement.

    Args:
        calls: Of the database.
        cache: The cache of the repository.
        dataset_id: The dataset.
        revision: A full id; None for the newest revision.
        path: A file in the root of the tree.
        known: The head at the last look. Its objects are not sent again while they are cached.
        least: A revision that the newest one has to be, or to follow: a replica that has it may answer.

    Raises:
        DatasetNotFound: There is no such dataset.
        DatasetMoved: It has another id now.
    """
    values: dict[str, Any] = {"owner": dataset_id.owner, "name": dataset_id.name}
    values["needle"] = b" %s\0" % path.encode(errors="surrogateescape") if path and "\0" not in path else None
    if revision is not None:
        values["revision"] = bytes.fromhex(revision) if is_full(revision) else b""
        rows = calls.lasting_rows(_queries.BY_ID, values, lambda rows: rows and rows[0][2] is not None)
    else:
        values["known"] = bytes.fromhex(known) if known and cache.get(known) else None
        rows = calls.replicated_rows(_queries.SEEING, {**values, "least": bytes.fromhex(least)}) if least else []
        rows = rows or calls.rows(_queries.NEWEST, values)
    if not rows:
        calls.raise_missing(dataset_id)
    place, head, commit, *columns = rows[0]
    repository = PostgresRepository(calls, cache, place, RevisionId(head.hex()))
    if commit is None:
        return Looked(repository, repository.head() if revision is None else None)
    repository.take_all(commit, columns)
    repository.remember_on_branch(commit.hex())
    return Looked(repository, RevisionId(commit.hex()))


def is_full(revision: str) -> bool:
    """Tell whether a text is a full revision id."""
    return len(revision) == 40 and looks_like_revision(revision)


def commit_of(target: str | None, content: bytes | None) -> str | None:
    """Return the commit that a reference leads to, or None. `content` is that of a tag, or None for a commit."""
    if content is None:
        return target
    tag = parse_tag(content)
    return tag.target if tag.kind == COMMIT else None
