"""metastore-lib 0.2.0 and its filesystem backend, in an environment and a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import metastore
from benchmarks.documents import SMALL, descriptor, label
from benchmarks.table import Note, Row, say

_HERE = Path(__file__).parent
VENV = _HERE / ".venv-peer"
_PACKAGES = ("metastore-lib==0.2.0", "setuptools<81")  # it imports pkg_resources, which setuptools 81 removed
_REVISIONS = 1000


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Measure the same calls on both, in turn."""
    if problem := set_up():
        yield Note(f"metastore-lib is left out: it could not be installed ({problem}).")
        return
    say("metastore-lib")
    (folder / "peer").mkdir()
    rounds = 5 if quick else 20
    with _Peer(folder / "peer", descriptor(SMALL)) as peer:
        for sync in (True, False):
            with metastore.connect(folder / f"ours-{sync}", author="Ann Lee <ann@example.org>", sync=sync) as store:
                yield from _compare(store, peer, f"{'sync' if sync else 'fast'}", rounds, sync=sync)
    yield Note(
        "metastore-lib never calls fsync, and checks nothing; it rewrites and reads its whole list of revisions."
    )


def _compare(store: metastore.Store, peer: _Peer, prefix: str, rounds: int, *, sync: bool) -> Iterator[Row]:
    document, ending = descriptor(SMALL), f"{label(SMALL)}, fsync {'on' if sync else 'off'}"
    first = f"peer/{prefix}0"

    def row(what: str, verb: str, ours: Callable[[int], object], name: Callable[[int], str], often: int = 1) -> Row:
        mine, theirs = [], []
        for number in range(rounds + 1):
            mine.append(_seconds(lambda number=number: ours(number), often))  # type: ignore[misc]
            theirs.append(peer(verb, name(number), often))
        return Row(what, statistics.median(mine[1:]), "metastore-lib", statistics.median(theirs[1:]))

    yield row(
        f"create {ending}",
        "create",
        lambda n: store.dataset_create(f"peer/{prefix}{n}", document),
        lambda n: f"peer/{prefix}{n}",
    )
    reading: list[tuple[str, str, Callable[[int], object]]] = [
        ("read newest", "read", lambda n: store.dataset_read(first)),
        ("list all revisions", "list", lambda n: list(store.revision_list(first))),
    ]
    made = 1
    for revisions in (1, _REVISIONS) if not sync else (1,):
        peer("update", first, max(revisions - made, 1))
        for number in range(made, revisions):
            store.dataset_update(first, {**document, "version": f"0.{number}"})
        made = revisions
        for verb, name, call in reading if not sync else ():
            yield row(f"{verb}, {revisions:,} revision{'s' * (revisions > 1)}", name, call, lambda n: first, often=20)
        yield row(
            f"update {ending}, {revisions:,} revision{'s' * (revisions > 1)}",
            "update",
            lambda n, made=made: store.dataset_update(first, {**document, "version": f"{made}.{n}"}),
            lambda n: first,
        )


def _seconds(call: Callable[[], object], often: int) -> float:
    import time

    start = time.perf_counter()
    for _ in range(often):
        call()
    return (time.perf_counter() - start) / often


def set_up() -> str:
    """Make the environment, once. Returns what went wrong."""
    ready = VENV / "ready"
    if ready.exists():
        return ""
    say("making an environment for metastore-lib")
    venv.create(VENV, with_pip=True, clear=True)
    command = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
    ready.touch()
    return ""


class _Peer:
    """The other process; a call returns the seconds that a call took there."""

    def __init__(self, folder: Path, document: Any) -> None:
        command = [VENV / "bin" / "python", "-W", "ignore", _HERE / "peer_server.py", folder, json.dumps(document)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, verb: str, package: str, often: int = 1) -> float:
        assert self._process.stdin
        assert self._process.stdout
        print(verb, package, often, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()


if __name__ == "__main__":
    sys.exit(set_up())
