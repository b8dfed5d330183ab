"""Which datasets of an owner moved or were purged: a dataset of the store's own, since no host has a list of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from metastore.errors import DatasetNotFound, OutcomeUnknown, StorageUnavailable
from metastore.storage import retry
from metastore.storage.naming import OWN_OWNER
from metastore.storage.port import Storage
from metastore.types import Author, Change, DatasetId, Revision

#: Ids that were moved or purged: a revision for each, whose message names them.
MOVES = DatasetId(OWN_OWNER, "moves")
_OURSELVES = Author("MetaStore")


class Moves:
    """The ids that were moved or purged.

    Args:
        storage: Where the list is kept, as a dataset of the store's own.
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
        except OutcomeUnknown as error:  # a note too many does no harm, and the change was not begun
            raise StorageUnavailable(f"what is moved or purged cannot be noted: {error}") from error

    def _newest(self) -> Revision | None:
        try:
            return self._storage.resolve(MOVES, None)
        except DatasetNotFound:
            return None

    def since(self, earliest: datetime | None) -> Iterator[tuple[datetime, DatasetId]]:
        """Yield when which ids were moved or purged, newest first."""
        newest = self._newest()
        if newest is None:
            return
        for line in self._storage.history(MOVES, newest.id):
            if earliest and line.created < earliest:
                return
            for text in line.message.split():
                owner, _, name = text.partition("/")
                yield line.created, DatasetId(owner, name)
