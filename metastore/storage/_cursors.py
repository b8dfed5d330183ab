"""The cursors of the change feed: the id of the feed, and where in it to continue. Each storage writes its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from metastore.errors import InvalidInput
from metastore.types import DatasetId

_Item = TypeVar("_Item")
_CURSOR = re.compile(r"([0-9a-f]{16})((?:\.[0-9]{1,20}){1,5})(?:\.([a-z0-9_][a-z0-9._-]*/[a-z0-9_][a-z0-9._-]*))?")
#: The feed of a host, whose own clock its cursors are times of.
HOST = "1" * 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def fields_of(cursor: str | None) -> tuple[str, list[str]]:
    """Return the id of the feed, and one to five numbers, perhaps with a dataset id behind five; None leads nowhere.

    Raises:
        InvalidInput: The text is not a cursor.
    """
    if cursor is None:
        return "", ["0"]
    match = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    numbers = match[2][1:].split(".") if match else []
    if match is None or (len(numbers) == 5) != (match[3] is not None):
        raise _no_cursor(cursor)
    return match[1], [*numbers, *([match[3]] if match[3] else [])]


def _no_cursor(text: object) -> InvalidInput:
    return InvalidInput(
        f"not a cursor of the change feed: {text!r}. Take one from an earlier list of changes, or leave it out"
    )


def moment_of(cursor: str | None) -> datetime | None:
    """Return the moment of a host's cursor; None to begin at the start, as behind a cursor of another feed.

    Raises:
        InvalidInput: The text is not a cursor.
    """
    feed, fields = fields_of(cursor)
    try:
        return _EPOCH + int(fields[0]) * _MICROSECOND if feed == HOST else None
    except OverflowError:
        raise _no_cursor(cursor) from None


def by_time(complete: datetime, rows: Iterable[tuple[datetime, DatasetId]]) -> Iterator[tuple[str, DatasetId]]:
    """Yield a host's rows in order of time, each with the cursor behind it.

    A cursor never lies behind `complete`, up to which everything is known: what comes later may still be missing.
    """
    for (at, dataset_id), is_last in with_last(sorted(rows)):
        moment = complete if is_last else min(at, complete)
        yield f"{HOST}.{max(0, (moment - _EPOCH) // _MICROSECOND)}", dataset_id


def with_last(items: Iterable[_Item]) -> Iterator[tuple[_Item, bool]]:
    """Yield each item, and whether it is the last one."""
    iterator = iter(items)
    for item in iterator:
        for following in iterator:
            yield item, False
            item = following
        yield item, True
