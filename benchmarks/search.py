"""Search in an index, in SQLite and in PostgreSQL: how fast it is made, how large it is, and how fast it answers."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.loading import History, load
from benchmarks.table import Note, Row, printed, say
from metastore import Author, Revision
from metastore.search.index import SearchIndex
from metastore.search.values import Readable, Wanted
from metastore.storage.postgres.storage import PostgresStorage
from metastore.types import Change, DatasetId, FeedEntry, RevisionId
from tests.bundle.postgres_server import migrated_database

_START = datetime(2026, 1, 1, tzinfo=UTC)
_QUERIES, _HITS = 60, 20
_LICENCES = ("CC-BY-4.0", "CC0-1.0", "ODbL-1.0", "MIT", "BSD-3-Clause", None)
_SIZE = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest('{dataset_text,dataset_span}'::text[]) AS name"
_FORMATS = ("csv", "json", "xlsx", "parquet")


class Catalogue:
    """Generated datasets, as the source of a search: words are as frequent as in a language (Zipf's law).

    They are generated when they are read, so that there can be many.

    Args:
        count: How many datasets there are.
        revisions: How many revisions each has; each one rewrites the description.

    Attributes:
        count: How many datasets there are.
        revisions: How many revisions each has.
        spent: How many seconds of CPU the generator has used.
    """

    def __init__(self, count: int, revisions: int) -> None:
        chance = random.Random(7)
        syllables = [consonant + vowel for consonant in "bcdfghklmnprstvw" for vowel in "aeiou"]
        words = {"".join(chance.choices(syllables, k=chance.randint(2, 4))): None for _ in range(20_000)}
        self._words = list(words)
        self._weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(self._words))))
        self.count, self.revisions = count, revisions
        self._stable: tuple[int, dict[str, Any]] = (-1, {})
        self.spent = 0.0

    def text(self, chance: random.Random, words: int, most: int = 20_000) -> str:
        """Return some words, from the `most` most frequent ones."""
        known, weights = self._most_frequent(most)
        return " ".join(chance.choices(known, cum_weights=weights, k=words))

    @cache  # noqa: B019 (a catalogue lives as long as the benchmark)
    def _most_frequent(self, most: int) -> tuple[list[str], list[float]]:
        return self._words[:most], self._weights[:most]

    def _descriptor(self, number: int) -> dict[str, Any]:
        """Return what the revisions of a dataset share."""
        if self._stable[0] != number:
            self._stable = (number, self._made(number))
        return self._stable[1]

    def _made(self, number: int) -> dict[str, Any]:
        chance = random.Random(number)
        resources = [
            {
                "name": f"r{at}",
                "path": f"r{at}.{chance.choice(_FORMATS)}",
                "description": self.text(chance, 15),
                "schema": {"fields": [{"name": self.text(chance, 1, 2_000), "type": "string"} for _ in range(8)]},
            }
            for at in range(3)
        ]
        licence = chance.choice(_LICENCES)
        return {
            "name": f"d{number}",
            "title": self.text(chance, 5).title(),
            "keywords": self.text(chance, 4, 200).split(),
            "contributors": [{"title": self.text(chance, 1, 300).title()}],
            **({"licenses": [{"name": licence}]} if licence else {}),
            "resources": resources,
        }

    def ids(self) -> Iterator[DatasetId]:
        return (DatasetId(f"o{number % 50}", f"d{number}") for number in range(self.count))

    def history(self, dataset_id: DatasetId) -> Iterator[Revision]:
        number = int(dataset_id.name[1:])
        for at in range(self.revisions - 1, -1, -1):
            created = _START + timedelta(days=at, seconds=number)
            parent = RevisionId(f"{number:035}{at - 1:05}") if at else None
            author = Author("Ann", "ann@example.org")
            yield Revision(RevisionId(f"{number:035}{at:05}"), parent, author, "", created)

    def content(self, dataset_id: DatasetId, revision: Revision) -> bytes:
        start = time.process_time()
        description = self.text(random.Random(revision.id), 60)
        made = json.dumps({**self._descriptor(int(dataset_id.name[1:])), "description": description}).encode()
        self.spent += time.process_time() - start
        return made

    def loaded(self, dataset_id: DatasetId) -> History:
        """Return a dataset as it is loaded into a database; it has other ids there."""
        newest_first = self.history(dataset_id)
        contents = [(self.content(dataset_id, each), Change(each.author, "", each.created)) for each in newest_first]
        return History(dataset_id, contents[::-1])

    def has_findings(self, content: bytes) -> bool:
        return False

    def judge(self) -> str:
        return ""

    def changes(self, since: str | None) -> Iterator[FeedEntry]:
        for number, dataset_id in enumerate(self.ids() if since is None else ()):
            yield FeedEntry(dataset_id, "changed", next(self.history(dataset_id)), None, f"feed.{number}")


class Measured(NamedTuple):
    """A value that was measured with an engine."""

    what: str
    value: float
    unit: str = "s"
    target: float | None = None
    more_is_better: bool = False


#: Finds, and is asked for nothing else.
Find = Callable[[Wanted, Readable | None], object]


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Index generated datasets on both engines, and search them with two words."""
    catalogue = Catalogue(2_000 if quick else 10_000, 1)
    yield from in_sqlite(folder, catalogue)
    yield from in_postgres(folder, catalogue)


def in_sqlite(folder: Path, catalogue: Catalogue) -> Iterator[Row | Note]:
    for what, value, unit, target, more in _sqlite(str(folder / "search.sqlite"), catalogue):
        yield Row(f"{what}, SQLite", value, target=target, unit=unit, more_is_better=more)
    yield Note("Descriptors are generated, which is not counted; a local store reads them from Git.")


def in_postgres(folder: Path, catalogue: Catalogue) -> Iterator[Row | Note]:
    try:
        with migrated_database() as dsn:
            for what, value, unit, target, more in _postgres(dsn, catalogue):
                yield Row(f"{what}, PostgreSQL", value, target=target, unit=unit, more_is_better=more)
    except (RuntimeError, psycopg.OperationalError) as error:
        yield Note(f"Search in PostgreSQL is left out: there is no server ({' '.join(str(error).split())}).")


def _sqlite(path: str, catalogue: Catalogue) -> Iterator[Measured]:
    index = SearchIndex(path, catalogue, clock=lambda: 0.0)

    def clock() -> float:
        return time.process_time() - catalogue.spent

    def size() -> int:
        index.close()  # which puts the journal into the file
        return os.path.getsize(path)

    yield from _of_index(lambda: index.find(_wanted("zzz")), size, clock, catalogue)
    yield from _of_searches(index.find, clock, catalogue)
    index.close()
    database = sqlite3.connect(path)
    raw = "SELECT rowid FROM now WHERE now MATCH ? ORDER BY bm25(now, 10.0, 1.0) LIMIT ?"
    times = _times(clock, _queries(catalogue), lambda query: database.execute(raw, [query, _HITS]).fetchall())
    database.close()
    yield Measured(f"FTS5's best {_HITS} by itself: CPU, median", times[0])


def _postgres(dsn: str, catalogue: Catalogue) -> Iterator[Measured]:
    """Search in a database, whose index is made again; the CPU of its session counts, too."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        load(connection, map(catalogue.loaded, catalogue.ids()), 3600)
        connection.execute("TRUNCATE dataset_text")
        connection.execute("VACUUM ANALYZE")
        storage = PostgresStorage(dsn)
        index = storage.search_index(catalogue)
        session = Path(f"/proc/{storage.database.patiently(lambda each: each.info.backend_pid)}/schedstat")

        def clock() -> float:
            return time.process_time() + int(session.read_text().split()[0]) / 1e9 - catalogue.spent

        def size() -> int:
            connection.execute("VACUUM ANALYZE")
            row = connection.execute(_SIZE.encode()).fetchone()
            return int(row[0]) if row else 0

        yield from _of_index(lambda: index.find(_wanted("zzz")), size, clock, catalogue)
        yield from _of_searches(index.find, clock, catalogue)
        storage.close()


def _of_index(
    make: Callable[[], object], size: Callable[[], int], clock: Callable[[], float], catalogue: Catalogue
) -> Iterator[Measured]:
    count, revisions = catalogue.count, catalogue.revisions
    say(f"indexing {count:,} datasets with {revisions} revisions each")
    start = clock()
    make()
    rate = count * revisions / (clock() - start)
    yield Measured(f"index {count:,} datasets × {revisions}: CPU", rate, "/s", 2_000, more_is_better=True)
    yield Measured("size of a revision in the index", size() / count / revisions / 1000, "kB", 2)


def _of_searches(find: Find, clock: Callable[[], float], catalogue: Catalogue) -> Iterator[Measured]:
    some = Readable(frozenset(f"o{number}" for number in range(50)))
    for what, facets, readable, within in (
        (f"two words, the best {_HITS}, with their total", (), None, None),
        ("… with three facets", ("owner", "licence", "format"), None, 0.05),
        ("… of a caller who may not read all", (), some, None),
    ):
        times = _times(
            clock,
            _queries(catalogue),
            lambda query, f=facets, r=readable: find(_wanted(query, facets=f), r),  # type: ignore[misc]
        )
        yield Measured(f"{what}: CPU, median", times[0])
        yield Measured(f"{what}: CPU, 95 of 100 below", times[1], target=within)
    front = _times(clock, _queries(catalogue)[:10], lambda query: find(_front(), None))
    yield Measured("the catalogue's first page, with five facets: CPU, median", front[0])


def _queries(catalogue: Catalogue) -> list[str]:
    chance = random.Random(11)
    return [catalogue.text(chance, 2, 400) for _ in range(_QUERIES)]


def _wanted(query: str, *, facets: tuple[str, ...] = (), order: str = "relevance") -> Wanted:
    return Wanted.parse(
        query, {}, changed_since=None, deleted=False, at=None, order=order, facets=facets, after=None, limit=_HITS
    )


def _front() -> Wanted:
    return _wanted("", facets=("owner", "licence", "format", "keyword", "contributor"), order="changed")


def _times(clock: Callable[[], float], queries: list[str], find: Callable[[str], object]) -> tuple[float, float]:
    """Return the median of the seconds of CPU that a search takes, and what 95 of 100 take at most."""
    times = []
    for query in queries:
        start = clock()
        find(query)
        times.append(clock() - start)
    return statistics.median(times), sorted(times)[int(len(times) * 0.95)]


def main() -> None:
    engines = {"sqlite": in_sqlite, "postgres": in_postgres}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", type=int, help="how many datasets")
    parser.add_argument("revisions", type=int, help="how many revisions each has")
    parser.add_argument("--engine", choices=engines, help="only this engine (default: both)")
    options = parser.parse_args()
    for engine in [options.engine] if options.engine else engines:
        with tempfile.TemporaryDirectory(prefix="metastore-bench-") as folder:
            lines = list(engines[engine](Path(folder), Catalogue(options.datasets, options.revisions)))
            print(printed("Search", lines, markdown=False), flush=True)


if __name__ == "__main__":
    main()
