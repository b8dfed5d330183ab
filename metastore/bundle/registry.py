"""The registry of bundles: who may change what, and what becomes of it. The record underneath only keeps."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metastore.bundle.checks import apply_changes, check_comment, check_name, make_bundle
from metastore.bundle.exchange import ImportLine, Row, at_line, write_rows
from metastore.bundle.policy import check_change
from metastore.bundle.port import Bundle, Snapshot, Write
from metastore.bundle.writer import TRIES, BundleWriter
from metastore.errors import InvalidInput, PermissionDenied, RevisionConflict, StorageBusy


class BundleRegistry(BundleWriter):
    """Bundles, their owners and their record. `metastore.bundle.connect` makes one.

    Anyone may read. Every change takes `user` (who) and `comment` (why), raises `PermissionDenied` if the groups file
    does not allow it, and leaves one snapshot per bundle; one that would alter nothing leaves none. `expected` is the
    number of the newest snapshot that the caller saw: if there is a newer one, `RevisionConflict` is raised.

    Args:
        record: Where bundles and snapshots are kept.
        groups: Who is in which group.
        clock: Returns the time, with a time zone.
    """

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
        kept = _kept(changes) if isinstance(changes, Mapping) else changes
        return self._change("update", name, lambda now: apply_changes(now, kept), user, comment, expected)

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

    # Many at once

    def bundle_export(self, names: Iterable[str] | None = None, *, format: str = "json") -> Iterator[str]:
        """Return bundles as text that `bundle_import` takes, piece by piece.

        Args:
            names: Of these; None for all live ones.
            format: `json` (a list of objects) or `csv` (a line a bundle).

        Raises:
            BundleNotFound: There is none of a name.
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
        """Create and update many bundles; what is not among the rows stays, and what says nothing new is passed over.

        Args:
            rows: Bundles, or objects with their attributes (of a live bundle, those to change), or what
                `metastore.bundle.exchange.read_rows` makes of a file.
            user: Who.
            comment: Why.
            atomic: All of them in one transaction, or none; otherwise each for itself, and what fails is reported.
            dry_run: Only say what would happen; then nothing fails but the storage.

        Returns:
            What became of each row.

        Raises:
            MetastoreError: If `atomic`: what is wrong with the first row that cannot be imported; names its line.
        """
        numbered = [row if isinstance(row, Row) else Row(line, row) for line, row in enumerate(rows, 1)]
        check_comment(comment)
        seen: dict[str, int] = {}
        batches = [numbered] if atomic or dry_run else [[row] for row in numbered]
        return [
            line
            for batch in batches
            for line in self._import(batch, user, comment, seen, not atomic or dry_run, dry_run)
        ]

    def _import(
        self, rows: Sequence[Row], user: str | None, comment: str | None, seen: dict[str, int], report: bool, dry: bool
    ) -> Sequence[ImportLine]:
        """Import rows in one transaction; again after a lost race."""
        for attempt in range(TRIES):
            done: list[ImportLine] = []
            writes: list[Write] = []
            for row in rows:
                try:
                    write, outcome = self._plan(row, user, seen)
                except (InvalidInput, PermissionDenied) as error:
                    if not report:
                        raise at_line(error, row.line) from None
                    done.append(ImportLine(row.line, row.name, "failed", str(error)))
                else:
                    done.append(ImportLine(row.line, row.name, outcome))
                    writes += [write] if write else []
            try:
                if writes and not dry:
                    self._commit(writes, user, comment)
                return done
            except RevisionConflict:
                time.sleep(random.uniform(0, 0.002 * (attempt + 1)))
        raise StorageBusy("the bundles are being changed by too many others; try again")

    def _plan(self, row: Row, user: str | None, seen: dict[str, int]) -> tuple[Write | None, str]:
        """Compute what a row asks for, and say it in a word."""
        if seen.setdefault(check_name(row.name), row.line) != row.line:
            raise InvalidInput(f"bundle {row.name} occurs twice", pointer="/name")
        newest = self._newest(row.name)
        if newest is None or newest.deleted:
            made = make_bundle(row.values)
            self._may_use_name(user, newest, made)
            return Write("import", made, newest.id if newest else None), "created"
        after = apply_changes(newest.bundle, row.changes)
        check_change(self.groups, user, [newest.bundle, after])
        if after == newest.bundle:
            return None, "unchanged"
        return Write("import", after, newest.id), "updated"


def _kept(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return changes that can be computed again: what can be read only once becomes a list."""
    if any(isinstance(value, Iterator) for value in changes.values()):
        return {key: list(value) if isinstance(value, Iterator) else value for key, value in changes.items()}
    return changes
