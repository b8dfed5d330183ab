"""The list of moved and purged datasets of an owner. No host keeps one, so it is a dataset of the store's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from metastore.errors import DatasetNotFound, OutcomeUnknown, StorageUnavailable
from metastore.storage import retry
from metastore.storage.naming import OWN_OWNER
from metastore.storage.port import Storage
from metastore.types import Author, Change, DatasetId, Revision

#: Its name. It has one revision per note, whose message has the ids.
MOVES = DatasetId(OWN_OWNER, "moves")
_OURSELVES = Author("MetaStore")


class Moves:
    """The ids that were moved or purged.

    Args:
        storage: The storage that keeps the list.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def note(self, *dataset_ids: DatasetId) -> None:
        """Note that ids are about to be moved or purged."""
        now = datetime.now(UTC).replace(microsecond=0)
        change = Change(_OURSELVES, " ".join(map(str, dataset_ids)), now)
        files = {"moves.txt": f"{now.isoformat()} {change.message}\n".encode()}
        try:
            retry.append(self._storage, MOVES, self._newest, lambda head: (files, change))
        except OutcomeUnknown as error:  # a superfluous note does no harm, and the change has not begun
            raise StorageUnavailable(f"what is moved or purged cannot be noted: {error}") from error

    def _newest(self) -> Revision | None:
        try:
            return self._storage.resolve(MOVES, None)
        except DatasetNotFound:
            return None

    def since(self, earliest: datetime | None) -> Iterator[tuple[datetime, DatasetId]]:
        """Yield the times at which ids were moved or purged, newest first."""
        newest = self._newest()
        if newest is None:
            return
        for line in self._storage.history(MOVES, newest.id):
            if earliest and line.created < earliest:
                return
            for text in line.message.split():
                owner, _, name = text.partition("/")
                yield line.created, DatasetId(owner, name)
