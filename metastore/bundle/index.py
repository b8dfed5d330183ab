"""An index of the record of bundles: SQLite, made from the record, and never trusted over it.

It names the revision that it covers. When the record has gone on, it walks from there and catches up; when it does not
find the revision it knows, or has another format, it begins anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from metastore.bundle.base import STATE, Bundle, Filter, LogEntry, LogFilter, Snapshot
from metastore.types import RevisionId

_FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (head TEXT);
INSERT INTO meta VALUES (NULL);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, created TEXT NOT NULL, user TEXT NOT NULL, comment TEXT NOT NULL,
    action TEXT NOT NULL, deleted INTEGER NOT NULL, attributes TEXT NOT NULL, added INTEGER NOT NULL,
    removed INTEGER NOT NULL, revision TEXT NOT NULL
);
CREATE INDEX snapshots_of_name ON snapshots (name, id);
CREATE INDEX snapshots_of_user ON snapshots (user, id);
CREATE INDEX snapshots_of_time ON snapshots (created, id);
CREATE TABLE device_changes (
    device TEXT NOT NULL, snapshot INTEGER NOT NULL, PRIMARY KEY (device, snapshot)
) WITHOUT ROWID;
CREATE TABLE current (
    name TEXT PRIMARY KEY, event TEXT NOT NULL, ifb_group TEXT NOT NULL, storage TEXT NOT NULL, run INTEGER NOT NULL,
    udp INTEGER NOT NULL, writable INTEGER NOT NULL, hosts TEXT NOT NULL, updated TEXT NOT NULL,
    snapshot INTEGER NOT NULL, deleted INTEGER NOT NULL
);
CREATE TABLE current_devices (name TEXT NOT NULL, device TEXT NOT NULL, PRIMARY KEY (name, device)) WITHOUT ROWID;
CREATE INDEX current_by_device ON current_devices (device, name);
"""


class Index:
    """Answers by group, device, event, user and time. Safe to share between threads, processes, and after a fork.

    Args:
        path: An SQLite file, made if need be; None for memory.
        revisions: Yields the revisions of the record, newest first.
        snapshots: Returns the snapshots that a revision made, in order.
    """

    def __init__(
        self,
        path: str | None,
        revisions: Callable[[], Iterator[RevisionId]],
        snapshots: Callable[[RevisionId], Sequence[Snapshot]],
    ) -> None:
        self._path = path
        self._revisions = revisions
        self._snapshots = snapshots
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def close(self) -> None:
        """Close the file; in memory, forget everything."""
        with self._mutex:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def catch_up(self, head: str | None) -> None:
        """Cover the record up to its newest revision, `head`."""
        with self._mutex:
            if self._covered() == head:
                return
            with self._transaction() as database:
                new = self._behind(self._covered())
                if new is None:  # the record is another one: begin anew
                    _empty(database)
                    new = self._behind(None) or []
                for revision in reversed(new):
                    for snapshot in self._snapshots(revision):
                        _add(database, revision, snapshot)
                if new:
                    database.execute("UPDATE meta SET head = ?", (new[0],))

    def place(self, number: int) -> tuple[RevisionId, str] | None:
        """Return the revision and name of a snapshot."""
        return self._place("SELECT revision, name FROM snapshots WHERE id = ?", (number,))

    def as_of(self, name: str, at: datetime) -> tuple[RevisionId, str] | None:
        """Return the revision of the newest snapshot of a name that was made at a time or before, and the name."""
        query = "SELECT revision, name FROM snapshots WHERE name = ? AND created <= ? ORDER BY id DESC LIMIT 1"
        return self._place(query, (name, _time(at)))

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles by name."""
        where, values = (
            ["NOT deleted", "name LIKE ? ESCAPE '\\'", "name > ?"],
            [_prefix(wanted.prefix), wanted.after or ""],
        )
        for column, value in (("ifb_group", wanted.group), ("event", wanted.event), ("run", wanted.run)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if wanted.device is not None:
            where.append("name IN (SELECT name FROM current_devices WHERE device = ?)")
            values.append(wanted.device)
        if wanted.host is not None:
            where.append("EXISTS (SELECT 1 FROM json_each(hosts) WHERE value = ?)")
            values.append(wanted.host)
        query = f"SELECT * FROM current WHERE {' AND '.join(where)} ORDER BY name LIMIT ?"
        for row in self._rows(query, (*values, -1 if wanted.limit is None else wanted.limit)):
            yield self._bundle(row)

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""
        conditions = (
            ("name = ?", wanted.name),
            ("user = ?", wanted.user),
            ("id IN (SELECT snapshot FROM device_changes WHERE device = ?)", wanted.device),
            ("created >= ?", _time(wanted.since) if wanted.since else None),
            ("created < ?", _time(wanted.until) if wanted.until else None),
            ("id < ?", wanted.before),
        )
        used = [(condition, value) for condition, value in conditions if value is not None]
        where = " AND ".join(condition for condition, _ in used) or "1"
        query = f"""SELECT id, name, created, user, comment, action, deleted, attributes, added, removed
            FROM snapshots WHERE {where} ORDER BY id DESC LIMIT ?"""
        return [_entry(row) for row in self._rows(query, (*(value for _, value in used), wanted.limit))]

    def _place(self, query: str, values: tuple[object, ...]) -> tuple[RevisionId, str] | None:
        rows = self._rows(query, values)
        return (rows[0]["revision"], rows[0]["name"]) if rows else None

    def _behind(self, covered: str | None) -> list[RevisionId] | None:
        """Return the revisions newer than one, newest first; None if that one is not among them."""
        new: list[RevisionId] = []
        for revision in self._revisions():
            if revision == covered:
                return new
            new.append(revision)
        return new if covered is None else None

    def _covered(self) -> str | None:
        return self._rows("SELECT head FROM meta", ())[0][0]  # type: ignore[no-any-return]

    def _bundle(self, row: sqlite3.Row) -> Bundle:
        devices = self._rows("SELECT device FROM current_devices WHERE name = ?", (row["name"],))
        return Bundle(
            row["name"],
            row["event"],
            row["ifb_group"],
            row["storage"],
            bool(row["run"]),
            bool(row["udp"]),
            bool(row["writable"]),
            tuple(json.loads(row["hosts"])),
            frozenset(device for (device,) in devices),
            datetime.fromisoformat(row["updated"]),
            row["snapshot"],
        )

    def _rows(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self._mutex:
            return self._open().execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.rollback()
            raise
        database.commit()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            self._connection = _connect(self._path)
            self._pid = os.getpid()
        return self._connection


def _connect(path: str | None) -> sqlite3.Connection:
    if path is not None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=60)
    database.row_factory = sqlite3.Row
    if path is not None:
        # It can be made anew at any time: it need not survive a power cut, only be whole or absent.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
    database.execute("BEGIN IMMEDIATE")
    if database.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"DROP TABLE {table}")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_FORMAT}")
    database.commit()
    return database


def _empty(database: sqlite3.Connection) -> None:
    for table in ("snapshots", "device_changes", "current", "current_devices"):
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET head = NULL")


def _add(database: sqlite3.Connection, revision: str, snapshot: Snapshot) -> None:
    """Take one snapshot into the index, after all before it."""
    bundle, name = snapshot.bundle, snapshot.name
    old = database.execute("SELECT * FROM current WHERE name = ? AND NOT deleted", (name,)).fetchone()
    before = {device for (device,) in database.execute("SELECT device FROM current_devices WHERE name = ?", (name,))}
    after = set() if snapshot.deleted else bundle.devices
    values = {key: _column(getattr(bundle, key)) for key in STATE if key not in ("name", "devices")}
    changed = [key for key, value in values.items() if old is not None and old[key] != value]
    database.execute(
        "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            snapshot.id,
            name,
            _time(snapshot.created),
            snapshot.user,
            snapshot.comment,
            snapshot.action,
            snapshot.deleted,
            ",".join(changed),
            len(after - before),
            len(before - after),
            revision,
        ),
    )
    changes = ((device, snapshot.id) for device in after ^ before)
    database.executemany("INSERT INTO device_changes VALUES (?, ?)", changes)
    database.execute(
        "INSERT OR REPLACE INTO current"
        " (name, event, ifb_group, storage, run, udp, writable, hosts, updated, snapshot, deleted)"
        " VALUES (:name, :event, :ifb_group, :storage, :run, :udp, :writable, :hosts, :updated, :snapshot, :deleted)",
        {
            **values,
            "name": name,
            "updated": _time(snapshot.created),
            "snapshot": snapshot.id,
            "deleted": snapshot.deleted,
        },
    )
    database.executemany(
        "DELETE FROM current_devices WHERE name = ? AND device = ?", ((name, d) for d in before - after)
    )
    database.executemany("INSERT INTO current_devices VALUES (?, ?)", ((name, device) for device in after - before))


def _column(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    return int(value) if isinstance(value, bool) else value


def _entry(row: sqlite3.Row) -> LogEntry:
    attributes = tuple(filter(None, row["attributes"].split(",")))
    created = datetime.fromisoformat(row["created"])
    values = (
        row["user"],
        row["comment"],
        row["action"],
        bool(row["deleted"]),
        attributes,
        row["added"],
        row["removed"],
    )
    return LogEntry(row["id"], row["name"], created, *values)


def _time(at: datetime) -> str:
    """Write a time so that text sorts as time does."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def _prefix(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"
