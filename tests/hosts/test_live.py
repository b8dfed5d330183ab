"""Real hosts, where the environment says so: `metastore check-host`, which is documented in the how-tos.

METASTORE_LIVE_GITHUB_OWNER and METASTORE_LIVE_GITHUB_TOKEN name an account or organisation on GitHub;
METASTORE_LIVE_GITLAB_GROUP, such as `gitlab://labs/tests`, and METASTORE_LIVE_GITLAB_TOKEN a group on a GitLab;
METASTORE_LIVE_GITEA_OWNER, such as `gitea://codeberg.org/tests`, and METASTORE_LIVE_GITEA_TOKEN an owner on a Gitea.
"""

from __future__ import annotations

import os

import pytest

import metastore
from metastore.storage.probe import check

OWNER, GROUP, GITEA = (
    os.environ.get(f"METASTORE_LIVE_{name}", "") for name in ("GITHUB_OWNER", "GITLAB_GROUP", "GITEA_OWNER")
)
HOSTS = {
    f"github://{OWNER}" if OWNER else "": os.environ.get("METASTORE_LIVE_GITHUB_TOKEN"),
    GROUP: os.environ.get("METASTORE_LIVE_GITLAB_TOKEN"),
    GITEA: os.environ.get("METASTORE_LIVE_GITEA_TOKEN"),
}
LIVE = [(url, token) for url, token in HOSTS.items() if url and token]


@pytest.mark.skipif(not LIVE, reason="no METASTORE_LIVE_… is set")
@pytest.mark.parametrize(("url", "token"), LIVE or [("", "")], ids=[url for url, _ in LIVE] or ["none"])
def test_a_real_host_behaves_as_a_store_needs_it(url: str, token: str) -> None:
    with metastore.connect(url, token=token, author="Check", private=True) as store:
        assert [str(each) for each in check(store.storage) if not each.ok] == []
