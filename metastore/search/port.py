"""The interfaces of search: the source that it reads, and an index of datasets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from metastore.search.values import Readable, Results, Wanted
from metastore.types import Damage, DatasetId, FeedEntry, Revision

#: How much longer a search may take than the processor works for it: a disk may be slow, or the machine busy.
_WAITING = 4


def time_limit(within: float | None) -> Callable[[], bool]:
    """Return a function that tells whether a search has had its time. None sets no limit.

    It has, if this thread has used so many seconds of a processor, or if four times as many have passed.
    """
    if within is None:
        return lambda: False
    used, now = time.thread_time() + within, time.monotonic() + _WAITING * within
    return lambda: time.thread_time() >= used or time.monotonic() >= now


class Source(Protocol):
    """The part of a store that a search reads."""

    def ids(self) -> Iterator[DatasetId]:
        """Yield all datasets, deleted ones too."""

    def history(self, dataset_id: DatasetId) -> Iterator[Revision]:
        """Yield the revisions of a dataset, newest first."""

    def content(self, dataset_id: DatasetId, revision: Revision) -> bytes:
        """Return the descriptor of a revision as stored, or an empty one if there is none."""

    def has_findings(self, content: bytes) -> bool:
        """Tell whether a check finds fault with a descriptor."""

    def judge(self) -> str:
        """Return a text that identifies the rules of the check."""

    def changes(self, since: str | None) -> Iterator[FeedEntry]:
        """Return the entries of the feed since a cursor."""


class Index(Protocol):
    """An index in which datasets are found."""

    def find(self, wanted: Wanted, readable: Readable | None = None, within: float | None = None) -> Results:
        """Find datasets, among those that the caller may read; None for all.

        With `within`, indexing what has changed, or scanning, takes about so many seconds of a processor at most. If
        that was not enough, the results are not complete.
        """

    def verify(self, *, repair: bool) -> Iterator[Damage]:
        """Compare the index with the store, and yield the differences; with `repair`, mend them."""

    def expire(self) -> None:
        """Look for changes before the next search, because this process has changed something."""

    def close(self) -> None:
        """Close open files. The next search opens them again."""
