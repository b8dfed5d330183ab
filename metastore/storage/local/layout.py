"""The folders and files of a local store; `metastore.storage.local.storage` has a drawing of them."""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from metastore.errors import AlreadyExists, InvalidInput, OutcomeUnknown, StorageUnavailable
from metastore.files.durable import make_folders, random_name, replace_file, sync_directory
from metastore.files.locks import can_lock, is_being_built, locked
from metastore.files.reading import is_folder, mtime_ns, read_file
from metastore.os_errors import in_words, storage_errors
from metastore.parse import parse_dataset_id
from metastore.storage.local._clock import Clock, stamp
from metastore.storage.local.mark import PRIVATE, UNFINISHED, Mark, content
from metastore.types import DatasetId

_LOCKS = 1024
#: The permissions of a new store's folder: only its user and, for a service, its group have access.
_ROOT_MODE = 0o750
#: The errors of renaming a folder to a path that is taken.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
#: The age at which a path in `tmp` counts as left over, in nanoseconds.
_STALE = 3600 * 10**9


class Layout:
    """The paths of a store, and its `mark`.

    Args:
        root: The store's folder.
        sync: Whether to make changes durable.
    """

    def __init__(self, root: str, *, sync: bool) -> None:
        self.root = root
        self.sync = sync
        self.mark = Mark(root)
        self.clock = Clock(self.private("feed"), sync=sync)

    def prepare(self, *, create: bool, identity: str | None = None, unfinished: bool = False) -> None:
        """Check that the folder is a store. Adopt an older one without a mark, and create one in an empty folder.

        Args:
            create: Whether to make a store in a folder that is empty or missing.
            identity: The identity of a new store; otherwise a random one.
            unfinished: Whether a new store cannot be opened by others until it gets its identity.

        Raises:
            StorageUnavailable: There is no store and `create` is false, the folder holds other files, or a store lost
                its mark: a new one would be another store's.
            StorageCorrupt: Its mark cannot be read.
        """
        if self.mark.check(create=create):
            return
        make_folders(self.root, sync=self.sync, mode=_ROOT_MODE)
        if unfinished:
            self.replace(self.mark.path, UNFINISHED)
        else:
            self.take_identity(identity or random_name(16))

    def take_identity(self, identity: str) -> None:
        """Give an identity to a new store, or to one of an old version."""
        self.replace(self.mark.path, content(identity))
        self.clock.tick()

    def path(self, dataset_id: DatasetId) -> str:
        """Return the folder of a dataset's repository."""
        return f"{self.root}/{dataset_id.owner}/{dataset_id.name}.git"

    def expect_owner(self, dataset_id: DatasetId) -> None:
        """Refuse an id whose owner's folder cannot be created because of a file of the store, such as its mark.

        Raises:
            InvalidInput: No dataset can have this id.
        """
        if is_folder(f"{self.root}/{dataset_id.owner}") is False:
            raise InvalidInput(f"no dataset can be called {dataset_id}: the store has a file {dataset_id.owner}")

    def expect_no_link(self, dataset_id: DatasetId) -> None:
        """Refuse to purge a dataset whose repository is elsewhere: only the link would go, and the data stay.

        Raises:
            StorageUnavailable: The repository is a symbolic link.
        """
        path = self.path(dataset_id)
        if os.path.islink(path):
            real = os.path.realpath(path)
            raise StorageUnavailable(f"{path} is a symbolic link: move {real} to its place, and purge the dataset then")

    def private(self, name: str) -> str:
        """Return a path in the store's own folder."""
        return f"{self.root}/{PRIVATE}/{name}"

    def lock_file(self, dataset_id: DatasetId) -> str:
        """Return the lock file of a dataset. Many datasets share one, and it is never removed."""
        return self.private(f"locks/{zlib.crc32(str(dataset_id).encode()) % _LOCKS}")

    @contextmanager
    def locked(self, *dataset_ids: DatasetId) -> Iterator[None]:
        """Keep writers and packers away from datasets while the body runs."""
        with storage_errors(), locked(self.lock_file(dataset_id) for dataset_id in dataset_ids):
            yield

    @contextmanager
    def read_locked(self, dataset_id: DatasetId) -> Iterator[None]:
        """Keep writers and packers away from a dataset while the body reads it, if its lock can be made."""
        with storage_errors(), locked(filter(can_lock, [self.lock_file(dataset_id)])):
            yield

    @contextmanager
    def changing(self, *dataset_ids: DatasetId) -> Iterator[None]:
        """Lock datasets, and tell the change feed that they are changing."""
        with storage_errors(), locked(self.lock_file(dataset_id) for dataset_id in dataset_ids):
            for dataset_id in dataset_ids:
                self.stamp(self.path(dataset_id))
            yield

    def turn_file(self, dataset_id: DatasetId) -> str:
        """Return the file that a writer locks to wait for its turn after a lost race."""
        return self.private(f"turns/{zlib.crc32(str(dataset_id).encode()) % _LOCKS}")

    def aside(self) -> str:
        """Return a new path below `tmp`, on the same file system."""
        folder = self.private("tmp")
        make_folders(folder, sync=self.sync)
        return f"{folder}/{random_name()}"

    def replace(self, path: str, content: bytes) -> None:
        """Replace a file through `tmp`, since a left-over file in a folder of ids would pass for an id."""
        make_folders(os.path.dirname(path), sync=self.sync)
        replace_file(path, content, sync=self.sync, temporary=self.aside())

    def left_over(self) -> Iterator[str]:
        """Yield the paths that an interrupted create or purge left in `tmp`.

        The caller may remove them, so nothing behind a link counts: a store that somebody sent may have one.
        """
        if not any(map(os.path.islink, (self.private("tmp"), f"{self.root}/{PRIVATE}"))):
            with suppress(FileNotFoundError):
                yield from (entry.path for entry in os.scandir(self.private("tmp")) if is_stale(entry.path))

    def backup_lock_file(self) -> str:
        """Return the lock file of a backup to or from this store."""
        return self.private("backup.lock")

    def backup_aside(self) -> str:
        """Return the folder in `tmp` for what a backup to this store is making, while it holds its lock."""
        return self.private("tmp/backup")

    def wait_for_writers(self) -> None:
        """Return when each lock that is held now has been released."""
        folder = self.private("locks")
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):
                with locked([f"{folder}/{name}"], shared=True):
                    pass

    def put_in_place(self, source: str, dataset_id: DatasetId, revision: str) -> None:
        """Rename a repository to its id's path, which makes the dataset exist.

        Raises:
            AlreadyExists: The path is taken.
            OutcomeUnknown: It is in place, but the disk did not confirm it.
        """
        target = self.path(dataset_id)
        make_folders(os.path.dirname(target), sync=self.sync)
        self.stamp(source)
        try:
            self._rename(source, target, revision)
        except OSError as error:
            if error.errno in _TAKEN:
                raise AlreadyExists(dataset_id) from None
            raise

    def take_away(self, dataset_id: DatasetId, revision: str) -> str:
        """Rename a repository to a path below `tmp`, and return that path.

        Raises:
            OutcomeUnknown: It is away, but the disk did not confirm it.
        """
        aside = self.aside()
        self._rename(self.path(dataset_id), aside, revision)
        return aside

    def _rename(self, source: str, target: str, revision: str) -> None:
        os.rename(source, target)
        try:
            for folder in (os.path.dirname(target), os.path.dirname(source)) if self.sync else ():
                sync_directory(folder)
        except OSError as error:
            raise OutcomeUnknown(f"{target} may not be durable: {in_words(error)}", revision) from error

    def confirm(self, dataset_id: DatasetId) -> None:
        """Make the present state of an id durable: its references, or that it has no repository."""
        path = self.path(dataset_id)
        inside = [path, *(f"{path}/refs{part}" for part in ("", "/heads", "/tags"))]
        around = [os.path.dirname(path), self.private(f"notes/{dataset_id.owner}"), self.private("tmp"), self.root]
        for folder in [*inside, *around] if self.sync else ():
            with suppress(FileNotFoundError, NotADirectoryError):
                sync_directory(folder)

    def ids(self, prefix: str, after: DatasetId | None) -> Iterator[DatasetId]:
        """Yield the ids that have a repository, in order. Raises StorageUnavailable if the store is gone."""
        self.mark.expect()
        owner_prefix, slash, name_prefix = prefix.partition("/")
        for owner in self._owners(owner_prefix, whole=bool(slash)):
            if after and owner < after.owner:
                continue
            for name in self._names(owner, name_prefix):
                if not (after and (owner, name) <= (after.owner, after.name)) and is_id(owner, name):
                    yield DatasetId(owner, name)

    def _owners(self, prefix: str, *, whole: bool) -> list[str]:
        if whole:
            return [prefix] if is_id(prefix, "any") else []
        names = [name for name in os.listdir(self.root) if name.startswith(prefix)]
        return sorted(name for name in names if not name.startswith("_") or prefix.startswith("_"))

    def _names(self, owner: str, prefix: str) -> Iterator[str]:
        import heapq  # only lists need it

        names: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.listdir(f"{self.root}/{owner}")
            names = [name[:-4] for name in found if name.endswith(".git") and name.startswith(prefix)]
        heapq.heapify(names)  # reading one page of many thousand costs a tenth of sorting all
        while names:
            yield heapq.heappop(names)

    def folders(self) -> Iterator[tuple[str, str, str]]:
        """Yield owner, name and path of each folder that may be a dataset's, in no order: fast, for many thousand."""
        for owner in self._owners("", whole=False):
            folder = f"{self.root}/{owner}"
            with suppress(FileNotFoundError, NotADirectoryError):
                names = os.listdir(folder)
                yield from ((owner, name[:-4], f"{folder}/{name}") for name in names if name.endswith(".git"))

    def unnamed(self) -> Iterator[tuple[str, str, str]]:
        """Yield owner, name and path of each repository whose folders do not name an id, such as `Ann/Our Cars.git`."""
        with storage_errors():
            folders = sorted(self.folders())
        yield from (folder for folder in folders if self.is_unnamed(*folder[:2]))

    def is_unnamed(self, owner: str, name: str) -> bool:
        """Tell whether there is a repository whose folders do not name an id."""
        if is_id(owner, name) or owner in ("", ".", "..") or owner.startswith("_"):
            return False
        path = f"{self.root}/{owner}/{name}.git"
        return not os.path.islink(path) and os.path.isfile(f"{path}/HEAD")

    def former_ids(self, dataset_id: DatasetId) -> tuple[DatasetId, ...]:
        """Return the ids that a dataset had before."""
        lines = (read_file(f"{self.path(dataset_id)}/former-ids") or b"").decode(errors="replace").split()
        return tuple(filter(None, map(parsed_id, lines)))

    def write_former_ids(self, dataset_id: DatasetId, former: Iterable[DatasetId]) -> None:
        """Set the ids that a dataset had before."""
        replace_file(f"{self.path(dataset_id)}/former-ids", "\n".join(former).encode(), sync=self.sync)

    def stamp(self, repository: str) -> None:
        """Note in a repository, if there is one, that it is being changed. Called before the change can be seen."""
        if os.path.isdir(repository):
            stamp(repository, self.clock.tick(), self.aside)


def parsed_id(value: Any) -> DatasetId | None:
    """Return the id that a text, or an owner and a name, make; None if they make none."""
    try:
        return parse_dataset_id(value)
    except InvalidInput:
        return None


def is_id(owner: str, name: str) -> bool:
    """Tell whether an owner and a name make a dataset id."""
    return parsed_id((owner, name)) is not None


def is_stale(path: str) -> bool:
    """Tell whether the writer of a temporary file or folder gave it up: by its age, and by the lock of a folder.

    A file is named moments after its last byte, but a folder is filled for hours without a change of its own time.
    """
    return 0 < mtime_ns(path) < time.time_ns() - _STALE and not is_being_built(path)
