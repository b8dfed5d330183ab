"""The default storage: a bare Git repository for each dataset, in a folder of this machine.

```
<root>/metastore.json                     says that this is a store, and of which format
<root>/<owner>/<name>.git                 a dataset: clone it, read its log; pushes are refused
<root>/_metastore/journal.git             the journal
<root>/_metastore/notes/<owner>/<name>    an id without a dataset: where it moved, or that it was purged
<root>/_metastore/locks/<number>          locked (flock) while a dataset is written; many ids share one
<root>/_metastore/turns/<number>          locked by a writer that writes again after a lost race
<root>/_metastore/feed/                   the store's own clock, for the change feed
<root>/_metastore/tmp/                    what is being made or purged
```

A dataset is made in `tmp` and renamed into place, so that it exists as a whole or not at all. A repository at an id
always counts more than a note. Network file systems are not supported: `flock` and `rename` do not hold there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from metastore import forks
from metastore.errors import (
    AlreadyExists,
    DatasetNotFound,
    StorageBusy,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
)
from metastore.files.durable import remove_tree
from metastore.files.locks import building, locked
from metastore.git.cache import Cache
from metastore.git.history import expect_head, is_deleted
from metastore.git.objects import GitObject
from metastore.git.repository import Inspect, Repository
from metastore.os_errors import expect_room, storage_errors
from metastore.storage.local._config import protect
from metastore.storage.local._feed import touched
from metastore.storage.local._handles import Handles
from metastore.storage.local._joining import join
from metastore.storage.local._maintenance import compact, damage_of_dataset, damage_of_store, wants_packing
from metastore.storage.local._notes import Note, Notes
from metastore.storage.local._repository import GitRepository, make_repository, newest_readable
from metastore.storage.local.layout import Layout
from metastore.storage.objects import ObjectStorage
from metastore.storage.port import attempt
from metastore.types import BlobId, Change, Damage, DatasetId, Revision, RevisionId

_TRIES = 10
_MOST_PACKS = 8  # each kept handle has them open
_log = logging.getLogger("metastore.storage")


class GitStorage(ObjectStorage):
    """Datasets in a folder of this machine.

    Safe to share between threads, and usable after a fork.

    Args:
        root: The store's folder.
        create: Whether to make a store where there is nothing (no folder, or an empty one).
        sync: Whether changes are made durable (fsync) before they count. Turn it off only for tests, and for imports
            that can be repeated.
        cache_bytes: The size of the cache of objects in memory.
        auto_pack: Whether writers pack a dataset whose history has many loose objects.
        unfinished: Whether a new store cannot be opened by others until its layout takes an identity.

    Raises:
        StorageUnavailable: There is no store and `create` is false, or the folder holds other files.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        create: bool = True,
        sync: bool = True,
        cache_bytes: int = 64 * 1024 * 1024,
        auto_pack: bool = True,
        unfinished: bool = False,
    ) -> None:
        self.layout = Layout(os.path.abspath(root), sync=sync)
        self.notes = Notes(self.layout)
        self._sync = sync
        self._auto_pack = auto_pack
        self._cache = Cache(cache_bytes)
        self._handles = Handles()
        forks.register(self, GitStorage._after_fork)
        with storage_errors():
            self.layout.prepare(create=create, unfinished=unfinished)

    # What ObjectStorage needs

    @contextmanager
    def _open(self, dataset_id: DatasetId, revision: RevisionId | None = None) -> Iterator[Repository]:
        repository = self._take(dataset_id)
        try:
            with storage_errors():
                yield repository
        except (StorageCorrupt, StorageUnavailable):
            with storage_errors():  # files that went with a move or purge are not damage
                self._expect_same(dataset_id, repository)
            raise
        finally:
            self._handles.give_back(dataset_id, repository)

    def _lock(self, *dataset_ids: DatasetId) -> AbstractContextManager[None]:
        return self.layout.changing(*dataset_ids)

    def _expect_same(self, dataset_id: DatasetId, repository: Repository) -> None:
        assert isinstance(repository, GitRepository)
        if not repository.is_current():
            self.notes.raise_missing(dataset_id)
            raise StorageBusy(f"{dataset_id} was replaced meanwhile; try again")

    def _make(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> None:
        with storage_errors():
            if os.path.lexists(self.layout.path(dataset_id)):
                with suppress(DatasetNotFound):  # it was purged or moved meanwhile
                    if self._fill(dataset_id, objects, head):
                        return
                    raise AlreadyExists(dataset_id)
            self.layout.mark.expect()
            self.layout.expect_owner(dataset_id)
            aside = self.layout.aside()
            with building(aside):
                make_repository(aside, objects, head, self._cache, sync=self._sync)
                self.notes.redirect(dataset_id)
                with self._lock(dataset_id):
                    self.layout.put_in_place(aside, dataset_id, head)
                    self.notes.remove(dataset_id)

    def _fill(self, dataset_id: DatasetId, objects: Mapping[str, GitObject], head: RevisionId) -> bool:
        """Make a dataset of a repository that `git init --bare` made; tell whether it was empty."""
        with suppress(StorageCorrupt), self._open(dataset_id) as repository:
            assert isinstance(repository, GitRepository)
            if repository.is_empty():
                repository.put(objects)
                with self._lock(dataset_id), repository.branch_locked():
                    self._expect_same(dataset_id, repository)
                    if repository.is_empty():
                        repository.set_head(head)
                        self.notes.remove(dataset_id)
                        return True
        return False

    def expect_adoptable(self, path: str) -> None:
        """Check that a repository in the store's folder can get an id.

        Raises:
            StorageCorrupt: It is empty, or cannot be read.
        """
        with storage_errors():
            newest_readable(path)

    def take_in(self, path: str, dataset_id: DatasetId) -> None:
        """Give an id to a repository in the store's folder, and link its former path to the new one.

        Raises:
            AlreadyExists: The id is taken.
            StorageCorrupt: The repository cannot be read, or is empty.
        """
        with storage_errors():
            head = newest_readable(path)
            self.layout.expect_owner(dataset_id)
            self.notes.redirect(dataset_id)
            with self._lock(dataset_id):
                if os.path.lexists(self.layout.path(dataset_id)):
                    raise AlreadyExists(dataset_id)
                self.layout.put_in_place(path, dataset_id, head)
                self.notes.remove(dataset_id)
            with suppress(OSError):  # for clones of the former path
                os.symlink(os.path.relpath(self.layout.path(dataset_id), os.path.dirname(path)), path)

    # The rest of the port

    def append(
        self,
        dataset_id: DatasetId,
        changes: Mapping[str, bytes | BlobId | None],
        change: Change,
        *,
        parent: RevisionId,
    ) -> Revision:
        revision = super().append(dataset_id, changes, change, parent=parent)
        if self._auto_pack and wants_packing(self.layout.path(dataset_id)):
            try:
                self.pack_loose(dataset_id)
            except (StorageError, DatasetNotFound) as error:
                # The revision is written: a failure to pack must not look like a failure to write.
                _log.warning("%s could not be packed: %s", dataset_id, error)
        return revision

    @contextmanager
    def turn(self, dataset_id: DatasetId) -> Iterator[None]:
        with storage_errors(), locked([self.layout.turn_file(dataset_id)]):
            yield

    def expect_room(self) -> None:
        with storage_errors():
            expect_room(self.layout.root)

    def ids(
        self, *, prefix: str = "", after: DatasetId | None = None, deleted: bool | None = False
    ) -> Iterator[DatasetId]:
        with storage_errors():
            for dataset_id in self.layout.ids(prefix, after):
                if deleted is None or self._deleted_is(dataset_id, deleted):
                    yield dataset_id

    def rename(self, dataset_id: DatasetId, new_id: DatasetId, *, parent: RevisionId) -> None:
        layout = self.layout
        with storage_errors():
            layout.expect_owner(new_id)
            self.notes.redirect(new_id)
        with self._lock(dataset_id, new_id):
            with self._open(dataset_id) as repository:
                expect_head(dataset_id, repository, parent)
                if os.path.lexists(layout.path(new_id)):
                    raise AlreadyExists(new_id)
                former = layout.former_ids(dataset_id)
                layout.write_former_ids(dataset_id, tuple(dict.fromkeys((*former, dataset_id))))
            with attempt(parent), self.notes.writing(dataset_id, Note(new_id, former)):
                layout.put_in_place(layout.path(dataset_id), new_id, parent)
            self.notes.remove(new_id)
        self._tidy(dataset_id)

    def purge(self, dataset_id: DatasetId, *, parent: RevisionId) -> None:
        layout = self.layout
        with self._lock(dataset_id):
            with self._open(dataset_id) as repository:
                expect_head(dataset_id, repository, parent)
                former = layout.former_ids(dataset_id)
            layout.expect_no_link(dataset_id)
            with attempt(parent), self.notes.writing(dataset_id, Note(None, former)):
                aside = layout.take_away(dataset_id, parent)
        remove_tree(aside)
        self._tidy(dataset_id)

    def _tidy(self, dataset_id: DatasetId) -> None:
        """Finish a rename or purge, which has happened, so that this must not fail."""
        try:
            self.notes.redirect(dataset_id)
        except (OSError, StorageUnavailable) as error:
            _log.warning("ids that led to %s still lead there: %s", dataset_id, error)

    def touched(self, since: str | None) -> Iterator[tuple[str, DatasetId]]:
        return touched(self.layout, since)

    def _left_over(self, *, repair: bool) -> Iterator[Damage]:
        with storage_errors():
            yield from damage_of_store(self.layout, repair=repair)

    def _verify_dataset(self, dataset_id: DatasetId, inspect: Inspect, *, repair: bool) -> Iterator[Damage]:
        for tries_left in reversed(range(_TRIES)):
            # If it was replaced meanwhile, it is verified again; the last try raises.
            with suppress(StorageBusy) if tries_left else nullcontext(), storage_errors():
                yield from damage_of_dataset(self, dataset_id, inspect, repair=repair)
                return

    def compact(self, dataset_id: DatasetId) -> None:
        with self.lock(dataset_id), self.open(dataset_id) as repository:
            protect(repository.path, sync=self._sync)
            compact(repository)

    def ping(self) -> None:
        with storage_errors():
            os.listdir(self.layout.root)
            self.layout.mark.expect()

    def is_unnamed(self, text: str) -> bool:
        parts = text.split("/")
        return len(parts) == 2 and self.layout.is_unnamed(*parts)

    def private(self, name: str) -> str | None:
        return self.layout.private(name)

    def close(self) -> None:
        self._handles = Handles()

    def confirm(self, *dataset_ids: DatasetId) -> None:
        with storage_errors():
            for dataset_id in dataset_ids:
                self.layout.confirm(dataset_id)

    # Used by maintenance and backup

    def lock(self, dataset_id: DatasetId) -> AbstractContextManager[None]:
        """Keep writers and packers away from a dataset, without changing it."""
        return self.layout.locked(dataset_id)

    def open(self, dataset_id: DatasetId) -> AbstractContextManager[GitRepository]:
        """Open a dataset's repository."""
        return self._open(dataset_id)  # type: ignore[return-value]

    def pack_loose(self, dataset_id: DatasetId) -> None:
        """Put a dataset's loose objects into one pack; join the packs when there are many."""
        with self.lock(dataset_id), self.open(dataset_id) as repository:
            repository.database.pack_loose()
            if join(repository.path, most=_MOST_PACKS, sync=self._sync) > _MOST_PACKS:
                compact(repository)

    # Handles

    def _take(self, dataset_id: DatasetId) -> GitRepository:
        """Take a kept handle, or open one."""
        with storage_errors():
            if kept := self._handles.take(dataset_id):
                return kept
            for _ in range(_TRIES):
                with suppress(OSError, StorageCorrupt):
                    return GitRepository(self.layout.path(dataset_id), self._cache, sync=self._sync, mends=True)
                self.notes.raise_missing(dataset_id)  # and if it does not raise, one was made meanwhile
            # Once more, for its error.
            return GitRepository(self.layout.path(dataset_id), self._cache, sync=self._sync, mends=True)

    def _deleted_is(self, dataset_id: DatasetId, wanted: bool) -> bool:
        """Tell whether a dataset is deleted, without keeping it open. One that cannot be read counts as live."""
        try:
            return is_deleted(GitRepository(self.layout.path(dataset_id), self._cache, sync=False)) is wanted
        except FileNotFoundError:
            return False
        except (OSError, StorageCorrupt):
            return not wanted

    def _after_fork(self) -> None:
        """Drop the parent's handles in a forked child, without freeing them: that could wait for a held lock."""
        forks.abandon(self._handles)
        self._handles = Handles()
