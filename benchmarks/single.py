"""One dataset: create, update and read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import metastore
from benchmarks.byhand import ByHand, PlainFile
from benchmarks.documents import LARGE, SMALL, descriptor, label
from benchmarks.table import Row, in_turn, repeated, say

AUTHOR = "Ann Lee <ann@example.org>"
_WRITE_TARGET, _READ_TARGET = 1.6, 1.5


def writes(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Create and update, with and without fsync, beside hand-written pygit2 and a plain file."""
    for sync in (True, False):
        for size in (SMALL, LARGE):
            say(f"create and update {label(size)}, fsync {'on' if sync else 'off'}")
            place = folder / f"writes-{size}-{sync}"
            yield from _writes(place, size, sync=sync, rounds=15 if quick else 60)


def _writes(folder: Path, size: str, *, sync: bool, rounds: int) -> Iterator[Row]:
    document = descriptor(size)
    folder.mkdir()
    warn = metastore.connect(folder / "warn", author=AUTHOR, sync=sync, auto_pack=False)
    off = metastore.connect(folder / "off", author=AUTHOR, sync=sync, auto_pack=False, validation="off")
    by_hand, plain = ByHand(folder / "hand", sync=sync), PlainFile(folder / "plain", sync=sync)
    created = in_turn(
        rounds,
        warn=lambda n: warn.dataset_create(f"owner/d{n}", document),
        off=lambda n: off.dataset_create(f"owner/d{n}", document),
        hand=lambda n: by_hand.create(f"d{n}", document),
        plain=lambda n: plain.write(f"d{n}", document),
    )
    updated = in_turn(
        rounds,
        warn=lambda n: warn.dataset_update("owner/d0", {**document, "version": f"1.{n}"}),
        off=lambda n: off.dataset_update("owner/d0", {**document, "version": f"1.{n}"}),
        hand=lambda n: by_hand.update("d0", {**document, "version": f"1.{n}"}),
        plain=lambda n: plain.write("d0", {**document, "version": f"1.{n}"}),
    )
    ending = f"{label(size)}, fsync {'on' if sync else 'off'}"
    for verb, times in (("create", created), ("update", updated)):
        yield Row(f"{verb} {ending}", times["warn"], "pygit2 by hand", times["hand"], _WRITE_TARGET)
        yield Row(f"{verb} {ending}, no validation", times["off"], "pygit2 by hand", times["hand"], _WRITE_TARGET)
        yield Row(f"{verb} {ending}", times["warn"], "plain file", times["plain"])


def reads(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Read the newest revision: warm, without the cache, and opening everything anew."""
    for size in (SMALL, LARGE):
        say(f"read {label(size)}")
        place = folder / f"reads-{size}"
        place.mkdir()
        yield from _reads(place, size, rounds=7 if quick else 21)


def _reads(folder: Path, size: str, rounds: int) -> Iterator[Row]:
    document, name = descriptor(size), "owner/d"
    store = metastore.connect(folder / "ours", author=AUTHOR, sync=False)
    dataset = store.dataset_create(name, document)
    uncached = metastore.connect(folder / "ours", cache_bytes=0)
    by_hand, plain = ByHand(folder / "hand", sync=False), PlainFile(folder / "plain", sync=False)
    by_hand.create("d", document)
    plain.write("d", document)
    repository, blob = by_hand.repository("d"), by_hand.blob("d")
    cache = {name: dataset.bytes}

    def opened() -> None:
        with metastore.connect(folder / "ours") as anew:
            anew.dataset_read(name)

    often = 400 if size == SMALL else 40
    times = in_turn(
        rounds,
        warm=repeated(lambda: store.dataset_read(name), often),
        uncached=repeated(lambda: uncached.dataset_read(name), often),
        opened=repeated(opened, often),
        blob=repeated(lambda: json.loads(repository.read(blob)[1]), often),
        cache=repeated(lambda: json.loads(cache[name]), often),
        hand=repeated(lambda: by_hand.read_opened("d"), often),
        plain=repeated(lambda: plain.read("d"), often),
    )
    one = {key: taken / often for key, taken in times.items()}
    kb = label(size)
    yield Row(f"read newest {kb}", one["warm"], "kept handle's blob + json.loads", one["blob"], _READ_TARGET)
    yield Row(f"read newest {kb} again", one["warm"], "dict of bytes + json.loads", one["cache"])
    yield Row(f"read newest {kb}", one["warm"], "plain file", one["plain"])
    yield Row(f"read newest {kb}, cache off", one["uncached"], "kept handle's blob + json.loads", one["blob"])
    yield Row(f"read newest {kb}, all opened anew", one["opened"], "pygit2 by hand, opened anew", one["hand"])
