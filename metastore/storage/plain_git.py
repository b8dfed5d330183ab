"""Datasets as repositories on any Git server that speaks HTTP: `git+https://git.example.org/{owner}/{name}.git`.

What Git can say works: reading, history, and every write that is a push, with the same guarantee as on GitLab. What
only a host's own API can say is refused with a sentence: making repositories, listing, moving and purging them. A
dataset can be created where somebody has made an empty repository.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

from metastore.errors import AlreadyExists, DatasetNotFound, InvalidInput, StorageBusy
from metastore.git.cache import Cache
from metastore.git.objects import GitObject
from metastore.git.protocol import NoRepository, SmartHttp
from metastore.git.repository import Repository
from metastore.http.client import LONGEST, Host
from metastore.http.credentials import Nobody, Token
from metastore.parse import split_url
from metastore.storage.naming import OWN_OWNER
from metastore.storage.objects import ObjectStorage
from metastore.storage.remote_repository import RemoteRepository
from metastore.types import DatasetId, RevisionId

#: Stands for `_metastore`, the owner of the store's own datasets, which no host takes for a name.
OWN_FOLDER = "metastore-own"
_CACHE_BYTES = 64 * 1024 * 1024
_FORM = "git+https://git.example.org/{owner}/{name}.git"


class PlainGitStorage(ObjectStorage):
    """Datasets on one Git server. Safe to share between threads.

    Args:
        host: The server.
        path: The path of a repository there, with `{owner}` and `{name}` in it.
        account: The user's name and the token, for Git itself; None for each that there is not.
        cache_bytes: How much of what was read is kept in memory.
    """

    def __init__(
        self,
        host: Host,
        path: str,
        *,
        account: tuple[str | None, str | None] = (None, None),
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.hosts = (host,)
        self.account = account
        self._path = path
        self._server = SmartHttp(host)
        self._cache_bytes = cache_bytes
        self._cache = Cache(cache_bytes)

    @property
    def clone_template(self) -> str:
        """The address of repositories for Git, with `{owner}` and `{name}` in it."""
        return self.hosts[0].base + self._path

    def _repository_path(self, dataset_id: DatasetId) -> str:
        owner = dataset_id.owner
        if owner == OWN_FOLDER:
            raise InvalidInput(f"the owner {OWN_FOLDER} is the store's own")
        folder = OWN_FOLDER if owner == OWN_OWNER else owner
        return self._path.replace("{owner}", folder).replace("{name}", dataset_id.name)

    def _repository(self, dataset_id: DatasetId, cache: Cache | None = None) -> RemoteRepository:
        """Return a repository with its references as they are now. Raises DatasetNotFound."""
        try:
            return RemoteRepository(dataset_id, self._server, self._repository_path(dataset_id), cache or self._cache)
        except NoRepository as error:
            where = f"; it is at {error.moved_to} now" if error.moved_to else ""
            message = f"there is no repository for {dataset_id}, or not for the token's owner to see{where}"
            raise DatasetNotFound(dataset_id, message) from None

    # What ObjectStorage needs

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        with self._opened(dataset_id, self._cache) as repository:
            yield repository

    @contextmanager
    def _open_uncached(self, dataset_id: DatasetId) -> Iterator[Repository]:
        with self._opened(dataset_id, Cache(self._cache_bytes)) as repository:
            yield repository

    @contextmanager
    def _opened(self, dataset_id: DatasetId, cache: Cache) -> Iterator[Repository]:
        repository = self._repository(dataset_id, cache)
        if repository.is_empty:
            raise DatasetNotFound(
                dataset_id, f"the repository of {dataset_id} is empty: nothing was pushed into it yet"
            )
        try:
            yield repository
        except NoRepository:
            raise StorageBusy(f"{dataset_id} was removed or renamed meanwhile; try again") from None

    def _lock(self, *dataset_ids: DatasetId) -> AbstractContextManager[None]:
        return nullcontext()  # the server compares, under a lock of its own

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        return  # in another repository the push would find other references

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        try:
            repository = self._repository(dataset_id)
        except DatasetNotFound as error:
            address = self.hosts[0].base + self._repository_path(dataset_id)
            raise InvalidInput(
                f"Git alone makes no repository: make an empty one at {address} first ({error})"
            ) from None
        if repository.references.targets:
            raise AlreadyExists(dataset_id)
        repository.put(objects)
        repository.set_head(head)

    # What Git cannot say

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        _refuse("lists no repositories: name the datasets")

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        _refuse("renames no repositories: rename it on the host")

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        _refuse("removes no repositories: delete the dataset, and remove the repository on the host")

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        _refuse("does not tell what changed on a host: ask for the revisions of each dataset")

    def compact(self, dataset_id: DatasetId) -> None:
        self._repository(dataset_id)  # the host packs by itself

    def ping(self) -> None:
        try:
            self._repository(DatasetId(OWN_OWNER, "journal"))
        except DatasetNotFound:
            return  # the server answers, and that is all that is asked

    def close(self) -> None:
        self.hosts[0].close()


def _refuse(reason: str) -> NoReturn:
    raise InvalidInput(
        f"Git alone {reason}. Stores on GitHub, GitLab, Gitea and Forgejo can: github://, gitlab://, gitea://"
    )


def open_plain_git(
    url: str,
    *,
    token: str | None = None,
    timeout: float = 30.0,
    patience: float = 90.0,
    longest: int = LONGEST,
    **options: Any,
) -> PlainGitStorage:
    """Open the datasets on a Git server.

    Args:
        url: `git+https://git.example.org/{owner}/{name}.git`; with a user name before the host if the server wants a
            certain one beside the token.
        token: Sent as a password; None to read without.
        timeout: How long to wait for the server to say something, in seconds.
        patience: How long a call may wait while the server limits us, in seconds.
        longest: The longest answer that is read, in bytes.
        **options: See `PlainGitStorage`.

    Raises:
        InvalidInput: The URL or an option makes no sense.
    """
    parts = split_url(url.removeprefix("git+"))
    if parts.password is not None:
        raise InvalidInput("a token is not part of a URL: give it as an option, or as METASTORE_GIT_TOKEN")
    if not parts.hostname or parts.query or parts.fragment or not {"{owner}", "{name}"} <= _placeholders(parts.path):
        raise InvalidInput(f"a Git server is named as {_FORM}")
    user = parts.username or "oauth2"
    basic = base64.b64encode(f"{user}:{token}".encode()).decode()
    credentials = Token(basic, prefix="Basic ") if token else Nobody()
    base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if token:
        Token(token)  # refuses a token that cannot be in a header
    host = Host(base, credentials, extra="gitlab", timeout=timeout, patience=patience, longest=longest)
    return PlainGitStorage(host, parts.path, account=(parts.username, token), **options)


def _placeholders(path: str) -> set[str]:
    return {each for each in ("{owner}", "{name}") if each in path.split("/") or f"{each}.git" in path.split("/")}
