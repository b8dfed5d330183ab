"""Compare two snapshots of bundles, merge two changes, and take one out of a later state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metastore.bundle.checks import apply_changes
from metastore.bundle.port import STATE, Bundle, BundleDiff, Snapshot
from metastore.descriptor.merge import merge
from metastore.errors import MergeConflict
from metastore.types import Difference


def diff(old: Snapshot, new: Snapshot) -> BundleDiff:
    """Return the difference between two snapshots."""
    before, after = old.bundle, new.bundle
    attributes = {
        key: (getattr(before, key), getattr(after, key))
        for key in STATE
        if key != "devices" and getattr(before, key) != getattr(after, key)
    }
    return BundleDiff(
        old=old,
        new=new,
        attributes=attributes,
        added=tuple(sorted(after.devices - before.devices)),
        removed=tuple(sorted(before.devices - after.devices)),
    )


def take_out(now: Bundle, after: Bundle, before: Bundle) -> Bundle:
    """Take the change between two states of a bundle out of a later state.

    Raises:
        MergeConflict: A later change of the same attribute stands in the way. Devices are taken one by one, and never
            clash.
    """
    values, clashes = merge(_values(after), _values(now), _values(before))
    if clashes:
        raise MergeConflict(f"bundle {now.name}", clashes)
    return apply_changes(now, values)


def merged(base: Bundle, mine: Bundle, theirs: Bundle) -> Bundle:
    """Merge two changes of a bundle, hosts and devices one by one. Mine counts where both changed another attribute."""
    values, _ = merge(_values(base), _values(mine), _values(theirs))
    return replace(theirs, **{**values, "hosts": tuple(values["hosts"]), "devices": frozenset(values["devices"])})


def changed_since(then: Bundle, now: Bundle) -> tuple[Difference, ...]:
    """Return the attributes of a bundle that are different now."""
    old, new = _values(then), _values(now)
    return tuple(Difference("changed", key, old[key], new[key]) for key in STATE if old[key] != new[key])


def _values(bundle: Bundle) -> dict[str, Any]:
    values = {key: getattr(bundle, key) for key in STATE}
    return {**values, "hosts": list(bundle.hosts), "devices": sorted(bundle.devices)}
