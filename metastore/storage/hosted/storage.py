"""Datasets in repositories of one owner on a host, over Git's protocol and the host's API.

References and objects are read over HTTP. Every write is one push, which the host carries out only if each reference
still has the value that the push was computed from. The API creates, lists, renames and deletes repositories, and lists
issues: see `metastore.storage.hosted.projects`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn, TypeVar

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
from metastore.git.cache import Cache
from metastore.git.history import expect_head, is_deleted
from metastore.git.objects import GitObject
from metastore.git.protocol import NoRepository, References, SmartHttp
from metastore.git.repository import Inspect, Repository
from metastore.http.client import Host
from metastore.http.responses import Missing
from metastore.storage._cursors import by_time, moment_of
from metastore.storage.hosted._listing import Listing, Moves
from metastore.storage.hosted._purging import Purging
from metastore.storage.hosted.projects import MovedAway, Project, Projects, Wanted, title_of
from metastore.storage.naming import Naming, aside_name
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import attempt
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import Damage, DatasetId, Issue, RevisionId

#: For this many seconds, reads by a full id do not look the dataset up again.
_FRESH = 5.0
#: After this time, a new repository is known to all machines of a host.
_NEW = timedelta(minutes=5)
_Result = TypeVar("_Result")


class _View(NamedTuple):
    """The state of a dataset at a moment."""

    at: float
    project: Project
    references: References
    on_branch: dict[str, None]


class HostedStorage(ObjectStorage):
    """Datasets of one owner on a host. Safe to share between threads.

    Args:
        hosts: The host of the API, and the host of the Git repositories.
        api: The calls of the API.
        naming: Maps datasets to the names of projects.
        private: Whether new projects are private.
        description: The description of new projects; may contain `{owner}` and `{name}`.
        topic: A topic for new projects; only projects that have it are listed. None for none.
        cache_bytes: The size of the cache in memory.
    """

    may_arrive_late = True

    def __init__(
        self,
        hosts: tuple[Host, Host],
        api: Projects,
        naming: Naming,
        *,
        private: bool = True,
        description: str = "Data package {owner}/{name}",
        topic: str | None = None,
        cache_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        #: The hosts of the API and of the Git repositories.
        self.hosts = hosts
        self.naming = naming
        self._private, self._description, self._topic = private, description, topic
        self._api = api
        self._server = SmartHttp(hosts[1])
        self._cache_bytes = cache_bytes
        self._cache = Cache(cache_bytes)
        self._views: dict[DatasetId, _View] = {}
        #: Orders the threads of this process. The host's comparison detects writes of other processes.
        self._moves = Moves(self)
        self._listing = Listing(self._api, self.naming, topic, self._moves)
        self._purging = Purging(self._api, self._server, self.naming)

    @property
    def clone_template(self) -> str:
        """The address of repositories for Git, with `{name}` in it."""
        return f"{self.hosts[1].base}/{self._api.group}/{{name}}.git"

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
            if self._look(dataset_id).project.id == view.project.id:
                message = (
                    f"{self._api.kind} shows {dataset_id}, but does not do this: try again, or ask for the right to"
                )
                raise StorageBusy(message) from None
            raise StorageBusy(f"{dataset_id} was replaced meanwhile; try again") from None
        except (Conflict, StorageError):
            self._views.pop(dataset_id, None)
            raise
        if repository.pushed:
            self._confirm(dataset_id, view.project, repository)
        elif self._views.get(dataset_id) is view:
            self._views[dataset_id] = view._replace(on_branch=repository.on_branch)

    def _look(self, dataset_id: DatasetId) -> _View:
        """Look up a dataset and its references. Raises DatasetNotFound or DatasetMoved."""
        before = self._views.pop(dataset_id, None)
        project = self._project(dataset_id)
        repository = self._of(dataset_id, project, lambda repository: repository)
        if repository.is_empty:
            raise DatasetNotFound(dataset_id)
        same = before and before.project.id == project.id and before.references == repository.references
        view = _View(time.monotonic(), project, repository.references, before.on_branch if before and same else {})
        self._views[dataset_id] = view
        return view

    def _of(self, dataset_id: DatasetId, project: Project, read: Callable[[RemoteRepository], _Result]) -> _Result:
        """Read the repository of a project that the API shows. A new one may not be known everywhere yet.

        Raises:
            DatasetNotFound: The project is gone.
            StorageUnavailable: The host does not show the repository.
        """

        def attempt() -> _Result:
            try:
                return read(self._repository(dataset_id, project.path))
            except NoRepository:
                if self._api.by_number(project.id) is None:
                    raise DatasetNotFound(dataset_id) from None
                raise

        is_new = datetime.now(UTC) - project.last_activity < _NEW
        try:
            return self.hosts[0].when_there(attempt) if is_new else attempt()
        except NoRepository:
            raise StorageUnavailable(
                f"{self._api.kind} shows the project of {dataset_id}, but not its repository: give the token's owner "
                f"{self._api.right_to_push}, or turn the repository on"
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
        """Check that the project still is a dataset: it may have been purged during the push, or moved.

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
        if found is None or self.naming.dataset(found.name) is None:
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
        return nullcontext()  # the host compares references under a lock of its own

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # a push to another repository would find other references, and be refused

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        self._views.pop(dataset_id, None)
        wanted = self._wanted(dataset_id)
        try:
            project = self._api.create(wanted)
        except AlreadyExists:
            raise AlreadyExists(dataset_id) from None
        when_there = self.hosts[0].when_there
        try:
            repository = when_there(lambda: self._repository(dataset_id, project.path))
            if repository.references.targets:
                raise AlreadyExists(dataset_id)
            project = self._api.prepare(project, wanted)
            repository.put(objects)
            when_there(lambda: repository.set_head(head))
        except (NoRepository, RevisionConflict):
            raise StorageBusy(f"{dataset_id} comes and goes too fast; try again") from None
        self._confirm(dataset_id, project, repository, is_new=True)

    def _wanted(self, dataset_id: DatasetId) -> Wanted:
        description = self._description.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)
        name = self.naming.repository(dataset_id)
        return Wanted(name, title_of(dataset_id), description, self._private, self._topic)

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
        return self._of(
            dataset_id,
            project,
            lambda repository: not repository.is_empty and deleted in (None, is_deleted(repository)),
        )

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
        yield from self._api.issues(project.path)

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        return self._purging.left_over(repair=repair)

    def _verify_dataset(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        yield from super()._verify_dataset(dataset_id, inspect, repair=repair)
        project = self._project(dataset_id)
        if project.lfs_enabled:
            if repair:
                self._api.prepare(project)
            detail = f"{self._api.kind}'s own LFS is on, so that pushes with pointers are refused"
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
        self._look(dataset_id)  # the host packs by itself

    def ping(self) -> None:
        self._api.ping()

    def close(self) -> None:
        for host in self.hosts:
            host.close()
