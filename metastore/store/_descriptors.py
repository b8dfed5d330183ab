"""Reads descriptors from a storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metastore.descriptor.document import DESCRIPTOR, load, load_written
from metastore.errors import DatasetDeleted, NotADescriptor, PathNotFound
from metastore.phrase import Phrase
from metastore.storage.port import Storage
from metastore.store.metering import count
from metastore.types import Dataset, DatasetId, Revision

_REMEMBERED = 10_000


class Descriptors:
    """The descriptors in a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._understood: set[str] = set()  # revisions whose descriptor is known to be a JSON object

    def dataset(self, dataset_id: DatasetId, revision: Revision) -> Dataset:
        """Return a dataset at a revision that is not a deletion. Raises PathNotFound, NotADescriptor."""
        content = count(self._storage.read(dataset_id, revision.id, DESCRIPTOR))
        return Dataset(dataset_id, revision, understand(dataset_id, revision, content), content)

    def named(self, dataset_id: DatasetId, revision: str | None) -> Dataset:
        """Return a dataset at a revision. Raises DatasetDeleted, PathNotFound, NotADescriptor."""
        revision_read, content = self.stored(dataset_id, revision)
        return Dataset(dataset_id, revision_read, understand(dataset_id, revision_read, content), content)

    def value(self, dataset_id: DatasetId, revision: Revision) -> dict[str, Any]:
        """Return a descriptor with numbers as written; an empty one for a deletion.

        Raises PathNotFound, NotADescriptor.
        """
        written: dict[str, Any] = {} if revision.deleted else load_written(self.dataset(dataset_id, revision).bytes)
        return written

    def reader(self, dataset_id: DatasetId) -> Callable[[Revision], bytes | None]:
        """Return a function that reads the descriptor of a revision, or returns None if it has none, as a deletion."""

        def read(revision: Revision) -> bytes | None:
            if revision.deleted:
                return None
            try:
                return count(self._storage.read(dataset_id, revision.id, DESCRIPTOR))
            except PathNotFound:
                return None

        return read

    def stored(self, dataset_id: DatasetId, revision: str | None) -> tuple[Revision, bytes]:
        """Return the stored content of a revision, unparsed. Raises DatasetDeleted, PathNotFound."""
        revision_read, content = self._storage.find(dataset_id, revision, DESCRIPTOR)
        if revision_read.deleted:
            raise DatasetDeleted(dataset_id, revision_read)
        if content is None:
            raise PathNotFound(dataset_id, revision_read.id, DESCRIPTOR)
        return revision_read, count(content)

    def content(self, dataset_id: DatasetId, revision: str | None) -> tuple[Revision, bytes]:
        """Return a descriptor as stored. Raises DatasetDeleted, PathNotFound, NotADescriptor."""
        revision_read, content = self.stored(dataset_id, revision)
        if revision_read.id not in self._understood:
            understand(dataset_id, revision_read, content)
            if len(self._understood) >= _REMEMBERED:
                self._understood.clear()
            self._understood.add(revision_read.id)
        return revision_read, content


def understand(dataset_id: DatasetId, revision: Revision, content: bytes) -> dict[str, Any]:
    """Return a stored descriptor as values. Raises NotADescriptor."""
    try:
        descriptor = load(content)
    except ValueError as error:
        raise NotADescriptor(dataset_id, revision.id, Phrase("is not JSON: %(problem)s", problem=str(error))) from None
    if not isinstance(descriptor, dict):
        raise NotADescriptor(dataset_id, revision.id, Phrase("is not a JSON object"))
    return descriptor
