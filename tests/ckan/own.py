"""A plugin of pytest, for CKAN's own tests: while the extension is loaded, each change in them is recorded.

CKAN's tests make the tables of CKAN alone, again and again. Without the extension's table nothing would be recorded,
and the tests would show little.
"""

from __future__ import annotations

import ckan.plugins.toolkit as tk
import pytest
from ckan import model
from ckan.plugins import plugin_loaded
from ckanext.metastore import outbox

import metastore


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
