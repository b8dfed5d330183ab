"""Turns the objects, revisions and texts of a write into rows, which go to the database as arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from struct import Struct

from metastore.errors import InvalidInput, StorageCorrupt
from metastore.git.objects import GitObject, first_parent
from metastore.git.repository import Repository, parsed_commit
from metastore.storage.postgres import _queries
from metastore.storage.postgres._arrays import Arrays, ByteArray, IntegerArray, arrays, chunks
from metastore.storage.postgres._calls import Values
from metastore.storage.postgres._packing import Packer, RevisionRow, Row, revision_row
from metastore.storage.postgres._repository import PostgresRepository
from metastore.storage.postgres._texts import texts_of_write
from metastore.types import DatasetId, RevisionId

#: How large a segment of several new revisions may be, and what each takes there beside its text, in bytes.
_SEGMENT, _EACH = 1600, 80
_integer = Struct("!i").pack


class Writing:
    """What a write of revisions sends to the database.

    Args:
        dataset_id: The dataset.
        repository: Its repository; None for a new dataset.
        objects: All that the revisions need and the parent does not have.
        head: The newest of the revisions.
        parent: The revision before them, or None.

    Attributes:
        dataset_id, repository, objects, head, parent: As given.
        values: The values of the call that changes the dataset, with the first objects and texts.
        packer: Has packed those objects.
        has_all_objects: Whether they are all.
        is_one_call: Whether all texts are there, too.
    """

    def __init__(
        self,
        dataset_id: DatasetId,
        repository: PostgresRepository | None,
        objects: Mapping[str, GitObject],
        head: RevisionId,
        parent: RevisionId | None,
    ) -> None:
        self.dataset_id, self.repository, self.objects = dataset_id, repository, objects
        self.head, self.parent = head, parent
        self._branch = new_commits(objects, head, parent)
        revisions = revision_rows(self._branch, repository, objects)
        # The rows of revisions stand for commits, and for trees that have the descriptor alone.
        self._stand_for = {each.hex() for row in revisions for each in (row.id, row.tree if row.blob else row.id)}
        self.packer = self._new_packer()
        chunks, texts = self._chunks(self.packer), self._texts()
        self.values: Values = {
            **written_arrays(next(chunks), revisions),
            **next(texts),
            "parent": None if parent is None else bytes.fromhex(parent),
            "head": bytes.fromhex(head),
        }
        self.has_all_objects = next(chunks, None) is None
        self.is_one_call = next(texts, None) is None and self.has_all_objects

    def rest(self) -> Iterator[tuple[str, Values]]:
        """Yield the other objects and texts as calls: the same ones each time that a write is tried."""
        yield from ((_queries.PUT, arrays(each)) for each in islice(self._chunks(self._new_packer()), 1, None))
        yield from ((_queries.INDEX, each) for each in islice(self._texts(), 1, None))

    def _new_packer(self) -> Packer:
        return self.repository.packer(self.parent) if self.repository and self.parent else Packer()

    def _chunks(self, packer: Packer) -> Iterator[list[Row]]:
        return chunks(packer.rows(self.objects, self._stand_for))

    def _texts(self) -> Iterator[Values]:
        if self.dataset_id.is_own:  # nobody finds those
            return iter([{"texts": None, "cut": None, "now": None}])
        commits = [parsed_commit(body) for body in self._branch.values()]
        return texts_of_write(commits, self.parent, self.repository, self.objects).statements()


def new_commits(objects: Mapping[str, GitObject], head: RevisionId, parent: RevisionId | None) -> dict[str, bytes]:
    """Return the commits after `parent` up to `head`, the oldest first, with their contents.

    Raises:
        InvalidInput: The oldest does not follow `parent`.
    """
    commits: dict[str, bytes] = {}
    at: str | None = head
    while at and at != parent:
        commits[at] = objects[at].content
        at = first_parent(commits[at])
    if at != parent:
        raise InvalidInput(f"the revision {next(reversed(commits))} does not follow {parent}")
    return dict(reversed(commits.items()))


def written_arrays(objects: Collection[Row], revisions: Sequence[RevisionRow]) -> Arrays:
    """Return commits and the first objects of a write as arrays for a function of the database.

    Descriptors that are kept against others become part of the rows of their revisions.
    """
    described = {row.blob for row in revisions}
    deltas: dict[bytes | None, Row] = {row.id: row for row in objects if row.base is not None and row.id in described}
    return {**arrays([row for row in objects if row.id not in deltas]), **_revision_arrays(revisions, deltas)}


def _revision_arrays(rows: Sequence[RevisionRow], deltas: Mapping[bytes | None, Row]) -> Arrays:
    columns = dict(zip(("revisions", "trees", "blobs", "rests"), map(ByteArray, zip(*rows, strict=True)), strict=True))
    starts = list(_segments(rows, deltas))
    added = [deltas.get(row.blob) for row in rows]
    return {
        **columns,
        "deltas": ByteArray([delta.data if delta else None for delta in added]),
        "starts": IntegerArray([_integer(start) for start, _ in starts]),
        "segment_bases": ByteArray([base for _, base in starts]),
    }


def _segments(rows: Sequence[RevisionRow], deltas: Mapping[bytes | None, Row]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of the first revision of each segment, from 1, and the base of its deltas."""
    start, alone, base, size = 1, rows[0].blob is not None, None, 0
    for number, row in enumerate(rows, 1):
        delta = deltas.get(row.blob)
        length = _EACH + len(row.rest) + (len(delta.data) if delta else 0)
        fits = (row.blob is not None) == alone and (delta is None or base in (None, delta.base))
        if number > start and (not fits or size + length > _SEGMENT):
            yield start, base
            start, alone, base, size = number, row.blob is not None, None, 0
        base = delta.base if delta else base
        size += length
    yield start, base


def revision_rows(
    commits: Mapping[str, bytes], repository: Repository | None, objects: Mapping[str, GitObject]
) -> list[RevisionRow]:
    """Return commits as they are kept.

    Args:
        commits: Id -> content.
        repository: Has what the parent has.
        objects: Has what is new.
    """

    def tree(identity: str) -> bytes:
        try:
            return (repository.get(identity) if repository and identity not in objects else objects[identity]).content
        except (KeyError, StorageCorrupt):  # `verify` names it
            return b""

    return [revision_row(identity, body, tree(body[5:45].decode())) for identity, body in commits.items()]
