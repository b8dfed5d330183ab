"""Changes of bundles: read the newest snapshot, check the rule, compute the new state, write once.

A change that loses a race against another one is computed again from the newer snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from metastore.bundle.checks import check_comment, check_name, check_user
from metastore.bundle.difference import changed_since, take_out
from metastore.bundle.policy import Groups, check_change, check_name_use
from metastore.bundle.port import Bundle, BundleRecord, Snapshot, Write
from metastore.errors import (
    AlreadyExists,
    BundleDeleted,
    BundleNotFound,
    InvalidInput,
    MergeConflict,
    MetastoreError,
    RevisionConflict,
)
from metastore.storage.retry import LostRace, retry


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a change, why, and of which snapshot.

    Attributes:
        user: The user; None if unknown.
        comment: The reason; None for no comment.
        expected: The number of the newest snapshot that the caller saw; None to change whichever is newest.
    """

    user: str | None
    comment: str | None = None
    expected: int | None = None


#: Computes a change from the newest snapshot; None if nothing would change.
Compute = Callable[[Snapshot], Write | None]


class Writer:
    """Makes changes of bundles in a record.

    Args:
        record: Where bundles and snapshots are kept.
        groups: The groups and their members.
        clock: Returns the time, with a time zone.
    """

    def __init__(self, record: BundleRecord, groups: Groups, clock: Callable[[], datetime]) -> None:
        self._record = record
        self._groups = groups
        self._clock = clock

    def newest(self, name: str) -> Snapshot | None:
        """Return the newest snapshot of a name, which may be its deletion; None if there is none."""
        with suppress(BundleNotFound):
            return self._record.newest(name)
        return None

    def commit(self, writes: Sequence[Write], request: Request) -> Sequence[Snapshot]:
        """Write changes in one transaction.

        Raises:
            RevisionConflict: A name has a newer snapshot than expected.
        """
        user, comment = check_user(request.user), check_comment(request.comment)
        return self._record.write(writes, user=user, comment=comment, at=self._clock())

    def create(self, action: str, bundle: Bundle, request: Request) -> Bundle:
        """Create a bundle. Raises AlreadyExists."""
        newest = self.newest(bundle.name)
        if newest and not newest.deleted:
            # It does not matter whose bundle the other one is: the name is taken, and anyone may read bundles.
            check_change(self._groups, request.user, [bundle])
            raise AlreadyExists(f"bundle {bundle.name}")
        check_name_use(self._groups, request.user, newest, bundle)
        write = Write(action, bundle, newest.id if newest else None)
        try:
            (snapshot,) = self.commit([write], request)
        except RevisionConflict:
            raise AlreadyExists(f"bundle {bundle.name}") from None
        return snapshot.bundle

    def update(self, name: str, compute: Callable[[Bundle], Bundle], request: Request) -> Bundle:
        """Change the state of a live bundle.

        Args:
            name: A live bundle.
            compute: Returns the new state; may be called again.
            request: Who asks for it.

        Raises:
            BundleDeleted: The bundle is deleted.
            RevisionConflict: `request.expected` is not the newest snapshot.
        """

        def write(newest: Snapshot) -> Write | None:
            after = compute(newest.bundle)
            check_change(self._groups, request.user, [newest.bundle, after])
            return None if after == newest.bundle else Write("update", after, newest.id)

        return self.write(name, write, request).bundle

    def delete(self, name: str, request: Request) -> Snapshot:
        """Delete a live bundle; return the snapshot of the deletion. Raises BundleDeleted, RevisionConflict."""

        def compute(newest: Snapshot) -> Write:
            check_change(self._groups, request.user, [newest.bundle])
            return Write("delete", newest.bundle, newest.id, deleted=True)

        return self.write(name, compute, request)

    def restore(self, then: Bundle, request: Request) -> Bundle:
        """Return a live or deleted bundle to an earlier state. Raises InvalidInput, RevisionConflict."""

        def compute(newest: Snapshot) -> Write | None:
            check_name_use(self._groups, request.user, newest, then)
            if newest.bundle.ifb_group != then.ifb_group and not newest.deleted:
                raise InvalidInput(f"{then.name} belongs to {newest.bundle.ifb_group} now, and a group never changes")
            if newest.bundle == then and not newest.deleted:
                return None
            return Write("restore", then, newest.id)

        return self.write(then.name, compute, request, deleted=True).bundle

    def undo(self, last: Snapshot, before: Snapshot, request: Request) -> Bundle:
        """Take the change from one snapshot to the next out of a bundle; undoing a deletion brings the bundle back.

        Raises:
            MergeConflict: A later change stands in the way.
            RevisionConflict: `request.expected` is not the newest snapshot.
        """

        def undelete(newest: Snapshot) -> Write:
            check_name_use(self._groups, request.user, newest, before.bundle)
            if newest.id != last.id:
                raise MergeConflict(f"bundle {last.name}", ())
            return Write("restore", before.bundle, newest.id)

        def compute(now: Bundle) -> Bundle:
            check_change(self._groups, request.user, [now])
            return take_out(now, last.bundle, before.bundle)

        if last.deleted:
            return self.write(last.name, undelete, request, deleted=True).bundle
        return self.update(last.name, compute, request)

    def undo_creation(self, last: Snapshot, request: Request) -> Bundle:
        """Delete a bundle that is as it was created. Raises MergeConflict, RevisionConflict."""

        def compute(newest: Snapshot) -> Write | None:
            check_change(self._groups, request.user, [newest.bundle])
            if newest.deleted:
                return None
            if clashes := changed_since(last.bundle, newest.bundle):
                raise MergeConflict(f"bundle {last.name}", clashes)
            return Write("delete", newest.bundle, newest.id, deleted=True)

        return self.write(last.name, compute, request, deleted=True).bundle

    def write(self, name: str, compute: Compute, request: Request, *, deleted: bool = False) -> Snapshot:
        """Compute a change from the newest snapshot and write it; repeat it after a lost race.

        Args:
            name: The name of the bundle.
            compute: Returns the change; may be called again.
            request: Who asks for it. With `expected` a lost race is an error.
            deleted: Whether the newest snapshot may be a deletion.

        Raises:
            BundleDeleted: The bundle is deleted, and `deleted` is false.
            RevisionConflict: `request.expected` is not the newest snapshot.
            StorageBusy: Every attempt lost its race.
        """
        check_name(name)
        if snapshot := self._write_from_memory(name, compute, request, deleted):
            return snapshot

        def attempt() -> Snapshot:
            newest = self._record.newest(name)
            write = _computed(newest, compute, request, deleted)
            if write is None:
                return newest
            try:
                return self.commit([write], request)[0]
            except RevisionConflict as error:
                if request.expected is not None:
                    raise
                raise LostRace from error

        return retry(attempt, f"bundle {name}", place=self._record)

    def _write_from_memory(self, name: str, compute: Compute, request: Request, deleted: bool) -> Snapshot | None:
        """Write a change computed from a remembered snapshot, which saves reading the newest one.

        The record refuses the write if the snapshot is out of date. Errors, and changes that alter nothing, count only
        if they come from the newest snapshot: they are computed again.
        """
        remembered = self._record.recent(name)
        if remembered is None:
            return None
        try:
            write = _computed(remembered, compute, request, deleted)
        except MetastoreError:
            return None
        if write is None:
            return None
        try:
            return self.commit([replace(write, follows=remembered.hash)], request)[0]
        except RevisionConflict:
            return None


def _computed(newest: Snapshot, compute: Compute, request: Request, deleted: bool) -> Write | None:
    """Compute a change from the supposedly newest snapshot.

    Raises:
        BundleDeleted: The bundle is deleted, and `deleted` is false.
        RevisionConflict: The snapshot is not the expected one.
    """
    name = newest.name
    if newest.deleted and not deleted:
        raise BundleDeleted(name, newest)
    if request.expected is not None and newest.id != request.expected:
        raise RevisionConflict(f"bundle {name}", expected=request.expected, actual=newest.id)
    return compute(newest)
