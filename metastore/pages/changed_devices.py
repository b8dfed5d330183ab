"""The devices that a change of a bundle added and removed, by name. The lines of the record have only their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from metastore.bundle.port import LogEntry, Snapshot
from metastore.errors import NotFound
from metastore.pages.formatting import number
from metastore.pages.languages import gettext as _
from metastore.service.bundles import registry

#: The devices that are named on each side.
_NAMED = 3
#: How many devices of snapshots one request reads; lines behind that keep their numbers.
_MOST_READ = 20_000
#: The names of a snapshot never change. 10,000 lines take some 5 MB.
_MOST_REMEMBERED = 10_000
_Sides = tuple[tuple[str, ...], tuple[str, ...]]
_remembered: dict[LogEntry, _Sides] = {}


class Names:
    """Names the devices of the lines of one page."""

    def __init__(self) -> None:
        self._left = _MOST_READ
        self._read: dict[int, frozenset[str]] = {}

    def words(self, line: LogEntry) -> str:
        """Return the changed devices in words; an empty text if none changed, or too many were read already."""
        removed, added = self._sides(line) if line.added or line.removed else ((), ())
        if bool(removed) != bool(line.removed) or bool(added) != bool(line.added):
            return ""
        told = (
            _("removed %(names)s", names=_listed(removed, line.removed)) if removed else "",
            _("added %(names)s", names=_listed(added, line.added)) if added else "",
        )
        return ", ".join(filter(None, told))

    def _sides(self, line: LogEntry) -> _Sides:
        """Return the first removed devices and the first added ones."""
        if (sides := _remembered.get(line)) is not None:
            return sides
        if self._left <= 0:
            return (), ()
        try:
            snapshot = registry().bundle_snapshot(line.id)
            before = self._devices(snapshot.previous) if snapshot.previous is not None else frozenset()
            now = self._devices(line.id, snapshot)
        except NotFound:
            return (), ()
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[line] = tuple(sorted(before - now)[:_NAMED]), tuple(sorted(now - before)[:_NAMED])
        return _remembered[line]

    def _devices(self, number: int, snapshot: Snapshot | None = None) -> frozenset[str]:
        """Return the devices of a snapshot; none of a deletion."""
        if (devices := self._read.get(number)) is None:
            snapshot = snapshot or registry().bundle_snapshot(number)
            devices = frozenset() if snapshot.deleted else snapshot.bundle.devices
            self._read[number] = devices
            self._left -= len(devices)
        return devices


def _listed(names: Sequence[str], total: int) -> str:
    listed, more = ", ".join(names), total - len(names)
    return _("%(listed)s and %(more)s more", listed=listed, more=number(more)) if more > 0 else listed
