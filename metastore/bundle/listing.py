"""Lists of bundles for people: a line a bundle, without its devices, in whatever order they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: By what lists are ordered, and of what kind it is; bundles that are equal in it come by name.
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
    """A bundle in a list; of a deleted one, its last state.

    Attributes:
        name: As in `Bundle`, like the following.
        event: When the devices are read.
        ifb_group: The group that owns it.
        storage: `long` or `short`.
        run: Whether a collector should be running now.
        udp: Whether UDP messages should be sent.
        writable: Whether it may have a collector.
        hosts: The computers on which the collector may run.
        devices: How many devices it has.
        updated: When it last changed, or was deleted, in UTC.
        user: Who did.
        comment: Why.
        snapshot: The number of its newest snapshot.
        deleted: Whether it is deleted.
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
    """Which bundles to list, and how; None means any.

    Attributes:
        text: That have this in their name, event, group, a host or a device, in upper or lower case (of ASCII).
        group: Owned by this group.
        device: With this device.
        event: With exactly this event.
        run: That should (not) be running.
        deleted: The deleted ones instead of the live ones.
        order: One of `ORDERS`.
        descending: The greatest first.
        after: Behind the bundle of this name: the last one of the page before.
        after_key: What that one has in `order`, as it was shown.
        limit: At most so many.
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
