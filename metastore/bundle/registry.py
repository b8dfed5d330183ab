"""The registry of bundles: who may change what, and what becomes of it. The record underneath only keeps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from metastore.bundle.base import (
    STATE,
    Bundle,
    BundleDiff,
    BundleRecord,
    ChainCheck,
    Filter,
    LogEntry,
    LogFilter,
    Snapshot,
    Write,
)
from metastore.bundle.checks import apply_changes, check_comment, check_name, check_user, make_bundle
from metastore.bundle.policy import Groups, check_change
from metastore.errors import (
    AlreadyExists,
    BundleDeleted,
    BundleNotFound,
    InvalidInput,
    PermissionDenied,
    RevisionConflict,
    SnapshotNotFound,
    StorageBusy,
)

_TRIES = 30


class BundleRegistry:
    """Bundles, their owners and their record. `metastore.bundle.connect` makes one.

    Anyone may read. Every change takes `user` (who) and `comment` (why), raises `PermissionDenied` if the groups file
    does not allow it, and leaves one snapshot per bundle; one that would alter nothing leaves none. `expected` is the
    number of the newest snapshot that the caller saw: if there is a newer one, `RevisionConflict` is raised.

    Args:
        record: Where bundles and snapshots are kept.
        groups: Who is in which group.
        clock: Returns the time, with a time zone.
    """

    def __init__(
        self,
        record: BundleRecord,
        groups: Groups,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._record = record
        self.groups = groups
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held open; a call after that opens it again."""
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
        _check_limit(limit)
        return self._record.bundles(Filter(group, device, event, run, host, prefix, after, limit))

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
        found = self._record.newest(name) if at is None else self._record.as_of(name, _aware(at))
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
        limit: int = 50,
    ) -> Sequence[LogEntry]:
        """Return a page of the record, newest first.

        Args:
            name: Of this bundle; also of a deleted one.
            user: Made by this user.
            device: That added or removed this device.
            since: Made then or later.
            until: Made before then.
            before: With a smaller number: the `id` of the last line of the page before.
            limit: At most so many lines.
        """
        _check_limit(limit)
        times = [_aware(at) if at is not None else None for at in (since, until)]
        return self._record.log(LogFilter(name, user, device, times[0], times[1], before, limit))

    def bundle_snapshot(self, snapshot: int) -> Snapshot:
        """Return a snapshot: who, when, why, and the whole state.

        Raises:
            SnapshotNotFound: There is none of this number.
        """
        if not isinstance(snapshot, int) or isinstance(snapshot, bool):
            raise SnapshotNotFound(snapshot)
        return self._record.snapshot(snapshot)

    def bundle_diff(self, snapshot_a: int, snapshot_b: int) -> BundleDiff:
        """Compare two snapshots, of the same bundle or of two; a deletion counts with its last state.

        Raises:
            SnapshotNotFound: There is none of one of the numbers.
        """
        old, new = self.bundle_snapshot(snapshot_a), self.bundle_snapshot(snapshot_b)
        return diff(old, new)

    def bundle_verify(self) -> Iterator[ChainCheck]:
        """Walk the hash chain of each name, by name: say whether it holds, and its head."""
        return self._record.chains()

    # Changing

    def bundle_create(
        self, bundle: Bundle | Mapping[str, Any], *, user: str | None, comment: str | None = None
    ) -> Bundle:
        """Make a bundle; the name of a deleted one can be used again, in its old group.

        Raises:
            AlreadyExists: There is a live bundle of this name.
        """
        return self._create("create", make_bundle(bundle), user, comment)

    def bundle_update(
        self,
        name: str,
        changes: Mapping[str, Any],
        *,
        user: str | None,
        comment: str | None = None,
        expected: int | None = None,
    ) -> Bundle:
        """Change attributes and devices; what is not named stays.

        Args:
            name: A live bundle.
            changes: Attributes to new values (`devices` too), `add_devices` and `remove_devices`.
            user: Who.
            comment: Why.
            expected: The number of the newest snapshot as the caller knows it.

        Raises:
            RevisionConflict: `expected` is not the newest snapshot.
        """
        return self._change("update", name, lambda now: apply_changes(now, changes), user, comment, expected)

    def bundle_delete(
        self, name: str, *, user: str | None, comment: str | None = None, expected: int | None = None
    ) -> Snapshot:
        """Delete a bundle; its last state and its record stay, and `bundle_restore` brings it back.

        Raises:
            BundleDeleted: It was deleted before.
            RevisionConflict: `expected` is not the newest snapshot.
        """

        def compute(newest: Snapshot) -> Write:
            check_change(self.groups, user, [newest.bundle])
            return Write("delete", newest.bundle, newest.id, deleted=True)

        return self._write(name, compute, user, comment, expected)

    def bundle_copy(self, name: str, new_name: str, *, user: str | None, comment: str | None = None) -> Bundle:
        """Make a bundle like another one, under a new name, in the same group.

        Raises:
            AlreadyExists: There is a live bundle of the new name.
        """
        return self._create("copy", replace(self.bundle_read(name), name=check_name(new_name)), user, comment)

    def bundle_restore(
        self,
        name: str,
        snapshot: int,
        *,
        user: str | None,
        comment: str | None = None,
        expected: int | None = None,
    ) -> Bundle:
        """Make a bundle what it was at a snapshot, by a new change; this also brings back a deleted one.

        Raises:
            SnapshotNotFound: This bundle has no such snapshot.
            RevisionConflict: `expected` is not the newest snapshot.
        """
        then = self._snapshot_of(check_name(name), snapshot).bundle

        def compute(newest: Snapshot) -> Write | None:
            self._may_use_name(user, newest, then)
            if newest.bundle.ifb_group != then.ifb_group and not newest.deleted:
                raise InvalidInput(f"{name} belongs to {newest.bundle.ifb_group} now, and a group never changes")
            if newest.bundle == then and not newest.deleted:
                return None
            return Write("restore", then, newest.id)

        return self._write(name, compute, user, comment, expected, deleted=True).bundle

    # How every change goes

    def _create(self, action: str, bundle: Bundle, user: str | None, comment: str | None) -> Bundle:
        newest: Snapshot | None = None
        with suppress(BundleNotFound):
            newest = self._record.newest(bundle.name)
        if newest and not newest.deleted:
            check_change(self.groups, user, [newest.bundle, bundle])
            raise AlreadyExists(f"bundle {bundle.name}")
        self._may_use_name(user, newest, bundle)
        write = Write(action, bundle, newest.id if newest else None)
        try:
            (made,) = self._commit([write], user, comment)
        except RevisionConflict:
            raise AlreadyExists(f"bundle {bundle.name}") from None
        return made.bundle

    def _change(
        self,
        action: str,
        name: str,
        compute: Callable[[Bundle], Bundle],
        user: str | None,
        comment: str | None,
        expected: int | None,
    ) -> Bundle:
        def write(newest: Snapshot) -> Write | None:
            after = compute(newest.bundle)
            check_change(self.groups, user, [newest.bundle, after])
            return None if after == newest.bundle else Write(action, after, newest.id)

        return self._write(name, write, user, comment, expected).bundle

    def _write(
        self,
        name: str,
        compute: Callable[[Snapshot], Write | None],
        user: str | None,
        comment: str | None,
        expected: int | None,
        *,
        deleted: bool = False,
    ) -> Snapshot:
        """Read the newest snapshot, compute, write; again after a lost race, unless `expected` is given."""
        check_name(name)
        for attempt in range(_TRIES):
            newest = self._record.newest(name)
            if newest.deleted and not deleted:
                raise BundleDeleted(name, newest)
            if expected is not None and newest.id != expected:
                raise RevisionConflict(f"bundle {name}", expected=expected, actual=newest.id)
            write = compute(newest)
            if write is None:
                return newest
            try:
                return self._commit([write], user, comment)[0]
            except RevisionConflict:
                if expected is not None:
                    raise
                time.sleep(random.uniform(0, 0.002 * (attempt + 1)))
        raise StorageBusy(f"bundle {name} is being changed by too many others; try again")

    def _commit(self, writes: Sequence[Write], user: str | None, comment: str | None) -> Sequence[Snapshot]:
        return self._record.write(writes, user=check_user(user), comment=check_comment(comment), at=self._clock())

    def _may_use_name(self, user: str | None, newest: Snapshot | None, after: Bundle) -> None:
        """Check a change that may bring back a deleted name: it stays in its group, unless a superuser says so."""
        check_change(self.groups, user, [*([newest.bundle] if newest else []), after])
        known = self.groups.current()
        if newest and newest.bundle.ifb_group != after.ifb_group and user not in known.superusers:
            raise PermissionDenied(f"{after.name} belonged to {newest.bundle.ifb_group}, and comes back only there")
        if after.ifb_group not in (*known.groups, "root"):
            raise InvalidInput(f"there is no group {after.ifb_group!r} in the groups file", pointer="/ifb_group")

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


def _check_limit(limit: int | None) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidInput(f"a limit is a number from 0 on, not {limit!r}")


def _aware(at: datetime) -> datetime:
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidInput(f"a time needs a time zone, such as 2024-05-01T12:00:00+00:00, not {str(at)[:60]!r}")
    return at
