"""Histories that were made elsewhere come to the service, by `git push` and by a copy: byte for byte, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import metastore
from metastore import MetaStore, events
from metastore.client._histories import ServiceHistories
from metastore.config import ServiceSettings
from metastore.errors import InvalidInput
from metastore.git.cache import Cache
from metastore.git.objects import BLOB, COMMIT, TREE, GitObject, commit_content, object_id
from metastore.git.pack import BY_ID, HEADER, to_pack
from metastore.git.reachable import Needed
from metastore.storage.copy import copy
from metastore.storage.objects import ObjectStorage
from metastore.store.receiving import Receiver
from metastore.types import Author, Change, DatasetId

from ..conftest import ANN, STORAGES, ticking
from ..loopback import serving, token
from .conftest import Door
from .test_clones import HIDING, ZEROS, git, history, lines, refused

ID = DatasetId("physics", "cars")
POST = "/git/physics/cars.git/git-receive-pack"
KIND = "application/x-git-receive-pack-request"
MAIN = "refs/heads/main"
MAKER = ("ds:physics/*:read,create,update,import",)


@pytest.fixture
def here() -> MetaStore:
    """A store with a history that the service is to get."""
    store = MetaStore(STORAGES["memory"](Path()), author=ANN, clock=ticking())
    for number in range(3):
        write = store.dataset_update if number else store.dataset_create
        write("physics/cars", {"name": "cars", "number": number})
    store.tag_create("physics/cars", "v1", store.revision_list("physics/cars")[1].id, description="As published")
    return store


@pytest.fixture(params=["memory", "git", "postgres"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetaStore]:
    store = MetaStore(STORAGES[request.param](tmp_path), author=ANN, clock=ticking())
    yield store
    store.close()


def objects_of(store: MetaStore, start: str) -> dict[str, GitObject]:
    storage = store.storage
    assert isinstance(storage, ObjectStorage)
    with storage.objects(ID) as repository:
        return dict(Needed(repository, start, None))


def body(
    objects: Mapping[str, GitObject], *updates: tuple[str, str, str], capabilities: str = "report-status"
) -> bytes:
    texts = [f"{old} {new} {name}" for old, new, name in updates]
    texts[0] += f"\0{capabilities}"
    return lines(*texts, "") + to_pack(objects)


def sent(door: Door, content: bytes, *scopes: str, user: str | None = "imp") -> Any:
    return door.comes(user, *(scopes or MAKER)).post(POST, data=content, content_type=KIND)


def revision(files: Mapping[str, bytes], parent: str | None = None, mode: bytes = b"100644") -> dict[str, GitObject]:
    """Return the objects of a revision; the last one is its commit."""
    blobs = {name: GitObject(BLOB, content) for name, content in files.items()}
    ids = {name: object_id(BLOB, blob.content) for name, blob in blobs.items()}
    entries = (mode + b" " + name.encode() + b"\0" + bytes.fromhex(ids[name]) for name in sorted(files))
    tree = GitObject(TREE, b"".join(entries))
    tree_id = object_id(TREE, tree.content)
    change = Change(Author("Eve", "eve@example.org"), "Mine", ticking()())
    commit = GitObject(COMMIT, commit_content(tree_id, parent, change))  # type: ignore[arg-type]
    return {
        **{ids[name]: blob for name, blob in blobs.items()},
        tree_id: tree,
        object_id(COMMIT, commit.content): commit,
    }


def test_a_copy_brings_histories_tags_and_ids_and_then_what_is_new(here: MetaStore, served: MetaStore) -> None:
    here.dataset_create("math/gone", {"name": "gone"})
    here.dataset_delete("math/gone")
    importer = token("ds:*:*", "ds:*:import", user="imp")
    with serving(served, HIDING) as url, metastore.connect(url, token=importer) as service:
        tried = copy(here.storage, service.storage, deleted=True, dry_run=True)
        assert not list(served.dataset_list(deleted=None))
        first = copy(here.storage, service.storage, deleted=True)
        here.dataset_update("physics/cars", {"name": "cars", "number": 7})
        here.tag_create("physics/cars", "v2")
        second = copy(here.storage, service.storage, deleted=True)
        third = copy(here.storage, service.storage, deleted=True)
    assert tried == first
    assert (first.datasets, first.revisions, first.tags, first.not_copied) == (2, 5, 1, ())
    assert (second.revisions, second.tags, second.unchanged, third.unchanged) == (1, 1, 1, 2)
    assert history(served) == history(here)
    assert list(served.tag_list("physics/cars")) == list(here.tag_list("physics/cars"))
    assert served.dataset_list(deleted=True) == [DatasetId("math", "gone")]
    assert not list(served.verify())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_a_long_history_comes_in_stretches(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metastore.client._histories.ServiceHistories.adopts_at_once", 3)
    here, there = (metastore.connect("memory:", author="Setup", clock=ticking()) for _ in "ab")
    for number in range(count):
        (here.dataset_update if number else here.dataset_create)("physics/cars", {"name": "cars", "number": number})
    importer = token("ds:*:*", "ds:*:import", user="imp")
    with serving(there) as url, metastore.connect(url, token=importer) as service:
        assert copy(here.storage, service.storage).revisions == count
    assert history(there) == history(here)
    assert len(there.journal()) == -(-count // 3)


def of_revisions(count: int) -> MetaStore:
    store = metastore.connect("memory:", author="Setup", clock=ticking())
    for number in range(count):
        write = store.dataset_update if number else store.dataset_create
        write("physics/cars", {"name": "cars", "number": number, "keywords": ["a", "b"]})
    return store


@pytest.mark.parametrize(
    ("limit", "most", "alone"),
    [
        ("metastore.git.received._MOST_LINKS", 4, 0),
        ("metastore.store.receiving._MOST_VALUES", 24, 1),
        ("metastore.service.pushes._OBJECTS", 8, 1),
        ("metastore.service.pushes._UNPACKED", 1200, 100),
        ("metastore.service.pushes._LONGEST", 1200, 100),
    ],
)
def test_a_copy_sends_less_at_once_if_the_service_refuses_as_much(
    limit: str, most: int, alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = of_revisions(7), metastore.connect("memory:", author="Setup")
    importer = token("ds:*:*", "ds:*:import", user="imp")
    with serving(there) as url, metastore.connect(url, token=importer) as service:
        monkeypatch.setattr(limit, alone)
        (left_out,) = copy(here.storage, service.storage).not_copied
        assert f"revision {here.revision_list('physics/cars')[-1].id[:12]} alone is too large" in left_out.reason
        assert not list(there.dataset_list())
        monkeypatch.setattr(limit, most)
        assert not copy(here.storage, service.storage).not_copied
    assert history(there) == history(here)
    assert 1 < len(there.journal()) < 8


@pytest.mark.parametrize(("limit", "most"), [("_MOST", 1200), ("_MOST_OBJECTS", 8)])
def test_a_pull_takes_less_at_once_if_the_service_sends_no_more(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = metastore.connect("memory:", author="Setup"), of_revisions(7)
    with serving(there) as url, metastore.connect(url) as service:
        histories = service.storage
        assert isinstance(histories, ServiceHistories)
        histories._cache = Cache(1)  # as if the history were larger than the cache
        monkeypatch.setattr(f"metastore.service.clones.{limit}", 1)
        assert "take a part of it" in copy(histories, here.storage).not_copied[0].reason
        monkeypatch.setattr(f"metastore.service.clones.{limit}", most)
        assert not copy(histories, here.storage).not_copied
    assert history(there) == history(here)


def test_a_refused_new_dataset_says_why(here: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    there = metastore.connect("memory:", author="Setup")
    monkeypatch.setattr(Receiver, "_check_newest", Mock(side_effect=InvalidInput("nobody wants it")))
    importer = token("ds:*:*", "ds:*:import", user="imp")
    with serving(there) as url, metastore.connect(url, token=importer) as service:
        (left_out,) = copy(here.storage, service.storage).not_copied
    assert "nobody wants it" in left_out.reason


def test_what_differs_at_the_service_is_reported_and_left_alone(here: MetaStore) -> None:
    there = metastore.connect("memory:", author="Setup")
    importer = token("ds:*:*", "ds:*:import", user="imp")
    with serving(there) as url, metastore.connect(url, token=importer) as service:
        copy(here.storage, service.storage)
        there.tag_create("physics/cars", "v2")
        here.tag_create("physics/cars", "v2", description="Another")
        assert "another tag" in copy(here.storage, service.storage).not_copied[0].reason
        theirs = there.dataset_update("physics/cars", {"name": "cars", "number": 8})
        here.dataset_update("physics/cars", {"name": "cars", "number": 9})
        assert "another history" in copy(here.storage, service.storage).not_copied[0].reason
        there.dataset_move("physics/cars", "physics/autos")
        assert "moved to physics/autos" in copy(here.storage, service.storage).not_copied[0].reason
    assert there.revision_read("physics/autos").id == theirs.revision.id


def test_git_pushes_a_new_dataset_and_what_follows(tmp_path: Path, here: MetaStore) -> None:
    there, folder = metastore.connect("memory:", author="Setup"), tmp_path / "clone"
    with serving(here) as url:
        git("clone", f"{url}/git/physics/cars.git", folder)
    with serving(there, HIDING) as url:
        remote = f"{url.replace('://', f'://_jwt:{token(*MAKER)}@')}/git/physics/cars.git"
        git("push", remote, "main", "v1", folder=folder)
        assert history(there) == history(here)
        assert there.tag_read("physics/cars", "v1") == here.tag_read("physics/cars", "v1")
        (folder / "datapackage.json").write_text('{"name": "cars", "title": "Cars"}')
        git("commit", "--all", "--message", "Name it", folder=folder)
        git("push", remote, "main", folder=folder)
        assert there.dataset_read("physics/cars").descriptor["title"] == "Cars"
        before = history(there)
        git("commit", "--amend", "--message", "Named otherwise", folder=folder)
        assert "does not follow on" in refused("push", "--force", remote, "main", folder=folder)
        assert "rejected" in refused("push", remote, ":refs/tags/v1", folder=folder)
        assert "exists already" in refused("push", "--force", remote, "HEAD:refs/tags/v1", folder=folder)
        assert "the branch of the dataset is called main" in refused("push", remote, "HEAD:other", folder=folder)
        assert "and tags" in refused("push", remote, "HEAD:refs/notes/x", folder=folder)
        assert "one reference at a time" in refused(
            "push", "--force", "--atomic", remote, "main", "HEAD:refs/tags/v2", folder=folder
        )
    assert history(there) == before
    assert not list(there.verify())


def test_a_long_push_is_probed_first_and_comes_in_chunks(tmp_path: Path, here: MetaStore) -> None:
    here.dataset_update("physics/cars", {"name": "cars", "text": "".join(chr(0x4E00 + at) for at in range(9000))})
    there, folder = metastore.connect("memory:", author="Setup"), tmp_path / "clone"
    with serving(here) as url:
        git("clone", f"{url}/git/physics/cars.git", folder)
    with serving(there) as url:
        remote = f"{url.replace('://', f'://_jwt:{token(*MAKER)}@')}/git/physics/cars.git"
        git("-c", "http.postBuffer=4096", "push", remote, "main", folder=folder)
    assert history(there) == history(here)


def test_who_brought_a_history_is_in_the_journal_and_subscribers_hear_of_it(
    door: Door, here: MetaStore, memory: MetaStore
) -> None:
    heard: list[tuple[str, int]] = []

    def hear(store: Any, event: events.DatasetEvent) -> None:
        heard.append((event.action, event.before is not None))

    memory.dataset_search("cars")
    head = here.revision_read("physics/cars").id
    with events.dataset_changed.connected_to(hear, memory):
        answer = sent(door, body(objects_of(here, head), (ZEROS, head, MAIN)))
    assert answer.data == lines("unpack ok\n", f"ok {MAIN}\n", "")
    entry = memory.journal()[0]
    assert (entry.action, entry.dataset_id, entry.author.name) == ("receive", ID, "imp")
    assert entry.details == {"before": None, "revision": head}
    assert heard == [("receive", False)]
    assert [hit.id for hit in memory.dataset_search("cars").hits] == [ID]
    assert door.admin.get("/api/v1/journal").json[0]["action"] == "receive"


CREATE, UPDATE, IMPORT = "ds:physics/*:create,read", "ds:physics/cars:update,read", "ds:physics/cars:import"
DELETE, READ = "ds:physics/cars:delete,read", "ds:physics/cars:read"


@pytest.mark.parametrize(
    ("what", "enough", "not_enough"),
    [
        ("new", (CREATE, IMPORT), (UPDATE, DELETE, IMPORT)),
        ("goes on", (UPDATE, IMPORT), (CREATE, DELETE, IMPORT)),
        ("deletion", (DELETE, IMPORT), (CREATE, UPDATE, IMPORT)),
        ("comes back", (CREATE, IMPORT), (UPDATE, DELETE, IMPORT)),
        ("goes and comes back", (DELETE, CREATE, IMPORT), (UPDATE, CREATE, IMPORT)),
        ("goes and comes back", (DELETE, CREATE, IMPORT), (UPDATE, DELETE, IMPORT)),
        ("tag", (UPDATE, IMPORT), (CREATE, DELETE, IMPORT)),
    ],
)
def test_a_push_needs_the_right_for_what_it_does(
    door: Door, memory: MetaStore, here: MetaStore, what: str, enough: tuple[str, ...], not_enough: tuple[str, ...]
) -> None:
    if what in ("deletion", "comes back", "goes and comes back"):
        here.dataset_delete("physics/cars")
    if what in ("comes back", "goes and comes back"):
        here.dataset_create("physics/cars", {"name": "cars"})
    newest = history(here)
    old = ZEROS if what == "new" else newest[{"tag": 0, "goes and comes back": 2}.get(what, 1)]
    if old != ZEROS:
        objects = objects_of(here, old)
        assert b"ok refs" in sent(door, body(objects, (ZEROS, old, MAIN)), *MAKER, "ds:physics/cars:delete").data
    tag = here.tag_read("physics/cars", "v1").id
    update = (ZEROS, tag, "refs/tags/v1") if what == "tag" else (old, newest[0], MAIN)
    content = body(objects_of(here, update[1]), update)
    before = [entry.id for entry in memory.journal()]
    assert b"does not grant" in sent(door, content, *not_enough).data
    assert sent(door, content, *enough[:-1]).status_code == 403
    assert [entry.id for entry in memory.journal()] == before
    assert f"ok {update[2]}" in sent(door, content, *enough).text


def test_nobody_pushes_without_a_token_that_grants_import(door: Door, closed: Door, here: MetaStore) -> None:
    head = here.revision_read("physics/cars").id
    content = body(objects_of(here, head), (ZEROS, head, MAIN))
    assert door.anybody.post(POST, data=content, content_type=KIND).status_code == 401
    assert sent(door, content, "ds:*:*").status_code == 403
    assert sent(door, content, *MAKER, user=None).status_code == 401
    assert sent(closed, content, "ds:physics/*:create,update,import").status_code == 404  # it may not read
    first = "/git/physics/cars.git/info/refs?service=git-receive-pack"
    assert door.anybody.get(first).status_code == 401
    assert door.comes("imp", "ds:*:*").get(first).status_code == 403
    journal = POST.replace("physics/cars", "_metastore/journal")
    assert door.comes("imp", "ds:*:*", "ds:*:import").post(journal, data=content, content_type=KIND).status_code == 404


@pytest.mark.parametrize(
    ("files", "mode", "said"),
    [
        ({"datapackage.json": b"[1]"}, b"100644", "a descriptor is a JSON object"),
        ({"datapackage.json": b'{"a": 1, "a": 2}'}, b"100644", "cannot be stored"),
        ({"datapackage.json": b'{"resources": [{"path": "../../etc/passwd"}]}'}, b"100644", "../../etc/passwd"),
        ({"datapackage.json": b"{}" + b" " * 100}, b"100644", "at most 80"),
        ({"readme": b"x"}, b"100644", "has no datapackage.json"),
        ({"datapackage.json": b"{}", ".git": b"x"}, b"100644", "'.git'"),
        ({"datapackage.json": b"{}", "..": b"x"}, b"100644", "'..'"),
        ({"datapackage.json": b"{}"}, b"100777", "a mode|the mode"),
    ],
)
def test_what_verify_or_a_write_would_refuse_is_refused_and_stores_nothing(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], mode: bytes, said: str
) -> None:
    monkeypatch.setattr(memory, "_max_bytes", 80)
    objects = revision(files, mode=mode)
    answer = sent(door, body(objects, (ZEROS, list(objects)[-1], MAIN)))
    assert answer.status_code == 200
    assert any(each in answer.text for each in said.split("|")), answer.text
    assert not memory.dataset_list(deleted=None)
    assert not memory.journal()


def test_a_fault_in_an_older_revision_is_found(door: Door, memory: MetaStore) -> None:
    old = revision({"datapackage.json": b'{"resources": [{"path": "/etc/passwd"}]}'})
    new = revision({"datapackage.json": b"{}"}, parent=list(old)[-1])
    answer = sent(door, body({**old, **new}, (ZEROS, list(new)[-1], MAIN)))
    assert "/etc/passwd" in answer.text
    assert not memory.dataset_list()


def test_the_newest_revision_fits_the_rules_of_the_service(door: Door, memory: MetaStore) -> None:
    strict = MetaStore(memory.storage, author=ANN, validation="strict")
    door.app.extensions["metastore"] = replace(door.app.extensions["metastore"], store=strict)
    objects = revision({"datapackage.json": b'{"name": "NOT VALID", "resources": []}'})
    assert "is not valid" in sent(door, body(objects, (ZEROS, list(objects)[-1], MAIN))).text


@pytest.mark.parametrize("kind", [BLOB, TREE, COMMIT])
def test_a_history_with_a_gap_is_refused(door: Door, here: MetaStore, memory: MetaStore, kind: str) -> None:
    head = here.revision_read("physics/cars").id
    objects = objects_of(here, head)
    missing = next(identity for identity, found in reversed(objects.items()) if found.kind == kind)
    del objects[missing]
    answer = sent(door, body(objects, (ZEROS, head, MAIN)))
    assert f"the object {missing} is missing" in answer.text
    assert not memory.dataset_list(deleted=None)


def test_an_object_of_another_dataset_is_not_lent(served: MetaStore) -> None:
    secret = served.dataset_create("physics/secret", {"name": "secret"})
    blob = served.storage.paths(secret.id, secret.revision.id)["datapackage.json"]
    served.dataset_read("physics/secret")  # so that a cache has it
    objects = revision({"datapackage.json": secret.bytes})
    del objects[blob]
    door = _door(served)
    assert f"the object {blob} is missing" in sent(door, body(objects, (ZEROS, list(objects)[-1], MAIN))).text
    served.dataset_create("physics/cars", {"name": "cars"})
    head = served.revision_read("physics/cars").id
    objects = revision({"datapackage.json": secret.bytes}, parent=head)
    del objects[blob]
    assert f"the object {blob} is missing" in sent(door, body(objects, (head, list(objects)[-1], MAIN))).text


def _door(store: MetaStore) -> Door:
    from metastore.web import create_app

    from .conftest import Authority

    authority = Authority()
    return Door(create_app(store, verifier=authority), authority)  # type: ignore[arg-type]


def test_objects_that_nothing_needs_are_not_stored(door: Door, memory: MetaStore) -> None:
    objects = revision({"datapackage.json": b"{}"})
    stray = GitObject(BLOB, b"stray")
    identity = object_id(BLOB, stray.content)
    sent(door, body({identity: stray, **objects}, (ZEROS, list(objects)[-1], MAIN)))
    storage = memory.storage
    assert isinstance(storage, ObjectStorage)
    with storage.objects(ID) as repository, pytest.raises(KeyError):
        repository.read_uncached(identity)


def test_a_push_to_another_state_than_the_client_saw_is_refused(door: Door, here: MetaStore, memory: MetaStore) -> None:
    newest, middle, first = history(here)
    objects = objects_of(here, newest)
    assert f"ng {MAIN}" in sent(door, body(objects, (first, newest, MAIN))).text
    sent(door, body(objects, (ZEROS, middle, MAIN)))
    for old in (ZEROS, first):
        assert f"ng {MAIN}" in sent(door, body(objects, (old, newest, MAIN))).text
    assert "removes nothing" in sent(door, lines(f"{middle} {ZEROS} {MAIN}\0report-status", "")).text
    assert memory.revision_read("physics/cars").id == middle


def test_a_push_is_bounded_in_bytes_and_objects(door: Door, here: MetaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    head = here.revision_read("physics/cars").id
    content = body(objects_of(here, head), (ZEROS, head, MAIN))
    for name, said in (("_UNPACKED", "more than 10 bytes"), ("_OBJECTS", "more than 10"), ("_LONGEST", "")):
        with monkeypatch.context() as patch:
            patch.setattr(f"metastore.service.pushes.{name}", 5 if name == "_OBJECTS" else 10)
            answer = sent(door, content)
        assert answer.status_code == 413
        assert said.replace("10", "5" if name == "_OBJECTS" else "10") in answer.text
    assert b"ok refs" in sent(door, content).data


def test_the_descriptors_of_a_push_have_as_few_values_as_a_write_may_have(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push(content: bytes) -> str:
        objects = revision({"datapackage.json": content})
        head = next(identity for identity, each in objects.items() if each.kind == COMMIT)
        return str(sent(door, body(objects, (ZEROS, head, MAIN))).text)

    assert "more than the 131072 values" in push(b'{"x": [' + b"1," * 131_072 + b"1]}")
    with monkeypatch.context() as patch:
        patch.setattr("metastore.store.receiving._MOST_VALUES", 3)
        assert "push older revisions first" in push(b'{"a": 1, "b": 2, "c": 3}')
    assert not list(memory.dataset_list())
    assert "ok refs" in push(b'{"a": 1, "b": 2, "c": 3}')


@pytest.mark.parametrize(("parents", "files"), [(1, 3), (3, 1)])
def test_a_push_whose_objects_name_many_others_is_refused_before_it_takes_memory(
    door: Door, memory: MetaStore, monkeypatch: pytest.MonkeyPatch, parents: int, files: int
) -> None:
    monkeypatch.setattr("metastore.git.received._MOST_LINKS", 3)
    first = revision({"datapackage.json": b"{}"})
    base = next(identity for identity, each in first.items() if each.kind == COMMIT)
    objects = first | revision({"datapackage.json": b"{}", **{f"{n}.csv": b"" for n in range(files - 1)}}, base)
    _, commit = objects.popitem()
    line = f"parent {base}\n".encode()
    merge = GitObject(COMMIT, commit.content.replace(line, line * parents))
    objects[object_id(COMMIT, merge.content)] = merge
    answer = sent(door, body(objects, (ZEROS, object_id(COMMIT, merge.content), MAIN)))
    assert "name more than 3 objects in all; push older revisions first" in answer.text
    assert not list(memory.dataset_list(deleted=None))
    monkeypatch.setattr("metastore.git.received._MOST_LINKS", 5)
    assert "ok refs" in sent(door, body(objects, (ZEROS, object_id(COMMIT, merge.content), MAIN))).text


@pytest.mark.parametrize("name", ["v1.lock", ".v1", "v1.", "v..1"])
def test_a_tag_whose_name_git_forbids_is_refused(door: Door, here: MetaStore, memory: MetaStore, name: str) -> None:
    newest, *_ = history(here)
    sent(door, body(objects_of(here, newest), (ZEROS, newest, MAIN)))
    assert "cannot be called" in sent(door, body({}, (ZEROS, newest, f"refs/tags/{name}"))).text
    assert not list(memory.tag_list("physics/cars"))
    with pytest.raises(InvalidInput, match="Git does not allow"):
        memory.tag_create("physics/cars", name)


def test_a_push_of_references_that_take_long_is_done_in_part(
    door: Door, here: MetaStore, memory: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, _, first = history(here)
    monkeypatch.setattr("metastore.service.pushes._LONG", -1)
    answer = sent(door, body(objects_of(here, newest), (ZEROS, newest, MAIN), (ZEROS, first, "refs/tags/v0"))).text
    assert answer.count("push it again") == 2
    assert not list(memory.dataset_list())


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", KIND, 400),
        (b"zzzz", KIND, 400),
        (b"0000", KIND, 200),
        (lines("shallow " + ZEROS, ""), KIND, 400),
        (lines("push-cert\0atomic", ""), KIND, 400),
        (lines(f"{ZEROS} {ZEROS[:-1]}1 {MAIN}\0", "") + b"PACK", KIND, 400),
        (lines(f"{ZEROS} {ZEROS[:-1]}1 {MAIN}\0", f"{ZEROS} {ZEROS} {MAIN}", ""), KIND, 400),
        (lines(f"{ZEROS} {ZEROS[:-1]}1 {MAIN}\0", ""), "text/plain", 415),
    ],
)
def test_what_git_would_not_push_is_a_bad_request(door: Door, content: bytes, kind: str, status: int) -> None:
    assert door.comes("imp", *MAKER).post(POST, data=content, content_type=kind).status_code == status


def test_a_pack_whose_differences_come_in_the_worst_order_is_read_in_one_go(door: Door) -> None:
    import hashlib
    import zlib

    from metastore.git.pack import _head

    blob = GitObject(BLOB, b"x" * 20)
    ids, entries = [object_id(BLOB, blob.content)], list[bytes]()
    content = blob.content
    for number in range(3000):  # each is the one before with a character more
        longer = content[:19] + str(number).encode()
        delta = bytes([len(content), len(longer), 0x90, 19, len(longer) - 19]) + longer[19:]
        entries.append(_head(BY_ID, len(delta)) + bytes.fromhex(ids[-1]) + zlib.compress(delta))
        ids.append(object_id(BLOB, longer))
        content = longer
    whole = _head(3, 20) + zlib.compress(blob.content)
    pack = HEADER + (len(entries) + 1).to_bytes(4) + b"".join([*entries[::-1], whole])
    from metastore.git.pack import from_pack

    assert set(from_pack(pack + hashlib.sha1(pack, usedforsecurity=False).digest(), longest=10**6)) == set(ids)


def test_pushing_is_no_way_around_a_service_that_serves_another(here: MetaStore) -> None:
    settings = ServiceSettings()
    with serving(metastore.connect("memory:", author="Setup"), settings) as url:
        outer = _door(metastore.connect(url))  # type: ignore[arg-type]
        head = here.revision_read("physics/cars").id
        answer = sent(outer, body(objects_of(here, head), (ZEROS, head, MAIN)))
    assert answer.status_code == 400
    assert "elsewhere" in answer.text
