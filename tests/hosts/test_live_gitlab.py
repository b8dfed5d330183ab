"""The whole life of a dataset on a real GitLab: runs when METASTORE_LIVE_GITLAB_TOKEN and …_GROUP are set.

METASTORE_LIVE_GITLAB_GROUP is a group for nothing else, such as `gitlab://labs/metastore-tests`; the token's owner owns
it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

import metastore
from metastore.errors import DatasetMoved, DatasetNotFound, RevisionConflict
from metastore.storage.copy import copy
from metastore.storage.gitlab.storage import GitLabStorage
from metastore.storage.local.mirror import Remote
from metastore.storage.memory import MemoryStorage
from metastore.types import DatasetId

from ..conftest import ANN, real_descriptor
from ..test_interop import git

TOKEN, GROUP = (os.environ.get(f"METASTORE_LIVE_GITLAB_{name}", "") for name in ("TOKEN", "GROUP"))
LFS = "https://lfs.example.org/{owner}/{name}"


@pytest.mark.skipif(not (TOKEN and GROUP), reason="METASTORE_LIVE_GITLAB_TOKEN and METASTORE_LIVE_GITLAB_GROUP not set")
def test_the_whole_life_of_a_dataset_on_gitlab(tmp_path: Path) -> None:
    with metastore.connect(GROUP, token=TOKEN, author=ANN, lfs_url=LFS, validation="off") as store:
        assert isinstance(store.storage, GitLabStorage)
        owner, name = store.storage.naming.owner, f"live-{secrets.token_hex(4)}"
        cars, boats = f"{owner}/{name}", f"{owner}/{name}-moved"
        resource = {"name": "x", "path": "x.csv", "bytes": 3, "hash": "sha256:" + "a" * 64}
        first = store.dataset_create(cars, {**real_descriptor(), "resources": [resource]}).revision
        second = store.dataset_patch(cars, {"title": "Größe ☃"}, expected=first.id).revision
        with pytest.raises(RevisionConflict):
            store.dataset_patch(cars, {"title": "Late"}, expected=first.id)
        store.tag_create(cars, "v1", first.id, description="First")
        store.tag_update(cars, "v1", new_name="v2", description="Renamed")
        assert [each.id for each in store.revision_list(cars)] == [second.id, first.id]
        assert cars in map(str, store.dataset_list())
        store.dataset_move(cars, boats)
        with pytest.raises(DatasetMoved):
            store.dataset_read(cars)
        store.dataset_delete(boats)
        store.dataset_revert(boats, "v2")
        back = MemoryStorage()
        assert copy(store.storage, back, prefix=boats).not_copied == ()
        remote = Remote(f"{store.storage.hosts[1].base}/{store.storage.group}/{{name}}.git", TOKEN)
        address, clone = remote.url(DatasetId(owner, f"{name}-moved")), tmp_path / "clone"
        with remote.git() as run:
            run("clone", "-q", "--bare", address, str(clone))
        assert git("-C", clone, "fsck", "--strict", "--full") == ""
        assert list(store.verify()) == []
        store.dataset_purge(boats, force=True)
        with pytest.raises(DatasetNotFound):
            store.dataset_read(boats)
