"""An index of the record of bundles in SQLite. It is built from the record, which always takes precedence.

The index names the revision that it covers. Before it answers, it adds the revisions since then. If the record does not
have that revision, or the index has another format, it is rebuilt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from metastore.bundle._tables import (
    FORMAT,
    SCHEMA,
    add_snapshot,
    bundles_query,
    empty_tables,
    lines_query,
    log_query,
    time_text,
    to_bundle,
    to_line,
    to_log_entry,
)
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import Bundle, Filter, LogEntry, LogFilter, Snapshot
from metastore.index_file import IndexFile, transaction
from metastore.types import RevisionId

#: The number of bundles that one statement reads.
_PAGE = 500


class Index:
    """Finds bundles and snapshots by group, device, event, user and time. Safe to share, also with a forked child.

    A damaged file is deleted and rebuilt. If the file cannot be written, the index is kept in memory.

    Args:
        path: An SQLite file, created if needed; None to keep the index in memory.
        revisions: Yields the revisions of the record, newest first.
        snapshots: Returns the snapshots of a revision, in order.
    """

    def __init__(
        self,
        path: str | None,
        revisions: Callable[[], Iterator[RevisionId]],
        snapshots: Callable[[RevisionId], Sequence[Snapshot]],
    ) -> None:
        self._revisions = revisions
        self._snapshots = snapshots
        self._file = IndexFile(path, SCHEMA, FORMAT, self._cover)

    def close(self) -> None:
        """Close the file; an index in memory is lost, and rebuilt on use."""
        self._file.close()

    def catch_up(self, head: str | None) -> None:
        """Add the revisions of the record up to its newest one, `head`."""

        def cover(database: sqlite3.Connection) -> None:
            if _covered(database) != head:
                self._cover(database)

        self._file.ask(cover)

    def place(self, number: int) -> tuple[RevisionId, str] | None:
        """Return the revision and name of a snapshot."""
        return self._place("SELECT revision, name FROM snapshots WHERE id = ?", (number,))

    def as_of(self, name: str, at: datetime) -> tuple[RevisionId, str] | None:
        """Return the revision of the newest snapshot of a name that was made at a time or earlier, and the name."""
        query = """SELECT revision, name FROM snapshots WHERE name = ? AND created <= ?
            ORDER BY created DESC, id DESC LIMIT 1"""
        return self._place(query, (name, time_text(at)))

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles by name."""
        after, left = wanted.after or "", wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            query, values = bundles_query(wanted, after, size)
            page = self._rows(query, values)
            yield from map(to_bundle, page)
            if len(page) < size:
                return
            after = page[-1]["name"]
            left = None if left is None else left - size

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list."""
        query, values = lines_query(wanted)
        return [to_line(row) for row in self._rows(query, values)]

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""
        query, values = log_query(wanted)
        return [to_log_entry(row) for row in self._rows(query, values)]

    def _place(self, query: str, values: tuple[object, ...]) -> tuple[RevisionId, str] | None:
        rows = self._rows(query, values)
        return (rows[0]["revision"], rows[0]["name"]) if rows else None

    def _rows(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        return self._file.ask(lambda database: database.execute(query, values).fetchall())

    def _cover(self, database: sqlite3.Connection) -> None:
        with transaction(database):
            new = self._behind(_covered(database))
            if new is None:  # the record is another one: rebuild
                empty_tables(database)
                new = self._behind(None) or []
            for revision in reversed(new):
                for snapshot in self._snapshots(revision):
                    add_snapshot(database, revision, snapshot)
            if new:
                database.execute("UPDATE meta SET head = ?", (new[0],))

    def _behind(self, covered: str | None) -> list[RevisionId] | None:
        """Return the revisions after the covered one, newest first; None if the record does not have that one."""
        new: list[RevisionId] = []
        for revision in self._revisions():
            if revision == covered:
                return new
            new.append(revision)
        return new if covered is None else None


def _covered(database: sqlite3.Connection) -> str | None:
    row = database.execute("SELECT head FROM meta").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("it does not name the revision that it covers")
    return row[0]  # type: ignore[no-any-return]
