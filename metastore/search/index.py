"""Search in an SQLite file (FTS5) that follows the change feed of a store.

A text that successive revisions share is indexed once, with the period in which it held. So the same index can search
the store as it was at any moment. It records the cursor of the feed that it covers, and can be deleted at any time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from metastore.errors import NotFound, StorageCorrupt
from metastore.forks import ForkSafeLock
from metastore.index_file import IndexFile
from metastore.search import _index_queries
from metastore.search._checking import has_loose_rows, rows_of
from metastore.search._following import check, follow, forget_findings_of_other_rules, reindex
from metastore.search._tables import (
    FORMAT,
    SCHEMA,
    add_functions,
    forget,
    id_in,
    known_ids,
    unreadable_ids,
)
from metastore.search.documents import document
from metastore.search.port import Source, time_limit
from metastore.search.scan import is_unreadable, revision_at
from metastore.search.values import (
    MOST_COUNTED,
    MOST_UNREADABLE,
    FacetCount,
    Hit,
    Readable,
    Results,
    Wanted,
    counts,
    cursor,
)
from metastore.types import Damage, DatasetId

#: How long the index counts as up to date, in seconds.
_FRESH = 1.0
#: How many bytes of descriptors the hits of a page read, beside the last one of them.
_MOST_READ = 8 * 1024 * 1024
#: How often a search starts over because datasets vanished, and a comparison because they changed.
_TRIES = 3


class SearchIndex:
    """Finds datasets. Safe to share between threads, also with a forked child; several processes can share the file.

    Args:
        path: The SQLite file, created if needed; None to keep the index in memory.
        source: The store.
        clock: Returns seconds that never go back.
    """

    def __init__(self, path: str | None, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._file = IndexFile(path, SCHEMA, FORMAT, add_functions, empty_replaced=True)
        self._followed: float | None = None
        self._openings = 0  # the opening of the file in which the index last followed the feed
        self._expired = 0
        self._following = ForkSafeLock()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._followed = None

    def expire(self) -> None:
        """Follow the feed before the next search, because this process has changed something."""
        self._expired += 1
        self._followed = None

    def find(self, wanted: Wanted, readable: Readable | None = None, within: float | None = None) -> Results:
        """Find datasets, among those that the caller may read. See `Index.find`."""
        is_over = time_limit(within)
        for _ in range(_TRIES):
            is_complete = self._is_fresh() or self._follow(is_over, within)
            if wanted.findings is not None:
                checked = self._file.ask(lambda database: check(database, self._source, readable, is_over))
                is_complete = checked and is_complete
            covered = self._openings
            (results, gone), opening = self._file.ask(
                lambda database: (_find(database, self._source, wanted, readable), self._file.openings)
            )
            if gone:
                self._reindex(gone)
            elif opening == covered:  # else the index may have been empty: it was damaged
                break
        return replace(results, complete=is_complete)

    def _is_fresh(self) -> bool:
        is_covered = self._openings == self._file.openings
        return is_covered and self._followed is not None and self._clock() <= self._followed + _FRESH

    def _follow(self, is_over: Callable[[], bool], patience: float | None) -> bool:
        """Follow the feed, and return whether the index covers all of it. If another thread does so, wait for it."""
        if not self._following.acquire(timeout=-1 if patience is None else patience):
            return False
        try:
            if self._is_fresh():
                return True
            started, expired = self._clock(), self._expired
            is_all, self._openings = self._file.ask(
                lambda database: (follow(database, self._source, is_over), self._file.openings)
            )
            if is_all and expired == self._expired:
                self._followed = started
            return is_all
        finally:
            self._following.release()

    def verify(self, *, repair: bool) -> Iterator[Damage]:
        """Compare the index with the store: index each dataset a second time, elsewhere, and look for differences.

        Args:
            repair: Index damaged datasets again; rebuild the whole index if rows belong to no dataset.
        """
        self._file.ask(lambda database: forget_findings_of_other_rules(database, self._source))
        if self._file.ask(has_loose_rows):
            if repair:
                self._file.remake()
            yield Damage("search.sqlite", "search-index", "the search index contradicts itself", repair)
        scratch = IndexFile(None, SCHEMA, FORMAT, add_functions)
        with closing(scratch):
            for dataset_id in {**dict.fromkeys(self._source.ids()), **dict.fromkeys(self._file.ask(known_ids))}:
                if not self._is_right(scratch, dataset_id):
                    if repair:
                        self._reindex([dataset_id])
                    yield Damage(str(dataset_id), "search-index", "the search index differs from the store", repair)

    def _is_right(self, scratch: IndexFile, dataset_id: DatasetId) -> bool:
        for _ in range(_TRIES):  # it may be changed while we look
            self._file.ask(lambda database: follow(database, self._source))
            rows = self._file.ask(lambda database: rows_of(database, dataset_id))
            checked = any(findings is not None for findings, *_ in rows)
            if rows == scratch.ask(partial(self._rows_afresh, dataset_id=dataset_id, checked=checked)):
                return True
        return False

    def _rows_afresh(self, database: sqlite3.Connection, *, dataset_id: DatasetId, checked: bool) -> list[Any]:
        reindex(database, self._source, [dataset_id])
        if checked:
            check(database, self._source)
        rows = rows_of(database, dataset_id)
        forget(database, dataset_id)  # so that the next one is alone, too
        return rows

    def _reindex(self, dataset_ids: list[DatasetId]) -> None:
        self._file.ask(lambda database: reindex(database, self._source, dataset_ids))


def _find(
    database: sqlite3.Connection, source: Source, wanted: Wanted, readable: Readable | None
) -> tuple[Results, list[DatasetId]]:
    """Return the results, and the datasets among them that the store does not have."""
    found, values = _index_queries.found(wanted, readable)
    total, facets = _counted(database, wanted, found, values)
    if total > MOST_COUNTED and (wanted := wanted.of_very_many()).order == "changed":
        found, values = _index_queries.found(wanted, readable, walk=readable is None and wanted.at is None)
    page, is_first, is_last = _page(database, wanted, found, values)
    hits, gone, damaged = _hits(source, page, wanted)
    unreadable, mended = _unreadable(database, source, wanted, readable)
    results = Results(
        hits,
        min(total, MOST_COUNTED),
        total > MOST_COUNTED,
        facets,
        None if is_last else cursor(page[-1]["key"], page[-1]["place"]),
        None if is_first else cursor(page[0]["key"], page[0]["place"]),
        unreadable=tuple(sorted(unreadable + damaged)),
    )
    return results, gone + mended


def _unreadable(
    database: sqlite3.Connection, source: Source, wanted: Wanted, readable: Readable | None
) -> tuple[list[DatasetId], list[DatasetId]]:
    """Return the datasets that cannot be read, and those that are gone or can be read by now."""
    ids = unreadable_ids(database, wanted.filters.get("owner"))
    shown = [each for each in ids if readable is None or each in readable][:MOST_UNREADABLE]
    mended = [each for each in shown if not is_unreadable(source, each)]
    return [each for each in shown if each not in mended], mended


def _hits(
    source: Source, rows: list[sqlite3.Row], wanted: Wanted
) -> tuple[tuple[Hit, ...], list[DatasetId], list[DatasetId]]:
    """Return the hits of a page, the datasets that are gone, and those that were damaged since they were indexed."""
    hits, gone, damaged, read = list[Hit](), list[DatasetId](), list[DatasetId](), 0
    for row in rows:
        dataset_id = id_in(row)
        try:
            hit, size = _hit(source, dataset_id, wanted, read=read <= _MOST_READ)
            read += size
        except NotFound:  # somebody removed its folder, which the feed does not report
            gone.append(dataset_id)
        except StorageCorrupt:
            damaged.append(dataset_id)
        else:
            hits += [hit] if hit is not None else []
    return tuple(hits), gone, damaged


def _page(
    database: sqlite3.Connection, wanted: Wanted, found: str, values: list[Any]
) -> tuple[list[sqlite3.Row], bool, bool]:
    """Return a page, and whether it is the first and the last one."""
    backwards, place = wanted.before is not None, wanted.before or wanted.after or []
    within = f"WHERE (key, place) {'<' if backwards else '>'} (?, ?)" if place else ""
    order = "key DESC, place DESC" if backwards else "key, place"
    query = f"SELECT * FROM ({found}) {within} ORDER BY {order} LIMIT ?"
    rows = database.execute(query, [*values, *place, wanted.limit + 1]).fetchall()
    page, more = rows[: wanted.limit], len(rows) > wanted.limit
    if backwards:
        return page[::-1], not more, not page
    return page, not place or not page, not more


def _counted(
    database: sqlite3.Connection, wanted: Wanted, found: str, values: list[Any]
) -> tuple[int, dict[str, tuple[FacetCount, ...]]]:
    """Return how many were found, at most one beyond what is counted, and the counts of the facets.

    All is counted in one statement, so that what fits is looked for once.
    """
    columns = ", ".join(wanted.facets) or "1"
    query = f"""WITH found AS MATERIALIZED (SELECT {columns} FROM ({found}) LIMIT {MOST_COUNTED + 1})
        SELECT NULL AS facet, NULL AS folded, NULL AS value, count(*) AS count FROM found
        {" ".join(f"UNION ALL {_count_of(facet)}" for facet in wanted.facets)}"""
    total, counted = 0, {facet: dict[str, tuple[str, int]]() for facet in wanted.facets}
    for facet, folded, value, count in database.execute(query, values):
        if facet is None:
            total = count
        else:
            counted[facet][folded] = (value, count)
    return total, {facet: counts(found_values) for facet, found_values in counted.items()}


def _count_of(facet: str) -> str:
    """Return a query for the values of a facet. Texts with the same list of values are counted first."""
    some = f"(SELECT {facet} FROM found LIMIT {MOST_COUNTED})"
    if facet == "owner":
        return f"SELECT 'owner', owner, owner, count(*) FROM {some} GROUP BY owner"
    return f"""SELECT '{facet}', v.folded, min(v.value), sum(n.count) FROM (
            SELECT f.value, sum(g.count) AS count FROM (
                SELECT {facet} AS list, count(*) AS count FROM {some} GROUP BY {facet}
            ) AS g CROSS JOIN facets f ON f.list = g.list GROUP BY f.value
        ) AS n JOIN facet_values v ON v.id = n.value GROUP BY v.folded"""


def _hit(source: Source, dataset_id: DatasetId, wanted: Wanted, *, read: bool) -> tuple[Hit | None, int]:
    """Read a dataset that the index found, so that the hit shows its current state; None if it has no such revision.

    Args:
        source: The store.
        dataset_id: The dataset.
        wanted: What was asked for.
        read: Whether to read the descriptor; otherwise the hit has only the dataset's name.

    Returns:
        The hit, and how many bytes were read.
    """
    revision = revision_at(source, dataset_id, wanted.at)
    if revision is None:
        return None, 0
    content = source.content(dataset_id, revision) if read else b"{}"
    seen = document(dataset_id, content)
    snippet = seen.snippet(wanted.terms)
    return Hit(dataset_id, seen.title, snippet, revision.id, revision.created, revision.deleted), len(content)
