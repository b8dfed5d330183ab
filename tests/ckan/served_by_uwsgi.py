"""A CKAN as a portal runs it: uWSGI with two workers, and a job worker; run by `make test-ckan`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import metastore
from tests.ckan.portal import Portal
from tests.ckan.service import Service
from tests.waiting import children

#: How many seconds the extension waits for an answer of MetaStore, and how many seconds it then does not ask again.
PATIENCE, PAUSE = 2, 5
WORKERS = 2
#: What CKAN's source has for WSGI servers, and its package lacks. CKAN leaves a connection to its database open when
#: it has loaded. The workers, which uWSGI forks after that, would share it, so it is closed.
WSGI = """\
import os
from ckan.cli import CKANConfigLoader
from ckan.config.middleware import make_app
from ckan.model import meta
application = make_app(CKANConfigLoader(os.environ["CKAN_INI"]).get_config())
meta.engine.dispose()
"""


@pytest.fixture(scope="module")
def portal(service: Service) -> Iterator[Portal]:
    recording = {"url": service.address, "signing_key": str(service.signing_key), "patience": str(PATIENCE)}
    made = Portal(Path(os.environ["CKAN_PROGRAMS"]).absolute(), testing=False, recording=recording)
    try:
        made.token = made.user("ann", "Ann Lee")
        serve_by_uwsgi(made)
        made.act(made.token, "organization_create", name="physics", title="Physics")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def store(service: Service) -> Iterator[metastore.Store]:
    """The store of the service, read without it."""
    with metastore.connect(service.folder / "store", author="Test") as made:
        yield made


def serve_by_uwsgi(portal: Portal) -> None:
    """Start uWSGI as CKAN's documentation does. A worker that is killed starts again."""
    wsgi = portal.folder / "wsgi.py"
    wsgi.write_text(WSGI)
    command = [portal.programs / "uwsgi", "--http", f"127.0.0.1:{portal.port}", "--http-timeout", "600"]
    command += ["--env", f"CKAN_INI={portal.ini}", "--wsgi-file", wsgi, "--virtualenv", portal.programs.parent]
    command += ["--auto-procname", "--master", "--processes", str(WORKERS), "--die-on-term"]
    portal.serve_by(portal.port, *command, "--pidfile", portal.folder / "uwsgi.pid")


def web_workers(portal: Portal) -> list[int]:
    master = int((portal.folder / "uwsgi.pid").read_text())
    workers = []
    for each in children(master):
        with suppress(FileNotFoundError):  # it has just ended
            if b"uWSGI worker" in Path(f"/proc/{each}/cmdline").read_bytes():
                workers.append(each)
    return workers


def titles(store: metastore.Store, where: str) -> list[str]:
    """Return the titles of all revisions, oldest first."""
    return [store.dataset_read(where, each.id).descriptor["title"] for each in store.revision_list(where)][::-1]


def test_killed_workers_neither_lose_nor_double_a_change(portal: Portal, store: metastore.Store) -> None:
    names = [f"cars-{number}" for number in range(4)]
    for name in names:
        portal.act(portal.token, "package_create", name=name, owner_org="physics", title="0")

    saved: list[tuple[str, str]] = []

    def work(name: str) -> None:
        """Change a title 20 times, and note what CKAN has saved; a killed worker does not answer."""
        for number in range(1, 21):
            try:
                portal.act(portal.token, "package_patch", id=name, title=str(number))
            except httpx.TransportError:
                continue
            saved.append((name, str(number)))

    with ThreadPoolExecutor(len(names)) as pool:
        running = [pool.submit(work, name) for name in names]
        kills, before, jobs = 0, 0, portal.start_job_worker()
        while not all(each.done() for each in running):
            time.sleep(random.random())  # let them get into something
            if len(saved) > before and (workers := web_workers(portal)):  # none while uWSGI starts new ones
                os.kill(workers[0], signal.SIGKILL)
                kills, before = kills + 1, len(saved)
    for each in running:
        each.result()
    jobs.kill()
    portal.ckan("metastore", "drain")
    assert "in step" in portal.ckan("metastore", "status")
    assert kills > 3
    for name in names:
        recorded = titles(store, portal.place(name))
        assert recorded == sorted(set(recorded), key=int)
        assert {title for dataset, title in saved if dataset == name} <= set(recorded)


def test_of_a_metastore_that_hangs_each_worker_makes_one_reader_wait(portal: Portal, service: Service) -> None:
    portal.act(portal.token, "package_create", name="boats", owner_org="physics", title="Boats")
    begun, waits = time.monotonic(), []
    service.pause()
    try:
        for _ in range(20):
            asked = time.monotonic()
            assert httpx.get(f"{portal.url}/dataset/boats/versions", timeout=60).status_code == 503
            waits.append(time.monotonic() - asked)
        assert httpx.get(f"{portal.url}/dataset/boats", timeout=60).status_code == 200
    finally:
        took = time.monotonic() - begun
        service.resume()
    assert min(waits) < PATIENCE  # without a pause, all of them wait
    assert len([each for each in waits if each >= PATIENCE]) <= WORKERS * (1 + took / PAUSE)
