"""The store: every call that changes a dataset. See `metastore.store.writer` for how each of them goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from metastore.descriptor import file_changes, lfs
from metastore.descriptor.document import DESCRIPTOR, MAX_BYTES, decode
from metastore.descriptor.file_changes import AnyDescriptor, FileChanges
from metastore.descriptor.patch import patched
from metastore.errors import (
    AlreadyExists,
    DatasetDeleted,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    RevisionConflict,
    StorageBusy,
)
from metastore.store.reader import AnyId
from metastore.store.tags import TagWriter
from metastore.store.writer import TRIES, AnyAuthor, own_id
from metastore.types import DELETED, DELETED_CONTENT, Change, Dataset, DatasetId, Finding, Revision


class MetaStore(TagWriter):
    """A store of datasets. `metastore.connect` makes one."""

    def dataset_create(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Store a new dataset, or go on with the history of a deleted one.

        Args:
            dataset_id: `owner/name` or a pair, lower case.
            descriptor: Ordinary values, or JSON as text or bytes, whose numbers are then kept as written.
            author: Who.
            message: Why.
            at: When, for imports.

        Returns:
            The dataset, with the `findings` of the check.

        Raises:
            AlreadyExists: There is a live dataset with this id.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, "Create dataset")
        document = self._prepare(descriptor)
        files = file_changes.first_files(document, self._lfs_config(identity))
        before, after = self._create(identity, files, change)
        file_changes.log_findings(identity, document.findings)
        self._tell_dataset("create", identity, before, after)
        return Dataset(identity, after, document.value, document.content, document.findings)

    def dataset_update(
        self,
        dataset_id: AnyId,
        descriptor: AnyDescriptor,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Replace a descriptor. One that says the same makes no revision: the newest is returned.

        Raises:
            DatasetDeleted: The dataset was deleted; create it again.
            RevisionConflict: `expected` is not the newest revision.
        """
        identity = own_id(dataset_id)
        document = self._prepare(descriptor)
        change = self._change(author, message, at, "Update dataset")
        return self._replace("update", identity, lambda content: document, change, expected)

    def dataset_patch(
        self,
        dataset_id: AnyId,
        patch: Mapping[str, Any] | Sequence[Any] | str | bytes,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Change a part of a descriptor.

        Args:
            dataset_id: A live dataset.
            patch: An object is a merge patch (RFC 7396), a list a JSON Patch (RFC 6902); also as JSON text.
            expected: The newest revision as the caller knows it.
            author: Who.
            message: Why.
            at: When, for imports.

        Raises:
            InvalidInput: The patch does not fit, or what comes out may not be stored.
            DatasetDeleted: The dataset was deleted.
            RevisionConflict: `expected` is not the newest revision.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, "Patch dataset")
        values = file_changes.patch_text(patch, self._max_bytes)

        def compute(content: bytes | None) -> file_changes.Document:
            current = decode(content, max_bytes=max(self._max_bytes, len(content))) if content is not None else {}
            return self._prepare(patched(current, values))

        return self._replace("patch", identity, compute, change, expected)

    def dataset_delete(
        self,
        dataset_id: AnyId,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Revision:
        """Add a revision that says "gone". History and tags stay, and `dataset_revert` brings the dataset back.

        Raises:
            DatasetDeleted: It was deleted before.
            RevisionConflict: `expected` is not the newest revision.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, "Delete dataset")

        def compute(head: Revision) -> FileChanges:
            if head.deleted:
                raise DatasetDeleted(identity, head)
            paths = self._storage.paths(identity, head.id)
            return {**dict.fromkeys(paths), DELETED: DELETED_CONTENT}

        before, after = self._append(identity, compute, change, expected)
        self._tell_dataset("delete", identity, before, after)
        return after

    def dataset_purge(
        self,
        dataset_id: AnyId,
        *,
        force: bool = False,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Remove a deleted dataset for ever, and free its id. Only the journal still knows of it.

        Args:
            dataset_id: A deleted dataset.
            force: Also remove a live one.
            expected: The newest revision as the caller knows it.
            author: Who.
            message: Why.
            at: When, for imports.

        Raises:
            InvalidInput: The dataset is live, and `force` was not given.
            RevisionConflict: `expected` is not the newest revision, or somebody changed the dataset meanwhile.
        """
        identity = own_id(dataset_id)
        change = self._change(author, message, at, f"Purge {identity}")
        head = self._head(identity, expected)
        if not head.deleted and not force:
            raise InvalidInput(f"{identity} is live: delete it first, or purge it with force")
        with self._journal.line("purge", identity, {"revision": head.id}, change):
            self._storage.purge(identity, parent=head.id)
        self._tell_dataset("purge", identity, head, None)

    def dataset_move(
        self,
        dataset_id: AnyId,
        new_id: AnyId,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Give a dataset another id; history, revision ids and tags go with it, and the old id says where it went.

        Raises:
            AlreadyExists: The new id is taken.
            DatasetDeleted: It was deleted: revert it first.
            RevisionConflict: `expected` is not the newest revision, or somebody changed the dataset meanwhile.
        """
        identity, target = own_id(dataset_id), own_id(new_id)
        change = self._change(author, message, at, f"Move {identity} to {target}")
        head = self._head(identity, expected)
        if head.deleted:
            raise DatasetDeleted(identity, head)
        dataset = self._dataset(identity, head)
        if target != identity:
            with self._journal.line("move", identity, {"new_id": str(target), "revision": head.id}, change):
                self._storage.rename(identity, target, parent=head.id)
            self._tell_dataset("move", identity, head, head, target)
        return replace(dataset, id=target)

    def dataset_revert(
        self,
        dataset_id: AnyId,
        to_revision: str,
        *,
        expected: str | None = None,
        author: AnyAuthor | None = None,
        message: str | None = None,
        at: datetime | None = None,
    ) -> Dataset:
        """Add a revision that is equal to an older one, with all files; this also brings back a deleted dataset.

        Raises:
            InvalidInput: That revision is a deletion.
            RevisionConflict: `expected` is not the newest revision.
        """
        identity = own_id(dataset_id)
        target = self._resolve(identity, to_revision)
        if target.deleted:
            raise InvalidInput(f"revision {target.id[:12]} of {identity} is its deletion: delete it, or choose another")
        dataset = self._dataset(identity, target)
        then = self._storage.paths(identity, target.id)
        change = self._change(author, message, at, f"Revert to {target.id[:12]}")
        before, after = self._append(
            identity,
            lambda head: file_changes.revert_files(self._storage.paths(identity, head.id), then),
            change,
            expected,
        )
        if before != after:
            self._tell_dataset("revert", identity, before, after)
        return replace(dataset, revision=after)

    def _replace(
        self,
        action: str,
        dataset_id: DatasetId,
        compute: Callable[[bytes | None], file_changes.Document],
        change: Change,
        expected: str | None,
    ) -> Dataset:
        """Replace the descriptor of a live dataset by what is computed from the stored one."""
        made: file_changes.Document | None = None

        def files(head: Revision) -> FileChanges:
            nonlocal made
            if head.deleted:
                raise DatasetDeleted(dataset_id, head)
            paths = self._storage.paths(dataset_id, head.id)

            def read(path: str) -> bytes:
                return self._storage.read(dataset_id, head.id, path)

            old = read(DESCRIPTOR) if DESCRIPTOR in paths else None
            made = compute(old)
            if old is not None and file_changes.unchanged(old, made):
                made = made._replace(content=old, value=self._parse(dataset_id, head, old))
                return {}
            return file_changes.changed_files(old, made, paths, read, self._lfs_config(dataset_id))

        before, after = self._append(dataset_id, files, change, expected)
        assert made is not None
        file_changes.log_findings(dataset_id, made.findings)
        if before != after:
            self._tell_dataset(action, dataset_id, before, after)
        return Dataset(dataset_id, after, made.value, made.content, made.findings)

    def _create(
        self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change
    ) -> tuple[Revision | None, Revision]:
        """Create a dataset, or go on from a deletion; tried again when what was there goes away meanwhile."""
        for _ in range(TRIES):
            try:
                return None, self._storage.create(dataset_id, files, change)
            except AlreadyExists:
                with suppress(DatasetNotFound):
                    return self._create_again(dataset_id, files, change)
        raise StorageBusy(f"{dataset_id} comes and goes too fast; try again")

    def _create_again(
        self, dataset_id: DatasetId, files: Mapping[str, bytes], change: Change
    ) -> tuple[Revision, Revision]:
        """Go on from a deletion; the data still lie where the dataset's `.lfsconfig` said."""
        head = self._storage.resolve(dataset_id, None)
        if not head.deleted:
            raise AlreadyExists(dataset_id)
        changes: FileChanges = {**files, DELETED: None}
        if head.parent and lfs.CONFIG in files:
            with suppress(PathNotFound):
                changes[lfs.CONFIG] = self._storage.read(dataset_id, head.parent, lfs.CONFIG)
        try:
            return head, self._storage.append(dataset_id, changes, change, parent=head.id)
        except RevisionConflict:
            raise AlreadyExists(dataset_id) from None

    def _prepare(self, descriptor: Any) -> file_changes.Document:
        return file_changes.prepare(descriptor, self._validation, self._max_bytes)

    def _lfs_config(self, dataset_id: DatasetId) -> bytes | None:
        return lfs.config_of(self._lfs_url, dataset_id) if self._lfs_url else None

    def _tell_dataset(
        self,
        action: str,
        dataset_id: DatasetId,
        before: Revision | None,
        after: Revision | None,
        new_id: DatasetId | None = None,
    ) -> None:
        from metastore import events

        event = events.DatasetEvent(action, dataset_id, before, after, new_id)
        events.send(events.dataset_changed, self, event)


def validate(descriptor: AnyDescriptor) -> tuple[Finding, ...]:
    """Check a descriptor without storing it: what is unsafe raises, what breaks its profile is returned.

    Raises:
        InvalidInput: It could not be stored at all.
    """
    from metastore.descriptor import profiles

    return profiles.findings(file_changes.prepare(descriptor, "off", MAX_BYTES).value)
