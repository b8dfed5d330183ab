"""How every change of a bundle goes: the newest snapshot, the rule, a pure computation, one write."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from metastore.bundle.checks import check_comment, check_name, check_user
from metastore.bundle.policy import ROOT, Groups, check_change
from metastore.bundle.port import Bundle, BundleRecord, Snapshot, Write
from metastore.bundle.reader import BundleReader
from metastore.errors import (
    AlreadyExists,
    BundleDeleted,
    BundleNotFound,
    InvalidInput,
    MetastoreError,
    PermissionDenied,
    RevisionConflict,
    StorageBusy,
)

TRIES = 30


class BundleWriter(BundleReader):
    """The half of `BundleRegistry` that its changes have in common."""

    def __init__(
        self,
        record: BundleRecord,
        groups: Groups,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(record)
        self.groups = groups
        self._clock = clock

    def _create(self, action: str, bundle: Bundle, user: str | None, comment: str | None) -> Bundle:
        newest = self._newest(bundle.name)
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
        """Compute a change of the newest snapshot and write it; again after a lost race, unless `expected` is given."""
        check_name(name)
        if made := self._from_recent(name, compute, user, comment, expected, deleted):
            return made
        for attempt in range(TRIES):
            newest = self._record.newest(name)
            write = _computed(newest, compute, expected, deleted)
            if write is None:
                return newest
            try:
                return self._commit([write], user, comment)[0]
            except RevisionConflict:
                if expected is not None:
                    raise
                time.sleep(random.uniform(0, 0.002 * (attempt + 1)))
        raise StorageBusy(f"bundle {name} is being changed by too many others; try again")

    def _from_recent(
        self,
        name: str,
        compute: Callable[[Snapshot], Write | None],
        user: str | None,
        comment: str | None,
        expected: int | None,
        deleted: bool,
    ) -> Snapshot | None:
        """Make a change of the snapshot that was seen last, without asking whether there is a newer one.

        The record refuses it if there is. Nothing but a write comes of this: all else is computed of the newest one.
        """
        known = self._record.recent(name)
        if known is None:
            return None
        try:
            write = _computed(known, compute, expected, deleted)
        except MetastoreError:
            return None
        if write is None:
            return None
        try:
            return self._commit([replace(write, follows=known.hash)], user, comment)[0]
        except RevisionConflict:
            return None

    def _newest(self, name: str) -> Snapshot | None:
        with suppress(BundleNotFound):
            return self._record.newest(name)
        return None

    def _commit(self, writes: Sequence[Write], user: str | None, comment: str | None) -> Sequence[Snapshot]:
        return self._record.write(writes, user=check_user(user), comment=check_comment(comment), at=self._clock())

    def _may_use_name(self, user: str | None, newest: Snapshot | None, after: Bundle) -> None:
        """Check a change that may bring back a deleted name: it stays in its group, unless a superuser says so."""
        check_change(self.groups, user, [*([newest.bundle] if newest else []), after])
        if newest and newest.bundle.ifb_group == after.ifb_group:
            return
        known = self.groups.current()
        if newest and user not in known.superusers:
            raise PermissionDenied(f"{after.name} belonged to {newest.bundle.ifb_group}, and comes back only there")
        if after.ifb_group not in (*known.groups, ROOT):
            raise InvalidInput(f"there is no group {after.ifb_group!r} in the groups file", pointer="/ifb_group")


def _computed(
    newest: Snapshot, compute: Callable[[Snapshot], Write | None], expected: int | None, deleted: bool
) -> Write | None:
    """Compute a change of what is taken to be the newest snapshot.

    Raises:
        BundleDeleted: It is a deletion, and `deleted` does not allow one.
        RevisionConflict: It is not the expected one.
    """
    name = newest.name
    if newest.deleted and not deleted:
        raise BundleDeleted(name, newest)
    if expected is not None and newest.id != expected:
        raise RevisionConflict(f"bundle {name}", expected=expected, actual=newest.id)
    return compute(newest)
