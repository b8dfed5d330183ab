"""The work of processes that are spawned. They import this module, and not the tests, which takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import metastore
from metastore.storage.local.storage import GitStorage
from metastore.types import DatasetId, Revision

CARS = DatasetId("physics", "cars")


def connect(root: Path) -> metastore.MetaStore:
    """Open the store of a test: in a folder, unless the URL of a database was written beside it."""
    url = root.parent / "url"
    place = url.read_text() if url.exists() else root
    return metastore.connect(place, author="Ann Lee <ann@example.org>", sync=False, validation="off")


def run_and_note(work: Callable[..., None], root: Path, number: int, start: Any) -> None:
    """Run `work(root, number, say)` as soon as all have come; note what it says in a file beside the store."""
    with (root.parent / f"said-{number}").open("w") as said:
        start.wait()
        work(root, number, lambda *facts: said.write(json.dumps(facts) + "\n"))


def patch_without_expected(root: Path, number: int, say: Callable[..., object], *, rounds: int) -> None:
    store = connect(root)
    for n in range(rounds):
        say(store.dataset_patch(CARS, {f"writer-{number}": n}).revision.id, number, n)


def read_until(stop: Any, root: str, revisions: Sequence[Revision], text: bytes, reads: Any) -> None:
    """Read each revision again and again, past the cache, and count."""
    storage = GitStorage(root, cache_bytes=0)
    while not stop.is_set():
        for number, revision in enumerate(revisions):
            assert storage.read(CARS, revision.id, "a") == text + b"%d" % number
            reads.value += 1


def migrate_database(dsn: str, results: Any) -> None:
    from metastore.postgres.migrate import migrate

    results.put(migrate(dsn))


def patch_on_github(url: str, token: str, name: str, count: int) -> None:
    from metastore.storage.github.connect import open_github
    from metastore.store.store import MetaStore

    storage = open_github("github://physics", token=token, api_url=url)
    store = MetaStore(storage, author=name)
    for number in range(count):
        store.dataset_patch(CARS, {f"{name}-{number}": number})
    storage.close()
