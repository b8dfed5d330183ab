"""The service under load, beside an empty Flask route under plain Gunicorn, in the same run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import metastore
from benchmarks.documents import sized
from benchmarks.table import Note, Row, say

_WORKERS, _THREADS, _CONNECTIONS = 2, 128, 8
_BIN = Path(sys.executable).parent
_SIZES = {"small": 5_000, "large": 300_000}


def rows(folder: Path, *, quick: bool) -> Iterator[Row | Note]:
    """Measure requests a second, in turn."""
    if shutil.which("wrk") is None:
        yield Note("The service is left out: wrk is not installed.")
        return
    say("the service")
    store = folder / "served"
    with metastore.connect(store, author="Ann Lee <ann@example.org>", sync=False) as made:
        for name, size in _SIZES.items():
            made.dataset_create(f"bench/{name}", sized(size))
        known = made.revision_read("bench/small").id
    with ExitStack() as stack:
        (ours, our_id), (empty, empty_id) = (
            stack.enter_context(_served(each, folder)) for each in (_ours(store), _EMPTY)
        )
        datasets = f"{ours}/api/v1/datasets/bench"
        asked = {
            "empty": (empty_id, [f"{empty}/"]),
            "bare": (empty_id, [f"{empty}/large"]),
            "health": (our_id, [f"{ours}/healthz"]),
            "small": (our_id, [f"{datasets}/small"]),
            "large": (our_id, [f"{datasets}/large"]),
            "known": (our_id, [f"{datasets}/small", "-H", f'If-None-Match: "{known}"']),
        }
        taken = _in_turn(asked, rounds=3 if quick else 7, seconds=1 if quick else 3)
    for what, name, beside, target in (
        ("GET /healthz", "health", "empty", None),
        ("GET of 5 kB", "small", "empty", 0.7),
        ("GET of 300 kB", "large", "empty", 0.6),
        ("GET of 300 kB", "large", "bare", None),
        ("GET answered 304", "known", "empty", 0.6),
    ):
        against = {"empty": "empty route", "bare": "bare route of 300 kB"}[beside]
        (rate, cpu), (other_rate, other_cpu) = taken[name], taken[beside]
        yield Row(what, rate, against, other_rate, target, "req/s", more_is_better=True)
        yield Row(f"{what}, CPU", cpu, against, other_cpu, None, "µs")
    yield Note(
        f"wrk with {_CONNECTIONS} connections, and servers of {_WORKERS} processes with {_THREADS} threads each; the "
        "empty route writes no log, and ours its access log to a file."
    )


def _ours(store: Path) -> list[str]:
    return [f"{_BIN}/metastore", "serve", "--store", str(store), "--workers", str(_WORKERS), "--threads", str(_THREADS)]


_EMPTY = [
    *(f"{_BIN}/gunicorn", "benchmarks.empty:app", "--log-level", "warning", "--keep-alive", "75"),
    *("--worker-class", "gthread", "--workers", str(_WORKERS), "--threads", str(_THREADS)),
]


@contextmanager
def _served(command: Sequence[str], folder: Path) -> Iterator[tuple[str, int]]:
    """Run a server; yields its address and the id of its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--port", str(port)] if "serve" in command else ["--bind", f"127.0.0.1:{port}"]
    with (folder / f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *where], stdout=log, stderr=log, cwd=Path(__file__).parent.parent, env=_environment()
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/", process)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("METASTORE_")}


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"the server at {address} does not come up")


def _in_turn(asked: dict[str, tuple[int, list[str]]], *, rounds: int, seconds: int) -> dict[str, tuple[float, float]]:
    """Return the medians of requests a second, and of microseconds of CPU a request; the first round is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for _ in range(rounds + 1):
        for name, (server, what) in asked.items():
            taken[name].append(_one(server, what, seconds))
    return {name: _medians(each[1:]) for name, each in taken.items()}


def _medians(taken: list[tuple[float, float]]) -> tuple[float, float]:
    rates, cpu = zip(*taken, strict=True)
    return statistics.median(rates), statistics.median(cpu)


def _one(server: int, what: list[str], seconds: int) -> tuple[float, float]:
    command = ["wrk", "--threads", "1", "--connections", str(_CONNECTIONS), "--duration", f"{seconds}s", *what]
    before = _cpu(server)
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk saw errors:\n{said}")
    answered = int(re.findall(r"(\d+) requests in", said)[0])
    return float(re.findall(r"Requests/sec:\s+([0-9.]+)", said)[0]), (_cpu(server) - before) / answered * 1e6


def _cpu(server: int) -> float:
    """Return for how many seconds the processes of a server have computed (utime and stime, proc(5))."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")
