"""Walking the hash chain of every name: is the record what it was?"""

from __future__ import annotations

from collections.abc import Iterator

from metastore.bundle.base import ChainCheck, Snapshot, chain_hash


def check_chains(newest_first: Iterator[Snapshot], current: Iterator[Snapshot]) -> Iterator[ChainCheck]:
    """Follow every name's chain from its newest snapshot to its first.

    Args:
        newest_first: All snapshots of the record.
        current: The newest of each name, as the current state says.
    """
    later: dict[str, Snapshot] = {}
    heads: dict[str, Snapshot] = {}
    counts: dict[str, int] = {}
    problems: dict[str, str] = {}
    standing = {snapshot.name: snapshot for snapshot in current}
    for snapshot in newest_first:
        name = snapshot.name
        counts[name] = counts.get(name, 0) + 1
        heads.setdefault(name, snapshot)
        if (after := later.get(name)) and (problem := _broken(snapshot, after)):
            problems.setdefault(name, problem)
        later[name] = snapshot
    for name, first in later.items():
        if problem := _broken(None, first):
            problems.setdefault(name, problem)
        if standing.get(name) != heads[name]:
            problems.setdefault(name, f"what stands there now is not what snapshot {heads[name].id} says")
    for name in sorted({*heads, *standing}):
        if name in heads:
            yield ChainCheck(name, counts[name], heads[name].hash, problems.get(name))
        else:
            yield ChainCheck(name, 0, "", "stands there without any snapshot")


def _broken(before: Snapshot | None, snapshot: Snapshot) -> str | None:
    if snapshot.previous != (before.id if before else None):
        return f"snapshot {snapshot.id} says it follows {snapshot.previous}, not {before.id if before else 'nothing'}"
    if chain_hash(snapshot, before.hash if before else "") != snapshot.hash:
        return f"snapshot {snapshot.id} was altered, or what was before it"
    return None
