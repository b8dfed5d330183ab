"""The record of bundles on any storage: one dataset, with a file per bundle and a commit per transaction.

```
registry.json                     {"last": 17, "changed": ["NuMI_Physics_A9"]}: the number of the newest snapshot, and
                                  the bundles that this commit changed, in the order of their snapshots
<2 hex>/<name>/bundle.json        the newest snapshot of a bundle, even a deleted one; one device per line
```

One dataset for all bundles lets several change in one commit, gives the log one order, and makes `git log -p` readable.
Questions by device, group or user go to `metastore.bundle._index`, which can be rebuilt from the record at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from metastore.bundle._chains import chain_hash, check_chains
from metastore.bundle._index import Index
from metastore.bundle.listing import BundleLine, Listing
from metastore.bundle.port import STATE, Bundle, BundleRecord, ChainCheck, Filter, LogEntry, LogFilter, Snapshot, Write
from metastore.errors import (
    BundleNotFound,
    DatasetNotFound,
    InvalidInput,
    OutcomeUnknown,
    PathNotFound,
    RevisionConflict,
    SnapshotNotFound,
    StorageCorrupt,
    StorageError,
)
from metastore.parse import make_author, make_message, make_time
from metastore.storage import retry
from metastore.storage.port import Storage
from metastore.storage.retry import FileChanges
from metastore.types import Author, Change, DatasetId, Outcome, Revision, RevisionId

#: The dataset that holds the registry.
BUNDLES = DatasetId("_metastore", "bundles")
REGISTRY = "registry.json"
#: How many of the newest commits are searched for a change.
_RECENT = 1000


class VersionedRecord(BundleRecord):
    """Bundles in one dataset of a storage.

    Args:
        storage: The storage that holds the dataset.
        index_path: The SQLite file of the index; None to keep the index in memory.
    """

    def __init__(self, storage: Storage, index_path: str | None = None) -> None:
        self._storage = storage
        self._index = Index(index_path, self._revisions, self._snapshots)

    def newest(self, name: str) -> Snapshot:
        head = self._head()
        snapshot = self._read(head.id, name) if head else None
        if snapshot is None:
            raise BundleNotFound(name)
        return snapshot

    def recent(self, name: str) -> Snapshot | None:
        return None  # reading is cheap, and sees a commit made by hand

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
        snapshots: list[Snapshot] = []

        def compute(head: Revision | None) -> tuple[FileChanges, Change]:
            nonlocal snapshots
            snapshots = self._next(head, writes, user, comment, at)
            return _files(snapshots), _change(snapshots, user, comment, at)

        retry.append(self._storage, BUNDLES, self._head, compute)
        return snapshots

    def settle(self, error: OutcomeUnknown) -> Outcome:
        if error.wanted is None or error.change is not None or error.bundles is not None:
            raise InvalidInput("this error names no change of bundles in a repository, so it cannot be settled")
        try:
            if (landed := self._storage.was_made(error)) is None:
                landed = self._was_made(error.wanted, error.before)
            if landed:
                self._storage.confirm(BUNDLES)
        except StorageError:
            return Outcome.UNKNOWN
        return {True: Outcome.LANDED, False: Outcome.NOT_LANDED, None: Outcome.UNKNOWN}[landed]

    def _was_made(self, wanted: str, before: str | None) -> bool | None:
        """Tell whether a commit was made on top of another one; None if it still may be, or too much has happened."""
        head, last = self._head(), None
        for revision in islice(self._storage.history(BUNDLES, head.id) if head else (), _RECENT):
            last = revision
            if revision.id in (wanted, before):
                break
        if last and last.id == wanted:
            return True
        if (last.id if last else None) == before:
            is_settled = last != head or not self._storage.may_arrive_late
            return False if is_settled else None
        return False if before is None and last and last.parent is None else None

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
        """Return the index, updated to the newest revision."""
        head = self._head()
        self._index.catch_up(head.id if head else None)
        return self._index

    def _next(
        self, head: Revision | None, writes: Sequence[Write], user: str, comment: str, at: datetime
    ) -> list[Snapshot]:
        """Compute the snapshots of a transaction that follows a revision."""
        last = self._registry(head.id).last if head else 0
        snapshots: dict[str, Snapshot] = {}
        for number, write in enumerate(writes, last + 1):
            name = write.bundle.name
            if name in snapshots:
                raise InvalidInput(f"bundle {name} occurs twice in one transaction")
            old = self._read(head.id, name) if head else None
            if (old.id if old else None) != write.expected or (old and write.follows not in (None, old.hash)):
                raise RevisionConflict(f"bundle {name}", expected=write.expected, actual=old.id if old else None)
            snapshots[name] = make_snapshot(number, write, user, comment, at, old)
        return list(snapshots.values())

    def _registry(self, revision: RevisionId) -> _Registry:
        try:
            document = json.loads(self._storage.read(BUNDLES, revision, REGISTRY))
            return _Registry(int(document["last"]), [str(name) for name in document["changed"]])
        except PathNotFound:
            raise StorageCorrupt(f"revision {revision[:12]} has no {REGISTRY}") from None
        except (ValueError, TypeError, KeyError):
            raise StorageCorrupt(f"{REGISTRY} of revision {revision[:12]} is not what MetaStore writes") from None

    def _read(self, revision: RevisionId, name: str) -> Snapshot | None:
        try:
            snapshot = _decode(self._storage.read(BUNDLES, revision, path_of(name)))
        except PathNotFound:
            return None
        if snapshot.name != name:
            raise StorageCorrupt(f"the file of bundle {name} claims to be {snapshot.name}")
        return snapshot

    def _at(self, revision: RevisionId, name: str) -> Snapshot:
        snapshot = self._read(revision, name)
        if snapshot is None:
            raise StorageCorrupt(f"revision {revision[:12]} should have changed bundle {name}, but lacks its file")
        return snapshot

    def _revisions(self) -> Iterator[RevisionId]:
        """Yield the revisions of the record, newest first."""
        head = self._head()
        if head is not None:
            yield from (revision.id for revision in self._storage.history(BUNDLES, head.id))

    def _snapshots(self, revision: RevisionId) -> list[Snapshot]:
        """Return the snapshots of a revision, in order. A commit made by hand repeats those before it."""
        return [self._at(revision, name) for name in self._registry(revision).changed]

    def _walk(self, head: Revision, problems: dict[str, str]) -> Iterator[Snapshot]:
        """Yield all snapshots, newest first, and note bundles whose files changed without a snapshot."""
        expected: dict[str, Snapshot | None] = {}
        for revision in self._storage.history(BUNDLES, head.id):
            last = self._registry(revision.parent).last if revision.parent else 0
            registry = self._registry(revision.id)
            for name in reversed(registry.changed) if registry.last > last else ():
                try:
                    snapshot = self._at(revision.id, name)
                    before = self._read(revision.parent, name) if revision.parent else None
                except StorageCorrupt as error:
                    problems.setdefault(name, str(error))
                    continue
                if expected.get(name, snapshot) != snapshot:
                    problems.setdefault(name, f"it was changed without a snapshot, after snapshot {snapshot.id}")
                expected[name] = before
                yield snapshot

    def _current(self, head: Revision, problems: dict[str, str]) -> Iterator[Snapshot]:
        """Yield the newest snapshot of each name from the tree, and note files that cannot be read."""
        for path in self._storage.paths(BUNDLES, head.id):
            if path == REGISTRY:
                continue
            name = path.split("/")[-2] if "/" in path else ""
            if path != path_of(name):
                problems[path] = f"{path} is not a file of the registry"
                continue
            try:
                yield self._at(head.id, name)
            except StorageCorrupt as error:
                problems.setdefault(name, str(error))


class _Registry(NamedTuple):
    """The content of `registry.json`."""

    last: int
    changed: list[str]


def make_snapshot(number: int, write: Write, user: str, comment: str, at: datetime, old: Snapshot | None) -> Snapshot:
    """Build the snapshot of a change, linked to the name's previous one."""
    snapshot = Snapshot(
        id=number,
        name=write.bundle.name,
        created=at,
        user=user,
        comment=comment,
        action=write.action,
        bundle=replace(write.bundle, updated=at, snapshot=number),
        deleted=write.deleted,
        previous=old.id if old else None,
    )
    return replace(snapshot, hash=chain_hash(snapshot, old.hash if old else ""))


def _files(snapshots: Sequence[Snapshot]) -> FileChanges:
    registry = {"last": snapshots[-1].id, "changed": [snapshot.name for snapshot in snapshots]}
    files = {path_of(snapshot.name): _encode(snapshot) for snapshot in snapshots}
    return {REGISTRY: (json.dumps(registry, indent=2, ensure_ascii=False) + "\n").encode(), **files}


def _change(snapshots: Sequence[Snapshot], user: str, comment: str, at: datetime) -> Change:
    actions = ", ".join(f"{snapshot.action} {snapshot.name}" for snapshot in snapshots[:10])
    more = f" and {len(snapshots) - 10} more" if len(snapshots) > 10 else ""
    try:
        author = make_author((user, ""))
    except InvalidInput:  # Git can keep no part of this name; the file has it
        author = Author("unknown")
    return Change(author, make_message(comment) or f"{actions}{more}", make_time(at))


def path_of(name: str) -> str:
    """Return the path of a bundle's file. The 256 folders keep trees small."""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}/bundle.json"


def _encode(snapshot: Snapshot) -> bytes:
    """Return the content of a snapshot's file."""
    state = {key: getattr(snapshot.bundle, key) for key in STATE}
    document = {
        **state,
        "hosts": list(snapshot.bundle.hosts),
        "devices": sorted(snapshot.bundle.devices),
        "deleted": snapshot.deleted,
        "snapshot": snapshot.id,
        "previous": snapshot.previous,
        "created": snapshot.created.astimezone(UTC).isoformat(),
        "user": snapshot.user,
        "action": snapshot.action,
        "comment": snapshot.comment,
        "hash": snapshot.hash,
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _decode(content: bytes) -> Snapshot:
    """Read a snapshot from its file.

    Raises:
        StorageCorrupt: The file is not a snapshot.
    """
    try:
        document = json.loads(content)
        created = datetime.fromisoformat(document["created"])
        return Snapshot(
            id=document["snapshot"],
            name=document["name"],
            created=created,
            user=document["user"],
            comment=document["comment"],
            action=document["action"],
            bundle=Bundle.of({key: document[key] for key in STATE}, updated=created, snapshot=document["snapshot"]),
            deleted=document["deleted"],
            previous=document["previous"],
            hash=document["hash"],
        )
    except (ValueError, KeyError, TypeError):
        raise StorageCorrupt("the file of a bundle is damaged: it is not what MetaStore writes") from None
