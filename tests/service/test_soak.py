"""Ten minutes of mixed reads and writes: no error, no growth. `METASTORE_SOAK_SECONDS` says how long."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from ..processes import SOAK
from ..serving import Served, served
from ..waiting import until

SECONDS = float(os.environ.get("METASTORE_SOAK_SECONDS", "600"))
CLIENTS, DATASETS = 8, 40
#: So large that what the service keeps in memory is full long before it is half time.
LARGEST = 80_000


class Client(threading.Thread):
    """Reads and writes on one connection until it is told to stop."""

    def __init__(self, service: Served, seed: int, stop: threading.Event) -> None:
        super().__init__()
        self._service, self._random, self._stop_asked = service, random.Random(seed), stop
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        self.seen: Counter[tuple[str, int]] = Counter()
        self.times: list[float] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._one()
        except BaseException as error:
            self.failure = error
        finally:
            self._connection.close()

    def _one(self) -> None:
        path = f"/api/v1/datasets/soak/d{self._random.randrange(DATASETS)}"
        dice = self._random.random()
        if dice < 0.6:
            etag = self._ask("GET", path)
            if etag and dice < 0.2:
                self._ask("GET", path, {"If-None-Match": etag})
        elif dice < 0.7:
            self._ask("GET", "/api/v1/datasets?limit=20")
        elif dice < 0.75:
            self._ask("GET", f"{path}/revisions?limit=5")
        elif dice < 0.85:
            if etag := self._ask("GET", path):
                self._ask("PUT", path, {"If-Match": etag}, self._document())
        else:
            self._ask("PUT", path, {}, self._document())

    def _document(self) -> bytes:
        return json.dumps(
            {"name": "d", "n": self._random.random(), "text": "x" * self._random.randrange(LARGEST)}
        ).encode()

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> str:
        sent = {"Authorization": f"Bearer {self._service.token}", "Content-Type": "application/json", **(headers or {})}
        start = time.perf_counter()
        self._connection.request(method, path, body, sent)
        with self._connection.getresponse() as answer:
            answer.read()
        self.times.append(time.perf_counter() - start)
        self.seen[method, answer.status] += 1
        return answer.headers.get("ETag") or ""


def usage(service: Served) -> tuple[int, int]:
    """Return the memory in bytes, and how many files are open, of all processes that answer."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in service.workers())
    return pages * os.sysconf("SC_PAGESIZE"), sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in service.workers())


def wait(clients: list[Client], halves: int) -> None:
    """Wait for one half of the soak or for both: so many seconds, or, outside of it, so many answers."""
    if SOAK:
        time.sleep(SECONDS / 2)
    else:
        until(lambda: any(client.failure or len(client.times) >= halves * 20 for client in clients))


@pytest.mark.timeout(SECONDS * 2 + 300)
def test_mixed_reads_and_writes_without_error_or_growth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path, "--workers", "2", "--threads", "8") as service:
        for number in range(DATASETS):
            service.ask(f"/api/v1/datasets/soak/d{number}", "PUT", {"name": "d"})
        stop = threading.Event()
        clients = [Client(service, seed, stop) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            wait(clients, 1)
            workers, halfway = service.workers(), usage(service)
            wait(clients, 2)
            at_end = usage(service)
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert service.workers() == workers, "a worker died"
    assert not [client.failure for client in clients if client.failure]
    seen = sum((client.seen for client in clients), Counter[tuple[str, int]]())
    times = sorted(each for client in clients for each in client.times)
    with capsys.disabled():
        p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
        memory, files = (f"{before:,} -> {after:,}" for before, after in zip(halfway, at_end, strict=True))
        print(f"\n{len(times)} requests; half took {p50:.1f} ms, 99 % {p99:.1f} ms at most")
        print(f"answers {dict(seen)}; memory {memory} bytes; open files {files}")
    assert {status for _, status in seen} <= {200, 304, 412}
    if SOAK:  # in a short time it grows to what it keeps in any case
        assert at_end[0] < halfway[0] * 1.25 + 20_000_000
    assert at_end[1] < halfway[1] + 2 * DATASETS + 20  # handles of repositories that are kept open
    assert "error" not in service.log("err").lower()
