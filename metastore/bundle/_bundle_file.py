"""The file of a bundle in the record on a storage: its path, and a snapshot as JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from metastore.bundle.port import STATE, Bundle, Snapshot
from metastore.errors import StorageCorrupt


def path_of(name: str) -> str:
    """Return the file of a bundle; folders keep trees small."""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}/bundle.json"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Write a snapshot as its file holds it."""
    state = {key: getattr(snapshot.bundle, key) for key in STATE}
    said = {
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
    return (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode()


def decode_snapshot(content: bytes) -> Snapshot:
    """Read a snapshot's file.

    Raises:
        StorageCorrupt: It is none.
    """
    try:
        said = json.loads(content)
        created = datetime.fromisoformat(said["created"])
        state = {key: said[key] for key in STATE}
        state |= {"hosts": tuple(said["hosts"]), "devices": frozenset(said["devices"])}
        bundle = Bundle(**state, updated=created, snapshot=said["snapshot"])
        return Snapshot(
            said["snapshot"],
            said["name"],
            created,
            said["user"],
            said["comment"],
            said["action"],
            bundle,
            said["deleted"],
            said["previous"],
            said["hash"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StorageCorrupt(f"the file of a bundle cannot be read: {error!r}") from None
