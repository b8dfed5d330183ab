"""The changes that an undo takes out: those between two revisions, or the one that created a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from metastore.errors import InvalidInput, MergeConflict
from metastore.parse import AnyRevision, parse_revision
from metastore.types import DatasetId, Difference, Revision, first_line
from metastore.wording import shortened

if TYPE_CHECKING:
    from metastore.store.base import Store

#: How many later revisions are looked at; an error names no more of them.
_MOST_LATER = 100


@dataclass(frozen=True, slots=True)
class Span:
    """Changes that follow each other.

    Attributes:
        since: The revision before them; None if they begin with the first one.
        last: The last of them.
        name: The changes with full ids: that of the only one, or `A..B`.
    """

    since: Revision | None
    last: Revision
    name: str

    @property
    def creates(self) -> bool:
        """Whether there was no dataset before them, so that to undo them is to delete it."""
        return self.since is None or self.since.deleted

    @property
    def title(self) -> str:
        """The message of an undo that is given none."""
        since, dots, last = self.name.partition("..")
        return f"Undo {since[:12]}..{last[:12]}" if dots else f"Undo {since[:12]}: {first_line(self.last.message)}"


def span_of(store: Store, dataset_id: DatasetId, changes: AnyRevision) -> Span:
    """Return the changes that a text names: one revision, or `A..B` for all after A up to B.

    Raises:
        RevisionNotFound: There is no such revision.
        InvalidInput: The text is empty, or A does not come before B.
    """
    text = parse_revision(changes)
    if not text:
        raise InvalidInput("the change to undo is an empty text: write HEAD for the newest one")
    begin, dots, end = text.partition("..")
    if end.startswith("."):
        raise InvalidInput(f"{text!r} has three dots: two of them, as in v1..HEAD, are all changes after v1")
    if dots and not begin:
        raise InvalidInput(f"{text!r} does not say after which revision the changes begin: write v1{text}")
    last = store.revision_read(dataset_id, (end or None) if dots else begin)
    before = begin if dots else last.parent
    since = store.revision_read(dataset_id, before) if before else None
    if dots and since and all(revision.id != since.id for revision in store.revision_list(dataset_id, last.id)):
        raise InvalidInput(f"{since.id[:12]} does not come before {last.id[:12]}")
    return Span(since, last, f"{since.id}..{last.id}" if dots and since else last.id)


def in_the_way(
    dataset_id: DatasetId, later: Iterable[Revision], is_as_before: Callable[[Revision], bool]
) -> MergeConflict | None:
    """Return the error for a creation that cannot be undone, because later changes stand.

    Args:
        dataset_id: The dataset.
        later: The revisions after the creation, newest first.
        is_as_before: Tells whether a revision has the same files as the creation: what came before it is undone.

    Returns:
        None if nothing but the creation stands.
    """
    standing = list[Revision]()
    for revision in islice(later, _MOST_LATER):
        if is_as_before(revision):
            break
        standing.append(revision)
    if not standing:
        return None
    return MergeConflict(dataset_id, tuple(Difference("changed", _named(revision)) for revision in standing))


def _named(revision: Revision) -> str:
    return f"revision {revision.id[:12]} ({shortened(first_line(revision.message))})"
