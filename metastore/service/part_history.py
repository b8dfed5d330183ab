"""The history of parts, in pages that take a bounded number of reads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from metastore.errors import InvalidInput
from metastore.history.parts import Part, RevisionFilter, pointer
from metastore.service.context import service
from metastore.types import DatasetId, Revision, Value

#: The descriptors that one request reads at most. A page may be short or empty, and still have a next one.
_READ = 500
#: The revisions that a dataset may have for `blame`.
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class PartPage:
    """A page of a list of revisions.

    Attributes:
        revisions: The revisions of the page; may be empty though there is a next page.
        following: The parameters of the next page; None if there is none. None as a value drops a parameter.
    """

    revisions: tuple[Revision, ...]
    following: dict[str, str | None] | None


def blamed(subject: DatasetId, revision: str | None) -> tuple[Value, ...]:
    """Return the revision that each value of a descriptor comes from.

    Raises:
        InvalidInput: The dataset has too many revisions to read in one request.
    """
    store = service().store
    if next(islice(store.revision_list(subject, revision), _MOST, None), None) is not None:
        raise InvalidInput(f"there are more than {_MOST:,} revisions: run `metastore blame` on the store's own machine")
    return store.blame(subject, revision)


def part_page(subject: DatasetId, start: str | None, part: Part, wanted: RevisionFilter, size: int) -> PartPage:
    """Return the first revisions that changed a part, from the revision `start` back."""
    store = service().store
    page: list[Revision] = []
    steps = store.part_history(subject, start, part)
    for number, (revision, changed, former) in enumerate(steps, 1):
        if changed and wanted.fits(revision):
            page.append(revision)
        if revision.parent is not None and (len(page) == size or number == _READ):
            path = {"path": pointer(former), "resource": None, "field": None}
            return PartPage(tuple(page), {"revision": revision.parent, **path})
    return PartPage(tuple(page), None)
