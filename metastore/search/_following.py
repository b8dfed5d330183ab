"""Writes the search index. The index follows the change feed, and keeps each text with the period in which it held."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator

from metastore.errors import InvalidInput, NotFound, StorageCorrupt
from metastore.index_file import transaction
from metastore.search._index_queries import unchecked
from metastore.search._tables import (
    KnownLists,
    Text,
    access_words,
    add_dataset,
    empty,
    forget,
    id_in,
    lists_of,
    meta,
    note_unreadable,
    present,
    retire,
    set_present,
)
from metastore.search.documents import document
from metastore.search.port import Source
from metastore.search.values import Readable, sort_key
from metastore.types import DatasetId, FeedEntry, Revision

#: The datasets that one transaction indexes.
_BATCH = 500


def _never() -> bool:
    return False


def follow(database: sqlite3.Connection, source: Source, is_over: Callable[[], bool] = _never) -> bool:
    """Index what changed since the cursor that the index covers. Return whether that is all.

    Args:
        database: The index.
        source: The store.
        is_over: Tells after each revision whether to stop. The next call goes on from there.
    """
    while True:
        covered = meta(database, "cursor")
        try:
            if (is_all := _follow_from(database, source, covered, is_over)) is not None:
                return is_all
        except InvalidInput:  # the cursor is of another version
            with transaction(database):
                empty(database)


def _follow_from(
    database: sqlite3.Connection, source: Source, covered: str | None, is_over: Callable[[], bool]
) -> bool | None:
    """Index batch by batch. Return None if the index covers another cursor by now, so that the caller starts over."""
    entries = source.changes(covered)
    while batch := _batch(entries):
        with transaction(database):
            if meta(database, "cursor") != covered:
                return None  # another process went on from there
            if covered is not None and _feed(covered) != _feed(batch[0].cursor):
                empty(database)  # the index came with a copied store, and may contain datasets that the copy lacks
                return None
            indexed = _index_batch(database, source, batch, is_over)
            covered = batch[indexed - 1].cursor if indexed else covered
            database.execute("UPDATE meta SET cursor = ?", (covered,))
        if indexed < len(batch):
            return False
    return True


def _index_batch(
    database: sqlite3.Connection, source: Source, batch: list[FeedEntry], is_over: Callable[[], bool]
) -> int:
    """Return how many entries are indexed as a whole."""
    known: KnownLists = {}
    for place, entry in enumerate(batch):
        if not _index(database, source, entry, known, is_over):
            return place
        if is_over():
            return place + 1
    return len(batch)


def _feed(cursor: str) -> str:
    return cursor.partition(".")[0]


def _batch(entries: Iterator[FeedEntry]) -> list[FeedEntry]:
    return [entry for _, entry in zip(range(_BATCH), entries, strict=False)]


def _index(
    database: sqlite3.Connection, source: Source, entry: FeedEntry, known: KnownLists, is_over: Callable[[], bool]
) -> bool:
    if entry.action not in ("changed", "deleted", "unreadable"):
        forget(database, entry.dataset_id)
        return True
    try:
        return _index_dataset(database, source, entry.dataset_id, known, is_over)
    except NotFound:  # removed since, as the feed reports next
        forget(database, entry.dataset_id)
    except StorageCorrupt:
        note_unreadable(database, entry.dataset_id)
    return True


def check(
    database: sqlite3.Connection,
    source: Source,
    readable: Readable | None = None,
    is_over: Callable[[], bool] = _never,
) -> bool:
    """Check the datasets whose findings are not known yet, until the time is over. Return whether these are all.

    Those that the caller may not read are left out, so that they take no time.
    """
    forget_findings_of_other_rules(database, source)
    unknown, values = unchecked(readable)
    while rows := database.execute(unknown, [*values, _BATCH]).fetchall():
        with transaction(database):
            for row in rows:
                findings = _has_findings(source, id_in(row))
                database.execute("UPDATE datasets SET findings = ? WHERE id = ?", (findings, row["id"]))
                if is_over():
                    break
        if is_over():
            return database.execute(unknown, [*values, 1]).fetchone() is None
    return True


def forget_findings_of_other_rules(database: sqlite3.Connection, source: Source) -> None:
    """Forget the findings of a check if the source now checks by other rules."""
    judge = source.judge()
    with transaction(database):
        if meta(database, "judge") != judge:
            database.execute("UPDATE datasets SET findings = NULL")
            database.execute("UPDATE meta SET judge = ?", (judge,))


def _has_findings(source: Source, dataset_id: DatasetId) -> bool:
    try:
        revision = next(iter(source.history(dataset_id)))
        return source.has_findings(source.content(dataset_id, revision))
    except (NotFound, StorageCorrupt):  # the next search leaves it out, or `verify` names it
        return True


def reindex(database: sqlite3.Connection, source: Source, dataset_ids: Iterable[DatasetId]) -> None:
    """Index some datasets from scratch, and forget those that the store does not have."""
    with transaction(database):
        for dataset_id in dataset_ids:
            forget(database, dataset_id)
            try:
                _index_dataset(database, source, dataset_id, {})
            except NotFound:
                forget(database, dataset_id)
            except StorageCorrupt:
                note_unreadable(database, dataset_id)


def _index_dataset(
    database: sqlite3.Connection,
    source: Source,
    dataset_id: DatasetId,
    known: KnownLists,
    is_over: Callable[[], bool] = _never,
) -> bool:
    """Index the revisions of a dataset that the index does not have, the oldest first, until the time is over.

    Return whether these are all. Raises NotFound and StorageCorrupt.
    """
    row = database.execute("SELECT * FROM datasets WHERE place = ?", (sort_key(dataset_id),)).fetchone()
    new: list[Revision] = []
    for revision in source.history(dataset_id):
        if row is not None and revision.id == row["head"]:
            break
        new.append(revision)
    else:
        if row is not None:  # the history is another one
            forget(database, dataset_id)
            row = None
    if not new:
        return True
    database.execute("DELETE FROM unreadable WHERE place = ?", (sort_key(dataset_id),))
    dataset = row["id"] if row is not None else add_dataset(database, dataset_id)
    before = newest = present(database, row) if row is not None else None
    access = access_words(dataset_id.owner, dataset_id.name)
    for revision in reversed(new):
        seen, since = document(dataset_id, source.content(dataset_id, revision)), int(revision.created.timestamp())
        digest = hashlib.blake2b(repr((seen, revision.deleted)).encode(), digest_size=16).digest()
        if newest is None or newest.digest != digest or newest.since > since:
            lists = lists_of(database, newest, seen, known)
            if newest is not None:
                retire(database, dataset, newest, until=since)
            newest = Text.of(seen, access, since, revision.deleted, digest, lists)
        if is_over():
            break
    assert newest is not None
    if newest is not before:
        set_present(database, dataset, before, newest)
    changed = "UPDATE datasets SET head = ?, changed = ?, findings = NULL WHERE id = ?"
    database.execute(changed, (revision.id, int(revision.created.timestamp()), dataset))
    return revision.id == new[0].id
