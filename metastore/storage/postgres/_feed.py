"""The change feed of datasets in PostgreSQL: exact, however many write."""

from __future__ import annotations

from collections.abc import Iterator

from metastore.errors import StorageUnavailable
from metastore.postgres.connection import MIGRATE
from metastore.storage._cursors import fields_of
from metastore.storage.postgres import _queries
from metastore.storage.postgres._calls import Calls
from metastore.types import DatasetId

_PAGE = 500


def touched(calls: Calls, since: str | None) -> Iterator[tuple[str, DatasetId]]:
    """See `Storage.touched`. Raises StorageUnavailable: The numbers of transactions are those of another server."""
    feed, numbers = fields_of(since)
    ours, is_numbered_here = calls.rows(_queries.FEED)[0]
    if not is_numbered_here:
        raise StorageUnavailable(f"this database was restored on another server: {MIGRATE}")
    start = (int(numbers[0]), int(numbers[1])) if feed == ours and len(numbers) == 2 else (0, 0)
    return _pages(calls, ours, start)


def _pages(calls: Calls, feed: str, place: tuple[int, int]) -> Iterator[tuple[str, DatasetId]]:
    """Yield what changed after a place, in order of transactions.

    No cursor leads past a transaction that may still be running: what came after it is yielded again next time.
    """
    known, is_known = place, True
    while True:
        rows = calls.rows(_queries.TOUCHED, {"xid": str(place[0]), "pos": place[1], "limit": _PAGE})
        last = {(owner, name): number for number, (_, _, owner, name, _) in enumerate(rows)}
        for number, (xid, pos, owner, name, is_over) in enumerate(rows):
            place = int(xid), pos
            is_known = is_known and is_over
            known = place if is_known else known
            if last[owner, name] == number:
                yield f"{feed}.{known[0]}.{known[1]}", DatasetId(owner, name)
        if len(rows) < _PAGE:
            return
