"""The changes of a revision on one line, for lists of revisions and for the feed."""

from __future__ import annotations

from metastore.errors import NotADescriptor, NotFound
from metastore.parse import AnyId
from metastore.store.base import Store
from metastore.types import FeedEntry, Revision


def changed_by(store: Store, dataset_id: AnyId, revision: Revision) -> str:
    """Return what a revision changed, such as `1 resource added; title changed`; it reads two descriptors for that."""
    if revision.deleted or revision.parent is None:
        return "deleted" if revision.deleted else "created"
    try:
        return store.revision_diff(dataset_id, revision.parent, revision.id).summary or "no difference"
    except (NotADescriptor, NotFound) as error:
        return str(error)


def told(store: Store, entry: FeedEntry) -> str:
    """Return what the newest revision of a dataset in the feed changed; empty if the entry has no revision."""
    return changed_by(store, entry.dataset_id, entry.revision) if entry.revision is not None else ""
