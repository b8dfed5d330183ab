"""Many writers at once, and writers that are killed: nothing acknowledged is lost, and the record stays whole."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metastore.bundle import BundleRegistry, Groups
from metastore.errors import AlreadyExists, RevisionConflict, StorageBusy

from .conftest import GROUPS, git_record, numi

SOAK = bool(os.environ.get("METASTORE_SOAK"))
FORK = multiprocessing.get_context("fork")
CHANGES = 25 if SOAK else 6


def open_registry(folder: Path) -> BundleRegistry:
    return BundleRegistry(git_record(folder), Groups.parse(GROUPS))


def in_processes(count: int, folder: Path, work: Callable[[BundleRegistry, int], Any]) -> list[Any]:
    """Let so many processes begin at once; returns what each of them answers."""
    start, answers = FORK.Event(), FORK.Queue()

    def run(number: int) -> None:
        with open_registry(folder) as registry:
            start.wait()
            try:
                answers.put((number, work(registry, number)))
            except BaseException as error:
                answers.put((number, error))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    start.set()
    found = dict(answers.get(timeout=240) for _ in processes)
    for process in processes:
        process.join()
    for answer in found.values():
        if isinstance(answer, BaseException):
            raise answer
    return [found[number] for number in range(count)]


def assert_whole(registry: BundleRegistry) -> list[int]:
    """Check all that holds of every record; returns the numbers of its snapshots, oldest first."""
    log = registry.bundle_log(limit=None)
    numbers = [line.id for line in log][::-1]
    assert numbers == sorted(set(numbers))
    assert [check.problem for check in registry.bundle_verify() if check.problem] == []
    for bundle in registry.bundle_list():
        read = registry.bundle_read(bundle.name)
        assert (bundle, bundle.snapshot) == (read, read.snapshot)
    return numbers


@pytest.mark.parametrize("writers", [2, 16])
def test_writers_of_different_bundles_lose_nothing(folder: Path, writers: int) -> None:
    def work(registry: BundleRegistry, writer: int) -> list[int | None]:
        name = f"B{writer}"
        made = [registry.bundle_create(numi(name=name, devices=[]), user="ann").snapshot]
        for number in range(CHANGES):
            device = f"E:D{number}"
            made.append(registry.bundle_update(name, {"add_devices": [device]}, user="ann").snapshot)
        return made

    acknowledged = in_processes(writers, folder, work)
    with open_registry(folder) as registry:
        assert assert_whole(registry) == sorted(number for made in acknowledged for number in made)
        assert len(acknowledged[0]) == CHANGES + 1
        for bundle in registry.bundle_list():
            assert len(bundle.devices) == CHANGES


@pytest.mark.parametrize("writers", [2, 8])
def test_writers_of_the_same_bundle_lose_no_update(folder: Path, writers: int) -> None:
    with open_registry(folder) as registry:
        registry.bundle_create(numi(devices=[]), user="ann")

    def work(registry: BundleRegistry, writer: int) -> list[int | None]:
        made: list[int | None] = []
        while len(made) < CHANGES:
            device = f"E:W{writer}_{len(made)}"
            try:
                made.append(registry.bundle_update("NuMI", {"add_devices": [device]}, user="bo").snapshot)
            except StorageBusy:
                continue
        return made

    acknowledged = in_processes(writers, folder, work)
    with open_registry(folder) as registry:
        assert assert_whole(registry)[1:] == sorted(number for made in acknowledged for number in made)
        assert len(registry.bundle_read("NuMI").devices) == writers * CHANGES


def test_of_those_who_expect_the_same_snapshot_one_succeeds(folder: Path) -> None:
    with open_registry(folder) as registry:
        seen = registry.bundle_create(numi(), user="ann").snapshot

    def work(registry: BundleRegistry, writer: int) -> int:
        try:
            registry.bundle_update("NuMI", {"hosts": [f"h{writer}"]}, user="ann", expected=seen)
        except RevisionConflict:
            return 0
        return 1

    assert sum(in_processes(8, folder, work)) == 1
    with open_registry(folder) as registry:
        assert len(assert_whole(registry)) == 2


def test_of_those_who_create_the_same_name_one_succeeds(folder: Path) -> None:
    def work(registry: BundleRegistry, writer: int) -> int:
        try:
            registry.bundle_create(numi(hosts=[f"h{writer}"]), user="ann")
        except AlreadyExists:
            return 0
        return 1

    assert sum(in_processes(8, folder, work)) == 1
    with open_registry(folder) as registry:
        assert len(assert_whole(registry)) == 1


def test_imports_at_once_are_each_whole(folder: Path) -> None:
    def work(registry: BundleRegistry, writer: int) -> None:
        rows = [numi(name=f"B{number}", hosts=[f"h{writer}"]) for number in range(5)]
        registry.bundle_import(rows, user="ann")

    in_processes(4, folder, work)
    with open_registry(folder) as registry:
        assert len(assert_whole(registry)) == 20
        assert len({bundle.hosts for bundle in registry.bundle_list()}) == 1


def test_readers_never_see_half_of_a_change(folder: Path) -> None:
    """Every state has as many devices as its host says."""
    with open_registry(folder) as registry:
        registry.bundle_create(numi(hosts=["n0"], devices=[]), user="ann")

    def work(registry: BundleRegistry, worker: int) -> None:
        for number in range(CHANGES * 5):
            if worker == 0:
                changes = {"hosts": [f"n{number}"], "devices": [f"E:D{each}" for each in range(number)]}
                registry.bundle_update("NuMI", changes, user="ann")
                continue
            for bundle in (registry.bundle_read("NuMI"), *registry.bundle_list()):
                assert bundle.hosts == (f"n{len(bundle.devices)}",)
            newest = registry.bundle_log(limit=1)[0]
            assert registry.bundle_snapshot(newest.id).bundle.snapshot == newest.id

    in_processes(3, folder, work)


def test_threads_share_a_registry(folder: Path) -> None:
    with open_registry(folder) as registry:
        failed: list[BaseException] = []

        def work(writer: int) -> None:
            try:
                registry.bundle_create(numi(name=f"B{writer}", devices=[]), user="ann")
                for number in range(CHANGES):
                    registry.bundle_update(f"B{writer}", {"add_devices": [f"E:D{number}"]}, user="ann")
                    assert f"B{writer}" in [each.name for each in registry.bundle_list(device=f"E:D{number}")]
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(assert_whole(registry)) == 6 * (CHANGES + 1)


def test_a_killed_writer_leaves_a_whole_record(folder: Path, tmp_path: Path) -> None:
    """Check that an acknowledged write is there, any other is there whole or not at all, and others go on at once."""
    journal = tmp_path / "acknowledged"
    for _ in range(20 if SOAK else 5):
        child = os.fork()
        if child == 0:
            with open_registry(folder) as registry, journal.open("a") as file:
                for number in range(10_000):
                    rows = [numi(name=name, hosts=[f"h{os.getpid()}-{number}"]) for name in ("A", "B", "C")]
                    registry.bundle_import(rows, user="ann")
                    registry.bundle_log(limit=1)
                    file.write(f"h{os.getpid()}-{number}\n")
                    file.flush()
            os._exit(0)
        time.sleep(0.5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open_registry(folder) as registry:
            registry.bundle_import([numi(name="After", hosts=[f"k{child}"])], user="ann")
            assert_whole(registry)
            assert len({each.hosts for each in registry.bundle_list() if each.name != "After"}) <= 1
    acknowledged = set(journal.read_text().split()) if journal.exists() else set()
    with open_registry(folder) as registry:
        kept = [registry.bundle_snapshot(line.id).bundle.hosts[0] for line in registry.bundle_log(limit=None)]
        assert acknowledged
        assert all(kept.count(host) == 3 for host in acknowledged)


def test_an_index_that_is_deleted_under_the_writers_stays_right(folder: Path) -> None:
    index = folder / "_metastore" / "bundles.sqlite"

    def work(registry: BundleRegistry, worker: int) -> None:
        for number in range(CHANGES * 2):
            if worker == 0:
                index.unlink(missing_ok=True)
                time.sleep(0.02)
                continue
            name = f"B{worker}-{number}"
            made = registry.bundle_create(numi(name=name), user="ann")
            assert registry.bundle_log(name)[0].id == made.snapshot
            if number % 3 == 0:
                registry._record.close()

    in_processes(4, folder, work)
    with open_registry(folder) as registry:
        assert len(assert_whole(registry)) == 3 * CHANGES * 2
