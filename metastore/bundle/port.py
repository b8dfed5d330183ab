"""Bundles as values, and the port that every record of them implements.

A bundle is a named list of devices with the event on which a collector reads them; an experiment's group owns it. Every
change leaves a snapshot: the whole state after it, with who, when and why.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from metastore.bundle.listing import BundleLine, Listing

#: The attributes that may change, in the order in which they are shown; `name` and `ifb_group` never do.
CHANGEABLE = ("event", "storage", "run", "udp", "writable", "hosts")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A named list of devices.

    Attributes:
        name: Never changes; collectors run under it.
        event: When the devices are read, such as `e,a9`.
        ifb_group: The group that owns it; never changes.
        storage: `long` or `short`: how long readings are kept.
        run: Whether a collector should be running now; only if `writable`.
        udp: Whether UDP messages should be sent.
        writable: Whether it may have a collector ("collectable").
        hosts: The computers on which the collector may run, in order.
        devices: The devices, a set.
        updated: When it last changed, in UTC; set by the registry, and no part of what makes two bundles equal.
        snapshot: The number of its newest snapshot, likewise; give it as `expected`.
    """

    name: str
    event: str
    ifb_group: str
    storage: str = "short"
    run: bool = False
    udp: bool = False
    writable: bool = False
    hosts: tuple[str, ...] = ()
    devices: frozenset[str] = frozenset()
    updated: datetime | None = field(default=None, compare=False)
    snapshot: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.ifb_group}, {self.event}, {len(self.devices)} devices)"


#: What makes the state of a bundle: every attribute but those that the registry sets.
STATE = tuple(each.name for each in fields(Bundle) if each.compare)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One change of one bundle: the whole state after it.

    Attributes:
        id: Ascending over the registry; numbers may be missing.
        name: The bundle.
        created: When, in UTC.
        user: Who.
        comment: Why; may be empty.
        action: `create`, `update`, `delete`, `copy`, `restore` or `import`.
        bundle: All attributes and devices; of a deletion, the last ones.
        deleted: Whether this is a deletion.
        previous: The number of the snapshot before, of the same name; None for the first.
        hash: SHA-256 over this snapshot and the hash of the one before: the chain of this name.
    """

    id: int
    name: str
    created: datetime
    user: str
    comment: str
    action: str
    bundle: Bundle
    deleted: bool = False
    previous: int | None = None
    hash: str = ""

    def __str__(self) -> str:
        why = f": {self.comment}" if self.comment else ""
        return f"{self.id} {self.created:%Y-%m-%d %H:%M:%S} {self.user} {self.action} {self.name}{why}"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the log: a snapshot without its state, and what it changed.

    Attributes:
        id: The snapshot.
        name: The bundle.
        created: When, in UTC.
        user: Who.
        comment: Why.
        action: As in `Snapshot`.
        deleted: Whether this is a deletion.
        attributes: The names of the attributes that changed.
        added: How many devices came.
        removed: How many devices went.
    """

    id: int
    name: str
    created: datetime
    user: str
    comment: str
    action: str
    deleted: bool
    attributes: tuple[str, ...]
    added: int
    removed: int

    @property
    def changed(self) -> str:
        """What changed, in words such as `+2 −1 devices, hosts`."""
        counts = " ".join(f"{sign}{n}" for sign, n in (("+", self.added), ("−", self.removed)) if n)
        return ", ".join(([f"{counts} devices"] if counts else []) + list(self.attributes))

    def __str__(self) -> str:
        return f"{self.id} {self.created:%Y-%m-%d %H:%M} {self.user} {self.action} {self.name} {self.changed}".rstrip()


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """What lies between two snapshots.

    Attributes:
        old: The snapshot compared from.
        new: The snapshot compared to.
        attributes: Name to (old, new) of each attribute that differs.
        added: Devices that came, sorted.
        removed: Devices that went, sorted.
    """

    old: Snapshot
    new: Snapshot
    attributes: dict[str, tuple[Any, Any]]
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What `bundle_verify` says of one name.

    Attributes:
        name: The bundle.
        snapshots: How many there are.
        head: The hash of the newest; keep it elsewhere, and nobody can rewrite the record unseen.
        problem: Where the chain breaks, in words; None if it holds.
    """

    name: str
    snapshots: int
    head: str
    problem: str | None = None

    def __str__(self) -> str:
        count = f"{self.snapshots} snapshot{'s' * (self.snapshots != 1)}"
        return f"{self.head} {self.name} {self.problem or f'{count}, unbroken'}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which live bundles to list; None means any."""

    group: str | None = None
    device: str | None = None
    event: str | None = None
    run: bool | None = None
    host: str | None = None
    prefix: str = ""
    after: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which snapshots to list, newest first; None means any.

    Attributes:
        name: Of this bundle.
        user: Made by this user.
        device: That added or removed this device.
        since: Made then or later.
        until: Made before then.
        before: With a smaller number: the last one of the page before.
        limit: At most so many; None for all.
    """

    name: str | None = None
    user: str | None = None
    device: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int | None = 50


@dataclass(frozen=True, slots=True)
class Write:
    """One bundle's part of a transaction.

    Attributes:
        action: As in `Snapshot`.
        bundle: The state after; of a deletion, the last one.
        expected: The number of the name's newest snapshot, a deletion included; None if there must be none.
        deleted: Whether this deletes the bundle.
        follows: The hash of the expected snapshot, for whoever does not come from asking for it; None if they do.
            Numbers come again in a record that was restored from a backup; hashes do not.
    """

    action: str
    bundle: Bundle
    expected: int | None
    deleted: bool = False
    follows: str | None = None


class BundleRecord(ABC):
    """Where bundles and their snapshots are kept.

    What is missing raises `BundleNotFound` or `SnapshotNotFound`. `write` is one transaction: it is made as a whole,
    durable when it returns, or raises and has changed nothing (but for `OutcomeUnknown`).
    """

    @abstractmethod
    def newest(self, name: str) -> Snapshot:
        """Return the newest snapshot of a name, also when that is its deletion. Raises BundleNotFound."""

    @abstractmethod
    def recent(self, name: str) -> Snapshot | None:
        """Return a snapshot of a name that may be its newest, without asking; None if none is remembered.

        What is made of it has to say which one it `follows`, and is refused if there is a newer one.
        """

    @abstractmethod
    def as_of(self, name: str, at: datetime) -> Snapshot:
        """Return the newest snapshot of a name that was made at a time or before. Raises BundleNotFound."""

    @abstractmethod
    def snapshot(self, number: int) -> Snapshot:
        """Return a snapshot. Raises SnapshotNotFound."""

    @abstractmethod
    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles by name (by code point)."""

    @abstractmethod
    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list, in the order that is asked for (text by code point)."""

    @abstractmethod
    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""

    @abstractmethod
    def write(self, writes: Sequence[Write], *, user: str, comment: str, at: datetime) -> Sequence[Snapshot]:
        """Change several bundles at once, one snapshot each, in this order.

        Raises:
            RevisionConflict: The newest snapshot of a name is not the expected one.
        """

    @abstractmethod
    def chains(self) -> Iterator[ChainCheck]:
        """Walk the chain of each name, by name."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held open; it is opened again when it is used."""
