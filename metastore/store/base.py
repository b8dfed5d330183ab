"""The calls on datasets, the same for every store: `MetaStore` has a storage underneath, `RemoteStore` a service.

Each signature and docstring stands here once. The stores implement the reading calls. The writing calls are parsed here
into a `ChangeRequest`, which the `Writer` of the store carries out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from metastore.closing import refuses_when_closed
from metastore.descriptor import file_changes
from metastore.descriptor.file_changes import AnyDescriptor
from metastore.descriptor.resources import find_resource, resources
from metastore.errors import DatasetDeleted, InvalidInput, OutcomeUnknown, ResourceNotFound, RevisionConflict
from metastore.lazy import LazyList
from metastore.parse import (
    AnyAuthor,
    AnyId,
    AnyRevision,
    AnyTime,
    make_author,
    make_message,
    make_time,
    parse_expected,
    parse_tag_name,
    parse_writable_id,
)
from metastore.storage.port import Storage
from metastore.store._former import takes_former_names
from metastore.store.spans import span_of
from metastore.store.writer import Writer
from metastore.types import (
    ChangeRequest,
    Damage,
    Dataset,
    DatasetEntry,
    DatasetId,
    Diff,
    FeedEntry,
    JournalEntry,
    Outcome,
    Owner,
    Project,
    Revision,
    Tag,
    TagEntry,
    Value,
)

if TYPE_CHECKING:
    from metastore.descriptor.profiles import Profiles
    from metastore.history.parts import Part
    from metastore.search.values import Readable, Results, Wanted
    from metastore.store.batch import Batch


@refuses_when_closed
@takes_former_names
class Store(ABC):
    """A store of datasets. `metastore.connect` opens one.

    `dataset_id` is `owner/name` or a pair. `revision` is a full id, a tag, `HEAD`, the branch, or an abbreviated id of
    7 digits or more, tried in this order; None is the newest. `REVISION~2` is the second before a revision. A time with
    a zone, or a date (midnight in UTC), is the newest revision at that moment. A `Revision`, or a `Tag` for its
    revision, can stand for the id, in `expected` too. Every call can raise `DatasetNotFound` (`DatasetMoved` if it is
    known where the dataset went), `RevisionNotFound`, `InvalidInput` for malformed arguments, and `StorageError`.
    Lists are read as they are walked through: see `metastore.lazy.LazyList`.

    Every write takes `author` (an `Author`, `"Name <email>"` or a pair), `message` (why) and `at` (when, for imports:
    a datetime with a time zone, or text such as `2024-05-01T12:00:00Z`). A write that raises has changed nothing,
    unless it raises `OutcomeUnknown`. `expected` is the full id of the revision or tag that the caller last saw: if
    that is no longer the newest, the write raises `RevisionConflict`, even where nothing would change.

    Programs for older libraries may say `revision_ref`, `to_revision_ref` and `tag_name` for `revision`, `to_revision`
    and `name`, and `get_resource` for `resource_read`.
    """

    #: Carries out the writing calls; each store makes its own.
    _writer: Writer
    _closed = False

    def __init__(self, author: AnyAuthor | None, max_bytes: int) -> None:
        if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise InvalidInput(f"max_bytes is a number of bytes, not {max_bytes!r}")
        self._author = make_author(author) if author is not None else None
        self._max_bytes = max_bytes

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuses_when_closed(takes_former_names(cls))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close open files and connections. After that, every call except `close` raises InvalidInput."""
        self._closed = True

    @property
    @abstractmethod
    def storage(self) -> Storage:
        """The storage underneath, for tools that verify, pack or copy it.

        Raises:
            InvalidInput: The store is a service.
        """

    @property
    def max_bytes(self) -> int:
        """The size of the largest descriptor that the store accepts, in bytes; a service may accept less."""
        return self._max_bytes

    @abstractmethod
    def dataset_read(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> Dataset:
        """Return a dataset as it is, or as it was at a revision or tag.

        Args:
            dataset_id: A live dataset.
            revision: None for the newest.
            at_least: The full id of a revision that the answering server has to have. Then a replica of a database that
                has it may answer, although the primary may have a newer one. Without it, the primary answers; a client
                of a service fills in the last revision that it wrote.

        Raises:
            DatasetDeleted: The dataset was deleted, or the revision is the deletion; the error has the `revision`.
            PathNotFound: The revision has no `datapackage.json` (somebody made it by hand).
            NotADescriptor: The stored file is not a JSON object; `dataset_bytes` returns it.
        """

    @abstractmethod
    def dataset_bytes(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Revision, bytes]:
        """Return the stored file, byte for byte, with its revision. The file is not parsed, and may not be JSON.

        Raises:
            DatasetDeleted: The dataset was deleted, or the revision is the deletion; the error has the `revision`.
            PathNotFound: The revision has no `datapackage.json`.
        """

    @abstractmethod
    def dataset_json(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> tuple[Revision, bytes]:
        """Return a descriptor exactly as it is stored, with its revision; otherwise like `dataset_read`."""

    @abstractmethod
    def dataset_list(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetId]:
        """Return ids in order.

        Args:
            prefix: Only ids that begin with this text, such as `physics/` for one owner's.
            after: Only ids behind this one, such as the last id of the page before.
            limit: The largest number of ids.
            deleted: False for live datasets, True for deleted ones, None for both.
            at: Only datasets that existed at this time, live or deleted as they were then. This reads the history of
                each. Datasets that have moved since have their present ids, and purged ones are not listed.
        """

    @abstractmethod
    def dataset_entries(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetEntry]:
        """Return the datasets of a `dataset_list`, each with its title and newest revision; this reads each dataset."""

    @abstractmethod
    def owner_list(self, *, after: str | None = None, limit: int | None = None) -> LazyList[Owner]:
        """Return the owners of live datasets in order, with the number of their datasets.

        Args:
            after: Only owners after this one.
            limit: The largest number of owners.
        """

    def dataset_search(
        self,
        query: str = "",
        *,
        owner: str | None = None,
        licence: str | None = None,
        keyword: str | None = None,
        format: str | None = None,
        field: str | None = None,
        contributor: str | None = None,
        openness: str | None = None,
        changed_since: AnyTime | None = None,
        deleted: bool | None = False,
        findings: bool | None = None,
        at: AnyTime | None = None,
        order: str = "relevance",
        facets: Sequence[str] = (),
        after: str | None = None,
        before: str | None = None,
        limit: int = 50,
        summary: bool = False,
    ) -> Results:
        """Find datasets by words anywhere in the descriptor, and by filters. All words and filters have to match.

        Accents and case do not count. Some stores keep an index, which each search brings up to date (`is_indexed`). In
        other stores a search reads all datasets, and the results say so (`scanned`).

        Args:
            query: Words, in any order; all have to occur. `"two words"` is a phrase, `-word` excludes a word, and
                `salin*` is the beginning of a word. Without a query, every dataset matches.
            owner: Only this owner's datasets.
            licence: Only datasets with this licence: its name, or its title if it has no name. As for all filters, an
                empty text finds the datasets that have none.
            keyword: Only datasets with this keyword.
            format: Only datasets with a resource of this format.
            field: Only datasets with a field of this name in a table schema.
            contributor: Only datasets with this contributor.
            openness: Only datasets whose licences are all `open`; `not-open`: one of them is not on the list of open
                licences; `none`: the dataset, or one of its resources, has no licence. The list is the one of the Open
                Definition and the Open Source Definition, as in CKAN.
            changed_since: Only datasets whose newest revision was made then or later. Not together with `at`.
            deleted: False for live datasets, True for deleted ones (by their last descriptor), None for both.
            findings: True for the datasets with findings of a check, False for the others. Not together with `at`.
            at: Search the datasets as they were at this moment.
            order: `relevance`, `changed` (newest first), `id` or `title`. Of more than 10,000 datasets found, those
                that changed last come first by relevance, too.
            facets: What to count the results by: any of owner, licence, keyword, format, field, contributor,
                openness.
            after: The `following` cursor of the previous page.
            before: The `preceding` cursor of the next page.
            limit: The largest number of hits, at most 1000.
            summary: Whether each hit says what its newest revision changed; this reads two descriptors for each hit.

        Raises:
            InvalidInput: The query cannot be parsed, and the message says where; or an argument is malformed.
        """
        filters = {"owner": owner, "licence": licence, "keyword": keyword, "format": format, "field": field}
        filters |= {"contributor": contributor, "openness": openness}
        times: dict[str, Any] = {"changed_since": changed_since, "at": at}
        page: dict[str, Any] = {"order": order, "facets": facets, "after": after, "before": before, "limit": limit}
        page["summary"] = summary
        from metastore.search.values import Wanted  # slow to import, and most calls search nothing

        return self.search(Wanted.parse(query, filters, deleted=deleted, findings=findings, **times, **page))

    @property
    def is_indexed(self) -> bool:
        """Whether the store has a search index. Without one, a search reads all datasets."""
        return True

    @property
    def profiles(self) -> Profiles:
        """The profiles that descriptors are checked against. A service does not send its own ones."""
        from metastore.descriptor.profiles import Profiles  # slow to import, and only pages ask

        return Profiles.load(None)

    @abstractmethod
    def search(self, wanted: Wanted, readable: Readable | None = None, *, within: float | None = None) -> Results:
        """Carry out a parsed search among the datasets that the caller may read; None for all.

        `within` limits roughly the seconds of a processor that it spends on indexing the changes of others, or on
        scanning. If that is not enough, the results are not `complete`, and the next search indexes more.

        Raises:
            InvalidInput: The store is a service, which decides by itself what its caller may read.
        """

    @abstractmethod
    def revision_list(
        self,
        dataset_id: AnyId,
        revision: AnyRevision | None = None,
        *,
        limit: int | None = None,
        path: str | None = None,
        resource: str | None = None,
        field: str | None = None,
        author: str | None = None,
        since: AnyTime | None = None,
        until: AnyTime | None = None,
        grep: str | None = None,
    ) -> LazyList[Revision]:
        """Return a revision and those before it, newest first; also of a deleted dataset.

        The next page begins with the `parent` of the last revision of this one. With `path`, `resource` or `field`, the
        part is the one of that name in the first revision, under its former names too.

        Args:
            dataset_id: A live or deleted dataset.
            revision: The first revision; None for the newest.
            limit: The largest number of revisions.
            path: Only revisions that changed this part: a JSON Pointer such as `/licenses`. A step into a list is a
                position or a name: `/resources/stations/title`.
            resource: Only revisions that changed the resource of this name.
            field: Only revisions that changed this field, as `RESOURCE/FIELD`.
            author: Only revisions whose author's name or email contains this text, in upper or lower case.
            since: Only revisions of this time or later.
            until: Only revisions of this time or earlier.
            grep: Only revisions whose message contains this text, in upper or lower case.
        """

    @abstractmethod
    def part_history(
        self, dataset_id: AnyId, revision: AnyRevision | None, part: Part
    ) -> Iterator[tuple[Revision, bool, Part]]:
        """Yield revisions, newest first, each with whether it changed a part, and the part under its name before that.

        Revisions that did not change the part may be left out.

        Args:
            dataset_id: A live or deleted dataset.
            revision: The first revision; None for the newest.
            part: The part, from `metastore.history.parts.parse_part`.

        Raises:
            InvalidInput: The store is a service: ask it for the `revision_list` of a part.
        """

    @abstractmethod
    def blame(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Value, ...]:
        """Return each value of a descriptor with the revision that gave it its present form.

        A part that was renamed keeps its origin. A list of numbers or of texts is one value.

        Raises:
            DatasetDeleted: The dataset was deleted, or the revision is the deletion.
        """

    @abstractmethod
    def revision_read(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> Revision:
        """Return who made a revision, when and why; also of a deleted dataset."""

    @abstractmethod
    def revision_diff(self, dataset_id: AnyId, revision_a: AnyRevision, revision_b: AnyRevision | None = None) -> Diff:
        """Compare two revisions; a deletion counts as an empty descriptor.

        Returns:
            `.patch`, a JSON Patch (RFC 6902) from a to b, and `.changes`, the same for people.
        """

    @abstractmethod
    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        """Return a tag.

        Raises:
            TagNotFound: The dataset has no tag of this name.
        """

    @abstractmethod
    def tag_list(self, dataset_id: AnyId) -> LazyList[Tag]:
        """Return all tags, by name."""

    @abstractmethod
    def tag_entries(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None
    ) -> LazyList[TagEntry]:
        """Return the tags of all datasets, deleted ones too, by dataset and name.

        A dataset whose tags cannot be read has one entry, which says why.

        Args:
            prefix: Only of datasets whose ids begin with this text.
            after: Only tags after this one, as `OWNER/NAME@TAG`.
            limit: The largest number of entries.
        """

    def resource_list(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[dict[str, Any], ...]:
        """Return the resources of a descriptor, in its order. Items that are not objects are left out."""
        descriptor = self.dataset_read(dataset_id, revision).descriptor
        return tuple(dict(resource) for _, resource in resources(descriptor))

    def resource_read(self, dataset_id: AnyId, resource: str, revision: AnyRevision | None = None) -> dict[str, Any]:
        """Return one resource of a descriptor: by name, else by id, else by path.

        Raises:
            ResourceNotFound: The descriptor has no such resource.
        """
        dataset = self.dataset_read(dataset_id, revision)
        member = find_resource(dataset.descriptor, resource)
        if member is None:
            raise ResourceNotFound(dataset.id, resource)
        return member

    def get_resource(self, dataset_id: AnyId, resource: str, revision: AnyRevision | None = None) -> dict[str, Any]:
        """Return one resource; the former name of `resource_read`."""
        return self.resource_read(dataset_id, resource, revision)

    @abstractmethod
    def project_read(self, dataset_id: AnyId) -> Project:
        """Return a dataset with its owner, its tags, and the issues that its host tracks."""

    @abstractmethod
    def journal(
        self,
        dataset_id: AnyId | None = None,
        *,
        since: AnyTime | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> LazyList[JournalEntry]:
        """Return the journal, newest first: who moved, purged, retagged or received datasets, when and why.

        Args:
            dataset_id: Only lines about this id, as the dataset was called before a move.
            since: Only lines of this time or later. For a copied line, the time when it came counts.
            before: Only lines before this one: the `id` of the last line of the page before.
            limit: The largest number of lines.
        """

    @abstractmethod
    def changes(self, since: str | None = None, *, wait: float = 0.0) -> Iterator[FeedEntry]:
        """Return the newest state of each dataset that changed, so that others can catch up.

        Every change is delivered at least once, including deletions, moves and purges; several changes of one dataset
        may come as one. `revision_list` has the states between two entries. With a cursor the oldest change comes
        first.

        Args:
            since: The `cursor` of the last entry that the caller has processed; None for everything. With a cursor of
                another store, or of a copy, the feed begins at the start.
            wait: How many seconds to wait for a change if there is none yet; the store looks again at most twice a
                second. An entry that the feed repeats from the previous call does not count as a change.
        """

    def batch(
        self,
        message: str,
        *,
        author: AnyAuthor | None = None,
        at: AnyTime | None = None,
        batch_id: str | None = None,
    ) -> Batch:
        """Return a collector of writes of many datasets, which are made under one id when its `with` block ends.

        Args:
            message: The reason for all of them.
            author: As for every write.
            at: As for every write.
            batch_id: The id that all the changes share, a line of their messages; None makes a new one.

        Raises:
            InvalidInput: The message or the id is malformed.
        """
        from metastore.store.batch import Batch

        return Batch(self, message, author, at, batch_id)

    @abstractmethod
    def settle(self, error: OutcomeUnknown) -> Outcome:
        """Find out whether a change was made, after its call raised `OutcomeUnknown`.

        Returns:
            `LANDED`: it was made, and is durable. `NOT_LANDED`: it was not made, and will not be. `UNKNOWN`: nobody can
            tell yet; it is safe to repeat the change with `expected=error.before`: it is made at most once.

        Raises:
            InvalidInput: The error is about a bundle.
        """

    @abstractmethod
    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        """Read the whole store, and yield all damage.

        Args:
            repair: Remove the files that interrupted writes left behind. The contents of datasets never change.
            heads: Dataset id -> a revision that was kept elsewhere, which has to be in the dataset's history. A history
                that was replaced as a whole is readable, but lacks this revision.

        Raises:
            InvalidInput: The store is a service.
        """

    def dataset_create(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Store a new dataset, or continue the history of a deleted one.

        The descriptor is a mapping, a package of frictionless, datapackage or dplib, or JSON as text or bytes, whose
        numbers are kept as written.

        Returns:
            The dataset, with the `findings` of the check.

        Raises:
            AlreadyExists: A live dataset has this id.
        """
        request = self._request("create", dataset_id, author, message, at, "Create dataset")
        return self._writer.create(request, self._writer.prepare(descriptor))

    def dataset_update(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Replace a descriptor. If nothing in it has changed, return the newest revision, and make none.

        Raises:
            DatasetDeleted: The dataset was deleted; create it again.
            RevisionConflict: `expected` is not the newest revision.
        """
        request = self._request("update", dataset_id, author, message, at, "Update dataset", expected)
        return self._writer.update(request, self._writer.prepare(descriptor))

    def dataset_patch(
        self,
        dataset_id: AnyId,
        patch: Mapping[str, Any] | Sequence[Any] | str | bytes,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Change a part of a descriptor.

        A mapping is a merge patch (RFC 7396), a list a JSON Patch (RFC 6902); either can be JSON text too.

        Raises:
            InvalidInput: The patch does not fit the descriptor, or its result cannot be stored.
            DatasetDeleted: The dataset was deleted.
            RevisionConflict: `expected` is not the newest revision.
        """
        request = self._request("patch", dataset_id, author, message, at, "Patch dataset", expected)
        return self._writer.patch(request, file_changes.patch_text(patch, self._max_bytes))

    def dataset_delete(
        self,
        dataset_id: AnyId,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Revision:
        """Add a revision that marks a dataset as deleted. History and tags stay; `dataset_revert` restores it.

        Raises:
            DatasetDeleted: The dataset is already deleted.
            RevisionConflict: `expected` is not the newest revision.
        """
        return self._writer.delete(self._request("delete", dataset_id, author, message, at, "Delete dataset", expected))

    def dataset_purge(
        self,
        dataset_id: AnyId,
        *,
        force: bool = False,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> None:
        """Permanently remove a deleted dataset, or with `force` a live one, and free its id. The journal keeps a line.

        Raises:
            InvalidInput: The dataset is live, and `force` was not given.
            RevisionConflict: `expected` is not the newest revision, or the dataset changed meanwhile.
        """
        identity = self._writable(dataset_id)
        request = self._request("purge", identity, author, message, at, f"Purge {identity}", expected)
        self._writer.purge(request, force=force)

    def dataset_move(
        self,
        dataset_id: AnyId,
        new_id: AnyId,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Give a dataset another id. It keeps its history, revision ids and tags, and the old id leads to the new one.

        Raises:
            AlreadyExists: The new id is taken.
            DatasetDeleted: The dataset was deleted: revert it first.
            RevisionConflict: `expected` is not the newest revision, or the dataset changed meanwhile.
        """
        identity, target = self._writable(dataset_id), self._writable(new_id)
        default = f"Move {identity} to {target}"
        return self._writer.move(self._request("move", identity, author, message, at, default, expected, new_id=target))

    def dataset_revert(
        self,
        dataset_id: AnyId,
        to_revision: AnyRevision,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Add a revision that equals an older one, with all its files. This also restores a deleted dataset.

        Raises:
            InvalidInput: The older revision is a deletion.
            RevisionConflict: `expected` is not the newest revision.
        """
        target = self.revision_read(self._writable(dataset_id), to_revision)
        if target.deleted:
            raise InvalidInput(
                f"revision {target.id[:12]} is the deletion of {dataset_id}: choose another, or delete it"
            )
        default = f"Revert to {target.id[:12]}"
        request = self._request("revert", dataset_id, author, message, at, default, expected, revision=target.id)
        return self._writer.revert(request)

    def dataset_undo(
        self,
        dataset_id: AnyId,
        revision: AnyRevision,
        *,
        expected: AnyRevision | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Dataset:
        """Undo one change and keep later ones, with a new revision.

        `revision` is the one that made the change; `A..B` stands for all changes after A up to B, as in Git. Members
        are found by name, so it does not matter where in its list a resource stands now. Undoing a deletion restores
        the dataset. Undoing its creation, or its restoration, deletes it: then `revision.deleted` is true, and the
        descriptor is the one before the undo. If nothing of the change is left, no revision is made, and the newest is
        returned.

        Raises:
            MergeConflict: A later change stands in the way; the error names the members, or the later revisions if the
                dataset's creation is to be undone.
            InvalidInput: A does not come before B.
            DatasetDeleted: The dataset was deleted after the change.
            RevisionConflict: `expected` is not the newest revision.
        """
        identity = self._writable(dataset_id)
        span = span_of(self, identity, revision)
        ends = {"revision": span.last.id, "since": span.since.id if span.since else None}
        request = self._request("undo", identity, author, message, at, span.title, expected, **ends)
        return self._writer.undo(request)

    def tag_create(
        self,
        dataset_id: AnyId,
        name: str,
        revision: AnyRevision | None = None,
        *,
        description: str = "",
        author: AnyAuthor | None = None,
        at: AnyTime | None = None,
    ) -> Tag:
        """Tag a revision, or the newest.

        Raises:
            AlreadyExists: The dataset has a tag of this name.
            DatasetDeleted: The revision is a deletion.
        """
        request = self._request("tag_create", dataset_id, author, description, at, "", tag=parse_tag_name(name))
        return self._writer.tag_create(replace(request, revision=self._live(request.dataset_id, revision).id))

    def tag_update(
        self,
        dataset_id: AnyId,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        revision: AnyRevision | None = None,
        expected: str | Tag | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> Tag:
        """Rename a tag, describe it, or move it to another revision. Arguments that are None change nothing.

        The author becomes the author of the tag. The journal keeps a line with the message.

        Raises:
            TagNotFound: The dataset has no tag of this name.
            AlreadyExists: The dataset has another tag of the new name.
            RevisionConflict: `expected` is not the tag's `id`.
        """
        request = self._request(
            "tag_update", dataset_id, author, message, at, f"Update tag {name}", _tag_id(expected), tag=name
        )
        old = self._expected_tag(request)
        new = replace(
            request,
            new_name=parse_tag_name(new_name) if new_name is not None else old.name,
            revision=self._live(request.dataset_id, revision).id if revision is not None else old.revision,
            description=make_message(description) if description is not None else old.description,
        )
        if (new.new_name, new.revision, new.description) == (old.name, old.revision, old.description):
            return old
        return self._writer.tag_update(new, old)

    def tag_delete(
        self,
        dataset_id: AnyId,
        name: str,
        *,
        expected: str | Tag | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: AnyTime | None = None,
    ) -> None:
        """Remove a tag. The revision stays, and the journal keeps a line.

        Raises:
            TagNotFound: The dataset has no tag of this name.
            RevisionConflict: `expected` is not the tag's `id`.
        """
        request = self._request(
            "tag_delete", dataset_id, author, message, at, f"Delete tag {name}", _tag_id(expected), tag=name
        )
        self._writer.tag_delete(request, self._expected_tag(request))

    def journal_import(self, lines: Iterable[JournalEntry], *, author: AnyAuthor | None = None) -> int:
        """Append lines of another store's journal that this one lacks, marked as copied. They change nothing else.

        A call that fails on the way has appended the lines before; it can be repeated.

        Args:
            lines: Oldest first. They keep their authors, times and messages.
            author: Who copies them. A service takes the user of the token, who needs the rights to read and to import
                on each dataset that a line names.

        Returns:
            The number of lines that were appended.

        Raises:
            PermissionDenied: The token does not grant `import` on a dataset.
        """
        from metastore.store.journal_copy import checked  # few programs need it

        who = make_author(author) if author is not None else self._author
        return self._writer.journal_import([checked(line) for line in lines], who)

    def _writable(self, dataset_id: AnyId) -> DatasetId:
        """Return the id of a dataset that callers may write to. Raises InvalidInput."""
        return parse_writable_id(dataset_id)

    def _request(
        self,
        action: str,
        dataset_id: AnyId,
        author: AnyAuthor | None,
        message: str | None,
        at: AnyTime | None,
        default: str,
        expected: AnyRevision | None = None,
        **facts: Any,
    ) -> ChangeRequest:
        return ChangeRequest(
            action,
            self._writable(dataset_id),
            make_author(author) if author is not None else self._author,
            (make_message(message) if message is not None else "") or default,
            make_time(at) if at is not None else None,
            parse_expected(expected),
            **facts,
        )

    def _live(self, dataset_id: DatasetId, revision: AnyRevision | None) -> Revision:
        target = self.revision_read(dataset_id, revision)
        if target.deleted:
            raise DatasetDeleted(dataset_id, target)
        return target

    def _expected_tag(self, request: ChangeRequest) -> Tag:
        assert request.tag is not None
        tag = self.tag_read(request.dataset_id, request.tag)
        if request.expected not in (None, tag.id):
            subject = f"{request.dataset_id}@{request.tag}"
            raise RevisionConflict(subject, expected=request.expected, actual=tag.id)
        return tag


def _tag_id(expected: str | Tag | None) -> str | None:
    return expected.id if isinstance(expected, Tag) else expected
