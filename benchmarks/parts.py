"""The history of a part, and the revision that each value comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import metastore
from benchmarks.documents import LARGE, descriptor, label
from benchmarks.single import AUTHOR
from benchmarks.table import Note, Row, say

_PAGE = 50
#: A licence changes once in so many revisions, so that a page of its history reaches far back.
_LICENCE_EVERY = 100
_TABLES, _FIELDS = 10, 211


def parts(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """The history of a licence in many revisions of a large descriptor, and blame on a table of many fields."""
    yield Note(
        "Seconds of CPU, so that a busy machine does not count. The index of parts is a file beside a local store."
    )
    yield from _history(folder / "parts", 1_000 if quick else 10_000)
    yield from _blame(folder / "blame", 100 if quick else 1_000)


def _history(root: Path, count: int) -> Iterator[Row]:
    name, document = "history/parts", descriptor(LARGE)
    with metastore.connect(root, author=AUTHOR, sync=False, validation="off") as store:
        store.dataset_create(name, document)
        resources = document["resources"]
        for number in range(1, count):
            if number % (count // 10) == 0:
                say(f"{number:,} of {count:,} updates of {label(LARGE)}")
            if number % _LICENCE_EVERY == 0:
                document["licenses"] = [{"name": f"other-{number}"}]
            else:
                resources[number % len(resources)]["title"] = f"Title {number}"
            store.dataset_update(name, document)
    kb = label(LARGE)

    def page() -> object:
        with metastore.connect(root) as anew:
            return list(anew.revision_list(name, path="/licenses", limit=_PAGE))

    def whole() -> object:
        with metastore.connect(root) as anew:
            return list(anew.revision_list(name, path="/licenses"))

    yield Row(f"the history of /licenses in {count:,} revisions of {kb}, first time: CPU", _cpu(whole))
    yield Row(f"… its first {_PAGE}, opened anew: CPU", _cpu(page), target=0.2)
    yield Row("… all of it, opened anew: CPU", _cpu(whole))


def _blame(root: Path, count: int) -> Iterator[Row]:
    name = "history/blame"
    document: dict[str, Any] = {
        "resources": [
            {
                "name": f"table-{table}",
                "path": f"table-{table}.csv",
                "schema": {"fields": [{"name": f"f{at}", "type": "string"} for at in range(_FIELDS)]},
            }
            for table in range(_TABLES)
        ]
    }
    with metastore.connect(root, author=AUTHOR, sync=False, validation="off") as store:
        store.dataset_create(name, document)
        for number in range(1, count):
            fields = document["resources"][number % _TABLES]["schema"]["fields"]
            fields[number * 7 % _FIELDS]["title"] = f"Title {number}"
            store.dataset_update(name, document)
    with metastore.connect(root) as store:
        first = _cpu(lambda: store.blame(name))
        again = _cpu(lambda: store.blame(name))
    fields_in_all = _TABLES * _FIELDS
    yield Row(f"blame of {fields_in_all:,} fields over {count:,} revisions, first time: CPU", first, target=5.0)
    yield Row("… again: CPU", again, target=0.1)


def _cpu(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start
