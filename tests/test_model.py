"""Random calls on local Git and on memory: after each, both must have answered the same."""

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
from metastore.storage.base import Storage
from metastore.storage.git import GitStorage
from metastore.storage.memory import MemoryStorage
from metastore.store import MetaStore
from metastore.types import DatasetId

from .conftest import ANN, ticking
from .processes import SOAK, fsck

ids = st.sampled_from(["a/x", "a/y", "b/x"])
names = st.sampled_from(["v1", "v2", "1.0"])
numbers = st.integers(0, 3)
descriptors = st.fixed_dictionaries({"n": st.sampled_from([0, 1, True, 1.0, None, "1"])}) | st.builds(
    lambda path, digit: {"resources": [{"name": "r", "path": path, "bytes": 1, "hash": f"sha256:{digit * 64}"}]},
    st.sampled_from(["d/r.csv", "r.csv", "d"]),
    st.sampled_from("ab"),
)
patches = st.sampled_from([{"t": 1}, {"t": None}, {"n": 1.0}, [{"op": "remove", "path": "/n"}], {"resources": []}])
revisions = st.sampled_from([None, "HEAD", "main", "v1", "nothing", "0" * 40, "newest", "first", "short", "old"])


class GitLikeMemory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        storages: list[Storage] = [GitStorage(self.root, sync=False), MemoryStorage()]
        self.stores = [
            MetaStore(each, author=ANN, clock=ticking(), validation="off", lfs_url="https://lfs.example.org/{name}")
            for each in storages
        ]
        #: Every revision that there ever was: those of other and of purged datasets are good questions too.
        self.known = ["0" * 40]

    def teardown(self) -> None:
        fsck(self.root)
        assert list(self.stores[0].verify()) == []
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
    def create(self, each: str, descriptor: Any) -> None:
        self.remember(self.both(lambda store: store.dataset_create(each, descriptor)))

    @rule(each=ids, descriptor=descriptors, expected=st.none() | numbers)
    def update(self, each: str, descriptor: Any, expected: int | None) -> None:
        seen = None if expected is None else self.revision("old", expected)
        self.remember(self.both(lambda store: store.dataset_update(each, descriptor, expected=seen)))

    @rule(each=ids, patch=patches)
    def patch(self, each: str, patch: Any) -> None:
        self.remember(self.both(lambda store: store.dataset_patch(each, patch)))

    @rule(each=ids)
    def delete(self, each: str) -> None:
        self.remember(self.both(lambda store: store.dataset_delete(each)))

    @rule(each=ids, force=st.booleans())
    def purge(self, each: str, force: bool) -> None:
        self.both(lambda store: store.dataset_purge(each, force=force))

    @rule(each=ids, to=ids)
    def move(self, each: str, to: str) -> None:
        self.both(lambda store: store.dataset_move(each, to))

    @rule(each=ids, which=revisions, number=numbers)
    def revert(self, each: str, which: str | None, number: int) -> None:
        to = self.revision(which, number) or "HEAD"
        self.remember(self.both(lambda store: store.dataset_revert(each, to)))

    @rule(each=ids, name=names, which=revisions, number=numbers)
    def tag(self, each: str, name: str, which: str | None, number: int) -> None:
        to = self.revision(which, number)
        self.both(lambda store: store.tag_create(each, name, to))

    @rule(each=ids, name=names, new=st.none() | names, which=revisions, number=numbers)
    def tag_update(self, each: str, name: str, new: str | None, which: str | None, number: int) -> None:
        to = self.revision(which, number)
        self.both(lambda store: store.tag_update(each, name, new_name=new, revision=to, description="D"))

    @rule(each=ids, name=names)
    def tag_delete(self, each: str, name: str) -> None:
        self.both(lambda store: store.tag_delete(each, name))

    @rule(each=ids, which=revisions, number=numbers)
    def read(self, each: str, which: str | None, number: int) -> None:
        at = self.revision(which, number)
        self.both(lambda store: store.dataset_read(each, at))
        self.both(lambda store: store.revision_read(each, at))
        self.both(lambda store: store.revision_list(each, at))
        self.both(lambda store: store.revision_diff(each, at or "HEAD"))

    @rule(each=ids)
    def compact(self, each: str) -> None:
        self.both(lambda store: store.storage.compact(store.dataset_read(each).id))

    @invariant()
    def both_list_the_same(self) -> None:
        for deleted in (False, True, None):
            self.both(lambda store, deleted=deleted: store.dataset_list(deleted=deleted))
        for each in ("a/x", "a/y", "b/x"):
            self.both(lambda store, each=each: store.tag_list(each))
            self.both(
                lambda store, each=each: store.storage.paths(DatasetId(*each.split("/")), store.revision_read(each).id)
            )
        self.both(lambda store: store.journal())


TestGitLikeMemory = GitLikeMemory.TestCase
TestGitLikeMemory.settings = settings(
    max_examples=2000 if SOAK else 80,
    stateful_step_count=60 if SOAK else 30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
