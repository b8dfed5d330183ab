"""The change feed of a storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from metastore.errors import DatasetMoved, DatasetNotFound, StorageCorrupt
from metastore.storage.port import Storage
from metastore.types import DatasetId, FeedEntry, Revision

_log = logging.getLogger("metastore.storage")


def feed(storage: Storage, since: str | None) -> Iterator[FeedEntry]:
    """Return the newest state of each dataset that was touched. Raises InvalidInput for a text that is no cursor."""
    touched = storage.touched(since)
    return (
        FeedEntry(dataset_id, *_state(storage, dataset_id), cursor)
        for cursor, dataset_id in touched
        if not dataset_id.owner.startswith("_")
    )


def _state(storage: Storage, dataset_id: DatasetId) -> tuple[str, Revision | None, DatasetId | None]:
    try:
        revision = storage.resolve(dataset_id, None)
    except DatasetMoved as error:
        return "moved", None, error.new_id
    except DatasetNotFound:
        return "purged", None, None
    except StorageCorrupt as error:  # one bad repository does not stop the feed for the others
        _log.warning("the change feed passes over %s: %s", dataset_id, error)
        return "unreadable", None, None
    return ("deleted" if revision.deleted else "changed"), revision, None
