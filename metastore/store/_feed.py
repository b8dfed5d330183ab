"""The change feed of a storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from metastore.errors import DatasetMoved, DatasetNotFound, InvalidInput, StorageCorrupt
from metastore.storage.port import Storage
from metastore.types import DatasetId, FeedEntry, Revision

_log = logging.getLogger("metastore.storage")


def parse_cursor(cursor: str | None) -> datetime | None:
    """Return the moment that a cursor stands for. Raises InvalidInput."""
    if cursor is None:
        return None
    try:
        moment = datetime.fromisoformat(cursor)
    except (ValueError, TypeError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"not a cursor of the change feed: {cursor!r}")
    return moment


def feed(storage: Storage, since: datetime | None) -> Iterator[FeedEntry]:
    """Yield the newest state of each dataset that was touched, oldest change first."""
    complete, touched = storage.touched(since)
    rows = [(at, dataset_id) for at, dataset_id in touched if not dataset_id.owner.startswith("_")]
    for index, (at, dataset_id) in enumerate(rows):
        cursor = complete if index + 1 == len(rows) else min(at, complete)
        action, revision, new_id = _state(storage, dataset_id)
        yield FeedEntry(dataset_id, action, revision, new_id, cursor.astimezone(UTC).isoformat())


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
