"""One, two and four services on one database: requests a second, and where the time goes.

    python benchmarks/services_postgres.py --seconds 10

Each service has one process. wrk keeps eight connections busy, which are spread over the services, and asks for 64
datasets at random. The server of the database is a throw-away one; all are on this machine, so the cores limit the sum.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # when it is started as a file

import metastore
from benchmarks.documents import SMALL, descriptor
from benchmarks.service import _BIN, _served
from benchmarks.table import Row, printed, say
from metastore.auth.tokens import issue
from metastore.postgres.migrate import migrate
from tests.bundle.postgres_server import new_server

_DATASETS, _CONNECTIONS = 64, 8
_SECRET = "of-all-services-of-one-benchmark-on-loopback"
_TICKS = os.sysconf("SC_CLK_TCK")
_ASK = """
local token, method = "", ""
function init(arguments) token, method = arguments[1], arguments[2]; math.randomseed(os.time()) end
function request()
  local path = string.format("/api/v1/datasets/bench/d%d", math.random(0, %DATASETS% - 1))
  if method == "GET" then return wrk.format("GET", path) end
  local headers = {["Authorization"] = "Bearer " .. token, ["Content-Type"] = "application/merge-patch+json"}
  return wrk.format(method, path, headers, string.format('{"n": %d}', math.random(0, 2 ^ 31 - 1)))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="for each measurement")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_rows(Path(folder), options.seconds))
    print(printed("Services on one database", rows, markdown=options.markdown))


def _rows(folder: Path, seconds: int) -> Iterator[Row]:
    database = new_server()
    migrate(database.dsn)
    url = f"postgresql://postgres@127.0.0.1:{database.port}/postgres"
    with metastore.connect(url, author="Ann Lee <ann@example.org>") as store:
        for number in range(_DATASETS):
            store.dataset_create(f"bench/d{number}", descriptor(SMALL))
    script = folder / "ask.lua"
    script.write_text(_ASK.replace("%DATASETS%", str(_DATASETS)))
    token = issue(_SECRET, user="ann", scopes=["ds:*:*"], expires=timedelta(hours=9), now=time.time(), name="Ann")
    postmaster = int((database.folder / "data" / "postmaster.pid").read_text().split()[0])
    serve = ["env", f"METASTORE_JWT_SECRET={_SECRET}", f"{_BIN}/metastore", "serve", "--store", url]
    for count in (1, 2, 4):
        with ExitStack() as stack:
            command = [*serve, "--workers", "1", "--threads", "16"]
            services = [stack.enter_context(_served(command, folder)) for _ in range(count)]
            for method in ("GET", "PATCH"):
                say(f"{method}, {count} of 4 services")
                yield from _measured(services, postmaster, script, token, method, seconds)


def _measured(
    services: list[tuple[str, int]], postmaster: int, script: Path, token: str, method: str, seconds: int
) -> Iterator[Row]:
    each = str(_CONNECTIONS // len(services))
    options = "--threads", "1", "--connections", each, "--duration", f"{seconds}s", "--script", str(script)
    pids = {"services": [pid for _, pid in services], "PostgreSQL": [postmaster]}
    before = {what: sum(map(_cpu, roots)) for what, roots in pids.items()}
    clients = [
        subprocess.Popen(["wrk", *options, address, "--", token, method], stdout=subprocess.PIPE, text=True)
        for address, _ in services
    ]
    said = [client.communicate()[0] for client in clients]
    if any("Non-2xx" in text or "Socket errors" in text or "requests in" not in text for text in said):
        raise SystemExit(f"wrk saw errors:\n{said}")
    answered = sum(int(re.findall(r"(\d+) requests in", text)[0]) for text in said)
    title = f"{method}, {len(services)} service{'s' * (len(services) > 1)}"
    yield Row(title, answered / seconds, unit="requests/s", more_is_better=True)
    for what, roots in pids.items():
        yield Row(f"{title}: CPU of {what}", (sum(map(_cpu, roots)) - before[what]) / answered)


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process, of all that it started, and of those of them that have ended (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(int(field) for field in fields[11:15]) / _TICKS + sum(_cpu(int(child)) for child in children)


if __name__ == "__main__":
    main()
