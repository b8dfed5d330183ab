"""A store on a storage: every write reads the newest revision, computes what changes, and appends it atomically.

A caller who gives `expected` is told of a lost race. For one who does not, the change is computed again on the new
state: see `metastore.storage.retry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastore.descriptor import file_changes, lfs
from metastore.descriptor.document import DESCRIPTOR, MAX_BYTES, decode
from metastore.descriptor.file_changes import AnyDescriptor, Document, FileChanges, KnownFindings, Validation
from metastore.descriptor.patch import patched
from metastore.descriptor.profiles import Profiles
from metastore.errors import (
    AlreadyExists,
    DatasetDeleted,
    DatasetNotFound,
    InvalidInput,
    OutcomeUnknown,
    PathNotFound,
    RevisionConflict,
    StorageError,
)
from metastore.history.blame import blame
from metastore.history.parts import Part, RevisionFilter, parse_part
from metastore.parse import AnyAuthor, AnyId, AnyTime, make_time, parse_dataset_id, parse_limit, parse_revision
from metastore.search.values import MayRead, Results, Wanted
from metastore.storage import retry
from metastore.storage.port import Storage
from metastore.store._descriptors import Descriptors, understand
from metastore.store._feed import feed
from metastore.store._naming import is_plain, resolve
from metastore.store._search import Finder
from metastore.store._undo import Undo
from metastore.store._versions import VersionRule, Versions
from metastore.store.base import Store
from metastore.store.journal import Journal
from metastore.store.settling import naming, settle
from metastore.store.verify import verify
from metastore.types import (
    DELETED,
    DELETED_CONTENT,
    Author,
    Change,
    ChangeRequest,
    Damage,
    Dataset,
    DatasetId,
    Diff,
    FeedEntry,
    Finding,
    JournalEntry,
    Outcome,
    Project,
    Revision,
    RevisionId,
    Tag,
    TagSpec,
    Value,
)

if TYPE_CHECKING:
    from metastore.history.index import PartIndex

#: Of how many revisions the values are remembered with where they come from.
_REMEMBERED = 32


class MetaStore(Store):
    """A store on a storage. It can be shared between threads and used after a fork.

    Args:
        storage: Where the datasets are.
        author: Who writes, unless a call says otherwise.
        fallback_author: Called when a write has no author at all; it returns one, or None.
        lfs_url: A Git LFS server's address with `{owner}` and `{name}` in it: new datasets get the files for Git LFS.
        validation: What to do when a descriptor breaks the Data Package profile: `warn` (log it and return the
            findings), `strict` (refuse it) or `off`.
        profiles: A folder of JSON Schemas, or URL -> schema: the profiles to know beside the vendored ones.
        version_rule: What to do when the `version` of a descriptor claims less than what a write changes: `off`, `warn`
            (log it) or `refuse`.
        grades: A JSON file with the rules that grade differences, or its rows; None for those of MetaStore.
        max_bytes: The size of the largest descriptor, in bytes.
        clock: Returns the time, with a time zone.

    Raises:
        InvalidInput: An argument makes no sense.
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
    ) -> None:
        if validation not in ("off", "warn", "strict"):
            raise InvalidInput(f"validation is off, warn or strict, not {validation!r}")
        super().__init__(author, validation, max_bytes)
        self._profiles = Profiles.load(profiles)
        self._storage = storage
        self._descriptors = Descriptors(storage)
        self._journal = Journal(storage)
        self._finder = Finder(storage, self.changes, self._profiles)
        self._fallback_author = fallback_author
        self._lfs_url = lfs.check_url(lfs_url) if lfs_url else None
        self._known = KnownFindings(self._profiles, with_pointers=lfs_url is not None)
        self._versions = Versions(version_rule, grades)
        self._blamed: dict[tuple[DatasetId, RevisionId], tuple[Value, ...]] = {}
        self._clock = clock

    @property
    def storage(self) -> Storage:
        return self._storage

    @cached_property
    def _parts(self) -> PartIndex:
        from metastore.history.index import PartIndex

        return PartIndex(self._storage.private("history.sqlite"))

    def close(self) -> None:
        if "_parts" in self.__dict__:
            self._parts.close()
        self._finder.close()
        self._storage.close()

    def dataset_read(self, dataset_id: AnyId, revision: str | None = None) -> Dataset:
        identity = parse_dataset_id(dataset_id)
        return self._descriptors.dataset(identity, self._live(identity, revision))

    def dataset_bytes(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        return self._descriptors.stored(*self._named(dataset_id, revision))

    def dataset_json(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
        return self._descriptors.content(*self._named(dataset_id, revision))

    def _named(self, dataset_id: AnyId, revision: str | None) -> tuple[DatasetId, str | None]:
        """Return an id and the name of a revision as a storage knows it."""
        identity, name = parse_dataset_id(dataset_id), parse_revision(revision)
        return identity, name if is_plain(name) else self.revision_read(identity, name).id

    def dataset_list(
        self, prefix: str = "", *, after: AnyId | None = None, limit: int | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        last = parse_dataset_id(after) if after is not None else None
        return islice(self._storage.ids(prefix=prefix, after=last, deleted=deleted), parse_limit(limit))

    def search(self, wanted: Wanted, may_read: MayRead | None = None) -> Results:
        return self._finder.find(wanted, may_read)

    def revision_list(
        self,
        dataset_id: AnyId,
        revision: str | None = None,
        *,
        limit: int | None = None,
        path: str | None = None,
        resource: str | None = None,
        field: str | None = None,
        author: str | None = None,
        since: AnyTime | None = None,
        until: AnyTime | None = None,
        grep: str | None = None,
    ) -> Iterator[Revision]:
        identity, part = parse_dataset_id(dataset_id), parse_part(path, resource, field)
        wanted = RevisionFilter.parse(author, since, until, grep)
        first = self.revision_read(identity, revision)
        found = self._storage.history(identity, first.id)
        if part is not None:
            found = (revision for revision, changed, _ in self.part_history(identity, first.id, part) if changed)
        return islice(filter(wanted.fits, found), parse_limit(limit))

    def part_history(
        self, dataset_id: AnyId, revision: str | None, part: Part
    ) -> Iterator[tuple[Revision, bool, Part]]:
        identity = parse_dataset_id(dataset_id)
        history, reader = partial(self._storage.history, identity), self._descriptors.reader(identity)
        return self._parts.steps_back(history, reader, self.revision_read(identity, revision), part)

    def blame(self, dataset_id: AnyId, revision: str | None = None) -> tuple[Value, ...]:
        identity = parse_dataset_id(dataset_id)
        first = self._live(identity, revision)
        key = identity, first.id
        if key not in self._blamed:
            if len(self._blamed) >= _REMEMBERED:
                self._blamed.clear()
            found = blame(self._storage.history(identity, first.id), self._descriptors.reader(identity))
            self._blamed[key] = found  # a revision never changes, nor does what came before it
        return self._blamed[key]

    def revision_read(self, dataset_id: AnyId, revision: str | None = None) -> Revision:
        return resolve(self._storage, parse_dataset_id(dataset_id), parse_revision(revision))

    def revision_diff(self, dataset_id: AnyId, revision_a: str, revision_b: str | None = None) -> Diff:
        identity = parse_dataset_id(dataset_id)
        old, new = self.revision_read(identity, revision_a), self.revision_read(identity, revision_b)
        before, after = self._descriptors.value(identity, old), self._descriptors.value(identity, new)
        return self._versions.diff(old, new, before, after)

    def tag_read(self, dataset_id: AnyId, name: str) -> Tag:
        return self._storage.tag(parse_dataset_id(dataset_id), name)

    def tag_list(self, dataset_id: AnyId) -> Iterator[Tag]:
        identity = parse_dataset_id(dataset_id)
        self._storage.resolve(identity, None)
        return self._storage.tags(identity)

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
    ) -> Iterator[JournalEntry]:
        identity = parse_dataset_id(dataset_id) if dataset_id is not None else None
        start = make_time(since) if since is not None else None
        entries = (
            entry
            for entry in self._journal.entries(parse_revision(before))
            if identity in (None, entry.dataset_id) and (start is None or entry.created >= start)
        )
        return islice(entries, parse_limit(limit))

    def changes(self, since: str | None = None) -> Iterator[FeedEntry]:
        return feed(self._storage, since)

    def verify(self, *, repair: bool = False, heads: Mapping[str, str] | None = None) -> Iterator[Damage]:
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

    def _create(self, request: ChangeRequest, document: Document) -> Dataset:
        dataset_id, change = request.dataset_id, self._change(request)
        files = file_changes.first_files(document, self._lfs_config(dataset_id))
        unread = [None]  # almost always the id is free: the first attempt does not look

        def read_head() -> Revision | None:
            return unread.pop() if unread else self._deletion(dataset_id)

        def compute(head: Revision | None) -> tuple[FileChanges, Change]:
            return ({**files} if head is None else self._files_again(dataset_id, head, files)), change

        with self._naming(request, change):
            before, after = retry.append(self._storage, dataset_id, read_head, compute)
        self._known.remember(after.id, document.findings)
        file_changes.log_findings(dataset_id, document.findings)
        self._tell_dataset(request, before, after)
        return Dataset(dataset_id, after, document.value, document.content, document.findings)

    def _update(self, request: ChangeRequest, document: Document) -> Dataset:
        return self._replace(request, lambda content: document)

    def _patch(self, request: ChangeRequest, patch: Any) -> Dataset:
        def compute(content: bytes | None) -> Document:
            current = decode(content, max_bytes=max(self._max_bytes, len(content))) if content is not None else {}
            return self._prepare(patched(current, patch))

        return self._replace(request, compute)

    def _delete(self, request: ChangeRequest) -> Revision:
        def compute(head: Revision) -> FileChanges:
            if head.deleted:
                raise DatasetDeleted(request.dataset_id, head)
            return {**dict.fromkeys(self._storage.paths(request.dataset_id, head.id)), DELETED: DELETED_CONTENT}

        return self._append(request, compute)[1]

    def _revert(self, request: ChangeRequest) -> Dataset:
        dataset = self.dataset_read(request.dataset_id, request.revision)
        target = self._storage.paths(request.dataset_id, dataset.revision.id)

        def compute(head: Revision) -> FileChanges:
            return file_changes.revert_files(self._storage.paths(request.dataset_id, head.id), target)

        return replace(dataset, revision=self._append(request, compute)[1])

    def _undo(self, request: ChangeRequest) -> Dataset:
        dataset_id, document = request.dataset_id, None
        since, last = (self.revision_read(dataset_id, name) for name in (request.since, request.revision))
        undo = Undo(self._storage, dataset_id, since, last)

        def compute(head: Revision) -> FileChanges:
            nonlocal document
            if head.id == last.id:  # nothing came later: a revert, to the byte
                document = None
                return file_changes.revert_files(
                    self._storage.paths(dataset_id, head.id), self._storage.paths(dataset_id, since.id)
                )
            document, changes = self._changed(
                dataset_id, head, lambda content: self._prepare(undo.descriptor(head, content))
            )
            return changes | undo.files(head)

        _, after = self._append(request, compute)
        return self._written(request, after, document) if document else self._descriptors.dataset(dataset_id, after)

    def _purge(self, request: ChangeRequest, *, force: bool) -> None:
        change, head = self._change(request), self._head(request)
        if not head.deleted and not force:
            raise InvalidInput(f"{request.dataset_id} is live: delete it first, or purge it with force")
        details = {"revision": head.id}
        with self._naming(request, change), self._journal.line("purge", request.dataset_id, details, change):
            self._storage.purge(request.dataset_id, parent=head.id)
        self._tell_dataset(request, head, None)

    def _move(self, request: ChangeRequest) -> Dataset:
        dataset_id, new_id = request.dataset_id, request.new_id
        assert new_id is not None
        change, head = self._change(request), self._head(request)
        if head.deleted:
            raise DatasetDeleted(dataset_id, head)
        dataset = self._descriptors.dataset(dataset_id, head)
        if new_id != dataset_id:
            details = {"new_id": str(new_id), "revision": head.id}
            with self._naming(request, change), self._journal.line("move", dataset_id, details, change):
                self._storage.rename(dataset_id, new_id, parent=head.id)
            self._tell_dataset(request, head, head)
        return replace(dataset, id=new_id)

    def _tag_create(self, request: ChangeRequest) -> Tag:
        change = self._change(request)
        spec = _tag_spec(change, request.tag, request.revision, request.message)
        with self._naming(request, change):
            tag = self._storage.tag_create(request.dataset_id, spec)
        self._tell_tag("create", request, None, tag)
        return tag

    def _tag_update(self, request: ChangeRequest, old: Tag) -> Tag:
        change = self._change(request)
        spec = _tag_spec(change, request.new_name, request.revision, request.description)
        details = {"tag": old.name, "tag_id": old.id, "new_name": spec.name}
        details |= {"old_revision": old.revision, "revision": spec.revision}
        with self._naming(request, change), self._journal.line("tag_update", request.dataset_id, details, change):
            new = self._storage.tag_update(request.dataset_id, old.name, spec, expected=old.id)
        self._tell_tag("update", request, old, new)
        return new

    def _tag_delete(self, request: ChangeRequest, old: Tag) -> None:
        change = self._change(request)
        details = {"tag": old.name, "tag_id": old.id, "revision": old.revision, "description": old.description}
        with self._naming(request, change), self._journal.line("tag_delete", request.dataset_id, details, change):
            self._storage.tag_delete(request.dataset_id, old.name, expected=old.id)
        self._tell_tag("delete", request, old, None)

    def _replace(self, request: ChangeRequest, compute: Callable[[bytes | None], Document]) -> Dataset:
        """Replace the descriptor of a live dataset by the one computed from it."""
        document = None

        def files(head: Revision) -> FileChanges:
            nonlocal document
            document, changes = self._changed(request.dataset_id, head, compute)
            return changes

        return self._written(request, self._append(request, files)[1], document)

    def _changed(
        self, dataset_id: DatasetId, head: Revision, compute: Callable[[bytes | None], Document]
    ) -> tuple[Document, FileChanges]:
        """Return the new descriptor of a live dataset, and the files that change with it."""
        if head.deleted:
            raise DatasetDeleted(dataset_id, head)
        paths = self._storage.paths(dataset_id, head.id)

        def read(path: str) -> bytes:
            return self._storage.read(dataset_id, head.id, path)

        old = read(DESCRIPTOR) if DESCRIPTOR in paths else None
        document = compute(old)
        if old is not None:
            document = self._known.marked(document, head.id, old)
        if old is not None and file_changes.unchanged(old, document):
            return document._replace(content=old, value=understand(dataset_id, head, old)), {}
        if old is not None:
            self._versions.check(dataset_id, old, document)
        return document, file_changes.changed_files(old, document, paths, read, self._lfs_config(dataset_id))

    def _written(self, request: ChangeRequest, after: Revision, document: Document | None) -> Dataset:
        assert document is not None
        self._known.remember(after.id, document.findings)
        file_changes.log_findings(request.dataset_id, document.findings)
        return Dataset(request.dataset_id, after, document.value, document.content, document.findings)

    def _append(self, request: ChangeRequest, compute: Callable[[Revision], FileChanges]) -> tuple[Revision, Revision]:
        """Append a revision; return the one before, and the new one, or the same if no file changes."""
        change = self._change(request)
        with self._naming(request, change):
            before, after = retry.append(
                self._storage, request.dataset_id, lambda: self._head(request), lambda head: (compute(head), change)
            )
        if before != after:
            self._tell_dataset(request, before, after)
        return before, after

    def _head(self, request: ChangeRequest) -> Revision:
        head = self._storage.resolve(request.dataset_id, None)
        if request.expected not in (None, head.id):
            raise RevisionConflict(request.dataset_id, expected=request.expected, actual=head.id)
        return head

    def _deletion(self, dataset_id: DatasetId) -> Revision | None:
        """Return the deletion that a creation continues from. Raises AlreadyExists."""
        with suppress(DatasetNotFound):
            head = self._storage.resolve(dataset_id, None)
            if not head.deleted:
                raise AlreadyExists(dataset_id)
            return head
        return None

    def _files_again(self, dataset_id: DatasetId, deletion: Revision, files: Mapping[str, bytes]) -> FileChanges:
        """Return the files that bring a deleted dataset back; its data still lie where its `.lfsconfig` said."""
        changes: FileChanges = {**files, DELETED: None}
        if deletion.parent and lfs.CONFIG in files:
            with suppress(PathNotFound):
                changes[lfs.CONFIG] = self._storage.read(dataset_id, deletion.parent, lfs.CONFIG)
        return changes

    def _change(self, request: ChangeRequest) -> Change:
        author = request.author or self._fallback_author()
        if author is None:
            raise InvalidInput("no author: give one, such as 'Ann Lee <ann@example.org>', or set Git's user.name")
        return Change(author, request.message, request.at or make_time(self._clock()))

    def _naming(self, request: ChangeRequest, change: Change) -> AbstractContextManager[None]:
        return naming(replace(request, author=change.author, at=change.at))

    def _prepare(self, descriptor: Any) -> Document:
        lfs_is_on = self._lfs_url is not None
        return file_changes.prepare(
            descriptor, self._validation, self._max_bytes, profiles=self._profiles, with_pointers=lfs_is_on
        )

    def _lfs_config(self, dataset_id: DatasetId) -> bytes | None:
        return lfs.config_of(self._lfs_url, dataset_id) if self._lfs_url else None

    def _tell_dataset(self, request: ChangeRequest, before: Revision | None, after: Revision | None) -> None:
        from metastore import events

        self._finder.expire()
        event = events.DatasetEvent(request.action, request.dataset_id, before, after, request.new_id)
        events.send(events.dataset_changed, self, event)

    def _tell_tag(self, action: str, request: ChangeRequest, before: Tag | None, after: Tag | None) -> None:
        from metastore import events

        events.send(events.tag_changed, self, events.TagEvent(action, request.dataset_id, before, after))


def _tag_spec(change: Change, name: str | None, revision: str | None, description: str | None) -> TagSpec:
    assert name is not None
    assert revision is not None
    return TagSpec(name, RevisionId(revision), description or "", change.author, change.at)


def validate(
    descriptor: AnyDescriptor, *, profiles: str | Path | Mapping[str, Any] | None = None
) -> tuple[Finding, ...]:
    """Check a descriptor without storing it, and return where it breaks its profile.

    Args:
        descriptor: Ordinary values, or JSON as text or bytes.
        profiles: A folder of JSON Schemas, or URL -> schema: the profiles to know beside the vendored ones.

    Returns:
        At most 100 findings; where there are more, the last one counts them.

    Raises:
        InvalidInput: The descriptor could not be stored at all, or the profiles cannot be used.
    """
    known = Profiles.load(profiles)
    return file_changes.prepare(descriptor, "warn", MAX_BYTES, profiles=known).findings
