"""GitLab as a storage: what the contract does not say, the traps of the host, and judges that nobody here wrote."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gitlab as python_gitlab
import pytest

import metastore
from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    PermissionDenied,
    RevisionConflict,
    RevisionNotFound,
    StorageBusy,
    StorageUnavailable,
)
from metastore.storage.gitlab._api import GitLabNaming
from metastore.storage.gitlab.storage import GitLabStorage, open_gitlab
from metastore.storage.memory import MemoryStorage
from metastore.types import DatasetId, TagSpec

from ..conftest import ANN, EPOCH, change, real_descriptor, ticking
from ..lfs_server import LfsServer
from ..test_interop import git
from .gitlab import GitLab
from .server import Reply

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
TOKEN = "glpat-ann"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitLab]:
    with GitLab(tmp_path / "gitlab", "labs/physics", "other") as made:
        made.tokens |= {"glpat-rea": "rea", "glpat-out": "out"}
        made.readers.add("rea")
        made.outsiders.add("out")
        yield made


OPENED: list[GitLabStorage] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def opened(server: GitLab, token: str = TOKEN, **options: Any) -> GitLabStorage:
    made = open_gitlab(
        "gitlab://labs/physics", token=token, api_url=f"{server.url}/api/v4", **{"timeout": 5.0, **options}
    )
    OPENED.append(made)
    return made


@pytest.fixture
def storage(server: GitLab) -> Iterator[GitLabStorage]:
    made = opened(server, sleep=lambda seconds: None)
    yield made
    made.close()


@pytest.fixture
def store(storage: GitLabStorage) -> metastore.MetaStore:
    return metastore.MetaStore(storage, author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{name}")


def url(server: GitLab, name: str = "cars") -> str:
    return f"http://oauth2:{TOKEN}@{server.url.removeprefix('http://')}/labs/physics/{name}.git"


# Judges


def test_a_clone_and_fsck_tell_the_same_story(server: GitLab, store: metastore.MetaStore, tmp_path: Path) -> None:
    first = store.dataset_create(CARS, real_descriptor())
    store.dataset_patch(CARS, {"title": "Größe", "sources": [{"title": "☃"}]}, message="Subject\n\nBody")
    tag = store.tag_create(CARS, "v1", first.revision.id, description="First")
    git("clone", "-q", url(server), tmp_path / "clone")
    assert git("-C", tmp_path / "clone", "fsck", "--strict", "--full") == ""
    log = git("-C", tmp_path / "clone", "log", "--format=%H").split()
    assert log == [each.id for each in store.revision_list(CARS)]
    assert git("-C", tmp_path / "clone", "rev-parse", "v1") == tag.id
    assert (tmp_path / "clone/datapackage.json").read_bytes() == store.dataset_read(CARS).bytes


def test_python_gitlab_reads_what_was_written(server: GitLab, store: metastore.MetaStore) -> None:
    first = store.dataset_create(CARS, real_descriptor())
    store.dataset_patch(CARS, {"title": "Better"})
    store.tag_create(CARS, "v1", first.revision.id)
    client = python_gitlab.Gitlab(server.url, private_token=TOKEN)
    project = client.projects.get("labs/physics/cars")
    assert (project.visibility, project.lfs_enabled, project.topics) == ("private", False, [])
    commits = project.commits.list(get_all=True)
    told = [(each.id, each.author_name, each.message.rstrip("\n")) for each in commits]
    assert told == [(each.id, each.author.name, each.message) for each in store.revision_list(CARS)]
    assert [(each.name, each.commit["id"]) for each in project.tags.list(get_all=True)] == [("v1", first.revision.id)]
    raw = project.files.raw("datapackage.json", ref=first.revision.id)
    assert raw == store.dataset_read(CARS, "v1").bytes


def test_python_gitlab_meets_the_emulator_as_it_meets_gitlab(server: GitLab) -> None:
    server.external_url = server.url  # python-gitlab goes where GitLab says that it is
    server.lag = 0  # and does not wait
    client = python_gitlab.Gitlab(server.url, private_token=TOKEN)
    group = client.groups.get("labs/physics")
    for name in ("b", "a", "c"):
        client.projects.create({"name": name, "namespace_id": group.id})
    found = group.projects.list(iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=2)
    assert [each.path for each in found] == ["b", "a", "c"]
    with pytest.raises(python_gitlab.GitlabCreateError) as caught:
        client.projects.create({"name": "a", "namespace_id": group.id})
    assert caught.value.response_code == 400
    project = client.projects.get("labs/physics/a")
    project.path = "renamed"
    project.save()
    assert client.projects.get("labs/physics/a").path == "renamed"
    project.delete()
    assert client.projects.get("labs/physics/renamed").marked_for_deletion_on
    client.projects.create({"name": "renamed", "namespace_id": group.id}).delete()
    server.delayed = False
    client.projects.create({"name": "renamed", "namespace_id": group.id}).delete()
    with pytest.raises(python_gitlab.GitlabGetError):
        client.projects.get("labs/physics/renamed")
    with pytest.raises(python_gitlab.GitlabCreateError):
        client.projects.create({"name": "renamed", "namespace_id": group.id})
    server.finish_deletions()
    client.projects.create({"name": "renamed", "namespace_id": group.id})


def test_ids_are_those_of_the_same_history_elsewhere(store: metastore.MetaStore) -> None:
    with metastore.connect("memory:", author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{name}") as other:
        for each in (store, other):
            each.dataset_create(CARS, real_descriptor())
            each.tag_create(CARS, "v1", description="One")
            each.dataset_delete(CARS)
            each.dataset_revert(CARS, "v1")
        assert list(store.revision_list(CARS)) == list(other.revision_list(CARS))
        assert list(store.tag_list(CARS)) == list(other.tag_list(CARS))


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_a_clone_from_gitlab_fetches_the_data_from_an_lfs_server(
    server: GitLab, storage: GitLabStorage, tmp_path: Path
) -> None:
    contents = {"x.csv": b"a,b\n1,2\n", "data dir/y z.csv": b"\x00\xff" * 5000}
    with LfsServer() as lfs:
        store = metastore.MetaStore(storage, author=ANN, lfs_url=f"{lfs.url}/{{owner}}/{{name}}", validation="off")
        resources = [
            {"name": str(number), "path": path, "hash": f"sha256:{lfs.keep(content)}", "bytes": len(content)}
            for number, (path, content) in enumerate(contents.items())
        ]
        store.dataset_create(CARS, {"resources": resources})
        home = {**os.environ, "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}
        subprocess.run(["git", "lfs", "install", "--skip-repo"], check=True, env=home, capture_output=True)
        clone = tmp_path / "clone"
        subprocess.run(["git", "clone", "-q", url(server), clone], check=True, env=home, capture_output=True)
        assert {path: (clone / path).read_bytes() for path in contents} == contents
        assert lfs.asked == {"/physics/cars/objects/batch"}


# Requests


def test_a_write_costs_few_requests(server: GitLab, store: metastore.MetaStore) -> None:
    store.dataset_create(CARS, {"n": 1})
    server.forget()
    store.dataset_patch(CARS, {"n": 2})
    assert [call.rpartition("/")[2] for call in server.calls()] == [
        "cars",  # where it is
        "git-upload-pack",  # its references
        "git-receive-pack",  # the push
        "101",  # that it still is there
    ]
    server.forget()
    assert store.dataset_read(CARS).descriptor["n"] == 2
    assert len(server.seen) == 2


def test_a_stranger_to_a_dataset_fetches_its_newest_state_at_once(server: GitLab, store: metastore.MetaStore) -> None:
    for number in range(20):
        (store.dataset_update if number else store.dataset_create)(CARS, {"n": number})
    other = metastore.MetaStore(opened(server), author=ANN)
    server.forget()
    other.dataset_patch(CARS, {"n": -1})
    assert len(server.seen) == 6  # with one fetch, and once for each server: can it push atomically?
    server.forget()
    assert len(list(other.revision_list(CARS))) == 21
    assert len(server.seen) <= 5
    other.close()


# Traps


def test_pointers_are_pushed_though_new_projects_would_have_lfs(server: GitLab, store: metastore.MetaStore) -> None:
    resource = {"name": "x", "path": "x.csv", "bytes": 3, "hash": "sha256:" + "a" * 64}
    store.dataset_create(CARS, {"resources": [resource]})
    project = server.project("labs/physics/cars")
    assert project
    assert project.facts["lfs_enabled"] is False
    project.facts["lfs_enabled"] = True
    server._set(project, {})
    with pytest.raises(PermissionDenied, match="refuses the change of physics/cars"):
        store.dataset_patch(CARS, {"resources": [{**resource, "hash": "sha256:" + "b" * 64}]})
    (found,) = store.storage.verify(repair=True)
    assert (found.where, found.kind, found.repaired) == ("physics/cars", "lfs-is-on", True)
    store.dataset_patch(CARS, {"resources": [{**resource, "hash": "sha256:" + "b" * 64}]})


def test_a_gitlab_that_keeps_lfs_on_is_not_written_to(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(BOATS, {"a": b""}, change())
    facts = {"id": 101, "path_with_namespace": "labs/physics/boats", "lfs_enabled": True, "topics": []}
    facts["last_activity_at"] = "2024-05-01T12:00:00.000Z"
    server.fault(Reply(201, facts), method="POST", path="/projects$")
    server.fault(Reply(200, facts), method="PUT")
    boats = server.project("labs/physics/boats")
    assert boats
    git("-C", boats.folder, "update-ref", "-d", "refs/heads/main")
    with pytest.raises(StorageUnavailable, match="cannot be turned off"):
        storage.create(BOATS, {"a": b"1"}, change())


def test_an_id_is_free_at_once_though_gitlab_deletes_later(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.purge(CARS, parent=first.id)
    assert [bool(each.marked) for each in server.projects.values()].count(True) == 1
    again = storage.create(CARS, {"a": b"2"}, change())
    server.finish_deletions()
    assert storage.resolve(CARS, None) == again


def test_what_was_purged_is_gone_though_gitlab_keeps_and_shows_it_for_days(
    server: GitLab, storage: GitLabStorage
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.purge(CARS, parent=first.id)
    (kept,) = (each for each in server.projects.values() if each.marked)
    assert kept.path.endswith(f"-deletion_scheduled-{kept.id}")
    kept.created = "2024-05-01T12:00:00.000Z"  # long enough ago for a left-over
    for each in (storage, opened(server)):
        assert list(each.ids(deleted=None)) == []
        assert list(each.verify()) == []
        for dataset_id in (CARS, DatasetId("physics", f"cars-deletion_scheduled-{kept.id}")):
            with pytest.raises(DatasetNotFound) as caught:
                each.resolve(dataset_id, None)
            assert not isinstance(caught.value, DatasetMoved)
            with pytest.raises(DatasetNotFound):
                each.read(dataset_id, first.id, "a")
        assert CARS in [dataset_id for _, dataset_id in each.touched(None)]
    assert not kept.pending_delete


def test_a_project_deleted_on_gitlabs_pages_is_gone(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    project = server.project("labs/physics/cars")
    assert project
    server._delete(project, "ann")
    with pytest.raises(DatasetNotFound) as caught:
        opened(server).resolve(CARS, None)
    assert not isinstance(caught.value, DatasetMoved)
    assert list(storage.ids(deleted=None)) == []
    again = storage.create(CARS, {"a": b"2"}, change())
    assert opened(server).resolve(CARS, None) == again


def test_a_purge_by_a_maintainer_changes_nothing_and_says_which_role_is_missing(
    server: GitLab, storage: GitLabStorage
) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    server.maintainers.add("ann")
    with pytest.raises(PermissionDenied, match="takes the role Owner"):
        storage.purge(CARS, parent=first.id)
    for each in (storage, opened(server)):
        assert each.resolve(CARS, None) == first
        assert list(each.ids()) == [CARS]


#: What docs/howto/gitlab.md says of roles.
ROLES = {
    "readers": {"read"},
    "developers": {"read", "append", "tag"},
    "maintainers": {"read", "append", "tag", "create", "rename"},
    "owners": {"read", "append", "tag", "create", "rename", "purge"},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_can_do_what_the_documentation_says(server: GitLab, storage: GitLabStorage, role: str) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    ships = DatasetId("physics", "ships")
    if role != "owners":
        getattr(server, role).add("ann")
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: storage.read(CARS, first.id, "a"),
        "append": lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        "tag": lambda: storage.tag_create(CARS, TagSpec("v1", first.id, "", ANN, EPOCH)),
        "create": lambda: storage.create(BOATS, {"a": b"1"}, change()),
        "rename": lambda: storage.rename(CARS, ships, parent=storage.resolve(CARS, None).id),
        "purge": lambda: storage.purge(ships, parent=storage.resolve(ships, None).id),
    }
    for name in [each for each in calls if each != "purge" or "rename" in ROLES[role]]:
        if name in ROLES[role]:
            calls[name]()
        else:
            with pytest.raises(PermissionDenied):
                calls[name]()
    server.readers.discard("ann")
    known = {"cars", "boats", "ships", "metastore-own.moves"}
    assert {each.path for each in server.projects.values() if not each.marked} <= known


@pytest.mark.parametrize("lag", [1, 3, 5])
def test_a_project_that_gitlab_does_not_know_everywhere_yet_is_waited_for(server: GitLab, lag: int) -> None:
    slept: list[float] = []
    storage = opened(server, sleep=slept.append)
    server.lag = lag
    made = storage.create(CARS, {"a": b"1"}, change())
    assert slept
    assert opened(server).resolve(CARS, None) == made


def test_a_project_that_gitlab_forgets_right_after_the_first_push_is_asked_for_again(
    server: GitLab, storage: GitLabStorage
) -> None:
    unknown = Reply(404, {"message": "404 Project Not Found"})
    fault = server.fault(unknown, method="GET", path=r"/projects/\d+$", times=3)
    made = storage.create(CARS, {"a": b"1"}, change())
    assert fault.struck == 3
    assert storage.resolve(CARS, None) == made


def test_a_new_project_whose_repository_is_not_known_everywhere_is_waited_for_by_others(
    server: GitLab, storage: GitLabStorage
) -> None:
    made = storage.create(CARS, {"a": b"1"}, change())
    for read in (lambda other: list(other.ids()), lambda other: other.resolve(CARS, None)):
        slept: list[float] = []
        fault = server.fault(Reply(404, b"", {"Content-Type": "text/plain"}), path="cars.git/", times=3)
        assert read(opened(server, sleep=slept.append)) in ([CARS], made)
        assert (fault.struck, len(slept)) == (3, 3)


def test_a_project_whose_repository_nobody_shows_is_not_taken_for_absent(
    server: GitLab, storage: GitLabStorage
) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.fault(Reply(404, b"", {"Content-Type": "text/plain"}), path="upload-pack", times=99)
    project = server.project("labs/physics/cars")
    assert project
    project.created = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    slept: list[float] = []
    for read in (lambda other: other.resolve(CARS, None), lambda other: list(other.ids())):
        with pytest.raises(StorageUnavailable, match="not its repository"):
            read(opened(server, sleep=slept.append))
    assert slept == []


def test_a_project_that_is_being_deleted_keeps_its_path(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    server.delayed = False
    project = server.project("labs/physics/cars")
    assert project
    server._delete(project, "ann")
    with pytest.raises(DatasetNotFound):
        storage.resolve(CARS, None)
    with pytest.raises(InvalidInput, match="taken"):
        storage.create(CARS, {"a": b"2"}, change())


def test_a_push_at_the_former_path_is_no_write_to_what_was_purged(server: GitLab, storage: GitLabStorage) -> None:
    """Git goes on at the former path of a project, so a writer who looked just before would write to what is gone."""
    first = storage.create(CARS, {"a": b"1"}, change())
    other = opened(server)
    fault = server.fault("none", path="git-receive-pack", method="POST")
    fault.before = lambda: other.purge(CARS, parent=first.id)
    with pytest.raises(DatasetNotFound):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert fault.struck == 1
    other.close()


def test_a_purge_sees_what_was_pushed_meanwhile(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    storage.create(BOATS, {"a": b"1"}, change())
    storage.purge(BOATS, parent=storage.resolve(BOATS, None).id)  # so that the list of moves is there
    other = opened(server)
    fault = server.fault("none", path="/projects/", method="PUT")
    fault.before = lambda: other.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict):
        storage.purge(CARS, parent=first.id)
    assert storage.read(CARS, storage.resolve(CARS, None).id, "a") == b"2"
    other.close()


@pytest.mark.parametrize("name", ["_x", "x-", "a--b", "a.atom", "a.wiki", "wikis", "create_dir", "x" * 100, "_" * 100])
def test_names_that_gitlab_refuses_are_kept_under_others(storage: GitLabStorage, name: str) -> None:
    each = DatasetId("physics", name)
    made = storage.create(each, {"a": b"1"}, change())
    assert storage.resolve(each, None) == made
    assert list(storage.ids()) == [each]


def test_every_name_leads_to_one_project_and_back() -> None:
    naming = GitLabNaming("Physics")
    names = ["cars", "_x", "wikis", "a.b-c_d", "a__b"]
    ids = [DatasetId("physics", name) for name in names] + [DatasetId("_metastore", "journal")]
    projects = [naming.repository(each) for each in ids]
    assert len(set(projects)) == len(ids)
    assert [naming.dataset(project) for project in projects] == ids
    assert naming.dataset("metastore-hex.zz") is None
    assert naming.dataset("metastore-hex." + b"cars".hex()) is None  # it has a name of its own
    for name in ("metastore-hex.00", "metastore-own.journal", "metastore-tmp.1"):
        with pytest.raises(InvalidInput):
            naming.repository(DatasetId("physics", name))


# Others' doings


def test_an_empty_project_is_no_dataset_and_is_taken_into_use(server: GitLab, storage: GitLabStorage) -> None:
    client = python_gitlab.Gitlab(server.url, private_token=TOKEN)
    client.projects.create({"name": "cars", "namespace_id": 11})
    assert list(storage.ids(deleted=None)) == []
    with pytest.raises(DatasetNotFound):
        storage.resolve(CARS, None)
    assert list(storage.ids(deleted=None)) == []
    made = storage.create(CARS, {"a": b"1"}, change())
    assert storage.resolve(CARS, None) == made


def test_a_project_with_other_branches_alone_is_left_alone(server: GitLab, storage: GitLabStorage) -> None:
    made = storage.create(CARS, {"a": b"1"}, change())
    project = server.project("labs/physics/cars")
    assert project
    git("-C", project.folder, "update-ref", "refs/heads/theirs", made.id)
    git("-C", project.folder, "update-ref", "-d", "refs/heads/main")
    with pytest.raises(DatasetNotFound):
        storage.resolve(CARS, None)
    with pytest.raises(AlreadyExists):
        storage.create(CARS, {"a": b"2"}, change())


def test_a_force_push_under_our_feet_is_a_conflict(
    server: GitLab, storage: GitLabStorage, store: metastore.MetaStore, tmp_path: Path
) -> None:
    store.dataset_create(CARS, {"n": 1})
    seen = store.dataset_update(CARS, {"n": 2}).revision
    git("clone", "-q", url(server), tmp_path / "clone")
    git("-C", tmp_path / "clone", "commit", "-q", "--amend", "-m", "Rewritten")
    subprocess.run(["git", "-C", tmp_path / "clone", "push", "-qf"], check=True, capture_output=True)
    with pytest.raises(RevisionConflict):
        store.dataset_update(CARS, {"n": 3}, expected=seen.id)
    assert store.revision_read(CARS).message == "Rewritten"
    with pytest.raises(RevisionNotFound):
        store.revision_read(CARS, seen.id)


def test_merges_other_branches_and_no_descriptor_are_read_sensibly(
    server: GitLab, store: metastore.MetaStore, tmp_path: Path
) -> None:
    store.dataset_create(CARS, {"n": 1})
    work = tmp_path / "clone"
    git("clone", "-q", url(server), work)
    git("-C", work, "checkout", "-qb", "side")
    git("-C", work, "rm", "-q", "datapackage.json")
    (work / "README.md").write_text("By hand\n")
    git("-C", work, "add", ".")
    git("-C", work, "commit", "-qm", "On the side")
    git("-C", work, "checkout", "-q", "main")
    git("-C", work, "commit", "-q", "--allow-empty", "-m", "On main")
    git("-C", work, "merge", "-q", "--no-ff", "-m", "Merged", "side")
    subprocess.run(["git", "-C", work, "push", "-q", "--all"], check=True, capture_output=True)
    told = git("-C", work, "log", "--first-parent", "--format=%H").split()
    assert [each.id for each in store.revision_list(CARS)] == told
    with pytest.raises(PathNotFound):
        store.dataset_read(CARS)
    store.dataset_update(CARS, {"n": 2})
    head = store.revision_read(CARS).id
    assert set(store.storage.paths(CARS, head)) == {"README.md", "datapackage.json", ".lfsconfig", ".gitattributes"}
    with pytest.raises(RevisionNotFound):
        store.revision_read(CARS, git("-C", work, "rev-parse", "side"))


def test_a_commit_that_is_on_no_branch_is_not_found(server: GitLab, storage: GitLabStorage, tmp_path: Path) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    git("clone", "-q", url(server), tmp_path / "clone")
    git("-C", tmp_path / "clone", "commit", "-q", "--allow-empty", "-m", "On the side")
    lost = git("-C", tmp_path / "clone", "rev-parse", "HEAD")
    subprocess.run(["git", "-C", tmp_path / "clone", "push", "-q", "origin", "HEAD:side"], check=True)
    for text in (lost, lost[:12]):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, text)
    with pytest.raises(RevisionNotFound):
        storage.tag_create(CARS, TagSpec("v1", lost, "", ANN, EPOCH))  # type: ignore[arg-type]
    assert storage.resolve(CARS, None) == first


def test_a_dataset_moved_out_of_the_group_is_not_followed(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    project = server.project("labs/physics/cars")
    assert project
    server.redirects[project.full_path], project.namespace = project.id, "other"
    with pytest.raises(DatasetNotFound, match="moved to other/cars, which is not in this store"):
        storage.resolve(CARS, None)


def test_open_issues_are_shown_with_the_project(server: GitLab, store: metastore.MetaStore) -> None:
    store.dataset_create(CARS, {"n": 1})
    project = server.project("labs/physics/cars")
    assert project
    project.issues = [
        {"iid": 3, "id": 99, "title": "Wrong unit", "state": "opened", "web_url": "https://gitlab.example/3"},
        {"iid": 4, "id": 98, "title": "Old", "state": "closed", "web_url": "https://gitlab.example/4"},
    ]
    (issue,) = store.project_read(CARS).issues
    assert (issue.number, issue.title, issue.state, issue.url) == (
        3,
        "Wrong unit",
        "opened",
        "https://gitlab.example/3",
    )


# Who may what


def test_who_may_only_read_is_told_so_and_changes_nothing(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    reader = opened(server, "glpat-rea")
    assert reader.resolve(CARS, None) == first
    for call in (
        lambda: reader.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: reader.create(BOATS, {"a": b"2"}, change()),
        lambda: reader.tag_create(CARS, TagSpec("v1", first.id, "", ANN, EPOCH)),
        lambda: reader.rename(CARS, BOATS, parent=first.id),
        lambda: reader.purge(CARS, parent=first.id),
    ):
        with pytest.raises(PermissionDenied):
            call()
    assert storage.resolve(CARS, None) == first
    assert list(storage.ids()) == [CARS]
    reader.close()


def test_what_one_may_not_see_is_not_there(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(CARS, {"a": b"1"}, change())
    outsider = opened(server, "glpat-out")
    with pytest.raises(DatasetNotFound):
        outsider.resolve(CARS, None)
    with pytest.raises(StorageUnavailable, match="no group labs/physics"):
        outsider.ping()
    outsider.close()


def test_a_wrong_token_is_never_shown(server: GitLab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    storage = opened(server, "glpat-wrong-and-secret")
    with pytest.raises(StorageUnavailable) as caught:
        storage.resolve(CARS, None)
    assert "secret" not in f"{caught.value}{caught.value!r}{storage!r}{vars(storage)}{caplog.text}"
    storage.close()


# Limits


@pytest.mark.parametrize("held_by", ["nobody", "another", "itself"])
def test_a_move_that_gitlab_refuses_says_why(held_by: str, server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    if held_by == "another":
        opened(server).create(BOATS, {"a": b"2"}, change())
    target = CARS if held_by == "itself" else BOATS
    project = storage._api.by_number(storage._look(CARS).project.id)
    assert project
    server.fault(Reply(400, {"message": {"path": ["is reserved"]}}), path=f"/projects/{project.id}", method="PUT")
    with pytest.raises(AlreadyExists if held_by == "another" else InvalidInput) as caught:
        storage._api.rename(project, storage.naming.repository(target), "a title", first.id)
    assert ("is reserved" in str(caught.value)) == (held_by != "another")
    assert storage.resolve(CARS, None) == first


def test_limits_are_waited_for(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    told: list[float] = []
    for host in storage.hosts:
        host.waiting = told.append  # and nobody waits
    for path in ("git-receive-pack", "/projects/", "git-upload-pack"):
        server.fault(Reply(429, b"Retry later\n", {"Retry-After": "0"}), path=path)
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == second
    assert len(told) == 0  # to wait no time is no wait
    server.fault(Reply(429, b"Retry later\n", {"Retry-After": "1"}), path="/projects/")
    assert storage.resolve(CARS, None) == second
    assert [round(seconds) for seconds in told] == [1]


def test_a_limit_longer_than_our_patience_changes_nothing(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    server.fault(Reply(429, b"Retry later\n", {"Retry-After": "600"}), path="git-receive-pack")
    with pytest.raises(StorageBusy, match="600 seconds"):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    other = opened(server)
    assert other.resolve(CARS, None) == first
    other.close()


def test_a_history_carried_over_takes_one_push(server: GitLab, storage: GitLabStorage) -> None:
    from metastore.storage.copy import copy

    source = MemoryStorage()
    head = source.create(CARS, {"a": b"0"}, change())
    for number in range(1, 300):
        at = EPOCH + timedelta(seconds=number)
        head = source.append(CARS, {"a": b"%d" % number}, change(at=at), parent=head.id)
    assert copy(source, storage).revisions == 300
    assert server.calls().count("POST /labs/physics/cars.git/git-receive-pack") == 1
    back = MemoryStorage()
    fresh = opened(server)
    server.forget()
    assert copy(fresh, back).revisions == 300
    assert list(back.history(CARS, head.id)) == list(source.history(CARS, head.id))
    assert len(server.seen) < 20
    fresh.close()
    storage.append(CARS, {"a": b"more"}, change(), parent=head.id)
    server.forget()
    fresh = opened(server)
    assert copy(fresh, back).revisions == 1
    sent = [len(reply.content) for request, reply in server.seen if b"have " in request.body]
    assert sent
    assert max(sent) < 1_000  # what is new, and no 300 revisions
    fresh.close()


def test_it_is_usable_after_a_fork(server: GitLab, storage: GitLabStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    child = os.fork()
    if not child:
        status = 1
        try:
            storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert storage.read(CARS, storage.resolve(CARS, None).id, "a") == b"2"


@pytest.mark.parametrize(
    ("url", "api", "group"),
    [
        ("gitlab://labs", "https://gitlab.com/api/v4", "labs"),
        ("gitlab://labs/physics/", "https://gitlab.com/api/v4", "labs/physics"),
        ("gitlab://git.example.org/labs/physics", "https://git.example.org/api/v4", "labs/physics"),
        ("gitlab://localhost/labs", "http://localhost/api/v4", "labs"),
        ("gitlab://127.0.0.1:8080/labs", "http://127.0.0.1:8080/api/v4", "labs"),
    ],
)
def test_a_url_names_a_host_and_a_group(url: str, api: str, group: str) -> None:
    storage = open_gitlab(url, token="x")
    assert (storage.hosts[0].base, storage._api.group) == (api, group)
    storage.close()


@pytest.mark.parametrize("url", ["gitlab://", "gitlab://git.example.org", "gitlab://t@labs", "gitlab://labs/_x"])
def test_a_url_that_names_no_group_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_gitlab(url, token="x")
    with pytest.raises(InvalidInput, match="METASTORE_GITLAB_TOKEN"):
        open_gitlab("gitlab://labs")


def test_only_projects_with_the_topic_are_listed(server: GitLab, storage: GitLabStorage) -> None:
    storage.create(BOATS, {"a": b""}, change())
    marked = opened(server, topic="portal", private=False, description="About {owner}/{name}")
    marked.create(CARS, {"a": b""}, change())
    project = server.project("labs/physics/cars")
    assert project
    assert (project.facts["visibility"], project.facts["topics"]) == ("public", ["portal"])
    assert project.facts["description"] == "About physics/cars"
    assert list(marked.ids()) == [CARS]
    assert list(storage.ids()) == [BOATS, CARS]
    marked.close()


def test_what_a_purge_that_was_cut_off_left_is_found_and_removed_unless_written_to(
    server: GitLab, storage: GitLabStorage
) -> None:
    for each in (CARS, BOATS):
        storage.create(each, {"a": b"1"}, change())
    heads = {each: storage.resolve(each, None).id for each in (CARS, BOATS)}
    second = storage.append(BOATS, {"a": b"2"}, change(), parent=heads[BOATS])
    for each in (CARS, BOATS):
        project = server.project(f"labs/{each}")
        assert project
        project.path, project.created = f"metastore-tmp.{each.name}.{heads[each]}", "2024-05-01T12:00:00.000Z"
        server.redirects.clear()
    kept, removed = sorted(storage.verify(repair=True), key=lambda damage: damage.repaired)
    assert (kept.repaired, removed.repaired) == (False, True)
    assert [bool(each.marked) for each in server.projects.values()] == [True, False]
    assert git("-C", server.projects[102].folder, "rev-parse", "main") == second.id


def test_the_command_line_finds_the_group_and_the_token(server: GitLab, tmp_path: Path) -> None:
    address = f"gitlab://{server.url.removeprefix('http://')}/labs/physics"
    environment = {**os.environ, "METASTORE_GITLAB_TOKEN": TOKEN, "METASTORE_AUTHOR": "Ann <ann@example.org>"}
    command = [sys.executable, "-m", "metastore", "--store", address, "dataset"]

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], env=environment, input=given, capture_output=True, text=True, check=False
        )

    assert run("create", "physics/cars", "-", given='{"title": "Cars"}').returncode == 0
    assert run("list").stdout == "physics/cars\n"
    del environment["METASTORE_GITLAB_TOKEN"]
    refused = run("list")
    assert (refused.returncode, "METASTORE_GITLAB_TOKEN" in refused.stderr) == (2, True)
    with metastore.connect(address, token=TOKEN, author=ANN) as store:
        assert store.dataset_read(CARS).descriptor == {"title": "Cars"}
    with pytest.raises(InvalidInput, match="app_id"):
        metastore.connect(address, token=TOKEN, app_id="1")


def test_a_gitlab_that_is_not_there_is_said_to_be_unreachable() -> None:
    storage = open_gitlab("gitlab://127.0.0.1:1/labs", token=TOKEN, sleep=lambda seconds: None)
    with pytest.raises(StorageUnavailable, match=r"cannot be reached|no whole response"):
        storage.resolve(DatasetId("labs", "cars"), None)
    storage.close()
