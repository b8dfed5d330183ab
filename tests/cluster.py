"""A cluster of three machines on loopback addresses: on each of them etcd, Patroni and PostgreSQL.

`make cluster` installs etcd from Debian and Patroni from PyPI. Where they are missing, `missing()` says what.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import yaml

from .bundle.postgres_server import programs
from .waiting import children, until

_HERE = Path(__file__).parent.parent
_VENV = _HERE / ".venv-cluster"
_PATH = f"{_VENV}/bin:{_VENV}/usr/bin:{os.environ['PATH']}"
CONFIGURATION = _HERE / "examples" / "deploy" / "patroni.yml"
MACHINES = (1, 2, 3)
#: How long something may take that a loaded machine does slowly, in seconds.
_LONGEST = 300.0
#: PostgreSQL refuses to run as root.
_AS_USER = [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def missing() -> str | None:
    """Return what a cluster needs and this machine lacks, or None."""
    for program in ("etcd", "patroni"):
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is missing: make cluster"
    try:
        programs()
        subprocess.run([*_AS_USER, _VENV / "bin" / "patroni", "--version"], check=True, capture_output=True)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return f"PostgreSQL is missing, or the user postgres cannot run Patroni from here: {error}"
    return None


def address(machine: int) -> str:
    """Return the address of a machine."""
    return f"127.0.0.{machine}"


def _free_port() -> int:
    """Return a port that is free at all three addresses; see `waiting.free_port`."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for machine in MACHINES:
                stack.enter_context(socket.create_server((address(machine), port)))
            return port


class Cluster:
    """Three machines, 1 to 3.

    Args:
        folder: Has the folders `disk1` to `disk3`; reachable by all users.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._rest, self._client, self._peer = (_free_port() for _ in range(4))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._passwords: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())["postgresql"]["authentication"]
        for machine in MACHINES:
            (folder / f"disk{machine}").chmod(0o755)
            (folder / f"socket{machine}").mkdir()
            (folder / f"p{machine}.yml").write_text(yaml.safe_dump(self._settings(machine)))
        if _AS_USER:
            subprocess.run(["chown", "-R", "postgres:", str(folder)], check=True)

    def start(self) -> None:
        """Start all that does not run, and wait until two replicas follow the primary, one of them synchronously."""
        try:
            until(self._is_whole, _LONGEST)
        except AssertionError as error:
            for log in sorted(self.folder.glob("*.log")):
                error.add_note(f"{log.name}: …{log.read_text(errors='replace')[-1000:]}")
            raise

    def stop(self) -> None:
        """Kill everything that was started here."""
        for machine in MACHINES:
            self.kill_patroni(machine)
            with contextlib.suppress(OSError, ValueError, IndexError):
                self.signal_postgres(machine, signal.SIGCONT)
                self.signal_postgres(machine, signal.SIGKILL)
            self.kill_etcd(machine)

    def kill_etcd(self, machine: int) -> None:
        self._kill(f"etcd{machine}")

    def kill_patroni(self, machine: int) -> None:
        self._kill(f"patroni{machine}")

    def signal_postgres(self, machine: int, wanted: signal.Signals) -> None:
        """Send a signal to a machine's PostgreSQL; SIGKILL only to the first process, whose death the others notice."""
        postmaster = int((self._data(machine) / "postmaster.pid").read_text().split()[0])
        for process in (postmaster, *([] if wanted == signal.SIGKILL else children(postmaster))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, wanted)

    def switch_over(self) -> None:
        """Ask Patroni to make another one the primary."""
        leader = self.leader()
        request = urllib.request.Request(
            f"http://{address(leader)}:{self._rest}/switchover",
            json.dumps({"leader": f"db{leader}"}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=_LONGEST).close()

    def leader(self) -> int:
        """Return which machine has the primary, as Patroni says; wait until one has."""
        leaders: list[int] = []
        until(lambda: leaders.extend(filter(self._leads, MACHINES)) or leaders, _LONGEST)
        return leaders[0]

    def dsn(self) -> str:
        """Return the address of the cluster as applications use it."""
        return self.dsn_of([(address(machine), self.port) for machine in MACHINES])

    def dsn_of(self, hosts: Iterable[tuple[str, int]]) -> str:
        """Return the address of the cluster for applications that reach it at other addresses."""
        names = ",".join(f"{host}:{port}" for host, port in hosts)
        return f"postgresql://postgres:{self._passwords['superuser']['password']}@{names}/postgres"

    def _data(self, machine: int) -> Path:
        return self.folder / f"disk{machine}" / "data"

    def _leads(self, machine: int) -> bool:
        try:
            urllib.request.urlopen(f"http://{address(machine)}:{self._rest}/primary", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _start_all(self) -> None:
        """Start all that does not run, or that ended, such as because another program took its port meanwhile."""
        for machine in MACHINES:
            self._start_etcd(machine)
        for machine in MACHINES:
            self._start(f"patroni{machine}", "patroni", f"p{machine}.yml")

    def _is_whole(self) -> bool:
        self._start_all()
        query = b"SELECT count(*), count(*) FILTER (WHERE sync_state = 'sync') FROM pg_stat_replication"
        dsn = f"{self.dsn()}?target_session_attrs=read-write&connect_timeout=5"
        try:
            with psycopg.connect(dsn) as connection:
                return connection.execute(query).fetchone() == (2, 1)
        except psycopg.Error:
            return False

    def _start_etcd(self, machine: int) -> None:
        peers = ",".join(f"e{each}=http://{address(each)}:{self._peer}" for each in MACHINES)
        client, peer = f"http://{address(machine)}:{self._client}", f"http://{address(machine)}:{self._peer}"
        self._start(
            f"etcd{machine}",
            *("etcd", "--name", f"e{machine}", "--data-dir", f"etcd{machine}", "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", peers, "--initial-cluster-state", "new", "--initial-cluster-token", "metastore"),
            # All three are on one busy machine.
            *("--heartbeat-interval", "500", "--election-timeout", "5000", "--unsafe-no-fsync"),
        )

    def _start(self, name: str, *command: str) -> None:
        if (running := self._running.get(name)) and running.poll() is None:
            return
        environment = {"PATH": _PATH, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*_AS_USER, *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _kill(self, name: str) -> None:
        if running := self._running.pop(name, None):
            running.kill()
            running.wait()

    def _settings(self, machine: int) -> dict[str, Any]:
        """Return the configuration that we ship, with what is different here: addresses, folders, and no TLS."""
        settings: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
        settings["name"] = f"db{machine}"
        rest, postgres = f"{address(machine)}:{self._rest}", f"{address(machine)}:{self.port}"
        settings["restapi"] = {"listen": rest, "connect_address": rest}
        settings["etcd3"]["hosts"] = [f"{address(each)}:{self._client}" for each in MACHINES]
        settings["postgresql"] |= {
            "listen": postgres,
            "connect_address": postgres,
            "data_dir": str(self._data(machine)),
            "bin_dir": str(programs()),
            "pgpass": str(self.folder / f"pgpass{machine}"),
            "parameters": {
                "unix_socket_directories": str(self.folder / f"socket{machine}"),
                "shared_buffers": "32MB",
                "max_wal_size": "64MB",
            },
            "pg_hba": [
                "local all all trust",
                "host all all 127.0.0.0/8 scram-sha-256",
                "host replication replicator 127.0.0.0/8 scram-sha-256",
            ],
        }
        return settings
