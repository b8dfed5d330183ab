"""What was seen last of bundles that are changed here: where a change can begin without asking for the newest state."""

from __future__ import annotations

from metastore.bundle.port import Snapshot

#: How many bundles, and of at most how many devices each: a few megabytes at most.
_MOST, _LARGEST = 100, 1_000


class Recent:
    """Snapshots that were the newest of their names when they were seen, a few. Safe to share between threads."""

    def __init__(self) -> None:
        # Without a lock, which a forked child could inherit locked: each step here is one of the interpreter's.
        self._snapshots: dict[str, Snapshot] = {}

    def get(self, name: str) -> Snapshot | None:
        """Return what is remembered of a name."""
        return self._snapshots.get(name)

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a snapshot, unless it is too large; forget the others when there are too many."""
        if snapshot.deleted or len(snapshot.bundle.devices) > _LARGEST:
            self.forget(snapshot.name)
            return
        if len(self._snapshots) >= _MOST:
            self._snapshots.clear()
        self._snapshots[snapshot.name] = snapshot

    def forget(self, name: str) -> None:
        """Remember nothing of a name."""
        self._snapshots.pop(name, None)
