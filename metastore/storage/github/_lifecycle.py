"""Making, renaming and purging repositories on GitHub, in steps that leave nothing half done to be seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from metastore import git
from metastore.errors import (
    AlreadyExists,
    InvalidInput,
    MetastoreError,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from metastore.git.cache import Cache
from metastore.git.history import commit_at
from metastore.git.objects import GitObject, blob_id, object_id
from metastore.http.responses import Redirected, ResponseLost
from metastore.storage.github._api import GitHubApi, Move, Rejected
from metastore.storage.github._repository import GitHubRepository, Seen
from metastore.storage.naming import aside_name
from metastore.storage.port import Storage
from metastore.types import Change, DatasetId, RevisionId

#: The tree of a dataset that is being purged: nobody builds on a head that has it.
PURGED = ".metastore-purged"
PURGED_CONTENT = b"This dataset is being purged.\n"
PURGED_TREE, _PURGED_TREES = git.change_tree(None, {PURGED: blob_id(PURGED_CONTENT)}, lambda tree: b"")
_TRIES = 3
_log = logging.getLogger("metastore.storage")


class Maker:
    """Makes, renames and purges repositories of one owner.

    Args:
        api: The calls.
        private: Whether new repositories are private.
        description: What new repositories say of themselves.
        topic: Given to new repositories.
        cache: Shared with the storage.
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
        """Make a repository aside, and rename it into place when it is whole.

        GitHub takes no objects for a repository without a commit: it makes one, which is then forced away.

        Raises:
            AlreadyExists: The name is taken.
            OutcomeUnknown: Whether it got its name cannot be told.
        """
        aside = aside_name()
        description = self._description.replace("{owner}", dataset_id.owner).replace("{name}", dataset_id.name)
        made = self._create(aside, description)
        try:
            self._fill(aside, made, objects, head)
            self.rename(aside, name, made["node_id"], dataset_id, head)
        except OutcomeUnknown:
            raise
        except MetastoreError:
            self._clear_away(aside)
            raise
        return GitHubRepository(self._api, name, self._cache, Seen.now(made["node_id"], Storage.branch, head))

    def _create(self, aside: str, description: str) -> Mapping[str, Any]:
        try:
            made: Mapping[str, Any] = self._api.create(aside, private=self._private, description=description).json()
        except ResponseLost as error:
            found = self._api.get(aside)
            if found is None:
                raise StorageUnavailable(f"GitHub did not make a repository: {error}") from None
            made = found
        return made

    def _fill(self, aside: str, made: Mapping[str, Any], objects: Mapping[str, GitObject], head: RevisionId) -> None:
        repository = GitHubRepository(self._api, aside, self._cache, Seen.now(made["node_id"], "", ""))
        repository.put(objects)
        self._force(made["node_id"], [Move(f"refs/heads/{Storage.branch}", None, head)])
        if self._topic:
            self._api.set_topic(aside, self._topic)
        if made["default_branch"] != Storage.branch:
            self._change(aside, {"default_branch": Storage.branch})
            self._force(made["node_id"], [Move(f"refs/heads/{made['default_branch']}", None, None)])

    def _force(self, node_id: str, moves: list[Move]) -> None:
        """Move references of a repository that nobody else knows of: to ask twice does no harm."""
        for attempt in range(_TRIES):
            try:
                self._api.move(node_id, moves, force=True)
                return
            except ResponseLost as error:
                if attempt + 1 == _TRIES:
                    raise StorageUnavailable(str(error)) from None
            except Rejected as error:
                raise StorageError(f"GitHub refused the first revision: {error}") from None

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
            name: Its name now.
            new_name: The one it shall have.
            node_id: GitHub's own id of it.
            new_id: The dataset that it will be.
            revision: The newest, for an outcome that cannot be told.

        Raises:
            AlreadyExists: The name is taken.
            OutcomeUnknown: Whether it was renamed cannot be told.
        """
        for _ in range(_TRIES):
            try:
                answer = self._api.change(name, {"name": new_name})
            except ResponseLost:
                if self._is_named(new_name, node_id, revision):
                    return
                continue
            except Redirected:  # an earlier try of ours did it, or somebody else was faster
                answer = None
            if answer is not None and answer.status != 422:
                return
            if self._is_named(new_name, node_id, revision):
                return
            if answer is None:
                raise StorageUnavailable(f"{name} was renamed meanwhile")
            if self._api.get(new_name) is not None:
                raise AlreadyExists(new_id)
            raise InvalidInput(f"GitHub does not take the name {new_name}: {_reason(answer.json())}")
        raise OutcomeUnknown(f"GitHub did not say whether {name} was renamed to {new_name}", revision)

    def _is_named(self, new_name: str, node_id: str, revision: str) -> bool:
        try:
            found = self._api.get(new_name)
        except Redirected:
            return False
        except StorageError as error:
            raise OutcomeUnknown(f"GitHub did not say whether it has {new_name} now", revision) from error
        return found is not None and found["node_id"] == node_id

    def _clear_away(self, aside: str) -> None:
        try:
            self._api.delete(aside)
        except (MetastoreError, ResponseLost, Redirected) as error:
            _log.warning("%s/%s was left behind: %s", self._api.owner, aside, error)

    # Purging

    def purge(self, repository: GitHubRepository, parent: RevisionId) -> str | None:
        """Delete a repository; return its head where that is not `parent`, or None when it is done.

        A mark goes on top of `parent` first, atomically: whoever writes at the same time either was before, and we
        stop, or finds nothing to build on. Where GitHub refuses to delete, the mark is taken back.

        Raises:
            OutcomeUnknown: The mark is there; whether the rest is gone cannot be told. `verify(repair=True)` ends it.
        """
        before = commit_at(repository, parent)
        change = Change(before.author, "Purge", before.created)
        content = git.commit_content(PURGED_TREE, parent, change)
        mark = RevisionId(object_id(git.COMMIT, content))
        blob = GitObject(git.BLOB, PURGED_CONTENT)
        repository.put({blob_id(PURGED_CONTENT): blob, **_PURGED_TREES, mark: GitObject(git.COMMIT, content)})
        actual = repository.move_head(parent, mark)
        if actual is not None:
            return actual
        self._delete_marked(repository, parent, mark)
        return None

    def _delete_marked(self, repository: GitHubRepository, parent: RevisionId, mark: RevisionId) -> None:
        try:
            self._api.delete(repository.name)
        except ResponseLost as error:
            with suppress(StorageError, Redirected):
                found = self._api.get(repository.name)
                if found is None or found["node_id"] != repository.seen.node_id:
                    return
            raise OutcomeUnknown(f"{repository.name} is marked as purged, and may not be gone", parent) from error
        except (MetastoreError, Redirected) as error:
            try:
                self._force(repository.seen.node_id, [Move(f"refs/heads/{repository.branch}", mark, parent)])
            except MetastoreError:
                raise OutcomeUnknown(f"{repository.name} is marked as purged, and still there", parent) from error
            if isinstance(error, Redirected):
                raise StorageBusy(f"{repository.name} was moved meanwhile; try again") from None
            raise


def _reason(value: Any) -> str:
    errors = value.get("errors") if isinstance(value, dict) else None
    if not isinstance(errors, list):
        return str(value)[:200]
    return "; ".join(str(each.get("message") if isinstance(each, dict) else each)[:200] for each in errors)
