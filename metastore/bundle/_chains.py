"""The hash chain of every name: its links, and walking it. Is the record what it was?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC

from metastore.bundle.port import ChainCheck, Snapshot


def chain_hash(snapshot: Snapshot, previous_hash: str) -> str:
    """Return the link of a name's chain: SHA-256 over the hash before and every part of the snapshot.

    Each part is written as a netstring without its comma (length in bytes, colon, UTF-8), so that no two records look
    alike; lists are counted first; times are in UTC with microseconds. PostgreSQL's trigger computes the same.
    """
    state = snapshot.bundle
    parts = [
        previous_hash,
        str(snapshot.id),
        snapshot.name,
        snapshot.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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
    ]
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in encoded)).hexdigest()


def _flag(value: bool) -> str:
    return "true" if value else "false"


def check_chains(
    newest_first: Iterator[Snapshot], current: Iterable[Snapshot], problems: Mapping[str, str] | None = None
) -> Iterator[ChainCheck]:
    """Follow every name's chain from its newest snapshot to its first.

    Args:
        newest_first: All snapshots of the record.
        current: The newest of each name, as the current state says.
        problems: Name to what else is wrong with it; looked at when all snapshots were taken.
    """
    later: dict[str, Snapshot] = {}
    heads: dict[str, Snapshot] = {}
    counts: dict[str, int] = {}
    found: dict[str, str] = {}
    for snapshot in newest_first:
        name = snapshot.name
        counts[name] = counts.get(name, 0) + 1
        heads.setdefault(name, snapshot)
        if (after := later.get(name)) and (problem := _broken(snapshot, after)):
            found.setdefault(name, problem)
        later[name] = snapshot
    for name, first in later.items():
        if problem := _broken(None, first):
            found.setdefault(name, problem)
    standing = {snapshot.name: snapshot for snapshot in current}
    for name, head in heads.items():
        if standing.get(name) != head:
            found.setdefault(name, f"what stands there now is not what snapshot {head.id} says")
    found = {**(problems or {}), **found}
    for name in sorted({*heads, *standing, *found}):
        if name in heads:
            yield ChainCheck(name, counts[name], heads[name].hash, found.get(name))
        else:
            yield ChainCheck(name, 0, "", found.get(name, "stands there without any snapshot"))


def _broken(before: Snapshot | None, snapshot: Snapshot) -> str | None:
    if snapshot.previous != (before.id if before else None):
        return f"snapshot {snapshot.id} says it follows {snapshot.previous}, not {before.id if before else 'nothing'}"
    if chain_hash(snapshot, before.hash if before else "") != snapshot.hash:
        return f"snapshot {snapshot.id} was altered, or what was before it"
    return None
