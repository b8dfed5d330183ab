"""Compare two snapshots of bundles."""

from __future__ import annotations

from metastore.bundle.port import STATE, BundleDiff, Snapshot


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
