"""What anybody may ask of the bundles: how they are, how they were, and who changed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self

from metastore.bundle.checks import LARGEST, check_filter, check_listing, check_name, check_time
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import (
    STATE,
    Bundle,
    BundleDiff,
    BundleRecord,
    ChainCheck,
    Filter,
    LogEntry,
    LogFilter,
    Snapshot,
)
from metastore.errors import BundleDeleted, SnapshotNotFound


class BundleReader:
    """The half of `BundleRegistry` that reads; anyone may.

    Args:
        record: Where bundles and snapshots are kept.
    """

    def __init__(self, record: BundleRecord) -> None:
        self._record = record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held open; a call after that opens it again."""
        self._record.close()

    def bundle_list(
        self,
        *,
        group: str | None = None,
        device: str | None = None,
        event: str | None = None,
        run: bool | None = None,
        host: str | None = None,
        prefix: str = "",
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Bundle]:
        """Return live bundles by name, lazily.

        Args:
            group: Owned by this group.
            device: With this device.
            event: With exactly this event.
            run: That should (not) be running.
            host: That may run on this host.
            prefix: Whose name begins so.
            after: Behind this name: the last one of the page before.
            limit: At most so many.
        """
        return self._record.bundles(check_filter(Filter(group, device, event, run, host, prefix, after, limit)))

    def bundle_lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list for people: without devices, with who changed each last, deleted ones on request.

        Raises:
            InvalidInput: There is no such order, or no page begins so.
        """
        return self._record.lines(check_listing(wanted))

    def bundle_read(self, name: str, *, snapshot: int | None = None, at: datetime | None = None) -> Bundle:
        """Return a bundle as it is, as it was at a snapshot, or as it was at a time.

        Raises:
            BundleNotFound: There was none of this name (then).
            BundleDeleted: It was deleted (by then).
            SnapshotNotFound: This bundle has no such snapshot.
        """
        check_name(name)
        if snapshot is not None:
            return self._snapshot_of(name, snapshot).bundle
        found = self._record.newest(name) if at is None else self._record.as_of(name, check_time(at))
        if found.deleted:
            raise BundleDeleted(name, found)
        return found.bundle

    def bundle_log(
        self,
        name: str | None = None,
        *,
        user: str | None = None,
        device: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: int | None = None,
        limit: int | None = 50,
    ) -> Sequence[LogEntry]:
        """Return a page of the record, newest first.

        Args:
            name: Of this bundle; also of a deleted one.
            user: Made by this user.
            device: That added or removed this device.
            since: Made then or later.
            until: Made before then.
            before: With a smaller number: the `id` of the last line of the page before.
            limit: At most so many lines; None for all of them.
        """
        return self._record.log(check_filter(LogFilter(name, user, device, since, until, before, limit)))

    def bundle_snapshot(self, snapshot: int) -> Snapshot:
        """Return a snapshot: who, when, why, and the whole state.

        Raises:
            SnapshotNotFound: There is none of this number.
        """
        if type(snapshot) is not int or not 0 < snapshot <= LARGEST:
            raise SnapshotNotFound(snapshot)
        return self._record.snapshot(snapshot)

    def bundle_diff(self, snapshot_a: int, snapshot_b: int) -> BundleDiff:
        """Compare two snapshots, of the same bundle or of two; a deletion counts with its last state.

        Raises:
            SnapshotNotFound: There is none of one of the numbers.
        """
        old, new = self.bundle_snapshot(snapshot_a), self.bundle_snapshot(snapshot_b)
        return diff(old, new)

    def bundle_verify(self, heads: Mapping[str, str] | None = None) -> Iterator[ChainCheck]:
        """Walk the hash chain of each name, by name: say whether it holds, and its head.

        Args:
            heads: Names to heads that were kept elsewhere: each has to be in its chain still. Whoever rewrites the
                record, or cuts it short, can make its chains hold, but not bring back these.
        """
        kept = dict(heads or {})
        for check in self._record.chains():
            head = kept.pop(check.name, check.head)
            if check.problem is None and not self._is_in_chain(head, check):
                check = replace(check, problem=f"its record was rewritten: {head[:12]}… is no longer in it")
            yield check
        for name in sorted(kept):
            yield ChainCheck(name, 0, "", "its record is gone")

    def _is_in_chain(self, head: str, check: ChainCheck) -> bool:
        if head == check.head:
            return True
        lines = self._record.log(LogFilter(name=check.name, limit=None))
        return any(self._record.snapshot(line.id).hash == head for line in lines)

    def _snapshot_of(self, name: str, number: int) -> Snapshot:
        found = self.bundle_snapshot(number)
        if found.name != name:
            raise SnapshotNotFound(number, f"snapshot {number} is of bundle {found.name}, not of {name}")
        return found


def diff(old: Snapshot, new: Snapshot) -> BundleDiff:
    """Return what lies between two snapshots."""
    before, after = old.bundle, new.bundle
    attributes = {
        key: (getattr(before, key), getattr(after, key))
        for key in STATE
        if key != "devices" and getattr(before, key) != getattr(after, key)
    }
    added, removed = sorted(after.devices - before.devices), sorted(before.devices - after.devices)
    return BundleDiff(old, new, attributes, tuple(added), tuple(removed))
