"""The hash chain of each name: compute a link, and check that it is intact and has the heads kept elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from metastore.bundle.port import BundleRecord, ChainCheck, LogFilter, Snapshot


def chain_hash(snapshot: Snapshot, previous_hash: str) -> str:
    """Return the hash of a snapshot: SHA-256 over the previous hash of its name and every part of the snapshot.

    Each part is a netstring without its comma (length in bytes, colon, UTF-8), so that different records never have the
    same encoding. A list begins with its length; times are in UTC with microseconds. `updated` is a part only if it
    is not `created`, as in the first snapshot of a bundle older than the record. PostgreSQL computes the same hash.
    """
    state = snapshot.bundle
    parts = [
        previous_hash,
        str(snapshot.id),
        snapshot.name,
        _moment(snapshot.created),
        snapshot.user,
        snapshot.comment,
        snapshot.action,
        _flag(snapshot.deleted),
        state.event,
        state.ifb_group,
        state.storage,
        _flag(state.run),
        _flag(state.udp),
        _flag(state.writable),
        str(len(state.hosts)),
        *state.hosts,
        str(len(state.devices)),
        *sorted(state.devices),
        *([_moment(state.updated)] if state.updated not in (None, snapshot.created) else []),
    ]
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in encoded)).hexdigest()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def check_chains(
    newest_first: Iterator[Snapshot], current: Iterable[Snapshot], problems: Mapping[str, str] | None = None
) -> Iterator[ChainCheck]:
    """Follow the chain of each name from its newest snapshot to its first.

    Args:
        newest_first: All snapshots of the record.
        current: The newest snapshot of each name, with the state that is current now.
        problems: Other problems by name. It is read after all snapshots were taken.
    """
    later: dict[str, Snapshot] = {}
    heads: dict[str, Snapshot] = {}
    counts: dict[str, int] = {}
    broken: dict[str, str] = {}
    for snapshot in newest_first:
        name = snapshot.name
        counts[name] = counts.get(name, 0) + 1
        heads.setdefault(name, snapshot)
        if (after := later.get(name)) and (problem := _broken_link(snapshot, after)):
            broken.setdefault(name, problem)
        later[name] = snapshot
    for name, first in later.items():
        if problem := _broken_link(None, first):
            broken.setdefault(name, problem)
    standing = {snapshot.name: snapshot for snapshot in current}
    for name, head in heads.items():
        if not _is_same_state(standing.get(name), head):
            broken.setdefault(name, f"the current state differs from snapshot {head.id}, the newest")
    broken = {**(problems or {}), **broken}
    for name in sorted({*heads, *standing, *broken}):
        if name in heads:
            yield ChainCheck(name, counts[name], heads[name].hash, broken.get(name))
        else:
            yield ChainCheck(name, 0, "", broken.get(name, "it has no snapshot"))


def _is_same_state(current: Snapshot | None, head: Snapshot) -> bool:
    return current == head and current.bundle.updated == head.bundle.updated


def _broken_link(before: Snapshot | None, snapshot: Snapshot) -> str | None:
    if snapshot.previous != (before.id if before else None):
        return f"snapshot {snapshot.id} claims to follow {snapshot.previous}, not {before.id if before else 'nothing'}"
    try:
        intact = chain_hash(snapshot, before.hash if before else "") == snapshot.hash
    except (AttributeError, TypeError, ValueError):  # such as a host that is NULL
        return f"snapshot {snapshot.id} has values that no snapshot can have"
    if not intact:
        return f"snapshot {snapshot.id} or the one before it was altered"
    return None


def verify(record: BundleRecord, heads: Mapping[str, str]) -> Iterator[ChainCheck]:
    """Check the chain of each name, and that it still has the head that was kept elsewhere."""
    kept = dict(heads)
    for check in record.chains():
        head = kept.pop(check.name, check.head)
        if check.problem is None and head != check.head and not _has(record, check.name, head):
            check = replace(check, problem=f"its record was rewritten: {head[:12]}… is no longer in it")
        yield check
    for name in sorted(kept):
        yield ChainCheck(name, 0, "", "its record is gone")


def _has(record: BundleRecord, name: str, head: str) -> bool:
    lines = record.log(LogFilter(name=name, limit=None))
    return any(record.snapshot(line.id).hash == head for line in lines)
