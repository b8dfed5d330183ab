"""Bundles as values, and the port that every record of bundles implements.

A bundle is a named list of devices, owned by an experiment's group; a collector reads them on the bundle's event. Every
change leaves a snapshot: the whole state after the change, with its user, time and comment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from metastore.bundle.listing import BundleLine, Listing
from metastore.errors import OutcomeUnknown
from metastore.types import Outcome


@dataclass(frozen=True, slots=True)
class Bundle:
    """A named list of devices.

    Attributes:
        name: The name that collectors run under. It never changes.
        event: The event that triggers a reading, such as `e,a9`.
        ifb_group: The group that owns the bundle. It never changes.
        storage: How long readings are kept: `long` or `short`.
        run: Whether a collector should run now. Only a `writable` bundle can run.
        udp: Whether to send UDP messages.
        writable: Whether the bundle may have a collector ("collectable").
        hosts: The computers on which the collector may run, in order of preference.
        devices: The devices, as a set.
        updated: The time of the last change, in UTC. The registry sets it; it is ignored when bundles are compared.
        snapshot: The number of the newest snapshot, to pass as `expected`. Set and ignored like `updated`.
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

    @classmethod
    def of(cls, values: Mapping[str, Any], *, updated: datetime | None = None, snapshot: int | None = None) -> Self:
        """Build a bundle from values that were checked before, such as a row or a file of a record.

        Args:
            values: Attribute names to values; hosts and devices are any iterables. An absent attribute gets its
                default; other keys are ignored.
            updated: As in `Bundle`.
            snapshot: As in `Bundle`.
        """
        state = {key: values[key] for key in STATE if key in values}
        state |= {key: kind(state[key]) for key, kind in (("hosts", tuple), ("devices", frozenset)) if key in state}
        return cls(**state, updated=updated, snapshot=snapshot)

    def __str__(self) -> str:
        return f"{self.name} ({self.ifb_group}, {self.event}, {len(self.devices)} devices)"


#: The attributes that make up the state of a bundle: all but those that the registry sets.
STATE = tuple(attribute.name for attribute in fields(Bundle) if attribute.compare)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One change of one bundle: the whole state after it.

    Attributes:
        id: A number that ascends over the whole registry. Numbers may be missing.
        name: The name of the bundle.
        created: The time of the change, in UTC.
        user: The user who made the change.
        comment: The reason for the change; may be empty.
        action: `create`, `update`, `delete`, `copy`, `restore` or `import`.
        bundle: The state after the change; for a deletion, the last state.
        deleted: Whether the change deleted the bundle.
        previous: The number of the bundle's snapshot before this one; None for its first.
        hash: SHA-256 over this snapshot and the hash of the previous one, in hexadecimal.
        recorded: The time by the database's clock, if that is known and more than a minute from `created`, which the
            program that made the change claims; else None.
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
    recorded: datetime | None = field(default=None, compare=False)

    def __str__(self) -> str:
        comment = f": {self.comment}" if self.comment else ""
        return f"{self.id} {self.created:%Y-%m-%d %H:%M:%S} {self.user} {self.action} {self.name}{comment}"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the log: a snapshot without its state, with a summary of the change.

    Attributes:
        id: The number of the snapshot.
        name: As in `Snapshot`, like the next five.
        created: The time of the change, in UTC.
        user: The user who made the change.
        comment: The reason for the change.
        action: The kind of change.
        deleted: Whether the change deleted the bundle.
        attributes: The names of the attributes that changed.
        added: The number of devices added.
        removed: The number of devices removed.
        recorded: As in `Snapshot`.
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
    recorded: datetime | None = field(default=None, compare=False)

    @property
    def changed(self) -> str:
        """A summary of the change, such as `+2 −1 devices, hosts`."""
        counts = " ".join(f"{sign}{count}" for sign, count in (("+", self.added), ("−", self.removed)) if count)
        return ", ".join(([f"{counts} devices"] if counts else []) + list(self.attributes))

    def __str__(self) -> str:
        return f"{self.id} {self.created:%Y-%m-%d %H:%M} {self.user} {self.action} {self.name} {self.changed}".rstrip()


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """The difference between two snapshots.

    Attributes:
        old: The older snapshot.
        new: The newer snapshot.
        attributes: The name of each attribute that differs, and its (old, new) values.
        added: The devices that only `new` has, sorted.
        removed: The devices that only `old` has, sorted.
    """

    old: Snapshot
    new: Snapshot
    attributes: dict[str, tuple[Any, Any]]
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """The result of `bundle_verify` for one name.

    Attributes:
        name: The name of the bundle.
        snapshots: The number of its snapshots.
        head: The hash of the newest snapshot. Keep it elsewhere: it reveals a record that was rewritten as a whole.
        problem: What is wrong, in words; None if the record of this name is intact.
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
    """Which live bundles to list; see `bundle_list`. None means any."""

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
        name: Only snapshots of this bundle.
        user: Only changes by this user.
        device: Only changes that added or removed this device.
        since: Only changes made at this time or later.
        until: Only changes made before this time.
        before: Only snapshots with a smaller number; pass the last one of a page to get the next page.
        limit: The largest number of lines to return; None for all.
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
        bundle: The state after the change; for a deletion, the last state.
        expected: The number of the name's newest snapshot, which may be a deletion; None if the name is new.
        deleted: Whether the change deletes the bundle.
        follows: The hash of the expected snapshot if it came from `recent`, else None. A record that was restored from
            a backup gives out numbers again, but never hashes.
    """

    action: str
    bundle: Bundle
    expected: int | None
    deleted: bool = False
    follows: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested transaction, kept to find out later whether it was made.

    Attributes:
        writes: The changes.
        user: Who asked for them.
        comment: The reason.
        at: The time, in UTC.
    """

    writes: tuple[Write, ...]
    user: str
    comment: str
    at: datetime


class BundleRecord(ABC):
    """Where bundles and their snapshots are kept.

    A missing bundle raises `BundleNotFound`, a missing snapshot `SnapshotNotFound`. `write` is one transaction: when it
    returns, everything is durable; when it raises, nothing has changed, unless the error is `OutcomeUnknown`.
    """

    @abstractmethod
    def newest(self, name: str) -> Snapshot:
        """Return the newest snapshot of a name, which may be its deletion. Raises BundleNotFound."""

    @abstractmethod
    def recent(self, name: str) -> Snapshot | None:
        """Return a remembered snapshot of a name without reading the record; None if there is none.

        It may be out of date. A write based on it must carry its hash in `follows`, so that the record can refuse it.
        """

    @abstractmethod
    def as_of(self, name: str, at: datetime) -> Snapshot:
        """Return the newest snapshot of a name that was made at a time or earlier. Raises BundleNotFound."""

    @abstractmethod
    def snapshot(self, number: int) -> Snapshot:
        """Return a snapshot by its number. Raises SnapshotNotFound."""

    @abstractmethod
    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        """Yield live bundles, ordered by the code points of their names."""

    @abstractmethod
    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        """Return a page of a list in the requested order; text is ordered by code point."""

    @abstractmethod
    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        """Return a page of the log, newest first."""

    @abstractmethod
    def write(self, writes: Sequence[Write], *, user: str, comment: str, at: datetime) -> Sequence[Snapshot]:
        """Change several bundles in one transaction and return their snapshots, in the order of `writes`.

        Raises:
            RevisionConflict: The newest snapshot of a name is not the expected one.
        """

    @abstractmethod
    def settle(self, error: OutcomeUnknown) -> Outcome:
        """See `BundleRegistry.settle`."""

    @abstractmethod
    def chains(self) -> Iterator[ChainCheck]:
        """Check the record of every name and yield the results, ordered by name."""

    @abstractmethod
    def close(self) -> None:
        """Free connections and files; the next call opens them again."""
