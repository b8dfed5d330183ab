"""A cluster of PostgreSQL under writers while machines and programs die: no acknowledged change is lost.

In `make soak` alone, since each event takes a minute or two. `test_postgres_replicas.py` has a split of two servers.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

import metastore
from metastore import Outcome, bundle
from metastore.auth.tokens import issue
from metastore.bundle import BundleRegistry, Groups
from metastore.errors import MetastoreError, OutcomeUnknown, StorageUnavailable
from metastore.postgres.migrate import migrate
from metastore.store.base import Store

from .bundle.conftest import GROUPS, numi
from .cluster import MACHINES, Cluster, address, missing
from .conftest import ANN
from .harness.postgres_proxy import Proxy
from .processes import SOAK
from .serving import served
from .waiting import until

LACKING = missing() if SOAK else "takes minutes"
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.timeout(3000),
]
#: How many changes every writer has acknowledged before an event, and after it.
_ENOUGH = 3
#: How long something may take that a loaded machine does slowly, in seconds.
LONGEST = 300.0
#: What only a write holds: the commit of a dataset, and the state of a bundle.
OF_DATASET, OF_BUNDLE = b" +0000\n\n", b'"event"'  # bytes are sent as they are
SECRET = "of-all-services-of-the-cluster-in-the-test"


@dataclass
class Writer:
    """Somebody who changes one dataset or bundle again and again, and keeps what was said of each change.

    Attributes:
        write: Makes the change of a number.
        settle: Finds out about an unknown outcome; None if it cannot.
        read: Returns the numbers of all changes that are there, the oldest first.
        made: The numbers that were acknowledged, or settled to have been made.
        refused: Those that were refused, or settled not to have been made.
        doubtful: Those that stayed unknown.
        pause: The longest time between two acknowledged changes, in seconds.
    """

    write: Callable[[int], object]
    settle: Callable[[OutcomeUnknown], Outcome] | None
    read: Callable[[], list[int]]
    made: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)
    settled: int = 0
    pause: float = 0.0

    def run(self, over: threading.Event) -> None:
        last = time.monotonic()
        for number in itertools.count(1):
            if over.is_set():
                return
            try:
                self.write(number)
            except OutcomeUnknown as error:
                self._ask(number, error, over)
                continue
            except MetastoreError:
                self.refused.append(number)
                over.wait(0.1)
                continue
            self.made.append(number)
            now = time.monotonic()
            self.pause, last = max(self.pause, now - last), now

    def _ask(self, number: int, error: OutcomeUnknown, over: threading.Event) -> None:
        outcome = Outcome.UNKNOWN
        while self.settle and outcome == Outcome.UNKNOWN and not over.wait(0.1):
            outcome = self.settle(error)
        self.settled += outcome != Outcome.UNKNOWN
        lists = {Outcome.LANDED: self.made, Outcome.NOT_LANDED: self.refused, Outcome.UNKNOWN: self.doubtful}
        lists[outcome].append(number)

    def check(self) -> int:
        """Compare what was said with what is there; return how many acknowledged changes are lost."""
        there = self.read()
        assert len(set(there)) == len(there), "a change was made twice"
        assert not set(there) & set(self.refused), "a change was made that was said not to be"
        assert set(there) <= {*self.made, *self.doubtful}
        return len(set(self.made) - set(there))


def of_dataset(store: Store, name: str, reading: Store) -> Writer:
    """Return a writer of a dataset, which reads it in the end with another store."""
    store.dataset_create(name, {"n": 0})

    def read() -> list[int]:
        revisions = list(reading.revision_list(name))[:-1]  # without the first one
        return [reading.dataset_read(name, each.id).descriptor["n"] for each in reversed(revisions)]

    settle = store.settle if isinstance(store, metastore.MetaStore) else None  # a service cannot rule out late requests
    return Writer(lambda number: store.dataset_patch(name, {"n": number}), settle, read)


def of_bundle(registry: BundleRegistry, name: str) -> Writer:
    registry.bundle_create(numi(name=name), user="ann")

    def write(number: int) -> None:
        registry.bundle_update(name, {"event": f"e,{number:x}"}, user="ann")

    def read() -> list[int]:
        entries = list(registry.bundle_log(name=name, limit=100_000))
        snapshots = [registry.bundle_snapshot(entry.id) for entry in reversed(entries)][1:]
        return [int(each.bundle.event[2:], 16) for each in snapshots]

    return Writer(write, registry.settle, read)


class Run:
    """A cluster with writers and a reader at work."""

    def __init__(self, cluster: Cluster, proxies: list[Proxy], writers: list[Writer], reader: Store) -> None:
        self.cluster, self.proxies, self.writers = cluster, proxies, writers
        self.reads = self.failed_reads = 0
        self._over = threading.Event()
        self._reader = reader
        self._threads = [threading.Thread(target=each.run, args=(self._over,)) for each in writers]
        self._threads.append(threading.Thread(target=self._read))
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                self._reader.dataset_read("lib/d0")
                self.reads += 1
            except MetastoreError:
                self.failed_reads += 1
            self._over.wait(0.02)

    def until_all_write(self) -> None:
        """Wait until each writer has made some more changes."""
        before = [len(each.made) for each in self.writers]
        until(
            lambda: all(len(each.made) >= old + _ENOUGH for each, old in zip(self.writers, before, strict=True)),
            LONGEST,
        )

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def plain_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    yield


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Make a folder on a disk of its own, which is soon full."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def cluster_of(disk: Callable[[Path], AbstractContextManager[None]]) -> Iterator[Cluster]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="metastore-cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        for number in (1, 2, 3):
            stack.enter_context(disk(folder / f"disk{number}"))
        cluster = Cluster(folder)
        stack.callback(cluster.stop)
        cluster.start()
        migrate(cluster.dsn())
        yield cluster


class Balancer(socketserver.ThreadingTCPServer):
    """One address for several ports: connections are forwarded to each of them in turn."""

    daemon_threads = True

    def __init__(self, *ports: int) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.turn = itertools.cycle(ports)


class Forward(socketserver.BaseRequestHandler):
    """A connection that is forwarded."""

    def handle(self) -> None:
        assert isinstance(self.server, Balancer)
        with socket.create_connection(("127.0.0.1", next(self.server.turn))) as there:
            back = threading.Thread(target=pump, args=(there, self.request), daemon=True)
            back.start()
            pump(self.request, there)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def one_address(*ports: int) -> Iterator[int]:
    with Balancer(*ports) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def at_work(cluster: Cluster, folder: Path, *, with_proxies: bool) -> Iterator[Run]:
    """Let eight writers work: on four datasets and two bundles through the library, on two datasets through services.

    Args:
        cluster: All use it.
        folder: For what the services write.
        with_proxies: Whether there is a proxy in front of each machine.
    """
    with ExitStack() as stack:
        proxies = [Proxy(address(machine), cluster.port) for machine in MACHINES if with_proxies]
        for proxy in proxies:
            stack.callback(proxy.close)
        dsn = cluster.dsn_of(("127.0.0.1", proxy.port) for proxy in proxies) if proxies else cluster.dsn()
        store = stack.enter_context(metastore.connect(dsn, author=ANN, durable="required", validation="off"))
        registry = stack.enter_context(bundle.connect(dsn, groups=Groups.parse(GROUPS), durable="required"))
        standby = f"{dsn}?target_session_attrs=prefer-standby"
        until(lambda: _has_tables(standby))
        reader = stack.enter_context(metastore.connect(standby))
        ports = []
        for number in range(2):
            (folder / f"service{number}").mkdir()
            options = ("--workers", "1", "--threads", "16", "--store", dsn)
            service = served(
                folder / f"service{number}", *options, METASTORE_JWT_SECRET=SECRET, METASTORE_VALIDATION="off"
            )
            ports.append(stack.enter_context(service).port)
        port = stack.enter_context(one_address(*ports))
        token = issue(SECRET, user="ann", scopes=["ds:*:*"], expires=timedelta(hours=9), now=time.time(), name="Ann")
        remote = stack.enter_context(metastore.connect(f"http://127.0.0.1:{port}", token=token, timeout=120))
        writers = [of_dataset(store, f"lib/d{number}", store) for number in range(4)]
        writers += [of_bundle(registry, f"B{number}") for number in range(2)]
        writers += [of_dataset(remote, f"service/d{number}", store) for number in range(2)]
        until(lambda: _is_there(reader))
        run = Run(cluster, proxies, writers, reader)
        try:
            yield run
        finally:
            run.end()


def _has_tables(url: str) -> bool:
    """Tell whether a standby has the tables already: its server may follow the primary by some seconds."""
    with contextlib.suppress(StorageUnavailable), metastore.connect(url):
        return True
    return False


def _is_there(reader: Store) -> bool:
    with contextlib.suppress(MetastoreError):
        return reader.dataset_read("lib/d0").descriptor == {"n": 0}
    return False


FULL_DISK, CUTS = "a full disk", "connections cut at a write"


def _kill_server(run: Run) -> None:
    run.cluster.signal_postgres(run.cluster.leader(), signal.SIGKILL)


def _kill_machine(run: Run) -> None:
    leader = run.cluster.leader()
    run.cluster.kill_patroni(leader)
    run.cluster.signal_postgres(leader, signal.SIGKILL)


def _kill_patroni(run: Run) -> None:
    leader = run.cluster.leader()
    run.cluster.kill_patroni(leader)
    until(lambda: run.cluster.leader() != leader, LONGEST)


def _kill_one_etcd(run: Run) -> None:
    run.cluster.kill_etcd(1)


def _kill_two_etcds(run: Run) -> None:
    run.cluster.kill_etcd(1)
    run.cluster.kill_etcd(2)
    time.sleep(30)  # Patroni gives the primary up within its `ttl`, unless all others answer


def _switch_over(run: Run) -> None:
    run.cluster.switch_over()


def _stop_server(run: Run) -> None:
    leader = run.cluster.leader()
    run.cluster.signal_postgres(leader, signal.SIGSTOP)
    time.sleep(60)
    run.cluster.signal_postgres(leader, signal.SIGCONT)


def _fill_disk(run: Run) -> None:
    disk = run.cluster.folder / f"disk{run.cluster.leader()}"
    with (disk / "filling").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 1_000_000)
    time.sleep(20)
    (disk / "filling").unlink()


def _cut(cut: str) -> Callable[[Run], None]:
    """Return an event that cuts connections at writes of datasets and bundles, twenty times each."""

    def act(run: Run) -> None:
        for marker in (OF_DATASET, OF_BUNDLE) * 20:
            before = sum(proxy.cuts for proxy in run.proxies)
            for proxy in run.proxies:
                proxy.marker, proxy.cut = marker, cut
            until(lambda before=before: sum(proxy.cuts for proxy in run.proxies) > before)  # type: ignore[misc]
            if cut == "late":
                run.until_all_write()
                next(proxy for proxy in run.proxies if not proxy.cut).deliver()

    return act


EVENTS = {
    "kill -9 of PostgreSQL": _kill_server,
    "kill -9 of Patroni and PostgreSQL": _kill_machine,
    "kill -9 of Patroni alone": _kill_patroni,
    "kill -9 of one etcd of three": _kill_one_etcd,
    "kill -9 of two etcds of three": _kill_two_etcds,
    "switchover": _switch_over,
    "SIGSTOP of PostgreSQL for a minute": _stop_server,
    FULL_DISK: _fill_disk,
    f"{CUTS}, before it": _cut("before"),
    f"{CUTS}, after it": _cut("after"),
    f"{CUTS}, and it arrives late": _cut("late"),
}


def counts(run: Run) -> dict[str, float]:
    """Compare what the writers were told with what is there, and return what was counted."""
    return {
        "acknowledged": sum(len(each.made) for each in run.writers),
        "lost": sum(each.check() for each in run.writers),
        "settled": sum(each.settled for each in run.writers),
        "unknown": sum(len(each.doubtful) for each in run.writers),
        "refused": sum(len(each.refused) for each in run.writers),
        "seconds without a write": round(max(each.pause for each in run.writers), 1),
        "reads from replicas": run.reads,
        "refused reads": run.failed_reads,
    }


@pytest.mark.parametrize("event", EVENTS)
def test_no_acknowledged_change_is_lost_and_each_unknown_outcome_settled(
    event: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    with (
        cluster_of(small_disk if event == FULL_DISK else plain_folder) as cluster,
        at_work(cluster, tmp_path, with_proxies=event.startswith(CUTS)) as run,
    ):
        run.until_all_write()
        EVENTS[event](run)
        run.until_all_write()
        cluster.start()
        run.until_all_write()
        run.end()
        found = counts(run)
    counted(**found)
    assert found["lost"] == 0
    assert found["unknown"] == 0
