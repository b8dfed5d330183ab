"""Finds the datasets of a local store that were touched since a cursor.

Our own changes have the time of the store's own clock. Those of plain Git have the times of its files, and so of the
system's clock. A pass over the store covers what happened before its beginning, in however many pages it is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from metastore.files.reading import mtime_ns
from metastore.os_errors import storage_errors
from metastore.storage._cursors import fields_of, with_last
from metastore.storage.local._clock import CHANGED
from metastore.storage.local._notes import Notes
from metastore.storage.local.layout import Layout, is_id
from metastore.types import DatasetId

#: File times lag behind the clock by up to a tick of the kernel; a second is more than any.
_SLACK = 1_000_000_000


class _Moment(NamedTuple):
    """A moment by the store's own clock, and by the system's, in nanoseconds."""

    stamp: int
    system: int


_BEGINNING = _Moment(0, 0)


class _Row(NamedTuple):
    """A dataset that was touched, with what it is ordered by."""

    at: int
    dataset_id: DatasetId


class _Pass(NamedTuple):
    """A pass from one moment to another, and the last row of it that was read, if it has begun."""

    feed: str
    start: _Moment
    end: _Moment
    last: _Row | None = None

    def after(self, row: _Row | None) -> str:
        """Return the cursor behind a row, or (None) behind the whole pass."""
        if row is None:
            return f"{self.feed}.{self.end.stamp}.{self.end.system}"
        fields = (*self.start, *self.end, row.at, row.dataset_id)
        return f"{self.feed}." + ".".join(map(str, fields))


def touched(layout: Layout, since: str | None) -> Iterator[tuple[str, DatasetId]]:
    """See `Storage.touched`: by id in the first pass, which has everything; later on, oldest change first."""
    feed, fields = fields_of(since)
    return _rows(layout, feed, fields)


def _rows(layout: Layout, feed: str, fields: list[str]) -> Iterator[tuple[str, DatasetId]]:
    with storage_errors():
        current = _begun(layout, feed, fields)
        whole = current.start == _BEGINNING
        rows = _everything(layout, current.last) if whole else _changed(layout, current.start, current.last)
        row: _Row | None = None
        for row, is_last in with_last(rows):
            yield current.after(None if is_last else row), row.dataset_id
        if row is None and current.last is not None:
            # Where the system's clock is behind, what was left may have changed to an earlier time than the last row's.
            yield from _rows(layout, current.feed, [str(number) for number in current.end])


def _begun(layout: Layout, feed: str, fields: list[str]) -> _Pass:
    """Begin a pass, or continue one.

    The end is read before the writers in flight are waited for: each of them has its time already, or gets a later one.
    """
    known, stamp = layout.clock.read()
    now = _Moment(stamp, time.time_ns() - _SLACK)
    layout.wait_for_writers()
    numbers = [int(field) for field in fields[:5]]
    if feed != known or len(fields) not in (2, 6) or numbers[0] > now.stamp:  # of another store, or before a restore
        return _Pass(known, _BEGINNING, now)
    start = _Moment(numbers[0], numbers[1])
    if len(fields) < 6:
        ahead = start.system > now.system + _SLACK  # the system's clock went back: what Git did since is not known
        return _Pass(known, _BEGINNING if ahead else start, now)
    owner, _, name = fields[5].partition("/")
    return _Pass(known, start, _Moment(numbers[2], numbers[3]), _Row(numbers[4], DatasetId(owner, name)))


def _everything(layout: Layout, last: _Row | None) -> Iterator[_Row]:
    """Yield everything after a row: the datasets by id, then the ids that were moved away or purged."""
    if last is None or last.at == 0:
        for dataset_id in layout.ids("", last.dataset_id if last else None):
            yield _Row(0, dataset_id)
    notes = Notes(layout)
    rows = (_Row(1, dataset_id) for dataset_id in notes.ids() if not os.path.isdir(layout.path(dataset_id)))
    yield from _behind(rows, last)


def _changed(layout: Layout, start: _Moment, last: _Row | None) -> Iterator[_Row]:
    return iter(_behind(_due(layout, start), last))


def _behind(rows: Iterable[_Row], last: _Row | None) -> list[_Row]:
    return sorted(row for row in rows if last is None or row > last)


def _due(layout: Layout, start: _Moment) -> Iterator[_Row]:
    """Yield what changed after a moment by its stamp, or at or after that moment by its file times."""
    notes = Notes(layout)
    for owner, name, path in layout.folders():
        at = mtime_ns(f"{path}/{CHANGED}")
        if (at > start.stamp or (at := _file_time(path)) >= start.system) and is_id(owner, name):
            yield _Row(at, DatasetId(owner, name))
    for dataset_id in notes.ids():
        at = mtime_ns(notes.path(dataset_id))
        if at > start.stamp and not os.path.isdir(layout.path(dataset_id)):
            yield _Row(at, dataset_id)


def _file_time(path: str) -> int:
    """Return when the references of a repository were last changed, or the repository was put where it is.

    Git replaces the files of references, HEAD and `packed-refs`, which changes the time of the folder that each is in.
    """
    try:
        heads = os.stat(f"{path}/refs/heads")
        times = [os.stat(path).st_ctime_ns, heads.st_mtime_ns, os.stat(f"{path}/refs/tags").st_mtime_ns]
    except OSError:  # Git removes folders that are empty, and there may be no repository
        return max(mtime_ns(f"{path}{part}") for part in ("", "/refs", "/refs/heads", "/refs/tags", "/packed-refs"))
    if heads.st_nlink > 2:  # it has folders, for branches such as `feature/one`
        times += [mtime_ns(folder) for folder, _, _ in os.walk(f"{path}/refs/heads")]
    return max(times)
