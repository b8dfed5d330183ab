"""Many resources, many revisions, many datasets."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import metastore
from benchmarks.documents import LARGE, descriptor, label, many_resources
from benchmarks.single import AUTHOR
from benchmarks.table import Note, Row, in_turn, repeated, say

_DISK_MB, _PAGE = 30, 50
#: A cache that keeps ids and commits, but no descriptor of 136 kB: nothing above an eighth of it is kept.
_NO_CONTENTS = 1_000_000
_MOST_LINKS = 50_000  # ext4 allows 65,000 names for one file


def pointers(folder: Path, *, quick: bool) -> Iterator[Row]:
    """A descriptor of 10,000 resources, each with a Git LFS pointer."""
    say("10,000 resources")
    document = many_resources(10_000)
    store = metastore.connect(folder / "pointers", author=AUTHOR, lfs_url="https://lfs.example.org/{owner}/{name}")
    rounds = 3 if quick else 7
    times = in_turn(rounds, create=lambda n: store.dataset_create(f"many/d{n}", document))

    def change(number: int) -> None:
        resources = [*document["resources"]]
        resources[77] = {**resources[77], "bytes": 1_000_000 + number}
        store.dataset_update("many/d0", {**document, "resources": resources})

    times |= in_turn(rounds, update=change)
    times |= in_turn(
        rounds,
        patch=lambda n: store.dataset_patch(
            "many/d0", [{"op": "replace", "path": "/resources/77/bytes", "value": 2_000_000 + n}]
        ),
    )
    yield Row("create 10,000 resources with LFS pointers, fsync on", times["create"], target=2.0)
    yield Row("change one of 10,000 resources (update), fsync on", times["update"], target=0.3)
    yield Row("change one of 10,000 resources (patch), fsync on", times["patch"])


def updates(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Thousands of updates of one large descriptor, and reading them again."""
    count = 1_000 if quick else 10_000
    root, name = folder / "updates", "history/long"
    store = metastore.connect(root, author=AUTHOR, sync=False, validation="off")
    document = descriptor(LARGE)
    ids = [store.dataset_create(name, document).revision.id]
    store.dataset_create("history/short", document)
    short = [
        store.dataset_update("history/short", {**document, "version": f"1.{number}"}).revision.id
        for number in range(100)
    ]
    start = _reading(root, "history/short", short)
    objects = root / "history" / "long.git" / "objects"
    plain: list[float] = []
    packing: list[float] = []
    most, packs, known = 0.0, 0, set(os.listdir(objects / "pack"))
    for number in range(count):
        if number % (count // 10) == 0:
            say(f"{number:,} of {count:,} updates of {label(LARGE)}")
        began = time.perf_counter()
        ids.append(store.dataset_update(name, {**document, "version": f"1.{number}"}).revision.id)
        took = time.perf_counter() - began
        if (now := set(os.listdir(objects / "pack"))) != known:
            known = now
            packing.append(took)
        else:
            plain.append(took)
        if number % 50 == 49:
            most = max(most, _megabytes(objects))
            packs = max(packs, len(now) // 2)
    median = statistics.median(plain)
    cost = sum(packing) - median * len(packing)
    kb = label(LARGE)
    yield Row(f"update {kb}, fsync off, no validation, median of {count:,}", median)
    yield Row("packing on the way, spread over all updates", cost / count)
    yield Row("packing on the way, longest pause", max(packing, default=0.0) - median)
    yield Row(f"disk in the end, {count:,} updates", _megabytes(objects), target=_DISK_MB, unit="MB")
    yield Row("disk at most on the way (looked at every 50)", most, target=_DISK_MB, unit="MB")
    yield Row("packs at most on the way", packs, unit="packs")
    end = _reading(root, name, random.Random(1).sample(ids, 200))
    yield Row("read newest after them", end["newest"], "after 100 updates", start["newest"], 1.5)
    yield Row("read a random old revision after them", end["old"], "after 100 updates", start["old"], 1.5)
    yield from _pages(root, name, count)
    yield from _walk(root, name, count)
    store.close()


def _reading(root: Path, name: str, ids: list[str]) -> dict[str, float]:
    """Read with contents from disk each time, on a handle that has seen the history once."""
    with metastore.connect(root, cache_bytes=_NO_CONTENTS) as store:
        list(store.revision_list(name))
        rest = iter(ids * 40)
        often = 20
        times = in_turn(
            9,
            newest=repeated(lambda: store.dataset_read(name), often),
            old=repeated(lambda: store.dataset_read(name, next(rest)), often),
        )
    return {key: taken / often for key, taken in times.items()}


def _pages(root: Path, name: str, count: int) -> Iterator[Row]:
    with metastore.connect(root, cache_bytes=0) as store:
        times = in_turn(
            40,
            long=repeated(lambda: list(store.revision_list(name, limit=_PAGE)), 5),
            short=repeated(lambda: list(store.revision_list("history/short", limit=_PAGE)), 5),
        )
    yield Row(f"first {_PAGE} of {count:,} revisions", times["long"] / 5, "of 100", times["short"] / 5, 1.5)
    with metastore.connect(root) as store:
        cursors = {dataset: _cursors(store, dataset) for dataset in (name, "history/short")}

        def next_page(dataset: str) -> Callable[[int], object]:
            own = cursors[dataset]
            return lambda n: list(store.revision_list(dataset, own[n % len(own)], limit=_PAGE))

        times = in_turn(20, long=next_page(name), short=next_page("history/short"))
        yield Row(f"{_PAGE} of {count:,} revisions by cursor", times["long"], "of 100", times["short"], 1.5)
    middle = cursors[name][len(cursors[name]) // 2]

    def cold(number: int) -> None:
        with metastore.connect(root) as anew:
            list(anew.revision_list(name, middle, limit=_PAGE))

    yield Row("… from the middle, opened anew (proves once that it is on the branch)", in_turn(3, cold=cold)["cold"])


def _cursors(store: metastore.Store, dataset: str) -> list[str]:
    """Page through a history as a client does, and return where each whole page begins."""
    found: list[str] = []
    cursor = store.revision_read(dataset).id
    while True:
        page = list(store.revision_list(dataset, cursor, limit=_PAGE))
        if len(page) < _PAGE:
            return found
        found.append(cursor)
        if page[-1].parent is None:
            return found
        cursor = page[-1].parent


def _walk(root: Path, name: str, count: int) -> Iterator[Row]:
    with metastore.connect(root, cache_bytes=0) as store:
        revisions = store.revision_list(name)
        for _ in islice(revisions, count // 10):
            pass
        before = _resident()
        start = time.perf_counter()
        for _ in revisions:
            pass
        took = time.perf_counter() - start
        yield Row(f"walk the other {count * 9 // 10:,} revisions, cache off", took)
        yield Row("… memory that this takes (RSS)", max(0.0, _resident() - before), target=8, unit="MB")


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _megabytes(folder: Path) -> float:
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(f"{place}/{file}").st_blocks * 512
            except FileNotFoundError:
                continue
    return total / 1e6


def listing(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """The first hundred of very many datasets: all of one owner, then spread over a thousand."""
    count, root = 10_000 if quick else 100_000, folder / "listing"
    say(f"making {count:,} datasets")
    _many_datasets(root, count)
    yield _first_hundred(root, f"{count:,} datasets of one owner")
    for number, entry in enumerate(sorted(os.listdir(root / "all"))):
        os.makedirs(owner := root / f"owner-{number % 1000:03d}", exist_ok=True)
        os.rename(root / "all" / entry, owner / entry)
    yield _first_hundred(root, f"{count:,} datasets of 1,000 owners")
    yield Note(
        "The datasets are one packed repository over and over: own folders, with links to its files and folders."
    )
    say("removing them")
    shutil.rmtree(root)


def _first_hundred(root: Path, of: str) -> Row:
    say(f"listing {of}")
    with metastore.connect(root) as store:
        times = in_turn(7, first=lambda n: list(store.dataset_list(limit=100)))
    return Row(f"first 100 of {of}", times["first"], target=0.1)


def _many_datasets(root: Path, count: int) -> None:
    with metastore.connect(root, author=AUTHOR, sync=False) as store:
        store.dataset_create("a/a", {"name": "a", "resources": []})
        store.storage.compact(metastore.DatasetId("a", "a"))
    os.mkdir(root / "all")
    for number in range(count):
        target = f"{root}/all/dataset-{number * 7919 % count:06d}.git"
        if number % _MOST_LINKS == 0:
            source = f"{root}/_metastore/template-{number}"
            shutil.copytree(root / "a" / "a.git", source)
        os.mkdir(target)
        for file in ("config", "HEAD"):
            os.link(f"{source}/{file}", f"{target}/{file}")
        for folder in ("objects", "refs"):
            os.symlink(f"../../_metastore/{os.path.basename(source)}/{folder}", f"{target}/{folder}")
    shutil.rmtree(root / "a")
