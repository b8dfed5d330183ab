"""The last seen snapshots of bundles that this process changes, so that the next change need not read them.

They may be out of date: the server compares number and hash, and refuses a change of anything but the newest.
"""

from __future__ import annotations

from metastore.bundle.port import Snapshot

#: The largest number of snapshots, and of devices in each: a few megabytes in all.
_MOST, _MOST_DEVICES = 100, 1_000


class SnapshotCache:
    """A few snapshots, each the newest of its name when it was kept. Safe to share between threads."""

    def __init__(self) -> None:
        # No lock, which a forked child could inherit locked: each operation on the dictionary is atomic.
        self._snapshots: dict[str, Snapshot] = {}

    def get(self, name: str) -> Snapshot | None:
        """Return the snapshot of a name; None if there is none."""
        return self._snapshots.get(name)

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the name's earlier one, unless deleted or large. A full cache is cleared."""
        if snapshot.deleted or len(snapshot.bundle.devices) > _MOST_DEVICES:
            self._snapshots.pop(snapshot.name, None)
            return
        if len(self._snapshots) >= _MOST:
            self._snapshots.clear()
        self._snapshots[snapshot.name] = snapshot
