"""Writes to a storage: reads the newest revision, computes the changes, and appends them atomically.

A lost race is reported to a caller who gives `expected`. Otherwise, the change is computed again for the new state: see
`metastore.storage.retry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from metastore.descriptor import file_changes, lfs
from metastore.descriptor.document import DESCRIPTOR, decode
from metastore.descriptor.file_changes import Document, FileChanges, KnownFindings, Validation
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
)
from metastore.parse import make_time
from metastore.storage import retry
from metastore.store._descriptors import Descriptors, understand
from metastore.store._journal import Journal
from metastore.store._versions import Versions
from metastore.store.base import Store
from metastore.store.spans import in_the_way
from metastore.store.writer import Writer
from metastore.types import (
    DELETED,
    DELETED_CONTENT,
    Author,
    Change,
    ChangeRequest,
    Dataset,
    DatasetId,
    JournalEntry,
    Revision,
    RevisionId,
    Tag,
    TagSpec,
)

if TYPE_CHECKING:
    from metastore.store._parts import Parts


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a store for its writes; see the arguments of `MetaStore`."""

    validation: Validation
    profiles: Profiles
    versions: Versions
    lfs_url: str | None
    fallback_author: Callable[[], Author | None]
    clock: Callable[[], datetime]


class StorageWriter(Writer):
    """Writes to the storage of a store.

    Args:
        store: Reads the state before a write, and is the sender of events.
        journal: Gets a line for each change that leaves no revision.
        rules: What the store demands of writes.
        expire: Called after each change of a dataset, so that the next search sees it.
        parts: Returns what forgets a dataset that is purged.
    """

    def __init__(
        self, store: Store, journal: Journal, rules: Rules, expire: Callable[[], None], parts: Callable[[], Parts]
    ) -> None:
        self._store = store
        self._storage = store.storage
        self._descriptors = Descriptors(store.storage)
        self._journal = journal
        self._rules = rules
        self._findings = KnownFindings(rules.profiles, with_pointers=rules.lfs_url is not None)
        self._expire = expire
        self._parts = parts

    def prepare(self, descriptor: Any) -> Document:
        rules, pointers = self._rules, self._rules.lfs_url is not None
        most = self._store.max_bytes
        return file_changes.prepare(descriptor, rules.validation, most, profiles=rules.profiles, with_pointers=pointers)

    def create(self, request: ChangeRequest, document: Document) -> Dataset:
        dataset_id, change = request.dataset_id, self._change(request)
        files = lfs.files_of(document.value, document.content, self._lfs_config(dataset_id))
        attempts = count()

        def read_head() -> Revision | None:
            # The id is nearly always free, so the first attempt does not look.
            return self._deletion(dataset_id) if next(attempts) else None

        def compute(head: Revision | None) -> tuple[FileChanges, Change]:
            return ({**files} if head is None else self._files_again(dataset_id, head, files)), change

        with self._settleable(request, change):
            before, after = retry.append(self._storage, dataset_id, read_head, compute)
        dataset = self._written(request, after, document)
        self._tell_dataset(request, before, after)
        return dataset

    def update(self, request: ChangeRequest, document: Document) -> Dataset:
        return self._replace(request, lambda content: document)

    def patch(self, request: ChangeRequest, patch: Any) -> Dataset:
        def compute(content: bytes | None) -> Document:
            # Nothing else keeps the present value: it takes as much memory as the new one.
            return self.prepare(patched(decode(content) if content is not None else {}, patch))

        return self._replace(request, compute)

    def delete(self, request: ChangeRequest) -> Revision:
        def compute(head: Revision) -> FileChanges:
            if head.deleted:
                raise DatasetDeleted(request.dataset_id, head)
            return {**dict.fromkeys(self._storage.paths(request.dataset_id, head.id)), DELETED: DELETED_CONTENT}

        return self._append(request, compute)[1]

    def revert(self, request: ChangeRequest) -> Dataset:
        dataset = self._store.dataset_read(request.dataset_id, request.revision)
        target = self._storage.paths(request.dataset_id, dataset.revision.id)

        def compute(head: Revision) -> FileChanges:
            return file_changes.revert_files(self._storage.paths(request.dataset_id, head.id), target)

        return replace(dataset, revision=self._append(request, compute)[1])

    def undo(self, request: ChangeRequest) -> Dataset:
        from metastore.store._undo import Undo  # few writes undo anything

        dataset_id, document, reverted = request.dataset_id, None, None
        last = self._store.revision_read(dataset_id, request.revision)
        since = self._store.revision_read(dataset_id, request.since) if request.since else None
        if since is None or since.deleted:
            return self._undo_creation(request, last)
        undo = Undo(self._storage, dataset_id, since, last)

        def compute(head: Revision) -> FileChanges:
            nonlocal document, reverted
            if head.id == last.id:  # no later changes: a revert, to the byte
                reverted = self._descriptors.dataset(dataset_id, since)  # before the change: it may be unreadable then
                return file_changes.revert_files(
                    self._storage.paths(dataset_id, head.id), self._storage.paths(dataset_id, since.id)
                )
            reverted = None
            old = self._storage.find(dataset_id, head.id, DESCRIPTOR)[1]
            document, changes = self._changed(
                dataset_id, head, old, lambda content: self.prepare(undo.descriptor(head, content))
            )
            return changes | undo.files(head)

        _, after = self._append(request, compute)
        return replace(reverted, revision=after) if reverted else self._written(request, after, document)

    def _undo_creation(self, request: ChangeRequest, last: Revision) -> Dataset:
        """Delete a dataset of which nothing stands but its creation. Raises MergeConflict."""
        dataset_id = request.dataset_id
        created = self._descriptors.dataset(dataset_id, last)
        files = self._storage.paths(dataset_id, last.id)

        def compute(head: Revision) -> FileChanges:
            if head.deleted:
                return {}
            later = takewhile(lambda each: each.id != last.id, self._storage.history(dataset_id, head.id))
            if problem := in_the_way(dataset_id, later, lambda each: self._storage.paths(dataset_id, each.id) == files):
                raise problem
            return {**dict.fromkeys(files), DELETED: DELETED_CONTENT}

        return replace(created, revision=self._append(request, compute)[1])

    def purge(self, request: ChangeRequest, *, force: bool) -> None:
        change, head = self._change(request), self._head(request)
        if not head.deleted and not force:
            raise InvalidInput(f"{request.dataset_id} is live: delete it first, or purge it with force")
        dataset_id, details = request.dataset_id, {"revision": head.id}
        with self._settleable(request, change), self._journal.line("purge", dataset_id, details, change):
            with self._parts().forgetting(dataset_id, head.id):
                self._storage.purge(dataset_id, parent=head.id)
        self._tell_dataset(request, head, None)

    def move(self, request: ChangeRequest) -> Dataset:
        dataset_id, new_id = request.dataset_id, request.new_id
        assert new_id is not None
        change, head = self._change(request), self._head(request)
        if head.deleted:
            raise DatasetDeleted(dataset_id, head)
        dataset = self._descriptors.dataset(dataset_id, head)
        if new_id != dataset_id:
            details = {"new_id": str(new_id), "revision": head.id}
            with self._settleable(request, change), self._journal.line("move", dataset_id, details, change):
                self._storage.rename(dataset_id, new_id, parent=head.id)
            self._tell_dataset(request, head, head)
        return replace(dataset, id=new_id)

    def tag_create(self, request: ChangeRequest) -> Tag:
        change = self._change(request)
        spec = _tag_spec(change, request.tag, request.revision, request.message)
        with self._settleable(request, change):
            tag = self._storage.tag_create(request.dataset_id, spec)
        self._tell_tag("create", request, None, tag)
        return tag

    def tag_update(self, request: ChangeRequest, old: Tag) -> Tag:
        change = self._change(request)
        spec = _tag_spec(change, request.new_name, request.revision, request.description)
        details = {"tag": old.name, "tag_id": old.id, "new_name": spec.name}
        details |= {"old_revision": old.revision, "revision": spec.revision}
        with self._settleable(request, change), self._journal.line("tag_update", request.dataset_id, details, change):
            new = self._storage.tag_update(request.dataset_id, old.name, spec, expected=old.id)
        self._tell_tag("update", request, old, new)
        return new

    def tag_delete(self, request: ChangeRequest, old: Tag) -> None:
        change = self._change(request)
        details = {"tag": old.name, "tag_id": old.id, "revision": old.revision, "description": old.description}
        with self._settleable(request, change), self._journal.line("tag_delete", request.dataset_id, details, change):
            self._storage.tag_delete(request.dataset_id, old.name, expected=old.id)
        self._tell_tag("delete", request, old, None)

    def journal_import(self, lines: Sequence[JournalEntry], author: Author | None) -> int:
        return self._journal.copy(lines, self._signed(author, "", None))

    def _replace(self, request: ChangeRequest, compute: Callable[[bytes | None], Document]) -> Dataset:
        """Replace the descriptor of a live dataset by one that is computed from it."""
        dataset_id, document, old = request.dataset_id, None, None

        def read_head() -> Revision:
            nonlocal old
            head, old = self._storage.find(dataset_id, None, DESCRIPTOR)
            return _expect(request, head)

        def files(head: Revision) -> FileChanges:
            nonlocal document
            document, changes = self._changed(dataset_id, head, old, compute)
            return changes

        return self._written(request, self._append(request, files, read_head)[1], document)

    def _changed(
        self, dataset_id: DatasetId, head: Revision, old: bytes | None, compute: Callable[[bytes | None], Document]
    ) -> tuple[Document, FileChanges]:
        """Return the new descriptor of a live dataset whose present one is `old`, and the files that change with it."""
        if head.deleted:
            raise DatasetDeleted(dataset_id, head)

        def read(path: str) -> bytes:
            return self._storage.read(dataset_id, head.id, path)

        document = compute(old)
        if old is not None:
            document = self._findings.marked(document, head.id, old)
        if old == document.content:
            return document, {}
        if old is not None and file_changes.unchanged(old, document):
            return document._replace(content=old, value=understand(dataset_id, head, old)), {}
        if old is not None:
            self._rules.versions.check(dataset_id, old, document)
        paths = self._storage.paths(dataset_id, head.id)
        return document, file_changes.changed_files(old, document, paths, read, self._lfs_config(dataset_id))

    def _written(self, request: ChangeRequest, after: Revision, document: Document | None) -> Dataset:
        assert document is not None
        self._findings.remember(after.id, document.findings)
        file_changes.log_findings(request.dataset_id, document.findings)
        return Dataset(request.dataset_id, after, document.value, document.content, document.findings)

    def _append(
        self,
        request: ChangeRequest,
        compute: Callable[[Revision], FileChanges],
        read_head: Callable[[], Revision] | None = None,
    ) -> tuple[Revision, Revision]:
        """Append a revision. Return the previous and the new revision, or the same one twice if no file changes."""
        change, read = self._change(request), read_head or (lambda: self._head(request))
        with self._settleable(request, change):
            before, after = retry.append(self._storage, request.dataset_id, read, lambda head: (compute(head), change))
        if before != after:
            self._tell_dataset(request, before, after)
        return before, after

    def _head(self, request: ChangeRequest) -> Revision:
        return _expect(request, self._storage.resolve(request.dataset_id, None))

    def _deletion(self, dataset_id: DatasetId) -> Revision | None:
        """Return the deletion that a creation continues from. Raises AlreadyExists."""
        with suppress(DatasetNotFound):
            head = self._storage.resolve(dataset_id, None)
            if not head.deleted:
                raise AlreadyExists(dataset_id)
            return head
        return None

    def _files_again(self, dataset_id: DatasetId, deletion: Revision, files: Mapping[str, bytes]) -> FileChanges:
        """Return the files that restore a deleted dataset. Its data are still where its `.lfsconfig` said."""
        changes: FileChanges = {**files, DELETED: None}
        if deletion.parent and lfs.CONFIG in files:
            with suppress(PathNotFound):
                changes[lfs.CONFIG] = self._storage.read(dataset_id, deletion.parent, lfs.CONFIG)
        return changes

    def _change(self, request: ChangeRequest) -> Change:
        return self._signed(request.author, request.message, request.at)

    def _signed(self, author: Author | None, message: str, at: datetime | None) -> Change:
        author = author or self._rules.fallback_author()
        if author is None:
            raise InvalidInput("no author: give one, such as 'Ann Lee <ann@example.org>', or set Git's user.name")
        return Change(author, message, at or make_time(self._rules.clock()))

    @contextmanager
    def _settleable(self, request: ChangeRequest, change: Change) -> Iterator[None]:
        """Add the request to an OutcomeUnknown that the body raises, so that `settle` knows what was asked for."""
        try:
            yield
        except OutcomeUnknown as error:
            error.change = replace(request, author=change.author, at=change.at)
            raise

    def _lfs_config(self, dataset_id: DatasetId) -> bytes | None:
        return lfs.config_of(self._rules.lfs_url, dataset_id) if self._rules.lfs_url else None

    def _tell_dataset(self, request: ChangeRequest, before: Revision | None, after: Revision | None) -> None:
        from metastore import events

        self._expire()
        event = events.DatasetEvent(request.action, request.dataset_id, before, after, request.new_id)
        events.send(events.dataset_changed, self._store, event)

    def _tell_tag(self, action: str, request: ChangeRequest, before: Tag | None, after: Tag | None) -> None:
        from metastore import events

        events.send(events.tag_changed, self._store, events.TagEvent(action, request.dataset_id, before, after))


def _expect(request: ChangeRequest, head: Revision) -> Revision:
    """Return the newest revision, if it is the one that the caller expects. Raises RevisionConflict."""
    if request.expected not in (None, head.id):
        raise RevisionConflict(request.dataset_id, expected=request.expected, actual=head.id)
    return head


def _tag_spec(change: Change, name: str | None, revision: str | None, description: str | None) -> TagSpec:
    assert name is not None
    assert revision is not None
    return TagSpec(name, RevisionId(revision), description or "", change.author, change.at)
