"""An index of the parts that each revision touched. It finds the history of a part without reading every revision.

It is an SQLite file that can be deleted at any time. A revision's id depends on its content and its whole history, so
an entry of the index stays true in any dataset and any copy. The index holds ids and keys, but no text.

Revisions are indexed as they are walked, newest first. Successive revisions make a run, numbered upwards in time, which
grows at both ends.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from metastore.history._documents import Documents, read
from metastore.history._touched import is_indexable, keys_of, keys_touched
from metastore.history.parts import Part, Reader, by_names, step_back, steps_back, with_end
from metastore.index_file import IndexFile, transaction
from metastore.types import Revision, RevisionId

_FORMAT = 4
_SCHEMA = """
CREATE TABLE revisions (
    id TEXT PRIMARY KEY, run INTEGER NOT NULL, number INTEGER NOT NULL, UNIQUE (run, number)
) WITHOUT ROWID;
CREATE TABLE touched (
    run INTEGER NOT NULL, key INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (run, key, number)
) WITHOUT ROWID
"""
#: The revisions that are stored in one transaction, and the rows that are read at a time.
_BATCH, _ROWS = 100, 200

#: Yields a revision and its ancestors, newest first.
History = Callable[[RevisionId], Iterator[Revision]]
_Step = tuple[Revision, bool, Part]
_Touched = list[tuple[RevisionId, set[int]]]


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a revision in the index."""

    run: int
    number: int


@dataclass(frozen=True, slots=True)
class _Rest:
    """The rest of a walk: its next revision, the name of the part there, and the position of the revision above it."""

    start: RevisionId
    part: Part
    above: _Place | None


class PartIndex:
    """Finds the history of parts. Safe to share between threads and processes, and with a forked child.

    Args:
        path: The SQLite file, created if needed; None to keep the index in memory.
    """

    def __init__(self, path: str | None) -> None:
        self._file = IndexFile(path, _SCHEMA, _FORMAT, _overwriting)

    def close(self) -> None:
        """Close the file; an index in memory is lost, and rebuilt on use."""
        self._file.close()

    def forget(self, revisions: Iterable[RevisionId]) -> None:
        """Remove the runs of these revisions, so that nothing of them stays in the file."""

        def remove(database: sqlite3.Connection) -> None:
            with transaction(database):
                for revision_id in revisions:
                    row = database.execute("SELECT run FROM revisions WHERE id = ?", (revision_id,)).fetchone()
                    for table in ("touched", "revisions") if row is not None else ():
                        database.execute(f"DELETE FROM {table} WHERE run = ?", (row["run"],))
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        self._file.ask(remove)

    def steps_back(self, history: History, reader: Reader, first: Revision, part: Part) -> Iterator[_Step]:
        """Yield revisions, each with whether it changed a part and with the name of the part before it.

        Revisions that did not change the part may be left out. Revisions that were read are indexed, even if the caller
        stops early.

        Args:
            history: Yields a revision and its ancestors.
            reader: Returns their descriptors.
            first: The newest revision.
            part: The part, by its name in the newest revision.
        """
        part = by_names(read(reader(first)), part)
        if not is_indexable(part):
            yield from steps_back(history(first.id), reader, part)
            return
        rest: _Rest | None = _Rest(first.id, part, None)
        while rest is not None:
            place = self._find(rest.start)
            if place is None:
                rest = yield from self._walk(rest, history, reader)
            else:
                rest = yield from self._look_up(rest, place, history, reader)

    def _walk(self, rest: _Rest, history: History, reader: Reader) -> Generator[_Step, None, _Rest | None]:
        """Read and index revisions until one is indexed already."""
        part, above, waiting = rest.part, rest.above, _Touched()
        try:
            documents, after = Documents(), None
            for newer, older in pairwise(with_end(history(rest.start))):
                assert newer is not None
                after = documents.read(reader(newer)) if newer.id == rest.start else after
                before = documents.read(reader(older)) if older is not None else None
                waiting.append((newer.id, keys_touched(after, before)))
                changed, part = step_back(after, before, part)
                yield newer, changed, part
                after = before
                if older is not None and self._find(older.id) is not None:
                    above = self._store(waiting, above, older.id)
                    return _Rest(older.id, part, above)
                if len(waiting) == _BATCH:
                    above = self._store(waiting, above)
        finally:
            self._store(waiting, above)
        return None

    def _look_up(
        self, rest: _Rest, place: _Place, history: History, reader: Reader
    ) -> Generator[_Step, None, _Rest | None]:
        """Look revisions up in a run of the index, until its end."""
        part, start, number = rest.part, rest.start, place.number
        while rows := self._rows(place.run, number, part):
            for revision_id, number, is_unsure in rows:  # noqa: B007
                newer, older = _pair(history, revision_id)
                changed, former = True, part
                if is_unsure:
                    before = read(reader(older)) if older is not None else None
                    changed, former = step_back(read(reader(newer)), before, part)
                yield newer, changed, former
                if older is None:
                    return None
                start = older.id
                if former != part:
                    part = former
                    break
            number -= 1
        if (end := self._end(place.run)) is None:  # the index was rebuilt meanwhile
            return _Rest(start, part, None)
        _, older = _pair(history, end[0])
        return _Rest(older.id, part, _Place(place.run, end[1])) if older is not None else None

    def _find(self, revision_id: RevisionId) -> _Place | None:
        query = "SELECT run, number FROM revisions WHERE id = ?"
        row = self._file.ask(lambda database: database.execute(query, (revision_id,)).fetchone())
        return _Place(*row) if row is not None else None

    def _rows(self, run: int, number: int, part: Part) -> list[tuple[RevisionId, int, bool]]:
        """Return the revisions of a run that touched a part, newest first, and whether each has to be read to know."""
        touched, unsure = (", ".join(map(str, keys)) for keys in keys_of(part))
        # The inner query has its limit first: else SQLite joins all revisions of the run.
        query = f"""SELECT id, number, is_unsure FROM (
                SELECT run, number, max(key IN ({unsure})) AS is_unsure FROM touched
                WHERE run = ? AND key IN ({touched}, {unsure}) AND number <= ?
                GROUP BY number ORDER BY number DESC LIMIT {_ROWS}
            ) JOIN revisions USING (run, number) ORDER BY number DESC"""
        return self._file.ask(lambda database: [(*row,) for row in database.execute(query, (run, number))])

    def _end(self, run: int) -> tuple[RevisionId, int] | None:
        """Return the oldest revision of a run."""
        query = "SELECT id, number FROM revisions WHERE run = ? ORDER BY number LIMIT 1"
        row = self._file.ask(lambda database: database.execute(query, (run,)).fetchone())
        return (row["id"], row["number"]) if row is not None else None

    def _store(self, waiting: _Touched, above: _Place | None, below: RevisionId | None = None) -> _Place | None:
        """Store successive revisions and empty the list. Return the position of the oldest, or None if not stored.

        Args:
            waiting: The revisions, newest first, with the keys that they touched.
            above: The position of the revision above them, if it is stored.
            below: The revision below them, if it is stored.
        """
        stored, waiting[:] = waiting[:], []
        return self._file.ask(lambda database: _store(database, stored, above, below)) if stored else above


def _overwriting(database: sqlite3.Connection) -> None:
    """Let rows that are deleted be overwritten in the file."""
    database.execute("PRAGMA secure_delete = ON")


def _pair(history: History, revision_id: RevisionId) -> tuple[Revision, Revision | None]:
    newer, *older = islice(history(revision_id), 2)
    return newer, older[0] if older else None


def _store(
    database: sqlite3.Connection, waiting: _Touched, above: _Place | None, below: RevisionId | None
) -> _Place | None:
    with transaction(database):
        if any(database.execute("SELECT 1 FROM revisions WHERE id = ?", (each,)).fetchone() for each, _ in waiting):
            return None  # another process was faster
        run, newest = _room(database, len(waiting), above, below)
        for number, (revision_id, keys) in zip(range(newest, newest - len(waiting), -1), waiting, strict=True):
            database.execute("INSERT INTO revisions VALUES (?, ?, ?)", (revision_id, run, number))
            database.executemany("INSERT INTO touched VALUES (?, ?, ?)", [(run, key, number) for key in keys])
    return _Place(run, newest - len(waiting) + 1)


def _room(database: sqlite3.Connection, count: int, above: _Place | None, below: RevisionId | None) -> tuple[int, int]:
    """Return a run that can be extended by some revisions, else a new one, and the number of the newest revision."""
    ends = "SELECT min(number), max(number) FROM revisions WHERE run = ?"
    if above is not None and database.execute(ends, (above.run,)).fetchone()[0] == above.number:
        return above.run, above.number - 1
    at = "SELECT run, number FROM revisions WHERE id = ?"
    row = database.execute(at, (below,)).fetchone()
    if row is not None and database.execute(ends, (row["run"],)).fetchone()[1] == row["number"]:
        return row["run"], row["number"] + count
    return secrets.randbits(62), 0  # random, so that no walk mistakes it for an older run after a rebuild
