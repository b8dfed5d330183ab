"""Bundles and their changes as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metastore.bundle.port import Bundle, BundleDiff, LogEntry, Snapshot
from metastore.cli.output import paint

#: The columns of the list of bundles.
TITLES = ("NAME", "EVENT", "GROUP", "RUN", "STORAGE", "HOSTS", "DEVICES", "UPDATED")


def cells(bundle: Bundle) -> tuple[str, ...]:
    """Return a row of the table of bundles."""
    running = "yes" if bundle.run else "no" if bundle.writable else "-"
    updated = f"{bundle.updated:%Y-%m-%d %H:%M}" if bundle.updated else ""
    hosts, devices = " ".join(bundle.hosts) or "-", str(len(bundle.devices))
    return (bundle.name, bundle.event, bundle.ifb_group, running, bundle.storage, hosts, devices, updated)


def lines(bundle: Bundle) -> list[str]:
    """Return a bundle with all its devices."""
    flags = {"run": bundle.run, "udp": bundle.udp, "collectable": bundle.writable}
    return [
        f"bundle   {bundle.name}",
        f"event    {bundle.event}",
        f"group    {bundle.ifb_group}",
        f"storage  {bundle.storage}",
        f"flags    {', '.join(name for name, value in flags.items() if value) or '(none)'}",
        f"hosts    {' '.join(bundle.hosts) or '(none)'}",
        f"updated  {bundle.updated:%Y-%m-%d %H:%M:%S} UTC, snapshot {bundle.snapshot}",
        f"devices  {len(bundle.devices)}",
        *(f"  {device}" for device in sorted(bundle.devices)),
    ]


def snapshot_lines(snapshot: Snapshot) -> list[str]:
    """Return a snapshot: its user, time, comment and state."""
    after = f"after {snapshot.previous}" if snapshot.previous else "the first"
    head = [
        f"snapshot {snapshot.id} ({after})",
        f"action   {snapshot.action}",
        f"user     {snapshot.user}",
        f"created  {snapshot.created:%Y-%m-%d %H:%M:%S} UTC",
        *([f"recorded {snapshot.recorded:%Y-%m-%d %H:%M:%S} UTC"] if snapshot.recorded else []),
        f"hash     {snapshot.hash}",
        *(["", *(f"    {line}" for line in snapshot.comment.split("\n"))] if snapshot.comment else []),
    ]
    return [*head, "", *lines(snapshot.bundle)]


def log_line(entry: LogEntry) -> str:
    """Return a change on one line."""
    why = f"  ({entry.comment.split(chr(10), 1)[0]})" if entry.comment else ""
    action = paint(entry.action, fg="red" if entry.deleted else None)
    number = paint(str(entry.id), fg="yellow")
    recorded = f" (recorded {entry.recorded:%Y-%m-%d %H:%M})" if entry.recorded else ""
    when = f"{entry.created:%Y-%m-%d %H:%M}{recorded}"
    return f"{number}  {when}  {entry.user}  {action} {entry.name}  {entry.changed}{why}".rstrip()


def diff_lines(diff: BundleDiff) -> Iterator[str]:
    """Yield the differences, coloured."""
    for name, (old, new) in diff.attributes.items():
        yield paint(f"~ {name}: {_text(old)} → {_text(new)}", fg="yellow")
    yield from (paint(f"- {device}", fg="red") for device in diff.removed)
    yield from (paint(f"+ {device}", fg="green") for device in diff.added)


def _text(value: Any) -> str:
    return (
        " ".join(value) or "(none)"
        if isinstance(value, tuple)
        else str(value).lower()
        if value in (True, False)
        else value
    )
