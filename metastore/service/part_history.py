"""The history of parts, in pages that take a bounded number of reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from metastore.descriptor.limits import limit_size, limit_values
from metastore.errors import TooLarge
from metastore.history.parts import Part, RevisionFilter, pointer
from metastore.service.context import service
from metastore.store.metering import metered
from metastore.store.summaries import PAGE_BYTES
from metastore.store.summaries import summed_up as sum_up
from metastore.types import DatasetId, Revision, Value

#: The descriptors that one request reads at most. A page may be short or empty, and still have a next one.
_READ = 500
#: The revisions that a dataset may have for `blame`, and the values of its descriptor.
_MOST, _MOST_VALUES = 2_000, 50_000
_ELSEWHERE = "run `metastore blame` on the store's own machine"
#: How many bytes of descriptors a request reads for `blame`, which takes about a second.
_MOST_BYTES = 64 * 1024 * 1024
#: The most bytes of the newest of them: each of its values needs a place of its own.
_LARGEST = 16 * 1024 * 1024


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
        TooLarge: The dataset has too many revisions, or values, for one request.
    """
    store = service().store
    if next(islice(store.revision_list(subject, revision), _MOST, None), None) is not None:
        raise TooLarge(f"there are more than {_MOST:,} revisions: {_ELSEWHERE}")
    try:
        content = store.dataset_json(subject, revision)[1]
        limit_size(content, _LARGEST)
        limit_values(content, _MOST_VALUES)
        del content  # the memory is needed
        with metered(_MOST_BYTES):
            return store.blame(subject, revision)
    except TooLarge as error:
        raise TooLarge(f"{error}: {_ELSEWHERE}") from None


def summed_up(subject: DatasetId, revisions: Iterable[Revision]) -> dict[str, str]:
    """Return on one line what each revision changed, which takes two reads each; large descriptors are left out."""
    with metered() as meter:
        return {revision.id: sum_up(service().store, subject, revision, meter) for revision in revisions}


def part_page(subject: DatasetId, start: str | None, part: Part, wanted: RevisionFilter, size: int) -> PartPage:
    """Return the first revisions that changed a part, from the revision `start` back."""
    store = service().store
    page: list[Revision] = []
    with metered() as meter:
        for number, (revision, changed, former) in enumerate(store.part_history(subject, start, part), 1):
            if changed and wanted.fits(revision):
                page.append(revision)
            is_full = len(page) == size or number == _READ or meter.spent > PAGE_BYTES
            if revision.parent is not None and is_full:
                path = {"path": pointer(former), "resource": None, "field": None}
                return PartPage(tuple(page), {"revision": revision.parent, **path})
    return PartPage(tuple(page), None)
