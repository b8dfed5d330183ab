"""Bundles: a laboratory's named lists of devices, owned by groups, with a complete record of every change.

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
    """Open a registry of bundles; one is made where there is nothing yet.

    Args:
        url: Any storage of MetaStore's, as `metastore.connect` takes it: a path for local Git, `memory:`; or a database
            with the record's tables, `postgresql://…` as libpq reads it.
        groups: Who is in which group: a `Groups`, or the path of a groups file, read again whenever it changes.
        **options: What the storage takes; and `clock`. A database takes `pool_size`, how many connections a process
            may have (10), and `patience`, for how many seconds a call waits for one, for a lock, or for a server that
            starts again (10).

    Raises:
        InvalidInput: The URL, an option or the groups file is wrong.
        StorageUnavailable: It cannot be opened.
    """
    from metastore.bundle.connecting import connect_bundles

    return connect_bundles(url, groups if isinstance(groups, Groups) else Groups.load(groups), **options)


def __getattr__(name: str) -> Any:
    if name == "BundleRegistry":
        from metastore.bundle.registry import BundleRegistry

        return BundleRegistry
    raise AttributeError(f"module 'metastore.bundle' has no attribute {name!r}")
