"""Searches datasets in PostgreSQL. Writes keep the index; see `metastore/postgres/migrations/0003.search.sql`.

A search is two statements: one counts, and one returns the hits. A third one reads the descriptors of the hits, for
their snippets. By relevance, a match in the title comes first, then the newest. So the order says nothing of datasets
that a caller may not read, and words that many datasets have take no longer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, NamedTuple

from metastore.errors import NotFound, PermissionDenied, StorageCorrupt, StorageError
from metastore.git.cache import Cache
from metastore.git.objects import GitObject
from metastore.postgres.database import Database
from metastore.search.documents import document
from metastore.search.port import Source, time_limit
from metastore.search.scan import scan
from metastore.search.values import MOST_COUNTED, FacetCount, Hit, Readable, Results, Wanted, counts, cursor
from metastore.storage.postgres import _indexing, _queries, _search_queries
from metastore.storage.postgres._calls import Calls
from metastore.storage.postgres._repository import PostgresRepository
from metastore.types import Damage, DatasetId, RevisionId

_log = logging.getLogger("metastore.storage")
#: How many bytes of descriptors the hits of a page read, beside the last one of them.
_MOST_READ = 8 * 1024 * 1024
#: How much of the id of the rules of a check is kept with its findings.
_JUDGE = 16


class Row(NamedTuple):
    """A hit as a query returns it; the times are in seconds since 1970."""

    place: int
    identity: str
    blob: bytes | None
    revision: bytes | None
    changed: int
    deleted: bool
    key: Any
    sort_key: str


class PostgresSearch:
    """Finds datasets in a database.

    Args:
        database: The database.
        calls: Its calls.
        cache: The cache of objects.
        source: The store.
    """

    def __init__(self, database: Database, calls: Calls, cache: Cache, source: Source) -> None:
        self._database, self._calls, self._cache, self._source = database, calls, cache, source
        self._maker: threading.Thread | None = None
        self._closing = threading.Event()

    def close(self) -> None:
        """End the thread that makes the index. The storage closes its connections."""
        self._closing.set()
        if self._maker is not None:
            self._maker.join()
        self._maker = None
        self._closing.clear()

    def expire(self) -> None:
        """Do nothing: writes keep the index."""

    def find(self, wanted: Wanted, readable: Readable | None = None, within: float | None = None) -> Results:
        """Find datasets, among those that the caller may read. A role that only reads cannot make the index again.

        Without the time to make the index, another thread does so, and this search scans.
        """
        is_complete = True
        try:
            if wanted.findings is not None:
                is_complete = self._check(readable, time_limit(within))
            total, facets, is_indexed = self._counted(wanted, readable)
            if not is_indexed and within is not None:
                self._make_aside()
                return scan(self._source, wanted, readable, within)
            if not is_indexed:
                self._make()
                total, facets, _ = self._counted(wanted, readable)
        except PermissionDenied:
            return scan(self._source, wanted, readable, within)
        are_very_many = total > MOST_COUNTED
        rows, is_first, is_last = self._page(
            wanted.of_very_many() if are_very_many else wanted, readable, are_very_many
        )
        return Results(
            tuple(self._hits(rows, wanted)),
            min(total, MOST_COUNTED),
            total > MOST_COUNTED,
            facets,
            None if is_last else cursor(*rows[-1][-2:]),
            None if is_first else cursor(*rows[0][-2:]),
            complete=is_complete,
        )

    def verify(self, *, repair: bool) -> Iterator[Damage]:
        """Compare the index with the datasets: index each of them a second time, and look for differences."""
        if not self._is_complete():
            return
        if self._calls.rows(_queries.STRAY_TEXTS):
            if repair:
                self._calls.rows(_queries.SET_INDEXED)
            yield Damage("dataset_text", "search-index", "the search index has texts of no dataset", repair)
        calls = Calls(self._database)
        for dataset_id in self._source.ids():
            try:
                if not _indexing.is_right(calls, dataset_id, self._judged):
                    if repair:
                        _indexing.index(calls, self._cache, dataset_id)
                    yield Damage(str(dataset_id), "search-index", "the search index differs from the store", repair)
            except (NotFound, StorageCorrupt):  # removed meanwhile, or reported before
                continue

    def _is_complete(self) -> bool:
        return bool(self._calls.rows(_queries.INDEXED)[0][0])

    def _make(self) -> None:
        """Make the index, unless another process does: then wait for it."""
        with self._database.one_at_a_time("metastore: the search index"):
            if self._is_complete():
                return
            ids = takewhile(lambda _: not self._closing.is_set(), self._source.ids())
            _indexing.index_all(self._calls, self._cache, ids)
            if not self._closing.is_set():
                self._calls.rows(_queries.SET_INDEXED)

    def _make_aside(self) -> None:
        """Begin to make the index in a thread, unless one does."""
        if self._maker is None or not self._maker.is_alive():
            self._maker = threading.Thread(target=self._try_to_make, daemon=True)
            self._maker.start()

    def _try_to_make(self) -> None:
        try:
            self._make()
        except PermissionDenied:  # a role that only reads scans each time
            pass
        except StorageError as error:
            _log.warning("the search index is not made: %s", error)

    def _check(self, readable: Readable | None, is_over: Callable[[], bool]) -> bool:
        """Check the datasets whose findings by the present rules are not known. Return whether these are all.

        Those that the caller may not read are left out, so that they take no time.
        """
        query, judge = _search_queries.unchecked(readable, self._judge())
        while rows := self._calls.rows(query, judge):
            blobs = [(place, blob) for place, blob in rows if blob is not None]
            found, contents = dict[int, bool](), self._contents(blobs, most=None)
            for place, content in contents:
                found[place] = self._source.has_findings(content)
                if is_over():
                    rows = [row for row in rows if row[0] in found]
                    break
            judged = [self._kept(found.get(place, True)) for place, _ in rows]
            values = {"places": [place for place, _ in rows], "blobs": [blob for _, blob in rows], "found": judged}
            self._calls.rows(_queries.SET_FINDINGS, values)
            if is_over():
                return not self._calls.rows(query, judge)
        return True

    def _judge(self) -> str:
        return self._source.judge()[:_JUDGE]

    def _kept(self, found: bool) -> str:
        """Return what the index keeps of a check."""
        return self._judge() + "-+"[found]

    def _judged(self, findings: str | None, content: bytes) -> bool:
        """Tell whether the index has the right findings for a descriptor, or none, or those of other rules."""
        is_ours = findings is not None and findings[:-1] == self._judge()
        return not is_ours or findings == self._kept(self._source.has_findings(content))

    def _counted(
        self, wanted: Wanted, readable: Readable | None
    ) -> tuple[int, dict[str, tuple[FacetCount, ...]], bool]:
        """Return how many were found (at most one more than is counted), the facets, and whether the index is whole."""
        query, values = _search_queries.counting(wanted, readable)
        total, is_complete = 0, False
        found = {facet: dict[str, tuple[str, int]]() for facet in wanted.facets}
        for facet, folded, value, count in self._calls.rows(query, values | {"findings": self._findings(wanted)}):
            if facet is not None:
                found[facet][folded] = value, count
            elif value == "indexed":
                is_complete = bool(count)
            else:
                total = count
        return total, {facet: counts(values) for facet, values in found.items()}, is_complete

    def _findings(self, wanted: Wanted) -> str | None:
        return None if wanted.findings is None else self._kept(wanted.findings)

    def _page(self, wanted: Wanted, readable: Readable | None, are_very_many: bool) -> tuple[list[Row], bool, bool]:
        """Return a page, and whether it is the first and the last one."""
        query, values = _search_queries.page(wanted, readable, are_very_many)
        rows = [Row(*row) for row in self._calls.rows(query, values | {"findings": self._findings(wanted)})]
        page, more = rows[: wanted.limit], len(rows) > wanted.limit
        if wanted.before is not None:
            return page[::-1], not more, not page
        return page, wanted.after is None or not page, not more

    def _hits(self, rows: list[Row], wanted: Wanted) -> Iterator[Hit]:
        blobs = [(row.place, row.blob) for row in rows if row.blob is not None and row.revision is not None]
        contents = dict(self._contents(blobs, most=_MOST_READ))
        for row in rows:
            if row.revision is not None:
                dataset_id = DatasetId(*row.identity.split("/"))
                seen = document(dataset_id, contents.get(row.place, b"{}"))
                changed = datetime.fromtimestamp(row.changed, UTC)
                revision = RevisionId(row.revision.hex())
                yield Hit(dataset_id, seen.title, seen.snippet(wanted.terms), revision, changed, row.deleted)

    def _contents(self, blobs: list[tuple[int, bytes]], *, most: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield the place and the descriptor of datasets, those in the cache first. The others are read together.

        Args:
            blobs: The place and the blob of each.
            most: How many bytes are read at most, beside the last descriptor; None for any number.
        """
        left = list[tuple[int, bytes]]()
        for place, blob in blobs:
            known: GitObject | None = self._cache.get(blob.hex())
            if known is None:
                left.append((place, blob))
            else:
                yield place, known.content
        read = 0
        values = {"places": [place for place, _ in left], "blobs": [blob for _, blob in left], "most": most or 2**60}
        for place, blob, *columns in self._calls.rows(_queries.DESCRIPTORS, values) if left else ():
            if most is not None and read > most:
                return
            repository = PostgresRepository(self._calls, self._cache, place, RevisionId(""))
            with suppress(StorageCorrupt):  # `verify` names it
                repository.take(blob, columns)
                content = repository.get(blob.hex()).content
                read += len(content)
                yield place, content
