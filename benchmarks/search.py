"""Search in an index: how fast it is made, how large it is, and how fast it answers, beside FTS5 by itself."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.table import Note, Row, say
from metastore import Author, Revision
from metastore.search.index import SearchIndex
from metastore.search.values import Readable, Wanted
from metastore.types import DatasetId, FeedEntry, RevisionId

_START = datetime(2026, 1, 1, tzinfo=UTC)
_QUERIES, _HITS = 60, 20
_LICENCES = ("CC-BY-4.0", "CC0-1.0", "ODbL-1.0", "MIT", "BSD-3-Clause", None)
_FORMATS = ("csv", "json", "xlsx", "parquet")


class Catalogue:
    """Generated datasets, as the source of a search: words are as frequent as in a language (Zipf's law).

    They are generated when they are read, so that there can be many.

    Args:
        count: How many datasets there are.
        revisions: How many revisions each has; each one rewrites the description.

    Attributes:
        spent: How many seconds of CPU the generator has used.
    """

    def __init__(self, count: int, revisions: int) -> None:
        chance = random.Random(7)
        syllables = [consonant + vowel for consonant in "bcdfghklmnprstvw" for vowel in "aeiou"]
        words = {"".join(chance.choices(syllables, k=chance.randint(2, 4))): None for _ in range(20_000)}
        self._words = list(words)
        self._weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(self._words))))
        self._count, self._revisions = count, revisions
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
        return (DatasetId(f"o{number % 50}", f"d{number}") for number in range(self._count))

    def history(self, dataset_id: DatasetId) -> Iterator[Revision]:
        number = int(dataset_id.name[1:])
        for at in range(self._revisions - 1, -1, -1):
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

    def has_findings(self, content: bytes) -> bool:
        return False

    def judge(self) -> str:
        return ""

    def changes(self, since: str | None) -> Iterator[FeedEntry]:
        for number, dataset_id in enumerate(self.ids() if since is None else ()):
            yield FeedEntry(dataset_id, "changed", next(self.history(dataset_id)), None, f"feed.{number}")


def rows(folder: Path, *, quick: bool, datasets: int | None = None, revisions: int = 1) -> Iterator[Row | Note]:
    """Index generated datasets, and search them with two words."""
    count = datasets or (2_000 if quick else 10_000)
    catalogue = Catalogue(count, revisions)
    path = str(folder / "search.sqlite")
    index = SearchIndex(path, catalogue, clock=lambda: 0.0)
    say(f"indexing {count:,} datasets with {revisions} revisions each")
    start = time.process_time() - catalogue.spent
    index.find(_wanted("zzz"))
    indexed = count * revisions / (time.process_time() - catalogue.spent - start)
    index.close()  # which puts the journal into the file
    size = os.path.getsize(path)
    yield Row(f"index {count:,} datasets × {revisions}: CPU", indexed, target=2_000, unit="/s", more_is_better=True)
    yield Row("… size of a revision in the index", size / count / revisions / 1000, target=2, unit="kB")
    chance = random.Random(11)
    queries = [catalogue.text(chance, 2, 400) for _ in range(_QUERIES)]
    database = sqlite3.connect(path)
    raw = "SELECT rowid FROM now WHERE now MATCH ? ORDER BY bm25(now, 10.0, 1.0) LIMIT ?"
    by_hand = _times(catalogue, queries, lambda query: database.execute(raw, [query, _HITS]).fetchall())
    database.close()
    for what, facets, within in (
        (f"two words, the best {_HITS}, with their total", (), None),
        ("… with three facets", ("owner", "licence", "format"), 0.05),
        ("… of a caller who may not read all", (), None),
    ):
        readable = Readable(frozenset(f"o{number}" for number in range(50))) if "may not" in what else None
        found = _times(catalogue, queries, lambda query, f=facets, m=readable: index.find(_wanted(query, facets=f), m))  # type: ignore[misc]
        yield Row(f"{what}: CPU, median", found[0], "FTS5's best 20 by itself", by_hand[0])
        yield Row(f"{what}: CPU, 95 of 100 below", found[1], target=within)
    front = _times(catalogue, queries[:10], lambda query: index.find(_front()))
    yield Row("the catalogue's first page, with five facets: CPU, median", front[0])
    index.close()
    yield Note("Descriptors are generated, which is not counted; a local store reads them from Git.")


def _wanted(query: str, *, facets: tuple[str, ...] = (), order: str = "relevance") -> Wanted:
    return Wanted.parse(
        query, {}, changed_since=None, deleted=False, at=None, order=order, facets=facets, after=None, limit=_HITS
    )


def _front() -> Wanted:
    return _wanted("", facets=("owner", "licence", "format", "keyword", "contributor"), order="changed")


def _times(catalogue: Catalogue, queries: list[str], find: Callable[[str], object]) -> tuple[float, float]:
    """Return the median of the seconds of CPU that a search takes, and what 95 of 100 take at most."""
    times = []
    for query in queries:
        start = time.process_time() - catalogue.spent
        find(query)
        times.append(time.process_time() - catalogue.spent - start)
    return statistics.median(times), sorted(times)[int(len(times) * 0.95)]


if __name__ == "__main__":
    import sys
    import tempfile

    from benchmarks.table import printed

    with tempfile.TemporaryDirectory(prefix="metastore-bench-") as place:
        lines = list(rows(Path(place), quick=False, datasets=int(sys.argv[1]), revisions=int(sys.argv[2])))
        print(printed("Search", lines, markdown=False))
