"""The second half of a purge: deletes a project that was renamed aside, and cleans up after interrupted purges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from metastore.errors import MetastoreError, OutcomeUnknown, PermissionDenied, RevisionConflict
from metastore.git.cache import Cache
from metastore.git.protocol import NoRepository, SmartHttp
from metastore.storage.hosted.projects import Project, Projects, title_of
from metastore.storage.naming import ASIDE_PREFIX, Naming
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import Damage, DatasetId, RevisionId

#: A project that is still there after this time was left by an abandoned purge.
_GIVEN_UP = timedelta(days=1)
_CACHE_BYTES = 1024 * 1024


class Purging:
    """The purges of one owner.

    Args:
        api: The calls.
        server: The server of the Git repositories.
        naming: Maps projects to datasets.
    """

    def __init__(self, api: Projects, server: SmartHttp, naming: Naming) -> None:
        self._api, self._server, self._naming = api, server, naming

    def remove(self, dataset_id: DatasetId, project: Project, aside: str, parent: RevisionId) -> None:
        """Delete a project that was renamed aside, or give it its name back if it cannot or must not be deleted.

        Raises:
            PermissionDenied: The token's owner may not delete it; it has its name again.
            RevisionConflict: Somebody pushed to it meanwhile; it has its name again.
            OutcomeUnknown: The response was lost, and the host cannot be reached.
        """
        project = project._replace(path=self._api.full_path(aside))
        try:
            head = self._repository(dataset_id, project.path).head()
            if head == parent:
                self._api.remove(project, parent)
                return
        except PermissionDenied as error:
            self._name_back(dataset_id, project, aside, parent)
            raise PermissionDenied(
                f"{dataset_id} is not purged: deleting it takes {self._api.right_to_delete}, more than renaming it "
                f"({error})"
            ) from None
        except MetastoreError as error:
            raise self._lost_aside(dataset_id, aside, parent) from error
        self._name_back(dataset_id, project, aside, parent)
        raise RevisionConflict(dataset_id, expected=parent, actual=head)

    def _name_back(self, dataset_id: DatasetId, project: Project, aside: str, parent: RevisionId) -> None:
        try:
            self._api.rename(project, self._naming.repository(dataset_id), title_of(dataset_id), parent)
        except MetastoreError as error:
            raise self._lost_aside(dataset_id, aside, parent) from error

    def _lost_aside(self, dataset_id: DatasetId, aside: str, parent: RevisionId) -> OutcomeUnknown:
        message = f"{dataset_id} is gone from its place, but may not be deleted: look for the project {aside}"
        return OutcomeUnknown(message, before=parent)

    def _repository(self, dataset_id: DatasetId, path: str) -> RemoteRepository:
        return RemoteRepository(dataset_id, self._server, f"/{path}.git", Cache(_CACHE_BYTES))

    # Left-overs of interrupted purges

    def left_over(self, *, repair: bool) -> Iterator[Damage]:
        """Yield the projects that interrupted purges left behind, and remove them if asked to."""
        for project in self._api.all():
            if project.name.startswith(ASIDE_PREFIX) and project.last_activity < datetime.now(UTC) - _GIVEN_UP:
                with suppress(NoRepository):  # it was deleted meanwhile
                    yield self._left_over(project, repair=repair)

    def _left_over(self, project: Project, *, repair: bool) -> Damage:
        """Handle a project that an interrupted purge left behind. One that was written to at that moment stays."""
        repository = self._repository(DatasetId("", project.path), project.path)
        purged = project.path.rpartition(".")[2]
        if not repository.is_empty and repository.head() != purged:
            detail = "it was written to while it was purged: give it its former name, or delete it"
            return Damage(project.path, "left-over-project", detail)
        if repair:
            self._api.remove(project, purged)
        return Damage(project.path, "left-over-project", "an interrupted purge left it", repair)
