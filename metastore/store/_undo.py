"""Undoes the changes between two revisions in a later one."""

from __future__ import annotations

from typing import Any

from metastore.descriptor.document import DESCRIPTOR
from metastore.descriptor.file_changes import FileChanges, own_files, undo_files
from metastore.errors import MergeConflict, PathNotFound
from metastore.storage.port import Storage
from metastore.store._descriptors import understand
from metastore.types import DatasetId, Difference, Revision


class Undo:
    """The changes of a dataset after one revision up to another, to be undone."""

    def __init__(self, storage: Storage, dataset_id: DatasetId, since: Revision, last: Revision) -> None:
        self._storage, self._dataset_id = storage, dataset_id
        self._since, self._last = since, last
        self._read = storage.read

    def descriptor(self, head: Revision, now: bytes | None) -> dict[str, Any]:
        """Return a later descriptor without the changes. Raises MergeConflict, PathNotFound, NotADescriptor."""
        from metastore.descriptor.merge import take_out  # slow to import, and few writes undo anything

        if now is None:
            raise PathNotFound(self._dataset_id, head.id, DESCRIPTOR)
        if self._last.deleted:  # and somebody has restored the dataset
            raise MergeConflict(self._dataset_id, (Difference("changed", "descriptor"),))
        after, before = (self._read(self._dataset_id, side.id, DESCRIPTOR) for side in (self._last, self._since))
        for side, content in ((head, now), (self._last, after), (self._since, before)):
            understand(self._dataset_id, side, content)
        descriptor, clashes = take_out(now, after, before)
        if clashes:
            raise MergeConflict(self._dataset_id, clashes)
        return descriptor

    def files(self, head: Revision) -> FileChanges:
        """Return the changes of other files, apart from those that follow from the descriptor. Raises MergeConflict."""
        sides = (self._last, self._since)
        own = own_files(*(self._read(self._dataset_id, side.id, DESCRIPTOR) for side in sides))
        now, after, before = (self._storage.paths(self._dataset_id, side.id) for side in (head, *sides))
        changes, clashes = undo_files(now, after, before, own)
        if clashes:
            raise MergeConflict(self._dataset_id, tuple(Difference("changed", f"file {path}") for path in clashes))
        return changes
