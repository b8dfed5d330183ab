"""A CKAN of its own, with PostgreSQL, Redis and a stand-in for Solr, all in one folder and gone at the end.

    python -m tests.ckan.portal --ckan .venv-ckan/bin -- .venv-ckan/bin/python -m pytest --ckan-ini {ini} …

runs a program with a freshly made portal; `{ini}`, `{url}` and `{folder}` are put in. Without a program the portal is
served with sample data, until it is interrupted.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psycopg

from metastore import ckan
from tests.bundle.postgres_server import new_server
from tests.ckan import solr
from tests.waiting import free_port

CATALOGUE = Path(__file__).parent.parent.parent / "examples" / "catalogue"
INI = """\
[DEFAULT]
debug = false
[app:main]
use = egg:ckan
SECRET_KEY = only-for-tests-and-trying-out
WTF_CSRF_SECRET_KEY = only-for-tests-and-trying-out
testing = {testing}
WTF_CSRF_ENABLED = {csrf}
faster_db_test_hacks = {testing}
ckan.site_id = default
ckan.site_url = http://127.0.0.1:{port}
ckan.site_title = MetaStore and CKAN
ckan.storage_path = {folder}/uploads
ckan.auth.create_unowned_dataset = true
ckan.auth.create_dataset_if_not_in_organization = true
sqlalchemy.url = {database}
solr_url = {solr}
ckan.redis.url = redis://127.0.0.1:{redis}/0
ckan.plugins = {plugins}
ckan.activity_streams_enabled = true
ckan.gravatar_default = disabled
{settings}
ckanext.metastore.on_failure = continue
[loggers]
keys = root, ckan, ckanext
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
[logger_ckan]
level = WARNING
handlers = console
qualname = ckan
propagate = 0
[logger_ckanext]
level = INFO
handlers = console
qualname = ckanext
propagate = 0
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(asctime)s %(levelname)-5.5s [%(name)s] %(message)s
"""


class Portal:
    """CKAN's configuration and what it needs, in a folder of its own.

    Args:
        programs: The `bin` folder of the environment that CKAN is installed in.
        testing: Whether CKAN's own test helpers use it.
        recording: What `ckanext.metastore.…` says; otherwise datasets are recorded in the folder's `store`.
        plugins: The plugins, as CKAN's configuration names them. CKAN's test helpers make the tables of CKAN alone, so
            `activity` is not for tests.
        settings: More settings of CKAN's.
        environment: More for the environment of CKAN's programs.
        dsn: A PostgreSQL server that has no database `ckan` yet; otherwise one is started.
    """

    def __init__(
        self,
        programs: Path,
        *,
        testing: bool,
        recording: Mapping[str, str] | None = None,
        plugins: str = "metastore activity",
        settings: Mapping[str, str] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
        dsn: str = "",
    ) -> None:
        self.programs = programs
        self._environment = {**os.environ, **environment}
        self.folder = Path(tempfile.mkdtemp(prefix="metastore-ckan-"))
        self.port, redis = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ini = self.folder / "ckan.ini"
        self.token = ""
        self._programs: list[subprocess.Popen[bytes]] = []
        self._redis = subprocess.Popen(
            ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.close)
        schema = next(programs.parent.glob("lib/python*/site-packages/ckan/config/solr/schema.xml"))
        # On a busy machine a call of a few milliseconds can take longer than the five seconds of the default.
        recording = recording or {"url": f"{self.folder}/store", "options": '{"sync": false}', "patience": "60"}
        named = {f"ckanext.metastore.{name}": value for name, value in recording.items()} | dict(settings)
        self.ini.write_text(
            INI.format(
                folder=self.folder,
                port=self.port,
                redis=redis,
                solr=solr.start(schema),
                testing=str(testing).lower(),
                csrf=str(not testing).lower(),
                settings="\n".join(f"{name} = {value}" for name, value in named.items()),
                database=new_database(dsn or new_server().dsn, "ckan"),
                plugins=plugins,
            )
        )
        self.ckan("db", "init")
        for plugin in {"metastore", "activity", "harvest"}.intersection(plugins.split()):
            self.ckan("db", "upgrade", "-p", plugin)

    def ckan(self, *arguments: str) -> str:
        """Run CKAN's command line, and return what it prints."""
        command = [str(self.programs / "ckan"), "-c", str(self.ini), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def serve(self, port: int | None = None, on_failure: str = "continue") -> subprocess.Popen[bytes]:
        """Start a worker, CKAN's own server, and wait until it answers.

        Args:
            port: For a second worker; the first one is at `url`.
            on_failure: What this worker does when MetaStore cannot record a change.
        """
        port = port or self.port
        ini = self.folder / f"ckan-{port}.ini"
        ini.write_text(self.ini.read_text().replace("on_failure = continue", f"on_failure = {on_failure}"))
        # Without threads, a connection on which nothing is sent keeps everybody waiting.
        command = [self.programs / "ckan", "-c", ini, "run", "--threaded", "--disable-reloader", "--port", str(port)]
        return self.serve_by(port, *command)

    def serve_by(self, port: int, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a web server at a port, and wait until it answers."""
        server = self.start(*command, log=self.log(port))
        for _ in range(1200):
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/3/action/status_show", timeout=60).raise_for_status()
                return server
            except httpx.TransportError:
                if server.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError(f"CKAN does not answer:\n{self.log(port).read_text()[-4000:]}")

    def start(self, *command: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a program that runs until it ends or the portal is closed."""
        with log.open("ab") as output:
            program = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._environment
            )
        self._programs.append(program)
        return program

    def start_job_worker(self) -> subprocess.Popen[bytes]:
        """Start CKAN's job worker, which writes to `jobs.log` in the folder."""
        return self.start(self.programs / "ckan", "-c", self.ini, "jobs", "worker", log=self.folder / "jobs.log")

    def log(self, port: int) -> Path:
        """Where a worker writes what it has to say."""
        return self.folder / f"ckan-{port}.log"

    def complaints(self) -> str:
        """Return the end of what the first worker says, without the requests that it logs."""
        lines = self.log(self.port).read_text().splitlines()
        return "\n".join([line for line in lines if "[werkzeug]" not in line][-60:])

    def user(self, name: str, fullname: str, *, sysadmin: bool = True) -> str:
        """Make a user, who may do everything, and return a token for the API; the password is `name-password`."""
        said = (f"email={name}@example.org", f"fullname={fullname}", f"password={name}-password")
        self.ckan("user", "add", name, *said)
        if sysadmin:
            self.ckan("sysadmin", "add", name)
        return self.ckan("user", "token", "add", name, "tests", "--quiet").strip()

    def act(self, token: str, action: str, **said: Any) -> Any:
        """Call an action over HTTP."""
        answer = httpx.post(
            f"{self.url}/api/3/action/{action}", json=said, headers={"Authorization": token}, timeout=120
        )
        if answer.status_code != 200:
            raise RuntimeError(f"{action}: {answer.status_code} {answer.text[:2000]}")
        return answer.json()["result"]

    def place(self, name: str) -> str:
        """Return where the store has a dataset: under its id in CKAN."""
        return f"ckan/{self.act(self.token, 'package_show', id=name)['id']}"

    def close(self) -> None:
        for program in self._programs:
            program.terminate()
            program.wait()
        self._redis.terminate()
        self._redis.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def away(portal: Portal, *, leaving_a_file: bool = True) -> Iterator[Path]:
    """Keep MetaStore from answering until the block ends.

    Args:
        portal: The portal that records in a folder.
        leaving_a_file: Whether a file is in the place of the folder; otherwise nothing is.
    """
    folder = portal.folder / "store"
    folder.rename(portal.folder / "away")
    if leaving_a_file:
        folder.write_text("")
    try:
        yield folder
    finally:
        folder.unlink(missing_ok=True)
        (portal.folder / "away").rename(folder)


def new_database(dsn: str, name: str) -> str:
    """Create an empty database on a server, and return its address."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'utf-8'")  # type: ignore[arg-type]
    return f"{dsn.removesuffix('/postgres')}/{name}"


def fill(portal: Portal) -> None:
    """Make Ann, with her token, an organisation and the sample datasets in a portal that is served."""
    portal.token = token = portal.user("ann", "Ann Lee")
    portal.act(token, "organization_create", name="examples", title="Examples")
    for path in sorted(CATALOGUE.glob("*/*/datapackage.json")):
        package = ckan.to_package(json.loads(path.read_bytes()))
        name = path.parent.name
        package |= {"name": name, "owner_org": "examples", "metastore_message": f"Import {name}"}
        portal.act(token, "package_create", **package)
    portal.act(token, "package_patch", id="datasets", title="Vega's datasets", metastore_message="Say whose they are")
    portal.act(token, "dataset_tag_create", id="datasets", tag="v1", description="As released")


def show(portal: Portal) -> int:
    """Serve a portal with sample data until it is interrupted."""
    server = portal.serve()
    print("Filling it with sample data …", flush=True)
    fill(portal)
    print(f"""
    CKAN          {portal.url}/    sign in as ann, password ann-password
    versions      {portal.url}/dataset/datasets/versions
    as Git        git clone {portal.folder}/store/{portal.place("datasets")}.git datasets
    CKAN's log    {portal.log(portal.port)}

    Ctrl-C ends it and removes everything.""")
    return server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckan", type=Path, default=Path(".venv-ckan/bin"), help="bin folder of CKAN's environment")
    parser.add_argument("--plugins", default="metastore", help="what CKAN loads for the program")
    parser.add_argument("program", nargs="*", help="with {ini}, {url} and {folder} put in")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end the servers then too
    try:
        return run(given.ckan.absolute(), given.plugins, given.program)
    except KeyboardInterrupt:
        if given.program:
            return 130
        print("Ended, and removed.")
        return 0  # as it was meant to


def run(programs: Path, plugins: str, program: list[str]) -> int:
    """Run a program with a portal, or without one serve the portal, and remove it afterwards."""
    if not program:
        print("Starting CKAN, with a PostgreSQL and a Redis of its own: about a minute …", flush=True)
    portal = Portal(programs, testing=True, plugins=plugins) if program else Portal(programs, testing=False)
    try:
        if not program:
            return show(portal)
        named = {"ini": portal.ini, "url": portal.url, "folder": portal.folder}
        return subprocess.run([part.format(**named) for part in program]).returncode
    finally:
        portal.close()


if __name__ == "__main__":
    sys.exit(main())
