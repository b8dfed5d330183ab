"""Measurements that need separate processes: starting up, writing side by side, counting fsyncs."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import metastore
from benchmarks.byhand import ByHand
from benchmarks.documents import SMALL, descriptor, label
from benchmarks.table import Note, Row, say

_AUTHOR = "Ann Lee <ann@example.org>"
_WRITERS, _TURNS = 8, 2
_IMPORT = "import time; start = time.perf_counter(); import metastore; print(time.perf_counter() - start)"
_FOREIGN = "import sys; import metastore; print(*(m for m in sys.modules if m.split('.')[0] in %r))"
_PACKAGES = {"pygit2", "_pygit2", "cffi", "jsonschema_rs", "blinker", "click", "flask"}


def starting(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Import the package, and start the command beside the start of Git, of Python, and of the libraries it needs."""
    say("starting")
    times = [float(_python("-c", _IMPORT)) for _ in range(5 if quick else 15)]
    yield Row("import metastore", statistics.median(times), target=0.06)
    foreign = _python("-c", _FOREIGN % _PACKAGES).split()
    yield Row("third-party modules that this loads", len(foreign), target=0, unit="modules")
    if find_spec("metastore.cli") is None:
        yield Note("metastore --help is left out: there is no metastore.cli yet.")
        return
    store = str(folder / "starting")
    with metastore.connect(store, author=_AUTHOR) as made:
        made.dataset_create("physics/cars", descriptor(SMALL))
    program = [sys.executable, "-c", "from metastore.cli import main; main()"]
    read = ["--store", store, "dataset", "read", "physics/cars"]
    commands = {"git": ["git", "--version"], "python": [sys.executable, "-c", "pass"]}
    commands |= {name: [sys.executable, "-c", f"import {name}"] for name in ("click", "pygit2")}
    commands |= {"version": [*program, "--version"], "read": [*program, *read], "help": [*program, "--help"]}
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(3 if quick else 15):
        for name, command in commands.items():
            took[name].append(
                _seconds(lambda command=command: subprocess.run(command, check=True, capture_output=True))
            )  # type: ignore[misc]
    git, python, click, pygit2, version, reading, helping = (statistics.median(took[name]) for name in commands)
    yield Row("git --version", git, "python -c pass", python)
    yield Row("import click, which every command needs", click, "python -c pass", python)
    yield Row("import pygit2, which writes need, and reads of many packed objects", pygit2, "python -c pass", python)
    for what, time_taken, most in (
        ("metastore --version", version, 0.1),
        ("metastore dataset read", reading, 0.15),
        ("metastore --help", helping, 0.3),
    ):
        yield Row(what, time_taken, target=most)
        yield Row(what, time_taken, "python -c pass", python)


def side_by_side(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Eight processes that write, fsync on, on one dataset and on one each."""
    seconds = 0.8 if quick else 2.5
    for what, writers, datasets in (
        ("one writer", 1, 1),
        ("8 writers, a dataset each", _WRITERS, _WRITERS),
        ("8 writers, one dataset", _WRITERS, 1),
    ):
        say(what)
        place = Path(tempfile.mkdtemp(dir=folder))
        with metastore.connect(place / "ours", author=_AUTHOR) as store:
            by_hand = ByHand(place / "hand", sync=True)
            for number in range(datasets):
                store.dataset_create(f"owner/d{number}", descriptor(SMALL))
                by_hand.create(f"d{number}", descriptor(SMALL))
        ours = theirs = 0.0
        for _ in range(_TURNS):
            ours += rate(_write, str(place / "ours"), writers, datasets, seconds) / _TURNS
            theirs += rate(_write_by_hand, str(place / "hand"), writers, datasets, seconds) / _TURNS
        yield Row(
            f"{what}, {label(SMALL)}", ours, "pygit2 by hand, flock", theirs, unit="revisions/s", more_is_better=True
        )
    yield Note("Writers without `expected` compute again when they lose a race; by hand, the last one wins.")


def rate(write: Callable[..., None], root: str, writers: int, datasets: int, seconds: float) -> float:
    """Return how much a second all writers made together; each waits at `begin` before the first and after the last."""
    context = multiprocessing.get_context("spawn")
    made, begin = context.Value("i", 0), context.Barrier(writers + 1)
    processes = [
        context.Process(target=write, args=(root, f"d{number % datasets}", number, seconds, begin, made))
        for number in range(writers)
    ]
    for process in processes:
        process.start()
    begin.wait()
    start = time.perf_counter()
    begin.wait()
    took = time.perf_counter() - start
    for process in processes:
        process.join()
    return float(made.value) / took


def _write(root: str, name: str, writer: int, seconds: float, begin: Any, made: Any) -> None:
    with metastore.connect(root, author=_AUTHOR) as store:
        _write_on(lambda document: store.dataset_update(f"owner/{name}", document), writer, seconds, begin, made)


def _write_by_hand(root: str, name: str, writer: int, seconds: float, begin: Any, made: Any) -> None:
    by_hand = ByHand(Path(root), sync=True)
    _write_on(lambda document: by_hand.update_locked(name, document), writer, seconds, begin, made)


def _write_on(update: Callable[[Any], object], writer: int, seconds: float, begin: Any, made: Any) -> None:
    document, count = descriptor(SMALL), 0
    update({**document, "version": f"{writer}"})
    begin.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        count += 1
        update({**document, "version": f"{writer}.{count}"})
    with made.get_lock():
        made.value += count
    begin.wait()


def syncs(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Count the calls of fsync on both sides, with strace."""
    if shutil.which("strace") is None:
        yield Note("fsyncs are not counted: there is no strace.")
        return
    say("counting fsyncs")
    try:
        for verb in ("create", "update"):
            ours, theirs = (
                (_count_syncs(folder, side, verb, 6) - _count_syncs(folder, side, verb, 1)) / 5
                for side in ("ours", "hand")
            )
            yield Row(f"fsyncs of one {verb}", ours, "pygit2 by hand", theirs, unit="calls")
    except (subprocess.CalledProcessError, OSError) as error:
        yield Note(f"fsyncs are not counted: strace does not work here ({error}).")


def _count_syncs(folder: Path, side: str, verb: str, often: int) -> int:
    place = tempfile.mkdtemp(dir=folder)
    trace = f"{place}/trace"
    command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", trace, sys.executable]
    arguments = ["-m", "benchmarks.processes", side, verb, str(often), f"{place}/root"]
    subprocess.run([*command, *arguments], check=True, capture_output=True, cwd=Path(__file__).parent.parent)
    return len(re.findall(r"\b(?:fsync|fdatasync|sync_file_range)\(", Path(trace).read_text()))


def _do(side: str, verb: str, often: int, root: Path) -> None:
    """Run by strace: create datasets, or update one."""
    document = descriptor(SMALL)
    if side == "ours":
        store = metastore.connect(root, author=_AUTHOR)
        create, update = store.dataset_create, store.dataset_update
    else:
        create = update = lambda name, value: None  # type: ignore[assignment, misc]
        by_hand = ByHand(root, sync=True)
        create = lambda name, value: by_hand.create(name.partition("/")[2], value)  # type: ignore[assignment, misc] # noqa: E731
        update = lambda name, value: by_hand.update(name.partition("/")[2], value)  # type: ignore[assignment, misc] # noqa: E731
    create("owner/d", document)
    for number in range(often):
        if verb == "create":
            create(f"owner/d{number}", document)
        else:
            update("owner/d", {**document, "version": f"1.{number}"})


def _python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    _do(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
