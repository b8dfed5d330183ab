"""Turns the objects and revisions of a write into rows, which go to the database as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metastore.errors import InvalidInput, StorageCorrupt
from metastore.git.objects import GitObject, first_parent
from metastore.git.repository import Repository
from metastore.storage.postgres._arrays import BooleanArray, ByteArray, TextArray
from metastore.storage.postgres._calls import Arrays
from metastore.storage.postgres._packing import RevisionRow, Row, revision_row
from metastore.types import RevisionId

#: How large the objects of one statement may be together, in bytes.
_MOST_BYTES = 4 * 1024 * 1024


def arrays(rows: Iterator[Row]) -> Iterator[Arrays]:
    """Yield objects as arrays for a function of the database, of some megabytes at once; at least once."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        if chunk and size + len(row.data) > _MOST_BYTES:
            yield _arrays(chunk)
            chunk, size = [], 0
        chunk.append(row)
        size += len(row.data) + 100
    yield _arrays(chunk)


def _arrays(rows: Sequence[Row]) -> Arrays:
    ids, kinds, packs, bases, datas = zip(*rows, strict=True) if rows else [()] * 5
    return {
        "ids": ByteArray(ids),
        "kinds": TextArray([kind.encode() for kind in kinds]),
        "packs": BooleanArray([b"\1" if packed else b"\0" for packed in packs]),
        "bases": ByteArray(bases),
        "datas": ByteArray(datas),
    }


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


def revision_arrays(rows: Sequence[RevisionRow]) -> Arrays:
    """Return commits as arrays for a function of the database."""
    return dict(zip(("revisions", "trees", "blobs", "rests"), map(ByteArray, zip(*rows, strict=True)), strict=True))


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
