"""The histories of a service's datasets as a storage to copy from: the service serves them to Git."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NoReturn

from metastore.errors import InvalidInput
from metastore.git.objects import GitObject
from metastore.http.client import LONGEST, Host
from metastore.http.credentials import Credentials
from metastore.storage.plain_git import PlainGitStorage
from metastore.types import DatasetId, RevisionId

#: Lists the ids with a prefix: those that are deleted, those that are not, or all.
Listing = Callable[[str, bool | None], Iterable[DatasetId]]


class ServiceHistories(PlainGitStorage):
    """The datasets of one service with all that leads to them. It takes no changes: those go through the store's calls.

    Args:
        address: The service's address, without `/api/v1`.
        credentials: Who asks.
        listing: How the service lists its datasets.

    Raises:
        InvalidInput: The address is neither https nor on this machine.
    """

    def __init__(self, address: str, credentials: Credentials, listing: Listing) -> None:
        super().__init__(Host(address, credentials, extra="client", longest=LONGEST), "/git/{owner}/{name}.git")
        self._listing = listing

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        return (each for each in self._listing(prefix, deleted) if after is None or each > after)

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        self._refuse()

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
