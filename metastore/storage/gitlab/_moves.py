"""What a group on GitLab needs beside its datasets: which of them moved or were purged, and whether all is well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from metastore.errors import DatasetNotFound, OutcomeUnknown, StorageUnavailable
from metastore.git.cache import Cache
from metastore.git.protocol import NoRepository, SmartHttp
from metastore.storage import retry
from metastore.storage.gitlab._api import GitLabApi, Project
from metastore.storage.naming import ASIDE_PREFIX, OWN_OWNER
from metastore.storage.port import Storage
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import Author, Change, Damage, DatasetId, Revision

#: Ids that were moved or purged: a revision for each, whose message names them.
MOVES = DatasetId(OWN_OWNER, "moves")
_OURSELVES = Author("MetaStore")
#: What is still there after so long was given up by whoever was purging it.
_GIVEN_UP = timedelta(days=1)
_CACHE_BYTES = 64 * 1024 * 1024


class Moves:
    """The ids that were moved or purged: GitLab has no list of them.

    Args:
        storage: Where the list is kept, as a dataset of the store's own.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def note(self, *dataset_ids: DatasetId) -> None:
        """Note that ids are about to be moved or purged."""
        now = datetime.now(UTC).replace(microsecond=0)
        change = Change(_OURSELVES, " ".join(map(str, dataset_ids)), now)
        files = {"moves.txt": f"{now.isoformat()} {change.message}\n".encode()}
        try:
            retry.append(self._storage, MOVES, self._newest, lambda head: (files, change))
        except OutcomeUnknown as error:  # a note too many does no harm, and the change was not begun
            raise StorageUnavailable(f"what is moved or purged cannot be noted: {error}") from error

    def _newest(self) -> Revision | None:
        try:
            return self._storage.resolve(MOVES, None)
        except DatasetNotFound:
            return None

    def since(self, earliest: datetime | None) -> Iterator[tuple[datetime, DatasetId]]:
        """Yield when which ids were moved or purged, newest first."""
        newest = self._newest()
        if newest is None:
            return
        for line in self._storage.history(MOVES, newest.id):
            if earliest and line.created < earliest:
                return
            for text in line.message.split():
                owner, _, name = text.partition("/")
                yield line.created, DatasetId(owner, name)


def left_over(api: GitLabApi, server: SmartHttp, *, repair: bool) -> Iterator[Damage]:
    """Yield the projects that interrupted purges left in a group, and remove them if asked to."""
    for project in api.projects():
        name = project.path.rpartition("/")[2]
        if name.startswith(ASIDE_PREFIX) and project.last_activity < datetime.now(UTC) - _GIVEN_UP:
            with suppress(NoRepository):  # it was deleted meanwhile
                yield _left_over(api, server, project, repair=repair)


def _left_over(api: GitLabApi, server: SmartHttp, project: Project, *, repair: bool) -> Damage:
    """Look at what an interrupted purge left; a project that was written to at that moment stays."""
    repository = RemoteRepository(DatasetId("", project.path), server, f"/{project.path}.git", Cache(_CACHE_BYTES))
    purged = project.path.rpartition(".")[2]
    if not repository.is_empty and repository.head() != purged:
        detail = "it was written to while it was purged: give it its former name, or delete it"
        return Damage(project.path, "left-over-project", detail)
    if repair:
        api.remove(project, purged)
    return Damage(project.path, "left-over-project", "an interrupted purge left it", repair)
