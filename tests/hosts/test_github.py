"""A store on GitHub: how it is opened, what it costs, and repositories that somebody else pushed to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pygit2
import pytest

import metastore
from metastore import MetaStore
from metastore.bundle import BundleRegistry, Groups
from metastore.bundle.versioned import VersionedRecord
from metastore.config import host_options, load
from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    InvalidInput,
    PathNotFound,
    PermissionDenied,
    RevisionConflict,
    RevisionNotFound,
    StorageUnavailable,
    TagNotFound,
)
from metastore.storage.github.connect import open_github
from metastore.storage.github.storage import GitHubStorage
from metastore.types import DatasetId, RevisionId

from ..conftest import ANN, change, real_descriptor, ticking
from ..processes import fsck, in_child
from ..test_storage_contract import tag_of
from .github import APP_KEYS, TOKEN, GitHub, Repository
from .judges import judge

CARS, BOATS = DatasetId("physics", "cars"), DatasetId("physics", "boats")
BO = pygit2.Signature("Bo", "bo@example.org", 1_700_000_000, 120)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    with GitHub(tmp_path) as made:
        made.judges.append(judge)
        yield made
        for each in _opened:
            each.close()
        _opened.clear()


_opened: list[GitHubStorage] = []


def opened(hub: GitHub, **options: Any) -> GitHubStorage:
    _opened.append(open_github("github://physics", **{"token": TOKEN, "api_url": hub.url, **options}))
    return _opened[-1]


@pytest.fixture
def storage(hub: GitHub) -> Iterator[GitHubStorage]:
    made = opened(hub)
    yield made
    made.close()


@pytest.fixture
def store(storage: GitHubStorage) -> MetaStore:
    return MetaStore(storage, author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{owner}/{name}")


def pushed(
    found: Repository, files: dict[str, bytes], *, parents: list[str] | None = None, branch: str = "main"
) -> str:
    """Commit as somebody with Git would: with a time zone, and no care for our form."""
    index = pygit2.Index()
    for path, content in files.items():
        index.add(pygit2.IndexEntry(path, found.git.create_blob(content), pygit2.enums.FileMode.BLOB))
    tip = found.target(f"refs/heads/{branch}")
    over = [tip] if parents is None and tip else parents or []
    made = found.git.create_commit(None, BO, BO, "By hand\n\n\n", index.write_tree(found.git), over)
    found.git.references.create(f"refs/heads/{branch}", made, force=True)
    return str(made)


# Opening


def test_a_store_is_opened_by_its_url(hub: GitHub) -> None:
    with metastore.connect("github://physics", token=TOKEN, api_url=hub.url, author=ANN) as store:
        made = store.dataset_create(CARS, real_descriptor())
        assert store.dataset_read(CARS) == metastore.Dataset(CARS, made.revision, made.descriptor, made.bytes)


def test_an_enterprise_server_is_named_in_the_url(hub: GitHub) -> None:
    server = hub.url.removeprefix("http://")
    with metastore.connect(f"github://{server}/physics", token=TOKEN, author=ANN) as store:
        store.dataset_create(CARS, real_descriptor())
    assert {call.split("/")[1] for call in hub.calls()} == {"api"}


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("github://physics", "https://api.github.com"),
        ("github://Physics", "https://api.github.com"),
        ("github://github.com/physics", "https://api.github.com"),
        ("github://git.example.org/physics", "https://git.example.org/api/v3"),
        ("github://acme.ghe.com/physics", "https://api.acme.ghe.com"),
    ],
)
def test_the_api_of_a_server_is_where_github_puts_it(url: str, base: str) -> None:
    storage = open_github(url, token="t")
    assert (storage.host.base, storage.naming.owner) == (base, "physics")


def test_repositories_are_cloned_from_where_github_puts_them() -> None:
    for url, address in {
        "github://physics": "https://github.com/physics/{name}.git",
        "github://octo.ghe.com/physics": "https://octo.ghe.com/physics/{name}.git",
        "github://api.example.org/physics": "https://api.example.org/physics/{name}.git",
    }.items():
        storage = open_github(url, token=TOKEN)
        assert storage.clone_template == address
        storage.close()


@pytest.mark.parametrize(
    "url", ["github://", "github://a/b/c", "github://secret@physics", "github://_own", "github://a b", "github://x?y=1"]
)
def test_a_url_that_names_no_owner_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_github(url, token="t")
    assert "secret" not in str(caught.value)


def test_a_store_without_a_token_says_what_is_missing() -> None:
    with pytest.raises(InvalidInput, match="needs a token"):
        metastore.connect("github://physics")
    with pytest.raises(InvalidInput, match="only a store on a Git host has the option 'token'"):
        metastore.connect("memory:", token="t")


def test_the_token_comes_from_the_environment_and_is_in_no_repr() -> None:
    environ = {"METASTORE_STORE": "github://physics", "METASTORE_GITHUB_TOKEN": "ghp_secret"}
    settings = load(environ)
    assert host_options(settings, settings.url) == {"token": "ghp_secret"}
    assert "ghp_secret" not in repr(settings)
    for elsewhere in ("/srv/store", "gitlab://physics", "https://metastore.example.org", "memory:"):
        assert host_options(settings, elsewhere) == {}
    storage = open_github("github://physics", token="ghp_secret")
    for each in (storage, storage.host, storage.api, vars(storage.host)):
        assert "ghp_secret" not in repr(each)


def test_an_app_mints_its_tokens_and_renews_them(hub: GitHub) -> None:
    private, APP_KEYS["public"] = key_pair()
    app = {"token": None, "app_id": 4711, "private_key": private, "installation": "42"}
    storage = opened(hub, **app)
    storage.create(CARS, {"a": b"1"}, change())
    minted = [call for call in hub.calls() if call.startswith("POST /app/")]
    assert len(minted) == 1
    for token in [each for each in hub.tokens if each.startswith("ghs_")]:
        del hub.tokens[token]  # as if it had been revoked
    assert storage.read(CARS, storage.resolve(CARS, None).id, "a") == b"1"
    assert len([call for call in hub.calls() if call.startswith("POST /app/")]) == 2
    assert private not in repr(storage.host._credentials)
    storage.close()


def test_an_app_whose_token_is_about_to_expire_gets_another(hub: GitHub) -> None:
    from metastore.storage.github.connect import AppToken

    private, APP_KEYS["public"] = key_pair()
    now = [datetime.now(UTC).timestamp()]
    app = AppToken(hub.url, "4711", private, "42", clock=lambda: now[0])
    first = app.headers()
    assert app.headers() == first
    now[0] = datetime(2998, 12, 31, 23, 56, tzinfo=UTC).timestamp()
    # GitHub's clock is not ours: it refuses the signature, which is an error and no old token
    with pytest.raises(StorageUnavailable):
        app.headers()


def test_a_key_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput, match="private_key") as caught:
        open_github("github://physics", app_id=1, private_key="no secret key", installation=2)
    assert "no secret key" not in str(caught.value)


def key_pair() -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


# Accounts


def test_an_account_makes_its_own_repositories_and_nobody_elses(tmp_path: Path) -> None:
    with GitHub(tmp_path, account=True) as hub:
        storage = opened(hub)
        storage.create(CARS, {"a": b"1"}, change())
        assert hub.find("physics", "cars")
        hub.tokens["other"] = "ann"
        other = opened(hub, token="other")
        with pytest.raises(PermissionDenied, match="the token is ann's"):
            other.create(BOATS, {"a": b"1"}, change())
        assert len(hub.repositories) == 1
        for each in (storage, other):
            each.close()


def test_an_owner_that_is_not_there_is_said(hub: GitHub) -> None:
    hub.accounts.pop("physics")
    storage = opened(hub)
    with pytest.raises(StorageUnavailable, match="no account or organisation physics"):
        storage.create(CARS, {"a": b"1"}, change())
    with pytest.raises(StorageUnavailable, match="not there, or not for the token's owner"):
        list(storage.ids())
    storage.close()


def test_repositories_are_private_unless_asked_otherwise_and_say_what_they_are(hub: GitHub) -> None:
    hub.list_lag = 0
    for name, options in {
        "a": {},
        "b": {"private": False, "description": "{name} of {owner}", "topic": "data"},
    }.items():
        storage = opened(hub, **options)
        storage.create(DatasetId("physics", name), {"a": b"1"}, change())
        storage.close()
    private, public = hub.find("physics", "a"), hub.find("physics", "b")
    assert private
    assert public
    assert (private.private, private.description, private.topics) == (True, "Data package physics/a", [])
    assert (public.private, public.description, public.topics) == (False, "b of physics", ["data"])
    with_topic = opened(hub, topic="data")
    assert [each.name for each in with_topic.ids()] == ["b"]
    with_topic.close()


def test_a_new_dataset_has_its_branch_with_any_default_of_the_account(hub: GitHub, storage: GitHubStorage) -> None:
    hub.default_branch = "trunk"
    first = storage.create(CARS, {"a": b"1"}, change())
    found = hub.find("physics", "cars")
    assert found
    assert (found.branch, sorted(found.git.references)) == ("main", ["refs/heads/main"])
    assert opened(hub).resolve(CARS, "main") == first


def test_a_token_that_may_only_read_reads_and_says_that_it_may_not_write(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    hub.tokens["reader"] = "ann"
    hub.read_only.add("reader")
    reader = opened(hub, token="reader")
    assert reader.read(CARS, first.id, "a") == b"1"
    for call in (
        lambda: reader.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: reader.create(BOATS, {"a": b"2"}, change()),
        lambda: reader.rename(CARS, BOATS, parent=first.id),
        lambda: reader.tag_create(CARS, tag_of("v1", first.id)),
    ):
        with pytest.raises(PermissionDenied):
            call()
    assert storage.resolve(CARS, None) == first
    reader.close()


# What it costs


def counted(hub: GitHub, call: Any) -> list[str]:
    hub.forget()
    call()
    return hub.calls()


def test_an_update_by_a_store_that_knows_nothing_yet_costs_four_requests(hub: GitHub, store: MetaStore) -> None:
    store.dataset_create(CARS, real_descriptor("vega/datasets"))
    fresh = MetaStore(opened(hub), author=ANN, lfs_url="https://lfs.example.org/{owner}/{name}")
    calls = counted(hub, lambda: fresh.dataset_patch(CARS, {"title": "New"}))
    assert calls == [
        "POST /graphql",
        "POST /repos/physics/cars/git/trees",
        "POST /repos/physics/cars/git/commits",
        "POST /graphql",
    ]
    assert len(counted(hub, lambda: fresh.dataset_patch(CARS, {"title": "Newer"}))) == 4


def test_a_read_costs_one_request_and_nothing_when_unchanged(hub: GitHub, store: MetaStore) -> None:
    store.dataset_create(CARS, real_descriptor())
    fresh = MetaStore(opened(hub))
    assert counted(hub, lambda: fresh.dataset_read(CARS)) == ["POST /graphql"]
    fresh.dataset_read(CARS)
    hub.forget()
    fresh.dataset_read(CARS)
    assert [(request.path, reply.status) for request, reply in hub.seen] == [
        ("/repos/physics/cars/git/ref/heads/main", 304)
    ]


def test_a_read_never_takes_an_old_head_for_the_newest(hub: GitHub, store: MetaStore) -> None:
    store.dataset_create(CARS, {"n": 0})
    other = MetaStore(opened(hub), author=ANN, clock=ticking())
    for number in range(1, 4):
        other.dataset_update(CARS, {"n": number})
        assert json.loads(store.dataset_json(CARS)[1]) == {"n": number}
        assert store.dataset_read(CARS).descriptor == {"n": number}
        store.dataset_update(CARS, {"n": -number})
        assert other.dataset_read(CARS).descriptor == {"n": -number}


def test_a_page_of_a_list_costs_one_request(hub: GitHub, storage: GitHubStorage) -> None:
    hub.list_lag = 0  # what is not listed yet may cost a look at its head, if that was seen some seconds ago
    storage.create(CARS, {"a": b"1"}, change())
    for number in range(205):
        pushed(hub.make("physics", f"d-{number}"), {"datapackage.json": b"{}"})
    hub.make("physics", "empty")
    assert counted(hub, lambda: list(storage.ids())) == ["POST /graphql"] * 3
    found = list(storage.ids())
    assert len(found) == 206
    assert found == sorted(found)
    assert counted(hub, lambda: list(storage.ids(prefix="chemistry/"))) == []


# What somebody else pushed


def by_hand(hub: GitHub, files: dict[str, bytes] | None = None) -> Repository:
    found = hub.make("physics", "cars")
    pushed(found, files or {"datapackage.json": b'{"title": "Cars"}', "README.md": b"# Cars", "data/a.csv": b"1"})
    return found


def test_a_repository_made_by_hand_is_read_and_written_and_keeps_its_files(hub: GitHub, store: MetaStore) -> None:
    found = by_hand(hub)
    read = store.dataset_read(CARS)
    assert (read.descriptor, read.revision.author.name) == ({"title": "Cars"}, "Bo")
    assert read.revision.created == datetime.fromtimestamp(1_700_000_000, UTC)
    assert read.revision.message == "By hand"
    store.dataset_patch(CARS, {"title": "Ships"})
    head = found.git[found.target("refs/heads/main")]
    assert head.tree["README.md"].data == b"# Cars"
    assert head.tree["data/a.csv"].data == b"1"
    assert [each.message for each in store.revision_list(CARS)] == ["Patch dataset", "By hand"]
    fsck(hub.folder.parent)


def test_a_repository_without_a_descriptor_is_said_to_have_none(hub: GitHub, store: MetaStore) -> None:
    by_hand(hub, {"README.md": b"x"})
    with pytest.raises(PathNotFound):
        store.dataset_read(CARS)
    assert [str(each) for each in store.dataset_list()] == ["physics/cars"]
    assert [each.kind for each in store.verify()] == ["not-a-descriptor"]
    assert store.dataset_update(CARS, {"title": "Cars"}).descriptor == {"title": "Cars"}


def test_a_merge_is_a_revision_and_what_it_brought_in_is_none(hub: GitHub, storage: GitHubStorage) -> None:
    found = by_hand(hub)
    first = found.target("refs/heads/main")
    assert first
    side = pushed(found, {"a": b"side"}, branch="side", parents=[first])
    ours = pushed(found, {"a": b"ours"})
    merge = pushed(found, {"a": b"both"}, parents=[ours, side])
    assert [each.id for each in storage.history(CARS, RevisionId(merge))] == [merge, ours, first]
    for text in (side, side[:10]):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, text)


def test_a_forced_push_under_our_feet_is_a_conflict_and_not_overwritten(hub: GitHub, store: MetaStore) -> None:
    first = store.dataset_create(CARS, {"n": 0}).revision
    second = store.dataset_update(CARS, {"n": 1}).revision
    found = hub.find("physics", "cars")
    assert found
    rewritten = pushed(found, {"datapackage.json": b'{"n": "rewritten"}'}, parents=[first.id])
    with pytest.raises(RevisionConflict) as caught:
        store.dataset_update(CARS, {"n": 2}, expected=second.id)
    assert caught.value.actual == rewritten
    with pytest.raises(RevisionNotFound):
        store.revision_read(CARS, second.id)
    assert store.dataset_read(CARS).descriptor == {"n": "rewritten"}
    assert store.dataset_update(CARS, {"n": 3}).revision.parent == rewritten


def test_another_default_branch_is_the_one_that_counts(hub: GitHub, storage: GitHubStorage) -> None:
    found = by_hand(hub)
    other = pushed(found, {"a": b"other"}, branch="trunk")
    found.git.set_head("refs/heads/trunk")
    assert storage.resolve(CARS, "trunk").id == other
    after = storage.append(CARS, {"b": b"1"}, change(), parent=RevisionId(other))
    assert found.target("refs/heads/trunk") == after.id
    with pytest.raises(RevisionNotFound):
        storage.resolve(CARS, "main")


def test_a_commit_of_a_fork_is_not_found(hub: GitHub, storage: GitHubStorage) -> None:
    found = by_hand(hub)
    stray = pushed(found, {"a": b"of a fork"}, branch="gone", parents=[])
    found.git.references.delete("refs/heads/gone")  # reachable by its id alone, as a fork's are
    blob = str(found.git[stray].tree["a"].id)
    for text in (stray, stray[:12], blob, blob[:12]):
        with pytest.raises(RevisionNotFound):
            storage.resolve(CARS, text)
    with pytest.raises(RevisionNotFound):
        storage.read(CARS, RevisionId(stray), "a")


def test_an_empty_repository_is_no_dataset_and_not_written_over(hub: GitHub, storage: GitHubStorage) -> None:
    hub.make("physics", "cars")
    with pytest.raises(DatasetNotFound, match="is empty"):
        storage.resolve(CARS, None)
    with pytest.raises(StorageUnavailable, match="is empty"):
        storage.create(CARS, {"a": b"1"}, change())
    assert list(storage.ids(deleted=None)) == []
    assert len(hub.repositories) == 1


def test_lightweight_tags_and_tags_of_something_else(hub: GitHub, storage: GitHubStorage) -> None:
    found = by_hand(hub)
    head = found.git[found.target("refs/heads/main")]
    found.git.references.create("refs/tags/light", head.id)
    found.git.create_tag("heavy", head.id, pygit2.enums.ObjectType.COMMIT, BO, "Heavy\n")
    found.git.create_tag("tree", head.tree_id, pygit2.enums.ObjectType.TREE, BO, "A tree\n")
    found.git.references.create("refs/tags/blob", head.tree["README.md"].id)
    assert [(each.name, each.description, each.revision) for each in storage.tags(CARS)] == [
        ("heavy", "Heavy", str(head.id)),
        ("light", "", str(head.id)),
    ]
    for name in ("tree", "blob"):
        with pytest.raises(TagNotFound):
            storage.tag(CARS, name)
    assert storage.resolve(CARS, "heavy").id == str(head.id)


def test_names_that_are_no_text_links_and_programs_are_read_and_kept(hub: GitHub, storage: GitHubStorage) -> None:
    found = by_hand(hub)
    tree = found.git.TreeBuilder()
    tree.insert("run", found.git.create_blob(b"#!"), 0o100755)
    tree.insert("link", found.git.create_blob(b"run"), 0o120000)
    tree.insert("datapackage.json", found.git.create_blob(b"{}"), 0o100644)
    head = found.git.create_commit(
        "refs/heads/main", BO, BO, "Odd", tree.write(), [found.target("refs/heads/main") or ""]
    )
    after = storage.append(CARS, {"a/b": b"1"}, change(), parent=RevisionId(str(head)))
    kept = found.git[after.id].tree
    assert (int(kept["run"].filemode), int(kept["link"].filemode)) == (0o100755, 0o120000)
    assert set(storage.paths(CARS, after.id)) == {"run", "link", "datapackage.json", "a/b"}


def test_binary_and_large_files_are_stored_and_read(storage: GitHubStorage) -> None:
    files = {
        "binary": bytes(range(256)),
        "large": b"x" * 600_000,
        "zero": b"a\0b",
        "crlf": b"a\r\nb",
        "ä/ü": "ö".encode(),
    }
    made = storage.create(CARS, files, change())
    second = storage.append(CARS, {"large": b"y" * 700_000}, change(), parent=made.id)
    for path, content in files.items():
        assert storage.read(CARS, made.id, path) == content
    assert storage.read(CARS, second.id, "large") == b"y" * 700_000


# Names


def test_upper_case_on_github_is_lower_case_in_ids(hub: GitHub, storage: GitHubStorage) -> None:
    pushed(hub.make("physics", "Cars"), {"a": b"1"})
    pushed(hub.make("physics", "not..an-id"), {"a": b"1"})
    assert list(storage.ids()) == [CARS]
    assert storage.resolve(CARS, None).message == "By hand"
    with pytest.raises(AlreadyExists):
        storage.create(CARS, {"a": b"1"}, change())


def test_what_is_the_stores_own_has_names_that_no_dataset_can_have(hub: GitHub, store: MetaStore) -> None:
    store.dataset_create(CARS, {})
    store.dataset_move(CARS, BOATS)
    assert {each.name for each in hub.repositories.values()} == {"boats", "metastore-own.journal"}
    assert list(store.dataset_list()) == [BOATS]
    for name in ("metastore-own.journal", "metastore-tmp.x"):
        with pytest.raises(InvalidInput, match="the store's own"):
            store.dataset_create(("physics", name), {})


def test_a_repository_that_was_renamed_or_given_away_by_hand_has_moved(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    found = hub.find("physics", "cars")
    assert found
    hub.redirects["physics", "cars"] = found.number
    found.name = "Ships"
    for call in (
        lambda: storage.resolve(CARS, None),
        lambda: storage.append(CARS, {"a": b"2"}, change(), parent=first.id),
        lambda: opened(hub).tag_create(CARS, tag_of("v1", first.id)),
    ):
        with pytest.raises(DatasetMoved) as caught:
            call()
        assert caught.value.new_id == "physics/ships"
    found.owner = "Chemistry"
    with pytest.raises(DatasetMoved) as caught:
        storage.resolve(CARS, None)
    assert caught.value.new_id == "chemistry/ships"


# The rest


def test_a_forked_child_and_threads_share_a_store(hub: GitHub, storage: GitHubStorage, store: MetaStore) -> None:
    store.dataset_create(CARS, {})
    assert in_child(lambda: store.dataset_patch(CARS, {"child": 1})) == 0

    def writes(name: str) -> None:
        for number in range(4):
            store.dataset_patch(CARS, {f"{name}{number}": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writes, "abcd"))
    assert len(store.dataset_read(CARS).descriptor) == 17
    assert len(list(store.revision_list(CARS))) == 18


def test_an_old_revision_is_brought_with_what_is_read_of_it(hub: GitHub, store: MetaStore) -> None:
    revisions = [store.dataset_create(CARS, {"n": 0}).revision]
    revisions += [store.dataset_update(CARS, {"n": number}).revision for number in range(1, 5)]
    fresh = MetaStore(opened(hub))
    assert counted(hub, lambda: fresh.dataset_read(CARS, revisions[1].id)) == ["POST /graphql"] * 3
    assert len(counted(hub, lambda: list(fresh.revision_list(CARS)))) == 1


def test_open_issues_are_listed(hub: GitHub, store: MetaStore) -> None:
    store.dataset_create(CARS, {})
    found = hub.find("physics", "cars")
    assert found
    for number in range(1, 131):
        state = "CLOSED" if number == 5 else "OPEN"
        url = f"https://github.com/physics/cars/issues/{number}"
        found.issues.append({"number": number, "title": f"Wrong {number}", "state": state, "url": url})
    issues = store.project_read(CARS).issues
    assert len(issues) == 129
    assert issues[0] == metastore.Issue(1, "Wrong 1", "open", "https://github.com/physics/cars/issues/1")


def test_moves_purges_and_checks_see_what_another_process_just_wrote(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    other = opened(hub)
    assert other.resolve(CARS, None) == first
    second = storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    with pytest.raises(RevisionConflict):
        other.rename(CARS, BOATS, parent=first.id)
    other.rename(CARS, BOATS, parent=second.id)
    third = storage.append(BOATS, {"a": b"3"}, change(), parent=second.id)
    with other._open_uncached(BOATS) as repository:
        assert repository.head() == third.id
    fourth = storage.append(BOATS, {"a": b"4"}, change(), parent=third.id)
    with pytest.raises(RevisionConflict):
        other.purge(BOATS, parent=third.id)
    other.purge(BOATS, parent=fourth.id)
    assert list(other.ids()) == []


def test_a_purge_that_github_refuses_changes_nothing(hub: GitHub, storage: GitHubStorage) -> None:
    first = storage.create(CARS, {"a": b"1"}, change())
    hub.no_delete.add(TOKEN)
    with pytest.raises(PermissionDenied):
        storage.purge(CARS, parent=first.id)
    assert storage.resolve(CARS, None) == first
    assert list(storage.ids()) == [CARS]


def test_what_interrupted_writes_left_behind_is_found_and_taken_away(hub: GitHub, storage: GitHubStorage) -> None:
    old = hub.make("physics", "metastore-tmp.old")
    hub.make("physics", "metastore-tmp.new")
    old.created = datetime.now(UTC) - timedelta(days=1)
    assert list(storage.ids(deleted=None)) == []
    (damage,) = storage.verify()
    assert (damage.where, damage.kind, damage.repaired) == ("metastore-tmp.old", "left-over-file", False)
    (damage,) = storage.verify(repair=True)
    assert damage.repaired
    assert list(storage.verify()) == []
    assert len(hub.repositories) == 1


def test_bundles_are_kept_on_github(hub: GitHub) -> None:
    hub.list_lag = 0
    groups = Groups.parse("groups = NOvA\nNOvA = ann\nroot = ruth")
    with BundleRegistry(VersionedRecord(opened(hub)), groups, clock=ticking()) as registry:
        registry.bundle_create(
            {"name": "NuMI", "event": "e,a9", "ifb_group": "NOvA", "devices": ["E:TR101D"]}, user="ann", comment="New"
        )
        assert [each.name for each in registry.bundle_list()] == ["NuMI"]
    assert [each.name for each in hub.repositories.values()] == ["metastore-own.bundles"]
    assert [str(each) for each in opened(hub).ids(prefix="_metastore/")] == ["_metastore/bundles"]


def test_git_clones_and_checks_what_was_stored(hub: GitHub, store: MetaStore, tmp_path: Path) -> None:
    store.dataset_create(CARS, real_descriptor("vega/datasets"))
    store.dataset_patch(CARS, {"title": "Cars"})
    store.tag_create(CARS, "v1", description="First")
    store.tag_update(CARS, "v1", new_name="v2")
    found = hub.find("physics", "cars")
    assert found
    check = ["git", "-C", found.git.path, "-c", "safe.directory=*", "fsck", "--strict", "--no-dangling"]
    assert subprocess.run(check, capture_output=True, text=True).returncode == 0
    clone = tmp_path / "clone"
    subprocess.run(["git", "-c", "safe.directory=*", "clone", "-q", found.git.path, str(clone)], check=True)
    log = subprocess.run(["git", "-C", str(clone), "log", "--format=%H"], capture_output=True, text=True, check=True)
    assert log.stdout.split() == [each.id for each in store.revision_list(CARS)]
    assert (clone / "datapackage.json").read_bytes() == store.dataset_read(CARS).bytes
    assert sorted(found.git.references) == ["refs/heads/main", "refs/tags/v2"]


def test_ids_are_those_of_local_git(store: MetaStore, tmp_path: Path) -> None:
    local = metastore.connect(
        tmp_path / "local", author=ANN, clock=ticking(), lfs_url="https://lfs.example.org/{owner}/{name}"
    )
    for each in (store, local):
        each.dataset_create(CARS, real_descriptor("frictionless/zipped-resources"))
        each.dataset_patch(CARS, {"title": "Äpfel"}, message="Why\n\nBecause")
        each.dataset_delete(CARS)
        each.tag_create(CARS, "v1", each.revision_list(CARS)[0].parent, description="First")
    assert list(store.revision_list(CARS)) == list(local.revision_list(CARS))
    assert list(store.tag_list(CARS)) == list(local.tag_list(CARS))
    local.close()


def test_an_object_that_github_makes_otherwise_is_refused_before_the_branch_moves(
    hub: GitHub, storage: GitHubStorage
) -> None:
    from .server import Reply

    first = storage.create(CARS, {"a": b"1"}, change())
    hub.fault(Reply(201, {"sha": "f" * 40}), path="/git/commits$")
    with pytest.raises(metastore.StorageError, match="nothing was changed"):
        storage.append(CARS, {"a": b"2"}, change(), parent=first.id)
    assert storage.resolve(CARS, None) == first
