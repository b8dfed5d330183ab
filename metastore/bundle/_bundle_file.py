"""The file of a bundle in a record on a storage: its path, and a snapshot as JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from metastore.bundle.port import STATE, Bundle, Snapshot
from metastore.errors import StorageCorrupt


def path_of(name: str) -> str:
    """Return the path of a bundle's file. The 256 folders keep trees small."""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}/bundle.json"


def encode_snapshot(snapshot: Snapshot) -> bytes:
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


def decode_snapshot(content: bytes) -> Snapshot:
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
    except (ValueError, KeyError, TypeError) as error:
        raise StorageCorrupt(f"the file of a bundle cannot be read: {error!r}") from None
