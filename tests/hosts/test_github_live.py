"""The real GitHub: `METASTORE_LIVE_GITHUB_TOKEN` and `METASTORE_LIVE_GITHUB_OWNER` say where to try."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

import metastore
from metastore.errors import DatasetMoved, DatasetNotFound, RevisionConflict

from ..conftest import ANN, real_descriptor, ticking

TOKEN = os.environ.get("METASTORE_LIVE_GITHUB_TOKEN")
OWNER = os.environ.get("METASTORE_LIVE_GITHUB_OWNER", "")
pytestmark = pytest.mark.skipif(
    not (TOKEN and OWNER), reason="METASTORE_LIVE_GITHUB_TOKEN and METASTORE_LIVE_GITHUB_OWNER are not set"
)


@pytest.fixture
def store() -> Iterator[metastore.MetaStore]:
    with metastore.connect(f"github://{OWNER}", token=TOKEN, author=ANN, clock=ticking()) as made:
        yield made


def test_a_dataset_lives_on_the_real_github_as_it_does_on_local_git(store: metastore.MetaStore) -> None:
    names = [f"{OWNER.lower()}/metastore-live-{secrets.token_hex(6)}" for _ in range(2)]
    local = metastore.connect("memory:", author=ANN, clock=ticking())
    try:
        for each in (store, local):
            first = each.dataset_create(names[0], real_descriptor("frictionless/zipped-resources")).revision
            each.dataset_patch(names[0], {"title": "Äpfel"}, message="Why\n\nBecause", expected=first.id)
            each.tag_create(names[0], "v1", description="First")
            each.tag_update(names[0], "v1", new_name="v2")
            with pytest.raises(RevisionConflict):
                each.dataset_update(names[0], {}, expected=first.id)
            each.dataset_delete(names[0])
            each.dataset_revert(names[0], first.id)
            each.dataset_move(names[0], names[1])
            with pytest.raises(DatasetMoved):
                each.dataset_read(names[0])
        assert list(store.revision_list(names[1])) == list(local.revision_list(names[1]))
        assert list(store.tag_list(names[1])) == list(local.tag_list(names[1]))
        assert names[1] in [str(each) for each in store.dataset_list()]
    finally:
        for name in names:
            try:
                store.dataset_purge(name, force=True)
            except DatasetNotFound:
                continue
    with pytest.raises(DatasetNotFound):
        store.dataset_read(names[1])
