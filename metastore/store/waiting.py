"""The change feed of a storage, and waiting for what is new in it by looking again: every storage can do that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice

from metastore.errors import DatasetMoved, DatasetNotFound, StorageCorrupt
from metastore.storage.port import Storage
from metastore.types import DatasetId, FeedEntry, Revision

#: How many seconds a request may wait for changes, and how many requests of one process may: others need threads too.
LONGEST, MOST_WAITING = 25, 32
#: How many of them one caller may send: the others have places, too.
MOST_OF_ONE = 8
#: The pause between two looks, in seconds, and how much longer it is at least than a look of each that waits.
_PAUSE, _SPARING = 0.5, 5.0
#: How many entries are compared, and for how many cursors they are remembered.
_COMPARED, _CURSORS = 200, 100

_State = tuple[object, ...]
_log = logging.getLogger("metastore.storage")


def feed(storage: Storage, since: str | None) -> Iterator[FeedEntry]:
    """Return the newest state of each dataset that was touched. Raises InvalidInput for a text that is not a cursor."""
    touched = storage.touched(since)
    return (
        FeedEntry(dataset_id, *_newest(storage, dataset_id), cursor)
        for cursor, dataset_id in touched
        if not dataset_id.is_own
    )


def _newest(storage: Storage, dataset_id: DatasetId) -> tuple[str, Revision | None, DatasetId | None]:
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


class Waiting:
    """Waits for the feed of one store. Safe to share between threads.

    A feed tells some changes twice. So what was told last with a cursor is remembered, and is not news behind it. Of a
    dataset that was told last, a change of tags alone is not news either: it comes when the time is over.
    """

    def __init__(self) -> None:
        self._told: dict[str, frozenset[_State]] = {}
        self._present: set[object] = set()

    def read(self, look: Callable[[], Iterator[FeedEntry]], since: str | None, wait: float) -> Iterator[FeedEntry]:
        """Return the entries of a look, the first one with news or the last one before the time is over.

        Args:
            look: Returns the feed behind `since`, as it is now.
            since: The cursor.
            wait: How many seconds to wait for news.
        """
        if wait <= 0:
            return look()
        me = object()
        self._present.add(me)
        try:
            return self._read(look, since, time.monotonic() + wait)
        finally:
            self._present.discard(me)

    def _read(self, look: Callable[[], Iterator[FeedEntry]], since: str | None, end: float) -> Iterator[FeedEntry]:
        while True:
            began = time.monotonic()
            feed = look()
            entries = list(islice(feed, _COMPARED))
            states = frozenset(map(_state, entries))
            now = time.monotonic()
            if states - self._told.get(since or "", frozenset()) or now >= end:
                if entries and len(entries) < _COMPARED:
                    self._remember(entries[-1].cursor, states)
                return chain(entries, feed)
            # All that wait share a part of one processor, however many they are: a look at a large store takes long.
            time.sleep(min(max(_PAUSE, _SPARING * (now - began) * len(self._present)), end - now))

    def _remember(self, cursor: str, states: frozenset[_State]) -> None:
        if len(self._told) >= _CURSORS:
            self._told.clear()
        self._told[cursor] = states


def _state(entry: FeedEntry) -> _State:
    """Return what an entry says, without where in the feed it is."""
    return entry.dataset_id, entry.action, entry.revision and entry.revision.id, entry.new_id
