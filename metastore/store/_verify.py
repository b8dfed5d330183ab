"""Verifies a store: damage that the storage finds, invalid contents, and heads kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from metastore.descriptor.document import DESCRIPTOR, load
from metastore.errors import DatasetMoved, DatasetNotFound, PathNotFound, RevisionNotFound, StorageCorrupt
from metastore.parse import parse_dataset_id
from metastore.storage.lines import JOURNAL, LINE, parse_line
from metastore.storage.port import Storage
from metastore.types import Damage, DatasetId


def verify(storage: Storage, *, repair: bool, heads: Mapping[str, str]) -> Iterator[Damage]:
    """See `Store.verify`."""
    unreadable = set()
    for damage in storage.verify(repair=repair, inspect=_fault):
        if damage.kind == "unreadable" and not damage.repaired:
            unreadable.add(damage.where)
        yield damage
    for dataset_id in storage.ids():
        if str(dataset_id) not in unreadable:
            yield from _without_descriptor(storage, dataset_id)
    if str(JOURNAL) not in unreadable:
        yield from _without_line(storage)
    for text, revision in sorted(heads.items()):
        if text not in unreadable:
            yield from _lost_head(storage, text, revision)


def _fault(dataset_id: DatasetId, path: str, content: bytes) -> str | None:
    """Return the fault in a file in the root of a revision, or None."""
    try:
        if dataset_id == JOURNAL and path == LINE:
            parse_line(content)
        elif path == DESCRIPTOR and not isinstance(load(content), dict):
            return "is not a JSON object"
    except ValueError as error:
        return f"cannot be read: {error}" if dataset_id == JOURNAL else f"is not JSON: {error}"
    return None


def _without_descriptor(storage: Storage, dataset_id: DatasetId) -> Iterator[Damage]:
    try:
        revision, content = storage.find(dataset_id, None, DESCRIPTOR)
    except (DatasetNotFound, StorageCorrupt):  # moved or purged meanwhile, or reported before
        return
    if content is None and not revision.deleted:
        detail = f"the newest revision, {revision.id[:12]}, has no {DESCRIPTOR}"
        yield Damage(str(dataset_id), "not-a-descriptor", detail)


def _without_line(storage: Storage) -> Iterator[Damage]:
    """Yield the revisions of the journal that are no line of it. Somebody made them with Git."""
    with suppress(DatasetNotFound, StorageCorrupt):  # there is no journal, or its damage was reported before
        for revision in storage.history(JOURNAL, storage.resolve(JOURNAL, None).id):
            try:
                storage.read(JOURNAL, revision.id, LINE)
            except PathNotFound:
                detail = f"revision {revision.id[:12]} has no {LINE}, so it is no line"
                yield Damage(str(JOURNAL), "not-a-descriptor", detail)


def _lost_head(storage: Storage, text: str, revision: str) -> Iterator[Damage]:
    """Compare a dataset with its head as kept elsewhere."""
    dataset_id = parse_dataset_id(text)
    try:
        try:
            storage.resolve(dataset_id, revision)
        except DatasetMoved as moved:
            storage.resolve(moved.new_id, revision)
    except RevisionNotFound:
        yield Damage(text, "replaced", f"its history was replaced: revision {revision} is no longer in it")
    except DatasetNotFound:
        yield Damage(text, "gone", f"there is no such dataset, but it had revision {revision}")
    except StorageCorrupt as error:
        yield Damage(text, "unreadable", str(error))
