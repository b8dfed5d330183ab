"""The revision that changed each resource last. It reads few revisions, and remembers what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metastore.descriptor.document import load
from metastore.descriptor.resources import resources
from metastore.errors import MetastoreError
from metastore.service.context import service
from metastore.store.metering import metered
from metastore.store.summaries import PAGE_BYTES
from metastore.types import DatasetId, Revision, RevisionId

#: The revisions that one request looks at.
_MOST = 100
#: What is remembered: a revision and its ancestors never change. 50,000 resources take some 10 MB.
_MOST_REMEMBERED = 50_000
_remembered: dict[RevisionId, dict[str, Revision | None]] = {}


def last_changes(subject: DatasetId, revision: Revision, descriptor: Mapping[str, Any]) -> dict[str, Revision | None]:
    """Return the revision that changed each resource last, by `key_of`; None if that is too far back to look.

    A renamed resource was changed by its renaming. A resource that only moved in the list was not changed.
    """
    if (known := _remembered.get(revision.id)) is not None:
        return known
    found = _walk(subject, revision, _keyed(descriptor))
    if sum(map(len, _remembered.values())) + len(found) > _MOST_REMEMBERED:
        _remembered.clear()
    _remembered[revision.id] = found
    return found


def key_of(resource: Mapping[str, Any], number: int) -> str:
    """Return what tells a resource from the others: its name, else its position."""
    name = resource.get("name")
    return f"={name}" if isinstance(name, str) else str(number)


def _walk(subject: DatasetId, revision: Revision, current: Mapping[str, Any]) -> dict[str, Revision | None]:
    """Compare the present resources with those of each revision before, until each is found to differ."""
    found: dict[str, Revision | None] = dict.fromkeys(current)
    waiting, newer = set(current), revision
    if revision.parent is None:
        return dict.fromkeys(current, revision)
    with metered() as meter:
        for number, older in enumerate(service().store.revision_list(subject, revision.parent)):
            if number == _MOST or meter.spent > PAGE_BYTES or not waiting:
                return found
            before = _resources_at(subject, older)
            changed = {key for key in waiting if before.get(key) != current[key]}
            found |= dict.fromkeys(changed, newer)
            waiting -= changed
            if (known := _remembered.get(older.id)) is not None:
                return found | {key: known.get(key) for key in waiting}
            newer = older
    return found | dict.fromkeys(waiting, newer)


def _resources_at(subject: DatasetId, revision: Revision) -> dict[str, Any]:
    if revision.deleted:
        return {}
    try:
        descriptor = load(service().store.dataset_bytes(subject, revision.id)[1])
    except (MetastoreError, ValueError):  # it is not a descriptor
        return {}
    return _keyed(descriptor) if isinstance(descriptor, dict) else {}


def _keyed(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {key_of(resource, number): resource for number, resource in resources(descriptor)}
