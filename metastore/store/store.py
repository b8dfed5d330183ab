"""A store on a storage: reads, searches and follows datasets. `StorageWriter` changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastore.descriptor import file_changes, lfs
from metastore.descriptor.file_changes import AnyDescriptor, Validation
from metastore.descriptor.limits import MAX_BYTES
from metastore.descriptor.profiles import Profiles
from metastore.errors import InvalidInput, OutcomeUnknown, StorageError
from metastore.history.parts import Part, RevisionFilter, parse_part
from metastore.lazy import LazyList
from metastore.parse import (
    AnyAuthor,
    AnyId,
    AnyRevision,
    AnyTime,
    make_time,
    parse_dataset_id,
    parse_expected,
    parse_limit,
    parse_revision,
    parse_wait,
)
from metastore.storage.least import reading_at_least
from metastore.storage.port import Storage
from metastore.store._descriptors import Descriptors
from metastore.store._journal import Journal
from metastore.store._revision_names import is_plain, resolve
from metastore.store._search import Finder
from metastore.store._storage_writer import Rules, StorageWriter
from metastore.store._versions import VersionRule, Versions
from metastore.store.base import Store
from metastore.store.lists import entry_of, ids_after_owner, ids_from_tag, owners_in, tags_in, with_summaries
from metastore.store.settling import settle
from metastore.store.waiting import Waiting, feed
from metastore.types import (
    Author,
    Damage,
    Dataset,
    DatasetEntry,
    DatasetId,
    Diff,
    FeedEntry,
    Finding,
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
    from metastore.search.values import Readable, Results, Wanted
    from metastore.store._parts import Parts


class MetaStore(Store):
    """A store on a storage. It can be shared between threads and used after a fork.

    Args:
        storage: The storage of the datasets.
        author: The default author.
        fallback_author: Called if a write has no author at all; returns one, or None.
        lfs_url: A Git LFS server's address with `{owner}` and `{name}` in it: new datasets get the files for Git LFS.
        validation: What to do when a descriptor breaks the Data Package profile: `warn` (log it and return the
            findings), `strict` (refuse it) or `off`.
        profiles: A folder of JSON Schemas, or URL -> schema: the profiles to know beside the vendored ones.
        version_rule: What to do when the `version` of a descriptor claims less than what a write changes: `off`, `warn`
            (log it) or `refuse`.
        grades: A JSON file with the rules that grade differences, or its rows; None for those of MetaStore.
        max_bytes: The size of the largest descriptor, in bytes.
        clock: Returns the time, with a time zone.
        url: The address of the store, for `repr`; without secrets.
        cache: A folder for indexes that can be rebuilt, if the storage is in no folder; None keeps them in memory. It
            is for this store and this user alone.

    Raises:
        InvalidInput: An argument is invalid.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        author: AnyAuthor | None = None,
        fallback_author: Callable[[], Author | None] = lambda: None,
        lfs_url: str | None = None,
        validation: Validation = "warn",
        profiles: str | Path | Mapping[str, Any] | None = None,
        version_rule: VersionRule = "off",
        grades: str | Path | Sequence[Mapping[str, Any]] | None = None,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        url: str = "",
        cache: str | Path | None = None,
    ) -> None:
        if validation not in ("off", "warn", "strict"):
            raise InvalidInput(f"validation is off, warn or strict, not {validation!r}")
        super().__init__(author, max_bytes)
        self._storage = storage
        self._descriptors = Descriptors(storage)
        self._journal = Journal(storage)
        self._waiting = Waiting()
        self._profiles = Profiles.load(profiles)
        self._finder = Finder(storage, self.changes, self._profiles)
        self._versions = Versions(version_rule, grades)
        self._cache = str(cache) if cache is not None else None
        rules = Rules(
            validation=validation,
            profiles=self._profiles,
            versions=self._versions,
            lfs_url=lfs.check_url(lfs_url) if lfs_url else None,
            fallback_author=fallback_author,
            clock=clock,
        )
        self._writer = StorageWriter(self, self._journal, rules, self._finder.expire, lambda: self._parts)
        self._url = url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url or type(self._storage).__name__}>"

    @property
    def storage(self) -> Storage:
        return self._storage

    @cached_property
    def _parts(self) -> Parts:
        from metastore.store._parts import Parts

        return Parts(self._storage, self._descriptors, self._cache)

    def close(self) -> None:
        super().close()
        if "_parts" in self.__dict__:
            self._parts.close()
        self._finder.close()
        self._storage.close()

    def _id(self, dataset_id: AnyId) -> DatasetId:
        """Return a parsed id. The error about a repository without an id recommends `metastore adopt`."""
        try:
            return parse_dataset_id(dataset_id)
        except InvalidInput as error:
            text = "/".join(map(str, dataset_id)) if isinstance(dataset_id, tuple) else str(dataset_id)
            if self._storage.is_unnamed(text):
                raise InvalidInput(f"{error}. `metastore adopt --dry-run` shows the id that it can get") from None
            raise

    def _writable(self, dataset_id: AnyId) -> DatasetId:
        return super()._writable(self._id(dataset_id))

    def dataset_read(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> Dataset:
        with reading_at_least(parse_expected(at_least)):
            return self._descriptors.named(*self._named(dataset_id, revision))

    def dataset_bytes(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Revision, bytes]:
        return self._descriptors.stored(*self._named(dataset_id, revision))

    def dataset_json(
        self, dataset_id: AnyId, revision: AnyRevision | None = None, *, at_least: AnyRevision | None = None
    ) -> tuple[Revision, bytes]:
        with reading_at_least(parse_expected(at_least)):
            return self._descriptors.content(*self._named(dataset_id, revision))

    def _named(self, dataset_id: AnyId, revision: AnyRevision | None) -> tuple[DatasetId, str | None]:
        """Return an id and the name of a revision in a form that the storage knows."""
        identity, name = self._id(dataset_id), parse_revision(revision)
        return identity, name if is_plain(name) else self.revision_read(identity, name).id

    def dataset_list(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetId]:
        last, most = parse_dataset_id(after) if after is not None else None, parse_limit(limit)
        moment = make_time(at) if at is not None else None
        if moment is None:
            return LazyList(lambda: islice(self._storage.ids(prefix=prefix, after=last, deleted=deleted), most))
        ids = partial(self._storage.ids, prefix=prefix, after=last, deleted=None)
        return LazyList(lambda: islice(self._finder.ids_at(ids(), moment, deleted), most))

    def dataset_entries(
        self,
        prefix: str = "",
        *,
        after: AnyId | None = None,
        limit: int | None = None,
        deleted: bool | None = False,
        at: AnyTime | None = None,
    ) -> LazyList[DatasetEntry]:
        ids = self.dataset_list(prefix, after=after, limit=limit, deleted=deleted, at=at)
        return LazyList(lambda: (entry_of(self, dataset_id, at) for dataset_id in ids))

    def owner_list(self, *, after: str | None = None, limit: int | None = None) -> LazyList[Owner]:
        ids, most = ids_after_owner(self.dataset_list, after), parse_limit(limit)
        return LazyList(lambda: islice(owners_in(ids), most))

    @property
    def is_indexed(self) -> bool:
        return self._finder.is_indexed

    @property
    def profiles(self) -> Profiles:
        return self._profiles

    def search(self, wanted: Wanted, readable: Readable | None = None, *, within: float | None = None) -> Results:
        results = self._finder.find(wanted, readable, within)
        return replace(results, hits=tuple(with_summaries(self, results.hits))) if wanted.summary else results

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
        identity, part = self._id(dataset_id), parse_part(path, resource, field)
        wanted, most = RevisionFilter.parse(author, since, until, grep), parse_limit(limit)
        first = self.revision_read(identity, revision)

        def walk() -> Iterator[Revision]:
            if part is None:
                return self._storage.history(identity, first.id)
            return (revision for revision, changed, _ in self.part_history(identity, first.id, part) if changed)

        fits = wanted.fits if wanted != RevisionFilter() else None
        return LazyList(lambda: islice(filter(fits, walk()), most))

    def part_history(
        self, dataset_id: AnyId, revision: AnyRevision | None, part: Part
    ) -> Iterator[tuple[Revision, bool, Part]]:
        identity = self._id(dataset_id)
        return self._parts.history(identity, self.revision_read(identity, revision), part)

    def blame(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> tuple[Value, ...]:
        identity = self._id(dataset_id)
        return self._parts.blame(identity, self._live(identity, revision))

    def revision_read(self, dataset_id: AnyId, revision: AnyRevision | None = None) -> Revision:
        return resolve(self._storage, self._id(dataset_id), parse_revision(revision))

    def revision_diff(self, dataset_id: AnyId, revision_a: AnyRevision, revision_b: AnyRevision | None = None) -> Diff:
        identity = self._id(dataset_id)
        old, new = self.revision_read(identity, revision_a), self.revision_read(identity, revision_b)
        before, after = self._descriptors.value(identity, old), self._descriptors.value(identity, new)
        return self._versions.diff(old, new, before, after)

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        return self._storage.tag(self._id(dataset_id), name)

    def tag_list(self, dataset_id: AnyId) -> LazyList[Tag]:
        identity = self._id(dataset_id)
        self._storage.resolve(identity, None)
        return LazyList(lambda: iter(self._storage.tags(identity)))

    def tag_entries(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None
    ) -> LazyList[TagEntry]:
        ids, most = ids_from_tag(self.dataset_list, prefix, after), parse_limit(limit)
        return LazyList(lambda: islice(tags_in(self, ids, after), most))

    def project_read(self, dataset_id: AnyId) -> Project:
        dataset = self.dataset_read(dataset_id)
        tags, issues = self._storage.tags(dataset.id), self._storage.issues(dataset.id)
        return Project(dataset.id.owner, dataset, tuple(tags), tuple(issues))

    def journal(
        self,
        dataset_id: AnyId | None = None,
        *,
        since: AnyTime | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> LazyList[JournalEntry]:
        identity = self._id(dataset_id) if dataset_id is not None else None
        start, most = make_time(since) if since is not None else None, parse_limit(limit)
        last = parse_revision(before)

        def fits(entry: JournalEntry) -> bool:
            return identity in (None, entry.dataset_id) and (start is None or entry.came >= start)

        return LazyList(lambda: islice(filter(fits, self._journal.entries(last)), most))

    def changes(self, since: str | None = None, *, wait: float = 0.0) -> Iterator[FeedEntry]:
        return self._waiting.read(lambda: feed(self._storage, since), since, parse_wait(wait))

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
        from metastore.store._verify import verify  # no read needs it

        damages = verify(self._storage, repair=repair, heads=heads or {})
        return chain(damages, self._finder.verify(repair=repair))

    def settle(self, error: OutcomeUnknown) -> Outcome:
        outcome = settle(self, error, self._storage)
        if outcome is Outcome.LANDED:
            try:
                self._storage.confirm(*(each for each in (error.change.dataset_id, error.change.new_id) if each))
            except StorageError:
                return Outcome.UNKNOWN
        return outcome


def validate(
    descriptor: AnyDescriptor, *, profiles: str | Path | Mapping[str, Any] | None = None
) -> tuple[Finding, ...]:
    """Check a descriptor without storing it, and return its findings.

    Args:
        descriptor: Ordinary values, or JSON as text or bytes.
        profiles: A folder of JSON Schemas, or URL -> schema: the profiles to know beside the vendored ones.

    Returns:
        At most 100 findings; if there are more, the last one counts them.

    Raises:
        InvalidInput: The descriptor cannot be stored at all, or the profiles are invalid. Its size is not checked.
    """
    known = Profiles.load(profiles)
    return file_changes.prepare(descriptor, "warn", None, profiles=known).findings
