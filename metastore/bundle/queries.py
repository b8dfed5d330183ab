"""What `metastore.bundle.postgres` asks, in SQL, and values of the rows that come back.

Texts are put together from what is written here alone (hence `nosec`); what comes from outside goes in as a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from metastore.bundle.base import Bundle, Filter, LogEntry, LogFilter, Snapshot
from metastore.bundle.listing import ORDERS, BundleLine, Listing

Row = Mapping[str, Any]

_STATE = "event, updated, storage, run, udp, writable, hosts, ifb_group"
_MADE = 'snapshot_id, updated_by, "delete", comment, action, created, previous, hash'

#: Snapshots; a condition follows.
SNAPSHOT = f"""SELECT name, {_STATE}, {_MADE}, ARRAY(
    SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = s.snapshot_id) AS devices
FROM snapshot_bundles AS s"""  # nosec B608

#: The newest snapshot of each name, with the state that stands in the tables now.
CURRENT = f"""WITH newest AS (SELECT DISTINCT ON (name) * FROM snapshot_bundles ORDER BY name, snapshot_id DESC)
SELECT name, {", ".join(f"coalesce(b.{each}, n.{each}) AS {each}" for each in _STATE.split(", "))},
    n.snapshot_id, n.updated_by, b.name IS NULL AS "delete", n.comment, n.action,
    coalesce(n.created, b.updated) AS created, n.previous, n.hash, CASE WHEN b.name IS NULL
    THEN ARRAY(SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = n.snapshot_id)
    ELSE ARRAY(SELECT variable FROM bundle_variables AS v WHERE v.bundle = b.name) END AS devices
FROM newest AS n FULL JOIN bundles AS b USING (name)
WHERE b.name IS NOT NULL OR n."delete" """  # nosec B608

#: Settings of one transaction, by two arrays.
SETTINGS = "SELECT set_config(key, value, true) FROM unnest(%s::text[], %s::text[]) AS each (key, value)"

#: A name that is not there has no row to lock; these numbers stand for the names, in order.
LOCK_NAMES = "SELECT pg_advisory_xact_lock(number) FROM unnest(%s::bigint[]) AS each (number)"
LOCK_ROWS = "SELECT FROM bundles WHERE name = ANY(%s::text[]) ORDER BY name FOR NO KEY UPDATE"
NEWEST = """SELECT name, (SELECT max(snapshot_id) FROM snapshot_bundles AS s WHERE s.name = each.name)
FROM unnest(%s::text[]) AS each (name)"""

#: What a transaction made: the newest snapshots of names.
MADE = f"""SELECT s.* FROM unnest(%s::text[]) AS each (name)
CROSS JOIN LATERAL ({SNAPSHOT} WHERE s.name = each.name ORDER BY snapshot_id DESC LIMIT 1) AS s"""  # nosec B608
#: Which of these snapshots are there.
KEPT = """SELECT count(*) FROM snapshot_bundles JOIN unnest(%s::bigint[], %s::text[]) AS each (number, digest)
ON snapshot_id = number AND hash = digest"""

UPSERT = """INSERT INTO bundles (name, event, ifb_group, storage, run, udp, writable, hosts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET event = excluded.event, ifb_group = excluded.ifb_group, storage = excluded.storage,
    run = excluded.run, udp = excluded.udp, writable = excluded.writable, hosts = excluded.hosts"""
DELETE = "DELETE FROM bundles WHERE name = %s"
REMOVE_DEVICES = """DELETE FROM bundle_variables WHERE bundle = %s AND NOT EXISTS (
    SELECT FROM unnest(%s::text[]) AS each (device) WHERE each.device = variable)"""
ADD_DEVICES = """INSERT INTO bundle_variables (bundle, variable) SELECT %s, unnest(%s::text[])
ON CONFLICT DO NOTHING"""


def bundles(wanted: Filter, after: str, size: int) -> tuple[str, list[Any]]:
    """Return the query for a page of live bundles behind a name, and its values."""
    conditions = (
        ("b.name > %s", after or None),
        ("b.ifb_group = %s", wanted.group),
        ("b.event = %s", wanted.event),
        ("b.run = %s", wanted.run),
        ("%s = ANY (b.hosts)", wanted.host),
        ("EXISTS (SELECT FROM bundle_variables AS v WHERE v.bundle = b.name AND v.variable = %s)", wanted.device),
        ("b.name >= %s", wanted.prefix or None),
        ("b.name < %s", f"{wanted.prefix}\U0010ffff" if wanted.prefix else None),
    )
    where, values = _where(conditions)
    query = f"""SELECT name, {_STATE},
        ARRAY(SELECT variable FROM bundle_variables AS v WHERE v.bundle = b.name) AS devices,
        (SELECT max(snapshot_id) FROM snapshot_bundles AS s WHERE s.name = b.name) AS snapshot_id
    FROM bundles AS b {where} ORDER BY b.name LIMIT %s"""  # nosec B608
    return query, [*values, size]


#: What stands in a list: of live bundles, and of the deletions after which nothing came.
_LIVE = ("bundles", "(SELECT count(*) FROM bundle_variables AS v WHERE v.bundle = b.name)", "n.updated_by")
_DELETED = (
    """(SELECT * FROM snapshot_bundles AS s WHERE "delete" AND NOT EXISTS (
        SELECT FROM snapshot_bundles AS n WHERE n.name = s.name AND n.snapshot_id > s.snapshot_id))""",
    "b.removed",
    "b.updated_by",
)
_OF_LIVE = "b.name IN (SELECT bundle FROM bundle_variables AS v WHERE %s)"
_OF_DELETED = "b.snapshot_id IN (SELECT snapshot_id FROM snapshot_variable_changes AS v WHERE NOT added AND %s)"
_NEWEST = "(SELECT * FROM snapshot_bundles AS s WHERE s.name = b.name ORDER BY snapshot_id DESC LIMIT 1)"


def lines(wanted: Listing) -> tuple[str, list[Any]]:
    """Return the query for a page of a list, and its values: what it is ordered by alone is asked of every bundle."""
    source, count, user = _DELETED if wanted.deleted else _LIVE
    with_device = _OF_DELETED if wanted.deleted else _OF_LIVE
    updated = "b.created" if wanted.deleted else "b.updated"
    by_user = "b.updated_by" if wanted.deleted else f"(SELECT updated_by FROM {_NEWEST} AS n)"  # nosec B608
    columns = {each: f"b.{each}" for each in ORDERS}
    key = {**columns, "devices": count, "user": by_user, "updated": updated}[wanted.order]
    texts = [f"strpos(lower({each}), lower(%s)) > 0" for each in ("b.name", "b.event", "b.ifb_group")]
    texts.append("EXISTS (SELECT FROM unnest(b.hosts) AS h (host) WHERE strpos(lower(host), lower(%s)) > 0)")
    texts.append(with_device.replace("%s", "strpos(lower(v.variable), lower(%s)) > 0"))
    down, before = ("DESC", "<") if wanted.descending else ("", ">")
    where, values = _where(
        (
            (f"({' OR '.join(texts)})", (wanted.text,) * len(texts) if wanted.text else None),
            ("b.ifb_group = %s", wanted.group),
            ("b.event = %s", wanted.event),
            ("b.run = %s", wanted.run),
            (with_device.replace("%s", "v.variable = %s"), wanted.device),
            (f"({key}, b.name) {before} (%s, %s)", (wanted.after_key, wanted.after) if wanted.after else None),
        )
    )
    query = f"""SELECT b.*, {updated} AS at, {count} AS devices, n.snapshot_id AS newest, {user} AS by, n.comment AS why
    FROM (SELECT b.*, {key} AS key FROM {source} AS b {where} ORDER BY key {down}, name {down} LIMIT %s) AS b
    LEFT JOIN LATERAL {_NEWEST} AS n ON true ORDER BY key {down}, b.name {down}"""  # nosec B608
    return query, [*values, wanted.limit]


def log(wanted: LogFilter) -> tuple[str, list[Any]]:
    """Return the query for a page of the log, and its values."""
    conditions = (
        ("c.variable = %s", wanted.device),
        ("s.name = %s", wanted.name),
        ("s.updated_by = %s", wanted.user),
        ("s.created >= %s", wanted.since),
        ("s.created < %s", wanted.until),
        (f"{'s' if wanted.device is None else 'c'}.snapshot_id < %s", wanted.before),
    )
    where, values = _where(conditions)
    # By device, the pages are cut from the index of its changes.
    source, order = "snapshot_bundles AS s", "s.snapshot_id"
    if wanted.device is not None:
        source, order = "snapshot_variable_changes AS c JOIN snapshot_bundles AS s USING (snapshot_id)", "c.snapshot_id"
    columns = 's.snapshot_id, name, created, updated_by, comment, action, "delete", changed, s.added, removed'
    query = f"SELECT {columns} FROM {source} {where} ORDER BY {order} DESC LIMIT %s"  # nosec B608
    return query, [*values, wanted.limit]


def _where(conditions: tuple[tuple[str, Any], ...]) -> tuple[str, list[Any]]:
    used = [(condition, value) for condition, value in conditions if value is not None]
    joined = " AND ".join(condition for condition, _ in used)
    values = [part for _, value in used for part in (value if isinstance(value, tuple) else (value,))]
    return f"WHERE {joined}" if joined else "", values


def bundle(row: Row) -> Bundle:
    """Make a bundle of a row."""
    return Bundle(
        row["name"],
        row["event"],
        row["ifb_group"],
        row["storage"],
        row["run"],
        row["udp"],
        row["writable"],
        tuple(row["hosts"]),
        frozenset(row["devices"]),
        row["updated"].astimezone(UTC),
        row["snapshot_id"],
    )


def line(row: Row) -> BundleLine:
    """Make a line of a list of a row."""
    return BundleLine(
        row["name"],
        row["event"],
        row["ifb_group"],
        row["storage"],
        row["run"],
        row["udp"],
        row["writable"],
        tuple(row["hosts"]),
        row["devices"],
        row["at"].astimezone(UTC),
        row["by"] or "",
        row["why"] or "",
        row["newest"],
        bool(row.get("delete", False)),
    )


def snapshot(row: Row) -> Snapshot:
    """Make a snapshot of a row."""
    return Snapshot(
        row["snapshot_id"],
        row["name"],
        row["created"].astimezone(UTC),
        row["updated_by"],
        row["comment"],
        row["action"],
        bundle(row),
        row["delete"],
        row["previous"],
        row["hash"],
    )


def log_entry(row: Row) -> LogEntry:
    """Make a line of the log of a row."""
    return LogEntry(
        row["snapshot_id"],
        row["name"],
        row["created"].astimezone(UTC),
        row["updated_by"],
        row["comment"],
        row["action"],
        row["delete"],
        tuple(row["changed"]),
        row["added"],
        row["removed"],
    )
