"""A plugin of pytest, for CKAN's own tests: while the extension is loaded, each change in them is recorded.

CKAN's tests make the tables of CKAN alone, again and again. Without the extension's table nothing would be recorded,
and the tests would show little.

The outcome of each test is a line of the file that `OUTCOMES` names. A test with a line there is not run again, so a
run that was interrupted goes on where it ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.plugins import plugin_loaded
from ckanext.metastore import outbox

import metastore

OUTCOMES = Path(os.environ["OUTCOMES"])


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
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "is_ready", ready)


def pytest_sessionfinish() -> None:
    """Say how much was recorded."""
    if plugin_loaded("metastore"):
        with metastore.connect(tk.config["ckanext.metastore.url"], author="Test") as store:
            print(f"\n{sum(1 for _ in store.dataset_list(deleted=None))} datasets were recorded.")
