"""The quick Git server of the emulated GitLab gives the answers of Git's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metastore.errors import PermissionDenied, RevisionConflict
from metastore.storage.gitlab.connect import open_gitlab
from metastore.storage.gitlab.storage import GitLabStorage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change
from .gitlab import GitLab

CARS = DatasetId("physics", "cars")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"


@pytest.fixture(params=["git", "quick"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GitLab]:
    with GitLab(tmp_path / "gitlab", "labs/physics", in_process=request.param == "quick") as made:
        yield made


@pytest.fixture
def storage(server: GitLab) -> Iterator[GitLabStorage]:
    with_token: dict[str, Any] = {"token": "glpat-ann", "api_url": f"{server.url}/api/v4"}
    made = open_gitlab("gitlab://labs/physics", **with_token)
    yield made
    made.close()


def test_what_was_pushed_is_listed_and_fetched(storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1", "d/b": b"2"}, change("First"))
    second = storage.append(CARS, {"d/b": b"3"}, change("Second"), parent=first.id)
    storage.tag_create(CARS, TagSpec("v1", first.id, "Described", ANN, EPOCH))
    assert [each.message for each in storage.history(CARS, second.id)] == ["Second", "First"]
    assert storage.read(CARS, first.id, "d/b") == b"2"
    assert storage.read(CARS, second.id, "d/b") == b"3"
    assert [tag.name for tag in storage.tags(CARS)] == ["v1"]
    storage.tag_delete(CARS, "v1", expected=storage.tag(CARS, "v1").id)
    assert list(storage.tags(CARS)) == []


def test_a_push_from_an_old_value_changes_nothing(storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict):
        storage.append(CARS, {"a": b"3"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == second


def test_a_push_of_pointers_is_refused_while_lfs_is_on(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    project = next(each for each in server.projects.values() if each.path == "cars")
    server._set(project, {"lfs_enabled": True})
    with pytest.raises(PermissionDenied, match="pre-receive hook declined"):
        storage.append(CARS, {"a": POINTER}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first


def test_a_revision_that_is_not_there_is_not_found(storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    with pytest.raises(Exception, match=r"f{40}"):
        storage.read(CARS, "f" * 40, "a")
