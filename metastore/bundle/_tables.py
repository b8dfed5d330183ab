"""The tables of the index: their schema, adding snapshots, queries, and values from rows."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime

from metastore.bundle.listing import ORDERS, BundleLine, Listing
from metastore.bundle.port import STATE, Bundle, Filter, LogEntry, LogFilter, Snapshot

FORMAT = 1
SCHEMA = """
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


def empty_tables(database: sqlite3.Connection) -> None:
    """Delete all rows."""
    for table in ("snapshots", "device_changes", "current", "current_devices"):
        database.execute(f"DELETE FROM {table}")
    database.execute("UPDATE meta SET head = NULL")


def add_snapshot(database: sqlite3.Connection, revision: str, snapshot: Snapshot) -> None:
    """Add a snapshot, after all before it. One whose number is there already comes from a commit made by hand."""
    bundle, name = snapshot.bundle, snapshot.name
    if snapshot.id <= (database.execute("SELECT max(id) FROM snapshots").fetchone()[0] or 0):
        return
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
            time_text(snapshot.created),
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
    _set_current(database, snapshot, values)
    removed, added = ((name, device) for device in before - after), ((name, device) for device in after - before)
    database.executemany("DELETE FROM current_devices WHERE name = ? AND device = ?", removed)
    database.executemany("INSERT INTO current_devices VALUES (?, ?)", added)


def _set_current(database: sqlite3.Connection, snapshot: Snapshot, values: dict[str, object]) -> None:
    """Make the state of a snapshot, given as columns, the current state of its name."""
    database.execute(
        "INSERT OR REPLACE INTO current"
        " (name, event, ifb_group, storage, run, udp, writable, hosts, updated, snapshot, deleted)"
        " VALUES (:name, :event, :ifb_group, :storage, :run, :udp, :writable, :hosts, :updated, :snapshot, :deleted)",
        {
            **values,
            "name": snapshot.name,
            "updated": time_text(snapshot.created),
            "snapshot": snapshot.id,
            "deleted": snapshot.deleted,
        },
    )


def _column(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    return int(value) if isinstance(value, bool) else value


def to_log_entry(row: sqlite3.Row) -> LogEntry:
    """Return the line of the log in a row of `log_query`."""
    return LogEntry(
        id=row["id"],
        name=row["name"],
        created=datetime.fromisoformat(row["created"]),
        user=row["user"],
        comment=row["comment"],
        action=row["action"],
        deleted=bool(row["deleted"]),
        attributes=tuple(filter(None, row["attributes"].split(","))),
        added=row["added"],
        removed=row["removed"],
    )


def time_text(at: datetime) -> str:
    """Return a time as text that sorts like the time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def log_query(wanted: LogFilter) -> tuple[str, tuple[object, ...]]:
    """Return the query for a page of the log, and its values."""
    conditions = (
        ("name = ?", wanted.name),
        ("user = ?", wanted.user),
        ("id IN (SELECT snapshot FROM device_changes WHERE device = ?)", wanted.device),
        ("created >= ?", time_text(wanted.since) if wanted.since else None),
        ("created < ?", time_text(wanted.until) if wanted.until else None),
        ("id < ?", wanted.before),
    )
    used = [(condition, value) for condition, value in conditions if value is not None]
    where = " AND ".join(condition for condition, _ in used) or "1"
    query = f"""SELECT id, name, created, user, comment, action, deleted, attributes, added, removed
        FROM snapshots WHERE {where} ORDER BY id DESC LIMIT ?"""
    return query, (*(value for _, value in used), -1 if wanted.limit is None else wanted.limit)


def bundles_query(wanted: Filter, after: str, size: int) -> tuple[str, tuple[object, ...]]:
    """Return the query for a page of live bundles after a name, and its values.

    It is one statement, so that no bundle is read half before and half after a change.
    """
    conditions = (
        ("substr(name, 1, ?) = ?", (len(wanted.prefix), wanted.prefix) if wanted.prefix else None),
        ("ifb_group = ?", wanted.group),
        ("event = ?", wanted.event),
        ("run = ?", wanted.run),
        ("name IN (SELECT name FROM current_devices WHERE device = ?)", wanted.device),
        ("EXISTS (SELECT 1 FROM json_each(hosts) WHERE value = ?)", wanted.host),
    )
    used = [(condition, value) for condition, value in conditions if value is not None]
    where = " AND ".join(["NOT deleted", "name > ?", *(condition for condition, _ in used)])
    query = f"""SELECT *, (SELECT json_group_array(device) FROM current_devices WHERE name = current.name) AS devices
        FROM current WHERE {where} ORDER BY name LIMIT ?"""
    values = [part for _, value in used for part in (value if isinstance(value, tuple) else (value,))]
    return query, (after, *values, size)


def to_bundle(row: sqlite3.Row) -> Bundle:
    """Return the bundle in a row of `bundles_query`."""
    lists = {"hosts": json.loads(row["hosts"]), "devices": json.loads(row["devices"])}
    updated = datetime.fromisoformat(row["updated"])
    return Bundle.of({**dict(row), **_flags(row), **lists}, updated=updated, snapshot=row["snapshot"])


def _flags(row: sqlite3.Row) -> dict[str, bool]:
    return {key: bool(row[key]) for key in ("run", "udp", "writable")}


_COUNT = """CASE WHEN current.deleted THEN (SELECT removed FROM snapshots WHERE id = current.snapshot)
    ELSE (SELECT count(*) FROM current_devices WHERE current_devices.name = current.name) END"""
_USER = "(SELECT user FROM snapshots WHERE id = current.snapshot)"
_OF_LIVE = "name IN (SELECT name FROM current_devices WHERE %s)"
_OF_DELETED = "snapshot IN (SELECT snapshot FROM device_changes WHERE %s)"


def lines_query(wanted: Listing) -> tuple[str, tuple[object, ...]]:
    """Return the query for a page of a list, and its values. Only the ordering column is computed for every bundle."""
    key = {**{column: column for column in ORDERS}, "devices": _COUNT, "user": _USER}[wanted.order]
    after_key = time_text(wanted.after_key) if wanted.order == "updated" and wanted.after else wanted.after_key
    with_device = _OF_DELETED if wanted.deleted else _OF_LIVE
    texts = [f"instr(lower({column}), lower(?))" for column in ("name", "event", "ifb_group")]
    texts.append("EXISTS (SELECT 1 FROM json_each(hosts) WHERE instr(lower(value), lower(?)))")
    texts.append(with_device % "instr(lower(device), lower(?))")
    direction, beyond = ("DESC", "<") if wanted.descending else ("", ">")
    conditions = (
        ("deleted = ?", wanted.deleted),
        *((f"({' OR '.join(texts)})", (word,) * len(texts)) for word in wanted.words),
        ("ifb_group = ?", wanted.group),
        ("event = ?", wanted.event),
        ("run = ?", wanted.run),
        (with_device % "device = ?", wanted.device),
        (f"({key}, name) {beyond} (?, ?)", (after_key, wanted.after) if wanted.after else None),
    )
    used = [(condition, value) for condition, value in conditions if value is not None]
    values = [part for _, value in used for part in (value if isinstance(value, tuple) else (value,))]
    where = " AND ".join(condition for condition, _ in used)
    page = f"SELECT name, {key} AS key FROM current WHERE {where} ORDER BY key {direction}, name {direction} LIMIT ?"
    query = f"""SELECT current.*, {_COUNT} AS devices, made.user, made.comment
        FROM ({page}) AS page JOIN current ON current.name = page.name
        JOIN snapshots AS made ON made.id = current.snapshot
        ORDER BY page.key {direction}, page.name {direction}"""
    return query, (*values, wanted.limit)


def to_line(row: sqlite3.Row) -> BundleLine:
    """Return the line of a list in a row of `lines_query`."""
    return BundleLine(
        name=row["name"],
        event=row["event"],
        ifb_group=row["ifb_group"],
        storage=row["storage"],
        **_flags(row),
        hosts=tuple(json.loads(row["hosts"])),
        devices=row["devices"],
        updated=datetime.fromisoformat(row["updated"]),
        user=row["user"],
        comment=row["comment"],
        snapshot=row["snapshot"],
        deleted=bool(row["deleted"]),
    )
