"""The common parts of the tests in CKAN, run by `make test-ckan`, in CKAN's own environment.

Each test has a store, an organisation and a dataset of its own; CKAN's database is emptied once, since that takes long.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ckan.tests.factories as factories
import ckan.tests.helpers as helpers
import pytest
from ckan import model
from ckan.plugins import plugin_loaded
from ckanext.metastore import outbox, settings

import metastore

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def reset_db_once(reset_db: Any) -> None:
    reset_db()


@pytest.fixture(autouse=True)
def store(
    ckan_config: Any, tmp_path: Path, reset_db_once: None, with_plugins: None, migrate_db_for: Any
) -> metastore.Store:
    """A store of its own for each test, as the extension opens it."""
    assert plugin_loaded("metastore")
    if not outbox.is_ready():
        migrate_db_for("metastore")
    model.Session.execute(outbox.TABLE.delete())
    model.Session.commit()
    ckan_config["ckanext.metastore.url"] = str(tmp_path / "store")
    yield settings.recorder().store
    model.Session.remove()


def user(name: str, fullname: str) -> dict[str, Any]:
    found = model.User.get(name)
    return {"name": name} if found else factories.User(name=name, fullname=fullname, email=f"{name}@example.org")


@pytest.fixture
def ann() -> dict[str, Any]:
    return user("ann", "Ann Lee")


@pytest.fixture
def bob() -> dict[str, Any]:
    """Somebody who may change nothing."""
    return user("bob", "Bob Ray")


@pytest.fixture
def physics(ann: dict[str, Any]) -> dict[str, Any]:
    return new_organization("Physics")


def new_organization(title: str) -> dict[str, Any]:
    name = f"{title.lower()}-{next(NUMBERS)}"
    return factories.Organization(name=name, title=title, users=[{"name": "ann", "capacity": "admin"}])


@pytest.fixture
def cars(physics: dict[str, Any]) -> dict[str, Any]:
    """A dataset with one resource, in its first version."""
    return act("package_create", "ann", **new_dataset(physics))


@pytest.fixture
def down(store: metastore.Store, ckan_config: Any, tmp_path: Path) -> Iterator[Any]:
    """A switch: MetaStore is away while it is entered."""

    class Switch:
        def __enter__(self) -> None:
            self.url = ckan_config["ckanext.metastore.url"]
            (tmp_path / "no-folder").write_text("")
            ckan_config["ckanext.metastore.url"] = str(tmp_path / "no-folder" / "store")

        def __exit__(self, *_: object) -> None:
            ckan_config["ckanext.metastore.url"] = self.url

    return Switch()


def new_dataset(organization: dict[str, Any], **said: Any) -> dict[str, Any]:
    return {
        "name": f"cars-{next(NUMBERS)}",
        "title": "Cars",
        "notes": "Who drives what",
        "owner_org": organization["name"],
        "tags": [{"name": "traffic"}],
        "extras": [{"key": "spatial", "value": "Geneva"}],
        "resources": [{"name": "All cars", "url": "https://example.org/cars.csv", "format": "CSV"}],
        **said,
    }


def place(package: dict[str, Any]) -> str:
    return f"ckan/{package['id']}"


def act(action: str, user: str | None = None, /, **said: Any) -> Any:
    """Call an action as this user, with his rights and no more."""
    return helpers.call_action(action, {"user": user or "", "ignore_auth": False}, **said)


def messages(store: metastore.Store, where: str) -> list[str]:
    return [revision.message for revision in store.revision_list(where)]
