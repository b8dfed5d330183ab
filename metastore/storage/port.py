"""The port that every storage implements: one append-only history of file trees per dataset.

Bytes in, bytes out; a storage knows nothing of JSON. What holds for all of them:

1. What is missing raises the precise `NotFound`; a lost race raises `RevisionConflict`.
2. A method that raises has changed nothing, with one exception, `OutcomeUnknown`.
3. A method that returned has made its change durable.
4. Revision and tag ids are Git's, made by `metastore.git.objects`, the same on every storage.
5. The clock is passed in with every `Change` and `TagSpec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from metastore.errors import PathNotFound
from metastore.types import BlobId, Change, Damage, DatasetId, Issue, Revision, RevisionId, Tag, TagSpec


class Storage(ABC):
    """One append-only history of file trees per dataset.

    Unless a method says otherwise, it raises `DatasetNotFound` (or `DatasetMoved`) for an id without a dataset. A
    deleted dataset is one like any other here.
    """

    #: The branch of new datasets.
    branch = "main"

    @abstractmethod
    def create(self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change) -> Revision:
        """Make a dataset with one revision; afterwards the id is no longer forwarded to where it moved.

        Raises:
            AlreadyExists: The id is taken, be it by a deleted dataset.
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
            changes: Path to new content, to a blob that the dataset has already, or to None to remove the file. What is
                not named stays.
            change: Who, why and when.
            parent: The newest revision, as far as the caller knows.

        Raises:
            RevisionConflict: `parent` is not the newest revision.
            InvalidInput: A path would have to be a file and a folder at once, or a blob is not there.
        """

    def turn(self, dataset_id: DatasetId) -> AbstractContextManager[None]:
        """Wait for one's turn to append again after a lost race.

        Whoever has it competes only with those who have not lost a race yet, so that one of many writers gets through;
        a storage whose writers are few need not order them.
        """
        return nullcontext()

    @abstractmethod
    def resolve(self, dataset_id: DatasetId, revision: str | None) -> Revision:
        """Return the revision that a text names.

        Args:
            dataset_id: A live or deleted dataset.
            revision: Tried in this order: full id, tag, `HEAD`, the branch, an unambiguous abbreviation of 7 or more
                digits. None is the newest.

        Raises:
            RevisionNotFound: It names none, more than one, or a commit that is neither on the branch nor tagged.
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

    def find(self, dataset_id: DatasetId, revision: str | None, path: str) -> tuple[Revision, bytes | None]:
        """Return the revision that a text names, as `resolve` does, and one of its files, or None if it has none such.

        A storage that can do both at once in less time than one after the other does so.
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
        """Yield a revision and those before it, newest first, one read at a time.

        Args:
            dataset_id: A live or deleted dataset.
            revision_id: Full id of the revision to begin with.
            path: Only revisions that changed this file.

        Raises:
            RevisionNotFound: The dataset has no such revision.
        """

    @abstractmethod
    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        """Yield ids in order, without reading more than is asked for.

        Args:
            prefix: Only ids whose text begins so; owners that begin with `_` are listed only when asked for.
            after: Only ids behind this one.
            deleted: False for live ones, True for deleted ones, None for both.
        """

    @abstractmethod
    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        """Give a dataset another id; the old one raises `DatasetMoved` until somebody creates a dataset there.

        Raises:
            AlreadyExists: The new id is taken.
            RevisionConflict: `parent` is not the newest revision.
        """

    @abstractmethod
    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        """Remove a dataset with its whole history, and free its id and the ids it had before.

        Raises:
            RevisionConflict: `parent` is not the newest revision.
        """

    @abstractmethod
    def tag_create(self, dataset_id: DatasetId, tag: TagSpec) -> Tag:
        """Make an annotated tag.

        Raises:
            AlreadyExists: There is a tag of this name.
            RevisionNotFound: The dataset has no such revision.
        """

    @abstractmethod
    def tag(self, dataset_id: DatasetId, name: str) -> Tag:
        """Return a tag.

        Raises:
            TagNotFound: There is none of this name.
        """

    @abstractmethod
    def tags(self, dataset_id: DatasetId) -> Iterator[Tag]:
        """Yield the tags of a dataset, by name."""

    @abstractmethod
    def tag_update(self, dataset_id: DatasetId, name: str, new: TagSpec, *, expected: str) -> Tag:
        """Replace a tag, also by one of another name.

        Args:
            dataset_id: A live or deleted dataset.
            name: The tag as it is called now.
            new: What it shall say.
            expected: The tag's id, as far as the caller knows.

        Raises:
            TagNotFound: There is none of this name.
            AlreadyExists: There is another tag of the new name.
            RevisionConflict: The tag's id is another.
        """

    @abstractmethod
    def tag_delete(self, dataset_id: DatasetId, name: str, *, expected: str) -> None:
        """Remove a tag.

        Raises:
            TagNotFound: There is none of this name.
            RevisionConflict: The tag's id is another.
        """

    @abstractmethod
    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        """Yield the issues that the host tracks for a dataset; nothing where it tracks none."""

    @abstractmethod
    def touched(self, since: datetime | None) -> tuple[datetime, Iterator[tuple[datetime, DatasetId]]]:
        """Return which datasets were written, moved or purged since a moment of the storage's own clock.

        Ids that moved or were purged are among them. Every change that was finished before the returned moment is seen
        either by this call or by one that gives that moment as `since`; some are seen by both.

        Returns:
            The moment up to which this answer is complete, and the (time, id) pairs, oldest first.
        """

    @abstractmethod
    def verify(self, *, repair: bool = False) -> Iterator[Damage]:
        """Read everything, and yield what is wrong, mending what can be mended without loss when asked to."""

    @abstractmethod
    def compact(self, dataset_id: DatasetId) -> None:
        """Store a dataset's history in less space; nothing else changes."""

    @abstractmethod
    def ping(self) -> None:
        """Return if the storage answers.

        Raises:
            StorageUnavailable: It does not.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what is held open; the storage opens it again when it is used."""
