"""Bundles: named lists of devices, owned by groups, with a complete record of every change.

```python
from metastore import bundle

registry = bundle.connect("./metastore-data", groups="groups.conf")
registry.bundle_create({"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TORTGT"]}, user="ann")
registry.bundle_update("NuMI", {"add_devices": ["E:TR101D"]}, user="ann", comment="Second toroid")
for line in registry.bundle_log("NuMI"):
    print(line)
```
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastore.bundle.policy import Groups
from metastore.bundle.port import Bundle, BundleDiff, ChainCheck, LogEntry, Snapshot

if TYPE_CHECKING:
    from metastore.bundle.registry import BundleRegistry

__all__ = ["Bundle", "BundleDiff", "BundleRegistry", "ChainCheck", "Groups", "LogEntry", "Snapshot", "connect"]


def connect(url: str | Path, *, groups: Groups | str | Path, **options: Any) -> BundleRegistry:
    """Open a registry of bundles, creating an empty one if needed.

    Args:
        url: Any storage that `metastore.connect` takes, such as a path for local Git or `memory:`; or a migrated
            PostgreSQL database, as `postgresql://…` in libpq's syntax.
        groups: The groups and their members: a `Groups`, or the path of a groups file, which is read again when it
            changes.
        **options: The storage's options, and `clock`. A database takes `pool_size`, the largest number of connections
            per process (10), `patience`, the seconds that a call waits for a connection, a lock, or a server that
            is restarting (10), and `durable`: `required` refuses a database that can lose acknowledged changes,
            `warn` names the risk in the log, `off` does neither.

    Raises:
        InvalidInput: The URL, an option or the groups file is wrong.
        StorageUnavailable: The storage or the database cannot be opened.
    """
    from metastore.bundle.connecting import connect_bundles

    return connect_bundles(url, groups if isinstance(groups, Groups) else Groups.load(groups), **options)


def __getattr__(name: str) -> Any:
    if name == "BundleRegistry":
        from metastore.bundle.registry import BundleRegistry

        return BundleRegistry
    raise AttributeError(f"module 'metastore.bundle' has no attribute {name!r}")
