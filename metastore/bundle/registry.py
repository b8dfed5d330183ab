"""The registry of bundles: who may change what, and with which result. The record below it only stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from metastore.auth.access import BundleGrant
from metastore.bundle._chains import verify
from metastore.bundle._importing import import_rows
from metastore.bundle._writer import Request, Writer
from metastore.bundle.checks import (
    LARGEST,
    apply_changes,
    check_comment,
    check_filter,
    check_listing,
    check_name,
    check_time,
    make_bundle,
)
from metastore.bundle.difference import diff
from metastore.bundle.exchange import ImportLine, Row, write_rows
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.policy import Groups
from metastore.bundle.port import (
    Bundle,
    BundleDiff,
    BundleRecord,
    ChainCheck,
    Filter,
    LogEntry,
    LogFilter,
    Snapshot,
)
from metastore.closing import refuses_when_closed
from metastore.errors import BundleDeleted, OutcomeUnknown, SnapshotNotFound
from metastore.types import Outcome


@refuses_when_closed
class BundleRegistry:
    """Bundles, their owners and their record. `metastore.bundle.connect` opens one.

    Anyone may read. Each change takes the `user` who makes it and a `comment` that says why. It raises
    `PermissionDenied` if the groups file does not allow it, and leaves one snapshot per bundle, or none if it alters
    nothing. `expected` is the number of the newest snapshot that the caller saw: if there is a newer one, the change
    raises `RevisionConflict`.

    Args:
        record: Where bundles and snapshots are kept.
        groups: The groups and their members.
        clock: Returns the time, with a time zone.
    """

    _closed = False

    def __init__(
        self, record: BundleRecord, groups: Groups, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.groups = groups
        self._record = record
        self._clock = clock
        self._writer = Writer(record, groups, clock)

    def limited_to(self, grant: BundleGrant) -> BundleRegistry:
        """Return the same registry for a caller who may change only the bundles that a token grants."""
        limited = copy(self)
        limited.groups = self.groups.limited_to(grant)
        limited._writer = Writer(self._record, limited.groups, self._clock)
        return limited

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {type(self._record).__name__}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free connections and files. Every further call raises InvalidInput."""
        self._closed = True
        self._record.close()

    # Reading

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
        """Return live bundles ordered by name, lazily.

        Args:
            group: Only bundles of this group.
            device: Only bundles with this device.
            event: Only bundles with exactly this event.
            run: Only bundles that should, or should not, run.
            host: Only bundles that may run on this host.
            prefix: Only bundles whose name begins with this.
            after: Only bundles behind this name; pass the last one of a page to get the next page.
            limit: The largest number of bundles to return.
        """
        return self._record.bundles(check_filter(Filter(group, device, event, run, host, prefix, after, limit)))

    def bundle_lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list for people: no devices, but who changed each bundle last; deleted ones on request.

        Raises:
            InvalidInput: The order is unknown, or `after_key` does not fit it.
        """
        return self._record.lines(check_listing(wanted))

    def bundle_read(self, name: str, *, snapshot: int | None = None, at: datetime | None = None) -> Bundle:
        """Return a bundle: the current state, or the state at a snapshot or at a time.

        Raises:
            BundleNotFound: There is, or was at that time, no bundle of this name.
            BundleDeleted: The bundle is, or was by that time, deleted.
            SnapshotNotFound: This bundle has no such snapshot.
        """
        check_name(name)
        if snapshot is not None:
            return self._snapshot_of(name, snapshot).bundle
        state = self._record.newest(name) if at is None else self._record.as_of(name, check_time(at))
        if state.deleted:
            raise BundleDeleted(name, state)
        return state.bundle

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
        """Return a page of the log, newest first.

        Args:
            name: Only changes of this bundle, which may be deleted.
            user: Only changes by this user.
            device: Only changes that added or removed this device.
            since: Only changes made at this time or later.
            until: Only changes made before this time.
            before: Only snapshots with a smaller number; pass the last one of a page to get the next page.
            limit: The largest number of lines to return; None for all.
        """
        return self._record.log(check_filter(LogFilter(name, user, device, since, until, before, limit)))

    def bundle_snapshot(self, snapshot: int) -> Snapshot:
        """Return a snapshot: the user, the time, the comment, and the whole state.

        Raises:
            SnapshotNotFound: There is no snapshot of this number.
        """
        if type(snapshot) is not int or not 0 < snapshot <= LARGEST:
            raise SnapshotNotFound(snapshot)
        return self._record.snapshot(snapshot)

    def bundle_diff(self, snapshot_a: int, snapshot_b: int) -> BundleDiff:
        """Compare two snapshots of the same bundle or of two; a deletion counts with its last state.

        Raises:
            SnapshotNotFound: One of the snapshots does not exist.
        """
        return diff(self.bundle_snapshot(snapshot_a), self.bundle_snapshot(snapshot_b))

    def bundle_verify(self, heads: Mapping[str, str] | None = None) -> Iterator[ChainCheck]:
        """Check the record of each name, ordered by name, and return its head.

        Args:
            heads: Names to heads that were kept elsewhere, each of which must still be in its chain. This reveals a
                record that was rewritten or cut short so that its chains hold.
        """
        return verify(self._record, heads or {})

    def settle(self, error: OutcomeUnknown) -> Outcome:
        """Find out whether a change was made, after its call raised `OutcomeUnknown`.

        In a database, `NOT_LANDED` is final: the change can no longer be made.

        Args:
            error: What the call raised.

        Returns:
            `UNKNOWN` if it still cannot be told; ask again later.

        Raises:
            InvalidInput: The error is not about a change of bundles.
        """
        return self._record.settle(error)

    def _snapshot_of(self, name: str, number: int) -> Snapshot:
        snapshot = self.bundle_snapshot(number)
        if snapshot.name != name:
            raise SnapshotNotFound(number, f"snapshot {number} is of bundle {snapshot.name}, not of {name}")
        return snapshot

    # Changing

    def bundle_create(
        self, bundle: Bundle | Mapping[str, Any], *, user: str | None, comment: str | None = None
    ) -> Bundle:
        """Create a bundle. The name of a deleted one can be used again by its old group.

        Raises:
            AlreadyExists: There is a live bundle of this name.
        """
        return self._writer.create("create", make_bundle(bundle), Request(user, comment))

    def bundle_update(
        self,
        name: str,
        changes: Mapping[str, Any],
        *,
        user: str | None,
        comment: str | None = None,
        expected: int | None = None,
    ) -> Bundle:
        """Change attributes and devices; attributes that `changes` does not name stay.

        Args:
            name: A live bundle.
            changes: Attributes to new values, with `devices` for all devices, or `add_devices` and `remove_devices`.
            user: The user who makes the change.
            comment: The reason.
            expected: The number of the newest snapshot that the caller saw.

        Raises:
            RevisionConflict: `expected` is not the newest snapshot.
        """
        kept = _repeatable(changes) if isinstance(changes, Mapping) else changes
        return self._writer.update(name, lambda now: apply_changes(now, kept), Request(user, comment, expected))

    def bundle_delete(
        self, name: str, *, user: str | None, comment: str | None = None, expected: int | None = None
    ) -> Snapshot:
        """Delete a bundle. Its last state and its record stay, and `bundle_restore` restores it.

        Raises:
            BundleDeleted: The bundle is already deleted.
            RevisionConflict: `expected` is not the newest snapshot.
        """
        return self._writer.delete(name, Request(user, comment, expected))

    def bundle_copy(self, name: str, new_name: str, *, user: str | None, comment: str | None = None) -> Bundle:
        """Create a bundle that is like another one, under a new name, in the same group.

        Raises:
            AlreadyExists: There is a live bundle of the new name.
        """
        copy = replace(self.bundle_read(name), name=check_name(new_name))
        return self._writer.create("copy", copy, Request(user, comment))

    def bundle_restore(
        self,
        name: str,
        snapshot: int,
        *,
        user: str | None,
        comment: str | None = None,
        expected: int | None = None,
    ) -> Bundle:
        """Return a bundle to its state at a snapshot, by a new change; this also brings back a deleted bundle.

        Raises:
            SnapshotNotFound: This bundle has no such snapshot.
            RevisionConflict: `expected` is not the newest snapshot.
        """
        then = self._snapshot_of(check_name(name), snapshot).bundle
        return self._writer.restore(then, Request(user, comment, expected))

    def bundle_undo(
        self,
        name: str,
        snapshot: int,
        *,
        user: str | None,
        comment: str | None = None,
        expected: int | None = None,
    ) -> Bundle:
        """Take the change that a snapshot made out of a bundle, and keep those after it, by a new change.

        Undoing a deletion brings the bundle back. Undoing what created it, or brought it back, deletes it: then
        `bundle_read` raises `BundleDeleted`. If nothing of the change is left, nothing is written.

        Raises:
            MergeConflict: A later change stands in the way.
            SnapshotNotFound: This bundle has no such snapshot.
            RevisionConflict: `expected` is not the newest snapshot.
        """
        last = self._snapshot_of(check_name(name), snapshot)
        before = self.bundle_snapshot(last.previous) if last.previous is not None else None
        request = Request(user, comment or f"Undo {snapshot}", expected)
        if before is None or before.deleted:
            return self._writer.undo_creation(last, request)
        return self._writer.undo(last, before, request)

    # Many at once

    def bundle_export(self, names: Iterable[str] | None = None, *, format: str = "json") -> Iterator[str]:
        """Return bundles as text that `bundle_import` takes, piece by piece.

        Args:
            names: The bundles to export; None for all live ones.
            format: `json` (a list of objects) or `csv` (one line per bundle).

        Raises:
            BundleNotFound: A name has no bundle.
            InvalidInput: The format is neither.
        """
        bundles = self.bundle_list() if names is None else (self.bundle_read(name) for name in names)
        return write_rows(bundles, format)

    def bundle_import(
        self,
        rows: Iterable[Row | Bundle | Mapping[str, Any]],
        *,
        user: str | None,
        comment: str | None = None,
        atomic: bool = True,
        dry_run: bool = False,
    ) -> Sequence[ImportLine]:
        """Create and update many bundles. Bundles that the rows do not name stay, and so do those that are equal.

        Args:
            rows: Bundles; or objects with all attributes of a new bundle, or with those of a live bundle that change,
                `add_devices` and `remove_devices` too; or the result of `metastore.bundle.exchange.read_rows`.
            user: The user who imports.
            comment: The reason.
            atomic: Whether to import all rows in one transaction or none. Otherwise each row is imported on its own,
                and rows that fail are reported.
            dry_run: Whether to only report what would happen. Then no row raises.

        Returns:
            The outcome of each row.

        Raises:
            MetastoreError: With `atomic`, of the first row that cannot be imported; the message names its line.
        """
        numbered = [row if isinstance(row, Row) else Row(line, row) for line, row in enumerate(rows, 1)]
        request = Request(user, check_comment(comment))
        return import_rows(self._writer, self.groups, numbered, request, atomic=atomic, dry_run=dry_run)


def _repeatable(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return changes that can be applied more than once: iterators become lists."""
    return {key: list(value) if isinstance(value, Iterator) else value for key, value in changes.items()}
