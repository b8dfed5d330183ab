"""The times that operators wait for: the first backup beside plain copies, and a dataset with 50,000 tags.

Beside the time, rows tell the seconds of a processor, with those of child processes: these also say something on a busy
machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import metastore
from benchmarks.documents import SMALL, descriptor
from benchmarks.single import AUTHOR
from benchmarks.table import Row, say
from metastore.git.objects import TAG, GitObject, object_id, tag_content
from metastore.parse import make_author, parse_dataset_id
from metastore.storage.local.backup import backup
from metastore.storage.local.storage import GitStorage
from metastore.types import TagSpec

_AT = datetime(2024, 5, 1, tzinfo=UTC)


def upkeep(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Back up 2,000 new datasets, and read 50,000 packed tags."""
    yield from _backup(folder / "upkeep", 200 if quick else 2_000)
    yield from _tags(folder / "tags", 5_000 if quick else 50_000)


def _backup(folder: Path, count: int) -> Iterator[Row]:
    say(f"backup of {count:,} datasets")
    root, document = folder / "store", descriptor(SMALL)
    store = metastore.connect(root, author=AUTHOR, sync=False, validation="off")
    for number in range(count):
        store.dataset_create(f"many/d{number}", document)
    os.sync()
    peers = [peer for peer in ("cp -a", "rsync -a") if shutil.which(peer.split()[0])]
    costs: dict[str, list[_Cost]] = {name: [] for name in ("ours", *peers)}
    for turn in range(3):
        for peer in peers:
            costs[peer].append(_timed(partial(_copied, peer, root, folder / f"{peer}{turn}")))
        costs["ours"].append(_timed(partial(backup, GitStorage(root), folder / f"backup{turn}")))
    what = f"first backup of {count:,} datasets, verified and durable"
    for name, *least in zip(("", ": CPU"), *(map(min, *each) for each in costs.values()), strict=True):
        for peer, their in zip(peers, least[1:], strict=True):
            yield Row(f"{what}{name}", least[0], f"{peer} and sync", their, 2.0)
    again = _timed(lambda: backup(GitStorage(root), folder / "backup0"))
    yield Row("… the next backup, with nothing new", again.seconds)
    shutil.rmtree(folder)


def _copied(program: str, source: Path, target: Path) -> None:
    subprocess.run([*program.split(), source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)


class _Cost(NamedTuple):
    seconds: float
    cpu: float


def _timed(call: Callable[[], object]) -> _Cost:
    start, cpu = time.perf_counter(), _cpu()
    call()
    return _Cost(time.perf_counter() - start, _cpu() - cpu)


def _cpu() -> float:
    """Return the seconds of a processor that this process and its children have used."""
    return sum(os.times()[:4])


def _tags(root: Path, count: int) -> Iterator[Row]:
    say(f"{count:,} tags")
    store = metastore.connect(root, author=AUTHOR, sync=False, validation="off")
    head, name = store.dataset_create("many/tags", descriptor(SMALL)).revision.id, parse_dataset_id("many/tags")
    objects, references = {}, {}
    for number in range(count):
        content = tag_content(TagSpec(f"v{number}", head, "A version", make_author(AUTHOR), _AT))
        identity = object_id(TAG, content)
        objects[identity], references[f"refs/tags/v{number}"] = GitObject(TAG, content), identity
    storage = GitStorage(root, sync=False)
    with storage.lock(name), storage.open(name) as repository:
        repository.put(objects)
        repository.references.add_all(references)
    reader = metastore.connect(root)
    what = "git for-each-ref, the same fields"
    git = min(_timed(partial(_listed_by_git, storage.layout.path(name))).cpu for _ in range(3))
    cold = _timed(lambda: list(reader.tag_list(name)))
    yield Row(f"list {count:,} packed tags, nothing read before", cold.seconds, target=1.0)
    yield Row("… CPU", cold.cpu, what, git)
    yield Row("… list them again: CPU", _timed(lambda: list(reader.tag_list(name))).cpu, what, git)
    first = _timed(lambda: list(islice(metastore.connect(root).tag_list(name), 100)))
    yield Row("… the first 100 of them", first.seconds)
    each = _timed(lambda: [reader.tag_read(name, f"v{number}") for number in range(100)])
    yield Row("… one of them", each.seconds / 100, target=0.001)
    yield Row("… verify", _timed(lambda: list(GitStorage(root).verify())).seconds)
    shutil.rmtree(root)


def _listed_by_git(repository: str) -> None:
    fields = "--format=%(objectname) %(refname) %(*objectname) %(contents) %(taggername) %(taggeremail) %(taggerdate)"
    command = ["git", "-c", "safe.directory=*", "-C", repository, "for-each-ref", fields, "refs/tags"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
