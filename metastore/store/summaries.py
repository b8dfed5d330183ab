"""The changes of a revision on one line, for lists of revisions and for the feed."""

from __future__ import annotations

from metastore.errors import DatasetDeleted, NotADescriptor, NotFound
from metastore.parse import AnyId
from metastore.store.base import Store
from metastore.types import FeedEntry, Revision


def changed_by(store: Store, dataset_id: AnyId, revision: Revision) -> str:
    """Return the changes of a revision, such as `1 resource added; title changed`. This reads two descriptors."""
    if revision.deleted or revision.parent is None:
        return "deleted" if revision.deleted else "created"
    try:
        return store.revision_diff(dataset_id, revision.parent, revision.id).summary or "no difference"
    except (NotADescriptor, NotFound) as error:
        return str(error)


def told(store: Store, entry: FeedEntry) -> str:
    """Return the changes of the newest revision of an entry in the feed; empty if the entry has no revision."""
    return changed_by(store, entry.dataset_id, entry.revision) if entry.revision is not None else ""


def last_state(store: Store, dataset_id: AnyId, revision: str | None = None) -> tuple[Revision, bytes]:
    """Return a revision and its descriptor. For a deletion, return the deletion and the descriptor before it.

    Raises:
        NotFound: There is no such dataset or revision, or no descriptor precedes the deletion.
    """
    try:
        return store.dataset_bytes(dataset_id, revision)
    except DatasetDeleted as error:
        if error.revision is None or error.revision.parent is None:
            raise
        return error.revision, store.dataset_bytes(dataset_id, error.revision.parent)[1]
