"""The common parts of the tests: the storages, a clock that ticks, and real descriptors."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

import metastore
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage
from metastore.types import Author, Change

from .bundle.postgres_server import new_storage
from .fork_server import forking
from .hosts import backends
from .loopback import TOKEN, serving
from .machine import temporary
from .once import compile_routes_once, compile_templates_once
from .processes import SOAK

compile_routes_once()
compile_templates_once()
os.environ["XDG_STATE_HOME"] = str(temporary("metastore-state-"))  # keys of services on stores without a folder
os.environ["XDG_CACHE_HOME"] = str(temporary("metastore-cache-"))  # indexes of such stores
# Machines are shared, and slow at times.
hypothesis.settings.register_profile("metastore", deadline=None, max_examples=1000 if SOAK else 60)
hypothesis.settings.load_profile("metastore")
if not os.access(Path(__file__).parent.parent, os.W_OK):  # where what failed is remembered
    set_hypothesis_home_dir(temporary("metastore-hypothesis-"))

CATALOGUE = Path(__file__).parent.parent / "examples" / "catalogue"
ANN = Author("Ann Lee", "ann@example.org")
EPOCH = datetime(2024, 5, 1, 12, tzinfo=UTC)

#: Every storage that has to keep the contract: a name, and how to make one in an empty folder.
STORAGES: dict[str, Callable[[Path], Storage]] = {
    "memory": lambda folder: MemoryStorage(),
    "git": lambda folder: GitStorage(folder / "store", sync=False),
    "git-synced": lambda folder: GitStorage(folder / "store"),
    "github": backends.github,
    "gitlab": backends.gitlab,
    "postgres": lambda folder: new_storage(),
}
#: Those that share all but their host's API with one above: the contract is enough, but in the soak.
ALIKE: dict[str, Callable[[Path], Storage]] = {"gitea": backends.gitea}
if SOAK:
    STORAGES |= ALIKE
#: Those that keep the part of the contract that Git alone can say.
GIT_ALONE: dict[str, Callable[[Path], Storage]] = {"git+https": backends.plain_git}
#: Those that serve one owner, `physics`, as a Git host's account does.
OF_ONE_OWNER = {"github", "gitlab", *(ALIKE if SOAK else ())}


#: Left out of `make check`: they start browsers, servers and children, or walk whole grids.
SLOW = (
    *("tests/pages/", "tests/hosts/", "tests/ckan/", "tests/service/test_serving", "tests/service/test_schemathesis"),
    *(
        "tests/service/test_examples",
        "tests/bundle/test_postgres",
        "tests/test_postgres",
        "tests/bundle/test_concurrency",
    ),
    *("tests/test_backup", "tests/test_giftless", "tests/test_mirror", "tests/test_fuzz"),
    *("tests/harness/test_crash_points", "tests/harness/test_kill", "tests/harness/test_disks"),
    "tests/harness/test_durability",
    *("tests/test_concurrency", "tests/test_model", "tests/test_docs"),
    *("tests/client/test_lost_answers", "tests/test_verify", "tests/bundle/test_model", "tests/test_lfs"),
)
#: Takes a minute by the clock and little else, so it begins first: others run beside it.
FIRST = "tests/harness/test_beside_git.py::test_nothing_acknowledged_is_lost_while_git_works_beside_writers"
#: Tests of these files take seconds each. Each worker begins with a share of them, so that none runs when the others
#: have nothing left to do.
LONG = ("tests/pages/", "tests/harness/test_kill", "tests/test_postgres_replicas", "tests/hosts/test_emulated_github")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the tests: they stay, and each look goes through more than a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    for item in items:
        if item.nodeid.startswith(SLOW) or any(
            f"[{name}" in item.name for name in ("github", "gitlab", "gitea", "git+https", "postgres")
        ):
            item.add_marker(pytest.mark.slow)
    result = yield  # tests that are not asked for go
    items[:] = shared_out(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    return result


def shared_out(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order the tests so that each worker, which gets the next part of the list, begins with its share of long ones."""
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    parts[0] += [item for item in items if item.nodeid == FIRST]
    files = itertools.groupby((item for item in items if item.nodeid.startswith(LONG)), key=lambda item: item.path)
    for part, (_, of_file) in zip(itertools.cycle(parts), files, strict=False):
        part += of_file
    others = (item for item in items if not item.nodeid.startswith((FIRST, *LONG)))
    left = len(items)
    for number, part in enumerate(parts):
        size = left // (workers - number)  # as xdist shares out, with `--dist worksteal`
        part += itertools.islice(others, max(0, size - len(part)))
        left -= size
    return [*itertools.chain(*parts), *others]


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """Return the folder of a command `metastore` that starts in a tenth of the time."""
    with forking() as folder:
        yield folder


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Keep what a test counted; a soak prints it in the end."""
    return lambda **numbers: record_property("counted", ", ".join(f"{n} {what}" for what, n in numbers.items()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed") if SOAK else ():
        for name, numbers in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(f"{report.nodeid}: {numbers.replace('_', ' ')}")


def change(message: str = "Why", *, author: Author = ANN, at: datetime = EPOCH) -> Change:
    return Change(author, message, at)


def ticking() -> Callable[[], datetime]:
    seconds = itertools.count()
    return lambda: EPOCH + timedelta(seconds=next(seconds))


def real_descriptor(name: str = "okfn/compression") -> dict[str, Any]:
    return json.loads((CATALOGUE / name / "datapackage.json").read_bytes())


REAL = sorted(str(path.parent.relative_to(CATALOGUE)) for path in CATALOGUE.glob("*/*/datapackage.json"))


def opened(name: str, folder: Path) -> Iterator[Storage]:
    made = {**STORAGES, **ALIKE, **GIT_ALONE}[name](folder)
    yield made
    made.close()
    backends.stop(made)


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    """Take back what a command, run in this process, set up: it would go on writing to a stream that is closed."""
    yield
    for name in ("metastore", "httpx", "metastore.access", "gunicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=[name for name in STORAGES if name not in OF_ONE_OWNER])
def storage_of_all(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=sorted(OF_ONE_OWNER))
def storage_of_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    yield from opened(request.param, tmp_path)


@pytest.fixture
def local_store(storage: Storage) -> metastore.MetaStore:
    return metastore.MetaStore(storage, author=ANN, clock=ticking())


@pytest.fixture(params=[*(name for name in STORAGES if SOAK or name != "git-synced"), "service"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[metastore.MetaStore]:
    """A store of every kind, a service somewhere else too.

    Outside the soak, without the folder that is synced: a store calls it as the other one, and the contract has both.
    """
    if request.param != "service":
        for storage in opened(request.param, tmp_path):
            yield metastore.MetaStore(storage, author=ANN, clock=ticking())
        return
    with (
        serving(metastore.connect("memory:", clock=ticking())) as address,
        metastore.connect(address, token=TOKEN, author=ANN) as made,
    ):
        yield made


@pytest.fixture
def git_store(tmp_path: Path) -> Iterator[metastore.MetaStore]:
    with metastore.connect(tmp_path / "store", author=ANN, clock=ticking(), sync=False) as made:
        yield made
