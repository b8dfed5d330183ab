"""The changes of a revision on one line, for lists of revisions and for the feed."""

from __future__ import annotations

from metastore.errors import DatasetDeleted, NotADescriptor, NotFound
from metastore.parse import AnyId
from metastore.phrase import Phrase
from metastore.store.base import Store
from metastore.store.metering import Meter
from metastore.types import FeedEntry, Revision

#: How many bytes of descriptors a page of a list reads, beside those of its last item.
PAGE_BYTES = 8 * 1024 * 1024
#: The seconds of a processor after which a list compares no further descriptors.
MOST_SECONDS = 1.0
#: How many revisions are summed up in one request, which reads two descriptors each.
MOST_SUMMARIES = 100
#: What is said of a revision once a list has read enough.
_NOT_COMPARED = Phrase("not compared here: the descriptors before it are large")


def changed_by(store: Store, dataset_id: AnyId, revision: Revision) -> str:
    """Return the changes of a revision, such as `1 resource added; title changed`. This reads two descriptors."""
    if revision.deleted or revision.parent is None:
        return Phrase("deleted") if revision.deleted else Phrase("created")
    try:
        return store.revision_diff(dataset_id, revision.parent, revision.id).summary or Phrase("no difference")
    except (NotADescriptor, NotFound) as error:
        return str(error)


def summed_up(store: Store, dataset_id: AnyId, revision: Revision | str, meter: Meter) -> str:
    """Return the changes of a revision in a list, or a remark if the list has read enough already."""
    if meter.spent > PAGE_BYTES or meter.seconds > MOST_SECONDS:
        return _NOT_COMPARED
    try:
        known = revision if isinstance(revision, Revision) else store.revision_read(dataset_id, revision)
    except NotFound as error:  # purged meanwhile
        return str(error)
    return changed_by(store, dataset_id, known)


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
