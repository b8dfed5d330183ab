"""Writers behind pgbouncer while it is killed and started again: in `make soak`, which installs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

import metastore
from metastore.errors import MetastoreError, StorageBusy, StorageUnavailable

from .bundle.postgres_server import migrated_database
from .conftest import ANN
from .waiting import free_port, until

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs pgbouncer: apt-get install pgbouncer"),
]
_SETTINGS = """[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 3
"""
#: It refuses to run as root.
_AS_USER = [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


class Pooler:
    """A pgbouncer in front of a server."""

    def __init__(self, folder: Path, server: str, mode: str) -> None:
        self.port = free_port()
        self._settings = folder / "pgbouncer.ini"
        self._settings.write_text(_SETTINGS.format(server=server, port=self.port, mode=mode))
        self.start()

    def start(self) -> None:
        command = [*_AS_USER, shutil.which("pgbouncer") or "", "/dev/stdin"]
        with self._settings.open() as settings:  # the other user may not be able to read the folder
            self._running = subprocess.Popen(command, stdin=settings, stderr=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self) -> bool:
        assert self._running.poll() is None, "pgbouncer does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()


@pytest.fixture
def dsn() -> Iterator[str]:
    with migrated_database() as made:
        yield made


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler_that_is_killed_under_load_no_change_is_lost_or_made_twice(
    mode: str, dsn: str, tmp_path: Path
) -> None:
    parts = conninfo_to_dict(dsn)
    with metastore.connect(_url(parts, parts["port"]), author=ANN, validation="off") as direct:
        for number in range(4):
            direct.dataset_create(f"a/d{number}", {"n": 0})
        pooler = Pooler(tmp_path, str(parts["port"]), mode)
        store = metastore.connect(_url(parts, pooler.port), author=ANN, validation="off", pool_size=6, durable="off")
        made: list[list[int]] = [[] for _ in range(4)]
        errors: list[MetastoreError] = []
        over = threading.Event()

        def write(writer: int) -> None:
            number = 0
            while not over.is_set():
                number += 1
                try:
                    store.dataset_patch(f"a/d{writer}", {"n": number})
                    made[writer].append(number)
                except MetastoreError as error:
                    errors.append(error)
                    over.wait(0.01)

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in writers:
            thread.start()
        for _ in range(4):
            before = [len(each) for each in made]
            until(lambda before=before: all(len(now) > old + 5 for now, old in zip(made, before, strict=True)), 120)
            pooler.kill()
            pooler.start()
        over.set()
        for thread in writers:
            thread.join()
        store.close()
        pooler.kill()
        for writer, acknowledged in enumerate(made):
            name = f"a/d{writer}"
            there = [direct.dataset_read(name, each.id).descriptor["n"] for each in direct.revision_list(name)]
            assert len(there) == len(set(there))
            assert set(acknowledged) <= set(there)
        assert list(direct.verify()) == []
    assert {type(error) for error in errors} <= {StorageUnavailable, StorageBusy, metastore.OutcomeUnknown}
    if mode == "transaction":
        assert any("has to keep sessions" in str(error) for error in errors)


def _url(parts: dict[str, object], port: object) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/{parts['dbname']}"
