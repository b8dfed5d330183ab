"""Reading a store: datasets, revisions, tags, the journal and the change feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self

from metastore.descriptor import difference
from metastore.descriptor.document import DESCRIPTOR, find_resource, load
from metastore.errors import (
    DatasetDeleted,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    ResourceNotFound,
    StorageCorrupt,
)
from metastore.parse import make_time, parse_dataset_id, parse_revision
from metastore.storage.port import Storage
from metastore.store.journal import Journal
from metastore.store.verify import verify
from metastore.types import Damage, Dataset, DatasetId, Diff, FeedEntry, JournalEntry, Project, Revision, Tag

AnyId = str | tuple[str, str] | DatasetId
_REMEMBERED = 10_000


class Reader:
    """The calls that change nothing.

    In all of them, `dataset_id` is `owner/name` or a pair, and `revision` is a full id, a tag, `HEAD`, the branch, or
    an abbreviated id of 7 digits or more, tried in this order; None is the newest. All raise
    `DatasetNotFound` (`DatasetMoved` if it is known where it went), `RevisionNotFound`, `InvalidInput` for what is no
    id, and `StorageError`.

    Args:
        storage: Where the datasets are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._journal = Journal(storage)
        self._understood: set[str] = set()  # revisions whose descriptor was seen to be a JSON object

    @property
    def storage(self) -> Storage:
        """The storage underneath, for tools that verify, pack or copy it."""
        return self._storage

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held open; a call after that opens it again."""
        self._storage.close()

    def dataset_read(self, dataset_id: AnyId, revision: str | None = None) -> Dataset:
        """Return a dataset as it is, or as it was at a revision or tag.

        Raises:
            DatasetDeleted: It was deleted, or the revision is the deletion; the error has the `revision`.
            PathNotFound: The revision has no `datapackage.json` (somebody made it by hand).
            StorageCorrupt: What is stored is no JSON object.
        """
        identity = parse_dataset_id(dataset_id)
        return self._dataset(identity, self._live(identity, revision))

    def dataset_bytes(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        """Return a descriptor exactly as it is stored, without making values of it; otherwise as `dataset_read`."""
        identity = parse_dataset_id(dataset_id)
        found, content = self._storage.find(identity, parse_revision(revision), DESCRIPTOR)
        if found.deleted:
            raise DatasetDeleted(identity, found)
        if content is None:
            raise PathNotFound(identity, found.id, DESCRIPTOR)
        if found.id not in self._understood:
            self._parse(identity, found, content)
            if len(self._understood) >= _REMEMBERED:
                self._understood.clear()
            self._understood.add(found.id)
        return found, content

    def dataset_list(
        self, prefix: str = "", *, after: AnyId | None = None, limit: int | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        """Return ids in order, lazily.

        Args:
            prefix: Only ids whose text begins so, such as `physics/` for one owner's.
            after: Only ids behind this one: the last of the page before.
            limit: At most so many.
            deleted: False for live datasets, True for deleted ones, None for both.
        """
        behind = parse_dataset_id(after) if after is not None else None
        return islice(self._storage.ids(prefix=prefix, after=behind, deleted=deleted), check_limit(limit))

    def revision_list(
        self, dataset_id: AnyId, revision: str | None = None, *, limit: int | None = None
    ) -> Iterator[Revision]:
        """Return a revision and those before it, newest first, lazily.

        For the next page, begin with the `parent` of the last revision of this one. Works on deleted datasets too.
        """
        identity = parse_dataset_id(dataset_id)
        first = self._resolve(identity, revision)
        return islice(self._storage.history(identity, first.id), check_limit(limit))

    def revision_read(self, dataset_id: AnyId, revision: str | None = None) -> Revision:
        """Return who made a revision, when and why. Works on deleted datasets too."""
        return self._resolve(parse_dataset_id(dataset_id), revision)

    def revision_diff(self, dataset_id: AnyId, revision_a: str, revision_b: str | None = None) -> Diff:
        """Compare two revisions; a deletion counts as an empty descriptor.

        Returns:
            `.patch`, a JSON Patch (RFC 6902) from a to b, and `.changes`, the same for people.
        """
        identity = parse_dataset_id(dataset_id)
        old, new = (self._resolve(identity, revision) for revision in (revision_a, revision_b))
        before, after = (self._descriptor(identity, revision) for revision in (old, new))
        return Diff(old, new, difference.json_patch(before, after), difference.changes(before, after))

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        """Return a tag.

        Raises:
            TagNotFound: There is none of this name.
        """
        return self._storage.tag(parse_dataset_id(dataset_id), name)

    def tag_list(self, dataset_id: AnyId) -> Iterator[Tag]:
        """Return all tags, by name, lazily."""
        identity = parse_dataset_id(dataset_id)
        self._storage.resolve(identity, None)
        return self._storage.tags(identity)

    def resource_read(self, dataset_id: AnyId, resource: str, revision: str | None = None) -> dict[str, Any]:
        """Return one resource of a descriptor: by name, else by id, else by path.

        Raises:
            ResourceNotFound: There is none.
        """
        dataset = self.dataset_read(dataset_id, revision)
        found = find_resource(dataset.descriptor, resource)
        if found is None:
            raise ResourceNotFound(dataset.id, resource)
        return found

    def project_read(self, dataset_id: AnyId) -> Project:
        """Return a dataset with its owner, its tags, and the issues that the storage's host tracks."""
        dataset = self.dataset_read(dataset_id)
        tags, issues = self._storage.tags(dataset.id), self._storage.issues(dataset.id)
        return Project(dataset.id.owner, dataset, tuple(tags), tuple(issues))

    def journal(
        self,
        dataset_id: AnyId | None = None,
        *,
        since: datetime | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JournalEntry]:
        """Return who moved, purged and retagged what, newest first, lazily; it outlives a purge.

        Args:
            dataset_id: Only lines about this id (as it was called before a move).
            since: Only lines of this time or later.
            before: Only lines before this one: the `id` of the last line of the page before.
            limit: At most so many.
        """
        wanted = parse_dataset_id(dataset_id) if dataset_id is not None else None
        start = make_time(since) if since is not None else None
        return islice(
            (
                entry
                for entry in self._journal.entries(parse_revision(before))
                if (wanted is None or entry.dataset_id == wanted) and (start is None or entry.created >= start)
            ),
            check_limit(limit),
        )

    def changes(self, since: str | None = None) -> Iterator[FeedEntry]:
        """Return the newest state of each dataset that changed, oldest change first, so that others can catch up.

        Every change is delivered at least once, deletions, moves and purges included; many changes of one dataset may
        come as one. What lies between two states is in `revision_list`.

        Args:
            since: The `cursor` of the last entry that was dealt with; None for everything.
        """
        try:
            moment = datetime.fromisoformat(since) if since is not None else None
        except (ValueError, TypeError):
            raise InvalidInput(f"not a cursor of the change feed: {since!r}") from None
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"not a cursor of the change feed: {since!r}")
        return self._feed(moment)

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        """Read everything that is stored, and yield what is wrong, lazily.

        Args:
            repair: Remove what interrupted writes left behind. What a dataset holds never changes.
            heads: Dataset ids to revisions that were kept elsewhere: each has to be in its dataset's history. Somebody
                who replaces a history as a whole leaves it readable, but cannot bring back these.
        """
        return verify(self._storage, repair=repair, heads=heads or {})

    def _feed(self, since: datetime | None) -> Iterator[FeedEntry]:
        complete, touched = self._storage.touched(since)
        rows = [(at, dataset_id) for at, dataset_id in touched if not dataset_id.owner.startswith("_")]
        for index, (at, dataset_id) in enumerate(rows):
            cursor = complete if index + 1 == len(rows) else min(at, complete)
            action, revision, new_id = self._state(dataset_id)
            yield FeedEntry(dataset_id, action, revision, new_id, cursor.astimezone(UTC).isoformat())

    def _state(self, dataset_id: DatasetId) -> tuple[str, Revision | None, DatasetId | None]:
        try:
            revision = self._storage.resolve(dataset_id, None)
        except DatasetMoved as error:
            return "moved", None, error.new_id
        except DatasetNotFound:
            return "purged", None, None
        return ("deleted" if revision.deleted else "changed"), revision, None

    def _resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        return self._storage.resolve(dataset_id, parse_revision(revision))

    def _live(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        found = self._resolve(dataset_id, revision)
        if found.deleted:
            raise DatasetDeleted(dataset_id, found)
        return found

    def _dataset(self, dataset_id: DatasetId, revision: Revision) -> Dataset:
        content = self._storage.read(dataset_id, revision.id, DESCRIPTOR)
        return Dataset(dataset_id, revision, self._parse(dataset_id, revision, content), content)

    def _descriptor(self, dataset_id: DatasetId, revision: Revision) -> dict[str, Any]:
        return {} if revision.deleted else self._dataset(dataset_id, revision).descriptor

    def _parse(self, dataset_id: DatasetId, revision: Revision, content: bytes) -> dict[str, Any]:
        try:
            descriptor = load(content)
        except ValueError as error:
            raise StorageCorrupt(f"{DESCRIPTOR} of {dataset_id} at {revision.id[:12]} is not JSON: {error}") from None
        if not isinstance(descriptor, dict):
            raise StorageCorrupt(f"{DESCRIPTOR} of {dataset_id} at {revision.id[:12]} is no JSON object")
        return descriptor


def check_limit(limit: int | None) -> int | None:
    """Pass on how many items are wanted. Raises InvalidInput."""
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidInput(f"a limit is a number from 0 on, not {limit!r}")
    return limit
