"""The record of bundles on any storage: one dataset, a file a bundle, a commit a transaction.

```
registry.json                     {"last": 17, "changed": ["NuMI_Physics_A9"]}: the newest snapshot's number, and
                                  which bundles this commit changed, in the order of their snapshots
<2 hex>/<name>/bundle.json        the newest snapshot of a bundle, also of a deleted one; one device a line
```

So that several bundles change in one commit, the log has one order, and `git log -p` reads well. The record is what
counts: what answers by device, group or user is `metastore.bundle._index`, which can be made anew from it at any time.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from metastore.bundle._bundle_file import decode_snapshot, encode_snapshot, path_of
from metastore.bundle._chains import chain_hash, check_chains
from metastore.bundle._index import Index
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import STATE, Bundle, BundleRecord, ChainCheck, Filter, LogEntry, LogFilter, Snapshot, Write
from metastore.errors import (
    AlreadyExists,
    BundleNotFound,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    RevisionConflict,
    SnapshotNotFound,
    StorageBusy,
    StorageCorrupt,
)
from metastore.parse import make_author, make_message, make_time
from metastore.storage.port import Storage
from metastore.types import Author, Change, DatasetId, Revision, RevisionId

#: The dataset that holds the registry.
BUNDLES = DatasetId("_metastore", "bundles")
REGISTRY = "registry.json"
_TRIES = 200


class VersionedRecord(BundleRecord):
    """Bundles in one dataset of a storage.

    Args:
        storage: Where the dataset is.
        index_path: Where the index is kept, an SQLite file; None for memory.
    """

    def __init__(self, storage: Storage, index_path: str | None = None) -> None:
        self._storage = storage
        self._index = Index(index_path, self._revisions, self._snapshots)

    def newest(self, name: str) -> Snapshot:
        head = self._head()
        found = self._read(head.id, name) if head else None
        if found is None:
            raise BundleNotFound(name)
        return found

    def recent(self, name: str) -> Snapshot | None:
        return None  # asking is cheap; and what somebody put into the files by hand is seen so

    def as_of(self, name: str, at: datetime) -> Snapshot:
        place = self._indexed().as_of(name, at)
        if place is None:
            raise BundleNotFound(name, f"there was no bundle {name} at {at:%Y-%m-%d %H:%M:%S %Z}")
        return self._at(*place)

    def snapshot(self, number: int) -> Snapshot:
        place = self._indexed().place(number)
        if place is None:
            raise SnapshotNotFound(number)
        return self._at(*place)

    def bundles(self, wanted: Filter) -> Iterator[Bundle]:
        return self._indexed().bundles(wanted)

    def lines(self, wanted: Listing) -> Sequence[BundleLine]:
        return self._indexed().lines(wanted)

    def log(self, wanted: LogFilter) -> Sequence[LogEntry]:
        return self._indexed().log(wanted)

    def write(self, writes: Sequence[Write], *, user: str, comment: str, at: datetime) -> Sequence[Snapshot]:
        if not writes:
            return ()
        for attempt in range(_TRIES):
            head = self._head()
            snapshots = self._next(head, writes, user, comment, at)
            try:
                self._append(head, snapshots, _change(snapshots, user, comment, at))
            except (RevisionConflict, AlreadyExists):  # somebody changed another bundle, perhaps: look again
                time.sleep(random.uniform(0, 0.0005 * (attempt + 1)))
            else:
                return snapshots
        raise StorageBusy("too many change bundles at once; try again")

    def chains(self) -> Iterator[ChainCheck]:
        head = self._head()
        if head is None:
            return iter(())
        problems: dict[str, str] = {}
        return check_chains(self._walk(head, problems), self._current(head, problems), problems)

    def close(self) -> None:
        self._index.close()
        self._storage.close()

    def _head(self) -> Revision | None:
        try:
            return self._storage.resolve(BUNDLES, None)
        except DatasetNotFound:
            return None

    def _indexed(self) -> Index:
        """Return the index, brought up to the newest revision."""
        head = self._head()
        self._index.catch_up(head.id if head else None)
        return self._index

    def _next(
        self, head: Revision | None, writes: Sequence[Write], user: str, comment: str, at: datetime
    ) -> list[Snapshot]:
        """Compute the snapshots of a transaction on top of a revision."""
        last = self._registry(head.id).last if head else 0
        made: dict[str, Snapshot] = {}
        for number, write in enumerate(writes, last + 1):
            name = write.bundle.name
            if name in made:
                raise InvalidInput(f"bundle {name} occurs twice in one transaction")
            old = self._read(head.id, name) if head else None
            if (old.id if old else None) != write.expected or (old and write.follows not in (None, old.hash)):
                raise RevisionConflict(f"bundle {name}", expected=write.expected, actual=old.id if old else None)
            made[name] = make_snapshot(number, write, user, comment, at, old)
        return list(made.values())

    def _append(self, head: Revision | None, snapshots: Sequence[Snapshot], change: Change) -> None:
        said = {"last": snapshots[-1].id, "changed": [snapshot.name for snapshot in snapshots]}
        files = {REGISTRY: (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()}
        files |= {path_of(snapshot.name): encode_snapshot(snapshot) for snapshot in snapshots}
        if head is None:
            self._storage.create(BUNDLES, files, change)
        else:
            self._storage.append(BUNDLES, files, change, parent=head.id)

    def _registry(self, revision: RevisionId) -> _Said:
        try:
            said = json.loads(self._storage.read(BUNDLES, revision, REGISTRY))
            return _Said(int(said["last"]), [str(name) for name in said["changed"]])
        except (ValueError, TypeError, KeyError, PathNotFound) as error:
            raise StorageCorrupt(f"{REGISTRY} of revision {revision[:12]} cannot be read: {error!r}") from None

    def _read(self, revision: RevisionId, name: str) -> Snapshot | None:
        try:
            found = decode_snapshot(self._storage.read(BUNDLES, revision, path_of(name)))
        except PathNotFound:
            return None
        if found.name != name:
            raise StorageCorrupt(f"the file of bundle {name} says that it is {found.name}")
        return found

    def _at(self, revision: RevisionId, name: str) -> Snapshot:
        found = self._read(revision, name)
        if found is None:
            raise StorageCorrupt(f"revision {revision[:12]} should have changed bundle {name}, which it has not")
        return found

    def _revisions(self) -> Iterator[RevisionId]:
        """Yield the revisions of the record, newest first."""
        head = self._head()
        if head is not None:
            yield from (revision.id for revision in self._storage.history(BUNDLES, head.id))

    def _snapshots(self, revision: RevisionId) -> list[Snapshot]:
        """Return the snapshots that a revision made, in order; again those before it, if it is not the registry's."""
        return [self._at(revision, name) for name in self._registry(revision).changed]

    def _walk(self, head: Revision, problems: dict[str, str]) -> Iterator[Snapshot]:
        """Yield all snapshots, newest first, and note where somebody changed a file without making one."""
        stood: dict[str, Snapshot | None] = {}
        for revision in self._storage.history(BUNDLES, head.id):
            last = self._registry(revision.parent).last if revision.parent else 0
            said = self._registry(revision.id)
            for name in reversed(said.changed) if said.last > last else ():
                try:
                    snapshot = self._at(revision.id, name)
                    before = self._read(revision.parent, name) if revision.parent else None
                except StorageCorrupt as error:
                    problems.setdefault(name, str(error))
                    continue
                if stood.get(name, snapshot) != snapshot:
                    problems.setdefault(name, f"it was changed without a snapshot, after snapshot {snapshot.id}")
                stood[name] = before
                yield snapshot

    def _current(self, head: Revision, problems: dict[str, str]) -> Iterator[Snapshot]:
        """Yield the newest snapshot of every name as it stands in the tree, and note what cannot be read."""
        for path in self._storage.paths(BUNDLES, head.id):
            if path == REGISTRY:
                continue
            name = path.split("/")[-2] if "/" in path else ""
            if path != path_of(name):
                problems[path] = f"{path} is not the registry's"
                continue
            try:
                yield self._at(head.id, name)
            except StorageCorrupt as error:
                problems.setdefault(name, str(error))


class _Said(NamedTuple):
    """What `registry.json` says."""

    last: int
    changed: list[str]


def make_snapshot(number: int, write: Write, user: str, comment: str, at: datetime, old: Snapshot | None) -> Snapshot:
    """Make the snapshot of a change, with its link of the chain."""
    state = Bundle(**{key: getattr(write.bundle, key) for key in STATE}, updated=at, snapshot=number)
    made = Snapshot(number, state.name, at, user, comment, write.action, state, write.deleted, old.id if old else None)
    return Snapshot(**{**_fields(made), "hash": chain_hash(made, old.hash if old else "")})


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    return {key: getattr(snapshot, key) for key in Snapshot.__dataclass_fields__}


def _change(snapshots: Sequence[Snapshot], user: str, comment: str, at: datetime) -> Change:
    done = ", ".join(f"{snapshot.action} {snapshot.name}" for snapshot in snapshots[:10])
    more = f" and {len(snapshots) - 10} more" if len(snapshots) > 10 else ""
    try:
        author = make_author((user, ""))
    except InvalidInput:  # nothing is left that Git would keep; the file says who it was
        author = Author("unknown")
    return Change(author, make_message(comment) or f"{done}{more}", make_time(at))
