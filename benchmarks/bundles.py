"""How fast bundles are over Git and its index: `python benchmarks/bundles.py [BUNDLES] [SNAPSHOTS]`.

Writes that many bundles in batches, changes them until there are that many snapshots, then measures single calls: the
median and the slowest of several, in milliseconds. Numbers are of one machine; what counts is how they grow.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

from metastore.bundle import BundleRegistry, Groups, connect

GROUPS = Groups.parse("groups = NOvA MINOS\nNOvA = ann\nMINOS = bo\nroot = ruth")
BATCH = 1000


def rows(bundles: int, turn: int) -> Iterator[dict[str, object]]:
    for number in range(bundles):
        devices = [f"E:D{(number + each) % 5000:04}" for each in range(10)] + [f"E:T{turn}"]
        yield {"name": f"B{number:05}", "event": "e,1d", "ifb_group": ("NOvA", "MINOS")[number % 2], "devices": devices}


def fill(registry: BundleRegistry, bundles: int, snapshots: int) -> None:
    made = 0
    for turn in count():
        pending = rows(bundles, turn)
        while made < snapshots and (batch := list(islice(pending, BATCH))):
            made += len(registry.bundle_import(batch, user="ruth"))
        if made >= snapshots:
            return


def measure(call: Callable[[int], object], times: int) -> tuple[float, float]:
    taken = []
    for number in range(times):
        began = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), max(taken)


def calls(registry: BundleRegistry, bundles: int, snapshots: int) -> dict[str, tuple[Callable[[int], object], int]]:
    def name(number: int) -> str:
        return f"B{number * 7919 % bundles:05}"

    return {
        "list, a page of 50": (lambda n: list(registry.bundle_list(after=name(n), limit=50)), 50),
        "list by device": (lambda n: list(registry.bundle_list(device=f"E:D{n:04}")), 50),
        "list by group, 50": (lambda n: list(registry.bundle_list(group="MINOS", limit=50)), 50),
        "list, all": (lambda n: sum(1 for _ in registry.bundle_list()), 3),
        "log, newest 50": (lambda n: registry.bundle_log(), 50),
        "log, 50 in the middle": (lambda n: registry.bundle_log(before=snapshots // 2 + n), 50),
        "log of one bundle": (lambda n: registry.bundle_log(name(n)), 50),
        "log by device": (lambda n: registry.bundle_log(device=f"E:D{n:04}"), 50),
        "log by device, all have it": (lambda n: registry.bundle_log(device="E:T1"), 50),
        "log by user": (lambda n: registry.bundle_log(user="ruth"), 50),
        "log since a time": (lambda n: registry.bundle_log(since=registry.bundle_snapshot(1).created), 20),
        "read": (lambda n: registry.bundle_read(name(n)), 100),
        "read as of a time": (lambda n: registry.bundle_read("B00001", at=registry.bundle_snapshot(2).created), 50),
        "snapshot": (lambda n: registry.bundle_snapshot(1 + n * 7919 % snapshots), 100),
        "update, synced": (lambda n: registry.bundle_update(name(n), {"hosts": [f"h{n}"]}, user="ruth"), 100),
        "update, then log": (
            lambda n: (registry.bundle_update(name(n), {"hosts": [f"i{n}"]}, user="ruth"), registry.bundle_log()),
            50,
        ),
    }


def main(bundles: int, snapshots: int) -> None:
    with tempfile.TemporaryDirectory() as folder, connect(folder, groups=GROUPS) as registry:
        began = time.perf_counter()
        fill(registry, bundles, snapshots)
        print(f"{bundles} bundles, {snapshots} snapshots imported in {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        registry.bundle_log(limit=1)
        print(f"index made in {time.perf_counter() - began:.1f} s")
        print(f"{'':30} {'median ms':>10} {'slowest ms':>10}")
        for name, (call, times) in calls(registry, bundles, snapshots).items():
            median, slowest = measure(call, times)
            print(f"{name:30} {median:10.2f} {slowest:10.2f}")
        index = Path(folder) / "_metastore" / "bundles.sqlite"
        print(f"index {index.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main(*(int(each) for each in [*sys.argv[1:], "10000", "100000"][:2]))
