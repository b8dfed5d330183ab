"""A plugin of pytest, for CKAN's own tests: it loads the extension for each of them, and each change is recorded.

CKAN's tests make the tables of CKAN alone, again and again. Without the extension's table nothing would be recorded,
and the tests would show little. The run says how many datasets were recorded, and ends if they are too few.

The outcome of each test is a line of the file that `OUTCOMES` names. A test with a line there is not run again, so a
run that was interrupted goes on where it ended.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ckan.plugins.toolkit as tk
import pytest
import sqlalchemy as sa
from ckan import model
from ckanext.metastore import outbox

import metastore

OUTCOMES = Path(os.environ["OUTCOMES"])
#: The share of the datasets made that are recorded at least, and of how many it is a share. Private ones, drafts and
#: those rolled back are not recorded.
LEAST, ENOUGH = 0.5, 20
#: The plugins that the configuration names.
LOADED = pytest.StashKey[list[str]]()

made: Counter[str] = Counter()


def name_of(item: pytest.Item) -> str:
    """Name a test uniquely, and alike in every environment: the ids of tests outside pytest's root lack the file."""
    path, _, name = item.location
    return f"{path.partition('/ckan/tests/')[2]} {name}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lines = OUTCOMES.read_text().splitlines() if OUTCOMES.exists() else []
    ended = {line.partition(" ")[2] for line in lines}
    config.hook.pytest_deselected(items=[item for item in items if name_of(item) in ended])
    items[:] = [item for item in items if name_of(item) not in ended]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep what is not passed of a test's three phases, and write it after the last one."""
    report = yield
    if report.outcome != "passed" and not hasattr(item, "outcome"):
        item.outcome = report.outcome
    if report.when == "teardown":
        with OUTCOMES.open("a") as file:
            file.write(f"{getattr(item, 'outcome', 'passed')} {name_of(item)}\n")
    return report


def ready() -> bool:
    """Make the table, in place of saying that it is missing."""
    outbox.TABLE.create(model.meta.engine, checkfirst=True)
    return True


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest, ckan_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the configuration's plugins for each test.

    CKAN loads them at the start, and unloads all after the first test that asks for `with_plugins`. A test that names
    plugins of its own names them alone.
    """
    monkeypatch.setattr(outbox, "is_ready", ready)
    named = tk.aslist(ckan_config["ckan.plugins"])
    ckan_config["ckan.plugins"] = [*named, *(each for each in request.config.stash[LOADED] if each not in named)]
    request.getfixturevalue("with_plugins")


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[LOADED] = tk.aslist(tk.config["ckan.plugins"])
    sa.event.listen(model.Package, "after_insert", lambda *_: made.update(datasets=1))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say how much was recorded. What ran without recording shows nothing, and is forgotten."""
    if "metastore" not in session.config.stash[LOADED]:
        return
    with metastore.connect(tk.config["ckanext.metastore.url"], author="Test") as store:
        recorded = sum(1 for _ in store.dataset_list(deleted=None))
    said = f"{recorded} of {made['datasets']} datasets were recorded."
    print(f"\n{said}")
    if made["datasets"] >= ENOUGH and recorded < made["datasets"] * LEAST:
        OUTCOMES.unlink()
        pytest.exit(f"The tests have hardly run with the extension: {said}", returncode=pytest.ExitCode.INTERRUPTED)
