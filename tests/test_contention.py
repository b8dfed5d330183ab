"""Many writers on one dataset: everybody gets through, and nothing is lost."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import metastore

from .conftest import ANN

WRITERS, EACH = 8, 20


def _write(root: str, writer: int, begin: Any) -> None:
    with metastore.connect(root, author=ANN) as store:
        begin.wait()
        for number in range(EACH):
            store.dataset_patch("physics/cars", {f"writer-{writer}": number})


def test_every_writer_of_one_dataset_gets_through(tmp_path: Path) -> None:
    with metastore.connect(tmp_path / "store", author=ANN) as store:
        store.dataset_create("physics/cars", {"name": "cars"})
        context = multiprocessing.get_context("spawn")
        begin = context.Barrier(WRITERS)
        root = str(tmp_path / "store")
        writers = [context.Process(target=_write, args=(root, writer, begin)) for writer in range(WRITERS)]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        assert [each.exitcode for each in writers] == [0] * WRITERS
        assert len(list(store.revision_list("physics/cars"))) == 1 + WRITERS * EACH
        last = {f"writer-{writer}": EACH - 1 for writer in range(WRITERS)}
        assert store.dataset_read("physics/cars").descriptor == {"name": "cars", **last}
