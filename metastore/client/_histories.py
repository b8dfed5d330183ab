"""The histories of a service's datasets, as a storage to copy from and to: the service serves them to Git."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn

from metastore.errors import AuthenticationError, DatasetMoved, DatasetNotFound, InvalidInput, PermissionDenied
from metastore.git.cache import Cache
from metastore.git.objects import GitObject
from metastore.git.protocol import NoRepository, References
from metastore.http.client import LONGEST, Host
from metastore.http.credentials import Credentials, Nobody
from metastore.parse import parse_dataset_id
from metastore.storage.plain_git import PlainGitStorage
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import DatasetId, RevisionId

#: Lists the ids with a prefix: of deleted datasets, of live ones, or of both.
Listing = Callable[[str, bool | None], Iterable[DatasetId]]

#: For how many seconds a service may check what it received before it answers.
_TIMEOUT = 300.0


class ServiceHistories(PlainGitStorage):
    """The histories of one service's datasets.

    It accepts revisions and tags that were made elsewhere, if the token grants `import`. Other changes go through the
    calls of the store.

    Args:
        address: The service's address, without `/api/v1`.
        credentials: The credentials of the caller.
        listing: Lists the datasets of the service.

    Raises:
        InvalidInput: The address is neither https nor on this machine.
    """

    adopts_at_once = 50

    def __init__(self, address: str, credentials: Credentials, listing: Listing) -> None:
        def unauthorized(message: str) -> AuthenticationError:
            if isinstance(credentials, Nobody):
                return AuthenticationError(f"{address} takes this only with a token", missing=True)
            return AuthenticationError(message)

        host = Host(address, credentials, extra="client", timeout=_TIMEOUT, longest=LONGEST, unauthorized=unauthorized)
        super().__init__(host, "/git/{owner}/{name}.git")
        self._listing = listing

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        return (each for each in self._listing(prefix, deleted) if after is None or each > after)

    def _repository(self, dataset_id: DatasetId, cache: Cache | None = None) -> RemoteRepository:
        try:
            return super()._repository(dataset_id, cache)
        except DatasetNotFound as error:
            if isinstance(error.__context__, NoRepository) and (moved := _new_id(error.__context__.moved_to)):
                raise DatasetMoved(dataset_id, moved) from None
            raise

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        path, nothing = self._repository_path(dataset_id), References(None, {})
        repository = RemoteRepository(dataset_id, self._server, path, self._cache, nothing)
        repository.put(objects)
        try:
            repository.set_head(head)
        except NoRepository as error:
            if moved := _new_id(error.moved_to):
                raise DatasetMoved(dataset_id, moved) from None
            raise PermissionDenied(f"the token does not grant read on {dataset_id}, which a copy needs") from None

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        self._refuse()

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        self._refuse()

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        self._refuse()

    def compact(self, dataset_id: DatasetId) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InvalidInput(f"{self.hosts[0].base} is a service: verify, pack and back up where its store is")


def _new_id(address: str | None) -> DatasetId | None:
    """Return the dataset whose repository is at an address of a service, or None."""
    parts = (address or "").removesuffix(".git").split("/")
    with suppress(InvalidInput, IndexError):
        return parse_dataset_id((parts[-2], parts[-1])) if parts[-3] == "git" else None
    return None
