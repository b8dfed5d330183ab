"""Datasets as the projects of a GitLab group.

What is Git's is done by Git over HTTP: references and objects are read, and every write is one push, which GitLab
carries out only if each reference still has the value that it was computed from. The API's own commits know no such
comparison, take no dates, and their answers have no trees. What is GitLab's is done by REST: making, listing, moving
and deleting projects, and issues.

What GitLab cannot do at once, and what becomes of it:

* A dataset is made by making an empty project and pushing to it. An empty project is no dataset; the next `create` uses
  it. A `create` that fails between the two has ended the forwarding from that id.
* A move renames the project. A revision that somebody else pushes at that moment moves along.
* A purge renames the project, which frees the id, looks whether somebody has pushed meanwhile, in which case it is
  named back, and only then deletes it. A write that reaches it in between is not acknowledged. GitLab deletes later,
  and may keep what is deleted for as many days as it is set to.
* Moves to another group are refused.
* A deletion can only be told by its tree, so a listing asks once for each dataset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, NamedTuple, NoReturn

from metastore.errors import (
    AlreadyExists,
    Conflict,
    DatasetMoved,
    DatasetNotFound,
    MetastoreError,
    OutcomeUnknown,
    RevisionConflict,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.forks import ForkSafeLock
from metastore.git.cache import Cache
from metastore.git.history import expect_head, is_deleted
from metastore.git.objects import GitObject
from metastore.git.protocol import NoRepository, References, SmartHttp
from metastore.git.repository import Repository
from metastore.git.verify import Inspect
from metastore.http.client import Host
from metastore.http.responses import Missing
from metastore.storage.attempts import attempt
from metastore.storage.cursors import by_time, moment_of
from metastore.storage.gitlab._api import GitLabApi, GitLabNaming, MovedAway, Project, title_of
from metastore.storage.gitlab._listing import Listing
from metastore.storage.gitlab._moves import Moves
from metastore.storage.gitlab._purging import Purging
from metastore.storage.naming import aside_name
from metastore.storage.objects import ObjectStorage
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import Damage, DatasetId, Issue, RevisionId

#: For so many seconds reads by a full id do not ask again where the dataset is.
_FRESH = 5.0


class _View(NamedTuple):
    """What was known of a dataset at a moment."""

    at: float
    project: Project
    references: References
    on_branch: dict[str, None]


class GitLabStorage(ObjectStorage):
    """Datasets in one group of a GitLab, whose last part is their owner. Safe to share between threads.

    Args:
        rest: The API; see `metastore.storage.gitlab.connect`.
        git: Where Git's repositories are.
        group: The group's full path, such as `labs/physics`.
        private: Whether new projects are private.
        description: What new projects say of themselves; may have `{owner}` and `{name}` in it.
        topic: Given to new projects; only those that have it are listed.
        cache_bytes: How much of what was read is kept in memory.
    """

    may_arrive_late = True

    def __init__(
        self,
        rest: Host,
        git: Host,
        group: str,
        *,
        private: bool = True,
        description: str = "Data package {owner}/{name}",
        topic: str | None = None,
        cache_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        #: What we talk to.
        self.hosts = rest, git
        self.naming = GitLabNaming(group.rpartition("/")[2])
        self._private, self._description, self._topic = private, description, topic
        self.group = group
        self._api = GitLabApi(rest, group)
        self._server = SmartHttp(git)
        self._cache_bytes = cache_bytes
        self._cache = Cache(cache_bytes)
        self._views: dict[DatasetId, _View] = {}
        #: Orders the threads of this process; what other processes do comes out by GitLab's comparison.
        self._turns: dict[DatasetId, ForkSafeLock] = {}
        self._moves = Moves(self)
        self._listing = Listing(self._api, self.naming, topic, self._moves)
        self._purging = Purging(self._api, self._server, self.naming)

    @property
    def clone_template(self) -> str:
        """The address of repositories for Git, with `{name}` in it."""
        return f"{self.hosts[1].base}/{self.group}/{{name}}.git"

    # What ObjectStorage needs

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        view = self._views.get(dataset_id)
        if view is None or revision not in view.on_branch or time.monotonic() > view.at + _FRESH:
            view = self._look(dataset_id)
        repository = self._repository(dataset_id, view.project.path, view.references)
        repository.on_branch = dict(view.on_branch)  # a copy: threads share the view
        try:
            yield repository
        except NoRepository:
            self._look(dataset_id)
            raise StorageBusy(f"{dataset_id} was replaced meanwhile; try again") from None
        except (Conflict, StorageError):
            self._views.pop(dataset_id, None)
            raise
        if repository.pushed:
            self._confirm(dataset_id, view.project, repository)
        elif self._views.get(dataset_id) is view:
            self._views[dataset_id] = view._replace(on_branch=repository.on_branch)

    @contextmanager
    def turn(self, dataset_id: DatasetId) -> Iterator[None]:
        with self._turns.get(dataset_id) or self._turns.setdefault(dataset_id, ForkSafeLock()):
            yield

    def _look(self, dataset_id: DatasetId) -> _View:
        """Find out where a dataset is, and what its names lead to. Raises DatasetNotFound or DatasetMoved."""
        before = self._views.pop(dataset_id, None)
        project = self._project(dataset_id)
        try:
            repository = self._repository(dataset_id, project.path)
        except NoRepository:
            self._raise_not_shown(dataset_id, project)
        if repository.is_empty:
            raise DatasetNotFound(dataset_id)
        same = before and before.project.id == project.id and before.references == repository.references
        view = _View(time.monotonic(), project, repository.references, before.on_branch if before and same else {})
        self._views[dataset_id] = view
        return view

    def _raise_not_shown(self, dataset_id: DatasetId, project: Project) -> NoReturn:
        """Raise DatasetNotFound if a project without a repository is gone, and StorageUnavailable if it is not."""
        if self._api.by_number(project.id) is None:
            raise DatasetNotFound(dataset_id) from None
        raise StorageUnavailable(
            f"GitLab shows the project of {dataset_id}, but not its repository: the role of the token's owner is lower "
            "than Reporter, or the repository is turned off"
        ) from None

    def _repository(self, dataset_id: DatasetId, path: str, references: References | None = None) -> RemoteRepository:
        return RemoteRepository(dataset_id, self._server, f"/{path}.git", self._cache, references)

    def _project(self, dataset_id: DatasetId) -> Project:
        path = self._api.full_path(self.naming.repository(dataset_id))
        try:
            project = self._api.find(path)
        except MovedAway as moved:
            self._raise_moved(dataset_id, moved.path)
        if project is None:
            raise DatasetNotFound(dataset_id)
        return project

    def _raise_moved(self, dataset_id: DatasetId, path: str) -> NoReturn:
        group, _, name = path.rpartition("/")
        if group.lower() != self._api.group.lower():
            raise DatasetNotFound(dataset_id, f"{dataset_id} was moved to {path}, which is not in this store")
        if new_id := self.naming.dataset(name):
            raise DatasetMoved(dataset_id, new_id)
        raise DatasetNotFound(dataset_id)

    def _confirm(
        self, dataset_id: DatasetId, project: Project, repository: RemoteRepository, *, is_new: bool = False
    ) -> None:
        """Check that the project still is a dataset: GitLab takes pushes at a project's former path too.

        A new project may not be known everywhere yet.
        """
        assert repository.pushed
        self._views.pop(dataset_id, None)
        try:
            found = self._api.by_number(project.id)
            if found is None and is_new:
                found = self.hosts[0].when_there(lambda: self._known_by_now(project))
        except Missing:
            found = None
        except MetastoreError as error:
            raise OutcomeUnknown(
                f"whether {dataset_id} was purged meanwhile is not known", repository.pushed
            ) from error
        name = found.path.rpartition("/")[2] if found else ""
        if found is None or self.naming.dataset(name) is None:
            raise DatasetNotFound(dataset_id)
        if found.path == project.path:
            view = _View(time.monotonic(), project, repository.references, repository.on_branch)
            self._views[dataset_id] = view

    def _known_by_now(self, project: Project) -> Project:
        found = self._api.by_number(project.id)
        if found is None:
            raise Missing(project.path)
        return found

    def _lock(self, *dataset_ids: DatasetId) -> AbstractContextManager[None]:
        return nullcontext()  # GitLab has the lock, and compares under it

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # in another repository the push would find other references

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        self._views.pop(dataset_id, None)
        name = self.naming.repository(dataset_id)
        project = self._api.create(self._asked(dataset_id, name))
        when_there = self.hosts[0].when_there
        try:
            repository = when_there(lambda: self._repository(dataset_id, project.path))
            if repository.references.targets:
                raise AlreadyExists(dataset_id)
            project = self._api.without_lfs(project)
            repository.put(objects)
            when_there(lambda: repository.set_head(head))
        except (NoRepository, RevisionConflict):
            raise StorageBusy(f"{dataset_id} comes and goes too fast; try again") from None
        self._confirm(dataset_id, project, repository, is_new=True)

    def _asked(self, dataset_id: DatasetId, name: str) -> dict[str, Any]:
        owner, title = dataset_id.owner, dataset_id.name
        return {
            "name": title_of(dataset_id),
            "path": name,
            "visibility": "private" if self._private else "public",
            "description": self._description.replace("{owner}", owner).replace("{name}", title),
            "topics": [self._topic] if self._topic else [],
        }

    # The rest of the port

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        if not self.naming.may_list(prefix):
            return
        for dataset_id, project in self._listing.datasets(prefix, after):
            with suppress(DatasetNotFound):  # it was purged meanwhile
                if self._is_listed(dataset_id, project, deleted):
                    yield dataset_id

    def _is_listed(self, dataset_id: DatasetId, project: Project, deleted: bool | None) -> bool:
        try:
            repository = self._repository(dataset_id, project.path)
            return not repository.is_empty and deleted in (None, is_deleted(repository))
        except NoRepository:
            self._raise_not_shown(dataset_id, project)

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        name = self.naming.repository(new_id)
        view = self._look(dataset_id)
        expect_head(dataset_id, self._repository(dataset_id, view.project.path, view.references), parent)
        self._moves.note(dataset_id, new_id)
        self._views.pop(dataset_id, None)
        self._views.pop(new_id, None)
        try:
            with attempt(parent):
                self._api.rename(view.project, name, title_of(new_id), parent)
        except AlreadyExists:
            raise AlreadyExists(new_id) from None

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        view = self._look(dataset_id)
        expect_head(dataset_id, self._repository(dataset_id, view.project.path, view.references), parent)
        self._moves.note(dataset_id)
        self._views.pop(dataset_id, None)
        aside = f"{aside_name()}.{parent}"
        with attempt(parent):
            self._api.rename(view.project, aside, aside, parent)
            self._purging.remove(dataset_id, view.project, aside, parent)

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        return by_time(*self._listing.touched(moment_of(since)))

    def issues(self, dataset_id: DatasetId) -> Iterator[Issue]:
        project = self._look(dataset_id).project
        for each in self._api.issues(project.path):
            yield Issue(each.number("iid"), each.text("title"), each.text("state"), each.text("web_url"))

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        return self._purging.left_over(repair=repair)

    def _verify_dataset(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        yield from super()._verify_dataset(dataset_id, inspect, repair=repair)
        project = self._project(dataset_id)
        if project.lfs_enabled:
            if repair:
                self._api.without_lfs(project)
            detail = "GitLab's own LFS is on, so that pushes with pointers are refused"
            yield Damage(str(dataset_id), "lfs-is-on", detail, repair)

    @contextmanager
    def _open_uncached(self, dataset_id: DatasetId) -> Iterator[Repository]:
        view = self._look(dataset_id)
        path = f"/{view.project.path}.git"
        try:
            yield RemoteRepository(dataset_id, self._server, path, Cache(self._cache_bytes), view.references)
        except NoRepository:
            raise DatasetNotFound(dataset_id) from None

    def compact(self, dataset_id: DatasetId) -> None:
        self._look(dataset_id)  # GitLab packs by itself

    def ping(self) -> None:
        self._api.namespace()

    def close(self) -> None:
        for host in self.hosts:
            host.close()
