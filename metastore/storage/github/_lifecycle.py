"""Creates, renames and purges repositories on GitHub, in steps that never expose a half-finished state."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from metastore.errors import (
    AlreadyExists,
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    PermissionDenied,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.git.cache import Cache
from metastore.git.objects import BLOB, COMMIT, GitObject, blob_id, commit_content, object_id
from metastore.git.repository import commit_at
from metastore.git.trees import change_tree
from metastore.http.responses import Missing, Redirected, Response, ResponseLost
from metastore.storage.github._api import GitHubApi, RestRepository
from metastore.storage.github._graphql import Move, Rejected
from metastore.storage.github._repository import GitHubRepository, Seen
from metastore.storage.naming import aside_name
from metastore.storage.port import Storage
from metastore.types import Change, DatasetId, RevisionId

#: The tree of a dataset that is being purged. No writer builds on a head with this tree.
PURGED = ".metastore-purged"
PURGED_CONTENT = b"This dataset is being purged.\n"
PURGED_TREE, _PURGED_TREES = change_tree(None, {PURGED: blob_id(PURGED_CONTENT)}, lambda tree: b"")
_TRIES = 3
_MAY_NOT_DELETE = (
    "GitHub does not let the token's owner delete repositories: a fine-grained token needs the permission "
    "Administration (read and write), a classic one delete_repo; organisations can forbid it to members"
)
_log = logging.getLogger("metastore.storage")


class Maker:
    """Creates, renames and purges repositories of one owner.

    Args:
        api: The calls.
        private: Whether new repositories are private.
        description: The description of new repositories.
        topic: The topic of new repositories.
        cache: The cache of the storage.
    """

    def __init__(self, api: GitHubApi, cache: Cache, *, private: bool, description: str, topic: str | None) -> None:
        self._api = api
        self._cache = cache
        self._private = private
        self._description = description
        self._topic = topic

    def make(
        self, dataset_id: DatasetId, name: str, objects: Mapping[str, GitObject], head: RevisionId
    ) -> GitHubRepository:
        """Create a repository under a temporary name, and rename it when it is complete.

        GitHub accepts no objects for a repository without a commit, so it makes one, which a forced move then replaces.

        Raises:
            AlreadyExists: The name is taken.
            OutcomeUnknown: It is unknown whether it got its name.
        """
        aside = aside_name()
        description = self._description.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)
        made = self._create(aside, description)
        try:
            self._fill(aside, made, objects, head)
            self._api.host.when_there(lambda: self.rename(aside, name, made.node_id, dataset_id, head))
        except OutcomeUnknown:
            raise
        except MetastoreError as error:
            self._clear_away(aside)
            if isinstance(error, Missing):
                raise StorageBusy(f"GitHub is not ready with a new repository for {dataset_id}; try again") from None
            raise
        repository = GitHubRepository(self._api, name, self._cache, Seen.now(made.node_id, Storage.branch, head))
        repository.made_at = time.monotonic()
        return repository

    def _create(self, aside: str, description: str) -> RestRepository:
        """Make a repository, and ask for it again if the response is lost: nobody else makes one of this name."""
        with suppress(ResponseLost):
            return self._api.create(aside, private=self._private, description=description)
        if made := self._made_after_all(aside):
            return made
        try:
            return self._api.create(aside, private=self._private, description=description)
        except (ResponseLost, StorageError) as error:
            if made := self._made_after_all(aside):
                return made
            if isinstance(error, StorageError):
                raise
            raise StorageUnavailable(f"GitHub did not make a repository: {error}") from None

    def _made_after_all(self, aside: str) -> RestRepository | None:
        for attempt in range(_TRIES):
            if made := self._api.get(aside):
                return made
            self._api.host.pause(attempt)
        return None

    def _fill(self, aside: str, made: RestRepository, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        """Fill a new repository. GitHub may not know the repository everywhere yet."""
        repository = GitHubRepository(self._api, aside, self._cache, Seen.now(made.node_id, "", ""))
        when_there = self._api.host.when_there
        when_there(lambda: repository.put(objects))
        when_there(lambda: self._force(made.node_id, [Move(f"refs/heads/{Storage.branch}", None, head)]))
        if topic := self._topic:
            when_there(lambda: self._api.set_topic(aside, topic))
        if made.branch != Storage.branch:
            when_there(lambda: self._change(aside, {"default_branch": Storage.branch}))
            when_there(lambda: self._force(made.node_id, [Move(f"refs/heads/{made.branch}", None, None)]))

    def _force(self, node_id: str, moves: list[Move]) -> None:
        """Move references of a repository that nobody else knows; repeating the request does no harm."""
        for attempt in range(_TRIES):
            try:
                self._api.graph.move(node_id, moves, force=True)
                return
            except ResponseLost as error:
                if attempt + 1 == _TRIES:
                    raise StorageUnavailable(str(error)) from None
            except Rejected as error:
                if error.not_found:
                    raise Missing(node_id) from None
                kind = PermissionDenied if error.forbidden else StorageError
                raise kind(f"GitHub refused to move the branch: {error}") from None

    def _change(self, name: str, settings: Mapping[str, Any]) -> None:
        for attempt in range(_TRIES):
            try:
                answer = self._api.change(name, settings)
                if answer.status == 422:
                    raise StorageError(f"GitHub does not let {name} be changed: {answer.message()}")
                return
            except ResponseLost as error:
                if attempt + 1 == _TRIES:
                    raise StorageUnavailable(str(error)) from None

    def rename(self, name: str, new_name: str, node_id: str, new_id: DatasetId, revision: str) -> None:
        """Give a repository another name.

        Args:
            name: Its present name.
            new_name: Its new name.
            node_id: GitHub's own id of the repository.
            new_id: Its new dataset id.
            revision: The newest revision, for an error about an unknown outcome.

        Raises:
            AlreadyExists: The name is taken.
            OutcomeUnknown: It is unknown whether it was renamed.

        Raises `Redirected` to the storage: the repository is not at its name.
        """
        lost = False
        for _ in range(_TRIES):
            answer: Response | None = None
            try:
                answer = self._api.change(name, {"name": new_name})
                if answer.status != 422:
                    return
            except ResponseLost:
                lost = True
            except Redirected:  # an earlier try did it; or somebody was faster, or GitHub does not know it yet
                if not lost and not self._is_named(new_name, node_id, revision):
                    raise
            if self._is_named(new_name, node_id, revision):
                return
            if answer is not None:
                if self._api.get(new_name) is not None:
                    raise AlreadyExists(new_id)
                raise InvalidInput(f"GitHub does not take the name {new_name}: {answer.message()}")
        raise OutcomeUnknown(f"GitHub did not say whether {name} was renamed to {new_name}", revision)

    def _is_named(self, new_name: str, node_id: str, revision: str) -> bool:
        try:
            found = self._api.get(new_name)
        except Redirected:
            return False
        except StorageError as error:
            raise OutcomeUnknown(f"GitHub did not say whether it has {new_name} now", revision) from error
        return found is not None and found.node_id == node_id

    def _clear_away(self, aside: str) -> None:
        """Delete a new repository. GitHub may not know it everywhere yet, or be busy with it, and then answers 403."""
        for attempt in range(_TRIES):
            try:
                self._api.host.when_there(lambda: self._api.delete(aside))
                return
            except PermissionDenied as error:
                refusal: Exception = error
                self._api.host.pause(attempt)
            except (MetastoreError, ResponseLost) as error:
                refusal = error
                break
        _log.warning("%s/%s was left behind: %s", self._api.owner, aside, refusal)

    # Purging

    def purge(self, repository: GitHubRepository, parent: RevisionId) -> str | None:
        """Delete a repository. Return its head if that is not `parent`, or None when the repository is deleted.

        First, a mark is committed on top of `parent`, atomically. A concurrent writer either was faster, which stops
        the purge, or finds nothing to build on. If GitHub refuses to delete, the mark is removed.

        Raises:
            OutcomeUnknown: The mark is there, but the deletion is uncertain. `verify(repair=True)` completes it.
        """
        before = commit_at(repository, parent)
        change = Change(before.author, "Purge", before.created)
        content = commit_content(PURGED_TREE, parent, change)
        mark = RevisionId(object_id(COMMIT, content))
        blob = GitObject(BLOB, PURGED_CONTENT)
        repository.put({blob_id(PURGED_CONTENT): blob, **_PURGED_TREES, mark: GitObject(COMMIT, content)})
        actual = repository.move_head(parent, mark)
        if actual is not None:
            return actual
        self._delete_marked(repository, parent, mark)
        return None

    def _delete_marked(self, repository: GitHubRepository, parent: RevisionId, mark: RevisionId) -> None:
        try:
            self._delete(repository)
        except ResponseLost:
            self._delete_again(repository, parent)
        except MetastoreError as error:
            try:
                self._force(repository.seen.node_id, [Move(f"refs/heads/{repository.branch}", mark, parent)])
            except MetastoreError:
                raise OutcomeUnknown(f"{repository.name} is marked as purged, and still there", parent) from error
            if isinstance(error, PermissionDenied):
                raise PermissionDenied(f"{_MAY_NOT_DELETE} ({error})") from None
            if isinstance(error, Redirected):
                raise StorageBusy(f"{repository.name} was moved meanwhile; try again") from None
            raise

    def _delete_again(self, repository: GitHubRepository, parent: RevisionId) -> None:
        """Find out about a deletion whose response was lost, and repeat it if the repository still exists."""
        try:
            found = self._api.get(repository.name)
            if found and found.node_id == repository.seen.node_id:
                self._delete(repository)
        except (MetastoreError, ResponseLost) as error:
            raise OutcomeUnknown(f"{repository.name} is marked as purged, and may not be gone", parent) from error

    def _delete(self, repository: GitHubRepository) -> None:
        """Delete a repository. For a token that can see it but not delete it, GitHub may answer 404."""
        try:
            self._api.delete(repository.name)
        except Missing:
            found = self._api.get(repository.name)
            if found and found.node_id == repository.seen.node_id:
                raise PermissionDenied(f"it answers that {repository.name} is not there") from None
