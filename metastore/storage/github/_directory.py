"""A directory of recently seen repositories on GitHub: each is looked up once, and then checked for free."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

from metastore.errors import (
    AlreadyExists,
    DatasetMoved,
    DatasetNotFound,
    RevisionNotFound,
    StorageBusy,
    StorageUnavailable,
)
from metastore.forks import ForkSafeLock
from metastore.git.cache import Cache
from metastore.http.fields import Fields
from metastore.http.responses import Missing, Redirected, ResponseLost
from metastore.storage.github import _queries
from metastore.storage.github._api import GitHubApi
from metastore.storage.github._lifecycle import PURGED_TREE
from metastore.storage.github._repository import GitHubRepository
from metastore.storage.naming import Naming
from metastore.types import DatasetId

#: The seconds after a look at the head during which other calls do not look again.
_FRESH = 5.0
#: The seconds after which everything is looked at again, even the default branch.
_LOOK_AGAIN = 300.0
_KNOWN = 1024
#: The seconds during which some of GitHub's machines may not know a new repository.
_NEW = 60.0
_T = TypeVar("_T")


class Known:
    """The recently seen repositories of one owner. Safe to share between threads.

    Args:
        api: The calls.
        naming: Maps repositories to datasets.
        cache: The cache for the repositories.
    """

    def __init__(self, api: GitHubApi, naming: Naming, cache: Cache) -> None:
        self._api = api
        self._naming = naming
        self._cache = cache
        self._repositories: OrderedDict[DatasetId, GitHubRepository] = OrderedDict()
        self._mutex = ForkSafeLock()

    def current(self, dataset_id: DatasetId, *, fresh: bool = False) -> GitHubRepository:
        """Return a dataset's repository, perhaps as seen a moment ago, unless it has to be `fresh`.

        Raises:
            DatasetNotFound: There is none, it is empty, or it now belongs to somebody else.
            DatasetMoved: Somebody renamed it.
        """
        known, now = self._repositories.get(dataset_id), time.monotonic()
        if known is None or now - known.seen.looked > _LOOK_AGAIN:
            return self._look(dataset_id)
        if (fresh or now - known.seen.checked > _FRESH) and not known.unchanged():
            return self._look(dataset_id)
        return known

    def keep(self, dataset_id: DatasetId, repository: GitHubRepository) -> None:
        """Remember the repository of a dataset."""
        with self._mutex:
            self._repositories[dataset_id] = repository
            while len(self._repositories) > _KNOWN:
                self._repositories.popitem(last=False)

    def forget(self, *dataset_ids: DatasetId) -> None:
        """Look these up again on their next use."""
        for each in dataset_ids:
            self._repositories.pop(each, None)

    def expect_free(self, dataset_id: DatasetId) -> None:
        """Check that an id is free, and delete what a purge left behind.

        Raises:
            AlreadyExists: There is a dataset.
            StorageUnavailable: There is an empty repository.
        """
        name = self._naming.repository(dataset_id)
        answer = self._api.graph.repository(_queries.LOOK, name, **_queries.read_along("HEAD"))
        if answer is None or not self._is_at(answer, name):
            return
        branch = answer.optional("defaultBranchRef")
        if branch is None:
            raise StorageUnavailable(f"the repository of {dataset_id} is empty: delete it, or push something into it")
        if _tree_of(branch) != PURGED_TREE:
            raise AlreadyExists(dataset_id)
        try:
            with suppress(Missing):  # somebody else deleted it
                self._api.delete(name)
        except ResponseLost as error:
            raise StorageUnavailable(f"what a purge left of {dataset_id} could not be deleted: {error}") from None

    @contextmanager
    def writing(self, dataset_id: DatasetId) -> Iterator[GitHubRepository]:
        """Provide a repository for a write. If it is gone meanwhile, raise the error that says where it went."""
        try:
            yield self.current(dataset_id)
        except Redirected:
            self._look(dataset_id)
            raise StorageBusy(f"{dataset_id} was replaced while it was written; try again") from None

    def twice(self, dataset_id: DatasetId, call: Callable[[], _T]) -> _T:
        """Repeat a call with a fresh look if a revision is not found, since somebody else may just have made it."""
        try:
            return call()
        except RevisionNotFound:
            self.current(dataset_id, fresh=True)
            return call()

    def _look(self, dataset_id: DatasetId) -> GitHubRepository:
        name = self._naming.repository(dataset_id)
        known = self._repositories.pop(dataset_id, None)
        answer = self._ask(name, known)
        if answer is None:
            raise DatasetNotFound(dataset_id)
        if not self._is_at(answer, name):
            self._raise_moved(dataset_id, answer.text("nameWithOwner"))
        branch = answer.optional("defaultBranchRef")
        if branch is None:
            raise DatasetNotFound(
                dataset_id, f"the repository of {dataset_id} is empty: nothing was pushed into it yet"
            )
        if _tree_of(branch) == PURGED_TREE:
            raise DatasetNotFound(dataset_id)
        if known is None or known.seen.node_id != answer.text("id"):
            known = GitHubRepository(self._api, name, self._cache)
        known.look(answer)
        self.keep(dataset_id, known)
        return known

    def _ask(self, name: str, known: GitHubRepository | None) -> Fields | None:
        """Ask about a repository; about a new one, until GitHub knows it everywhere."""

        def attempt() -> Fields | None:
            answer = self._api.graph.repository(_queries.LOOK, name, **_queries.read_along("HEAD"))
            if answer is None and known and known.made_at and time.monotonic() < known.made_at + _NEW:
                raise Missing(name)
            return answer

        try:
            return self._api.host.when_there(attempt)
        except Missing:
            return None

    def _is_at(self, answer: Fields, name: str) -> bool:
        return answer.text("nameWithOwner").lower() == f"{self._api.owner}/{name}".lower()

    def _raise_moved(self, dataset_id: DatasetId, full_name: str) -> NoReturn:
        """Raise the error for a repository that somebody renamed or gave away."""
        owner, _, name = full_name.partition("/")
        try:
            new_id = Naming(owner).dataset(name)
        except ValueError:
            new_id = None
        if new_id is None:
            raise DatasetNotFound(dataset_id)
        raise DatasetMoved(dataset_id, new_id)


def _tree_of(branch: Fields) -> str:
    return branch.below("target").below("tree").oid("oid")
