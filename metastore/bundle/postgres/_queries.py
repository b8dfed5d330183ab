"""The SQL of the record in PostgreSQL, and values from its rows.

Statements are built from text in this module alone; values from outside are always parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from metastore.bundle.listing import ORDERS, BundleLine, Listing
from metastore.bundle.port import Bundle, Filter, LogEntry, LogFilter, Snapshot

Row = Mapping[str, Any]

_STATE = "event, updated, storage, run, udp, writable, hosts, ifb_group"
_MADE = 'snapshot_id, updated_by, "delete", comment, action, created, previous, hash, recorded'
#: How far the time that a program claims may be from the server's time before both are shown.
_SLACK = timedelta(minutes=1)

#: Select snapshots; the caller adds a condition.
SELECT_SNAPSHOT = f"""SELECT name, {_STATE}, {_MADE}, ARRAY(
    SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = s.snapshot_id) AS devices
FROM snapshot_bundles AS s"""

SELECT_NEWEST = f"{SELECT_SNAPSHOT} WHERE name = %s ORDER BY snapshot_id DESC LIMIT 1"
SELECT_BY_NUMBER = f"{SELECT_SNAPSHOT} WHERE snapshot_id = %s"
#: Select the snapshot of a name that follows another one, or 0 for the first. There is never more than one.
SELECT_FOLLOWING = f"{SELECT_SNAPSHOT} WHERE name = %s AND coalesce(previous, 0) = %s"

#: Select the newest snapshot of each name, with the state that is in `bundles` and `bundle_variables` now.
SELECT_CURRENT = f"""WITH newest AS (SELECT DISTINCT ON (name) * FROM snapshot_bundles ORDER BY name, snapshot_id DESC)
SELECT name, {", ".join(f"coalesce(b.{each}, n.{each}) AS {each}" for each in _STATE.split(", "))},
    n.snapshot_id, n.updated_by, b.name IS NULL AS "delete", n.comment, n.action,
    coalesce(n.created, b.updated) AS created, n.previous, n.hash, n.recorded, CASE WHEN b.name IS NULL
    THEN ARRAY(SELECT variable FROM snapshot_bundle_variables AS v WHERE v.snapshot_id = n.snapshot_id)
    ELSE ARRAY(SELECT variable FROM bundle_variables AS v WHERE v.bundle = b.name) END AS devices
FROM newest AS n FULL JOIN bundles AS b USING (name)
WHERE b.name IS NOT NULL OR n."delete" """

_COMPARED = ("event", "ifb_group", "storage", "run", "udp", "writable", "hosts")
#: Select the first snapshot of each name whose summary in the log differs from its difference to the snapshot before. A
#: full join also finds changes without a snapshot, and PostgreSQL never runs one as a nested loop.
SELECT_MISLISTED = f"""WITH
made AS (
    SELECT s.snapshot_id, s.name, s.changed, s.added, s.removed, come, gone,
        CASE WHEN p.name IS NULL OR s."delete" THEN '{{}}' ELSE array_remove(ARRAY[{
    ", ".join(f"CASE WHEN s.{each} <> p.{each} THEN '{each}' END" for each in _COMPARED)
}], NULL) END AS differs
    FROM snapshot_bundles AS s
    LEFT JOIN snapshot_bundles AS p ON p.snapshot_id = s.previous AND NOT p."delete"
    CROSS JOIN LATERAL (
        SELECT array_agg(variable ORDER BY variable) FILTER (WHERE held_by = s.snapshot_id) AS come,
            array_agg(variable ORDER BY variable) FILTER (WHERE held_by <> s.snapshot_id) AS gone
        FROM (
            SELECT variable, min(snapshot_id) AS held_by FROM snapshot_bundle_variables
            WHERE snapshot_id IN (CASE WHEN NOT s."delete" THEN s.snapshot_id END, p.snapshot_id)
            GROUP BY variable HAVING count(*) = 1) AS held_by_one) AS difference),
said AS (
    SELECT snapshot_id, array_agg(variable ORDER BY variable) FILTER (WHERE added) AS come,
        array_agg(variable ORDER BY variable) FILTER (WHERE NOT added) AS gone
    FROM snapshot_variable_changes GROUP BY snapshot_id)
SELECT coalesce(name, 'snapshot_variable_changes'), min(snapshot_id) FROM made FULL JOIN said USING (snapshot_id)
WHERE made.come IS DISTINCT FROM said.come OR made.gone IS DISTINCT FROM said.gone OR changed <> differs
    OR added <> coalesce(cardinality(made.come), 0) OR removed <> coalesce(cardinality(made.gone), 0)
GROUP BY name"""

#: Select rows that belong to nothing, or to another bundle than they say: a name, and the problem.
SELECT_STRAYS = """SELECT coalesce(s.name, 'snapshot_bundle_variables'), CASE WHEN s.name IS NULL
    THEN format('it has devices of snapshot %s, which does not exist', min(v.snapshot_id))
    ELSE format('a device of snapshot %s names another bundle', min(v.snapshot_id)) END
FROM snapshot_bundle_variables AS v LEFT JOIN snapshot_bundles AS s USING (snapshot_id)
WHERE s.name IS DISTINCT FROM v.bundle GROUP BY s.name
UNION ALL SELECT 'bundle_variables', format('it has devices of %s, which is not a bundle', min(v.bundle))
FROM bundle_variables AS v LEFT JOIN bundles AS b ON b.name = v.bundle WHERE b.name IS NULL HAVING count(*) > 0"""

#: Make a change, by the function in migrations/.
WRITE = "SELECT * FROM metastore_write(%s, %s, %s, %s, %s, %s)"
#: Wait for changes of names to end, and refuse an attempt that comes later.
HOLD = "SELECT metastore_hold(name, NULL, NULL, false) FROM (SELECT unnest(%s::text[]) AS name ORDER BY 1) AS names"
GIVE_UP = "SELECT metastore_dataset_settle(%s)"


def bundles_query(wanted: Filter, after: str, size: int) -> tuple[str, list[Any]]:
    """Return the query for a page of live bundles after a name, and its values."""
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
    FROM bundles AS b {where} ORDER BY b.name LIMIT %s"""
    return query, [*values, size]


#: The source, device count and user of a list: of live bundles, or of deletions that nothing followed.
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


def lines_query(wanted: Listing) -> tuple[str, list[Any]]:
    """Return the query for a page of a list, and its values. Only the ordering column is computed for every bundle."""
    source, count, user = _DELETED if wanted.deleted else _LIVE
    with_device = _OF_DELETED if wanted.deleted else _OF_LIVE
    updated = "b.created" if wanted.deleted else "b.updated"
    by_user = "b.updated_by" if wanted.deleted else f"(SELECT updated_by FROM {_NEWEST} AS n)"
    columns = {column: f"b.{column}" for column in ORDERS}
    key = {**columns, "devices": count, "user": by_user, "updated": updated}[wanted.order]
    texts = [f"strpos(lower({column}), lower(%s)) > 0" for column in ("b.name", "b.event", "b.ifb_group")]
    texts.append("EXISTS (SELECT FROM unnest(b.hosts) AS h (host) WHERE strpos(lower(host), lower(%s)) > 0)")
    texts.append(with_device.replace("%s", "strpos(lower(v.variable), lower(%s)) > 0"))
    direction, beyond = ("DESC", "<") if wanted.descending else ("", ">")
    where, values = _where(
        (
            *((f"({' OR '.join(texts)})", (word,) * len(texts)) for word in wanted.words),
            ("b.ifb_group = %s", wanted.group),
            ("b.event = %s", wanted.event),
            ("b.run = %s", wanted.run),
            (with_device.replace("%s", "v.variable = %s"), wanted.device),
            (f"({key}, b.name) {beyond} (%s, %s)", (wanted.after_key, wanted.after) if wanted.after else None),
        )
    )
    query = f"""SELECT b.*, {updated} AS at, {count} AS devices, n.snapshot_id AS newest, {user} AS by, n.comment AS why
    FROM (SELECT b.*, {key} AS key FROM {source} AS b {where} ORDER BY key {direction}, name {direction} LIMIT %s) AS b
    LEFT JOIN LATERAL {_NEWEST} AS n ON true ORDER BY key {direction}, b.name {direction}"""
    return query, [*values, wanted.limit]


def log_query(wanted: LogFilter) -> tuple[str, list[Any]]:
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
    # By device, a page is read from the index of device changes.
    source, order = "snapshot_bundles AS s", "s.snapshot_id"
    if wanted.device is not None:
        source, order = "snapshot_variable_changes AS c JOIN snapshot_bundles AS s USING (snapshot_id)", "c.snapshot_id"
    columns = 's.snapshot_id, name, created, updated_by, comment, action, "delete", changed, s.added, removed, recorded'
    query = f"SELECT {columns} FROM {source} {where} ORDER BY {order} DESC LIMIT %s"
    return query, [*values, wanted.limit]


def _where(conditions: tuple[tuple[str, Any], ...]) -> tuple[str, list[Any]]:
    used = [(condition, value) for condition, value in conditions if value is not None]
    joined = " AND ".join(condition for condition, _ in used)
    values = [part for _, value in used for part in (value if isinstance(value, tuple) else (value,))]
    return f"WHERE {joined}" if joined else "", values


def to_bundle(row: Row) -> Bundle:
    """Return the bundle in a row."""
    return Bundle.of(row, updated=row["updated"].astimezone(UTC), snapshot=row["snapshot_id"])


def to_line(row: Row) -> BundleLine:
    """Return the line of a list in a row of `lines_query`."""
    return BundleLine(
        name=row["name"],
        event=row["event"],
        ifb_group=row["ifb_group"],
        storage=row["storage"],
        run=row["run"],
        udp=row["udp"],
        writable=row["writable"],
        hosts=tuple(row["hosts"]),
        devices=row["devices"],
        updated=row["at"].astimezone(UTC),
        user=row["by"] or "",
        comment=row["why"] or "",
        snapshot=row["newest"],
        deleted=bool(row.get("delete", False)),
    )


def to_snapshot(row: Row) -> Snapshot:
    """Return the snapshot in a row."""
    return Snapshot(
        id=row["snapshot_id"],
        name=row["name"],
        created=row["created"].astimezone(UTC),
        user=row["updated_by"],
        comment=row["comment"],
        action=row["action"],
        bundle=to_bundle(row),
        deleted=row["delete"],
        previous=row["previous"],
        hash=row["hash"],
        recorded=_recorded(row),
    )


def _recorded(row: Row) -> datetime | None:
    """Return the time by the server's clock, if it differs from the one that was claimed."""
    differs = row["recorded"] is not None and abs(row["recorded"] - row["created"]) > _SLACK
    return row["recorded"].astimezone(UTC) if differs else None


def to_log_entry(row: Row) -> LogEntry:
    """Return the line of the log in a row of `log_query`."""
    return LogEntry(
        id=row["snapshot_id"],
        name=row["name"],
        created=row["created"].astimezone(UTC),
        user=row["updated_by"],
        comment=row["comment"],
        action=row["action"],
        deleted=row["delete"],
        attributes=tuple(row["changed"]),
        added=row["added"],
        removed=row["removed"],
        recorded=_recorded(row),
    )
