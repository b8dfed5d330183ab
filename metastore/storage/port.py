"""The port that every storage implements: one append-only history of file trees per dataset.

Bytes in, bytes out; a storage knows nothing of JSON. All storages keep five rules:

1. A missing object raises its own subclass of `NotFound`; a lost race raises `RevisionConflict`.
2. A method that raises has changed nothing, with one exception, `OutcomeUnknown`.
3. A method that returned has made its change durable.
4. Revision and tag ids are Git's, made by `metastore.git.objects`, the same on every storage.
5. The clock is passed in with every `Change` and `TagSpec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from metastore.errors import OutcomeUnknown, PathNotFound
from metastore.git.repository import Inspect, no_inspection
from metastore.types import BlobId, Change, Damage, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec

if TYPE_CHECKING:
    from metastore.search.port import Index, Source


class Storage(ABC):
    """One append-only history of file trees per dataset.

    Unless a method says otherwise, it raises `DatasetNotFound` or `DatasetMoved` for an id without a dataset. For a
    storage, a deleted dataset is a dataset like any other: its newest revision is a deletion.
    """

    #: Whether a request whose answer was lost may still be carried out later, as on a Git host.
    may_arrive_late = False
    #: The branch of new datasets.
    branch = "main"

    @abstractmethod
    def create(self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change) -> Revision:
        """Create a dataset with one revision. An id that forwarded to a moved dataset no longer does.

        Raises:
            AlreadyExists: The id is taken, perhaps by a deleted dataset.
        """

    @abstractmethod
    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        """Add a revision on top of `parent`, atomically.

        Args:
            dataset_id: A live or deleted dataset.
            changes: Path to new content, to the id of a blob that the dataset has, or to None to remove the file.
                Other files stay.
            change: Who, why and when.
            parent: The revision that the caller believes to be the newest.

        Raises:
            RevisionConflict: `parent` is not the newest revision.
            InvalidInput: A path is used both as a file and as a folder, or the dataset has no such blob.
        """

    def turn(self, dataset_id: DatasetId) -> AbstractContextManager[None]:
        """Queue a writer behind those of other processes that lost a race; inside the context it may append again.

        Its holder competes only with writers that have not lost a race yet, so one of many writers gets through. The
        writers of one process queue anyway: see `metastore.storage.retry`. By default, nothing else queues.
        """
        return nullcontext()

    def expect_room(self) -> None:  # noqa: B027 - most storages have nothing to check
        """Check that there is room for a line of the journal, for the change that it announces, and for its withdrawal.

        By default, nothing is checked: a database or a host writes as much as it can, and undoes that if it fails.

        Raises:
            StorageUnavailable: There is too little.
        """

    @abstractmethod
    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        """Return the revision that a text names.

        Args:
            dataset_id: A live or deleted dataset.
            revision: Matched in this order: full id, tag, `HEAD`, the branch, an unambiguous abbreviation of at least 7
                digits. None means the newest.

        Raises:
            RevisionNotFound: It matches none, is ambiguous, or names a commit that is neither on the branch nor tagged.
        """

    @abstractmethod
    def read(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> bytes:
        """Return one file of one revision, byte for byte.

        Args:
            dataset_id: A live or deleted dataset.
            revision_id: Full id of a revision, 40 lower-case hex digits.
            path: POSIX path inside the tree, such as `datapackage.json`.

        Raises:
            RevisionNotFound: The dataset has no such revision.
            PathNotFound: The revision has no such file.
        """

    @abstractmethod
    def size(self, dataset_id: DatasetId, revision_id: RevisionId, path: str) -> int | None:
        """Return the size of a file in bytes without reading it; None if only reading would tell. Raises as `read`."""

    def find(self, dataset_id: DatasetId, revision: str | None, path: str) -> tuple[Revision, bytes | None]:
        """Return the revision that a text names, as `resolve` does, and one of its files, or None if it lacks the file.

        A storage may override this to do both in one step.
        """
        found = self.resolve(dataset_id, revision)
        try:
            return found, self.read(dataset_id, found.id, path)
        except PathNotFound:
            return found, None

    @abstractmethod
    def paths(self, dataset_id: DatasetId, revision_id: RevisionId) -> Mapping[str, BlobId]:
        """Return the path and blob id of every file of a revision.

        Raises:
            RevisionNotFound: The dataset has no such revision.
        """

    @abstractmethod
    def history(self, dataset_id: DatasetId, revision_id: RevisionId, *, path: str | None = None) -> Iterator[Revision]:
        """Yield a revision and its ancestors, newest first, reading one at a time.

        Args:
            dataset_id: A live or deleted dataset.
            revision_id: Full id of the revision to start from.
            path: Only revisions that changed this file.

        Raises:
            RevisionNotFound: The dataset has no such revision.
        """

    @abstractmethod
    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        """Yield ids in order, lazily.

        Args:
            prefix: Only ids that start with this text. Owners that start with `_` are listed only if the prefix does.
            after: Only ids greater than this one.
            deleted: False for live ones, True for deleted ones, None for both.
        """

    @abstractmethod
    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        """Give a dataset another id. The old id raises `DatasetMoved` until a dataset is created there.

        Raises:
            AlreadyExists: The new id is taken.
            RevisionConflict: `parent` is not the newest revision.
        """

    @abstractmethod
    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        """Remove a dataset with its whole history, and free its id and its former ids.

        Raises:
            RevisionConflict: `parent` is not the newest revision.
        """

    @abstractmethod
    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        """Create an annotated tag.

        Raises:
            AlreadyExists: The dataset has a tag of this name.
            RevisionNotFound: The dataset has no such revision.
        """

    @abstractmethod
    def tag(self, dataset_id: DatasetId, name: str) -> Tag:
        """Return a tag.

        Raises:
            TagNotFound: The dataset has no tag of this name.
        """

    @abstractmethod
    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        """Yield the tags of a dataset, ordered by name."""

    @abstractmethod
    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        """Replace a tag; the new one may have another name.

        Args:
            dataset_id: A live or deleted dataset.
            name: The present name of the tag.
            new: The content of the new tag.
            expected: The id that the caller believes the tag to have.

        Raises:
            TagNotFound: The dataset has no tag of this name.
            AlreadyExists: Another tag has the new name.
            RevisionConflict: The tag has another id.
        """

    @abstractmethod
    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        """Remove a tag.

        Raises:
            TagNotFound: The dataset has no tag of this name.
            RevisionConflict: The tag has another id.
        """

    @abstractmethod
    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        """Yield the issues that the host tracks for a dataset, if it tracks any."""

    @abstractmethod
    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        """Yield the datasets that were written, moved or purged since a cursor, each with the cursor after it.

        Moved and purged ids are included. Every pass that begins after a change yields it, until one pass has been read
        to its end: at least once. With a cursor of another storage, or of a copy of it, a pass begins at the start.

        Args:
            since: A cursor that was yielded before; None for everything.

        Raises:
            InvalidInput: The text is not a cursor; raised by the call itself.
        """

    @abstractmethod
    def verify(self, *, repair: bool = False, inspect: Inspect = no_inspection) -> Iterator[Damage]:
        """Read the whole storage, and yield all damage.

        Args:
            repair: Remove the files that interrupted writes left behind. The contents of datasets never change.
            inspect: Called with each version of each file in the root of a revision; returns its fault, or None.
        """

    @abstractmethod
    def compact(self, dataset_id: DatasetId) -> None:
        """Store the history of a dataset in less space. Nothing else changes."""

    def confirm(self, *dataset_ids: DatasetId) -> None:  # noqa: B027 - most storages have nothing to do
        """Make the present state of these ids durable, after a change that could not be confirmed.

        Raises:
            StorageUnavailable: The state still cannot be made durable.
        """

    def was_made(self, error: OutcomeUnknown) -> bool | None:
        """Tell whether a change of unknown outcome was made, where the storage has a record of that.

        Returns:
            True if it was made, False if it was not and will not be; None if only the state of the dataset can tell.
        """
        return None

    @abstractmethod
    def ping(self) -> None:
        """Check that the storage answers.

        Raises:
            StorageUnavailable: The storage does not answer.
        """

    def is_unnamed(self, text: str) -> bool:
        """Tell whether a text that is not a dataset id names a repository, such as `Datopian/GDX`."""
        return False

    def private(self, name: str) -> str | None:
        """Return the path of a private file beside the datasets, which backups leave out; None if there is no place."""
        return None

    def search_index(self, source: Source) -> Index | None:
        """Return the storage's own search index of its datasets, or None if it has none.

        Args:
            source: The store, to read and check datasets.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Close open files and connections. The next call opens them again."""


def is_listed(dataset_id: DatasetId, prefix: str, after: DatasetId | None) -> bool:
    """Tell whether `Storage.ids` lists an id, live or deleted."""
    hidden = dataset_id.is_own and not prefix.startswith("_")
    return not hidden and dataset_id.startswith(prefix) and (after is None or dataset_id > after)


class Attempt:
    """The ids of a change in progress: the one before it, and the new one as soon as it is known."""

    def __init__(self, before: str | None, wanted: str | None) -> None:
        self.before = before
        self.wanted = wanted


@contextmanager
def attempt(before: str | None, wanted: str | None = None) -> Iterator[Attempt]:
    """Let an OutcomeUnknown that the body raises carry the ids of the change."""
    ids = Attempt(before, wanted)
    try:
        yield ids
    except OutcomeUnknown as error:
        error.before, error.wanted = ids.before, ids.wanted
        raise
