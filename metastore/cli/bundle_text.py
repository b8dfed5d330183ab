"""Bundles and their changes as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from metastore.bundle.port import Bundle, BundleDiff, LogEntry, Snapshot
from metastore.cli.output import paint

_HEADER = ("NAME", "EVENT", "GROUP", "RUN", "STORAGE", "HOSTS", "DEVICES", "UPDATED")


def cells(each: Bundle) -> tuple[str, ...]:
    """Return a line of the table of bundles."""
    running = "yes" if each.run else "no" if each.writable else "-"
    updated = f"{each.updated:%Y-%m-%d %H:%M}" if each.updated else ""
    hosts = " ".join(each.hosts) or "-"
    return (each.name, each.event, each.ifb_group, running, each.storage, hosts, str(len(each.devices)), updated)


def table(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Lay rows out in columns, some hundred at a time, so that a long list need not be held."""
    widths = [0] * len(_HEADER)
    page: list[tuple[str, ...]] = [_HEADER]
    while page := [*page, *islice(rows, 500)]:
        widths = [max(width, *(len(row[column]) for row in page)) for column, width in enumerate(widths)]
        for row in page:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        page = []


def lines(found: Bundle) -> list[str]:
    """Return a bundle with all its devices."""
    flags = {"run": found.run, "udp": found.udp, "collectable": found.writable}
    return [
        f"bundle   {found.name}",
        f"event    {found.event}",
        f"group    {found.ifb_group}",
        f"storage  {found.storage}",
        f"flags    {', '.join(name for name, value in flags.items() if value) or '(none)'}",
        f"hosts    {' '.join(found.hosts) or '(none)'}",
        f"updated  {found.updated:%Y-%m-%d %H:%M:%S} UTC, snapshot {found.snapshot}",
        f"devices  {len(found.devices)}",
        *(f"  {device}" for device in sorted(found.devices)),
    ]


def snapshot_lines(found: Snapshot) -> list[str]:
    """Return who, when, why, and the state."""
    after = f"after {found.previous}" if found.previous else "the first"
    head = [
        f"snapshot {found.id} ({after})",
        f"action   {found.action}",
        f"user     {found.user}",
        f"created  {found.created:%Y-%m-%d %H:%M:%S} UTC",
        f"hash     {found.hash}",
        *(["", *(f"    {line}" for line in found.comment.split("\n"))] if found.comment else []),
    ]
    return [*head, "", *lines(found.bundle)]


def log_line(entry: LogEntry) -> str:
    """Return a change on one line."""
    why = f"  ({entry.comment.split(chr(10), 1)[0]})" if entry.comment else ""
    action = paint(entry.action, fg="red" if entry.deleted else None)
    number = paint(str(entry.id), fg="yellow")
    return (
        f"{number}  {entry.created:%Y-%m-%d %H:%M}  {entry.user}  {action} {entry.name}  {entry.changed}{why}".rstrip()
    )


def diff_lines(found: BundleDiff) -> Iterator[str]:
    """Yield the differences, coloured."""
    for name, (old, new) in found.attributes.items():
        yield paint(f"~ {name}: {_said(old)} → {_said(new)}", fg="yellow")
    yield from (paint(f"- {device}", fg="red") for device in found.removed)
    yield from (paint(f"+ {device}", fg="green") for device in found.added)


def _said(value: Any) -> str:
    return (
        " ".join(value) or "(none)"
        if isinstance(value, tuple)
        else str(value).lower()
        if value in (True, False)
        else value
    )
