"""The common parts of the tests of bundles: the records, a cast of invented people, and real names and devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.port import BundleRecord
from metastore.bundle.versioned import VersionedRecord
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage

from ..conftest import ticking
from ..hosts import backends
from .postgres_server import new_record

#: Invented: ann and bo are NOvA's admins, bo MINOS's too, cy Minerva's; ruth is the superuser; eve is in no group.
GROUPS = """
groups = Minerva NOvA, MINOS Weather
Minerva = cy
NOvA = ann, bo
MINOS = bo
root = ruth
"""

#: Every record that has to keep the contract: a name, and how to make an empty one in an empty folder.
RECORDS: dict[str, Callable[[Path], BundleRecord]] = {
    "memory": lambda folder: VersionedRecord(MemoryStorage()),
    "git": lambda folder: git_record(folder / "store"),
    "postgres": lambda folder: new_record(),
    "github": lambda folder: VersionedRecord(backends.github(folder)),
}

DATA = json.loads((Path(__file__).parent / "data" / "bundles.json").read_text())
#: The real names, events and devices, with invented owners.
REAL: list[dict[str, Any]] = [
    {"name": each["name"], "event": each["event"] or "e,1d", "ifb_group": "NOvA", "devices": each["devices"]}
    for each in DATA["bundles"]
]


def git_record(folder: Path, *, sync: bool = False) -> VersionedRecord:
    storage = GitStorage(str(folder), sync=sync)
    return VersionedRecord(storage, storage.layout.private("bundles.sqlite"))


def numi(**changes: Any) -> dict[str, Any]:
    """Return a bundle of NOvA's that admins may change."""
    return {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TR101D", "E:TORTGT"], **changes}


@contextmanager
def opened(name: str, folder: Path) -> Iterator[BundleRecord]:
    record = RECORDS[name](folder)
    yield record
    record.close()
    if isinstance(record, VersionedRecord):
        backends.stop(record._storage)


@pytest.fixture(params=RECORDS)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BundleRecord]:
    with opened(request.param, tmp_path) as record:
        yield record


def registry_of(record: BundleRecord) -> BundleRegistry:
    return BundleRegistry(record, Groups.parse(GROUPS), clock=ticking())


@pytest.fixture
def registry(record: BundleRecord) -> BundleRegistry:
    return registry_of(record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a registry over Git."""
    return tmp_path / "store"


@pytest.fixture
def git_registry(folder: Path) -> Iterator[BundleRegistry]:
    with BundleRegistry(git_record(folder), Groups.parse(GROUPS), clock=ticking()) as made:
        yield made
