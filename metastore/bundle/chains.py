"""Walking the hash chain of every name: is the record what it was?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from metastore.bundle.base import ChainCheck, Snapshot, chain_hash


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
