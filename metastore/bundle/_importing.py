"""Import many bundles: decide for each row what it changes, then write all changes in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metastore.bundle._writer import Request, Writer
from metastore.bundle.checks import apply_changes, check_name, make_bundle
from metastore.bundle.exchange import ImportLine, Row, at_line
from metastore.bundle.policy import Groups, check_change, check_name_use
from metastore.bundle.port import Write
from metastore.errors import InvalidInput, PermissionDenied, RevisionConflict
from metastore.storage.retry import LostRace, retry


def import_rows(
    writer: Writer, groups: Groups, rows: Sequence[Row], request: Request, *, atomic: bool, dry_run: bool
) -> Sequence[ImportLine]:
    """Import rows, in one transaction if `atomic`. Without it, and in a dry run, rows that fail are reported.

    Raises:
        MetastoreError: Of the first row that cannot be imported and is not reported; the message names its line.
    """
    task = _Import(writer, groups, request, report=not atomic or dry_run, dry_run=dry_run, lines=_first_lines(rows))
    batches = [rows] if atomic or dry_run else [[row] for row in rows]
    return [outcome for batch in batches for outcome in task.run(batch)]


@dataclass(frozen=True, slots=True)
class _Import:
    writer: Writer
    groups: Groups
    request: Request
    report: bool
    dry_run: bool
    #: The name of each bundle to the first line that has it.
    lines: Mapping[object, int]

    def run(self, rows: Sequence[Row]) -> Sequence[ImportLine]:
        """Import rows in one transaction; repeat it after a lost race."""

        def attempt() -> Sequence[ImportLine]:
            planned = [self._outcome(row) for row in rows]
            writes = [write for write, _ in planned if write is not None]
            try:
                if writes and not self.dry_run:
                    self.writer.commit(writes, self.request)
            except RevisionConflict as error:
                raise LostRace from error
            return [line for _, line in planned]

        return retry(attempt, "a bundle of this import")

    def _outcome(self, row: Row) -> tuple[Write | None, ImportLine]:
        try:
            write, outcome = self._plan(row)
        except (InvalidInput, PermissionDenied) as error:
            if not self.report:
                raise at_line(error, row.line) from None
            return None, ImportLine(row.line, row.name, "failed", str(error))
        return write, ImportLine(row.line, row.name, outcome)

    def _plan(self, row: Row) -> tuple[Write | None, str]:
        """Return the change that a row asks for, None if it changes nothing, and the outcome in a word."""
        if self.lines.get(check_name(row.name)) != row.line:
            raise InvalidInput(f"bundle {row.name} occurs twice", pointer="/name")
        newest = self.writer.newest(row.name)
        user = self.request.user
        if newest is None or newest.deleted:
            bundle = make_bundle(row.values)
            check_name_use(self.groups, user, newest, bundle)
            return Write("import", bundle, newest.id if newest else None), "created"
        after = apply_changes(newest.bundle, row.changes)
        check_change(self.groups, user, [newest.bundle, after])
        if after == newest.bundle:
            return None, "unchanged"
        return Write("import", after, newest.id), "updated"


def _first_lines(rows: Sequence[Row]) -> dict[object, int]:
    """Return the name of each bundle and the first line that has it."""
    lines: dict[object, int] = {}
    for row in rows:
        if isinstance(row.name, str):
            lines.setdefault(row.name, row.line)
    return lines
