"""Random calls on a storage and on memory: after each, both must have answered the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metastore.errors import MetastoreError
from metastore.storage.local.storage import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.storage.port import Storage
from metastore.store.store import MetaStore
from metastore.types import DatasetId

from .bundle.postgres_server import new_storage
from .conftest import ANN, ticking
from .hosts.backends import github, gitlab, stop
from .processes import SOAK, fsck

ids = st.integers(0, 2)
names = st.sampled_from(["v1", "v2", "1.0"])
numbers = st.integers(0, 3)
descriptors = st.fixed_dictionaries({"n": st.sampled_from([0, 1, True, 1.0, None, "1"])}) | st.builds(
    lambda path, digit: {"resources": [{"name": "r", "path": path, "bytes": 1, "hash": f"sha256:{digit * 64}"}]},
    st.sampled_from(["d/r.csv", "r.csv", "d"]),
    st.sampled_from("ab"),
)
patches = st.sampled_from([{"t": 1}, {"t": None}, {"n": 1.0}, [{"op": "remove", "path": "/n"}], {"resources": []}])
revisions = st.sampled_from([None, "HEAD", "main", "v1", "nothing", "0" * 40, "newest", "first", "short", "old"])


class LikeMemory(RuleBasedStateMachine):
    datasets = ("physics/x", "physics/y", "physics/z")

    def make(self) -> Storage:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        storages: list[Storage] = [self.make(), MemoryStorage()]
        self.stores = [
            MetaStore(each, author=ANN, clock=ticking(), validation="off", lfs_url="https://lfs.example.org/{name}")
            for each in storages
        ]
        #: Every revision that there ever was: those of other and of purged datasets are good questions too.
        self.known = ["0" * 40]

    def teardown(self) -> None:
        assert list(self.stores[0].verify()) == []
        self.stores[0].close()
        stop(self.stores[0].storage)
        fsck(self.root)
        shutil.rmtree(self.root)

    def both(self, call: Callable[[MetaStore], Any]) -> Any:
        git, memory = (self.answer(call, store) for store in self.stores)
        assert git == memory
        return git

    def answer(self, call: Callable[[MetaStore], Any], store: MetaStore) -> Any:
        try:
            found = call(store)
            return list(found) if hasattr(found, "__next__") else found
        except MetastoreError as error:
            return type(error), str(error)

    def revision(self, which: str | None, number: int) -> str | None:
        chosen = self.known[-1 - number % len(self.known)]
        return {"newest": self.known[-1], "first": self.known[0], "short": chosen[:9], "old": chosen}.get(
            str(which), which
        )

    def remember(self, dataset: Any) -> None:
        revision = getattr(dataset, "revision", dataset)
        if hasattr(revision, "id"):
            self.known.append(revision.id)

    @rule(each=ids, descriptor=descriptors)
    def create(self, each: int, descriptor: Any) -> None:
        self.remember(self.both(lambda store: store.dataset_create(self.datasets[each], descriptor)))

    @rule(each=ids, descriptor=descriptors, expected=st.none() | numbers)
    def update(self, each: int, descriptor: Any, expected: int | None) -> None:
        seen = None if expected is None else self.revision("old", expected)
        self.remember(self.both(lambda store: store.dataset_update(self.datasets[each], descriptor, expected=seen)))

    @rule(each=ids, patch=patches)
    def patch(self, each: int, patch: Any) -> None:
        self.remember(self.both(lambda store: store.dataset_patch(self.datasets[each], patch)))

    @rule(each=ids)
    def delete(self, each: int) -> None:
        self.remember(self.both(lambda store: store.dataset_delete(self.datasets[each])))

    @rule(each=ids, force=st.booleans())
    def purge(self, each: int, force: bool) -> None:
        self.both(lambda store: store.dataset_purge(self.datasets[each], force=force))

    @rule(each=ids, to=ids)
    def move(self, each: int, to: int) -> None:
        self.both(lambda store: store.dataset_move(self.datasets[each], self.datasets[to]))

    @rule(each=ids, which=revisions, number=numbers)
    def revert(self, each: int, which: str | None, number: int) -> None:
        to = self.revision(which, number) or "HEAD"
        self.remember(self.both(lambda store: store.dataset_revert(self.datasets[each], to)))

    @rule(each=ids, which=revisions, number=numbers)
    def undo(self, each: int, which: str | None, number: int) -> None:
        change = self.revision(which, number) or "HEAD"
        self.remember(self.both(lambda store: store.dataset_undo(self.datasets[each], change)))

    @rule(each=ids, name=names, which=revisions, number=numbers)
    def tag(self, each: int, name: str, which: str | None, number: int) -> None:
        to = self.revision(which, number)
        self.both(lambda store: store.tag_create(self.datasets[each], name, to))

    @rule(each=ids, name=names, new=st.none() | names, which=revisions, number=numbers)
    def tag_update(self, each: int, name: str, new: str | None, which: str | None, number: int) -> None:
        to = self.revision(which, number)
        self.both(lambda store: store.tag_update(self.datasets[each], name, new_name=new, revision=to, description="D"))

    @rule(each=ids, name=names)
    def tag_delete(self, each: int, name: str) -> None:
        self.both(lambda store: store.tag_delete(self.datasets[each], name))

    @rule(each=ids, which=revisions, number=numbers)
    def read(self, each: int, which: str | None, number: int) -> None:
        at = self.revision(which, number)
        self.both(lambda store: store.dataset_read(self.datasets[each], at))
        self.both(lambda store: store.revision_read(self.datasets[each], at))
        self.both(lambda store: store.revision_list(self.datasets[each], at))
        self.both(lambda store: store.revision_diff(self.datasets[each], at or "HEAD"))

    @rule(each=ids)
    def compact(self, each: int) -> None:
        self.both(lambda store: store.storage.compact(store.dataset_read(self.datasets[each]).id))

    @invariant()
    def both_list_the_same(self) -> None:
        for deleted in (False, True, None):
            self.both(lambda store, deleted=deleted: store.dataset_list(deleted=deleted))
        for each in self.datasets:
            self.both(lambda store, each=each: store.tag_list(each))
            self.both(
                lambda store, each=each: store.storage.paths(DatasetId(*each.split("/")), store.revision_read(each).id)
            )
        self.both(lambda store: store.journal())


class GitLikeMemory(LikeMemory):
    datasets = ("a/x", "a/y", "b/x")

    def make(self) -> Storage:
        return GitStorage(self.root, sync=False)


class PostgresLikeMemory(LikeMemory):
    datasets = ("a/x", "a/y", "b/x")

    def make(self) -> Storage:
        return new_storage()


class GitHubLikeMemory(LikeMemory):
    def make(self) -> Storage:
        return github(self.root)


class GitLabLikeMemory(LikeMemory):
    def make(self) -> Storage:
        return gitlab(self.root)


def played(machine: type[LikeMemory], examples: int, steps: int) -> Any:
    test = machine.TestCase
    test.settings = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return test


TestGitLikeMemory = played(GitLikeMemory, 2000 if SOAK else 25, 60 if SOAK else 30)
TestPostgresLikeMemory = played(PostgresLikeMemory, 300 if SOAK else 4, 60 if SOAK else 30)
# A host answers over sockets: fewer plays say as much in the same time.
TestGitHubLikeMemory = played(GitHubLikeMemory, 200 if SOAK else 2, 60 if SOAK else 25)
TestGitLabLikeMemory = played(GitLabLikeMemory, 200 if SOAK else 2, 60 if SOAK else 25)
