"""Lists of bundles for people: one line per bundle, without its devices, in any of several orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metastore.errors import InvalidInput

#: The columns that a list can be ordered by, and their types. Bundles with equal values are ordered by name.
ORDERS: dict[str, type] = {
    "name": str,
    "event": str,
    "ifb_group": str,
    "storage": str,
    "run": bool,
    "devices": int,
    "updated": datetime,
    "user": str,
}


@dataclass(frozen=True, slots=True)
class BundleLine:
    """A bundle in a list; a deleted one with its last state.

    Attributes:
        name: As in `Bundle`, like the next seven.
        event: The event that triggers a reading.
        ifb_group: The group that owns the bundle.
        storage: `long` or `short`.
        run: Whether a collector should run now.
        udp: Whether to send UDP messages.
        writable: Whether the bundle may have a collector.
        hosts: The computers on which the collector may run.
        devices: The number of devices.
        updated: The time of the last change or of the deletion, in UTC.
        user: The user who made that change.
        comment: The reason for it.
        snapshot: The number of the newest snapshot.
        deleted: Whether the bundle is deleted.
    """

    name: str
    event: str
    ifb_group: str
    storage: str
    run: bool
    udp: bool
    writable: bool
    hosts: tuple[str, ...]
    devices: int
    updated: datetime
    user: str
    comment: str
    snapshot: int | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Which bundles to list, and in what order; None means any.

    Attributes:
        text: Only bundles that contain all of these words, each in their name, event, group, a host or a device. ASCII
            letters match in either case.
        group: Only bundles of this group.
        device: Only bundles with this device.
        event: Only bundles with exactly this event.
        run: Only bundles that should, or should not, run.
        deleted: List deleted bundles instead of live ones.
        order: One of `ORDERS`.
        descending: Whether the greatest comes first.
        after: The name of the last bundle on the previous page.
        after_key: That bundle's value in the column `order`.
        limit: The largest number of lines to return.
    """

    text: str | None = None
    group: str | None = None
    device: str | None = None
    event: str | None = None
    run: bool | None = None
    deleted: bool = False
    order: str = "name"
    descending: bool = False
    after: str | None = None
    after_key: Any = None
    limit: int = 50

    @property
    def words(self) -> tuple[str, ...]:
        """The words of `text`. Raises InvalidInput: it is not text."""
        if not isinstance(self.text, str | None):
            raise InvalidInput(f"the words to look for are text, not {type(self.text).__name__}")
        return tuple(dict.fromkeys((self.text or "").split()))
