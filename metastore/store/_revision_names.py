"""Names of revisions that a storage does not know: `HEAD~2`, and a date for the newest revision at that time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from metastore.errors import RevisionNotFound
from metastore.storage.port import Storage
from metastore.types import DatasetId, Revision

_BACK = re.compile(r"([^~]*)~([0-9]{0,9})")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ].{4,30}")


def is_plain(text: str | None) -> bool:
    """Tell whether the storage alone can resolve this name."""
    return text is None or not (_DATE.match(text) or "~" in text)


def resolve(storage: Storage, dataset_id: DatasetId, text: str | None) -> Revision:
    """Return the revision that a text names.

    In addition to the names of `Storage.resolve`, `REVISION~N` is the Nth revision before another, and a date, or a
    time with a zone, is the newest revision at that moment. A date begins at midnight in UTC. A tag of the same name
    comes first.

    Raises:
        RevisionNotFound: There is no such revision.
    """
    if text is None or is_plain(text):
        return storage.resolve(dataset_id, text)
    if back := _BACK.fullmatch(text):
        first = resolve(storage, dataset_id, back[1] or None)
        return _first(islice(storage.history(dataset_id, first.id), int(back[2] or 1), None), dataset_id, text)
    if _TIME.fullmatch(text) is None:  # a tag may be named like a date
        try:
            return storage.resolve(dataset_id, text)
        except RevisionNotFound:
            if _DATE.fullmatch(text) is None:
                raise
    return _newest_at(storage, dataset_id, text)


def _newest_at(storage: Storage, dataset_id: DatasetId, text: str) -> Revision:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        reason = "" if "isoformat" in str(error) else f" ({error})"
        message = f"{text!r} is neither a tag nor a date{reason}: a date looks like 2024-05-01 or 2024-05-01T12:00:00Z"
        raise RevisionNotFound(dataset_id, text, message) from None
    if _DATE.fullmatch(text):
        moment = moment.replace(tzinfo=UTC)
    if moment.tzinfo is None:
        raise RevisionNotFound(dataset_id, text, f"the time {text} has no zone: write {moment.isoformat()}Z for UTC")
    newest = storage.resolve(dataset_id, None)
    earlier = (each for each in storage.history(dataset_id, newest.id) if each.created <= moment)
    return _first(earlier, dataset_id, text, f"dataset {dataset_id} had no revision at {text}")


def _first(revisions: Iterator[Revision], dataset_id: DatasetId, text: str, message: str | None = None) -> Revision:
    revision = next(revisions, None)
    if revision is None:
        raise RevisionNotFound(dataset_id, text, message)
    return revision
