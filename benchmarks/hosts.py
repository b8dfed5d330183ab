"""How many requests each call costs on a host: MetaStore and metastore-lib against the same emulated GitHub."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import metastore
from benchmarks import peer
from benchmarks.documents import SMALL, descriptor
from benchmarks.table import Note, Row, say
from tests.hosts.github import TOKEN, GitHub

_HERE = Path(__file__).parent
_LFS = "https://lfs.example.org/{owner}/{name}"


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Count the requests of the same calls; 304 is free of charge on GitHub, and counted here all the same."""
    say("requests on a host")
    theirs = _of_peer(folder / "peer-hub")
    with GitHub(folder / "our-hub") as hub:
        for what, ours in _ours(hub).items():
            other = theirs.get(what)
            yield Row(what, ours, "metastore-lib" if other else "", other, unit="requests", target=_TARGETS.get(what))
    if not theirs:
        yield Note("metastore-lib is left out: it could not be installed, or not be driven.")
    yield Note("Emulated GitHub; a store that knows nothing yet, except where it says `again`.")


#: What may be asked for, where there is nothing to compare with.
_TARGETS = {"read again, unchanged": 1.0, "list 100 datasets": 1.0}


def _ours(hub: GitHub) -> dict[str, int]:
    document = descriptor(SMALL)
    opened: list[metastore.Store] = []

    def fresh() -> metastore.Store:
        opened.append(
            metastore.connect("github://physics", token=TOKEN, api_url=hub.url, author="Ann Lee", validation="off")
        )
        return opened[-1]

    def cost(call: Callable[[], object]) -> int:
        hub.forget()
        call()
        return len(hub.seen)

    found = {"create": cost(lambda: fresh().dataset_create("physics/a", document))}
    found["update"] = cost(lambda: fresh().dataset_update("physics/a", {**document, "version": "1.1"}))
    store = fresh()
    found["read"] = cost(lambda: store.dataset_read("physics/a"))
    store.dataset_read("physics/a")
    found["read again, unchanged"] = cost(lambda: store.dataset_read("physics/a"))
    found["update again"] = cost(lambda: store.dataset_update("physics/a", {**document, "version": "1.2"}))
    found["list revisions"] = cost(lambda: list(fresh().revision_list("physics/a")))
    found["tag"] = cost(lambda: fresh().tag_create("physics/a", "v1", description="First"))
    found["list tags"] = cost(lambda: list(fresh().tag_list("physics/a")))
    for number in range(99):
        store.dataset_create(f"physics/b{number}", {"name": "b"})
    found["list 100 datasets"] = cost(lambda: list(fresh().dataset_list()))
    for each in opened:
        each.close()
    return found


def _of_peer(folder: Path) -> dict[str, int]:
    """Count what metastore-lib asks; nothing where it cannot be had."""
    if peer.set_up():
        return {}
    with GitHub(folder) as hub:
        hub.default_branch = "master"
        command = [peer.VENV / "bin" / "python", "-W", "ignore", _HERE / "hosts_server.py", hub.url, TOKEN]
        process = subprocess.Popen(
            [*command, json.dumps(descriptor(SMALL))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin
        assert process.stdout
        found = {}
        for verb in ("create", "update", "read", "list revisions", "tag", "list tags"):
            hub.forget()
            print(verb, file=process.stdin, flush=True)
            if process.stdout.readline() == "done\n":
                found[verb] = len(hub.seen)
        process.communicate()
    return found
